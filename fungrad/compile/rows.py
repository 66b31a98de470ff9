"""Into how many rows the value of an operation can be cut: the leading axes, taken as one.

In: an operation, and which values are C-contiguous. Out: numbers of rows. Cut so, every row of the
value depends on the same row of the operands, and has the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import accumulate
from math import prod
from operator import mul

from fungrad._expr import Expr
from fungrad.ops.indexing import getitem_p
from fungrad.ops.reduction import all_p, any_p, max_p, min_p, sum_p
from fungrad.ops.shape import astype_p, reshape_p

LONGEST_ROW = 4096
"""How many entries a row may have: longer ones are a block each, and leave nothing to gain."""

ROW_REDUCTIONS = frozenset({sum_p, max_p, min_p, all_p, any_p})


def lead(shape: Sequence[int], length: int) -> int:
    """How many leading axes have ``length`` entries together: the fewest that do."""
    return list(accumulate(shape, mul)).index(length) + 1


def admissible(node: Expr, dense: Set[Expr]) -> tuple[Set[int], bool]:
    """The numbers of rows into which ``node`` can be cut, and whether it is a view of its operand.

    Cut so, every row of its value depends on the same row of its operands, and has the same bits.
    """
    primitive = node.primitive
    assert primitive is not None
    if not node.args or any(arg.aval.dtype.kind not in "biuf" for arg in (node, *node.args)):
        return frozenset(), False
    source = node.args[0].aval.shape
    view = primitive is reshape_p or (primitive is getitem_p and len(node.args) == 1)
    if primitive.elementwise or primitive is astype_p:
        if node not in dense or not primitive.fresh:
            return frozenset(), False
        lengths = _leading(node.aval.shape, _common_axes(node))
    elif primitive is reshape_p:
        lengths = _leading(source, len(source)) & _leading(node.aval.shape, len(node.aval.shape))
    elif view:
        index = dict(node.static)["index"]
        whole = [item == slice(None) for item in index]
        lengths = _leading(source, (*whole, False).index(False))
    elif primitive in ROW_REDUCTIONS and node.args[0] in dense:
        axis = dict(node.static)["axis"]
        within = _leading(source, min(axis, default=0))
        lengths = _sum_lengths(node, axis) if is_total(node) else within
        if not exact(node):
            return frozenset(), False
    else:
        return frozenset(), False
    return frozenset([n for n in lengths if n > 1 and largest(node) // n <= LONGEST_ROW]), view


def by_rows(node: Expr, arg: Expr, length: int) -> bool:
    """Whether a row of ``node`` needs the same row of ``arg`` only, not all of it."""
    assert node.primitive is not None
    if not (node.primitive.elementwise or node.primitive is astype_p):
        return True
    shape, own = node.aval.shape, arg.aval.shape
    axes = lead(shape, length)
    return len(own) == len(shape) and own[:axes] == shape[:axes]


def largest(node: Expr) -> int:
    """How many entries the value has, or an operand."""
    return max(arg.aval.size for arg in (node, *node.args))


def _leading(shape: tuple[int, ...], axes: int) -> frozenset[int]:
    """The numbers of entries of the first axes together, up to ``axes`` of them."""
    return frozenset(accumulate(shape[:axes], mul)) if 0 not in shape else frozenset()


def _common_axes(node: Expr) -> int:
    """Along how many leading axes every operand has the result's length, or none at all."""
    shape = node.aval.shape
    axes = len(shape)
    for arg in node.args:
        own = (1,) * (len(shape) - len(arg.aval.shape)) + arg.aval.shape
        same = next((i for i, n in enumerate(shape) if own[i] != n), len(shape))
        absent = next((i for i, n in enumerate(own) if n != 1), len(shape))
        if len(arg.aval.shape) < len(shape):
            same = 0
        axes = min(axes, max(same, absent))
    return axes


def is_total(node: Expr) -> bool:
    """Whether it is a sum over the first axes."""
    if node.primitive is not sum_p:
        return False
    axis = dict(node.static)["axis"]
    return bool(axis) and axis[0] == 0


def _sum_lengths(node: Expr, axis: tuple[int, ...]) -> frozenset[int]:
    """Sums over the first axes: row after row. Single entries are added in pairs instead."""
    if axis != tuple(range(len(axis))) or (node.aval.shape and node.aval.size < 2):
        return frozenset()
    return frozenset([prod(node.args[0].aval.shape[: len(axis)])])


def exact(node: Expr) -> bool:
    """Whether NumPy adds without converting, which it does in chunks; integers never round."""
    source, target = node.args[0].aval.dtype, node.aval.dtype
    if node.primitive is not sum_p:
        return True
    if is_total(node):
        return source == target and source.kind in "fiu" and source.itemsize > 2
    return source.kind in "biu" or (source == target and source.itemsize > 2)
