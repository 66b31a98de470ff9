"""Running a graph: inlined where it meets tracers, interpreted first, compiled when hot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fungrad._aval import SCALAR_TYPES
from fungrad._evaluate import as_operand, interpret
from fungrad._expr import Expr
from fungrad._graph import Graph, holds_graph, substitute, undisturbed
from fungrad._provenance import recording, stage
from fungrad._simplify import simplify
from fungrad._tracer import Trace, Tracer
from fungrad.compile.memory import COPY, FRESH, NUMBER, SCALAR, finishes
from fungrad.compile.source import build
from fungrad.ops.creation import full
from fungrad.ops.linear import matmul_p, vecdot_p
from fungrad.ops.sums import is_unreadable, row_sum_p

HOT = 2
"""The call from which on a graph runs as generated source."""
LARGE = 1 << 16
"""The mean number of entries of an operation from which on the first call is hot."""
MAX_VARIANTS = 8
"""How many patterns of contiguous inputs get a variant of their own."""
LONG = 50_000
"""How many operations a graph has from which on it is compiled late: that takes about a second."""
LATE = 16
"""The call from which on such a graph is compiled: until then interpreting it took as long."""


@stage
def run(graph: Graph, values: Sequence[Any]) -> Sequence[Any]:
    """The outputs of ``graph``: arrays that the caller owns; or tracers, if any value is one."""
    innermost: Tracer | None = None
    for value in values:
        if isinstance(value, Tracer) and (
            innermost is None or value._trace.serial > innermost._trace.serial
        ):
            innermost = value
    if innermost is not None:
        trace = innermost.owner
        nodes = substitute(graph, [_lifted(trace, value) for value in values])
        return [Tracer(trace, node) for node in nodes]
    if recording() is not None:
        return _finished(graph, interpret(graph, values))
    # Whoever runs a graph holds it, so it need not be made the most recent one.
    return (graph.known("program") or program(graph))(values)


def _lifted(trace: Trace, value: Any) -> Expr:
    # A number takes an input's place, where it must be as good as an array, unlike a literal.
    dtype = SCALAR_TYPES.get(type(value))
    if dtype is None:
        return trace.lift(value)
    return trace.constant(full, weak=True, shape=(), value=value, dtype=dtype)._expr


def program(graph: Graph) -> Program:
    """The runnable form of ``graph``, one for each graph."""
    result: Program = graph.memo("program", lambda: Program(graph))
    return result


class Program:
    """A graph with its compiled variants, one for each pattern of contiguous inputs.

    The first call interprets it as it is, which takes less time than simplifying it, unless there
    are loops in it: these are worth it at once. It is simplified before that, too, where a simpler
    graph may have other bits, as products have of one number for all entries, or of entries in
    reversed order: BLAS adds what is laid out in another way in another order.
    """

    __slots__ = ("_calls", "_compiled", "_given", "_hot")

    def __init__(self, graph: Graph) -> None:
        loops = any(holds_graph(value) for node in graph.nodes for _, value in node.static)
        self._given = simplify(graph) if loops or _multiplies_what_moves(graph) else graph
        # Where operations take longer than writing them as source does, the first call is hot.
        entries = sum([node.aval.size for node in graph.nodes])
        self._hot = LATE if len(graph.nodes) > LONG else HOT
        self._calls = self._hot if entries > LARGE * len(graph.nodes) else 0
        self._compiled: dict[tuple[bool, ...], Callable[..., tuple[Any, ...]]] = {}

    @property
    def graph(self) -> Graph:
        """The simplified graph."""
        return simplify(self._given)

    def __call__(self, values: Sequence[Any]) -> Sequence[Any]:
        """The outputs for these input values."""
        if self._calls < self._hot - 1:
            graph = self.graph if self._calls or not all(map(_is_dense, values)) else self._given
            self._calls += 1
            return _finished(graph, interpret(graph, values))
        operands = list(map(as_operand, values))
        contiguous = tuple(map(_is_contiguous, operands))
        compiled = self._compiled.get(contiguous) or self.variant(contiguous)
        return compiled(*operands)

    def compiled(self, operands: Sequence[Any]) -> Callable[..., Sequence[Any]] | None:
        """What runs for operands like these; ``None`` if it is interpreted as yet."""
        return self.variant(tuple(map(_is_contiguous, operands))) if self._compiled else None

    def variant(self, contiguous: tuple[bool, ...]) -> Callable[..., Sequence[Any]]:
        """The function of the inputs' values, NumPy's, of which some are C-contiguous."""
        if recording() is not None:
            return lambda *values: _finished(self.graph, interpret(self.graph, values))
        if contiguous not in self._compiled and len(self._compiled) >= MAX_VARIANTS:
            contiguous = (False,) * len(contiguous)
        compiled = self._compiled.get(contiguous)
        if compiled is None:
            compiled = undisturbed(lambda: build(self.graph, contiguous))
            self._compiled[contiguous] = compiled
        return compiled


def _is_contiguous(operand: Any) -> bool:
    """Whether it is a number or an array of NumPy's own class in C order."""
    if type(operand) is np.ndarray:
        return bool(operand.flags.c_contiguous)
    return not isinstance(operand, np.ndarray)


def _is_dense(value: Any) -> bool:
    """Whether a value lies in memory as results do: if not, simpler graphs may add it otherwise."""
    return not isinstance(value, np.ndarray) or value.flags.c_contiguous


_PRODUCTS = frozenset({matmul_p, vecdot_p, row_sum_p})


def _multiplies_what_moves(graph: Graph) -> bool:
    """Whether a simpler graph may lay out an operand of a product in another way."""
    return any(
        node.primitive in _PRODUCTS and any(map(is_unreadable, node.args)) for node in graph.nodes
    )


_FINISH: dict[str, Callable[[Any], Any]] = {
    COPY: lambda out: out.copy(),
    SCALAR: lambda out: out[()],
    NUMBER: lambda out: out.item(),
    FRESH: lambda out: out,
}


def _finished(graph: Graph, outputs: list[Any]) -> list[Any]:
    return [_FINISH[finish](out) for out, finish in zip(outputs, finishes(graph), strict=True)]
