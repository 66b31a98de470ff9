"""Products of matrices and vectors, and the sum along a diagonal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, answer, broadcast_shapes, implements, primitive
from fungrad.errors import ShapeMismatchError
from fungrad.ops.shape import arraylike


def _matmul_aval(a: Aval, b: Aval) -> Aval:
    inner_a, inner_b = a.shape[-1:], b.shape[-2:][:1]
    try:
        if not a.ndim or not b.ndim or inner_a != inner_b:
            raise ValueError
        batch = a.shape[:-2]
        if batch != b.shape[:-2]:
            batch = np.broadcast_shapes(batch, b.shape[:-2])
    except ValueError:
        raise ShapeMismatchError(
            f"matmul: shapes {a.shape} and {b.shape} do not go together; write: a last axis of the "
            "first operand as long as the second operand's last but one (or only) axis"
        ) from None
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    return make_aval((*batch, *rows, *columns), np.result_type(a.dtype, b.dtype))


def _matmul_vjp(ct: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """``G @ B.T`` and ``A.T @ G``; a vector is a matrix with an axis of length 1."""
    if a.ndim == 1 and b.ndim == 1:
        return ct * b, ct * a
    if a.ndim == 1:
        return _times_vector(b, ct), np.expand_dims(a, -1) * np.expand_dims(ct, -2)
    if b.ndim == 1:
        return np.expand_dims(ct, -1) * b, np.matmul(_rows(a).T, ct.reshape((-1,)))
    of_a = times_transpose(ct, b)
    if b.ndim == 2 < a.ndim:  # a stack of matrices times one: one product instead of a sum of many
        return of_a, np.matmul(_rows(a).T, _rows(ct))
    return of_a, a.mT * ct if ct.shape[-2] == 1 else matmul_p(a.mT, ct)


def times_transpose(a: Any, b: Any) -> Any:
    """``a @ b.mT``; the product of one column with one row is no sum."""
    if a.shape[-1] == 1:
        return a * b.reshape((*b.shape[:-2], 1, b.shape[-2]))
    return matmul_p(a, b.mT)


def _times_vector(matrices: Any, vectors: Any) -> Any:
    """The product of every matrix of a stack with its vector."""
    if vectors.ndim == 1:
        return np.matmul(matrices, vectors)
    out = np.matmul(matrices, np.expand_dims(vectors, -1))
    return out.reshape(out.shape[:-1])


def _rows(a: Any) -> Any:
    """A stack of matrices as one matrix of all their rows."""
    return a.reshape((math.prod(a.shape[:-1]), a.shape[-1]))


def _matmul_batch(batched: tuple[bool, bool], size: int, a: Any, b: Any) -> Any:
    first, second = batched
    if not first and a.ndim == 2 and b.ndim == 2:  # the vectors are the rows of one matrix
        return np.matmul(b, a.T)
    if not second and b.ndim == 2 and a.ndim == 2:
        return np.matmul(a, b)
    # A batch of vectors is a batch of one-row or one-column matrices.
    row, column = a.ndim - first == 1, b.ndim - second == 1
    if first and not second and b.ndim <= 2:  # every row times the same: one product
        rows = a if a.ndim == 2 else _rows(a)
        return np.matmul(rows, b).reshape((*a.shape[:-1], *b.shape[1:]))
    if column and not first and a.ndim == 1:  # every column times the same: one product
        return np.matmul(b, a)
    if row and column and a.dtype.kind != "c" != b.dtype.kind:
        return vecdot_p(a, b)
    a = np.expand_dims(a, -2) if row else a
    b = np.expand_dims(b, -1) if column else b
    out = np.matmul(*aligned(batched, size, a, b))
    shape = out.shape[: out.ndim - 2] + out.shape[-2:][row : 2 - column]
    return out.reshape(shape)


def aligned(batched: tuple[bool, ...], size: int, *operands: Any) -> list[Any]:
    """Operands of a function that broadcasts, the batch axes in front of all other axes."""
    pairs = list(zip(operands, batched, strict=True))
    rank = max(np.ndim(x) - flag for x, flag in pairs)
    return [
        x.reshape((size, *[1] * (rank + 1 - x.ndim), *x.shape[1:])) if flag else x
        for x, flag in pairs
    ]


matmul_p = primitive(
    "matmul",
    value="np.matmul({0}, {1})",
    aval=_matmul_aval,
    vjp=_matmul_vjp,
    batch=_matmul_batch,
    fresh=True,
)


@implements(np.matmul, np.linalg.matmul)
def matmul(x1: Any, x2: Any) -> Any:
    """``np.matmul``, ``a @ b``."""
    return matmul_p(arraylike(x1), arraylike(x2))


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    """``np.dot``: a product of numbers, vectors, matrices, or along one axis of each."""
    a, b = arraylike(a), arraylike(b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    if b.ndim <= 2:
        return np.matmul(a, b)
    return np.tensordot(a, b, (a.ndim - 1, b.ndim - 2))


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """``np.tensordot``: contracted axes side by side, then one matrix product."""
    a, b = arraylike(a), arraylike(b)
    if np.iterable(axes):
        first, second = axes
    else:
        first, second = range(a.ndim - axes, a.ndim), range(axes)
    first, second = normalize_axis_tuple(first, a.ndim), normalize_axis_tuple(second, b.ndim)
    if [a.shape[i] for i in first] != [b.shape[j] for j in second]:
        raise ShapeMismatchError(
            f"tensordot: axes {first} of shape {a.shape} and axes {second} of shape {b.shape} "
            "differ in length; write: pairs of axes of equal length"
        )
    free_a = [i for i in range(a.ndim) if i not in first]
    free_b = [j for j in range(b.ndim) if j not in second]
    length = math.prod(a.shape[i] for i in first)
    rows, columns = [a.shape[i] for i in free_a], [b.shape[j] for j in free_b]
    left = np.transpose(a, [*free_a, *first]).reshape((math.prod(rows), length))
    right = np.transpose(b, [*second, *free_b]).reshape((length, math.prod(columns)))
    return np.matmul(left, right).reshape((*rows, *columns))


@implements(np.outer)
def outer(a: Any, b: Any) -> Any:
    """``np.outer``: every product of an entry of ``a`` with one of ``b``."""
    return np.expand_dims(np.ravel(a), 1) * np.expand_dims(np.ravel(b), 0)


@implements(np.linalg.outer)
def linalg_outer(x1: Any, x2: Any) -> Any:
    """``np.linalg.outer``, of vectors only."""
    x1, x2 = arraylike(x1), arraylike(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(
            f"Input arrays must be one-dimensional, but they are {x1.ndim=} and {x2.ndim=}."
        )
    return np.outer(x1, x2)


@implements(np.inner)
def inner(a: Any, b: Any) -> Any:
    """``np.inner``: products along the last axis of both."""
    a, b = arraylike(a), arraylike(b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    return np.tensordot(a, b, (-1, -1))


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    """``np.vdot``: the product of two flattened arrays, the first one conjugated."""
    return np.dot(np.ravel(arraylike(a)).conj(), np.ravel(arraylike(b)))


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    """``np.kron``: every entry of ``a`` times the whole of ``b``."""
    a, b = arraylike(a), arraylike(b)
    rank = max(a.ndim, b.ndim)
    first = (1,) * (rank - a.ndim) + a.shape
    second = (1,) * (rank - b.ndim) + b.shape
    blocks = np.multiply(
        a.reshape(tuple([n for size in first for n in (size, 1)])),
        b.reshape(tuple([n for size in second for n in (1, size)])),
    )
    return blocks.reshape(tuple([m * n for m, n in zip(first, second, strict=True)]))


@implements(np.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """``np.cross``; a vector of two components has 0 as its third."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = arraylike(a), arraylike(b)
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ValueError("incompatible dimensions for cross product\n(dimension must be 2 or 3)")
    flat = a.shape[-1] == b.shape[-1] == 2
    a0, a1, b0, b1 = a[..., 0], a[..., 1], b[..., 0], b[..., 1]
    third = a0 * b1 - a1 * b0
    if flat:
        return third
    if a.shape[-1] == 2:
        parts = [a1 * b[..., 2], -(a0 * b[..., 2]), third]
    elif b.shape[-1] == 2:
        parts = [-(a[..., 2] * b1), a[..., 2] * b0, third]
    else:
        a2, b2 = a[..., 2], b[..., 2]
        parts = [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, third]
    return np.moveaxis(np.stack(parts, axis=-1), -1, axisc)


@implements(np.linalg.cross)
def linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """``np.linalg.cross``, of vectors of three components only."""
    x1, x2 = arraylike(x1), arraylike(x2)
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(
            "Both input arrays must be (arrays of) 3-dimensional vectors, but they are "
            f"{x1.shape[axis]} and {x2.shape[axis]} dimensional instead."
        )
    return np.cross(x1, x2, axis=axis)


# --- stacks of vectors -----------------------------------------------------------------------


def _vecdot_aval(a: Aval, b: Aval) -> Aval:
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-1]:
        raise ShapeMismatchError(
            f"vecdot: shapes {a.shape} and {b.shape} do not go together; write: two operands with "
            "last axes of one length"
        )
    shape = broadcast_shapes("vecdot", [a.shape[:-1], b.shape[:-1]])
    return make_aval(shape, np.result_type(a.dtype, b.dtype))


def _vecdot_vjp(ct: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    ct = np.expand_dims(ct, -1)
    return (ct * b).conj(), ct * a.conj()


vecdot_p: Primitive = primitive(
    "vecdot",
    value="np.vecdot({0}, {1})",
    aval=_vecdot_aval,
    vjp=_vecdot_vjp,
    batch=lambda batched, size, a, b: vecdot_p(*aligned(batched, size, a, b)),
    fresh=True,
    analytic=False,
)


@implements(np.vecdot)
@implements(np.linalg.vecdot)
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """``np.vecdot``: the product of every vector with another one; the first is conjugated."""
    return vecdot_p(np.moveaxis(arraylike(x1), axis, -1), np.moveaxis(arraylike(x2), axis, -1))


def matvec(x1: Any, x2: Any) -> Any:
    """``np.matvec``: every matrix times its vector."""
    x1, x2 = arraylike(x1), arraylike(x2)
    if x1.ndim < 2 or x2.ndim < 1:
        raise ShapeMismatchError(
            f"matvec: shapes {x1.shape} and {x2.shape}; write: a stack of matrices (..., m, n) "
            "and a stack of vectors (..., n)"
        )
    return np.matmul(x1, np.expand_dims(x2, -1))[..., 0]


def vecmat(x1: Any, x2: Any) -> Any:
    """``np.vecmat``: every vector, conjugated, times its matrix."""
    x1, x2 = arraylike(x1), arraylike(x2)
    if x1.ndim < 1 or x2.ndim < 2:
        raise ShapeMismatchError(
            f"vecmat: shapes {x1.shape} and {x2.shape}; write: a stack of vectors (..., n) "
            "and a stack of matrices (..., n, m)"
        )
    return np.matmul(np.expand_dims(x1.conj(), -2), x2)[..., 0, :]


if hasattr(np, "matvec"):  # since NumPy 2.2
    answer(np.matvec, matvec)
    answer(np.vecmat, vecmat)


# --- traces ----------------------------------------------------------------------------------


@implements(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """``np.trace``: the sum along diagonals."""
    return np.sum(np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


@implements(np.linalg.trace)
def linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """``np.linalg.trace``: of the matrices in the last two axes."""
    return np.trace(x, offset, -2, -1, dtype)


@implements(np.linalg.diagonal)
def linalg_diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """``np.linalg.diagonal``: of the matrices in the last two axes."""
    return np.diagonal(x, offset, -2, -1)
