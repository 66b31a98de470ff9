"""Python loops unroll; where that makes a very long program, a hint names the line and the way out."""

from __future__ import annotations

import linecache
import warnings

import numpy as np
import pytest

import fungrad as fg
from fungrad import _tracer
from fungrad.errors import UnrolledLoopWarning


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(_tracer, "MANY_OPERATIONS", 40)
    monkeypatch.setattr(_tracer, "_hinted", set())


def unrolled(x, n):
    for i in range(n):
        x = np.sin(x) * (i + 0.123)
    return x


def test_python_loops_unroll(few):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = fg.grad(unrolled)(0.5, 60)
        assert got == fg.jit(fg.grad(lambda x: unrolled(x, 60)))(0.5)
        fg.grad(unrolled)(0.5, 70)
    (warning,) = caught  # once for each line, and none for the derivative
    assert warning.category is UnrolledLoopWarning
    assert warning.filename == __file__
    assert "x = np.sin(x) * (i + 0.123)" in linecache.getline(__file__, warning.lineno)
    for word in ("more than 40 operations", "fg.scan", "fg.fori_loop", "fg.while_loop"):
        assert word in str(warning.message)


def test_loops_as_values_give_no_hint(few):
    x = fg.grad(lambda x: fg.fori_loop(0, 10_000, lambda i, x: np.sin(x) * 0.9 + 0 * i, x))(0.5)
    assert np.isfinite(x)


def test_a_hint_that_is_an_error_leaves_nothing_behind(few):
    f = lambda x: unrolled(x + 0.25, 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnrolledLoopWarning):
            fg.grad(f)(0.5)
    assert fg.grad(lambda x: x * x)(3.0) == 6.0
    assert np.isfinite(fg.grad(f)(0.5))


def test_the_bound_is_where_programs_are_compiled_late():
    from fungrad.compile.run import LONG

    assert _tracer.MANY_OPERATIONS == LONG
