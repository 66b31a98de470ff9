"""The gradient of a number: backwards from it, or forwards where that is one number, too.

Row 7. In: a graph. Out: a graph.
"""

from __future__ import annotations

from fungrad._expr import Expr
from fungrad._graph import Graph, make_graph, topological
from fungrad._jvp import along_one
from fungrad._linearity import active_nodes
from fungrad._tracer import Rewrite
from fungrad._vjp import Positions, backward, filled
from fungrad.errors import CotangentError
from fungrad.ops.shape import astype_p, cast_like


def gradient(graph: Graph, wrt: Positions, with_outputs: bool) -> Graph:
    """The graph ``inputs -> (outputs,) gradients of output 0``, its cotangent being 1."""

    def derive() -> Graph:
        avals = [node.aval for node in graph.inputs]
        trace = Rewrite(avals)
        cts = _slope_of_number(trace, graph, wrt)
        if cts is None:
            cts = backward(trace, graph, wrt, {0: filled(trace, graph.outputs[0].aval, 1)})
        return make_graph(avals, [*(graph.outputs if with_outputs else graph.outputs[1:]), *cts])

    result: Graph = graph.memo(("gradient", wrt, with_outputs), derive)
    return result


def _slope_of_number(trace: Rewrite, graph: Graph, wrt: Positions) -> list[Expr] | None:
    """The gradient by forward mode, if elementwise operations on real numbers lead to output 0.

    Then forward mode costs no more than reverse mode, and its programs nest better: the graph of a
    tenth derivative has some hundred nodes instead of thousands.
    """
    if len(wrt) != 1:
        return None
    number, active = graph.inputs[wrt[0]], active_nodes(graph, wrt)
    path = [node for node in topological(graph.outputs[:1]) if node in active]
    if not all(
        node.aval.dtype.kind == "f"
        and not node.aval.shape
        and (node.primitive in (None, astype_p) or node.primitive.elementwise)
        for node in (number, *path)
    ):
        return None
    try:
        return [cast_like(along_one(trace, graph, wrt[0]), number.aval)._expr]
    except CotangentError:  # by a rule that is for reverse mode only
        return None
