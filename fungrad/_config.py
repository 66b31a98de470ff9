"""What a user may set: for the whole process, or for the length of a ``with`` block.

Row 1. In: ``fg.config(name=value)``. Out: the ``Settings`` that hold where they are asked for.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

import attrs

from fungrad.errors import ArgumentError


@attrs.frozen
class Settings:
    """Every setting with its default; immutable, so that a reader sees one state of all."""

    debug_nans: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))


_of_process = Settings()
_of_context: ContextVar[Settings | None] = ContextVar("fungrad_settings", default=None)


def settings() -> Settings:
    """The settings that hold here: those of the innermost ``with`` block, or the process's."""
    return _of_context.get() or _of_process


class config:
    """Set how fungrad works, for the whole process; as a context manager, for the block only.

    A block's settings hold in its own thread (its context, as ``np.errstate`` does it).

    Args:
        debug_nans: stop at the first operation that makes NaN or infinity of finite operands, in
            the function or in a derivative of it, and name the operation and the line of your
            file. Programs are then traced at every call and interpreted: slow. It stops also where
            a ``np.where`` would have discarded the NaN. Default: False.

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

    __slots__ = ("_after", "_before", "_changed", "_token")

    def __init__(self, **changes: Any) -> None:
        global _of_process
        try:
            self._changed = attrs.evolve(settings(), **changes)
            self._before, self._after = _of_process, attrs.evolve(_of_process, **changes)
        except TypeError:
            raise ArgumentError(_refusal(changes)) from None
        _of_process = self._after
        self._token: Token[Settings | None] | None = None

    def __enter__(self) -> None:
        global _of_process
        if _of_process is self._after:
            _of_process = self._before
        self._token = _of_context.set(self._changed)

    def __exit__(self, *error: object) -> None:
        assert self._token is not None
        _of_context.reset(self._token)


def _refusal(changes: dict[str, Any]) -> str:
    known = {field.name: field.default for field in attrs.fields(Settings)}
    for name, value in changes.items():
        if name not in known:
            return f"fg.config has no setting {name!r}; write: one of {', '.join(known)}"
        if type(value) is not type(known[name]):
            break
    return f"fg.config can't set {name} to {value!r}; write: {name}={known[name]!r}, or the like"
