"""Products with the identity matrix, and scaled matrices, which Jacobians consist of.

Row 7. In: the outputs of a program that is linear in an identity matrix. Out: the same, where the
identity is not multiplied by, and where factors along single axes are put together before they
scale a matrix: ``M * a * b + M * c`` is ``M * (a * b + c)``, of which only the last product is as
large as ``M``. A zero of a diagonal matrix is no number of the program: times infinity it is
nothing, not NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._expr import Expr, with_args
from fungrad._graph import topological
from fungrad._tracer import Rewrite, Tracer
from fungrad.ops.creation import eye
from fungrad.ops.elementwise import add, divide, multiply, negative, subtract
from fungrad.ops.linear import matmul_p
from fungrad.ops.shape import transpose_p


@attrs.frozen(eq=False)
class Scaled:
    """An array with factors that are smaller than it.

    Attributes:
        base: the array; the identity matrix stands for all diagonal ones.
        scale: a number, or a traced array that broadcasts to the base; the diagonal of a diagonal
            matrix.
        whole: the product of both.
    """

    base: Expr
    scale: Any
    whole: Expr

    @property
    def is_diagonal(self) -> bool:
        return self.base.primitive is eye


def without_identities(trace: Rewrite, outputs: Sequence[Expr]) -> list[Expr]:
    """The outputs with products of diagonal matrices done by scaling, and factors put together."""
    new: dict[Expr, Expr] = {}
    scaled: dict[Expr, Scaled] = {}
    for node in topological(outputs):
        parts = [scaled.get(arg) for arg in node.args]
        args = [new.get(arg, arg) for arg in node.args]
        new[node] = plain = with_args(node, tuple(args))
        if node.primitive is eye or any(parts):
            found = _found(trace, node, args, parts)
            if found is None or found.whole.aval is not node.aval:
                found = Scaled(plain, 1, plain)
            scaled[node], new[node] = found, found.whole
    return [new.get(out, out) for out in outputs]


def _found(
    trace: Rewrite, node: Expr, args: list[Expr], parts: list[Scaled | None]
) -> Scaled | None:
    """``node``, of which some operands are scaled, as a scaled array."""
    if node.primitive is eye:
        return Scaled(node, 1, node)
    first, second = (*parts, None)[:2]
    if node.primitive in (add, subtract) and first and second and first.base is second.base:
        minus = node.primitive is subtract
        scale = first.scale - second.scale if minus else first.scale + second.scale
        return _product(trace, first.base, scale)
    if first and node.primitive is negative:
        return _product(trace, first.base, -first.scale)
    if first and node.primitive is transpose_p:
        return _transposed(trace, node, first)
    if first and not second and node.primitive in (multiply, divide):
        return _times(trace, first, args[1], node.primitive is divide)
    if second and not first and node.primitive is multiply:
        return _times(trace, second, args[0])
    if node.primitive is matmul_p and min(arg.aval.ndim for arg in args) > 1:
        if first and first.is_diagonal:
            rows = first.scale
            if isinstance(rows, Tracer) and rows.ndim:
                rows = rows.reshape((rows.size, 1))
            return _product(trace, args[1], rows)
        if second and second.is_diagonal:
            return _product(trace, args[0], second.scale)
    return None


def _times(trace: Rewrite, one: Scaled, other: Expr, divides: bool = False) -> Scaled | None:
    """``one`` times ``other``, or divided by it, if that is smaller."""
    shape, factor = one.base.aval.shape, trace.tracer(other)
    if not _broadcasts(other.aval.shape, shape) or other.aval.size >= one.base.aval.size:
        return None
    if one.is_diagonal and other.aval.ndim > 1:
        factor = factor.reshape((other.aval.size,) if other.aval.size > 1 else ())
    if not divides:
        return _product(trace, one.base, factor if _is_one(one.scale) else one.scale * factor)
    # M * (1 / a) rounds once more than M / a, but the products of a diagonal matrix need 1 / a.
    if not (isinstance(one.scale, Tracer) or (one.is_diagonal and not _is_zero(factor))):
        return None
    return _product(trace, one.base, one.scale / factor)


def _product(trace: Rewrite, base: Expr, scale: Any) -> Scaled | None:
    if _is_one(scale):
        return Scaled(base, scale, base)
    if isinstance(scale, Tracer) and scale.size >= base.aval.size:
        return None
    if base.primitive is eye and isinstance(scale, Tracer) and scale.ndim:
        whole: Any = np.diag(scale)
    else:
        whole = Tracer(trace, base) * scale
    return Scaled(base, scale, whole._expr)


def _transposed(trace: Rewrite, node: Expr, one: Scaled) -> Scaled | None:
    if one.is_diagonal:
        return one
    scale = one.scale
    if isinstance(scale, Tracer) and scale.ndim:
        full = (1,) * (node.aval.ndim - scale.ndim) + scale.shape
        scale = scale.reshape(full).transpose(dict(node.static)["axes"])
    return _product(trace, with_args(node, (one.base,)), scale)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(m in (1, n) for m, n in pairs)


def _is_zero(factor: Any) -> bool:
    return not isinstance(factor, Tracer) and bool(factor == 0)


def _is_one(scale: Any) -> bool:
    return not isinstance(scale, Tracer) and bool(scale == 1)
