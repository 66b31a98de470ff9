"""Inverses of stacks of matrices ``(..., n, n)``: the user's, and those that rules need.

Rules of the same matrix share one inverse: that of its triangle, if it is known to be triangular;
or the one that the program computes itself; or one by the fastest way that suits the matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._primitive import Primitive, implements, primitive
from fungrad._tracer import Tracer
from fungrad.ops import elementwise
from fungrad.ops.decompositions import cholesky_p
from fungrad.ops.diagonals import tril, triu
from fungrad.ops.matrices import is_transpose, matrices
from fungrad.ops.triangular import (
    cholesky_cotangent_p,
    gram,
    invert_triangle,
    thin_cotangent_p,
    triangular_inverse_p,
)

LARGE = 80
"""From how many rows on a symmetric matrix is inverted by its Cholesky factor: below, calls count."""


inv_p: Primitive = primitive(
    "inv",
    value="np.linalg.inv({0})",
    aval=lambda a: a,
    vjp=lambda ct, y, a: (-(y.mT @ ct @ y.mT),),
    batch=lambda batched, size, a: inv_p(a),
    fresh=True,
)


@implements(np.linalg.inv)
def inv(a: Any) -> Any:
    """``np.linalg.inv``."""
    return inv_p(matrices(a, square=True))


# --- the inverse for rules -------------------------------------------------------------------------


def is_hermitian(a: Any) -> bool:
    """Whether all matrices are, to the last bit; the first rows tell soon that most are not."""
    first = a[..., 0, :] == a[..., 0].conj()
    return bool(first.all() and (a == a.mT.conj()).all())


def inverse_or_nan(a: Any) -> Any:
    """The inverse of every matrix, NaN where there is none.

    By ``A⁻¹ = L⁻ᴴ L⁻¹``, if all are Hermitian and positive definite: half the time of LAPACK's
    general inverse, and an error that grows with the condition number as that one's does (Higham,
    Accuracy and Stability of Numerical Algorithms, section 14.3).
    """
    if a.shape[-1] >= LARGE and a.size and is_hermitian(a):
        try:
            return gram(invert_triangle(np.linalg.cholesky(a)))
        except np.linalg.LinAlgError:
            pass
    try:
        return np.linalg.inv(a)
    except np.linalg.LinAlgError:
        singular = (np.linalg.slogdet(a)[0] == 0)[..., None, None]
        regular = np.where(singular, np.eye(a.shape[-1], dtype=a.dtype), a)
        return np.where(singular, np.asarray(np.nan, a.dtype), np.linalg.inv(regular))


inverse_p: Primitive = primitive(
    "inverse",
    value=inverse_or_nan,
    aval=lambda a: a,
    vjp=lambda ct, y, a: (-(y.mT @ ct @ y.mT),),
    batch=lambda batched, size, a: inverse_p(a),
    fresh=True,
)


def inverse_transpose(a: Any) -> Any:
    """``a⁻ᵀ``, for a rule of ``a``; NaN where ``a`` is singular."""
    known = known_inverse_transpose(a)
    return inverse_p(transposed(a)) if known is None else known


def known_inverse_transpose(a: Any) -> Any:
    """``a⁻ᵀ`` if ``a`` is known to be triangular or if the program inverts it; or ``None``."""
    side = triangle_of(a)
    if side == "lower":
        return triangular_inverse_p(a).mT
    if side == "upper":
        return triangular_inverse_p(transposed(a))
    own = inv_p.node((a._expr,), ())
    return Tracer(a._trace, own).mT if own in a._trace.active else None


def transposed(a: Any) -> Any:
    """``a.mT``, or what ``a`` is the transpose of."""
    return Tracer(a._trace, a._expr.args[0]) if is_transpose(a._expr) else a.mT


def triangle_of(a: Any) -> str | None:
    """``"lower"`` or ``"upper"`` if ``a`` is made so that all else is zero."""
    node, sides = a._expr, ("lower", "upper")
    while node.primitive is not None:
        if node.primitive in (triangular_inverse_p, cholesky_cotangent_p, thin_cotangent_p):
            return sides[0]
        if node.primitive is cholesky_p:
            return sides[dict(node.static)["upper"]]
        if node.primitive is elementwise.where and node.args[1].aval is node.aval:
            whole = Tracer(a._trace, node.args[1])
            of = [
                side
                for side, part in zip(sides, (tril, triu), strict=True)
                if part(whole)._expr is node
            ]
            return of[0] if of else None
        if is_transpose(node):
            sides = sides[::-1]
        elif node.primitive not in (elementwise.conjugate, elementwise.negative):
            return None
        node = node.args[0]
    return None
