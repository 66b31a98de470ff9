"""Domain rows of what Python numbers and NumPy scalars compute by routines of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._primitive import registry
from tests._domains import Case, Operand, Row, away_from_zero, integers, within


def _of_integers(ufunc: np.ufunc) -> Row:
    """The primitive that operators on Python integers reach, on integers that do not overflow."""

    def function(*operands: Any) -> Any:
        return registry()[f"integer_{ufunc.__name__}"](*operands)

    operands = (Operand((), integers(1, 9), varies=False),) * ufunc.nin
    return Row((Case(ufunc.__name__, function, operands, ufunc),), dtypes=("int64",))


NUMBERS = {
    "scalar_power": Row(
        (
            Case(
                "two scalars",
                lambda a, b: a**b,
                (Operand((), within(0.2, 2.0)), Operand((), away_from_zero())),
            ),
            Case("a third power", lambda a: a**3, (Operand((), away_from_zero()),)),
        ),
    ),
    **{
        f"integer_{u.__name__}": _of_integers(u)
        for u in (
            np.add,
            np.subtract,
            np.multiply,
            np.floor_divide,
            np.remainder,
            np.left_shift,
            np.right_shift,
            np.power,
            np.negative,
            np.absolute,
        )
    },
}
