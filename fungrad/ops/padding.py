"""``np.pad``: entries put around an array, axis by axis; and sliding windows, which overlap."""

from __future__ import annotations

import operator
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from fungrad._aval import make_aval
from fungrad._primitive import Primitive, implements, primitive, unsupported
from fungrad._tracer import Tracer
from fungrad.ops.creation import as_dtype
from fungrad.ops.indexing import scatter_add_p
from fungrad.ops.manipulation import picked
from fungrad.ops.shape import along, arraylike, flipped

Width = tuple[int, int]
_STATISTICS: dict[str, Any] = {
    "maximum": np.max,
    "minimum": np.min,
    "mean": np.mean,
    "median": np.median,
}
_KEYWORDS = {
    "constant": ("constant_values",),
    "linear_ramp": ("end_values",),
    **dict.fromkeys(_STATISTICS, ("stat_length",)),
    **dict.fromkeys(("reflect", "symmetric"), ("reflect_type",)),
    **dict.fromkeys(("empty", "edge", "wrap"), ()),
}

# --- np.pad --------------------------------------------------------------------------------------


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """``np.pad``, in all modes but by a callable, which would write into an array."""
    array = arraylike(array)
    if callable(mode):
        raise unsupported("np.pad by a function", "write: np.concatenate of the parts")
    if mode not in _KEYWORDS:
        raise ValueError(f"mode '{mode}' is not supported")
    if extra := set(kwargs).difference(_KEYWORDS[mode]):
        raise ValueError(f"unsupported keyword arguments for mode '{mode}': {extra}")
    widths = _widths(pad_width, array.ndim)
    values = kwargs.get("constant_values", 0)
    if mode == "empty" or (mode == "constant" and not isinstance(values, Tracer) and _zero(values)):
        return _in_zeros(array, widths)
    ends = _pairs(kwargs.get("end_values", values), array.ndim)
    lengths = _pairs(kwargs.get("stat_length"), array.ndim)
    odd = kwargs.get("reflect_type", "even") == "odd"
    for axis, width in enumerate(widths):
        size = array.shape[axis]
        if not any(width):
            continue
        if mode == "constant":
            array = _around(array, axis, width, ends[axis])
        elif size == 0:
            raise ValueError(
                f"can't extend empty axis {axis} using modes other than 'constant' or 'empty'"
            )
        elif array.size == 0:
            array = _in_zeros(array, [w if i == axis else (0, 0) for i, w in enumerate(widths)])
        elif mode == "linear_ramp":
            array = _with_ramps(array, axis, width, ends[axis])
        elif mode in _STATISTICS:
            array = _with_statistics(array, axis, width, lengths[axis], mode)
        elif odd and mode in ("reflect", "symmetric") and size > 1:
            array = _reflected_odd(array, axis, width, mode)
        else:
            array = picked(array, np.pad(np.arange(size), width, mode), axis)
    return array


def _widths(pad_width: Any, rank: int) -> list[Width]:
    if isinstance(pad_width, dict):
        by_axis = {axis % rank: pad_width[axis] for axis in pad_width}
        pairs = [by_axis.get(axis, (0, 0)) for axis in range(rank)]
        pad_width = [(w, w) if isinstance(w, int) else w for w in pairs]
    widths = np.asarray(pad_width)
    if widths.dtype.kind != "i":
        raise TypeError("`pad_width` must be of integral type.")
    if widths.size and widths.min() < 0:
        raise ValueError("index can't contain negative values")
    return [(int(a), int(b)) for a, b in np.broadcast_to(widths, (rank, 2))]


def _pairs(values: Any, rank: int) -> list[Any]:
    """One value, or a pair, or a pair for each axis: a pair for each axis.

    Only the last are Python numbers, as in NumPy, where that decides the dtype of ramps.
    """
    if values is None:
        return [(None, None)] * rank
    pairs = arraylike(values)
    if pairs.size == 1:
        return [(np.ravel(pairs)[0],) * 2] * rank
    if pairs.size == 2 and pairs.shape != (2, 1):
        return [tuple(np.ravel(pairs))] * rank
    pairs = np.broadcast_to(pairs, (rank, 2))
    return [(a, b) for a, b in (pairs if isinstance(values, Tracer) else pairs.tolist())]


def _zero(values: Any) -> bool:
    # Positive zero: -0.0 is another constant.
    return not np.any(np.asarray(values)) and not np.any(np.signbit(np.real(values)))


def _in_zeros(array: Any, widths: list[Width]) -> Any:
    """The array inside an array of zeros: one assignment."""
    sizes = list(zip(array.shape, widths, strict=True))
    index = tuple([slice(before, before + n) for n, (before, _) in sizes])
    return scatter_add_p(array, index=index, shape=tuple([n + sum(w) for n, w in sizes]))


def _around(array: Any, axis: int, width: Width, sides: tuple[Any, Any]) -> Any:
    """``array`` between two blocks of its dtype, each filled with what broadcasts to it."""
    parts = [array]
    for place, (count, side) in enumerate(zip(width, sides, strict=True)):
        shape = (*array.shape[:axis], count, *array.shape[axis + 1 :])
        block = np.broadcast_to(as_dtype(side, array.dtype), shape)
        parts.insert(0 if place == 0 else 2, block)
    return np.concatenate([part for part in parts if part.shape[axis]] or [array], axis)


def _with_ramps(array: Any, axis: int, width: Width, ends: tuple[Any, Any]) -> Any:
    edges = array[along(axis, 0)], array[along(axis, -1)]
    ramps = [
        np.linspace(end, edge, count, endpoint=False, dtype=array.dtype, axis=axis)
        for end, edge, count in zip(ends, edges, width, strict=True)
    ]
    return _around(array, axis, width, (ramps[0], flipped(ramps[1], axis)))


def _with_statistics(
    array: Any, axis: int, width: Width, lengths: tuple[Any, Any], mode: str
) -> Any:
    size = array.shape[axis]
    counts = [size if n is None else min(operator.index(n), size) for n in lengths]
    if 0 in counts and mode in ("maximum", "minimum"):
        raise ValueError("stat_length of 0 yields no value for padding")
    statistic = _STATISTICS[mode]
    sides = []
    for chunk in (slice(0, counts[0]), slice(size - counts[1], size)):
        side = statistic(array[along(axis, chunk)], axis=axis, keepdims=True)
        sides.append(np.round(side) if array.dtype.kind in "iu" else side)
    return _around(array, axis, width, (sides[0], sides[1]))


def _reflected_odd(array: Any, axis: int, width: Width, mode: str) -> Any:
    """Twice the edge minus the reflection, as often as it takes to fill the width."""
    left, right = width
    inside = 1 if mode == "reflect" else 0  # whether the edge itself is left out
    period = array.shape[axis] - inside
    while left or right:
        size = array.shape[axis]
        length = (size - inside) // period * period
        before, after = min(left, length), min(right, length)
        parts = [array]
        if before:
            chunk = array[along(axis, slice(inside, inside + before))]
            parts.insert(0, 2 * array[along(axis, slice(0, 1))] - flipped(chunk, axis))
        if after:
            chunk = array[along(axis, slice(size - inside - after, size - inside))]
            parts.append(2 * array[along(axis, slice(size - 1, size))] - flipped(chunk, axis))
        array = np.concatenate(parts, axis)
        left, right = left - before, right - after
    return array


# --- sliding windows -----------------------------------------------------------------------------

Window = tuple[int, ...]


def windows_value(x: Any, window: Window, axis: Window) -> Any:
    """``np.lib.stride_tricks.sliding_window_view``."""
    return np.lib.stride_tricks.sliding_window_view(x, window, axis)


def window_sum_value(ct: Any, window: Window, axis: Window, shape: tuple[int, ...]) -> Any:
    """The transpose of ``windows_value``: every entry is the sum of its places in all windows."""
    out = np.zeros(shape, ct.dtype)
    for offset in product(*map(range, window)):
        place = [slice(None)] * len(shape)
        for i, start in zip(axis, offset, strict=True):
            place[i] = slice(start, start + ct.shape[i])
        out[tuple(place)] += ct[(..., *offset)]
    return out


def _window_shape(shape: tuple[int, ...], window: Window, axis: Window) -> tuple[int, ...]:
    size = dict(zip(axis, window, strict=True))
    return (*[n - size.get(i, 1) + 1 for i, n in enumerate(shape)], *window)


windows: Primitive = primitive(
    "windows",
    value=windows_value,
    aval=lambda x, window, axis: make_aval(_window_shape(x.shape, window, axis), x.dtype),
    vjp=lambda ct, y, x, window, axis: (window_sum(ct, window=window, axis=axis, shape=x.shape),),
    batch=lambda batched, size, x, window, axis: windows(
        x, window=window, axis=tuple([i + 1 for i in axis])
    ),
    view=True,
)

window_sum: Primitive = primitive(
    "window_sum",
    value=window_sum_value,
    aval=lambda ct, window, axis, shape: make_aval(shape, ct.dtype),
    vjp=lambda ct, y, x, window, axis, shape: (windows(ct, window=window, axis=axis),),
    batch=lambda batched, size, ct, window, axis, shape: window_sum(
        ct, window=window, axis=tuple([i + 1 for i in axis]), shape=(size, *shape)
    ),
    fresh=True,
)


@implements(np.lib.stride_tricks.sliding_window_view)
def sliding_window_view(
    x: Any, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Any:
    """``np.lib.stride_tricks.sliding_window_view``, an axis at most once."""
    window = tuple(
        map(operator.index, window_shape if np.iterable(window_shape) else (window_shape,))
    )
    if any(n < 0 for n in window):
        raise ValueError("`window_shape` cannot contain negative values")
    axes = range(x.ndim) if axis is None else normalize_axis_tuple(axis, x.ndim)
    if len(window) != len(axes):
        raise ValueError(
            "`window_shape` and `axis` must have the same length, or `x` one axis each"
        )
    if any(x.shape[i] < n for i, n in zip(axes, window, strict=True)):
        raise ValueError("window shape cannot be larger than input array shape")
    return windows(x, window=window, axis=tuple(axes))
