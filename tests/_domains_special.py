"""Rows of the functions of ``scipy.special``: SciPy itself is the oracle.

Their slopes are compared with mpmath, at difficult points too, in ``tests/ops/test_special.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special as sc

from fungrad.ops.bessel import lambertw
from fungrad.ops.gamma import riemann_zeta, zeta
from fungrad.ops.special import hazard
from tests._domains import (
    REAL,
    Draw,
    Function,
    Row,
    Shape,
    away_from_zero,
    integers,
    labelled,
    within,
)

SHAPES: dict[int, tuple[tuple[Shape, ...], ...]] = {
    1: (((),), ((2, 3),), ((0,),)),
    2: (((), ()), ((2, 1), (3,))),
    3: (((), (), ()), ((2, 1), (3,), ())),
    4: (((), (), (), ()), ((2, 1), (3,), (), (3,))),
}
ORDER = integers(0, 4)
FREE, POSITIVE, UNIT = away_from_zero(0.2, 2.0), within(0.4, 2.5), within(0.15, 0.85)


def row(function: Function, *draws: Draw, fixed: tuple[int, ...] = (), **rest: Any) -> Row:
    """``function`` on a few shapes; ``fixed`` are the operands without a derivative."""
    varies = [i not in fixed for i in range(len(draws))]
    cases = [labelled(function, shapes, draws, varies) for shapes in SHAPES[len(draws)]]
    settings = {"dtypes": ("bool", "int32", *REAL), "gradient_dtypes": REAL, "rounding": 16.0}
    return Row(tuple(cases), **{**settings, **rest})


def several(function: Function, count: int, draw: Draw) -> Row:
    """A function of one operand with several results, of which a sum shows all."""
    total = lambda x: sum(result * (k + 1) for k, result in enumerate(function(x)))
    return row(total, draw)


SPECIAL: dict[str, Row] = {
    # --- gamma functions ---
    "psi": row(sc.psi, POSITIVE),
    "gammaln": row(sc.gammaln, POSITIVE),
    "loggamma": row(sc.loggamma, POSITIVE),
    "gamma": row(sc.gamma, POSITIVE),
    "rgamma": row(sc.rgamma, POSITIVE),
    "gammasgn": row(sc.gammasgn, POSITIVE),
    "zeta": row(lambda s, q: zeta(s, q), within(1.5, 4), POSITIVE, fixed=(0,), oracle=sc.zeta),
    "riemann_zeta": row(lambda s: riemann_zeta(s), within(1.5, 4), fixed=(0,), oracle=sc.zeta),
    "beta": row(sc.beta, POSITIVE, POSITIVE),
    "betaln": row(sc.betaln, POSITIVE, POSITIVE),
    "binom": row(sc.binom, within(3.1, 5), within(0.5, 1.5)),
    "poch": row(sc.poch, POSITIVE, POSITIVE),
    # --- incomplete ---
    **{
        name: row(getattr(sc, name), POSITIVE, draw, fixed=(0,))
        for name, draw in (
            ("gammainc", POSITIVE), ("gammaincc", POSITIVE), ("gammaincinv", UNIT),
            ("gammainccinv", UNIT), ("chdtr", POSITIVE), ("chdtrc", POSITIVE), ("chdtri", UNIT),
            ("stdtr", FREE), ("stdtrit", UNIT), ("pdtr", POSITIVE), ("pdtrc", POSITIVE),
        )
    },
    **{
        name: row(getattr(sc, name), POSITIVE, POSITIVE, UNIT, fixed=(0, 1))
        for name in ("betainc", "betaincc", "betaincinv", "betainccinv")
    },
    # --- error functions ---
    **{name: row(getattr(sc, name), FREE) for name in ("erf", "erfc", "erfi", "erfcx", "dawsn")},
    "erfinv": row(sc.erfinv, within(-0.8, 0.8)),
    "erfcinv": row(sc.erfcinv, UNIT),
    "wofz": row(sc.wofz, FREE, dtypes=("complex64", "complex128"),
                gradient_dtypes=("complex64", "complex128")),
    "fresnel": several(sc.fresnel, 2, FREE),
    "owens_t": row(sc.owens_t, FREE, FREE),
    "normal_hazard": row(lambda x: hazard(x), FREE, exact=False,
                         oracle=lambda x: np.sqrt(2 / np.pi) / sc.erfcx(-x / np.sqrt(2)),
                         dtypes=("float64",)),
    "ndtr": row(sc.ndtr, FREE),
    "log_ndtr": row(sc.log_ndtr, FREE),
    "ndtri": row(sc.ndtri, UNIT),
    "ndtri_exp": row(sc.ndtri_exp, within(-2.5, -0.4)),
    # --- entropies ---
    "entr": row(sc.entr, POSITIVE),
    **{
        name: row(getattr(sc, name), POSITIVE, POSITIVE)
        for name in ("rel_entr", "kl_div", "xlogy", "xlog1py")
    },
    # --- elementary ---
    "logit": row(sc.logit, UNIT),
    "log_expit": row(sc.log_expit, FREE),
    "boxcox": row(sc.boxcox, POSITIVE, FREE),
    "boxcox1p": row(sc.boxcox1p, POSITIVE, FREE),
    "inv_boxcox": row(sc.inv_boxcox, POSITIVE, POSITIVE),
    "inv_boxcox1p": row(sc.inv_boxcox1p, POSITIVE, POSITIVE),
    "powm1": row(sc.powm1, POSITIVE, FREE),
    "huber": row(sc.huber, within(0.9, 1.1), away_from_zero(0.2, 0.8)),
    "pseudo_huber": row(sc.pseudo_huber, POSITIVE, FREE),
    **{name: row(getattr(sc, name), FREE) for name in ("exprel", "exp10", "cosm1")},
    **{name: row(getattr(sc, name), POSITIVE) for name in ("sindg", "cosdg", "tandg", "cotdg")},
    **{f"scipy_{name}": row(getattr(sc, name), POSITIVE)
       for name in ("expm1", "log1p", "exp2", "cbrt")},
    "scipy_round": row(sc.round, within(0.6, 1.4)),
    # --- Bessel functions ---
    **{
        name: row(getattr(sc, name), POSITIVE)
        for name in ("j0", "j1", "y0", "y1", "i0", "i1", "i0e", "i1e", "k0", "k1", "k0e", "k1e")
    },
    **{
        name: row(getattr(sc, name), ORDER, POSITIVE, fixed=(0,))
        for name in ("jv", "yv", "yn", "iv", "ive", "kn", "kv", "kve")
    },
    **{
        name: row(getattr(sc, name), ORDER, POSITIVE, fixed=(0,), dtypes=("complex128",),
                  gradient_dtypes=("complex128",))
        for name in ("hankel1", "hankel2")
    },
    "airy": several(sc.airy, 4, FREE),
    # --- integrals ---
    "expi": row(sc.expi, POSITIVE),
    "exp1": row(sc.exp1, POSITIVE),
    "expn": row(sc.expn, ORDER, POSITIVE, fixed=(0,)),
    "sici": several(sc.sici, 2, POSITIVE),
    "shichi": several(sc.shichi, 2, POSITIVE),
    "spence": row(sc.spence, POSITIVE),
    "lambertw": row(lambda z: np.real(lambertw(z, 0, 1e-8)), POSITIVE, dtypes=("float64",),
                    gradient_dtypes=("float64",), oracle=lambda z: np.real(sc.lambertw(z))),
    # --- elliptic and hypergeometric functions ---
    "ellipk": row(sc.ellipk, UNIT),
    "ellipkm1": row(sc.ellipkm1, UNIT),
    "ellipe": row(sc.ellipe, UNIT),
    "hyp0f1": row(sc.hyp0f1, POSITIVE, FREE, fixed=(0,)),
    "hyp1f1": row(sc.hyp1f1, POSITIVE, POSITIVE, FREE, fixed=(0, 1)),
    "hyperu": row(sc.hyperu, POSITIVE, POSITIVE, POSITIVE, fixed=(0, 1)),
    "hyp2f1": row(sc.hyp2f1, POSITIVE, POSITIVE, POSITIVE, within(-0.8, 0.8), fixed=(0, 1, 2)),
    # --- polynomials ---
    **{
        f"eval_{name}": row(getattr(sc, f"eval_{name}"), ORDER, FREE, fixed=(0,))
        for name in ("chebyt", "chebyu", "legendre", "laguerre", "hermite", "hermitenorm")
    },
    "eval_gegenbauer": row(sc.eval_gegenbauer, ORDER, POSITIVE, FREE, fixed=(0, 1)),
    "eval_genlaguerre": row(sc.eval_genlaguerre, ORDER, POSITIVE, FREE, fixed=(0, 1)),
    "eval_jacobi": row(sc.eval_jacobi, ORDER, POSITIVE, POSITIVE, FREE, fixed=(0, 1, 2)),
}  # fmt: skip
