"""Moving entries along axes: flips, rolls, repeats, insertions and deletions.

Where the entries come from is computed by NumPy itself, on positions; the traced program then reads
them as slices, which cost less than an index array, in the derivative above all.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, implements, primitive
from fungrad._refusals import REFUSALS
from fungrad._tracer import Tracer
from fungrad.errors import ArrayMutationError
from fungrad.ops.creation import arange_like, as_dtype
from fungrad.ops.shape import along, arraylike, flipped

_MOST_SLICES = 8


def picked(x: Any, positions: Any, axis: int) -> Any:
    """Entries of an axis by concrete positions: slices side by side, if they are few."""
    slices = _slices(positions)
    if slices is None:
        return x[along(axis, positions)]
    parts = [x[along(axis, item)] for item in slices]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def _slices(positions: Any) -> list[slice] | None:
    """The slices that read ``positions``, one after the other; ``None`` if there are many."""
    if positions.size == 0:
        return [slice(0, 0)]
    steps = np.diff(positions)
    changes = np.append(np.flatnonzero(np.diff(steps)) + 1, steps.size)
    slices: list[slice] = []
    start = 0
    while start < positions.size:
        if len(slices) == _MOST_SLICES:
            return None
        step = int(steps[start]) if start < steps.size else 0
        last = int(changes[np.searchsorted(changes, start, side="right")]) if step else start
        stop = int(positions[last]) + (step or 1)
        slices.append(slice(int(positions[start]), stop if stop >= 0 else None, step or 1))
        start = last + 1
    return slices


def concrete(x: Any, function: str) -> Any:
    """What decides a shape or an order: its value, if it is traced."""
    if isinstance(x, Tracer):
        return x._concrete(f"{function}, where it decides which entries are read,", False)
    return x


def _flat_or(a: Any, axis: Any) -> tuple[Any, int]:
    """``a`` and its axis, or its entries in a row if that is ``None``."""
    a = arraylike(a)
    if axis is None:
        return np.ravel(a), 0
    return a, normalize_axis_index(axis, a.ndim)


# --- flip, rot90, rollaxis, roll -----------------------------------------------------------------


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """``np.flip``."""
    axes = range(m.ndim) if axis is None else normalize_axis_tuple(axis, m.ndim)
    return m[tuple([slice(None, None, -1 if i in axes else 1) for i in range(m.ndim)])]


@implements(np.flipud)
def flipud(m: Any) -> Any:
    """``np.flipud``."""
    if m.ndim < 1:
        raise ValueError("Input must be >= 1-d.")
    return flipped(m, 0)


@implements(np.fliplr)
def fliplr(m: Any) -> Any:
    """``np.fliplr``."""
    if m.ndim < 2:
        raise ValueError("Input must be >= 2-d.")
    return flipped(m, 1)


@implements(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """``np.rot90``."""
    if len(axes) != 2:
        raise ValueError("len(axes) must be 2.")
    if any(not -m.ndim <= axis < m.ndim for axis in axes):
        raise ValueError(f"Axes={tuple(axes)} out of range for array of ndim={m.ndim}.")
    first, second = axes[0] % m.ndim, axes[1] % m.ndim
    if first == second:
        raise ValueError("Axes must be different.")
    turns = operator.index(k) % 4
    if turns == 2:
        return np.flip(m, (first, second))
    if turns == 1:
        return np.swapaxes(flipped(m, second), first, second)
    return flipped(np.swapaxes(m, first, second), second) if turns else m


@implements(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """``np.rollaxis``."""
    axis = normalize_axis_index(axis, a.ndim)
    place = start + a.ndim if start < 0 else start
    if not 0 <= place <= a.ndim:
        raise np.exceptions.AxisError(
            f"'start' arg requires {-a.ndim} <= start < {a.ndim + 1}, but {start} was passed in"
        )
    return np.moveaxis(a, axis, place - 1 if axis < place else place)


roll_p: Primitive = primitive(
    "roll",
    value="np.roll({0}, {shift}, {axis})",
    aval=lambda x, shift, axis: make_aval(x.shape, x.dtype),
    vjp=lambda ct, y, x, shift, axis: (roll_p(ct, shift=tuple([-n for n in shift]), axis=axis),),
    batch=lambda batched, size, x, shift, axis: roll_p(
        x, shift=shift, axis=tuple([i + 1 for i in axis])
    ),
    fresh=True,
)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """``np.roll``; a traced shift is read by an index array."""
    a = arraylike(a)
    if axis is None:
        return np.roll(np.ravel(a), shift, 0).reshape(a.shape)
    shifts, axes = _one_by_one(shift), _one_by_one(axis)
    count = max(len(shifts), len(axes)) if shifts and axes else 0
    if not {len(shifts), len(axes)} <= {1, count}:
        raise ValueError("shape mismatch: 'shift' and 'axis' do not broadcast")
    shifts, axes = shifts * (count // len(shifts or [0])), axes * (count // len(axes or [0]))
    places = tuple([normalize_axis_index(operator.index(i), a.ndim) for i in axes])
    if not any(isinstance(n, Tracer) for n in shifts):
        return roll_p(a, shift=tuple(map(operator.index, shifts)), axis=places)
    for n, i in zip(shifts, places, strict=True):
        length = a.shape[i]
        if length:
            a = np.take(a, (arange_like(n, length) - n) % length, i)
    return a


def _one_by_one(items: Any) -> list[Any]:
    if np.ndim(items) > 1:
        raise ValueError("'shift' and 'axis' should be scalars or 1D sequences")
    return list(items) if np.ndim(items) else [items]


# --- repeat, tile, resize ------------------------------------------------------------------------


def _repeat_aval(x: Aval, count: int, axis: int) -> Aval:
    return make_aval((*x.shape[:axis], x.shape[axis] * count, *x.shape[axis + 1 :]), x.dtype)


def _repeat_vjp(ct: Any, y: Any, x: Any, count: int, axis: int) -> tuple[Any]:
    copies = ct.reshape((*x.shape[: axis + 1], count, *x.shape[axis + 1 :]))
    return (np.sum(copies, axis=axis + 1),)


repeat_p: Primitive = primitive(
    "repeat",
    value="np.repeat({0}, {count}, {axis})",
    aval=_repeat_aval,
    vjp=_repeat_vjp,
    batch=lambda batched, size, x, count, axis: repeat_p(x, count=count, axis=axis + 1),
    fresh=True,
)


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    """``np.repeat``."""
    a, axis = _flat_or(np.atleast_1d(a), axis)
    repeats = concrete(repeats, "np.repeat")
    if np.size(repeats) != 1:
        return picked(a, np.repeat(np.arange(a.shape[axis]), repeats), axis)
    count = operator.index(np.asarray(repeats).item())
    if count < 0:
        raise ValueError("repeats may not contain negative values.")
    return repeat_p(a, count=count, axis=axis)


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """``np.tile``."""
    A = arraylike(A)
    counts = [operator.index(n) for n in (reps if np.iterable(reps) else (reps,))]
    counts = [1] * (A.ndim - len(counts)) + counts
    if any(n < 0 for n in counts):
        raise ValueError("repeats may not contain negative values.")
    shape = (1,) * (len(counts) - A.ndim) + A.shape
    pairs = list(zip(counts, shape, strict=True))
    spread = A.reshape([n for size in shape for n in (1, size)])
    copies = np.broadcast_to(spread, [n for pair in pairs for n in pair])
    return copies.reshape([count * size for count, size in pairs])


@implements(np.resize)
def resize(a: Any, new_shape: Any) -> Any:
    """``np.resize``: the entries over and over again."""
    a = np.ravel(arraylike(a))
    sizes = [operator.index(n) for n in (new_shape if np.iterable(new_shape) else (new_shape,))]
    if any(n < 0 for n in sizes):
        raise ValueError("all elements of `new_shape` must be non-negative")
    total = math.prod(sizes)
    if a.size == 0 or total == 0:
        return np.zeros_like(a, shape=tuple(sizes))
    return np.tile(a, -(-total // a.size))[:total].reshape(sizes)


# --- delete, insert, trim_zeros ------------------------------------------------------------------


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    """``np.delete``."""
    arr, axis = _flat_or(arr, axis)
    kept = np.delete(np.arange(arr.shape[axis]), concrete(obj, "np.delete"))
    return picked(arr, kept, axis)


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """``np.insert``: the new entries come behind the old ones, then all are put in order."""
    arr, axis = _flat_or(arr, axis)
    values = as_dtype(values, arr.dtype)
    length = arr.shape[axis]
    obj = concrete(obj, "np.insert")
    places = np.arange(*obj.indices(length)) if isinstance(obj, slice) else np.asarray(obj)
    places = np.flatnonzero(places) if places.dtype == bool else places
    count = places.size
    if count == 1:
        values = values.reshape((1,) * (arr.ndim - values.ndim) + values.shape)
        values = values if places.ndim else np.moveaxis(values, 0, axis)
        count = values.shape[axis]
    new = np.broadcast_to(values, (*arr.shape[:axis], count, *arr.shape[axis + 1 :]))
    order = np.insert(np.arange(length), obj, np.arange(length, length + count))
    return picked(np.concatenate([arr, new], axis), order, axis)


@implements(np.trim_zeros)
def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """``np.trim_zeros``: which entries are zero is asked while the program is traced."""
    trim = trim.lower()
    if trim not in ("fb", "bf", "f", "b"):
        raise ValueError(f"unexpected character(s) in `trim`: {trim!r}")
    axes = range(filt.ndim) if axis is None else normalize_axis_tuple(axis, filt.ndim)
    bounds = []
    for i, places in enumerate(np.nonzero(concrete(filt != 0, "np.trim_zeros"))):
        start, stop = (int(places.min()), int(places.max()) + 1) if places.size else (0, 0)
        front = start if "f" in trim or not places.size else 0
        back = stop if "b" in trim or not places.size else None
        bounds.append(slice(front, back) if i in axes else slice(None))
    return filt[tuple(bounds)]


# --- writing into an array -----------------------------------------------------------------------


def _refuses_writing(function: Any) -> None:
    @implements(function)
    def refuse(*args: Any, **kwargs: Any) -> Any:
        name = f"np.{function.__name__}"
        raise ArrayMutationError(
            f"{name} would write traced values into an array, or into a traced value: "
            f"{REFUSALS[name]}"
        )


for _function in (
    np.copyto, np.put, np.place, np.putmask, np.fill_diagonal, np.put_along_axis,
):  # fmt: skip
    _refuses_writing(_function)
