"""Statistics: weighted means, covariances, reductions that leave NaNs out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fungrad._primitive import implements
from fungrad._tracer import Tracer
from fungrad.ops.elementwise import root
from fungrad.ops.quantile import aligned_weights
from fungrad.ops.reduction import reduced_axes
from fungrad.ops.shape import arraylike

# --- averages and covariances ----------------------------------------------------------------------


@implements(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """``np.average``; that weights sum to zero is noticed where they are known."""
    a = arraylike(a)
    if weights is None:
        result = np.mean(a, axis=axis, keepdims=keepdims)
        total = np.full_like(result, a.size / max(result.size, 1))
        return (result, total) if returned else result
    weights = aligned_weights(weights, a, axis)
    dtype = np.result_type(a.dtype, weights.dtype, *(["f8"] if a.dtype.kind in "biu" else []))
    total = np.sum(weights, axis=axis, dtype=dtype, keepdims=keepdims)
    if not isinstance(total, Tracer) and np.any(total == 0.0):
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    products = np.multiply(a.astype(dtype), weights.astype(dtype))
    result = np.sum(products, axis=axis, keepdims=keepdims) / total
    return (result, np.broadcast_to(total, result.shape)) if returned else result


def _weights_of_samples(weights: Any, count: int, name: str) -> Any:
    weights = arraylike(weights).astype(np.float64)
    if weights.ndim > 1:
        raise RuntimeError(f"cannot handle multidimensional {name}")
    if weights.shape[0] != count:
        raise RuntimeError(f"incompatible numbers of samples and {name}")
    if not isinstance(weights, Tracer):
        if name == "fweights" and np.any(weights != np.around(weights)):
            raise TypeError("fweights must be integer")
        if np.any(weights < 0):
            raise ValueError(f"{name} cannot be negative")
    return weights


def _variables(m: Any, rowvar: bool, dtype: Any) -> Any:
    """A table with one row for each variable."""
    if m.ndim > 2:
        raise ValueError("m has more than 2 dimensions")
    table = m.reshape((1, m.size)) if m.ndim < 2 else m
    return (table if rowvar or m.ndim == 1 else table.T).astype(dtype)


@implements(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """``np.cov``."""
    if ddof is not None and ddof != int(ddof):
        raise ValueError("ddof must be integer")
    parts = [arraylike(part) for part in (m, y) if part is not None]
    if dtype is None:
        dtype = np.result_type(*parts, np.float64)
    tables = [_variables(part, rowvar, dtype) for part in parts]
    if tables[0].shape[0] == 0:
        return np.array([]).reshape(0, 0)
    if len(tables) == 2 and parts[1].ndim == 2 and not rowvar and parts[1].shape[0] == 1:
        tables[1] = tables[1].T  # NumPy takes a single row for a variable
    table = np.concatenate(tables, axis=0)
    count = table.shape[1]
    if ddof is None:
        ddof = 0 if bias else 1
    w: Any = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None:
            more = _weights_of_samples(given, count, name)
            w = more if w is None else w * more
    mean, total = np.average(table, axis=1, weights=w, returned=True)
    if w is None:
        freedom: Any = count - ddof
    elif ddof == 0:
        freedom = total[0]
    elif aweights is None:
        freedom = total[0] - ddof
    else:
        freedom = total[0] - ddof * np.sum(w * arraylike(aweights)) / total[0]
    if not isinstance(freedom, Tracer) and freedom <= 0:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=2)
        freedom = 0.0
    distance = table - mean[:, None]
    weighted = distance if w is None else distance * w
    return np.squeeze(np.dot(distance, np.conjugate(weighted.T)) * np.true_divide(1, freedom))


@implements(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """``np.corrcoef``."""
    c = np.cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return c / c
    places = np.arange(c.shape[0])
    deviation = np.sqrt(c[places, places].real)
    c = c / deviation[:, None] / deviation[None, :]
    if c.dtype.kind == "c":
        return np.clip(c.real, -1, 1) + 1j * np.clip(c.imag, -1, 1)
    return np.clip(c, -1, 1)


# --- NaNs left out -----------------------------------------------------------------------------------


def _has_nans(a: Any) -> bool:
    return bool(a.dtype.kind in "fc")


@implements(np.nansum)
def nansum(a: Any, axis: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """``np.nansum``: NaNs count as zeros."""
    filled = np.where(np.isnan(a), 0, a) if _has_nans(a) else a
    return np.sum(filled, axis=axis, dtype=dtype, **kwargs)


@implements(np.nanprod)
def nanprod(a: Any, axis: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """``np.nanprod``: NaNs count as ones."""
    filled = np.where(np.isnan(a), 1, a) if _has_nans(a) else a
    return np.prod(filled, axis=axis, dtype=dtype, **kwargs)


def _over_count(total: Any, count: Any) -> Any:
    """``total / count`` in the dtype of the total; NaN, without a warning, where there is none."""
    quotient = (total / np.maximum(count, 1)).astype(total.dtype)
    return np.where(count <= 0, np.nan, quotient)


def _inexact_dtype(dtype: Any) -> Any:
    if dtype is not None and np.dtype(dtype).kind not in "fc":
        raise TypeError("If a is inexact, then dtype must be inexact")
    return dtype


@implements(np.nanmean)
def nanmean(
    a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    """``np.nanmean``."""
    if not _has_nans(a):
        return np.mean(a, axis=axis, dtype=dtype, keepdims=keepdims, where=where)
    dtype, there = _inexact_dtype(dtype), ~np.isnan(a)
    count = np.sum(there, axis=axis, keepdims=keepdims, where=where)
    total = np.sum(np.where(there, a, 0), axis=axis, dtype=dtype, keepdims=keepdims, where=where)
    return _over_count(total, count)


@implements(np.nanvar)
def nanvar(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    """``np.nanvar``."""
    if correction is not None:
        if ddof != 0:
            raise ValueError("ddof and correction can't be provided simultaneously.")
        ddof = correction
    if not _has_nans(a):
        given = {} if mean is None else {"mean": mean}
        return np.var(a, axis=axis, dtype=dtype, ddof=ddof, keepdims=keepdims, where=where, **given)
    dtype, there = _inexact_dtype(dtype), ~np.isnan(a)
    filled = np.where(there, a, 0)
    count = np.sum(there, axis=axis, keepdims=True, where=where)
    if mean is None:
        total = np.sum(filled, axis=axis, dtype=dtype, keepdims=True, where=where)
        mean = (total / np.maximum(count, 1)).astype(total.dtype)
    distance = np.where(there, (filled - mean).astype(a.dtype), 0)
    square = (
        (distance * np.conjugate(distance)).real if a.dtype.kind == "c" else distance * distance
    )
    total = np.sum(square, axis=axis, dtype=dtype, keepdims=keepdims, where=where)
    freedom = (count if keepdims else np.squeeze(count, reduced_axes(a, axis))) - ddof
    quotient = (total / np.where(freedom > 0, freedom, 1)).astype(total.dtype)
    return np.where(freedom <= 0, np.nan, quotient)


@implements(np.nanstd)
def nanstd(a: Any, axis: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """``np.nanstd``, with derivative 0 where all entries are equal."""
    return root(np.nanvar(a, axis=axis, dtype=dtype, **kwargs))


def _answer_nan_extremum(function: Any, ufunc: np.ufunc, reduce: Any, worst: float) -> None:
    def extremum(
        a: Any,
        axis: Any = None,
        *,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        limits = {} if initial is None else {"initial": initial}
        if not _has_nans(a):
            return reduce(a, axis=axis, keepdims=keepdims, where=where, **limits)
        missing = np.isnan(a)
        filled = np.where(missing, worst, a)
        result = reduce(filled, axis=axis, keepdims=keepdims, where=where, **limits)
        if initial is not None:
            return result
        return np.where(np.all(missing, axis=axis, keepdims=keepdims), np.nan, result)

    implements(function)(extremum)

    @implements((ufunc, "reduce"))
    def reduce_by(array: Any, axis: Any = 0, **kwargs: Any) -> Any:
        return extremum(array, axis, **kwargs)


_answer_nan_extremum(np.nanmax, np.fmax, np.max, -np.inf)
_answer_nan_extremum(np.nanmin, np.fmin, np.min, np.inf)


def _answer_nan_position(function: Any, position: Any, worst: float) -> None:
    @implements(function)
    def place(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        if not _has_nans(a):
            return position(a, axis=axis, keepdims=keepdims)
        missing = np.isnan(a)
        if a.size and np.any(np.all(missing, axis=axis)):
            raise ValueError("All-NaN slice encountered")
        return position(np.where(missing, worst, a), axis=axis, keepdims=keepdims)


_answer_nan_position(np.nanargmax, np.argmax, -np.inf)
_answer_nan_position(np.nanargmin, np.argmin, np.inf)
