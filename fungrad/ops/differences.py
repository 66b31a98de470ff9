"""Differences along an axis and what is built on them; composites of NumPy's own formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fungrad._primitive import implements
from fungrad._tracer import Tracer
from fungrad.ops.shape import along, arraylike


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """``np.diff``."""
    if n == 0:
        return a
    if n < 0:
        raise ValueError(f"order must be non-negative but got {n!r}")
    a = arraylike(a)
    if a.ndim == 0:
        raise ValueError("diff requires input that is at least one dimensional")
    axis = normalize_axis_index(axis, a.ndim)
    parts = [arraylike(part) for part in (prepend, a, append) if part is not None]
    if len(parts) > 1:
        one = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
        a = np.concatenate([np.broadcast_to(x, one) if x.ndim == 0 else x for x in parts], axis)
    for _ in range(n):
        later, earlier = a[along(axis, slice(1, None))], a[along(axis, slice(None, -1))]
        a = later != earlier if a.dtype.kind == "b" else later - earlier
    return a


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """``np.ediff1d``."""
    flat = np.ravel(arraylike(ary))
    parts = []
    for name, part in (("to_begin", to_begin), ("to_end", to_end)):
        part = np.zeros(0, flat.dtype) if part is None else arraylike(part)
        if not np.can_cast(part.dtype, flat.dtype, "same_kind"):
            raise TypeError(
                f"dtype of `{name}` must be compatible with input `ary` under the `same_kind` rule."
            )
        parts.append(np.ravel(part).astype(flat.dtype))
    return np.concatenate([parts[0], flat[1:] - flat[:-1], parts[1]])


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """``np.trapezoid``."""
    y = arraylike(y)
    axis = normalize_axis_index(axis, y.ndim)
    width = dx
    if x is not None:
        x = arraylike(x)
        width = np.diff(x, axis=0 if x.ndim == 1 else axis)
        if x.ndim == 1:
            width = width.reshape((-1, *[1] * (y.ndim - axis - 1)))
    ends = y[along(axis, slice(1, None))] + y[along(axis, slice(None, -1))]
    return (width * ends / 2.0).sum(axis)


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """``np.gradient``: second-order differences inside, first or second order at the edges."""
    f = arraylike(f)
    axes = tuple(range(f.ndim)) if axis is None else normalize_axis_tuple(axis, f.ndim)
    if not varargs:
        varargs = (1.0,)
    if len(varargs) == 1 and np.ndim(varargs[0]) == 0:
        varargs *= len(axes)
    if len(varargs) != len(axes):
        raise TypeError("invalid number of arguments")
    if edge_order > 2:
        raise ValueError("'edge_order' greater than 2 not supported")
    steps = [_steps(v, f.shape[i]) for v, i in zip(varargs, axes, strict=True)]
    if f.dtype.kind in "iu":
        f = f.astype(np.float64)
    slopes = [_slope(f, h, i, edge_order) for h, i in zip(steps, axes, strict=True)]
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _steps(spacing: Any, length: int) -> Any:
    """The distances of neighbours: one number where they are known to be all equal."""
    if np.ndim(spacing) == 0:
        return spacing  # a Python number stays one: it does not promote
    spacing = arraylike(spacing)
    if spacing.ndim != 1:
        raise ValueError("distances must be either scalars or 1d")
    if len(spacing) != length:
        raise ValueError("when 1d, distances must match the length of the corresponding dimension")
    steps = np.diff(spacing.astype(np.float64) if spacing.dtype.kind in "iu" else spacing)
    # Each coordinate of a traced grid has a derivative of its own, also where all steps are equal.
    equal = not isinstance(steps, Tracer) and np.all(steps == steps[0])
    return steps[0] if equal else steps


def _slope(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    """The derivative of ``f`` along one axis, by three-point formulas (Fornberg, 1988)."""
    if f.shape[axis] < edge_order + 1:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, "
            "at least (edge_order + 1) elements are required."
        )

    def at(start: int | None, stop: int | None = None) -> Any:
        return f[along(axis, slice(start, stop))]

    def at_column(start: int | None, stop: int | None = None) -> Any:
        return h[start:stop].reshape((-1, *[1] * (f.ndim - axis - 1)))

    uniform = np.ndim(h) == 0
    if uniform:
        inside = (at(2) - at(None, -2)) / (2.0 * h)
    else:
        p, q = at_column(None, -1), at_column(1)
        a, b, c = -q / (p * (p + q)), (q - p) / (p * q), p / (q * (p + q))
        inside = a * at(None, -2) + b * at(1, -1) + c * at(2)
    if edge_order == 1:
        first = (at(1, 2) - at(0, 1)) / (h if uniform else h[0])
        last = (at(-1) - at(-2, -1)) / (h if uniform else h[-1])
    else:
        if uniform:
            a, b, c = -1.5 / h, 2.0 / h, -0.5 / h
            d, e, g = 0.5 / h, -2.0 / h, 1.5 / h
        else:
            p, q, r, s = h[0], h[1], h[-2], h[-1]
            a, b, c = -(2.0 * p + q) / (p * (p + q)), (p + q) / (p * q), -p / (q * (p + q))
            d, e, g = s / (r * (r + s)), -(s + r) / (r * s), (2.0 * s + r) / (s * (r + s))
        first = a * at(0, 1) + b * at(1, 2) + c * at(2, 3)
        last = d * at(-3, -2) + e * at(-2, -1) + g * at(-1)
    dtype = f.dtype if f.dtype.kind in "fc" else np.float64
    return np.concatenate([x.astype(dtype) for x in (first, inside, last)], axis)


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * np.pi) -> Any:
    """``np.unwrap``: jumps of at least ``discont`` are brought below half a period."""
    p = arraylike(p)
    axis = normalize_axis_index(axis, p.ndim)
    step = np.diff(p, axis=axis)
    dtype = np.result_type(step, period)
    if dtype.kind in "iu":
        high, odd = divmod(period, 2)
    else:
        high, odd = period / 2, False
    low = -high
    short = np.remainder(step - low, period) + low
    if not odd:  # a jump of exactly half a period keeps its sign
        short = np.where((short == low) & (step > 0), high, short)
    limit = period / 2 if discont is None else discont
    correction = np.where(np.abs(step) < limit, 0, short - step)
    rest = p[along(axis, slice(1, None))] + np.cumsum(correction, axis)
    return np.concatenate([p[along(axis, slice(0, 1))].astype(dtype), rest.astype(dtype)], axis)
