"""What generated programs call: cutting long arrays into blocks, and working on them in threads.

In: lengths and block functions. Out: block lists, sums. It imports nothing of fungrad, because
exported programs carry the source of this module with them.

Results never depend on where arrays are cut or how many threads there are. Rows of a block are
what they are in the whole array. A sum over everything is cut where NumPy's pairwise summation
cuts: in halves, the first one rounded down to a multiple of 8 (loops_utils.h of NumPy, after
Higham, The accuracy of floating point summation, SIAM J. Sci. Comput. 14, 1993); so the sums of
blocks, added in that order, are its sum to the bit.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

Block = tuple[int, slice, int]
"""Its number, which rows it has, and how many."""


@lru_cache(maxsize=32)
def halves(length: int, limit: int) -> tuple[Block, ...]:
    """``length`` entries cut as NumPy's summation cuts, until no block has more than ``limit``."""
    done: list[Block] = []
    pending = [*reversed(_chunks(length))]
    while pending:
        start, stop = pending.pop()
        if stop - start <= limit:
            done.append((len(done), slice(start, stop), stop - start))
        else:
            middle = _middle(start, stop)
            pending += [(middle, stop), (start, middle)]
    return tuple(done)


@lru_cache(maxsize=32)
def rows(length: int, limit: int) -> tuple[Block, ...]:
    """``length`` rows in blocks of ``limit``; the last one may be shorter."""
    starts = range(0, length, limit)
    stops = [min(start + limit, length) for start in starts]
    return tuple(
        [(i, slice(a, b), b - a) for i, (a, b) in enumerate(zip(starts, stops, strict=True))]
    )


@lru_cache(maxsize=32)
def evenly(length: int, count: int) -> tuple[Block, ...]:
    """``length`` rows in ``count`` blocks, none of which has more than one row less than others."""
    cuts = [length * i // count for i in range(count + 1)]
    return tuple([(i, slice(a, b), b - a) for i, (a, b) in enumerate(pairwise(cuts))])


def total(sums: Any, length: int, limit: int) -> Any:
    """The sum of everything from the sums of its ``halves``, added in NumPy's order."""
    rest = iter(sums)

    def add(start: int, stop: int) -> Any:
        if stop - start <= limit:
            return next(rest)
        middle = _middle(start, stop)
        return add(start, middle) + add(middle, stop)

    first, *others = [add(start, stop) for start, stop in _chunks(length)]
    return sum(others, first)


@lru_cache(maxsize=32)
def _chunks(length: int) -> tuple[tuple[int, int], ...]:
    """What NumPy sums one after the other: below version 2.3 as many entries as fill its buffer."""
    if tuple(map(int, np.__version__.split(".")[:2])) >= (2, 3):
        return ((0, length),)
    return tuple([(start, min(start + 8192, length)) for start in range(0, length, 8192)])


def _middle(start: int, stop: int) -> int:
    half = (stop - start) // 2
    return start + half - half % 8


def sum_short(x: Any, out: Any = None) -> Any:
    """``np.add.reduce(x, axis=-1)`` where the last axis is short: entry by entry for all rows.

    In NumPy's order: eight sums side by side, added in pairs, and then what is left.
    """
    entries = [x[..., i] for i in range(x.shape[-1])]
    if len(entries) < 8:
        result = np.add(entries[0], entries[1], out=out)
        rest = entries[2:]
    else:
        a, b = entries[:8], entries[8:]
        while len(b) >= 8:
            a, b = [p + q for p, q in zip(a, b[:8], strict=True)], b[8:]
        left = (a[0] + a[1]) + (a[2] + a[3])
        result = np.add(left, (a[4] + a[5]) + (a[6] + a[7]), out=out)
        rest = b
    for entry in rest:
        np.add(result, entry, out=result)
    np.add(result, 0.0, out=result)  # NumPy starts from 0, so that no sum is -0.0
    return result


def sum_rows(x: Any, start: int, stop: int, out: Any = None) -> Any:
    """``np.add.reduce`` over the axes from ``start`` to ``stop``, behind which there are others.

    Both add row after row, starting from 0; but where rows are short, NumPy's reduction takes
    three times as long to get from one to the next. Of overflow and the like ``np.einsum`` says
    nothing; so what is not finite is computed again, by what warns or raises as NumPy is told to.
    """
    axes = list(range(x.ndim))
    result = np.einsum(x, axes, axes[:start] + axes[stop:], out=out)
    if np.logical_and.reduce(np.isfinite(result), axis=None):
        return result
    return np.add.reduce(x, axis=tuple(axes[start:stop]), out=out)


def select(mask: Any, x: Any, y: Any, out: Any) -> Any:
    """``np.where(mask, x, y)`` for operands of the dtype of ``out``, by their bits.

    Without a branch, which would be mispredicted for every other entry of an irregular mask.
    ``None`` stands for 0.
    """
    bits = out.view(f"i{out.itemsize}")
    signs = mask.view(np.int8)
    # Numbers become arrays, and bytes are put in this machine's order.
    x, y = (v if v is None else np.asarray(v, out.dtype) for v in (x, y))
    if y is None:
        np.negative(signs, out=bits)
        np.bitwise_and(bits, x.view(bits.dtype), out=bits)
    elif x is None:
        np.subtract(signs, 1, out=bits)
        np.bitwise_and(bits, y.view(bits.dtype), out=bits)
    else:
        x, y = x.view(bits.dtype), y.view(bits.dtype)
        np.bitwise_xor(x, y, out=bits)
        np.bitwise_and(bits, np.negative(signs, dtype=bits.dtype), out=bits)
        np.bitwise_xor(bits, y, out=bits)
    return out


class _Thread(threading.local):
    """Whether this thread is one of a pool's; then it does not wait for others of the pool."""

    of_pool = False


_thread = _Thread()
_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _forget_threads() -> None:
    """In a forked child: threads do not survive a fork."""
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _join_pool() -> None:
    _thread.of_pool = True


def _pool(threads: int) -> ThreadPoolExecutor:
    """A pool that starts threads as they are needed, up to that many."""
    with _pools_lock:
        pool = _pools.get(threads)
        if pool is None:
            pool = _pools[threads] = ThreadPoolExecutor(threads, "fungrad", _join_pool)
        return pool


def in_turn(work: Callable[..., None], blocks: Sequence[Block], operands: Sequence[Any]) -> None:
    """``spread`` on this thread alone, as exported programs do it."""
    work(blocks, *operands)


class _Rest:
    """The blocks that no thread has begun, in order; each thread takes the next one when it can.

    When one fails, no more are begun, but all before it are: what the first of those that fail
    raises is what would be raised on one thread.
    """

    def __init__(
        self, work: Callable[..., None], blocks: Sequence[Block], operands: Sequence[Any]
    ) -> None:
        self._work, self._operands = work, operands
        self.blocks = deque(blocks)
        self._errors: list[tuple[int, BaseException]] = []

    def run(self) -> None:
        """On one of the threads."""
        if not self.blocks:
            return
        number = -1

        def taken() -> Iterator[Block]:
            nonlocal number
            with suppress(IndexError):
                while True:
                    block = self.blocks.popleft()
                    number = block[0]
                    yield block

        try:
            self._work(taken(), *self._operands)
        except BaseException as error:
            self.stop()
            # Who interrupts wants to be heard, whatever else went wrong.
            self._errors.append((number if isinstance(error, Exception) else -1, error))

    def stop(self) -> None:
        """Let no block begin any more."""
        self.blocks.clear()

    def finish(self) -> None:
        """Forget the operands, which threads may hold on to a moment longer; raise the first error."""
        self._operands = ()
        if self._errors:
            _, first = min(self._errors, key=itemgetter(0))
            self._errors.clear()
            try:
                raise first
            finally:
                del first  # which holds on to this frame, and through it to all arrays


def spread(
    work: Callable[..., None], blocks: Sequence[Block], operands: Sequence[Any], threads: int = 1
) -> None:
    """``work(some blocks, *operands)`` until all blocks are done, on up to ``threads`` threads."""
    others = min(threads, len(blocks)) - 1
    if others < 1 or _thread.of_pool:
        work(blocks, *operands)
        return
    rest = _Rest(work, blocks, operands)
    futures = []
    try:
        with suppress(RuntimeError):  # the interpreter is shutting down: no new threads
            for _ in range(others):
                if not rest.blocks:  # where there are many threads, the first have done it all
                    break
                # Each thread works in a copy of the context, where np.errstate lives.
                context = contextvars.copy_context()
                futures.append(_pool(threads - 1).submit(context.run, rest.run))
        rest.run()
    finally:
        rest.stop()
        # Nobody may write into the operands once this has returned, not even after an exception.
        # Who is still waiting for a thread need not come.
        wait([future for future in futures if not future.cancel()])
    rest.finish()
