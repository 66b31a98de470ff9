"""``np.sinc`` and ``np.i0``: functions whose derivatives of all orders obey a recurrence.

The textbook formulas of their derivatives cancel near 0; the recurrences, run in the direction in
which they are stable, do not. So each family of derivatives is one primitive with a static order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, implements, kind_of, primitive, result_dtype

# --- sinc ----------------------------------------------------------------------------------------


def sinc_value(x: Any, order: int) -> Any:
    """The derivative of ``np.sinc`` of any order, to a few units in the last place.

    With z = πx, f(z) = sin(z) / z satisfies z f⁽ᵏ⁾ + k f⁽ᵏ⁻¹⁾ = sin(z + kπ/2): differentiate
    z f = sin(z) k times. Upwards in k that is stable while k ≤ abs(z), downwards while k > abs(z)
    (Miller's algorithm: NIST Handbook of Mathematical Functions, section 3.6).
    """
    if order == 0:
        return np.sinc(x)
    z = np.pi * np.asarray(x)
    dtype = z.dtype
    z = z.astype(np.result_type(dtype, np.float32))
    limit = max(order, 1)
    near = np.abs(z) < limit
    out = np.asarray(_sinc_upwards(np.where(near, limit, z), order))
    if near.any():
        out[near] = _sinc_downwards(z[near], order, limit)
    return (np.pi**order * out).astype(dtype)


def _sine_derivatives(z: Any) -> tuple[Any, Any, Any, Any]:
    sine, cosine = np.sin(z), np.cos(z)
    return sine, cosine, -sine, -cosine


def _sinc_upwards(z: Any, order: int) -> Any:
    turns = _sine_derivatives(z)
    f = turns[0] / z
    for k in range(1, order + 1):
        f = (turns[k % 4] - k * f) / z
    return f


def _sinc_downwards(z: Any, order: int, limit: float) -> Any:
    # Starting from 0 at order `first` is off by at most the product of the limit / k.
    first, error = order, 1.0
    while error > 1e-18:
        first += 1
        error *= limit / first
    turns = _sine_derivatives(z)
    f = np.zeros_like(z)
    for k in range(first, order, -1):
        f = (turns[k % 4] - z * f) / k
    return f


# --- i0 ------------------------------------------------------------------------------------------


def bessel_i_value(x: Any, order: int) -> Any:
    """The modified Bessel function I of integer order: ``np.i0`` times the ratios I_k / I_{k-1}.

    The ratios r_k = x / (2k + x r_{k+1}) are positive sums, run downwards (Gautschi, SIAM Review
    9, 1967, section 5).
    """
    result = np.i0(x)
    if order == 0:
        return result
    x = np.asarray(x, result.dtype)
    # I_k / I_0 is near exp(-k²/2x); np.i0 overflows beyond x = 713.
    size = min(float(np.max(np.abs(x), initial=0, where=np.isfinite(x))), 720.0)
    ratio = np.zeros_like(x)
    for k in range(order + 20 + math.ceil(math.sqrt(80 * size)), 0, -1):
        ratio = x / (2 * k + x * ratio)
        if k <= order:
            result = result * ratio
    return result


# --- the primitives ------------------------------------------------------------------------------


def _family(name: str, function: Any, value: Any, derivative: Any, analytic: bool) -> Primitive:
    """A primitive with a static ``order``; order 0 is the NumPy function."""

    def aval(x: Aval, order: int) -> Aval:
        return make_aval(x.shape, result_dtype(function, (kind_of(x),)))

    record = primitive(
        name,
        value=value,
        aval=aval,
        vjp=lambda ct, y, x, order: (ct * derivative(x, order),),
        batch=lambda batched, size, x, order: record(x, order=order),
        fresh=True,
        analytic=analytic,
    )
    implements(function)(lambda x: record(x, order=0))
    return record


def _bessel_i_derivative(x: Any, order: int) -> Any:
    if order == 0:
        return bessel_i(x, order=1)
    return (bessel_i(x, order=order - 1) + bessel_i(x, order=order + 1)) * 0.5


sinc: Primitive = _family(
    "sinc", np.sinc, sinc_value, lambda x, order: sinc(x, order=order + 1), True
)
bessel_i: Primitive = _family("bessel_i", np.i0, bessel_i_value, _bessel_i_derivative, False)
