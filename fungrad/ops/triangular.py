"""Inverses of lower triangular matrices, of stacks ``(..., n, n)``, and what they are for.

NumPy has no triangular solver, and its general one factorises the factor again. So rules ask for
the inverse of a triangular matrix, built of matrix products: one serves all pullbacks of a factor.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._primitive import Primitive, primitive
from fungrad.ops.matrices import adjoint, triangle

STRIP = 32
"""How many rows are done at once: as few as matrix products are fast for. More, and rounding errors
grow in the inverses of blocks."""


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


def invert_triangle(a: Any) -> Any:
    """The inverse of the lower triangle of every matrix, by substitution with blocks of rows."""
    a = np.ascontiguousarray(a)
    n, x = a.shape[-1], np.zeros_like(a)
    if not a.size:
        return x
    with np.errstate(all="ignore"):
        invert_diagonal_blocks(a, x)
        for i in range(STRIP, n, STRIP):
            j = min(n, i + STRIP)
            inside = a[..., i:j, :i] @ x[..., :i, :i]
            np.negative(inside, out=inside)
            np.matmul(x[..., i:j, i:j], inside, out=x[..., i:j, :i])
    return x


def gram(x: Any) -> Any:
    """``Xᴴ X`` of lower triangular matrices, by strips: a third of what a product does."""
    n, out, left = x.shape[-1], np.empty_like(x), x.mT.conj()
    for i in range(0, n, STRIP):
        j = min(n, i + STRIP)
        np.matmul(left[..., i:j, i:], x[..., i:, :j], out=out[..., i:j, :j])
        out[..., :i, i:j] = out[..., i:j, :i].mT.conj()
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


@lru_cache(maxsize=64)
def half_weights(n: int, char: str) -> Any:
    """1 below the diagonal, 1/2 on it."""
    weights = np.tri(n, dtype=char) - np.eye(n, dtype=char) / 2
    weights.flags.writeable = False
    return weights


def cholesky_cotangent(g: Any, factor: Any, inverse: Any) -> Any:
    """``S + Sᴴ`` for ``S = L⁻ᴴ Φ(Lᴴ G) L⁻¹``: below the diagonal, and half of what is on it.

    ``Φ`` takes the same part of its operand. By strips, so that few products with the zeros of a
    triangle are done, and none for what nobody reads.
    """
    n = g.shape[-1]
    out = np.zeros(g.shape, np.result_type(g, factor, inverse))
    left, right, turned = factor.mT.conj(), inverse.mT.conj(), out.mT
    strips = [slice(i, min(n, i + STRIP)) for i in range(0, n, STRIP)]
    for rows in strips:  # Φ(Lᴴ G) L⁻¹
        i, j = rows.start, rows.stop
        inside = left[..., rows, i:] @ g[..., i:, :j]
        inside[..., i:] *= half_weights(j - i, out.dtype.char.lower())
        np.matmul(inside, inverse[..., :j, :j], out=out[..., rows, :j])
    for rows in strips:  # in its place: no strip reads those before
        i, j = rows.start, rows.stop
        inside = right[..., rows, i:] @ out[..., i:, :j]
        inside += turned[..., rows, i:].conj() @ inverse[..., i:, :j]
        inside[..., i:] *= half_weights(j - i, out.dtype.char.lower())
        out[..., rows, :j] = inside
    return out


def _cotangent_vjp(ct: Any, y: Any, g: Any, factor: Any, inverse: Any) -> tuple[Any, Any, Any]:
    half = triangle(ct.conj(), 0.5)
    scaled = inverse @ (half + adjoint(half))
    turned = triangle(scaled @ adjoint(inverse), 0.5)
    inside = triangle(adjoint(factor) @ g, 0.5)
    return (
        (factor @ turned).conj(),
        (g @ adjoint(turned)).conj(),
        ((inside + adjoint(inside)) @ scaled).conj(),
    )


cholesky_cotangent_p: Primitive = primitive(
    "cholesky_cotangent",
    value=cholesky_cotangent,
    aval=lambda *operands: make_aval(
        operands[0].shape, np.result_type(*[operand.dtype for operand in operands])
    ),
    vjp=_cotangent_vjp,
    batch=lambda batched, size, *operands: cholesky_cotangent_p(
        *[
            x if flag else np.broadcast_to(x, (size, *x.shape))
            for x, flag in zip(operands, batched, strict=True)
        ]
    ),
    fresh=True,
    analytic=False,
)
"""Of lower triangular operands, the third of which is the inverse of the second.

Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, equation 10. His algorithm
by blocks takes two thirds of the time, but its errors grow with every block: for the covariances
of smooth processes, to thousands of times those of the formula.
"""
