"""Hash-consing: one object per key, as long as someone holds it.

Row 1. Abstract values, nodes and graphs are built through such a table, so that equality is
identity. A key may hold ``id``s of objects that its value keeps alive: the entry dies with the
value, before those ids can be used again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

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
