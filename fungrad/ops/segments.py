"""``np.add.reduceat``: totals of segments.

Leading axes of the starts, which the other operand shares, are examples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._aval import Aval, make_aval
from fungrad._primitive import INDEX, Primitive, implements, primitive, result_dtype
from fungrad._tracer import Tracer
from fungrad.ops.examples import all_batched, by_example
from fungrad.ops.shape import arraylike


def _segments(length: int, starts: Any) -> tuple[Any, Any]:
    """For each entry of each segment, which segment and which place that is."""
    # NumPy: from this start up to the next; the entry at the start if that is not behind it.
    stops = np.maximum(np.concatenate((starts, [length]))[1:], starts + 1)
    sizes = stops - starts
    places = np.arange(np.sum(sizes)) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    return np.repeat(np.arange(len(starts)), sizes), places


def spread_value(ct: Any, starts: Any, axis: int, length: int) -> Any:
    """The transpose of ``np.add.reduceat``: each entry goes to all places of its segment."""
    shape, leading = (*ct.shape[:axis], length, *ct.shape[axis + 1 :]), starts.shape[:-1]
    if leading:
        inner = axis - len(leading)
        spread = lambda x, i: spread_value(x, i, inner, length)
        return by_example(spread, leading, shape, ct.dtype, ct, starts)
    out = np.zeros(shape, ct.dtype)
    segments, places = _segments(length, starts)
    np.add.at(np.moveaxis(out, axis, 0), places, np.moveaxis(ct, axis, 0)[segments])
    return out


def _reduceat_aval(x: Aval, starts: Aval, axis: int, dtype: Any) -> Aval:
    shape = (*x.shape[:axis], starts.shape[-1], *x.shape[axis + 1 :])
    return make_aval(shape, dtype or result_dtype(np.add.accumulate, (x.dtype,)))


def reduceat_value(x: Any, starts: Any, axis: int, dtype: Any) -> Any:
    """``np.add.reduceat``."""
    leading = starts.shape[:-1]
    if not leading:
        return np.add.reduceat(x, starts, axis, dtype)
    aval = _reduceat_aval(x, starts, axis, dtype)
    total = lambda x, i: np.add.reduceat(x, i, axis - len(leading), dtype)
    return by_example(total, leading, aval.shape, aval.dtype, x, starts)


def _segments_batch(record: Callable[..., Any]) -> Any:
    def batch(batched: Any, size: int, x: Any, starts: Any, axis: int, **static: Any) -> Any:
        if starts.ndim > 1:
            x, starts = all_batched(batched, size, x, starts)
        return record(x, starts, axis=axis + 1, **static)

    return batch


spread_p: Primitive = primitive(
    "spread_over_segments",
    value=spread_value,
    aval=lambda ct, starts, axis, length: make_aval(
        (*ct.shape[:axis], length, *ct.shape[axis + 1 :]), ct.dtype
    ),
    vjp=lambda ct, y, x, starts, axis, length: (
        reduceat_p(ct, starts, axis=axis, dtype=None),
        INDEX,
    ),
    batch=_segments_batch(lambda *operands, **static: spread_p(*operands, **static)),
    fresh=True,
)

reduceat_p: Primitive = primitive(
    "add_reduceat",
    value=reduceat_value,
    aval=_reduceat_aval,
    vjp=lambda ct, y, x, starts, axis, dtype: (
        spread_p(ct, starts, axis=axis, length=x.shape[axis]),
        INDEX,
    ),
    batch=_segments_batch(lambda *operands, **static: reduceat_p(*operands, **static)),
    fresh=True,
)


@implements((np.add, "reduceat"))
def add_reduceat(array: Any, indices: Any, axis: int = 0, dtype: Any = None) -> Any:
    """``np.add.reduceat``: sums of the segments that begin at ``indices``."""
    array, indices = arraylike(array), arraylike(indices)
    if indices.ndim != 1:
        raise ValueError("object too deep for desired array")
    place = normalize_axis_index(axis, array.ndim)
    length = array.shape[place]
    if not isinstance(indices, Tracer) and np.any((indices < 0) | (indices >= length)):
        raise IndexError(f"indices {indices} are out of bounds in add.reduceat [0, {length})")
    target = None if dtype is None else np.dtype(dtype)
    return reduceat_p(array, indices, axis=place, dtype=target)
