"""What programs keep between calls: nobody sees it, everything else is as if they kept nothing."""

import gc
import os
import sys
import threading
import tracemalloc
import weakref
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from fungrad._evaluate import interpret
from fungrad._gradient import gradient
from fungrad._simplify import simplify
from fungrad.compile import pool, scratch
from fungrad.compile.pool import Pool, Spot
from tests._checks import LAYOUTS, graph_of, same_bits
from tests.laws.programs import programs, share
from tests.test_compile import PROGRAMS

source_module = import_module("fungrad.compile.source")
FLOAT = np.dtype(float)


@pytest.fixture
def keep_everything(monkeypatch):
    """Short arrays are kept, too."""
    monkeypatch.setattr(scratch, "LEAST", 1)
    monkeypatch.setattr(scratch, "WORTHWHILE", 1)


def kept(text):
    return "kept between calls" in text


def check(graph, *calls):
    """Results of one call are what they were after the next ones; the source."""
    graph = simplify(graph)
    flags = tuple(bool(np.asarray(v).flags.c_contiguous) for v in calls[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "LEAST", 1)
        patch.setattr(scratch, "WORTHWHILE", 1)
        compiled = source_module.build(graph, flags)
        text, _ = source_module.generate(graph, flags)
    want = [interpret(graph, values) for values in calls]
    got = [compiled(*values) for values in calls for _ in range(2)]
    for i, results in enumerate(got):
        for a, b in zip(results, want[i // 2], strict=True):
            same_bits(a, b, text)
    return text


# --- bits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_results_stay_as_they_are(name, layout):
    x = np.random.default_rng(1).normal(size=(3, 3))
    graph, values = graph_of(PROGRAMS[name], [LAYOUTS[layout](x)])
    other = [LAYOUTS[layout](x.T + 1), *values[1:]]
    check(graph, values, other)


@share(2)
@given(programs(dtypes=("float64", "float32")), st.integers(0, 2**16))
def test_random_programs(program, seed):
    calls = [program.inputs(seed), program.inputs(seed + 1)]
    graph, values = graph_of(program, calls[0])
    check(graph, values, [*calls[1], *values[len(calls[1]) :]])


@share(2)
@given(programs(scalar=True, dtypes=("float64", "float32")), st.integers(0, 2**16))
def test_gradients_of_random_programs(program, seed):
    calls = [program.inputs(seed), program.inputs(seed + 1)]
    graph, values = graph_of(program, calls[0])
    back = gradient(graph, tuple(range(len(calls[0]))), True)
    check(back, values, [*calls[1], *values[len(calls[1]) :]])


def test_a_chain_is_kept_and_its_result_is_not():
    f = lambda x: np.tanh(np.sin(x) * 2 + x) @ x
    graph, values = graph_of(f, [np.ones((5, 5))])
    text = check(graph, values)
    assert kept(text)
    assert "out=s0" in text
    final = text[text.rindex("np.matmul") : text.index("return")]
    assert "out=" not in final


# --- who sees it ---------------------------------------------------------------------------------


def test_code_of_users_may_keep_what_it_is_given(keep_everything):
    seen = []

    def watch(x):
        seen.append(x)
        return np.sum(x)

    def f(x):
        y = np.sin(x) * 2
        total = fg.pure_callback(watch, fg.ShapeDtypeStruct(()), y.T)
        return np.sum(np.cos(np.exp(x) + y) * np.tanh(x * 3)) + total

    jitted = fg.jit(f)
    x = np.linspace(0, 1, 12).reshape(3, 4)
    for k in range(4):
        jitted(x + k)
    assert kept(fg.source(f, x))
    for k, array in enumerate(seen[-4:]):
        same_bits(np.array(array), np.sin(x + k).T * 2, f"call {k}")


def test_a_call_inside_of_a_call_has_its_own(keep_everything):
    depth = [0]

    def inner(x):
        if depth[0] == 3:
            return np.sum(x)
        depth[0] += 1
        try:
            return jitted(np.asarray(x) + 1)
        finally:
            depth[0] -= 1

    def f(x):
        y = np.sin(x) * 2
        deeper = fg.pure_callback(inner, fg.ShapeDtypeStruct(()), x)
        return np.sum(np.exp(y + deeper * 1e-3) * np.cos(y * 3))

    jitted = fg.jit(f)
    x = np.linspace(0, 1, 12)

    def plainly(x, depth=0):
        y = np.sin(x) * 2
        deeper = np.sum(x) if depth == 3 else plainly(x + 1, depth + 1)
        return np.sum(np.exp(y + deeper * 1e-3) * np.cos(y * 3))

    for _ in range(4):
        assert jitted(x) == plainly(x)


def test_threads_have_their_own(keep_everything):
    f = lambda x: (np.tanh(np.sin(x) * 2 + x.T) @ x).sum(0)
    jitted, wrong = fg.jit(f), []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def work(k):
        x = np.random.default_rng(k).normal(size=(16, 16))
        want = f(x)
        wrong.extend([k for _ in range(200) if not np.array_equal(jitted(x), want)])

    try:
        workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_what_a_traceback_holds_is_not_written_to(keep_everything):
    f = fg.jit(lambda x: np.sum(np.log(np.sin(x) * 2 - 1) * np.exp(x)))
    x = np.full(5, 1.0)
    f(x), f(x)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError) as info:
        f(x - 1)
    frame = info.traceback[-1].frame.f_locals
    arrays = {name: (a, a.copy()) for name, a in frame.items() if isinstance(a, np.ndarray)}
    assert any(name[0] == "s" for name in arrays)
    want = np.sum(np.log(np.sin(x) * 2 - 1) * np.exp(x))
    for _ in range(3):
        assert f(x) == want
    for array, copy in arrays.values():
        same_bits(array, copy, "a local variable of the failed call")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_writes_to_its_own(keep_everything):
    f = fg.jit(lambda x: np.sum(np.exp(np.sin(x) * 2) * np.cos(x)))
    x = np.linspace(0, 1, 9)
    want, other = f(x), float(np.sum(np.exp(np.sin(x + 1) * 2) * np.cos(x + 1)))
    child = os.fork()
    if child == 0:
        os._exit(0 if all(f(x + 1) == other for _ in range(5)) else 1)
    assert all(f(x) == want for _ in range(50))
    assert os.waitpid(child, 0)[1] == 0


# --- how much ------------------------------------------------------------------------------------


def large():
    x = np.ones((300, 300))
    return fg.jit(lambda x: np.sum((np.sin(x) @ np.cos(x)) @ np.exp(x))), x


def test_later_calls_allocate_no_large_temporaries():
    f, x = large()
    f(x), f(x)
    tracemalloc.start()
    f(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * x.nbytes


@pytest.fixture
def nothing_kept():
    pool.release()
    yield
    pool.release()


def pool_of(count):
    return Pool([Spot(0, (count,), np.dtype(np.int8))])


def test_memory_goes_with_the_last_program_that_used_it(nothing_kept):
    one, two = pool_of(1000), pool_of(500)
    one.give(one.take())
    two.give(two.take())
    assert pool.held() == 1000
    del one
    gc.collect()
    assert pool.held() == 1000
    del two
    gc.collect()
    assert pool.held() == 0


def test_arrays_are_where_they_should_be(nothing_kept):
    p = Pool([Spot(0, (3, 2), FLOAT), Spot(64, (5,), np.dtype(np.int8)), Spot(0, (), FLOAT)])
    a, b, c = p.take()
    assert [x.shape for x in (a, b, c)] == [(3, 2), (5,), ()]
    assert [x.dtype.name for x in (a, b, c)] == ["float64", "int8", "float64"]
    assert all(x.ctypes.data % pool.ALIGNMENT == 0 for x in (a, b, c))
    assert np.shares_memory(a, c)
    assert not np.shares_memory(a, b)
    again = p.take()
    assert not np.shares_memory(again[0], a)
    p.give(again)
    assert p.take() is again


def test_programs_take_turns_with_one_piece_which_grows(nothing_kept):
    pools = [pool_of(count) for count in (100, 1000, 500, 3000, 200)]
    for _ in range(3):
        for p in pools:
            arrays = p.take()
            assert pool.held() == 0
            p.give(arrays)
            assert pool.held() == arrays.piece.size >= p.nbytes
    assert pool.held() == 3000
    inside = [p.take() for p in pools]
    for i, arrays in enumerate(inside):
        assert not any(np.shares_memory(arrays[0], other[0]) for other in inside[:i])
    for p, arrays in zip(pools, inside, strict=True):
        p.give(arrays)
    assert len(pool._idle) == 5


def test_what_is_kept_is_bounded(nothing_kept, monkeypatch):
    monkeypatch.setattr(pool, "MOST_BYTES", 10_000)
    pools = [pool_of(count) for count in (1000, 2000, 3000, 4000, 5000)]
    inside = [p.take() for p in pools]
    first = weakref.ref(inside[0].piece.memory)
    for p, arrays in zip(pools, inside, strict=True):
        p.give(arrays)
    assert pool.held() == 15_000  # what was in use at once
    del inside, arrays
    outer = pools[4].take()
    larger = pool_of(6000)
    larger.give(larger.take())
    assert pool.held() <= 10_000
    assert first() is None
    pools[4].give(outer)


def test_disused_memory_is_released(nothing_kept, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pool, "monotonic", lambda: now[0])
    pools = [pool_of(count) for count in (1000, 2000, 3000)]
    for p, arrays in zip(pools, [p.take() for p in pools], strict=True):
        p.give(arrays)
    now[0] = pool.DISUSED + 1
    pools[1].give(pools[1].take())
    larger = pool_of(9000)
    larger.give(larger.take())  # in the place of 3000
    assert pool.held() == 2000 + 9000


def test_an_exception_leaves_nothing_behind(nothing_kept, keep_everything):
    f = fg.jit(lambda x: np.sum(np.log(np.sin(x) * 2) * np.exp(x)))
    f(np.ones(5)), f(np.ones(5))
    held = pool.held()
    assert held > 0
    with np.errstate(all="raise"):
        for _ in range(3):
            with pytest.raises(FloatingPointError):
                f(-np.ones(5))
    gc.collect()
    assert pool.held() == 0
    f(np.ones(5))
    assert pool.held() == held


def test_memory_is_released_where_there_is_too_little(nothing_kept, monkeypatch):
    one, two = pool_of(1000), pool_of(2000)
    inside = one.take()
    two.give(two.take())
    one.give(inside)
    plain, calls = np.empty, []

    def empty(count, dtype):
        calls.append(pool.held())
        if pool.held():
            raise MemoryError
        return plain(count, dtype)

    monkeypatch.setattr(pool.np, "empty", empty)
    three = pool_of(5000)
    three.take()
    assert calls == [1000, 0]


def test_a_program_that_needs_too_much_keeps_nothing(monkeypatch):
    f, x = large()
    assert kept(fg.source(f, x))
    monkeypatch.setattr(scratch, "MOST_BYTES", x.nbytes)
    assert not kept(fg.source(f, x + 0.0))


LIVES = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 10), st.integers(1, 100)), max_size=40
)


@given(LIVES, st.sampled_from([scratch._packed, scratch._packed_well]))
def test_what_lives_at_once_does_not_overlap(drawn, pack):
    lives = sorted([(start, start + length, size) for start, length, size in drawn])
    offsets, total = pack(lives)
    placed = [(*life, at) for life, at in zip(lives, offsets, strict=True)]
    for i, (start, end, size, at) in enumerate(placed):
        assert 0 <= at <= at + size <= total
        for other_start, other_end, other_size, other in placed[:i]:
            apart = other_end < start or end < other_start
            assert apart or other + other_size <= at or at + size <= other
    assert total <= sum(size for *_, size in lives)


def test_what_lives_one_after_the_other_shares_memory():
    lives = [(i, i + 1, 100 - i) for i in range(50)]
    assert scratch._packed(lives)[1] == 199


def test_packing_wastes_little():
    rng = np.random.default_rng(0)
    lengths, sizes = rng.choice([1, 2, 5, 500], 1000), rng.integers(1, 100, 1000)
    lives = [(i, i + int(n), int(k)) for i, (n, k) in enumerate(zip(lengths, sizes, strict=True))]
    used = np.zeros(1501, int)
    for start, end, size in lives:
        used[start : end + 1] += size
    assert scratch._packed(lives)[1] < 1.1 * used.max()


def test_what_is_large_finds_room_where_much_that_is_small_was_before():
    forward = [(i, 200 - i, 24) for i in range(100)]
    backward = [(101 + i, 300, 16) for i in range(100)]
    lives = [*forward, *backward, (300, 301, 1600)]
    used = np.zeros(302, int)
    for start, end, size in lives:
        used[start : end + 1] += size
    assert scratch._packed(lives)[1] > 1.2 * used.max()
    assert scratch._packed_well(lives)[1] < 1.02 * used.max()


def test_joined_and_scattered_arrays_are_kept():
    def joined(x):
        pieces = np.concatenate([np.sin(x), np.cos(x)], axis=0)
        return np.sum(np.exp(pieces))

    def scattered(x):
        return np.sum(np.tanh(fg.grad(lambda x: np.sum(x[1:] * x[:-1] * np.sin(x[1:])))(x)))

    def at_places(x):
        return np.sum(np.tanh(fg.grad(lambda x: np.sum(x[[0, 2, 0]] ** 3))(x)))

    rng = np.random.default_rng(2)
    for f, text in [
        (joined, "np.concatenate(("),
        (scattered, "np.copyto("),
        (at_places, ".fill(0)"),
    ]:
        for shape in [(4, 3), (40, 300)]:
            first, second = rng.normal(size=(2, *shape))
            graph, values = graph_of(f, [first])
            found = check(graph, values, [second, *values[1:]])
            assert text in found or (f is scattered and ".fill(0)" in found)
            assert "out=s" in found or " = s" in found
