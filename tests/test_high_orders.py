"""n-th derivatives by n nested transforms: exact, and with graphs that grow polynomially in n."""

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
