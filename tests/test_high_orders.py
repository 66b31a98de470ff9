"""n-th derivatives by n nested transforms: exact, and with graphs that grow polynomially in n."""

import tracemalloc

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad.errors import CotangentError
from fungrad.extend import ZERO, elementwise

ORDERS = 10
FUNCTIONS = {
    "tanh": (np.tanh, mpmath.tanh),
    "exp sin": (lambda x: np.exp(np.sin(x)), lambda x: mpmath.exp(mpmath.sin(x))),
    "1/(1 + x²)": (lambda x: 1 / (1 + x**2), lambda x: 1 / (1 + x**2)),
    "rational": (
        lambda x: (x**3 - 2 * x + 1) / (x * x + 3),
        lambda x: (x**3 - 2 * x + 1) / (x * x + 3),
    ),
    "sqrt": (lambda x: np.sqrt(1 + x * x), lambda x: mpmath.sqrt(1 + x * x)),
    "softplus": (
        lambda x: np.log(1 + np.exp(x)),
        lambda x: mpmath.log(1 + mpmath.exp(x)),
    ),
    "power": (lambda x: (1 + x * x) ** -1.5, lambda x: (1 + x * x) ** mpmath.mpf(-1.5)),
}
TRANSFORMS = {
    "grad": fg.grad,
    "derivative": fg.derivative,
    "jvp": lambda f: lambda x: fg.jvp(f, (x,), (1.0,))[1],
    "jacfwd": fg.jacfwd,
}


@pytest.mark.parametrize("transform", ["grad", "derivative"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_of_all_orders(name, transform):
    f, exact = FUNCTIONS[name]
    points = (-1.3, 0.0, 0.4, 2.0)
    with mpmath.workdps(60):
        series = [mpmath.taylor(exact, mpmath.mpf(x), ORDERS) for x in points]
    for order in range(1, ORDERS + 1):
        f = TRANSFORMS[transform](f)
        for x, coefficients in zip(points, series, strict=True):
            want = float(coefficients[order] * mpmath.factorial(order))
            scale = max(
                float(abs(c) * mpmath.factorial(k)) for k, c in enumerate(coefficients[: order + 1])
            )
            assert_allclose(f(x), want, rtol=1e-11, atol=1e-13 * scale)
    assert_allclose(fg.jit(f)(x), f(x), rtol=1e-13)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_graphs_grow_polynomially(name, transform):
    f, sizes = FUNCTIONS[name][0], []
    for _ in range(ORDERS):
        f = TRANSFORMS[transform](f)
        sizes.append(len(fg.trace(f, 0.4).nodes))
    assert sizes[9] <= 500
    assert sizes[9] <= 2**3 * sizes[4], sizes  # no more than cubic; it were 2⁵ if they doubled
    steps = np.diff(sizes)
    assert np.all(np.diff(steps, n=2) <= 10), sizes


def test_derivatives_of_arrays_grow_polynomially():
    f, sizes = FUNCTIONS["exp sin"][0], []
    for _ in range(ORDERS):
        f = fg.derivative(f)
        sizes.append(len(fg.trace(f, np.ones(3)).nodes))
    assert sizes[9] <= 2**3 * sizes[4], sizes


def test_mixed_modes_of_high_order():
    """∂⁴/∂x²∂y² by all ways to nest."""
    f = lambda x, y: np.exp(np.sin(x) * y) / (1 + x * x)
    with mpmath.workdps(40):
        g = lambda x, y: mpmath.exp(mpmath.sin(x) * y) / (1 + x * x)
        want = float(mpmath.diff(g, (mpmath.mpf(0.7), mpmath.mpf(-0.4)), (2, 2)))
    for first in TRANSFORMS.values():
        for second in TRANSFORMS.values():
            of_y = lambda x, y, first=first, second=second: second(first(lambda y: f(x, y)))(y)
            mixed = first(second(lambda x, of_y=of_y: of_y(x, -0.4)))
            assert_allclose(mixed(0.7), want, rtol=1e-11)


CLOSED = {
    "tanh": (np.tanh, mpmath.tanh, 0),
    "sigmoid": (fg.nn.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), 1e-16),
    "tan": (np.tan, mpmath.tan, 0),
    "arctan": (np.arctan, mpmath.atan, 0),
    "silu": (fg.nn.silu, lambda x: x / (1 + mpmath.exp(-x)), 0),
    "gelu": (
        lambda x: fg.nn.gelu(x, approximate=False),
        lambda x: x * mpmath.ncdf(x),
        0,
    ),
}
"""Functions whose derivatives of all orders are one operation; 1 - 2 y cancels near 0."""


def nested(f, order, transform=fg.derivative):
    for _ in range(order):
        f = transform(f)
    return f


def exact(function, x, order):
    """The derivative, and its change by one rounding of ``x``."""
    with mpmath.workdps(60):
        series = mpmath.taylor(function, mpmath.mpf(float(x)), order + 1)
        value, change = (series[k] * mpmath.factorial(k) for k in (order, order + 1))
        return float(value), float(abs(change * x)) * np.finfo(float).eps


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("name", CLOSED)
def test_closed_forms_are_accurate_everywhere(name, order):
    f, function, absolute = CLOSED[name]
    x = np.array(
        [-30.0, -20.0, -8.0, -3.1, -1.4, -0.5, -0.01, 0.0, 1e-5, 0.3, 0.9, 1.45, 5.0, 14.0]
    )
    if name == "tanh":  # 1 - y² is exact in absolute terms only, and the rest relative to that
        x = x[np.abs(x) < 4]
    if name == "gelu":  # where mpmath's differences are 0
        x = x[np.abs(x) < 10]
    got = nested(f, order)(x)
    pairs = np.array([exact(function, one, order) for one in x])
    slopes = np.array([exact(mpmath.tanh, one, 1)[0] if name == "tanh" else 1.0 for one in x])
    want, change = pairs.T
    scale = np.abs(want) * 1e-15 * order * (1 + 0.1 / slopes) + 8 * change
    # Between the zeros of a derivative its size is that of its greatest term.
    middle = np.where(np.abs(x) < 4, np.abs(want).max() if name != "tan" else 0, 0) * 1e-15
    assert np.all(np.abs(got - want) <= scale + middle + absolute * np.abs(want).max()), name
    np.testing.assert_array_equal(fg.jit(nested(f, order))(x), got)


@pytest.mark.parametrize("order", range(1, 13))
def test_saturated_derivatives_are_as_exact_as_the_slope(order):
    """Far out, each order multiplies by ∓2 y, and so has the relative error of the first one."""
    x = np.array([-18.0, -12.0, -7.0, 7.0, 12.0, 18.0])
    slope = fg.derivative(np.tanh)(x)
    assert_allclose(nested(np.tanh, order)(x), slope * (-2 * np.sign(x)) ** (order - 1), rtol=1e-2)
    with mpmath.workdps(40):
        for one, s in zip(x, slope, strict=True):
            y = mpmath.sign(one) * mpmath.sqrt(1 - mpmath.mpf(s))
            at = mpmath.atanh(y)
            want = mpmath.taylor(mpmath.tanh, at, order)[order] * mpmath.factorial(order)
            assert_allclose(nested(np.tanh, order)(one), float(want), rtol=3e-15)


def operations(f, *args):
    return fg.source(f, *args).count(" = np.")


@pytest.mark.parametrize(("order", "most"), [(1, 3), (2, 5), (4, 8), (6, 10), (8, 11), (12, 16)])
def test_derivatives_of_tanh_are_one_polynomial(order, most):
    """Two operations for every other order, as by Horner's scheme by hand."""
    x = np.linspace(-2, 2, 7)
    assert operations(nested(np.tanh, order), x) <= most
    assert operations(nested(np.tan, order), x) <= most
    assert len(fg.trace(nested(np.tanh, order), x).nodes) <= order + 2  # but for products with 1


@pytest.mark.parametrize("name", CLOSED)
def test_all_ways_to_nest_give_the_same_closed_form(name):
    f, x = CLOSED[name][0], np.array([-1.3, 0.2, 0.7])
    summed = lambda f: lambda x: np.sum(f(x))
    by_grad = lambda f: fg.grad(summed(f))
    by_hvp = lambda f: lambda x: fg.hvp(summed(f), (x,), (np.ones_like(x),))
    by_tangent = lambda f: lambda x: fg.jvp(f, (x,), (np.ones_like(x),))[1]
    by_vmap = lambda f: fg.vmap(fg.grad(lambda x: f(x[None])[0]))
    by_loop = lambda f: (
        lambda x: fg.scan(lambda c, x: (c, fg.grad(lambda x: f(x[None])[0])(x)), 0, x)[1]
    )
    ways = [fg.derivative, by_grad, by_tangent, by_vmap, by_loop]
    want = nested(f, 3)(x)
    for first in ways:
        for second in ways:
            for third in ways:
                assert_allclose(third(second(first(f)))(x), want, rtol=1e-13)
    fourth = nested(f, 4)(x)
    assert_allclose(by_hvp(nested(f, 2))(x), fourth, rtol=1e-13)
    assert operations(fg.grad(summed(fg.jit(by_grad(f)))), x) <= 16


def test_closed_forms_of_other_dtypes():
    narrow = nested(np.tanh, 4)(np.float32([-2.0, 0.1, 3.0]))
    assert narrow.dtype == np.float32
    assert_allclose(narrow, nested(np.tanh, 4)(np.array([-2.0, 0.1, 3.0])), rtol=1e-5)
    z = np.array([0.3 + 0.4j, -1.0 + 0.2j])
    with mpmath.workdps(30):
        want = [complex(mpmath.diff(mpmath.tanh, mpmath.mpc(one), 3)) for one in z]
    holomorphic = lambda f: fg.derivative(f, holomorphic=True)
    assert_allclose(nested(np.tanh, 3, holomorphic)(z), want, rtol=1e-13)


def test_closed_forms_under_masks_and_in_compositions():
    x = np.array([-0.7, 0.4, 3.0])
    masked = lambda x: np.where(x > 1, 2.0, np.tanh(x) / np.where(x > 1, 0.0, 1.0))
    with np.errstate(all="ignore"):
        assert_allclose(nested(masked, 3)(x), [*nested(np.tanh, 3)(x)[:2], 0.0], rtol=1e-13)
    inner = lambda x: np.tanh(fg.nn.sigmoid(x * x) * np.tan(x / 3))
    exact_inner = lambda x: mpmath.tanh(mpmath.tan(x / 3) / (1 + mpmath.exp(-x * x)))
    assert_allclose(nested(inner, 5)(0.6), exact(exact_inner, 0.6, 5)[0], rtol=1e-12)


def test_loops_keep_the_values_of_functions_not_their_operands():
    """A closed form is of the operand; what its pullback reads is the value that the loop carries."""
    n, length = 1000, 50
    x = np.full(n, 0.1)

    def loop(x):
        step = lambda h, _: (np.square(np.tanh(np.sin(h))), None)
        return np.sum(fg.scan(step, x, None, length=length)[0])

    gradient = fg.jit(fg.grad(loop))
    gradient(x)
    gradient(x)
    tracemalloc.start()
    gradient(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * n * length * x.itemsize  # h and tanh(sin(h)), not sin(h) too


def test_a_rule_for_reverse_mode_only_serves_numbers_too():
    clipped = elementwise(
        lambda x: 3.0 * x,
        ZERO,
        vjp=lambda ct, y, x: (np.clip(3.0 * ct, -1.0, 1.0),),
        name="tests_clipped_slope",
        spellings=(),
    )
    assert fg.grad(lambda x: 5.0 * clipped(x))(2.0) == 1.0
    with pytest.raises(CotangentError, match="forward mode"):
        fg.derivative(clipped)(2.0)
