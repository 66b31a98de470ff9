"""What a function reads from outside of its arguments, so that ``jit`` sees it change.

Closure cells, globals and defaults, of the function and of the Python functions that it reads in
turn. What hides behind an attribute (``self.scale``, ``config.rate``) or inside a container is not
seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import attrs

from fungrad._aval import SCALAR_TYPES
from fungrad._intern import bits_key

_QUIET = sys.stdlib_module_names | {"numpy", "scipy", "attr", "attrs", "pyrsistent", "fungrad"}
"""Packages whose own globals are taken as constant."""


@attrs.frozen(eq=False)
class Environment:
    """The values that a function read when it was observed."""

    cells: tuple[tuple[CellType, Any], ...]
    names: tuple[tuple[dict[str, Any], str, Any], ...]
    defaults: tuple[tuple[FunctionType, Any], ...]

    def changed(self) -> bool:
        """Whether any of them is another one now: arrays by identity, numbers by their bits."""
        for cell, value in self.cells:
            try:
                now = cell.cell_contents
            except ValueError:  # deleted
                return True
            if now is not value and _differs(now, value):
                return True
        for namespace, name, value in self.names:
            now = namespace.get(name)
            if now is not value and _differs(now, value):
                return True
        return any(function.__defaults__ is not value for function, value in self.defaults)


def _differs(now: Any, before: Any) -> bool:
    kind = type(now)
    if kind is not type(before) or kind not in SCALAR_TYPES:
        return True
    return bits_key(now) != bits_key(before)


def observe(function: Callable[..., Any]) -> Environment:
    """What ``function`` reads now."""
    cells: list[tuple[CellType, Any]] = []
    names: list[tuple[dict[str, Any], str, Any]] = []
    defaults: list[tuple[FunctionType, Any]] = []
    seen: set[int] = set()
    pending = list(_functions(function))
    while pending:
        reader = pending.pop()
        if id(reader) in seen:
            continue
        seen.add(id(reader))
        if reader.__defaults__:
            defaults.append((reader, reader.__defaults__))
        for cell in reader.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            cells.append((cell, value))
            pending += _functions(value)
        package = reader.__globals__.get("__name__", "").partition(".")[0]
        if package in _QUIET:
            continue
        for name in _names(reader.__code__):
            value = reader.__globals__.get(name)
            if value is not None and not isinstance(value, ModuleType):
                names.append((reader.__globals__, name, value))
                pending += _functions(value)
    return Environment(tuple(cells), tuple(names), tuple(defaults))


def _functions(value: Any) -> Iterator[FunctionType]:
    """The Python functions behind a callable: wrapped, partially applied, or a method."""
    for _ in range(100):
        if isinstance(value, FunctionType):
            yield value
        inner = getattr(value, "__wrapped__", None) if callable(value) else None
        if inner is None and callable(value):
            inner = getattr(value, "__func__", None) or getattr(value, "func", None)
        if inner is None:
            return
        value = inner


def _names(code: CodeType) -> set[str]:
    """Every name that the code may look up in its globals, nested functions' included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
