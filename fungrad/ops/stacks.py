"""Stacks of unknown height: what loops put aside, and what adds up as their cotangents.

Only loops read what is on a stack. All that happens to one elsewhere is what happens to any
cotangent: it is zero, it is added to another, and a batch of it is the same for all examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import Stack, StackAval, make_aval, stack_aval
from fungrad._primitive import ZERO, Primitive, Unwritten, primitive
from fungrad.ops.creation import unbatched


def batched_aval(aval: Any, size: int) -> Any:
    """What is known of a batch of such values; of stacks, every element is a batch."""
    if isinstance(aval, StackAval):
        return stack_aval(batched_aval(aval.element, size))
    return make_aval((size, *aval.shape), aval.dtype)


def _added(a: Stack, b: Stack) -> Stack:
    if a.values is None or b.values is None:
        return a if b.values is None else b
    pairs = zip(a.values, b.values, strict=True)
    nested = isinstance(a.aval.element, StackAval)
    return Stack(a.aval, [_added(x, y) if nested else x + y for x, y in pairs])


stack_add: Primitive = primitive(
    "stack_add",
    value=_added,
    aval=lambda a, b: a,
    vjp=lambda ct, y, a, b: (ct, ct),
    batch=lambda batched, size, a, b: stack_add(
        *[
            x if flag else stack_spread(x, size=size, axis=0)
            for x, flag in zip((a, b), batched, strict=True)
        ]
    ),
)

stack_zeros: Primitive = primitive(
    "stack_zeros",
    value=lambda aval: Stack(aval, None),
    aval=lambda aval: aval,
    vjp=ZERO,
    batch=unbatched,
)


def _spread(stack: Stack, size: int, axis: int) -> Stack:
    aval = stack_aval(_widened(stack.aval.element, size, axis))
    if stack.values is None:
        return Stack(aval, None)
    if isinstance(aval.element, StackAval):
        return Stack(aval, [_spread(value, size, axis) for value in stack.values])
    shape = aval.element.shape
    return Stack(
        aval, [np.broadcast_to(np.expand_dims(value, axis), shape) for value in stack.values]
    )


def _widened(aval: Any, size: int, axis: int) -> Any:
    if isinstance(aval, StackAval):
        return stack_aval(_widened(aval.element, size, axis))
    return make_aval((*aval.shape[:axis], size, *aval.shape[axis:]), aval.dtype)


stack_spread: Primitive = primitive(
    "stack_spread",
    value=_spread,
    aval=lambda stack, size, axis: _widened(stack, size, axis),
    # Loops spread the zeros that sums start from; what a loop has stacked they use as it is.
    vjp=Unwritten("a stack that is the same for all examples is used as it is"),
    batch=lambda batched, _, stack, size, axis: stack_spread(stack, size=size, axis=axis + 1),
)
