"""``np.fft`` in full, against NumPy itself."""

from __future__ import annotations

import numpy as np
import pytest

import fungrad as fg
from tests.ops._linear_calls import check, check_value, normal

NORMS = (None, "backward", "ortho", "forward")
ONE = {name: getattr(np.fft, name) for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")}
SEVERAL = {
    name: getattr(np.fft, name)
    for name in ("fft2", "ifft2", "fftn", "ifftn", "rfft2", "irfft2", "rfftn", "irfftn")
}
TAKES_COMPLEX = {"fft", "ifft", "irfft", "hfft", "fft2", "ifft2", "fftn", "ifftn", "irfft2",
                 "irfftn"}  # fmt: skip


def kinds(name):
    return (float, complex) if name in TAKES_COMPLEX else (float,)


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("n", [None, 1, 2, 3, 4, 5, 6, 9])
def test_one_axis(name, n):
    function = ONE[name]
    for norm, dtype in zip(NORMS * 2, kinds(name) * 4, strict=False):
        check(lambda x, norm=norm: function(x, n, norm=norm), normal(5, dtype=dtype), order=1)
    for dtype in kinds(name):
        check(
            lambda x: function(x, n, axis=0), normal(4, 2, dtype=dtype), what=f"{name} of {dtype}"
        )
        check(lambda x: function(x, n=n, axis=-2), normal(2, 4, 1, dtype=dtype), order=1)


@pytest.mark.parametrize("name", SEVERAL)
def test_several_axes(name):
    function = SEVERAL[name]
    calls = [
        lambda x: function(x),
        lambda x: function(x, norm="ortho"),
        lambda x: function(x, s=(3, 4), axes=(0, 2), norm="forward"),
        lambda x: function(x, (2, 5), (-1, -2)),
        lambda x: function(x, s=(-1, 6), axes=(1, 2)),
        lambda x: function(x, axes=(1,)),
        lambda x: function(x, axes=(2, 2)),
    ]
    for dtype in kinds(name):
        for call in calls:
            check(call, normal(2, 3, 4, dtype=dtype), what=name, order=1)
        check(calls[0], normal(3, 3, dtype=dtype), what=name)


@pytest.mark.parametrize("name", [*ONE, *SEVERAL])
@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int64", "float16", "float32", "float64", "complex64", "complex128"]
)
def test_dtypes(name, dtype):
    function = {**ONE, **SEVERAL}[name]
    x = (np.arange(24).reshape(4, 6) % 5).astype(dtype)
    if np.dtype(dtype).kind == "c" and name not in TAKES_COMPLEX:
        with pytest.raises(TypeError):
            fg.jit(function)(x)
    else:
        check_value(function, x, what=f"{name} of {dtype}")


@pytest.mark.parametrize("function", [np.fft.fftshift, np.fft.ifftshift])
@pytest.mark.parametrize("axes", [None, 0, -1, (0,), (1, 0), [1]])
def test_shifts(function, axes):
    check(lambda x: function(x, axes), normal(3, 4), order=1)
    check_value(lambda x: function(x, axes=axes), np.arange(15).reshape(3, 5))


def test_round_trips_have_unit_derivatives():
    x = normal(7)
    identity = lambda x: np.fft.irfft(np.fft.rfft(x), 7)
    np.testing.assert_allclose(fg.jacobian(identity)(x), np.eye(7), atol=1e-15)
    np.testing.assert_allclose(fg.jacobian(lambda x: np.fft.ifft(np.fft.fft(x)).real)(x), np.eye(7),
                               atol=1e-15)  # fmt: skip


def test_parseval():
    x = normal(8)
    energy = lambda x: np.sum(np.abs(np.fft.fft(x, norm="ortho")) ** 2)
    np.testing.assert_allclose(fg.grad(energy)(x), 2 * x, rtol=1e-14)
    half = lambda x: np.sum(np.abs(np.fft.rfft(x)[1:-1]) ** 2) / 4  # both halves: 8 · |x̂|² / 8
    total = lambda x: half(x) + (np.sum(x) ** 2 + np.sum(x * (-1.0) ** np.arange(8)) ** 2) / 8
    np.testing.assert_allclose(fg.grad(total)(x), 2 * x, rtol=1e-13)


def test_empty_stacks():
    check(lambda x: np.fft.fft(x), np.zeros((0, 4)))
    check(lambda x: np.fft.rfft(x), np.zeros((0, 4)))
    check(lambda x: np.fft.irfft(x), np.zeros((0, 4)))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: np.fft.fft(x, norm="unit"), ValueError),
        (lambda x: np.fft.hfft(x, norm="unit"), ValueError),
        (lambda x: np.fft.fft(x, 0), ValueError),
        (lambda x: np.fft.fft(x[:0]), ValueError),
        (lambda x: np.fft.irfft(x[:1]), ValueError),
        (lambda x: np.fft.fft(x, axis=1), IndexError),
        (lambda x: np.fft.fft(x[0]), IndexError),
        (lambda x: np.fft.fftn(x, s=(2, 2), axes=(0,)), ValueError),
        (lambda x: np.fft.rfft(x * 1j), TypeError),
    ],
)
def test_refuses_what_numpy_refuses(call, error):
    with pytest.raises(error):
        call(np.ones(3))
    with pytest.raises(error):
        fg.jit(call)(np.ones(3))
