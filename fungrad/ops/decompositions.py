"""Cholesky and QR factors, of stacks of matrices ``(..., m, n)``, real and complex.

``cholesky``, as ``eigh`` and ``eigvalsh``, reads one triangle of its operand, as NumPy does; so the
gradient is that of this very function: zero above the diagonal (below it with ``upper=True``), and
twice the symmetric gradient below. ``(g + g.T) / 2`` is the symmetric one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval, tuple_aval
from fungrad._primitive import Primitive, implements, primitive, unsupported
from fungrad.ops.matrices import adjoint, matrices, solve_adjoint, triangle
from fungrad.ops.thin import thin
from fungrad.ops.triangular import (
    STRIP,
    cholesky_cotangent_p,
    thin_cotangent_p,
    triangular_inverse_p,
)

QRResult: Any = type(np.linalg.qr(np.eye(1)))


# --- Cholesky ------------------------------------------------------------------------------------


def _cholesky_vjp(ct: Any, y: Any, a: Any, upper: bool) -> tuple[Any]:
    if upper:
        of_lower = _of_lower(ct.mT, adjoint(y), triangular_inverse_p(y.mT).conj())
        return (of_lower.mT,)
    return (_of_lower(ct.conj(), y, triangular_inverse_p(y)).conj(),)


def _of_lower(g: Any, factor: Any, inverse: Any) -> Any:
    parts = thin(g) if g.shape[-1] > STRIP else None
    if parts is None:
        return cholesky_cotangent_p(g, factor, inverse)
    diagonal = np.real(np.diagonal(factor, 0, -2, -1)) * parts.diagonal
    return thin_cotangent_p(diagonal, adjoint(factor) @ parts.u, parts.v, inverse)


cholesky_p: Primitive = primitive(
    "cholesky",
    value="np.linalg.cholesky({0}, upper={upper})",
    aval=lambda a, upper: a,
    vjp=_cholesky_vjp,
    batch=lambda batched, size, a, upper: cholesky_p(a, upper=upper),
    fresh=True,
    analytic=False,
)


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """``np.linalg.cholesky``."""
    return cholesky_p(matrices(a, square=True), upper=bool(upper))


# --- QR ------------------------------------------------------------------------------------------


def _qr_aval(a: Aval, mode: str) -> Aval:
    *stack, m, n = a.shape
    k = m if mode == "complete" else min(m, n)
    return tuple_aval(make_aval((*stack, m, k), a.dtype), make_aval((*stack, k, n), a.dtype))


def _qr_vjp(ct: Any, y: Any, a: Any, mode: str) -> tuple[Any]:
    (q, r), (m, n) = y, a.shape[-2:]
    ct_q, ct_r = ct[0].conj(), ct[1].conj()
    if m >= n:
        return (_qr_tall(ct_q, ct_r[..., :n, :], q, r[..., :n, :]).conj(),)
    # A wide matrix: [X, Y] = Q [U, QᴴY], where X = QU.
    rest = ct_r[..., m:]
    ct_q = ct_q + a[..., m:] @ adjoint(rest)
    of_square = _qr_tall(ct_q, ct_r[..., :m], q, r[..., :m])
    return (np.concatenate([of_square, q @ rest], axis=-1).conj(),)


def _qr_tall(ct_q: Any, ct_r: Any, q: Any, r: Any) -> Any:
    # Seeger et al., Auto-differentiating linear algebra, arXiv:1710.08717; complex as in
    # Roberts and Roberts, QR and LQ decomposition backpropagation, arXiv:2009.10071.
    n = r.shape[-1]
    first, ct_first = q[..., :n], ct_q[..., :n]
    w = triangle(r @ adjoint(ct_r) - adjoint(ct_first) @ first, 0.5)
    g = ct_first + first @ (w + adjoint(w))
    if q.shape[-1] > n:  # the other columns turn with the first ones, to stay orthogonal
        g = g - q[..., n:] @ (adjoint(ct_q[..., n:]) @ first)
    return solve_adjoint(r, g)


qr_p: Primitive = primitive(
    "qr",
    value="np.linalg.qr({0}, {mode})",
    aval=_qr_aval,
    vjp=_qr_vjp,
    batch=lambda batched, size, a, mode: qr_p(a, mode=mode),
    fresh=True,
    analytic=False,
)


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """``np.linalg.qr``.

    In mode ``"complete"``, the columns beyond ``n`` are any basis of what is orthogonal to the
    others; functions that do not depend on the choice have the right derivative.
    """
    if mode == "raw":
        raise unsupported("np.linalg.qr in mode 'raw'", "write: mode='reduced'")
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"Unrecognized mode '{mode}'")
    q, r = qr_p(matrices(a), mode="reduced" if mode == "r" else mode)
    return r if mode == "r" else QRResult(q, r)
