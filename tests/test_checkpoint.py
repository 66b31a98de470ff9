"""A checkpointed function is the function, in everything but the memory of its derivative."""

from __future__ import annotations

import tracemalloc
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose as close

import fungrad as fg
from fungrad.compile.pool import release
from fungrad.errors import ConcretizationError, EscapedTracerError, UnsupportedFunctionError
from tests._checks import alike, near, normal_like, same_bits
from tests.benchmarks import checkpoint as benchmark
from tests.laws.programs import programs, share

X = np.array([0.3, -1.2, 2.0])
SEEDS = st.integers(0, 2**16)

# --- checkpoint = identity -------------------------------------------------------------------


@share(1)
@given(programs(scalar=True, dtypes=("float64", "float32")), SEEDS)
def test_values_and_derivatives_are_the_same(program, seed):
    x = program.inputs(seed)
    wrt = tuple(range(len(x)))
    lean = fg.checkpoint(program)
    tangents = [normal_like(np.random.default_rng(seed), v) for v in x]
    rtol = 1e-11 if all(v.dtype == np.float64 for v in x) else 1e-3
    both = (
        (program, lean),
        (fg.jit(program), fg.jit(lean)),
        (fg.grad(program, wrt), fg.grad(lean, wrt)),
        (fg.grad(program, wrt), fg.jit(fg.grad(lean, wrt))),
        (fg.grad(program, wrt), fg.grad(fg.checkpoint(fg.jit(lean)), wrt)),
        (lambda *x: fg.jvp(program, x, tangents), lambda *x: fg.jvp(lean, x, tangents)),
    )
    for plain, checked in both:
        for want, got in zip(fg.tree.leaves(plain(*x)), fg.tree.leaves(checked(*x)), strict=True):
            alike(got, want, "checkpoint")
            size = 1 + np.max(np.abs(want), initial=0)
            near(got, want, "checkpoint", rtol, size)


@share(0.5)
@given(programs(scalar=True), SEEDS)
def test_second_order_and_batches_are_the_same(program, seed):
    x = program.inputs(seed)
    lean = fg.checkpoint(program)
    directions = [normal_like(np.random.default_rng(seed), v) for v in x]

    def second(f):
        return lambda *x: fg.hvp(lambda x: f(*x), (list(x),), (directions,))

    batch = [np.stack([v, v * 0.5, v]) for v in x]
    for derive in (second, lambda f: lambda *x: fg.vmap(fg.grad(f))(*batch)):
        with np.errstate(all="ignore"):
            plain, checked = fg.tree.leaves(derive(program)(*x)), fg.tree.leaves(derive(lean)(*x))
        for want, got in zip(plain, checked, strict=True):
            if np.all(np.isfinite(want)):
                near(got, want, "checkpoint", 1e-9, 1 + np.max(np.abs(want), initial=0))


def test_gradients_have_the_same_bits():
    step = lambda w, x: np.tanh(np.sin(x @ w) * 2) + x
    rng = np.random.default_rng(0)
    ws, x = [rng.normal(size=(4, 4)) for _ in range(6)], rng.normal(size=(5, 4))
    loss = lambda ws, x, step: np.sum(reduce(lambda x, w: step(w, x), ws, x))
    for wrap in (lambda f: f, lambda f: fg.jit(f, static_argnums=2)):
        derive = wrap(fg.grad(loss, argnums=(0, 1)))
        for _ in range(3):
            got, want = derive(ws, x, fg.checkpoint(step)), derive(ws, x, step)
            for a, b in zip(fg.tree.leaves(got), fg.tree.leaves(want), strict=True):
                same_bits(a, b, "gradient")


def test_high_orders():
    f = lambda x: np.sin(x) * np.exp(x)
    lean, plain = fg.checkpoint(f), f
    for _ in range(5):
        close(lean(0.4), plain(0.4), rtol=1e-13)
        lean, plain = fg.grad(lean), fg.grad(plain)


def test_pytrees_keywords_and_what_is_no_array():
    @fg.checkpoint
    def f(p, *, mode):
        return {"y": p["w"] * 2 if mode == "twice" else p["w"], "mode": mode, "n": 3}

    out = fg.jit(lambda p: f(p, mode="twice"))({"w": X, "unused": None})
    close(out["y"], 2 * X)
    assert (out["mode"], out["n"]) == ("twice", 3)
    assert f({"w": X}, mode="")["y"] is X
    close(fg.grad(lambda p: np.sum(f(p, mode="twice")["y"]))({"w": X})["w"], [2, 2, 2])
    assert fg.jit(fg.checkpoint(lambda x: None))(1.0) is None
    assert fg.checkpoint(f).__wrapped__ is f


def test_python_numbers_stay_weak():
    x = X.astype(np.float32)
    assert fg.jit(lambda s: fg.checkpoint(lambda s: s * 2)(s) * x)(2.0).dtype == np.float32
    assert fg.grad(lambda x: np.sum(fg.checkpoint(np.tanh)(x)))(x).dtype == np.float32


def test_closures_conditions_and_integers():
    outer = lambda k, x: fg.checkpoint(lambda x: x * k if x > 0 else x)(x)
    close(fg.grad(outer)(3.0, 2.0), 2.0)
    close(fg.grad(lambda k: outer(k, k))(3.0), 6.0)
    close(fg.grad(lambda k: outer(k, -k))(3.0), -1.0)
    close(fg.jit(fg.grad(fg.grad(lambda k: outer(k, k))))(3.0), 2.0)
    pick = fg.checkpoint(lambda x, i: (x[i], i + 1))
    close(fg.grad(lambda x, i: np.sum(pick(x, i)[0]))(X, np.array([2, 2])), [0, 0, 2])
    with pytest.raises(ConcretizationError, match="under vmap"):
        fg.vmap(outer, (None, 0))(3.0, X)


def test_tracers_do_not_escape_from_it():
    kept = []
    f = fg.checkpoint(lambda x: kept.append(x) or x * 2)
    with pytest.raises(EscapedTracerError):
        fg.grad(lambda x: f(x) * kept[0])(1.0)


def test_only_what_is_wanted_is_differentiated():
    # No cotangent of the data is asked for, so it does not matter that there is none.
    unwritten = fg.extend.primitive(
        "test_checkpoint_unwritten",
        value=lambda x: x * 1.0,
        aval=lambda x: x,
        vjp=fg.extend.Unwritten("it is a test"),
        batch=lambda batched, size, x: x,
    )
    step = fg.checkpoint(lambda w, data: np.sum(w * unwritten(data)))
    close(fg.jit(fg.grad(step))(X, X), X)
    with pytest.raises(UnsupportedFunctionError, match="it is a test"):
        fg.jit(fg.grad(step, argnums=1))(X, X)


# --- memory ----------------------------------------------------------------------------------

N = 36
WS = [np.eye(4) * w + 0.1 for w in np.linspace(0.5, 1.5, N)]
ROWS = np.linspace(-1, 1, 20_000).reshape(-1, 4)

FUNCTIONS = {
    chain.__name__: lambda ws, x, chain=chain: np.sum(chain(ws, x))
    for chain in (benchmark.plain, benchmark.each, benchmark.groups, benchmark.halves)
}


def peak(call):
    """The most memory that a call holds at a time, in results of the size of ``x``."""
    release()  # or it would find memory that earlier calls have left
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / ROWS.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit], ids=["un-jitted", "jit"])
@pytest.mark.parametrize("argnums", [0, 1, (0, 1), (1, 0)], ids=str)
def test_the_peak_of_memory_falls_as_promised(wrap, argnums):
    peaks, grads = {}, {}
    for name, f in FUNCTIONS.items():
        derive = wrap(fg.grad(f, argnums))
        for _ in range(2):
            grads[name] = fg.tree.leaves(derive(WS, ROWS))
        peaks[name] = peak(lambda derive=derive: derive(WS, ROWS))
        for got, want in zip(grads[name], grads["plain"], strict=True):
            close(got, want, rtol=1e-12)
    assert peaks["plain"] > 3 * N
    assert peaks["each"] < N + 14  # one result of each step, and what one step needs
    assert peaks["groups"] < peaks["plain"] / 3  # one of each group, and what one group needs
    assert peaks["halves"] < 20  # one of each level, and what one step needs


def test_the_pullback_of_vjp_keeps_little():
    kept = {}
    for name in ("plain", "halves"):
        tracemalloc.start()
        _, pull = fg.vjp(FUNCTIONS[name], WS, ROWS)
        kept[name] = tracemalloc.get_traced_memory()[0] / ROWS.nbytes
        tracemalloc.stop()
        assert np.all(np.isfinite(pull(1.0)[1]))
    assert kept["plain"] > 3 * N
    assert kept["halves"] < 4


def test_the_benchmark_prints_a_table(capsys):
    benchmark.main(["--steps", "4", "--rows", "8", "--width", "2", "--repeats", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 8
    assert lines[2].startswith("| 4 | plain | no |")


def test_parts_that_are_surely_zero_are_zero_in_forward_mode_too():
    a = np.array([[2.0, 1.0], [0.5, 3.0]])
    sign = fg.checkpoint(lambda a: np.linalg.slogdet(a)[0])
    assert fg.jvp(sign, (a,), (a,)) == (1.0, 0.0)
    empty = fg.checkpoint(lambda a: np.linalg.slogdet(a)[1])
    assert fg.jvp(empty, (np.zeros((0, 0)),), (np.zeros((0, 0)),)) == (0.0, 0.0)


def test_functions_of_zeros_need_not_be_zero():
    x = np.array([1.0, 2.0])
    f = lambda x: np.sum(np.cos(np.zeros_like(x)) * x)
    assert np.all(fg.grad(fg.checkpoint(f))(x) == 1)
    assert fg.jvp(fg.checkpoint(f), (x,), (x,))[1] == 3
