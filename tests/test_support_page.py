"""The page of what is supported: current, complete, and true where it says that something is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import fungrad as fg
from fungrad._refusals import REFUSALS
from fungrad.errors import UnsupportedFunctionError
from tests import support_page
from tests._probes import REFUSED


@pytest.fixture(scope="module")
def page():
    """The page as it is with the versions that it was made with; others have other names."""
    if support_page.versions() not in support_page.PATH.read_text(encoding="utf-8"):
        pytest.skip(f"the page was made with other versions than {support_page.versions()}")
    return support_page.collect()


def test_every_public_callable_is_classified(page):
    assert not page.unclassified, "write a probe, or a reason in fungrad/_refusals.py"


def test_the_page_is_current(page):
    committed = support_page.PATH.read_text(encoding="utf-8")
    assert committed == support_page.text(page), "run: python -m tests.support_page"


@pytest.mark.parametrize("name", REFUSALS)
def test_each_refusal_is_one(name):
    """A refused ufunc is refused by its reason; other functions have a probe that is."""
    ufunc = getattr(special, name.removeprefix("scipy.special."), None)
    if not isinstance(ufunc, np.ufunc):
        assert name in REFUSED.values() or name.split(".")[1] in ("power", "float_power", "arctan2")
        return
    with pytest.raises(UnsupportedFunctionError) as caught:
        fg.trace(lambda x: ufunc(*[x] * ufunc.nin), np.array([1.3]))
    assert name in str(caught.value)
    assert REFUSALS[name] in str(caught.value)


def test_a_page_without_probes_would_fail(monkeypatch):
    monkeypatch.setattr(support_page, "ALL", {"np.sin(x)": "one"})
    missing = support_page.collect().unclassified
    assert "np.cos" in missing
    assert "np.sin" not in missing


def test_the_first_operand_decides_no_status():
    assert support_page.status_of("np.sum(x)") == support_page.DERIVATIVE
    assert support_page.status_of("np.argmax(x)") == support_page.ZERO
    assert support_page.status_of("np.shape(x)") == support_page.ZERO
    assert support_page.status_of("np.zeros(3)") == support_page.CONSTANT


def _factorial(n, k, r):
    gamma = special.gamma
    return k ** ((n - r) / k) * gamma(n / k + 1) / gamma(r / k + 1) * r


X, Q, T = 1.3, 2.7, np.linspace(-1, 1, 7)
_Z = (X + 0.4j) / (0.7 * np.sqrt(2))
_ROOT = np.sqrt(np.pi / (2 * Q))
_KELVIN_J = special.jv(0, X * np.exp(0.75j * np.pi))
_KELVIN_K = special.kv(0, X * np.exp(0.25j * np.pi))

ALTERNATIVES = {
    "kaiser": (np.kaiser(7, 3.0), np.i0(3.0 * np.sqrt(1 - T * T)) / np.i0(3.0)),
    "factorial": (special.factorial(3.3), special.gamma(4.3)),
    "factorial2": (special.factorial2([5, 6]), [_factorial(5, 2, 1), _factorial(6, 2, 2)]),
    "factorialk": (special.factorialk(8, 3, exact=True), _factorial(8, 3, 2)),
    "comb": (special.comb(5.5, 2), special.binom(5.5, 2)),
    "perm": (special.perm(5.5, 2), special.poch(5.5 - 2 + 1, 2)),
    "polygamma": (special.polygamma(2, Q), (-1) ** 3 * special.gamma(3) * special.zeta(3, Q)),
    "multigammaln": (
        special.multigammaln(4.3, 3),
        3 * 2 / 4 * np.log(np.pi) + np.sum(special.gammaln(4.3 - np.arange(3) / 2)),
    ),
    "diric": (special.diric(X, 5), np.sin(5 * X / 2) / (5 * np.sin(X / 2))),
    "spherical_jn": (special.spherical_jn(2, Q), _ROOT * special.jv(2.5, Q)),
    "spherical_yn": (special.spherical_yn(2, Q), _ROOT * special.yv(2.5, Q)),
    "spherical_in": (special.spherical_in(2, Q), _ROOT * special.iv(2.5, Q)),
    "spherical_kn": (special.spherical_kn(2, Q), _ROOT * special.kv(2.5, Q)),
    "hankel1e": (special.hankel1e(1, Q), special.hankel1(1, Q) * np.exp(-1j * Q)),
    "hankel2e": (special.hankel2e(1, Q), special.hankel2(1, Q) * np.exp(1j * Q)),
    "jve": (special.jve(1, Q + 1j), special.jv(1, Q + 1j) * np.exp(-1)),
    "yve": (special.yve(1, Q + 1j), special.yv(1, Q + 1j) * np.exp(-1)),
    "voigt_profile": (
        special.voigt_profile(X, 0.7, 0.4),
        np.real(special.wofz(_Z)) / (0.7 * np.sqrt(2 * np.pi)),
    ),
    "wrightomega": (special.wrightomega(X), special.lambertw(np.exp(X)).real),
    "ber, bei": (special.ber(X) + 1j * special.bei(X), _KELVIN_J),
    "ker, kei": (special.ker(X) + 1j * special.kei(X), _KELVIN_K),
}


@pytest.mark.parametrize("name", ALTERNATIVES)
def test_what_a_refusal_says_to_write_is_the_same(name):
    np.testing.assert_allclose(*ALTERNATIVES[name], rtol=1e-12)
