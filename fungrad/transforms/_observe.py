"""What a function reads from outside of its arguments, so that ``jit`` sees it change.

Row 9. Closure cells, globals and defaults, of the function and of the Python functions that it reads in
turn; the attributes that their code loads of the objects among them; the entries of dicts, lists
and sets among all these, and the contents of arrays. In: functions and objects. Out: an
``Environment``.
"""

from __future__ import annotations

import sys
from collections import ChainMap, UserDict, UserList
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache, partial
from itertools import islice
from operator import attrgetter, methodcaller
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

import numpy as np

from fungrad._aval import SCALAR_TYPES, is_array
from fungrad.transforms._contents import (
    MAX_ENTRIES,
    MISSING,
    Contents,
    Slots,
    Stamp,
    is_container,
)
from fungrad.transforms._draws import global_generators, is_generator
from fungrad.transforms._environment import Environment, content_of
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
MAX_CONTAINERS = 256
"""How many containers one environment watches."""


def observe(*values: Any, exempt: Mapping[int, Any] = MappingProxyType({})) -> Environment:
    """What functions, and callable or plain objects, read now.

    ``exempt``: containers and arrays, by their ``id``, whose contents are not watched; of arrays
    the layout is.
    """
    walk = _Walk(exempt)
    pending, seen = walk.pending, walk.seen
    pending += values
    while pending:
        while pending:
            value = pending.pop()
            if type(value) not in _CLOSED and id(value) not in seen:
                seen[id(value)] = value
                walk.visit(value)
        walk.attributes()
    generators = walk.generators
    for name in ("numpy.random", "random"):
        module = sys.modules.get(name)
        if id(module) in seen or (name == "numpy.random" and "random" in walk.wanted):
            generators = [*generators, *global_generators(module)]
    skipped = {key: value for key, value in exempt.items() if seen.get(key) is value}
    return Environment(
        tuple(walk.cells), tuple(walk.names), tuple(walk.contents), skipped, tuple(generators)
    )


class _Walk:
    """What is found on the way from some values to all that they read."""

    def __init__(self, exempt: Mapping[int, Any]) -> None:
        self.cells: list[tuple[CellType, Any]] = []
        self.names: list[tuple[Any, str, Any]] = []
        self.contents: list[Contents | Stamp] = []
        self.generators: list[Any] = []
        self.pending: list[Any] = []
        self.seen: dict[int, Any] = {}
        self.wanted: set[str] = set()
        self._doubted: set[str] = set()
        self._reads_all = False
        self._chains: list[list[Any]] = []
        self._views: dict[int, Any] = {}
        self._named: set[tuple[int, str]] = set()
        self._looked_up: tuple[int, set[str], set[str]] = (0, set(), set())
        self._exempt = exempt

    def visit(self, value: Any) -> None:
        """Look at a value."""
        kind = type(value)  # not isinstance: an object may claim to be of any class
        if kind is FunctionType:
            self._function(value)
            return
        if kind is tuple:
            self.pending += value[:MAX_ENTRIES]
            return
        if issubclass(kind, np.ndarray):
            stamp = Stamp.of_layout if id(value) in self._exempt else Stamp.of
            self.contents.append(stamp(value))
            if kind is np.ndarray:
                return
        elif is_array(value):
            return
        elif is_generator(value):
            self.generators.append(value)
        elif kind is attrgetter or kind is methodcaller:
            made, given = value.__reduce__()
            names = [name for name in given or made.args if type(name) is str]
            self.wanted.update(".".join(names).split("."))
        if is_container(kind) and len(self.contents) < MAX_CONTAINERS:
            inside = Contents.of(value)
            self.pending += inside.held
            if id(value) not in self._exempt:
                self.contents.append(inside)
        self.pending += _behind(value)
        if kind is ContextVar:
            self.pending.append(value.get(None))
            self.names.append((partial(_current, value), "", self.pending[-1]))
        own = _own(value)
        if own:
            self._wrapped(own)
        if chain := list(_namespaces(value, self._views)):
            self._chains.append(chain)

    def _wrapped(self, own: Mapping[str, Any]) -> None:
        """Of what has these attributes, the function that it stands for and its rules."""
        if "__wrapped__" in own:
            self.pending.append(own["__wrapped__"])
        if "__rules__" in own:  # a rule may be stated again
            self.pending += own["__rules__"]
            self.names.append((own.get, "__rules__", own["__rules__"]))

    def _function(self, function: FunctionType) -> None:
        if function.__dict__:
            self._wrapped(function.__dict__)
        if not _is_quiet(function.__module__):
            self._chains.append([function.__dict__])
        held = [content_of(cell) for cell in function.__closure__ or ()]
        self.pending += [*held, function.__defaults__, function.__kwdefaults__]
        world = function.__globals__
        home = world.get("__name__")
        if _is_quiet(home) or _is_installed(str(home).partition(".")[0]):
            return
        self.cells += zip(function.__closure__ or (), held, strict=True)
        get = partial(getattr, function)
        self.names.append((get, "__defaults__", function.__defaults__))
        if function.__kwdefaults__:
            self.names.append((get, "__kwdefaults__", function.__kwdefaults__))
        loaded = loads_of(function.__code__)
        if loaded.modules:
            self.pending += _imported(loaded.modules, world)
        for name in loaded.names:
            found = world.get(name, MISSING)
            if not (_is(found, ModuleType) and _is_quiet(found.__name__)):
                self._watch(world, name, found)
            self.pending.append(found)
        self.wanted |= loaded.attributes
        self._doubted |= loaded.doubted
        self._reads_all |= loaded.reads_all

    def attributes(self) -> None:
        """Look up what functions load: only such attributes matter. What they hold may hold more."""
        doubted = self.wanted & self._doubted
        certain = self.wanted - doubted
        count, known, known_doubted = self._looked_up
        self._looked_up = len(self._chains), certain, doubted
        for chain in self._chains[:count]:
            self._look_up(chain, certain - known, doubted - known_doubted)
        for chain in self._chains[count:]:
            self._look_up(chain, certain, doubted)
        if self._reads_all:
            spaces = [space for chain in self._chains for space in chain]
            self.pending += [space for space in spaces if id(space) not in self.seen]

    def _look_up(self, chain: list[Any], certain: set[str], doubted: set[str]) -> None:
        """Attributes in the places where they are, the first place first."""
        made_up = False
        if certain:
            made_up = any("__getattr__" in space for space in chain)
            if not made_up:
                certain = set().union(*[space.keys() & certain for space in chain])
        for names, in_doubt in ((certain, made_up), (doubted, True)):
            for name in names:
                held = [space.get(name, MISSING) for space in chain]
                while not in_doubt and held and held[-1] is MISSING:
                    held.pop()
                # Also where it is missing: there it would come before the one that is found.
                for space, one in zip(chain, held, strict=False):
                    self._watch(space, name, one)
                self.pending += held

    def _watch(self, space: Any, name: str, found: Any) -> None:
        """Note what a name is in a namespace; objects of one class have namespaces in common."""
        key = id(space), name
        if key not in self._named:
            self._named.add(key)
            self.names.append((space.get, name, found))


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
    for base in (*type(value).__mro__, *(value.__mro__ if _is(value, type) else ())):
        if not _is_quiet(base.__module__):
            for name, method in vars(base).items():  # calls, operators, look-ups
                if type(method) is FunctionType and name[:2] == "__" and name not in _ELSEWHERE:
                    yield method


_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _own(value: Any) -> Any:
    if not type(value).__dictoffset__:  # sooner known than by the exception
        return _NOTHING
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return _NOTHING


def _namespaces(value: Any, views: dict[int, Any]) -> Iterator[Any]:
    """Where the attributes of an object, a class or a module of the user's are.

    ``views``: the namespaces of classes by their ``id``, as ``vars`` makes another one each time.
    """
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
            if type(member) is MemberDescriptorType
        }
        if members:
            yield Slots(value, members)
    for base in (value if _is(value, type) else type(value)).__mro__:
        if not _is_quiet(base.__module__) and base is not object:
            if id(base) not in views:
                views[id(base)] = vars(base)
            yield views[id(base)]


def _is_quiet(module: Any) -> bool:
    return _is_named_quiet(str(module))


@lru_cache(maxsize=4096)
def _is_named_quiet(name: str) -> bool:
    return name.partition(".")[0] in _QUIET


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
