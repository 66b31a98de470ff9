"""What a function reads from outside of its arguments, so that ``jit`` sees it change.

Closure cells, globals and defaults, of the function and of the Python functions that it reads in
turn, and the attributes of the objects among them. What hides deeper (an attribute of an attribute,
an entry of a list) is not seen.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from functools import partial
from types import (
    CellType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import attrs

from fungrad._aval import SCALAR_TYPES, is_array
from fungrad._intern import bits_key

_QUIET = sys.stdlib_module_names - {"__main__"} | {
    "numpy",
    "scipy",
    "attr",
    "attrs",
    "pyrsistent",
    "fungrad",
}
"""Packages whose own globals and attributes are taken as constant."""
_MISSING = object()


@attrs.frozen(eq=False)
class Environment:
    """The values that functions read when they were observed."""

    cells: tuple[tuple[CellType, Any], ...]
    names: tuple[tuple[Any, str, Any], ...]
    defaults: tuple[tuple[FunctionType, str, Any], ...]

    def changed(self) -> bool:
        """Whether any of them is another one now: arrays by identity, numbers by their bits."""
        for cell, value in self.cells:
            now = _content(cell)
            if now is not value and _differs(now, value):
                return True
        for namespace, name, value in self.names:
            now = namespace.get(name, _MISSING)
            if now is not value and _differs(now, value):
                return True
        return any(getattr(reader, name) is not value for reader, name, value in self.defaults)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet, or deleted
        return _MISSING


def _differs(now: Any, before: Any) -> bool:
    kind = type(now)
    if kind is not type(before) or kind not in SCALAR_TYPES:
        return True
    return bits_key(now) != bits_key(before)


def observe(*values: Any) -> Environment:
    """What functions, and callable or plain objects, read now."""
    cells: list[tuple[CellType, Any]] = []
    names: list[tuple[Any, str, Any]] = []
    defaults: list[tuple[FunctionType, str, Any]] = []
    seen: set[int] = set()
    attributes: set[str] = set()
    spaces: list[tuple[Any, set[str]]] = []
    pending = list(values)
    while pending:
        value = pending.pop()
        if id(value) not in seen and not is_array(value) and type(value) not in SCALAR_TYPES:
            seen.add(id(value))
            pending += _behind(value)
            if "__rules__" in _own(value):
                names.append((_own(value), "__rules__", _own(value)["__rules__"]))
            spaces += [(space, set()) for space in _namespaces(value)]
            if isinstance(value, FunctionType):
                defaults.append((value, "__defaults__", value.__defaults__))
                if value.__kwdefaults__:
                    defaults.append((value, "__kwdefaults__", value.__kwdefaults__))
                    names += [
                        (value.__kwdefaults__, *item) for item in value.__kwdefaults__.items()
                    ]
                for cell in value.__closure__ or ():
                    cells.append((cell, _content(cell)))
                    pending.append(_content(cell))
                if not _is_quiet(value.__globals__.get("__name__")):
                    for name in _names(value.__code__, ("LOAD_GLOBAL", "LOAD_NAME")):
                        held = value.__globals__.get(name, _MISSING)
                        if not isinstance(held, ModuleType):
                            names.append((value.__globals__, name, held))
                        pending.append(held)
                    attributes |= _names(value.__code__, ("LOAD_ATTR", "LOAD_METHOD"))
        if not pending:
            # Only attributes that some function loads matter; what they hold may hold more.
            for space, known in spaces:
                for name in attributes - known:
                    held = space.get(name, _MISSING)
                    if held is not _MISSING:
                        names.append((space, name, held))
                        pending.append(held)
                known |= attributes
    return Environment(tuple(cells), tuple(names), tuple(defaults))


def _behind(value: Any) -> Iterator[Any]:
    """The functions behind a callable; by type, for objects may make up any attribute."""
    if isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif isinstance(value, property):
        yield value.fget
    elif isinstance(value, partial):
        yield from (value.func, *value.args, *value.keywords.values())
    if "__wrapped__" in _own(value):
        yield _own(value)["__wrapped__"]
    yield from _own(value).get("__rules__", ())
    for base in type(value).__mro__:
        if isinstance(vars(base).get("__call__"), FunctionType):
            yield vars(base)["__call__"]


def _own(value: Any) -> Any:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}


class _Slots:
    """The slots of an object, as a namespace."""

    def __init__(self, value: Any, members: dict[str, Any]) -> None:
        self._value, self._members = value, members

    def get(self, name: str, default: Any) -> Any:
        if name not in self._members:
            return default
        try:
            return self._members[name].__get__(self._value)
        except AttributeError:
            return default


def _namespaces(value: Any) -> Iterator[Any]:
    """Where the attributes of an object, a class or a module of the user's are."""
    if isinstance(value, FunctionType):
        return
    if isinstance(value, ModuleType):
        if not _is_quiet(value.__name__):
            yield vars(value)
        return
    if not isinstance(value, type):
        if _is_quiet(type(value).__module__):
            return
        yield _own(value)
        members = {
            name: member
            for base in type(value).__mro__
            for name, member in vars(base).items()
            if isinstance(member, MemberDescriptorType)
        }
        if members:
            yield _Slots(value, members)
    for base in (value if isinstance(value, type) else type(value)).__mro__:
        if not _is_quiet(base.__module__) and base is not object:
            yield vars(base)


def _is_quiet(module: Any) -> bool:
    return str(module).partition(".")[0] in _QUIET


def _names(code: CodeType, operations: tuple[str, ...]) -> set[str]:
    """Every name that the code loads by these operations, nested functions' included."""
    steps = dis.get_instructions(code)
    names = {step.argval for step in steps if step.opname in operations}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant, operations)
    return names
