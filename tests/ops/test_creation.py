"""Arrays from traced values: ``like=``, ranges between traced bounds, and questions about dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad.errors import ConcretizationError
from tests._checks import same_bits
from tests.ops._ordering_calls import (
    check_batched,
    check_call,
    check_derivatives,
    check_value,
    draw,
)

A = np.array


def with_like(function, *args, **kwargs):
    """The call with ``like=`` where it is traced, and without where it is NumPy's."""
    return lambda x: function(*[a(x) if callable(a) else a for a in args], **kwargs,
                              **({} if isinstance(x, (np.ndarray, np.generic)) else {"like": x}))  # fmt: skip


ARRAYS = {
    "array": with_like(np.array, lambda x: [x[0], 2 * x[1]]),
    "array of numbers and values": with_like(np.array, lambda x: [[x[0, 0], 1.0], [2, x[1, 2]]]),
    "array of an array": with_like(np.array, lambda x: x),
    "array dtype": with_like(np.array, lambda x: (x[0, 0], 2), dtype=np.complex128),
    "array ndmin": with_like(np.array, lambda x: [x[0, 0]], ndmin=3),
    "array of plain": with_like(np.array, [1.0, 2.0]),
    "asarray": with_like(np.asarray, lambda x: [x[0], np.ones(4)]),
    "asanyarray": with_like(np.asanyarray, lambda x: (x[0], [1, 2, 3, 4])),
    "ascontiguousarray": with_like(np.ascontiguousarray, lambda x: x[0, 0]),
    "asfortranarray": with_like(np.asfortranarray, lambda x: x.T),
    "require": with_like(np.require, lambda x: x, "f8"),
    "full traced": with_like(np.full, (2, 3), lambda x: x[0, 0]),
    "full row": with_like(np.full, (2, 4), lambda x: x[0]),
    "full_like traced": lambda x: np.full_like(x, x[0, 0]),
    "full_like row": lambda x: np.full_like(x, [1.0, 2.0, -0.0, 4.0]),
    "full_like -0.0": lambda x: np.full_like(x, -0.0 * np.abs(x[0])),
    "full_like shape": lambda x: np.full_like(x, 7, shape=(2,), dtype=np.int32),
    "zeros_like": lambda x: np.zeros_like(x, dtype=int),
    "ones_like": lambda x: np.ones_like(x[0], shape=3) * x[0, 0],
}
CONSTANTS = {
    "zeros": with_like(np.zeros, (2, 3)),
    "ones": with_like(np.ones, 3, dtype=np.float32),
    "full": with_like(np.full, (2,), 3),
    "eye": with_like(np.eye, 3, 4, k=1),
    "identity": with_like(np.identity, 3),
    "tri": with_like(np.tri, 3),
    "arange": with_like(np.arange, 2, 9, 3),
    "fromfunction": with_like(np.fromfunction, lambda x: lambda i, j: i + j, (2, 3)),
    "fromiter": with_like(np.fromiter, lambda x: iter([1.0, 2.0]), "f8"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    check_call(ARRAYS[name], draw(3, 4), what=name)
    check_value(ARRAYS[name], draw(3, 4, dtype=np.float32), what=name)
    check_value(ARRAYS[name], np.arange(12).reshape(3, 4), what=name)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name):
    check_value(CONSTANTS[name], np.ones(2), what=name)
    f = lambda x: np.sum(CONSTANTS[name](x)) * x[0]
    assert_allclose(fg.grad(f)(np.ones(2)), [np.sum(CONSTANTS[name](np.ones(2))), 0])


def test_traced_sizes_and_bounds():
    like = lambda x: {} if isinstance(x, (int, float, np.ndarray, np.generic)) else {"like": x}
    for f in (lambda n: np.arange(n, **like(n)), lambda n: np.zeros((n, 2), **like(n)),
              lambda n: np.eye(n, **like(n)), lambda n: np.arange(1, n, 2, **like(n))):  # fmt: skip
        for n in (3, 5):
            same_bits(fg.jit(f)(n), f(n), str(n))
    with pytest.raises(ConcretizationError):
        fg.grad(lambda x: np.sum(np.arange(0.0, x, 0.5, like=x)))(2.0)
    with pytest.raises(ConcretizationError):
        fg.vmap(lambda n: np.eye(n, like=n))(A([1, 2]))


RANGES = {
    "linspace": lambda a, b: np.linspace(a, b),
    "linspace num": lambda a, b: np.linspace(a, b, 5),
    "linspace open": lambda a, b: np.linspace(a, b, 5, endpoint=False),
    "linspace step": lambda a, b: np.linspace(a, b, 4, retstep=True),
    "linspace of one": lambda a, b: np.linspace(a, b, 1),
    "linspace of none": lambda a, b: np.linspace(a, b, 0),
    "linspace axis": lambda a, b: np.linspace(a, A([1.0, 2.0, 3.0]) * b, 4, axis=1),
    "linspace last axis": lambda a, b: np.linspace(
        A([[1.0], [2.0]]) * a, A([1.0, 2.0]) * b, 3, axis=-1
    ),
    "linspace from number": lambda a, b: np.linspace(0, b, 7) * a,
    "linspace to number": lambda a, b: np.linspace(a, -2.5, 7) * b,
    "linspace zero step": lambda a, b: np.linspace(A([1.0, 0.0]) * a, A([1.0, 2.0]) * a, 6) * b,
    "linspace to list": lambda a, b: np.linspace(a, [1.0, 2.0], 3) * b,
    "logspace": lambda a, b: np.logspace(a, b, 5),
    "logspace base": lambda a, b: np.logspace(a, 2.0, 4, base=b),
    "logspace bases": lambda a, b: np.logspace(a, 1.0, 3, base=b * A([2.0, 3.0]), axis=-1),
    "geomspace": lambda a, b: np.geomspace(a, b, 5),
    "geomspace open": lambda a, b: np.geomspace(a, b, 5, endpoint=False),
    "geomspace negative": lambda a, b: np.geomspace(-a, -b, 4),
    "geomspace axis": lambda a, b: np.geomspace(A([1.0, 2.0]) * a, b, 4, axis=1),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name):
    a, b = np.float64(0.3), np.float64(1.7)
    check_value(RANGES[name], a, b, exact="space b" not in name, what=name)
    check_value(
        RANGES[name],
        np.float32(0.3),
        np.float32(1.7),
        exact="log" not in name and "geom" not in name,
        what=name,
    )
    check_derivatives(RANGES[name], a, b, what=name)
    check_batched(lambda a, b: RANGES[name](np.abs(a), np.abs(b) + 0.1), a, b, what=name)


def test_ranges_of_other_dtypes():
    for dtype in (int, np.float32, complex):
        f = lambda a, b, d=dtype: np.linspace(a, b, 6, dtype=d)
        check_value(f, np.float64(-2.5), np.float64(7.3))
    check_value(lambda a, b: np.linspace(a, b, 5), np.int64(1), np.int64(8))
    check_value(lambda a, b: np.linspace(a, b, 5), np.float32(1), np.float64(8))
    check_value(lambda a, b: np.linspace(a, b, 5), 1 + 2j, 3.0)
    check_value(lambda a: np.linspace(a, 2.0, 5), np.float32(1))
    check_value(lambda a, b: np.geomspace(a, b, 4, dtype=np.float32), np.float64(1), np.float64(8))
    check_value(lambda a, b: np.geomspace(a, b, 4), 1j, 8j, exact=False)
    for f in (lambda a: np.linspace(a, 1, -1), lambda a: np.geomspace(a - a, 1.0)):
        with pytest.raises(ValueError, match="non-negative|zero"):
            fg.jit(f)(2.0)


def test_ends_are_exact():
    stop = 0.1 + 0.2
    got = fg.jit(lambda a, b: np.linspace(a, b, 11))(0.1, stop)
    assert got[0] == 0.1
    assert got[-1] == stop
    assert_allclose(fg.jacobian(lambda b: np.linspace(0.0, b, 3))(2.0), [0, 0.5, 1])


def test_questions_about_dtypes():
    x, i = np.ones(2, np.float32), A([300, 2])
    for f in (
        lambda x, i: np.result_type(x, i), lambda x, i: np.result_type(x, 1.0),
        lambda x, i: np.common_type(x, i), lambda x, i: np.min_scalar_type(i),
        lambda x, i: np.min_scalar_type(i[0]), lambda x, i: np.shape(x), lambda x, i: np.ndim(x),
        lambda x, i: np.size(x), lambda x, i: np.size(x, 0), lambda x, i: np.iscomplexobj(x),
        lambda x, i: np.isrealobj(i),
    ):  # fmt: skip
        answered = []
        fg.jit(lambda x, i, f=f, log=answered: (log.append(f(x, i)), x)[1])(x, i)
        assert answered == [f(x, i)]
