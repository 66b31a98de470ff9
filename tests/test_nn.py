"""``fg.nn``: values, derivatives and batches against independent formulas, loops and SciPy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from mpmath import mp
from scipy import special

import fungrad as fg
from fungrad import random
from fungrad.ops import softmax as softmax_module
from tests._checks import differences, normal_like

nn = fg.nn
INF, TINY = np.inf, 5e-324


def close(got, want, rtol=1e-12, atol=0.0):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{got.shape}, not {want.shape}"
    np.testing.assert_allclose(got, want, rtol, atol)


def check(function, *operands, order=2, rtol=2e-7):
    """Derivatives up to ``order`` against differences; compiled, batched and narrow results."""
    want = function(*operands)
    jitted = fg.jit(function)
    for _ in range(3):
        close(jitted(*operands), want, 1e-13, 1e-13)
    for subset in product((0, None), repeat=len(operands)):
        if any(axis == 0 for axis in subset):
            batch = [
                np.stack([x, x[..., ::-1]]) if x.ndim else np.stack([x, x + 1]) for x in operands
            ]
            mapped = [
                b if axis == 0 else x for b, x, axis in zip(batch, operands, subset, strict=True)
            ]
            rows = [
                [b[i] if axis == 0 else b for b, axis in zip(mapped, subset, strict=True)]
                for i in (0, 1)
            ]
            close(
                fg.vmap(function, subset)(*mapped),
                np.stack([function(*r) for r in rows]),
                1e-12,
                1e-13,
            )
    narrow = [x.astype(np.float32) for x in operands]
    assert np.asarray(function(*narrow)).dtype == np.float32
    assert {g.dtype for g in fg.vjp(function, *narrow)[1](function(*narrow))} == {
        np.dtype(np.float32)
    }
    check_derivatives(function, operands, order, rtol)


def check_derivatives(function, operands, order, rtol):
    rng = np.random.default_rng(1)
    ct = normal_like(rng, function(*operands))
    tangents = [normal_like(rng, x) for x in operands]
    want = differences(function, operands, tangents)
    pushed = fg.jvp(function, tuple(operands), tuple(tangents))[1]
    close(pushed, want, rtol, rtol * (1 + np.max(np.abs(want), initial=0)))
    pulled = fg.vjp(function, *operands)[1](ct)
    back = sum(np.sum(g * t) for g, t in zip(pulled, tangents, strict=True))
    close(back, np.sum(ct * pushed), 1e-11, 1e-11 * (1 + np.sum(np.abs(ct * pushed))))
    if order > 1:
        gradient = lambda *x: np.concatenate([np.ravel(g) for g in fg.vjp(function, *x)[1](ct)])
        check_derivatives(gradient, operands, order - 1, 10 * rtol)


# --- activations ---------------------------------------------------------------------------------


def sigmoid_slope(x):
    return special.expit(x) * special.expit(-x)


def tanh_gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def normal_density(x):
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


EXACT_GELU = lambda x: nn.gelu(x, approximate=False)
ACTIVATIONS = {
    # function, value, slope, limits of value and slope at -inf and inf
    "sigmoid": (nn.sigmoid, special.expit, sigmoid_slope, (0, 1), (0, 0)),
    "log_sigmoid": (nn.log_sigmoid, special.log_expit, lambda x: special.expit(-x), (-INF, 0), (1, 0)),
    "softplus": (nn.softplus, lambda x: np.logaddexp(x, 0), special.expit, (0, INF), (0, 1)),
    "relu": (nn.relu, lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, (0, INF), (0, 1)),
    "leaky_relu": (nn.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x),
                   lambda x: np.where(x > 0, 1, 0.01), (-INF, INF), (0.01, 1)),
    "elu": (nn.elu, lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
            lambda x: np.exp(np.minimum(x, 0)), (-1, INF), (0, 1)),
    "gelu": (nn.gelu, tanh_gelu, None, (0, INF), (0, 1)),
    "gelu exact": (EXACT_GELU, lambda x: x * special.ndtr(x),
                   lambda x: special.ndtr(x) + x * normal_density(x), (0, INF), (0, 1)),
    "silu": (nn.silu, lambda x: x * special.expit(x),
             lambda x: special.expit(x) * (1 + x * special.expit(-x)), (0, INF), (0, 1)),
}  # fmt: skip
POINTS = np.array([
    -1e3, -700.0, -40.0, -5.0, -1.0, -0.5, -1e-8, -1e-300, -TINY, -0.0, 0.0, TINY, 1e-300, 1e-8, 0.5,
    1.0, 5.0, 40.0, 700.0, 1e3,
])  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    function, value, slope, limits, slope_limits = ACTIVATIONS[name]
    gradient = fg.vmap(fg.grad(function))
    if name.startswith("gelu"):  # the formula by hand cancels far to the left
        close(function(POINTS), value(POINTS), 1e-12, 1e-15)
    else:
        close(function(POINTS), value(POINTS), 1e-14, TINY)
    if slope is not None:
        close(gradient(POINTS), slope(POINTS), 1e-12, 1e-300 if name != "gelu exact" else 1e-15)
    ends = np.array([-INF, INF])
    close(function(ends), limits)
    close(gradient(ends), slope_limits)
    assert np.all(
        np.isfinite(fg.vmap(fg.grad(fg.grad(function)))(np.array([-INF, -1e3, 0, 1e3, INF])))
    )
    assert np.isnan(function(np.nan))
    check(lambda x: function(x), np.array([[-3.0, -0.7, 0.3], [1.1, 2.0, 20.0]]), order=3)
    for dtype in (np.float16, np.float32):
        with np.errstate(under="ignore"):
            narrow = POINTS.astype(dtype)
        got, eps = function(narrow), np.finfo(dtype).eps
        assert got.dtype == gradient(narrow).dtype == dtype
        close(
            got, function(narrow.astype(float)).astype(dtype), 40 * eps, 40 * np.finfo(dtype).tiny
        )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_of_other_kinds(name):
    function = ACTIVATIONS[name][0]
    want = function(np.array([0.0, 1.0]))
    for given in (np.array([0, 1]), np.array([0, 1], np.uint8), np.array([False, True]), [0, 1]):
        close(function(given), want)
        close(fg.jit(function)(np.asarray(given)), want)
        assert function(given).dtype == np.float64
    assert np.shape(function(1.5)) == () == function(np.float64(1.5)).shape
    assert function(np.zeros((0, 2))).shape == (0, 2)
    assert isinstance(fg.grad(function)(1.5), float)
    for complicated in (function, fg.jit(function)):
        with pytest.raises(TypeError, match="real numbers, not complex128"):
            complicated(np.array([1j]))


def test_exact_gelu_far_to_the_left():
    x = np.linspace(-37, 0, 100)
    with mp.workdps(40):
        want = np.array([float(mp.mpf(t) * mp.ncdf(mp.mpf(t))) for t in x])
        slopes = np.array([float(mp.ncdf(mp.mpf(t)) + mp.mpf(t) * mp.npdf(mp.mpf(t))) for t in x])
    close(EXACT_GELU(x), want, 1e-12)
    close(fg.vmap(fg.grad(EXACT_GELU))(x), slopes, 1e-12)
    close(nn.gelu(x), want, atol=5e-4)


def test_kinks():
    assert fg.grad(nn.relu)(0.0) == fg.grad(nn.relu)(-0.0) == 0
    assert fg.grad(nn.leaky_relu)(0.0) == 0.01
    assert fg.grad(nn.elu)(0.0) == 1
    assert fg.grad(lambda x: nn.elu(x, 2.0))(0.0) == 2
    for function in (nn.relu, nn.leaky_relu):
        assert fg.grad(fg.grad(function))(0.0) == 0


def test_relu_passes_no_infinite_cotangent_where_it_is_closed():
    pull = fg.vjp(nn.relu, np.array([-1.0, 0.0, 1.0]))[1]
    close(pull(np.array([INF, np.nan, INF]))[0], [0, 0, INF])


def test_parametric_activations():
    x, slope = np.array([[-2.0, 3.0], [-0.5, -1.0]]), np.array([0.1, 0.3])
    check(nn.leaky_relu, x, slope)
    check(nn.elu, x, slope)
    close(fg.grad(lambda s: np.sum(nn.leaky_relu(np.array([-2.0, 1.0, INF]), s)))(0.1), -2)
    close(nn.leaky_relu(np.array([INF, -1.0]), 0.0), [INF, 0])


# --- softmax and its like ------------------------------------------------------------------------

AXES = [
    ((4,), -1),
    ((4,), None),
    ((2, 3), 0),
    ((2, 3), -1),
    ((2, 3), None),
    ((2, 3, 2), (0, 2)),
    ((), None),
]


@pytest.mark.parametrize(("shape", "axis"), AXES, ids=str)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_softmax(name, shape, axis):
    function = lambda x: getattr(nn, name)(x, axis)
    x = np.random.default_rng(0).normal(size=shape) * 3
    close(function(x), getattr(special, name)(x, axis), 1e-14, 1e-14)
    close(function(x + 1e5), function(x), 1e-9) if name != "logsumexp" else None
    check(function, x, order=3)


def test_softmax_defaults_to_the_last_axis_and_logsumexp_to_all():
    x = np.ones((2, 3))
    close(nn.softmax(x), np.full((2, 3), 1 / 3))
    close(nn.log_softmax(x), np.full((2, 3), -np.log(3)))
    close(nn.logsumexp(x), 1 + np.log(6))
    assert nn.logsumexp(x, 1, keepdims=True).shape == (2, 1)
    assert nn.logsumexp(x, keepdims=True).shape == (1, 1)


@pytest.mark.parametrize("far", [1e3, 1e300])
def test_softmax_of_large_numbers(far):
    x = np.array([far, -far, far])
    close(nn.softmax(x), [0.5, 0, 0.5])
    close(nn.log_softmax(x), [-np.log(2), -2 * far - np.log(2), -np.log(2)])
    close(nn.logsumexp(x), far + np.log(2))
    close(fg.grad(nn.logsumexp)(x), [0.5, 0, 0.5])
    huge = np.array([1.7e308, -1.7e308])
    close(nn.softmax(huge), [1, 0])
    close(nn.log_softmax(huge), [0, -INF])


def test_logsumexp_with_masked_entries():
    x = np.array([0.0, -INF, 1.0])
    weights = [1 / (1 + np.e), 0, np.e / (1 + np.e)]
    for transform in (fg.grad, lambda f: fg.jit(fg.grad(f))):
        close(transform(nn.logsumexp)(x), weights)
        close(np.sum(transform(nn.logsumexp)(np.array([5.0, 5.0, 5.0]))), 1)
    close(nn.softmax(x), weights)
    close(nn.log_softmax(x), [-np.log1p(np.e), -INF, 1 - np.log1p(np.e)])
    close(fg.hessian(nn.logsumexp)(x), np.diag(weights) - np.outer(weights, weights), atol=1e-16)
    close(fg.jacobian(nn.softmax)(x), np.diag(weights) - np.outer(weights, weights), atol=1e-16)
    close(fg.grad(lambda x: nn.log_softmax(x)[2])(x), np.array([0, 0, 1]) - weights)


@pytest.mark.parametrize(
    ("x", "value", "weights"),
    [
        ([-INF, -INF], -INF, [0.5, 0.5]),
        ([INF, 0.0], INF, [1, 0]),
        ([INF, INF, -INF], INF, [0.5, 0.5, 0]),
        ([-INF], -INF, [1]),
    ],
)
def test_infinities_share_evenly(x, value, weights):
    x, weights = np.array(x), np.array(weights, float)
    close(nn.logsumexp(x), value)
    close(fg.grad(nn.logsumexp)(x), weights)
    close(nn.softmax(x), weights)
    with np.errstate(divide="ignore"):
        close(nn.log_softmax(x), np.log(weights))
    rows = np.stack([x, np.zeros_like(x)])
    close(nn.softmax(rows)[0], weights)
    close(nn.softmax(rows)[1], np.full(x.size, 1 / x.size))
    assert not np.any(np.isnan(fg.jacobian(nn.softmax)(x)))
    assert not np.any(np.isnan(fg.jacobian(nn.log_softmax)(x)))


def test_softmax_keeps_nan_and_emptiness():
    assert np.all(np.isnan(nn.softmax(np.array([np.nan, 1.0]))))
    assert np.isnan(nn.logsumexp(np.array([np.nan, 1.0])))
    assert nn.softmax(np.zeros((2, 0))).shape == (2, 0)
    close(nn.logsumexp(np.zeros((2, 0)), 1), [-INF, -INF])
    assert fg.grad(nn.logsumexp)(np.zeros(0)).shape == (0,)


def test_softmax_where():
    x, where = np.array([[1.0, INF, 2.0], [3.0, 4.0, 5.0]]), np.array([[1, 0, 1], [0, 0, 0]], bool)
    rest = special.softmax([1.0, 2.0])
    close(nn.softmax(x, where=where), [[rest[0], 0, rest[1]], [0, 0, 0]])
    close(nn.log_softmax(x, where=where), [[np.log(rest[0]), -INF, np.log(rest[1])], [-INF] * 3])
    close(nn.logsumexp(x, 1, where=where), [special.logsumexp([1.0, 2.0]), -INF])
    gradient = fg.grad(lambda x: np.sum(nn.softmax(x, where=where)[:, 0]))(x)
    close(gradient, [[rest[0] * rest[1], 0, -rest[0] * rest[1]], [0, 0, 0]])
    x = np.random.default_rng(2).normal(size=(2, 3))
    check(lambda x: nn.softmax(x, where=where), x)
    check(lambda x: nn.logsumexp(x, 1, where=where)[0], x)
    # vmap over the mask too
    got = fg.vmap(lambda x, m: nn.softmax(x, where=m))(x, where)
    close(got, np.stack([nn.softmax(a, where=m) for a, m in zip(x, where, strict=True)]))


def test_weighted_logsumexp():
    rng = np.random.default_rng(3)
    x, b = rng.normal(size=(2, 3)), rng.uniform(0.5, 2, size=(2, 3))
    for axis, keepdims in product((0, 1, None, (0, 1)), (False, True)):
        got = nn.logsumexp(x + 1e4, axis, b, keepdims=keepdims)
        close(got, special.logsumexp(x + 1e4, axis, b, keepdims))
    check(lambda x, b: nn.logsumexp(x, 1, b), x, b)
    check(lambda x, b: nn.logsumexp(x, 0, b), x, b[:, :1])
    close(fg.grad(lambda b: nn.logsumexp(np.zeros(2), b=b))(np.array([1.0, 0.0])), [1, 1])
    close(
        fg.grad(lambda b: nn.logsumexp(np.array([0.0, 5.0]), b=b))(np.array([1.0, 0.0])),
        [1, np.exp(5)],
    )
    big = np.array([0.0, 1e3])
    close(nn.logsumexp(big, b=np.array([2.0, 0.0])), np.log(2))
    close(fg.grad(lambda x: nn.logsumexp(x, b=np.array([2.0, 0.0])))(big), [1, 0])
    close(nn.logsumexp(np.array([1.0, 0.0]), b=np.array([1.0, -1.0])), np.log(np.e - 1))
    close(nn.logsumexp(np.array([INF, 0.0]), b=np.array([1.0, 2.0])), INF)
    for x in (np.zeros(2), np.full(2, -INF)):
        close(nn.logsumexp(x, b=np.zeros(2)), -INF)
        close(fg.grad(lambda x: nn.logsumexp(x, b=np.zeros(2)))(x), [0, 0])
    narrow = nn.logsumexp(np.zeros(2, np.float32), b=np.array([1, 2]))
    assert narrow.dtype == np.float32


# --- losses --------------------------------------------------------------------------------------


def test_softmax_cross_entropy():
    rng = np.random.default_rng(4)
    logits, labels = rng.normal(size=(2, 3)) * 4, rng.dirichlet(np.ones(3), size=2)
    close(
        nn.softmax_cross_entropy(logits, labels),
        -np.sum(labels * np.log(special.softmax(logits, 1)), 1),
    )
    check(nn.softmax_cross_entropy, logits, labels)
    check(lambda x, p: nn.softmax_cross_entropy(x, p, axis=0), logits, labels[:, :1])
    gradient = fg.grad(lambda x: np.sum(nn.softmax_cross_entropy(x, labels)))(logits)
    close(gradient, special.softmax(logits, 1) - labels)
    slope = fg.grad(lambda p: nn.softmax_cross_entropy(np.zeros(2), p))(np.array([1.0, 0.0]))
    close(slope, [np.log(2)] * 2)


def test_impossible_classes_cost_nothing():
    logits = np.array([0.0, -INF, 0.0])
    loss = lambda x: nn.softmax_cross_entropy(x, np.array([1.0, 0.0, 0.0]))
    close(loss(logits), np.log(2))
    close(fg.grad(loss)(logits), [-0.5, 0, 0.5])
    assert nn.softmax_cross_entropy(logits, np.array([0, 1, 0])) == INF
    sparse = lambda x: nn.sparse_softmax_cross_entropy(x, np.array(2))
    close(fg.grad(sparse)(logits), [0.5, 0, -0.5])


def test_sparse_softmax_cross_entropy():
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(size=(4, 2, 3)), rng.integers(0, 3, (4, 2))
    dense = nn.softmax_cross_entropy(logits, nn.one_hot(labels, 3))
    close(nn.sparse_softmax_cross_entropy(logits, labels), dense)
    moved = np.moveaxis(logits, -1, 0)
    close(nn.sparse_softmax_cross_entropy(moved, labels, axis=0), dense)
    check(lambda x: nn.sparse_softmax_cross_entropy(x, labels), logits)
    close(fg.jit(nn.sparse_softmax_cross_entropy)(logits, labels), dense)
    close(fg.vmap(nn.sparse_softmax_cross_entropy)(logits, labels), dense)
    close(fg.vmap(nn.sparse_softmax_cross_entropy, (0, None))(logits, labels[0]),
          nn.sparse_softmax_cross_entropy(logits, np.tile(labels[0], (4, 1))))  # fmt: skip
    assert not np.signbit(nn.sparse_softmax_cross_entropy(np.array([1e3, 0.0]), 0))
    for function in (nn.sparse_softmax_cross_entropy, fg.jit(nn.sparse_softmax_cross_entropy)):
        with pytest.raises(IndexError):
            function(np.zeros(3), np.array(3))
        with pytest.raises(TypeError, match="must be integers, not float64"):
            function(np.zeros(3), np.array(1.0))


def test_sigmoid_binary_cross_entropy():
    rng = np.random.default_rng(6)
    x, p = rng.normal(size=(2, 3)) * 4, rng.uniform(size=(2, 3))
    want = -p * np.log(special.expit(x)) - (1 - p) * np.log(special.expit(-x))
    close(nn.sigmoid_binary_cross_entropy(x, p), want)
    check(nn.sigmoid_binary_cross_entropy, x, p)
    check(nn.sigmoid_binary_cross_entropy, x, p[:, :1])
    slope = fg.vmap(fg.grad(nn.sigmoid_binary_cross_entropy), (0, None))
    close(slope(POINTS, 1.0), -special.expit(-POINTS), 1e-13, TINY)
    close(slope(POINTS, 0.0), special.expit(POINTS), 1e-13, TINY)
    close(fg.grad(fg.grad(nn.sigmoid_binary_cross_entropy))(0.0, 0.3), 0.25)
    ends = np.array([INF, -INF])
    for labels in (np.array([1, 0]), np.array([True, False]), np.array([1.0, 0.0])):
        close(nn.sigmoid_binary_cross_entropy(ends, labels), [0, 0])
        close(nn.sigmoid_binary_cross_entropy(-ends, labels), [INF, INF])
        close(
            fg.grad(lambda x, p=labels: np.sum(nn.sigmoid_binary_cross_entropy(x, p)))(ends), [0, 0]
        )
        assert (
            nn.sigmoid_binary_cross_entropy(ends.astype(np.float32), labels > 0).dtype == np.float32
        )
    # A right prediction costs about exp(-|x|), not a difference of large numbers.
    close(nn.sigmoid_binary_cross_entropy(40.0, 1.0), np.exp(-40), 1e-15)


def test_integer_labels_do_not_widen_float32():
    logits = np.zeros((2, 3), np.float32)
    labels = np.array([[1, 0, 0], [0, 1, 0]])
    assert nn.softmax_cross_entropy(logits, labels).dtype == np.float32
    assert nn.sigmoid_binary_cross_entropy(logits, labels).dtype == np.float32
    assert nn.sparse_softmax_cross_entropy(logits, labels[:, 0]).dtype == np.float32


# --- convolution ---------------------------------------------------------------------------------


def pads_of(padding, sizes, kernel, stride, dilation):
    """Before and after each axis, read off the definitions."""
    if padding == "valid":
        return [(0, 0)] * len(sizes)
    if padding == "same":
        pads = []
        for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
            last = (-(-n // s) - 1) * s + d * (k - 1)  # the last entry that is read
            pads.append((max(last - n + 1, 0) // 2, -(-max(last - n + 1, 0) // 2)))
        return pads
    pads = padding if isinstance(padding, tuple) else (padding,) * len(sizes)
    return [p if isinstance(p, tuple) else (p, p) for p in pads]


def naive_conv(x, w, stride=1, padding="valid", dilation=1, groups=1):
    """Entry by entry, one example at a time."""
    rank = w.ndim - 2
    stride, dilation = ((v if isinstance(v, tuple) else (v,) * rank) for v in (stride, dilation))
    pads = pads_of(padding, x.shape[-rank:], w.shape[2:], stride, dilation)
    x = np.pad(x, [(0, 0)] * (x.ndim - rank) + pads)
    axes = zip(x.shape[-rank:], w.shape[2:], stride, dilation, strict=True)
    places = tuple(len(range(0, n - d * (k - 1), s)) for n, k, s, d in axes)
    lead = x.shape[: -rank - 1]
    out = np.zeros((*lead, w.shape[0], *places))
    per_group = w.shape[0] // groups
    for n, o, p in product(np.ndindex(lead), range(w.shape[0]), np.ndindex(places)):
        for c, k in product(range(w.shape[1]), np.ndindex(w.shape[2:])):
            at = tuple(i * s + j * d for i, s, j, d in zip(p, stride, k, dilation, strict=True))
            channel = o // per_group * w.shape[1] + c
            out[(*n, o, *p)] += w[(o, c, *k)] * x[(*n, channel, *at)]
    return out


CONVOLUTIONS = [
    ((2, 5), (3, 2, 2), {}),
    ((3, 2, 6), (2, 2, 3), {"stride": 2, "padding": "same"}),
    ((3, 2, 6), (2, 2, 2), {"dilation": 3, "padding": (2,)}),
    ((2, 4, 7), (4, 2, 3), {"groups": 2, "padding": ((2, 1),)}),
    ((2, 5, 4), (3, 2, 3, 2), {}),
    ((2, 3, 5, 4), (2, 3, 2, 2), {"stride": (2, 1), "padding": "same"}),
    ((2, 2, 5, 6), (2, 2, 3, 2), {"stride": (1, 3), "padding": ((1, 0), 2), "dilation": (2, 1)}),
    ((1, 4, 4, 4), (4, 1, 3, 3), {"groups": 4, "padding": "same"}),
    ((1, 2, 4, 4), (6, 1, 2, 2), {"groups": 2, "stride": 2, "padding": 1}),
    ((2, 1, 2, 3, 3), (2, 2, 1, 1), {}),
    ((2, 2, 3, 3), (2, 2, 1, 1), {"stride": 2}),
    ((2, 1, 3, 4, 2), (2, 1, 2, 2, 2), {"padding": "same"}),
    ((0, 2, 4, 4), (3, 2, 2, 2), {}),
]


@pytest.mark.parametrize(("shape", "kernel", "options"), CONVOLUTIONS, ids=str)
def test_conv(shape, kernel, options):
    rng = np.random.default_rng(7)
    x, w = rng.normal(size=shape), rng.normal(size=kernel)
    function = lambda x, w: nn.conv(x, w, **options)
    close(function(x, w), naive_conv(x, w, **options), 1e-12, 1e-13)
    check(function, x, w)


@pytest.mark.parametrize("padding", ["valid", "same", 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_sizes_of_conv(padding, stride):
    for n, k, d in product((4, 5, 6, 9), (1, 2, 3), (1, 2)):
        if padding == "valid" and d * (k - 1) >= n:
            continue
        x, w = np.arange(1.0, n + 1)[None], np.arange(1.0, k + 1)[None, None]
        options = {"stride": stride, "padding": padding, "dilation": d}
        got = nn.conv(x, w, **options)
        close(got, naive_conv(x, w, **options))
        if padding == "same":
            assert got.shape == (1, -(-n // stride))


def test_conv_is_correlation():
    x, w = np.random.default_rng(8).normal(size=(2, 9)), np.array([1.0, -2.0, 0.5])
    close(nn.conv(x[:1], w[None, None])[0], np.correlate(x[0], w))
    close(nn.conv(x[:1], w[None, None], padding="same")[0], np.correlate(x[0], w, "same"))


def test_conv_of_many_examples_goes_in_parts():
    rng = np.random.default_rng(9)
    x, w = rng.normal(size=(70, 4, 32, 32)), rng.normal(size=(2, 4, 3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    close(nn.conv(x, w), np.einsum("ncijkl,ockl->noij", windows, w), 1e-9, 1e-12)
    ct = rng.normal(size=(70, 2, 30, 30))
    of_x, of_w = fg.vjp(nn.conv, x, w)[1](ct)
    close(of_w, np.einsum("ncijkl,noij->ockl", windows, ct, optimize=True), 1e-9, 1e-9)
    around = np.pad(ct, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3), (2, 3))
    close(of_x, np.einsum("noijkl,ockl->ncij", windows, w[:, :, ::-1, ::-1]), 1e-9, 1e-12)


def test_conv_of_integers_and_mixed_dtypes():
    x, w = np.arange(6).reshape(1, 6), np.ones((1, 1, 2), int)
    assert nn.conv(x, w).dtype == np.float64
    narrow = nn.conv(x.astype(np.float32), np.ones((1, 1, 2), np.float32), padding="same")
    assert narrow.dtype == np.float32
    assert nn.conv(x.astype(np.float32), np.ones((1, 1, 2))).dtype == np.float64


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
@pytest.mark.parametrize(
    ("shape", "kernel", "options", "error", "match"),
    [
        ((3, 5), (2, 2, 2), {}, fg.errors.ShapeMismatchError, "axis -2 of x must be 1 times"),
        ((4, 5), (3, 2, 2), {"groups": 2}, fg.errors.ShapeMismatchError, "a multiple of 2"),
        ((2, 2), (3, 2, 3), {}, fg.errors.ShapeMismatchError, "larger than the .padded. x"),
        ((5,), (3, 2, 3), {}, fg.errors.ShapeMismatchError, "do not go together"),
        ((2, 5), (3, 2), {}, fg.errors.ShapeMismatchError, "do not go together"),
        ((2, 5), (3, 2, 2), {"stride": 0}, ValueError, "stride must be a positive integer"),
        ((2, 5), (3, 2, 2), {"dilation": (1, 1)}, ValueError, "dilation must be"),
        ((2, 5), (3, 2, 2), {"padding": "full"}, ValueError, "'valid', 'same' or integers"),
        ((2, 5), (3, 2, 2), {"padding": -1}, ValueError, "padding must be"),
        ((2, 5), (3, 2, 2), {"padding": ((1, 1), (1, 1))}, ValueError, "padding must be"),
        ((2, 5), (3, 2, 2), {"padding": 1.5}, TypeError, "integer"),
    ],
    ids=str,
)
def test_conv_refuses(shape, kernel, options, error, match, wrap):
    with pytest.raises(error, match=match):
        wrap(lambda x, w: nn.conv(x, w, **options))(np.ones(shape), np.ones(kernel))


# --- pooling -------------------------------------------------------------------------------------


def naive_pool(reduce, x, window, stride=None, padding="valid"):
    rank = len(window)
    stride = window if stride is None else stride if isinstance(stride, tuple) else (stride,) * rank
    pads = pads_of(padding, x.shape[-rank:], window, stride, (1,) * rank)
    x = np.pad(x, [(0, 0)] * (x.ndim - rank) + pads, constant_values=np.nan)
    axes = zip(x.shape[-rank:], window, stride, strict=True)
    places = tuple(len(range(0, n - k + 1, s)) for n, k, s in axes)
    out = np.zeros((*x.shape[:-rank], *places))
    for p in np.ndindex(places):
        part = tuple(slice(i * s, i * s + k) for i, s, k in zip(p, stride, window, strict=True))
        out[(..., *p)] = reduce(x[(..., *part)], axis=tuple(range(-rank, 0)))
    return out


POOLS = [
    ((6,), (2,), {}),
    ((2, 7), (3,), {"stride": 2}),
    ((2, 3, 4, 6), (2, 2), {}),
    ((2, 5, 5), (3, 2), {"stride": 1}),
    ((5, 5), (2, 3), {"stride": (2, 1), "padding": "same"}),
    ((1, 5, 4), (3, 3), {"stride": 2, "padding": 1}),
    ((1, 5, 4), (3, 3), {"padding": ((0, 2), 1)}),
    ((2, 3, 4), (1, 1), {}),
    ((2, 4, 4, 4), (2, 2, 2), {}),
    ((0, 4, 4), (2, 2), {}),
]


@pytest.mark.parametrize(("shape", "window", "options"), POOLS, ids=str)
def test_pooling(shape, window, options):
    x = np.random.default_rng(10).permutation(np.prod(shape, dtype=int)).reshape(shape) * 0.25 - 3
    for function, reduce in ((nn.max_pool, np.nanmax), (nn.avg_pool, np.nanmean)):
        pool = lambda x, function=function: function(x, window, **options)
        close(pool(x), naive_pool(reduce, x, window, **options), 1e-14)
        check(pool, x)


def test_ties_in_a_window_share_evenly():
    gradient = fg.grad(lambda x: np.sum(nn.max_pool(x, (2, 2))))
    close(gradient(np.array([[1.0, 1.0], [0.0, 1.0]])), np.array([[1, 1], [0, 1]]) / 3)
    close(gradient(np.full((2, 2), -INF)), np.full((2, 2), 0.25))


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
def test_pooling_refuses(pool):
    x = np.ones((4, 4))
    with pytest.raises(TypeError, match=r"write: \(2, 2\) for images"):
        pool(x, 2)
    with pytest.raises(ValueError, match="windows would be empty"):
        pool(x, (2, 2), padding=2)
    with pytest.raises(fg.errors.ShapeMismatchError, match="does not fit"):
        pool(x, (5, 5))
    with pytest.raises(fg.errors.ShapeMismatchError, match="a window"):
        pool(x, (1, 1, 1))
    with pytest.raises(ValueError, match="stride"):
        pool(x, (2, 2), stride=(1,))


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, 0, (0, 1), None])
def test_layer_norm(axis):
    rng = np.random.default_rng(11)
    x, scale, bias = rng.normal(size=(3, 4)) + 5, rng.normal(size=4), rng.normal(size=4)
    mean, variance = np.mean(x, axis, keepdims=True), np.var(x, axis, keepdims=True)
    plain = (x - mean) / np.sqrt(variance + 1e-5)
    close(nn.layer_norm(x, axis=axis), plain)
    close(nn.layer_norm(x, scale, bias, axis=axis), plain * scale + bias, atol=1e-14)
    wide = nn.layer_norm(x, axis=axis, epsilon=2.0)
    close(wide, (x - mean) / np.sqrt(variance + 2))
    check(lambda x, s, b: nn.layer_norm(x, s, b, axis=axis), x, scale, bias, order=2)


def test_layer_norm_of_equal_entries():
    x = np.full((2, 3), 7.0)
    close(nn.layer_norm(x), np.zeros((2, 3)))
    gradient = fg.grad(lambda x: np.sum(nn.layer_norm(x)[:, 0]))(x)
    close(gradient, np.tile([2, -1, -1], (2, 1)) / 3 / np.sqrt(1e-5))


def test_dropout_by_mask():
    x, stays = np.array([1.0, INF, 3.0, 4.0]), np.array([True, False, True, False])
    close(nn.dropout(x, 0.75, stays), [4, 0, 12, 0])
    close(fg.grad(lambda x: np.sum(nn.dropout(x, 0.75, stays)))(x), [4, 0, 4, 0])
    close(fg.jit(nn.dropout, static_argnums=1)(x, 0.75, stays), [4, 0, 12, 0])
    rows = np.stack([stays, ~stays])
    close(
        fg.vmap(lambda x, k: nn.dropout(x, 0.5, k), (None, 0))(x, rows),
        [[2, 0, 6, 0], [0, INF, 0, 8]],
    )
    assert nn.dropout(x.astype(np.float32), 0.5, stays).dtype == np.float32
    for rate in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match="at least 0 and less than 1"):
            nn.dropout(x, rate, stays)


def test_dropout_by_key():
    x, key = np.ones((100, 100)), random.key(0)
    got = nn.dropout(x, 0.25, key)
    assert set(np.unique(got)) == {0, 1 / 0.75}
    assert abs(np.mean(got) - 1) < 0.03
    close(nn.dropout(x, 0.25, key), got)
    close(fg.jit(lambda x, key: nn.dropout(x, 0.25, key))(x, key), got)
    close(fg.grad(lambda x: np.sum(nn.dropout(x, 0.25, key)))(x), got)
    assert np.any(nn.dropout(x, 0.25, random.key(1)) != got)
    keys = random.split(key, 3)
    rows = fg.vmap(lambda x, key: nn.dropout(x, 0.5, key))(x[:3], keys)
    close(rows, np.stack([nn.dropout(x[i], 0.5, keys[i]) for i in range(3)]))


def test_one_hot():
    labels = np.array([[2, 0], [3, -1]])
    want = np.array([[[0, 0, 1], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    got = nn.one_hot(labels, 3)
    close(got, want)
    assert got.dtype == np.float64
    for function in (nn.one_hot, fg.jit(nn.one_hot, static_argnums=1)):
        close(function(labels, 3), want)
        close(function(1, 3), [0, 1, 0])
    close(fg.vmap(lambda k: nn.one_hot(k, 3))(labels), want)
    close(nn.one_hot(labels, 3, axis=0), np.moveaxis(want, -1, 0))
    close(nn.one_hot(labels, 3, axis=1), np.moveaxis(want, -1, 1))
    assert nn.one_hot(labels, 3, dtype=np.float32).dtype == np.float32
    assert nn.one_hot(labels, np.int64(0)).shape == (2, 2, 0)
    with pytest.raises(TypeError, match="must be integers, not float64"):
        nn.one_hot(np.array([1.0]), 3)


def test_embedding_by_one_hot_has_the_gradient_of_indexing():
    table, words = np.random.default_rng(12).normal(size=(4, 3)), np.array([1, 1, 3])
    by_code = fg.grad(lambda t: np.sum((nn.one_hot(words, 4) @ t) ** 2))(table)
    close(by_code, fg.grad(lambda t: np.sum(t[words] ** 2))(table))


# --- all together --------------------------------------------------------------------------------


def network(params, images):
    h = nn.relu(nn.conv(images, params["conv"], padding="same") + params["bias"][:, None, None])
    h = nn.max_pool(h, (2, 2))
    h = nn.layer_norm(h.reshape(len(images), -1))
    return nn.gelu(h) @ params["out"]


def test_training_a_small_network():
    rng = np.random.default_rng(13)
    images, labels = rng.normal(size=(8, 1, 6, 6)).astype(np.float32), rng.integers(0, 3, 8)
    shapes = {"conv": (4, 1, 3, 3), "bias": (4,), "out": (36, 3)}
    params = {name: rng.normal(size=s).astype(np.float32) * 0.3 for name, s in shapes.items()}

    def loss(params):
        return np.mean(nn.sparse_softmax_cross_entropy(network(params, images), labels))

    step = fg.jit(fg.value_and_grad(loss))
    first, gradient = step(params)
    assert first.dtype == np.float32
    eager = fg.grad(loss)(params)
    for name, value in gradient.items():
        assert value.dtype == np.float32
        close(value, eager[name], 1e-4, 1e-6)
    for _ in range(60):
        value, gradient = step(params)
        params = {name: p - np.float32(0.3) * gradient[name] for name, p in params.items()}
    assert value < first / 4


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.bool_])
def test_sigmoid_of_integers_does_not_wrap(dtype):
    x = np.array([0, 1], dtype) if dtype is np.bool_ else np.array([3, np.iinfo(dtype).min], dtype)
    wide = x.astype(np.float64)
    expected = np.exp(-np.logaddexp(0, -wide))
    np.testing.assert_allclose(fg.nn.sigmoid(x), expected, rtol=2e-3 if x.itemsize == 1 else 1e-14)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_rows_computed_in_blocks_have_the_bits_of_the_whole(name, dtype, monkeypatch):
    value = getattr(softmax_module, f"{name}_value")
    x = np.random.default_rng(0).normal(size=(3, 7, 50)).astype(dtype) * 20
    x[0, 0, :2], x[0, 1], x[1, 0, 0] = np.inf, -np.inf, np.nan
    with np.errstate(invalid="ignore"):
        want = value(x, (2,))
        for size in (1, 3, 7, 20, 1000):
            monkeypatch.setattr(softmax_module, "BLOCK", size * 50 * x.itemsize)
            for operand in (x, x.swapaxes(0, 1).copy().swapaxes(0, 1)):
                np.testing.assert_array_equal(value(operand, (2,)), want, strict=True)
            out = np.empty_like(x)
            assert value(x, (2,), out=out) is out
            np.testing.assert_array_equal(out, want)
        short = x[..., :4]
        out = np.empty_like(short)
        assert value(short, (2,), out=out) is out
        np.testing.assert_array_equal(out, value(short, (2,)))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("shape", [(40, 7), (400, 300)])
def test_exponentials_computed_at_once_have_the_bits_of_each_whatever_the_layout(shape, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)

    def both(x):
        return fg.nn.softmax(x), fg.nn.log_softmax(x)

    for operand in (x, np.asfortranarray(x), x[::-1, ::-1]):
        for once, alone in zip(fg.jit(both)(operand), both(operand), strict=True):
            assert once.dtype.isnative
            assert alone.dtype == once.dtype
            np.testing.assert_array_equal(once, alone)
