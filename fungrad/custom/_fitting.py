"""Whether what a rule returned fits: structure, shapes and dtypes, with messages that say what not."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import Aval, is_number_like
from fungrad._containers import Aux, kinds, plain_aux
from fungrad._tracer import Tracer
from fungrad._tree import TreeDef, check_same_structure, flatten
from fungrad.custom._arguments import aval_of_leaf
from fungrad.errors import CotangentError
from fungrad.ops.creation import full_like


def matched(tree: TreeDef, parts: Any, ours: str, theirs: str) -> list[Any]:
    """The leaves of ``parts``, which has the structure ``tree``; ``None`` may stand for a subtree."""
    leaves: list[Any] = []
    pending = [(tree, parts)]
    while pending:
        expected, part = pending.pop()
        kind = kinds[type(part)]
        if part is None:
            leaves += [None] * expected.num_leaves
        elif expected.kind is None and kind is None:
            leaves.append(part)
        else:
            children, aux = ((), None) if kind is None else kind.flatten(part)
            below = list(children)
            same = kind is expected.kind and (
                kind is None
                or plain_aux(kind, Aux(aux and aux.value)) == plain_aux(kind, Aux(expected.aux))
            )
            if not same or len(below) != len(expected.children):
                check_same_structure(tree, flatten(parts)[1], ours, theirs)
            pending += reversed(list(zip(expected.children, below, strict=True)))
    return leaves


def fitted(part: Any, want: Aval, near: Tracer, what: str) -> Any:
    """A derivative of a value like ``want``, in the trace of ``near``; ``None`` is zero."""
    if part is None or not want.inexact:
        return full_like(near, 0, want.shape, want.dtype)
    if not (isinstance(part, Tracer) or is_number_like(part)):
        raise CotangentError(
            f"{what} of type {type(part).__name__}; write: an array, or None for zero"
        )
    got = aval_of_leaf(part)
    if got.shape != want.shape:
        raise CotangentError(
            f"{what} of shape {got.shape}; write: one of shape {want.shape}, or None for zero"
        )
    if got.weak and (got.dtype.kind != "c" or want.dtype.kind == "c"):
        return full_like(near, 0, want.shape, want.dtype) + part
    if got.dtype != want.dtype:
        raise CotangentError(
            f"{what} of dtype {got.dtype}; write: one of dtype {want.dtype}, by "
            f".astype({want.dtype.name!r})"
        )
    if not isinstance(part, Tracer) and not np.any(part):
        return full_like(near, 0, want.shape, want.dtype)  # zeros that the program may know of
    return part
