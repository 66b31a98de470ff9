"""Containers: how one object of a known class is taken apart into children and put together.

Row 1, under `_tree`, which nests them. In: an object. Out: its children and what it consists of
besides them, as a hashable `Aux`. Users add classes with `register`.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from operator import is_, itemgetter, lt
from typing import Any, Literal
from weakref import WeakValueDictionary

import attrs
from pyrsistent import CheckedPMap, CheckedPVector, PMap, PRecord, pmap, pvector
from pyrsistent._pvector import PythonPVector, python_pvector

from fungrad._intern import bits_key
from fungrad._locks import make_lock
from fungrad.errors import FungradError


class Aux:
    """What a container consists of besides its children: its keys, its static fields.

    Equal only if types and bits are. `==` alone merges 1, 1.0 and True, or 0.0 and -0.0, and the
    interned treedef would give one caller the other's keys. Not an attrs class, because one is made
    whenever an object with static fields is flattened, and this takes half the time.
    """

    __slots__ = ("_hash", "_key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._key = bits_key(value)
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Aux) and self._key == other._key


def _hashable(value: Any, what: str) -> Aux:
    try:
        return Aux(value)
    except TypeError as error:
        raise FungradError(
            f"{what} belongs to the structure of a tree, so it must be hashable, but is {value!r} "
            f"({error}). Write a tuple instead of a list; arrays belong among the children."
        ) from error


def plain_aux(kind: Kind, aux: Aux) -> Aux:
    """What counts of ``aux`` where structures are compared."""
    return Aux((*aux.value[:-1], None)) if kind.ordered else aux


@attrs.frozen(eq=False)
class Kind:
    """How one class of containers is taken apart, put together and shown; by default a sequence."""

    cls: type
    unflatten: Callable[[Any, list[Any]], Any]  # (aux.value, children) -> container
    shown: str  # format of a repr
    flatten: Callable[[Any], tuple[Iterable[Any], Aux | None]] = lambda x: (x, None)
    names: Callable[[Any, int], Sequence[Any]] = lambda aux, count: range(count)  # of the children
    named_by: Literal["index", "key", "field"] = "index"
    note: Callable[[Any], str] = lambda aux: ""  # what a repr shows of aux.value besides the names
    ordered: bool = False  # whether aux.value ends with an order, which does not count


def full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")


# The order of mapping keys.

_Order = tuple[Aux, Callable[[Any], Sequence[Any]]]
# The keys, sorted; None; the keys as they are, if that is another order. And what gets the values.
_PLAIN_KEYS = frozenset({str, int, bool, bytes, type(None)})


def _order(keys: tuple[Any, ...]) -> _Order:
    ordered = tuple(_sort(keys))
    aux = Aux((ordered, None, None if all(map(is_, ordered, keys)) else keys))
    if len(ordered) > 1:
        return aux, itemgetter(*ordered)
    return aux, lambda mapping: [mapping[key] for key in ordered]


@lru_cache(maxsize=512, typed=True)
def _plain_order(*keys: Any) -> _Order | None:
    # `typed` keeps 1 and True apart, but not what lies deeper, as in the keys (1,) and (True,).
    return _order(keys) if _PLAIN_KEYS.issuperset(map(type, keys)) else None


def _sort(keys: tuple[Any, ...]) -> list[Any]:
    """Sort in a way that depends on the set of keys only, not on their order or their hashes."""
    try:
        ordered = sorted(keys)
        if all(map(lt, ordered, ordered[1:])):  # if not, `<` is a partial order, as among sets
            return ordered
    except TypeError:
        pass
    ordered = sorted(keys, key=_rank)
    for one, other in pairwise(ordered):
        if _rank(one) == _rank(other):
            raise FungradError(
                f"The keys {one!r} and {other!r} of a mapping cannot be put in order: they do not "
                "compare by `<`, and print alike. Give their class `__lt__` or another `__repr__`."
            )
    return ordered


def _rank(key: Any) -> tuple[str, str]:
    cls = type(key)
    if cls is tuple:
        key = list(map(_rank, key))
    elif cls is frozenset:  # whose own repr follows the hash seed
        key = sorted(map(_rank, key))
    return full_name(cls), repr(key)


def _flatten_dict(x: Any) -> tuple[Iterable[Any], Aux]:
    # The cache is for the dicts of programs, not of data: neither huge nor of a million shapes.
    aux, values = (len(x) <= 1000 and _plain_order(*x)) or _order(tuple(x))
    return values(x), aux


# The kinds of containers.

_python_pvector: Any = python_pvector  # has no annotations


def _mapping(
    cls: type,
    build: Callable[[Any, dict[Any, Any]], Any],  # (extra, items) -> mapping
    shown: str,
    named_by: Literal["key", "field"] = "key",
    extra: Callable[[Any], Any] | None = None,  # what it has besides its items
    note: Callable[[Any], str] = lambda aux: "",
) -> Kind:
    def flatten(x: Any) -> tuple[Iterable[Any], Aux]:
        values, aux = _flatten_dict(x if isinstance(x, dict) else dict(x.items()))
        keys, _, order = aux.value
        if cls is not defaultdict:
            order = None
        if extra is not None:
            aux = _hashable((keys, extra(x), order), f"(keys, extra) of a {cls.__name__}")
        elif order is not aux.value[2]:
            aux = Aux((keys, None, order))
        return values, aux

    def unflatten(aux: Any, children: list[Any]) -> Any:
        keys, extra, order = aux
        items = dict(zip(keys, children, strict=True))
        return build(extra, items if order is None else {key: items[key] for key in order})

    return Kind(
        cls,
        unflatten,
        shown,
        _flatten_dict if cls is dict else flatten,
        lambda aux, count: aux[0],
        named_by,
        note,
        ordered=cls in (dict, defaultdict),
    )


class _Absent:
    """Stands for a field that an object does not have; flattens to nothing."""

    def __repr__(self) -> str:
        return "<absent>"


_ABSENT = _Absent()


def _record(cls: type, names: list[str], statics: list[str]) -> Kind:
    """A class with fields, rebuilt without its ``__init__``: no validator or converter runs."""
    hash_code = getattr(cls.__hash__, "__code__", None)
    caches_hash = hash_code is not None and "_attrs_cached_hash" in hash_code.co_names
    what = f"The static part ({', '.join(statics)}) of {full_name(cls)}"

    def flatten(x: Any) -> tuple[Iterable[Any], Aux | None]:
        children = [getattr(x, name, _ABSENT) for name in names]
        if not statics:
            return children, None
        return children, _hashable(tuple([getattr(x, name, _ABSENT) for name in statics]), what)

    def unflatten(aux: Any, children: list[Any]) -> Any:
        x: Any = object.__new__(cls)
        for name, value in zip((*names, *statics), (*children, *(aux or ())), strict=True):
            if value is not _ABSENT:
                object.__setattr__(x, name, value)  # the class may be frozen
        if caches_hash:
            object.__setattr__(x, "_attrs_cached_hash", None)  # as its `__init__` does
        return x

    def note(aux: Any) -> str:
        return ", ".join([f"{name}={aux[i]!r}" for i, name in enumerate(statics)])

    return Kind(cls, unflatten, cls.__name__ + "({})", flatten, lambda *_: names, "field", note)


def _derive(cls: Any) -> Kind | None:
    """The kind of a class that nobody registered; None: its instances are leaves."""

    def unchecked(_: None, items: dict[Any, Any]) -> Any:
        # The constructor would check types and invariants, and so refuse tracers.
        bare: Any = pmap(items)
        return PMap.__new__(cls, bare._size, bare._buckets)  # type: ignore[call-arg]

    call = cls.__name__ + "({})"
    if issubclass(cls, tuple):
        if not isinstance(getattr(cls, "_fields", None), tuple):
            return None
        # Not `cls(*children)`: a subclass may have a `__new__` of its own.
        build = lambda aux, children: tuple.__new__(cls, children)
        return Kind(cls, build, call, names=lambda *_: cls._fields, named_by="field")
    if issubclass(cls, PRecord):
        return _mapping(cls, unchecked, call, "field")
    if issubclass(cls, CheckedPMap):
        return _mapping(cls, unchecked, cls.__name__ + "({{{}}})")
    if issubclass(cls, CheckedPVector):
        build = lambda _, children: cls(_python_pvector(children))
        return Kind(cls, build, cls.__name__ + "([{}])")
    if attrs.has(cls):
        fields: Any = attrs.fields(cls)
    elif dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(cls)
    else:
        return None
    news = [vars(base)["__new__"] for base in cls.__mro__[:-1] if "__new__" in vars(base)]
    if issubclass(cls, Enum) or not all(isinstance(new, staticmethod) for new in news):
        return None  # built on dict, Exception, ...: `object.__new__` cannot make one
    statics = [field.name for field in fields if field.metadata.get("static")]
    return _record(cls, [field.name for field in fields if field.name not in statics], statics)


class _Kinds(dict[type, "Kind | None"]):
    """The kind of every class met so far, None for leaves: a cache, emptied when it gets large."""

    def __missing__(self, cls: type) -> Kind | None:
        with _lock:
            kind = _registered.get(cls) or _derived.get(cls) or _derive(cls)
            if kind is not None:
                _derived[cls] = kind
            if len(self) >= 10_000:
                self.clear()
            self[cls] = kind
        return kind


_lock = make_lock()
kinds = _Kinds()
# Keys of live treedefs hold these very objects: an emptied cache must find them again.
_derived: WeakValueDictionary[type, Kind] = WeakValueDictionary()
_registered: dict[type, Kind] = {
    kind.cls: kind
    for kind in (
        Kind(type(None), lambda *_: None, "None", lambda _: ((), None)),
        Kind(_Absent, lambda *_: _ABSENT, repr(_ABSENT), lambda _: ((), None)),
        Kind(tuple, lambda _, children: tuple(children), "({})"),
        Kind(list, lambda _, children: children, "[{}]"),
        Kind(PythonPVector, lambda _, children: _python_pvector(children), "pvector([{}])"),
        # The same class, or where pyrsistent has its C extension another.
        Kind(type(pvector()), lambda _, children: pvector(children), "pvector([{}])"),
        _mapping(dict, lambda _, items: items, "{{{}}}"),
        _mapping(PMap, lambda _, items: pmap(items), "pmap({{{}}})"),
        _mapping(
            defaultdict,
            defaultdict,
            "defaultdict({{{}}})",
            extra=lambda x: x.default_factory,
            note=lambda aux: f"default_factory={aux[1]!r}",
        ),
        # Its order counts in `==`, so it is part of the structure; its leaves come sorted.
        _mapping(
            OrderedDict,
            lambda keys, items: OrderedDict((key, items[key]) for key in keys),
            "OrderedDict({{{}}})",
            extra=tuple,
            note=lambda aux: "" if aux[0] == aux[1] else f"in the order {aux[1]!r}",
        ),
    )
}


def register(
    cls: type,
    flatten: Callable[[Any], tuple[Sequence[Any], Hashable]],
    unflatten: Callable[[Any, Sequence[Any]], Any],
) -> None:
    """Make the instances of ``cls``, but not those of its subclasses, containers."""
    if not isinstance(cls, type):
        raise FungradError(f"Only a class can be registered, not {cls!r}.")
    name = full_name(cls)

    def checked(x: Any) -> tuple[Iterable[Any], Aux]:
        parts = flatten(x)
        if not (isinstance(parts, tuple) and len(parts) == 2):
            raise FungradError(f"`flatten` of {name} must return (children, aux), not {parts!r}.")
        return parts[0], _hashable(parts[1], f"The aux of {name}")

    note = lambda aux: "" if aux is None else f"aux={aux!r}"
    kind = Kind(cls, unflatten, cls.__name__ + "({})", checked, note=note)
    with _lock:
        if cls in _registered:
            raise FungradError(f"{name} is a registered container already; register it once.")
        _registered[cls] = kinds[cls] = kind
