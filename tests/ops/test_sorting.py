"""Sorting, order statistics, searching, counting and sets, call by call."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from tests._checks import same_bits
from tests._versions import NUMPY
from tests.ops._ordering_calls import (
    check_batched,
    check_call,
    check_derivatives,
    check_value,
    draw,
    parts,
)

A = np.array
METHODS = (
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf",
    "hazen", "weibull", "linear", "median_unbiased", "normal_unbiased",
    "lower", "higher", "midpoint", "nearest",
)  # fmt: skip

CALLS = {
    "sort": lambda x: np.sort(x),
    "sort axis": lambda x: np.sort(x, axis=0),
    "sort flat": lambda x: np.sort(x, axis=None),
    "sort kind": lambda x: np.sort(x, kind="mergesort"),
    "sort stable": lambda x: np.sort(x, 1, stable=True),
    "partition": lambda x: np.partition(x, 2),
    "partition axis": lambda x: np.partition(x, -1, axis=0),
    "partition places": lambda x: np.partition(x, (1, 3)),
    "partition flat": lambda x: np.partition(x, [5, 2], None),
    "ptp": lambda x: np.ptp(x),
    "ptp axis": lambda x: np.ptp(x, axis=0),
    "ptp axes": lambda x: np.ptp(x, axis=(0, 1), keepdims=True),
    "median": lambda x: np.median(x),
    "median odd": lambda x: np.median(x, axis=0),
    "median even": lambda x: np.median(x, axis=1),
    "median keepdims": lambda x: np.median(x, axis=-1, keepdims=True),
    "median axes": lambda x: np.median(x, axis=(1, 0), keepdims=True),
    "median, overwriting": lambda x: np.median(x, axis=0, overwrite_input=True),
    "quantile": lambda x: np.quantile(x, 0.3),
    "quantile axis": lambda x: np.quantile(x, 0.85, axis=0),
    "quantile ends": lambda x: np.quantile(x, [0.0, 1.0], axis=1),
    "quantile end": lambda x: np.quantile(x, 1, axis=1),
    "quantile several": lambda x: np.quantile(x, [0.1, 0.5, 0.77], axis=1, keepdims=True),
    "quantile table": lambda x: np.quantile(x, A([[0.1, 0.5], [0.2, 0.9]]), axis=0),
    "quantile axes": lambda x: np.quantile(x, [0.25, 0.4], axis=(0, -1), keepdims=True),
    "quantile of float64": lambda x: np.quantile(x, np.float64(0.3), axis=0),
    "quantile of float32": lambda x: np.quantile(x, np.float32(0.3), axis=0),
    "percentile": lambda x: np.percentile(x, 30),
    "percentile float": lambda x: np.percentile(x, 62.5, axis=1),
    "percentile several": lambda x: np.percentile(x, [10, 50], axis=0),
    **{f"quantile {m}": lambda x, m=m: np.quantile(x, [0.2, 0.65], method=m) for m in METHODS},
    **{f"quantile {m}, axis": lambda x, m=m: np.quantile(x, 0.4, 1, method=m) for m in METHODS},
    "nanquantile": lambda x: np.nanquantile(x, [0.2, 0.65], axis=1),
    "nanpercentile": lambda x: np.nanpercentile(x, 25, keepdims=True),
    "nanmedian": lambda x: np.nanmedian(x, axis=0),
    "nanmedian all": lambda x: np.nanmedian(x, keepdims=True),
    "sort_complex": lambda x: np.sort_complex(x).real,
}
"""Functions of an array of shape (3, 4)."""

POSITIONS = {
    "argsort": lambda x: np.argsort(x),
    "argsort flat": lambda x: np.argsort(x, axis=None, kind="stable"),
    "argsort method": lambda x: x.argsort(0),
    "argpartition": lambda x: np.argpartition(x, 1, axis=0),
    "argpartition flat": lambda x: np.argpartition(x, 4, None),
    "searchsorted": lambda x: np.searchsorted(A([-1.0, 0.0, 1.0]), x),
    "searchsorted right": lambda x: np.searchsorted(A([-1.0, 0.0, 1.0]), x, side="right"),
    "searchsorted in": lambda x: np.searchsorted(np.sort(x[0]), [0.1, 5.0]),
    "searchsorted sorter": lambda x: np.searchsorted(x[0], 0.3, sorter=np.argsort(x[0])),
    "digitize": lambda x: np.digitize(x, [-1.0, 0.0, 1.0]),
    "digitize right": lambda x: np.digitize(x, [-1.0, 0.0, 1.0], right=True),
    "digitize falling": lambda x: np.digitize(x, [1.0, 0.0, -1.0]),
    "count_nonzero": lambda x: np.count_nonzero(x > 0, axis=0),
    "count_nonzero keepdims": lambda x: np.count_nonzero(x, axis=1, keepdims=True),
    "isin": lambda x: np.isin(np.round(x), [0, 1, 2]),
    "isin inverted": lambda x: np.isin(np.round(x), A([[1.0, -1.0]]), invert=True),
    "isin nothing": lambda x: np.isin(x, []),
    "not in nothing": lambda x: np.isin(x, [], invert=True),
    "lexsort": lambda x: np.lexsort((x[0], np.round(x[1]))),
    "lexsort rows": lambda x: np.lexsort((x, np.round(x)), axis=0),
    "histogram": lambda x: np.histogram(x, bins=4, range=(-2, 2))[0],
    "histogram edges": lambda x: np.histogram(x, [-2.0, -0.5, 0.0, 3.0])[0],
}
"""Functions without derivative; they work for batches too."""

OF_VALUES = {
    "nonzero": lambda x: np.nonzero(x > 0),
    "nonzero method": lambda x: (x > 0).nonzero(),
    "where": lambda x: np.where(x > 0),
    "flatnonzero": lambda x: np.flatnonzero(x > 0),
    "argwhere": lambda x: np.argwhere(x > 0),
    "argwhere of 0-d": lambda x: np.argwhere(x[0, 0]),
    "unique": lambda x: np.unique(np.floor(x)),
    "unique, all": lambda x: np.unique(np.floor(x), True, True, True),
    "unique, counts": lambda x: np.unique(np.floor(x), return_counts=True),
    "unique, rows": lambda x: np.unique(np.floor(x), axis=0),
    "unique, columns": lambda x: np.unique(np.floor(x / 3), return_inverse=True, axis=-1),
    "unique_all": lambda x: tuple(np.unique_all(np.floor(x))),
    "unique_counts": lambda x: tuple(np.unique_counts(np.floor(x))),
    "unique_inverse": lambda x: tuple(np.unique_inverse(np.floor(x))),
    "unique_values": lambda x: np.sort(np.unique_values(np.floor(x))),
    "union1d": lambda x: np.union1d(np.floor(x), [1.0, 7.0]),
    "intersect1d": lambda x: np.intersect1d(np.floor(x), [1.0, 7.0, -1.0]),
    "setdiff1d": lambda x: np.setdiff1d(np.floor(x), [1.0, 7.0, -1.0]),
    "setdiff1d of plain": lambda x: np.setdiff1d([1.0, 7.0, -1.0], np.floor(x)),
    "bincount": lambda x: np.bincount(np.abs(x).astype(int).ravel()),
    "bincount, longer": lambda x: np.bincount(np.abs(x).astype(int).ravel(), minlength=20),
}
"""Functions whose shape depends on values."""


@pytest.mark.parametrize("name", CALLS)
def test_call(name):
    check_call(CALLS[name], draw(3, 4), what=name)
    if NUMPY < (2, 4) and ("quantile" in name or "percentile" in name):
        return  # interpolated in double precision
    check_value(CALLS[name], draw(3, 4, dtype=np.float32), what=f"{name}, float32")
    if "float64" not in name and "several" not in name and "table" not in name:
        check_value(CALLS[name], draw(3, 4, dtype=np.float16), what=f"{name}, float16")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_call_of_integers(name, dtype):
    check_value(CALLS[name], np.abs(draw(3, 4) * 5).astype(dtype), what=name)


@pytest.mark.parametrize("name", POSITIONS)
def test_positions(name):
    check_value(POSITIONS[name], draw(3, 4), what=name)
    check_batched(POSITIONS[name], draw(3, 4), what=name)
    got = fg.grad(lambda x: np.sum(POSITIONS[name](x)) * 1.0 + np.sum(x))(draw(3, 4))
    assert_array_equal(got, np.ones((3, 4)))


@pytest.mark.parametrize("name", OF_VALUES)
def test_functions_of_values(name):
    x = draw(3, 4)
    want = parts(OF_VALUES[name](x))
    kept = []

    def keeping(x):
        kept.append(parts(OF_VALUES[name](x)))
        return np.sum(x), [p * 1 for p in kept[-1]]

    _, results = fg.value_and_grad(keeping, has_aux=True)(x)[0]
    for got, expected in zip(results, want, strict=True):
        assert_array_equal(got, expected)
    for got, expected in zip(parts(fg.jit(OF_VALUES[name])(x)), want, strict=True):
        same_bits(got, expected, name)
    with pytest.raises(fg.errors.ConcretizationError):
        fg.vmap(OF_VALUES[name])(np.stack([x, x]))


# --- the derivative goes by the permutation ------------------------------------------------------


def test_sort_is_a_permutation_of_its_cotangent():
    x, w = draw(2, 5, 3), draw(2, 5, 3, seed=1)
    for axis in (0, 1, 2, -1):
        got = fg.grad(lambda x, a=axis: np.sum(np.sort(x, axis=a) * w))(x)
        want = np.empty_like(x)
        np.put_along_axis(want, np.argsort(x, axis=axis), w, axis)
        assert_array_equal(got, want)


def test_ties_of_a_stable_sort_stay_in_order():
    x = A([1.0, 0.0, 1.0, 0.0])
    got = fg.grad(lambda x: np.sort(x, stable=True) @ A([1.0, 2.0, 3.0, 4.0]))(x)
    assert_array_equal(got, [3, 1, 4, 2])


@pytest.mark.parametrize("n", [5, 40, 1000])
def test_partition_gives_each_entry_the_cotangent_of_its_place(n):
    x, w = draw(n), draw(n, seed=1)
    k = n // 3
    got = fg.grad(lambda x: np.partition(x, k) @ w)(x)
    y = np.partition(x, k)
    assert_array_equal(got, [w[y == entry][0] for entry in x])
    check_value(lambda x: np.partition(x, k), x)


def test_sort_of_complex_numbers():
    z = np.round(draw(8) * 2) / 2 + 1j * draw(8, seed=1)
    check_value(np.sort, z)
    check_value(np.sort_complex, z)
    check_derivatives(np.sort, draw(8) + 1j * draw(8, seed=1))
    for dtype in (np.int8, np.int64, np.float32):
        check_value(np.sort_complex, A([3, 1, 2], dtype))


def test_nans_are_sorted_last():
    x = A([2.0, np.nan, 1.0, np.nan])
    check_value(np.sort, x)
    assert_array_equal(fg.grad(lambda x: np.sort(x)[0] + 3 * np.sort(x)[1])(x), [3, 0, 1, 0])


# --- quantiles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_weights_of_a_quantile_sum_to_one(method):
    levels = [0.0, 0.1, 0.25, 0.5, 0.61, 0.9, 1.0]
    for x in (draw(7), np.ones(6), A([2.0, 2.0, 1.0, 1.0]), A([5.0])):
        f = lambda x: np.quantile(x, levels, method=method)
        check_value(f, x)
        rows = fg.jacobian(f)(x)
        assert_allclose(np.sum(rows, axis=1), 1.0, rtol=1e-12)
        assert np.all(rows >= 0)
        assert np.max(np.sum(rows > 0, axis=1)) <= 2


def test_weights_of_a_median_sum_to_one():
    for x in (np.ones(4), A([1.0, 2.0, 2.0, 2.0, 3.0]), A([2.0, 2.0, 1.0]), draw(6)):
        for f in (np.median, np.nanmedian):
            row = fg.grad(f)(x)
            assert_allclose(np.sum(row), 1.0, rtol=1e-15)
            assert np.all(row >= 0)
    assert_array_equal(fg.grad(np.median)(A([4.0, 1.0, 3.0, 2.0])), [0, 0, 0.5, 0.5])


@pytest.mark.parametrize("method", ["linear", "hazen", "weibull", "median_unbiased"])
def test_traced_levels(method):
    x, q = draw(7), 0.37
    f = lambda x, q: np.quantile(x, q, method=method)
    check_value(f, x, q)
    check_value(f, x, A([0.1, 0.6]))
    if NUMPY >= (2, 4):  # before, it was interpolated in double precision
        check_value(f, draw(7, dtype=np.float32), q)
    check_derivatives(f, x, np.float64(q))
    check_batched(lambda x, q: np.percentile(x, q * 10, method=method), x, q)
    slope = fg.grad(lambda q: np.quantile(x, q))(q)
    assert_allclose(slope, 6 * (np.sort(x)[3] - np.sort(x)[2]), rtol=1e-12)


@pytest.mark.parametrize("f", [np.quantile, np.nanquantile])
def test_weighted_quantiles(f):
    x, w = draw(3, 5), np.abs(draw(3, 5, seed=1))
    along = lambda x, w, **rest: f(x, [0.1, 0.5, 0.9], axis=1, weights=w, method="inverted_cdf")
    check_value(along, x, w)
    if f is np.quantile:  # np.nanquantile fails here
        check_value(along, x, w[0])
    check_value(lambda x, w: f(x, 0.4, weights=w, method="inverted_cdf", keepdims=True), x, w)
    if NUMPY >= (2, 4):  # before, the level 0 was a value without weight
        without = A([0.0, 0.0, 1.0])
        check_value(lambda x: f(x, 0.0, weights=without, method="inverted_cdf"), x[0, :3])
    got = fg.grad(lambda x: f(x, 0.5, weights=w, method="inverted_cdf"))(x)
    assert_array_equal(got, x == f(x, 0.5, weights=w, method="inverted_cdf"))


def test_nan_in_the_sample():
    x = draw(3, 4)
    x[1, 2] = np.nan
    for f in (np.median, lambda x, **k: np.quantile(x, [0.2, 0.6], **k),
              lambda x, **k: np.quantile(x, 0.5, method="lower", **k)):  # fmt: skip
        check_value(f, x)
        check_value(lambda x, f=f: f(x, axis=1), x)
    assert np.all(np.isfinite(fg.grad(lambda x: np.sum(np.median(x, axis=1)[::2]))(x)))


@pytest.mark.parametrize("method", METHODS)
def test_nanquantile_leaves_nans_out(method):
    x = draw(4, 6)
    x[0, 1] = x[1, :3] = x[2, :5] = np.nan
    for axis in (None, 0, 1, (0, 1)):
        f = lambda x, a=axis: np.nanquantile(x, [0.0, 0.3, 0.75, 1.0], axis=a, method=method)
        check_value(f, x)
    row = fg.grad(lambda x: np.nanquantile(x, 0.3, method=method))(x)
    assert_allclose(np.sum(row), 1.0, rtol=1e-12)
    assert not np.any(row[np.isnan(x)])


def test_nanmedian_leaves_nans_out():
    x = draw(4, 6)
    x[0, 1] = x[1, :3] = x[2, :5] = np.nan
    for axis in (None, 0, 1, (0, 1)):
        check_value(lambda x, a=axis: np.nanmedian(x, axis=a, keepdims=True), x)
    rows = fg.jacobian(lambda x: np.nanmedian(x, axis=1))(x)
    assert_allclose(np.sum(rows, axis=(1, 2)), 1.0)


def test_a_sample_of_nans_has_no_quantile():
    x = A([[np.nan, np.nan], [1.0, 2.0]])
    for f in (np.nanmedian, lambda x, **k: np.nanquantile(x, 0.5, **k)):
        got = fg.jit(lambda x, f=f: f(x, axis=1))(x)
        assert_array_equal(got, [np.nan, 1.5])
        assert_array_equal(fg.grad(lambda x, f=f: f(x, axis=1)[1])(x), [[0, 0], [0.5, 0.5]])


def test_small_sizes():
    for n in (1, 2):
        check_call(np.median, draw(n))
        check_call(lambda x: np.quantile(x, 0.3), draw(n))
        check_call(np.sort, draw(n))
    for f in (np.median, np.sort, np.nanmedian, lambda x: np.quantile(x, 0.4)):
        check_value(f, draw(1, 1))
        assert fg.vmap(f)(np.zeros((0, 3))).shape[0] == 0
    for f in (np.sort, np.argsort, np.unique):
        check_value(f, np.zeros(0))
    check_value(lambda x: np.median(x, axis=1), np.zeros((0, 3)))
    check_value(lambda x: np.quantile(x, 0.3, axis=1), np.zeros((0, 3)))
    for f in (np.median, lambda x: np.quantile(x, [0.1, 0.9]), np.ptp):
        check_value(f, np.float64(3.0))


# --- entries that are picked keep their derivative -----------------------------------------------


def test_lexsort_by_plain_and_traced_keys():
    x, plain = draw(6), A([1, 0, 1, 0, 1, 1])
    check_value(lambda x: np.lexsort((x, plain)), x)
    check_value(lambda x: np.lexsort((plain, np.round(x))), x)
    check_value(
        lambda w: np.quantile([3.0, 1.0], 0.5, weights=w, method="inverted_cdf"), x[:2] ** 2
    )


def test_unique_entries_have_a_derivative():
    x = A([3.0, 1.0, 2.0, 1.0])
    got = fg.grad(lambda x: np.unique(x) @ A([1.0, 10.0, 100.0]))(x)
    assert_array_equal(got, [100, 1, 10, 0])
    got = fg.grad(lambda x: np.sum(np.setdiff1d(x, [1.0]) ** 2))(x)
    assert_array_equal(got, [6, 0, 4, 0])


def test_bincount_and_histogram_have_a_derivative_by_weights():
    bins, w = A([1, 0, 3, 1]), draw(4)
    count = lambda w: np.bincount(bins, weights=w, minlength=6)
    check_call(count, w)
    check_value(count, w.astype(np.float32))
    check_value(lambda b, w: np.bincount(b, w), bins, w)
    check_value(lambda b: np.bincount(b), A([], np.int64))
    check_value(lambda w: np.bincount(A([True, False, True, True]), w), w)
    x = draw(4, seed=1)
    for density in (False, True):
        sums = lambda w, d=density: np.histogram(x, 3, (-1, 1), weights=w, density=d)
        check_call(lambda w, f=sums: f(w)[0], np.abs(w) + 0.1, exact=not density)
    check_value(lambda x: np.histogram(x, A([-1.0, 0.0, 0.5, 1.0]), density=True)[0], x)


@pytest.mark.parametrize("bins", [1, 4, 7])
def test_histogram_counts_like_numpy(bins):
    x = np.concatenate([np.random.default_rng(0).normal(size=200), np.linspace(-1, 1, 29)])
    check_value(lambda x: np.histogram(x, bins, (-1.0, 1.0)), x)
    check_value(lambda x: np.histogram(x, np.linspace(-1, 1, bins + 1)), x)
    check_value(lambda x: np.histogram(x, bins, (-1.0, 1.0)), np.array([0.5, np.nan, 3.0]))


def test_traced_edges():
    x, edges = draw(9), A([-1.0, 0.1, 0.9])
    check_value(lambda x, e: np.histogram(x, e), x, edges)
    check_value(lambda x, e: np.digitize(x, e), x, edges)
    check_batched(lambda x, e: np.searchsorted(e, x), x, edges[::-1] * 0 + edges)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.sort(x), draw()),
        (lambda x: np.sort(x, axis=1), draw(3)),
        (lambda x: np.sort(x, kind="bogus"), draw(3)),
        (lambda x: np.sort(x, order="a"), draw(3)),
        (lambda x: np.sort(x, kind="stable", stable=True), draw(3)),
        (lambda x: np.partition(x, 3), draw(3)),
        (lambda x: np.partition(x, 0, kind="bogus"), draw(3)),
        (lambda x: np.argpartition(x, -4), draw(3)),
        (lambda x: np.median(x, axis=1), draw(3)),
        (lambda x: np.quantile(x, 1.5), draw(3)),
        (lambda x: np.quantile(x, [0.1, np.nan]), draw(3)),
        (lambda x: np.percentile(x, -1), draw(3)),
        (lambda x: np.quantile(x, 0.5, method="bogus"), draw(3)),
        (lambda x: np.quantile(x, 0.5, weights=np.ones(3)), draw(3)),
        (lambda x: np.quantile(x, 0.5, weights=-np.ones(3), method="inverted_cdf"), draw(3)),
        (lambda x: np.quantile(x, 0.5, weights=np.ones(2), method="inverted_cdf"), draw(3)),
        (lambda x: np.quantile(x, 0.5, 0, weights=np.ones(2), method="inverted_cdf"), draw(3)),
        (lambda x: np.quantile(x, np.full((2, 2, 2), 0.5)), draw(3)),
        (lambda x: np.quantile(x, 0.5), draw(3) * 1j),
        (lambda x: np.quantile(x, 0.5), draw(0)),
        (lambda x: np.ptp(x), draw(0)),
        (lambda x: np.searchsorted(x, 0.0), draw(2, 2)),
        (lambda x: np.searchsorted(x, 0.0, side="bogus"), draw(3)),
        (lambda x: np.digitize(x, [0.0, 2.0, 1.0]), draw(3)),
        (lambda x: np.digitize(x, [0.0, 2.0]), draw(3) * 1j),
        (lambda x: np.bincount(x), draw(3)),
        (lambda x: np.bincount(x.astype(int)), -np.ones(3)),
        (lambda x: np.bincount([0, 1], x), draw(3)),
        (lambda x: np.bincount([0, 1, 2], x), draw(3) * 1j),
        (lambda x: np.bincount([0, 1, 2], x, minlength=-1), draw(3)),
        (lambda x: np.histogram([0.0, 1.0], 3, (0, 1), weights=x), draw(3)),
        (lambda x: np.lexsort((x, x[1:])), draw(3)),
    ],
)
def test_errors_are_of_numpys_class(f, x):
    with pytest.raises((ValueError, TypeError, IndexError)) as expected:
        f(x)
    with pytest.raises(expected.type):
        fg.jit(f)(x)


@pytest.mark.parametrize(
    ("f", "remedy"),
    [
        (lambda x: np.histogram(x, "auto"), "edges"),
        (lambda x: np.histogram2d(x, x), "searchsorted"),
        (lambda x: np.histogramdd(x), "searchsorted"),
        (lambda x: np.setxor1d(x, x), "setdiff1d"),
        (lambda x: np.intersect1d(x, x, return_indices=True), "isin"),
    ],
)
def test_refused_calls_name_what_to_write(f, remedy):
    with pytest.raises(fg.errors.UnsupportedFunctionError, match=remedy):
        fg.jit(f)(draw(3))
