"""Constants inside a program: arrays that depend on nothing but static numbers.

They have no operands, so they are bound in the trace of another tracer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._primitive import ZERO, implements, primitive
from fungrad._tracer import Tracer, concrete_array


def _unbatched(batched: Any, size: int, *operands: Any, **static: Any) -> Any:
    raise AssertionError("a primitive without operands is never batched")


full = primitive(
    "full",
    value="np.full({shape}, {value}, {dtype})",
    aval=lambda shape, value, dtype: make_aval(shape, dtype),
    vjp=ZERO,
    batch=_unbatched,
    fresh=True,
)

arange = primitive(
    "arange",
    value="np.arange({start}, {stop}, {step}, {dtype})",
    aval=lambda start, stop, step, dtype: make_aval((len(range(start, stop, step)),), dtype),
    vjp=ZERO,
    batch=_unbatched,
    fresh=True,
)


def full_like(a: Tracer, value: Any, shape: tuple[int, ...], dtype: Any) -> Tracer:
    """``value`` everywhere, in the trace of ``a``."""
    return a.owner.constant(full, shape=shape, value=value, dtype=np.dtype(dtype))


def arange_like(a: Tracer, stop: int) -> Tracer:
    """``np.arange(stop)`` in the trace of ``a``."""
    return a.owner.constant(arange, start=0, stop=stop, step=1, dtype=np.dtype(np.intp))


def _filled(a: Any, fill: Any, dtype: Any, shape: Any) -> Any:
    shape = a.shape if shape is None else tuple(np.empty(shape, np.bool_).shape)
    return full_like(a, fill, shape, a.dtype if dtype is None else dtype)


@implements(np.zeros_like, np.empty_like)
def zeros_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: Any = True, shape: Any = None, **_: Any
) -> Any:
    """``np.zeros_like``; ``np.empty_like`` too: a pure program has no uninitialised memory."""
    return _filled(a, 0, dtype, shape)


@implements(np.ones_like)
def ones_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: Any = True, shape: Any = None, **_: Any
) -> Any:
    """``np.ones_like``."""
    return _filled(a, 1, dtype, shape)


@implements(np.full_like)
def np_full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: Any = True,
    shape: Any = None,
    **_: Any,
) -> Any:
    """``np.full_like``, also with a traced fill value."""
    zeros = np.zeros_like(a, dtype=dtype, shape=shape)
    if not isinstance(fill_value, Tracer):
        fill_value = np.asarray(fill_value, zeros.dtype)
        if fill_value.ndim == 0:
            return full_like(zeros, fill_value.item(), zeros.shape, zeros.dtype)
    return zeros + fill_value.astype(zeros.dtype)


@implements(np.array, np.asarray)
def array(object: Any, dtype: Any = None, **_: Any) -> Any:
    """``np.array(nested lists of traced and plain values, like=x)``."""
    result = _stacked(object)
    return result if dtype is None or not hasattr(result, "astype") else result.astype(dtype)


def _stacked(values: Any) -> Any:
    if isinstance(values, (list, tuple)) and any(map(_has_tracer, values)):
        return np.stack([_stacked(value) for value in values])
    return values if isinstance(values, Tracer) else concrete_array(values)


def _has_tracer(values: Any) -> bool:
    if isinstance(values, (list, tuple)):
        return any(map(_has_tracer, values))
    return isinstance(values, Tracer)


@implements(np.shape)
def shape(a: Any) -> tuple[int, ...]:
    """``np.shape``."""
    return tuple(a.shape)


@implements(np.ndim)
def ndim(a: Any) -> int:
    """``np.ndim``."""
    return int(a.ndim)


@implements(np.size)
def size(a: Any, axis: Any = None) -> int:
    """``np.size``."""
    return int(a.size if axis is None else a.shape[axis])


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    """``np.iscomplexobj``."""
    return bool(x.dtype.kind == "c")


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    """``np.isrealobj``."""
    return bool(x.dtype.kind != "c")


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> Any:
    """``np.result_type`` of traced values and anything else."""
    number = {"b": True, "i": 1, "f": 1.0, "c": 1j}
    return np.result_type(
        *[
            (number[x.dtype.kind] if x.aval.weak else x.dtype) if isinstance(x, Tracer) else x
            for x in arrays_and_dtypes
        ]
    )
