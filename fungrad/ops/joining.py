"""Putting arrays together and taking them apart: stacks, blocks, splits, grids."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._primitive import broadcast_shapes, implements
from fungrad._tracer import Tracer
from fungrad.ops.shape import along, arraylike

# --- stacks --------------------------------------------------------------------------------------


def _column(x: Any) -> Any:
    return x if x.ndim > 1 else x.reshape((x.size, 1))


def _answer_stack(function: Any, prepare: Callable[..., Any], axis: int) -> None:
    @implements(function)
    def stack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Any:
        arrays = [prepare(arraylike(x)) for x in tup]
        # np.hstack joins vectors along their only axis.
        place = min(axis, int(arrays[0].ndim) - 1) if arrays else axis
        return np.concatenate(arrays, place, dtype=dtype, casting=casting)


_answer_stack(np.vstack, np.atleast_2d, 0)
_answer_stack(np.hstack, np.atleast_1d, 1)
_answer_stack(np.dstack, np.atleast_3d, 2)
_answer_stack(np.column_stack, _column, 1)


@implements(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    """``np.append``."""
    arrays = [arraylike(arr), arraylike(values)]
    if axis is None:
        arrays, axis = [np.ravel(x) for x in arrays], 0
    return np.concatenate(arrays, axis)


@implements(np.block)
def block(arrays: Any) -> Any:
    """``np.block``: the innermost lists are joined along the last axis."""
    depth, rank = _block_size(arrays, "arrays")
    return _block(arrays, depth, max(depth, rank))


def _block_size(arrays: Any, name: str) -> tuple[int, int]:
    """How deep the lists are nested, and the largest rank of an array in them."""
    if isinstance(arrays, tuple):
        raise TypeError(
            f"{name} is a tuple. Only lists can be used to arrange blocks, and np.block does not "
            "allow implicit conversion from tuple to ndarray."
        )
    if not isinstance(arrays, list):
        return 0, int(np.ndim(arrays))
    if not arrays:
        raise ValueError(f"List at {name} cannot be empty")
    sizes = [_block_size(x, f"{name}[{i}]") for i, x in enumerate(arrays)]
    if any(depth != sizes[0][0] for depth, _ in sizes):
        raise ValueError(f"List depths are mismatched in {name}: all must be nested alike")
    return sizes[0][0] + 1, max(rank for _, rank in sizes)


def _block(arrays: Any, depth: int, rank: int) -> Any:
    if depth == 0:
        x = arraylike(arrays)
        return x.reshape((1,) * (rank - x.ndim) + x.shape)
    return np.concatenate([_block(x, depth - 1, rank) for x in arrays], rank - depth)


# --- splits --------------------------------------------------------------------------------------


@implements(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """``np.array_split``: slices, the first ones longer by one where it does not divide."""
    ary = arraylike(ary)
    axis = normalize_axis_index(axis, ary.ndim)
    total = ary.shape[axis]
    if np.ndim(indices_or_sections):
        bounds = [0, *map(operator.index, indices_or_sections), total]
    else:
        count = int(indices_or_sections)
        if count <= 0:
            raise ValueError("number sections must be larger than 0.")
        each, extra = divmod(total, count)
        bounds = [i * each + min(i, extra) for i in range(count + 1)]
    return [ary[along(axis, slice(start, stop))] for start, stop in pairwise(bounds)]


@implements(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """``np.split``: into parts of equal length, or at the given places."""
    if not np.ndim(indices_or_sections) and np.shape(ary)[axis] % int(indices_or_sections):
        raise ValueError("array split does not result in an equal division")
    return array_split(ary, indices_or_sections, axis)


def _answer_split(function: Any, least: int, axis: int) -> None:
    @implements(function)
    def split_along(ary: Any, indices_or_sections: Any) -> Any:
        if np.ndim(ary) < least:
            raise ValueError(
                f"{function.__name__} only works on arrays of {least} or more dimensions"
            )
        return split(ary, indices_or_sections, min(axis, np.ndim(ary) - 1))


_answer_split(np.vsplit, 2, 0)
_answer_split(np.hsplit, 1, 1)
_answer_split(np.dsplit, 3, 2)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """``np.unstack``."""
    if x.ndim == 0:
        raise ValueError("Input array must be at least 1-d.")
    return tuple(np.moveaxis(x, axis, 0))


if hasattr(np, "unstack"):  # NumPy 2.1
    implements(np.unstack)(unstack)

# --- grids ---------------------------------------------------------------------------------------


@implements(np.broadcast_arrays)
def broadcast_arrays(*args: Any, subok: bool = False) -> tuple[Any, ...]:
    """``np.broadcast_arrays``."""
    arrays = [arraylike(x) for x in args]
    shape = broadcast_shapes("broadcast_arrays", [x.shape for x in arrays])
    return tuple([np.broadcast_to(x, shape) for x in arrays])


@implements(np.meshgrid)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Any, ...]:
    """``np.meshgrid``."""
    if indexing not in ("xy", "ij"):
        raise ValueError("Valid values for `indexing` are 'xy' and 'ij'.")
    axes = list(range(len(xi)))
    if indexing == "xy" and len(xi) > 1:
        axes[:2] = [1, 0]
    grid = tuple(
        [
            x.reshape((1,) * axis + (x.size,) + (1,) * (len(xi) - axis - 1))
            for x, axis in zip(map(arraylike, xi), axes, strict=True)
        ]
    )
    return grid if sparse else broadcast_arrays(*grid)


@implements(np.ix_)
def ix_(*args: Any) -> tuple[Any, ...]:
    """``np.ix_``: index arrays, each along an axis of its own."""
    out = []
    for axis, x in enumerate(map(arraylike, args)):
        if x.ndim != 1:
            raise ValueError("Cross index must be 1 dimensional")
        if isinstance(x, Tracer) and x.dtype.kind == "b":
            x = x._concrete("np.ix_ of a mask, which decides the shape,", False)
        places = np.nonzero(x)[0] if x.dtype.kind == "b" else x
        places = places if places.size else places.astype(np.intp)
        out.append(places.reshape((1,) * axis + (places.size,) + (1,) * (len(args) - axis - 1)))
    return tuple(out)
