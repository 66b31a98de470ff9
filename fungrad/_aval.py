"""Abstract values: what is known of a value before the program runs.

Row 1. In: concrete arrays and scalars. Out: ``Aval``s, interned, so equality is identity.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import attrs
import numpy as np

from fungrad._intern import InternTable
from fungrad.errors import InputTypeError

SCALAR_TYPES: dict[type, np.dtype[Any]] = {
    float: np.dtype(np.float64),
    int: np.dtype(np.int64),
    bool: np.dtype(np.bool_),
    complex: np.dtype(np.complex128),
}
"""Python's numbers and the dtype that NumPy gives them when nothing else decides."""


@attrs.frozen(eq=False, repr=False, weakref_slot=True)
class Aval:
    """Shape, dtype and whether NumPy lets other operands decide the dtype (``weak``, NEP 50)."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    weak: bool

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def inexact(self) -> bool:
        """Whether values of this kind have derivatives: real or complex floating point."""
        return self.dtype.kind in "fc"

    def with_weak(self, weak: bool) -> Aval:
        return self if weak is self.weak else make_aval(self.shape, self.dtype, weak)

    def __repr__(self) -> str:
        return f"{self.dtype.name}{'*' if self.weak else ''}[{','.join(map(str, self.shape))}]"

    def __reduce__(self) -> tuple[Any, ...]:
        return make_aval, (self.shape, self.dtype, self.weak)


@attrs.frozen(eq=False, repr=False, weakref_slot=True)
class TupleAval(Aval):
    """What is known of a primitive with several results: the avals of each."""

    avals: tuple[Aval, ...]

    @property
    def inexact(self) -> bool:
        return any(aval.inexact for aval in self.avals)

    def __repr__(self) -> str:
        return f"({', '.join(map(repr, self.avals))})"


def tuple_aval(*avals: Aval) -> TupleAval:
    """The aval of several results; they are read one by one, through ``item``."""
    return TupleAval((), np.dtype(object), False, avals)


@attrs.frozen(eq=False, repr=False, weakref_slot=True)
class StackAval(Aval):
    """What is known of a ``Stack``: what it holds, but not how much."""

    element: Aval

    @property
    def inexact(self) -> bool:
        return self.element.inexact

    def __repr__(self) -> str:
        return f"{self.element!r}…"

    def __reduce__(self) -> tuple[Any, ...]:
        return stack_aval, (self.element,)


@attrs.frozen(eq=False)
class Stack:
    """What a loop put aside, one value a step, where only running it tells how many steps there are.

    Attributes:
        aval: what is known of it beforehand.
        values: the values, or ``None`` if they are all zero. Nobody writes into them.
    """

    aval: StackAval
    values: list[Any] | None

    def copy(self) -> Stack:
        """The stack itself, whose values are never written to."""
        return self


_avals: InternTable[Aval] = InternTable()


def stack_aval(element: Aval) -> StackAval:
    """The one ``StackAval`` of such elements."""
    key = (StackAval, id(element))
    aval = _avals.get(key)
    if aval is None:
        aval = _avals.add(key, StackAval((), np.dtype(object), False, element))
    return aval  # type: ignore[return-value]


@lru_cache(maxsize=256)
def make_aval(shape: tuple[int, ...], dtype: np.dtype[Any], weak: bool = False) -> Aval:
    """The one ``Aval`` of this shape (of Python ints), native dtype and weakness."""
    key = (shape, dtype, weak)
    aval = _avals.get(key)
    if aval is None:
        if dtype.kind not in "biufc":
            raise InputTypeError(
                f"an array of dtype {dtype} can't be part of a traced program; "
                "write: an array of booleans, integers, floats or complex numbers"
            )
        native = dtype if dtype.isnative else dtype.newbyteorder("=")
        if native is not dtype:
            return make_aval(shape, native, weak)
        aval = _avals.add(key, Aval(shape, dtype, weak))
    return aval


def aval_of(value: Any) -> Aval:
    """The ``Aval`` of a concrete value: a Python number, a NumPy scalar or an ndarray.

    Raises:
        InputTypeError: the value is none of these; the message names its type.
    """
    scalar = SCALAR_TYPES.get(type(value))
    if scalar is not None:
        return make_aval((), scalar, True)
    if type(value) is np.ndarray or is_array(value):
        return make_aval(value.shape, value.dtype)
    if type(value) is Stack:
        return value.aval
    raise InputTypeError(
        f"a value of type {type(value).__module__}.{type(value).__qualname__} can't be part of a "
        "traced program; write: np.asarray(value) for an array of its numbers"
    )


def is_array(value: Any) -> bool:
    """Whether ``value`` is a NumPy array or scalar whose arithmetic is plain NumPy's.

    Subclasses that change the meaning of operators are not; memory maps are.
    """
    if isinstance(value, np.generic):
        return True
    if not isinstance(value, np.ndarray):
        return False
    return type(value) is np.ndarray or isinstance(value, np.memmap)


def is_number_like(value: Any) -> bool:
    """Whether ``value`` is a Python number, NumPy scalar or plain array."""
    return type(value) in SCALAR_TYPES or is_array(value)
