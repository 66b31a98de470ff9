"""Averages, covariances, NaN-reductions, convolution and interpolation, call by call."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from tests.ops._ordering_calls import (
    check_batched,
    check_call,
    check_derivatives,
    check_value,
    draw,
)

A = np.array
W = A([0.5, 1.0, 2.0, 0.25])
TABLE = np.abs(draw(3, 4, seed=5)) + 0.1
MASK = A([[True, False, True, True], [True, True, False, True], [False, True, True, True]])

CALLS = {
    "average": lambda x: np.average(x),
    "average axis": lambda x: np.average(x, axis=0, keepdims=True),
    "average weights": lambda x: np.average(x, axis=1, weights=W),
    "average weights, all": lambda x: np.average(x, weights=TABLE),
    "average weights, axes": lambda x: np.average(x, axis=(1, 0), weights=TABLE.T),
    "average weights, keepdims": lambda x: np.average(x, axis=-1, weights=W, keepdims=True),
    "average returned": lambda x: np.average(x, axis=1, weights=W, returned=True),
    "average returned, all": lambda x: np.average(x, axis=0, returned=True),
    "nansum": lambda x: np.nansum(x, axis=0),
    "nansum keepdims": lambda x: np.nansum(x, axis=(0, 1), keepdims=True),
    "nanprod": lambda x: np.nanprod(x, axis=1),
    "nanmean": lambda x: np.nanmean(x),
    "nanmean axis": lambda x: np.nanmean(x, axis=1, keepdims=True),
    "nanvar": lambda x: np.nanvar(x),
    "nanvar axis": lambda x: np.nanvar(x, axis=0, ddof=1),
    "nanvar correction": lambda x: np.nanvar(x, axis=(0, 1), correction=1, keepdims=True),
    "nanvar mean": lambda x: np.nanvar(x, axis=1, mean=np.nanmean(x, axis=1, keepdims=True)),
    "nanstd": lambda x: np.nanstd(x, axis=-1),
    "nanmax": lambda x: np.nanmax(x),
    "nanmax axis": lambda x: np.nanmax(x, axis=0, keepdims=True),
    "nanmax initial": lambda x: np.nanmax(x, axis=1, initial=0.5),
    "nanmin": lambda x: np.nanmin(x, axis=(0, 1)),
    "nanmin where": lambda x: np.nanmin(x, axis=0, initial=5.0, where=MASK),
    "fmax.reduce": lambda x: np.fmax.reduce(x),
    "fmin.reduce": lambda x: np.fmin.reduce(x, axis=1),
}
"""Functions of an array of shape (3, 4)."""

TO_ROUNDING = {
    "cov": lambda x: np.cov(x),
    "cov columns": lambda x: np.cov(x, rowvar=False),
    "cov of 1-d": lambda x: np.cov(x[0]),
    "cov of two": lambda x: np.cov(x[0], x[1]),
    "cov of tables": lambda x: np.cov(x, x[:1] * x[1:2]),
    "cov of columns": lambda x: np.cov(x, x[:, :1], rowvar=False),
    "cov bias": lambda x: np.cov(x, bias=True),
    "cov ddof": lambda x: np.cov(x, ddof=2),
    "cov aweights": lambda x: np.cov(x, aweights=W),
    "cov fweights": lambda x: np.cov(x, fweights=[1, 2, 0, 3]),
    "cov both": lambda x: np.cov(x, fweights=[1, 2, 0, 3], aweights=W, ddof=0),
    "cov both, ddof": lambda x: np.cov(x, fweights=[1, 2, 1, 3], aweights=W),
    "corrcoef": lambda x: np.corrcoef(x)[np.triu_indices(3, 1)],
    "corrcoef of two": lambda x: np.corrcoef(x[0], x[1])[0, 1],
    "corrcoef columns": lambda x: np.corrcoef(x, rowvar=False)[0, 1:],
    "nansum where": lambda x: np.nansum(x, axis=0, where=MASK, initial=2.0),
    "nanprod where": lambda x: np.nanprod(x, axis=0, where=MASK, initial=2.0),
    "nanmean where": lambda x: np.nanmean(x, axis=0, where=MASK),
    "nanvar where": lambda x: np.nanvar(x, axis=1, where=MASK),
    "nanstd where": lambda x: np.nanstd(x, where=MASK),
}
"""The same, to rounding."""


@pytest.mark.parametrize("name", CALLS)
def test_call(name):
    check_call(CALLS[name], draw(3, 4), what=name)
    check_value(CALLS[name], draw(3, 4, dtype=np.float32), what=f"{name}, float32")
    if "initial" not in name and "where" not in name:
        check_value(CALLS[name], (draw(3, 4) * 3).astype(np.int64), what=f"{name}, int")


@pytest.mark.parametrize("name", TO_ROUNDING)
def test_call_to_rounding(name):
    check_call(TO_ROUNDING[name], draw(3, 4), exact=False, what=name)
    check_value(TO_ROUNDING[name], draw(3, 4, dtype=np.float32), exact=False, what=name)


@pytest.mark.parametrize("name", [*CALLS, *TO_ROUNDING])
def test_nans_are_left_out(name):
    if not name.startswith(("nan", "fm")):
        return
    f = {**CALLS, **TO_ROUNDING}[name]
    x = draw(3, 4)
    x[0, 1] = x[1, 0] = x[2, 3] = np.nan
    check_value(f, x, exact=False, what=name)
    there = ~np.isnan(x)
    of_rest = lambda rest: f(_filled(rest, there))
    got = fg.vjp(f, x)[1](np.ones(np.shape(f(x))))[0]
    assert not np.any(got[~there])
    assert np.all(np.isfinite(got))
    check_derivatives(of_rest, x[there], what=name)


def _filled(rest, there):
    """The entries that are there, and NaNs elsewhere."""
    places = np.cumsum(there.ravel()) - 1
    return np.where(there.ravel(), rest[places], np.nan).reshape(there.shape)


@pytest.mark.parametrize("name", ["average weights", "nansum", "nanprod", "nanmean", "nanvar axis"])
def test_complex(name):
    z = draw(3, 4) + 1j * draw(3, 4, seed=1)
    check_value(CALLS[name], z, exact=False, what=name)
    check_derivatives(CALLS[name], z, what=name)


def test_complex_covariance():
    z = draw(2, 5) + 1j * draw(2, 5, seed=1)
    for f in (np.cov, np.corrcoef):
        check_value(f, z, exact=False)
        check_derivatives(lambda z, f=f: f(z)[0, 1], z)


# --- averages ------------------------------------------------------------------------------------


def test_average_by_traced_weights():
    x, w = draw(3, 4), np.abs(draw(4, seed=2)) + 0.1
    check_call(lambda x, w: np.average(x, axis=1, weights=w), x, w)
    check_call(lambda w: np.average([1.0, 2.0, 4.0, 8.0], weights=w), w)
    check_call(lambda x, w: np.cov(x, aweights=w), x, w, exact=False)
    table = np.abs(draw(3, 4, seed=3)) + 0.1
    check_call(lambda x, w: np.average(x, axis=0, weights=w, returned=True), x, table)


def test_average_of_ones_is_smooth_in_its_weights():
    assert_allclose(fg.grad(lambda w: np.average(np.ones(3), weights=w))(np.ones(3)), 0, atol=1e-16)


def test_correlation_of_dependent_variables_is_at_its_extremum():
    x = draw(5)
    got = fg.grad(lambda x: np.corrcoef(x, 2 * x)[0, 1])(x)
    assert_allclose(got, 0, atol=1e-14)
    check_value(lambda x: np.corrcoef(x), x)


def test_degrees_of_freedom():
    with pytest.warns(RuntimeWarning, match="Degrees of freedom"), np.errstate(all="ignore"):
        got = fg.jit(lambda x: np.cov(x, ddof=4))(draw(2, 4))
    assert not np.any(np.isfinite(got))


# --- NaNs ----------------------------------------------------------------------------------------


def test_slices_of_nans_are_quiet_and_have_no_derivative():
    x = A([[np.nan, np.nan], [1.0, 3.0]])
    for f, want in (
        (np.nanmean, 2.0), (np.nanvar, 1.0), (np.nanstd, 1.0), (np.nanmax, 3.0), (np.nanmin, 1.0),
        (np.fmax.reduce, 3.0), (np.fmin.reduce, 1.0),
    ):  # fmt: skip
        assert_array_equal(fg.jit(lambda x, f=f: f(x, axis=1))(x), [np.nan, want])
        got = fg.vjp(lambda x, f=f: f(x, axis=1), x)[1](np.ones(2))[0]
        assert_array_equal(got[0], [0, 0])
        assert np.all(np.isfinite(got))
    check_value(lambda x: np.nansum(x, axis=1), x)
    check_value(lambda x: np.nanprod(x, axis=1), x)


def test_ties_of_nanmax_share_evenly():
    x = A([1.0, 3.0, np.nan, 3.0])
    assert_array_equal(fg.grad(np.nanmax)(x), [0, 0.5, 0, 0.5])
    assert_array_equal(fg.grad(np.nanmin)(-x), [0, 0.5, 0, 0.5])


def test_standard_deviation_of_equal_entries():
    assert_array_equal(fg.grad(np.nanstd)(A([2.0, 2.0, np.nan])), [0, 0, 0])


def test_positions_of_extrema():
    x = draw(3, 4)
    x[0, 1] = np.nan
    for f in (np.nanargmax, np.nanargmin):
        check_value(f, x)
        check_value(lambda x, f=f: f(x, axis=1, keepdims=True), x)
        check_value(f, A([3, 1, 2]))
        with pytest.raises(ValueError, match="All-NaN"):
            fg.jit(f)(np.full(3, np.nan))


def test_narrow_dtypes():
    x = draw(4, 5, dtype=np.float16)
    x[0, 0] = np.nan
    for f in (np.nansum, np.nanmean, np.nanvar, np.nanstd, np.nanmax, np.nanmin):
        check_value(lambda x, f=f: f(x, axis=0), x)
        x32 = x.astype(np.float32)
        assert fg.grad(lambda x, f=f: np.sum(f(x, axis=0)))(x32).dtype == np.float32
        if f not in (np.nanmax, np.nanmin):
            check_value(lambda x, f=f: f(x, axis=0, dtype=np.float64), x32)
    check_value(lambda x: np.nanmean(x), A([True, False]))
    check_value(lambda x: np.nanmax(x), A([3, 1], np.int8))


# --- convolution ---------------------------------------------------------------------------------

LENGTHS = [(5, 3), (3, 5), (4, 4), (6, 2), (2, 6), (1, 3), (3, 1), (1, 1)]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("n", "m"), LENGTHS)
def test_convolution(n, m, mode):
    a, v = draw(n), draw(m, seed=1)
    check_call(lambda a, v: np.convolve(a, v, mode), a, v)
    check_call(lambda a, v: np.correlate(a, v, mode), a, v)
    a, v = a + 1j * draw(n, seed=2), v + 1j * draw(m, seed=3)
    for f in (np.convolve, np.correlate):
        check_value(lambda a, v, f=f: f(a, v, mode), a, v, exact=False)
        check_derivatives(lambda a, v, f=f: f(a, v, mode), a, v)


def test_convolution_of_other_operands():
    check_value(lambda a: np.convolve(a, [1, 2]), A([1, 2, 3], np.int32))
    check_value(lambda a: np.convolve(a, [1, 2]), draw(3, dtype=np.float32))
    check_value(lambda a: np.convolve(a, A([1, 2], np.float32)), draw(3, dtype=np.float32))
    check_value(lambda a: np.correlate([1.0, 2.0, 3.0], a), draw(2))
    check_value(lambda a: np.convolve(a, a), A([True, False, True]))
    check_call(lambda a: np.convolve(a, 2.0), draw(3))
    slope = fg.grad(lambda a: np.sum(np.convolve(a, [1.0, 2.0])))(draw(3, dtype=np.float32))
    assert slope.dtype == np.float32


# --- interpolation -------------------------------------------------------------------------------

XP, FP = A([0.0, 1.0, 2.5, 4.0]), A([1.0, -1.0, 2.0, 0.5])
X = A([[-1.0, 0.3, 1.7], [2.6, 3.9, 5.0]])


@pytest.mark.parametrize(
    "keywords", [{}, {"left": -7.0}, {"right": 9}, {"left": 0.0, "right": 1.0}, {"period": 4.4}]
)
def test_interpolation(keywords):
    check_call(lambda x, xp, fp: np.interp(x, np.sort(xp), fp, **keywords), X, XP, FP)
    check_call(lambda x: np.interp(x, [0, 1, 4], [2.0, 3.0, 1.0], **keywords), X)
    check_call(lambda fp: np.interp(1.3, XP, fp, **keywords), FP)


def test_interpolation_at_the_samples():
    check_value(lambda x: np.interp(x, XP, FP), XP)
    check_value(lambda x: np.interp(x, XP, FP), np.append(XP, np.nan))
    weights = fg.jacobian(lambda fp: np.interp(XP, XP, fp))(FP)
    assert_allclose(weights, np.eye(4), atol=1e-15)
    slopes = fg.jacobian(lambda x: np.interp(x, XP, FP))(XP).diagonal()
    assert_allclose(slopes, [-2, 2, -1, -1])
    assert fg.grad(lambda x: np.interp(x, XP, FP))(4.5) == 0.0
    assert fg.grad(lambda x: np.interp(x, XP, FP))(-0.5) == 0.0


def test_interpolation_outside_depends_on_the_outermost_samples():
    outside = A([-3.0, 9.0])
    rows = fg.jacobian(lambda fp: np.interp(outside, XP, fp))(FP)
    assert_array_equal(rows, [[1, 0, 0, 0], [0, 0, 0, 1]])
    assert not np.any(fg.jacobian(lambda xp: np.interp(outside, xp, FP))(XP))


def test_interpolation_of_other_operands():
    check_value(lambda x: np.interp(x, XP, FP), A([0, 1, 2]))
    check_value(lambda x: np.interp(x, XP, FP + 1j), X)
    check_value(lambda x: np.interp(x, XP, FP), X.astype(np.float32))
    check_value(lambda x: np.interp(x, [1.0], [2.0]), X)
    check_value(lambda x: np.interp(x, [1.0], [2.0], left=0.0, right=np.nan), X)
    infinite = lambda x: np.interp(x, A([0.0, 1.0, 2.0]), A([0.0, np.inf, np.inf]))
    assert_array_equal(fg.jit(infinite)(X), infinite(X))
    check_value(lambda x: np.interp(x, XP, FP), np.zeros((0, 2)))
    check_derivatives(lambda x, fp: np.interp(x, XP, fp), X, FP + 1j * FP[::-1])
    assert fg.grad(lambda x: np.sum(np.interp(x, XP, FP)))(X.astype(np.float32)).dtype == np.float32


def test_batches_of_tables():
    check_batched(lambda x, fp: np.interp(x, XP, fp), X, FP)
    twice = fg.vmap(fg.vmap(lambda x, fp: np.interp(x, XP, fp), (None, 0)), (0, None))
    tables = np.stack([FP, 2 * FP, FP[::-1]])
    want = [[np.interp(x, XP, fp) for fp in tables] for x in X]
    assert_allclose(twice(X, tables), want)
    slope = fg.vmap(fg.grad(lambda fp: np.sum(np.interp(X, XP, fp) ** 2)))(tables)
    assert_allclose(slope[1], 2 * slope[0])


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.average(x, weights=np.ones(3)),
        lambda x: np.average(x, axis=0, weights=np.ones(4)),
        lambda x: np.average(x, axis=1, weights=[1.0, -1.0, 0.0, 0.0]),
        lambda x: np.average(x, axis=2),
        lambda x: np.cov(x, ddof=0.5),
        lambda x: np.cov(x[None]),
        lambda x: np.cov(x, fweights=[1.0, 0.5, 1.0, 1.0]),
        lambda x: np.cov(x, fweights=[1, -1, 1, 1]),
        lambda x: np.cov(x, aweights=[1.0, -1.0, 1.0, 1.0]),
        lambda x: np.cov(x, aweights=np.ones(3)),
        lambda x: np.cov(x, aweights=np.ones((1, 4))),
        lambda x: np.nanmean(x, dtype=int),
        lambda x: np.nanvar(x, dtype=int),
        lambda x: np.nanvar(x, ddof=1, correction=1),
        lambda x: np.nanmax(x, axis=2),
        lambda x: np.nanmax(x, where=MASK),
        lambda x: np.nanmax(x[:0]),
        lambda x: np.convolve(x, x[0]),
        lambda x: np.convolve(x[0], x[0, :0]),
        lambda x: np.convolve(x[0], x[1], "bogus"),
        lambda x: np.interp(x, XP, FP[1:]),
        lambda x: np.interp(x, x, x),
        lambda x: np.interp(x, [], []),
        lambda x: np.interp(x, XP, FP, period=0),
    ],
)
def test_errors_are_of_numpys_class(f):
    with pytest.raises((ValueError, TypeError, ZeroDivisionError, RuntimeError)) as expected:
        f(draw(3, 4))
    with pytest.raises(expected.type):
        fg.jit(f)(draw(3, 4))
