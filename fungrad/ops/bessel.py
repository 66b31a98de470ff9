"""``scipy.special``, third part: Bessel functions, integrals, elliptic and hypergeometric functions.

The derivative by the order of a Bessel function, the degree of a polynomial or a parameter of a
hypergeometric function is refused. Numbers in brackets are those of the DLMF.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._primitive import Primitive, Rule, unsupported
from fungrad.ops.special import by_parameter, choose, horner, special, special_tuple

_ORDER = by_parameter("the order")

# --- Bessel functions: means of the neighbouring orders (10.6.1, 10.29.1) ------------------------


def _neighbours(function: Rule, v: Any, x: Any, sign: int) -> Any:
    """``(f_{v-1} + sign f_{v+1}) / 2``."""
    return 0.5 * (function(v - 1, x) + sign * function(v + 1, x))


j0 = special("j0", lambda y, x: (-j1(x),))
j1: Primitive = special("j1", lambda y, x: (0.5 * (j0(x) - jv(2, x)),))
jv: Primitive = special("jv", lambda y, v, x: (_ORDER, _neighbours(jv, v, x, -1)))
y0 = special("y0", lambda y, x: (-y1(x),))
y1: Primitive = special("y1", lambda y, x: (0.5 * (y0(x) - yn(2, x)),))
yn: Primitive = special("yn", lambda y, n, x: (_ORDER, _neighbours(yn, n, x, -1)))
yv: Primitive = special("yv", lambda y, v, x: (_ORDER, _neighbours(yv, v, x, -1)))
hankel1: Primitive = special("hankel1", lambda y, v, x: (_ORDER, _neighbours(hankel1, v, x, -1)))
hankel2: Primitive = special("hankel2", lambda y, v, x: (_ORDER, _neighbours(hankel2, v, x, -1)))

i0 = special("i0", lambda y, x: (i1(x),))
i1: Primitive = special("i1", lambda y, x: (0.5 * (i0(x) + iv(2, x)),))
iv: Primitive = special("iv", lambda y, v, x: (_ORDER, _neighbours(iv, v, x, 1)))
i0e = special("i0e", lambda y, x: (i1e(x) - np.sign(x) * y,))
i1e: Primitive = special("i1e", lambda y, x: (0.5 * (i0e(x) + ive(2, x)) - np.sign(x) * y,))
k0 = special("k0", lambda y, x: (-k1(x),))
k1: Primitive = special("k1", lambda y, x: (-0.5 * (k0(x) + kn(2, x)),))
kn: Primitive = special("kn", lambda y, n, x: (_ORDER, -_neighbours(kn, n, x, 1)))
kv: Primitive = special("kv", lambda y, v, x: (_ORDER, -_neighbours(kv, v, x, 1)))
k0e = special("k0e", lambda y, x: (y - k1e(x),))
k1e: Primitive = special("k1e", lambda y, x: (y - 0.5 * (k0e(x) + kve(2, x)),))
kve: Primitive = special("kve", lambda y, v, x: (_ORDER, y - _neighbours(kve, v, x, 1)))


def _ive_partials(y: Any, v: Any, x: Any) -> tuple[Any, Any]:
    if np.iscomplexobj(x):
        raise unsupported(
            "the derivative of scipy.special.ive at complex numbers, which is not analytic,",
            "write: scipy.special.iv(v, z) * np.exp(-np.abs(np.real(z)))",
        )
    return _ORDER, _neighbours(ive, v, x, 1) - np.sign(x) * y


ive: Primitive = special("ive", _ive_partials)
airy = special_tuple("airy", 4, lambda y, x: (y[1], x * y[0], y[3], x * y[2]))

# --- integrals of elementary functions: DLMF 6 ---------------------------------------------------


def _expn_slope(y: Any, n: Any, x: Any) -> Any:
    # -E_{n-1} (8.19.13); SciPy has no E_{-1}, which the recurrence 8.19.12 gives without loss.
    zero = np.less_equal(n, 0)
    before_zero = (np.exp(-x) + y) / np.where(zero, x, 1)
    return -np.where(zero, before_zero, expn(np.maximum(n - 1, 0), x))


def _sine_quotient(x: Any) -> Any:
    # np.sinc knows its derivatives at 0; far out, x/π would move the zeros.
    scaled = lambda t: np.sinc(t / math.pi)
    return choose(np.abs(x) < 1, x, scaled, lambda t: np.sin(t) / t, (0, 1))


def _sinh_quotient(x: Any) -> Any:
    series = lambda t: horner(t * t, [1 / math.factorial(2 * k + 1) for k in range(9)])
    return choose(np.abs(x) < 1, x, series, lambda t: np.sinh(t) / t, (0, 1))


def _over(a: Any, x: Any) -> Any:
    # 0 at the pole: an infinity would make NaN of the zero cotangent of a result that is not used.
    return np.where(x == 0, 0, a / np.where(x == 0, 1, x))


def _spence_slope(x: Any) -> Any:
    # -log(x)/(x - 1), near 1 by its series.
    series = lambda t: horner(t - 1, [(-1) ** k / (k + 1) for k in range(18)])
    return -choose(np.abs(x - 1) < 0.1, x, series, lambda t: np.log(t) / (t - 1), (1, 2))


def _lambertw_partials(w: Any, z: Any, k: Any, tolerance: Any) -> tuple[Any, Any, Any]:
    return 1 / (np.exp(w) * (1 + w)), by_parameter("the branch"), by_parameter("the tolerance")


expi = special("expi", lambda y, x: (np.exp(x) / x,))
exp1 = special("exp1", lambda y, x: (-np.exp(-x) / x,))
expn = special("expn", lambda y, n, x: (_ORDER, _expn_slope(y, n, x)))
sici = special_tuple("sici", 2, lambda y, x: (_sine_quotient(x), _over(np.cos(x), x)))
shichi = special_tuple("shichi", 2, lambda y, x: (_sinh_quotient(x), _over(np.cosh(x), x)))
spence = special("spence", lambda y, x: (_spence_slope(x),))
lambertw = special("lambertw", _lambertw_partials, ufunc="_lambertw")

# --- elliptic integrals of the parameter m: DLMF 19.5 --------------------------------------------


def _ellipk_slope(m: Any, one_minus_m: Any) -> Any:
    # (E - (1 - m) K) / (2 m (1 - m)), which cancels near 0; its hypergeometric function does not.
    return math.pi / 8 * hyp2f1(0.5, 0.5, 2, m) / one_minus_m


ellipk = special("ellipk", lambda y, m: (_ellipk_slope(m, 1 - m),))
ellipkm1 = special("ellipkm1", lambda y, p: (-_ellipk_slope(1 - p, p),))
ellipe = special("ellipe", lambda y, m: (-math.pi / 8 * hyp2f1(0.5, 1.5, 2, m),))

# --- hypergeometric functions (13.3.15, 15.5.1, 16.3.1) ------------------------------------------

_A, _B, _C = (by_parameter(f"the parameter {name}") for name in "abc")

hyp0f1: Primitive = special("hyp0f1", lambda y, b, x: (_B, hyp0f1(b + 1, x) / b))
hyp1f1: Primitive = special("hyp1f1", lambda y, a, b, x: (_A, _B, a / b * hyp1f1(a + 1, b + 1, x)))
hyperu: Primitive = special("hyperu", lambda y, a, b, x: (_A, _B, -a * hyperu(a + 1, b + 1, x)))
hyp2f1: Primitive = special(
    "hyp2f1", lambda y, a, b, c, x: (_A, _B, _C, a * b / c * hyp2f1(a + 1, b + 1, c + 1, x))
)

# --- orthogonal polynomials (18.9.15 to 18.9.27) -------------------------------------------------

_DEGREE = by_parameter("the degree")


def _lower(polynomial: Rule, n: Any, *operands: Any) -> Any:
    """The polynomial of one degree less, 0 for those of degree 0."""
    lowest = np.equal(n, 0)
    return np.where(lowest, 0, polynomial(np.where(lowest, 1, n) - 1, *operands))


eval_chebyt = special("eval_chebyt", lambda y, n, x: (_DEGREE, n * _lower(eval_chebyu, n, x)))
eval_chebyu: Primitive = special(
    "eval_chebyu", lambda y, n, x: (_DEGREE, 2 * _lower(eval_gegenbauer, n, 2.0, x))
)
eval_gegenbauer: Primitive = special(
    "eval_gegenbauer",
    lambda y, n, a, x: (_DEGREE, _A, 2 * a * _lower(eval_gegenbauer, n, a + 1, x)),
)
eval_legendre = special(
    "eval_legendre", lambda y, n, x: (_DEGREE, _lower(eval_gegenbauer, n, 1.5, x))
)
eval_jacobi: Primitive = special(
    "eval_jacobi",
    lambda y, n, a, b, x: (
        _DEGREE, _A, _B, 0.5 * (n + a + b + 1) * _lower(eval_jacobi, n, a + 1, b + 1, x),
    ),
)  # fmt: skip
eval_genlaguerre: Primitive = special(
    "eval_genlaguerre", lambda y, n, a, x: (_DEGREE, _A, -_lower(eval_genlaguerre, n, a + 1, x))
)
eval_laguerre = special(
    "eval_laguerre", lambda y, n, x: (_DEGREE, -_lower(eval_genlaguerre, n, 1.0, x))
)
eval_hermite: Primitive = special(
    "eval_hermite", lambda y, n, x: (_DEGREE, 2 * n * _lower(eval_hermite, n, x))
)
eval_hermitenorm: Primitive = special(
    "eval_hermitenorm", lambda y, n, x: (_DEGREE, n * _lower(eval_hermitenorm, n, x))
)
