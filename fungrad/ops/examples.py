"""Batches for NumPy functions that know of no batch axes: one call for each example.

The primitives that use this take examples along the leading axes that all operands share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def all_batched(batched: tuple[bool, ...], size: int, *operands: Any) -> tuple[Any, ...]:
    """Operands that all have the batch axis in front."""
    pairs = zip(operands, batched, strict=True)
    return tuple([x if flag else np.broadcast_to(x, (size, *x.shape)) for x, flag in pairs])


def by_example(
    function: Callable[..., Any], leading: tuple[int, ...], shape: Any, dtype: Any, *operands: Any
) -> Any:
    """The results of ``function`` for all examples, in an array of that shape and dtype."""
    out = np.empty(shape, dtype)
    for example in np.ndindex(leading):
        out[example] = function(*[x[example] for x in operands])
    return out
