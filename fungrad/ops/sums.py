"""How rules add up a few numbers: by BLAS, which needs a third of the time of ``np.add.reduce``.

Row 5. In: a cotangent, and the axes along which its value was broadcast. Out: its sum over them. What
is large is left to ``sum``, which programs compute in blocks, together with what is summed. So is what
BLAS can't read, as far as the program tells. Both ways add in several sums side by side, or one after
the other as ``np.add.reduce`` does; so errors are no larger, except where inputs are reversed or
repeated themselves: then products of a short last axis are added one after the other.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._expr import Expr
from fungrad._primitive import Primitive, primitive
from fungrad._tracer import Tracer
from fungrad.ops.elementwise import multiply, negative
from fungrad.ops.indexing import getitem_p, scatter_add_p
from fungrad.ops.linear import vecdot_p
from fungrad.ops.reduction import sum_p
from fungrad.ops.shape import broadcast_to_p

SMALL = 1 << 13
"""Up to how many entries a matrix has whose rows are added by a product: BLAS uses one thread."""
FEW, SHORT = 1 << 16, 256
"""Up to how many products, and of how many along the last axis, are added as they are computed.

So many are added in as many sums side by side as NumPy would use, or more.
"""


@lru_cache(maxsize=64)
def _ones(count: int, dtype: np.dtype[Any]) -> Any:
    ones = np.ones(count, dtype)
    ones.flags.writeable = False
    return ones


row_sum_p: Primitive = primitive(
    "row_sum",
    value=lambda x, rows, dtype: _ones(rows, dtype).dot(x),
    template=lambda operands, text, rows, dtype: f"{text(_ones(rows, dtype))}.dot({operands[0]})",
    aval=lambda x, rows, dtype: make_aval(x.shape[1:], x.dtype),
    vjp=lambda ct, y, x, rows, dtype: (np.broadcast_to(ct, x.shape),),
    batch=lambda batched, size, x, rows, dtype: sum_p(x, axis=(1,), dtype=None),
    fresh=True,
)
"""The sum of all rows of a matrix."""


def summed(x: Any, axis: tuple[int, ...]) -> Any:
    """The sum of ``x`` over some axes, in order, for a rule; ``x`` is traced."""
    if not axis or x.dtype not in (np.float32, np.float64):
        return sum_p(x, axis=axis, dtype=None)
    if axis[-1] == x.ndim - 1 and x.size <= FEW and 1 < x.shape[-1] <= SHORT:
        products = _products(x)
        if products is not None:
            return summed(products, axis[:-1]) if axis[:-1] else products
    rows = prod(x.shape[: len(axis)])
    if axis == (*range(len(axis)),) and x.size <= SMALL and rows > 1 < x.size // max(rows, 1):
        rest = x.shape[len(axis) :]
        matrix = x.reshape((rows, prod(rest)))
        return row_sum_p(matrix, rows=rows, dtype=x.dtype).reshape(rest)
    return sum_p(x, axis=axis, dtype=None)


def is_unreadable(node: Expr) -> bool:
    """Whether ``node`` repeats or reverses what it is a view of, maybe only once it is simplified.

    BLAS reads no such array. NumPy adds products of it one by one, or copies it before.
    """
    while node.primitive is not None:
        if node.primitive is broadcast_to_p:
            return True
        if node.primitive in (getitem_p, scatter_add_p):
            index = dict(node.static)["index"]
            if any(isinstance(entry, slice) and (entry.step or 1) < 0 for entry in index):
                return True
        if not node.primitive.view:
            return False
        node = node.args[0]
    return False


def _products(x: Any) -> Any:
    """The sum over the last axis, if ``x`` is the product of two arrays of its shape."""
    node = x._expr
    if node.primitive is not multiply or any(arg.aval is not node.aval for arg in node.args):
        return None
    if any(map(is_unreadable, node.args)):
        return None
    a, b = (Tracer(x._trace, arg) for arg in node.args)
    for factor, other in ((a, b), (b, a)):
        if factor._expr.primitive is negative:
            return -vecdot_p(Tracer(x._trace, factor._expr.args[0]), other)
    return vecdot_p(a, b)
