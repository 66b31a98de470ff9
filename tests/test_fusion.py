"""Operations that run block by block give the bits of whole arrays, on any number of threads."""

import ast
import os
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fungrad as fg
from fungrad._evaluate import interpret
from fungrad._gradient import gradient
from fungrad._simplify import simplify
from fungrad._vjp import pullback
from fungrad.compile import blocks, fuse, loops, work
from fungrad.compile.source import build, generate
from tests._checks import LAYOUTS, check_untouched, graph_of, normal_like, same_bits
from tests.laws.programs import programs, share


def cut_everything(patch, cache):
    patch.setattr(fuse, "CACHE", cache)
    patch.setattr(fuse, "WORTHWHILE", 2)
    patch.setattr(loops, "BUSY", 0)


def check(graph, values, what="", cache=64):
    """The graph, cut into small blocks, on one and on three threads, against the interpreter."""
    graph = simplify(graph)
    want = interpret(graph, values)
    flags = tuple(bool(np.asarray(v).flags.c_contiguous) for v in values)
    before = [np.copy(v) for v in values]
    with pytest.MonkeyPatch.context() as patch:
        cut_everything(patch, cache)
        text, _ = generate(graph, flags)
        compiled = build(graph, flags)
        for threads in (1, 3):
            with fg.config(threads=threads):
                got = compiled(*values)
            for a, b in zip(got, want, strict=True):
                same_bits(a, b, f"{what}\n{text}")
            check_untouched(got, values, before, what)
    return text


x, col, row = np.random.default_rng(0).normal(size=(40, 6)), np.ones((40, 1)), np.arange(6.0)
cube = np.random.default_rng(1).normal(size=(20, 5, 6))
PROGRAMS = {
    "chain": (lambda x: np.tanh(np.sin(x) * 2 + x) - x, x),
    "sum of a chain": (lambda x: np.sum(np.sin(x) * x), np.linspace(-3, 3, 5001)),
    "sum and chain": (lambda x: (np.sum(np.sin(x) * x), np.exp(x) * 2 - 1), np.ones(3001)),
    "two sums": (lambda x: (np.sum(np.sin(x) * x), np.sum(np.cos(x) - x)), np.ones(777)),
    "sum, then used": (lambda x: np.exp(x) / np.sum(np.exp(x)) * 2, np.linspace(0, 1, 1000)),
    "softmax": (lambda x: (lambda e: e / e.sum(-1, keepdims=True))(
        np.exp(x - x.max(-1, keepdims=True))), x),
    "normalised": (lambda x: (x - x.mean(0)) / (x.std(0) + 1), x),
    "rows summed": (lambda x: np.sum(np.sin(x) * x, axis=0), x),
    "rows summed, and kept": (lambda x: (lambda y: (np.sum(y, axis=0), y * 2))(np.sin(x) * x), x),
    "rows of a cube summed": (lambda c: np.sum(np.sin(c) * c, axis=(0, 1)), cube),
    "matrices of a cube summed": (lambda c: np.sum(np.sin(c) * c, axis=0), cube),
    "the middle summed": (lambda c: np.exp(np.sum(np.sin(c) * c, axis=1)) * 2, cube),
    "bias": (lambda x: np.tanh(x * row + row) - row, x),
    "column": (lambda x: np.tanh(x * col + col) - x, x),
    "row and column": (lambda x: np.tanh(x * col - row) * x + row, x),
    "own first row": (lambda x: np.exp(x) - np.exp(x)[0] + np.exp(x)[:1], x),
    "own first column": (lambda x: np.exp(x) - np.exp(x)[:, :1] * 2, x),
    "square as row and column": (lambda x: np.exp(x) + np.exp(x)[:, 0] * 2, x[:6]),
    "own transpose": (lambda x: np.exp(x) + np.exp(x).T * 2, x[:6]),
    "reshaped": (lambda x: np.exp(x).reshape(-1) * 2 + np.ravel(x), x),
    "reshaped within rows": (lambda c: np.exp(c).reshape(20, 30) * 2 - 1, cube),
    "where": (lambda x: np.where(x > 0, np.sqrt(np.abs(x)), -x) * 2 + x, x),
    "masks": (lambda x: ((x > 0) & ~(x > 1) | (x < -1)) * x + np.isnan(x), x),
    "casts": (lambda x: (x.astype(np.float32) * 2).astype(np.float64) + x.astype(np.int64), x),
    "counts": (lambda x: (np.sum(x > 0, axis=1), np.sum((x > 0) & (x < 1), axis=0)), x),
    "slices": (lambda x: np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), np.ravel(x)),
    "sigmoid": (lambda x: fg.nn.sigmoid(x) * fg.nn.relu(x) + fg.nn.softplus(x), x),
    "views of what is kept": (lambda x: (lambda y: (y.reshape(-1), y.T, y[:, 1:] * 2))(np.exp(x) - 1), x),
    "scaled by one entry": (lambda x: np.exp(x) * x[0, 0] + np.sum(x) * np.sin(x), x),
    "between two matrix products": (lambda x: np.tanh(np.exp(x) @ np.ones((6, 6)) * 2) @ np.ones((6, 2)), x),
    "choices": (lambda x: np.where(x > 0, x, 0) + np.where(x < 1, 0.0, x) + np.where(x > 0, x, -0.0), x),
    "choices between arrays": (lambda x: np.where(np.sin(x) > 0, x * 2, np.where(x > 0, 1.5, -x)), x),
    "choices by columns": (lambda x: np.where(x[:, :1] > 0, x, row) * np.where(x > 0, x[:, :1], 0), x),
    "choices of other dtypes": (
        lambda x: np.where(x > 0, x.astype(np.float32), x) + np.where(x > 0, 1, 2), x),
    "choices in float32": (
        lambda x: np.where(x > 0, x * 2, 0) - np.where(x > 0.5, 0.1, x), x.astype(np.float32)),
    "mean of a window": (
        lambda c: np.maximum(
            np.stack([c[:, i : i + 4, j : j + 4] for i in range(2) for j in range(2)], -1), 0)
        .reshape(20, 2, 2, 2, 2, 4).mean((2, 4)) * 2, cube),
    "short rows": (lambda x: np.sum(np.sin(x[:, None] - x[None, :5]) ** 2, axis=2) * 2, np.tile(x, (30, 1))),
    "float32": (lambda x: np.sum(np.tanh(x * 2.5) * x - 1, axis=0), x.astype(np.float32)),
    "float16": (lambda x: np.mean(np.tanh(x * 2.5) * x - 1, axis=0), x.astype(np.float16)),
    "integers": (lambda x: np.sum((x * 10).astype(np.int64) // 3 % 4 - 1), x),
    "complex": (lambda x: np.abs((x * 1j + 2) * (x - 1j)) + (x * 1j).real, x),
    "single column": (lambda x: np.sum(np.sin(x) * x, axis=0), x.reshape(-1, 1)),
    "mixed lengths": (lambda x: np.sum(np.exp(x) * 2, axis=1) * np.sum(np.sin(x) + 1, axis=1), x),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_blocks_give_the_bits_of_the_whole(name, layout):
    f, value = PROGRAMS[name]
    graph, values = graph_of(f, [LAYOUTS[layout](value)])
    check(graph, values, name)
    if value.dtype.kind == "f" and graph.outputs[0].aval.dtype.kind == "f":
        ct = normal_like(np.random.default_rng(1), interpret(graph, values)[0])
        check(pullback(graph, (0,), (0,)), [*values, ct], f"pullback of {name}")


@share(2)
@given(
    programs(dtypes=("float64", "float32")), st.integers(0, 2**16), st.sampled_from([16, 64, 4096])
)
def test_random_programs(program, seed, cache):
    x = program.inputs(seed)
    graph, values = graph_of(program, x)
    check(graph, values, "value", cache)


@share(2)
@given(
    programs(scalar=True, dtypes=("float64", "float32")),
    st.integers(0, 2**16),
    st.sampled_from([16, 200]),
)
def test_gradients_of_random_programs(program, seed, cache):
    x = program.inputs(seed)
    graph, values = graph_of(program, x)
    check(gradient(graph, tuple(range(len(x))), True), values, "gradient", cache)


@pytest.mark.parametrize(
    "name",
    [name for name in PROGRAMS if name not in ("complex", "own transpose", "mean of a window")],
)
def test_almost_every_program_is_cut(name):
    f, value = PROGRAMS[name]
    graph, values = graph_of(f, [value])
    assert "def g0(blocks, " in check(graph, values)


@pytest.mark.parametrize("n", [1, 7, 128, 129, 255, 256, 257, 1000, 4097, 100_003])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_a_sum_is_cut_where_numpy_cuts(n, dtype):
    x = (np.random.default_rng(n).normal(size=n) * 1000).astype(dtype)
    for limit in (256, 1000, 4096):
        cut = blocks.halves(n, limit)
        assert [r.start for _, r, _ in cut] == [0, *[r.stop for _, r, _ in cut[:-1]]]
        assert all(r.stop - r.start == size <= limit for _, r, size in cut)
        assert cut[-1][1].stop == n
        sums = np.array([np.add.reduce(x[r]) for _, r, _ in cut])
        assert blocks.total(sums, n, limit) == np.add.reduce(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", range(2, 34))
def test_short_rows_are_added_in_numpys_order(n, dtype):
    x = np.random.default_rng(n).normal(size=(50, n)).astype(dtype)
    x[:5], x[5], x[6, 0], x[7, 1] = -0.0, np.inf, np.nan, -np.inf
    same_bits(blocks.sum_short(x), np.add.reduce(x, axis=-1), "sum")
    out = np.empty(50, dtype)
    assert blocks.sum_short(x, out=out) is out
    same_bits(out, np.add.reduce(x, axis=-1), "out")


SUMMED = [
    ((300, 5), (0,)),
    ((20, 40, 6), (1,)),
    ((20, 40, 6), (0, 1)),
    ((5, 200, 2, 3), (1,)),
    ((400, 32), (0,)),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("shape", "axis"), SUMMED)
def test_rows_are_added_in_numpys_order(shape, axis, dtype):
    rng = np.random.default_rng(len(shape))
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-9, 9, shape)).astype(dtype)
    x[..., 0], x[1, ..., 1], x.flat[7:11] = -0.0, 1e-30, [np.inf, np.nan, -np.inf, -0.0]
    with np.errstate(invalid="ignore"):
        want = np.add.reduce(x, axis=axis)
        same_bits(blocks.sum_rows(x, axis[0], axis[-1] + 1), want, "sum")
        out = np.empty_like(want)
        assert blocks.sum_rows(x, axis[0], axis[-1] + 1, out=out) is out
        same_bits(out, want, "out")
        f = lambda x: np.sum(np.negative(np.negative(x) * 1.0), axis=axis)
        assert "blocks.sum_rows" in fg.source(f, x)
        graph, values = graph_of(f, [x])
        assert "blocks.sum_rows" in check(graph, values, cache=4096)


@pytest.mark.parametrize("largest", [np.float64(1e308), np.float32(1e38)])
def test_sums_of_rows_that_overflow_say_so(largest):
    x = np.full((300, 5), largest)
    f = fg.jit(lambda x: np.sum(x, axis=0))
    assert "sum_rows" in fg.source(lambda x: np.sum(x, axis=0), x)
    for _ in range(3):
        with pytest.warns(RuntimeWarning, match="overflow encountered in reduce"):
            assert np.isposinf(f(x)).all()
        with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
            f(x)


@pytest.mark.parametrize("shape", [(300, 1), (300, 33), (20, 5), (300, 5, 1)])
def test_other_rows_are_added_by_reductions(shape):
    f = lambda x: np.sum(x * 2.0, axis=0)
    assert "sum_rows" in fg.source(f, np.ones((300, 5)))
    assert ("sum_rows" in fg.source(f, np.ones(shape))) == (shape == (300, 5, 1))
    assert "sum_rows" not in fg.source(f, np.ones((300, 5), np.float16))
    assert "sum_rows" not in fg.source(lambda x: np.sum(x * 2, axis=0), np.ones((300, 5), int))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_choice_by_bits_is_where(dtype):
    values = np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan], dtype)
    x, y = (v.ravel() for v in np.meshgrid(values, values))
    mask = np.arange(x.size) % 3 == 0
    wide = np.asarray(-0.0, dtype)
    for a, b in ((x, y), (x, None), (None, y), (x, wide), (wide, y)):
        want = np.where(mask, *[dtype(0) if v is None else v for v in (a, b)])
        same_bits(blocks.select(mask, a, b, np.empty_like(x)), want, "select")


def test_a_long_array_is_cut():
    f = lambda x: np.sum(np.tanh(x * 2) * x + np.sqrt(x))
    x = np.random.default_rng(0).random(300_000)
    text = fg.source(fg.value_and_grad(f), x)
    assert text.count("def ") == 2
    assert "blocks of up to" in text
    assert "np.empty((300000,)" in text
    jitted = fg.jit(fg.value_and_grad(f))
    first = interpret(*graph_of(fg.value_and_grad(f), [x]))
    for threads in (1, 2, 5, None):
        with fg.config(threads=threads):
            again = jitted(x)
        for a, b in zip(again, first, strict=True):
            same_bits(a, b, f"{threads} threads")
    assert first[0] == f(x)


def test_the_first_call_with_long_arrays_needs_no_long_temporaries():
    def chain(x):
        for i in range(40):
            x = np.cos(x) - i
        return x

    x = np.ones(1_000_000)
    tracemalloc.start()
    fg.jit(chain)(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * x.nbytes


def test_bytes_in_another_order():
    f = lambda x: np.where(np.sin(x) > 0, x, x * 2) + np.where(x > 0, x, 0)
    assert "blocks.select" in fg.source(f, np.ones(200_000))
    x = np.linspace(-3, 3, 200_000).astype(">f8")
    jitted = fg.jit(f)
    for _ in range(3):
        same_bits(jitted(x), f(x).astype(float), "swapped")


def test_short_arrays_are_not_cut():
    f = lambda x: np.sum(np.tanh(x * 2) * x + np.sqrt(x))
    assert "blocks" not in fg.source(fg.grad(f), np.ones(5000))


def test_the_source_of_loops_is_safe():
    text = fg.source(lambda x: np.sum(np.tanh(x * 2) * x, axis=0), np.ones((30_000, 10)))
    tree = ast.parse(text)
    for node in ast.walk(tree):
        assert not isinstance(node, (ast.Import, ast.ImportFrom, ast.Lambda, ast.JoinedStr))
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, (int, float, bool, type(None)))


# --- threads -------------------------------------------------------------------------------------


def in_blocks(n=300_000):
    return fg.jit(lambda x: np.sqrt(x) * np.exp(x) + np.log(x)), np.full(n, 0.5)


@pytest.mark.parametrize("threads", [1, 3])
def test_errstate_holds_in_all_threads(threads):
    f, x = in_blocks()
    f(x), f(x)
    x[-1] = -1.0
    with fg.config(threads=threads):
        with np.errstate(all="ignore"):
            assert np.isnan(f(x)[-1])
        with np.errstate(all="raise"), pytest.raises(FloatingPointError):
            f(x)
        with pytest.warns(RuntimeWarning):
            f(x)


def test_many_threads_call_one_function_at_once():
    f, x = in_blocks()
    want = f(x)
    f(x)
    wrong = []

    def work(k):
        with fg.config(threads=2):
            for _ in range(5):
                if not np.array_equal(f(x), want):
                    wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_works_on_threads_of_its_own():
    f, x = in_blocks()
    want = f(x)
    with fg.config(threads=3):
        f(x)
        child = os.fork()
        if child == 0:
            ok = np.array_equal(f(x), want)
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_work_goes_on_without_new_threads(monkeypatch):
    f, x = in_blocks()
    want = f(x)

    class Closed:
        def submit(self, *_):
            raise RuntimeError("cannot schedule new futures after shutdown")

    monkeypatch.setattr(blocks, "_pool", lambda threads: Closed())
    with fg.config(threads=4):
        assert_array_equal(f(x), want)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [100, 5000, 300_000])
def test_true_is_every_byte_but_zero(n, dtype):
    """An image's mask of 0 and 255, seen as booleans, and what is made of it."""
    mask = (np.arange(n) % 2 * 255).astype(np.uint8).view(bool)
    x = np.linspace(-1, 1, n, dtype=dtype)
    for f in (
        lambda m, x: np.where(m, x, 0.0),
        lambda m, x: np.where(m[::-1], np.tanh(x) * 2 + 1, x),
        lambda m, x: np.where(~m, np.exp(x), x * x) - 1,
        lambda m, x: np.where(m & (x > 0), np.exp(x), x * x) - 1,
    ):
        want, g = f(mask, x), fg.jit(f)
        for _ in range(3):
            same_bits(g(mask, x), want, "a mask")


@pytest.mark.parametrize("f", [np.exp, np.negative, lambda x: np.sum(x), lambda x: np.sum(x) / 3])
def test_a_long_operation_that_is_alone_runs_in_large_blocks(f):
    n = work.BUSY if f is np.exp else 4 * work.BUSY
    x = np.random.default_rng(0).normal(size=n + 3)
    assert "def g0(blocks, " in fg.source(f, x)
    assert "def g0(blocks, " not in fg.source(f, x[:-4])
    g = fg.jit(f)
    for threads in (1, 3):
        with fg.config(threads=threads):
            for _ in range(3):
                same_bits(g(x), f(x), f"{threads} threads")


def test_a_total_that_founds_a_group_keeps_others_together():
    """The exponential is divided in its own blocks, which have to wait for the sum."""

    def f(x):
        return np.exp(x) / np.sum(x)

    x = np.random.default_rng(0).normal(size=4 * work.BUSY + 3)
    text = fg.source(f, x)
    assert "def g1(blocks, " in text
    assert "def g2(blocks, " not in text
    same_bits(fg.jit(f)(x), f(x), "quotient")
