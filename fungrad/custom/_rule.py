"""Functions with rules: from a call with traced arguments to a ``custom_call`` node.

Stage: trace. The rule is traced at once, while the values of the arguments are known and whatever
it closes over is alive; so Python's ``if`` works in it, and captures become operands. Only inside of
another rule is it deferred until a derivative needs it: rules may call the function they belong to.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import update_wrapper
from types import MethodType
from typing import Any

import attrs

from fungrad._aval import Aval
from fungrad._graph import Graph, make_graph
from fungrad._primitive import Unwritten
from fungrad._trace import Result, Traced, trace_flat
from fungrad._tracer import Tracer, Unknown
from fungrad._tree import check_same_structure, flatten
from fungrad.custom._arguments import (
    Call,
    Function,
    aval_of_leaf,
    call_of,
    positional,
    positions,
    signature_of,
)
from fungrad.custom._call import Deferred, LazyRule, Rule, closed, custom_call, rearranged
from fungrad.errors import OutputTypeError, ShapeMismatchError

_running = threading.local()
_UNKNOWN = Unknown("is not known where the derivative of a custom rule is taken")
_DERIVATIVE = Unknown("is a derivative, which is not known while the program is built")


@contextmanager
def _rule_running() -> Iterator[bool]:
    """Says whether another rule was running already."""
    outer = getattr(_running, "rule", False)
    _running.rule = True
    try:
        yield outer
    finally:
        _running.rule = outer


@attrs.frozen(eq=False)
class Outcome:
    """What a function returned: its structure, and what is known of its numbers."""

    result: Result
    avals: tuple[Aval, ...]

    def check(self, result: Any, name: str, rule: str) -> None:
        """Raise unless a rule gave the same kind of result as the function."""
        leaves, tree = flatten(result)
        check_same_structure(self.result.tree, tree, name, f"{name} by {rule}")
        avals = iter(self.avals)
        for i, (leaf, path) in enumerate(zip(leaves, tree.paths(), strict=True)):
            if i not in self.result.opaque:
                want, got = next(avals), aval_of_leaf(leaf)
                if (got.shape, got.dtype) != (want.shape, want.dtype):
                    raise ShapeMismatchError(
                        f"{name}{path} is {want}, but {got} by {rule}; write: a rule that returns "
                        "what the function does"
                    )


def pair_of(out: Any, rule: str, names: str) -> tuple[Any, Any]:
    """The two things that a rule returned."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise OutputTypeError(
            f"{rule} must return a pair, but it returned a {type(out).__name__}; write: "
            f"return {names}"
        )
    return out[0], out[1]


class WithRule:
    """A function with a rule for its derivative; a base class.

    A rule is traced with the traced leaves of the arguments and further inputs.
    """

    __rules__: tuple[Function, ...]
    """The functions of the rule; ``jit`` watches them and what they read."""

    def __init__(self, f: Function, nondiff_argnums: int | Sequence[int]) -> None:
        update_wrapper(self, f)
        self._function = f
        self._signature = signature_of(f)
        self.__rules__ = ()
        self._nondiff = nondiff_argnums
        self._name = getattr(f, "__name__", type(f).__name__)

    # --- what the subclass provides ---

    _missing: str
    """What to write where there is no rule."""

    def _further(self, call: Call, outcome: Outcome) -> list[Aval]:
        """What is known of the further inputs."""
        raise NotImplementedError

    def _run(
        self, call: Call, outcome: Outcome, traced: list[Tracer], further: list[Tracer]
    ) -> Any:
        """Run the rule; returns a list of numeric leaves."""
        raise NotImplementedError

    def _finished(self, graph: Graph, call: Call, outcome: Outcome) -> Graph | LazyRule:
        """The rule of the node, from the graph ``(operands, further inputs) -> leaves``."""
        raise NotImplementedError

    # --- calls ---

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result; while it is traced, as a node with the function's own rule."""
        complete = positional(self._signature, args, kwargs, self._name)
        call = call_of(complete, positions(self._nondiff, len(complete), self._name))
        if not call.traced:
            return self._function(*complete)
        primal = trace_flat(
            lambda leaves: (self._function(*call.complete(leaves)),),
            call.avals,
            call.tracers,
            keep_numbers=True,
        )
        outcome = Outcome(primal.results[0], primal.graph.avals)
        if not outcome.avals:
            return primal.rebuild([])[0]
        avals = [node.aval for node in primal.graph.inputs]
        rule, captures = self._rule(call, outcome, avals)
        outputs = custom_call(
            *call.tracers,
            *primal.captures,
            *captures,
            primal=make_graph([*avals, *map(aval_of_leaf, captures)], primal.graph.outputs),
            rule=rule,
            arguments=len(call.traced),
            name=self._name,
        )
        return primal.rebuild(outputs)[0]

    def _rule(self, call: Call, outcome: Outcome, avals: list[Aval]) -> tuple[Rule, list[Any]]:
        """The rule of a call with operands like ``avals``, and captures to add to them."""
        if not self.__rules__:
            return Unwritten(self._missing), []
        with _rule_running() as nested:
            if nested:
                plain = call.without_tracers()
                return Deferred(lambda: self._deferred(plain, outcome, avals)), []
            try:
                traced = self._traced(call, outcome, call.tracers)
            except Exception as error:
                if call.differentiable():
                    raise
                # Perhaps nobody needs it; whoever does is told.
                return Unwritten(f"its rule fails: {error}"), []
        further = len(traced.graph.inputs) - len(traced.captures)
        every = [*avals, *map(aval_of_leaf, traced.captures)]
        every += [node.aval for node in traced.graph.inputs[len(call.traced) : further]]
        places = [
            *range(len(call.traced)),
            *range(len(avals) + len(traced.captures), len(every)),
            *range(len(avals), len(avals) + len(traced.captures)),
        ]
        graph = rearranged(traced.graph, every, places)
        return self._finished(graph, call, outcome), traced.captures

    def _deferred(self, call: Call, outcome: Outcome, avals: list[Aval]) -> Graph:
        """The rule's graph, traced when nothing but the operands' avals is known."""
        with _rule_running():
            graph = closed(self._traced(call, outcome, [_UNKNOWN] * len(call.traced)))
        further = [node.aval for node in graph.inputs[len(call.traced) :]]
        places = [*range(len(call.traced)), *range(len(avals), len(avals) + len(further))]
        rule = self._finished(rearranged(graph, [*avals, *further], places), call, outcome)
        return rule if isinstance(rule, Graph) else rule.graph()

    def _traced(self, call: Call, outcome: Outcome, values: Sequence[Any]) -> Traced:
        further = self._further(call, outcome)
        count = len(call.traced)
        return trace_flat(
            lambda leaves: (self._run(call, outcome, leaves[:count], leaves[count:]),),
            [*call.avals, *further],
            [*values, *[_DERIVATIVE] * len(further)],
        )
