"""``scan``, ``fori_loop`` and ``while_loop`` against the same loops, written out in Python."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad import errors
from fungrad._aval import Stack, make_aval, stack_aval
from fungrad._batch import batch
from fungrad._evaluate import interpret
from fungrad._graph import make_graph
from fungrad._tracer import Rewrite
from fungrad.compile.pool import release
from fungrad.errors import CarryError
from fungrad.ops.stacks import batched_aval, stack_spread
from tests.control.programs import Step, steps, written_out
from tests.laws.programs import share

A = np.array


def same_bits(got: Any, want: Any) -> None:
    got, want = fg.tree.leaves(got), fg.tree.leaves(want)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


def near(got: Any, want: Any, rtol: float = 1e-9) -> None:
    for a, b in zip(fg.tree.leaves(got), fg.tree.leaves(want), strict=True):
        assert_allclose(a, b, rtol=rtol, atol=1e-10)


# --- random bodies -------------------------------------------------------------------------------


def inputs(seed: int, length: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    carry = {"v": rng.normal(size=3), "s": rng.normal(), "n": int(rng.integers(3))}
    return carry, rng.normal(size=(length, 3)), rng.normal(size=3)


bodies = given(steps, st.integers(0, 2**32), st.integers(0, 5), st.booleans())


@bodies
def test_random_bodies_have_the_values_of_the_loop_written_out(step, seed, length, reverse):
    carry, xs, k = inputs(seed, length)
    f = lambda c, x: step(c, x, k)
    want, rows = written_out(f, carry, list(xs), reverse)
    for run in (fg.scan, fg.jit(fg.scan, static_argnums=(0, 3, 4))):
        got, ys = run(f, carry, xs, None, reverse)
        same_bits(got, want)
        if length:
            same_bits(ys, fg.tree.map(lambda *leaves: np.stack(leaves), *rows))


def losses(step: Step, length: int, reverse: bool) -> tuple[Any, Any]:
    def summary(carry: Any, parts: list[Any]) -> Any:
        c = sum([np.sum(np.sin(p["c"])) for p in parts])
        d = sum([np.sum(p["d"][0] * p["d"][1]) for p in parts])
        return np.sum(carry["v"]) + 2 * carry["s"] + c + d

    def scanned(v: Any, s: Any, xs: Any, k: Any) -> Any:
        carry, ys = fg.scan(lambda c, x: step(c, x, k), {"v": v, "s": s, "n": 1}, xs, None, reverse)
        return summary(carry, [fg.tree.map(lambda y, i=i: y[i], ys) for i in range(length)])

    def unrolled(v: Any, s: Any, xs: Any, k: Any) -> Any:
        items = [xs[i] for i in range(length)]
        carry, ys = written_out(
            lambda c, x: step(c, x, k), {"v": v, "s": s, "n": 1}, items, reverse
        )
        return summary(carry, ys)

    return scanned, unrolled


@share(0.4)
@bodies
def test_random_bodies_have_the_derivatives_of_the_loop_written_out(step, seed, length, reverse):
    carry, xs, k = inputs(seed, length)
    primals = (carry["v"], carry["s"], xs, k)
    rng = np.random.default_rng(seed + 1)
    tangents = tuple(np.asarray(rng.normal(size=np.shape(p))) for p in primals)
    scanned, unrolled = losses(step, length, reverse)
    wrt = (0, 1, 2, 3)
    near(fg.grad(scanned, wrt)(*primals), fg.grad(unrolled, wrt)(*primals))
    near(fg.jit(fg.grad(scanned, wrt))(*primals), fg.grad(unrolled, wrt)(*primals))
    near(fg.jvp(scanned, primals, tangents), fg.jvp(unrolled, primals, tangents))

    def along(f: Any) -> Any:
        return lambda *p: sum(
            np.sum(g * t) for g, t in zip(fg.grad(f, wrt)(*p), tangents, strict=True)
        )

    second = fg.grad(along(unrolled), wrt)(*primals)
    near(fg.grad(along(scanned), wrt)(*primals), second, 1e-8)
    near(fg.jvp(fg.grad(scanned, wrt), primals, tangents)[1], second, 1e-8)
    near(fg.grad(lambda *p: fg.jvp(scanned, p, tangents)[1], wrt)(*primals), second, 1e-8)


@share(0.4)
@given(steps, st.integers(0, 2**32), st.tuples(*[st.booleans()] * 4), st.booleans())
def test_random_bodies_in_batches(step, seed, batched, reverse):
    scanned, _ = losses(step, 2, reverse)
    rng = np.random.default_rng(seed)
    shapes = ((3,), (), (2, 3), (3,))
    flags = batched if any(batched) else (True,) * 4
    values = [rng.normal(size=(2, *s) if f else s) for s, f in zip(shapes, flags, strict=True)]
    axes = tuple(0 if flag else None for flag in flags)
    examples = [[v[i] if f else v for v, f in zip(values, flags, strict=True)] for i in range(2)]
    near(fg.vmap(scanned, axes)(*values), A([scanned(*e) for e in examples]))
    gradient = fg.grad(scanned, (0, 1, 2, 3))
    want = [np.stack(parts) for parts in zip(*[gradient(*e) for e in examples], strict=True)]
    near(fg.vmap(gradient, axes)(*values), want)
    total = fg.grad(lambda *v: np.sum(fg.vmap(scanned, axes)(*v)), (0, 1, 2, 3))(*values)
    near(total, [w if f else w.sum(axis=0) for w, f in zip(want, flags, strict=True)])


# --- scan ----------------------------------------------------------------------------------------


def test_python_numbers_in_the_carry_stay_as_weak_as_they_are():
    xs = np.arange(3, dtype=np.float32)
    c, ys = fg.scan(lambda c, x: (c + x, c * x), 0.0, xs)
    assert (c.dtype, ys.dtype) == (np.float32, np.float32)
    c, ys = fg.scan(lambda c, x: (c + 1, c * x), 0, xs)  # c is a Python int at every step
    assert type(c) is int
    assert c == 3
    assert ys.dtype == np.float32
    c, _ = fg.scan(lambda c, x: (c / 2, None), 1, length=2)
    assert c == 0.25
    assert fg.scan(lambda c, x: (~c, c), True, length=3)[0] == False  # noqa: E712


def test_many_carries_of_which_the_last_depends_on_the_first():
    def f(x):
        shift = lambda c, _: ((c[0] * c[0], *c[:-1]), None)
        return fg.scan(shift, (x, 0.0, 0.0, 0.0), length=5)[0][-1]

    x = 1.1
    assert_allclose(f(x), x**4)
    assert_allclose(fg.grad(f)(x), 4 * x**3)
    assert_allclose(fg.jvp(f, (x,), (1.0,))[1], 4 * x**3)
    assert_allclose(fg.vmap(f)(A([x, 2.0])), [x**4, 16])


def test_carries_that_change_places_are_not_one_array():
    a, b = np.zeros(3), np.ones(3)
    p, q = fg.scan(lambda c, _: ((c[1], c[0]), None), (a, b), length=3)[0]
    assert_array_equal(p, b)
    assert not np.shares_memory(p, b)
    p, q = fg.scan(lambda c, _: ((c[0], c[0]), None), (a, b), length=3)[0]
    assert not np.shares_memory(p, q)
    assert not np.shares_memory(p, a)
    p, q = fg.scan(lambda c, k: ((c[0] + 1,) * 2, None), (a, b), length=3)[0]
    assert not np.shares_memory(p, q)


def test_results_belong_to_the_caller_inside_a_compiled_program():
    @fg.jit
    def f(a):
        p, q = fg.scan(lambda c, _: ((c[0], c[0]), None), (a, a), length=2)[0]
        return p * 2 + 1, q

    a = np.arange(3.0)
    for _ in range(4):
        p, q = f(a)
        assert_array_equal(p, [1, 3, 5])
        assert_array_equal(q, [0, 1, 2])
    assert_array_equal(a, [0, 1, 2])


@pytest.mark.parametrize("order", ["C", "F"])
def test_layouts_of_carries(order):
    a = np.asarray(np.arange(6.0).reshape(2, 3), order=order)
    f = lambda c, x: (np.tanh(c.T * x).T + np.sin(c), np.sum(c, axis=0))
    xs = np.linspace(0, 1, 7)
    want, rows = written_out(f, a, list(xs))
    got, ys = fg.scan(f, a, xs)
    same_bits((got, ys), (want, np.stack(rows)))
    turn = lambda c, x: (c.T + x, np.sum(c, axis=0))
    square = np.asarray(np.arange(9.0).reshape(3, 3), order=order)
    want, rows = written_out(turn, square, list(xs))
    same_bits(fg.scan(turn, square, xs), (want, np.stack(rows)))


def test_bodies_run_once_whatever_the_length():
    calls = []

    def body(c, x):
        calls.append(1)
        return np.sin(c + x), c

    fg.scan(body, np.zeros(()), np.zeros(1000))
    assert len(calls) == 1
    fg.grad(lambda c: fg.scan(body, c, np.zeros(1000))[0])(1.0)
    assert len(calls) <= 3  # a Python number in the carry may need a second look


def test_scan_in_scan():
    def outer(c, row):
        c, ys = fg.scan(lambda c, x: (np.sin(c) + x, c * c), c, row)
        return c, np.sum(ys)

    def total(c, rows):
        c, ys = fg.scan(outer, c, rows)
        return c + np.sum(ys)

    def unrolled(c, rows):
        s = 0.0
        for row in rows:
            for x in row:
                c, s = np.sin(c) + x, s + c * c
        return c + s

    rows = np.linspace(-1, 1, 12).reshape(3, 4)
    near(total(0.3, rows), unrolled(0.3, rows))
    near(fg.grad(total, (0, 1))(0.3, rows), fg.grad(unrolled, (0, 1))(0.3, rows))
    near(fg.hessian(total, 1)(0.3, rows), fg.hessian(unrolled, 1)(0.3, rows))


def test_a_body_that_closes_over_tracers_of_two_traces():
    def f(x):
        return fg.grad(lambda y: fg.scan(lambda c, _: (c * x * y, None), x, length=2)[0])(x)

    # d/dy x (xy)² = 2 x³ y, at y = x: 2 x⁴; its derivative: 8 x³
    assert_allclose(f(1.5), 2 * 1.5**4)
    assert_allclose(fg.grad(f)(1.5), 8 * 1.5**3)


def test_what_nobody_reads_is_not_computed():
    def gradient(x):
        def loss(x):
            carry = {"a": x, "b": x}  # b is as large as it is useless
            step = lambda c, k: ({"a": np.sin(c["a"]), "b": np.exp(c["b"]) * k}, np.cos(c["b"]))
            return np.sum(fg.scan(step, carry, np.ones(3))[0]["a"])

        return fg.grad(loss)(x)

    with np.errstate(all="raise"):
        text = fg.source(gradient, np.ones(2))
    assert "loop" in text
    assert_allclose(
        gradient(A([0.3])), fg.grad(lambda x: np.sum(np.sin(np.sin(np.sin(x)))))(A([0.3]))
    )


def test_memory_of_a_long_loop_is_what_the_backward_pass_needs():
    n, size = 200, 10_000
    xs, k = np.zeros(n), np.full(size, 0.5)

    def loss(k):
        return np.sum(fg.scan(lambda c, x: (c * k + x, None), np.ones(size), xs)[0])

    fg.grad(loss)(k)
    gc.collect()
    release()
    tracemalloc.start()
    fg.grad(loss)(k)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * n * size * 8  # one stack of carries


# --- fori_loop -----------------------------------------------------------------------------------


def test_fori_loop():
    f = lambda n, x: fg.fori_loop(0, n, lambda i, y: y * x + i, 1.0)
    assert fg.fori_loop(3, 3, lambda i, y: y + 1, 7) == 7
    assert fg.fori_loop(3, 1, lambda i, y: y + 1, 7) == 7
    assert fg.fori_loop(-2, 3, lambda i, y: y + i, 0) == 0
    assert fg.fori_loop(0, 3, lambda i, y: y * i, np.float32(1)).dtype == np.float32
    assert_allclose(f(3, 2.0), 8 + 0 * 4 + 1 * 2 + 2)
    slope = lambda n: fg.grad(f, 1)(n, 2.0)
    want = [0.0, 1.0, 4.0, 13.0]
    assert_allclose([slope(n) for n in range(4)], want)
    assert_allclose([fg.jit(slope)(n) for n in range(4)], want)  # the bound is traced
    assert_allclose(fg.vmap(slope)(np.arange(4)), want)  # it differs by example
    assert_allclose(fg.vmap(fg.grad(f, 1), (None, 0))(3, A([2.0, 3.0])), [13.0, 28.0])


# --- while_loop ----------------------------------------------------------------------------------


def newton(a):
    return fg.while_loop(lambda x: abs(x * x - a) > 1e-9, lambda x: (x + a / x) / 2, 1.0)


def newton_written_out(a):
    x = 1.0
    while abs(x * x - a) > 1e-9:
        x = (x + a / x) / 2
    return x


def test_while_loop_is_differentiated_in_every_mode():
    for order in range(4):
        f, g = newton, newton_written_out
        for _ in range(order):
            f, g = fg.grad(f), fg.grad(g)
        for a in (2.0, 9.0, 1.0):
            assert_allclose(f(a), g(a), rtol=1e-12)
            assert_allclose(fg.jit(f)(a), g(a), rtol=1e-12)
        points = A([2.0, 9.0, 1.0, 400.0])
        want = [g(a) for a in points]
        assert_allclose(fg.vmap(f)(points), want, rtol=1e-10)
        slopes = fg.grad(lambda v, f=f: np.sum(fg.vmap(f)(v)))(points)
        assert_allclose(slopes, [fg.grad(g)(a) for a in points], rtol=1e-9)
    forward = lambda f: lambda a: fg.jvp(f, (a,), (1.0,))[1]
    for compose in ((fg.grad, forward), (forward, fg.grad), (forward, forward)):
        f, g = newton, newton_written_out
        for transform in compose:
            f, g = transform(f), transform(g)
        assert_allclose(f(2.0), g(2.0))
        assert_allclose(fg.vmap(f)(A([2.0, 9.0])), [g(2.0), g(9.0)])


def test_while_loop_whose_condition_never_holds():
    f = lambda x: fg.while_loop(lambda c: c < 0, lambda c: c * x, x)
    assert f(2.0) == 2.0
    assert fg.grad(f)(2.0) == 1.0
    assert fg.jvp(f, (2.0,), (3.0,)) == (2.0, 3.0)


def test_closures_of_the_condition_and_the_body():
    def f(limit, k):
        step = lambda s: (s[0] + 1, s[1] * k)
        return fg.while_loop(lambda s: s[0] < limit, step, (0, 1.0))[1]

    assert f(3, 2.0) == 8.0
    assert fg.jit(f)(3, 2.0) == 8.0
    assert fg.grad(f, 1)(3, 2.0) == 12.0
    assert_allclose(fg.vmap(fg.grad(f, 1))(A([3, 0, 2]), A([2.0, 5.0, 1.0])), [12.0, 0.0, 2.0])
    assert_allclose(fg.vmap(f, (0, None))(A([3, 0]), 2.0), [8.0, 1.0])


def test_examples_that_are_done_do_not_see_invalid_values():
    # One step more would divide by zero, or take the root of a negative number.
    def f(x):
        return fg.while_loop(lambda c: c > 1.5, lambda c: np.sqrt(c - 1.0) + 0.1, x)

    def g(x):
        while x > 1.5:
            x = np.sqrt(x - 1.0) + 0.1
        return x

    points = A([0.5, 9.0, 1.4, 50.0])
    with np.errstate(all="raise"):
        assert_allclose(fg.vmap(f)(points), [g(x) for x in points])
        want = [fg.grad(g)(x) for x in points]
        assert_allclose(fg.vmap(fg.grad(f))(points), want)
        assert_allclose(fg.grad(lambda v: np.sum(fg.vmap(f)(v)))(points), want)


def test_loops_of_unknown_length_inside_loops():
    def total(f):
        return lambda xs: fg.scan(lambda c, x: (c + f(x), f(x) * c), 0.0, xs)

    def loss(xs):
        c, ys = total(newton)(xs)
        return c * np.sum(ys)

    def written(xs):
        c, s = 0.0, 0.0
        for x in xs:
            r = newton_written_out(x)
            c, s = c + r, s + r * c
        return c * s

    xs = A([2.0, 9.0, 30.0])
    assert_allclose(fg.grad(loss)(xs), fg.grad(written)(xs))
    assert_allclose(fg.hessian(loss)(xs), fg.hessian(written)(xs), rtol=1e-8)
    assert_allclose(fg.jvp(loss, (xs,), (xs,))[1], fg.jvp(written, (xs,), (xs,))[1])
    batch = np.stack([xs, xs[::-1], xs + 1])
    assert_allclose(fg.vmap(fg.grad(loss))(batch), [fg.grad(written)(x) for x in batch])

    def until(limit):  # a loop of unknown length in another one
        body = lambda s: (s[0] + newton(s[0]), s[1] + 1)
        return fg.while_loop(lambda s: s[0] < 60.0, body, (limit, 0))[0]

    def until_written(x):
        while x < 60.0:
            x = x + newton_written_out(x)
        return x

    for x in (2.0, 70.0, 35.0):
        assert_allclose(fg.grad(until)(x), fg.grad(until_written)(x))
        assert_allclose(fg.grad(fg.grad(until))(x), fg.grad(fg.grad(until_written))(x), rtol=1e-8)
    points = A([2.0, 70.0, 35.0])
    assert_allclose(fg.vmap(fg.grad(until))(points), [fg.grad(until_written)(x) for x in points])


def test_a_pullback_remembers_what_a_loop_was_given():
    x0, k = np.ones(2), A([2.0, 3.0])
    f = lambda k: fg.while_loop(lambda c: c[0] < 5, lambda c: c * k, x0)
    _, pull = fg.vjp(f, k)
    want = pull(np.ones(2))[0]
    x0[:] = 100.0
    k[:] = -1.0
    assert_allclose(pull(np.ones(2))[0], want)
    assert_allclose(want, 3 * A([2.0, 3.0]) ** 2)


# --- bad input -----------------------------------------------------------------------------------


def message(call: Any, error: type[Exception]) -> str:
    with pytest.raises(error) as info:
        call()
    assert "test_loops.py" in str(info.value)
    return str(info.value)


def test_a_carry_that_changes():
    xs = np.arange(3.0)
    text = message(
        lambda: fg.scan(lambda c, x: ({"a": np.stack([c["a"]] * 2)}, None), {"a": 1.0}, xs),
        errors.CarryError,
    )
    assert "init['a']" in text
    assert "shape ()" in text
    assert "shape (2,)" in text
    text = message(
        lambda: fg.scan(lambda c, x: (c + x, None), np.float32(1), xs), errors.CarryError
    )
    assert "float32" in text
    assert "float64" in text
    text = message(lambda: fg.scan(lambda c, x: ((c, c), None), 1.0, xs), errors.CarryError)
    assert "structure" in text
    text = message(
        lambda: fg.while_loop(lambda c: c["n"] < 3, lambda c: c["n"] + 1, {"n": 0}),
        errors.CarryError,
    )
    assert "structure" in text
    assert "fg.while_loop" in text
    grows = lambda i, c: {"a": np.ones(3) * c["a"]}
    call = lambda n: fg.fori_loop(0, n, grows, {"a": 1.0})
    for run in (call, fg.jit(call)):  # the second one does not know the number of steps
        text = message(lambda run=run: run(3), errors.CarryError)
        assert "the body of fg.fori_loop changed the carry init['a'] from" in text


def test_the_remedy_for_a_shape_that_changes_can_be_followed():
    text = message(lambda: fg.scan(lambda c, _: (c[:2], None), np.ones(3), length=2), CarryError)
    assert "a step that returns the shape (3,)" in text
    text = message(lambda: fg.fori_loop(0, 2, lambda i, c: c + np.ones(3), 0.0), CarryError)
    assert "np.broadcast_to(value, (3,)) as the initial value" in text


@pytest.mark.parametrize("upper", [3, np.int64(3)])
def test_the_index_of_fori_loop_is_no_part_of_its_messages(upper):
    for run in (lambda f: f(upper), lambda f: fg.jit(f)(upper)):
        text = message(
            lambda run=run: run(lambda n: fg.fori_loop(0, n, lambda i, c: None, 1.0)), CarryError
        )
        assert "the initial carry is a leaf, and the returned carry is None" in text
    text = message(lambda: fg.fori_loop(0, 3, lambda i, c: c, "a"), errors.InputTypeError)
    assert text.startswith("init is a str")


def test_what_is_no_function():
    for call, name in (
        (lambda: fg.scan(3, 0.0, np.ones(2)), "f of fg.scan"),
        (lambda: fg.fori_loop(0, 3, 1.0, 1.0), "body of fg.fori_loop"),
        (lambda: fg.while_loop(True, lambda c: c, 1.0), "cond of fg.while_loop"),
        (lambda: fg.while_loop(lambda c: c < 0, 1.0, 1.0), "body of fg.while_loop"),
        (lambda: fg.associative_scan("add", np.ones(2)), "fn of fg.associative_scan"),
        (lambda: fg.switch(0, np.sin, 1.0), "one function as branches; write: [f, g]"),
    ):
        text = message(call, errors.ArgumentError)
        assert name in text
        assert "write: " in text


def test_an_entry_of_a_list_at_a_traced_index():
    a = [1.0, 2.0, 3.0]
    text = message(
        lambda: fg.fori_loop(0, 3, lambda i, c: c + a[i], 0.0), errors.ConcretizationError
    )
    assert "np.asarray(a, like=i)[i]" in text
    assert fg.fori_loop(0, 3, lambda i, c: c + np.asarray(a, like=i)[i], 0.0) == 6.0


def test_sequences_of_different_lengths():
    f = lambda c, x: (c, None)
    text = message(
        lambda: fg.scan(f, 0.0, {"a": np.ones(3), "b": np.ones(4)}), errors.ShapeMismatchError
    )
    assert "xs['a']: 3, xs['b']: 4" in text
    text = message(lambda: fg.scan(f, 0.0, np.ones(3), length=2), errors.ShapeMismatchError)
    assert "xs: 3, length: 2" in text
    message(lambda: fg.scan(f, 0.0), errors.ShapeMismatchError)
    message(lambda: fg.scan(f, 0.0, 3.0), errors.ShapeMismatchError)
    message(lambda: fg.scan(f, 0.0, length=-1), errors.ArgumentError)
    message(lambda: fg.scan(f, 0.0, length=2.0), errors.ArgumentError)


def test_bodies_that_return_something_else():
    text = message(lambda: fg.scan(lambda c, x: c, 0.0, length=2), errors.OutputTypeError)
    assert "return carry, y" in text
    message(lambda: fg.scan(lambda c, x: (c, "a"), 0.0, length=2), errors.OutputTypeError)
    message(lambda: fg.scan(lambda c, x: (c, None), "a", length=2), errors.InputTypeError)


@pytest.mark.parametrize("predicate", [lambda c: c, lambda c: c > np.zeros(2), lambda c: "yes"])
def test_conditions_that_are_no_truth_value(predicate):
    text = message(lambda: fg.while_loop(predicate, lambda c: c, 1.0), errors.PredicateError)
    assert "truth value" in text


def test_bounds_that_are_no_integers():
    message(lambda: fg.fori_loop(0, 2.5, lambda i, c: c, 1.0), errors.ArgumentError)
    message(lambda: fg.fori_loop(np.zeros(2, int), 2, lambda i, c: c, 1.0), errors.ArgumentError)
    message(
        lambda: fg.grad(lambda x: fg.fori_loop(0, x, lambda i, c: c, x))(1.0), errors.ArgumentError
    )


def test_python_branches_in_a_body():
    def body(c, x):
        return (c + x if c > 0 else c - x), None

    text = message(lambda: fg.scan(body, 1.0, np.ones(3)), errors.ConcretizationError)
    assert "fg.cond" in text
    assert "np.where" in text
    text = message(
        lambda: fg.while_loop(lambda c: True if c < 3 else False, lambda c: c + 1, 0),  # noqa: SIM210
        errors.ConcretizationError,
    )
    assert "the condition of fg.while_loop" in text
    table = A([1.0, 2.0, 4.0])
    text = message(
        lambda: fg.fori_loop(0, 3, lambda i, c: c + table[i], 0.0), errors.TracerConversionError
    )
    assert "np.asarray(a, like=i)[i] for a[i]" in text
    assert fg.fori_loop(0, 3, lambda i, c: c + np.asarray(table, like=i)[i], 0.0) == 7.0
    assert fg.jit(lambda t: fg.fori_loop(0, 3, lambda i, c: c + t[i], 0.0))(table) == 7.0
    # What does not depend on the carry may branch.
    scale = 2.0
    f = lambda s: fg.scan(lambda c, x: (c * s if s > 1 else c, None), 1.0, length=2)[0]
    assert f(scale) == 4.0
    assert fg.grad(f)(scale) == 4.0


def test_bodies_that_leak():
    kept = []

    def body(c, x):
        kept.append(c)
        return c + x, None

    fg.scan(body, 0.0, np.ones(2))
    text = message(lambda: kept[0] + 1, errors.EscapedTracerError)
    assert "return it" in text

    buffer = np.zeros(3)

    def writes(c, x):
        buffer[0] = c
        return c + x, None

    message(lambda: fg.scan(writes, 0.0, np.ones(2)), errors.ConcretizationError)


def test_exceptions_leave_nothing_behind():
    def broken(c, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fg.scan(broken, 0.0, np.ones(2))
    assert fg.scan(lambda c, x: (c + x, None), 0.0, np.ones(2))[0] == 2.0


def test_debug_nans_looks_into_stacks():
    f = lambda x: fg.while_loop(lambda c: c > 1.0, lambda c: np.sqrt(c) - 0.5, x)
    with fg.config(debug_nans=True):
        assert_allclose(fg.grad(f)(3.0), fg.grad(f)(np.float64(3.0)))
        with pytest.raises(errors.NonFiniteError, match="divide") as info:
            fg.scan(lambda c, x: (c / x, c), 1.0, A([1.0, 0.0]))
        assert "lambda c, x: (c / x, c)" in str(info.value)


def test_a_batch_of_spread_stacks_is_each_of_them_spread():
    """No loop asks for it: of a batch they spread zeros only, which no example has for itself."""
    aval = stack_aval(make_aval((2, 3), np.dtype(float)))
    trace = Rewrite([aval])
    spread = stack_spread(trace.tracers()[0], size=4, axis=1)
    graph = make_graph(trace.avals, [spread._expr])
    values = [np.arange(30.0).reshape(5, 2, 3), np.ones((5, 2, 3))]
    (got,) = interpret(batch(graph, (True,), 5), [Stack(batched_aval(aval, 5), values)])
    for stacked, value in zip(got.values, values, strict=True):
        assert_array_equal(stacked, np.stack([np.stack([x] * 4, axis=1) for x in value]))
