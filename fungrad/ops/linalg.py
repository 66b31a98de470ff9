"""Linear systems, and products of many matrices.

The rest of ``np.linalg`` is in ``linear``, ``norm``, ``determinants``, ``decompositions``,
``eigenvalues`` and ``singular``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._primitive import ZERO, Primitive, broadcast_shapes, implements, primitive
from fungrad.ops.creation import arange_like
from fungrad.ops.determinants import slogdet_p
from fungrad.ops.inverses import inverse_transpose, known_inverse_transpose, transposed
from fungrad.ops.linear import aligned, times_transpose
from fungrad.ops.matrices import inexact, matrices
from fungrad.ops.shape import arraylike

# --- linear systems -----------------------------------------------------------------------------


def _solve_aval(a: Aval, b: Aval) -> Aval:
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(
            f"solve: a matrix of {a.shape[-1]} rows and right-hand sides of shape {b.shape} do not "
            "go together; a stack of vectors must be b[..., None]"
        )
    shape = (*broadcast_shapes("solve", [a.shape[:-2], b.shape[:-2]]), *b.shape[-2:])
    return make_aval(shape, np.result_type(a.dtype, b.dtype))


def _solve_vjp(ct: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    inverse = known_inverse_transpose(a)
    if inverse is None and slogdet_p.node((a._expr,), ()) in a._trace.active:
        inverse = inverse_transpose(a)
    ct_b = solve_p(a.mT, ct) if inverse is None else refined_p(transposed(a), inverse, ct)
    return -times_transpose(ct_b, y), ct_b


def _batch(record: Primitive, batched: tuple[bool, ...], size: int, *operands: Any) -> Any:
    *of, b = operands
    if not any(batched[:-1]) and all(a.ndim == 2 for a in of) and b.ndim == 3:
        # One matrix for all examples is factorised once, for the columns of all of them.
        rows, columns = b.shape[1:]
        x = record(*of, np.moveaxis(b, 0, 1).reshape((rows, size * columns)))
        return np.moveaxis(x.reshape((rows, size, columns)), 1, 0)
    return record(*aligned(batched, size, *operands))


solve_p: Primitive = primitive(
    "solve",
    value="np.linalg.solve({0}, {1})",
    aval=_solve_aval,
    vjp=_solve_vjp,
    batch=lambda *args: _batch(solve_p, *args),
    fresh=True,
)
"""The solutions of ``a x = b`` for the columns of ``b``, which has at least two axes."""


def refined(a: Any, inverse: Any, b: Any) -> Any:
    """The solutions of ``a x = b``, by an inverse and a step of iterative refinement."""
    with np.errstate(all="ignore"):
        x = inverse @ b
        return x + inverse @ (b - a @ x)


def _refined_vjp(ct: Any, y: Any, a: Any, inverse: Any, b: Any) -> tuple[Any, Any, Any]:
    ct_b = refined_p(a.mT, inverse.mT, ct)
    # A better or a worse inverse makes no difference, to first order: that is what refining is.
    return -times_transpose(ct_b, y), ZERO, ct_b


refined_p: Primitive = primitive(
    "refined_solve",
    value=refined,
    aval=lambda a, inverse, b: _solve_aval(a, b),
    vjp=_refined_vjp,
    batch=lambda *args: _batch(refined_p, *args),
    fresh=True,
)
"""``solve`` for the rules of matrices whose inverse is needed anyway, as small as its error is.

An inverse alone leaves a larger residual than a factorisation; one step in working precision makes
it as small (Higham, Accuracy and Stability of Numerical Algorithms, theorem 12.3).
"""


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    """``np.linalg.solve``: ``b`` is one vector if it has one axis, and matrices otherwise."""
    a, b = matrices(a, square=True), inexact(b)
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    if b.ndim == 0:
        raise ValueError("solve: the right-hand side has no axes; write: a vector or a matrix")
    if b.ndim == 1:
        return solve_p(a, np.expand_dims(b, -1))[..., 0]
    return solve_p(a, b)


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """``np.linalg.tensorsolve``: the last axes of ``a`` are summed with those of the solution."""
    a, b = arraylike(a), arraylike(b)
    if axes is not None:
        order = list(range(a.ndim))
        for axis in axes:
            order.remove(axis)
            order.append(axis)
        a = np.transpose(a, order)
    shape = a.shape[b.ndim :]
    size = math.prod(shape)
    if a.size != size * size:
        raise np.linalg.LinAlgError(
            "Input arrays must satisfy the requirement "
            "prod(a.shape[b.ndim:]) == prod(a.shape[:b.ndim])"
        )
    return np.linalg.solve(a.reshape((size, size)), np.ravel(b)).reshape(shape)


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """``np.linalg.tensorinv``."""
    if ind <= 0:
        raise ValueError("Invalid ind argument.")
    first, last = a.shape[:ind], a.shape[ind:]
    flat = a.reshape((math.prod(first), math.prod(last)))
    return np.linalg.inv(flat).reshape((*last, *first))


# --- products of many ----------------------------------------------------------------------------


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: Any) -> Any:
    """``np.linalg.matrix_power``, by repeated squaring."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        matrices(a, square=True)  # raises NumPy's error
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError("exponent must be an integer") from None
    if n == 0:
        place = arange_like(a, a.shape[-1])
        return np.broadcast_to(place[:, None] == place, a.shape).astype(a.dtype)
    power = np.linalg.inv(a) if n < 0 else a
    n, result = abs(n), None
    if n == 3:  # NumPy's order of multiplication, for the same bits
        return (power @ power) @ power
    while True:
        n, odd = divmod(n, 2)
        if odd:
            result = power if result is None else result @ power
        if not n:
            return result
        power = power @ power


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any]) -> Any:
    """``np.linalg.multi_dot``: in the order that needs the fewest multiplications."""
    chain = [arraylike(x) for x in arrays]
    if len(chain) < 2:
        raise ValueError("Expecting at least two arrays.")
    first, last = chain[0].ndim == 1, chain[-1].ndim == 1
    chain[0] = np.atleast_2d(chain[0])
    chain[-1] = chain[-1][:, None] if last else chain[-1]
    if any(x.ndim != 2 for x in chain):
        raise np.linalg.LinAlgError("multi_dot: all arrays but the first and last must be matrices")
    product = _product(chain, _splits([x.shape[0] for x in chain] + [chain[-1].shape[1]]))
    return product.reshape(product.shape[first : 2 - last])


def _splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut every part of a chain of matrices.

    Cormen et al., Introduction to Algorithms, section 15.2.
    """
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    cut = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], cut[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return cut


def _product(chain: list[Any], cut: dict[tuple[int, int], int]) -> Any:
    def of(i: int, j: int) -> Any:
        return chain[i] if i == j else np.matmul(of(i, cut[i, j]), of(cut[i, j] + 1, j))

    return of(0, len(chain) - 1)
