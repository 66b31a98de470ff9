"""Derivatives of all orders in closed form, of functions whose slope is a polynomial in them.

With ``y = tanh(x)`` and ``s = 1 - y²``, the n-th derivative of ``tanh`` is ``s R(s)``, times ``y``
where n is even, with a polynomial ``R`` of integer coefficients: ``dy/dx = s``, ``ds/dx = -2 y s``
and ``y² = 1 - s``. Nested rules would make of it a sum of products that grows with n³. ``tan`` and
the sigmoid function are ``tanh`` of another argument, and so have the same polynomials. Likewise
for ``arctan`` and the normal distribution.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache, reduce
from itertools import accumulate
from math import comb, factorial
from typing import Any

import numpy as np


@lru_cache(maxsize=128)
def _coefficients(order: int) -> tuple[int, ...]:
    """Of ``R``, the constant first."""
    r = [1]
    for n in range(1, order):
        turned = [-2 * k * c for k, c in enumerate(r, 1)]  # d(s R)/dx = y s turned
        if n % 2:
            r = turned
        else:  # d(s y R)/dx = s ((1 - s) turned + s R)
            raised = [c - t for c, t in zip(r, turned, strict=True)]
            r = [a + b for a, b in zip([*turned, 0], [0, *raised], strict=True)]
    return tuple(r)


def _at_ends(r: Sequence[int], unit: float, scale: int) -> tuple[float, ...]:
    """``p, q, *w`` with ``unit R(z) = p (1 - z) + s (q + (1 - z) w(s))``, ``z = scale s``.

    No digits cancel at the ends, where ``z`` is 0 or 1.
    """
    first, last = r[0], sum(r)
    w: list[int] = []
    if len(r) > 2:  # R - first (1 - z) - last z, divided by z, and by 1 - z: sums of coefficients
        w = list(accumulate([r[1] + first - last, *r[2:-1]]))
    powers = [scale ** (k + 1) * c for k, c in enumerate(w)]
    return unit * first, *[unit * c for c in (scale * last, *powers)]


@lru_cache(maxsize=128)
def _of_sigmoids(order: int, width: int) -> tuple[float, ...]:
    """For ``tanh(x / width)``, over its slope, and over its value for even orders."""
    unit = float(-width) ** (1 - order) if width > 1 else 1.0
    return _at_ends(_coefficients(order), unit, width**2)


@lru_cache(maxsize=128)
def _of_arctan(order: int) -> tuple[float, ...]:
    """For ``(n - 1)! Im (u + ic)ⁿ``, over ``c`` for odd and ``u c`` for even orders.

    With ``u² = 1 - s`` and ``c² = s``, that is a polynomial in ``s``.
    """
    most = (order - 1) // 2
    r = [0] * (most + 1)
    for j in range(most + 1):
        for k in range(most - j + 1):
            r[j + k] += (-1) ** (j + k) * comb(order, 2 * j + 1) * comb(most - j, k)
    return _at_ends(r, float((-1) ** (order - 1) * factorial(order - 1)), 1)


@lru_cache(maxsize=128)
def _of_tan(order: int) -> tuple[float, ...]:
    """Of ``|R(1 + t)|``: all of one sign, so that no digits cancel anywhere."""
    r = _coefficients(order)
    return tuple(
        [float(abs(sum(comb(k, j) * r[k] for k in range(j, len(r))))) for j in range(len(r))]
    )


@lru_cache(maxsize=128)
def _of_normal_cdf(order: int) -> tuple[float, ...]:
    """Hermite's polynomial of degree ``order - 1`` at ``-x``, over ``x`` for even orders."""
    before, now = [0], [1]
    for n in range(1, order):  # Heₙ = x Heₙ₋₁ - (n - 1) Heₙ₋₂
        raised = [0, *now]
        before = [*before, *[0] * (len(raised) - len(before))]
        before, now = now, [a - (n - 1) * b for a, b in zip(raised, before, strict=True)]
    odd = (order - 1) % 2
    return tuple([float((-1) ** odd * c) for c in now[odd::2]])


def _horner(coefficients: Sequence[float], x: Any) -> Any:
    """The polynomial at ``x``, the constant first."""
    result: Any = coefficients[-1]
    for c in coefficients[-2::-1]:
        result = result * x + c if c else result * x
    return result


def _between(ends: Sequence[float], slope: Any, rest: Any) -> Any:
    """The polynomial of ``_at_ends``, ``rest`` being ``1 - z``."""
    first, last, *w = ends
    inner = last + rest * _horner(w, slope) if w else last
    return slope * inner + first * rest


def of_sigmoid(order: int, y: Any, slope: Any, width: int = 1) -> Any:
    """A derivative of ``tanh(x / width)``, up to the factor of the first one.

    Args:
        order: from 1 on.
        y: the value; negative, if ``width`` is not 1.
        slope: the first derivative, ``(1 - y²) / width²``.
        width: 1 for ``tanh``, 2 for the sigmoid function.
    """
    if order == 1:
        return slope
    ends = _of_sigmoids(order, width)
    if order == 2:
        return ends[0] * slope * y
    odd = slope * y if order % 2 == 0 else slope
    return _between(ends, slope, np.square(y)) * odd


def of_tan(order: int, y: Any, slope: Any) -> Any:
    """The derivative of ``tan`` from its value and ``slope = 1 + y²``."""
    if order == 1:
        return slope
    odd = slope * y if order % 2 == 0 else slope
    return odd * _horner(_of_tan(order), np.square(y))


def of_arctan(order: int, x: Any, slope: Any) -> Any:
    """The derivative of ``arctan`` at ``x`` from ``slope = 1 / (1 + x²)``.

    It is ``(n - 1)! cⁿ Im (u + ic)ⁿ``, up to the sign, for the cosine ``c`` and the sine ``u``.
    """
    if order == 1:
        return slope
    ends, both = _of_arctan(order), x * slope  # u c
    power = reduce(operator.mul, [slope] * ((order + 1) // 2))
    if order == 2:
        return ends[0] * power * both
    odd = power if order % 2 else power * both
    return _between(ends, slope, x * both) * odd


def of_normal_cdf(order: int, x: Any, density: Any) -> Any:
    """The derivative of the normal distribution function from the density at ``x``."""
    if order == 1:
        return density
    odd = density if order % 2 else density * x
    polynomial = _of_normal_cdf(order)
    return polynomial[0] * odd if order == 2 else odd * _horner(polynomial, np.square(x))
