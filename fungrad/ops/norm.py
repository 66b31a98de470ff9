"""Norms of vectors and matrices: composites by NumPy's own formulas.

At 0 every norm has derivative 0; where several entries attain a maximum or minimum, they share
evenly; an entry that is 0 counts for nothing, as the absolute value has derivative 0 there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fungrad._primitive import implements
from fungrad.ops.elementwise import root
from fungrad.ops.shape import arraylike


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """``np.linalg.norm``, of all orders."""
    if x.dtype.kind in "biu":
        x = x.astype(np.float64)
    if axis is None:
        whole = ord is None or (ord in ("f", "fro") and x.ndim == 2) or (ord == 2 and x.ndim == 1)
        if whole:
            result = _length(np.ravel(x))
            return result.reshape((1,) * x.ndim) if keepdims else result
        axis = tuple(range(x.ndim))
    axes = normalize_axis_tuple(axis, x.ndim) if np.iterable(axis) else (axis,)
    if len(axes) == 1:
        return _vector_norm(x, ord, normalize_axis_index(axes[0], x.ndim), keepdims)
    if len(axes) != 2:
        raise ValueError("Improper number of dimensions to norm.")
    result = _matrix_norm(x, ord, axes[0], axes[1])
    if not keepdims:
        return result
    return result.reshape(tuple([1 if i in axes else n for i, n in enumerate(x.shape)]))


def _length(x: Any) -> Any:
    if x.dtype.kind == "c":
        return root(np.dot(x.real, x.real) + np.dot(x.imag, x.imag))
    return root(np.dot(x, x))


def _squares(x: Any) -> Any:
    return np.real(np.conjugate(x) * x) if x.dtype.kind == "c" else x * x


def _vector_norm(x: Any, ord: Any, axis: int, keepdims: bool) -> Any:
    if isinstance(ord, str):
        raise ValueError(f"Invalid norm order '{ord}' for vectors")
    if ord == math.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keepdims, initial=0)
    if ord == -math.inf:
        return np.min(np.abs(x), axis=axis, keepdims=keepdims)
    if ord is None or ord == 2:
        return root(np.sum(_squares(x), axis=axis, keepdims=keepdims))
    size = np.abs(x)
    if ord == 0:
        return np.sum((x != 0).astype(size.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    total = np.sum(_power(size, float(ord)), axis=axis, keepdims=keepdims)
    return _power(total, 1 / float(ord))


def _power(x: Any, exponent: float) -> Any:
    """``x ** exponent`` of what is not negative, with derivative 0 at 0 and at infinity."""
    edge = (x == 0) | (x == math.inf)
    inside = np.where(edge, 1, x) ** exponent
    at_zero, at_infinity = (0.0, math.inf) if exponent > 0 else (math.inf, 0.0)
    return np.where(x == 0, at_zero, np.where(x == math.inf, at_infinity, inside))


def _matrix_norm(x: Any, ord: Any, rows: int, columns: int) -> Any:
    if ord is None or ord in ("fro", "f"):
        return root(np.sum(_squares(x), axis=(rows, columns)))
    if ord in ("nuc", 2, -2):
        s = np.linalg.svdvals(np.moveaxis(x, (rows, columns), (-2, -1)))
        if ord == "nuc":
            return np.sum(s, axis=-1)
        return np.max(s, axis=-1, initial=0) if ord == 2 else np.min(s, axis=-1)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError("Invalid norm order for matrices.")
    summed, other = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = np.sum(np.abs(x), axis=summed)
    other -= other > summed
    return np.max(sums, axis=other, initial=0) if ord > 0 else np.min(sums, axis=other)


@implements(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """``np.linalg.vector_norm``: over one axis, several, or all."""
    if isinstance(axis, int):
        return np.linalg.norm(x, ord, axis, keepdims)
    axes = normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim)
    flat = np.transpose(x, [*axes, *[i for i in range(x.ndim) if i not in axes]])
    flat = flat.reshape((math.prod(flat.shape[: len(axes)]), *flat.shape[len(axes) :]))
    result = np.linalg.norm(flat, ord, 0)
    if not keepdims:
        return result
    return result.reshape(tuple([1 if i in axes else n for i, n in enumerate(x.shape)]))


@implements(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """``np.linalg.matrix_norm``: of the matrices in the last two axes."""
    return np.linalg.norm(arraylike(x), ord, (-2, -1), keepdims)
