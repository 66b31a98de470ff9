"""Hash-consing: one object per key, as long as someone holds it; and keys that tell bits apart.

Row 1. Abstract values, nodes and graphs are built through such a table, so that equality is
identity. A key may hold ``id``s of objects that its value keeps alive: the entry dies with the
value, before those ids can be used again.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Hashable
from typing import Any, Generic, TypeVar
from weakref import _remove_dead_weakref  # type: ignore[attr-defined]  # what WeakValueDictionary uses

import numpy as np

V = TypeVar("V")


class _Reference(weakref.ref[V]):
    """A weak reference that knows its key; made in C, unlike ``weakref.KeyedRef``."""

    __slots__ = ("key",)

    key: Hashable


class InternTable(Generic[V]):
    """A weak table ``key -> the only value of that key``; safe under threads, without a lock."""

    __slots__ = ("_forget", "references")

    references: dict[Hashable, _Reference[V]]
    """For those who look up very often: what they find may be dead, and is not theirs to change."""

    def __init__(self) -> None:
        table: dict[Hashable, _Reference[V]] = {}
        self.references = table

        def forget(reference: Any) -> None:
            # Not if another value took the key in the meantime; atomic, as a lock here can't be.
            _remove_dead_weakref(table, reference.key)

        self._forget = forget

    def get(self, key: Hashable) -> V | None:
        """The value of ``key``, if it is known."""
        reference = self.references.get(key)
        return None if reference is None else reference()

    def add(self, key: Hashable, fresh: V) -> V:
        """The value of ``key``: ``fresh``, if no other thread was faster."""
        reference = _Reference(fresh, self._forget)
        reference.key = key
        while True:  # each step is atomic
            known = self.references.setdefault(key, reference)
            if known is reference:
                return fresh
            value = known()
            if value is not None:
                return value
            _remove_dead_weakref(self.references, key)

    def values(self) -> list[V]:
        """All values that are alive."""
        values = [reference() for reference in list(self.references.values())]
        return [value for value in values if value is not None]

    def __len__(self) -> int:
        return len(self.references)


def static_key(static: tuple[tuple[str, Any], ...]) -> Hashable:
    """A key like ``bits_key``'s of names and values that live as long as it is in use, sooner."""
    key: list[Any] = []
    for name, value in static:
        kind = type(value)
        if kind is tuple:
            for item in value:
                if type(item) is not int:
                    value = _tuple_key(value)
                    break
        elif kind is not int and kind is not str and value is not None:
            value = bits_key(value, held=True)
        key += name, value
    return tuple(key)


def _tuple_key(items: tuple[Any, ...]) -> Hashable:
    key: list[Any] = []
    for item in items:
        kind = type(item)
        if kind is int:
            key.append(item)
        elif kind is slice and {type(item.start), type(item.stop), type(item.step)} <= _BOUNDS:
            key.append((slice, item.start, item.stop, item.step))
        else:
            return bits_key(items, held=True)
    return tuple(key)


_BOUNDS = {int, type(None)}


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
