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
