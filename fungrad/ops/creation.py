"""Constants inside a program: arrays that depend on nothing but static numbers.

They have no operands, so they are bound in the trace of another tracer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._primitive import ZERO, implements, primitive
from fungrad._tracer import Tracer, concrete_array


def unbatched(batched: Any, size: int, *operands: Any, **static: Any) -> Any:
    """The batch rule of what has no operands."""
    raise AssertionError("a primitive without operands is never batched")


full = primitive(
    "full",
    value="np.full({shape}, {value}, {dtype})",
    aval=lambda shape, value, dtype: make_aval(shape, dtype),
    vjp=ZERO,
    batch=unbatched,
    fresh=True,
)

arange = primitive(
    "arange",
    value="np.arange({start}, {stop}, {step}, {dtype})",
    aval=lambda start, stop, step, dtype: make_aval((len(range(start, stop, step)),), dtype),
    vjp=ZERO,
    batch=unbatched,
    fresh=True,
)

eye = primitive(
    "eye",
    value="np.eye({size}, dtype={dtype})",
    aval=lambda size, dtype: make_aval((size, size), dtype),
    vjp=ZERO,
    batch=unbatched,
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
    if isinstance(fill_value, Tracer):
        return np.broadcast_to(fill_value.astype(zeros.dtype), zeros.shape)
    filling = np.asarray(fill_value, zeros.dtype)
    if filling.ndim == 0:
        return full_like(zeros, filling.item(), zeros.shape, zeros.dtype)
    return np.full(zeros.shape, filling)


# --- arrays from traced values, by like= ---------------------------------------------------------


def _array_from(values: Any, dtype: Any, least: int = 0) -> Any:
    x = _stacked(values)
    x = x if dtype is None else x.astype(dtype)
    return x.reshape((1,) * (least - x.ndim) + x.shape) if x.ndim < least else x


@implements(np.array)
def array(
    object: Any,
    dtype: Any = None,
    *,
    copy: Any = True,
    order: Any = "K",
    subok: Any = False,
    ndmin: int = 0,
) -> Any:
    """``np.array(nested lists of traced and plain values, like=x)``."""
    return _array_from(object, dtype, ndmin)


@implements(np.asarray, np.asanyarray)
def asarray(a: Any, dtype: Any = None, order: Any = None, **_: Any) -> Any:
    """``np.asarray(a, like=x)``."""
    return _array_from(a, dtype)


@implements(np.ascontiguousarray, np.asfortranarray)
def ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    """``np.ascontiguousarray(a, like=x)``: at least 1-d; layout is the program's business."""
    return _array_from(a, dtype, 1)


@implements(np.require)
def require(a: Any, dtype: Any = None, requirements: Any = None) -> Any:
    """``np.require(a, like=x)``: layout is the program's business."""
    return _array_from(a, dtype)


def as_dtype(x: Any, dtype: Any) -> Any:
    """``x`` as an array of that dtype; a plain array of it stays the same object."""
    return x.astype(dtype) if isinstance(x, Tracer) else np.asarray(x, dtype)


def _stacked(values: Any) -> Any:
    if isinstance(values, (list, tuple)) and any(map(_has_tracer, values)):
        return np.stack([_stacked(value) for value in values])
    if isinstance(values, Tracer):  # an array, also of a Python number
        return values.astype(values.dtype) if values.aval.weak else values
    return concrete_array(values)


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


@implements(np.can_cast)
def can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """``np.can_cast`` of a traced value's dtype."""
    return np.can_cast(from_.dtype, to, casting)


@implements(np.common_type)
def common_type(*arrays: Any) -> Any:
    """``np.common_type``."""
    return np.common_type(*[np.empty(0, x.dtype) for x in arrays])


@implements(np.min_scalar_type)
def min_scalar_type(a: Any) -> Any:
    """``np.min_scalar_type``: of a 0-d array it depends on the value, which is asked for."""
    return np.min_scalar_type(a._concrete("np.min_scalar_type", False)) if a.ndim == 0 else a.dtype


# --- constants with like=: plain arrays, which any program may capture ---------------------------


def _answer_constant(function: Any) -> None:
    @implements(function)
    def constant(*args: Any, **kwargs: Any) -> Any:
        return function(*map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})


def _plain(value: Any) -> Any:
    """A traced size or bound as a number; the error of leaving if it is differentiated."""
    if isinstance(value, Tracer) and value.ndim == 0:
        return value._concrete("a size or bound of an array", value.aval.inexact)
    return value


for _function in (
    np.zeros, np.ones, np.empty, np.eye, np.identity, np.tri, np.arange, np.frombuffer,
    np.fromfile, np.fromfunction, np.fromiter, np.fromstring, np.loadtxt, np.genfromtxt,
):  # fmt: skip
    _answer_constant(_function)


@implements(np.full)
def np_full(
    shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", *, device: Any = None
) -> Any:
    """``np.full(shape, fill_value, like=x)``, also with a traced fill value."""
    if not isinstance(fill_value, Tracer):
        return np.full(shape, fill_value, dtype)
    value = fill_value if dtype is None else fill_value.astype(dtype)
    return np.broadcast_to(value, shape)
