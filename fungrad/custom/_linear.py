"""Linear equations of which only products with the matrix are known.

Stage: run, and rewrite. In: a graph ``(v, parameters) -> A v``, parameters, and a right side. Out:
the solution of ``A y = b``, as an operation whose derivatives are such operations again.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from fungrad._aval import Aval
from fungrad._batch import batch
from fungrad._graph import Graph
from fungrad._primitive import ZERO, primitive
from fungrad._vjp import pullback
from fungrad.compile import run
from fungrad.compile.run import program
from fungrad.custom._call import rearranged
from fungrad.errors import ConvergenceError

DENSE = 200
"""Up to how many unknowns the matrix is formed."""
LARGEST = 4000
"""Up to how many unknowns it is formed when nothing else helps."""


def krylov(product: Callable[[Any], Any], b: Any, rtol: float) -> Any:
    """The solution of ``A y = b``; the norm of the residual is at most ``rtol`` of that of ``b``.

    By GMRES, where SciPy is installed (Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 1986); where
    it is not, or where that does not get there, by forming the matrix.
    """
    size, shape = b.size, b.shape

    def matvec(v: Any) -> Any:
        return np.ravel(product(np.reshape(v, shape)))

    flat, bound = np.ravel(b), rtol * np.linalg.norm(b)
    if not np.all(np.isfinite(flat)):
        return np.full(shape, np.nan, b.dtype)
    best = None
    try:
        sparse = import_module("scipy.sparse.linalg")
    except ImportError:
        pass
    else:
        operator = sparse.LinearOperator((size, size), matvec=matvec, dtype=b.dtype)
        best, _ = sparse.gmres(
            operator, flat, rtol=rtol / 2, atol=0.0, restart=min(size, 50), maxiter=20
        )
        best = best.astype(b.dtype)
        if np.linalg.norm(matvec(best) - flat) <= bound:
            return np.reshape(best, shape)
    if size > LARGEST:
        raise ConvergenceError(
            f"a linear system of {size} unknowns could not be solved by products with its matrix, "
            "the Jacobian of an equation at its solution; write: an equation that is better "
            "conditioned, such as one multiplied by an approximate inverse"
            + ("" if best is not None else ", or install scipy")
        )
    unit = np.eye(size, dtype=b.dtype)
    matrix = np.stack([matvec(column) for column in unit], axis=1)
    return np.reshape(np.linalg.solve(matrix, flat), shape)


def _value(*operands: Any, product: Graph) -> Any:
    *parameters, b = operands
    compiled = program(product)
    rtol = float(np.finfo(b.dtype).eps ** 0.75)
    return krylov(lambda v: compiled([v, *parameters])[0], np.asarray(b), rtol)


def _aval(*operands: Aval, product: Graph) -> Aval:
    return operands[-1].with_weak(False)


def _vjp(ct: Any, y: Any, *operands: Any, product: Graph, wanted: tuple[bool, ...]) -> list[Any]:
    # A y = b, so A dy = db - dA y, and the cotangent of b is Aᵀ's solution for that of y.
    *parameters, _ = operands
    solution = linear_solve(*parameters, ct, product=transposed(product))
    parts: list[Any] = [*[ZERO] * len(parameters), solution]
    wrt = tuple([i + 1 for i, flag in enumerate(wanted[:-1]) if flag])
    if wrt:
        of_parameters = run(pullback(product, wrt, (0,)), [y, *parameters, -solution])
        for i, part in zip(wrt, of_parameters, strict=True):
            parts[i - 1] = part
    return parts


def transposed(product: Graph) -> Graph:
    """``(v, parameters) -> Aᵀ v``."""

    def derive() -> Graph:
        avals = [node.aval for node in product.inputs]
        places = [*range(len(avals)), 0]  # the first input is not read: the product is linear
        return rearranged(pullback(product, (0,), (0,)), avals, places)

    result: Graph = product.memo("transposed product", derive)
    return result


def _batch(batched: tuple[bool, ...], size: int, *operands: Any, product: Graph) -> Any:
    *parameters, b = operands
    b = b if batched[-1] else np.broadcast_to(b, (size, *b.shape))
    # All examples are one system, whose matrix has a block for each.
    product = batch(product, (True, *batched[:-1]), size)
    return linear_solve(*parameters, b, product=product)


linear_solve = primitive(
    "linear_solve",
    value=_value,
    aval=_aval,
    vjp=_vjp,
    batch=_batch,
    selective=True,
    fresh=True,
)
"""The solution of ``A y = b``: operands are the parameters of ``product``, then ``b``."""
