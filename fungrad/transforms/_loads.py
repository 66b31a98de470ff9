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
    reads_all = False
    steps = list(dis.get_instructions(code))
    given = _given_name(code, steps)
    for i, step in enumerate(steps):
        if step.opcode in dis.hasname and step.argval in _READING_ALL:
            # In ``self.__dict__.update(...)`` nothing is read.
            reads_all |= step.argval != "__dict__" or steps[i + 1].argval != "update"
        if step.opname in _GLOBALS:
            names.add(step.argval)
            if step.argval in ("getattr", "hasattr"):
                reads_all |= not _is_known(steps[i + 1 :], given)
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


def _given_name(code: CodeType, steps: Sequence[dis.Instruction]) -> str | None:
    """The parameter that is the name of an attribute which other code loads, by which it is known."""
    if code.co_name not in ("__getattr__", "__getattribute__") or code.co_argcount != 2:
        return None
    name = code.co_varnames[1]
    changed = any(step.opname.startswith("STORE_") and step.argval == name for step in steps)
    return None if changed else name


def _is_known(steps: Sequence[dis.Instruction], given: str | None) -> bool:
    """Whether the call of ``getattr`` whose arguments come next has a text as the second one.

    Or the name ``given``.
    """
    pushed, known = 0, False
    for step in steps:
        if step.opname in ("PUSH_NULL", "PRECALL"):
            continue
        if not step.opname.startswith("LOAD_"):
            return known and step.opname == "CALL"
        pushed += dis.stack_effect(step.opcode, step.arg)
        if pushed == 2:
            constant = step.opname == "LOAD_CONST" and isinstance(step.argval, str)
            known = constant or (step.opname.startswith("LOAD_FAST") and step.argval == given)
    return False
