"""Median, quantiles and percentiles, with and without NaNs.

A quantile interpolates between two entries of the sorted sample, so its gradient is two weights
that sum to 1. Where the places are known beforehand, only these entries are selected; quantiles at
traced places, of weighted samples, and among NaNs sort.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fungrad._primitive import implements
from fungrad._tracer import Tracer
from fungrad.ops.indexing import ARRAY, getitem_p
from fungrad.ops.reduction import Axes, axes_of, kept
from fungrad.ops.shape import arraylike
from fungrad.ops.sorting import order_statistics_p, taken

# --- where a quantile lies: places count from 0, fractions interpolate ----------------------------


@attrs.frozen
class _Method:
    """A sample quantile of Hyndman and Fan, Sample quantiles in statistical packages (1996).

    Attributes:
        place: ``(n, q)`` to the place among ``n`` sorted entries; integers are entries themselves.
        fraction: ``(fraction, place)`` to the weight of the entry behind the place.
    """

    place: Callable[[Any, Any], Any]
    fraction: Callable[[Any, Any], Any] = lambda fraction, place: fraction


def _continuous(alpha: float, beta: float) -> _Method:
    return _Method(lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1)


def _stepwise(place: Any, stays: Any) -> Any:
    """The entry before a place where ``stays(fraction, entry)``, else the one behind."""
    before = np.floor(place)
    chosen = np.where(stays(place - before, before), before, before + 1)
    return np.maximum(chosen.astype(np.intp), 0)


_METHODS: dict[str, _Method] = {
    "inverted_cdf": _Method(lambda n, q: _stepwise(n * q - 1, lambda f, i: f == 0)),
    "averaged_inverted_cdf": _Method(
        lambda n, q: n * q - 1, lambda f, place: np.where(f == 0, 0.5, 1.0)
    ),
    "closest_observation": _Method(
        lambda n, q: _stepwise(n * q - 1 - 0.5, lambda f, i: (f == 0) & (i % 2 == 1))
    ),
    "interpolated_inverted_cdf": _continuous(0, 1),
    "hazen": _continuous(0.5, 0.5),
    "weibull": _continuous(0, 0),
    "linear": _Method(lambda n, q: (n - 1) * q),
    "median_unbiased": _continuous(1 / 3, 1 / 3),
    "normal_unbiased": _continuous(3 / 8, 3 / 8),
    "lower": _Method(lambda n, q: np.floor((n - 1) * q).astype(np.intp)),
    "higher": _Method(lambda n, q: np.ceil((n - 1) * q).astype(np.intp)),
    "midpoint": _Method(
        lambda n, q: 0.5 * (np.floor((n - 1) * q) + np.ceil((n - 1) * q)),
        lambda f, place: np.where(place % 1 == 0, 0.0, 0.5),
    ),
    "nearest": _Method(lambda n, q: np.round((n - 1) * q).astype(np.intp)),
}


def _method_named(name: str) -> _Method:
    if name not in _METHODS:
        raise ValueError(f"{name!r} is not a valid method. Use one of: {list(_METHODS)}")
    return _METHODS[name]


# --- the sample: reduced axes become one, in front ------------------------------------------------


def _in_front(a: Any, axes: Axes) -> Any:
    order = [*axes, *[i for i in range(a.ndim) if i not in axes]]
    length = math.prod(a.shape[i] for i in axes)
    moved = np.transpose(a, order)
    return moved.reshape((length, *moved.shape[len(axes) :]))


def _selected(sample: Any, entries: Any) -> Any:
    """The entries of the sorted sample; also the last one, which is NaN if any is."""
    n = sample.shape[0]
    if isinstance(entries, Tracer):
        ordered = np.sort(sample, axis=0)
        columns = (slice(None),) * (sample.ndim - 1)
        return getitem_p(ordered, entries, index=(ARRAY, *columns)), ordered[-1]
    places = np.unique(np.append(entries, n - 1))
    found = order_statistics_p(sample, axis=0, kth=tuple(places.tolist()))
    return found[np.searchsorted(places, entries)], found[-1]


def _interpolated(before: Any, behind: Any, fraction: Any, rest: Any) -> Any:
    """Between two entries, from the nearer one: NumPy's formula."""
    distance = behind - before
    from_before, from_behind = before + distance * fraction, behind - distance * rest
    if isinstance(fraction, float):
        return from_behind if fraction >= 0.5 else from_before
    return np.where(fraction >= 0.5, from_behind, from_before)


def _neighbours(place: Any, n: Any) -> tuple[Any, Any]:
    """The entries before and behind a place; the first or last one for places outside."""
    before = np.floor(place)
    low, high = place < 0, place >= n - 1
    last = np.maximum(n - 1, 0)
    return tuple(
        np.where(high, last, np.where(low, 0, entry)).astype(np.intp)
        for entry in (before, before + 1)
    )  # type: ignore[return-value]


def _weights(place: Any, before: Any, method: _Method, dtype: Any, weak: bool) -> tuple[Any, Any]:
    """The fraction and what it leaves of 1; a Python number does not promote the sample."""
    fraction = method.fraction(place - before, place).astype(place.dtype)
    if not weak:
        return fraction, 1 - fraction
    if not isinstance(fraction, Tracer):
        return float(fraction), 1 - float(fraction)
    target = dtype if dtype.kind == "f" else np.float64
    return fraction.astype(target), (1 - fraction).astype(target)


def _unless_nan(result: Any, last: Any) -> Any:
    return np.where(np.isnan(last), last, result) if last.dtype.kind == "f" else result


def _plain(sample: Any, q: Any, method: _Method, weak: bool) -> Any:
    n = sample.shape[0]
    place = method.place(n, q)
    if place.dtype.kind in "iu":
        return _unless_nan(*_selected(sample, place))
    before, behind = _neighbours(place, n)
    values, last = _selected(sample, np.stack([before, behind]))
    fraction, rest = _weights(place, before, method, sample.dtype, weak)
    if not weak:
        fraction, rest = (
            np.reshape(x, (*place.shape, *[1] * (sample.ndim - 1))) for x in (fraction, rest)
        )
    return _unless_nan(_interpolated(values[0], values[1], fraction, rest), last)


def _without_nans(sample: Any, q: Any, method: _Method, weak: bool) -> Any:
    """Each column has a number of entries of its own; the NaNs behind them are left out."""
    n = np.sum(~np.isnan(sample), axis=0)
    ordered = np.sort(sample, axis=0)
    place = method.place(n, np.reshape(q, (*q.shape, *[1] * (sample.ndim - 1))))
    if place.dtype.kind in "iu":
        return _entries(ordered, place, sample.ndim - 1)
    before, behind = _neighbours(place, n)
    fraction, rest = _weights(place, before, method, sample.dtype, weak)
    low, high = (_entries(ordered, entry, sample.ndim - 1) for entry in (before, behind))
    return _interpolated(low, high, fraction, rest)


def _entries(ordered: Any, entry: Any, rank: int) -> Any:
    """For each column, the entries of its own; ``rank`` is that of the columns' axes."""
    flat = entry.reshape((-1, *ordered.shape[1:]))
    return taken(ordered, flat, 0).reshape(entry.shape)


def _weighted(sample: Any, q: Any, weights: Any, skip_nans: bool) -> Any:
    """The first entry at which the weights sum up to ``q``: the inverse of the weighted CDF."""
    missing = np.isnan(sample) if sample.dtype.kind == "f" else None
    if skip_nans and missing is not None:
        weights = np.where(missing, 0, weights)
    order = np.argsort(sample, axis=0)
    ordered = taken(sample, order, 0)
    weights = taken(np.broadcast_to(weights, sample.shape), order, 0)
    total = np.cumsum(weights, axis=0, dtype=np.float64)
    cdf = total / total[-1]
    if q.dtype.kind == "f":
        cdf = cdf.astype(q.dtype)
    # Entries without weight in front can't be the answer to q = 0.
    cdf = np.where(cdf == 0, -1, cdf)
    levels = np.reshape(q, (*q.shape, *[1] * sample.ndim))
    entry = np.minimum(np.sum(cdf < levels, axis=q.ndim), sample.shape[0] - 1)
    result = _entries(ordered, entry, sample.ndim - 1)
    return result if skip_nans else _unless_nan(result, ordered[-1])


# --- NumPy's functions ---------------------------------------------------------------------------


def aligned_weights(weights: Any, a: Any, axis: Any) -> Any:
    """Weights of the shape of ``a``, or of its reduced axes, ready to broadcast against ``a``."""
    weights = arraylike(weights)
    if weights.shape == a.shape:
        return weights
    if axis is None:
        raise TypeError("Axis must be specified when shapes of a and weights differ.")
    axes = np.lib.array_utils.normalize_axis_tuple(axis, a.ndim)
    if weights.shape != tuple([a.shape[i] for i in axes]):
        raise ValueError(
            "Shape of weights must be consistent with shape of a along specified axis."
        )
    ordered = np.transpose(weights, sorted(range(len(axes)), key=axes.__getitem__))
    return ordered.reshape(tuple([n if i in axes else 1 for i, n in enumerate(a.shape)]))


def _checked_level(q: Any, share: str) -> tuple[Any, bool]:
    """The level as an array, and whether it is a Python number; known levels must be in range."""
    weak = q.aval.weak if isinstance(q, Tracer) else type(q) in (int, float)
    if not isinstance(q, Tracer):
        q = np.asarray(q)
        if not np.all((q >= 0) & (q <= 1)):
            raise ValueError(share)
    if q.ndim > 2:
        raise ValueError("q must be a scalar or 1d")
    return q, weak


def _quantile(
    a: Any,
    q: Any,
    weak: bool,
    axis: Any,
    method: str,
    keepdims: bool,
    weights: Any,
    skip_nans: bool,
) -> Any:
    if a.dtype.kind == "c":
        raise TypeError("a must be an array of real numbers")
    axes = axes_of(a, axis)
    sample = _in_front(a, axes)
    chosen = _method_named(method)
    if skip_nans and a.size == 0:
        return np.nanmean(a, axis=axis, keepdims=keepdims)
    if sample.shape[0] == 0:
        raise IndexError("index -1 is out of bounds for axis 0 with size 0")
    if weights is not None:
        if method != "inverted_cdf":
            raise ValueError(f"Only method 'inverted_cdf' supports weights. Got: {method}.")
        weights = aligned_weights(weights, a, axis)
        if not isinstance(weights, Tracer) and np.any(weights < 0):
            raise ValueError("Weights must be non-negative.")
        weights = _in_front(np.broadcast_to(weights, a.shape), axes)
        result = _weighted(sample, q, weights, skip_nans)
    elif skip_nans and a.dtype.kind == "f":
        result = _without_nans(sample, q, chosen, weak)
    else:
        result = _plain(sample, q, chosen, weak)
    if not keepdims:
        return result
    return result.reshape((*q.shape, *[1 if i in axes else n for i, n in enumerate(a.shape)]))


def _answer_quantile(function: Any, per: int, name: str, skip_nans: bool) -> None:
    @implements(function)
    def quantile(
        a: Any,
        q: Any,
        axis: Any = None,
        out: None = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
        *,
        weights: Any = None,
    ) -> Any:
        share, weak = _checked_level(
            np.true_divide(q, per) if per != 1 else q, f"{name} must be in the range [0, {per}]"
        )
        if per != 1:
            weak = q.aval.weak if isinstance(q, Tracer) else type(q) in (int, float)
        return _quantile(arraylike(a), share, weak, axis, method, keepdims, weights, skip_nans)


_answer_quantile(np.quantile, 1, "Quantiles", False)
_answer_quantile(np.percentile, 100, "Percentiles", False)
_answer_quantile(np.nanquantile, 1, "Quantiles", True)
_answer_quantile(np.nanpercentile, 100, "Percentiles", True)


@implements(np.median)
def median(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """``np.median``: the mean of the one or two entries in the middle."""
    axes = axes_of(a, axis)
    sample = _in_front(a, axes)
    n = sample.shape[0]
    if n == 0:
        return kept(np.mean(sample, axis=0), a, axes, keepdims)
    middle = [(n - 1) // 2, n // 2] if n % 2 == 0 else [n // 2]
    values, last = _selected(sample, np.array(middle))
    result = np.mean(values, axis=0)
    if a.dtype.kind in "fc":
        result = np.where(np.isnan(last), last, result)
    return kept(result, a, axes, keepdims)


@implements(np.nanmedian)
def nanmedian(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """``np.nanmedian``."""
    if a.dtype.kind not in "fc":
        return np.median(a, axis=axis, keepdims=keepdims)
    axes = axes_of(a, axis)
    sample = _in_front(a, axes)
    if sample.size == 0:
        return np.nanmean(a, axis=axis, keepdims=keepdims)
    n = np.sum(~np.isnan(sample), axis=0, keepdims=True)
    ordered = np.sort(sample, axis=0)
    low, high = (taken(ordered, np.maximum(i, 0), 0) for i in ((n - 1) // 2, n // 2))
    both = np.mean(np.concatenate([low, high]), axis=0)
    return kept(np.where(n[0] % 2 == 1, low[0], both), a, axes, keepdims)
