"""``fg.ode.odeint`` against SciPy, closed forms and itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import fungrad as fg
from fungrad import errors

A = np.array
TS = np.linspace(0.0, 4.0, 9)


def prey(y: Any, t: Any, a: Any, b: Any) -> Any:
    return {"x": a * y["x"] - b * y["x"] * y["z"], "z": -y["z"] + 0.5 * y["x"] * y["z"] + 0.1 * t}


START = {"x": 2.0, "z": A([1.0])}


def solution(a: Any, b: Any = 0.7, y0: Any = START, ts: Any = TS, **keywords: Any) -> Any:
    def field(y, t, a, b):
        slope = prey({"x": y["x"], "z": y["z"][0]}, t, a, b)
        return {"x": slope["x"], "z": slope["z"][np.newaxis]}

    return fg.ode.odeint(field, y0, ts, a, b, **keywords)


def by_scipy(a: float, b: float, y0: list[float], ts: Any, rtol: float = 1e-12) -> Any:
    def field(t, y):
        slope = prey({"x": y[0], "z": y[1]}, t, a, b)
        return [slope["x"], slope["z"]]

    return solve_ivp(field, ts[[0, -1]], y0, "DOP853", ts, rtol=rtol, atol=1e-12).y


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_it_agrees_with_scipy_to_the_tolerance(tolerance):
    want = by_scipy(1.1, 0.7, [2.0, 1.0], TS)
    got = solution(1.1, rtol=tolerance, atol=tolerance)
    assert got["x"].shape == (9,)
    assert got["z"].shape == (9, 1)
    assert_allclose(got["x"], want[0], atol=30 * tolerance)
    assert_allclose(got["z"][:, 0], want[1], atol=30 * tolerance)
    jitted = fg.jit(lambda a: solution(a, rtol=tolerance, atol=tolerance))(1.1)
    assert_allclose(jitted["x"], got["x"], rtol=1e-13)


@pytest.mark.parametrize("adjoint", [False, True])
def test_gradients(adjoint):
    rng = np.random.default_rng(0)
    matrix, y0 = rng.normal(size=(3, 3)), rng.normal(size=3)
    weights, t1 = rng.normal(size=3), 1.3

    def loss(matrix, y0, t0, t1):
        ts = np.stack([t0, (t0 + t1) / 3, t1])
        ys = fg.ode.odeint(lambda y, t, m: m @ y, y0, ts, matrix, adjoint=adjoint)
        return weights @ ys[-1] + np.sum(ys[1]) + np.sum(ys[0] ** 2)

    def exact(matrix, y0, t0, t1):
        mid = scipy.linalg.expm(matrix * ((t0 + t1) / 3 - t0)) @ y0
        return weights @ scipy.linalg.expm(matrix * (t1 - t0)) @ y0 + np.sum(mid) + np.sum(y0**2)

    primals = [matrix, y0, 0.2, t1]
    assert_allclose(loss(*primals), exact(*primals), rtol=1e-7)
    got = fg.grad(loss, (0, 1, 2, 3))(*primals)
    for i, (gradient, primal) in enumerate(zip(got, primals, strict=True)):
        direction = rng.normal(size=np.shape(primal))
        shift = lambda s, i=i, d=direction: [
            p + s * d if k == i else p for k, p in enumerate(primals)
        ]
        slope = exact(*shift(1e-20j)).imag / 1e-20 if i else None
        if slope is None:
            slope = (exact(*shift(1e-5)) - exact(*shift(-1e-5))) / 2e-5
        assert_allclose(np.sum(gradient * direction), slope, rtol=1e-6)


def test_discrete_gradients_are_exact_and_of_every_order():
    # Loose tolerances: the steps are few and far from exact, but their derivative is exact.
    def loss(a, b):
        return np.sum(solution(a, b, rtol=1e-3, atol=1e-3)["x"] ** 2)

    value, pushed = fg.jvp(loss, (1.1, 0.7), (1.0, 0.0))
    gradient = fg.grad(loss, (0, 1))(1.1, 0.7)
    assert_allclose(pushed, gradient[0], rtol=1e-12)
    assert_allclose(value, loss(1.1, 0.7))
    assert_allclose(fg.jit(fg.grad(loss))(1.1, 0.7), gradient[0], rtol=1e-12)
    second = fg.grad(fg.grad(loss), 1)(1.1, 0.7)
    assert_allclose(fg.grad(fg.grad(loss, 1), 0)(1.1, 0.7), second, rtol=1e-9)
    push = fg.jvp(fg.grad(loss), (1.1, 0.7), (0.0, 1.0))[1]
    assert_allclose(push, second, rtol=1e-9)
    tight = lambda a: np.sum(solution(a, 0.7, rtol=1e-9, atol=1e-9)["x"] ** 2)
    h = 1e-4
    difference = (tight(1.1 + h) - 2 * tight(1.1) + tight(1.1 - h)) / h**2
    assert_allclose(fg.grad(fg.grad(tight))(1.1), difference, rtol=1e-2)


def test_batches():
    a = A([1.0, 1.1, 1.3])
    loss = lambda a: np.sum(solution(a, rtol=1e-3, atol=1e-3)["x"])
    assert_allclose(fg.vmap(loss)(a), [loss(x) for x in a], rtol=1e-9)
    assert_allclose(fg.vmap(fg.grad(loss))(a), [fg.grad(loss)(x) for x in a], rtol=1e-8)
    total = lambda a: np.sum(fg.vmap(loss)(a))
    assert_allclose(fg.grad(total)(a), [fg.grad(loss)(x) for x in a], rtol=1e-8)


def test_what_f_closes_over_is_differentiated():
    decay = lambda k, **kw: fg.ode.odeint(lambda y, t: -k * y, 1.0, A([0.0, 1.0]), **kw)[-1]
    for keywords in ({}, {"adjoint": True}):
        f = lambda k, kw=keywords: decay(k, **kw)
        assert_allclose(fg.grad(f)(2.0), -np.exp(-2.0), rtol=1e-6)
        assert_allclose(fg.hessian(f)(2.0), np.exp(-2.0), rtol=1e-5)


def test_time_goes_either_way():
    back = TS[::-1]
    end = by_scipy(1.1, 0.7, [2.0, 1.0], TS)[:, -1]
    got = solution(1.1, y0={"x": end[0], "z": end[1:]}, ts=back)
    assert_allclose(got["x"][-1], 2.0, rtol=1e-6)
    assert_allclose(got["x"][::-1], by_scipy(1.1, 0.7, [2.0, 1.0], TS)[0], rtol=1e-6)
    there = lambda k, ts: fg.ode.odeint(lambda y, t: k * y, 1.0, ts)[-1]
    for ts in (A([0.0, 1.0]), A([1.0, 0.0]), A([0.0, 1.0, 1.0])):
        span = ts[-1] - ts[0]
        assert_allclose(there(0.5, ts), np.exp(0.5 * span), rtol=1e-7)
        assert_allclose(fg.jit(there)(0.5, ts), np.exp(0.5 * span), rtol=1e-7)
        assert_allclose(fg.grad(there)(0.5, ts), span * np.exp(0.5 * span), rtol=1e-6)
    assert there(0.5, A([3.0])) == 1.0
    assert fg.grad(there)(0.5, A([3.0])) == 0.0
    assert_allclose(there(0.5, [0, 2]), np.e, rtol=1e-7)  # integers are times too


def test_dtypes():
    field = lambda y, t: -y
    y = fg.ode.odeint(field, np.float32(1), A([0.0, 1.0]), rtol=1e-5, atol=1e-5)
    assert y.dtype == np.float32
    assert_allclose(y[-1], np.exp(-1), rtol=1e-4)
    z = fg.ode.odeint(lambda y, t: 1j * y, 1 + 0j, A([0.0, np.pi]))
    assert_allclose(z[-1], -1, atol=1e-6)
    assert fg.ode.odeint(field, 1, A([0.0, 1.0])).dtype == np.float64


def test_a_stage_that_overflows_leaves_no_nan():
    # With the first step of 1e-6 · 10ⁿ, some attempt overshoots into overflow.
    def f(k):
        field = lambda y, t: np.where(t < 1.0, 1e-9 * k, k * np.exp(-50 * y) - np.exp(40 * (y - 2)))
        return fg.ode.odeint(field, 0.0, A([0.0, 3.0]), rtol=1e-6, atol=1e-6)[-1]

    with np.errstate(all="ignore"):
        gradient = fg.grad(f)(2.0)
        h = 1e-5
        assert_allclose(gradient, (f(2.0 + h) - f(2.0 - h)) / (2 * h), rtol=1e-2)


def test_rejected_steps_have_no_derivative():
    # The step that the flat start suggests is far too long for what follows.
    def f(k):
        return fg.ode.odeint(lambda y, t: k * y * y, 1.0, A([0.0, 0.999]), rtol=1e-9)[-1]

    with np.errstate(over="ignore", invalid="ignore"):
        k = 1.0  # y = 1 / (1 - k t)
        assert_allclose(f(k), 1 / (1 - 0.999), rtol=1e-4)
        assert_allclose(fg.grad(f)(k), 0.999 / (1 - 0.999) ** 2, rtol=1e-3)


def raises(call: Any, error: type[Exception], *words: str) -> None:
    with pytest.raises(error) as info:
        call()
    for word in words:
        assert word in str(info.value)


def test_what_can_not_be_followed():
    loose = {"rtol": 1e-3, "atol": 1e-3}
    pole = lambda k, **kw: fg.ode.odeint(lambda y, t: k * y * y, 1.0, A([0.0, 2.0]), **loose, **kw)[
        -1
    ]
    with np.errstate(all="ignore"):
        for call in (pole, fg.jit(pole), fg.grad(pole), fg.jit(fg.grad(pole))):
            raises(lambda call=call: call(1.0), errors.IntegrationError, "pole", "max_steps=")
        raises(lambda: fg.vmap(pole)(A([0.1, 1.0])), errors.IntegrationError)
        assert_allclose(fg.vmap(pole)(A([0.1, 0.2])), [1.25, 1 / 0.6], rtol=1e-2)
    raises(lambda: pole(1.0, max_steps=5), errors.IntegrationError, "5 steps")


def test_bad_input():
    field = lambda y, t: y
    go = lambda ts, y0=1.0, f=field, **kw: lambda: fg.ode.odeint(f, y0, ts, **kw)
    wrong = errors.ArgumentError
    raises(go(A([0.0, 2.0, 1.0])), wrong, "grow or fall")
    raises(go(A([0.0, np.nan])), wrong, "grow or fall")
    raises(go(2.0), wrong, "sequence of times")
    raises(go(np.zeros((2, 2))), wrong, "sequence of times")
    raises(go(np.zeros(0)), wrong, "sequence of times")
    raises(go(A([0.0, 1.0]), rtol=0.0, atol=0.0), wrong, "positive tolerances")
    raises(go(A([0.0, 1.0]), rtol=-1.0), wrong, "positive tolerances")
    raises(go(A([0.0, 1.0]), f=lambda y, t: np.ones(2)), errors.ShapeMismatchError, "dy/dt")
    raises(go(A([0.0, 1.0]), f=lambda y, t: (y, y)), errors.TreeMismatchError, "the result of f")
    raises(go(A([0.0, 1.0]), y0="one"), errors.InputTypeError, "y0")
    raises(
        go(A([0.0, 1.0]), f=lambda y, t: y if t > 0 else -y), errors.ConcretizationError, "fg.cond"
    )


def test_more_bad_input():
    times, wrong = A([0.0, 1.0]), errors.ArgumentError
    go = lambda f=lambda y, t: -y, y0=1.0, **kw: lambda: fg.ode.odeint(f, y0, times, **kw)
    raises(go(f=3), wrong, "f of fg.ode.odeint", "lambda y, t")
    raises(go(rtol="a"), wrong, "rtol", "one number")
    raises(go(atol=A([1e-3, 1e-3])), wrong, "atol", "one number")
    raises(go(max_steps=2.5), wrong, "max_steps=2.5")
    raises(go(max_steps=0), wrong, "max_steps=0")
    # What is imaginary would be lost.
    raises(go(f=lambda y, t: 1j * y), errors.OutputTypeError, "complex slope", "y0.astype(complex)")
    assert_allclose(go(f=lambda y, t: 1j * y, y0=1 + 0j)()[1], np.exp(1j), rtol=1e-7)


def test_times_without_order_are_an_error_when_they_are_traced_too():
    at = lambda ts: fg.ode.odeint(lambda y, t: -y, 1.0, ts)
    total = lambda ts: np.sum(at(ts))
    for call in (fg.jit(at), fg.grad(total), fg.jit(fg.grad(total))):
        for ts in (A([0.0, 1.0, 0.5]), A([1.0, 0.0, 0.5]), A([0.0, np.nan])):
            raises(lambda call=call, ts=ts: call(ts), errors.ArgumentError, "grow or fall")
        call(A([0.0, 1.0, 1.0]))
    rows = A([[0.0, 1.0, 2.0], [0.0, 1.0, 0.5]])
    raises(lambda: fg.vmap(at)(rows), errors.ArgumentError, "grow or fall")
    assert_allclose(fg.vmap(at)(rows[:1]), np.exp(-rows[:1]), rtol=1e-7)


def test_nothing_to_integrate():
    assert fg.ode.odeint(lambda y, t: -y, np.zeros((0, 2)), TS).shape == (9, 0, 2)
    assert fg.ode.odeint(lambda y, t: y, {}, TS) == {}
