"""Running totals and products: one operation passed along an axis.

A running total ``y[i] = f(y[i - 1], x[i])`` has one rule for every ``f``: its partials, combined by
the linear recurrence that the chain rule makes of them. That recurrence is a primitive whose
derivative is the same recurrence backwards; nothing is divided, so zeros are like other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, implements, primitive, result_dtype
from fungrad.errors import ShapeMismatchError
from fungrad.ops.examples import all_batched
from fungrad.ops.reduction import Axes, kept, only, reduced_axes, reduced_shape, started
from fungrad.ops.shape import along, flipped


def delayed(x: Any, axis: int, first: float) -> Any:
    """``x`` one place later along an axis: ``first`` comes before it, its last entry is dropped."""
    shape = (*x.shape[:axis], min(x.shape[axis], 1), *x.shape[axis + 1 :])
    head = np.full_like(x, first, shape=shape)
    return np.concatenate([head, x[along(axis, slice(None, -1))]], axis)


# --- the linear recurrence -----------------------------------------------------------------------


def recurrence_value(a: Any, b: Any, axis: int) -> Any:
    """``y[i] = a[i] * y[i - 1] + b[i]`` along an axis, from ``y[0] = b[0]``."""
    out = np.empty(b.shape, np.result_type(a, b))
    factors, terms, totals = (np.moveaxis(x, axis, 0) for x in (a, b, out))
    if out.ndim == 1 and out.size:
        # One number at a time, Python's are several times faster than NumPy's.
        pairs = zip(factors[1:].tolist(), terms[1:].tolist(), strict=True)
        steps = accumulate(pairs, lambda y, ab: ab[0] * y + ab[1], initial=terms[0].item())
        totals[:] = list(steps)
        return out
    totals[...] = terms
    for i in range(1, len(totals)):
        totals[i] += factors[i] * totals[i - 1]
    return out


def _recurrence_aval(a: Aval, b: Aval, axis: int) -> Aval:
    if a.shape != b.shape:
        raise ShapeMismatchError(
            f"linear_recurrence: factors of shape {a.shape} and terms of shape {b.shape}; write: operands "
            "of one shape"
        )
    return make_aval(b.shape, np.result_type(a.dtype, b.dtype))


def backwards(a: Any, b: Any, axis: int) -> Any:
    """``t[i] = a[i + 1] * t[i + 1] + b[i]``: the transposed recurrence."""
    factors = delayed(flipped(a, axis), axis, 0)
    return flipped(recurrence_p(factors, flipped(b, axis), axis=axis), axis)


def _recurrence_vjp(ct: Any, y: Any, a: Any, b: Any, axis: int) -> tuple[Any, Any]:
    total = backwards(a, ct, axis)
    return total * delayed(y, axis, 0), total


recurrence_p: Primitive = primitive(
    "linear_recurrence",
    value=recurrence_value,
    aval=_recurrence_aval,
    vjp=_recurrence_vjp,
    batch=lambda batched, size, a, b, axis: recurrence_p(
        *all_batched(batched, size, a, b), axis=axis + 1
    ),
    fresh=True,
)

# --- running totals ------------------------------------------------------------------------------


def _accumulating(ufunc: np.ufunc, name: str, vjp: Any, analytic: bool) -> Primitive:
    record = primitive(
        name,
        value=f"np.{ufunc.__name__}.accumulate({{0}}, {{axis}}, {{dtype}})",
        aval=lambda x, axis, dtype: make_aval(
            x.shape, dtype or result_dtype(ufunc.accumulate, (x.dtype,))
        ),
        vjp=vjp,
        batch=lambda batched, size, x, axis, dtype: record(x, axis=axis + 1, dtype=dtype),
        fresh=True,
        analytic=analytic,
    )

    @implements((ufunc, "accumulate"))
    def running(array: Any, axis: int = 0, dtype: Any = None) -> Any:
        if array.ndim == 0:
            raise TypeError("cannot accumulate on a scalar")
        place = normalize_axis_index(axis, array.ndim)
        return record(array, axis=place, dtype=None if dtype is None else np.dtype(dtype))

    return record


def _chained(partials: Callable[..., tuple[Any, Any]], first: float) -> Any:
    """The rule of ``y[i] = f(y[i - 1], x[i])`` by the partials of ``f``.

    At the first entry, ``f(first, x) = x``.
    """

    def vjp(ct: Any, y: Any, x: Any, axis: int, dtype: Any) -> tuple[Any]:
        of_previous, of_entry = partials(y, delayed(y, axis, first), x, axis)
        return (backwards(of_previous, ct, axis) * of_entry,)

    return vjp


def _share_of(part: Any, total: Any) -> Any:
    """``exp(part - total)``, where both may be the same infinity."""
    same = np.equal(part, total)
    return np.exp(np.where(same, 0, part) - np.where(same, 0, total))


def _extremum_partials(y: Any, previous: Any, x: Any, axis: int) -> tuple[Any, Any]:
    """All entries that have reached the running extremum so far share evenly, as in ``np.max``."""
    wins = np.equal(x, y)
    total = np.cumsum(wins, axis)
    before = np.where(np.equal(y, previous), 0, total - wins)
    winners = total - np.maximum.accumulate(before, axis)  # since y last changed
    of_entry = wins / np.maximum(winners, 1).astype(y.dtype)
    return 1 - of_entry, of_entry


cumsum_p = _accumulating(
    np.add,
    "cumsum",
    lambda ct, y, x, axis, dtype: (flipped(np.cumsum(flipped(ct, axis), axis), axis),),
    analytic=True,
)
cumprod_p = _accumulating(
    np.multiply,
    "cumprod",
    _chained(lambda y, previous, x, axis: (x, previous), first=1),
    analytic=True,
)
_accumulating(np.maximum, "cummax", _chained(_extremum_partials, first=0), analytic=False)
_accumulating(np.minimum, "cummin", _chained(_extremum_partials, first=0), analytic=False)
_accumulating(
    np.logaddexp,
    "cumlogaddexp",
    _chained(
        lambda y, previous, x, axis: (_share_of(previous, y), _share_of(x, y)), first=-math.inf
    ),
    analytic=False,
)


def _along_or_flat(record: Primitive, a: Any, axis: Any, dtype: Any) -> Any:
    if axis is None or a.ndim == 0:
        normalize_axis_index(axis or 0, max(a.ndim, 1))
        a, axis = a.reshape((-1,)), 0
    place = normalize_axis_index(axis, a.ndim)
    return record(a, axis=place, dtype=None if dtype is None else np.dtype(dtype))


@implements(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """``np.cumsum``."""
    return _along_or_flat(cumsum_p, a, axis, dtype)


@implements(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """``np.cumprod``."""
    return _along_or_flat(cumprod_p, a, axis, dtype)


def _without_nan(a: Any, fill: float) -> Any:
    return np.where(np.isnan(a), fill, a) if a.dtype.kind in "fc" else a


@implements(np.nancumsum)
def nancumsum(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """``np.nancumsum``: NaNs count as zeros."""
    return np.cumsum(_without_nan(a, 0), axis=axis, dtype=dtype)


@implements(np.nancumprod)
def nancumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    """``np.nancumprod``: NaNs count as ones."""
    return np.cumprod(_without_nan(a, 1), axis=axis, dtype=dtype)


def _answer_cumulative(function: Any, record: Primitive, neutral: int) -> None:
    @implements(function)
    def cumulative(
        x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
    ) -> Any:
        x = np.atleast_1d(x)
        if axis is None:
            if x.ndim > 1:
                raise ValueError(
                    "For arrays which have more than one dimension ``axis`` argument is required."
                )
            axis = 0
        axis = normalize_axis_index(axis, x.ndim)
        total = _along_or_flat(record, x, axis, dtype)
        if not include_initial:
            return total
        shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        return np.concatenate([np.full_like(total, neutral, shape=shape), total], axis)


if hasattr(np, "cumulative_sum"):  # NumPy 2.1
    _answer_cumulative(np.cumulative_sum, cumsum_p, 0)
    _answer_cumulative(np.cumulative_prod, cumprod_p, 1)

# --- product -------------------------------------------------------------------------------------


_SHORT = 4096


def _others(x: Any, axis: int) -> Any:
    """The product of all other entries along an axis, without a division: zeros are no exception.

    Short arrays: the product of the entries before times that of those behind. Passing along an
    axis is slow, one entry after the other; long arrays are folded in the middle first, as the
    others of ``a`` are ``b`` and the others of the pair ``a b``.
    """
    length = x.shape[axis]
    if x.size <= _SHORT or length < 16:
        before = np.cumprod(delayed(x, axis, 1), axis)
        behind = flipped(np.cumprod(delayed(flipped(x, axis), axis, 1), axis), axis)
        return before * behind
    half = length // 2
    a, b, rest = (x[along(axis, part)] for part in _thirds(half))
    pairs = a * b
    if length % 2:
        pairs = np.concatenate([pairs, rest], axis)
    outside = _others(pairs, axis)
    shared = outside[along(axis, slice(0, half))]
    parts = [shared * b, shared * a]
    if length % 2:
        parts.append(outside[along(axis, slice(half, None))])
    return np.concatenate(parts, axis)


def _thirds(half: int) -> tuple[slice, slice, slice]:
    """The first half, the second half, and what an odd length leaves."""
    return slice(0, half), slice(half, 2 * half), slice(2 * half, None)


def _prod_vjp(ct: Any, y: Any, x: Any, axis: Axes, dtype: Any) -> tuple[Any]:
    x = x if dtype is None else x.astype(dtype)
    if len(axis) == 1:
        return (np.expand_dims(ct, axis) * _others(x, axis[0]),)
    order = [*[i for i in range(x.ndim) if i not in axis], *axis]
    moved = x.transpose(order)
    last = x.ndim - len(axis)
    flat = moved.reshape((*moved.shape[:last], math.prod(x.shape[i] for i in axis)))
    part = np.expand_dims(ct, last) * _others(flat, last)
    return (part.reshape(moved.shape).transpose(sorted(range(x.ndim), key=order.__getitem__)),)


prod_p: Primitive = primitive(
    "prod",
    value="np.multiply.reduce({0}, axis={axis}, dtype={dtype})",
    aval=lambda x, axis, dtype: make_aval(
        reduced_shape(x.shape, axis), dtype or result_dtype(np.multiply.reduce, (x.dtype,))
    ),
    vjp=_prod_vjp,
    batch=lambda batched, size, x, axis, dtype: prod_p(
        x, axis=tuple([i + 1 for i in axis]), dtype=dtype
    ),
    fresh=True,
)


@implements(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """``np.prod``."""
    a = only(where, a, 1)
    axes = reduced_axes(a, axis)
    target = None if dtype is None else np.dtype(dtype)
    result = kept(prod_p(a, axis=axes, dtype=target), a, axes, keepdims)
    return started(result, initial, np.multiply)


@implements((np.multiply, "reduce"))
def multiply_reduce(array: Any, axis: Any = 0, dtype: Any = None, **kwargs: Any) -> Any:
    """``np.multiply.reduce``: the product, but along the first axis by default."""
    return prod(array, axis, dtype, **kwargs)
