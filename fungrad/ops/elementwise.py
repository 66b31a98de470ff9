"""Elementwise primitives: the table of partial derivatives.

``y`` is the output, then come the operands. Where a derivative does not exist, the policy is:
ties share evenly, ``abs'(0) = 0``, and the finite side wins. An operand that is a literal of the
user's program arrives as a Python number.
"""

from __future__ import annotations

import cmath
import math
from importlib import import_module
from typing import Any

import numpy as np

from fungrad._primitive import (
    INDEX,
    ZERO,
    Masked,
    Primitive,
    answer,
    answers,
    elementwise,
    implements,
    special_answers,
)
from fungrad._tracer import Tracer
from fungrad.ops.orders import of_arctan, of_sigmoid, of_tan

# --- arithmetic ------------------------------------------------------------------------------

add = elementwise(np.add, lambda y, a, b: (1, 1))
subtract = elementwise(np.subtract, lambda y, a, b: (1, -1))
multiply = elementwise(np.multiply, lambda y, a, b: (b, a))
negative = elementwise(np.negative, lambda y, a: (-1,))
positive = elementwise(np.positive, lambda y, a: (1,))
square = elementwise(np.square, lambda y, a: (2 * a,))
sqrt = elementwise(np.sqrt, lambda y, a: (0.5 / y,))
cbrt = elementwise(np.cbrt, lambda y, a: (1 / (3 * y * y),), analytic=False)
reciprocal = elementwise(np.reciprocal, lambda y, a: (-y * y,))


def _divide_vjp(ct: Any, y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    quotient = ct / b
    return quotient, -quotient * y


divide = elementwise(np.divide, INDEX, vjp=_divide_vjp)


def power_partials(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """``b a**(b-1)`` and ``y log(a)``, with what they are at 0 and at infinity."""
    # Each partial is computed only if it is asked for, so an undefined one never reaches the other.
    if isinstance(b, (int, float, complex)):
        return (ZERO if b == 0 or cmath.isinf(b) else b * a ** (b - 1)), INDEX
    # x**0 and x**inf are constant around x, where 0 * x**-1 and inf * 0 would be NaN.
    finite = np.where(np.isinf(b), 0, b)
    of_base = finite * np.power(a, np.where(finite == 0, 1, finite) - 1)
    if isinstance(a, (int, float)):
        return of_base, y * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan)
    if isinstance(a, complex):
        return of_base, y * cmath.log(a)
    if a.dtype.kind == "c":
        return of_base, y * np.log(a)
    # Where y is 0 it is so for all b near by (0**2, inf**-2), and log would be infinite; a negative
    # base has no derivative: NaN, without log's warning.
    defined = np.where((y == 0) | (a == 0), 1, np.where(a > 0, a, math.nan))
    return of_base, y * np.log(defined)


def _floatpower_partials(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    wide = [x.astype(y.dtype) if isinstance(x, Tracer) else x for x in (a, b)]
    return power_partials(y, *wide)


power = elementwise(np.power, power_partials)
float_power = elementwise(np.float_power, _floatpower_partials)

# --- exponentials and logarithms ---------------------------------------------------------------

exp = elementwise(np.exp, lambda y, a: (y,))
exp2 = elementwise(np.exp2, lambda y, a: (math.log(2) * y,))
expm1 = elementwise(np.expm1, lambda y, a: (np.exp(a),))  # y + 1 would cancel where y is near -1
log = elementwise(np.log, lambda y, a: (1 / a,))
log2 = elementwise(np.log2, lambda y, a: (1 / math.log(2) / a,))
log10 = elementwise(np.log10, lambda y, a: (1 / math.log(10) / a,))
log1p = elementwise(np.log1p, lambda y, a: (1 / (1 + a),))


def _difference(a: Any, b: Any) -> Any:
    """``a - b``, and 0 where both are the same infinity."""
    if any(isinstance(x, (int, float)) and math.isfinite(x) for x in (a, b)):
        return a - b
    same = np.equal(a, b)
    return np.where(same, 0, a) - np.where(same, 0, b)


def _logaddexp_partials(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    # exp(a - y), but also where both operands are inf or -inf: equal operands share evenly.
    return sigmoid(_difference(a, b)), sigmoid(_difference(b, a))


def _logaddexp2_partials(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    difference = math.log(2) * _difference(a, b)
    return sigmoid(difference), sigmoid(-difference)


logaddexp = elementwise(np.logaddexp, _logaddexp_partials, analytic=False)
logaddexp2 = elementwise(np.logaddexp2, _logaddexp2_partials, analytic=False)


closed_forms: set[Primitive] = set()
"""Derivatives of a function as primitives; what they compute is NumPy code."""


def with_orders(name: str, value: Any, analytic: bool = True) -> Primitive:
    """The derivatives of a function as one primitive ``(a, order)``: its own has the next order.

    It computes what the function itself does once more, which costs nothing: equal nodes are one.
    """
    derivative: Primitive = elementwise(
        value,
        lambda y, a, order: (derivative(a, order + 1), INDEX),
        name=f"{name}_derivative",
        spellings=(),
        fresh=True,
        analytic=analytic,
    )
    closed_forms.add(derivative)
    return derivative


def sigmoid_value(x: Any) -> Any:
    """``1 / (1 + exp(-x))`` with full relative accuracy on both sides, without overflow."""
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    if dtype.kind in "biu":  # -abs wraps around for integers
        x = np.asarray(x).astype(np.exp.resolve_dtypes((dtype, None))[1])[()]
    small = np.exp(-np.abs(x))
    # The maximum with True is a branch-free choice of 1: np.where takes twice the time.
    return np.maximum(small, np.greater_equal(x, 0)) / (1 + small)


def _sigmoid_derivative(a: Any, order: int) -> Any:
    # y (1 - y) is even, and keeps all digits by the smaller one of exp(a) and exp(-a).
    small = np.exp(-np.abs(a))
    total = 1 + small
    slope = small / np.square(total)
    if order == 1:
        return slope
    return of_sigmoid(order, np.copysign((1 - small) / total, -a), slope, width=2)


sigmoid_derivative = with_orders("sigmoid", _sigmoid_derivative, analytic=False)
sigmoid: Primitive = elementwise(
    sigmoid_value,
    lambda y, a: (sigmoid_derivative(a, 1),),
    name="sigmoid",
    fresh=True,
    analytic=False,
)
special_answers["expit"] = sigmoid

# --- trigonometric and hyperbolic ----------------------------------------------------------------

sin = elementwise(np.sin, lambda y, a: (np.cos(a),))
cos = elementwise(np.cos, lambda y, a: (-np.sin(a),))


def _tan_derivative(a: Any, order: int) -> Any:
    y = np.tan(a)
    return of_tan(order, y, 1 + np.square(y))


tan_derivative = with_orders("tan", _tan_derivative)
tan = elementwise(np.tan, lambda y, a: (tan_derivative(a, 1),))
arcsin = elementwise(np.arcsin, lambda y, a: (1 / np.sqrt((1 - a) * (1 + a)),))
arccos = elementwise(np.arccos, lambda y, a: (-1 / np.sqrt((1 - a) * (1 + a)),))


def _arctan_derivative(a: Any, order: int) -> Any:
    slope = np.square(1 / _hypotenuse(a))
    return of_arctan(order, np.where(np.isinf(a), 0, a), slope)  # where the slope is 0, too


arctan_derivative = with_orders("arctan", _arctan_derivative)
arctan = elementwise(np.arctan, lambda y, a: (arctan_derivative(a, 1),))
sinh = elementwise(np.sinh, lambda y, a: (np.cosh(a),))
cosh = elementwise(np.cosh, lambda y, a: (np.sinh(a),))


def _tanh_derivative(a: Any, order: int) -> Any:
    # 1 - y*y loses relative accuracy for |a| > 5; 1/cosh(a)**2 would cost another transcendental.
    y = np.tanh(a)
    if order == 1 and type(y) is np.ndarray:  # in one array: a first run computes it as it stands
        return np.subtract(1, np.square(y, out=y), out=y)
    if order == 1:
        return 1 - np.square(y)
    return of_sigmoid(order, y, 1 - np.square(y))


tanh_derivative = with_orders("tanh", _tanh_derivative)
tanh = elementwise(np.tanh, lambda y, a: (tanh_derivative(a, 1),))
arcsinh = elementwise(np.arcsinh, lambda y, a: (1 / _hypotenuse(a),))
arccosh = elementwise(np.arccosh, lambda y, a: (1 / (np.sqrt(a - 1) * np.sqrt(a + 1)),))
arctanh = elementwise(np.arctanh, lambda y, a: (1 / ((1 - a) * (1 + a)),))
deg2rad, radians = (
    elementwise(ufunc, lambda y, a: (math.pi / 180,), analytic=False)
    for ufunc in (np.deg2rad, np.radians)
)
rad2deg, degrees = (
    elementwise(ufunc, lambda y, a: (180 / math.pi,), analytic=False)
    for ufunc in (np.rad2deg, np.degrees)
)


def _hypotenuse(a: Any) -> Any:
    """``sqrt(1 + a * a)``, where possible without overflow of the square."""
    return np.sqrt(1 + a * a) if np.result_type(a).kind == "c" else np.hypot(1, a)


def _over_or_zero(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where ``b`` is 0: the derivative of a norm at its minimum."""
    return np.where(b == 0, 0, a / np.where(b == 0, 1, b))


def _cosine(a: Any, length: Any) -> Any:
    """``a / length`` for a leg and the hypotenuse; 0 at the origin, and the limit far out."""
    special = (length == 0) | np.isinf(length)
    limit = np.where(np.isinf(a), np.sign(a), 0)
    return np.where(special, limit, a / np.where(special, 1, length))


def _arctan2_partials(y: Any, a: Any, b: Any) -> tuple[Any, Any]:
    length = np.hypot(a, b)
    return _over_or_zero(_cosine(b, length), length), _over_or_zero(-_cosine(a, length), length)


arctan2 = elementwise(np.arctan2, _arctan2_partials, analytic=False)
hypot = elementwise(np.hypot, lambda y, a, b: (_cosine(a, y), _cosine(b, y)), analytic=False)

# Like sqrt, but with derivative 0 at 0: the subgradient of a norm at its minimum.
root = elementwise(
    np.sqrt, lambda y, a: (_over_or_zero(0.5, y),), name="root", spellings=(), analytic=False
)

# --- kinks: ties share evenly --------------------------------------------------------------------


def _winner_vjp(ct: Any, y: Any, a: Any, b: Any) -> tuple[Masked, Masked]:
    # Selecting, not multiplying by a mask: 0 * inf would be NaN.
    shared = np.where(np.equal(a, b), ct * 0.5, ct)
    return Masked(shared, ((np.equal(y, a), True),)), Masked(shared, ((np.equal(y, b), True),))


maximum, minimum, fmax, fmin = (
    elementwise(ufunc, INDEX, vjp=_winner_vjp, analytic=False)
    for ufunc in (np.maximum, np.minimum, np.fmax, np.fmin)
)


def _sign_vjp(ct: Any, y: Any, a: Any) -> tuple[Any]:
    # d(a / |a|) = (da - y Re(conj(y) da)) / |a|: only the turning part of da moves the direction.
    return (_over_or_zero(ct - np.real(ct * y) * np.conjugate(y), np.abs(a)),)


sign = elementwise(np.sign, ZERO, spellings=())
complex_sign = elementwise(
    np.sign, INDEX, name="complex_sign", vjp=_sign_vjp, spellings=(), analytic=False
)


@implements(np.sign)
def np_sign(x: Any) -> Any:
    """``np.sign``: piecewise constant for real numbers, the direction ``x / |x|`` for complex."""
    return complex_sign(x) if x.dtype.kind == "c" else sign(x)


def _absolute_partials(y: Any, a: Any) -> tuple[Any]:
    return (np.conjugate(np.sign(a)) if a.dtype.kind == "c" else np.sign(a),)


absolute = elementwise(np.absolute, _absolute_partials, analytic=False)
fabs = elementwise(np.fabs, lambda y, a: (np.sign(a),), analytic=False)
remainder = elementwise(np.remainder, lambda y, a, b: (1, -np.floor_divide(a, b)), analytic=False)
# a - y is the multiple of b that was taken off; a / b may round to the next integer.
fmod = elementwise(np.fmod, lambda y, a, b: (1, -np.rint((a - y) / b)), analytic=False)


_CLIP_UFUNC = import_module("numpy._core.umath").clip  # what a.clip(low, x) calls; private


@implements(np.clip, _CLIP_UFUNC)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """``np.clip``: the larger of ``a`` and ``a_min``, then the smaller of that and ``a_max``."""
    low, high = a_min if min is None else min, a_max if max is None else max
    if np.result_type(a).kind in "iu":  # what a Python integer can't exceed is no bound
        limits = np.iinfo(np.result_type(a))
        low = None if type(low) is int and low < limits.min and a_min is None else low
        high = None if type(high) is int and high > limits.max and a_max is None else high
    if low is not None:
        a = np.maximum(a, low)
    return a if high is None else np.minimum(a, high)


# --- selection -----------------------------------------------------------------------------------


def _where_vjp(ct: Any, y: Any, condition: Any, a: Any, b: Any) -> tuple[Any, Masked, Masked]:
    return ZERO, Masked(ct, ((condition, True),)), Masked(ct, ((condition, False),))


def where_value(condition: Any, a: Any, b: Any) -> Any:
    """``np.where`` that gives a scalar for 0-d operands, as ufuncs do."""
    return np.where(condition, a, b)[()]


where = elementwise(
    where_value,
    INDEX,
    name="where",
    vjp=_where_vjp,
    template="np.where({0}, {1}, {2})[()]",
    fresh=True,
)


def selected(ct: Any) -> Any:
    """The cotangent as a plain one: 0 where the masks say so."""
    if not isinstance(ct, Masked):
        return ct
    value = ct.value
    if ct.clean:
        return value
    for condition, truth in reversed(ct.masks):
        value = where(condition, value, 0) if truth else where(condition, 0, value)
    return value


@implements(np.where)
def _np_where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return np.nonzero(condition)
    if x is None or y is None:
        raise ValueError("either both or neither of x and y should be given")
    return where(condition, x, y)


# --- complex numbers: cotangents pair with values as Re(ct * x) ----------------------------------


def real_value(x: Any) -> Any:
    """The real part, in memory of its own."""
    return np.positive(np.real(x))


def imag_value(x: Any) -> Any:
    """The imaginary part, in memory of its own."""
    return np.positive(np.imag(x))


conjugate = elementwise(
    np.conjugate, INDEX, vjp=lambda ct, y, a: (np.conjugate(ct),), analytic=False
)
real_part = elementwise(real_value, lambda y, a: (1,), name="real", fresh=True, analytic=False)
imag_part = elementwise(imag_value, lambda y, a: (-1j,), name="imag", fresh=True, analytic=False)


@implements(np.real)
def real(val: Any) -> Any:
    """``np.real``: a real array is its own real part."""
    return _as_weak_as(val, real_part(val)) if val.dtype.kind == "c" else val


def _as_weak_as(val: Any, part: Any) -> Any:
    """The real and imaginary parts of a Python number are Python numbers."""
    weak = isinstance(val, Tracer) and val.aval.weak
    return part._bind(positive, (part,), {}, True) if weak else part


@implements(np.imag)
def imag(val: Any) -> Any:
    """``np.imag``: zeros for a real array."""
    return _as_weak_as(val, imag_part(val) if val.dtype.kind == "c" else np.zeros_like(val))


# --- zero derivative: stated, not omitted --------------------------------------------------------

for _ufunc in (
    np.floor, np.ceil, np.trunc, np.rint, np.floor_divide, np.signbit,
    np.equal, np.not_equal, np.less, np.greater,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.isnan, np.isfinite, np.isinf,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert,
):  # fmt: skip
    elementwise(_ufunc, ZERO)
less_equal = elementwise(np.less_equal, ZERO)
greater_equal = elementwise(np.greater_equal, ZERO)


def identity_value(x: Any) -> Any:
    """A copy: what ``stop_gradient`` computes."""
    return np.positive(x) if np.asarray(x).dtype.kind != "b" else np.logical_or(x, False)


stop_gradient = elementwise(identity_value, ZERO, name="stop_gradient", fresh=True)

answer(np.fix, answers[np.trunc])
