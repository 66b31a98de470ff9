"""Where the functions of ``scipy.special`` are tried, and what mpmath calls them.

``f(name, function, *points)``: a function of mpmath numbers, and tuples of operands. Operands of
which SciPy knows no derivative are given in ``fixed``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from mpmath import mp

Point = tuple[float, ...]


@attrs.frozen
class Function:
    """A function of ``scipy.special``.

    Attributes:
        truth: the same in mpmath; of several results, a tuple.
        points: operands at which to compare first derivatives.
        fixed: the operands with respect to which the derivative is refused or zero.
        rtol: how exact derivatives are.
        second: how exact second derivatives are; ``None`` where they are refused.
    """

    truth: Callable[..., Any]
    points: tuple[Point, ...]
    fixed: tuple[int, ...] = ()
    rtol: float = 1e-12
    second: float | None = 1e-10


def f(truth: Callable[..., Any], *points: Any, **rest: Any) -> Function:
    """A row; a number stands for a point with one operand."""
    return Function(truth, tuple(p if isinstance(p, tuple) else (p,) for p in points), **rest)


def _erf(x):
    return -mp.erfc(x) if x > 1 else mp.erf(x)  # the constant does not matter, its digits do


def _ndtr(x):
    return -mp.erfc(x / mp.sqrt(2)) / 2 if x > 1 else mp.erfc(-x / mp.sqrt(2)) / 2


def _log_ndtr(x):
    return mp.log1p(_ndtr(x)) if x > 1 else mp.log(_ndtr(x))


def _ndtri(p):
    return mp.sqrt(2) * mp.erfinv(2 * p - 1)


def _xlogy(x, y):
    return x * mp.log(y) if x else mp.mpf(0)


def _boxcox(x, p):
    return (x**p - 1) / p if p else mp.log(x)


def _inv_boxcox(y, p):
    return mp.exp(mp.log1p(p * y) / p) if p else mp.exp(y)


def _owens_t(h, a):
    return mp.quad(lambda x: mp.exp(-h * h * (1 + x * x) / 2) / (1 + x * x), [0, a]) / (2 * mp.pi)


def _betainc(a, b, x):
    return mp.betainc(a, b, 0, x, regularized=True)


def _gammainc(a, x):
    return mp.gammainc(a, 0, x, regularized=True)


def _gammaincc(a, x):
    return mp.gammainc(a, x, mp.inf, regularized=True)


def _stdtr(df, t):
    x = df / (df + t * t)
    half = _betainc(df / 2, mp.mpf(0.5), x) / 2
    return half if t < 0 else 1 - half


def _pseudo_huber(delta, r):
    return delta**2 * (mp.sqrt(1 + (r / delta) ** 2) - 1)


def _scaled_i(v, x):
    return mp.besseli(v, x) * mp.exp(-abs(x))


def _scaled_k(v, x):
    return mp.besselk(v, x) * mp.exp(x)


def _airy(x):
    return (mp.airyai(x), mp.airyai(x, derivative=1), mp.airybi(x), mp.airybi(x, derivative=1))


def _exprel(x):
    return mp.expm1(x) / x if x else mp.mpf(1)


def _spence(x):
    return mp.polylog(2, 1 - x)


def _poch(z, m):
    return mp.rf(z, m)


def _degrees(function):
    return lambda x: function(x * mp.pi / 180)


FUNCTIONS: dict[str, Function] = {
    # --- gamma functions ---
    "gammaln": f(lambda x: mp.log(abs(mp.gamma(x))), 1e-10, 0.3, 1.0, 2.5, 1e3, 1e10, -0.5, -7.3),
    "loggamma": f(mp.loggamma, 1e-10, 0.3, 1.0, 2.5, 1e3, 1e10),
    "gamma": f(mp.gamma, 1e-10, 0.3, 1.0, 5.5, 50.0, 170.0, -0.5, -7.3, -100.25, second=1e-9),
    "rgamma": f(mp.rgamma, 0.0, 1e-10, 0.3, 1.0, 5.5, 50.0, -0.5, -1.0, -7.0, -7.3, -20.0, -100.25),
    "psi": f(mp.digamma, 1e-10, 0.3, 1.0, 5.5, 1e6, -0.5, -7.3, -1000.25, -1e8 - 0.25),
    "zeta": f(mp.zeta, (1.5, 0.2), (2.0, 3.0), (5.0, 40.0), (1.1, 2.5), fixed=(0,)),
    "beta": f(mp.beta, (0.5, 2.0), (3.0, 4.0), (1e-3, 7.0), (20.0, 0.1)),
    "betaln": f(lambda a, b: mp.log(mp.beta(a, b)), (0.5, 2.0), (3.0, 4.0), (1e-3, 7.0), (1e3, 2.0)),
    "binom": f(mp.binomial, (5.0, 2.0), (5.5, 2.25), (3.0, 5.0), (3.0, 4.0), (300.0, 2.0), (3.0, -2.0),
               (40.5, 17.0), (2.5, 8.25), second=None),
    "poch": f(_poch, (2.0, 3.0), (200.5, 1.25), (2.5, 1.25), (0.5, 7.0), (10.0, 0.5)),
    # --- incomplete ---
    "gammainc": f(_gammainc, (2.0, 3.0), (0.5, 0.01), (1.0, 2.0), (30.0, 20.0), (5.0, 80.0),
                  fixed=(0,)),
    "gammaincc": f(_gammaincc, (2.0, 3.0), (0.5, 0.01), (1.0, 2.0), (30.0, 20.0), (5.0, 80.0),
                   fixed=(0,)),
    "betainc": f(_betainc, (2.0, 3.0, 0.4), (0.5, 0.5, 1e-6), (20.0, 3.0, 0.9), (1.0, 1.0, 0.3),
                 fixed=(0, 1)),
    "betaincc": f(lambda a, b, x: 1 - _betainc(a, b, x), (2.0, 3.0, 0.4), (20.0, 3.0, 0.9),
                  fixed=(0, 1)),
    "chdtr": f(lambda v, x: _gammainc(v / 2, x / 2), (3.0, 2.0), (1.0, 0.1), fixed=(0,)),
    "chdtrc": f(lambda v, x: _gammaincc(v / 2, x / 2), (3.0, 2.0), (1.0, 0.1), fixed=(0,)),
    "stdtr": f(_stdtr, (3.0, 2.0), (1.5, -0.7), (30.0, -8.0), fixed=(0,)),
    "pdtr": f(lambda k, m: _gammaincc(k + 1, m), (3.0, 2.0), (0.0, 0.5), (10.0, 30.0), fixed=(0,)),
    "pdtrc": f(lambda k, m: _gammainc(k + 1, m), (3.0, 2.0), (0.0, 0.5), (10.0, 30.0), fixed=(0,)),
    # --- error functions ---
    "erf": f(_erf, 0.0, 1e-9, 0.5, -2.0, 5.0, 26.0),
    "erfc": f(mp.erfc, 0.0, 1e-9, 0.5, -2.0, 5.0, 26.0),
    "erfi": f(mp.erfi, 0.0, 1e-9, 0.5, -2.0, 5.0, 26.0),
    "erfcx": f(lambda x: mp.exp(x * x) * mp.erfc(x), 0.0, 0.5, -2.0, 5.0, 9.9, 10.1, 1e3, 1e8,
               -20.0, second=1e-8),
    "erfinv": f(mp.erfinv, 0.0, 1e-9, 0.5, -0.9, 0.999999),
    "erfcinv": f(lambda x: mp.erfinv(1 - x), 1.0, 0.5, 1.9, 1e-3, 1e-15, rtol=1e-11),
    "dawsn": f(lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x), 0.0, 0.5, -2.0, 9.9, 10.1,
               -10.1, 1e3, second=1e-8),
    "fresnel": f(lambda x: (mp.fresnels(x), mp.fresnelc(x)), 0.0, 0.5, -2.0, 7.3),
    "owens_t": f(_owens_t, (0.5, 0.3), (-1.0, 2.0), (0.0, 1.0), (3.0, -0.2)),
    "ndtr": f(_ndtr, 0.0, 0.5, -2.0, -30.0, 20.0),
    "log_ndtr": f(_log_ndtr, 0.0, 0.5, -2.0, -13.9, -14.1, -40.0, -1e4, 6.0, 20.0, 30.0, second=1e-8),
    "ndtri": f(_ndtri, 0.5, 0.1, 0.9, 1e-3, 1e-15, rtol=1e-11),
    "ndtri_exp": f(lambda x: _ndtri(mp.exp(x)), -0.5, -2.0, -30.0, rtol=1e-11),
    # --- entropies ---
    "entr": f(lambda x: -x * mp.log(x), 0.5, 1.0, 3.0, 1e-300),
    "rel_entr": f(lambda x, y: x * mp.log(x / y), (0.5, 0.3), (2.0, 2.0), (1e-5, 3.0)),
    "kl_div": f(lambda x, y: x * mp.log(x / y) - x + y, (0.5, 0.3), (1e-5, 3.0), (7.0, 2.0)),
    "xlogy": f(_xlogy, (0.5, 0.3), (-2.0, 7.0), (1e-5, 1e-100)),
    "xlog1py": f(lambda x, y: x * mp.log1p(y), (0.5, 0.3), (-2.0, 1e-12), (1e-5, -0.999)),
    # --- elementary ---
    "expit": f(lambda x: 1 / (1 + mp.exp(-x)), 0.0, -700.0, 30.0, 700.0),
    "logit": f(lambda x: mp.log(x / (1 - x)), 0.5, 1e-12, 1 - 1e-12, 1e-300, second=None),
    "log_expit": f(lambda x: -mp.log1p(mp.exp(-x)), 0.0, 30.0, -30.0, 700.0, -700.0),
    "boxcox": f(_boxcox, (2.0, 0.5), (0.1, 1e-9), (7.0, -2.0), (1e-3, 0.2), (3.0, 1e-3), second=1e-8),
    "boxcox1p": f(lambda x, p: _boxcox(1 + x, p), (2.0, 0.5), (0.1, 1e-9), (-0.5, -2.0), (1e-9, 1e-3),
                  second=1e-8),
    "inv_boxcox": f(_inv_boxcox, (2.0, 0.5), (0.1, 1e-9), (-0.3, -2.0), (1.0, 1e-3), (0.5, 0.21), (0.5, -1.0),
                    second=1e-8),
    "inv_boxcox1p": f(lambda y, p: _inv_boxcox(y, p) - 1, (2.0, 0.5), (0.1, 1e-9), (-0.3, -2.0),
                      second=1e-8),
    "exprel": f(_exprel, 0.0, 1e-9, 0.5, 0.999, 1.001, -30.0, 20.0, second=1e-9),
    "expm1": f(mp.expm1, 0.0, 1e-9, 0.5, -30.0),
    "log1p": f(mp.log1p, 0.0, 1e-9, 0.5, -0.999),
    "exp2": f(lambda x: mp.power(2, x), 0.0, 0.5, -30.0),
    "exp10": f(lambda x: mp.power(10, x), 0.0, 0.5, -30.0),
    "cbrt": f(lambda x: mp.sign(x) * mp.cbrt(abs(x)), 0.5, -30.0),
    "cosm1": f(lambda x: mp.cos(x) - 1, 0.0, 1e-9, 2.0),
    "powm1": f(lambda a, b: a**b - 1, (0.5, 2.0), (3.0, 1e-9), (7.0, -2.0)),
    "sindg": f(_degrees(mp.sin), 0.0, 90.0, 33.0),
    "cosdg": f(_degrees(mp.cos), 0.0, 90.0, 33.0),
    "tandg": f(_degrees(mp.tan), 0.0, 33.0, -80.0),
    "cotdg": f(_degrees(mp.cot), 33.0, -80.0),
    "huber": f(lambda d, r: r * r / 2 if abs(r) <= d else d * (abs(r) - d / 2), (1.0, 0.3),
               (1.0, -0.3), (0.5, 2.0), (0.5, -2.0)),
    "pseudo_huber": f(_pseudo_huber, (1.0, 0.3), (0.5, -2.0), (1.0, 1e-5)),
    # --- Bessel functions ---
    "j0": f(lambda x: mp.besselj(0, x), 0.0, 1e-9, 0.5, -3.0, 30.0),
    "j1": f(lambda x: mp.besselj(1, x), 0.0, 1e-9, 0.5, -3.0, 30.0),
    "jv": f(mp.besselj, (2.0, 0.5), (0.5, 3.0), (-1.5, 2.0), (10.0, 30.0), fixed=(0,)),
    "jn": f(mp.besselj, (3.0, 0.5), fixed=(0,)),
    "y0": f(lambda x: mp.bessely(0, x), 1e-9, 0.5, 30.0),
    "y1": f(lambda x: mp.bessely(1, x), 1e-9, 0.5, 30.0),
    "yn": f(mp.bessely, (0, 0.5), (1, 3.0), (7, 30.0), fixed=(0,)),
    "yv": f(mp.bessely, (2.0, 0.5), (0.5, 3.0), (-1.5, 2.0), fixed=(0,)),
    "i0": f(lambda x: mp.besseli(0, x), 0.0, 0.5, -3.0, 30.0),
    "i1": f(lambda x: mp.besseli(1, x), 0.0, 0.5, -3.0, 30.0),
    "iv": f(mp.besseli, (2.0, 0.5), (0.5, 3.0), (10.0, 30.0), fixed=(0,)),
    "i0e": f(lambda x: _scaled_i(0, x), 0.5, -3.0, 30.0, 500.0, second=1e-8),
    "i1e": f(lambda x: _scaled_i(1, x), 0.5, -3.0, 30.0, 500.0, second=1e-8),
    "ive": f(_scaled_i, (2.0, 0.5), (0.5, 3.0), (2.0, -3.0), (10.0, 30.0), fixed=(0,), second=1e-8),
    "k0": f(lambda x: mp.besselk(0, x), 1e-9, 0.5, 30.0, 600.0),
    "k1": f(lambda x: mp.besselk(1, x), 1e-9, 0.5, 30.0, 600.0),
    "kn": f(mp.besselk, (0, 0.5), (1, 3.0), (7, 30.0), fixed=(0,)),
    "kv": f(mp.besselk, (2.0, 0.5), (0.5, 3.0), (10.0, 30.0), fixed=(0,)),
    "k0e": f(lambda x: _scaled_k(0, x), 1e-9, 0.5, 30.0, 300.0, second=1e-8),
    "k1e": f(lambda x: _scaled_k(1, x), 1e-9, 0.5, 30.0, 300.0, second=1e-8),
    "kve": f(_scaled_k, (2.0, 0.5), (0.5, 3.0), (10.0, 30.0), fixed=(0,), second=1e-8),
    "airy": f(_airy, 0.0, 0.5, -3.0, 4.0),
    # --- integrals ---
    "expi": f(mp.ei, 1e-9, 0.5, -3.0, 30.0),
    "exp1": f(mp.e1, 1e-9, 0.5, 3.0, 30.0),
    "expn": f(mp.expint, (0, 0.5), (1, 0.3), (2, 3.0), (7, 30.0), (1, 1e-9), fixed=(0,)),
    "sici": f(lambda x: (mp.si(x), mp.ci(x)), 1e-5, 0.5, 1.0, 3.0, 30.0),
    "shichi": f(lambda x: (mp.shi(x), mp.chi(x)), 1e-5, 0.5, 0.99, 1.01, 30.0),
    "spence": f(_spence, 0.5, 1.0, 1 - 1e-9, 0.91, 0.89, 1.05, 3.0, 1e-9, second=1e-9),
    "lambertw": f(lambda z, k, tol: mp.lambertw(z, int(k)).real, (0.0, 0, 1e-8), (0.5, 0, 1e-8),
                  (30.0, 0, 1e-8), (-0.2, -1, 1e-8), fixed=(1, 2)),
    # --- elliptic and hypergeometric ---
    "ellipk": f(mp.ellipk, 0.0, 1e-9, 0.5, 0.999, -3.0, -100.0),
    "ellipkm1": f(lambda p: mp.ellipk(1 - p), 1.0, 0.5, 1e-9, 4.0, second=1e-9),
    "ellipe": f(mp.ellipe, 0.0, 1e-9, 0.5, 0.999, -3.0, -100.0),
    "hyp0f1": f(mp.hyp0f1, (1.5, 0.3), (2.0, -4.0), fixed=(0,)),
    "hyp1f1": f(mp.hyp1f1, (0.5, 1.5, 0.3), (2.0, 3.5, -4.0), fixed=(0, 1)),
    "hyperu": f(mp.hyperu, (0.5, 1.5, 0.3), (2.0, 3.5, 4.0), fixed=(0, 1)),
    "hyp2f1": f(mp.hyp2f1, (0.5, 1.5, 2.5, 0.3), (2.0, 3.5, 4.25, -4.0), fixed=(0, 1, 2)),
    # --- polynomials ---
    "eval_chebyt": f(mp.chebyt, (0, 0.3), (1, 0.3), (5, -0.7), (2.5, 0.1), fixed=(0,)),
    "eval_chebyu": f(mp.chebyu, (0, 0.3), (1, 0.3), (5, -0.7), (2.5, 0.1), fixed=(0,)),
    "eval_gegenbauer": f(mp.gegenbauer, (0, 1.5, 0.3), (1, 0.5, 0.3), (5, 2.0, -0.7), fixed=(0, 1)),
    "eval_legendre": f(mp.legendre, (0, 0.3), (1, 0.3), (5, -0.7), (2.5, 0.1), fixed=(0,)),
    "eval_jacobi": f(mp.jacobi, (0, 1.5, 0.5, 0.3), (5, 2.0, 0.25, -0.7), fixed=(0, 1, 2)),
    "eval_genlaguerre": f(mp.laguerre, (0, 1.5, 0.3), (5, 0.5, 2.0), fixed=(0, 1)),
    "eval_laguerre": f(lambda n, x: mp.laguerre(n, 0, x), (0, 0.3), (1, 0.3), (5, 2.0), fixed=(0,)),
    "eval_hermite": f(mp.hermite, (0, 0.3), (1, 0.3), (5, 2.0), fixed=(0,)),
    "eval_hermitenorm": f(
        lambda n, x: mp.power(2, -mp.mpf(n) / 2) * mp.hermite(n, x / mp.sqrt(2)),
        (0, 0.3), (1, 0.3), (5, 2.0), fixed=(0,),
    ),
}  # fmt: skip
