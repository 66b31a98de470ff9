"""Determinants of stacks of matrices ``(..., n, n)``, differentiable at singular ones too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval, tuple_aval
from fungrad._primitive import ZERO, Primitive, implements, primitive
from fungrad.ops.creation import arange_like
from fungrad.ops.inverses import inverse_transpose
from fungrad.ops.matrices import column, matrices, real_dtype

SlogdetResult: Any = type(np.linalg.slogdet(np.eye(1)))


def _ill_conditioned(a: Any) -> Any:
    """Whether a matrix has no inverse, or seems to have one with less than half its digits right.

    A system with two right-hand sides in no special direction tells, at the cost of a determinant.
    """
    n = a.shape[-1]
    singular = np.linalg.slogdet(a)[0] == 0
    regular = np.where(singular[..., None, None], np.eye(n), a)
    sides = np.cos(np.arange(1.0, 2 * n + 1) ** 2).reshape(n, 2).astype(a.dtype)
    growth = np.abs(np.linalg.solve(regular, sides)).max((-2, -1), initial=0)
    return singular | (growth * np.abs(a).max((-2, -1), initial=0) > np.finfo(a.dtype).eps ** -0.5)


def lift_value(a: Any) -> Any:
    """What makes singular matrices regular, so that determinants can be differentiated there.

    Returns:
        ``lift, u, v, weight``: ``a + lift`` has an inverse. Regular matrices have zeros for the
        first three, and weight 1. For a rank above ``n - 3``, ``lift = u vᵀ`` with two columns in
        ``u`` and ``v``. For a lower rank all derivatives of the determinant up to the second are
        zero, which is what weight 0 says.

    Rounding seldom leaves the pivots of a singular matrix a zero, and its inverse, 10¹⁶ in size,
    costs second derivatives all digits. So whatever loses half of them counts as singular: with
    ``u vᵀ`` the formula of `cofactors` is exact for these, too.
    """
    n = a.shape[-1]
    lift, weight = np.zeros_like(a), np.ones(a.shape[:-2], real_dtype(a.dtype))
    u = np.zeros((*a.shape[:-1], 2), a.dtype)
    v = np.zeros_like(u)
    for place in np.argwhere(_ill_conditioned(a)):
        i = tuple(place)
        left, s, right = np.linalg.svd(a[i])
        scale = s[0] if s[0] > 0 else s.dtype.type(1)
        null = s <= n * np.finfo(s.dtype).eps * scale
        weight[i] = null.sum() <= 2
        null[-2:] = True
        if weight[i]:
            columns = min(n, 2)
            u[i][:, :columns] = scale * left[:, -2:]
            v[i][:, :columns] = right[-2:].T
        lift[i] = scale * (left[:, null] @ right[null])
    return lift, u, v, weight


def _lift_aval(a: Aval) -> Aval:
    pair = make_aval((*a.shape[:-1], 2), a.dtype)
    return tuple_aval(a, pair, pair, make_aval(a.shape[:-2], real_dtype(a.dtype)))


lift_p: Primitive = primitive(
    "lift",
    value=lift_value,
    aval=_lift_aval,
    vjp=ZERO,
    batch=lambda batched, size, a: lift_p(a),
    fresh=True,
    analytic=False,
)


def cofactors(a: Any) -> Any:
    """The gradient of the determinant: ``det(a) inv(a).T``, and its limit where ``a`` is singular.

    With ``b = a + u vᵀ``, ``det(a) = det(b) det(1 - vᵀ b⁻¹ u)`` for any ``u`` and ``v`` (the matrix
    determinant lemma: Harville, Matrix Algebra From a Statistician's Perspective, section 18.1).
    If ``u`` and ``v`` span what ``a`` maps to zero, ``b`` is regular; and as they are constants,
    this can be differentiated any number of times.
    """
    lift, u, v, weight = lift_p(a)
    b = a + lift
    inverse = np.linalg.inv(b)
    x, z = inverse @ u, v.mT @ inverse
    m = v.mT @ x
    unit = np.where(arange_like(a, 2)[:, None] == arange_like(a, 2), np.ones_like(m), 0)
    m = unit - m
    trace = np.linalg.trace(m)
    adjugate = column(trace) * unit - m
    determinant = m[..., 0, 0] * m[..., 1, 1] - m[..., 0, 1] * m[..., 1, 0]
    inside = column(determinant) * inverse + x @ adjugate @ z
    return column(weight * np.linalg.det(b)) * inside.mT


det_p: Primitive = primitive(
    "det",
    value="np.linalg.det({0})",
    aval=lambda a: make_aval(a.shape[:-2], a.dtype),
    vjp=lambda ct, y, a: (column(ct) * cofactors(a),),
    batch=lambda batched, size, a: det_p(a),
    fresh=True,
)


@implements(np.linalg.det)
def det(a: Any) -> Any:
    """``np.linalg.det``, differentiable also at singular matrices."""
    return det_p(matrices(a, square=True))


def _slogdet_vjp(ct: Any, y: Any, a: Any) -> tuple[Any]:
    sign, _ = y
    # d log|det a| is real and d log(sign) imaginary part of tr(a⁻¹ da). A singular matrix has no
    # derivative: NaN, without an error that would end all other examples, too.
    scale = ct[1] * np.where(sign == 0, math.nan, 1)
    if a.dtype.kind == "c":
        scale = scale + 1j * np.imag(ct[0] * sign)
    return (column(scale) * inverse_transpose(a),)


slogdet_p: Primitive = primitive(
    "slogdet",
    value="np.linalg.slogdet({0})",
    aval=lambda a: tuple_aval(
        make_aval(a.shape[:-2], a.dtype), make_aval(a.shape[:-2], real_dtype(a.dtype))
    ),
    vjp=_slogdet_vjp,
    batch=lambda batched, size, a: slogdet_p(a),
    fresh=True,
    analytic=False,
)


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    """``np.linalg.slogdet``."""
    return SlogdetResult(*slogdet_p(matrices(a, square=True)))
