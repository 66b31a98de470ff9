"""``custom_vjp``: a function with a pullback of the user's.

Stage: trace. In: a function and its rule. Out: a function whose calls become ``custom_call`` nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from fungrad._aval import Aval, is_number_like
from fungrad._graph import Graph, make_graph
from fungrad._tracer import Tracer
from fungrad.custom._arguments import Call, Function
from fungrad.custom._fitting import fitted, matched
from fungrad.custom._rule import Outcome, WithRule, pair_of
from fungrad.errors import CotangentError


def custom_vjp(f: Function, nondiff_argnums: int | Sequence[int] = ()) -> CustomVJP:
    r"""A function whose derivative is what you say it is, by a rule for reverse mode.

    Differentiating calls ``forward`` for the residuals, and ``backward`` with them and the cotangent
    :math:`\bar y` of the result, for the cotangents :math:`\bar x = \bar y^T \partial f / \partial
    x` of the arguments; the value is always that of ``f``. The rule is written in NumPy, so it is
    differentiated itself for higher orders, batched by ``vmap`` and transposed for ``jvp``: forward
    mode works as well, where ``backward`` is linear in :math:`\bar y`.

    Args:
        f: a pure function of pytrees of arrays of any shapes.
        nondiff_argnums: positional arguments that the rule takes as they are, without a cotangent:
            functions, options.

    Returns:
        A function of the same arguments. Its method ``defvjp(forward, backward)`` states the rule:
        ``forward(*args) -> (result, residuals)``, where ``residuals`` is anything that ``backward``
        needs; ``backward(*nondiff_args, residuals, ct) -> (ct of each other argument, …)``, a tuple
        of cotangents with the structure, shapes and dtypes of the arguments, with ``None`` for
        zero. Without a rule the function can be called, not differentiated. With respect to traced
        values that ``f`` closes over, its derivative is the one that it has without a rule.

    Raises:
        CotangentError: ``backward`` returned a wrong number of cotangents, or one of another shape
            or dtype than its argument; or forward mode is asked of one that is not linear.
        TreeMismatchError: a cotangent or the result of ``forward`` has another structure.
        UnsupportedFunctionError: a derivative is taken, but there is no rule.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> @fg.custom_vjp
        ... def clipped(x):
        ...     return x
        >>> clipped.defvjp(lambda x: (x, None), lambda residuals, ct: (np.clip(ct, -1, 1),))
        >>> float(fg.grad(lambda x: 10 * clipped(x))(3.0))
        1.0

    References:
        The interface is JAX's ``custom_vjp``.
    """
    return CustomVJP(f, nondiff_argnums)


class CustomVJP(WithRule):
    """A function with a rule for reverse mode."""

    _missing = "it has no rule yet; write: f.defvjp(forward, backward)"

    def defvjp(self, forward: Function, backward: Function) -> None:
        """State the rule: ``forward`` for the result and residuals, ``backward`` for cotangents."""
        self.__rules__ = (forward, backward)

    def _further(self, call: Call, outcome: Outcome) -> list[Aval]:
        return [aval.with_weak(False) for aval in outcome.avals]

    def _run(
        self, call: Call, outcome: Outcome, traced: list[Tracer], further: list[Tracer]
    ) -> Any:
        forward, backward = self.__rules__
        out = forward(*call.complete(traced))
        result, residuals = pair_of(out, f"the forward rule of {self._name}", "result, residuals")
        outcome.check(result, f"the result of {self._name}", "its forward rule")
        parts = backward(*call.fixed_args, residuals, cotangent_of(outcome, further))
        return cotangents(parts, call, traced[0], f"the backward rule of {self._name}")

    def _finished(self, graph: Graph, call: Call, outcome: Outcome) -> Graph:
        avals = [*[node.aval for node in graph.inputs], *outcome.avals]
        return make_graph(avals, graph.outputs)


class GivenResult(WithRule):
    """A function with a rule for reverse mode that is given the result."""

    def __init__(self, f: Function, rule: Function, name: str) -> None:
        super().__init__(f, ())
        self._name = name
        self.__rules__ = (rule,)

    def _further(self, call: Call, outcome: Outcome) -> list[Aval]:
        return [*[aval.with_weak(False) for aval in outcome.avals], *outcome.avals]

    def _run(
        self, call: Call, outcome: Outcome, traced: list[Tracer], further: list[Tracer]
    ) -> Any:
        count = len(outcome.avals)
        ct, result = cotangent_of(outcome, further[:count]), outcome.result.rebuild(further[count:])
        parts = self.__rules__[0](ct, result, *call.complete(traced))
        return cotangents(parts, call, traced[0], f"the vjp rule of {self._name}")

    def _finished(self, graph: Graph, call: Call, outcome: Outcome) -> Graph:
        return graph


def cotangent_of(outcome: Outcome, numbers: list[Tracer]) -> Any:
    """The cotangent of a result, of its structure."""
    # Leaves that are no part of the program (numbers, strings) have no cotangent.
    still = {i: 0.0 if is_number_like(x) else x for i, x in outcome.result.opaque.items()}
    return attrs.evolve(outcome.result, opaque=still).rebuild(numbers)


def cotangents(parts: Any, call: Call, near: Tracer, rule: str) -> list[Any]:
    """The cotangents of the traced leaves, from those of the arguments that ``rule`` gave."""
    if not isinstance(parts, (tuple, list)) or len(parts) != len(call.places):
        found = len(parts) if isinstance(parts, (tuple, list)) else f"a {type(parts).__name__}"
        raise CotangentError(
            f"{rule} gave {found} instead of a tuple of {len(call.places)} cotangents; write: "
            "return a tuple, one for each argument, such as (ct,)"
        )
    leaves = matched(call.tree, tuple(parts), "the arguments", f"the cotangents by {rule}")
    avals, cts = call.numeric, []
    for i, (part, path) in enumerate(zip(leaves, call.paths(), strict=True)):
        if i in avals:
            ct = fitted(part, avals[i], near, f"{rule} gave for {path}, {avals[i]}, a cotangent")
            if i in call.traced:
                cts.append(ct)
    return cts
