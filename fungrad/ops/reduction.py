"""Reductions: primitives take a tuple of axes and drop them; ``keepdims`` is a reshape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from fungrad._aval import Aval, make_aval
from fungrad._dispatch import call_answer
from fungrad._primitive import ZERO, Masked, Primitive, answer, implements, primitive, result_dtype
from fungrad.ops.elementwise import root
from fungrad.ops.shape import broadcast_to, expand_dims

Axes = tuple[int, ...]


def reduced_shape(shape: tuple[int, ...], axis: Axes) -> tuple[int, ...]:
    """``shape`` without the axes ``axis``."""
    return tuple([n for i, n in enumerate(shape) if i not in axis])


def axes_of(a: Any, axis: Any) -> Axes:
    """``axis`` as a sorted tuple of non-negative axes of ``a``; NumPy's errors."""
    if axis is None:
        return tuple(range(a.ndim))
    if type(axis) is int and -a.ndim <= axis < a.ndim:
        return (axis % a.ndim,)
    return tuple(sorted(normalize_axis_tuple(axis, a.ndim)))


def reduced_axes(a: Any, axis: Any) -> Axes:
    """``axes_of`` for the reductions of ufuncs: they take 0-d arrays for 1-d ones."""
    return () if a.ndim == 0 and axis in (0, -1) else axes_of(a, axis)


def kept(result: Any, a: Any, axis: Axes, keepdims: Any) -> Any:
    """The result with its reduced axes back as length 1 if ``keepdims``."""
    if not keepdims:
        return result
    return result.reshape(tuple([1 if i in axis else n for i, n in enumerate(a.shape)]))


def only(where: Any, a: Any, neutral: Any) -> Any:
    """``a`` with its neutral element where ``where=`` leaves entries out; NumPy's error."""
    if where is True:
        return a
    if isinstance(neutral, (bool, int, float)):
        neutral = np.asarray(neutral).astype(a.dtype)[()]  # it never promotes
    if np.broadcast_shapes(np.shape(where), a.shape) != a.shape:
        raise ValueError(
            f"non-broadcastable operand: where= has shape {np.shape(where)}, the array {a.shape}"
        )
    return np.where(where, a, neutral)


def started(result: Any, initial: Any, combine: Any) -> Any:
    """A reduction that started from ``initial``, which NumPy casts, so that it never promotes."""
    if initial is None:
        return result
    cast = np.asarray(initial) if np.isscalar(initial) else initial
    return combine(result, cast.astype(result.dtype))


# --- sum -------------------------------------------------------------------------------------

sum_p: Primitive = primitive(
    "sum",
    value="np.add.reduce({0}, axis={axis}, dtype={dtype})",
    aval=lambda x, axis, dtype: make_aval(
        reduced_shape(x.shape, axis), dtype or result_dtype(np.add.reduce, (x.dtype,))
    ),
    vjp=lambda ct, y, x, axis, dtype: (
        broadcast_to(expand_dims(ct, axis).astype(x.dtype), x.shape),
    ),
    batch=lambda batched, size, x, axis, dtype: sum_p(
        x, axis=tuple([i + 1 for i in axis]), dtype=dtype
    ),
    fresh=True,
)


@implements(np.sum)
def sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """``np.sum``."""
    if where is not True:
        a = only(where, a, 0)
    axes = reduced_axes(a, axis)
    target = None if dtype is None else np.dtype(dtype)
    total = sum_p(a, axis=axes, dtype=target)
    if keepdims:
        total = kept(total, a, axes, keepdims)
    return total if initial is None else started(total, initial, np.add)


# --- max, min --------------------------------------------------------------------------------


def _extremum(ufunc: np.ufunc, name: str) -> Primitive:
    def aval(x: Aval, axis: Axes) -> Aval:
        if x.size == 0 and math.prod(x.shape[i] for i in axis) == 0:
            raise ValueError(
                f"zero-size array to reduction operation {ufunc.__name__} which has no identity"
            )
        return make_aval(reduced_shape(x.shape, axis), x.dtype)

    def vjp(ct: Any, y: Any, x: Any, axis: Axes) -> tuple[Masked]:
        wins = np.equal(x, np.expand_dims(y, axis))  # all winners share evenly
        # Among NaNs nobody wins; at least 1 keeps 0/0 from adding a warning.
        # Small integers are counted fast, and leave the quotient of the cotangent's dtype.
        most = np.min_scalar_type(math.prod(x.shape[i] for i in axis))
        count = np.maximum(wins.sum(axis, dtype=most), 1)
        share = (ct / count).astype(ct.dtype)
        # Selecting, not multiplying by a mask: 0 * inf would be NaN.
        return (Masked(np.broadcast_to(np.expand_dims(share, axis), x.shape), ((wins, True),)),)

    record = primitive(
        name,
        value=f"np.{ufunc.__name__}.reduce({{0}}, axis={{axis}})",
        aval=aval,
        vjp=vjp,
        batch=lambda batched, size, x, axis: record(x, axis=tuple([i + 1 for i in axis])),
        fresh=True,
        analytic=False,
    )
    return record


max_p, min_p = _extremum(np.maximum, "max"), _extremum(np.minimum, "min")


def _answer_extremum(function: Any, ufunc: np.ufunc, reduce: Primitive) -> None:
    def extremum(
        a: Any,
        axis: Any = None,
        *,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Any:
        if where is not True:
            if initial is None:
                raise ValueError(
                    f"reduction operation '{ufunc.__name__}' does not have an identity, so to use "
                    "a where mask one has to specify 'initial'"
                )
            a = only(where, a, initial)
        axes = reduced_axes(a, axis)
        if initial is not None and a.size == 0:
            shape = reduced_shape(a.shape, axes)
            return kept(np.full_like(a, initial, shape=shape), a, axes, keepdims)
        result = kept(reduce(a, axis=axes), a, axes, keepdims)
        return started(result, initial, ufunc)

    for spelling in function:
        answer(spelling, extremum)


_answer_extremum((np.max, np.amax), np.maximum, max_p)
_answer_extremum((np.min, np.amin), np.minimum, min_p)


# --- reductions without derivative -----------------------------------------------------------


def _counting(name: str, value: str, dtype: Any) -> Primitive:
    record = primitive(
        name,
        value=value,
        aval=lambda x, axis: make_aval(
            reduced_shape(x.shape, axis if isinstance(axis, tuple) else (axis,)), np.dtype(dtype)
        ),
        vjp=ZERO,
        batch=lambda batched, size, x, axis: record(
            x, axis=tuple([i + 1 for i in axis]) if isinstance(axis, tuple) else axis + 1
        ),
        fresh=True,
        analytic=False,
    )
    return record


all_p = _counting("all", "np.logical_and.reduce({0}, axis={axis})", np.bool_)
any_p = _counting("any", "np.logical_or.reduce({0}, axis={axis})", np.bool_)
argmax_p = _counting("argmax", "np.argmax({0}, {axis})", np.intp)
argmin_p = _counting("argmin", "np.argmin({0}, {axis})", np.intp)


def _answer_logical(function: Any, reduce: Primitive, neutral: bool) -> None:
    @implements(function)
    def logical(a: Any, axis: Any = None, *, keepdims: bool = False, where: Any = True) -> Any:
        a = only(where, a, neutral)
        axes = reduced_axes(a, axis)
        return kept(reduce(a, axis=axes), a, axes, keepdims)


_answer_logical(np.all, all_p, True)
_answer_logical(np.any, any_p, False)


def _answer_arg(function: Any, reduce: Primitive) -> None:
    @implements(function)
    def position(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        axes = reduced_axes(a, axis)
        flat, along = (a.reshape((-1,)), 0) if axis is None or not axes else (a, axes[0])
        if flat.shape[along] == 0:
            raise ValueError(f"attempt to get {function.__name__} of an empty sequence")
        return kept(reduce(flat, axis=along), a, axes, keepdims)


_answer_arg(np.argmax, argmax_p)
_answer_arg(np.argmin, argmin_p)


def _answer_reduce(ufunc: np.ufunc, function: Callable[..., Any]) -> None:
    """``ufunc.reduce`` is the function of the same meaning, but its axis defaults to 0."""

    @implements((ufunc, "reduce"))
    def reduce(array: Any, axis: Any = 0, dtype: Any = None, **kwargs: Any) -> Any:
        typed = {} if dtype is None else {"dtype": dtype}
        return call_answer(function, (array, axis), {**typed, **kwargs})


for _ufunc, _function in (
    (np.add, np.sum),
    (np.maximum, np.max),
    (np.minimum, np.min),
    (np.logical_and, np.all),
    (np.logical_or, np.any),
):
    _answer_reduce(_ufunc, _function)


# --- composites: NumPy's own formulas, so that the values are the same to the bit ---------------


def _count(a: Any, axes: Axes) -> int:
    return math.prod(a.shape[i] for i in axes)


@implements(np.mean)
def mean(
    a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    """``np.mean``: float16 is summed as float32, integers as float64."""
    axes = axes_of(a, axis)
    small = dtype is None and a.dtype == np.float16
    inner = (
        np.float32 if small else np.float64 if dtype is None and a.dtype.kind in "biu" else dtype
    )
    count: Any = _count(a, axes)
    if where is not True:
        count = np.sum(np.broadcast_to(where, a.shape), axis=axes, keepdims=keepdims)
    total = sum(a, axes, inner, keepdims=keepdims, where=where)
    # NumPy divides in place, whatever the dtypes of the quotient and of the count.
    return (total / count).astype(np.float16 if small else total.dtype)


_mean = mean  # `var` has a parameter of that name


@implements(np.var)
def var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: Any = None,
) -> Any:
    """``np.var``: the mean of squared distances from the mean, over ``n - ddof``."""
    axes = axes_of(a, axis)
    if mean is None:
        mean = _mean(a, axes, dtype, keepdims=True, where=where)
    distance = a - mean
    power = (
        (distance * np.conjugate(distance)).real
        if distance.dtype.kind == "c"
        else np.square(distance)
    )
    ddof = ddof if correction is None else correction
    if where is True:
        count: Any = max_of(_count(a, axes) - ddof, 0)
    else:
        sizes = np.sum(np.broadcast_to(where, a.shape), axis=axes, keepdims=keepdims)
        count = np.maximum(sizes - ddof, 0)
    total = sum(power, axes, dtype, keepdims=keepdims, where=where)
    return (total / count).astype(total.dtype if total.dtype.kind == "f" or dtype else np.float64)


def max_of(a: float, b: float) -> float:
    """Python's ``max``, whose name this module uses otherwise."""
    return a if a > b else b


@implements(np.std)
def std(a: Any, axis: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """``np.std``, with derivative 0 where all entries are equal."""
    return root(np.var(a, axis=axis, dtype=dtype, **kwargs))
