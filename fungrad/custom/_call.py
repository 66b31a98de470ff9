"""A call that keeps its graph together, because it has a derivative of its own.

Stage: trace and rewrite. In: the graph of a function, and the rule of its derivative. Out: one node
that holds both. Derivatives of the node follow the rule; a program that is to run takes the graph's
operations in the node's place (``_simplify.expand``), so that nothing is lost to the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, aval_of, tuple_aval
from fungrad._batch import batch
from fungrad._evaluate import as_operand, interpret
from fungrad._expr import Input, make_input
from fungrad._graph import Graph, make_graph, substitute
from fungrad._primitive import ZERO, Unwritten, primitive
from fungrad._simplify import simplify
from fungrad._trace import Traced
from fungrad._tracer import Tracer
from fungrad._vjp import pullback
from fungrad.compile import run
from fungrad.errors import UnsupportedFunctionError


class LazyRule:
    """A rule that becomes a graph when a derivative is taken; a base class."""

    def graph(self) -> Graph:
        """``(operands, cotangents of the results, results) -> cotangents of the arguments``."""
        raise NotImplementedError


Rule = Graph | LazyRule | Unwritten


@attrs.frozen(eq=False, slots=False)
class Deferred(LazyRule):
    """A rule whose functions run when it is needed; equal to nothing but itself."""

    build: Callable[[], Graph]

    @cached_property
    def _graph(self) -> Graph:
        return self.build()

    def graph(self) -> Graph:
        return self._graph


@attrs.frozen
class Batched(LazyRule):
    """A lazy rule for a batch of examples."""

    rule: LazyRule
    batched: tuple[bool, ...]
    size: int

    def graph(self) -> Graph:
        return batch(self.rule.graph(), self.batched, self.size)


def _value(*operands: Any, primal: Graph, rule: Rule, arguments: int, name: str) -> tuple[Any, ...]:
    # Inputs of a graph may have been Python numbers, its outputs are what programs compute with.
    return tuple(map(as_operand, interpret(simplify(primal), operands)))


def _aval(*operands: Aval, primal: Graph, rule: Rule, arguments: int, name: str) -> Aval:
    return tuple_aval(*primal.avals)


def _vjp(
    ct: Any,
    y: Any,
    *operands: Any,
    primal: Graph,
    rule: Rule,
    arguments: int,
    name: str,
    wanted: tuple[bool, ...],
) -> list[Any]:
    parts: list[Any] = [ZERO] * len(operands)
    if any(wanted[:arguments]):
        if isinstance(rule, Unwritten):
            raise UnsupportedFunctionError(f"{name} can't be differentiated: {rule.reason}")
        graph = rule.graph() if isinstance(rule, LazyRule) else rule
        cts = [
            np.zeros_like(out) if part is None else part for part, out in zip(ct, y, strict=True)
        ]
        parts[:arguments] = run(graph, [*operands, *cts, *y])
    # What the function closes over is no argument of the rule: there, its own derivative holds.
    rest = tuple([i for i in range(arguments, len(operands)) if wanted[i]])
    seeds = tuple([i for i, part in enumerate(ct) if part is not None])
    if rest and seeds:
        own = run(pullback(primal, rest, seeds), [*operands, *[ct[i] for i in seeds]])
        for i, part in zip(rest, own, strict=True):
            parts[i] = part
    return parts


def _batch(
    batched: tuple[bool, ...],
    size: int,
    *operands: Any,
    primal: Graph,
    rule: Rule,
    arguments: int,
    name: str,
) -> Any:
    every = (*batched, *[True] * (2 * len(primal.outputs)))
    if isinstance(rule, Graph):
        rule = batch(rule, every, size)
    elif isinstance(rule, LazyRule):
        rule = Batched(rule, every, size)
    primal = batch(primal, batched, size)
    return custom_call(*operands, primal=primal, rule=rule, arguments=arguments, name=name)


custom_call = primitive(
    "custom_call",
    value=_value,
    aval=_aval,
    vjp=_vjp,
    batch=_batch,
    selective=True,
    inlined="primal",
)
"""``primal`` on the operands; the first ``arguments`` cotangents are those of ``rule``.

``name`` is what error messages call it.
"""


@attrs.frozen(eq=False)
class Held:
    """An array, by identity."""

    array: Any


def _unbatched(batched: tuple[bool, ...], size: int, *operands: Any, array: Held) -> Any:
    raise AssertionError("a primitive without operands is never batched")


constant = primitive(
    "constant",
    value=lambda array: array.array,
    aval=lambda array: aval_of(array.array),
    vjp=ZERO,
    batch=_unbatched,
)
"""An array that a rule captured when it was too late to make it an operand."""


def rearranged(graph: Graph, avals: Sequence[Aval], places: Sequence[int]) -> Graph:
    """``graph`` as a graph of inputs like ``avals``, of which its own stand at ``places``."""
    inputs = [make_input(place, avals[place]) for place in places]
    return make_graph(avals, substitute(graph, inputs))


def closed(traced: Traced) -> Graph:
    """The graph of a traced function, with the arrays that it captured as constants."""
    graph, count = traced.graph, len(traced.graph.inputs) - len(traced.captures)
    constants = []
    for value in traced.captures:
        if isinstance(value, Tracer):
            raise UnsupportedFunctionError(
                "a custom rule that is used in a derivative of higher order closes over a traced "
                f"value ({value.aval}); write: the function with that value as an argument"
            )
        kept = Held(np.array(value)[()])  # as it is now, whatever is written into it later
        constants.append(constant.node((), (("array", kept),)))
    inputs: list[Input] = list(graph.inputs[:count])
    return make_graph([node.aval for node in inputs], substitute(graph, [*inputs, *constants]))
