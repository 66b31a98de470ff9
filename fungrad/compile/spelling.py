"""The form in which programs run: shorter than the one people read, and long ones in parts.

In: source text. Out: the function that it defines. NumPy's functions go by one global name instead
of a module and an attribute, and ``out`` by position: a tenth of the time of a program of small
arrays. A long program is compiled in parts, for Python's compiler takes 2 kB for every operation that
it has at once; what one part leaves to another stands in a list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fungrad.errors import GENERATED

PART = 5_000
"""How many statements are compiled at once."""

_OUT = re.compile(r"(= np\.(\w+)\([^=\n]*), out=(\w+)\)(?=;|$|  #)", re.MULTILINE)
_FUNCTION = re.compile(r"\bnp\.(\w+)(?=[.(])")
_VARIABLE = re.compile(r"\b(?:[tp]\d+|s\d*)\b")
_BY_KEYWORD = frozenset({"maximum", "minimum"})
"""Whose third argument is deprecated: it might be meant as one more array to compare."""


def spelled(text: str, namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """The function ``name`` that ``text`` defines last; ``namespace`` becomes its globals."""
    text = shortened(text)
    for short in set(re.findall(r"\bnp_(\w+)", text)):
        namespace[f"np_{short}"] = getattr(np, short)
    for part in in_parts(text, name):
        exec(compile(part, GENERATED, "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def shortened(text: str) -> str:
    """``text`` with ``np_add(a, b, c)`` for ``np.add(a, b, out=c)``."""
    return _FUNCTION.sub(r"np_\1", _OUT.sub(_by_position, text))


def _by_position(call: re.Match[str]) -> str:
    start, function, out = call.groups()
    if function in _BY_KEYWORD or not isinstance(getattr(np, function), np.ufunc):
        return call[0]
    return f"{start}, {out})"


def in_parts(text: str, name: str) -> list[str]:
    """``text``, or where its last function is long and straight, several that do the same in turn.

    Each of them has some of its statements. A variable of several parts is an entry of the list ``v``.
    """
    head, _, body = text.rpartition(f"def {name}(")
    signature, *lines = body.rstrip("\n").split("\n")
    statements = [line for line in lines if not line.startswith("    #")]
    if len(statements) <= PART or any(
        not line.startswith("    ") or line[4] == " " for line in lines
    ):
        return [text]
    *statements, last = statements
    parts = [statements[i : i + PART] for i in range(0, len(statements), PART)]
    slots = _shared([*parts, [last]])
    parameters = signature.removesuffix("):")
    source = [head] if head else []
    calls = []
    for i, part in enumerate(parts):
        moved = [_moved(line, slots) for line in part]
        source.append("\n".join([f"def part{i}(v, {parameters}):", *moved]))
        calls.append(f"    part{i}(v, {parameters})")
    filled = f"    v = [None] * {len(slots)}"
    program = [f"def {name}({signature}", filled, *calls, _moved(last, slots)]
    return [*source, "\n".join(program)]


def _shared(parts: Sequence[Sequence[str]]) -> dict[str, str]:
    """What stands for the variables that several parts have in common."""
    first: dict[str, int] = {}
    shared: dict[str, str] = {}
    for i, part in enumerate(parts):
        for variable in _VARIABLE.findall("\n".join(part)):
            if first.setdefault(variable, i) != i and variable not in shared:
                shared[variable] = f"v[{len(shared)}]"
    return shared


def _moved(line: str, slots: dict[str, str]) -> str:
    """A statement with the shared variables in the list; those that are forgotten there, too."""
    statement, _, dropped = line.partition("  #")[0].partition("; del ")
    statement = _VARIABLE.sub(lambda found: slots.get(found[0], found[0]), statement)
    names = dropped.strip().split(", ") if dropped else []
    own = [one for one in names if one not in slots]
    others = "".join([f"; {slots[one]} = None" for one in names if one in slots])
    return f"{statement}{'; del ' * bool(own)}{', '.join(own)}{others}"
