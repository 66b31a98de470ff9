"""Counting and sets: where entries are, how many, and which are different.

Numbers of entries decide shapes, so most of these ask for the values of traced operands; positions
and counts are locally constant, and entries that are picked out keep their derivative.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._primitive import ZERO, Primitive, answers, implements, primitive, unsupported
from fungrad._tracer import Tracer
from fungrad.ops.examples import all_batched
from fungrad.ops.indexing import ARRAY, getitem_p, scatter_add_p
from fungrad.ops.shape import along, arraylike

# --- where entries are not zero --------------------------------------------------------------------


@implements(np.nonzero)
def nonzero(a: Any) -> Any:
    """``np.nonzero``."""
    return np.nonzero(
        a._concrete("np.nonzero, whose result depends on values in its shape,", False)
    )


@implements(np.flatnonzero)
def flatnonzero(a: Any) -> Any:
    """``np.flatnonzero``."""
    return np.nonzero(np.ravel(a))[0]


@implements(np.argwhere)
def argwhere(a: Any) -> Any:
    """``np.argwhere``."""
    return np.transpose(np.nonzero(np.atleast_1d(a)))[:, : a.ndim]


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """``np.count_nonzero``."""
    return np.sum(a.astype(np.bool_), axis=axis, dtype=np.intp, keepdims=keepdims)


# --- places as coordinates, and back ---------------------------------------------------------------

unravel_p: Primitive = primitive(
    "unravel_index",
    value="np.unravel_index({0}, {shape}, {order})[{axis}]",
    aval=lambda x, shape, order, axis: make_aval(x.shape, np.dtype(np.intp)),
    vjp=ZERO,
    batch=lambda batched, size, x, **static: unravel_p(x, **static),
    fresh=True,
    analytic=False,
)


def ravel_value(*places: Any, dims: Any, mode: Any, order: Any) -> Any:
    """``np.ravel_multi_index`` of operands."""
    together: Any = places
    return np.ravel_multi_index(together, dims, mode, order)


ravel_p: Primitive = primitive(
    "ravel_multi_index",
    value=ravel_value,
    aval=lambda *places, dims, mode, order: make_aval(places[0].shape, np.dtype(np.intp)),
    vjp=ZERO,
    batch=lambda batched, size, *places, **static: ravel_p(
        *all_batched(batched, size, *places), **static
    ),
    fresh=True,
    analytic=False,
)


def _integers(places: Any) -> Any:
    if any(x.dtype.kind not in "iu" for x in places):
        raise TypeError("only int indices permitted")
    return places


def _order(order: str) -> str:
    if order not in ("C", "F"):
        raise ValueError("only 'C' or 'F' order is permitted")
    return order


@implements(np.unravel_index)
def unravel_index(indices: Any, shape: Any, order: str = "C") -> Any:
    """``np.unravel_index``."""
    (x,) = _integers([arraylike(indices)])
    dims = tuple(map(operator.index, shape if np.iterable(shape) else (shape,)))
    return tuple([unravel_p(x, shape=dims, order=_order(order), axis=i) for i in range(len(dims))])


@implements(np.ravel_multi_index)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """``np.ravel_multi_index``."""
    sizes = tuple(map(operator.index, dims if np.iterable(dims) else (dims,)))
    modes = mode if isinstance(mode, tuple) else (mode,)
    if any(m not in ("raise", "wrap", "clip") for m in modes):
        raise ValueError(f"clipmode must be 'raise', 'wrap' or 'clip', not {mode!r}")
    places = _integers([arraylike(x) for x in multi_index])
    if len(places) != len(sizes):
        raise ValueError(f"parameter multi_index must be a sequence of length {len(sizes)}")
    return ravel_p(*np.broadcast_arrays(*places), dims=sizes, mode=mode, order=_order(order))


# --- different entries -------------------------------------------------------------------------------


@implements(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """``np.unique``: the first of equal entries, picked out of the traced operand."""
    known = ar._concrete("np.unique, whose result depends on values in its shape,", False)
    asked: Any = (True, return_inverse, return_counts, axis)
    found = np.unique(known, *asked, equal_nan=equal_nan)
    index = found[1]
    picked = np.ravel(ar)[index] if axis is None else ar[along(axis % ar.ndim, index)]
    rest = found[1 if return_index else 2 :]
    return (picked, *rest) if rest else picked


@implements(np.unique_values)
def unique_values(x: Any) -> Any:
    """``np.unique_values``."""
    return np.unique(x, equal_nan=False)


def _answer_unique(function: Any) -> None:
    @implements(function)
    def unique_with(x: Any) -> Any:
        name = f"np.{function.__name__}, whose result depends on values in its shape,"
        return function(x._concrete(name, False))._replace(values=unique_values(x))


_answer_unique(np.unique_all)
_answer_unique(np.unique_counts)
_answer_unique(np.unique_inverse)


@implements(np.isin)
def isin(
    element: Any,
    test_elements: Any,
    assume_unique: bool = False,
    invert: bool = False,
    *,
    kind: Any = None,
) -> Any:
    """``np.isin``: looked up among the sorted test elements."""
    element, known = arraylike(element), np.ravel(arraylike(test_elements))
    if known.size == 0:
        return np.zeros_like(element, np.bool_) ^ invert
    ordered = np.sort(known)
    place = np.minimum(np.searchsorted(ordered, element), known.size - 1)
    found = np.equal(getitem_p(ordered, place, index=(ARRAY,)), element)
    return ~found if invert else found


@implements(np.setdiff1d)
def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Any:
    """``np.setdiff1d``."""
    first = np.ravel(arraylike(ar1)) if assume_unique else np.unique(ar1)
    return answers[operator.getitem](first, np.isin(first, ar2, invert=True))


@implements(np.union1d)
def union1d(ar1: Any, ar2: Any) -> Any:
    """``np.union1d``."""
    return np.unique(np.concatenate([ar1, ar2], axis=None))


@implements(np.intersect1d)
def intersect1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False
) -> Any:
    """``np.intersect1d``: the common entries, as entries of ``ar1``."""
    if return_indices:
        raise unsupported(
            "np.intersect1d with return_indices=True",
            "write: np.nonzero(np.isin(ar1, ar2)) for the positions",
        )
    first = np.sort(np.ravel(arraylike(ar1))) if assume_unique else np.unique(ar1)
    return answers[operator.getitem](first, np.isin(first, ar2))


# --- sums by bin -----------------------------------------------------------------------------------


@implements(np.bincount)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """``np.bincount``: the length is asked of the values of ``x``; weights have a derivative."""
    x = arraylike(x)
    if x.ndim != 1:
        raise ValueError("object of too small depth for desired array")
    if x.dtype.kind not in "iub":
        raise TypeError(
            f"Cannot cast array data from {x.dtype!r} to dtype('int64') according to the rule 'safe'"
        )
    if minlength < 0:
        raise ValueError("'minlength' must not be negative")
    length = minlength
    if x.size:
        if np.min(x) < 0:
            raise ValueError("'list' argument must have no negative elements")
        length = max(minlength, int(np.max(x)) + 1)
    if weights is None:
        weights = np.ones_like(x, np.intp)
    else:
        weights = arraylike(weights)
        if weights.shape != x.shape:
            raise ValueError("The weights and list don't have the same length.")
        if weights.dtype.kind == "c":
            raise TypeError(
                f"Cannot cast array data from {weights.dtype!r} to dtype('float64') according to "
                "the rule 'safe'"
            )
        weights = weights.astype(np.float64)
    return scatter_add_p(weights, x.astype(np.intp), index=(ARRAY,), shape=(length,))


@implements(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """``np.histogram_bin_edges``; without a range, the edges move with the extremes of the data."""
    if isinstance(bins, str):
        raise unsupported(
            f"np.histogram with bins={bins!r}, a number of bins that the data decide,",
            "write: the number of bins, or their edges",
        )
    if isinstance(bins, Tracer) and bins.ndim:
        return bins
    a = arraylike(a)
    edges = np.histogram_bin_edges([], bins, range)  # which also refuses what is no number of bins
    if np.ndim(bins) or range is not None or not a.size:
        return edges
    low, high = np.min(a), np.max(a)
    same = np.equal(low, high)
    dtype = np.result_type(low, high) if low.dtype.kind in "fc" else np.float64
    return np.linspace(
        np.where(same, low - 0.5, low), np.where(same, high + 0.5, high), bins + 1, dtype=dtype
    )


@implements(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> Any:
    """``np.histogram``; counts are locally constant, sums of weights have a derivative."""
    edges = arraylike(histogram_bin_edges(a, bins, range))
    a = np.ravel(arraylike(a))
    last = edges.shape[0] - 2
    place = np.clip(np.searchsorted(edges, a, side="right") - 1, 0, last)  # the last bin is closed
    inside = (a >= edges[0]) & (a <= edges[-1])
    entries: Any = inside.astype(np.intp)
    if weights is not None:
        weights = arraylike(weights)
        if weights.shape != np.shape(a):
            raise ValueError("weights should have the same shape as a.")
        entries = np.where(inside, np.ravel(weights), 0)
    sums = scatter_add_p(entries, place, index=(ARRAY,), shape=(last + 1,))
    if density:
        sums = sums / np.diff(edges).astype(np.float64) / np.sum(sums)
    return sums, edges
