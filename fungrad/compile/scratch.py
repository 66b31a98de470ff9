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
    offsets, total = _packed([(b.start, b.end, _bytes(b)) for b in chosen])
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


def _packed(lives: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """An offset for each life (first unit, last unit, bytes) in the order of starts; and the end.

    Each goes into the smallest free slot that holds it; or the largest one, which grows.
    """
    sizes: list[int] = []
    free: list[tuple[int, int]] = []  # size, slot; in order
    used: list[tuple[int, int]] = []  # last unit, slot; a heap
    slots: list[int] = []
    for start, end, count in lives:
        while used and used[0][0] < start:
            slot = heapq.heappop(used)[1]
            insort(free, (sizes[slot], slot))
        if free:
            slot = free.pop(min(bisect_left(free, (count, 0)), len(free) - 1))[1]
            sizes[slot] = max(sizes[slot], count)
        else:
            slot = len(sizes)
            sizes.append(count)
        slots.append(slot)
        heapq.heappush(used, (end, slot))
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    return [starts[slot] for slot in slots], starts[-1]
