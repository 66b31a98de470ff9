"""What several operations on one operand have in common is computed once.

Row 7. In: a graph. Out: a graph, in which one operation with several results takes the place of
those that share most of their work, to the same bits.
"""

from __future__ import annotations

from collections import defaultdict

from fungrad._expr import Expr, with_args
from fungrad._graph import Graph, make_graph
from fungrad._primitive import items
from fungrad.ops.softmax import SHARING, exponentials_p


def together(graph: Graph) -> Graph:
    """``graph`` with softmaxes and logarithms of sums of the same exponentials computed at once."""
    sharing: dict[tuple[Expr, object], list[Expr]] = defaultdict(list)
    for node in graph.nodes:
        if node.primitive in SHARING:
            sharing[node.args[0], dict(node.static)["axis"]].append(node)
    if all(len(nodes) < 2 for nodes in sharing.values()):
        return graph
    new: dict[Expr, Expr] = {}
    for node in graph.nodes:
        args = tuple([new.get(arg, arg) for arg in node.args])
        if node in new:
            continue
        new[node] = with_args(node, args)
        if node.primitive in SHARING:
            axis = dict(node.static)["axis"]
            parts = sharing[node.args[0], axis]
            if len(parts) > 1:
                names = tuple([part.primitive.name for part in parts if part.primitive])
                joint = exponentials_p.node(args, (("axis", axis), ("wanted", names)))
                new.update(zip(parts, items(joint), strict=True))
    avals = [node.aval for node in graph.inputs]
    return make_graph(avals, [new.get(out, out) for out in graph.outputs])
