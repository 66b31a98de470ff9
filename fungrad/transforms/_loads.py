"""What code loads when it runs: the names of globals, of attributes, of modules.

Row 9. In: code objects. Out: ``Loads``, by which an ``Environment`` knows what to watch.
"""

from __future__ import annotations

import dis
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType

import attrs

_BY_NAME = frozenset({"getattr", "hasattr", "vars", "globals", "attrgetter", "__dict__"})
"""Where code names one of these, its texts may be names of attributes or of globals."""
_DOUBTING = frozenset({"getattr", "hasattr", "AttributeError"})
"""Where code names one of these, it goes on where an attribute is missing."""
_READING_ALL = frozenset({"vars", "__dict__", "fields", "asdict", "astuple"})
"""Where code names one of these, it may read any attribute."""
_GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"})


@attrs.frozen
class Loads:
    """What code loads, nested functions' code included.

    Attributes:
        names: globals.
        attributes: of whatever object.
        doubted: those of the attributes that it may go on without.
        modules: what it imports.
        reads_all: whether it may read attributes that it does not name.
    """

    names: frozenset[str]
    attributes: frozenset[str]
    doubted: frozenset[str]
    modules: frozenset[str]
    reads_all: bool


@lru_cache(maxsize=1024)
def loads_of(code: CodeType) -> Loads:
    """What this code, and code inside of it, loads."""
    names: set[str] = set()
    attributes: set[str] = set()
    doubted: set[str] = set()
    modules: set[str] = set()
    reads_all = not _READING_ALL.isdisjoint(code.co_names)
    steps = list(dis.get_instructions(code))
    for i, step in enumerate(steps):
        if step.opname in _GLOBALS:
            names.add(step.argval)
            if step.argval in ("getattr", "hasattr") and not _names_constant(steps[i + 1 :]):
                reads_all = True
        elif step.opname in _ATTRIBUTES:
            attributes.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            modules.add(step.argval)
    by_name = not _BY_NAME.isdisjoint(code.co_names)
    for constant in code.co_consts:
        if by_name and isinstance(constant, str):
            parts = [part for part in constant.split(".") if part.isidentifier()]
            attributes.update(parts)
            names.update(parts)
        if isinstance(constant, CodeType):
            more = loads_of(constant)
            names |= more.names
            attributes |= more.attributes
            doubted |= more.doubted
            modules |= more.modules
            reads_all |= more.reads_all
    if not _DOUBTING.isdisjoint(code.co_names):
        doubted |= attributes
    return Loads(
        frozenset(names),
        frozenset(attributes),
        frozenset(doubted),
        frozenset(modules),
        reads_all,
    )


def _names_constant(steps: Sequence[dis.Instruction]) -> bool:
    """Whether the call of ``getattr`` whose arguments come next has a text as the second one."""
    pushed, constant = 0, False
    for step in steps:
        if step.opname in ("PUSH_NULL", "PRECALL"):
            continue
        if not step.opname.startswith("LOAD_"):
            return constant and step.opname == "CALL"
        pushed += dis.stack_effect(step.opcode, step.arg)
        if pushed == 2 and step.opname == "LOAD_CONST":
            constant = isinstance(step.argval, str)
    return False
