"""``custom_jvp``: a function with a pushforward of the user's.

Stage: trace. In: a function and its rule. Out: a function whose calls become ``custom_call`` nodes.
The rule is linear in the tangents, so that its transpose is the rule for reverse mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._graph import Graph
from fungrad._linearity import is_linear
from fungrad._tracer import Tracer
from fungrad._tree import tree_map
from fungrad._vjp import pullback
from fungrad.custom._arguments import Call, Function
from fungrad.custom._call import LazyRule, rearranged
from fungrad.custom._fitting import fitted, matched
from fungrad.custom._rule import Outcome, WithRule, pair_of
from fungrad.errors import ArgumentError, CotangentError


def custom_jvp(f: Function, nondiff_argnums: int | Sequence[int] = ()) -> CustomJVP:
    r"""A function whose derivative is what you say it is, by a rule for forward mode.

    The rule gets primals :math:`x` and tangents :math:`\dot x`, and returns :math:`y = f(x)` and
    :math:`\dot y = \partial f / \partial x \cdot \dot x`, which must be linear in :math:`\dot x`.
    Reverse mode takes the transpose of that, and higher orders the derivatives of the rule.

    Args:
        f: a pure function of pytrees of arrays of any shapes.
        nondiff_argnums: positional arguments that have no tangent: functions, options.

    Returns:
        A function of the same arguments. Its method ``defjvp(rule)`` states the rule,
        ``rule(*nondiff_args, primals, tangents) -> (result, tangent)``, where ``primals`` and
        ``tangents`` are tuples of the other arguments' structure and shapes, and ``tangent`` has
        those of the result, with ``None`` for zero. Tangents of integers are zeros. Or
        ``defjvps(*rules)`` states one rule for each argument, ``(tangent, result, *args) ->
        tangent of the result``, or ``None`` for zero; they are added up. Without a rule the
        function can be called, not differentiated. With respect to traced values that ``f`` closes
        over, its derivative is the one that it has without a rule.

    Raises:
        CotangentError: the rule returned a tangent of another shape or dtype than the result, or
            one that is not linear in the tangents.
        TreeMismatchError: the result or the tangent has another structure.
        UnsupportedFunctionError: a derivative is taken, but there is no rule.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> @fg.custom_jvp
        ... def log1pexp(x):
        ...     return np.log(1 + np.exp(x))
        >>> @log1pexp.defjvp
        ... def rule(primals, tangents):
        ...     (x,), (t,) = primals, tangents
        ...     return log1pexp(x), t * (1 - 1 / (1 + np.exp(x)))
        >>> float(fg.grad(log1pexp)(0.0)), float(fg.jvp(log1pexp, (0.0,), (3.0,))[1])
        (0.5, 1.5)

    References:
        The interface is JAX's ``custom_jvp``; the transpose: Radul, Paszke, Frostig, Johnson,
        Maclaurin, You Only Linearize Once, POPL 2023.
    """
    return CustomJVP(f, nondiff_argnums)


class CustomJVP(WithRule):
    """A function with a rule for forward mode."""

    _missing = "it has no rule yet; write: f.defjvp(rule)"

    def defjvp(self, rule: Function) -> Function:
        """State the rule; returns it, so that this is a decorator."""
        self.__rules__ = (rule,)
        return rule

    def defjvps(self, *rules: Function | None) -> None:
        """State the rule by one function for each argument; their results are added up."""

        def rule(*args: Any) -> Any:
            *fixed, primals, tangents = args
            if fixed:
                raise ArgumentError(
                    f"{self._name} has nondiff_argnums, so its arguments have no rules one by one; "
                    "write: f.defjvp(rule)"
                )
            if len(rules) != len(primals):
                raise ArgumentError(
                    f"{self._name} has {len(primals)} arguments, but defjvps got {len(rules)} "
                    "rules; write: one for each argument, None for zero"
                )
            result = self(*primals)
            parts = [
                part(tangent, result, *primals)
                for part, tangent in zip(rules, tangents, strict=True)
                if part is not None
            ]
            if not parts:
                return result, None
            return result, reduce(lambda a, b: tree_map(np.add, a, b), parts)

        # The functions themselves are there to be watched; they are not called from here.
        self.__rules__ = (rule, *[part for part in rules if part is not None])

    def _further(self, call: Call, outcome: Outcome) -> list[Aval]:
        double = np.dtype(np.float64)
        return [
            aval.with_weak(False) if aval.inexact else make_aval(aval.shape, double)
            for aval in call.numeric.values()
        ]

    def _run(
        self, call: Call, outcome: Outcome, traced: list[Tracer], further: list[Tracer]
    ) -> Any:
        tangents: list[Any] = [None] * len(call.leaves)
        for i, tangent in zip(call.numeric, further, strict=True):
            tangents[i] = tangent
        primals = call.with_traced(traced)
        out = self.__rules__[0](*call.fixed_args, primals, call.tree.unflatten(tangents))
        result, tangent = pair_of(out, f"the rule of {self._name}", "result, tangent")
        name = f"the result of {self._name}"
        outcome.check(result, name, "its rule")
        tree = outcome.result.tree
        parts = matched(tree, tangent, name, f"the tangent of {name} by its rule")
        avals = iter(outcome.avals)
        fitting = []
        for i, (part, path) in enumerate(zip(parts, tree.paths(), strict=True)):
            if i not in outcome.result.opaque:
                aval = next(avals)
                what = f"the rule of {self._name} gave for its result{path}, {aval}, a tangent"
                if aval.inexact:
                    fitting.append(fitted(part, aval.with_weak(False), traced[0], what))
        return fitting

    def _finished(self, graph: Graph, call: Call, outcome: Outcome) -> Transposed:
        count = len(graph.inputs) - len(call.numeric)
        order = {i: count + k for k, i in enumerate(call.numeric)}
        tangents = tuple([order[i] for i in call.traced])
        return Transposed(graph, count, tangents, outcome.avals, self._name)


@attrs.frozen
class Transposed(LazyRule):
    """The transpose of a pushforward.

    Attributes:
        pushforward: ``(operands, tangents) -> tangents of the floating-point results``.
        operands: how many operands there are.
        tangents: which inputs are the tangents of the arguments.
        results: what is known of the results.
        name: what error messages call the function.
    """

    pushforward: Graph
    operands: int
    tangents: tuple[int, ...]
    results: tuple[Aval, ...]
    name: str

    def graph(self) -> Graph:
        """See ``LazyRule``; made once for each pushforward."""
        key = ("transposed", self.operands, self.tangents, self.results, self.name)
        result: Graph = self.pushforward.memo(key, self._derive)
        return result

    def _derive(self) -> Graph:
        given = len(self.pushforward.inputs)
        back = pullback(
            self.pushforward, self.tangents, tuple(range(len(self.pushforward.outputs)))
        )
        if not is_linear(self.pushforward, tuple(range(self.operands, given)), back):
            raise CotangentError(
                f"the rule of {self.name} is not linear in the tangents; write: sums of products "
                "of one tangent and something that depends on the primals only"
            )
        before = [node.aval for node in self.pushforward.inputs[: self.operands]]
        cts = [aval.with_weak(False) for aval in self.results]
        inexact = [i for i, aval in enumerate(self.results) if aval.inexact]
        unread = [0] * (given - self.operands)
        places = [*range(self.operands), *unread, *[self.operands + i for i in inexact]]
        return rearranged(back, [*before, *cts, *self.results], places)
