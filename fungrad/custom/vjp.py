"""``custom_vjp``: a function with a pullback of the user's.

Stage: trace. In: a function and its rule. Out: a function whose calls become ``custom_call`` nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, is_number_like
from fungrad._containers import Aux, kinds
from fungrad._graph import Graph, make_graph
from fungrad._tracer import Tracer
from fungrad._tree import TreeDef, check_same_structure, flatten
from fungrad.custom._arguments import Call, Function, aval_of_leaf
from fungrad.custom._rule import Outcome, WithRule
from fungrad.errors import CotangentError, OutputTypeError, ShapeMismatchError


def custom_vjp(f: Function, nondiff_argnums: int | Sequence[int] = ()) -> CustomVJP:
    r"""A function whose derivative is what you say it is, by a rule for reverse mode.

    Differentiating calls ``forward`` in the place of :math:`y = f(x)`, and ``backward`` with the
    cotangent :math:`\bar y` of the result, for the cotangents :math:`\bar x = \bar y^T \partial f /
    \partial x` of the arguments. The rule is written in NumPy, so it is differentiated itself for
    higher orders, batched by ``vmap`` and transposed for ``jvp``: forward mode works as well.

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
            or dtype than its argument.
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
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise OutputTypeError(
                f"the forward rule of {self._name} must return a pair, but it returned a "
                f"{type(out).__name__}; write: return result, residuals"
            )
        result, residuals = out
        self._check_result(outcome, result)
        # The result's leaves that are no part of the program (numbers, strings) have no cotangent.
        still = {i: 0.0 if is_number_like(x) else x for i, x in outcome.result.opaque.items()}
        ct = attrs.evolve(outcome.result, opaque=still).rebuild(further)
        parts = backward(*call.fixed_args, residuals, ct)
        if not isinstance(parts, (tuple, list)) or len(parts) != len(call.places):
            found = len(parts) if isinstance(parts, (tuple, list)) else f"a {type(parts).__name__}"
            raise CotangentError(
                f"the backward rule of {self._name} gave {found} instead of a tuple of "
                f"{len(call.places)} cotangents; write: return a tuple, one for each argument, "
                "such as (ct,)"
            )
        leaves = _matched(call.tree, tuple(parts), self._name)
        numeric = dict(zip(call.traced, traced, strict=True))
        cts = []
        for i, (leaf, part, path) in enumerate(zip(call.leaves, leaves, call.paths(), strict=True)):
            primal = numeric.get(i, leaf)
            checked = self._checked(primal, part, path)
            if i in numeric:
                cts.append(checked)
        return cts

    def _check_result(self, outcome: Outcome, result: Any) -> None:
        leaves, tree = flatten(result)
        name = f"the result of {self._name}"
        check_same_structure(outcome.result.tree, tree, name, f"{name} by its forward rule")
        avals = iter(outcome.avals)
        for i, (leaf, path) in enumerate(zip(leaves, tree.paths(), strict=True)):
            if i in outcome.result.opaque:
                continue
            want, got = next(avals), aval_of_leaf(leaf)
            if (got.shape, got.dtype) != (want.shape, want.dtype):
                raise ShapeMismatchError(
                    f"{name}{path} is {want}, but {got} by its forward rule; write: a rule that "
                    "returns what the function does"
                )

    def _checked(self, primal: Any, part: Any, path: str) -> Any:
        """A cotangent that fits the leaf ``primal``."""
        if not is_number_like(primal) and not isinstance(primal, Tracer):
            return None
        want = aval_of_leaf(primal)
        if part is None or not want.inexact:
            return np.zeros_like(primal)
        got = aval_of_leaf(part)
        what = f"the backward rule of {self._name} gave for {path}, {want}, a cotangent"
        if got.shape != want.shape:
            raise CotangentError(
                f"{what} of shape {got.shape}; write: one of shape {want.shape}, or None for zero"
            )
        if got.weak and (got.dtype.kind in "bif" or want.dtype.kind == "c"):
            return np.zeros_like(primal) + part
        if got.dtype != want.dtype:
            raise CotangentError(
                f"{what} of dtype {got.dtype}; write: one of dtype {want.dtype}, such as "
                f"ct.astype({want.dtype.name!r})"
            )
        return part

    def _finished(self, graph: Graph, call: Call, outcome: Outcome) -> Graph:
        avals = [*[node.aval for node in graph.inputs], *outcome.avals]
        return make_graph(avals, graph.outputs)


def _matched(tree: TreeDef, parts: Any, name: str) -> list[Any]:
    """The leaves of cotangents for arguments of a structure; ``None`` may stand for a subtree."""
    leaves: list[Any] = []
    pending = [(tree, parts)]
    while pending:
        expected, part = pending.pop()
        kind = kinds[type(part)]
        if part is None:
            leaves += [None] * expected.num_leaves
        elif expected.kind is None and kind is None:
            leaves.append(part)
        else:
            below, aux = ([], None) if kind is None else kind.flatten(part)
            if kind is not expected.kind or Aux(aux and aux.value) != Aux(expected.aux):
                _refuse(tree, parts, name)
            children = list(below)
            if len(children) != len(expected.children):
                _refuse(tree, parts, name)
            pending += reversed(list(zip(expected.children, children, strict=True)))
    return leaves


def _refuse(tree: TreeDef, parts: Any, name: str) -> None:
    ours, theirs = f"the arguments of {name}", "the cotangents by its backward rule"
    check_same_structure(tree, flatten(parts)[1], ours, theirs)
