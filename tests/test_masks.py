"""A branch that ``np.where`` did not take never turns 0 into NaN, in any mode and of any order."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fungrad as fg

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

X = np.array([-1.5, -0.0, 0.0, 2.0])
ONES = np.ones(2)
R = np.array([[0.0, 0.0], [3.0, 4.0]])

BRANCHES = {
    "log": (lambda x: np.where(x > 0, np.log(x), 0), [0, 0, 0, 0.5], [0, 0, 0, -0.25]),
    "sqrt": (lambda x: np.where(x > 0, np.sqrt(x), 0.0), [0, 0, 0, 8**-0.5], [0, 0, 0, -(32**-0.5) / 2]),
    "quotient": (lambda x: np.where(x != 0, 1 / x, 0), [-4 / 9, 0, 0, -0.25], [-16 / 27, 0, 0, 0.25]),
    "taken where false": (lambda x: np.where(x <= 0, 1.0, np.log(x)), [0, 0, 0, 0.5], [0, 0, 0, -0.25]),
    "power": (lambda x: np.where(x > 0, x**0.5, x), [1, 1, 1, 8**-0.5], [0, 0, 0, -(32**-0.5) / 2]),
    "a chain": (
        lambda x: np.where(x > 1, np.exp(np.log(np.sqrt(x) - 1)) ** 2, 0 * x),
        [0, 0, 0, 1 - 0.5**0.5],
        [0, 0, 0, 32**-0.5],
    ),
    "nested": (
        lambda x: np.where(x > 0, np.where(x > 3, 1 / (x - 2), np.log(x)), np.sqrt(2 - x) ** 2),
        [-1, -1, -1, 0.5],
        [0, 0, 0, -0.25],
    ),
    "maximum": (lambda x: np.maximum(np.log(np.abs(x)), -3.0), [-2 / 3, 0, 0, 0.5], [-4 / 9, 0, 0, -0.25]),
    "clip": (lambda x: np.clip(np.sqrt(np.abs(x)), 0.5, 9), None, None),
    "select": (
        lambda x: np.select([x > 1, x < -1], [np.log(x), np.log(-x)], 0.0),
        [-2 / 3, 0, 0, 0.5],
        [-4 / 9, 0, 0, -0.25],
    ),
    "one logarithm in two choices": (
        lambda x: (lambda l: np.where(x > 0, l, 0) + np.where(x > 1, l * x, 0))(np.log(x)),
        [0, 0, 0, 1.5 + np.log(2)],
        [0, 0, 0, 0.25],
    ),
    "of other shape": (
        lambda x: np.where((x > 0)[:, None], np.log(x)[:, None] * ONES, 0).sum(1),
        [0, 0, 0, 1],
        [0, 0, 0, -0.5],
    ),
    "transposed": (lambda x: np.where(x > 0, np.log(x).reshape(2, 2).T.reshape(4), 0), None, None),
    "stacked": (
        lambda x: np.where(x > 0, np.stack([np.log(x), 1 / x]), 0).sum(0),
        [0, 0, 0, 0.25],
        [0, 0, 0, 0],
    ),
    "cast": (
        lambda x: np.where(x > 0, np.log(x).astype(complex).real, 0),
        [0, 0, 0, 0.5],
        [0, 0, 0, -0.25],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCHES)
def test_no_nan_from_the_other_branch(name):
    f, first, second = BRANCHES[name]
    total = lambda x: np.sum(f(x))
    gradient = fg.grad(total)(X)
    assert np.all(np.isfinite(gradient)), gradient
    curvature = fg.vmap(lambda x: fg.grad(lambda x: np.sum(fg.grad(total)(x)))(x))(X[None])[0]
    if first is not None:
        assert_allclose(gradient, first, rtol=1e-12, atol=1e-13)
        assert_allclose(curvature, second, rtol=1e-12, atol=1e-13)
    rows = np.stack([fg.jvp(total, (X,), (e,))[1] for e in np.eye(4)])
    assert_allclose(rows, gradient, rtol=1e-12, atol=1e-15)
    assert_allclose(fg.hessian(total)(X).sum(0), curvature, rtol=1e-12, atol=1e-15)
    assert_allclose(fg.jit(fg.grad(total))(X), gradient, rtol=0)
    assert_allclose(fg.vmap(fg.grad(total))(np.stack([X, X]))[1], gradient, rtol=0)


def test_extremes_over_an_axis():
    got = fg.grad(lambda x: np.sum(np.max(np.sqrt(x), axis=0)))(R)
    assert_allclose(got, [[0, 0], [0.5 / 3**0.5, 0.25]])


def test_a_parameter_shared_by_all_entries():
    f = lambda scale, x: np.sum(np.where(x > 0, np.log(x * scale) ** 2, 0))
    x = np.array([0.0, 0.0, 2.0])
    assert_allclose(fg.grad(f)(3.0, x), 2 * np.log(6.0) / 3)
    assert_allclose(fg.jvp(lambda s: f(s, x), (3.0,), (1.0,))[1], 2 * np.log(6.0) / 3)


def test_infinite_cotangents_stay_on_their_side():
    pull = fg.vjp(lambda a, b: np.where([True, False], a, b), np.ones(2), np.ones(2))[1]
    a, b = pull(np.full(2, np.inf))
    assert_allclose(a, [np.inf, 0])
    assert_allclose(b, [0, np.inf])


def test_both_branches_of_one_choice_cost_one_selection():
    leaky = lambda x: np.sum(np.where(x > 0, x, 0.1 * x))
    nodes = fg.trace(fg.grad(leaky), X).nodes
    assert [node.primitive.name for node in nodes].count("where") == 1
    assert "add" not in [node.primitive.name for node in nodes]


# Functions with poles, and their slopes.
UNARY = {
    "log": (np.log, lambda v: 1 / v),
    "sqrt": (np.sqrt, lambda v: 0.5 / np.sqrt(v)),
    "reciprocal": (lambda v: 1 / v, lambda v: -1 / v**2),
    "exp": (np.exp, np.exp),
    "square": (np.square, lambda v: 2 * v),
    "cbrt": (np.cbrt, lambda v: 1 / (3 * np.cbrt(v) ** 2)),
    "scale": (lambda v: 0.3 * v, lambda v: 0.3),
    "column": (lambda v: v[:, None].T.reshape(-1), lambda v: 1.0),
    "stack": (lambda v: np.stack([v, -v]).sum(0) + v, lambda v: 1.0),
}
CONDITIONS = {
    "x > 0": lambda v: v > 0,
    "x == 0": lambda v: v == 0,
    "x < 1": lambda v: v < 1,
    "all": lambda v: v == v,
}


@st.composite
def programs(draw, depth=4):
    """Programs of choices and functions with poles, as trees."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return None
    inner = draw(programs(depth=depth - 1))
    if draw(st.booleans()):
        return draw(st.sampled_from(sorted(UNARY))), inner
    condition = draw(st.sampled_from(sorted(CONDITIONS)))
    # Both branches often share what they compute.
    other = draw(st.one_of(programs(depth=depth - 1), st.just(inner), st.just(("scale", inner))))
    return condition, inner, other


def run(program, x):
    """The program in NumPy: both branches of every choice are computed."""
    if program is None:
        return x
    if len(program) == 2:
        return UNARY[program[0]][0](run(program[1], x))
    return np.where(CONDITIONS[program[0]](x), run(program[1], x), run(program[2], x))


def slope_of(program, x):
    """Value and slope at a number; what is not taken is not computed."""
    if program is None:
        return x, np.float64(1.0)
    if len(program) == 3:
        return slope_of(program[1] if CONDITIONS[program[0]](x) else program[2], x)
    value, inner = slope_of(program[1], x)
    function, slope = UNARY[program[0]]
    return function(np.array([value]))[0], slope(value) * inner


@settings(max_examples=300, deadline=None)
@given(
    programs(), st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=4)
)
def test_each_entry_has_the_slope_of_the_branch_it_takes(program, values):
    x = np.array(values)
    gradient = fg.grad(lambda x: np.sum(run(program, x)))(x)
    forward = fg.jvp(lambda x: run(program, x), (x,), (np.ones_like(x),))[1]
    for value, one, other in zip(x, gradient, forward, strict=True):
        _, want = slope_of(program, value)
        if np.isfinite(want):
            assert_allclose([one, other], want, rtol=1e-12, atol=1e-300)


def test_warnings_are_numpys_own():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.grad(lambda x: np.sum(np.where(x > 0, np.square(x), x)))(X)
