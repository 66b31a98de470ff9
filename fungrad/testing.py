"""Checks for tests of code that is differentiated, as ``fg.testing``.

Row 10, a public face. In: a function and arguments. Out: nothing, or an ``AssertionError`` that
names the input whose derivative is wrong, with both numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fungrad._aval import aval_of
from fungrad._evaluate import interpret
from fungrad._expr import Expr
from fungrad._graph import Graph
from fungrad._simplify import expand
from fungrad._trace import trace_flat
from fungrad._tree import flatten, tree_map
from fungrad.errors import ArgumentError
from fungrad.transforms.products import jvp, vjp

__all__ = ["check_grads"]

Function = Callable[..., Any]

STEP = 1e-5
"""Of central differences, times max(1, |x|): near the cube root of the double's epsilon."""

TINY_STEP = 1e-30
"""Of the complex step, which subtracts nothing, so that no step is too small."""

TOLERANCE = {"float16": 3e-2, "float32": 1e-3, "complex64": 1e-3}
"""Default ``rtol`` by the narrowest dtype that takes part; 1e-6 for double precision and wider."""

EXACT = (1e-10, 1e-12)
"""Default ``rtol`` and ``atol`` where the complex step gives the derivative to rounding."""


def check_grads(
    f: Function,
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("rev", "fwd"),
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    r"""Compare the derivatives of a function with its values nearby.

    For each leaf :math:`x` of the arguments, a random direction :math:`u` with entries of the size
    of :math:`\max(1, |x|)`, and a random cotangent :math:`c`, three numbers must agree:
    :math:`\langle c, J u \rangle` by forward mode, :math:`\langle J^T c, u \rangle` by reverse mode,
    and one that knows no rule of differentiation. If all operations are analytic, in double
    precision and real, that is the complex step, :math:`\langle c, \Im f(x + i h u) \rangle / h` with
    :math:`h = 10^{-30}`, which is exact to rounding; else central differences,
    :math:`\langle c, f(x + h u) - f(x - h u) \rangle / 2h` with :math:`h = 10^{-5}`, in double precision
    also for narrower arguments. The first two, if both modes are checked, must agree to rounding.
    Directions and cotangents are the same on every call.

    Args:
        f: a pure function of pytrees; its result is a pytree of arrays of any shapes.
        args: its positional arguments: pytrees of floating-point arrays of any shapes ``(...)``.
            Choose them away from kinks and jumps.
        order: up to which order derivatives are checked, at least 1. Beyond the first, they are
            derivatives of the vjp and of the jvp.
        modes: ``"rev"``, ``"fwd"`` or both.
        rtol: allowed difference relative to the sum of :math:`|c \, J u|` over all entries; by
            default 1e-10 beside the complex step, and 1e-6, or what the narrowest floating-point dtype
            permits, beside differences.
        atol: allowed difference in the units of the result, beyond what rounding explains; by
            default 1e-12 and 1e-8.

    Raises:
        AssertionError: a derivative is wrong. The message says with respect to which leaf, of which
            order, in which mode, and gives both numbers.
        ArgumentError: ``order`` or ``modes`` is none of the above.
        NonDifferentiableInputError: a leaf of ``args`` is not floating-point.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> from fungrad.testing import check_grads
        >>> check_grads(lambda x, y: np.sin(x) * y, (np.array([0.5, 2.0]), 3.0))
        >>> lost = lambda p: np.sum(p["x"] * fg.stop_gradient(p["x"]))
        >>> check_grads(lost, ({"x": np.array([1.0])},))
        Traceback (most recent call last):
        ...
        AssertionError: args[0]['x']: the derivative of order 1 along a random direction is ...

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.2; the step:
        Nocedal and Wright, Numerical Optimization, 2nd ed., Springer 2006, section 8.1; the complex
        step: Squire and Trapp, Using Complex Variables to Estimate Derivatives of Real Functions,
        SIAM Review 40, 1998.
    """
    modes = tuple(modes)
    if not modes or not set(modes) <= {"rev", "fwd"}:
        raise ArgumentError(
            f"modes={modes!r} of check_grads; write: ('rev', 'fwd'), or one of them"
        )
    if order < 1:
        raise ArgumentError(f"order={order!r} of check_grads; write: 1 or more")
    leaves, tree = flatten(tuple(args))
    names = [f"args{path}" for path in tree.paths()]
    _check(lambda *new: f(*tree.unflatten(new)), leaves, names, 1, order, modes, rtol, atol)


def _check(
    f: Function,
    leaves: list[Any],
    names: list[str],
    now: int,
    last: int,
    modes: tuple[str, ...],
    rtol: float | None,
    atol: float | None,
) -> None:
    rng = np.random.default_rng(now)
    value, pull = vjp(f, *leaves)
    cts = tree_map(lambda leaf: _random_like(rng, leaf), value)
    directions = [_random_like(rng, leaf) * np.maximum(1, np.abs(leaf)) for leaf in leaves]
    values = flatten(value)[0]
    analytic = _analytic(f, leaves)
    for k, name in enumerate(names):
        tangents = [u if i == k else np.zeros_like(u) for i, u in enumerate(directions)]
        slope = analytic and analytic(tangents)
        exact = slope is not None
        if exact:
            way, (relative, absolute) = "the complex step gives", EXACT
        else:
            way, slope = "central differences give", _differences(f, leaves, tangents)
            relative, absolute = _default_rtol([*leaves, *values]), 1e-8
        expected, size = _pair(cts, slope), _size(cts, slope)
        bound = (relative if rtol is None else rtol) * size + (absolute if atol is None else atol)
        if not exact:  # the difference of two rounded values, over 2 h
            bound += np.finfo(np.float64).eps / STEP * _size(cts, value)
        found = {}
        if "rev" in modes:
            found["reverse"] = _pair(pull(cts), tuple(tangents))
        if "fwd" in modes:
            found["forward"] = _pair(cts, jvp(f, leaves, tangents)[1])
        for mode, got in found.items():
            if not abs(got - expected) <= bound:
                raise AssertionError(
                    f"{name}: the derivative of order {now} along a random direction is {got!r} by "
                    f"{mode} mode, but {way} {expected!r} (allowed: ±{bound:.1e})"
                )
        if len(found) == 2:
            _check_adjoint(name, now, found, size, [*leaves, *values])
    if now < last:
        if "rev" in modes:
            _check(lambda *x: vjp(f, *x)[1](cts), leaves, names, now + 1, last, modes, rtol, atol)
        if "fwd" in modes:
            along = lambda *x: jvp(f, x, directions)[1]
            _check(along, leaves, names, now + 1, last, modes, rtol, atol)


def _check_adjoint(
    name: str, order: int, found: dict[str, float], size: float, leaves: list[Any]
) -> None:
    reverse, forward = found["reverse"], found["forward"]
    if not abs(reverse - forward) <= 1e4 * _epsilon(leaves) * (size + 1):
        raise AssertionError(
            f"{name}: the derivative of order {order} along a random direction is {reverse!r} by "
            f"reverse mode, but {forward!r} by forward mode, which is its adjoint"
        )


def _differences(f: Function, leaves: list[Any], tangents: list[Any]) -> Any:
    """``J t`` by central differences."""
    wide = [np.asarray(leaf).astype(np.result_type(leaf, np.float64)) for leaf in leaves]
    pairs = list(zip(wide, tangents, strict=True))
    ahead = f(*[x + STEP * t for x, t in pairs])
    behind = f(*[x - STEP * t for x, t in pairs])
    return tree_map(
        lambda a, b: (np.asarray(a) * 1.0 - b) / (2 * STEP) if _inexact(a) else 0.0, ahead, behind
    )


def _analytic(f: Function, leaves: list[Any]) -> Function | None:
    """``tangents -> J t`` by the complex step, or to ``None``; if every operation is analytic."""
    values = [np.asarray(leaf) for leaf in leaves]
    if any(value.dtype != np.float64 for value in values):
        return None
    traced = trace_flat(lambda tracers: (f(*tracers),), list(map(aval_of, values)), values)
    graph = expand(traced.graph)
    reached: set[Expr] = set(graph.inputs[: len(leaves)])
    for node in graph.nodes:
        # An operation that gives no floats (a comparison) is not perturbed, but passes nothing on.
        if node.aval.inexact and not reached.isdisjoint(node.args):
            holds = any(isinstance(value, Graph) for _, value in node.static)
            assert node.primitive is not None
            if holds or not node.primitive.analytic or node.aval.dtype.kind == "c":
                return None
            reached.add(node)

    def slope(tangents: list[Any]) -> Any:
        shifted = [x + 1j * TINY_STEP * t for x, t in zip(values, tangents, strict=True)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outputs = interpret(graph, [*shifted, *traced.captures])
        except Exception:  # some operation has no complex version
            return None
        # A constant may be complex, and is no slope.
        pairs = zip(graph.outputs, outputs, strict=True)
        slopes = [np.imag(out) / TINY_STEP * (node in reached) for node, out in pairs]
        return traced.rebuild(slopes)[0]

    return slope


def _inexact(leaf: Any) -> bool:
    return bool(np.asarray(leaf).dtype.kind in "fc")


def _random_like(rng: np.random.Generator, leaf: Any) -> Any:
    """Normally distributed numbers of a leaf's shape, in double precision; zeros for integers."""
    real, imaginary = rng.normal(size=(2, *np.shape(leaf)))
    kind = np.asarray(leaf).dtype.kind
    return np.asarray(real + 1j * imaginary if kind == "c" else real * (kind == "f"))


def _pair(cts: Any, values: Any) -> float:
    """``Re Σ c v`` over all leaves."""
    pairs = zip(flatten(cts)[0], flatten(values)[0], strict=True)
    return float(sum(np.sum(np.real(c * v)) for c, v in pairs))


def _size(cts: Any, values: Any) -> float:
    pairs = zip(flatten(cts)[0], flatten(values)[0], strict=True)
    return float(sum(np.sum(np.abs(c * v)) for c, v in pairs))


def _default_rtol(leaves: list[Any]) -> float:
    return max(TOLERANCE.get(np.asarray(leaf).dtype.name, 1e-6) for leaf in leaves)


def _epsilon(leaves: list[Any]) -> float:
    return max(float(np.finfo(np.asarray(x).dtype).eps) for x in leaves if _inexact(x))
