"""Hash-consing: one object per key, as long as someone holds it; and keys that tell bits apart.

Row 1. Abstract values, nodes and graphs are built through such a table, so that equality is
identity. A key may hold ``id``s of objects that its value keeps alive: the entry dies with the
value, before those ids can be used again.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

import numpy as np

V = TypeVar("V")


class InternTable(Generic[V]):
    """A weak table ``key -> the only value of that key``; safe under threads."""

    __slots__ = ("_lock", "_table", "get")

    def __init__(self) -> None:
        self._table: WeakValueDictionary[Hashable, V] = WeakValueDictionary()
        # Re-entrant: collecting garbage under the lock may run any object's finaliser.
        self._lock = threading.RLock()
        self.get: Callable[[Hashable], V | None] = self._table.get

    def add(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of ``key``, made now if no other thread was faster."""
        fresh = make()
        with self._lock:
            value = self._table.get(key)
            if value is None:
                self._table[key] = value = fresh
        return value

    def __len__(self) -> int:
        return len(self._table)


def bits_key(value: Any, held: bool = False) -> Hashable:
    """A hashable stand-in that keeps apart what Python merges (0.0 and -0.0; 1, 1.0 and True).

    NaN equals itself, and slices become hashable. What can't be hashed fails when it is looked up.
    ``held`` says that ``value`` lives as long as the key is in use: then what is equal by identity
    only (a graph, a function) goes by its ``id``, so that the key does not keep it alive.
    """
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value  # type: ignore[no-any-return]
    if kind is tuple:
        return tuple([bits_key(item, held) for item in value])
    if isinstance(value, tuple):
        return kind, *[bits_key(item, held) for item in value]
    if kind is float:
        return float, struct.pack("d", value)
    if kind is complex:
        return complex, struct.pack("dd", value.real, value.imag)
    if kind is slice:
        return slice, bits_key((value.start, value.stop, value.step))
    if kind is frozenset:
        return frozenset, frozenset(map(bits_key, value))
    if isinstance(value, np.inexact):
        return kind, value.tobytes()
    if held and _is_hashed_by_identity(kind):
        return kind, id(value)
    return kind, value


def _is_hashed_by_identity(kind: Any) -> bool:
    return kind.__hash__ is object.__hash__
