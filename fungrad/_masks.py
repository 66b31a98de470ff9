"""Cotangents that are 0 outside of a mask: carried beside it, and selected where that must end.

Row 7. In: ``Masked`` cotangents, which rules of choices return. Out: masked or plain cotangents.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from fungrad._expr import Expr
from fungrad._primitive import Masked
from fungrad._tracer import Tracer
from fungrad.ops.elementwise import selected, where
from fungrad.ops.shape import astype_p, concatenate_p, reshape_p, transpose_p

Masks = tuple[tuple[Any, bool], ...]


def passed(node: Expr, masks: Masks, operands: Sequence[Any]) -> list[Masks] | None:
    """The masks for each operand, or ``None`` where an entry depends on several."""
    primitive = node.primitive
    assert primitive is not None
    if primitive.elementwise or primitive is astype_p:
        return [masks] * len(operands)
    if primitive not in (reshape_p, transpose_p, concatenate_p):
        return None
    assert callable(primitive.vjp)
    moved: list[Masks] = [()] * len(operands)
    for condition, truth in masks:
        parts: Any = (condition,) * len(operands)
        if isinstance(condition, Tracer) and not _is_same_for_all(condition, node):
            whole: Any = np.broadcast_to(condition, node.aval.shape)
            parts = primitive.vjp(whole, None, *operands, **dict(node.static))
        moved = [(*old, (part, truth)) for old, part in zip(moved, parts, strict=True)]
    return moved


def _is_same_for_all(condition: Tracer, node: Expr) -> bool:
    """Whether all operands of a concatenation meet the same condition."""
    if node.primitive is not concatenate_p:
        return False
    axis = dict(node.static)["axis"] - node.aval.ndim  # from behind, as shapes broadcast
    return bool(condition.ndim < -axis or condition.shape[axis] == 1)


def narrowed(masks: Masks, shape: tuple[int, ...], to: tuple[int, ...]) -> Masks | None:
    """The masks of a sum over the axes along which ``to`` was broadcast to ``shape``.

    ``None`` where a mask differs along them: then it has to be selected by before.
    """
    extra = len(shape) - len(to)
    narrow: list[tuple[Any, bool]] = []
    for condition, truth in masks:
        own = np.shape(condition)
        full = (*[1] * (len(shape) - len(own)), *own)
        summed = [i < extra or to[i - extra] != n for i, n in enumerate(shape)]
        if any(gone and n != 1 for gone, n in zip(summed, full, strict=True)):
            return None
        keeps = own[max(len(own) - len(to), 0) :]
        narrow.append((condition if keeps == own else condition.reshape(keeps), truth))
    return tuple(narrow)


def under(part: Any, masks: Masks) -> Any:
    """What a rule gave for a masked cotangent's value, under the masks again."""
    if isinstance(part, Masked):
        return Masked(part.value, (*masks, *part.masks))
    return Masked(part, masks) if isinstance(part, Tracer) else part


def added(a: Any, b: Any) -> Any:
    """The sum of two cotangents, at least one of them masked.

    The two branches of one choice are not added: each entry belongs to one of them. Under other
    masks, the sum is 0 where both say so.
    """
    if not (isinstance(a, Masked) and isinstance(b, Masked)):
        return selected(a) + selected(b)
    if _same(a.masks, b.masks):
        return Masked(a.value + b.value, a.masks, a.clean and b.clean)
    *outer, (condition, truth) = a.masks
    if _same((*outer, (condition, not truth)), b.masks):
        yes, no = (a.value, b.value) if truth else (b.value, a.value)
        chosen = where(condition, yes, no)
        return Masked(chosen, tuple(outer)) if outer else chosen
    either = np.logical_or(_both(a.masks), _both(b.masks))
    return Masked(selected(a) + selected(b), ((either, True),), clean=True)


def _both(masks: Masks) -> Any:
    """Where all masks let the cotangent be."""
    true = [condition if truth else np.logical_not(condition) for condition, truth in masks]
    return reduce(np.logical_and, true)


def _same(masks: Masks, others: Masks) -> bool:
    return len(masks) == len(others) and all(
        truth is other_truth and _node(condition) is _node(other)
        for (condition, truth), (other, other_truth) in zip(masks, others, strict=True)
    )


def _node(condition: Any) -> Any:
    return condition._expr if isinstance(condition, Tracer) else condition
