"""Questions about values: closeness, equality, signs of infinity; and replacing NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._primitive import ZERO, elementwise, implements
from fungrad._tracer import Tracer, concrete_array
from fungrad.errors import ArrayMutationError, ShapeMismatchError
from fungrad.ops.complex import combined
from fungrad.ops.shape import arraylike


def isclose_value(a: Any, b: Any, rtol: Any, atol: Any) -> Any:
    """``np.isclose``."""
    return np.isclose(a, b, rtol, atol)


isclose_p = elementwise(
    isclose_value,
    ZERO,
    name="isclose",
    template="np.isclose({0}, {1}, {2}, {3})",
    fresh=True,
)


def _operand(x: Any) -> Any:
    return concrete_array(x) if isinstance(x, (list, tuple)) else x


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    """``np.isclose``."""
    a, b = _operand(a), _operand(b)
    close = isclose_p(a, b, _operand(rtol), _operand(atol))
    return close | (np.isnan(a) & np.isnan(b)) if equal_nan else close


@implements(np.allclose)
def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    """``np.allclose``, as a traced truth value: ``if np.allclose(a, b):`` asks for it."""
    return np.all(isclose(a, b, rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """``np.array_equal``, as a traced truth value, or ``False`` if the shapes differ."""
    a1, a2 = _operand(a1), _operand(a2)
    if np.shape(a1) != np.shape(a2):
        return False
    same = np.equal(a1, a2)
    return np.all(same | (np.isnan(a1) & np.isnan(a2)) if equal_nan else same)


@implements(np.array_equiv)
def array_equiv(a1: Any, a2: Any) -> Any:
    """``np.array_equiv``: equal after broadcasting."""
    try:
        return np.all(np.equal(_operand(a1), _operand(a2)))
    except ShapeMismatchError:
        return False


def _answer_signed_infinity(function: Any, negative: bool) -> None:
    @implements(function)
    def is_infinity(x: Any) -> Any:
        if x.dtype.kind == "c":
            raise TypeError(
                f"This operation is not supported for {x.dtype} values because it would be "
                "ambiguous."
            )
        sign = np.signbit(x)
        return np.logical_and(np.isinf(x), sign if negative else ~sign)


_answer_signed_infinity(np.isposinf, False)
_answer_signed_infinity(np.isneginf, True)


@implements(np.isreal)
def isreal(x: Any) -> Any:
    """``np.isreal``."""
    return np.equal(np.imag(x), 0)


@implements(np.iscomplex)
def iscomplex(x: Any) -> Any:
    """``np.iscomplex``."""
    return np.not_equal(np.imag(x), 0)


@implements(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    """``np.nan_to_num``: replaced entries are constants, the others are themselves."""
    if not copy:
        raise ArrayMutationError(
            "np.nan_to_num(x, copy=False) would write into a traced value, which is immutable; "
            "write: x = np.nan_to_num(x)"
        )
    if x.dtype.kind == "c":
        parts = [nan_to_num(part, True, nan, posinf, neginf) for part in (x.real, x.imag)]
        return combined(*parts)
    if x.dtype.kind != "f":
        return arraylike(x)
    limits = np.finfo(x.dtype)
    low = _filling(limits.min if neginf is None else neginf, x.dtype)
    high = _filling(limits.max if posinf is None else posinf, x.dtype)
    finite = np.where(np.isposinf(x), high, np.where(np.isneginf(x), low, x))
    return np.where(np.isnan(x), _filling(nan, x.dtype), finite)


def _filling(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, Tracer):
        return value.astype(dtype)
    filling = np.asarray(value, dtype)
    return filling.item() if filling.ndim == 0 else filling
