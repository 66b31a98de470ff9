"""Discrete Fourier transforms: three primitives along one axis, and all of ``np.fft`` from them.

A transform is linear, so its pullback is its transpose; that of a complex transform is the same
transform, those of the two transforms between real and complex numbers are each other, weighted.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, answer, implements, primitive, result_dtype
from fungrad.ops.creation import arange_like

_SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
"""The scale of the transposed transform: which of the two directions is divided by ``n``."""


def _resized(x: Any, n: int, axis: int) -> Any:
    """The first ``n`` entries along an axis, or all of them and zeros: what transforms read."""
    length = x.shape[axis]
    if n <= length:
        return x[(*[slice(None)] * axis, slice(n))]
    shape = (*x.shape[:axis], n - length, *x.shape[axis + 1 :])
    return np.concatenate([x, np.zeros_like(x, shape=shape)], axis=axis)


def _replaced(shape: tuple[int, ...], axis: int, n: int) -> tuple[int, ...]:
    return (*shape[:axis], n, *shape[axis + 1 :])


def _complex(name: str) -> Primitive:
    """``np.fft.fft`` or ``np.fft.ifft``: symmetric matrices, so their own transposes."""
    function = getattr(np.fft, name)

    def aval(x: Aval, n: int, axis: int, norm: str) -> Aval:
        return make_aval(_replaced(x.shape, axis, n), result_dtype(function, (x.dtype,)))

    def vjp(ct: Any, y: Any, x: Any, n: int, axis: int, norm: str) -> tuple[Any]:
        return (_resized(record(ct, n=n, axis=axis, norm=norm), x.shape[axis], axis),)

    record = primitive(
        name,
        value=f"np.fft.{name}({{0}}, {{n}}, {{axis}}, {{norm}})",
        aval=aval,
        vjp=vjp,
        batch=lambda batched, size, x, n, axis, norm: record(x, n=n, axis=axis + 1, norm=norm),
        fresh=True,
    )
    return record


fft_p, ifft_p = _complex("fft"), _complex("ifft")


def _halves(x: Any, n: int, axis: int, weight: float) -> Any:
    """The half of a spectrum, with a weight for the entries that have a conjugate in the other.

    The first entry has none, nor has the last one for even ``n``.
    """
    k = arange_like(x, x.shape[axis]).reshape((-1, *[1] * (x.ndim - 1 - axis)))
    alone = (k == 0) | (2 * k == n)
    return np.where(alone, x, weight * x)


def _rfft_vjp(ct: Any, y: Any, x: Any, n: int, axis: int, norm: str) -> tuple[Any]:
    half = _halves(np.conjugate(ct), n, axis, 0.5)
    back = irfft_p(half, n=n, axis=axis, norm=_SWAPPED[norm])
    return (_resized(back, x.shape[axis], axis),)


rfft_p: Primitive = primitive(
    "rfft",
    value="np.fft.rfft({0}, {n}, {axis}, {norm})",
    aval=lambda x, n, axis, norm: make_aval(
        _replaced(x.shape, axis, n // 2 + 1), result_dtype(np.fft.rfft, (x.dtype,))
    ),
    vjp=_rfft_vjp,
    batch=lambda batched, size, x, n, axis, norm: rfft_p(x, n=n, axis=axis + 1, norm=norm),
    fresh=True,
    analytic=False,
)


def irfft_of_two(x: Any) -> Any:
    """``np.fft.irfft`` of any length that tells the dtype of its result."""
    return np.fft.irfft(x, 2)


def _irfft_vjp(ct: Any, y: Any, x: Any, n: int, axis: int, norm: str) -> tuple[Any]:
    half = np.conjugate(rfft_p(ct, n=n, axis=axis, norm=_SWAPPED[norm]))
    return (_resized(_halves(half, n, axis, 2.0), x.shape[axis], axis),)


irfft_p: Primitive = primitive(
    "irfft",
    value="np.fft.irfft({0}, {n}, {axis}, {norm})",
    aval=lambda x, n, axis, norm: make_aval(
        _replaced(x.shape, axis, n), result_dtype(irfft_of_two, (x.dtype,))
    ),
    vjp=_irfft_vjp,
    batch=lambda batched, size, x, n, axis, norm: irfft_p(x, n=n, axis=axis + 1, norm=norm),
    fresh=True,
    analytic=False,
)


# --- along one axis ------------------------------------------------------------------------------


def _along(record: Primitive, a: Any, n: Any, axis: int, norm: Any) -> Any:
    """A transform of ``n`` points, after NumPy's checks."""
    name = "backward" if norm is None else norm
    if name not in _SWAPPED:
        raise ValueError(f'Invalid norm value {norm}; should be "backward", "ortho" or "forward".')
    if a.ndim == 0:
        raise IndexError("tuple index out of range")
    axis = normalize_axis_index(axis, a.ndim)
    if n is None:
        n = (a.shape[axis] - 1) * 2 if record is irfft_p else a.shape[axis]
    n = operator.index(n)
    if n < 1:
        raise ValueError(f"Invalid number of FFT data points ({n}) specified.")
    if record is rfft_p and a.dtype.kind == "c":
        raise TypeError(f"rfft takes real numbers, not {a.dtype}; write: np.fft.fft")
    return record(a, n=n, axis=axis, norm=name)


def _answer_one(function: Any, record: Primitive) -> None:
    @implements(function)
    def transform(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
        return _along(record, a, n, axis, norm)


for _function, _record in (
    (np.fft.fft, fft_p),
    (np.fft.ifft, ifft_p),
    (np.fft.rfft, rfft_p),
    (np.fft.irfft, irfft_p),
):
    _answer_one(_function, _record)


@implements(np.fft.hfft)
def hfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """``np.fft.hfft``: of a signal that is the conjugate of its mirror image."""
    return np.fft.irfft(np.conjugate(a), n, axis, _swapped(norm))


@implements(np.fft.ihfft)
def ihfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
    """``np.fft.ihfft``."""
    return np.conjugate(np.fft.rfft(a, n, axis, _swapped(norm)))


def _swapped(norm: Any) -> Any:
    return _SWAPPED.get("backward" if norm is None else norm, norm)


# --- along several axes --------------------------------------------------------------------------


def _sizes_and_axes(a: Any, s: Any, axes: Any, half: bool = False) -> list[tuple[int, int]]:
    """How many points to transform along which axes, in NumPy's reading of ``s`` and ``axes``."""
    if axes is None:
        axes = range(-(a.ndim if s is None else len(s)), 0)
    axes = [normalize_axis_index(axis, a.ndim) for axis in axes]
    if s is None:
        sizes = [a.shape[axis] for axis in axes]
        if half:
            sizes[-1] = 2 * (sizes[-1] - 1)
    else:
        sizes = [
            a.shape[axis] if n in (-1, None) else operator.index(n)
            for n, axis in zip(s, axes, strict=False)
        ]
        if len(s) != len(axes):
            raise ValueError("Shape and axes have different lengths.")
    return list(zip(sizes, axes, strict=True))


def _fftn(a: Any, s: Any, axes: Any, norm: Any) -> Any:
    for n, axis in reversed(_sizes_and_axes(a, s, axes)):
        a = np.fft.fft(a, n, axis, norm)
    return a


def _ifftn(a: Any, s: Any, axes: Any, norm: Any) -> Any:
    for n, axis in reversed(_sizes_and_axes(a, s, axes)):
        a = np.fft.ifft(a, n, axis, norm)
    return a


def _rfftn(a: Any, s: Any, axes: Any, norm: Any) -> Any:
    *others, (n, axis) = _sizes_and_axes(a, s, axes)
    a = np.fft.rfft(a, n, axis, norm)
    for n, axis in reversed(others):
        a = np.fft.fft(a, n, axis, norm)
    return a


def _irfftn(a: Any, s: Any, axes: Any, norm: Any) -> Any:
    *others, (last, axis_of_last) = _sizes_and_axes(a, s, axes, half=True)
    for n, axis in others:
        a = np.fft.ifft(a, n, axis, norm)
    return np.fft.irfft(a, last, axis_of_last, norm)


def _answer_several(name: str, transform: Callable[..., Any]) -> None:
    """The function of all axes, and the one of the last two, which differ in a default only."""

    def of_all(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
        return transform(a, s, axes, norm)

    def of_two(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None) -> Any:
        return transform(a, s, axes, norm)

    answer(getattr(np.fft, f"{name}n"), of_all)
    answer(getattr(np.fft, f"{name}2"), of_two)


_answer_several("fft", _fftn)
_answer_several("ifft", _ifftn)
_answer_several("rfft", _rfftn)
_answer_several("irfft", _irfftn)


# --- the order of frequencies --------------------------------------------------------------------


def _shifted(x: Any, axes: Any, sign: int) -> Any:
    if axes is None:
        axes = tuple(range(x.ndim))
    elif not np.iterable(axes):
        axes = (axes,)
    return np.roll(x, [sign * (x.shape[axis] // 2) for axis in axes], tuple(axes))


@implements(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    """``np.fft.fftshift``: frequency 0 to the middle."""
    return _shifted(x, axes, 1)


@implements(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """``np.fft.ifftshift``: frequency 0 back to the front."""
    return _shifted(x, axes, -1)
