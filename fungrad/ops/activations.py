"""Activation functions of neural networks: elementwise primitives behind ``fungrad.nn``.

Their values avoid ``np.where``, whose branches are mispredicted where the signs of the operand
vary, and which then costs more than an exponential.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._primitive import INDEX, ZERO, Primitive, Rule, elementwise
from fungrad.ops.elementwise import sigmoid, sigmoid_derivative, with_orders
from fungrad.ops.orders import of_normal_cdf

# --- rectifiers ----------------------------------------------------------------------------------

_BITS = {np.dtype(f"f{size}"): np.dtype(f"i{size}") for size in (2, 4, 8)}


def masked_value(mask: Any, x: Any) -> Any:
    """``np.where(mask, x, 0)`` without a branch: the bits of ``x`` and those of 0 or -1.

    A product with the mask would turn infinities into NaN.
    """
    x = np.asarray(x)
    integer = _BITS.get(x.dtype)
    if integer is None:
        return np.where(mask, x, 0)[()]
    bits = np.array(mask, integer)
    np.negative(bits, out=bits)
    out = bits if bits.shape == x.shape else None  # new memory costs more than the arithmetic
    return np.bitwise_and(bits, x.view(integer), out=out).view(x.dtype)[()]


masked: Primitive = elementwise(
    masked_value,
    INDEX,
    name="masked",
    vjp=lambda ct, y, mask, x: (ZERO, masked(mask, ct)),
    spellings=(),
    fresh=True,
)

relu: Primitive = elementwise(
    lambda x: np.maximum(x, 0),
    INDEX,
    name="relu",
    vjp=lambda ct, y, x: (masked(y > 0, ct),),
    spellings=(),
    fresh=True,
    analytic=False,
)

# --- softplus ------------------------------------------------------------------------------------


def softplus_value(x: Any) -> Any:
    """``log(1 + exp(x))`` with full relative accuracy on both sides, without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


softplus = elementwise(
    softplus_value,
    lambda y, a: (sigmoid(a),),
    name="softplus",
    spellings=(),
    fresh=True,
    analytic=False,
)


def sigmoid_cross_entropy_value(x: Any, label: Any) -> Any:
    """``softplus(x) - label * x``, also where ``x`` is large or infinite."""
    slope = np.greater(x, 0) - label
    linear = np.where(slope == 0, 0, x) * slope  # an infinite logit that is right costs nothing
    return linear + np.log1p(np.exp(-np.abs(x)))


sigmoid_cross_entropy = elementwise(
    sigmoid_cross_entropy_value,
    # sigmoid(a) - b would cancel where the prediction is right.
    lambda y, a, b: ((1 - b) * sigmoid(a) - b * sigmoid(-a), -a),
    name="sigmoid_cross_entropy",
    spellings=(),
    fresh=True,
    analytic=False,
)

# --- the normal distribution ---------------------------------------------------------------------

_FAR = 40
"""Standard deviations, beyond which the normal density is less than the smallest float64."""
# For u >= 0, (1 + u) exp(u * u / 2) (1 - cdf(u)) as a polynomial of (u - 4) / (u + 4), of highest
# degree first; interpolated at Chebyshev nodes in 40 digits. The form is that of Shepherd and
# Laframboise, Chebyshev approximation of (1 + 2x) exp(x**2) erfc(x), Math. Comp. 36, 1981.
_TAIL = (
    1.7570114703051456e-10, -6.736602414509404e-10, -2.5995811037991162e-09,
    5.459356703569082e-09, 2.0208508501827387e-08, -1.789368764921916e-08,
    -1.1439318000464129e-07, -1.2920084206867954e-09, 5.5476073657231e-07,
    4.0676646817972454e-07, -2.614362964148048e-06, -3.43340095386176e-06,
    1.3627374966182034e-05, 2.1250457868145326e-05, -8.785329817696942e-05,
    -9.44303421520961e-05, 0.0006948971208653242, -0.0002856230864016532,
    -0.0050023785924001125, 0.017936097478834498, -0.0321978374280282, 0.028600364053578804,
    0.013999634724424467, -0.09670347732652608, 0.47205320650984467,
)  # fmt: skip


def normal_cdf_value(x: Any) -> Any:
    """The standard normal distribution function, relatively exact in the lower tail too."""
    u = np.minimum(np.abs(x), _FAR)
    t = (u - 4) / (u + 4)
    tail = _TAIL[0] * t
    for coefficient in _TAIL[1:-1]:
        tail += coefficient
        tail *= t
    tail = (tail + _TAIL[-1]) * np.exp(-0.5 * u * u) / (1 + u)
    return np.abs(np.greater(x, 0) - tail)  # 1 - tail on the right


def _normal_density(x: Any) -> Any:
    return np.exp(-0.5 * np.square(np.clip(x, -_FAR, _FAR))) / math.sqrt(2 * math.pi)


def _normal_cdf_derivative(a: Any, order: int) -> Any:
    return of_normal_cdf(order, np.clip(a, -_FAR, _FAR), _normal_density(a))


normal_cdf_derivative = with_orders("normal_cdf", _normal_cdf_derivative, analytic=False)
normal_cdf = elementwise(
    normal_cdf_value,
    lambda y, a: (normal_cdf_derivative(a, 1),),
    name="normal_cdf",
    spellings=(),
    fresh=True,
    analytic=False,
)

# --- gates: x times a function that goes from 0 to 1 ---------------------------------------------


def _gated(name: str, far: int, gate: Rule, partial: Rule) -> Primitive:
    """``x * gate(x)``, where the gate is 0 below ``-far`` and 1 above ``far``, to rounding.

    There, infinities would otherwise meet zeros: both in the value and in the derivatives.
    """

    def value(x: Any) -> Any:
        return np.maximum(x, -far) * gate(np.clip(x, -far, far))

    partials = lambda y, a: (partial(a),)
    return elementwise(value, partials, name=name, spellings=(), fresh=True, analytic=False)


def _gated_derivative(name: str, far: int, gate: Rule, slope: Primitive) -> Primitive:
    """Its derivatives, from those of the gate, ``slope(x, order)``, by Leibniz' rule."""

    def of_order(a: Any, order: int) -> Any:
        near = np.clip(a, -far, far)
        before = gate(near) if order == 1 else order * slope(near, order - 1)
        return before + near * slope(near, order)

    return with_orders(name, of_order, analytic=False)


silu_derivative = _gated_derivative("silu", 800, sigmoid, sigmoid_derivative)
silu = _gated("silu", 800, sigmoid, lambda a: silu_derivative(a, 1))

_SCALE, _CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715  # Hendrycks and Gimpel, 2016, section 2


def _twice_u(x: Any) -> Any:
    return _SCALE * x * (1 + _CUBIC * x * x)


def _gelu_tanh_slope(x: Any) -> Any:
    near = np.clip(x, -32, 32)
    u = _twice_u(near)
    slope = _SCALE * (1 + 3 * _CUBIC * near * near) * sigmoid_derivative(u, 1)
    return sigmoid(u) + near * slope


gelu_derivative = _gated_derivative("gelu", _FAR, normal_cdf, normal_cdf_derivative)
gelu = _gated("gelu", _FAR, normal_cdf, lambda a: gelu_derivative(a, 1))
# (1 + tanh(u)) / 2 = sigmoid(2 u)
gelu_tanh = _gated("gelu_tanh", 32, lambda x: sigmoid(_twice_u(x)), _gelu_tanh_slope)
