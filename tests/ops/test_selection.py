"""Choosing entries, cases, functions along axes, and polynomials, call by call."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad.errors import ConcretizationError, TracerConversionError, UnsupportedFunctionError
from tests._checks import same_bits
from tests.ops._ordering_calls import (
    check_batched,
    check_call,
    check_derivatives,
    check_value,
    draw,
)

A = np.array
PLACES = A([[2, 0, 1, 0], [1, 1, 0, 2]])

CALLS = {
    "take": lambda x: np.take(x, [3, 0, 11]),
    "take axis": lambda x: np.take(x, A([[1, 0], [2, -1]]), axis=1),
    "take int": lambda x: np.take(x, 1, axis=0),
    "take method": lambda x: x.take([0, 0, 2], axis=-2),
    "take wrap": lambda x: np.take(x, [-5, 14, 30], mode="wrap"),
    "take clip": lambda x: np.take(x, [-5, 1, 30], axis=1, mode="clip"),
    "take nothing": lambda x: np.take(x, np.zeros(0, int), axis=0),
    "take_along_axis": lambda x: np.take_along_axis(x, PLACES, axis=0),
    "take_along_axis negative": lambda x: np.take_along_axis(x, A([[3], [0], [-1]]), axis=-1),
    "take_along_axis broadcast": lambda x: np.take_along_axis(x, A([[3, 0]]), axis=1),
    "take_along_axis flat": lambda x: np.take_along_axis(x, A([7, 7, 1]), axis=None),
    "compress": lambda x: np.compress([False, True, True], x, axis=0),
    "compress flat": lambda x: np.compress([True, False, True], x),
    "extract": lambda x: np.extract(np.arange(12).reshape(3, 4) % 3 == 0, x),
    "choose": lambda x: np.choose([[0, 1, 2, 0]], [x, 2 * x, x[0]]),
    "choose wrap": lambda x: np.choose(A([-1, 4, 2, 0]), [x, 2 * x], mode="wrap"),
    "choose clip": lambda x: np.choose(A([-1, 4, 2, 0]), (x, 3.0), mode="clip"),
    "choose one": lambda x: np.choose(A([0, 0, 0, 0]), [x]),
    "select": lambda x: np.select([x > 1, x > 0], [x**2, 3 * x]),
    "select default": lambda x: np.select([x > 1, A([[True, False, True, False]])], [x[0], 2.0], x),
    "select numbers": lambda x: np.select([x > 1, x > 0], [1.5, 2.0], -1.0),
    "apply_along_axis": lambda x: np.apply_along_axis(lambda v: v * v[0], 0, x),
    "apply_along_axis to number": lambda x: np.apply_along_axis(np.sum, 1, x),
    "apply_along_axis to matrix": lambda x: np.apply_along_axis(lambda v: np.outer(v, v), 0, x),
    "apply_along_axis arguments": lambda x: np.apply_along_axis(
        lambda v, p, q=1: v**p + q, -1, x, 2, q=3
    ),
    "apply_over_axes": lambda x: np.apply_over_axes(np.sum, x, [0, 1]),
    "apply_over_axes negative": lambda x: np.apply_over_axes(np.sum, x, -1),
}
CONCRETE = {
    "piecewise": lambda x: np.piecewise(x, [x < 0, x >= 0], [lambda v: -v, lambda v: v * v]),
    "piecewise otherwise": lambda x: np.piecewise(x, [x < 0], [np.exp, np.sin]),
    "piecewise numbers": lambda x: np.piecewise(x, [x < -1, x > 1], [-1.0, 1.0, lambda v: v]),
    "piecewise gaps": lambda x: np.piecewise(x, [x > 1], [np.sqrt]),
    "piecewise overlap": lambda x: np.piecewise(x, [x > 0, x > 1], [np.sqrt, lambda v: 2 * v]),
    "piecewise mask": lambda x: np.piecewise(np.ravel(x), np.ravel(x) > 0, [np.log]),
    "piecewise arguments": lambda x: np.piecewise(x, [x > 0], [lambda v, p, q: v**p * q], 3, q=2.0),
    "piecewise of the whole": lambda x: np.piecewise(x, [x > 0], [lambda v: v - v.mean()]),
    "compress traced": lambda x: np.compress(x[0] > 0, x, axis=1),
    "extract traced": lambda x: np.extract(x > 0, x),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls(name):
    x = draw(3, 4)
    check_call(CALLS[name], x, exact="apply" not in name, what=name)
    for dtype in (np.float32, np.int64, np.complex64):
        if np.dtype(dtype).kind == "c" and "select" in name:
            continue
        check_value(CALLS[name], (x * 3).astype(dtype), exact="apply" not in name, what=name)


@pytest.mark.parametrize("name", CONCRETE)
def test_calls_that_ask_for_values(name):
    x = draw(3, 4)
    check_value(CONCRETE[name], x, what=name)
    check_value(CONCRETE[name], x.astype(np.float32), what=name)
    check_derivatives(CONCRETE[name], x, what=name)
    if "piecewise" in name and "whole" not in name:
        check_value(CONCRETE[name], np.float64(1.5), what=name)
        jitted = fg.jit(CONCRETE[name])
        for y in (x, -x, 2 * x):  # other values, other conditions
            same_bits(jitted(y), CONCRETE[name](y), name)
    with pytest.raises(ConcretizationError, match="np.where"):
        fg.vmap(CONCRETE[name])(np.stack([x, x]))


def test_traced_indices():
    x, i = draw(3, 4), A([2, 0, -1])
    table = np.arange(12.0).reshape(3, 4)
    for f in (
        lambda x, i: np.take(x, i, axis=0), lambda x, i: np.take(x, i),
        lambda x, i: np.take(x, i, axis=1, mode="wrap"), lambda x, i: np.take(x, i + 2, mode="clip"),
        lambda x, i: x.take(i[0]), lambda x, i: np.take(x, i[:2, None], axis=-1),
        lambda x, i: np.take_along_axis(x, i[:, None], 1),
        lambda x, i: np.take_along_axis(table, i[:, None], 1) * x,
        lambda x, i: np.choose(i % 3, [x[0, :3], x[1, :3], 2.0]),
        lambda x, i: np.choose(i % 3, (x[:, :1], x[1, :3], x[:, 1:]), mode="wrap"),
    ):  # fmt: skip
        check_value(f, x, i)
        check_derivatives(lambda x, f=f: f(x, i), x)
        rows = [A([2, 0, -1]), A([0, 0, 0]), A([-2, 1, 2])]
        same_bits(
            fg.vmap(f, (None, 0))(x, np.stack(rows)), np.stack([f(x, r) for r in rows]), "vmap"
        )
        both = np.stack([x, 2 * x, -x])
        want = np.stack([f(v, r) for v, r in zip(both, rows, strict=True)])
        same_bits(fg.vmap(f)(both, np.stack(rows)), want, "vmap")


def test_take_errors():
    x = draw(3, 4)
    for f, error in (
        (lambda x: np.take(x, [12]), IndexError),
        (lambda x: np.take(x, 3, axis=0), IndexError),
        (lambda x: np.take(x, A([0.5])), TypeError),
        (lambda x: np.choose(A([0.5]), [x]), TypeError),
        (lambda x: np.take(x, [0], axis=2), ValueError),
        (lambda x: np.take(x, [0], mode="nonsense"), ValueError),
        (lambda x: np.take(x[:0], [0], axis=0), IndexError),
        (lambda x: np.take_along_axis(x, A([0]), axis=0), ValueError),
        (lambda x: np.take_along_axis(x, A([[0.5]]), axis=0), IndexError),
        (lambda x: np.take_along_axis(x, PLACES, axis=None), ValueError),
        (lambda x: np.compress([[True]], x), ValueError),
        (lambda x: np.compress([False] * 4 + [True], x, axis=1), IndexError),
        (lambda x: np.choose([0, 2], [x[0, :2], x[1, :2]]), ValueError),
        (lambda x: np.select([x > 0], [x, x]), ValueError),
        (lambda x: np.select([], []), ValueError),
        (lambda x: np.select([x], [x]), TypeError),
        (lambda x: np.piecewise(x, [x > 0], [1, 2, 3]), ValueError),
        (lambda x: np.apply_along_axis(np.sum, 0, x[:, :0]), ValueError),
        (lambda x: np.apply_over_axes(lambda a, axis: a.sum(), x, [0]), ValueError),
    ):
        with pytest.raises(error):
            f(x)
        with pytest.raises(error):
            fg.jit(f)(x)


def test_where_nothing_leaks():
    """A branch that is not taken may be infinite."""
    f = lambda x: np.sum(np.piecewise(x, [x > 0], [np.log, 0.0]))
    assert_allclose(fg.grad(f)(A([0.0, 2.0, -1.0])), [0, 0.5, 0])
    g = lambda x: np.sum(np.select([x > 0], [x], 0.0) * np.choose((x > 0) * 1, [0.0, 1 + x]))
    assert_allclose(fg.grad(g)(A([0.0, 2.0, -1.0])), [0, 5, 0])


def test_vectorize_is_refused_clearly():
    with pytest.raises(TracerConversionError, match=r"np\.vectorize.*fg\.vmap"):
        fg.grad(lambda x: np.vectorize(lambda v: v * 2)(x).sum())(np.ones(3))


POLYNOMIALS = {
    "polyval": lambda p, q: np.polyval(p, q),
    "polyval of numbers": lambda p, q: np.polyval([1, -2.0, 3], p) + q[0],
    "polyval at a number": lambda p, q: np.polyval(p, 2.0) * q,
    "polyadd": lambda p, q: np.polyadd(p, q),
    "polyadd, plain": lambda p, q: np.polyadd([1.0, 2.0, 3.0, 4.0, 5.0], p) * q[0],
    "polysub": lambda p, q: np.polysub(q, p),
    "polyder": lambda p, q: np.polyder(p) * q[0],
    "polyder twice": lambda p, q: np.polyder(p, 2) * q[:2],
    "polyder thrice": lambda p, q: np.polyder(q, 4) * p[0],
    "polyint": lambda p, q: np.polyint(p) * q[0],
    "polyint constant": lambda p, q: np.polyint(p, 2, k=q[:2]),
    "polyint number": lambda p, q: np.polyint(p, m=2, k=3.0) * q[0],
    "poly": lambda p, q: np.poly(p) * q[0],
}


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials(name):
    p, q = draw(4, seed=1), draw(3, seed=2)
    check_value(POLYNOMIALS[name], p, q, exact=name != "poly", what=name)
    check_derivatives(POLYNOMIALS[name], p, q, what=name)
    check_batched(POLYNOMIALS[name], p, q, what=name)


def test_products_and_quotients_of_polynomials():
    p, q = draw(5, seed=1), draw(3, seed=2)
    check_value(lambda p, q: np.polymul(p, q), p, q, exact=False)
    check_derivatives(lambda p, q: np.polymul(p, q), p, q)
    check_value(lambda p, q: np.polymul(p, q), A([0.0, 0.0, 2.0]), A([0.0]), exact=False)
    check_value(lambda p, q: np.polydiv(p, q), p, q, exact=False)
    check_derivatives(lambda p, q: np.polydiv(p, q), p, q)
    check_value(lambda p, q: np.polydiv(q, p), p, q, exact=False)
    check_value(lambda p: np.polydiv(np.convolve(p, [1.0, 2.0]), p)[0], q, exact=False)


def test_roots():
    p = A([2.0, -3.0, -11.0, 6.0])  # 2 (x - 3) (x + 2) (x - 1/2)
    check_value(lambda p: np.roots(p), p, exact=False)
    check_value(lambda p: np.roots(p), A([0.0, 1.0, -3.0, 2.0, 0.0]), exact=False)
    check_value(lambda p: np.roots(p), A([0.0, 0.0]))
    check_value(lambda p: np.roots(p), A([5.0]))
    # p(r) = 0, so dr/dp_k = -r^(n - k) / p'(r)
    got = fg.jacobian(lambda p: np.roots(p))(p)
    for r, row in zip(np.roots(p), got, strict=True):
        assert_allclose(row, -(r ** A([3, 2, 1, 0])) / np.polyval(np.polyder(p), r), rtol=1e-11)
    with pytest.raises(ValueError, match="rank-1"):
        fg.jit(lambda p: np.roots(p))(np.ones((2, 2)))


def test_poly_of_a_matrix_and_of_conjugates():
    m = A([[2.0, 1.0], [1.0, 3.0]])
    check_value(lambda m: np.poly(m), m, exact=False)
    check_derivatives(lambda m: np.poly(m), m)
    check_value(lambda z: np.poly(z), A([1 + 2j, 1 - 2j, 0.5]), exact=False)
    check_value(lambda z: np.poly(z), A([1 + 2j, 1 + 3j]), exact=False)
    check_value(lambda z: np.poly(z), A([1, 2, 3]), exact=False)


def test_polyfit():
    x, y, w = np.linspace(-1, 2, 7), draw(7), np.abs(draw(7, seed=3)) + 0.2
    for f in (
        lambda x, y, w: np.polyfit(x, y, 2), lambda x, y, w: np.polyfit(x, y, 1, w=w),
        lambda x, y, w: np.polyfit(x, np.stack([y, 2 * y], 1), 2, w=w),
        lambda x, y, w: np.polyfit(x, y, 1, cov=True),
        lambda x, y, w: np.polyfit(x, y, 1, w=w, cov="unscaled"),
        lambda x, y, w: np.polyfit(x, np.stack([y, y**2], 1), 1, cov=True),
    ):  # fmt: skip
        got, want = fg.jit(f)(x, y, w), f(x, y, w)
        for one, other in zip(got, want, strict=True):
            assert_allclose(one, other, rtol=1e-11, atol=1e-12)
        check_derivatives(f, x, y, w, rtol=1e-6)
    with pytest.raises(UnsupportedFunctionError, match="lstsq"):
        fg.jit(lambda x: np.polyfit(x, y, 1, full=True))(x)
    for f in (lambda x: np.polyfit(x[:, None], y, 1), lambda x: np.polyfit(x, y[:3], 1)):
        with pytest.raises(TypeError):
            fg.jit(f)(x)


def test_poly1d_is_refused_by_name():
    with pytest.raises(UnsupportedFunctionError, match="coeffs"):
        fg.jit(lambda p: np.polyadd(np.poly1d([1.0, 2.0]), p))(np.ones(2))
