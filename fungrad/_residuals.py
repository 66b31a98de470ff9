"""What a linear program can compute before its cotangents or tangents are known, and keep.

Row 7. In: graphs. Out: their two halves, and the residuals that go from the first to the second.
"""

from __future__ import annotations

from fungrad._expr import Expr, Literal
from fungrad._graph import Graph, cut, make_graph


def remembering(graph: Graph, linear: Graph) -> tuple[Graph, Graph]:
    """The two halves of a linear program, the first one together with the outputs of ``graph``.

    Args:
        graph: the function.
        linear: its inputs are those of ``graph``, then cotangents or tangents.

    Returns:
        ``(inputs -> outputs, residuals)`` and ``(residuals, cotangents) -> outputs of linear``.
    """

    def derive() -> tuple[Graph, Graph]:
        before, after = split(linear, len(graph.inputs))
        avals = [node.aval for node in graph.inputs]
        return make_graph(avals, [*graph.outputs, *before.outputs]), after

    result: tuple[Graph, Graph] = graph.memo(("remembering", linear), derive)
    return result


def split(graph: Graph, known: int) -> tuple[Graph, Graph]:
    """Compute what depends on the first ``known`` inputs only, and keep what the rest needs.

    Returns:
        ``(inputs[:known] -> residuals, (residuals, inputs[known:]) -> outputs)``.
    """

    def derive() -> tuple[Graph, Graph]:
        unknown: set[Expr] = set(graph.inputs[known:])
        residuals: dict[Expr, int] = {}
        for node in graph.nodes:
            if not unknown.isdisjoint(node.args):
                unknown.add(node)
        for reader in [node for node in graph.nodes if node in unknown]:
            for arg in reader.args:
                if arg not in unknown and not isinstance(arg, Literal):
                    residuals.setdefault(arg, len(residuals))
        for output in graph.outputs:
            if output not in unknown and not isinstance(output, Literal):
                residuals.setdefault(output, len(residuals))
        first = make_graph([node.aval for node in graph.inputs[:known]], list(residuals))
        return first, cut([*residuals, *graph.inputs[known:]], graph.outputs)

    result: tuple[Graph, Graph] = graph.memo(("split", known), derive)
    return result
