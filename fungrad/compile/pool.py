"""Memory that stays from one call of a program to the next, of the same one or another.

In: which arrays a program works in. Out: sets of these arrays, each taken by one call at a time and
given back at its end, so that threads and calls inside of calls have sets of their own. There are
as many pieces of memory as there were calls at once. A call that ends in an exception gives nothing
back: what a traceback holds on to is written to by nobody.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Any

import attrs
import numpy as np

from fungrad._locks import make_lock

ALIGNMENT = 64
"""A line of the cache, and the longest vector of a processor, in bytes."""
MOST_BYTES = 1 << 28
"""How much may be kept that no call is using."""
DISUSED = 30.0
"""After how many seconds without a call memory is released, the next time that others need some."""


@attrs.frozen
class Spot:
    """An array in a piece of memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def stop(self) -> int:
        """Where it ends."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def side_by_side(kinds: Iterable[tuple[tuple[int, ...], np.dtype[Any]]]) -> list[Spot]:
    """Arrays that do not overlap."""
    spots: list[Spot] = []
    for shape, dtype in kinds:
        stop = spots[-1].stop if spots else 0
        spots.append(Spot(-(-stop // ALIGNMENT) * ALIGNMENT, shape, dtype))
    return spots


class _Piece:
    """A piece of memory, and the pools that remember their arrays in it."""

    __slots__ = ("memory", "start", "used", "users")

    def __init__(self, count: int) -> None:
        self.memory = np.empty(count + ALIGNMENT, np.uint8)
        self.start = -self.memory.ctypes.data % ALIGNMENT
        self.used = monotonic()
        self.users: weakref.WeakSet[Pool] = weakref.WeakSet()

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.memory.size - ALIGNMENT


class Arrays(tuple[np.ndarray[Any, Any], ...]):
    """The arrays of one call, and the piece of memory in which they are."""

    piece: _Piece


_idle: dict[int, _Piece] = {}
"""The pieces that no call is using, by id. Whoever takes one out has it."""
_lock = make_lock()


class Pool:
    """The arrays of one program, call by call."""

    __slots__ = ("__weakref__", "_last", "_spots", "nbytes")

    def __init__(self, spots: Sequence[Spot]) -> None:
        self._spots = tuple(spots)
        self._last: Arrays | None = None
        self.nbytes = max(spot.stop for spot in spots)

    def take(self) -> Arrays:
        """Arrays that nobody else has until they are given back."""
        last = self._last
        if last is not None and _idle.pop(id(last.piece), None) is not None:
            return last
        piece = _taken(self.nbytes)
        piece.users.add(self)
        memory, start = piece.memory, piece.start
        arrays = Arrays(
            [
                memory[start + spot.offset : start + spot.stop].view(spot.dtype).reshape(spot.shape)
                for spot in self._spots
            ]
        )
        arrays.piece = piece
        return arrays

    def give(self, arrays: Arrays) -> None:
        """Leave the arrays to the next call."""
        piece = arrays.piece
        piece.used = monotonic()
        self._last = arrays
        _idle[id(piece)] = piece

    def forget(self, piece: _Piece) -> None:
        """Hold on to a piece no longer."""
        last = self._last
        if last is not None and last.piece is piece:
            self._last = None

    def __del__(self, idle: dict[int, _Piece] = _idle) -> None:
        # When Python ends, the names of modules may be gone; hence the default.
        last = self._last
        if last is not None and all(pool is self for pool in last.piece.users):
            idle.pop(id(last.piece), None)


def held() -> int:
    """How many bytes wait for a call."""
    return sum([piece.size for piece in list(_idle.values())])


def release() -> None:
    """Give back to the system whatever no call is using."""
    with _lock:
        for piece in list(_idle.values()):
            _drop(piece)


def _taken(count: int) -> _Piece:
    """A piece of at least that many bytes."""
    found = _fitting(count)
    if found is not None:
        return found
    try:
        return _Piece(count)
    except MemoryError:
        release()
        return _Piece(count)


def _fitting(count: int) -> _Piece | None:
    """The smallest piece that will do; or none, and room for a new one in the largest one's place."""
    with _lock:
        pieces = sorted(_idle.values(), key=lambda piece: piece.size)
        for piece in pieces:
            if piece.size >= count and _idle.pop(id(piece), None) is not None:
                return piece
        if pieces:
            _drop(pieces[-1])
        now = monotonic()
        for piece in sorted(_idle.values(), key=lambda piece: piece.used):
            if now - piece.used > DISUSED or held() + count > MOST_BYTES:
                _drop(piece)
    return None


def _drop(piece: _Piece) -> None:
    if _idle.pop(id(piece), None) is not None:
        for pool in list(piece.users):
            pool.forget(piece)
