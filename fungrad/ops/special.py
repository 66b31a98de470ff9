"""``scipy.special``, first part: how its functions are declared; errors, entropies, elementary ones.

fungrad does not import SciPy. A user who did hands us its ufuncs, which are recognised by name and
identity, and their primitives find the value when it is first computed. A ufunc without a
declaration here, in ``gamma`` or in ``bessel`` is refused by name. Formulas are from the NIST
Digital Library of Mathematical Functions (DLMF), unless a comment says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval, tuple_aval
from fungrad._primitive import (
    INDEX,
    ZERO,
    Primitive,
    Rule,
    Unwritten,
    elementwise,
    kind_of,
    primitive,
    result_dtype,
    special_answers,
)
from fungrad.ops.elementwise import sigmoid

# --- how the functions of SciPy are declared ---------------------------------------------------


@cache
def _scipy(name: str) -> Rule:
    function: Rule = getattr(import_module("scipy.special"), name)
    return function


def _value_of(name: str) -> Rule:
    def value(*operands: Any) -> Any:
        return _scipy(name)(*operands)

    return value


def special(
    function: str,
    partials: Rule,
    *,
    value: Rule | None = None,
    name: str | None = None,
    ufunc: str | None = None,
) -> Primitive:
    """Declare a function of ``scipy.special`` by its partial derivatives.

    Args:
        function: its name there.
        partials: as for ``elementwise``; in addition, an operand may have an ``Unwritten``.
        value: computes a function that SciPy does not have; ``function`` is its name here.
        name: the primitive's, where a function of NumPy has the same name.
        ufunc: the ufunc that reaches a traced value, where ``function`` is a Python function.
    """

    def vjp(ct: Any, y: Any, *operands: Any) -> tuple[Any, ...]:
        slopes = partials(y, *[_single(x) for x in operands])
        return tuple([d if isinstance(d, Unwritten) or d is ZERO else ct * d for d in slopes])

    record = elementwise(
        value or _value_of(function), INDEX, vjp=vjp, name=name or function, spellings=(),
        fresh=True, analytic=False,
    )  # fmt: skip
    if value is None:
        special_answers[ufunc or function] = record
    return record


def _single(x: Any) -> Any:
    """Half precision as single, in which SciPy computes: the series would overflow."""
    return x.astype(np.float32) if getattr(x, "dtype", None) == np.float16 else x


def special_tuple(function: str, count: int, slopes: Callable[[Any, Any], Any]) -> Primitive:
    """Declare a function of one operand with several results; ``slopes(y, x)``, one for each."""
    value = _value_of(function)

    def aval(x: Aval) -> Aval:
        one = make_aval(x.shape, result_dtype(value, (kind_of(x),)))
        return tuple_aval(*[one] * count)

    def vjp(cts: Any, y: Any, x: Any) -> tuple[Any]:
        pairs = zip(cts, slopes(y, x), strict=True)
        return (sum(ct * slope for ct, slope in pairs),)

    record = primitive(
        function, value=value, aval=aval, vjp=vjp, batch=lambda batched, size, x: record(x),
        fresh=True, analytic=False,
    )  # fmt: skip
    special_answers[function] = record
    return record


def by_parameter(what: str) -> Unwritten:
    """The derivative with respect to a parameter, for which there is no known function."""
    return Unwritten(
        f"its derivative by {what} is no function of scipy.special; write: fg.stop_gradient of that "
        "operand to keep it constant, or a rule of your own (fg.extend)"
    )


# --- two branches, and series --------------------------------------------------------------------


def choose(near: Any, x: Any, inside: Rule, outside: Rule, harmless: tuple[float, float]) -> Any:
    """``inside(x)`` where ``near``, else ``outside(x)``; neither sees operands of the other."""
    for_inside, for_outside = harmless
    return np.where(
        near, inside(np.where(near, x, for_inside)), outside(np.where(near, for_outside, x))
    )


def horner(t: Any, coefficients: Sequence[float]) -> Any:
    """``Σ coefficients[k] t**k``."""
    total: Any = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * t + coefficient
    return total


# (2k + 1)!!, in the asymptotic series of what follows the first term of an error function.
_ODD_FACTORIALS = [float(math.prod(range(1, 2 * k + 2, 2))) for k in range(13)]


def exprel_slope(x: Any) -> Any:
    """``d/dx (exp(x) - 1)/x``, which is 1/2 at 0."""
    series = lambda t: horner(t, [1 / (math.factorial(k) * (k + 2)) for k in range(19)])
    direct = lambda t: (t * np.exp(t) - np.expm1(t)) / t / t
    return choose(np.abs(x) < 1, x, series, direct, (0, 1))


def _log1p_slope(x: Any) -> Any:
    """``d/dx log(1 + x)/x``, which is -1/2 at 0."""
    series = lambda t: horner(t, [(k + 1) / (k + 2) * (-1) ** (k + 1) for k in range(18)])
    direct = lambda t: (t / (1 + t) - np.log1p(t)) / t / t
    return choose(np.abs(x) < 0.1, x, series, direct, (0, 1))


# --- error functions: DLMF 7 -------------------------------------------------------------------

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


def _gauss(x: Any) -> Any:
    """``exp(-x²)``, whose square must not overflow where it is 0."""
    bounded = x if np.iscomplexobj(x) else np.clip(x, -40, 40)
    return np.exp(-bounded * bounded)


def _bell(x: Any) -> Any:
    """The density of the normal distribution."""
    return _gauss(math.sqrt(0.5) * x) / _ROOT_TWO_PI


def _erfcx_slope(y: Any, x: Any) -> Any:
    # 2 x y tends to 2/sqrt(pi): far out, the difference as its asymptotic series (7.12.1).
    far: Rule = lambda t: -0.5 * _TWO_OVER_ROOT_PI / t / t * horner(-0.5 / t / t, _ODD_FACTORIALS)
    direct = 2 * np.where(x > 10, 0, x) * y - _TWO_OVER_ROOT_PI
    return np.where(x > 10, far(np.where(x > 10, x, 10)), direct)


def _dawsn_slope(y: Any, x: Any) -> Any:
    if np.iscomplexobj(x):
        return 1 - 2 * x * y
    distant = np.abs(x) > 10
    far: Rule = lambda t: -0.5 / t / t * horner(0.5 / t / t, _ODD_FACTORIALS)
    return np.where(distant, far(np.where(distant, x, 10)), 1 - 2 * np.where(distant, 0, x) * y)


erf = special("erf", lambda y, x: (_TWO_OVER_ROOT_PI * _gauss(x),))
erfc = special("erfc", lambda y, x: (-_TWO_OVER_ROOT_PI * _gauss(x),))
erfi = special("erfi", lambda y, x: (_TWO_OVER_ROOT_PI * np.exp(x * x),))
erfcx = special("erfcx", lambda y, x: (_erfcx_slope(y, x),))
erfinv = special("erfinv", lambda y, x: (np.exp(y * y) / _TWO_OVER_ROOT_PI,))
erfcinv = special("erfcinv", lambda y, x: (-np.exp(y * y) / _TWO_OVER_ROOT_PI,))
dawsn = special("dawsn", lambda y, x: (_dawsn_slope(y, x),))
wofz = special("wofz", lambda y, x: (1j * _TWO_OVER_ROOT_PI - 2 * x * y,))
fresnel = special_tuple(
    "fresnel", 2, lambda y, x: (np.sin(math.pi / 2 * x * x), np.cos(math.pi / 2 * x * x))
)
owens_t = special(
    "owens_t",
    lambda y, h, a: (
        -0.5 * _bell(h) * erf(a * h * math.sqrt(0.5)),
        _gauss(math.sqrt(0.5) * h * np.hypot(1, a)) / (2 * math.pi * (1 + a * a)),
    ),
)

# --- the normal distribution -------------------------------------------------------------------


def hazard_value(x: Any) -> Any:
    """The normal density over the distribution function, without underflow of either."""
    return 2 / _ROOT_TWO_PI / _scipy("erfcx")(x * -math.sqrt(0.5))


def _hazard_slope(y: Any, x: Any) -> Any:
    # -y (x + y), but in the lower tail y is -x and little more: the difference by its series.
    far: Rule = lambda t: -y / t * (y / t) * horner(-1 / t / t, _ODD_FACTORIALS)
    tail = x < -14
    inside = np.where(tail, 0, y)
    return np.where(tail, far(np.where(tail, x, -14)), -inside * (x + inside))


hazard = special("normal_hazard", lambda y, x: (_hazard_slope(y, x),), value=hazard_value)

ndtr = special("ndtr", lambda y, x: (_bell(x),))
log_ndtr = special("log_ndtr", lambda y, x: (hazard(x),))
ndtri = special("ndtri", lambda y, x: (_ROOT_TWO_PI * np.exp(0.5 * y * y),))
ndtri_exp = special("ndtri_exp", lambda y, x: (1 / hazard(y),))

# --- entropies: 0 log 0 is 0, also where the logarithm is infinite -------------------------------


def _over(x: Any, y: Any) -> Any:
    """``x / y``, and 0 for 0 / 0."""
    return x / np.where((x == 0) & (y == 0), 1, y)


def _log_ratio(x: Any, y: Any) -> Any:
    """``log(x / y)`` without overflow of the quotient; 0 where both are 0."""
    at_zero = np.where(y == 0, 0, -math.inf)
    return np.where(x == 0, at_zero, rel_entr(x, y) / np.where(x == 0, 1, x))


def _entr_slope(x: Any) -> Any:
    inside = -1 - np.log(np.where(x > 0, x, 1))
    return np.where(x > 0, inside, np.where(x == 0, math.inf, 0))


entr = special("entr", lambda y, x: (_entr_slope(x),))
rel_entr = special("rel_entr", lambda z, x, y: (_log_ratio(x, y) + 1, -_over(x, y)))
kl_div = special("kl_div", lambda z, x, y: (_log_ratio(x, y), 1 - _over(x, y)))
xlogy: Primitive = special("xlogy", lambda z, x, y: (xlogy(1, y), _over(x, y)))
xlog1py: Primitive = special("xlog1py", lambda z, x, y: (xlog1py(1, y), _over(x, 1 + y)))

# --- elementary functions ------------------------------------------------------------------------


def _boxcox_by_power(logarithm: Any, power: Any, y: Any) -> Any:
    # d/dp (x**p - 1)/p with p log x = u: log(x)**2 (u exp(u) - exp(u) + 1)/u**2.
    at_zero = np.isinf(logarithm)  # x = 0, where the value is -1/p
    logarithm = np.where(at_zero, 0, logarithm)
    inside = logarithm * logarithm * exprel_slope(power * logarithm)
    return np.where(at_zero, y * y, inside)


def _inv_boxcox_by_power(base: Any, y: Any, power: Any) -> Any:
    # d/dp exp(log(1 + p y)/p) = base y**2 d/dt log(1 + t)/t at t = p y.
    return base * y * y * _log1p_slope(power * y)


logit = special("logit", lambda y, x: (1 / (x * (1 - x)),))
log_expit = special("log_expit", lambda y, x: (sigmoid(-x),))
boxcox = special(
    "boxcox", lambda y, x, p: (np.power(x, p - 1), _boxcox_by_power(xlogy(1, x), p, y))
)
boxcox1p = special(
    "boxcox1p", lambda y, x, p: (np.power(1 + x, p - 1), _boxcox_by_power(xlog1py(1, x), p, y))
)
inv_boxcox = special(
    "inv_boxcox", lambda x, y, p: (np.power(x, 1 - p), _inv_boxcox_by_power(x, y, p))
)
inv_boxcox1p = special(
    "inv_boxcox1p", lambda x, y, p: (np.power(1 + x, 1 - p), _inv_boxcox_by_power(1 + x, y, p))
)
exprel = special("exprel", lambda y, x: (exprel_slope(x),))
expm1 = special("expm1", lambda y, x: (np.exp(x),), name="scipy_expm1")
log1p = special("log1p", lambda y, x: (1 / (1 + x),), name="scipy_log1p")
exp2 = special("exp2", lambda y, x: (math.log(2) * y,), name="scipy_exp2")
exp10 = special("exp10", lambda y, x: (math.log(10) * y,))
cbrt = special("cbrt", lambda y, x: (1 / (3 * y * y),), name="scipy_cbrt")
cosm1 = special("cosm1", lambda y, x: (-np.sin(x),))
powm1 = special("powm1", lambda y, a, b: (b * np.power(a, b - 1), xlogy(1 + y, a)))
_DEGREE = math.pi / 180
sindg = special("sindg", lambda y, x: (_DEGREE * cosdg(x),))
cosdg: Primitive = special("cosdg", lambda y, x: (-_DEGREE * sindg(x),))
tandg = special("tandg", lambda y, x: (_DEGREE * (1 + y * y),))
cotdg = special("cotdg", lambda y, x: (-_DEGREE * (1 + y * y),))
huber = special(
    "huber",
    lambda y, delta, r: (
        np.maximum(np.abs(r) - delta, 0),
        np.maximum(-delta, np.minimum(r, delta)),
    ),
)


def _pseudo_huber_partials(y: Any, delta: Any, r: Any) -> tuple[Any, Any]:
    # With s = hypot(1, r/delta): y = delta**2 (s - 1), and s**2 - 1 = (r/delta)**2.
    q = r / np.where(delta == 0, 1, delta)
    s = np.hypot(1, q)
    return delta * (q * q / (1 + s)) * (q * q / (1 + s)) / s, np.where(delta == 0, 0, r / s)


pseudo_huber = special("pseudo_huber", _pseudo_huber_partials)
scipy_round = special("round", lambda y, x: (ZERO,), name="scipy_round")
