"""Eigenvalues and eigenvectors, of stacks of matrices ``(..., n, n)``, real and complex.

* ``eigh`` and ``eigvalsh`` read one triangle of their operand, as NumPy does, and so the gradient is
  zero above the diagonal (below it for ``UPLO="U"``); ``(g + g.T) / 2`` is the symmetric one.
* Signs and phases of vectors are arbitrary; functions that do not depend on them have the right
  derivative. The vectors of ``eig`` are differentiated as LAPACK normalises them.
* Where eigenvalues coincide, functions of the values alone, and functions of the vectors alone that
  do not depend on the basis chosen among them, have the right, finite derivative. A single vector
  has none there: its part within that space counts as 0. So a function of both, such as
  ``v @ diag(f(w)) @ v.T``, lacks the part ``f'(w)`` of its derivative between equal eigenvalues.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval, tuple_aval
from fungrad._primitive import Primitive, implements, primitive
from fungrad.errors import ConcretizationError
from fungrad.ops.creation import arange_like
from fungrad.ops.matrices import (
    adjoint,
    complex_dtype,
    is_zero,
    matrices,
    on_diagonal,
    read_triangle,
    real_dtype,
    reciprocal,
    rounding,
)

EigResult: Any = type(np.linalg.eig(np.eye(1)))
EighResult: Any = type(np.linalg.eigh(np.eye(1)))


# --- eigenvalues of Hermitian matrices -----------------------------------------------------------


def _eigh_aval(a: Aval, UPLO: str) -> Aval:
    return tuple_aval(make_aval(a.shape[:-1], real_dtype(a.dtype)), a)


def _eigh_vjp(ct: Any, y: Any, a: Any, UPLO: str) -> tuple[Any]:
    # Giles, Collected matrix derivative results for forward and reverse mode AD, 2008, section 3.1.
    (w, v), (ct_w, ct_v) = y, ct
    inside = v * ct_w[..., None, :]
    if not is_zero(ct_v):
        gaps = w[..., None, :] - w[..., :, None]
        inside = inside + v @ (
            reciprocal(gaps, rounding(w)[..., None]) * (adjoint(v) @ ct_v.conj())
        )
    return (read_triangle(inside @ adjoint(v), UPLO == "L").conj(),)


eigh_p: Primitive = primitive(
    "eigh",
    value="np.linalg.eigh({0}, {UPLO})",
    aval=_eigh_aval,
    vjp=_eigh_vjp,
    batch=lambda batched, size, a, UPLO: eigh_p(a, UPLO=UPLO),
    fresh=True,
    analytic=False,
)


def _eigvalsh_vjp(ct: Any, y: Any, a: Any, UPLO: str) -> tuple[Any]:
    _, v = eigh_p(a, UPLO=UPLO)
    return (read_triangle((v * ct[..., None, :]) @ adjoint(v), UPLO == "L").conj(),)


eigvalsh_p: Primitive = primitive(
    "eigvalsh",
    value="np.linalg.eigvalsh({0}, {UPLO})",
    aval=lambda a, UPLO: make_aval(a.shape[:-1], real_dtype(a.dtype)),
    vjp=_eigvalsh_vjp,
    batch=lambda batched, size, a, UPLO: eigvalsh_p(a, UPLO=UPLO),
    fresh=True,
    analytic=False,
)


def _uplo(UPLO: str) -> str:
    if UPLO.upper() not in ("L", "U"):
        raise ValueError("UPLO argument must be 'L' or 'U'")
    return UPLO.upper()


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    """``np.linalg.eigh``."""
    return EighResult(*eigh_p(matrices(a, square=True), UPLO=_uplo(UPLO)))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """``np.linalg.eigvalsh``."""
    return eigvalsh_p(matrices(a, square=True), UPLO=_uplo(UPLO))


# --- eigenvalues of general matrices -------------------------------------------------------------


def eig_value(a: Any) -> Any:
    """``np.linalg.eig``, always complex: a dtype can't depend on values inside a program."""
    w, v = np.linalg.eig(a)
    dtype = complex_dtype(a.dtype)
    return w.astype(dtype), v.astype(dtype)


def eigvals_value(a: Any) -> Any:
    """``np.linalg.eigvals``, always complex."""
    return np.linalg.eigvals(a).astype(complex_dtype(a.dtype))


def _eig_vjp(ct: Any, y: Any, a: Any) -> tuple[Any]:
    # dV = V Z with Z = (V⁻¹ dA V) / gaps, less what keeps the columns normalised as LAPACK does:
    # of unit length, and their largest component real. Boeddeker et al., On the computation of
    # complex-valued gradients, arXiv:1701.00392, have the former.
    (w, v), ct_v = y, ct[1].conj()
    inside = on_diagonal(ct[0].conj())
    if v.size and not is_zero(ct[1]):
        free = np.sum(v.conj() * ct_v, axis=-2, keepdims=True)
        real = np.where(np.imag(v) == 0, np.abs(v), -1)
        pivot = arange_like(v, v.shape[-1])[:, None] == np.argmax(real, axis=-2, keepdims=True)
        length = np.sum(np.where(pivot, np.real(v), 0), axis=-2, keepdims=True)
        ct_v = ct_v - v * np.real(free) - np.where(pivot, 1j * (np.imag(free) / length), 0)
        gaps = w[..., None, :] - w[..., :, None]
        inverse = reciprocal(gaps, rounding(w)[..., None])
        inside = inside + inverse.conj() * (adjoint(v) @ ct_v)
    return (np.linalg.solve(v.mT, inside.conj() @ v.mT),)


eig_p: Primitive = primitive(
    "eig",
    value=eig_value,
    aval=lambda a: tuple_aval(
        make_aval(a.shape[:-1], complex_dtype(a.dtype)), make_aval(a.shape, complex_dtype(a.dtype))
    ),
    vjp=_eig_vjp,
    batch=lambda batched, size, a: eig_p(a),
    fresh=True,
    analytic=False,
)


def _eigvals_vjp(ct: Any, y: Any, a: Any) -> tuple[Any]:
    _, v = eig_p(a)
    return (np.linalg.solve(v.mT, ct[..., :, None] * v.mT),)


eigvals_p: Primitive = primitive(
    "eigvals",
    value=eigvals_value,
    aval=lambda a: make_aval(a.shape[:-1], complex_dtype(a.dtype)),
    vjp=_eigvals_vjp,
    batch=lambda batched, size, a: eigvals_p(a),
    fresh=True,
    analytic=False,
)


def _all_real(a: Any, w: Any) -> bool:
    """Whether NumPy would give real eigenvalues; where values differ by example, it can't say."""
    if a.dtype.kind == "c":
        return False
    try:
        return bool(np.all(np.imag(w) == 0))
    except ConcretizationError:
        return False


@implements(np.linalg.eig)
def eig(a: Any) -> Any:
    """``np.linalg.eig``: real if all eigenvalues are, but always complex under ``vmap``."""
    a = matrices(a, square=True)
    w, v = eig_p(a)
    return EigResult(w.real, v.real) if _all_real(a, w) else EigResult(w, v)


@implements(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """``np.linalg.eigvals``: real if all eigenvalues are, but always complex under ``vmap``."""
    a = matrices(a, square=True)
    w = eigvals_p(a)
    return w.real if _all_real(a, w) else w
