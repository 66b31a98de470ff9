"""The variables, attributes, containers and arrays that functions read, compared at every call.

Row 9. In: where they are, and what was there when the functions were traced. Out: an
``Environment``, which says whether anything else is there now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from types import CellType, FunctionType, MappingProxyType
from typing import Any

import attrs

from fungrad._aval import SCALAR_TYPES
from fungrad.transforms._code import Code
from fungrad.transforms._contents import MISSING, Contents, Slots, Stamp, differs

HOT = 64
"""The comparison from which on it is done by generated code: until then that would take longer."""
MOST = 200
"""How many variables and contents are compared by it: writing it for more would take too long."""


def content_of(cell: CellType) -> Any:
    """What is in a closure cell, or ``MISSING``."""
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet, or deleted
        return MISSING


@attrs.frozen(eq=False)
class Environment:
    """The values that functions read when they were observed.

    Attributes:
        cells: closure cells, and what was in them.
        names: how names are looked up (``dict.get`` of where they are, or the like), the names, and
            what was found.
        contents: what containers and arrays held.
        exempt: containers that are not watched, by their ``id``, and arrays of which only the
            layout is.
        generators: the random generators among all these.
    """

    cells: tuple[tuple[CellType, Any], ...]
    names: tuple[tuple[Callable[[str, Any], Any], str, Any], ...]
    contents: tuple[Contents | Stamp, ...]
    exempt: dict[int, Any]
    generators: tuple[Any, ...] = ()
    _comparisons: Iterator[int] = attrs.field(factory=count, init=False)
    _compiled: list[Callable[[], bool]] = attrs.field(factory=list, init=False)

    def changed(self) -> bool:
        """Whether anything differs now: arrays by identity and contents, numbers by their bits."""
        if self._compiled or next(self._comparisons) >= HOT:
            return self.comparison()()
        return self._any()

    def _any(self) -> bool:
        return self.rebound() or bool(self.written())

    def rebound(self) -> bool:
        """Whether a variable, default or attribute is bound to something else now."""
        return any(differs(content_of(cell), value) for cell, value in self.cells) or any(
            (now := get(name, MISSING)) is not value and differs(now, value)
            for get, name, value in self.names
        )

    def comparison(self) -> Callable[[], bool]:
        """``changed`` as generated code, which takes half of the time, if there are not too many."""
        if len(self.cells) + len(self.names) + len(self.contents) > MOST:
            return self._any
        if not self._compiled:
            code = Code()
            code.lines += ["try:", "    pass"]  # there may be nothing to compare
            for cell, value in self.cells:
                _compare_cell(code, cell, value)
            for get, name, value in self.names:
                _compare_name(code, get, name, value)
            for watched in self.contents:
                if isinstance(watched, Stamp):
                    _compare_array(code, watched)
                else:
                    code.lines.append(f"    if {code.held(watched.changed)}(): return True")
            deleted = code.held((LookupError, AttributeError, ValueError))
            code.lines += [f"except {deleted}: return True", "return False"]
            self._compiled.append(code.function("changed()"))
        return self._compiled[0]

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
        written = {id(subject): subject for subject in subjects}
        contents: list[Contents | Stamp] = []
        for one in self.contents:
            if id(one.subject) not in written:
                contents.append(one)
            elif isinstance(one, Stamp):
                contents.append(Stamp.of_layout(one.subject))
        return attrs.evolve(self, contents=tuple(contents), exempt=self.exempt | written)


def _compare_cell(code: Code, cell: CellType, value: Any) -> None:
    if value is MISSING:
        _compare(code, f"{code.held(content_of)}({code.held(cell)})", value)
    else:
        _compare(code, f"{code.held(cell)}.cell_contents", value)


def _compare_name(code: Code, get: Callable[[str, Any], Any], name: str, value: Any) -> None:
    space = getattr(get, "__self__", None)
    if type(space) in (dict, MappingProxyType):
        where, key = code.held(space), code.held(name)
        if value is MISSING:
            code.lines.append(f"    if {key} in {where}: return True")
        else:
            _compare(code, f"{where}[{key}]", value)
    elif isinstance(space, Slots) and value is not MISSING:
        _compare(code, f"{code.held(space.reader(name))}()", value)
    elif isinstance(get, partial) and get.func is getattr and type(get.args[0]) is FunctionType:
        assert name in ("__defaults__", "__kwdefaults__")
        _compare(code, f"{code.held(get.args[0])}.{name}", value)
    else:
        _compare(code, f"{code.held(get)}({code.held(name)}, {code.held(MISSING)})", value)


def _compare_array(code: Code, stamp: Stamp) -> None:
    array, plain = code.held(stamp.subject), stamp.plain
    shape, dtype = code.held(plain.shape), code.held(plain.dtype)
    differing = f"({array}.dtype is not {dtype} and {array}.dtype != {dtype})"
    code.lines.append(f"    if {array}.shape != {shape} or {differing}: return True")
    if stamp.data is not None:
        sample = code.held(plain) + (f"[{code.held(stamp.index)}]" if stamp.index else "")
        code.lines.append(f"    if {sample}.tobytes() != {code.held(stamp.data)}: return True")


def _compare(code: Code, text: str, value: Any) -> None:
    if type(value) in SCALAR_TYPES:  # an equal one may be another object
        held = code.held(value)
        differing = f"(now := {text}) is not {held} and {code.held(differs)}(now, {held})"
        code.lines.append(f"    if {differing}: return True")
    else:
        code.lines.append(f"    if {text} is not {code.held(value)}: return True")
