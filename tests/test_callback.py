"""Opaque code inside of programs: when it runs, on what, and what may come back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose as close

import fungrad as fg
from fungrad.errors import (
    ArgumentError,
    CallbackError,
    ConcretizationError,
    CotangentError,
    TreeMismatchError,
    UnsupportedFunctionError,
)

X = np.array([0.3, -1.2, 2.0])
SCALAR = fg.ShapeDtypeStruct(())


def opaque_sine(x, calls=None, **keywords):
    """A sine that no tracer can enter."""

    def sine(x):
        if calls is not None:
            calls.append(np.shape(x))
        assert isinstance(x, (np.ndarray, np.generic, float))
        return np.sin(x)

    return fg.pure_callback(sine, x, x, **keywords)


def test_it_runs_with_the_program():
    calls = []
    f = fg.jit(lambda x: opaque_sine(x, calls) + 1)
    assert calls == []
    for n in range(1, 4):
        close(f(X), np.sin(X) + 1)
        assert calls == [(3,)] * n
    assert opaque_sine(X, calls).tolist() == np.sin(X).tolist()
    assert len(calls) == 4


def test_equal_calls_are_one_and_unused_ones_none():
    calls = []
    record = lambda x: calls.append(1) or np.sin(x)
    f = fg.jit(lambda x: fg.pure_callback(record, x, x) + fg.pure_callback(record, x, x))
    close(f(X), 2 * np.sin(X))
    assert len(calls) == 1
    g = fg.jit(lambda x: (fg.pure_callback(record, x, x), x)[1])
    close(g(X), X)
    assert len(calls) == 1


def test_it_is_never_folded_although_its_arguments_are_constants():
    counter = iter(range(10))
    f = fg.jit(lambda x: fg.pure_callback(lambda c: float(next(counter)), SCALAR, x * 0 + 2.0))
    assert [float(f(1.0)) for _ in range(3)] == [0.0, 1.0, 2.0]


def test_trees_options_and_several_results():
    def solve(p, mode, scale, b=None):
        assert mode == "lower"
        assert type(scale) is float
        return {"x": np.linalg.solve(p["a"], b) * scale, "info": (np.int64(7), 1.5)}

    spec = {"x": X, "info": (fg.ShapeDtypeStruct((), np.int64), SCALAR)}
    f = lambda a, b: fg.pure_callback(solve, spec, {"a": a}, "lower", 2.0, b)
    a = np.eye(3) + 0.1
    for call in (f, fg.jit(f), fg.jit(f)):
        out = call(a, X)
        close(out["x"], 2 * np.linalg.solve(a, X))
        assert out["info"] == (7, 1.5)
        assert np.result_type(out["info"][0]) == np.int64


def test_its_arrays_are_read_only_and_its_results_nobody_elses():
    def writes(x):
        x[0] = 7.0
        return x

    with pytest.raises(ValueError, match="read-only"):
        fg.jit(lambda x: fg.pure_callback(writes, x, x))(X.copy())
    with pytest.raises(ValueError, match="read-only"):
        fg.pure_callback(writes, X, X.copy())
    buffer = np.zeros(3)

    def reuses(x):
        buffer[:] = x
        return buffer

    f = fg.jit(lambda x: (fg.pure_callback(reuses, x, x), fg.pure_callback(reuses, x, x * 2)))
    for _ in range(3):
        close(f(X), [X, 2 * X])
    same = fg.jit(lambda x: fg.pure_callback(lambda x: x, x, x))(X)
    assert not np.shares_memory(same, X)
    assert same.flags.writeable


def test_exceptions_pass_unchanged_and_leave_nothing_behind():
    error = KeyError("mine")
    fail = [True]

    def sometimes(x):
        if fail[0]:
            raise error
        return np.sin(x)

    f = fg.jit(lambda x: fg.pure_callback(sometimes, x, x))
    for _ in range(2):
        with pytest.raises(KeyError) as caught:
            f(X)
        assert caught.value is error
    fail[0] = False
    close(f(X), np.sin(X))
    close(f(X), np.sin(X))


def test_python_conditions_on_its_result():
    f = lambda x: x * 2 if opaque_sine(x) > 0 else x * 3
    assert [float(fg.grad(f)(x)) for x in (1.0, -1.0)] == [2.0, 3.0]
    assert [float(fg.jit(f)(x)) for x in (1.0, -1.0)] == [2.0, -3.0]
    with pytest.raises(ConcretizationError, match="under vmap"):
        fg.vmap(f)(X)
    with pytest.raises(ConcretizationError, match="its derivative would be lost"):
        fg.grad(lambda x: math.exp(opaque_sine(x)) * x)(1.0)


# --- batches ---------------------------------------------------------------------------------


def test_vmap_calls_it_for_each_example():
    calls = []
    weighted = lambda x, w: calls.append((np.shape(x), np.shape(w))) or np.sin(x) * w
    f = lambda x, w: fg.pure_callback(weighted, SCALAR, x, w)
    w = np.array([1.0, 10.0])
    close(fg.vmap(f, (0, None))(X, 2.0), np.sin(X) * 2)
    assert calls == [((), ())] * 3
    both = fg.vmap(fg.vmap(f, (None, 0)), (0, None))
    close(both(X, w), np.sin(X)[:, None] * w)
    close(fg.vmap(fg.vmap(f, (0, None)), (None, 0))(X, w), np.sin(X) * w[:, None])
    close(fg.jit(both)(X, w), np.sin(X)[:, None] * w)
    assert fg.vmap(f, (0, None))(np.zeros(0), 2.0).shape == (0,)


def test_vmap_calls_a_vectorized_one_once():
    calls = []
    weighted = lambda x, w, k: calls.append((np.shape(x), np.shape(w))) or np.sin(x) * w * k
    f = lambda x, w: fg.pure_callback(weighted, SCALAR, x, w, 2, vectorized=True)
    w = np.array([1.0, 10.0])
    close(fg.vmap(f, (0, None))(X, 2.0), np.sin(X) * 4)
    assert calls == [((3,), (3,))]
    close(fg.vmap(fg.vmap(f, (None, 0)), (0, None))(X, w), 2 * np.sin(X)[:, None] * w)
    assert calls[1:] == [((3, 2), (3, 2))]
    wrong = lambda x: fg.pure_callback(np.sum, SCALAR, x, vectorized=True)
    with pytest.raises(CallbackError, match=r"float64\[\], but .*float64\[3\].*leading axis of ex"):
        fg.vmap(wrong)(X)


# --- derivatives -----------------------------------------------------------------------------


def test_without_a_rule_there_is_no_derivative():
    for derive in (fg.grad(opaque_sine), fg.jit(fg.grad(opaque_sine))):
        with pytest.raises(UnsupportedFunctionError, match=r"nothing is known of sine.*vjp=rule"):
            derive(1.0)
    with pytest.raises(UnsupportedFunctionError, match="nothing is known of sine"):
        fg.jvp(opaque_sine, (1.0,), (1.0,))
    assert float(fg.grad(lambda x: x * fg.stop_gradient(opaque_sine(x)))(1.0)) == np.sin(1.0)


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
def test_with_a_rule_all_modes_and_orders_work(wrap):
    def sine(x):
        return opaque_sine(x, vjp=lambda ct, y, x: (ct * cosine(x),))

    def cosine(x):
        return fg.pure_callback(np.cos, x, x, vjp=lambda ct, y, x: (-ct * sine(x),))

    g = sine
    for want in (np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)):
        close(wrap(g)(0.4), want(0.4))
        close(wrap(fg.vmap(g))(X), want(X))
        g = fg.grad(g)
    close(wrap(lambda x: fg.jvp(sine, (x,), (np.ones(3),)))(X)[1], np.cos(X))
    close(wrap(fg.jacobian(sine))(X), np.diag(np.cos(X)))


def test_the_rule_may_use_the_result_which_is_not_computed_again():
    calls = []
    exp = lambda x: calls.append(1) or np.exp(x)
    f = lambda x: fg.pure_callback(exp, x, x, vjp=lambda ct, y, x: (ct * y,))
    value, slope = fg.value_and_grad(f)(0.3)
    close([value, slope], np.exp(0.3))
    assert len(calls) == 1
    close(fg.grad(fg.grad(fg.grad(f)))(0.3), np.exp(0.3))
    trace = lambda: fg.trace(fg.grad(lambda x: np.tanh(f(x))), 0.3)
    assert "custom_call" in {node.primitive.name for node in trace().nodes}


def test_rules_with_mistakes():
    f = lambda x: opaque_sine(x, vjp=lambda ct, y, x: (np.sum(ct),))
    with pytest.raises(CotangentError, match=r"vjp rule of sine.*argument 0, float64\[3\].*\(\)"):
        fg.grad(lambda x: np.sum(f(x)))(X)
    g = lambda x: opaque_sine(x, vjp=lambda ct, y, x: ct)
    with pytest.raises(CotangentError, match="a Tracer instead of a tuple of 1"):
        fg.grad(g)(1.0)


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "spec", "error", "match"),
    [
        (lambda x: x[:2], X, CallbackError, r"returned float64\[2\], but .* told float64\[3\]"),
        (lambda x: x.astype("f4"), X, CallbackError, r"returned float32\[3\].*told float64\[3\]"),
        (lambda x: x, X.astype("f4"), CallbackError, r"returned float64\[3\].*told float32\[3\]"),
        (lambda x: 1.5, fg.ShapeDtypeStruct((), int), CallbackError, "float64.*told int64"),
        (lambda x: "no", X, CallbackError, "returned a str, but"),
        (lambda x: None, X, TreeMismatchError, "what <lambda> returned"),
        (lambda x: (x, x), X, TreeMismatchError, "the announced result"),
        (lambda x: {"a": x, "b": x[0]}, {"a": X, "b": X}, CallbackError, r"at \['b'\]"),
    ],
)
def test_other_results_than_announced(function, spec, error, match):
    for call in (lambda x: fg.pure_callback(function, spec, x),):
        with pytest.raises(error, match=match):
            call(X)
        with pytest.raises(error, match=match):
            fg.jit(call)(X)


def test_python_numbers_fit_many_dtypes():
    for dtype in (np.float32, np.float64, np.complex128):
        out = fg.pure_callback(lambda x: 3, fg.ShapeDtypeStruct((), dtype), X)
        assert out.dtype == dtype
        assert out == 3


def test_announcements():
    assert repr(fg.ShapeDtypeStruct(3, "f4")) == "ShapeDtypeStruct(shape=(3,), dtype=float32)"
    assert fg.pure_callback(np.sin, 1.0, 1.0) == np.sin(1.0)
    with pytest.raises(TreeMismatchError, match="announced result is the tuple"):
        fg.pure_callback(np.sin, (2, 3), X)
    for spec in ("float64", np.sin, [object()]):
        with pytest.raises(ArgumentError, match=r"write: fg\.ShapeDtypeStruct\(shape, dtype\)"):
            fg.pure_callback(np.sin, spec, X)


def test_operands_that_a_callback_keeps_stay_as_they_were():
    kept = []

    def keep(a):
        kept.append(a)
        return a * 2

    f = lambda x: np.tanh(np.exp(fg.pure_callback(keep, x, x * 3) + 1) * x)
    x = np.linspace(0.1, 1.0, 40_000)
    g = fg.jit(f)
    for _ in range(3):
        g(x)
    assert all(np.array_equal(a, x * 3) for a in kept)
