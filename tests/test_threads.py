"""Spreading work over threads: the same bits, the same errors, and nothing left behind."""

import gc
import os
import signal
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fungrad as fg
from fungrad.compile import blocks, cuts

TEN = blocks.rows(100, 10)


def held_up(work):
    """``work`` that takes its time for every block, so that all threads get some."""

    def slow(share, *operands):
        def taken():
            for block in share:
                time.sleep(0.002)
                yield block

        work(taken(), *operands)

    return slow


def fill(share, out, *who):
    for i, r, n in share:
        out[r] += i + 1
        assert len(out[r]) == n
        if who:
            who[0].add(threading.get_ident())


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 40])
def test_every_block_is_worked_on_once(threads):
    out, who = np.zeros(100), set()
    blocks.spread(held_up(fill), TEN, (out, who), threads)
    assert np.array_equal(out, np.repeat(np.arange(10) + 1.0, 10))
    assert 1 < len(who) <= threads or who == {threading.get_ident()}
    assert (len(who) == 1) == (threads == 1)


def test_one_thread_has_no_pool(monkeypatch):
    monkeypatch.setattr(blocks, "_pool", None)
    out = np.zeros(100)
    blocks.spread(fill, TEN, (out,), 1)
    blocks.spread(fill, TEN[:1], (out,), 4)  # nothing to share
    assert out[0] == 2
    assert out[99] == 10


def test_no_more_threads_are_woken_than_there_is_work(monkeypatch):
    pool, woken = blocks._pool, []

    class Counting:
        def __init__(self, threads):
            self._pool = pool(threads)

        def submit(self, *args):
            woken.append(args)
            future = self._pool.submit(*args)
            future.result()  # it is done before the next one is woken
            return future

    monkeypatch.setattr(blocks, "_pool", Counting)
    out = np.zeros(100)
    blocks.spread(fill, TEN, (out,), 8)
    assert len(woken) == 1
    assert np.array_equal(out, np.repeat(np.arange(10) + 1.0, 10))


def test_who_is_slow_gets_fewer_blocks():
    done, first = [], threading.Lock()

    def work(share):
        slow = first.acquire(blocking=False)
        for i, _, _ in share:
            done.append((slow, i))
            time.sleep(0.1 if slow else 0.001)

    blocks.spread(work, TEN, (), 2)
    assert sorted(i for _, i in done) == list(range(10))
    assert sum(slow for slow, _ in done) < 5


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("fails", [0, 3, 9])
def test_the_first_of_several_errors_is_raised(threads, fails):
    def work(share):
        for i, _, _ in share:
            time.sleep(0.02 if i == fails else 0.002)  # later ones fail before
            if i >= fails:
                raise ValueError(i)

    for _ in range(3):
        with pytest.raises(ValueError, match=f"^{fails}$"):
            blocks.spread(work, TEN, (), threads)
    test_every_block_is_worked_on_once(2)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_no_block_begins_after_one_has_failed(threads):
    begun = []

    def work(share):
        for i, _, _ in share:
            begun.append(i)
            if i == 2:
                raise KeyboardInterrupt
            time.sleep(0.01)

    for _ in range(3):
        begun.clear()
        with pytest.raises(KeyboardInterrupt):
            blocks.spread(work, TEN, (), threads)
        after = len(begun)
        time.sleep(0.02)
        assert len(begun) == after < 10
    test_every_block_is_worked_on_once(2)


def test_nobody_holds_on_to_an_array():
    out = np.zeros(100)
    seen = weakref.ref(out)

    def work(share, out):
        for i, _, _ in share:
            if i == 5:
                raise ValueError(i)

    gc.disable()
    try:
        for threads in (1, 2):
            with pytest.raises(ValueError, match="5"):
                blocks.spread(held_up(work), TEN, (out,), threads)
            blocks.spread(held_up(fill), TEN, (out,), threads)
        del out
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers on this system")
def test_an_interrupt_is_heard_while_others_work():
    mine, late = threading.get_ident(), []

    def work(share):
        for i, _, _ in share:
            if threading.get_ident() == mine:
                while True:
                    time.sleep(0.001)
            time.sleep(0.05)
            late.append(i)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.06)
        with pytest.raises(KeyboardInterrupt):
            blocks.spread(work, TEN, (), 2)
        after = len(late)
        time.sleep(0.1)
        assert len(late) == after < 9  # nobody writes to the operands any more
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    test_every_block_is_worked_on_once(2)


def test_work_that_spreads_work_waits_for_nobody():
    """With all threads of the pool taken, nobody would come to help."""
    out = np.zeros((10, 100))

    def work(share, out):
        for i, _, _ in share:
            blocks.spread(held_up(fill), TEN, (out[i],), 2)

    blocks.spread(work, TEN, (out,), 2)
    assert np.array_equal(out, np.tile(np.repeat(np.arange(10) + 1.0, 10), (10, 1)))


def test_many_threads_share_one_pool():
    outs = [np.zeros(100) for _ in range(12)]
    users = [
        threading.Thread(target=blocks.spread, args=(held_up(fill), TEN, (out,), 2)) for out in outs
    ]
    for user in users:
        user.start()
    for user in users:
        user.join(20)
        assert not user.is_alive()
    for out in outs:
        assert np.array_equal(out, np.repeat(np.arange(10) + 1.0, 10))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_born_while_threads_work_has_threads_of_its_own():
    codes = []

    def work(share, out):
        for i, r, _ in share:
            if i == 0:
                child = os.fork()
                if child == 0:
                    own, who = np.zeros(100), set()
                    blocks._thread.of_pool = False
                    blocks.spread(held_up(fill), TEN, (own, who), 2)
                    os._exit(0 if len(who) == 2 and own[99] == 10 else 1)
                codes.append(os.waitpid(child, 0)[1])
            out[r] += i + 1
            time.sleep(0.002)

    out = np.zeros(100)
    blocks.spread(work, TEN, (out,), 3)
    assert codes == [0]
    assert out[99] == 10


def test_errstate_and_warnings_are_the_callers():
    x = np.ones(100)
    x[[5, 95]] = 0.0

    def work(share, x, out):
        for _, r, _ in share:
            np.divide(1.0, x[r], out=out[r])

    for threads in (1, 2, 3):
        out = np.zeros(100)
        with np.errstate(divide="ignore"):
            blocks.spread(held_up(work), TEN, (x, out), threads)
        assert np.isinf(out[[5, 95]]).all()
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
            blocks.spread(held_up(work), TEN, (x, out), threads)
        with pytest.warns(RuntimeWarning, match="divide by zero encountered in divide"):
            blocks.spread(held_up(work), TEN, (x, out), threads)
        calls = []
        with np.errstate(divide="call", call=lambda kind, _, calls=calls: calls.append(kind)):
            blocks.spread(held_up(work), TEN, (x, out), threads)
        assert calls == ["divide by zero"] * 2
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(RuntimeWarning):
                blocks.spread(held_up(work), TEN, (x, out), threads)


# --- operations on their own ---------------------------------------------------------------------

R = np.random.default_rng(0)
STACK = R.normal(size=(37, 3, 4, 4))
SPD = STACK @ STACK.mT + 4 * np.eye(4)
CUBE = R.normal(size=(11, 60, 35))
WIDE = R.normal(size=(60, 900))
SPREAD = {
    "products": (lambda a: a @ a, STACK),
    "products of transposes": (lambda a: a.mT @ a, STACK[:, 0]),
    "products with one matrix": (lambda a: np.matmul(a[0, 0], a), STACK),
    "products that broadcast": (lambda a: a[:, :1] @ a[:1], STACK),
    "products with one vector": (lambda a: np.matmul(a, a[0, 0, 0]), STACK),
    "products of vectors": (np.linalg.vecdot, WIDE, WIDE + 1),
    "inverses": (np.linalg.inv, STACK),
    "inverses of transposes": (lambda a: np.linalg.inv(a.mT), STACK[:, 0]),
    "solutions": (np.linalg.solve, STACK, R.normal(size=(37, 3, 4, 2))),
    "solutions for one matrix": (np.linalg.solve, STACK[0, 0], R.normal(size=(37, 4, 2))),
    "Cholesky factors": (np.linalg.cholesky, SPD),
    "upper Cholesky factors": (lambda a: np.linalg.cholesky(a, upper=True), SPD[:, 0]),
    "eigenvalues": (np.linalg.eigvalsh, SPD),
    "eigenvectors": (lambda a: tuple(np.linalg.eigh(a)), SPD),
    "singular values": (np.linalg.svdvals, STACK),
    "singular vectors": (lambda a: tuple(np.linalg.svd(a, full_matrices=False)), STACK),
    "QR": (lambda a: tuple(np.linalg.qr(a)), STACK[:, 0]),
    "sums of columns": (lambda x: np.sum(x, axis=0), WIDE),
    "sums of long rows": (lambda x: np.sum(x, axis=1), R.normal(size=(40, 5000))),
    "sums in the middle": (lambda x: np.sum(x, axis=1), R.normal(size=(20, 300, 30))),
    "sums of two axes": (lambda x: np.sum(x, axis=(1, 2)), CUBE),
    "sums of integers": (lambda x: np.sum(x, axis=0), (WIDE * 9).astype(int)),
    "float32": (lambda x: np.sum(x, axis=(0, 1)), R.normal(size=(9, 40, 900)).astype("f")),
    "maxima": (lambda x: np.max(x, axis=0), WIDE.round()),
    "minima of zeros": (lambda x: np.min(x, axis=0), np.where(WIDE < 0, 0.0, -0.0)),
    "all": (lambda x: np.all(x, axis=0), WIDE > -2),
    "places of maxima": (lambda x: np.argmax(x, axis=1), CUBE.round()),
    "products of lines": (lambda x: np.prod(x, axis=1), CUBE),
    "running sums": (lambda x: np.cumsum(x, axis=1), CUBE),
    "softmax": (fg.nn.softmax, WIDE),
    "logsumexp": (lambda x: fg.nn.logsumexp(x, axis=1), WIDE),
    "softmax and logsumexp": (
        lambda x: (fg.nn.softmax(x, axis=1), fg.nn.logsumexp(x, axis=1)),
        WIDE,
    ),
    "sorted": (lambda x: np.sort(x, axis=1), CUBE),
    "places of the sorted": (lambda x: np.argsort(x, axis=-1, kind="stable"), CUBE.round()),
    "fft": (lambda x: np.fft.fft(x, axis=1), CUBE),
    "rfft": (np.fft.rfft, CUBE),
    "irfft": (lambda x: np.fft.irfft(x + 1j * x), CUBE),
    "read": (lambda x, i: x[i], WIDE, R.integers(-60, 60, (50, 3))),
    "read numbers": (lambda x, i: x[i], WIDE[0], R.integers(0, 900, 3000)),
}


def same(got, want, what):
    got, want = (v if isinstance(v, tuple) else (v,) for v in (got, want))
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert type(a) is type(b), what
        assert (a.dtype, a.strides) == (b.dtype, b.strides), what
        assert a.tobytes() == b.tobytes(), what


@pytest.fixture
def eager(monkeypatch):
    """Short work is spread, too."""
    monkeypatch.setattr(cuts, "BUSY", 2)
    monkeypatch.setattr(cuts, "RUN", 64)
    monkeypatch.setattr(cuts, "LINES", 4)


@pytest.mark.parametrize("what", SPREAD)
def test_operations_on_their_own_have_the_same_bits(what, eager):
    f, *operands = SPREAD[what]
    want, g = f(*operands), fg.jit(f)
    assert "def g0(blocks, " in fg.source(f, *operands)
    for threads in (1, 2, 3, 1):
        with fg.config(threads=threads):
            for _ in range(2):
                same(g(*operands), want, f"{what} on {threads} threads")


def test_short_operations_stay_on_one_thread():
    for f, *operands in SPREAD.values():
        assert "def g0(blocks, " not in fg.source(f, *operands)


@given(
    st.lists(st.integers(1, 25), min_size=1, max_size=4),
    st.data(),
    st.sampled_from([np.sum, np.prod, np.max, np.argmin, np.cumsum]),
    st.sampled_from("dfl"),
)
@settings(max_examples=150, deadline=None)
def test_lines_of_any_shape_have_the_same_bits(shape, data, function, dtype):
    first = data.draw(st.integers(0, len(shape) - 1))
    several = function in (np.sum, np.prod, np.max)
    last = data.draw(st.integers(first, len(shape) - 1)) if several else first
    axis = tuple(range(first, last + 1)) if several else first
    x = (np.random.default_rng(len(shape)).normal(size=shape) * 9).astype(dtype)
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(cuts, "BUSY", 2)
        patch.setattr(cuts, "RUN", 32)
        patch.setattr(cuts, "LINES", 1)
        g = fg.jit(lambda x: function(x, axis=axis))
        for _ in range(3):
            same(g(x), function(x, axis=axis), (shape, axis, function, dtype))


def test_sums_of_axes_apart_are_not_cut(eager):
    """NumPy's order of adding depends on the axis in between."""
    assert "def g0(blocks, " not in fg.source(lambda x: np.sum(x, axis=(0, 2)), CUBE)


# --- errors and warnings of programs -------------------------------------------------------------


def raised(f, *operands):
    with pytest.raises(Exception) as info:  # noqa: PT011
        f(*operands)
    return type(info.value), str(info.value).splitlines()[0]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_errors_are_numpys(threads, eager):
    singular = STACK.copy()
    singular[[3, -1], 0] = 0.0
    far = np.arange(300).reshape(100, 3) % 60
    far[[40, 99], 1] = 77, -99
    for f, good, bad in (
        (np.linalg.inv, (STACK,), (singular,)),
        (np.linalg.cholesky, (SPD,), (-SPD,)),
        (lambda x, i: x[i], (WIDE, far % 60), (WIDE, far)),
    ):
        g = fg.jit(f)
        with fg.config(threads=threads):
            for _ in range(3):
                same(g(*good), f(*good), "before")
            for _ in range(2):
                assert raised(g, *bad) == raised(f, *bad)
                same(g(*good), f(*good), "after an error")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_warnings_are_numpys(threads, eager):
    x = WIDE.copy()
    x[-1, -1] = np.inf
    x[0, -1] = -np.inf
    f = lambda x: np.sum(x, axis=0)
    g = fg.jit(f)
    with fg.config(threads=threads):
        for _ in range(3):
            g(WIDE)
        with pytest.warns(RuntimeWarning, match="invalid value encountered in reduce"):
            assert np.isnan(g(x)[-1])
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
            g(x)
        with np.errstate(invalid="ignore"):
            same(g(x)[:-1], f(x)[:-1], "ignored")


def test_exported_programs_need_no_threads(eager, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(fg.export_source(lambda a: np.linalg.inv(a) @ a, STACK), encoding="utf-8")
    space = {}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    assert "def g0(blocks, " in path.read_text(encoding="utf-8")
    assert "ThreadPoolExecutor" not in path.read_text(encoding="utf-8")
    (got,) = space["program"](STACK)
    same(got, np.linalg.inv(STACK) @ STACK, "exported")
