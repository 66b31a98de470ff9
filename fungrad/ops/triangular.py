"""Inverses of lower triangular matrices, of stacks ``(..., n, n)``, and what they are for.

NumPy has no triangular solver, and its general one factorises the factor again. So rules ask for
the inverse of a triangular matrix, built of matrix products: one serves all pullbacks of a factor.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, primitive
from fungrad.ops.creation import arange_like
from fungrad.ops.examples import all_batched
from fungrad.ops.matrices import adjoint, triangle

STRIP = 32
"""How many rows are done at once: as few as matrix products are fast for. More, and rounding errors
grow in the inverses of blocks."""


def strips(n: int) -> list[slice]:
    """Some rows at a time."""
    return [slice(i, min(n, i + STRIP)) for i in range(0, n, STRIP)]


@lru_cache(maxsize=64)
def half_weights(n: int, char: str) -> Any:
    """1 below the diagonal, 1/2 on it."""
    weights = np.tri(n, dtype=char) - np.eye(n, dtype=char) / 2
    weights.flags.writeable = False
    return weights


def weighted(rows: Any, start: int) -> Any:
    """``rows`` of a matrix from the one at ``start`` on, with half of the diagonal and none above."""
    count = rows.shape[-2]
    rows[..., start:] *= half_weights(count, rows.dtype.char.lower())
    return rows


# --- inverses ------------------------------------------------------------------------------------


def blocks(a: Any, count: int, step: int, row: int, column: int, size: tuple[int, int]) -> Any:
    """``count`` blocks of a C-contiguous ``a``, from a place on, ``step`` rows and columns apart."""
    *lead, down, right = a.strides
    place, strides = row * down + column * right, (*lead, step * (down + right), down, right)
    return np.ndarray((*a.shape[:-2], count, *size), a.dtype, a, place, strides)


def invert_diagonal_blocks(a: Any, x: Any) -> None:
    """Put the inverses of the diagonal blocks of ``STRIP`` rows, lower triangles, into ``x``.

    Two blocks with inverses ``X`` and ``Z``, and ``B`` below the first, have together the inverse
    ``[[X, 0], [-Z B X, Z]]``. Pairs of one size are done at once.
    """
    n, size = a.shape[-1], 1
    np.divide(1, blocks(a, n, 1, 0, 0, (1, 1)), out=blocks(x, n, 1, 0, 0, (1, 1)))
    while size < min(n, STRIP):
        pairs, rest = divmod(n, 2 * size)
        tasks = [(pairs, 0, size)] if pairs else []
        if rest > size:  # the last pair, whose second block is shorter
            tasks.append((1, n - rest, rest - size))
        for count, first, rows in tasks:
            second, below = first + size, (rows, size)
            inside = blocks(x, count, 2 * size, second, second, (rows, rows)) @ blocks(
                a, count, 2 * size, second, first, below
            )
            np.negative(inside, out=inside)
            np.matmul(
                inside,
                blocks(x, count, 2 * size, first, first, (size, size)),
                out=blocks(x, count, 2 * size, second, first, below),
            )
        size *= 2


def invert_small_triangle(a: Any) -> Any:
    """The same for one matrix of a few rows, by LAPACK: there, calls are what takes time.

    Of the transpose: LAPACK's factorisation exchanges no rows of an upper triangle, so that what it
    does is substitution. Rows of a lower one it exchanges by their size, and that can cost all digits.
    """
    lower = half_weights(a.shape[-1], "d") > 0
    return np.where(lower, np.linalg.inv(np.where(lower, a, 0).T).T, 0)


def invert_triangle(a: Any) -> Any:
    """The inverse of the lower triangle of every matrix, by substitution with blocks of rows."""
    n = a.shape[-1]
    if not a.size:
        return np.zeros_like(a)
    with np.errstate(all="ignore"):
        if a.ndim == 2 and n <= STRIP:
            try:
                return invert_small_triangle(a)
            except np.linalg.LinAlgError:  # a zero on the diagonal, which is infinite below
                pass
        a = np.ascontiguousarray(a)
        x = np.zeros_like(a)
        invert_diagonal_blocks(a, x)
        for rows in strips(n)[1:]:
            i = rows.start
            inside = a[..., rows, :i] @ x[..., :i, :i]
            np.negative(inside, out=inside)
            np.matmul(x[..., rows, rows], inside, out=x[..., rows, :i])
    return x


def gram(x: Any) -> Any:
    """``Xᴴ X`` of lower triangular matrices, by strips: a third of what a product does."""
    out, left = np.empty_like(x), x.mT.conj()
    for rows in strips(x.shape[-1]):
        i, j = rows.start, rows.stop
        np.matmul(left[..., rows, i:], x[..., i:, :j], out=out[..., rows, :j])
        out[..., :i, rows] = out[..., rows, :i].mT.conj()
    return out


triangular_inverse_p: Primitive = primitive(
    "triangular_inverse",
    value=invert_triangle,
    aval=lambda a: a,
    vjp=lambda ct, y, a: (-triangle(y.mT @ ct @ y.mT, 1),),
    batch=lambda batched, size, a: triangular_inverse_p(a),
    fresh=True,
)
"""The inverse of the lower triangle; what is above it is not read.

Du Croz and Higham, Stability of methods for matrix inversion, IMA J. Numer. Anal. 12, 1992.
"""


# --- the pullback of Cholesky factors --------------------------------------------------------------


def cholesky_cotangent(g: Any, factor: Any, inverse: Any) -> Any:
    """``S + Sᴴ`` for ``S = L⁻ᴴ Φ(Lᴴ G) L⁻¹``: below the diagonal, and half of what is on it.

    ``Φ`` takes the same part of its operand. By strips, so that few products with the zeros of a
    triangle are done, and none for what nobody reads.
    """
    n, left = g.shape[-1], factor.mT.conj()
    if n <= STRIP:
        s = inverse.mT.conj() @ (weighted(left @ g, 0) @ inverse)
        return weighted(s + s.mT.conj(), 0)
    right = np.zeros(g.shape, np.result_type(g, factor, inverse))
    for rows in strips(n):
        i, j = rows.start, rows.stop
        inside = weighted(left[..., rows, i:] @ g[..., i:, :j], i)
        np.matmul(inside, inverse[..., :j, :j], out=right[..., rows, :j])
    return add_adjoint(inverse, right)


def thin_cotangent(diagonal: Any, u: Any, v: Any, inverse: Any) -> Any:
    """The same where ``Lᴴ G`` is ``diag(diagonal) + u vᵀ``, so that rows of ``Φ(u vᵀ)`` are alike."""
    n, k, dtype = inverse.shape[-1], u.shape[-1], np.result_type(diagonal, u, v, inverse)
    right = np.multiply(diagonal[..., None] / 2, inverse, dtype=dtype)
    before = np.zeros((*inverse.shape[:-2], k, n), dtype)  # vᵀ L⁻¹, of the rows done
    for rows in strips(n):
        i, j = rows.start, rows.stop
        left, across, these = u[..., rows, :], v[..., rows, :].mT, inverse[..., rows, :j]
        right[..., rows, :j] += weighted(left @ across, 0) @ these
        right[..., rows, :i] += left @ before[..., :i]
        before[..., :j] += across @ these
    return add_adjoint(inverse, right)


def add_adjoint(a: Any, b: Any) -> Any:
    """``Aᴴ B + Bᴴ A`` of lower triangles: below the diagonal, and half of it; written over ``b``."""
    left, right = a.mT.conj(), b.mT
    for rows in strips(a.shape[-1]):
        i, j = rows.start, rows.stop
        inside = left[..., rows, i:] @ b[..., i:, :j]
        inside += right[..., rows, i:].conj() @ a[..., i:, :j]
        b[..., rows, :j] = weighted(inside, i)  # no strip reads those before
    return b


def _inside_vjp(ct: Any, inside: Any, inverse: Any) -> tuple[Any, Any]:
    """Cotangents of what ``Φ`` is of, and of the inverse; all of them conjugated."""
    half, inside = triangle(ct.conj(), 0.5), triangle(inside, 0.5)
    scaled = inverse @ (half + adjoint(half))
    return triangle(scaled @ adjoint(inverse), 0.5), (inside + adjoint(inside)) @ scaled


def _cotangent_vjp(ct: Any, y: Any, g: Any, factor: Any, inverse: Any) -> tuple[Any, Any, Any]:
    inside, of_inverse = _inside_vjp(ct, adjoint(factor) @ g, inverse)
    return (factor @ inside).conj(), (g @ adjoint(inside)).conj(), of_inverse.conj()


def _thin_vjp(ct: Any, y: Any, diagonal: Any, u: Any, v: Any, inverse: Any) -> tuple[Any, ...]:
    product, n = u @ v.mT, inverse.shape[-1]
    place = arange_like(product, n)
    whole = product + np.where(place[:, None] == place, diagonal[..., None, :], 0)
    inside, of_inverse = _inside_vjp(ct, whole, inverse)
    inside = inside.conj()
    on_diagonal = np.diagonal(inside, 0, -2, -1)
    return on_diagonal, inside @ v, inside.mT @ u, of_inverse.conj()


def _result_aval(*operands: Aval) -> Aval:
    dtype = np.result_type(*[operand.dtype for operand in operands])
    return make_aval(operands[-1].shape, dtype)


cholesky_cotangent_p: Primitive = primitive(
    "cholesky_cotangent",
    value=cholesky_cotangent,
    aval=_result_aval,
    vjp=_cotangent_vjp,
    batch=lambda batched, size, *operands: cholesky_cotangent_p(
        *all_batched(batched, size, *operands)
    ),
    fresh=True,
    analytic=False,
)
"""Of lower triangular operands, the third of which is the inverse of the second.

Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, equation 10. His algorithm
by blocks takes two thirds of the time, but its errors grow with every block: for the covariances
of smooth processes, to thousands of times those of the formula.
"""

thin_cotangent_p: Primitive = primitive(
    "thin_cotangent",
    value=thin_cotangent,
    aval=_result_aval,
    vjp=_thin_vjp,
    batch=lambda batched, size, *operands: thin_cotangent_p(*all_batched(batched, size, *operands)),
    fresh=True,
    analytic=False,
)
"""``cholesky_cotangent`` where ``Lᴴ G = diag(diagonal) + u vᵀ``, given the inverse of ``L``."""
