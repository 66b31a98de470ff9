"""Value-preserving rewrites: the same result to the last bit, with fewer operations.

Row 7. In: a graph. Out: a graph, after one walk over it in which every pass of ``_rewrites`` has
its turn at each node.
"""

from __future__ import annotations

from collections.abc import Callable, Set

from fungrad._expr import Expr, Literal, with_args
from fungrad._graph import Graph, make_graph, substitute
from fungrad._primitive import item
from fungrad._rewrites import PASSES, Uses, constant, rewritten
from fungrad._together import together
from fungrad._values import value_program
from fungrad.ops.elementwise import closed_forms

graph_rewrites: list[Callable[[Graph], Graph]] = []
"""What rewrites whole graphs, before the nodes: modules of later rows add to it."""


def simplify(graph: Graph, without: Set[str] = frozenset()) -> Graph:
    """``graph`` with every rewrite applied, arguments first; a single walk.

    ``without`` names passes to leave out.
    """
    assert without <= PASSES.keys(), without

    def derive() -> Graph:
        flat = together(expand(graph))
        for rewrite in graph_rewrites:
            flat = rewrite(flat)
        new: dict[Expr, Expr] = {}
        _walk(flat, new, {}, without)
        return make_graph(
            [node.aval for node in flat.inputs], [new.get(out, out) for out in flat.outputs]
        )

    result: Graph = graph.memo(("simplified", *sorted(without)), derive)
    return result


def _walk(graph: Graph, new: dict[Expr, Expr], uses: Uses, without: Set[str]) -> None:
    """Note in ``new``, for each node of ``graph``, what takes its place."""
    readers: dict[Expr, int] = {}
    for node in graph.nodes:
        for arg in node.args:
            readers[arg] = readers.get(arg, 0) + 1
    for out in graph.outputs:
        readers[out] = readers.get(out, 0) + 1
    for node in graph.nodes:
        args = tuple([new.get(arg, arg) for arg in node.args])
        program = value_program(node) if node.primitive in closed_forms else None
        if program is not None:
            inside: dict[Expr, Expr] = dict(zip(program.inputs, args, strict=True))
            _walk(program, inside, uses, without)
            better = new[node] = inside[program.outputs[0]]
            uses[better] += readers[node] - 1  # the program's output was its one reader
            continue
        plain = with_args(node, args)
        better = rewritten(plain, uses, without)
        if better is not plain:  # now that reads the operands, or some of them
            for arg in args:
                uses[arg] = uses.get(arg, 1) - 1
            for arg in better.args if better not in uses else ():
                uses[arg] = uses.get(arg, 0) + 1
        new[node] = better
        uses[better] = uses.get(better, 0) + readers.get(node, 0)


def expand(graph: Graph) -> Graph:
    """``graph`` with the operations of the graphs that its calls hold, in the place of the calls.

    A call keeps together what has a derivative of its own; when a program is to run, no derivative
    is taken of it any more.
    """
    if not any(node.primitive is not None and node.primitive.inlined for node in graph.nodes):
        return graph

    def derive() -> Graph:
        new: dict[Expr, Expr] = {}
        results: dict[Expr, list[Expr]] = {}
        for node in graph.nodes:
            args = tuple([new.get(arg, arg) for arg in node.args])
            assert node.primitive is not None
            if node.primitive.inlined:
                held = expand(dict(node.static)[node.primitive.inlined])
                results[node] = substitute(held, [_as_array(arg) for arg in args])
            elif node.primitive is item and node.args[0] in results:
                index = dict(node.static)["index"]
                new[node] = _as_array(results[node.args[0]][index])
            else:
                new[node] = with_args(node, args)
        return make_graph(
            [node.aval for node in graph.inputs], [new.get(out, out) for out in graph.outputs]
        )

    result: Graph = graph.memo("expanded", derive)
    return result


def _as_array(node: Expr) -> Expr:
    # What reads a result of a call may call a method of it; a literal has none.
    return constant(node.aval, node.value) if isinstance(node, Literal) else node
