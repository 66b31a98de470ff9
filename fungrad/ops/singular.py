"""Singular values and vectors, and what they give: pseudo-inverses, least squares, ranks, conditions.

Where singular values coincide, functions of the values alone, and functions of the vectors alone
that do not depend on the basis chosen among them, have the right, finite derivative; a function of
both lacks the part that ``eigenvalues`` describes. ``pinv`` and ``lstsq`` have rules of their own,
which do not divide by differences.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval, tuple_aval
from fungrad._primitive import INDEX, Primitive, implements, primitive
from fungrad.errors import ConcretizationError
from fungrad.ops.determinants import lift_p, slogdet_p
from fungrad.ops.matrices import (
    adjoint,
    from_lower,
    inexact,
    is_zero,
    matrices,
    on_diagonal,
    real_dtype,
    reciprocal,
    rounding,
)
from fungrad.ops.shape import arraylike

SVDResult: Any = type(np.linalg.svd(np.eye(1)))


# --- singular values -----------------------------------------------------------------------------


def _svd_aval(a: Aval, full_matrices: bool) -> Aval:
    *stack, m, n = a.shape
    k = min(m, n)
    rows, columns = (m, n) if full_matrices else (k, k)
    return tuple_aval(
        make_aval((*stack, m, rows), a.dtype),
        make_aval((*stack, k), real_dtype(a.dtype)),
        make_aval((*stack, columns, n), a.dtype),
    )


def _svd_vjp(ct: Any, y: Any, a: Any, full_matrices: bool) -> tuple[Any]:
    # Townsend, Differentiating the singular value decomposition, 2016; the phases of complex
    # vectors as in Wan and Zhang, arXiv:1909.02659.
    k = min(a.shape[-2:])
    u, s, v = y[0][..., :k], y[1], adjoint(y[2][..., :k, :])
    if is_zero(ct[0]) and is_zero(ct[2]):
        return (_of_values(ct[1], u, s, adjoint(v)),)
    inside = on_diagonal(np.where(s == 0, 0, ct[1]))
    ct_u, ct_v = ct[0].conj(), adjoint(ct[2].conj())
    noise = rounding(s)
    inverse = reciprocal(s, noise)[..., None, :]
    one, other = s[..., None, :], s[..., :, None]
    gaps = reciprocal(one - other, noise[..., None]) * reciprocal(one + other, noise[..., None])
    of_u, of_v = adjoint(u) @ ct_u[..., :k], adjoint(v) @ ct_v[..., :k]
    inside = inside + (gaps * (of_u - adjoint(of_u))) * s[..., None, :]
    inside = inside + s[..., :, None] * (gaps * (of_v - adjoint(of_v)))
    if a.dtype.kind == "c":
        inside = inside + on_diagonal(0.5j * np.imag(np.linalg.diagonal(of_u - of_v))) * inverse
    g = u @ inside @ adjoint(v)
    if a.shape[-2] > k:
        g = g + (_outside(ct_u, y[0], of_u, k) * inverse) @ adjoint(v)
    if a.shape[-1] > k:
        g = g + u @ adjoint(_outside(ct_v, adjoint(y[2]), of_v, k) * inverse)
    return (g.conj(),)


def _outside(ct: Any, vectors: Any, of_first: Any, k: int) -> Any:
    """The part of a cotangent that turns the first ``k`` vectors out of the space they span."""
    first, rest = vectors[..., :k], vectors[..., k:]
    g = ct[..., :k] - first @ of_first
    if rest.shape[-1]:  # the others turn with them, to stay orthogonal
        g = g - rest @ (adjoint(ct[..., k:]) @ first)
    return g


svd_p: Primitive = primitive(
    "svd",
    value="np.linalg.svd({0}, {full_matrices})",
    aval=_svd_aval,
    vjp=_svd_vjp,
    batch=lambda batched, size, a, full_matrices: svd_p(a, full_matrices=full_matrices),
    fresh=True,
    analytic=False,
)


def _svdvals_vjp(ct: Any, y: Any, a: Any) -> tuple[Any]:
    u, _, vh = svd_p(a, full_matrices=False)
    return (_of_values(ct, u, y, vh),)


def _of_values(ct: Any, u: Any, s: Any, vh: Any) -> Any:
    # At 0 a singular value is like the absolute value there: derivative 0.
    return ((u * np.where(s == 0, 0, ct)[..., None, :]) @ vh).conj()


svdvals_p: Primitive = primitive(
    "svdvals",
    value="np.linalg.svd({0}, compute_uv=False)",
    aval=lambda a: make_aval((*a.shape[:-2], min(a.shape[-2:])), real_dtype(a.dtype)),
    vjp=_svdvals_vjp,
    batch=lambda batched, size, a: svdvals_p(a),
    fresh=True,
    analytic=False,
)


@implements(np.linalg.svd)
def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """``np.linalg.svd``.

    With ``full_matrices=True``, the vectors beyond ``min(m, n)`` are any basis of what is
    orthogonal to the others; functions that do not depend on the choice have the right derivative.
    """
    if hermitian:
        return _svd_of_hermitian(a, compute_uv)
    a = matrices(a)
    if not compute_uv:
        return svdvals_p(a)
    return SVDResult(*svd_p(a, full_matrices=bool(full_matrices)))


def _svd_of_hermitian(a: Any, compute_uv: bool) -> Any:
    if not compute_uv:
        return np.sort(np.abs(np.linalg.eigvalsh(a)))[..., ::-1]
    w, v = np.linalg.eigh(a)
    order = np.argsort(np.abs(w))[..., ::-1]
    sign = np.take_along_axis(np.sign(w), order, axis=-1)
    s = np.take_along_axis(np.abs(w), order, axis=-1)
    u = np.take_along_axis(v, order[..., None, :], axis=-1)
    return SVDResult(u, s, adjoint(u * sign[..., None, :]))


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    """``np.linalg.svdvals``."""
    return svdvals_p(matrices(x))


# --- pseudo-inverses and least squares -----------------------------------------------------------


def pinv_value(a: Any, rcond: Any) -> Any:
    """``np.linalg.pinv``."""
    return np.linalg.pinv(a, rcond)


def _pinv_vjp(ct: Any, y: Any, a: Any, rcond: Any) -> tuple[Any, Any]:
    # Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least squares problems
    # whose variables separate, SIAM J. Numer. Anal. 10 (1973): for a constant rank.
    g, p = ct.conj(), adjoint(y)
    rest = g - (g @ a) @ y  # G (1 - A P)
    other = g - y @ (a @ g)  # (1 - P A) G
    first = p @ (g @ p)
    return (adjoint(y @ (p @ rest)) + adjoint((other @ p) @ y) - first).conj(), INDEX


def _pinv_batch(batched: tuple[bool, bool], size: int, a: Any, rcond: Any) -> Any:
    if not batched[0]:
        a = np.broadcast_to(a, (size, *a.shape))
    if batched[1]:  # one number for each matrix
        rcond = rcond.reshape((size, *[1] * (a.ndim - 2 - rcond.ndim), *rcond.shape[1:]))
    return pinv_p(a, rcond)


pinv_p: Primitive = primitive(
    "pinv",
    value=pinv_value,
    aval=lambda a, rcond: make_aval((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype),
    vjp=_pinv_vjp,
    batch=_pinv_batch,
    fresh=True,
    analytic=False,
)


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    """``np.linalg.pinv``; its derivative is that among matrices of the same rank."""
    if rcond is not None and rtol is not np._NoValue:
        raise ValueError("`rtol` and `rcond` can't be both set.")
    a = arraylike(a)
    if 0 in a.shape[-2:]:
        return np.zeros_like(a, shape=(*a.shape[:-2], a.shape[-1], a.shape[-2]))
    a = from_lower(matrices(a)) if hermitian else matrices(a)
    if rcond is None:
        rcond = 1e-15 if rtol is np._NoValue else rtol
    if rcond is None:
        rcond = max(a.shape[-2:]) * float(np.finfo(a.dtype).eps)
    return pinv_p(a, rcond)


def lstsq_value(a: Any, b: Any, rcond: float | None) -> Any:
    """``np.linalg.lstsq`` without the residuals, also of stacks of matrices."""
    if a.ndim == 2:
        x, _, rank, s = np.linalg.lstsq(a, b, rcond)
        return x, rank, s
    # One example more, as an empty stack has none to tell the shapes.
    pairs = [*zip(a, b, strict=True), (np.zeros(a.shape[1:], a.dtype), np.zeros(b.shape[1:]))]
    results = [lstsq_value(one, other.astype(a.dtype), rcond) for one, other in pairs]
    return tuple([np.stack(part)[:-1] for part in zip(*results, strict=True)])


def _lstsq_aval(a: Aval, b: Aval, rcond: float | None) -> Aval:
    *stack, m, n = a.shape
    return tuple_aval(
        make_aval((*stack, n, b.shape[-1]), a.dtype),
        make_aval(tuple(stack), np.dtype(np.int32)),
        make_aval((*stack, min(m, n)), real_dtype(a.dtype)),
    )


def _lstsq_vjp(ct: Any, y: Any, a: Any, b: Any, rcond: float | None) -> tuple[Any, Any]:
    # x = pinv(a) b, and the derivative of pinv as above. NumPy solves in double precision and decides
    # there what is rounding, also for single precision: so does this.
    wide = np.result_type(a.dtype, np.float64)
    cutoff = max(a.shape[-2:]) * float(np.finfo(wide).eps) if rcond is None else rcond
    narrow = a.dtype != wide
    a, g = a.astype(wide), ct[0].conj()
    p = np.linalg.pinv(a, cutoff)
    x = p @ b if narrow else y[0]
    h = adjoint(p)
    of_b = h @ g
    of_a = (b - a @ x) @ adjoint(p @ of_b) - of_b @ adjoint(x)
    of_a = of_a + (h @ x) @ adjoint(g - p @ (a @ g))
    if is_zero(ct[2]):
        return of_a.conj(), of_b.conj()
    u, s, vh = svd_p(a, full_matrices=False)
    return of_a.conj() + _of_values(ct[2], u, s, vh), of_b.conj()


def _lstsq_batch(batched: tuple[bool, bool], size: int, a: Any, b: Any, rcond: float | None) -> Any:
    pairs = zip((a, b), batched, strict=True)
    return lstsq_p(
        *[x if flag else np.broadcast_to(x, (size, *x.shape)) for x, flag in pairs], rcond=rcond
    )


lstsq_p: Primitive = primitive(
    "lstsq",
    value=lstsq_value,
    aval=_lstsq_aval,
    vjp=_lstsq_vjp,
    batch=_lstsq_batch,
    fresh=True,
    analytic=False,
)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """``np.linalg.lstsq``; ``x`` has the derivative among matrices of the same rank.

    Whether there are residuals depends on the rank; under ``vmap`` there are as if it were full.
    """
    a, b = arraylike(a), arraylike(b)
    columns = b if b.ndim != 1 else np.expand_dims(b, -1)
    if a.ndim != 2 or columns.ndim != 2:
        raise np.linalg.LinAlgError("lstsq: both arrays must be two-dimensional, or b a vector")
    if a.shape[0] != columns.shape[0]:
        raise np.linalg.LinAlgError("Incompatible dimensions")
    a, columns = inexact(a), inexact(columns)
    dtype = np.result_type(a.dtype, columns.dtype)
    a, columns = a.astype(dtype, copy=False), columns.astype(dtype, copy=False)
    x, rank, s = lstsq_p(a, columns, rcond=None if rcond is None else float(rcond))
    if a.shape[0] > a.shape[1] and _is_full(rank, a.shape[1]):
        residuals = np.sum(np.square(np.abs(columns - a @ x)), axis=0)
    else:
        residuals = np.zeros_like(s, shape=(0,))
    return x if b.ndim != 1 else x[:, 0], residuals, rank, s


def _is_full(rank: Any, columns: int) -> bool:
    try:
        return bool(rank == columns)
    except ConcretizationError:
        return True


# --- ranks and conditions ------------------------------------------------------------------------


@implements(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """``np.linalg.matrix_rank``: how many singular values are larger than a tolerance."""
    if rtol is not None and tol is not None:
        raise ValueError("`tol` and `rtol` can't be both set.")
    if A.ndim < 2:
        return np.any(A != 0).astype(np.int64)
    s = np.linalg.svd(A, compute_uv=False, hermitian=bool(hermitian))
    if tol is None and rtol is None:
        rtol = max(A.shape[-2:]) * float(np.finfo(s.dtype).eps)
    elif tol is None:
        rtol = arraylike(rtol)[..., None]
    limit = arraylike(tol)[..., None] if rtol is None else np.max(s, -1, keepdims=True, initial=0)
    return np.sum(s > (limit if rtol is None else limit * rtol), axis=-1)


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """``np.linalg.cond``: infinite for singular matrices."""
    if x.size == 0 and 0 in x.shape[-2:]:
        raise np.linalg.LinAlgError("cond is not defined on empty arrays")
    if p is None or p in (2, -2):
        s = np.linalg.svd(x, compute_uv=False)
        large, small = (s[..., -1], s[..., 0]) if p == -2 else (s[..., 0], s[..., -1])
        return np.where(small == 0, math.inf, large / np.where(small == 0, 1, small))
    x = matrices(x, square=True)
    singular = slogdet_p(x)[0] == 0
    inverse = np.linalg.inv(x + lift_p(x)[0])
    product = np.linalg.norm(x, p, axis=(-2, -1)) * np.linalg.norm(inverse, p, axis=(-2, -1))
    return np.where(singular, math.inf, product)
