"""Choosing entries: by index, by condition, by case; and functions applied along axes.

``np.vectorize`` calls its function on Python objects, one by one, which traced values are not; it
raises their error. ``fg.vmap`` is what it stands for.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._aval import Aval, make_aval
from fungrad._primitive import ZERO, answers, broadcast_shapes, implements, primitive
from fungrad._tracer import Tracer, concrete_array
from fungrad.ops.creation import arange_like, as_dtype
from fungrad.ops.manipulation import concrete, picked
from fungrad.ops.shape import along, arraylike

# --- by index ------------------------------------------------------------------------------------


_read = answers[operator.getitem]  # a[index], also where only the index is traced


def _within(indices: Any, length: int, mode: str) -> Any:
    """Indices with those out of bounds wrapped or clipped; ``raise`` leaves that to NumPy."""
    if mode == "raise":
        return indices
    if mode == "wrap":
        return indices % length
    if mode == "clip":
        return np.clip(indices, 0, length - 1)
    raise ValueError(f"clipmode must be one of 'clip', 'raise', or 'wrap' (got {mode!r})")


def _integers(indices: Any, casting: Any) -> Any:
    """Indices as NumPy converts them: an array by the casting rule, a list unconditionally."""
    if not hasattr(indices, "dtype"):
        return concrete_array(indices).astype(np.intp)
    if not np.can_cast(indices.dtype, np.intp, casting):
        raise TypeError(
            f"Cannot cast array data from {indices.dtype!r} to {np.dtype(np.intp)!r} according to "
            f"the rule {casting!r}"
        )
    return as_dtype(indices, np.intp)


@implements(np.take)
def take(a: Any, indices: Any, axis: Any = None, mode: str = "raise") -> Any:
    """``np.take``."""
    a = arraylike(a)
    a, axis = (np.ravel(a), 0) if axis is None else (a, normalize_axis_index(axis, a.ndim))
    length, indices = a.shape[axis], _integers(indices, "same_kind")
    if length == 0 and indices.size:
        raise IndexError("cannot do a non-empty take from an empty axes.")
    return _read(a, along(axis, _within(indices, length, mode)))


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    """``np.take_along_axis``."""
    arr, indices = arraylike(arr), arraylike(indices)
    if axis is None:
        if indices.ndim != 1:
            raise ValueError("when axis=None, `indices` must have a single dimension.")
        arr, axis = np.ravel(arr), 0
    axis = normalize_axis_index(axis, arr.ndim)
    if indices.dtype.kind not in "iu":
        raise IndexError("`indices` must be an integer array")
    if indices.ndim != arr.ndim:
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    traced = arr if isinstance(arr, Tracer) else indices
    rank = arr.ndim
    grid = [
        indices if i == axis else arange_like(traced, n).reshape((n, *[1] * (rank - i - 1)))
        for i, n in enumerate(arr.shape)
    ]
    return _read(arr, tuple(grid))


# --- by condition --------------------------------------------------------------------------------


@implements(np.compress)
def compress(condition: Any, a: Any, axis: Any = None) -> Any:
    """``np.compress``: which entries stay decides the shape, when the program is traced."""
    a = arraylike(a)
    a, axis = (np.ravel(a), 0) if axis is None else (a, normalize_axis_index(axis, a.ndim))
    condition = np.asarray(concrete(condition, "np.compress"))
    if condition.ndim != 1:
        raise ValueError("condition must be a 1-d array")
    places = np.flatnonzero(condition)
    if places.size and places[-1] >= a.shape[axis]:
        raise IndexError(
            f"index {places[-1]} is out of bounds for axis {axis} with size {a.shape[axis]}"
        )
    return picked(a, places, axis)


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """``np.extract``."""
    return compress(
        np.ravel(np.asarray(concrete(condition, "np.extract"))), np.ravel(arraylike(arr))
    )


# --- by case -------------------------------------------------------------------------------------


def choose_value(a: Any, *choices: Any) -> Any:
    """``np.choose``."""
    return np.choose(a, choices)


def _choose_aval(a: Aval, *choices: Aval) -> Aval:
    shape = broadcast_shapes("choose", [x.shape for x in (a, *choices)])
    return make_aval(shape, np.result_type(*[x.dtype for x in choices]))


def _choose_vjp(ct: Any, y: Any, a: Any, *choices: Any) -> tuple[Any, ...]:
    return ZERO, *[np.where(np.equal(a, i), ct, 0) for i in range(len(choices))]


def _choose_batch(batched: tuple[bool, ...], size: int, *operands: Any) -> Any:
    pairs = list(zip(operands, batched, strict=True))
    rank = max(x.ndim - flag for x, flag in pairs)
    return choose_p(
        *[
            x.reshape((size, *[1] * (rank + 1 - x.ndim), *x.shape[1:])) if flag else x
            for x, flag in pairs
        ]
    )


choose_p = primitive(
    "choose",
    value=choose_value,
    aval=_choose_aval,
    vjp=_choose_vjp,
    batch=_choose_batch,
    fresh=True,
    analytic=False,
)


@implements(np.choose)
def choose(a: Any, choices: Any, mode: str = "raise") -> Any:
    """``np.choose``."""
    dtype = np.result_type(*choices)
    operands = [as_dtype(choice, dtype) for choice in choices]
    return choose_p(_within(_integers(a, "safe"), len(operands), mode), *operands)


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """``np.select``: the choice of the first condition that holds."""
    if len(condlist) != len(choicelist):
        raise ValueError("list of cases must be same length as list of conditions")
    if len(condlist) == 0:
        raise ValueError("select with an empty condition list is not possible")
    numbers = (int, float, complex)
    choices = [x if type(x) in numbers else arraylike(x) for x in (*choicelist, default)]
    conditions = [arraylike(condition) for condition in condlist]
    for i, condition in enumerate(conditions):
        if condition.dtype != bool:
            raise TypeError(f"invalid entry {i} in condlist: should be boolean ndarray")
    dtype = np.result_type(*choices)
    shapes = [x.shape for x in (*conditions, *map(arraylike, choices))]
    result = choices[-1]
    for condition, choice in zip(conditions[::-1], choices[-2::-1], strict=True):
        result = np.where(condition, choice, result)
    return np.broadcast_to(arraylike(result).astype(dtype), broadcast_shapes("select", shapes))


@implements(np.piecewise)
def piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    """``np.piecewise``: each function sees the entries for which its condition holds.

    So the conditions are asked while the program is traced. The last one that holds wins.
    """
    x = arraylike(x)
    alone = not isinstance(condlist, (list, tuple)) and np.ndim(condlist) == 0
    if alone or (x.ndim and not isinstance(condlist[0], list) and np.ndim(condlist[0]) == 0):
        condlist = [condlist]
    conditions = [np.ravel(np.asarray(concrete(c, "np.piecewise"), bool)) for c in condlist]
    count = len(funclist)
    if len(conditions) == count - 1:
        conditions.append(~np.any(conditions, axis=0))
    elif len(conditions) != count:
        raise ValueError(
            f"with {len(conditions)} condition(s), either {len(conditions)} or "
            f"{len(conditions) + 1} functions are expected"
        )
    flat = np.ravel(x)
    parts: list[Any] = [np.zeros_like(flat, shape=(1,))]
    origin = np.zeros(flat.size, np.intp)
    used = 1
    for condition, function in zip(conditions, funclist, strict=True):
        places = np.flatnonzero(condition)
        if places.size == 0:
            continue
        part = function(flat[places], *args, **kw) if callable(function) else function
        parts.append(np.broadcast_to(arraylike(part).astype(x.dtype), places.shape))
        origin[places] = np.arange(used, used + places.size)
        used += places.size
    return np.concatenate(parts)[origin.reshape(x.shape)]


# --- functions along axes ------------------------------------------------------------------------


@implements(np.apply_along_axis)
def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    """``np.apply_along_axis``: one call, and so one piece of program, for every vector."""
    axis = normalize_axis_index(axis, arr.ndim)
    last = np.moveaxis(arr, axis, -1)
    outer = last.shape[:-1]
    if 0 in outer:
        raise ValueError("Cannot apply_along_axis when any iteration dimensions are 0")
    results = [
        arraylike(func1d(last[place], *args, **kwargs)) for place in product(*map(range, outer))
    ]
    inner = results[0].shape
    stacked = np.stack([x.astype(results[0].dtype) for x in results]).reshape((*outer, *inner))
    places = tuple(range(len(outer), len(outer) + len(inner)))
    return np.moveaxis(stacked, places, tuple(range(axis, axis + len(inner))))


@implements(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """``np.apply_over_axes``."""
    value = a
    for axis in axes if np.ndim(axes) else (axes,):
        axis = normalize_axis_index(axis, a.ndim)
        result = func(value, axis)
        if result.ndim != value.ndim:
            result = np.expand_dims(result, axis)
        if result.ndim != value.ndim:
            raise ValueError("function is not returning an array of the correct shape")
        value = result
    return value
