"""What a function reads from outside of its arguments, so that ``jit`` sees it change.

Closure cells, globals and defaults, of the function and of the Python functions that it reads in
turn; the attributes that their code loads of the objects among them; the entries of dicts, lists
and sets among all these, and the contents of arrays. In: functions and objects. Out: an
``Environment``, which is compared with what is there now, at every call.
"""

from __future__ import annotations

import sys
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache, partial
from itertools import islice
from operator import attrgetter, is_, itemgetter
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import attrs
import numpy as np

from fungrad._aval import SCALAR_TYPES, is_array
from fungrad._intern import bits_key
from fungrad.transforms._draws import global_generators, is_generator
from fungrad.transforms._loads import loads_of

_LIBRARIES = frozenset({"numpy", "scipy", "attr", "attrs", "pyrsistent", "fungrad"})
_QUIET = sys.stdlib_module_names - {"__main__"} | _LIBRARIES
"""Packages whose own globals and attributes are taken as constant; of other installed ones, what
their functions read is."""
_MAKING = ("__init__", "__new__", "__post_init__", "__attrs_post_init__")
"""Methods that run where code calls a class."""
_ELSEWHERE = frozenset(
    {
        "__init__", "__new__", "__del__", "__init_subclass__", "__setattr__", "__delattr__",
        "__repr__", "__str__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__",
    }
)  # fmt: skip
"""Methods that make, write, show or store an object: no traced function has results of them."""
_PLAIN = frozenset({*SCALAR_TYPES, str, bytes, type(None)})
_CLOSED = _PLAIN | {
    object,
    BuiltinFunctionType,
    MemberDescriptorType,
    GetSetDescriptorType,
    np.ufunc,
}
"""What has nothing behind it that could change."""
_MISSING = object()
MAX_ENTRIES = 64
"""Of longer containers, only the length is watched."""
MAX_CONTAINERS = 256
"""How many containers one environment watches."""
WHOLE = 1 << 12
"""Arrays of at most so many bytes are compared as a whole, larger ones by a sample."""
_SAMPLE = 64


class _Slots:
    """The slots of an object, as a namespace."""

    def __init__(self, value: Any, members: dict[str, Any]) -> None:
        self._value, self.members = value, members

    def read(self, names: Sequence[str]) -> Read:
        """The values of several slots; by one call where the class looks them up as usual."""
        above = [vars(base) for base in type(self._value).__mro__]
        found = [next(space[name] for space in above if name in space) for name in names]
        hooked = any("__getattribute__" in space for space in above[:-1])
        if not hooked and all(map(is_, found, map(self.members.get, names))):
            return partial(attrgetter(*names), self._value)
        return lambda: [self[name] for name in names]

    def __getitem__(self, name: str) -> Any:
        return self.members[name].__get__(self._value)

    def __contains__(self, name: str) -> bool:
        return name in self.members and self.get(name, _MISSING) is not _MISSING

    def get(self, name: str, default: Any) -> Any:
        try:
            return self[name]
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
        return not all(map(is_, now, self.held)) and any(map(_differs, now, self.held))


# By the methods of the builtin classes: a subclass may do anything.


def _of_dict(held: Any) -> list[Any]:
    count = dict.__len__(held)
    return [*dict.__iter__(held), *dict.values(held)] if count <= MAX_ENTRIES else [count]


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
    return [held.get(name, _MISSING) for name in held.members]


_ENTRIES: dict[type, Callable[[Any], list[Any]]] = {
    dict: _of_dict, list: _of_list, set: _of_set, deque: _of_deque, MappingProxyType: _of_proxy,
    _Slots: _of_slots,
}  # fmt: skip


@attrs.frozen(eq=False)
class Stamp:
    """What an array held when it was observed: all of it, or a sample."""

    subject: Any
    plain: Any
    index: Any
    data: bytes

    @classmethod
    def of(cls, array: Any) -> Stamp:
        plain = np.ndarray.view(array, np.ndarray)  # a subclass may index in its own way
        index: Any = ()
        if array.nbytes > WHOLE:
            each = max(1, int(_SAMPLE ** (1 / array.ndim)))
            index = tuple([slice(None, None, max(1, n // each)) for n in array.shape])
        return cls(array, plain, index, plain[index].tobytes())

    def changed(self) -> bool:
        """Whether it has been written to."""
        return bool(self.plain[self.index].tobytes() != self.data)


Read = Callable[[], Iterable[Any]]
"""Gives the values of several variables at once: this is done at every call of the function."""


def _reads(
    cells: Sequence[tuple[CellType, Any]],
    names: Sequence[tuple[Callable[[str, Any], Any], str, Any]],
) -> Iterator[tuple[Read, Sequence[Any]]]:
    """Closure cells, and names by the dict in which they are, or how else they are looked up.

    Each with the values that were found before.
    """
    filled = [pair for pair in cells if pair[1] is not _MISSING]
    if filled:
        subjects, values = zip(*filled, strict=True)
        yield partial(map, attrgetter("cell_contents"), subjects), values
    rest = [(partial(_content, cell), _MISSING) for cell, value in cells if value is _MISSING]
    spaces: dict[int, tuple[Any, dict[str, Any]]] = {}
    functions: dict[str, list[tuple[Any, Any]]] = {}
    for get, name, value in names:
        space = getattr(get, "__self__", None)
        if type(space) in (dict, MappingProxyType, _Slots):
            spaces.setdefault(id(space), (space, {}))[1][name] = value
        elif isinstance(get, partial) and get.func is getattr:
            functions.setdefault(name, []).append((get.args[0], value))
        else:
            rest.append((partial(get, name, _MISSING), value))
    for space, held in spaces.values():
        there = {name: value for name, value in held.items() if value is not _MISSING}
        absent = held.keys() - there
        if there:
            several = (*there, next(iter(there)))  # of one name alone it would give no tuple
            slots = isinstance(space, _Slots)
            read = space.read(several) if slots else partial(itemgetter(*several), space)
            yield read, [there[name] for name in several]
        if absent:
            yield partial(map, space.__contains__, absent), [False] * len(absent)
    for name, pairs in functions.items():
        subjects, values = zip(*pairs, strict=True)
        yield partial(map, attrgetter(name), subjects), values
    if rest:
        yield (lambda: [read() for read, _ in rest]), [value for _, value in rest]


@attrs.frozen(eq=False)
class Environment:
    """The values that functions read when they were observed."""

    cells: tuple[tuple[CellType, Any], ...]
    names: tuple[tuple[Callable[[str, Any], Any], str, Any], ...]
    contents: tuple[Contents | Stamp, ...]
    exempt: dict[int, Any]
    """Containers and arrays that are not watched, by their ``id``."""
    generators: tuple[Any, ...] = ()
    """The random generators among them."""
    _bound: tuple[tuple[Read, ...], tuple[Any, ...]] = attrs.field(init=False)

    @_bound.default
    def _grouped(self) -> tuple[tuple[Read, ...], tuple[Any, ...]]:
        pairs = list(_reads(self.cells, self.names))
        return tuple([read for read, _ in pairs]), tuple([v for _, each in pairs for v in each])

    def changed(self) -> bool:
        """Whether anything differs now: arrays by identity and contents, numbers by their bits."""
        for watched in self.contents:
            if watched.changed():
                return True
        return self.rebound()

    def rebound(self) -> bool:
        """Whether a variable, default or attribute is bound to something else now."""
        reads, before = self._bound
        now: list[Any] = []
        try:
            for read in reads:
                now += read()
        except (LookupError, AttributeError, ValueError):  # a variable was deleted
            return True
        return not all(map(is_, now, before)) and any(map(_differs, now, before))

    def written(self) -> list[Any]:
        """The containers and arrays that hold something else now."""
        return [watched.subject for watched in self.contents if watched.changed()]

    def beyond(self, other: Environment) -> Environment:
        """The same, without what the other one watches as well."""
        cells, names = {id(cell) for cell, _ in other.cells}, {name[:2] for name in other.names}
        subjects = {id(one.subject) for one in other.contents}
        return attrs.evolve(
            self,
            cells=tuple([one for one in self.cells if id(one[0]) not in cells]),
            names=tuple([one for one in self.names if one[:2] not in names]),
            contents=tuple([one for one in self.contents if id(one.subject) not in subjects]),
        )

    def settled(self) -> Environment:
        """The same, without what has been written into since it was observed."""
        return self.without(self.written())

    def without(self, subjects: list[Any]) -> Environment:
        """The same, with some containers and arrays exempt."""
        if not subjects:
            return self
        exempt = self.exempt | {id(subject): subject for subject in subjects}
        contents = tuple([one for one in self.contents if id(one.subject) not in exempt])
        return attrs.evolve(self, contents=contents, exempt=exempt)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet, or deleted
        return _MISSING


def _differs(now: Any, before: Any) -> bool:
    kind = type(now)
    if now is before or kind is not type(before) or kind not in SCALAR_TYPES:
        return now is not before
    return bits_key(now) != bits_key(before)


def observe(*values: Any, exempt: Mapping[int, Any] = MappingProxyType({})) -> Environment:
    """What functions, and callable or plain objects, read now.

    ``exempt``: containers and arrays, by their ``id``, whose contents are not watched.
    """
    cells: list[tuple[CellType, Any]] = []
    names: list[tuple[Any, str, Any]] = []
    contents: list[Contents | Stamp] = []
    seen: dict[int, Any] = {}
    generators: list[Any] = []
    attributes: set[str] = set()
    doubted: set[str] = set()
    reads_all = False
    spaces: list[tuple[list[Any], set[tuple[str, bool]]]] = []
    pending = list(values)
    while pending:
        while pending:
            value = pending.pop()
            if id(value) in seen or type(value) in _CLOSED:
                continue
            seen[id(value)] = value
            kind = type(value)  # not isinstance: an object may claim to be of any class
            if issubclass(kind, np.ndarray):
                if id(value) not in exempt:
                    contents.append(Stamp.of(value))
                if kind is np.ndarray:
                    continue
            elif is_array(value):
                continue
            if is_generator(value):
                generators.append(value)
            if not _ENTRIES.keys().isdisjoint(kind.__mro__) and len(contents) < MAX_CONTAINERS:
                inside = Contents.of(value)
                pending += inside.held
                if id(value) not in exempt:
                    contents.append(inside)
            pending += _behind(value)
            if kind is ContextVar:
                pending.append(value.get(None))
                names.append((partial(_current, value), "", pending[-1]))
            own = _own(value)
            if "__rules__" in own:  # a rule may be stated again
                names.append((own.get, "__rules__", own["__rules__"]))
            if chain := list(_namespaces(value)):
                spaces.append((chain, set()))
            if _is(value, FunctionType):
                held = [_content(cell) for cell in value.__closure__ or ()]
                pending += [*held, value.__defaults__, value.__kwdefaults__]
                home = value.__globals__.get("__name__")
                if not (_is_quiet(home) or _is_installed(str(home).partition(".")[0])):
                    cells += zip(value.__closure__ or (), held, strict=True)
                    names.append((partial(getattr, value), "__defaults__", value.__defaults__))
                    if value.__kwdefaults__:
                        get = partial(getattr, value)
                        names.append((get, "__kwdefaults__", value.__kwdefaults__))
                    loaded = loads_of(value.__code__)
                    pending += _imported(loaded.modules, value.__globals__)
                    for name in loaded.names:
                        found = value.__globals__.get(name, _MISSING)
                        if not (_is(found, ModuleType) and _is_quiet(found.__name__)):
                            names.append((value.__globals__.get, name, found))
                        pending.append(found)
                    attributes |= loaded.attributes
                    doubted |= loaded.doubted
                    reads_all |= loaded.reads_all
        # Only attributes that some function loads matter; what they hold may hold more.
        wanted = {(name, name in doubted) for name in attributes}
        for chain, known in spaces:
            made_up = any("__getattr__" in space for space in chain)
            for name, in_doubt in wanted - known:
                held = [space.get(name, _MISSING) for space in chain]
                while held and held[-1] is _MISSING and not (in_doubt or made_up):
                    held.pop()
                # Also where it is missing: there it would come before the one that is found.
                names += [(space.get, name, one) for space, one in zip(chain, held, strict=False)]
                pending += held
            known |= wanted
            if reads_all:
                pending += [space for space in chain if id(space) not in seen]
    if "random" in attributes or id(sys.modules.get("numpy.random")) in seen:
        generators += global_generators()
    skipped = {key: value for key, value in exempt.items() if seen.get(key) is value}
    return Environment(tuple(cells), tuple(names), tuple(contents), skipped, tuple(generators))


def _is(value: Any, kinds: type | tuple[type, ...]) -> bool:
    # Not isinstance: an object may claim to be of any class, as mocks do.
    return issubclass(type(value), kinds)


def _current(variable: ContextVar[Any], name: str, default: Any) -> Any:
    return variable.get(None)


_WRAPPERS = frozenset({UserDict, UserList, ChainMap})


def _behind(value: Any) -> Iterator[Any]:
    """What is behind a value; by type, for objects may make up any attribute."""
    if issubclass(type(value), (tuple, frozenset)):
        yield from islice(value, MAX_ENTRIES)
    if not _WRAPPERS.isdisjoint(type(value).__mro__):
        yield from _own(value).values()
    if _is(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif _is(value, (staticmethod, classmethod)):
        yield value.__func__
    elif _is(value, type):
        for base in value.__mro__:
            if not _is_quiet(base.__module__):
                yield from map(vars(base).get, _MAKING)
    elif _is(value, property):
        yield value.fget
    elif _is(value, partial):
        yield from (value.func, value.args, value.keywords)
    own = _own(value)
    if "__wrapped__" in own:
        yield own["__wrapped__"]
    yield from own.get("__rules__", ())
    for base in type(value).__mro__:
        if not _is_quiet(base.__module__):
            for name, method in vars(base).items():  # calls, operators, look-ups
                special = name.startswith("__") and name not in _ELSEWHERE
                if special and isinstance(method, FunctionType):
                    yield method


_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _own(value: Any) -> Any:
    if not type(value).__dictoffset__:  # sooner known than by the exception
        return _NOTHING
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return _NOTHING


def _namespaces(value: Any) -> Iterator[Any]:
    """Where the attributes of an object, a class or a module of the user's are."""
    if _is(value, FunctionType) and _is_quiet(value.__module__):
        return
    if _is(value, ModuleType):
        if not _is_quiet(value.__name__):
            yield vars(value)
        return
    if not _is(value, type):
        if str(type(value).__module__).partition(".")[0] in _LIBRARIES:
            return
        own = _own(value)
        if own is not _NOTHING:
            yield own
        if _is_quiet(type(value).__module__):
            return
        members = {
            name: member
            for base in type(value).__mro__
            for name, member in vars(base).items()
            if isinstance(member, MemberDescriptorType)
        }
        if members:
            yield _Slots(value, members)
    for base in (value if _is(value, type) else type(value)).__mro__:
        if not _is_quiet(base.__module__) and base is not object:
            yield vars(base)


def _is_quiet(module: Any) -> bool:
    return str(module).partition(".")[0] in _QUIET


@lru_cache(maxsize=1024)
def _is_installed(package: str) -> bool:
    """Whether a package is one of the installed: its code is walked by nobody, it is large."""
    module = sys.modules.get(package)
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any({"site-packages", "dist-packages"} & set(Path(one).parts) for one in places if one)


def _imported(modules: Iterable[str], home: Mapping[str, Any]) -> Iterator[Any]:
    """The modules that a function imports while it runs, by their names there."""
    package = str(home.get("__package__") or "")
    while modules:
        for name in modules:
            parts = f"{package}.{name}".strip(".").split(".")
            for count in range(1, len(parts) + 1):
                yield sys.modules.get(".".join(parts[:count]))
        if not package:
            return
        package = package.rpartition(".")[0]
