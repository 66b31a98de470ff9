"""Cotangents of matrices that are sums of diagonals and of products of few columns.

Such are those of a factor in a likelihood: from the logarithm of its determinant and from systems
with few right-hand sides. A rule that multiplies by what they are made of never forms them.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fungrad._expr import Expr
from fungrad._tracer import Tracer
from fungrad.ops import elementwise
from fungrad.ops.indexing import scatter_add_p
from fungrad.ops.linear import matmul_p
from fungrad.ops.matrices import is_transpose
from fungrad.ops.shape import reshape_p

FEW = 8
"""Matrices have more than so many times the rows that a product has columns, to count as thin."""
MOST = 32
"""How many operations may have made a sum: a value that is added to itself is seen twice."""


@attrs.frozen(eq=False)
class Thin:
    """The matrix ``diag(diagonal) + u vᵀ``, of a stack ``(..., n)`` and two stacks ``(..., n, k)``."""

    diagonal: Any
    u: Any
    v: Any


def thin(matrix: Any) -> Thin | None:
    """What ``matrix`` is made of, if it is made so."""
    shape = matrix.shape
    diagonals: list[Any] = []
    products: list[tuple[Any, Any]] = []
    pending: list[tuple[Expr, bool, bool, bool]] = [(matrix._expr, False, False, False)]
    for _ in range(MOST):
        if not pending:
            break
        node, minus, turned, conjugated = pending.pop()

        def part(arg: Expr, conjugated: bool = conjugated) -> Any:
            found = Tracer(matrix._trace, arg)
            return found.conj() if conjugated else found

        if node.aval.shape != shape:
            return None
        if node.primitive is elementwise.negative:
            pending.append((node.args[0], not minus, turned, conjugated))
        elif node.primitive is elementwise.conjugate:
            pending.append((node.args[0], minus, turned, not conjugated))
        elif is_transpose(node):
            pending.append((node.args[0], minus, not turned, conjugated))
        elif node.primitive is elementwise.add:
            pending += [(arg, minus, turned, conjugated) for arg in node.args]
        elif _is_diagonal(node):
            entries = part(node.args[0].args[0])
            diagonals.append(-entries if minus else entries)
        elif _is_thin_product(node):
            u, v = part(node.args[0]), part(node.args[1])
            v = v.reshape((1, v.shape[0])) if v.ndim == 1 else v
            u = -u if minus else u
            products.append((v.mT, u.mT) if turned else (u, v))
        else:
            return None
    columns = sum([u.shape[-1] for u, _ in products])
    if pending or FEW * columns >= shape[-1]:
        return None
    zeros = np.zeros_like(matrix, shape=shape[:-1])
    none = np.zeros_like(matrix, shape=(*shape[:-1], 0))
    return Thin(
        sum(diagonals[1:], diagonals[0]) if diagonals else zeros,
        np.concatenate([u for u, _ in products], axis=-1) if products else none,
        np.concatenate([v.mT for _, v in products], axis=-1) if products else none,
    )


def _is_diagonal(node: Expr) -> bool:
    """Whether a node is zeros, but for what was written on the diagonal."""
    if node.primitive is not reshape_p or node.args[0].primitive is not scatter_add_p:
        return False
    written, (*stack, n, columns) = node.args[0], node.aval.shape
    index = dict(written.static)["index"]
    return (
        n == columns
        and written.aval.shape == (*stack, n * n)
        and len(written.args) == 1
        and len(index) == len(stack) + 1
        and all(isinstance(entry, slice) for entry in index)
        and all(range(m)[entry] == range(m) for m, entry in zip(stack, index, strict=False))
        and range(n * n)[index[-1]] == range(0, n * n, n + 1)
    )


def _is_thin_product(node: Expr) -> bool:
    """Whether a node is a product of columns with rows: one of each, or a few by ``matmul``."""
    if node.primitive not in (elementwise.multiply, matmul_p):
        return False
    (*stack, n, columns) = node.aval.shape
    left, right = [arg.aval.shape for arg in node.args]
    k = left[-1] if left else 0
    if left != (*stack, n, k) or (node.primitive is elementwise.multiply and k != 1):
        return False
    return right == (*stack, k, columns) or (k == 1 and not stack and right == (columns,))
