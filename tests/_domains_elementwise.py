"""Rows of the elementwise primitives."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from mpmath import mp

import fungrad as fg
from fungrad.ops.elementwise import (
    arctan_derivative,
    root,
    sigmoid_derivative,
    tan_derivative,
    tanh_derivative,
)
from tests._domains import (
    COMPLEX,
    REAL,
    SHAPES,
    Case,
    Function,
    Operand,
    Row,
    apart,
    away_from_zero,
    binary,
    booleans,
    complex_within,
    elementwise,
    flat,
    integers,
    labelled,
    on,
    third_derivative,
    unary,
    with_number,
    with_numbers,
    within,
)


def _sharing(wins: Function) -> tuple[Function, Function]:
    """Slopes of a choice between two operands: all to the winner, half to each in a tie."""

    def of_first(a: Any, b: Any) -> Any:
        return 0.5 if a == b else float(wins(a, b))

    return of_first, lambda a, b: 1 - of_first(a, b)


def _hypot_slope(a: Any, b: Any) -> Any:
    return a / mp.hypot(a, b) if (a, b) != (0, 0) else 0


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _log_of_base(a: Any, b: Any) -> Any:
    return mp.power(a, b) * mp.log(a) if a > 0 else 0


def _power_slope(a: Any, b: Any) -> Any:
    return b * mp.power(a, b - 1) if b != 0 else 0


def _raised(a: Any, b: Any) -> Any:
    return a**b


def _truncated(a: Any, b: Any) -> Any:
    return mp.sign(a / b) * mp.floor(abs(a / b))


def _without_power_slope(a: float, b: float) -> bool:
    # A negative base has values at integers only; 0**b and inf**b jump at b = 0; and an infinite
    # exponent is a limit of functions that is not continuous at 1.
    return a < 0 or np.isinf(b) or (b == 0 and (a == 0 or np.isinf(a)))


def _third_of_sigmoid(y: Any) -> Any:
    return y * (1 - y) * (1 - 6 * y + 6 * y * y)


UNIT = within(-0.9, 0.9)
FREE = within(-2.0, 2.0)
POSITIVE = within(0.2, 2.5)

ELEMENTWISE: dict[str, Row] = {
    "add": binary(np.add, (FREE, FREE), (lambda a, b: 1, lambda a, b: 1),
                  more=with_numbers(np.add, FREE, FREE)),
    "subtract": binary(np.subtract, (FREE, FREE), (lambda a, b: 1, lambda a, b: -1),
                       more=with_numbers(np.subtract, FREE, FREE)),
    "multiply": binary(np.multiply, (FREE, FREE), (lambda a, b: b, lambda a, b: a),
                       more=with_numbers(np.multiply, FREE, FREE)),
    "divide": binary(np.divide, (FREE, away_from_zero(0.5)),
                     (lambda a, b: 1 / b, lambda a, b: -a / b**2),
                     more=with_numbers(np.divide, FREE, away_from_zero(0.5))),
    "power": binary(
        np.power, (POSITIVE, FREE), (_power_slope, _log_of_base), undefined=_without_power_slope,
        more=(
            *with_numbers(np.power, POSITIVE, FREE),
            *(with_number(np.power, n, 1, away_from_zero()) for n in (0, 1, 3, -1, 0.0, 1.0, 3.0)),
            *(with_number(_raised, n, 1, away_from_zero()) for n in (3, -2, 0, 1.0 + 2)),
            with_number(_raised, 2.5, 1, POSITIVE),
            *(with_number(np.power, n, 0, POSITIVE) for n in (0.0, 1.0, 0, 2 + 1j)),
            with_number(np.power, 1 + 0.5j, 1, POSITIVE),
        ),
    ),
    "float_power": binary(
        np.float_power, (POSITIVE, FREE), (_power_slope, _log_of_base),
        undefined=_without_power_slope, more=with_numbers(np.float_power, POSITIVE, FREE),
    ),
    "negative": unary(np.negative, FREE, lambda x: -1),
    "positive": unary(np.positive, FREE, lambda x: 1),
    "square": unary(np.square, FREE, lambda x: 2 * x, more=(with_number(_raised, 2, 1, FREE),)),
    "sqrt": unary(np.sqrt, POSITIVE, lambda x: 1 / (2 * mp.sqrt(x)),
                  more=(with_number(_raised, 0.5, 1, POSITIVE),)),
    "cbrt": unary(np.cbrt, away_from_zero(), lambda x: 1 / (3 * mp.cbrt(abs(x)) ** 2)),
    "reciprocal": unary(np.reciprocal, away_from_zero(0.5), lambda x: -1 / x**2,
                        more=(with_number(_raised, -1, 1, POSITIVE),)),
    "exp": unary(np.exp, FREE, mp.exp),
    "exp2": unary(np.exp2, FREE, lambda x: mp.log(2) * mp.power(2, x)),
    "expm1": unary(np.expm1, FREE, mp.exp),
    "log": unary(np.log, POSITIVE, lambda x: 1 / x),
    "log2": unary(np.log2, POSITIVE, lambda x: 1 / (x * mp.log(2))),
    "log10": unary(np.log10, POSITIVE, lambda x: 1 / (x * mp.log(10))),
    "log1p": unary(np.log1p, within(-0.7, 2), lambda x: 1 / (1 + x)),
    "logaddexp": binary(np.logaddexp, (FREE, FREE),
                        (lambda a, b: _sigmoid(a - b), lambda a, b: _sigmoid(b - a)),
                        more=with_numbers(np.logaddexp, FREE, FREE)),
    "logaddexp2": binary(np.logaddexp2, (FREE, FREE),
                         (lambda a, b: _sigmoid(mp.log(2) * (a - b)),
                          lambda a, b: _sigmoid(mp.log(2) * (b - a)))),
    "sigmoid": unary(fg.nn.sigmoid, FREE, lambda x: _sigmoid(x) * _sigmoid(-x),
                     oracle=lambda x: 1 / (1 + np.exp(-x)), exact=False, dtypes=REAL,
                     gradient_dtypes=REAL),
    "sin": unary(np.sin, FREE, mp.cos),
    "cos": unary(np.cos, FREE, lambda x: -mp.sin(x)),
    "tan": unary(np.tan, within(-1.2, 1.2), lambda x: 1 / mp.cos(x) ** 2),
    "arcsin": unary(np.arcsin, UNIT, lambda x: 1 / mp.sqrt(1 - x * x)),
    "arccos": unary(np.arccos, UNIT, lambda x: -1 / mp.sqrt(1 - x * x)),
    "arctan": unary(np.arctan, FREE, lambda x: 1 / (1 + x * x)),
    "sinh": unary(np.sinh, FREE, mp.cosh),
    "cosh": unary(np.cosh, FREE, mp.sinh),
    # 1 - y*y, as the design has it: cheap, and exact in absolute terms only.
    "tanh": unary(np.tanh, FREE, lambda x: mp.sech(x) ** 2, slope_atol=3e-16),
    "tanh_derivative": third_derivative(
        tanh_derivative,
        lambda x: -2 + 8 * np.tanh(x) ** 2 - 6 * np.tanh(x) ** 4,
        lambda x: mp.sech(x) ** 2 * mp.tanh(x) * (16 - 24 * mp.tanh(x) ** 2),
        slope_atol=3e-15,
    ),
    "tan_derivative": third_derivative(
        tan_derivative,
        lambda x: 2 + 8 * np.tan(x) ** 2 + 6 * np.tan(x) ** 4,
        lambda x: mp.sec(x) ** 2 * mp.tan(x) * (16 + 24 * mp.tan(x) ** 2),
    ),
    "arctan_derivative": third_derivative(
        arctan_derivative,
        lambda x: (6 * x**2 - 2) / (1 + x**2) ** 3,
        lambda x: 24 * x * (1 - x * x) / (1 + x * x) ** 4,
        slope_atol=1e-15,
    ),
    "sigmoid_derivative": third_derivative(
        sigmoid_derivative,
        lambda x: _third_of_sigmoid(1 / (1 + np.exp(-x))),
        lambda x: _sigmoid(x) * _sigmoid(-x) * mp.tanh(-x / 2)
        * (1 - 12 * _sigmoid(x) * _sigmoid(-x)),
        dtypes=REAL, gradient_dtypes=REAL, slope_atol=1e-16,
    ),
    "arcsinh": unary(np.arcsinh, FREE, lambda x: 1 / mp.sqrt(1 + x * x)),
    "arccosh": unary(np.arccosh, within(1.2, 3), lambda x: 1 / mp.sqrt(x * x - 1)),
    "arctanh": unary(np.arctanh, UNIT, lambda x: 1 / (1 - x * x)),
    "arctan2": binary(np.arctan2, (away_from_zero(), away_from_zero()),
                      (lambda a, b: b / (a * a + b * b), lambda a, b: -a / (a * a + b * b)),
                      more=with_numbers(np.arctan2, away_from_zero(), away_from_zero()),
                      undefined=lambda a, b: a == b == 0 or (np.isinf(a) and np.isinf(b))),
    "hypot": binary(np.hypot, (away_from_zero(), away_from_zero()),
                    (_hypot_slope, lambda a, b: _hypot_slope(b, a)),
                    more=with_numbers(np.hypot, FREE, FREE),
                    undefined=lambda a, b: np.isinf(a) and np.isinf(b)),
    "root": unary(lambda x: root(x), POSITIVE, lambda x: 1 / (2 * mp.sqrt(x)) if x else 0,
                  oracle=np.sqrt),
    "deg2rad": unary(np.deg2rad, FREE, lambda x: mp.pi / 180),
    "radians": unary(np.radians, FREE, lambda x: mp.pi / 180),
    "rad2deg": unary(np.rad2deg, FREE, lambda x: 180 / mp.pi),
    "degrees": unary(np.degrees, FREE, lambda x: 180 / mp.pi),
    "maximum": binary(np.maximum, (apart(), apart(0.1)), _sharing(lambda a, b: a > b),
                      more=with_numbers(np.maximum, apart(0.1), apart(0.1))),
    "minimum": binary(np.minimum, (apart(), apart(0.1)), _sharing(lambda a, b: a < b),
                      more=with_numbers(np.minimum, apart(0.1), apart(0.1))),
    "fmax": binary(np.fmax, (apart(), apart(0.1)),
                   _sharing(lambda a, b: a > b or (b != b and a == a)),
                   points=((1.0, np.nan), (np.nan, 1.0))),
    "fmin": binary(np.fmin, (apart(), apart(0.1)),
                   _sharing(lambda a, b: a < b or (b != b and a == a)),
                   points=((1.0, np.nan), (np.nan, 1.0))),
    "absolute": unary(np.absolute, away_from_zero(), mp.sign,
                      more=(Case("abs()", abs, (Operand((3,)),)),)),
    "fabs": unary(np.fabs, away_from_zero(), mp.sign),
    "remainder": binary(np.remainder, (within(2.1, 2.9), within(0.75, 0.95)),
                        (lambda a, b: 1, lambda a, b: -mp.floor(a / b)),
                        points=((-19.0, 3.0), (19.0, -3.0), (-19.0, -3.0), (1.0, 0.1), (0.6, 0.2)),
                        undefined=lambda a, b: a % b == 0 or np.isinf(b),
                        more=(with_number(np.remainder, 0.8, 1, within(2.5, 3.1)),
                              with_number(np.remainder, 2.5, 0, within(0.9, 1.2)))),
    "fmod": binary(np.fmod, (within(2.1, 2.9), within(0.75, 0.95)),
                   (lambda a, b: 1, lambda a, b: -_truncated(a, b)),
                   points=((-19.0, 3.0), (19.0, -3.0), (-19.0, -3.0), (1.0, 0.1), (0.6, 0.2)),
                   undefined=lambda a, b: np.fmod(a, b) == 0,
                   more=(with_number(np.fmod, 0.8, 1, within(2.5, 3.1)),)),
    "where": elementwise(np.where, booleans, FREE, FREE, varies=(False, True, True),
                         slopes=(lambda c, a, b: 0, lambda c, a, b: int(c != 0),
                                 lambda c, a, b: int(c == 0)),
                         points=tuple(product((0.0, 1.0), (1.0, np.nan, np.inf), (1.0, -np.inf))),
                         more=(on("float condition", np.where, (3,), (3,), (3,)),
                               on("itself as condition", lambda x: np.where(x, x, 1.0), (2, 3)),
                               Case("(3,), 2.5, (3,)", lambda c, x: np.where(c, 2.5, x),
                                    (Operand((3,), booleans, False), Operand((3,)))),
                               Case("(3,), (3,), 0", lambda c, x: np.where(c, x, 0),
                                    (Operand((3,), booleans, False), Operand((3,)))))),
    "conjugate": unary(np.conjugate, FREE, lambda x: 1),
    "real": elementwise(np.real, complex_within(-2, 2), slopes=None, dtypes=COMPLEX,
                        gradient_dtypes=COMPLEX),
    "imag": elementwise(np.imag, complex_within(-2, 2), slopes=None, dtypes=COMPLEX,
                        gradient_dtypes=COMPLEX),
    "complex_sign": elementwise(np.sign, complex_within(0.3, 2), slopes=None, dtypes=COMPLEX,
                                gradient_dtypes=COMPLEX),
    "stop_gradient": unary(
        lambda x: fg.stop_gradient(x), FREE, lambda x: 0, oracle=np.copy, numeric=np.zeros_like
    ),
    # --- the derivative is zero wherever it exists ---
    "sign": flat(np.sign, 1),
    "floor": flat(np.floor, 1),
    "ceil": flat(np.ceil, 1),
    "trunc": flat(np.trunc, 1),
    "rint": flat(np.rint, 1),
    "signbit": flat(np.signbit, 1),
    "floor_divide": binary(np.floor_divide, (within(2.1, 2.9), within(0.75, 0.95)),
                           (lambda a, b: 0, lambda a, b: 0)),
    "isnan": flat(np.isnan, 1),
    "isfinite": flat(np.isfinite, 1),
    "isinf": flat(np.isinf, 1),
    "logical_not": flat(np.logical_not, 1),
    **{
        ufunc.__name__: flat(ufunc, 2)
        for ufunc in (
            np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
            np.logical_and, np.logical_or, np.logical_xor,
        )
    },
    **{
        ufunc.__name__: Row(tuple(
            labelled(ufunc, shapes, [integers(-8, 8)] * ufunc.nin, [False] * ufunc.nin)
            for shapes in SHAPES[ufunc.nin]
        ) + tuple(
            labelled(ufunc, shapes, [booleans] * ufunc.nin, [False] * ufunc.nin)
            for shapes in SHAPES[ufunc.nin]
        ))
        for ufunc in (np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert)
    },
}  # fmt: skip
