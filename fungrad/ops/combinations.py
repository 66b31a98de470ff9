"""``scipy.special``, last part: functions that are other functions of other operands.

Shifted and scaled orthogonal polynomials (DLMF 18.7), and the distributions of beta, gamma and
normal variables by other names (DLMF 8.17.5 and 8.17.24, and the manuals of Cephes and CDFLIB).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad._primitive import Rule, special_answers
from fungrad.ops import bessel as polynomials
from fungrad.ops.gamma import (
    betainc,
    betaincc,
    betaincinv,
    binom,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
)
from fungrad.ops.special import ndtri


def _answers(function: Rule) -> Rule:
    special_answers[function.__name__] = function
    return function


def _whole(k: Any) -> Any:
    """``np.floor(k)``, as weak in type promotion as ``k``."""
    return math.floor(k) if isinstance(k, (int, float)) else np.floor(k)


def _shifted(name: str) -> None:
    """``P(2 x - 1)``, on the interval from 0 to 1."""
    inner: Callable[..., Any] = getattr(polynomials, f"eval_{name}")
    special_answers[f"eval_sh_{name}"] = lambda n, x: inner(n, 2 * x - 1)


for _name in ("legendre", "chebyt", "chebyu"):
    _shifted(_name)


@_answers
def eval_sh_jacobi(n: Any, p: Any, q: Any, x: Any) -> Any:
    """``scipy.special.eval_sh_jacobi``."""
    shifted = polynomials.eval_jacobi(n, p - q, q - 1, 2 * x - 1)
    return shifted / binom(2 * n + p - 1, n)


@_answers
def eval_chebyc(n: Any, x: Any) -> Any:
    """``scipy.special.eval_chebyc``."""
    return 2 * polynomials.eval_chebyt(n, 0.5 * x)


@_answers
def eval_chebys(n: Any, x: Any) -> Any:
    """``scipy.special.eval_chebys``."""
    return polynomials.eval_chebyu(n, 0.5 * x)


@_answers
def bdtr(k: Any, n: Any, p: Any) -> Any:
    """``scipy.special.bdtr``: at most ``k`` of ``n`` trials succeed."""
    return betainc(n - _whole(k), _whole(k) + 1, 1 - p)


@_answers
def bdtrc(k: Any, n: Any, p: Any) -> Any:
    """``scipy.special.bdtrc``: more than ``k`` of ``n`` trials succeed."""
    return betainc(_whole(k) + 1, n - _whole(k), p)


@_answers
def nbdtr(k: Any, n: Any, p: Any) -> Any:
    """``scipy.special.nbdtr``: at most ``k`` failures before ``n`` successes."""
    return betainc(n, _whole(k) + 1, p)


@_answers
def nbdtrc(k: Any, n: Any, p: Any) -> Any:
    """``scipy.special.nbdtrc``: more than ``k`` failures before ``n`` successes."""
    return betaincc(n, _whole(k) + 1, p)


@_answers
def pdtri(k: Any, y: Any) -> Any:
    """``scipy.special.pdtri``: the mean for which ``pdtr`` is ``y``."""
    return gammainccinv(_whole(k) + 1, y)


@_answers
def fdtr(dfn: Any, dfd: Any, x: Any) -> Any:
    """``scipy.special.fdtr``: the distribution function of F."""
    return betainc(dfn / 2, dfd / 2, dfn * x / (dfd + dfn * x))


@_answers
def fdtrc(dfn: Any, dfd: Any, x: Any) -> Any:
    """``scipy.special.fdtrc``: its complement."""
    return betainc(dfd / 2, dfn / 2, dfd / (dfd + dfn * x))


@_answers
def fdtri(dfn: Any, dfd: Any, p: Any) -> Any:
    """``scipy.special.fdtri``: its inverse."""
    y = betaincinv(dfn / 2, dfd / 2, p)
    return dfd * y / (dfn * (1 - y))


@_answers
def gdtr(a: Any, b: Any, x: Any) -> Any:
    """``scipy.special.gdtr``: the distribution function of a gamma variable."""
    return gammainc(b, a * x)


@_answers
def gdtrc(a: Any, b: Any, x: Any) -> Any:
    """``scipy.special.gdtrc``: its complement."""
    return gammaincc(b, a * x)


@_answers
def gdtrix(a: Any, b: Any, p: Any) -> Any:
    """``scipy.special.gdtrix``: its inverse by ``x``."""
    return gammaincinv(b, p) / a


@_answers
def gdtria(p: Any, b: Any, x: Any) -> Any:
    """``scipy.special.gdtria``: its inverse by ``a``."""
    return gammaincinv(b, p) / x


@_answers
def nrdtrimn(p: Any, std: Any, x: Any) -> Any:
    """``scipy.special.nrdtrimn``: the mean of a normal variable that is below ``x`` with ``p``."""
    return x - std * ndtri(p)


@_answers
def nrdtrisd(mn: Any, p: Any, x: Any) -> Any:
    """``scipy.special.nrdtrisd``: its standard deviation."""
    return (x - mn) / ndtri(p)


@_answers
def radian(d: Any, m: Any, s: Any) -> Any:
    """``scipy.special.radian``: degrees, minutes and seconds."""
    return np.deg2rad(d + m / 60 + s / 3600)
