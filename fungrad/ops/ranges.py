"""Ranges between traced bounds: ``np.linspace``, ``np.logspace``, ``np.geomspace``."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fungrad._primitive import implements
from fungrad._tracer import concrete_array
from fungrad.errors import ConcretizationError
from fungrad.ops.creation import arange_like, as_dtype


@implements(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: Any = None,
) -> Any:
    """``np.linspace``: its formula, so its bits."""
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"Number of samples, {num}, must be non-negative.")
    inexact = np.result_type(*[_bound(x) for x in (start, stop)], 1.0)
    start, stop = as_dtype(start, inexact), as_dtype(stop, inexact)
    delta = stop - start
    steps = arange_like(delta, num).astype(inexact).reshape((num, *[1] * delta.ndim))
    count = num - 1 if endpoint else num
    step = delta / count if count > 0 else np.nan
    y = steps * delta
    if count > 0:
        y = steps * step
        if delta.ndim:  # where one step is 0, NumPy divides first in all of them
            y = np.where(np.any(np.equal(step, 0)), steps / count * delta, y)
    y = y + start
    if endpoint and num > 1:
        y = np.concatenate([y[:-1], np.broadcast_to(stop, (1, *delta.shape))])
    y = np.moveaxis(y, 0, axis)
    if dtype is not None:
        y = np.floor(y) if np.issubdtype(dtype, np.integer) else y
        y = y.astype(dtype)
    return (y, step) if retstep else y


def _bound(x: Any) -> Any:
    return concrete_array(x) if isinstance(x, (list, tuple)) else x


@implements(np.logspace)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """``np.logspace``."""
    if np.ndim(base):
        rank = max(np.ndim(x) for x in (start, stop, base))
        start, stop, base = (
            np.reshape(x, (1,) * (rank - np.ndim(x)) + np.shape(x)) for x in (start, stop, base)
        )
        base = np.expand_dims(base, axis)
    y = np.power(base, np.linspace(start, stop, num=num, endpoint=endpoint, axis=axis))
    return y if dtype is None else y.astype(dtype)


@implements(np.geomspace)
def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """``np.geomspace``: ``np.logspace`` of the logarithms, with exact ends."""
    start, stop = _bound(start), _bound(stop)
    if _has_zero(start) or _has_zero(stop):
        raise ValueError("Geometric sequence cannot include zero")
    kind = np.result_type(start, stop, float(num), np.dtype(dtype))  # of None: float64
    start, stop = as_dtype(start, kind), as_dtype(stop, kind)
    sign = np.sign(start)
    start, stop = start / sign, stop / sign
    result = np.logspace(np.log10(start), np.log10(stop), num, endpoint, dtype=kind)
    ends = [np.broadcast_to(x, result.shape[1:])[None] for x in (start, stop)]
    if num > 0:
        result = np.concatenate([ends[0], result[1:]])
    if num > 1 and endpoint:
        result = np.concatenate([result[:-1], ends[1]])
    result = np.moveaxis(result * sign, 0, axis)
    return result.astype(kind if dtype is None else dtype)


def _has_zero(x: Any) -> bool:
    try:
        return bool(np.any(np.equal(x, 0)))
    except ConcretizationError:
        return False  # its value differs by example
