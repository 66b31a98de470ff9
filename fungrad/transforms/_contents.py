"""What containers, slots and arrays hold, and whether that has changed.

Row 9. In: dicts, lists, sets, deques, the slots of objects and arrays that a function reads. Out:
what they hold, to be compared with what they hold later.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, KeysView
from functools import partial
from operator import is_
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from fungrad._aval import SCALAR_TYPES
from fungrad._intern import bits_key

MISSING = object()
"""In the place of a value: there is no such variable or attribute."""
MAX_ENTRIES = 64
"""Of longer containers, only the length is watched."""
WHOLE = 1 << 12
"""Arrays of at most so many bytes are compared as a whole, larger ones by a sample."""
_SAMPLE = 64


def differs(now: Any, before: Any) -> bool:
    """Whether a value is not what it was: compared by identity, numbers by their bits."""
    if now is before:
        return False
    kind = type(now)
    if kind is not type(before) or kind not in SCALAR_TYPES:
        return True
    return bits_key(now) != bits_key(before)


class Slots:
    """The slots of an object, as a namespace."""

    def __init__(self, value: Any, members: dict[str, Any]) -> None:
        self._value, self.members = value, members

    def reader(self, name: str) -> Callable[[], Any]:
        """What gives the value of a slot; an ``AttributeError`` if it is empty."""
        return partial(self.members[name].__get__, self._value)

    def keys(self) -> KeysView[str]:
        """The names of all slots, also of empty ones."""
        return self.members.keys()

    def __contains__(self, name: str) -> bool:
        return self.get(name, MISSING) is not MISSING

    def get(self, name: str, default: Any) -> Any:
        """The value of a slot, if there is one."""
        try:
            return self.members[name].__get__(self._value)
        except (KeyError, AttributeError):
            return default


@attrs.frozen(eq=False)
class Contents:
    """What a dict, list or set held when it was observed."""

    subject: Any
    read: Callable[[Any], list[Any]]
    held: list[Any]

    @classmethod
    def of(cls, subject: Any) -> Contents:
        read = next(read for kind, read in _ENTRIES.items() if issubclass(type(subject), kind))
        return cls(subject, read, read(subject))

    def changed(self) -> bool:
        """Whether it holds something else now."""
        try:
            now = self.read(self.subject)
        except RuntimeError:  # another thread is changing its size
            return True
        if len(now) != len(self.held):
            return True
        return not all(map(is_, now, self.held)) and any(map(differs, now, self.held))


# By the methods of the builtin classes: a subclass may do anything.


def _of_dict(held: Any) -> list[Any]:
    count = dict.__len__(held)
    return [*dict.__iter__(held), *dict.values(held)] if count <= MAX_ENTRIES else [count]


def _of_ordered(held: Any) -> list[Any]:
    # Its own order, which is not that of the dict that it is.
    count = dict.__len__(held)
    if count > MAX_ENTRIES:
        return [count]
    return [*OrderedDict.__iter__(held), *OrderedDict.values(held)]


def _of_list(held: Any) -> list[Any]:
    count = list.__len__(held)
    return list.copy(held) if count <= MAX_ENTRIES else [count]


def _of_set(held: Any) -> list[Any]:
    count = set.__len__(held)
    return [*set.__iter__(held)] if count <= MAX_ENTRIES else [count]


def _of_deque(held: Any) -> list[Any]:
    count = deque.__len__(held)
    return [*deque.__iter__(held)] if count <= MAX_ENTRIES else [count]


def _of_proxy(held: Any) -> list[Any]:
    count = len(held)
    return [*held.keys(), *held.values()] if count <= MAX_ENTRIES else [count]


def _of_slots(held: Any) -> list[Any]:
    return [held.get(name, MISSING) for name in held.members]


_ENTRIES: dict[type, Callable[[Any], list[Any]]] = {
    OrderedDict: _of_ordered, dict: _of_dict, list: _of_list, set: _of_set, deque: _of_deque,
    MappingProxyType: _of_proxy, Slots: _of_slots,
}  # fmt: skip


@attrs.frozen(eq=False)
class Stamp:
    """What an array held when it was observed: all of it, or a sample; or of which layout it was."""

    subject: Any
    plain: Any
    index: Any = ()
    data: bytes | None = None

    @classmethod
    def of(cls, array: Any) -> Stamp:
        plain = _plain(array)
        index: Any = ()
        if array.nbytes > WHOLE:
            each = max(1, int(_SAMPLE ** (1 / array.ndim)))
            index = tuple([slice(None, None, max(1, n // each)) for n in array.shape])
        return cls(array, plain, index, plain[index].tobytes())

    @classmethod
    def of_layout(cls, array: Any) -> Stamp:
        """Of an array that may be written to."""
        return cls(array, _plain(array))

    def changed(self) -> bool:
        """Whether it has been written to, or has another shape or dtype."""
        subject, plain = self.subject, self.plain
        if subject.shape != plain.shape or subject.dtype != plain.dtype:
            return True
        return self.data is not None and bool(plain[self.index].tobytes() != self.data)


def _plain(array: Any) -> Any:
    return np.ndarray.view(array, np.ndarray)  # a subclass may index in its own way


def is_container(kind: type) -> bool:
    """Whether ``Contents`` knows what such objects hold."""
    return not _ENTRIES.keys().isdisjoint(kind.__mro__)
