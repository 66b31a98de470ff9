"""Rows of calls with a derivative of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

import fungrad as fg
from fungrad.custom._linear import linear_solve
from tests._domains import Case, Operand, Row, on, within


@fg.custom_vjp
def swing(a: Any, b: Any) -> Any:
    """``sin(a) b``, by a rule that states the cotangents."""
    return np.multiply(np.sin(a), b)


def _swing_forward(a: Any, b: Any) -> Any:
    return np.multiply(np.sin(a), b), (a, b)


def _swing_backward(residuals: Any, ct: Any) -> Any:
    a, b = residuals
    return _unbroadcast(ct * np.cos(a) * b, a), _unbroadcast(ct * np.sin(a), b)


def _unbroadcast(ct: Any, like: Any) -> Any:
    if like.dtype.kind not in "fc":
        return None
    ct = np.sum(ct, axis=tuple(range(np.ndim(ct) - np.ndim(like))))
    return (ct if like.dtype.kind == "c" else np.real(ct)).astype(like.dtype)


swing.defvjp(_swing_forward, _swing_backward)

STRETCH = np.array([0.5, -2.0, 1.5])


@fg.custom_vjp
def stretched_sine(x: Any) -> Any:
    """``sin(STRETCH x)``, by a rule that calls the function itself and reads a global array."""
    return np.sin(STRETCH * x)


def _stretched_forward(x: Any) -> Any:
    y = stretched_sine(x)
    return y, (x, y)


def _stretched_backward(residuals: Any, ct: Any) -> Any:
    x, y = residuals
    # cos = (1 - sin²) / cos: a way to need the derivative of y
    return (ct * STRETCH * (1 - y * y) / np.cos(STRETCH * x),)


stretched_sine.defvjp(_stretched_forward, _stretched_backward)


def _second_derivative(x: Any) -> Any:
    first = lambda x: fg.vjp(stretched_sine, x)[1](np.ones(3))[0]
    return fg.vjp(first, x)[1](np.ones(3))[0]


def _several_steps(a: Any, b: Any) -> Any:
    return np.add(np.tanh(np.multiply(np.sin(a), b)), a)


CHECKPOINTED = fg.checkpoint(_several_steps)


def _square(x: Any) -> Any:
    return fg.pure_callback(np.square, x, x)


def _square_at_once(x: Any) -> Any:
    return fg.pure_callback(np.square, x, x, vectorized=True)


_SKEW = np.triu(np.full((4, 4), 0.3), 1) - np.tril(np.full((4, 4), 0.2), -1)


def _solved(d: Any, b: Any) -> Any:
    def product(v: Any, d: Any) -> Any:
        until = np.cumsum(v)
        return d * v + 0.3 * (np.sum(v) - until) - 0.2 * (until - v)

    return linear_solve(d, b, product=fg.trace(product, b, d))


CALLS = {
    "custom_call": Row(
        (
            on("(), ()", swing, (), ()),
            on("(3,), (3,)", swing, (3,), (3,)),
            on("(2, 3), (3,)", swing, (2, 3), (3,)),
            on("(0,), (0,)", swing, (0,), (0,)),
        ),
        oracle=lambda a, b: np.multiply(np.sin(a), b),
        gradient_dtypes=("float32", "float64", "complex128"),
    ),
    "checkpoint_call": Row(
        (
            on("(), ()", CHECKPOINTED, (), ()),
            on("(3,), (3,)", CHECKPOINTED, (3,), (3,)),
            on("(2, 3), (3,)", CHECKPOINTED, (2, 3), (3,)),
            on("(0,), (0,)", CHECKPOINTED, (0,), (0,)),
        ),
        oracle=_several_steps,
        gradient_dtypes=("float32", "float64", "complex128"),
    ),
    "pure_callback": Row(
        (
            Case("()", _square, (Operand((), varies=False),)),
            Case("(2, 3)", _square, (Operand((2, 3), varies=False),)),
            Case("(0,)", _square, (Operand((0,), varies=False),)),
            Case("at once", _square_at_once, (Operand((3,), varies=False),)),
        ),
        oracle=np.square,
    ),
    "linear_solve": Row(
        (Case("(4,), (4,)", _solved, (Operand((4,), within(1.0, 2.0)), Operand((4,)))),),
        oracle=lambda d, b: np.linalg.solve(np.diag(d) + _SKEW, b),
        exact=False,
        dtypes=("float64",),
        gradient_dtypes=("float64",),
        rounding=100.0,
    ),
    "constant": Row(
        (on("(3,)", _second_derivative, (3,)),),
        oracle=lambda x: -(STRETCH**2) * np.sin(STRETCH * x),
        exact=False,
        dtypes=("float64",),
        gradient_dtypes=("float64",),
        rounding=100.0,
    ),
}
