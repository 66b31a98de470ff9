"""What Python numbers and NumPy scalars compute by routines of their own.

Operators on Python integers give Python integers, which do not wrap around and refuse 0 as a divisor;
powers of scalars take another path than powers of arrays, with other results at -0.0 and -inf.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad._evaluate import too_large
from fungrad._primitive import ZERO, elementwise
from fungrad.ops.elementwise import power_partials

scalar_power = elementwise(
    operator.pow, power_partials, name="scalar_power", template="({0} ** {1})"
)


def _exactly(operation: Callable[..., Any], *operands: Any) -> Any:
    """An operation on integers; ``OverflowError`` where int64 would wrap around."""
    exact = operation(*[np.asarray(x).astype(object) for x in operands])
    # As objects: what is too large for int64 alone would become uint64, and then wrap.
    try:
        return np.asarray(exact, object).astype(np.int64)[()]
    except OverflowError:
        raise too_large() from None


# Functions of their own, so that they can be exported.


def _integer_add(a: Any, b: Any) -> Any:
    return _exactly(operator.add, a, b)


def _integer_subtract(a: Any, b: Any) -> Any:
    return _exactly(operator.sub, a, b)


def _integer_multiply(a: Any, b: Any) -> Any:
    return _exactly(operator.mul, a, b)


def _integer_floor_divide(a: Any, b: Any) -> Any:
    return _exactly(operator.floordiv, a, b)


def _integer_remainder(a: Any, b: Any) -> Any:
    return _exactly(operator.mod, a, b)


def _integer_left_shift(a: Any, b: Any) -> Any:
    return _exactly(operator.lshift, a, b)


def _integer_right_shift(a: Any, b: Any) -> Any:
    return _exactly(operator.rshift, a, b)


def _integer_power(a: Any, b: Any) -> Any:
    if np.any(b < 0):
        raise ValueError("Integers to negative integer powers are not allowed.")
    return _exactly(operator.pow, a, b)


def _integer_negative(a: Any) -> Any:
    return _exactly(operator.neg, a)


def _integer_absolute(a: Any) -> Any:
    return _exactly(abs, a)


for _ufunc, _operation in (
    (np.add, _integer_add),
    (np.subtract, _integer_subtract),
    (np.multiply, _integer_multiply),
    (np.floor_divide, _integer_floor_divide),
    (np.remainder, _integer_remainder),
    (np.left_shift, _integer_left_shift),
    (np.right_shift, _integer_right_shift),
    (np.power, _integer_power),
    (np.negative, _integer_negative),
    (np.absolute, _integer_absolute),
):
    elementwise(_operation, ZERO, name=f"integer_{_ufunc.__name__}", spellings=[(_ufunc, int)])
