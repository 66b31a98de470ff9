"""Convolution of sequences, and linear interpolation between samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, implements, primitive, result_dtype
from fungrad._tracer import Tracer
from fungrad.ops.examples import all_batched, by_example
from fungrad.ops.shape import arraylike, flipped
from fungrad.ops.sorting import put_back, searchsorted_p, taken

# --- convolution -----------------------------------------------------------------------------------


def convolve_value(a: Any, v: Any, mode: Any) -> Any:
    """``np.convolve``; leading axes, which both operands share, are examples."""
    if a.ndim == 1:
        return np.convolve(a, v, mode)
    aval = _convolve_aval(a, v, mode)
    apply = lambda x, y: np.convolve(x, y, mode)
    return by_example(apply, a.shape[:-1], aval.shape, aval.dtype, a, v)


def _bounds(n: int, m: int, mode: Any) -> tuple[int, int]:
    """The part of the full convolution, of length ``n + m - 1``, that ``mode`` gives."""
    short, long = sorted((n, m))
    if mode == "full":
        return 0, n + m - 1
    if mode == "valid":
        return short - 1, long
    start = (short - 1) // 2
    return start, start + long


def _convolve_aval(a: Aval, v: Aval, mode: Any) -> Aval:
    start, stop = _bounds(a.shape[-1], v.shape[-1], mode)
    return make_aval((*a.shape[:-1], stop - start), result_dtype(np.convolve, (a.dtype, v.dtype)))


def _convolve_vjp(ct: Any, y: Any, a: Any, v: Any, mode: Any) -> tuple[Any, Any]:
    # y[k] = sum_i a[i] v[k - i], so a[i] gets sum_k ct[k] v[k - i]: with v backwards, again one.
    n, m, last = a.shape[-1], v.shape[-1], a.ndim - 1
    start, stop = _bounds(n, m, mode)
    if mode != "full":
        sides = [(*ct.shape[:-1], count) for count in (start, n + m - 1 - stop)]
        before, behind = (np.zeros_like(ct, shape=side) for side in sides)
        ct = np.concatenate([before, ct, behind], last)
    return (
        convolve_p(ct, flipped(v, last), mode="valid"),
        convolve_p(ct, flipped(a, last), mode="valid"),
    )


convolve_p: Primitive = primitive(
    "convolve",
    value=convolve_value,
    aval=_convolve_aval,
    vjp=_convolve_vjp,
    batch=lambda batched, size, a, v, mode: convolve_p(
        *all_batched(batched, size, a, v), mode=mode
    ),
    fresh=True,
)

_MODES = {"f": "full", "s": "same", "v": "valid", 0: "valid", 1: "same", 2: "full"}


def _sequence(x: Any, name: str) -> Any:
    x = np.atleast_1d(arraylike(x))
    if x.ndim > 1:
        raise ValueError("object too deep for desired array")
    if x.size == 0:
        raise ValueError(f"{name} cannot be empty")
    return x


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: Any = "full") -> Any:
    """``np.convolve``."""
    a, v = _sequence(a, "a"), _sequence(v, "v")
    chosen = _MODES.get(mode[:1].lower() if isinstance(mode, str) else mode)
    if chosen is None:
        raise ValueError(f"mode must be one of 'valid', 'same', or 'full' (got {mode!r})")
    return convolve_p(a, v, mode=chosen)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: Any = "valid") -> Any:
    """``np.correlate``: the convolution with the second sequence backwards and conjugated."""
    a, v = _sequence(a, "a"), _sequence(v, "v")
    if a.size < v.size:  # NumPy moves the shorter one; this decides the middle in mode "same"
        return np.conjugate(flipped(correlate(v, a, mode), 0))
    return convolve(a, np.conjugate(flipped(v, 0)), mode)


# --- interpolation -----------------------------------------------------------------------------------


def _interp_aval(x: Aval, xp: Aval, fp: Aval) -> Aval:
    return make_aval(x.shape, np.dtype(np.complex128 if fp.dtype.kind == "c" else np.float64))


def interp_value(x: Any, xp: Any, fp: Any) -> Any:
    """``np.interp``; leading axes of the samples, which ``x`` shares, are examples."""
    if xp.ndim == 1:
        return np.interp(x, xp, fp)
    return by_example(np.interp, xp.shape[:-1], x.shape, _interp_aval(x, xp, fp).dtype, x, xp, fp)


def _interp_vjp(ct: Any, y: Any, x: Any, xp: Any, fp: Any) -> tuple[Any, Any, Any]:
    """Of ``y = f0 + slope * (x - x0)`` on the piece that ``x`` is in; constant outside."""
    last, leading = xp.ndim - 1, xp.shape[:-1]
    flat = (*leading, math.prod(x.shape[last:]))
    at, ct = x.reshape(flat), ct.reshape(flat)
    ends = np.expand_dims(xp[..., 0], last), np.expand_dims(xp[..., -1], last)
    left = np.clip(searchsorted_p(xp, at, side="right") - 1, 0, xp.shape[-1] - 2)
    # The slopes of the pieces, of which there are few: reading one is cheaper than its four ends.
    width = xp[..., 1:] - xp[..., :-1]
    width = np.where(width == 0, 1, width)  # nothing is in such a piece
    slope = taken((fp[..., 1:] - fp[..., :-1]) / width, left, last)
    behind = at > ends[1]
    inside = ~(behind | (at < ends[0]))
    # Outside, all weight is on the outermost sample.
    weight = (at - taken(xp, left, last)) / taken(width, left, last)
    weight = np.where(inside, weight, behind.astype(xp.dtype))
    of_x = np.where(inside, ct * slope, 0)

    def collected(of_left: Any, of_right: Any) -> Any:
        first, second = ((of_left, left), (of_right, left + 1))
        return put_back(*first, last, xp.shape) + put_back(*second, last, xp.shape)

    of_xp = collected(of_x * (weight - 1), -of_x * weight)
    return of_x.reshape(x.shape), of_xp, collected(ct * (1 - weight), ct * weight)


def _interp_batch(batched: Any, size: int, x: Any, xp: Any, fp: Any) -> Any:
    if any(batched[1:]) or xp.ndim > 1:
        x, xp, fp = all_batched(batched, size, x, xp, fp)
    return interp_p(x, xp, fp)


interp_p: Primitive = primitive(
    "interp",
    value=interp_value,
    aval=_interp_aval,
    vjp=_interp_vjp,
    batch=_interp_batch,
    fresh=True,
    analytic=False,
)


@implements(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """``np.interp``; at a sample, the slope is that of the piece behind it."""
    x, xp, fp = arraylike(x), arraylike(xp), arraylike(fp)
    if xp.ndim != 1 or fp.ndim != 1:
        raise ValueError("Data points must be 1-D sequences")
    if xp.shape != fp.shape:
        raise ValueError("fp and xp are not of the same length.")
    if xp.size == 0:
        raise ValueError("array of sample points is empty")
    x, xp = x.astype(np.float64), xp.astype(np.float64)
    fp = fp.astype(np.complex128 if fp.dtype.kind == "c" else np.float64)
    if period is not None:
        if not isinstance(period, Tracer) and period == 0:
            raise ValueError("period must be a non-zero value")
        period = np.abs(period)
        left = right = None
        x, xp = x % period, xp % period
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    result = interp_p(x, xp, fp) if xp.size > 1 else np.where(np.isnan(x), x, fp[0])
    if left is not None:
        result = np.where(x < xp[0], left, result)
    return result if right is None else np.where(x > xp[-1], right, result)
