"""Products with the identity matrix, and scaled matrices, which Jacobians consist of.

Row 7. In: the outputs of a program that is linear in an identity matrix. Out: the same, where the
identity is not multiplied by, and where factors along single axes are put together before they
scale a matrix: ``M * a * b + M * c`` is ``M * (a * b + c)``, of which only the last product is as
large as ``M``. A zero of a diagonal matrix is no number of the program: times infinity it is
nothing, not NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """An array with factors that are smaller than it: the product of both.

    Attributes:
        base: the array; the identity matrix stands for all diagonal ones.
        scale: a number, or a traced array that broadcasts to the base; the diagonal of a diagonal
            matrix.
    """

    base: Expr
    scale: Any

    @property
    def is_diagonal(self) -> bool:
        return self.base.primitive is eye

    def fits(self, node: Expr) -> bool:
        """Whether it can stand for ``node``."""
        base, scale = self.base.aval, self.scale
        if isinstance(scale, Tracer) and scale.size >= base.size:
            return False
        dtype = np.result_type(base.dtype, scale.dtype if isinstance(scale, Tracer) else scale)
        return base.shape == node.aval.shape and dtype == node.aval.dtype

    def whole(self, trace: Rewrite) -> Expr:
        """The product, as a node."""
        if _is_one(self.scale):
            return self.base
        if self.is_diagonal and isinstance(self.scale, Tracer) and self.scale.ndim:
            product: Any = np.diag(self.scale)
        else:
            product = Tracer(trace, self.base) * self.scale
        node: Expr = product._expr
        return node


def without_identities(trace: Rewrite, outputs: Sequence[Expr]) -> list[Expr]:
    """The outputs with products of diagonal matrices done by scaling, and factors put together."""
    new: dict[Expr, Expr] = {}
    scaled: dict[Expr, Scaled] = {}

    def whole(node: Expr) -> Expr:
        if node in scaled and node not in new:
            new[node] = scaled[node].whole(trace)
        return new.get(node, node)

    for node in topological(outputs):
        parts = [scaled.get(arg) for arg in node.args]
        linear = node.primitive is eye or any(parts)
        found = _found(trace, node, parts, whole) if linear else None
        if found is not None and found.fits(node):
            scaled[node] = found
            continue
        new[node] = plain = with_args(node, tuple(map(whole, node.args)))
        if linear:
            scaled[node] = Scaled(plain, 1)
    return list(map(whole, outputs))


def _found(
    trace: Rewrite, node: Expr, parts: list[Scaled | None], whole: Callable[[Expr], Expr]
) -> Scaled | None:
    """``node``, of which some operands are scaled, as a scaled array."""
    if node.primitive is eye:
        return Scaled(node, 1)
    first, second = (*parts, None)[:2]
    if node.primitive in (add, subtract) and first and second and first.base is second.base:
        minus = node.primitive is subtract
        return Scaled(
            first.base, first.scale - second.scale if minus else first.scale + second.scale
        )
    if first and node.primitive is negative:
        return Scaled(first.base, -first.scale)
    if first and node.primitive is transpose_p:
        return _transposed(node, first)
    if first and not second and node.primitive in (multiply, divide):
        return _times(trace, first, whole(node.args[1]), node.primitive is divide)
    if second and not first and node.primitive is multiply:
        return _times(trace, second, whole(node.args[0]))
    if node.primitive is matmul_p and min(arg.aval.ndim for arg in node.args) > 1:
        if first and first.is_diagonal:
            rows = first.scale
            if isinstance(rows, Tracer) and rows.ndim:
                rows = rows.reshape((rows.size, 1))
            return Scaled(whole(node.args[1]), rows)
        if second and second.is_diagonal:
            return Scaled(whole(node.args[0]), second.scale)
    return None


def _times(trace: Rewrite, one: Scaled, other: Expr, divides: bool = False) -> Scaled | None:
    """``one`` times ``other``, or divided by it, if that is smaller."""
    shape, factor = one.base.aval.shape, trace.tracer(other)
    if not _broadcasts(other.aval.shape, shape) or other.aval.size >= one.base.aval.size:
        return None
    if one.is_diagonal and other.aval.ndim:  # one number or one for each entry of the diagonal
        factor = factor.reshape((other.aval.size,) if other.aval.size > 1 else ())
    if not divides:
        return Scaled(one.base, factor if _is_one(one.scale) else one.scale * factor)
    # M * (1 / a) rounds once more than M / a, but the products of a diagonal matrix need 1 / a.
    if not (isinstance(one.scale, Tracer) or (one.is_diagonal and not _is_zero(factor))):
        return None
    return Scaled(one.base, one.scale / factor)


def _transposed(node: Expr, one: Scaled) -> Scaled:
    if one.is_diagonal:
        return one
    scale = one.scale
    if isinstance(scale, Tracer) and scale.ndim:
        full = (1,) * (node.aval.ndim - scale.ndim) + scale.shape
        scale = scale.reshape(full).transpose(dict(node.static)["axes"])
    return Scaled(with_args(node, (one.base,)), scale)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(m in (1, n) for m, n in pairs)


def _is_zero(factor: Any) -> bool:
    return not isinstance(factor, Tracer) and bool(factor == 0)


def _is_one(scale: Any) -> bool:
    return not isinstance(scale, Tracer) and bool(scale == 1)
