"""Rounding, integer arithmetic, and the parts of a floating-point number.

Almost everywhere these functions are constant, or linear with a power of two as their slope.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._primitive import INDEX, ZERO, elementwise, implements, primitive

# --- integers: zero derivative -------------------------------------------------------------------

for _ufunc in (
    np.left_shift, np.right_shift, np.bitwise_count, np.gcd, np.lcm, np.spacing,
):  # fmt: skip
    elementwise(_ufunc, ZERO)

# --- rounding ------------------------------------------------------------------------------------


def _round_batch(batched: Any, size: int, x: Any, decimals: int) -> Any:
    return round_p(x, decimals=decimals)


round_p = primitive(
    "round",
    value="np.round({0}, {decimals})",
    aval=lambda x, decimals: make_aval(x.shape, np.round(np.ones(1, x.dtype), decimals).dtype),
    vjp=ZERO,
    batch=_round_batch,
    analytic=False,
)


@implements(np.round, np.around)
def round(a: Any, decimals: int = 0) -> Any:
    """``np.round``; to integers it is ``np.rint``."""
    if decimals == 0 and a.dtype.kind in "fc":
        return np.rint(a)
    return round_p(a, decimals=int(decimals))


@implements(np.divmod)
def divmod(x1: Any, x2: Any) -> Any:
    """``np.divmod``."""
    return np.floor_divide(x1, x2), np.remainder(x1, x2)


# copysign'(0) = 0, as for abs: the value has a kink there.
copysign = elementwise(
    np.copysign, lambda y, a, b: (np.sign(a) * np.copysign(1, b), ZERO), analytic=False
)
heaviside = elementwise(np.heaviside, lambda y, a, b: (ZERO, np.equal(a, 0)), analytic=False)

# --- the parts of a floating-point number --------------------------------------------------------

# As a function of real numbers, the next one is the number itself.
nextafter = elementwise(np.nextafter, lambda y, a, b: (1, ZERO), analytic=False)
ldexp = elementwise(
    np.ldexp, INDEX, vjp=lambda ct, y, a, b: (np.ldexp(ct, b), INDEX), analytic=False
)


def exponent_value(x: Any) -> Any:
    """The exponent that ``np.frexp`` gives."""
    return np.frexp(x)[1]


def fraction_value(x: Any) -> Any:
    """The fractional part that ``np.modf`` gives."""
    return np.modf(x)[0]


exponent = elementwise(
    exponent_value, ZERO, name="exponent", template="np.frexp({0})[1]", fresh=True
)
fraction = elementwise(
    fraction_value,
    lambda y, a: (1,),
    name="fraction",
    template="np.modf({0})[0]",
    fresh=True,
    analytic=False,
)


@implements(np.frexp)
def frexp(x: Any) -> Any:
    """``np.frexp``: the mantissa is ``x`` times a power of two that is locally constant."""
    power = exponent(x)
    return np.ldexp(x, -power), power


@implements(np.modf)
def modf(x: Any) -> Any:
    """``np.modf``."""
    part = fraction(x)
    return part, np.trunc(x.astype(part.dtype))
