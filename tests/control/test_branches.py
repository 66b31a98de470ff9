"""``cond`` and ``switch`` against Python's ``if``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad import errors
from tests.control.programs import Step, steps
from tests.laws.programs import share

A = np.array


def near(got: Any, want: Any, rtol: float = 1e-9) -> None:
    for a, b in zip(fg.tree.leaves(got), fg.tree.leaves(want), strict=True):
        assert_allclose(a, b, rtol=rtol, atol=1e-10)


# --- random branches -----------------------------------------------------------------------------


def losses(first: Step, second: Step) -> tuple[Any, Any]:
    def result(step: Step) -> Any:
        def branch(v: Any, s: Any, k: Any) -> Any:
            carry, y = step({"v": v, "s": s, "n": 2}, v, k)
            return np.sum(carry["v"] * y["d"][1]) + carry["s"] * np.sum(y["c"])

        return branch

    def chosen(v: Any, s: Any, k: Any) -> Any:
        # k is closed over by one branch and given to the other
        return fg.cond(
            np.sum(v) > s,
            lambda v, s, _: result(first)(v, s, k) + s,
            lambda v, s, k: result(second)(v, s, k) * s,
            v, s, k,
        )  # fmt: skip

    def written_out(v: Any, s: Any, k: Any) -> Any:
        if np.sum(v) > s:
            return result(first)(v, s, k) + s
        return result(second)(v, s, k) * s

    return chosen, written_out


@share(0.3)
@given(steps, steps, st.integers(0, 2**32))
def test_random_branches(first, second, seed):
    chosen, written_out = losses(first, second)
    rng = np.random.default_rng(seed)
    batch = [rng.normal(size=(3, *shape)) for shape in ((3,), (), (3,))]
    primals, tangents = [b[0] for b in batch], tuple(b[1] for b in batch)
    wrt = (0, 1, 2)
    assert chosen(*primals) == written_out(*primals)
    assert fg.jit(chosen)(*primals) == written_out(*primals)
    gradient = fg.grad(written_out, wrt)
    near(fg.grad(chosen, wrt)(*primals), gradient(*primals))
    near(fg.jit(fg.grad(chosen, wrt))(*primals), gradient(*primals))
    near(fg.jvp(chosen, tuple(primals), tangents), fg.jvp(written_out, tuple(primals), tangents))
    near(fg.hessian(chosen, 0)(*primals), fg.hessian(written_out, 0)(*primals), 1e-8)
    examples = [[b[i] for b in batch] for i in range(3)]
    near(fg.vmap(chosen)(*batch), np.stack([written_out(*e) for e in examples]))
    want = [np.stack(parts) for parts in zip(*[gradient(*e) for e in examples], strict=True)]
    near(fg.vmap(fg.grad(chosen, wrt))(*batch), want)
    near(fg.grad(lambda *b: np.sum(fg.vmap(chosen)(*b)), wrt)(*batch), want)
    twice = [np.stack([b, b[::-1]]) for b in batch]
    near(fg.vmap(fg.vmap(fg.grad(chosen, wrt)))(*twice), [np.stack([w, w[::-1]]) for w in want])


# --- what NaN must not do ------------------------------------------------------------------------


def guarded(x):
    return fg.cond(x > 0, lambda x: np.sqrt(x) * np.log(x), lambda x: np.exp(x) - 1.0, x)


def guarded_written_out(x):
    return np.sqrt(x) * np.log(x) if x > 0 else np.exp(x) - 1.0


def test_the_branch_not_taken_leaks_nothing():
    points = A([4.0, -1.0, 0.0, 0.25, -700.0])
    with np.errstate(all="raise", under="ignore"):
        f, g = guarded, guarded_written_out
        for _ in range(3):
            want = [g(x) for x in points]
            assert_allclose(fg.vmap(f)(points), want, rtol=1e-12)
            assert_allclose(fg.jit(fg.vmap(f))(points), want, rtol=1e-12)
            assert_allclose([f(x) for x in points], want, rtol=1e-12)
            slopes = fg.grad(lambda v, f=f: np.sum(fg.vmap(f)(v)))(points)
            f, g = fg.grad(f), fg.grad(g)
            assert_allclose(slopes, [g(x) for x in points], rtol=1e-12)
        push = lambda x: fg.jvp(guarded, (x,), (1.0,))[1]
        want = [fg.grad(guarded_written_out)(x) for x in points]
        assert_allclose(fg.vmap(push)(points), want)
        assert_allclose(fg.jvp(fg.vmap(guarded), (points,), (np.ones(5),))[1], want)
        assert_allclose(fg.vmap(guarded)(-points[1:2]), [guarded_written_out(1.0)])
        assert fg.vmap(guarded)(np.zeros(0)).shape == (0,)


def test_only_one_branch_runs():
    def fails(x):
        return np.linalg.inv(x * np.zeros((2, 2)))[0, 0]

    f = lambda x: fg.cond(x > 0, lambda x: x * 2, fails, x)
    assert fg.jit(f)(3.0) == 6.0
    assert fg.jit(fg.grad(f))(3.0) == 2.0
    assert_array_equal(fg.vmap(f)(A([1.0, 2.0])), [2.0, 4.0])  # no example takes the other one
    with pytest.raises(np.linalg.LinAlgError):
        fg.jit(f)(-3.0)


# --- switch --------------------------------------------------------------------------------------


def test_switch():
    branches = [np.sin, lambda x: x**3, lambda x: 2 * x, lambda x: 7.0]
    f = lambda i, x: fg.switch(i, branches, x)
    x = 0.7
    values = [np.sin(x), x**3, 2 * x, 7.0]
    slopes = [np.cos(x), 3 * x * x, 2.0, 0.0]
    for i, place in ((-5, 0), (-1, 0), (0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (99, 3)):
        assert_allclose(f(i, x), values[place])
        assert_allclose(fg.jit(f)(i, x), values[place])
        assert_allclose(fg.grad(f, 1)(i, x), slopes[place])
        assert_allclose(fg.jit(fg.grad(f, 1))(i, x), slopes[place])
    indices = A([3, 1, -1, 2, 100])
    assert_allclose(fg.vmap(f, (0, None))(indices, x), A(values)[[3, 1, 0, 2, 3]])
    assert_allclose(fg.vmap(fg.grad(f, 1), (0, None))(indices, x), A(slopes)[[3, 1, 0, 2, 3]])
    assert fg.jit(lambda i: fg.switch(i, [lambda: 4.0]))(2) == 4.0


def test_results_of_different_dtypes():
    x = np.float32(2)
    f = fg.jit(lambda x: fg.cond(x > 0, lambda: x, lambda: 0.0))
    assert f(x).dtype == np.float32
    assert f(-x) == 0
    assert f(-x).dtype == np.float32
    assert type(fg.jit(lambda x: fg.cond(x > 0, lambda: 1, lambda: 2))(x)) is int
    assert fg.jit(lambda x: fg.cond(x > 0, lambda: x, lambda: 1))(np.int8(3)).dtype == np.int8
    assert fg.grad(lambda x: fg.cond(x > 0, lambda: x, lambda: 0))(2.0) == 1.0


def test_trees_in_and_out():
    def f(p, flag):
        return fg.cond(
            flag,
            lambda p, name: {"sum": p["a"] + p["b"], name: None},
            lambda p, name: {"sum": p["a"] * p["b"], name: None},
            p,
            "note",
        )

    p = {"a": A([1.0, 2.0]), "b": A([3.0, 5.0])}
    for run in (f, fg.jit(f)):
        assert_array_equal(run(p, np.bool_(True))["sum"], [4, 7])
        assert_array_equal(run(p, np.bool_(False))["sum"], [3, 10])
        assert run(p, np.bool_(False))["note"] is None


def test_results_belong_to_the_caller():
    a = np.arange(3.0)
    f = fg.jit(lambda a, s: fg.cond(s > 0, lambda a: (a, a), lambda a: (a, a + 1), a))
    for _ in range(3):
        p, q = f(a, 1.0)
        assert not np.shares_memory(p, q)
        assert not np.shares_memory(p, a)


def test_branches_in_loops_in_branches():
    def step(c, x):
        return fg.cond(c > 1.0, lambda c: np.sin(c) * x, lambda c: c * c + x, c), c

    def f(c, xs):
        return fg.cond(
            c > 0.0,
            lambda c: fg.scan(step, c, xs)[0],
            lambda c: fg.while_loop(lambda c: c < 2.0, lambda c: c * c + 1.0, c),
            c,
        )

    def g(c, xs):
        if c > 0.0:
            for x in xs:
                c = np.sin(c) * x if c > 1.0 else c * c + x
            return c
        while c < 2.0:
            c = c * c + 1.0
        return c

    xs = A([0.3, 1.2, -0.4, 0.9])
    points = A([0.5, -0.2, 1.7])
    for wrt in (0, 1):
        want = [fg.grad(g, wrt)(c, xs) for c in points]
        near([fg.grad(f, wrt)(c, xs) for c in points], want)
        near(fg.vmap(fg.grad(f, wrt), (0, None))(points, xs), np.stack(want))
        second = [fg.hessian(g, wrt)(c, xs) for c in points]
        near([fg.hessian(f, wrt)(c, xs) for c in points], second)
        near(fg.vmap(fg.hessian(f, wrt), (0, None))(points, xs), np.stack(second))
    near(
        fg.grad(lambda v: np.sum(fg.vmap(f, (0, None))(v, xs)))(points),
        A([fg.grad(g)(c, xs) for c in points]),
    )


# --- concrete conditions, bad input --------------------------------------------------------------


def test_a_condition_that_is_known_chooses_at_once():
    calls = []

    def kept(x):
        calls.append(x)
        return x

    def other(x):
        raise AssertionError

    assert fg.cond(True, kept, other, 3) == 3
    assert calls == [3]
    assert fg.cond(np.bool_(False), other, kept, "text") == "text"
    assert fg.switch(5, [other, kept], 4) == 4


def message(call: Any, error: type[Exception], *words: str) -> None:
    with pytest.raises(error) as info:
        call()
    text = str(info.value)
    assert "test_branches.py" in text
    for word in words:
        assert word in text


@pytest.mark.parametrize("pred", [1, 1.0, np.zeros(2, bool), "yes", None])
def test_conditions_that_are_no_truth_value(pred):
    message(lambda: fg.cond(pred, lambda: 1, lambda: 2), errors.PredicateError, "truth value")


def test_bad_input():
    f = lambda *funs: lambda: fg.jit(lambda x: fg.cond(x > 0, *funs, x))(1.0)
    wrong = errors.BranchError
    message(
        f(lambda x: x, lambda x: (x, x)), wrong, "different structures", "false_fun", "true_fun"
    )
    message(
        f(lambda x: {"a": x}, lambda x: {"a": np.stack([x, x])}), wrong, "['a']", "[2]", "shape"
    )
    message(
        f(lambda x: np.float32(1), lambda x: np.float64(2)), wrong, "float32", "float64", "astype"
    )
    message(f(1.0, lambda x: x), errors.ArgumentError, "true_fun", "a function")
    message(lambda: fg.switch(1.5, [abs], 1), errors.PredicateError, "one integer")
    message(lambda: fg.switch(True, [abs], 1), errors.PredicateError, "fg.cond")
    message(lambda: fg.switch(0, []), errors.ArgumentError, "at least one")
    message(f(lambda x: x if x > 1 else -x, lambda x: x), errors.ConcretizationError, "true_fun")


def test_batches_of_batches_where_each_maps_something_else():
    f = lambda i, x, y: fg.switch(i, [lambda x, y: x * y, lambda x, y: x + y * y], x, y)
    i, x, y = np.array([0, 1]), np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    inner = fg.vmap(f, (0, 0, None))
    got = fg.vmap(inner, (None, None, 0))(i, x, y)
    assert got.tolist() == [[f(*pair, b) for pair in zip(i, x, strict=True)] for b in y]
    slopes = fg.grad(lambda x, y: np.sum(fg.vmap(inner, (None, None, 0))(i, x, y)), (0, 1))(x, y)
    assert [s.tolist() for s in slopes] == [[12.0, 3.0], [7.0, 9.0, 11.0]]


def test_a_branch_whose_branches_have_no_derivative():
    f = lambda x: fg.cond(x > 0, lambda x: fg.stop_gradient(x) * 3, np.floor, x) * x
    assert fg.grad(f)(2.0) == 6.0
    assert fg.jit(fg.grad(f))(-1.5) == -2.0
