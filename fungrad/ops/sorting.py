"""Order: sorting, partitioning and searching.

A sorted array holds the entries of its operand in another order, so its cotangent goes back by the
permutation. Among equal entries that is whichever ``np.argsort`` of the same kind gives.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._aval import Aval, make_aval
from fungrad._primitive import ZERO, Primitive, implements, primitive
from fungrad._tracer import Tracer
from fungrad.ops.creation import arange_like
from fungrad.ops.examples import all_batched, by_example
from fungrad.ops.indexing import ARRAY, getitem_p, scatter_add_p
from fungrad.ops.shape import arraylike

# --- reading and adding along an axis, by positions ----------------------------------------------


def _grid(positions: Any, axis: int) -> list[Any]:
    """Index arrays of all axes that walk along ``axis`` by ``positions``."""
    steps = [
        arange_like(positions, n) if isinstance(positions, Tracer) else np.arange(n)
        for n in positions.shape
    ]
    rank = positions.ndim
    grid = [x.reshape((-1, *[1] * (rank - i - 1))) for i, x in enumerate(steps)]
    return [*grid[:axis], positions, *grid[axis + 1 :]]


def taken(x: Any, positions: Any, axis: int) -> Any:
    """``np.take_along_axis``."""
    return getitem_p(x, *_grid(positions, axis), index=(ARRAY,) * positions.ndim)


def put_back(ct: Any, positions: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """The transpose of ``taken``: zeros of ``shape``, with ``ct`` added at the positions."""
    index = (ARRAY,) * positions.ndim
    return scatter_add_p(ct, *_grid(positions, axis), index=index, shape=shape)


# --- sort ----------------------------------------------------------------------------------------


def _ordering(name: str, value: str, dtype: Any = None, vjp: Any = ZERO) -> Primitive:
    """A primitive that rearranges, or gives the positions that do."""
    record = primitive(
        name,
        value=value,
        aval=lambda x, axis, **static: make_aval(x.shape, np.dtype(dtype or x.dtype)),
        vjp=vjp,
        batch=lambda batched, size, x, axis, **static: record(x, axis=axis + 1, **static),
        fresh=True,
        analytic=False,
    )
    return record


argsort_p = _ordering("argsort", "np.argsort({0}, {axis}, {kind})", np.intp)
sort_p = _ordering(
    "sort",
    "np.sort({0}, {axis}, {kind})",
    vjp=lambda ct, y, x, axis, kind: (
        put_back(ct, argsort_p(x, axis=axis, kind=kind), axis, x.shape),
    ),
)


def _kind_of_sort(kind: Any, order: Any, stable: Any) -> str | None:
    if order is not None:
        raise ValueError("Cannot specify order when the array has no fields.")
    if stable is not None and kind is not None:
        raise ValueError("`kind` and `stable` parameters can't be provided at the same time.")
    # NumPy's own check of the name, and its aliases: 'm' is 'mergesort' is 'stable'.
    np.sort(np.zeros(0), kind=kind)
    return "stable" if stable else kind


def _answer_sort(function: Any, record: Primitive) -> None:
    @implements(function)
    def ordered(
        a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None
    ) -> Any:
        kind = _kind_of_sort(kind, order, stable)
        if axis is None or (a.ndim == 0 and function is np.argsort):
            a, axis = a.reshape((-1,)), axis or 0
        return record(a, axis=normalize_axis_index(axis, a.ndim), kind=kind)


_answer_sort(np.sort, sort_p)
_answer_sort(np.argsort, argsort_p)


@implements(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """``np.sort_complex``."""
    result = np.sort(a)
    if a.dtype.kind == "c":
        return result
    return result.astype(np.complex64 if a.dtype.char in "bhBH" else np.complex128)


@implements(np.lexsort)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """``np.lexsort``: stable sorts by one key after the other; the last one decides first."""
    rows = [arraylike(key) for key in keys]
    if not rows:
        raise TypeError("need sequence of keys with len > 0 in lexsort")
    if any(row.shape != rows[0].shape for row in rows):
        raise ValueError("all keys need to be the same shape")
    axis = normalize_axis_index(axis, rows[0].ndim)
    order: Any = None
    for row in rows:
        finer = row if order is None else taken(row, order, axis)
        step = np.argsort(finer, axis, kind="stable")
        order = step if order is None else taken(order, step, axis)
    return order


# --- partition -----------------------------------------------------------------------------------


def _partition_vjp(ct: Any, y: Any, x: Any, axis: int, kth: tuple[int, ...]) -> tuple[Any]:
    # The arrangement beside the kth entries is NumPy's secret; sorting both sides reveals it.
    from_y, from_x = (argsort_p(v, axis=axis, kind=None) for v in (y, x))
    return (put_back(taken(ct, from_y, axis), from_x, axis, x.shape),)


partition_p = _ordering("partition", "np.partition({0}, {kth}, {axis})", vjp=_partition_vjp)
argpartition_p = _ordering("argpartition", "np.argpartition({0}, {kth}, {axis})", np.intp)


def _places(kth: Any, length: int) -> tuple[int, ...]:
    """Places in a sorted axis as sorted non-negative integers, with NumPy's check."""
    places = set()
    for k in kth if np.iterable(kth) else (kth,):
        place = operator.index(k)
        if not -length <= place < length:
            raise ValueError(f"kth(={place}) out of bounds ({length})")
        places.add(place % length)
    return tuple(sorted(places))


def _answer_partition(function: Any, record: Primitive) -> None:
    @implements(function)
    def partitioned(
        a: Any, kth: Any, axis: Any = -1, kind: str = "introselect", order: Any = None
    ) -> Any:
        if kind != "introselect":
            raise ValueError(f"sort kind must be 'introselect' (got {kind!r})")
        if order is not None:
            raise ValueError("Cannot specify order when the array has no fields.")
        if axis is None:
            a, axis = a.reshape((-1,)), 0
        axis = normalize_axis_index(axis, a.ndim)
        return record(a, axis=axis, kth=_places(kth, a.shape[axis]))


_answer_partition(np.partition, partition_p)
_answer_partition(np.argpartition, argpartition_p)


# --- order statistics ----------------------------------------------------------------------------


def _selecting(name: str, value: str, dtype: Any = None, vjp: Any = ZERO) -> Primitive:
    """What stands, after sorting, at the places ``kth`` of an axis: in linear time."""

    def aval(x: Aval, axis: int, kth: tuple[int, ...]) -> Aval:
        shape = (*x.shape[:axis], len(kth), *x.shape[axis + 1 :])
        return make_aval(shape, np.dtype(dtype or x.dtype))

    record = primitive(
        name,
        value=value,
        aval=aval,
        vjp=vjp,
        batch=lambda batched, size, x, axis, kth: record(x, axis=axis + 1, kth=kth),
        fresh=True,
        analytic=False,
    )
    return record


order_positions_p = _selecting(
    "order_positions", "np.argpartition({0}, {kth}, {axis}).take({kth}, {axis})", np.intp
)
order_statistics_p = _selecting(
    "order_statistics",
    "np.partition({0}, {kth}, {axis}).take({kth}, {axis})",
    vjp=lambda ct, y, x, axis, kth: (
        put_back(ct, order_positions_p(x, axis=axis, kth=kth), axis, x.shape),
    ),
)


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """``np.ptp``: from the smallest to the largest entry."""
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


# --- searching -----------------------------------------------------------------------------------


def searchsorted_value(a: Any, v: Any, side: Any) -> Any:
    """``np.searchsorted``; leading axes of ``a``, which ``v`` shares, are examples."""
    if a.ndim == 1:
        return np.searchsorted(a, v, side)
    search = lambda a, v: np.searchsorted(a, v, side)
    return by_example(search, a.shape[:-1], v.shape, np.intp, a, v)


def _searchsorted_batch(batched: Any, size: int, a: Any, v: Any, side: Any) -> Any:
    if a.ndim > 1:
        a, v = all_batched(batched, size, a, v)
    return searchsorted_p(a, v, side=side)


searchsorted_p: Primitive = primitive(
    "searchsorted",
    value=searchsorted_value,
    aval=lambda a, v, side: make_aval(v.shape, np.dtype(np.intp)),
    vjp=ZERO,
    batch=_searchsorted_batch,
    fresh=True,
    analytic=False,
)


@implements(np.searchsorted)
def searchsorted(a: Any, v: Any, side: Any = "left", sorter: Any = None) -> Any:
    """``np.searchsorted``."""
    a, v = arraylike(a), arraylike(v)
    if a.ndim != 1:
        raise ValueError("object too deep for desired array")
    if side not in ("left", "right"):
        raise ValueError(f"search side must be 'left' or 'right' (got {side!r})")
    return searchsorted_p(a if sorter is None else a[sorter], v, side=side)


@implements(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """``np.digitize``: bins may rise or fall, which is asked of their values."""
    x, bins = arraylike(x), arraylike(bins)
    if x.dtype.kind == "c":
        raise TypeError("x may not be complex")
    side: Any = "left" if right else "right"
    if np.all(bins[1:] >= bins[:-1]):
        return np.searchsorted(bins, x, side=side)
    if np.all(bins[1:] <= bins[:-1]):
        return len(bins) - np.searchsorted(bins[::-1], x, side=side)
    raise ValueError("bins must be monotonically increasing or decreasing")
