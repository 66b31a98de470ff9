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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

Block = tuple[int, slice, int]
"""Its number, which rows it has, and how many."""


@lru_cache(maxsize=256)
def halves(length: int, limit: int) -> tuple[Block, ...]:
    """``length`` entries cut as NumPy's summation cuts, until no block has more than ``limit``."""
    done: list[Block] = []
    pending = [(0, length)]
    while pending:
        start, stop = pending.pop()
        if stop - start <= limit:
            done.append((len(done), slice(start, stop), stop - start))
        else:
            middle = _middle(start, stop)
            pending += [(middle, stop), (start, middle)]
    return tuple(done)


@lru_cache(maxsize=256)
def rows(length: int, limit: int) -> tuple[Block, ...]:
    """``length`` rows in blocks of ``limit``; the last one may be shorter."""
    starts = range(0, length, limit)
    stops = [min(start + limit, length) for start in starts]
    return tuple(
        [(i, slice(a, b), b - a) for i, (a, b) in enumerate(zip(starts, stops, strict=True))]
    )


def total(sums: Any, length: int, limit: int) -> Any:
    """The sum of everything from the sums of its ``halves``, added in NumPy's order."""
    rest = iter(sums)

    def add(start: int, stop: int) -> Any:
        if stop - start <= limit:
            return next(rest)
        middle = _middle(start, stop)
        return add(start, middle) + add(middle, stop)

    return add(0, length)


def _middle(start: int, stop: int) -> int:
    half = (stop - start) // 2
    return start + half - half % 8


class _Workers(threading.local):
    """Whether this thread is one of the pool's; then it does not wait for others of the pool."""

    busy = False


_workers = _Workers()
_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _forget_threads() -> None:
    """In a forked child: threads do not survive a fork."""
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def _pool(threads: int) -> ThreadPoolExecutor:
    with _pools_lock:
        pool = _pools.get(threads)
        if pool is None:
            pool = _pools[threads] = ThreadPoolExecutor(threads, "fungrad")
        return pool


def spread(
    work: Callable[..., None], blocks: Sequence[Block], operands: Sequence[Any], threads: int = 1
) -> None:
    """``work(some blocks, *operands)`` until all blocks are done, on up to ``threads`` threads."""
    threads = min(threads, len(blocks))
    if threads < 2 or _workers.busy:
        work(blocks, *operands)
        return
    cuts = [len(blocks) * i // threads for i in range(threads + 1)]
    shares = [blocks[a:b] for a, b in pairwise(cuts)]

    def other(share: Sequence[Block]) -> None:
        _workers.busy = True
        try:
            work(share, *operands)
        finally:
            _workers.busy = False

    futures = []
    try:
        for share in shares[1:]:
            # Each thread works in a copy of the context, where np.errstate lives.
            context = contextvars.copy_context()
            futures.append(_pool(threads - 1).submit(context.run, other, share))
    except RuntimeError:  # the interpreter is shutting down: no new threads
        pass
    try:
        for share in (shares[0], *shares[1 + len(futures) :]):
            work(share, *operands)
    finally:
        # Nobody may write into the operands once this has returned, not even after an exception.
        errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
