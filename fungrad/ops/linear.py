"""Products of matrices and vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from fungrad._aval import Aval, make_aval
from fungrad._primitive import implements, primitive
from fungrad.errors import ShapeMismatchError


def _matmul_aval(a: Aval, b: Aval) -> Aval:
    inner_a, inner_b = a.shape[-1:], b.shape[-2:][:1]
    try:
        if not a.ndim or not b.ndim or inner_a != inner_b:
            raise ValueError
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
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
        of_a = np.matmul(b, np.expand_dims(ct, -1))
        return of_a.reshape(of_a.shape[:-1]), np.expand_dims(a, -1) * np.expand_dims(ct, -2)
    if b.ndim == 1:
        of_b = np.matmul(a.mT, np.expand_dims(ct, -1))
        return np.expand_dims(ct, -1) * b, of_b.reshape(of_b.shape[:-1])
    return np.matmul(ct, b.mT), np.matmul(a.mT, ct)


def _matmul_batch(batched: tuple[bool, bool], size: int, a: Any, b: Any) -> Any:
    first, second = batched
    # A batch of vectors is a batch of one-row or one-column matrices.
    row, column = a.ndim - first == 1, b.ndim - second == 1
    a = np.expand_dims(a, -2) if row else a
    b = np.expand_dims(b, -1) if column else b
    rank = (a.ndim - first, b.ndim - second)
    a, b = (
        x.reshape((size, *[1] * (max(rank) - r), *x.shape[1:])) if flag else x
        for x, flag, r in zip((a, b), batched, rank, strict=True)
    )
    out = np.matmul(a, b)
    shape = out.shape[: out.ndim - 2] + out.shape[-2:][row : 2 - column]
    return out.reshape(shape)


matmul_p = primitive(
    "matmul",
    value="np.matmul({0}, {1})",
    aval=_matmul_aval,
    vjp=_matmul_vjp,
    batch=_matmul_batch,
    fresh=True,
)


@implements(np.matmul)
def matmul(x1: Any, x2: Any) -> Any:
    """``np.matmul``, ``a @ b``."""
    return matmul_p(_operand(x1), _operand(x2))


def _operand(x: Any) -> Any:
    return x if hasattr(x, "ndim") else np.asarray(x)


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    """``np.dot``: a product of numbers, vectors, matrices, or along one axis of each."""
    a, b = _operand(a), _operand(b)
    if a.ndim == 0 or b.ndim == 0:
        return np.multiply(a, b)
    if b.ndim <= 2:
        return np.matmul(a, b)
    return np.tensordot(a, b, (a.ndim - 1, b.ndim - 2))


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """``np.tensordot``: contracted axes side by side, then one matrix product."""
    a, b = _operand(a), _operand(b)
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
