"""From a function and arguments to a graph: run the function once on tracers.

Row 6. In: a function of leaves, what is known of them, and their values. Out: a ``Traced``
program: its graph, the values that it captured, and how to rebuild its result from leaves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import attrs

from fungrad._aval import SCALAR_TYPES, Aval, is_number_like
from fungrad._expr import Expr
from fungrad._graph import Graph, make_graph
from fungrad._intern import bits_key
from fungrad._questions import Question
from fungrad._tracer import Trace, Tracer, run_in
from fungrad._tree import LEAF, TreeDef, flatten
from fungrad.errors import FungradError, OutputTypeError


@attrs.frozen(eq=False, slots=False)  # made at every call: faster without slots
class Result:
    """How to rebuild what a function returned from the values of its traced leaves.

    Leaves that are no arrays (strings, functions, …) pass through as they are.
    """

    tree: TreeDef
    opaque: dict[int, Any]

    def rebuild(self, values: Sequence[Any]) -> Any:
        """The result, with ``values`` for its numeric leaves in order."""
        if not self.opaque:
            return values[0] if self.tree is LEAF else self.tree.unflatten(values)
        rest = iter(values)
        count = len(values) + len(self.opaque)
        return self.tree.unflatten(
            [self.opaque[i] if i in self.opaque else next(rest) for i in range(count)]
        )

    def same(self, other: Result) -> bool:
        """Whether the structure and the leaves that pass through are the same."""
        return (
            self.tree is other.tree
            and self.opaque.keys() == other.opaque.keys()
            and all(
                leaf is other.opaque[i]
                or (type(leaf) in SCALAR_TYPES and bits_key(leaf) == bits_key(other.opaque[i]))
                for i, leaf in self.opaque.items()
            )
        )


_ONE = Result(LEAF, {})
"""The result that is one traced value."""


@attrs.frozen(eq=False, slots=False)
class Traced:
    """A function turned into a program.

    Attributes:
        graph: inputs are the argument leaves, then the captures.
        captures: arrays and tracers of outer traces, by reference.
        results: one ``Result`` for each value that the function returned; ``graph``'s outputs are
            their numeric leaves, one result after the other.
        counts: how many outputs belong to each result.
        questions: what Python code asked of values, in order, if they were recorded: the graph
            holds where the answers are the same.
    """

    graph: Graph
    captures: list[Any]
    results: tuple[Result, ...]
    counts: tuple[int, ...]
    questions: tuple[Question, ...]

    def rebuild(self, outputs: Sequence[Any]) -> list[Any]:
        """The function's results from the values of the graph's outputs."""
        start, rebuilt = 0, []
        for result, count in zip(self.results, self.counts, strict=True):
            rebuilt.append(result.rebuild(outputs[start : start + count]))
            start += count
        return rebuilt


def trace_flat(
    function: Callable[[list[Tracer]], tuple[Any, ...]],
    avals: Sequence[Aval],
    values: Sequence[Any],
    differentiated: bool = False,
    keep_numbers: bool = False,
    guarded: bool = False,
) -> Traced:
    """Run ``function`` on one tracer per leaf; it returns a tuple of pytrees, the results.

    Args:
        function: called once.
        avals: what is known of each leaf.
        values: the leaves' values, for questions that Python code asks; ``None`` where unknown.
        differentiated: whether numbers that depend on the leaves must stay in the program.
        keep_numbers: whether Python numbers in the first result pass through as they are; in
            further results they always do.
        guarded: whether to record what Python code asks of values.
    """
    trace = Trace(avals, values, differentiated, guarded)

    def run() -> tuple[list[Expr], list[Result], list[int]]:
        nodes: list[Expr] = []
        results: list[Result] = []
        counts: list[int] = []
        for position, out in enumerate(function(trace.tracers())):
            if type(out) is Tracer:  # most results
                nodes.append(trace.lift(out))
                results.append(_ONE)
                counts.append(1)
                continue
            passing = SCALAR_TYPES if keep_numbers or position else {}
            leaves, tree = flatten(out)
            opaque: dict[int, Any] = {}
            for i, leaf in enumerate(leaves):
                if isinstance(leaf, Tracer) or (is_number_like(leaf) and type(leaf) not in passing):
                    nodes.append(trace.lift(leaf))
                elif isinstance(leaf, (list, tuple, dict, set)):
                    raise OutputTypeError(
                        f"the function returned a {type(leaf).__qualname__}, which is no known "
                        "container, so traced values in it would get lost; write: fg.tree."
                        "register(...) for its class, or a list, tuple or dict"
                    )
                elif isinstance(leaf, (Iterator, Awaitable)):
                    raise OutputTypeError(
                        f"the function returned a {type(leaf).__qualname__}, which runs later and "
                        "only once, when the traced values are gone; write: a function that "
                        "returns a list or tuple of what it would yield or await"
                    )
                else:
                    opaque[i] = leaf
            results.append(Result(tree, opaque))
            counts.append(len(leaves) - len(opaque))
        return nodes, results, counts

    try:
        nodes, results, counts = run_in(trace, run)
    except ValueError as error:
        # NumPy wraps what __array__ raises; the cause is the message that helps.
        if isinstance(error.__cause__, FungradError):
            raise error.__cause__ from None
        raise
    trace.settle()
    graph = make_graph(trace.avals, nodes)
    questions = tuple(trace.questions.values()) if trace.questions else ()
    return Traced(graph, trace.captures, tuple(results), tuple(counts), questions)
