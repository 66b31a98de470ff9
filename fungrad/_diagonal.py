"""Products with the identity matrix, and with it scaled, which Jacobians begin with.

Row 7. In: the outputs of a program. Out: the same, where a matrix that is known to be 0 outside of
its diagonal is multiplied by scaling rows or columns. A zero of such a matrix is no number of the
program: times infinity it is nothing, not NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fungrad._expr import Expr, with_args
from fungrad._graph import topological
from fungrad._tracer import Rewrite, Tracer
from fungrad.ops.creation import eye
from fungrad.ops.elementwise import divide, multiply, negative
from fungrad.ops.linear import matmul_p
from fungrad.ops.shape import transpose_p


def without_identities(trace: Rewrite, outputs: Sequence[Expr]) -> list[Expr]:
    """The outputs with products of diagonal matrices done by scaling."""
    new: dict[Expr, Expr] = {}
    diagonals: dict[Expr, Any] = {}
    for node in topological(outputs):
        now = with_args(node, tuple([new.get(arg, arg) for arg in node.args]))
        found = _diagonal(trace, now, diagonals)
        if found is not None:
            diagonals[now] = found
        elif node.primitive is matmul_p:
            scaled = _scaled(trace, now, diagonals)
            if scaled is not None and scaled.aval is node.aval:
                now = scaled._expr
        new[node] = now
    return [new.get(out, out) for out in outputs]


def _diagonal(trace: Rewrite, node: Expr, diagonals: dict[Expr, Any]) -> Any:
    """The diagonal of a matrix that has nothing else: a vector, or a number for all of it."""
    if node.primitive is eye:
        return 1
    known = [arg in diagonals for arg in node.args]
    if node.primitive is transpose_p and known[0]:
        return diagonals[node.args[0]]
    if node.primitive is negative and known[0]:
        return -diagonals[node.args[0]]
    if node.primitive is divide and known[0] and not known[1]:
        other = _vector(trace, node.args[1], node)
        return None if other is None else diagonals[node.args[0]] / other
    if node.primitive is multiply and sum(known) == 1:
        other = _vector(trace, node.args[known.index(False)], node)
        if other is None:
            return None
        own = diagonals[node.args[known.index(True)]]
        return own * other if isinstance(own, Tracer) or own != 1 else other
    return None


def _vector(trace: Rewrite, node: Expr, matrix: Expr) -> Any:
    """What scales a square matrix along one axis, as a vector; a number as it is."""
    shape, size = node.aval.shape, matrix.aval.shape[0]
    if matrix.aval.shape != (size, size) or node.aval.size not in (1, size) or size == 1:
        return None
    value = trace.tracer(node)
    return value.reshape((size,)) if node.aval.size == size and len(shape) != 1 else value


def _scaled(trace: Rewrite, node: Expr, diagonals: dict[Expr, Any]) -> Any:
    """A product of which one operand is diagonal, by rows or by columns."""
    a, b = node.args
    if a in diagonals and b.aval.ndim > 1:
        scale = diagonals[a]
        if isinstance(scale, Tracer) and scale.ndim:
            scale = scale.reshape((scale.size, 1))
        return Tracer(trace, b) * scale
    if b in diagonals and a.aval.ndim > 1:
        return Tracer(trace, a) * diagonals[b]
    return None
