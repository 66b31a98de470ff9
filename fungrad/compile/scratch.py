"""Where a program's temporaries lie: together in memory that it keeps between its calls.

In: buffers with their lifetimes. Out: a ``Layout``: which arrays there are, and whose they are.
Temporaries that come and go at every call go back to the system and are faulted in again, page by
page; that can take longer than computing them.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

import attrs

from fungrad._expr import Expr
from fungrad.compile.memory import Buffer
from fungrad.compile.pool import ALIGNMENT, MOST_BYTES, Spot

LEAST = 1 << 12
"""How many bytes a temporary has at least to be kept: the allocator has smaller ones at hand."""
WORTHWHILE = 1 << 16
"""How many bytes all of them have at least: the heap grows and shrinks by more than that."""


@attrs.frozen
class Layout:
    """The arrays that a program works in.

    Attributes:
        spots: the arrays.
        of: the node that would allocate a buffer → the number of the array that it is given.
        inside: every node whose value lies in one of them.
    """

    spots: tuple[Spot, ...] = ()
    of: dict[Expr, int] = attrs.Factory(dict)
    inside: frozenset[Expr] = frozenset()


def layout(buffers: Iterable[Buffer]) -> Layout:
    """Buffers in one piece of memory, in which two may overlap if their lives do not."""
    chosen = sorted((b for b in buffers if _bytes(b) >= LEAST), key=lambda b: b.start)
    offsets, total = _packed_well([(b.start, b.end, _bytes(b)) for b in chosen])
    if not WORTHWHILE <= total <= MOST_BYTES:
        return Layout()
    spots: dict[Spot, int] = {}
    of: dict[Expr, int] = {}
    for buffer, offset in zip(chosen, offsets, strict=True):
        first = buffer.nodes[0]
        spot = Spot(offset, first.aval.shape, first.aval.dtype)
        of[first] = spots.setdefault(spot, len(spots))
    return Layout(tuple(spots), of, frozenset([node for b in chosen for node in b.nodes]))


def _bytes(buffer: Buffer) -> int:
    aval = buffer.nodes[0].aval
    return -(-aval.size * aval.dtype.itemsize // ALIGNMENT) * ALIGNMENT


def _packed_well(lives: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """``_packed``, in the order of starts or backwards in time, whichever takes less memory.

    What is large comes late in one of them, when there are only small gaps: often the last of all,
    where many small arrays are put together.
    """
    forwards, total = _packed(lives)
    order = sorted(range(len(lives)), key=lambda i: -lives[i][1])
    turned, less = _packed([(-lives[i][1], -lives[i][0], lives[i][2]) for i in order])
    if less >= total:
        return forwards, total
    offsets = [0] * len(lives)
    for i, offset in zip(order, turned, strict=True):
        offsets[i] = offset
    return offsets, less


def _packed(lives: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """An offset for each life (first unit, last unit, bytes) in the order of starts; and the end.

    Each goes into the smallest gap that holds it, and otherwise to the end.
    """
    gaps = _Gaps()
    used: list[tuple[int, int, int]] = []  # last unit, from where, to where; a heap
    offsets: list[int] = []
    stop = total = 0
    for start, end, count in lives:
        while used and used[0][0] < start:
            _, low, high = heapq.heappop(used)
            low, high = gaps.joined(low, high)
            if high == stop:
                stop = low
            else:
                gaps.add(low, high)
        found = gaps.fitting(count)
        if found is None:
            low, stop = stop, stop + count
            total = max(total, stop)
        else:
            low, high = found
            if low + count < high:
                gaps.add(low + count, high)
        offsets.append(low)
        heapq.heappush(used, (end, low, low + count))
    return offsets, total


class _Gaps:
    """Free pieces of memory, no two of which touch."""

    def __init__(self) -> None:
        self._stops: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._sizes: list[tuple[int, int]] = []  # bytes, from where; in order

    def add(self, low: int, high: int) -> None:
        self._stops[low], self._starts[high] = high, low
        insort(self._sizes, (high - low, low))

    def _taken(self, low: int) -> int:
        high = self._stops.pop(low)
        del self._starts[high]
        del self._sizes[bisect_left(self._sizes, (high - low, low))]
        return high

    def joined(self, low: int, high: int) -> tuple[int, int]:
        """A piece with the gaps that touch it, which are none any more."""
        if high in self._stops:
            high = self._taken(high)
        if low in self._starts:
            before = self._starts[low]
            self._taken(before)
            low = before
        return low, high

    def fitting(self, count: int) -> tuple[int, int] | None:
        """The smallest gap that holds so much, which is none any more."""
        at = bisect_left(self._sizes, (count, 0))
        if at == len(self._sizes):
            return None
        low = self._sizes[at][1]
        return low, self._taken(low)
