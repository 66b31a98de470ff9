"""The gradient of a weight that many steps share: one product of what the steps have in common.

Row 7. In: cotangents of one value. Out: fewer, of the same sum. Where step t contributes aₜᵀ bₜ, all
steps together contribute AᵀB, in which the rows of the aₜ stand below each other in A and those of
the bₜ in B: one long product instead of many short ones and as many additions. Likewise what was
summed because a bias was broadcast: the arrays are added first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from fungrad._expr import Expr
from fungrad._tracer import Tracer
from fungrad.ops.elementwise import multiply
from fungrad.ops.linear import matmul_p
from fungrad.ops.reduction import sum_p
from fungrad.ops.shape import reshape_p, transpose_p
from fungrad.ops.sums import row_sum_p, summed

MANY = 4
"""From how many terms on they are put together."""
SMALL = 1 << 12
"""Up to how many entries of factors it pays by the calls that it saves.

Larger ones must be smaller than their product: until the last term is known they take up memory.
"""
LONGEST = 1 << 10
"""Up to how many rows of factors are multiplied at once."""

_SUMS = (sum_p, row_sum_p)

Term = tuple[Any, tuple[Expr, ...], Callable[[list[list[Any]]], Any]]
"""What like terms agree in, the factors of one, and the sum of all by the factors of each."""


def joined(cts: Sequence[Any], order: Mapping[Expr, int]) -> list[Any]:
    """Cotangents of the same sum, those that are alike put together.

    In ``order``, so that what several weights have in common is put together once.
    """
    groups: dict[Any, list[tuple[Any, Term]]] = {}
    rest: list[Any] = []
    for ct in cts:
        term = _term(ct._expr) if isinstance(ct, Tracer) else None
        if term is None:
            rest.append(ct)
        else:
            groups.setdefault(term[0], []).append((ct, term))
    for alike in groups.values():
        if len(alike) < MANY:
            rest += [ct for ct, _ in alike]
        else:
            alike.sort(key=lambda one: min([order.get(factor, 1) for factor in one[1][1]]))
            first, (_, _, total) = alike[0]
            columns = zip(*[factors for _, (_, factors, _) in alike], strict=True)
            parts = [[Tracer(first.owner, one) for one in column] for column in columns]
            rest.append(total(parts).reshape(first.shape))
    return rest


def _term(node: Expr) -> Term | None:
    """What kind of term a cotangent is; ``None`` if it stays by itself."""
    if node.primitive is reshape_p and node.args[0].primitive in _SUMS:
        node = node.args[0]
    if node.primitive in _SUMS:
        return _sum(node)
    if node.primitive is matmul_p or node.primitive is multiply:
        return _product(node)
    return None


def _sum(node: Expr) -> Term | None:
    """Of arrays of one shape: they are added first, where that is not more work."""
    (added,) = node.args
    axis = dict(node.static).get("axis", (0,))
    if added.aval.size > 4 * SMALL:
        return None

    def total(parts: list[list[Any]]) -> Any:
        if added.aval.size > SMALL // 4:
            whole = reduce(add, parts[0])
        else:  # beside each other, which products with the same factors need as well
            shape = (len(parts[0]), *added.aval.shape)
            whole = np.sum(np.concatenate(parts[0]).reshape(shape), axis=0)
        return summed(whole, axis)

    return (added.aval, axis), (added,), total


def _product(node: Expr) -> Term | None:
    """Of two matrices; if of one column with one row, it may be an elementwise product."""
    a, b = node.args
    if node.aval.ndim != 2:
        return None
    m, n = node.aval.shape
    if node.primitive is multiply and (
        a.aval.shape != (m, 1) or b.aval.shape not in ((n,), (1, n))
    ):
        return None
    (how_left, left), (how_right, right) = _factor(a, 1), _factor(b, 0)
    length = a.aval.shape[1]
    if not length or left.aval.size + right.aval.size > max(SMALL, node.aval.size):
        return None

    def total(parts: list[list[Any]]) -> Any:
        # Products of s steps add up s·length numbers each, and their sum as many as there are products:
        # rounding errors are bounded as where every step is added, or better.
        steps = max(1, min(len(parts[0]), LONGEST) // length)
        return _long_product(
            _rows(how_left, parts[0], m), _rows(how_right, parts[1], n), steps * length
        )

    return (how_left, how_right, length), (left, right), total


def _long_product(a: Any, b: Any, rows: int) -> Any:
    """``a.T @ b``, as the sum of products of ``rows`` rows."""
    (length, m), n = a.shape, b.shape[1]
    count = length // rows
    whole = count * rows
    ends = range(0, length, rows)
    parts: list[Any] = []
    if count > 1 and m * n <= rows * (m + n):
        # All of them at once, which takes no more memory than the factors.
        stack = np.matmul(
            a[:whole].reshape((count, rows, m)).mT, b[:whole].reshape((count, rows, n))
        )
        parts, ends = [np.sum(stack, axis=0)], range(whole, length, rows)
    parts += [np.matmul(a[i : i + rows].T, b[i : i + rows]) for i in ends]
    return reduce(add, parts)


def _factor(node: Expr, summed: int) -> tuple[str, Expr]:
    """How a factor of a product that sums over the axis ``summed`` of it is given, and its entries.

    As a matrix that is multiplied row by row, or column by column, or as a vector, its only row.
    """
    if node.primitive is transpose_p:
        return ("columns", "rows")[summed], node.args[0]
    if node.aval.ndim == 1:
        return "vector", node
    if node.primitive is reshape_p and node.args[0].aval.ndim == node.aval.shape[summed] == 1:
        return "vector", node.args[0]
    return ("rows", "columns")[summed], node


def _rows(how: str, parts: list[Any], width: int) -> Any:
    """All rows of a factor, one below the other."""
    if how == "columns":
        return np.concatenate(parts, axis=1).T
    rows = np.concatenate(parts)
    return rows.reshape((len(parts), width)) if how == "vector" else rows
