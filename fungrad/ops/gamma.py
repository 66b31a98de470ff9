"""``scipy.special``, second part: gamma and beta functions, and distributions made of them.

Derivatives by the parameters of incomplete functions are refused: they are no functions of SciPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._primitive import ZERO, Primitive, Rule, unsupported
from fungrad.ops.special import by_parameter, special, xlog1py, xlogy

# --- gamma functions: DLMF 5 ---------------------------------------------------------------------


def _turn(x: Any) -> tuple[Any, Any, Any]:
    """``(-1)**n``, ``sin(π r)`` and ``cos(π r)``, where ``x`` is the integer ``n`` plus ``r``."""
    whole = np.rint(x)
    angle = math.pi * (x - whole)
    return 1 - 2 * np.remainder(whole, 2), np.sin(angle), np.cos(angle)


def _trigamma(x: Any) -> Any:
    if np.iscomplexobj(x):
        raise unsupported(
            "the derivative of scipy.special.psi at complex numbers (or the second derivative of "
            "a gamma function)",
            "SciPy has no trigamma function for them; use real arguments",
        )
    # Reflection (5.15.6): the sum behind zeta would take one term for each unit below 0.
    left = x < 0
    _, sine, _ = _turn(np.where(left, x, -0.5))
    return np.where(left, -1, 1) * zeta(2, np.where(left, 1 - x, x)) + np.where(
        left, np.square(math.pi / sine), 0
    )


def _rgamma_slope(y: Any, x: Any) -> Any:
    if np.iscomplexobj(x):
        return -psi(x) * y
    # 1/Γ(x) = Γ(1 - x) sin(πx)/π (5.5.3), whose derivative is finite at the poles of psi.
    left = x < 0.5
    inside = np.where(left, x, 0)
    sign, sine, cosine = _turn(inside)
    reflected = sign * gamma(1 - inside) * (cosine - psi(1 - inside) * sine / math.pi)
    return np.where(left, reflected, -psi(np.where(left, 1, x)) * y)


def _is_pole(x: Any) -> Any:
    return (x <= 0) & (x == np.floor(x))


def _times_psi(y: Any, x: Any, rest: Rule) -> Any:
    """``y psi(x)`` for ``y = rest / Γ(x)``, also where ``Γ(x)`` is infinite.

    ``rest`` gets a function that puts 1 where it is not used.
    """
    pole = _is_pole(x)
    factor = rest(lambda z: np.where(pole, z, 1))
    at_pole = -factor * _rgamma_slope(0, np.where(pole, x, 0))
    return np.where(pole, at_pole, y * psi(np.where(pole, 1, x)))


def _binom_partials(y: Any, n: Any, k: Any) -> tuple[Any, Any]:
    m = n - k + 1
    above = _times_psi(y, m, lambda at: gamma(at(n + 1)) * rgamma(at(k + 1)))
    below = _times_psi(y, k + 1, lambda at: gamma(at(n + 1)) * rgamma(at(m)))
    return y * psi(n + 1) - above, above - below


def _poch_partials(y: Any, z: Any, m: Any) -> tuple[Any, Any]:
    end = z + m
    # Both Γ infinite: reflect both (5.5.4); the cotangents cancel, since m is an integer.
    both = _is_pole(z) & _is_pole(end)
    reflected = y * (psi(np.where(both, 1 - end, 1)) - psi(np.where(both, 1 - z, 1)))
    of_end = y * psi(np.where(both, 1, end))
    start = _times_psi(y, np.where(both, 1, z), lambda at: gamma(at(np.where(both, 1, end))))
    return np.where(both, reflected, of_end - start), np.where(both, math.nan, of_end)


# Hurwitz' (25.11.17); its derivative by s, and Riemann's, are no functions of SciPy.
zeta: Primitive = special(
    "zeta", lambda y, s, q: (by_parameter("s"), -s * zeta(s + 1, q)), ufunc="_zeta"
)
riemann_zeta = special(
    "zeta", lambda y, s: (by_parameter("s"),), name="riemann_zeta", ufunc="_riemann_zeta"
)
psi = special("psi", lambda y, x: (_trigamma(x),))
gammaln = special("gammaln", lambda y, x: (psi(x),))
loggamma = special("loggamma", lambda y, x: (psi(x),))
gamma = special("gamma", lambda y, x: (y * psi(x),))
rgamma = special("rgamma", lambda y, x: (_rgamma_slope(y, x),))
gammasgn = special("gammasgn", lambda y, x: (ZERO,))
beta = special("beta", lambda y, a, b: (y * (psi(a) - psi(a + b)), y * (psi(b) - psi(a + b))))
betaln = special("betaln", lambda y, a, b: (psi(a) - psi(a + b), psi(b) - psi(a + b)))
binom = special("binom", _binom_partials)
poch = special("poch", _poch_partials)

# --- incomplete gamma and beta functions: DLMF 8 -------------------------------------------------


def _gamma_density(a: Any, x: Any) -> Any:
    """``x**(a - 1) exp(-x) / Γ(a)``."""
    inside = np.where(np.isinf(x), 1, x)
    density = np.exp(xlogy(a - 1, inside) - inside - gammaln(a))
    return np.where(np.isinf(x), 0, density)


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    """``x**(a - 1) (1 - x)**(b - 1) / B(a, b)``."""
    return np.exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b))


def _student_density(df: Any, t: Any) -> Any:
    """The density of Student's distribution, which is normal for infinite ``df``."""
    normal = np.isinf(df)
    df = np.where(normal, 1, df)
    exponent = -betaln(0.5, df / 2) - (df + 1) / 2 * np.log1p(t / df * t) - 0.5 * np.log(df)
    limit = -0.5 * t * t - 0.5 * math.log(2 * math.pi)
    return np.exp(np.where(normal, limit, exponent))


_A, _B, _DF = by_parameter("a"), by_parameter("b"), by_parameter("the degrees of freedom")

gammainc = special("gammainc", lambda y, a, x: (_A, _gamma_density(a, x)))
gammaincc = special("gammaincc", lambda y, a, x: (_A, -_gamma_density(a, x)))
gammaincinv = special("gammaincinv", lambda x, a, y: (_A, 1 / _gamma_density(a, x)))
gammainccinv = special("gammainccinv", lambda x, a, y: (_A, -1 / _gamma_density(a, x)))
betainc = special("betainc", lambda y, a, b, x: (_A, _B, _beta_density(a, b, x)))
betaincc = special("betaincc", lambda y, a, b, x: (_A, _B, -_beta_density(a, b, x)))
betaincinv = special("betaincinv", lambda x, a, b, y: (_A, _B, 1 / _beta_density(a, b, x)))
betainccinv = special("betainccinv", lambda x, a, b, y: (_A, _B, -1 / _beta_density(a, b, x)))

# --- distributions: of chi-square, Student and Poisson -------------------------------------------

chdtr = special("chdtr", lambda y, v, x: (_DF, 0.5 * _gamma_density(v / 2, x / 2)))
chdtrc = special("chdtrc", lambda y, v, x: (_DF, -0.5 * _gamma_density(v / 2, x / 2)))
chdtri = special("chdtri", lambda x, v, y: (_DF, -2 / _gamma_density(v / 2, x / 2)))
stdtr = special("stdtr", lambda y, df, t: (_DF, _student_density(df, t)))
stdtrit = special("stdtrit", lambda t, df, p: (_DF, 1 / _student_density(df, t)))
# The number of events counts by its integer part.
pdtr = special("pdtr", lambda y, k, m: (ZERO, -_gamma_density(np.floor(k) + 1, m)))
pdtrc = special("pdtrc", lambda y, k, m: (ZERO, _gamma_density(np.floor(k) + 1, m)))
