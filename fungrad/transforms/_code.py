"""Writing a Python function that does one thing without detours.

Row 9. In: statements. Out: the function. Values go by generated names, so that no text of the
user's ever gets into the source.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from fungrad.errors import GENERATED


class Code:
    """A function in the making.

    Attributes:
        lines: its statements.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[int, str] = {}
        self._namespace: dict[str, Any] = {"__builtins__": {}}
        self._count = count()

    def held(self, value: Any) -> str:
        """The name of a value, which the function holds on to."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"c{len(self._names)}"
            self._namespace[name] = value
        return name

    def local(self) -> str:
        """The name of a new local variable."""
        return f"v{next(self._count)}"

    def function(self, head: str) -> Callable[..., Any]:
        """The function, of the name and the parameters in ``head``."""
        text = "\n    ".join([f"def {head}:", *self.lines])
        exec(compile(text, GENERATED, "exec"), self._namespace)
        # Out of its own globals, so that it is gone as soon as nobody holds it.
        function: Callable[..., Any] = self._namespace.pop(head.partition("(")[0])
        return function
