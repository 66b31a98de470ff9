"""Solutions of equations: what they are, and their derivatives against closed forms."""

from __future__ import annotations

import sys

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose as close

import fungrad as fg
from fungrad.custom import _linear
from fungrad.errors import (
    ArgumentError,
    ComplexOutputError,
    ConcretizationError,
    ConvergenceError,
    NonDifferentiableInputError,
    OutputTypeError,
    ShapeMismatchError,
    TreeMismatchError,
)
from fungrad.testing import check_grads

SOLVERS = {
    "root": lambda f, x0, *args: fg.root(
        lambda x, *args: fg.tree.map(np.subtract, f(x, *args), x), x0, *args
    ),
    "fixed_point": fg.fixed_point,
    "plain iteration": lambda f, x0, *args: fg.fixed_point(f, x0, *args, memory=0),
}


@pytest.fixture(params=SOLVERS)
def solve(request):
    """``solve(f, x0, *args)`` for ``x = f(x, *args)``."""
    return SOLVERS[request.param]


def contraction(size, seed=0):
    """A matrix by which repeated multiplication shrinks, and a vector."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(size, size)) * 0.4 / np.sqrt(size), rng.normal(size=size)


# --- values and derivatives against closed forms ----------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
def test_all_orders_and_modes_of_a_square_root(wrap):
    square_root = lambda a: fg.root(lambda x: x * x - a, 1.0)
    g = h = square_root
    exact, power = 1.0, 0.5
    for _ in range(5):
        want = exact * 2.0**power
        close(wrap(g)(2.0), want, rtol=1e-11)
        close(wrap(h)(2.0), want, rtol=1e-11)
        close(wrap(fg.vmap(g))(np.array([2.0, 2.0])), [want, want], rtol=1e-11)
        exact, power = exact * power, power - 1
        g = fg.grad(g)
        h = lambda a, h=h: fg.jvp(h, (a,), (1.0,))[1]


def test_a_linear_equation(solve):
    a, b = contraction(4)
    inverse = np.linalg.inv(np.eye(4) - a)
    f = lambda a, b: solve(lambda x, b: a @ x + b, np.zeros(4), b)  # a by closure, b by argument
    x = inverse @ b
    close(f(a, b), x, rtol=1e-10)
    close(fg.jacobian(f, 1)(a, b), inverse, rtol=1e-9, atol=1e-11)
    close(fg.jacobian(f)(a, b), np.einsum("ij,k->ijk", inverse, x), rtol=1e-9, atol=1e-10)
    ct = np.arange(4.0)
    second = fg.hessian(lambda a: ct @ f(a, b))(a)
    left, right = ct @ inverse, inverse
    want = np.einsum("i,jk,l->ijkl", left, right, x)
    close(second, want + want.transpose(2, 3, 0, 1), rtol=1e-8, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(0, 1000), st.sampled_from(list(SOLVERS.values())))
def test_nonlinear_equations(size, seed, solve):
    a, b = contraction(size, seed)
    f = lambda a, b: solve(lambda x: np.tanh(a @ x) + b, np.zeros(size))
    x = f(a, b)
    close(x, np.tanh(a @ x) + b, atol=1e-10)
    slope = np.diag(1 - np.tanh(a @ x) ** 2)
    jacobian = np.linalg.inv(np.eye(size) - slope @ a)
    close(fg.jacobian(f, 1)(a, b), jacobian, rtol=1e-8, atol=1e-9)
    ct = np.random.default_rng(seed).normal(size=size)
    close(fg.grad(lambda a: ct @ f(a, b))(a), np.outer(ct @ jacobian @ slope, x), atol=1e-8)
    check_grads(f, (a, b), order=2)


def test_batches_are_stacks(solve):
    a, b = contraction(3)
    f = lambda a, b: solve(lambda x: np.tanh(a @ x) + b, np.zeros(3))
    many = np.stack([b, b * 2, -b])
    close(fg.vmap(f, (None, 0))(a, many), [f(a, b) for b in many], rtol=0)
    close(fg.jit(fg.vmap(f, (None, 0)))(a, many), [f(a, b) for b in many], rtol=1e-10)
    loss = lambda a, b: np.sum(f(a, b) ** 2)
    each = [fg.grad(loss)(a, b) for b in many]
    close(fg.vmap(fg.grad(loss), (None, 0))(a, many), each, rtol=1e-9)
    close(fg.grad(lambda a: np.sum(fg.vmap(loss, (None, 0))(a, many)))(a), np.sum(each, 0))
    twice = fg.vmap(fg.vmap(loss, (0, None)), (None, 0))
    close(twice(np.stack([a, a / 2]), many), [[loss(a, b), loss(a / 2, b)] for b in many])


def test_trees_and_dtypes(solve):
    def f(x, p):
        return {"u": np.cos(x["v"][0]) * p["k"], "v": (x["u"] * np.float32(0.3), x["v"][1] / 2 + 1)}

    x0 = {"u": np.zeros(2), "v": (np.zeros(2, np.float32), 0.0)}
    p = {"k": np.array([0.5, 0.8]), "unused": "text"}
    x = solve(f, x0, p)
    again = f(x, p)
    for got, want in zip(fg.tree.leaves(x), fg.tree.leaves(again), strict=True):
        close(got, want, atol=2e-5)
    assert [leaf.dtype for leaf in fg.tree.leaves(x)] == [np.float64, np.float32, np.float64]
    assert np.shape(x["v"][1]) == ()
    gradient = fg.grad(lambda k: np.sum(solve(f, x0, {**p, "k": k})["u"]))(p["k"])
    v = 0.3 * x["u"]
    close(gradient, np.cos(v) / (1 + 0.3 * np.sin(v) * p["k"]), rtol=2e-5)
    assert fg.fixed_point(lambda x: np.cos(x), np.float32(0)).dtype == np.float32


def test_the_start_has_no_derivative(solve):
    f = lambda x0, a: solve(lambda x: np.cos(x) * a, x0)
    assert float(fg.grad(f)(0.3, 0.5)) == 0.0
    assert np.all(fg.jacobian(f)(np.array([0.3, 0.4]), 0.5) == 0)
    x = f(0.0, 0.5)
    # Through the start, the same number may still be a parameter.
    close(fg.grad(lambda a: f(a, a))(0.5), np.cos(x) / (1 + 0.5 * np.sin(x)), rtol=1e-10)


def test_indices_and_options_among_the_arguments(solve):
    f = lambda a, i, how: solve(lambda x, a, i, how: how(x) * a[i], 0.1, a, i, how)
    a = np.array([0.2, 0.5])
    x = float(f(a, 1, np.cos))
    want = [0, np.cos(x) / (1 + 0.5 * np.sin(x))]
    close(fg.grad(f)(a, 1, np.cos), want, rtol=1e-9)
    close(fg.jit(fg.grad(lambda a, i: f(a, i, np.cos)))(a, np.int64(1)), want, rtol=1e-9)


def test_python_conditions_on_parameters_not_on_the_unknown(solve):
    f = lambda a: solve(lambda x: np.cos(x) * a if a > 0 else x * 0 + a, 0.1)
    close(fg.grad(f)(-2.0), 1.0)
    with pytest.raises(ConcretizationError, match=r"solves for, so it has no value.*np\.where"):
        solve(lambda x: np.cos(x) if x > 0 else x, 0.1)


def test_equations_inside_of_equations():
    # x = cos(y) / 2 with y = sin(x + y) / 3 + a: by Newton in two unknowns, and one in the other.
    inner = lambda x, a: fg.fixed_point(lambda y: np.sin(x + y) / 3 + a, 0.0)
    nested = lambda a: fg.root(lambda x: x - np.cos(inner(x, a)) / 2, 0.0)

    def joint(a):
        def f(z):
            return np.stack([z[0] - np.cos(z[1]) / 2, z[1] - np.sin(z[0] + z[1]) / 3 - a])

        return fg.root(f, np.zeros(2))[0]

    close(nested(0.4), joint(0.4), rtol=1e-10)
    close(fg.grad(nested)(0.4), fg.grad(joint)(0.4), rtol=1e-9)
    close(fg.grad(fg.grad(nested))(0.4), fg.grad(fg.grad(joint))(0.4), rtol=1e-8)


def test_a_minimum_by_the_root_of_a_gradient():
    # argmin of (x - a)² + log(1 + eˣ), and how it moves with a.
    loss = lambda x, a: (x - a) ** 2 + np.logaddexp(0, x)
    minimum = lambda a: fg.root(fg.grad(loss), 0.0, a)
    x = minimum(0.7)
    s = 1 / (1 + np.exp(-x))
    close(2 * (x - 0.7) + s, 0, atol=1e-12)
    close(fg.grad(minimum)(0.7), 2 / (2 + s * (1 - s)), rtol=1e-10)


# --- nothing is unrolled ---------------------------------------------------------------------


def test_the_program_does_not_grow_with_the_steps():
    def sizes(rate):
        f = lambda a: fg.fixed_point(lambda x: rate * x + a, 0.0, memory=0, max_steps=100_000)
        close(f(1.0), 1 / (1 - rate), rtol=1e-8)
        close(fg.grad(f)(1.0), 1 / (1 - rate), rtol=1e-8)
        return len(fg.trace(fg.grad(f), 1.0).nodes)

    assert sizes(0.1) == sizes(0.999) < 60


def test_the_solution_is_found_once_for_value_and_gradient():
    calls = []
    record = lambda x: calls.append(1) or 0.0
    spec = fg.ShapeDtypeStruct(())

    def f(a):
        step = lambda x: np.cos(x) * a + fg.stop_gradient(fg.pure_callback(record, spec, x))
        return fg.fixed_point(step, 0.0)

    f(0.5)
    alone = len(calls)
    value, slope = fg.value_and_grad(f)(0.5)
    close(slope, np.cos(value) / (1 + 0.5 * np.sin(value)), rtol=1e-9)
    assert len(calls) <= 2 * alone + 3


def test_the_same_equation_is_the_same_graph():
    f = lambda a: fg.root(lambda x: x * x - a, 1.0)
    assert fg.trace(f, 2.0) is fg.trace(f, 2.0)


def test_acceleration_takes_fewer_steps():
    def steps(memory):
        calls = []
        spec = fg.ShapeDtypeStruct(())
        count = lambda x: calls.append(1) or 0.0
        a, b = contraction(8, 3)
        a = a * 0.95 / np.max(np.abs(np.linalg.eigvals(a)))
        f = lambda x: a @ x + b + fg.pure_callback(count, spec, x)
        x = fg.fixed_point(f, np.zeros(8), memory=memory)
        close(x, np.linalg.solve(np.eye(8) - a, b), rtol=1e-8)
        return len(calls)

    assert steps(8) < steps(0) / 3


# --- many unknowns ---------------------------------------------------------------------------

N = _linear.DENSE + 20


def large(solver="fixed_point"):
    a, b = contraction(N)
    f = lambda a, b: SOLVERS[solver](lambda x: np.tanh(a @ x) + b, np.zeros(N))
    return f, a, b


@pytest.mark.parametrize("scipy", [True, False], ids=["scipy", "no scipy"])
@pytest.mark.parametrize("solver", ["root", "fixed_point"])
def test_many_unknowns(solver, scipy, monkeypatch):
    if not scipy:
        monkeypatch.setitem(sys.modules, "scipy.sparse.linalg", None)
    f, a, b = large(solver)
    x = f(a, b)
    close(x, np.tanh(a @ x) + b, atol=1e-10)
    slope = 1 - np.tanh(a @ x) ** 2
    multiplier = np.linalg.solve((np.eye(N) - slope[:, None] * a).T, 2 * x)
    loss = lambda a, b: np.sum(f(a, b) ** 2)
    got_a, got_b = fg.grad(loss, (0, 1))(a, b)
    close(got_b, multiplier, rtol=1e-8, atol=1e-9)
    close(got_a, np.outer(multiplier * slope, x), rtol=1e-7, atol=1e-8)
    if scipy:
        v = np.random.default_rng(1).normal(size=N)
        close(fg.jvp(lambda b: loss(a, b), (b,), (v,))[1], multiplier @ v, rtol=1e-8)
        h = 1e-5
        ahead, behind = (fg.grad(loss, 1)(a, b + s * v) for s in (h, -h))
        second = fg.grad(lambda b: fg.grad(loss, 1)(a, b) @ v)(b)
        close(second, (ahead - behind) / (2 * h), rtol=1e-5, atol=1e-6)
        many = np.stack([b, 2 * b])
        batched = fg.vmap(fg.grad(loss, 1), (None, 0))(a, many)
        close(batched, [fg.grad(loss, 1)(a, b) for b in many], rtol=1e-8, atol=1e-10)


def test_the_matrix_is_formed_where_products_do_not_suffice(monkeypatch):
    # A cyclic shift: GMRES makes no progress before as many steps as there are unknowns.
    f = lambda b: fg.root(lambda x: np.roll(x, 1) * 2 - b, np.ones(N))
    b = np.arange(N, dtype=float)
    close(f(b), np.roll(b, -1) / 2)
    want = fg.vjp(lambda b: np.roll(b, -1) / 2, b)[1](b)[0]
    _, pull = fg.vjp(f, b)
    close(pull(b)[0], want, rtol=1e-12)
    monkeypatch.setattr(_linear, "LARGEST", 10)
    with pytest.raises(ConvergenceError, match=rf"linear system of {N} unknowns.*conditioned"):
        pull(b)
    with pytest.raises(ConvergenceError, match="root did not converge"):
        f(b)


def test_a_cotangent_that_is_not_finite_gives_nan():
    f, a, b = large()
    with np.errstate(invalid="ignore"):
        assert np.all(np.isnan(fg.vjp(lambda b: f(a, b), b)[1](np.full(N, np.nan))[0]))


# --- where there is no solution, or it is hard to find ------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
def test_no_solution(wrap):
    with pytest.raises(ConvergenceError, match=r"root did not converge in \d+ steps: the residual"):
        wrap(lambda a: fg.root(lambda x: x * x + a, 1.0))(1.0)
    with pytest.raises(ConvergenceError, match=r"fixed_point did not converge in 7 steps"):
        wrap(lambda a: fg.fixed_point(lambda x: x + a, 1.0, max_steps=7))(1.0)
    with pytest.raises(ConvergenceError, match=r"not finite.*write: another x0"):
        wrap(lambda a: fg.root(lambda x: np.log(x) + a, -1.0))(1.0)
    with pytest.raises(ConvergenceError, match="fixed_point"):
        wrap(lambda a: fg.fixed_point(lambda x: np.exp(x) + a, 1.0))(1.0)
    # A failure leaves nothing behind.
    close(wrap(lambda a: fg.root(lambda x: x * x - a, 1.0))(4.0), 2.0)


@pytest.mark.parametrize("memory", [0, 5])
def test_iterates_that_overflow(memory):
    far = lambda x: np.stack([x[0] * x[0] * 1e100, -x[1] * x[0] * 1e80 - 1])
    with pytest.raises(ConvergenceError, match="fixed_point did not converge"):
        fg.fixed_point(far, np.array([1e90, 1e90]), memory=memory)


def test_far_starts():
    close(fg.root(lambda x: np.arctan(x), 20.0), 0.0, atol=1e-12)  # Newton alone diverges
    close(fg.root(lambda x: x**2 - 4, 0.0 + 1e-8), 2.0)
    close(fg.root(lambda x: np.stack([x[0] ** 2 - 4, x[1]]), np.array([1.0, 0.0])), [2.0, 0.0])
    # The Jacobian is singular where it starts, in one direction.
    close(fg.root(lambda x: np.stack([x[0] - 1, x[1] ** 2]), np.array([5.0, 0.0])), [1.0, 0.0])
    with pytest.raises(ConvergenceError):
        fg.root(lambda x: x**2 - 4, 0.0)
    close(fg.root(lambda x: (x - 1) ** 2, 3.0), 1.0, atol=1e-6)
    close(fg.fixed_point(lambda x: np.cos(3 * x) / 2, 0.3, memory=3), 0.3, atol=0.1)


def test_tiny_solutions_and_double_ones():
    close(fg.root(lambda x: x * x - 1e-30, 1e-10), 1e-15)
    close(fg.root(lambda x: x * x, 1.0), 0.0, atol=1e-14)
    close(fg.root(lambda x: 1e-200 * (x - 3), 1.0), 3.0)
    close(fg.root(lambda x: 1e200 * (x * x - 9), 1.0), 3.0)


def test_single_precision_and_tolerances():
    for dtype, bound in ((np.float32, 1e-5), (np.float64, 1e-11)):
        x = fg.fixed_point(np.cos, dtype(0.5))
        assert x.dtype == dtype
        assert abs(x - 0.7390851332151607) < bound
        assert abs(fg.root(lambda x: np.cos(x) - x, dtype(0.5)) - 0.7390851332151607) < bound
    assert abs(fg.fixed_point(np.cos, 0.5, tol=0.1, memory=0) - 0.7390851332151607) > 1e-4


def test_a_singular_jacobian_at_the_solution_has_no_derivative():
    f = lambda a: fg.root(lambda x: x**3 - a, 0.0)
    assert float(f(0.0)) == 0.0
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        fg.grad(f)(0.0)


def test_no_unknowns():
    assert fg.root(lambda x: x, np.zeros(0)).shape == (0,)
    assert fg.grad(lambda a: np.sum(fg.fixed_point(lambda x: x * a, np.zeros((0, 2)))))(1.0) == 0.0


# --- mistakes --------------------------------------------------------------------------------


@attrs.frozen
class Pair:
    a: float
    b: float


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fg.root(np.cos, 1), NonDifferentiableInputError, r"x0 is 1; write: 1\.0 for 1"),
        (lambda: fg.root(np.cos, 1j), NonDifferentiableInputError, "imaginary parts"),
        (lambda: fg.root(np.cos, Pair(1.0, "no")), NonDifferentiableInputError, r"x0\.b is 'no'"),
        (lambda: fg.root(np.cos, None), ArgumentError, "x0 without numbers"),
        (lambda: fg.root(lambda x: x[:2], np.ones(3)), ShapeMismatchError, "2 numbers for 3"),
        (lambda: fg.root(lambda x: "no", 1.0), OutputTypeError, "returned a str"),
        (lambda: fg.root(lambda x: x * 1j, 1.0), ComplexOutputError, r"write: np\.stack\(\[np\.real"),
        (lambda: fg.root(np.cos, 1.0, tol=0.0), ArgumentError, r"tol=0\.0"),
        (lambda: fg.root(np.cos, 1.0, max_steps=0), ArgumentError, "max_steps=0"),
        (lambda: fg.fixed_point(np.cos, 1.0, memory=-1), ArgumentError, "memory=-1"),
        (lambda: fg.fixed_point(lambda x: (x, x), 1.0), TreeMismatchError, "function of fixed_point"),
        (lambda: fg.fixed_point(lambda x: np.sum(x["a"]), {"a": np.ones(2)}), TreeMismatchError, "x0"),
        (lambda: fg.fixed_point(lambda x: {"a": np.sum(x["a"])}, {"a": np.ones(2)}),
         ShapeMismatchError, r"shape \(\) for x\['a'\], which has shape \(2,\)"),
    ],
)  # fmt: skip
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()
