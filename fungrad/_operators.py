"""Operators on traced values: what NumPy's operators are, for arrays and for numbers.

Row 4. In: operands, one of them traced. Out: nodes. Operators on weak operands only, which stand for
Python numbers, give weak results.
"""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from fungrad._attributes import Attributes
from fungrad._aval import SCALAR_TYPES, Aval
from fungrad._dispatch import call_answer, caller
from fungrad._primitive import answers
from fungrad._refusals import REFUSALS
from fungrad.errors import TracerIdentityError


def _binary(ufunc: np.ufunc, reflected: bool = False) -> Any:
    def operate(self: Attributes, other: Any) -> Any:
        operands = (other, self) if reflected else (self, other)
        if not self.aval.weak or not is_weak(other):
            return self._bind(answers[ufunc], operands, None)
        if _is_integer(self) and _is_integer(other):
            return self._bind(answers.get((ufunc, int)) or answers[ufunc], operands, None, True)
        return self._bind(answers[ufunc], operands, None, True)

    return operate


def _is_integer(operand: Any) -> bool:
    """Whether a number is one of Python's integers, of which its booleans are some."""
    if isinstance(operand, Attributes):
        return operand.aval.dtype.kind in "ib"
    return type(operand) is int or type(operand) is bool


def _unary(ufunc: np.ufunc) -> Any:
    def operate(self: Attributes) -> Any:
        weak = self.aval.weak
        if weak and self.aval.dtype.kind == "b":
            self = self._bind(answers[np.add, int], (self, 0), None, True)  # -True is -1
        integer = answers.get((ufunc, int)) if weak and _is_integer(self) else None
        return self._bind(integer or answers[ufunc], (self,), {}, weak)

    return operate


def _power_function(aval: Aval, exponent: Any) -> Any:
    """What computes ``x ** exponent``: equal bits need NumPy's own choice.

    Arrays have shortcuts for some exponents, scalars have a routine of their own.
    """
    kind = aval.dtype.kind
    if aval.shape == () and exponent is not None and getattr(exponent, "shape", ()) == ():
        one = type(exponent) in (int, float) and exponent == 1 and kind == "f"
        return np.positive if one else operator.pow
    if type(exponent) not in (int, float):
        if not (_MORE_SHORTCUTS and isinstance(exponent, (bool, np.generic, np.ndarray))):
            return np.power
        if np.ndim(exponent) or (
            exponent is not True and np.result_type(exponent).kind not in "iuf"
        ):
            return np.power
        exponent = np.asarray(exponent).item()
    if exponent == 2 and (isinstance(exponent, int) or kind in ("bfc" if _MORE_SHORTCUTS else "f")):
        return np.square
    if exponent == 1 and kind in ("fc" if _MORE_SHORTCUTS else "f"):
        return np.positive
    if kind in "fc" and exponent in (0.5, -1):
        return np.sqrt if exponent == 0.5 else np.reciprocal
    return np.power


_MORE_SHORTCUTS = (np.ones(1, np.float32) ** np.float64(2)).dtype == np.float32
"""NumPy below 2.3 has them for NumPy's scalars and for booleans too, and more of them."""


def is_weak(operand: Any) -> bool:
    """Whether NumPy lets other operands decide the dtype: a Python number, traced or not."""
    if isinstance(operand, Attributes):
        return operand.aval.weak
    return type(operand) in SCALAR_TYPES


def _comparison(ufunc: np.ufunc) -> Any:
    def compare(self: Attributes, other: Any) -> Any:
        weak = self.aval.weak and is_weak(other)
        return self._bind(answers[ufunc], (self, other), {}, weak)

    return compare


class Operators(Attributes):
    """The operators of an ndarray."""

    __slots__ = ()

    __add__, __radd__ = _binary(np.add), _binary(np.add, True)
    __sub__, __rsub__ = _binary(np.subtract), _binary(np.subtract, True)
    __mul__, __rmul__ = _binary(np.multiply), _binary(np.multiply, True)
    __truediv__, __rtruediv__ = _binary(np.divide), _binary(np.divide, True)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide), _binary(np.floor_divide, True)
    __mod__, __rmod__ = _binary(np.remainder), _binary(np.remainder, True)
    __and__, __rand__ = _binary(np.bitwise_and), _binary(np.bitwise_and, True)
    __or__, __ror__ = _binary(np.bitwise_or), _binary(np.bitwise_or, True)
    __xor__, __rxor__ = _binary(np.bitwise_xor), _binary(np.bitwise_xor, True)
    __lshift__, __rlshift__ = _binary(np.left_shift), _binary(np.left_shift, True)
    __rshift__, __rrshift__ = _binary(np.right_shift), _binary(np.right_shift, True)
    __neg__, __abs__ = _unary(np.negative), _unary(np.absolute)
    __pos__, __invert__ = _unary(np.positive), _unary(np.invert)
    __lt__, __le__ = _comparison(np.less), _comparison(np.less_equal)
    __gt__, __ge__ = _comparison(np.greater), _comparison(np.greater_equal)
    __eq__, __ne__ = _comparison(np.equal), _comparison(np.not_equal)

    def __hash__(self) -> NoReturn:
        name = caller()
        hint = f" ({name}): {REFUSALS[name]}" if name in REFUSALS else "; write: a list for a set"
        raise TracerIdentityError(f"a traced value is unhashable, as arrays are{hint}")

    def __pow__(self, exponent: Any) -> Any:
        weak = self.aval.weak and is_weak(exponent)
        function = _power_function(self.aval, exponent)
        if function is np.positive:
            return self
        if function in (np.power, operator.pow):
            if weak and _is_integer(self) and _is_integer(exponent):
                function = (np.power, int)
            return self._bind(answers[function], (self, exponent), {}, weak)
        return self._bind(answers[function], (self,), {}, weak)

    def __rpow__(self, base: Any) -> Any:
        if self.shape or np.ndim(base):
            return self._bind(answers[np.power], (base, self), {}, False)
        weak = self.aval.weak and is_weak(base)
        integers = weak and _is_integer(self) and _is_integer(base)
        return self._bind(
            answers[(np.power, int) if integers else operator.pow], (base, self), {}, weak
        )

    def __matmul__(self, other: Any) -> Any:
        return answers[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return answers[np.matmul](other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __round__(self, digits: int | None = None) -> Any:
        return (
            _whole(self, np.rint) if digits is None else call_answer(np.round, (self, digits), {})
        )

    def __floor__(self) -> Any:
        return _whole(self, np.floor)

    def __ceil__(self) -> Any:
        return _whole(self, np.ceil)

    def __trunc__(self) -> Any:
        return _whole(self, np.trunc)


def _whole(x: Attributes, rounded: np.ufunc) -> Any:
    """``round``, ``math.floor``, …: a Python integer of a number, which arrays refuse."""
    if x.shape:
        raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
    exact = x.dtype.kind in "iu"  # `rint` would make floats of integers
    whole = (x if exact else call_answer(rounded, (x,), {})).astype(np.int64)
    return whole._bind(answers[np.positive], (whole,), {}, True)
