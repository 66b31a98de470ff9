"""Where operations come from: lines of the user's file, recorded only to explain a failure.

Row 1. Nodes do not know who built them, and tracing does not ask: looking at the stack takes 0.6 µs,
a third of what an operation costs. A transform that fails after the user's function has returned,
while its program is rewritten or run, goes through the same once more under a ``Recording``. It
notes for every node the line that built it, and for a node of a rewritten program the node that it
comes from. Interning makes that work: the second time builds the very same nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import CodeType, FrameType
from typing import Any, TypeVar

from fungrad._config import settings
from fungrad.errors import GENERATED, innermost, is_ours, locate, user_line

F = TypeVar("F", bound=Callable[..., Any])


class Recording:
    """What is noted while a transform is explained.

    Attributes:
        current: the node that is being rewritten or computed, if any.
        differentiates: whether it is being differentiated.
    """

    __slots__ = ("_lines", "current", "differentiates")

    def __init__(self) -> None:
        self.current: Any = None
        self.differentiates = False
        self._lines: dict[Any, str] = {}

    def built(self, node: Any) -> None:
        """Note who builds ``node``: the rewriting of the current node, or the user's line."""
        if node not in self._lines:
            line = user_line() if self.current is None else self.line_of(self.current)
            if line and self.differentiates and not line.startswith(_DERIVED):
                line = _DERIVED + line
            self._lines[node] = line

    def during(self, step: Callable[[], Any]) -> Any:
        """``step()``, after which, unless it fails, all is as before."""
        before = self.current, self.differentiates
        result = step()
        self.current, self.differentiates = before
        return result

    def replaced(self, new: Any, old: Any) -> None:
        """Note that ``new`` stands for ``old`` in another program, or in the use of a rule."""
        line = self.line_of(old)
        if line or self.current is None:
            self._lines.setdefault(new, line)
        else:
            self.built(new)

    def line_of(self, node: Any) -> str:
        """Where ``node`` comes from, as text that follows a message; empty if that is unknown."""
        while node not in self._lines and node is not None:  # one of several results, a constant
            node = node.args[0] if node.args else None
        return self._lines.get(node, "")


_DERIVED = "\n  in the derivative of what stands"

_recording: ContextVar[Recording | None] = ContextVar("fungrad_recording", default=None)
recording: Callable[[], Recording | None] = _recording.get
"""The recording under which this code runs, if any."""


@contextmanager
def unrecorded() -> Iterator[None]:
    """Without noting what is built."""
    token = _recording.set(None)
    try:
        yield
    finally:
        _recording.reset(token)


_stages: set[CodeType] = set()


def stage(function: F) -> F:
    """Mark a function that rewrites or runs programs: what fails below it needs a recording.

    So does what fails in a program itself.
    """
    _stages.add(function.__code__)
    return function


def _is_stage(frame: FrameType) -> bool:
    return frame.f_code in _stages or frame.f_code.co_filename == GENERATED


def explained(function: F) -> F:
    """A transform's function whose errors name the user's line, also where they come late."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if settings().debug_nans:
            return watched(lambda: function(*args, **kwargs))
        try:
            return function(*args, **kwargs)
        except Exception as error:
            explain(error, lambda: function(*args, **kwargs))
            raise

    return call  # type: ignore[return-value]


def watched(call: Callable[[], Any]) -> Any:
    """``call()`` under a recording from the start."""
    if recording() is not None:
        return call()
    record = Recording()
    try:
        return _under(record, call)
    except Exception as error:
        locate(error, record.line_of(record.current))
        raise


def explain(error: Exception, again: Callable[[], Any]) -> None:
    """Let ``error`` name the user's line; ``again`` does once more what failed."""
    if recording() is not None:
        return  # whoever records locates it
    line, below = innermost(error.__traceback__)
    if not any(map(_is_stage, below)):
        if any(map(is_ours, below)):
            locate(error, line)
        return
    record = Recording()
    try:
        _under(record, again)
    except type(error):
        locate(error, record.line_of(record.current))
    except Exception:  # not what was to be explained
        return


def _under(record: Recording, call: Callable[[], Any]) -> Any:
    token = _recording.set(record)
    try:
        return call()
    finally:
        _recording.reset(token)
