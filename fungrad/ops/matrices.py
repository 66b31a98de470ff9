"""What linear algebra takes, and small pieces of its rules.

Rules are derived for the pairing ``Re tr(Gᴴ dA)``; cotangents are conjugated on the way in and out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._expr import Expr
from fungrad.ops.creation import arange_like, full
from fungrad.ops.shape import arraylike, transpose_p

# --- what linear algebra takes -------------------------------------------------------------------


def inexact(a: Any) -> Any:
    """The operand in a dtype that LAPACK knows: integers as float64."""
    a = arraylike(a)
    if a.dtype.kind in "biu":
        return a.astype(np.float64)
    if a.dtype.char not in "fdFD":
        raise TypeError(f"array type {a.dtype.name} is unsupported in linalg")
    return a


def matrices(a: Any, square: bool = False) -> Any:
    """A stack of matrices, after NumPy's checks."""
    a = arraylike(a)
    if a.ndim < 2:
        raise np.linalg.LinAlgError(
            f"{a.ndim}-dimensional array given. Array must be at least two-dimensional"
        )
    if square and a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError("Last 2 dimensions of the array must be square")
    return inexact(a)


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of absolute values."""
    return np.dtype(dtype.char.lower())


def complex_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of eigenvalues."""
    return np.dtype(dtype.char.upper())


# --- small pieces of the rules -------------------------------------------------------------------


def adjoint(x: Any) -> Any:
    """The conjugate transpose of every matrix."""
    return x.mT.conj()


def column(x: Any) -> Any:
    """A number for each matrix, beside its entries."""
    return np.expand_dims(x, (-2, -1))


def triangle(x: Any, diagonal: Any) -> Any:
    """What stands below the diagonal, and the diagonal times a number."""
    row = arange_like(x, x.shape[-2])[:, None]
    place = arange_like(x, x.shape[-1])
    # Weights that depend on the shape alone are computed once, and products are ten times faster
    # than choices.
    weights = np.where(row > place, 1.0, np.where(row == place, float(diagonal), 0.0))
    return weights.astype(real_dtype(x.dtype)) * x


def on_diagonal(x: Any) -> Any:
    """Diagonal matrices of vectors."""
    n = arange_like(x, x.shape[-1])
    return np.where(n[:, None] == n, x[..., None, :], 0)


def solve_adjoint(r: Any, x: Any) -> Any:
    """``x r⁻ᴴ``."""
    return adjoint(np.linalg.solve(r, adjoint(x)))


def is_transpose(node: Expr) -> bool:
    """Whether a node exchanges the last two axes of its operand, and no others."""
    if node.primitive is not transpose_p:
        return False
    axes = dict(node.static)["axes"]
    last = len(axes) - 1
    return bool(axes == (*range(last - 1), last, last - 1))


def is_zero(ct: Any) -> bool:
    """Whether a cotangent is structurally zero: nobody uses that result."""
    node = ct._expr
    return node.primitive is full and dict(node.static)["value"] == 0


def reciprocal(x: Any, noise: Any) -> Any:
    """``1 / x``, but 0 where ``x`` is not more than rounding errors."""
    small = np.abs(x) <= noise
    return np.where(small, 0, 1 / np.where(small, 1, x))


def rounding(values: Any) -> Any:
    """How exact eigenvalues and singular values are at best."""
    n = values.shape[-1]
    eps = float(np.finfo(values.dtype).eps)
    return n * eps * np.max(np.abs(values), axis=-1, keepdims=True, initial=0)


def read_triangle(s: Any, lower: bool) -> Any:
    """From a cotangent for Hermitian matrices to one for the triangle that is read."""
    both = s + adjoint(s)
    half = triangle(both if lower else both.mT, 0.5)
    return half if lower else half.mT


def from_lower(a: Any) -> Any:
    """The Hermitian matrix of a lower triangle, as LAPACK reads it."""
    half = triangle(a, 0.5)
    return half + adjoint(half)
