"""Running totals, products, segments and differences, call by call."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from tests.ops._ordering_calls import (
    check_batched,
    check_call,
    check_derivatives,
    check_value,
    draw,
)

A = np.array
MASK = A([[True, False, True, True], [True, True, False, True], [False, True, True, True]])
STEPS = A([0.1, 0.5, 0.7, 1.6])

CALLS = {
    "cumsum": lambda x: np.cumsum(x),
    "cumsum axis": lambda x: np.cumsum(x, axis=0),
    "cumsum negative axis": lambda x: np.cumsum(x, -1),
    "cumsum method": lambda x: x.cumsum(1),
    "cumsum ufunc": lambda x: np.add.accumulate(x),
    "cumsum ufunc axis": lambda x: np.add.accumulate(x, axis=1),
    "cumprod": lambda x: np.cumprod(x),
    "cumprod axis": lambda x: np.cumprod(x, axis=-2),
    "cumprod ufunc": lambda x: np.multiply.accumulate(x, 1),
    "cumulative_sum": lambda x: np.cumulative_sum(x, axis=1),
    "cumulative_sum from 0": lambda x: np.cumulative_sum(x, axis=0, include_initial=True),
    "cumulative_prod": lambda x: np.cumulative_prod(x, axis=-1),
    "cumulative_prod from 1": lambda x: np.cumulative_prod(x, axis=1, include_initial=True),
    "maximum.accumulate": lambda x: np.maximum.accumulate(x),
    "maximum.accumulate axis": lambda x: np.maximum.accumulate(x, axis=1),
    "minimum.accumulate": lambda x: np.minimum.accumulate(x, -1),
    "logaddexp.accumulate": lambda x: np.logaddexp.accumulate(x, 1),
    "nancumsum": lambda x: np.nancumsum(x),
    "nancumsum axis": lambda x: np.nancumsum(x, axis=0),
    "nancumprod": lambda x: np.nancumprod(x, axis=1),
    "prod": lambda x: np.prod(x),
    "prod axis": lambda x: np.prod(x, axis=0),
    "prod axes": lambda x: np.prod(x, axis=(1, 0)),
    "prod keepdims": lambda x: np.prod(x, axis=-1, keepdims=True),
    "prod no axis": lambda x: np.prod(x, axis=()),
    "prod method": lambda x: x.prod(axis=1),
    "multiply.reduce": lambda x: np.multiply.reduce(x),
    "multiply.reduce all": lambda x: np.multiply.reduce(x, axis=None),
    "diff": lambda x: np.diff(x),
    "diff axis": lambda x: np.diff(x, axis=0),
    "diff twice": lambda x: np.diff(x, n=2),
    "diff no times": lambda x: np.diff(x, n=0) * 1,
    "diff prepend": lambda x: np.diff(x, prepend=1.5, axis=0),
    "diff append": lambda x: np.diff(x, append=x[:, :2]),
    "diff both": lambda x: np.diff(x, 2, prepend=0.0, append=1.0),
    "ediff1d": lambda x: np.ediff1d(x),
    "ediff1d ends": lambda x: np.ediff1d(x, to_begin=2.0, to_end=[1.0, 3.0]),
    "trapezoid": lambda x: np.trapezoid(x),
    "trapezoid dx": lambda x: np.trapezoid(x, dx=0.3, axis=0),
    "trapezoid x": lambda x: np.trapezoid(x, STEPS),
    "trapezoid x of rank 2": lambda x: np.trapezoid(x, x * x, axis=0),
    "trapezoid x, axis": lambda x: np.trapezoid(x, STEPS[:3], axis=0),
    "gradient": lambda x: np.gradient(x),
    "gradient axis": lambda x: np.gradient(x, axis=1),
    "gradient axes": lambda x: np.gradient(x, 0.5, axis=(0, 1)),
    "gradient edge": lambda x: np.gradient(x, edge_order=2, axis=1),
    "gradient step": lambda x: np.gradient(x, 0.5, 2, edge_order=2),
    "gradient grid": lambda x: np.gradient(x, STEPS, axis=1),
    "gradient grid, edge": lambda x: np.gradient(x, STEPS, axis=-1, edge_order=2),
    "gradient even grid": lambda x: np.gradient(x, A([1, 3, 5, 7]), axis=1),
    "unwrap": lambda x: np.unwrap(x * 3),
    "unwrap axis": lambda x: np.unwrap(x * 3, axis=0),
    "unwrap discont": lambda x: np.unwrap(x * 3, discont=4.0),
    "unwrap period": lambda x: np.unwrap(x, period=1.3),
}
"""Functions of an array of shape (3, 4)."""

TO_ROUNDING = {
    "prod initial": lambda x: np.prod(x, axis=1, initial=2.5),
    "prod where": lambda x: np.prod(x, axis=0, where=MASK),
    "prod where, all": lambda x: np.prod(x, where=MASK, initial=2.0, keepdims=True),
    "reduce where": lambda x: np.multiply.reduce(x, axis=1, where=MASK, keepdims=True),
}
"""The same, but in another order of operations than NumPy's."""

INTEGERS = [name for name in CALLS if "accumulate" not in name and "unwrap" not in name]


@pytest.mark.parametrize("name", CALLS)
def test_call(name):
    check_call(CALLS[name], draw(3, 4), what=name)
    check_value(CALLS[name], draw(3, 4, dtype=np.float32), what=f"{name}, float32")


@pytest.mark.parametrize("name", TO_ROUNDING)
def test_call_to_rounding(name):
    check_call(TO_ROUNDING[name], draw(3, 4), exact=False, what=name)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.bool_])
def test_integers(name, dtype):
    x = (np.abs(draw(3, 4)) * 2).astype(dtype)
    try:
        CALLS[name](x)
    except TypeError:
        with pytest.raises(TypeError):
            fg.jit(CALLS[name])(x)
    else:
        check_value(CALLS[name], x, what=name)


def test_dtype_keyword():
    x = draw(3, 4, dtype=np.float32)
    for f in (np.cumsum, np.cumprod, np.nancumsum, np.nancumprod, np.prod):
        for dtype in (np.float64, np.float32, np.complex128, "f8"):
            check_value(lambda x, f=f, d=dtype: f(x, axis=1, dtype=d), x)
        assert fg.grad(lambda x, f=f: np.sum(f(x, dtype=np.float64)))(x).dtype == np.float32
    check_value(lambda x: np.cumulative_sum(x, axis=1, dtype=np.float64), x)
    check_value(lambda x: np.add.accumulate(x, 1, np.float64), x)
    check_value(lambda x: np.cumsum(x, dtype=np.int16), A([1, 2, 3], np.int8))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (2, 1, 3)])
def test_shapes(shape):
    x = draw(*shape)
    for f in (np.cumsum, np.cumprod, np.nancumsum, np.prod):
        check_value(f, x)
        assert fg.grad(lambda x, f=f: np.sum(f(x)))(x).shape == shape
        for axis in range(-len(shape), len(shape)):
            check_value(lambda x, f=f, a=axis: f(x, axis=a), x)
            assert fg.grad(lambda x, f=f, a=axis: np.sum(f(x, axis=a)))(x).shape == shape
    if len(shape) < 2:
        check_value(lambda x: np.cumulative_sum(x, include_initial=True), x)
        check_value(lambda x: np.cumulative_prod(x), x)


@pytest.mark.parametrize("name", CALLS)
def test_complex(name):
    if "imum" in name or "logaddexp" in name or "unwrap" in name:
        return
    z = draw(3, 4) + 1j * draw(3, 4, seed=1)
    check_value(CALLS[name], z, exact=False, what=name)
    check_derivatives(CALLS[name], z, what=name)


# --- zeros and ties ------------------------------------------------------------------------------


def test_cumulative_product_containing_zeros():
    assert_allclose(fg.grad(lambda x: np.sum(np.cumprod(x)))(A([2.0, 0.0, 3.0])), [1, 8, 0])
    assert_allclose(fg.grad(lambda x: np.sum(np.cumprod(x) ** 2))(A([1.0, 0.0])), [2, 0])
    weighted = lambda x: np.sum(np.cumsum(x, axis=0) * A([[1.0], [10.0]]))
    assert_allclose(fg.grad(weighted)(np.ones((2, 2))), [[11, 11], [10, 10]])
    x = A([[0.0, 2.0, 0.0], [3.0, 0.0, 5.0]])
    for f in (np.cumprod, np.nancumprod, lambda x: np.cumprod(x, axis=1), np.prod):
        check_derivatives(f, x)


def test_product_containing_zeros():
    product = fg.grad(np.prod)
    assert_allclose(product(A([2.0, 0.0, 3.0])), [0, 6, 0], atol=0)
    assert_allclose(product(A([0.0, 0.0, 3.0])), [0, 0, 0], atol=0)
    assert_allclose(fg.hessian(np.prod)(A([0.0, 0.0, 3.0])), [[0, 3, 0], [3, 0, 0], [0, 0, 0]])


def test_product_of_many_small_factors_keeps_its_gradient():
    x = np.full(300, 0.1)
    assert_allclose(fg.grad(np.prod)(x), np.full(300, 1e-299), rtol=1e-10)


@pytest.mark.parametrize("sign", [1, -1])
def test_ties_of_running_extrema_share_as_in_max(sign):
    x = sign * A([1.0, 3.0, 3.0, 2.0, 3.0, 4.0, 4.0])
    running, whole = (
        (np.maximum.accumulate, np.max) if sign == 1 else (np.minimum.accumulate, np.min)
    )
    got = fg.jacobian(running)(x)
    for i in range(len(x)):
        want = np.zeros(len(x))
        want[: i + 1] = fg.grad(whole)(x[: i + 1])
        assert_allclose(got[i], want, atol=1e-15)
    assert_allclose(fg.jacobian(running)(np.zeros(3)), [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])


def test_running_extrema_pass_nan_on():
    x = A([1.0, np.nan, 3.0])
    check_value(np.maximum.accumulate, x)
    assert np.all(np.isfinite(fg.grad(lambda x: np.maximum.accumulate(x)[0])(x)))


def test_running_logaddexp_of_infinities():
    x = A([-np.inf, -np.inf, 0.0, 1.0])
    with np.errstate(invalid="raise"):
        rows = fg.jacobian(np.logaddexp.accumulate)(x)
    assert_allclose(rows[2:], [[0, 0, 1, 0], [0, 0, 1 / (1 + np.e), np.e / (1 + np.e)]])


def test_nan_has_no_influence_on_nancumsum_and_nancumprod():
    x = A([1.0, np.nan, 3.0])
    check_value(np.nancumsum, x)
    check_value(np.nancumprod, x)
    assert_allclose(fg.grad(lambda x: np.sum(np.nancumsum(x)))(x), [3, 0, 1])
    assert_allclose(fg.grad(lambda x: np.sum(np.nancumprod(x)))(x), [5, 0, 1])


# --- segments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [[0, 2, 5], [0, 4, 1, 5, 2, 6, 3, 7], [3], [7, 7, 0], []])
def test_add_reduceat(starts):
    places = A(starts, np.intp)
    check_call(lambda x: np.add.reduceat(x, places), draw(8))
    check_call(lambda x: np.add.reduceat(x, places, axis=1), draw(2, 8))
    check_value(lambda x: np.add.reduceat(x, places, dtype=np.float64), draw(8, dtype=np.float32))
    check_value(lambda x, i: np.add.reduceat(x, i), draw(8), places)


def test_add_reduceat_of_batched_starts():
    x, starts = draw(3, 6), A([[0, 3], [2, 1], [5, 0]])
    want = np.stack([np.add.reduceat(a, i) for a, i in zip(x, starts, strict=True)])
    assert_allclose(fg.vmap(np.add.reduceat)(x, starts), want)
    slope = fg.vmap(lambda x, i: fg.grad(lambda x: np.add.reduceat(x, i)[0] ** 2)(x))(x, starts)
    assert_allclose(slope[0], [2 * np.sum(x[0, :3])] * 3 + [0] * 3)
    assert_allclose(slope[1], [0, 0, 2 * x[1, 2], 0, 0, 0])


# --- differences ---------------------------------------------------------------------------------


def test_traced_grids():
    grid = np.cumsum(np.abs(draw(4, seed=3)) + 0.1)
    check_call(lambda y, x: np.trapezoid(y, x), draw(3, 4), grid)
    for order in (1, 2):
        f = lambda y, x, n=order: np.gradient(y, x, axis=1, edge_order=n)
        check_call(f, draw(3, 4), grid)
    check_call(lambda y, h: np.gradient(y, h, axis=0), draw(3, 4), A(0.7))
    check_call(lambda p, q: np.diff(p, prepend=q), draw(3, 4), A(0.3))


def test_an_even_traced_grid_has_a_derivative_for_each_point():
    y, x = draw(5), np.arange(5.0)
    uneven = lambda y, x: np.gradient(y, x + 1e-9 * np.arange(5) ** 2)
    got = fg.jacobian(lambda x: np.gradient(y, x))(x)
    assert_allclose(got, fg.jacobian(lambda x: uneven(y, x))(x), atol=1e-6)


def test_unwrap_has_the_derivative_of_its_argument():
    x = np.cumsum(np.full(8, 2.5)) % (2 * np.pi)
    assert_allclose(fg.jacobian(np.unwrap)(x), np.eye(8), atol=1e-15)
    check_value(np.unwrap, x)
    check_value(lambda x: np.unwrap(x, period=360), A([0, 200, 10, 190, 370, -180]))
    check_value(lambda x: np.unwrap(x, period=4), A([0, 2, 0, -2, 0, 6, 9], np.int64))
    check_value(lambda x: np.unwrap(x, period=5), A([0, 2, 0, -2, 0, 6, 9], np.int64))


def test_sizes_of_differences():
    for f in (np.diff, np.ediff1d, np.trapezoid):
        for n in (0, 1, 2):
            check_value(f, draw(n))


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.cumsum(x, axis=1), draw(3)),
        (lambda x: np.cumprod(x, axis=-2), draw(3)),
        (lambda x: np.add.accumulate(x), draw()),
        (lambda x: np.add.accumulate(x, 2), draw(3)),
        (lambda x: np.cumulative_sum(x), draw(2, 3)),
        (lambda x: np.prod(x, axis=2), draw(2, 3)),
        (lambda x: np.prod(x, axis=(0, 0)), draw(2, 3)),
        (lambda x: np.diff(x), draw()),
        (lambda x: np.diff(x, -1), draw(3)),
        (lambda x: np.diff(x, prepend=np.ones((2, 2))), draw(3)),
        (lambda x: np.ediff1d(x, to_end=1j), draw(3)),
        (lambda x: np.gradient(x), draw(1)),
        (lambda x: np.gradient(x, edge_order=2), draw(2)),
        (lambda x: np.gradient(x, edge_order=3), draw(9)),
        (lambda x: np.gradient(x, 1.0, 2.0), draw(9)),
        (lambda x: np.gradient(x, np.ones(3)), draw(9)),
        (lambda x: np.gradient(x, np.ones((3, 3))), draw(9)),
        (lambda x: np.trapezoid(x, axis=1), draw(3)),
        (lambda x: np.add.reduceat(x, [[0]]), draw(3)),
        (lambda x: np.add.reduceat(x, [0], axis=1), draw(3)),
    ],
)
def test_errors_are_of_numpys_class(f, x):
    with pytest.raises((ValueError, TypeError, IndexError)) as expected:
        f(x)
    with pytest.raises(expected.type):
        fg.jit(f)(x)


TURNED = {
    "hypot": np.hypot,
    "subtract": np.subtract,
    "divide": np.divide,
    "logaddexp": np.logaddexp,
    "logaddexp2": np.logaddexp2,
    "power": np.power,
    "arctan2": np.arctan2,
    "copysign": np.copysign,
    "fmin": np.fmin,
    "remainder": np.remainder,
}
REDUCED_WRONGLY = ("power", "arctan2")
"""By NumPy itself, on some processors."""


@pytest.mark.parametrize("name", TURNED)
def test_methods_of_any_binary_ufunc(name):
    ufunc, x = TURNED[name], np.abs(draw(3, 4)) + 1.1
    check_call(lambda x: ufunc.accumulate(x), x, what=name)
    check_call(lambda x: ufunc.accumulate(x, axis=-1), x, what=name)
    if name in REDUCED_WRONGLY:
        with pytest.raises(fg.errors.UnsupportedFunctionError, match="accumulate"):
            fg.jit(ufunc.reduce)(x)
        with pytest.raises(fg.errors.UnsupportedFunctionError, match="accumulate"):
            fg.jit(lambda x: ufunc.reduceat(x, [0, 1]))(x)
        return
    check_call(lambda x: ufunc.reduce(x), x, what=name)
    check_call(lambda x: ufunc.reduce(x, axis=1, keepdims=True), x, what=name)
    check_call(lambda x: ufunc.reduceat(x, [0, 2, 1], axis=1), x, what=name)
    if name != "fmin":
        check_call(lambda x: ufunc.reduce(x, initial=2.5), x, what=name)
    if ufunc.identity is not None:
        check_call(lambda x: ufunc.reduce(x, where=MASK), x, what=name)
        check_call(lambda x: ufunc.reduce(x, axis=(0, 1)), x, what=name)
        check_value(lambda x: ufunc.reduce(x, axis=1), np.zeros((2, 0)), what=name)


def test_methods_of_ufuncs_of_integers():
    k = A([[12, 18, 30], [8, 20, 14]])
    for ufunc in (np.gcd, np.lcm, np.bitwise_xor, np.bitwise_or, np.floor_divide, np.right_shift):
        for method in (ufunc.reduce, ufunc.accumulate, lambda x, u=ufunc: u.reduceat(x, [0, 1])):
            check_value(method, k, what=ufunc.__name__)
    check_value(np.logical_xor.reduce, A([[True, False], [True, True]]))


def test_errors_of_ufunc_methods_are_numpys():
    for call in (
        lambda x: np.subtract.reduce(x, axis=(0, 1)),
        lambda x: np.subtract.reduce(x[:, :0], axis=1),
        lambda x: np.hypot.accumulate(x[0, 0]),
        lambda x: np.hypot.reduceat(x, [0, 9]),
        lambda x: np.hypot.reduceat(x, [[0]]),
        lambda x: np.less.reduce(x),
    ):
        with pytest.raises((ValueError, TypeError, IndexError)) as want:
            call(draw(3, 4))
        with pytest.raises(type(want.value)):
            fg.jit(call)(draw(3, 4))
    with pytest.raises(fg.errors.UnsupportedFunctionError, match="no identity"):
        fg.jit(lambda x: np.subtract.reduce(x, where=x > 0, initial=1.0))(draw(3))


def test_cumulative_functions_of_batches():
    for f in (np.cumsum, np.cumprod, np.maximum.accumulate, np.prod, np.diff, np.gradient):
        check_batched(f, draw(5))
        check_batched(fg.grad(lambda x, f=f: np.sum(np.sin(f(x)))), draw(5))


@pytest.mark.parametrize(
    ("shape", "axis"), [((5003,), None), ((300, 41), 0), ((41, 2, 150), (0, 2))]
)
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_products_of_long_arrays(shape, axis, zeros):
    """They are folded; each entry's derivative is the product of all others."""
    x = np.exp(0.01 * np.random.default_rng(zeros).normal(size=shape))
    x.reshape(-1)[[7, 4000][:zeros]] = 0
    weights = np.random.default_rng(1).normal(size=np.shape(np.prod(x, axis=axis)))
    f = lambda x: np.sum(np.prod(x, axis=axis) * weights)
    got = fg.grad(f)(x)
    for at in [(0,) * x.ndim, (-1,) * x.ndim, *np.argwhere(x == 0), *np.argwhere(x > 1)[::997]]:
        others, unit = x.copy(), np.zeros(shape)
        others[tuple(at)], unit[tuple(at)] = 1, 1
        hit = np.prod(np.where(unit == 1, 0, x), axis=axis) != np.prod(others, axis=axis)
        want = np.sum(np.where(hit, np.prod(others, axis=axis) * weights, 0))
        assert_allclose(got[tuple(at)], want, rtol=1e-12)
    assert_allclose(fg.jit(fg.grad(f))(x), got, rtol=1e-14)
    assert fg.grad(f)(x.astype(np.float32)).dtype == np.float32


def test_second_derivatives_of_the_product_of_a_long_array():
    x = np.exp(0.01 * draw(5003))
    v = draw(5003)
    got = fg.jvp(fg.grad(np.prod), (x,), (v,))[1]
    want = np.prod(x) / x * (np.sum(v / x) - v / x)
    assert_allclose(got, want, rtol=1e-10)
