"""Rows of the primitives behind rounding, number parts, recurrences, windows and updates."""

from __future__ import annotations

import math
from typing import Any

import attrs
import numpy as np
from mpmath import mp

from fungrad.ops.padding import window_sum
from fungrad.ops.recurrences import bessel_i, bessel_i_value
from fungrad.ops.scatter import at
from tests._domains import (
    COMPLEX,
    REAL,
    Case,
    Function,
    Operand,
    Row,
    Shape,
    apart,
    away_from_zero,
    between_integers,
    binary,
    complex_within,
    elementwise,
    flat,
    integers,
    on,
    unary,
    with_numbers,
    within,
)

FREE = within(-2.0, 2.0)
WINDOWS = np.lib.stride_tricks.sliding_window_view


NUMBER_PARTS: dict[str, Row] = {
    "copysign": binary(np.copysign, (away_from_zero(), away_from_zero()),
                       (lambda a, b: mp.sign(a) * math.copysign(1, b), lambda a, b: 0),
                       more=with_numbers(np.copysign, away_from_zero(), away_from_zero())),
    "heaviside": binary(np.heaviside, (away_from_zero(), FREE),
                        (lambda a, b: 0, lambda a, b: int(a == 0)),
                        undefined=lambda a, b: a == 0 and b != 0.5,
                        more=with_numbers(np.heaviside, away_from_zero(), FREE)),
    "nextafter": binary(np.nextafter, (away_from_zero(), apart(0.1)),
                        (lambda a, b: 1, lambda a, b: 0)),
    "ldexp": elementwise(np.ldexp, FREE, integers(-3, 4), varies=(True, False),
                         slopes=(lambda x, i: mp.ldexp(1, int(i)), lambda x, i: 0),
                         undefined=lambda x, i: True,
                         more=(on("(3,), 2", lambda x: np.ldexp(x, 2), (3,)),)),
    "exponent": Row((
        on("()", lambda x: np.frexp(x)[1], ()),
        on("(2, 3)", lambda x: np.frexp(x)[1], (2, 3), draw=within(1.1, 1.9)),
        on("(0,)", lambda x: np.frexp(x)[1], (0,)),
    )),
    "fraction": unary(lambda x: np.modf(x)[0], between_integers, lambda x: 1),
    "spacing": flat(np.spacing, 1, within(1.1, 1.9)),
    "round": Row((
        on("1 decimal", lambda x: np.round(x, 1), (2, 3), draw=within(0.46, 0.54)),
        on("method", lambda x: x.round(2), (3,), draw=within(0.121, 0.124)),
        on("tens", lambda x: np.around(x, -1), (), draw=within(1, 4)),
        on("of integers", lambda x: np.round(x), (3,), draw=integers(-5, 5)),
        on("size 0", lambda x: np.round(x, 3), (2, 0)),
    )),
    **{
        ufunc.__name__: Row(tuple(
            Case(f"{shapes}", ufunc,
                 tuple(Operand(shape, integers(0, 7), False) for shape in shapes))
            for shapes in (((), ()), ((3,), (3,)), ((2, 1), (3,)), ((0,), (1,)))
        ))
        for ufunc in (np.left_shift, np.right_shift, np.gcd, np.lcm)
    },
    "bitwise_count": Row(tuple(
        Case(f"{shape}", np.bitwise_count, (Operand(shape, integers(-9, 9), False),))
        for shape in ((), (3,), (2, 0))
    )),
    "isclose": Row((
        on("two", lambda x, y: np.isclose(x, y), (2, 3), (3,)),
        on("number", lambda x: np.isclose(x, 1.0, rtol=0.5), (3,)),
        on("equal_nan", lambda x, y: np.isclose(x, y, equal_nan=True), (), (2,)),
        on("traced tolerance", lambda x, y: np.isclose(x, 1.0, atol=y), (2, 1), (3,)),
    )),
    "combined": Row((
        on("nan_to_num", lambda x: np.nan_to_num(x), (2, 3), draw=complex_within(-2, 2)),
        on("0-d", lambda x: np.nan_to_num(x), (), draw=complex_within(-2, 2)),
        on("size 0", lambda x: np.nan_to_num(x), (0,), draw=complex_within(-2, 2)),
    ), dtypes=COMPLEX, gradient_dtypes=COMPLEX),
}  # fmt: skip


def _sinc_slope(x: Any) -> Any:
    z = mp.pi * mp.mpf(x)
    if abs(z) < 1e-5:
        return mp.pi * (-z / 3 + z**3 / 30)
    with mp.workdps(40):
        return mp.pi * (mp.cos(z) / z - mp.sin(z) / z**2)


SERIES: dict[str, Row] = {
    "sinc": unary(np.sinc, FREE, _sinc_slope, points=((1e-6,), (1e-4,), (0.3,), (0.32,)),
                  undefined=lambda x: abs(x) > 1e7),
    "bessel_i": unary(np.i0, FREE, lambda x: mp.besseli(1, x), dtypes=(*REAL, "int64", "bool"),
                      more=(Case("of order 2", lambda x: bessel_i(x, order=2), (Operand((3,), FREE),),
                                 lambda x: bessel_i_value(x, 2)),),
                      gradient_dtypes=REAL, undefined=lambda x: abs(x) > 720),
}  # fmt: skip


def _updates(operation: str, ufunc: Any) -> tuple[Case, ...]:
    def expected(x: Any, i: Any, v: Any) -> Any:
        out = np.array(x)
        values = np.broadcast_to(v, np.shape(out[i])).astype(out.dtype)
        if ufunc is None:
            out[i] = values
        else:
            ufunc.at(out, i, values)
        return out

    update = lambda x, i, v: getattr(at(x)[i], operation)(v)
    draws = [
        (Operand((5,), apart()), Operand((4,), integers(0, 5), False), Operand((4,), apart(0.1))),
        (Operand((5,), apart()), Operand((4,), integers(-5, 5), False), Operand((), apart(0.1))),
        (
            Operand((3, 2), apart()),
            Operand((2, 2), integers(0, 3), False),
            Operand((2,), apart(0.1)),
        ),
        (Operand((3,), apart()), Operand((0,), integers(0, 3), False), Operand((0,), apart(0.1))),
    ]
    if operation == "multiply":
        often = Operand((7,), lambda rng, shape: np.array([0, 0, 0, 0, 1, 0, 0]), False)
        draws.append((Operand((2,)), often, Operand((7,))))
    return tuple(
        Case(f"{operation} {[o.shape for o in operands]}", update, operands, expected)
        for operands in draws
    )


def _window_sum(window: Shape, axis: Shape, shape: Shape) -> Function:
    return lambda ct: window_sum(ct, window=window, axis=axis, shape=shape)


def _window_loop(window: Shape, axis: Shape, shape: Shape) -> Function:
    """Entry by entry: each is added where the window takes it from."""

    def loop(ct: Any) -> Any:
        origin = WINDOWS(np.arange(int(np.prod(shape))).reshape(shape), window, axis)
        out = np.zeros(int(np.prod(shape)), np.asarray(ct).dtype)
        np.add.at(out, origin, ct)
        return out.reshape(shape)

    return loop


UPDATES: dict[str, Row] = {
    "scatter": Row((
        *_updates("set", None), *_updates("add", np.add), *_updates("multiply", np.multiply),
        *_updates("min", np.minimum), *_updates("max", np.maximum),
    ), dtypes=("int64", "float32", "float64", "complex128"), gradient_dtypes=REAL),
    "choose": Row(tuple(
        Case(f"{shapes}", lambda i, x, y: np.choose(i, [x, y]),
             (Operand(shapes[0], integers(0, 2), False), Operand(shapes[1]), Operand(shapes[2])))
        for shapes in (((), (), ()), ((3,), (3,), ()), ((2, 1), (3,), (1, 1)), ((0,), (1,), ()))
    ), dtypes=("bool", "int64", "float32", "float64", "complex128")),
    "windows": Row((
        on("1 axis", lambda x: WINDOWS(x, 3), (5,)),
        on("2 axes", lambda x: WINDOWS(x, (2, 2)), (3, 4)),
        on("inner axis", lambda x: WINDOWS(x, 2, axis=1), (2, 3, 2)),
        on("axes swapped", lambda x: WINDOWS(x, (2, 1), axis=(1, 0)), (3, 4)),
        on("size 0", lambda x: WINDOWS(x, 2, axis=1), (0, 3)),
    )),
    "roll": Row((
        on("flat", lambda x: np.roll(x, 2), (2, 3)),
        on("axis", lambda x: np.roll(x, -1, axis=1), (2, 3)),
        on("axes", lambda x: np.roll(x, (1, 5), axis=(0, -1)), (2, 3, 2)),
        on("size 0", lambda x: np.roll(x, 1, axis=0), (0, 3)),
    )),
    "repeat": Row((
        on("flat", lambda x: np.repeat(x, 2), (2, 3)),
        on("axis", lambda x: np.repeat(x, 3, axis=0), (2, 3)),
        on("last axis", lambda x: x.repeat(2, axis=-1), (2, 3, 2)),
        on("never", lambda x: np.repeat(x, 0, axis=1), (2, 3)),
        on("0-d", lambda x: np.repeat(x, 2), ()),
    )),
    "window_sum": Row(tuple(
        attrs.evolve(
            on(f"{ct_shape} to {shape}", _window_sum(window, axis, shape), ct_shape),
            oracle=_window_loop(window, axis, shape),
        )
        for shape, window, axis, ct_shape in (
            ((5,), (3,), (0,), (3, 3)),
            ((3, 4), (2, 2), (0, 1), (2, 3, 2, 2)),
            ((3, 4), (2, 1), (1, 0), (3, 3, 2, 1)),
            ((0, 3), (2,), (1,), (0, 2, 2)),
        )
    ), exact=False, dtypes=REAL + COMPLEX),
}  # fmt: skip
