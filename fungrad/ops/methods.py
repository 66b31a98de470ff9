"""``reduce``, ``accumulate`` and ``reduceat`` of binary ufuncs that have no faster rule of their own.

``y[i] = f(y[i - 1], x[i])``: the partials of ``f`` and the linear recurrence that the chain rule
makes of them are the derivative, for every ``f``. A reduction is the last of the running results.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._aval import Aval, make_aval
from fungrad._primitive import (
    ZERO,
    Primitive,
    Rule,
    Unwritten,
    answer,
    answers,
    primitive,
    result_dtype,
    unsupported,
)
from fungrad._tracer import Tracer
from fungrad.ops import comparison, cumulative, elementwise, numbers, rounding, segments, statistics
from fungrad.ops.reduction import axes_of, kept
from fungrad.ops.shape import along, arraylike

_FILLED = (
    comparison,
    elementwise,
    numbers,
    rounding,
    segments,
    statistics,
)  # what fills ``answers`` so far


def _accumulate_vjp(ct: Any, y: Any, x: Any, ufunc: np.ufunc, axis: int) -> tuple[Any]:
    record: Any = answers[ufunc]
    rule = record.vjp
    later, earlier = along(axis, slice(1, None)), along(axis, slice(None, -1))
    first = along(axis, slice(None, 1))
    ones = np.ones_like(y[later])
    partials = rule(ones, y[later], y[earlier], x[later]) if callable(rule) else (rule, rule)
    for part in partials:
        if isinstance(part, Unwritten):
            return (part,)
    of_previous, of_entry = (
        np.zeros_like(y[later]) if part is ZERO else elementwise.selected(part) for part in partials
    )
    of_previous = np.concatenate([np.zeros_like(y[first]), of_previous], axis)
    of_entry = np.concatenate([np.ones_like(y[first]), of_entry], axis)
    return (cumulative.backwards(of_previous, ct, axis) * of_entry,)


def accumulate_value(x: Any, ufunc: np.ufunc, axis: int) -> Any:
    """``ufunc.accumulate``."""
    return ufunc.accumulate(x, axis)


accumulate_p: Primitive = primitive(
    "accumulate",
    value=accumulate_value,
    aval=lambda x, ufunc, axis: make_aval(x.shape, result_dtype(ufunc.accumulate, (x.dtype,))),
    vjp=_accumulate_vjp,
    batch=lambda batched, size, x, ufunc, axis: accumulate_p(x, ufunc=ufunc, axis=axis + 1),
    fresh=True,
    analytic=False,
)


def reduce_value(x: Any, ufunc: np.ufunc, axis: int) -> Any:
    """``ufunc.reduce`` along one axis."""
    return ufunc.reduce(x, axis)


def _reduce_aval(x: Aval, ufunc: np.ufunc, axis: int) -> Aval:
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return make_aval(shape, result_dtype(ufunc.reduce, (x.dtype,)))


def _reduce_vjp(ct: Any, y: Any, x: Any, ufunc: np.ufunc, axis: int) -> tuple[Any]:
    running = accumulate_p(x, ufunc=ufunc, axis=axis)
    earlier = np.zeros_like(running[along(axis, slice(None, -1))])
    last = np.concatenate([earlier, np.expand_dims(ct, axis)], axis)
    return _accumulate_vjp(last, running, x, ufunc, axis)


reduce_p: Primitive = primitive(
    "reduce",
    value=reduce_value,
    aval=_reduce_aval,
    vjp=_reduce_vjp,
    batch=lambda batched, size, x, ufunc, axis: reduce_p(x, ufunc=ufunc, axis=axis + 1),
    fresh=True,
    analytic=False,
)


def _accumulate(ufunc: np.ufunc, array: Any, axis: int = 0, dtype: Any = None) -> Any:
    if array.ndim == 0:
        raise TypeError("cannot accumulate on a scalar")
    x = array if dtype is None else array.astype(dtype)
    return accumulate_p(x, ufunc=ufunc, axis=normalize_axis_index(axis, array.ndim))


def _reduce(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    x = array if dtype is None else array.astype(dtype)
    if where is not True:
        if ufunc.identity is None:
            raise unsupported(
                f"np.{ufunc.__name__}.reduce with where=",
                f"because np.{ufunc.__name__} has no identity; write: the selected entries",
            )
        x = np.where(where, x, ufunc.identity)
    axes = axes_of(x, axis)
    if len(axes) > 1 and not _reorders(ufunc):
        raise ValueError(
            f"reduction operation '{ufunc.__name__}' is not reorderable, so at most one axis may "
            "be specified"
        )
    order = [*[i for i in range(x.ndim) if i not in axes], *axes]
    shape = tuple([x.shape[i] for i in range(x.ndim) if i not in axes])
    rows = x.transpose(order).reshape((*shape, math.prod([x.shape[i] for i in axes])))
    if initial is not None:
        head = np.full_like(rows, initial, shape=(*shape, 1))
        rows = np.concatenate([head, rows], -1)
    if not rows.shape[-1] and 0 not in shape:
        nothing = ufunc.reduce(np.empty(0, x.dtype))  # the identity, or NumPy's error
        return kept(np.full_like(x, nothing, shape=shape), x, axes, keepdims)
    return kept(reduce_p(rows, ufunc=ufunc, axis=rows.ndim - 1), x, axes, keepdims)


def _reorders(ufunc: np.ufunc) -> bool:
    try:
        ufunc.reduce(np.ones((1, 1)), axis=(0, 1))
    except ValueError:
        return False
    except TypeError:
        pass
    return True


def _reduceat(ufunc: np.ufunc, array: Any, indices: Any, axis: int = 0, dtype: Any = None) -> Any:
    array, indices = arraylike(array), arraylike(indices)
    if indices.ndim != 1:
        raise ValueError("object too deep for desired array")
    if isinstance(indices, Tracer):
        indices = indices._concrete(f"np.{ufunc.__name__}.reduceat", False)
    axis = normalize_axis_index(axis, array.ndim)
    array = array if dtype is None else array.astype(dtype)
    length, starts = array.shape[axis], indices.tolist()
    parts = []
    for start, stop in zip(starts, [*starts[1:], length], strict=True):
        if not 0 <= start < length:
            raise IndexError(
                f"index {start} out-of-bounds in {ufunc.__name__}.reduceat [0, {length})"
            )
        segment = array[along(axis, slice(start, max(stop, start + 1)))]
        parts.append(ufunc.reduce(segment, axis=axis))
    return np.stack(parts, axis) if parts else array[along(axis, slice(0, 0))]


_METHODS: dict[str, Rule] = {"reduce": _reduce, "accumulate": _accumulate, "reduceat": _reduceat}
_REDUCED_WRONGLY = {np.power, np.float_power, np.arctan2}
"""By NumPy, on some processors: ``np.power.reduce([3.0, 1.5, 2.0])`` is 9 there."""

for _ufunc, _record in list(answers.items()):
    if isinstance(_ufunc, np.ufunc) and isinstance(_record, Primitive) and _ufunc.nin == 2:
        for _method, _function in _METHODS.items():
            wrong = _ufunc in _REDUCED_WRONGLY and _method != "accumulate"
            if (_ufunc, _method) not in answers and not wrong:
                answer((_ufunc, _method), partial(_function, _ufunc))
