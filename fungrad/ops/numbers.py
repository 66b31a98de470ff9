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


def _checked(operation: Callable[..., Any]) -> Callable[..., Any]:
    """An operation on integers that raises ``OverflowError`` where int64 would wrap around."""

    def value(*operands: Any) -> Any:
        exact = operation(*[np.asarray(x).astype(object) for x in operands])
        # As objects: what is too large for int64 alone would become uint64, and then wrap.
        try:
            return np.asarray(exact, object).astype(np.int64)[()]
        except OverflowError:
            raise too_large() from None

    return value


def _power(a: Any, b: Any) -> Any:
    if np.any(b < 0):
        raise ValueError("Integers to negative integer powers are not allowed.")
    return a**b


for _ufunc, _operation in (
    (np.add, operator.add),
    (np.subtract, operator.sub),
    (np.multiply, operator.mul),
    (np.floor_divide, operator.floordiv),
    (np.remainder, operator.mod),
    (np.left_shift, operator.lshift),
    (np.right_shift, operator.rshift),
    (np.power, _power),
    (np.negative, operator.neg),
    (np.absolute, abs),
):
    elementwise(
        _checked(_operation), ZERO, name=f"integer_{_ufunc.__name__}", spellings=[(_ufunc, int)]
    )
