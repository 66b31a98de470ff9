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

from fungrad.compile import blocks

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


def test_an_error_holds_on_to_no_array():
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
        del out
        time.sleep(0.05)  # the other thread lets go of it a moment later
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
