"""What a user may set: for the whole process, or for the length of a ``with`` block.

Row 1. In: ``fg.config(name=value)``. Out: the ``Settings`` that hold where they are asked for.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, Token
from typing import Any

import attrs

from fungrad._locks import make_lock
from fungrad.errors import ArgumentError


def _check_threads(_: Any, __: Any, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 1):
        raise TypeError


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


@attrs.frozen
class Settings:
    """Every setting with its default; immutable, so that a reader sees one state of all."""

    debug_nans: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    threads: int | None = attrs.field(default=None, validator=_check_threads)

    @property
    def workers(self) -> int:
        """How many threads may work at once."""
        return self.threads or _cores()


class _Process:
    """What plain calls have set, in their order; threads may call at once."""

    def __init__(self) -> None:
        self.settings = Settings()
        self._base = Settings()
        self._calls: list[dict[str, Any]] = []
        self._lock = make_lock()

    def add(self, changes: dict[str, Any]) -> None:
        with self._lock:
            self._calls.append(changes)
            if len(self._calls) > _MAX_CALLS:
                self._base = attrs.evolve(self._base, **self._calls.pop(0))
            self._settle()

    def take_back(self, changes: dict[str, Any]) -> None:
        with self._lock:
            self._calls = [call for call in self._calls if call is not changes]
            self._settle()

    def _settle(self) -> None:
        now = self._base
        for changes in self._calls:
            now = attrs.evolve(now, **changes)
        self.settings = now


_MAX_CALLS = 64
_process = _Process()
_of_context: ContextVar[Settings | None] = ContextVar("fungrad_settings", default=None)


def settings() -> Settings:
    """The settings that hold here: those of the innermost ``with`` block, or the process's."""
    return _of_context.get() or _process.settings


class config:
    """Set how fungrad works, for the whole process; as a context manager, for the block only.

    A block's settings hold in its own thread (its context, as ``np.errstate`` does it).

    Args:
        debug_nans: stop at the first operation that makes NaN or infinity of finite operands, in
            the function or in a derivative of it, and name the operation and the line of your
            file. Programs are then traced at every call and interpreted: slow. It stops also where
            a ``np.where`` would have discarded the NaN. Default: False.
        threads: how many threads share long work, at least 1; ``None`` means as many as the process
            may use cores. Work is shared that takes a quarter of a millisecond or more: elementwise
            operations, reductions, sorting, transforms and reading along all other axes, and what
            is done with each matrix of a stack. Results, warnings and errors are the same for
            every number, results to the bit. Large products of matrices are left to BLAS, which
            has threads of its own that this does not change. Default: ``None``.

    Raises:
        ArgumentError: a setting that does not exist, or a value of another type.
        NonFiniteError: later, where a NaN or infinity is made.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> with fg.config(debug_nans=True):
        ...     try:
        ...         fg.grad(lambda x: np.sqrt(x))(0.0)
        ...     except fg.errors.NonFiniteError as error:
        ...         print(str(error).partition(";")[0])
        divide gave inf from finite operands (0.5, float64[])

    References:
        The name ``debug_nans`` is JAX's.
    """

    __slots__ = ("_changed", "_changes", "_token")

    def __init__(self, **changes: Any) -> None:
        try:
            self._changed = attrs.evolve(settings(), **changes)
        except TypeError:
            raise ArgumentError(_refusal(changes)) from None
        self._changes = changes
        self._token: Token[Settings | None] | None = None
        _process.add(changes)

    def __enter__(self) -> None:
        _process.take_back(self._changes)  # it is for the block only
        self._token = _of_context.set(self._changed)

    def __exit__(self, *error: object) -> None:
        assert self._token is not None
        _of_context.reset(self._token)


def _refusal(changes: dict[str, Any]) -> str:
    known = {"debug_nans": "debug_nans=False or True", "threads": "threads=2, say, or None"}
    for name in changes:
        if name not in known:
            return f"fg.config has no setting {name!r}; write: one of {', '.join(known)}"
    for name, value in changes.items():
        try:
            Settings(**{name: value})
        except TypeError:
            return f"fg.config can't set {name} to {value!r}; write: {known[name]}"
    raise AssertionError(changes)
