"""What a function reads from outside of its arguments, so that ``jit`` sees it change.

Closure cells, globals and defaults, of the function and of the Python functions that it reads in
turn, and the attributes of the objects among them. What hides deeper (an attribute of an attribute,
an entry of a list) is not seen.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import attrs

from fungrad._aval import SCALAR_TYPES, is_array
from fungrad._intern import bits_key

_QUIET = sys.stdlib_module_names | {"numpy", "scipy", "attr", "attrs", "pyrsistent", "fungrad"}
"""Packages whose own globals and attributes are taken as constant."""
_MISSING = object()


@attrs.frozen(eq=False)
class Environment:
    """The values that functions read when they were observed."""

    cells: tuple[tuple[CellType, Any], ...]
    names: tuple[tuple[dict[str, Any], str, Any], ...]
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
    names: list[tuple[dict[str, Any], str, Any]] = []
    defaults: list[tuple[FunctionType, str, Any]] = []
    seen: set[int] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if id(value) in seen or is_array(value) or type(value) in SCALAR_TYPES:
            continue
        seen.add(id(value))
        pending += _behind(value)
        if not isinstance(value, FunctionType):
            if _is_plain_object(value):
                names += [(vars(value), name, held) for name, held in vars(value).items()]
            continue
        defaults.append((value, "__defaults__", value.__defaults__))
        if value.__kwdefaults__:
            defaults.append((value, "__kwdefaults__", value.__kwdefaults__))
            names += [(value.__kwdefaults__, *item) for item in value.__kwdefaults__.items()]
        for cell in value.__closure__ or ():
            cells.append((cell, _content(cell)))
            pending.append(_content(cell))
        if not _is_quiet(value.__globals__.get("__name__")):
            for name in _names(value.__code__):
                held = value.__globals__.get(name, _MISSING)
                if not isinstance(held, ModuleType):
                    names.append((value.__globals__, name, held))
                    pending.append(held)
    return Environment(tuple(cells), tuple(names), tuple(defaults))


def _behind(value: Any) -> Iterator[Any]:
    """The functions behind a callable: wrapped, partially applied, a method, a class's own."""
    if isinstance(value, type):
        if not _is_quiet(value.__module__):
            yield from vars(value).values()
        return
    for name in ("__wrapped__", "__func__", "__self__", "func", "fget"):
        inner = getattr(value, name, None) if callable(value) or name != "func" else None
        if inner is not None and not isinstance(inner, ModuleType):
            yield inner
    for base in type(value).__mro__:
        if isinstance(vars(base).get("__call__"), FunctionType):
            yield vars(base)["__call__"]


def _is_plain_object(value: Any) -> bool:
    return not isinstance(value, (type, ModuleType)) and (
        hasattr(value, "__dict__") and not _is_quiet(type(value).__module__)
    )


def _is_quiet(module: Any) -> bool:
    return str(module).partition(".")[0] in _QUIET


def _names(code: CodeType) -> set[str]:
    """Every name that the code looks up in its globals, nested functions' included."""
    names = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
