"""``scipy.special`` of traced values, against SciPy for values and mpmath for derivatives."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import cache
from itertools import product

import numpy as np
import pytest
import scipy.special as sc
from mpmath import mp
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad._primitive import special_answers
from fungrad.errors import FungradError, TracerConversionError, UnsupportedFunctionError
from fungrad.ops.special import horner
from tests._checks import same_bits
from tests.ops._special_points import FUNCTIONS, Function

POINTS = [
    pytest.param(name, row, point, id=f"{name}{point}")
    for name, row in FUNCTIONS.items()
    for point in row.points
]
SPELLINGS = {"zeta": "_zeta", "lambertw": "_lambertw", "jn": "jv"}


def answer(name):
    """What answers the ufunc behind a function: a few ufuncs are private in SciPy."""
    return special_answers[SPELLINGS.get(name, name)]


def parts(result):
    return result if isinstance(result, tuple) else (result,)


def closed(name, row, point):
    """The function of the operands to differentiate, and where; its results as a tuple."""
    free = [i for i in range(len(point)) if i not in row.fixed]

    def of_free(*operands):
        complete = list(point)
        for i, operand in zip(free, operands, strict=True):
            complete[i] = operand
        return parts(answer(name)(*complete))

    return of_free, free, tuple(float(point[i]) for i in free)


@cache
def slope(row: Function, point, direction, order):
    """A directional derivative of every result, by differences with far more digits than needed."""
    with mp.workdps(90):
        at = [mp.mpf(x) if isinstance(x, float) else x for x in point]
        step = min([abs(x) for x, d in zip(point, direction, strict=True) if d and x] or [1.0])
        h = mp.mpf(10) ** -25 * mp.mpf(step)

        def along(t):
            moved = [x + t * d if d else x for x, d in zip(at, direction, strict=True)]
            return parts(row.truth(*moved))

        ahead, behind = along(h), along(-h)
        if order == 1:
            return [
                complex(mp.re((a - b) / (2 * h))).real for a, b in zip(ahead, behind, strict=True)
            ]
        triples = zip(ahead, along(mp.mpf(0)), behind, strict=True)
        return [complex(mp.re((a - 2 * m + b) / h**2)).real for a, m, b in triples]


@pytest.mark.parametrize(("name", "row", "point"), POINTS)
def test_derivatives(name, row, point):
    f, free, x = closed(name, row, point)
    for place, i in enumerate(free):
        unit = tuple(float(j == i) for j in range(len(point)))
        tangents = tuple(float(j == place) for j in range(len(free)))
        want = slope(row, point, unit, 1)
        values, pushed = fg.jvp(f, x, tangents)
        assert_allclose(np.real(pushed), want, row.rtol, 1e-15 * np.max(np.abs(want)) + 1e-300)
        for result, value in enumerate(values):
            pulled = fg.vjp(lambda *x, r=result: f(*x)[r], *x)[1](np.ones_like(value))
            assert_allclose(pulled[place], np.real(pushed[result]), 1e-13)
    if row.second is not None:
        weights = (1.0, 0.7, -0.4)[: len(free)]
        direction = [0.0] * len(point)
        for i, weight in zip(free, weights, strict=True):
            direction[i] = weight
        pushed = fg.jvp(lambda *x: fg.jvp(f, x, weights)[1], x, weights)[1]
        want = slope(row, point, tuple(direction), 2)
        first = max(map(abs, slope(row, point, tuple(direction), 1)))
        assert_allclose(np.real(pushed), want, row.second, 1e-14 * first + 1e-300)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_scipys(name):
    """Bits, dtype and broadcasting; through the user's spelling; jitted, mapped and stacked."""
    row, spelled = FUNCTIONS[name], getattr(sc, name)
    if name in ("zeta", "lambertw"):  # Python functions of SciPy around private ufuncs
        spelled = answer(name)
    columns = [np.array(column) for column in zip(*row.points, strict=True)]
    jitted = fg.jit(lambda *x: spelled(*x))
    for dtype in (np.float64, np.float32):
        operands = [c.astype(dtype) if c.dtype.kind == "f" else c for c in columns]
        want = parts(getattr(sc, name)(*operands))
        mapped = parts(fg.vmap(lambda *x: spelled(*x))(*operands))
        for results in (parts(jitted(*operands)), parts(jitted(*operands)), mapped):
            for a, b in zip(results, want, strict=True):
                same_bits(a, b, f"{name}, {dtype.__name__}")
    table = [operands[0][:, None], *operands[1:]]
    for a, b in zip(parts(jitted(*table)), parts(getattr(sc, name)(*table)), strict=True):
        same_bits(a, b, f"{name}, broadcast")


@pytest.mark.parametrize("name", [name for name, row in FUNCTIONS.items() if not row.fixed])
def test_gradients_keep_float32(name):
    point = [np.float32(x) for x in FUNCTIONS[name].points[0]]
    f = lambda *x: parts(answer(name)(*x))[0]
    value, pull = fg.vjp(f, *point)
    assert {g.dtype for g in pull(np.ones_like(value))} == {np.dtype(np.float32)}


# --- complex numbers -----------------------------------------------------------------------------

Z = (0.3 + 0.4j, -1.2 + 0.7j, 2.5 - 1.5j)
ANALYTIC = {
    "erf": (sc.erf, mp.erf),
    "erfc": (sc.erfc, mp.erfc),
    "erfi": (sc.erfi, mp.erfi),
    "erfcx": (sc.erfcx, lambda z: mp.exp(z * z) * mp.erfc(z)),
    "dawsn": (sc.dawsn, lambda z: mp.sqrt(mp.pi) / 2 * mp.exp(-z * z) * mp.erfi(z)),
    "wofz": (sc.wofz, lambda z: mp.exp(-z * z) * mp.erfc(-1j * z)),
    "ndtr": (sc.ndtr, lambda z: mp.erfc(-z / mp.sqrt(2)) / 2),
    "log_ndtr": (sc.log_ndtr, lambda z: mp.log(mp.erfc(-z / mp.sqrt(2)) / 2)),
    "log1p": (sc.log1p, mp.log1p),
    "expm1": (sc.expm1, mp.expm1),
    "gamma": (sc.gamma, mp.gamma),
    "rgamma": (sc.rgamma, mp.rgamma),
    "loggamma": (sc.loggamma, mp.loggamma),
    "expi": (sc.expi, mp.ei),
    "exp1": (sc.exp1, mp.e1),
    "spence": (sc.spence, lambda z: mp.polylog(2, 1 - z)),
    "jv": (lambda z: sc.jv(1.5, z), lambda z: mp.besselj(1.5, z)),
    "yv": (lambda z: sc.yv(1.5, z), lambda z: mp.bessely(1.5, z)),
    "iv": (lambda z: sc.iv(1.5, z), lambda z: mp.besseli(1.5, z)),
    "kv": (lambda z: sc.kv(1.5, z), lambda z: mp.besselk(1.5, z)),
    "kve": (lambda z: sc.kve(1.5, z), lambda z: mp.exp(z) * mp.besselk(1.5, z)),
    "hankel1": (lambda z: sc.hankel1(1.5, z), lambda z: mp.hankel1(1.5, z)),
    "hankel2": (lambda z: sc.hankel2(1.5, z), lambda z: mp.hankel2(1.5, z)),
    "airy": (lambda z: sc.airy(z)[2], mp.airybi),
    "fresnel": (lambda z: sc.fresnel(z)[0], mp.fresnels),
    "sici": (lambda z: sc.sici(z)[0], mp.si),
    "shichi": (lambda z: sc.shichi(z)[1], mp.chi),
    "hyp0f1": (lambda z: sc.hyp0f1(1.5, z), lambda z: mp.hyp0f1(1.5, z)),
    "hyp1f1": (lambda z: sc.hyp1f1(0.5, 1.5, z), lambda z: mp.hyp1f1(0.5, 1.5, z)),
    "eval_chebyt": (lambda z: sc.eval_chebyt(3, z), lambda z: mp.chebyt(3, z)),
    "xlogy": (lambda z: sc.xlogy(z, 2 + 1j), lambda z: z * mp.log(2 + 1j)),
    "xlogy, second": (lambda z: sc.xlogy(2 + 1j, z), lambda z: (2 + 1j) * mp.log(z)),
    "xlog1py": (lambda z: sc.xlog1py(2 + 1j, z), lambda z: (2 + 1j) * mp.log1p(z)),
}


@pytest.mark.parametrize("name", ANALYTIC)
def test_complex(name):
    """Cotangents pair as ``Re(ct y)``: that of an analytic function is multiplied by its slope."""
    function, truth = ANALYTIC[name]
    for z in Z:
        with mp.workdps(50):
            want = complex(mp.diff(truth, mp.mpc(z)))
        assert_allclose(fg.vjp(function, z)[1](1.0 + 0j)[0], want, 1e-10)
        assert_allclose(fg.jvp(function, (z,), (1j,))[1], 1j * want, 1e-10)


def test_complex_far_out():
    z = 41 + 40j
    assert_allclose(
        fg.vjp(lambda z: sc.erf(z), z)[1](1.0 + 0j)[0], 2 / np.sqrt(np.pi) * np.exp(-z * z)
    )


def test_complex_where_there_is_no_function():
    assert_allclose(fg.jit(lambda z: sc.psi(z))(1j), sc.psi(1j))
    with pytest.raises(UnsupportedFunctionError, match="derivative of scipy.special.psi.*trigamma"):
        fg.vjp(lambda z: sc.psi(z), 1j)[1](1j)
    with pytest.raises(UnsupportedFunctionError, match=r"not analytic.*scipy\.special\.iv\(v, z\)"):
        fg.vjp(lambda z: sc.ive(1.0, z), 1j)[1](1j)
    real = fg.grad(lambda z: np.real(sc.iv(1.0, z) * np.exp(-np.abs(np.real(z)))))(1.0)
    assert_allclose(real, fg.grad(lambda x: sc.ive(1.0, x))(1.0))


# --- where formulas break ------------------------------------------------------------------------


QUIET = {"all": "raise", "under": "ignore"}
EDGES = [
    (lambda x: sc.xlogy(0.0, x), 0.0, 0.0),
    (lambda x: sc.xlogy(x, 2.0), 0.0, math.log(2)),
    (lambda x: sc.xlogy(0.0, x), -1.0, 0.0),
    (lambda x: sc.xlog1py(0.0, x), -1.0, 0.0),
    (lambda x: sc.rel_entr(0.0, x), 0.0, 0.0),
    (lambda x: sc.rel_entr(0.0, x), 2.0, 0.0),
    (lambda x: sc.kl_div(0.0, x), 0.0, 1.0),
    (lambda x: sc.kl_div(x, x), 0.0, 0.0 + 1.0),
    (lambda x: sc.rel_entr(x, 3.0), 0.0, -math.inf),
    (lambda x: sc.entr(x), 0.0, math.inf),
    (lambda x: sc.entr(x), -1.0, 0.0),
    (lambda x: sc.gammainc(1.0, x), 0.0, 1.0),
    (lambda x: sc.gammainc(2.0, x), 0.0, 0.0),
    (lambda x: sc.gammainc(2.0, x), math.inf, 0.0),
    (lambda x: sc.betainc(1.0, 3.0, x), 0.0, 3.0),
    (lambda x: sc.betainc(3.0, 1.0, x), 1.0, 3.0),
    (lambda x: sc.stdtr(math.inf, x), 1.5, math.exp(-1.125) / math.sqrt(2 * math.pi)),
    (lambda x: sc.log_ndtr(x), -1e200, 1e200),
    (lambda x: sc.log_ndtr(x), 1e10, 0.0),
    (lambda x: sc.ndtr(x), -1e10, 0.0),
    (lambda x: sc.erf(x), 1e300, 0.0),
    (lambda x: sc.erfcx(x), math.inf, 0.0),
    (lambda x: sc.erfcx(x), 1e60, -1 / math.sqrt(math.pi) / 1e120),
    (lambda x: sc.dawsn(x), -math.inf, 0.0),
    (lambda x: sc.log_expit(x), -1e300, 1.0),
    (lambda x: sc.log_expit(x), 1e300, 0.0),
    (lambda x: sc.expit(x), -1e300, 0.0),
    (lambda x: sc.boxcox(0.0, x), 0.5, 4.0),
    (lambda x: sc.boxcox(x, 0.0), 2.0, 0.5),
    (lambda x: sc.pseudo_huber(0.0, x), 1.0, 0.0),
    (lambda x: sc.pseudo_huber(x, 1.0), 0.0, 0.0),
    (lambda x: sc.huber(2.0, x), 2.0, 2.0),
    (lambda x: sc.poch(x, 2), -5.0, -9.0),
    (lambda x: sc.poch(x, 3), -2.0, 2.0),
    (lambda x: sc.poch(x, 2.5), 0.0, math.gamma(2.5)),
    (lambda x: sc.rgamma(x), -3.0, -6.0),
    (lambda x: sc.eval_hermite(0, x), 1.0, 0.0),
    (lambda x: sc.gammasgn(x), 0.5, 0.0),
    (lambda x: sc.sici(x)[0], -1775.0, math.sin(1775.0) / 1775.0),
    (lambda x: sc.sici(x)[1], 0.0, 0.0),
    (lambda x: sc.shichi(x)[0], -3.0, math.sinh(3.0) / 3.0),
    (lambda x: sc.shichi(x)[1], 0.0, 0.0),
    (lambda x: sc.round(x), 0.7, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("f", "x", "want"), EDGES)
def test_edges(f, x, want):
    """Finite where a side is finite, and quiet."""
    for derivative in (fg.grad(f), fg.jit(fg.grad(f))):
        with np.errstate(**QUIET):
            assert_allclose(derivative(x), want, 1e-14)


SECOND_AT_EDGES = [
    (lambda x: sc.log_ndtr(x), -1e8, -1.0),
    (lambda x: sc.log_ndtr(x), -1e200, -1.0),
    (lambda x: sc.log_ndtr(x), 50.0, 0.0),
    (lambda x: sc.erfcx(x), 1e8, 2 / math.sqrt(math.pi) / 1e24),
    (lambda x: sc.spence(x), 1.0, 0.5),
    (lambda x: sc.exprel(x), 0.0, 1 / 3),
    (lambda x: sc.inv_boxcox(1.0, x), 0.0, math.e * (0.25 + 2 / 3)),
    (lambda x: sc.boxcox(math.e, x), 0.0, 1 / 3),
    (lambda x: sc.ellipk(x), 0.0, 9 * math.pi / 64),
    (lambda x: sc.j1(x), 0.0, 0.0),
    (lambda n: sc.binom(n, 2.0), 300.0, 1.0),
    (lambda k: sc.binom(300.0, k), 2.0, 1005167.379895052489),
    (lambda x: sc.rgamma(x), 0.0, 2 * np.euler_gamma),
    (lambda x: sc.sici(x)[0], 0.0, 0.0),
    (lambda x: sc.shichi(x)[0], 0.0, 0.0),
]


@pytest.mark.parametrize(("f", "x", "want"), SECOND_AT_EDGES)
def test_second_derivatives_at_edges(f, x, want):
    with np.errstate(**QUIET):
        assert_allclose(fg.grad(fg.grad(f))(x), want, 1e-12, 1e-15)


def test_higher_derivatives_at_zero():
    """A guard against overflow must leave the function analytic."""
    third = fg.grad(fg.grad(fg.grad(lambda x: sc.erf(x))))
    assert_allclose(third(0.0), -4 / math.sqrt(math.pi), 1e-14)
    fourth = fg.grad(third)
    for x in (0.0, 0.7):
        want = (24 * x - 16 * x**3) * math.exp(-x * x) / math.sqrt(math.pi)
        assert_allclose(fourth(x), want, 1e-13, 1e-15)
    assert_allclose(fg.grad(fg.grad(fg.grad(lambda x: sc.spence(x))))(1.0), -2 / 3, 1e-13)


def test_horner():
    assert horner(2.0, (1.0, 3.0, 5.0, 7.0)) == 1 + 3 * 2 + 5 * 4 + 7 * 8


def test_mixed_derivatives_at_zero():
    """A guard of the value must not become the derivative."""
    for f in (sc.xlogy, sc.kl_div, sc.rel_entr):
        mixed = fg.grad(fg.grad(lambda x, y, f=f: f(x, y), 1), 0)(0.0, 2.0)
        assert_allclose(mixed, 0.5 if f is sc.xlogy else -0.5)


# --- what is refused -----------------------------------------------------------------------------

BY_PARAMETER = [(name, i) for name, row in FUNCTIONS.items() for i in row.fixed]


@pytest.mark.parametrize(("name", "i"), BY_PARAMETER)
def test_parameters_are_refused_or_flat(name, i):
    """Never a silent zero, unless the function is piecewise constant."""
    point = FUNCTIONS[name].points[-1]
    f = lambda x: np.real(answer(name)(*[x if j == i else v for j, v in enumerate(point)]))
    if name in ("pdtr", "pdtrc"):
        assert fg.grad(f)(float(point[i])) == 0.0
    elif not (name in ("yn", "kn", "expn", "lambertw") or name.startswith("eval_herm")):
        with pytest.raises(FungradError, match="jv" if name == "jn" else name):
            fg.grad(f)(float(point[i]))


def test_orders_may_be_arrays_and_traced():
    orders, x = np.array([0, 1, 2]), np.array([[0.5], [2.0]])
    want = 0.5 * (sc.jv(orders - 1, x) - sc.jv(orders + 1, x))
    for f in (lambda x: np.sum(sc.jv(orders, x)), lambda x: np.sum(sc.jn(orders, x))):
        assert_allclose(fg.grad(f)(x), np.sum(want, axis=1, keepdims=True), 1e-14)
    slopes = fg.vmap(fg.grad(lambda x, n: sc.jv(n, x)), (None, 0))(2.0, orders)
    assert_allclose(slopes, want[1], 1e-14)


def test_ufuncs_without_a_rule_are_refused_by_name():
    for f in (sc.airye, sc.voigt_profile, sc.bdtri, sc.struve):
        with pytest.raises(UnsupportedFunctionError, match=f"special.*{f.__name__}"):
            fg.jit(f)(*[0.5] * f.nin)


def test_python_functions_of_scipy_name_the_line():
    for f in (sc.softmax, sc.logsumexp, lambda x: sc.polygamma(1, x), lambda x: sc.comb(x, 2)):
        with pytest.raises(TracerConversionError, match="a plain array.*: write"):
            fg.grad(lambda x, f=f: np.sum(f(x)))(np.ones(2))


def test_scipy_is_not_imported():
    code = "import sys, fungrad as fg; fg.grad(lambda x: x * x)(1.0); print('scipy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]


def test_distributions_compose():
    """Gradients of log-likelihoods, as users write them."""
    x = np.array([0.3, 1.2, 2.5])

    def gamma_loglik(a, b):
        return np.sum(sc.xlogy(a - 1, x) - b * x + a * np.log(b) - sc.gammaln(a))

    a, b = 2.0, 1.25
    want = (np.sum(np.log(x)) + 3 * (np.log(b) - sc.psi(a)), np.sum(a / b - x))
    assert_allclose(fg.grad(gamma_loglik, (0, 1))(a, b), want, 1e-12)
    assert_allclose(fg.hessian(gamma_loglik)(a, b), -3 * sc.polygamma(1, a), 1e-12)
    p = np.array([0.5, 0.5, 0.0])
    q = np.array([0.2, 0.8, 0.0])
    divergence = lambda q: np.sum(sc.rel_entr(p, q))
    assert_allclose(fg.grad(divergence)(q), [-2.5, -0.625, 0.0])


@pytest.mark.parametrize(("v", "x"), list(product((0.0, 1.5), (0.7, 30.0))))
def test_bessel_equation(v, x):
    """``x² y'' + x y' + (x² - v²) y = 0``."""
    for f, sign in ((sc.jv, 1), (sc.yv, 1), (sc.iv, -1), (sc.kv, -1)):
        y = lambda x, f=f: f(v, x)
        first, second = fg.grad(y)(x), fg.grad(fg.grad(y))(x)
        terms = (x * x * second, x * first, (sign * x * x - v * v) * y(x))
        assert abs(sum(terms)) <= 1e-12 * max(map(abs, terms))


def test_a_derivative_without_a_function_says_what_to_write():
    with pytest.raises(UnsupportedFunctionError, match=r"write: fg\.stop_gradient"):
        fg.grad(lambda a: sc.gammainc(a, 1.0))(2.0)
    with pytest.raises(UnsupportedFunctionError, match="its derivative by s is no function"):
        fg.grad(lambda s: sc.zeta(s))(2.0)
    fixed = lambda a: sc.gammainc(fg.stop_gradient(a), a)
    assert_allclose(fg.grad(fixed)(2.0), 2 * np.exp(-2.0), rtol=1e-14)
