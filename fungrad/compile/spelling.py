"""The spelling in which programs run: with less to look up and to parse than the one people read.

In: source text. Out: a function of it. NumPy's functions go by one global name instead of a module
and an attribute, and ``out`` by position: a tenth of the time of a program of small arrays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad.errors import GENERATED

_OUT = re.compile(r"(= np\.(\w+)\([^=\n]*), out=(\w+)\)(?=;|$|  #)", re.MULTILINE)
_FUNCTION = re.compile(r"\bnp\.(\w+)(?=[.(])")
_BY_KEYWORD = frozenset({"maximum", "minimum"})
"""Whose third argument is deprecated: it might be meant as one more array to compare."""


def spelled(text: str, namespace: dict[str, Any], name: str) -> Callable[..., Any]:
    """The function ``name`` that ``text`` defines; ``namespace`` becomes its globals."""
    text = shortened(text)
    for short in set(re.findall(r"\bnp_(\w+)", text)):
        namespace[f"np_{short}"] = getattr(np, short)
    exec(compile(text, GENERATED, "exec"), namespace)
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
