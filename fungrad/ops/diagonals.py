"""Diagonals and triangles of matrices, and Vandermonde matrices.

A diagonal is every (columns + 1)-th entry of a matrix in a row: a slice, so that its derivative is
an assignment to a slice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._primitive import implements
from fungrad.ops.creation import arange_like
from fungrad.ops.indexing import scatter_add_p


def _places(rows: int, columns: int, k: int) -> slice:
    """The k-th diagonal as a slice of the matrix's entries in a row."""
    count = max(0, min(rows, columns - k) if k >= 0 else min(rows + k, columns))
    start = k if k >= 0 else -k * columns
    step = columns + 1
    return slice(start, start + (count - 1) * step + 1, step) if count else slice(0, 0)


@implements(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """``np.diagonal``."""
    if a.ndim < 2:
        raise ValueError("diag requires an array of at least two dimensions")
    axes = normalize_axis_index(axis1, a.ndim), normalize_axis_index(axis2, a.ndim)
    if axes[0] == axes[1]:
        raise ValueError("axis1 and axis2 cannot be the same")
    a = np.moveaxis(a, axes, (-2, -1))
    *rest, rows, columns = a.shape
    return a.reshape((*rest, rows * columns))[..., _places(rows, columns, int(offset))]


@implements(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """``np.diag``: the diagonal of a matrix, or the matrix with a diagonal."""
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        raise ValueError("Input must be 1- or 2-d.")
    size = v.size + abs(k)
    if v.size == 0:
        return np.zeros_like(v, shape=(size, size))
    index = (_places(size, size, int(k)),)
    return scatter_add_p(v, index=index, shape=(size * size,)).reshape((size, size))


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """``np.diagflat``."""
    return np.diag(np.ravel(v), k)


def _triangle(m: Any, k: int, lower: bool) -> Any:
    rows, columns = m.shape[-2:] if m.ndim > 1 else (m.size, m.size)
    row = arange_like(m, rows).reshape((rows, 1))
    column = arange_like(m, columns) - k
    zero = np.zeros_like(m, shape=())
    return np.where(row >= column if lower else row <= column, m, zero)


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """``np.tril``."""
    return _triangle(m, k, True)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """``np.triu``."""
    return _triangle(m, k, False)


@implements(np.tril_indices_from)
def tril_indices_from(arr: Any, k: int = 0) -> Any:
    """``np.tril_indices_from``: of a known shape, so plain arrays."""
    return np.tril_indices_from(np.empty(arr.shape), k)


@implements(np.triu_indices_from)
def triu_indices_from(arr: Any, k: int = 0) -> Any:
    """``np.triu_indices_from``: of a known shape, so plain arrays."""
    return np.triu_indices_from(np.empty(arr.shape), k)


@implements(np.diag_indices_from)
def diag_indices_from(arr: Any) -> Any:
    """``np.diag_indices_from``: of a known shape, so plain arrays."""
    return np.diag_indices_from(np.empty(arr.shape))


@implements(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """``np.vander``: each power is the one before times ``x``."""
    if x.ndim != 1:
        raise ValueError("x must be a one-dimensional array or sequence.")
    x = x.astype(np.promote_types(x.dtype, int))
    count = x.size if N is None else N
    if count == 0:
        return np.zeros_like(x, shape=(x.size, 0))
    powers = [np.ones_like(x)]
    for i in range(1, count):
        powers.append(powers[-1] * x if i > 1 else x)
    return np.stack(powers if increasing else powers[::-1], axis=1)
