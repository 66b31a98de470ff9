"""``fg.random``: keys are values, draws are pure functions of them, and have the right laws."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import permutations, product

import numpy as np
import pytest
import scipy.special as sc
from mpmath import mp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import fungrad as fg
import fungrad.random as random
from fungrad.errors import InputTypeError, ShapeMismatchError, UnsupportedFunctionError
from fungrad.ops.random import gamma_slope
from tests._checks import same_bits

KEY = random.key(20)
COV = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 1.5]])
WEIGHTS = np.array([0.5, 0.2, 0.0, 0.3])

DRAWS = {
    "uniform": lambda key: random.uniform(key, (2, 3), -1.0, np.array([1.0, 2.0, 3.0])),
    "uniform, one": lambda key: random.uniform(key),
    "normal": lambda key: random.normal(key, (2, 3), 1.0, 2.0),
    "normal, one": lambda key: random.normal(key),
    "normal, float32": lambda key: random.normal(key, 5, dtype=np.float32),
    "normal, empty": lambda key: random.normal(key, (0, 3)),
    "laplace": lambda key: random.laplace(key, 4, scale=np.float32(2), dtype=np.float32),
    "gumbel": lambda key: random.gumbel(key, (3, 1)),
    "exponential": lambda key: random.exponential(key, 4, 3.0),
    "gamma": lambda key: random.gamma(key, np.array([0.3, 2.0]), (3, 2)),
    "gamma, float32": lambda key: random.gamma(key, 2.0, dtype=np.float32),
    "beta": lambda key: random.beta(key, 0.5, np.array([0.5, 2.0])),
    "dirichlet": lambda key: random.dirichlet(key, np.array([0.1, 1.0, 5.0]), 4),
    "student_t": lambda key: random.student_t(key, 3.0, 5),
    "truncated_normal": lambda key: random.truncated_normal(key, -1.0, 2.0, 5),
    "multivariate_normal": lambda key: random.multivariate_normal(key, np.ones(3), COV, 4),
    "bernoulli": lambda key: random.bernoulli(key, 0.3, (4, 2)),
    "integers": lambda key: random.integers(key, 0, np.array([3, 100]), (4, 2), np.int16),
    "poisson": lambda key: random.poisson(key, np.array([0.5, 50.0])),
    "binomial": lambda key: random.binomial(key, 20, 0.3, 6),
    "categorical": lambda key: random.categorical(key, np.log([0.5, 0.2, 0.3]), (5, 2)),
    "permutation": lambda key: random.permutation(key, 6),
    "permutation of rows": lambda key: random.permutation(key, np.arange(12.0).reshape(4, 3)),
    "permutation of columns": lambda key: random.permutation(key, np.arange(12).reshape(4, 3), -1),
    "choice": lambda key: random.choice(key, 10, (2, 3)),
    "choice of rows": lambda key: random.choice(key, np.arange(12.0).reshape(4, 3), 5),
    "choice, once": lambda key: random.choice(key, 10, 4, replace=False),
    "choice, weighted": lambda key: random.choice(key, 4, 6, p=WEIGHTS),
    "choice, weighted, once": lambda key: random.choice(key, 4, 3, False, WEIGHTS),
    "split": lambda key: random.split(key, 3),
    "fold_in": lambda key: random.fold_in(key, 7),
}


# --- purity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRAWS)
def test_the_key_decides(name):
    """Equal keys give equal bits, jitted or not; other keys give other numbers, without tracing."""
    draw = DRAWS[name]
    traced = []

    @fg.jit
    def jitted(key):
        traced.append(key)
        return draw(key)

    for key in random.split(KEY, 4):
        want = draw(key)
        same_bits(draw(key), want, name)
        for _ in range(2):
            same_bits(jitted(key), want, name)
    assert len(traced) == 1
    many = [draw(key) for key in random.split(KEY, 8)]
    assert not np.size(want) or any(not np.array_equal(draws, want) for draws in many)


@pytest.mark.parametrize("name", DRAWS)
def test_mapping_over_keys_stacks(name):
    draw = DRAWS[name]
    keys = random.split(KEY, 3)
    want = np.stack([draw(key) for key in keys])
    same_bits(fg.vmap(draw)(keys), want, name)
    same_bits(fg.jit(fg.vmap(draw))(keys), want, name)
    twice = fg.vmap(fg.vmap(draw))(keys.reshape(3, 1, 2))
    same_bits(twice, want[:, None], name)


def test_mapping_over_parameters_keeps_the_key():
    a = np.array([0.5, 2.0, 7.0])
    for f in (
        lambda a: random.gamma(KEY, a, 4),
        lambda a: random.normal(KEY, 4, a),
        lambda a: random.poisson(KEY, a, 4),
        lambda a: random.bernoulli(KEY, a / 10, 4),
        lambda a: random.permutation(KEY, np.stack([a, -a])),
    ):
        same_bits(fg.vmap(f)(a), np.stack([f(x) for x in a]), "parameters")
    both = lambda key, a: random.gamma(key, a, 4)
    keys = random.split(KEY, 3)
    want = np.stack([both(key, x) for key, x in zip(keys, a, strict=True)])
    same_bits(fg.vmap(both)(keys, a), want, "both")


def test_other_processes_draw_the_same():
    names = ("normal", "gamma", "choice, weighted, once", "permutation", "split")
    here = [DRAWS[name](KEY).tolist() for name in names]
    code = (
        "from tests.test_random import DRAWS, KEY; "
        f"print([DRAWS[name](KEY).tolist() for name in {names!r}])"
    )
    for seed in ("0", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env=environment, cwd=os.path.dirname(os.path.dirname(__file__)),
        )  # fmt: skip
        assert run.stdout.strip() == str(here)


def test_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    for draw in DRAWS.values():
        draw(KEY)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


def test_draws_belong_to_the_caller():
    draws = random.normal(KEY, 3)
    draws[:] = 0.0
    assert np.all(random.normal(KEY, 3) != 0.0)


# --- keys ----------------------------------------------------------------------------------------


def test_keys_of_seeds():
    seeds = np.arange(50)
    keys = [random.key(int(seed)) for seed in seeds]
    assert len({tuple(key.tolist()) for key in keys}) == 50
    same_bits(fg.vmap(random.key)(seeds), np.stack(keys), "mapped")
    same_bits(fg.jit(random.key)(3), keys[3], "jitted")
    same_bits(random.key(np.int64(3)), keys[3], "NumPy integer")
    assert not np.array_equal(random.key(2**100), random.key(2**100 + 1))
    with pytest.raises(ValueError, match="non-negative"):
        random.key(-1)
    with pytest.raises(TypeError):
        random.key(0.5)
    with pytest.raises(InputTypeError, match=r"fg\.vmap\(fg\.random\.key\)"):
        fg.jit(random.key)(seeds)


def test_keys_are_read_only():
    for key in (random.key(0), *random.split(KEY), random.fold_in(KEY, 1)):
        with pytest.raises(ValueError, match="read-only"):
            key[0] = 1


def test_no_two_keys_of_a_family_are_equal():
    children = random.split(KEY, 200)
    family = [
        KEY,
        *children,
        *[random.fold_in(KEY, i) for i in range(-100, 100)],
        *[key for child in children[:20] for key in random.split(child, 20)],
        *[random.fold_in(child, i) for child in children[:20] for i in range(20)],
    ]
    assert len({tuple(np.asarray(key).tolist()) for key in family}) == len(family)


def test_the_first_children_do_not_depend_on_the_count():
    assert_array_equal(random.split(KEY, 5)[:2], random.split(KEY))
    assert random.split(KEY, 0).shape == (0, 2)
    with pytest.raises(ValueError, match="negative"):
        random.split(KEY, -1)


def test_fold_in():
    same_bits(random.fold_in(KEY, -1), random.fold_in(KEY, 2**64 - 1), "modulo")
    numbers = np.arange(4)
    want = np.stack([random.fold_in(KEY, int(n)) for n in numbers])
    same_bits(fg.vmap(random.fold_in, (None, 0))(KEY, numbers), want, "mapped")
    jitted = fg.jit(lambda n: random.normal(random.fold_in(KEY, n)))
    for n in range(3):
        assert jitted(n) == random.normal(random.fold_in(KEY, n))
    for wrong in (numbers, np.float64(1.5)):
        with pytest.raises((InputTypeError, TypeError)):
            random.fold_in(KEY, wrong)


def test_draws_of_a_family_are_independent():
    """Parent, children and folds: no pair is correlated, and the pool is normal."""
    children = random.split(KEY, 30)
    keys = [
        KEY,
        *children,
        *[random.fold_in(KEY, i) for i in range(30)],
        *random.split(children[0], 30),
    ]
    draws = np.stack([random.normal(key, 2000) for key in keys])
    correlations = np.corrcoef(draws)[np.triu_indices(len(keys), 1)] * np.sqrt(2000)
    assert np.max(np.abs(correlations)) < 5.0  # of 4095 standard normal numbers
    assert stats.kstest(correlations, "norm").pvalue > 1e-3
    # One number from each of many children is as good as many from one.
    firsts = fg.vmap(lambda key: random.uniform(key))(random.split(KEY, 4000))
    assert stats.kstest(firsts, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 5 / np.sqrt(4000)


def test_what_is_no_key_is_refused():
    for wrong in (0, None, np.zeros(2), np.zeros(2, np.int64)):
        with pytest.raises(InputTypeError, match=r"fg\.random\.key\(0\)"):
            random.normal(wrong)
    with pytest.raises(ShapeMismatchError, match=r"fg\.vmap"):
        random.normal(random.split(KEY))
    with pytest.raises(InputTypeError, match="float64 numbers"):
        fg.jit(lambda key: random.normal(key))(np.zeros(2))


# --- laws ----------------------------------------------------------------------------------------

N = 20_000
CONTINUOUS = {
    "uniform": (lambda k: random.uniform(k, N, -1.0, 3.0), stats.uniform(-1, 4)),
    "uniform, float32": (lambda k: random.uniform(k, N, dtype=np.float32), stats.uniform()),
    "normal": (lambda k: random.normal(k, N, 1.0, 2.0), stats.norm(1, 2)),
    "normal, float32": (lambda k: random.normal(k, N, dtype=np.float32), stats.norm()),
    "laplace": (lambda k: random.laplace(k, N, 1.0, 2.0), stats.laplace(1, 2)),
    "gumbel": (lambda k: random.gumbel(k, N, 1.0, 2.0), stats.gumbel_r(1, 2)),
    "exponential": (lambda k: random.exponential(k, N, 2.0), stats.expon(scale=2)),
    "gamma": (lambda k: random.gamma(k, 2.5, N, 3.0), stats.gamma(2.5, scale=3)),
    "gamma below 1": (lambda k: random.gamma(k, 0.2, N), stats.gamma(0.2)),
    "gamma, float32": (lambda k: random.gamma(k, 0.7, N, dtype=np.float32), stats.gamma(0.7)),
    "beta": (lambda k: random.beta(k, 2.0, 0.5, N), stats.beta(2, 0.5)),
    "dirichlet": (lambda k: random.dirichlet(k, [0.5, 1.0, 2.0], N)[:, 0], stats.beta(0.5, 3)),
    "student_t": (lambda k: random.student_t(k, 3.0, N), stats.t(3)),
    **{
        f"truncated_normal {bounds}": (
            lambda k, bounds=bounds: random.truncated_normal(k, *bounds, N),
            stats.truncnorm(*bounds),
        )
        for bounds in (
            (-2, 2),
            (-9, 9),
            (0, 1),
            (3, 3.2),
            (5, np.inf),
            (-np.inf, -4),
            (-0.5, 6),
            (2, 9),
        )
    },
    "multivariate_normal": (
        lambda k: random.multivariate_normal(k, np.zeros(3), COV, N) @ np.array([1.0, -1.0, 2.0]),
        stats.norm(0, np.sqrt(np.array([1.0, -1.0, 2.0]) @ COV @ np.array([1.0, -1.0, 2.0]))),
    ),
}
DISCRETE = {
    "bernoulli": (lambda k: random.bernoulli(k, 0.3, N), [0.7, 0.3]),
    "integers": (lambda k: random.integers(k, 2, 5, N), [0, 0, 1 / 3, 1 / 3, 1 / 3]),
    "poisson": (lambda k: random.poisson(k, 1.5, N), stats.poisson(1.5).pmf(range(9))),
    "binomial": (lambda k: random.binomial(k, 4, 0.3, N), stats.binom(4, 0.3).pmf(range(5))),
    "categorical": (
        lambda k: random.categorical(k, np.array([0.0, -np.inf, 1.0]), N),
        [1 / (1 + np.e), 0, np.e / (1 + np.e)],
    ),
    "choice": (lambda k: random.choice(k, 3, N), [1 / 3] * 3),
    "choice, weighted": (lambda k: random.choice(k, 4, N, p=WEIGHTS), WEIGHTS),
    "choice, once": (
        lambda k: fg.vmap(lambda k: random.choice(k, 3, (), False))(random.split(k, 3000)),
        [1 / 3] * 3,
    ),
    "choice, weighted, once": (
        # The second one: P(j) = sum over the first of p_i p_j / (1 - p_i).
        lambda k: fg.vmap(lambda k: random.choice(k, 3, 2, False, [5.0, 3.0, 2.0])[1])(
            random.split(k, 3000)
        ),
        [sum(p * q / (1 - p) for j, p in enumerate((0.5, 0.3, 0.2)) if j != i)
         for i, q in enumerate((0.5, 0.3, 0.2))],
    ),
    "permutation": (
        lambda k: np.array([
            list(permutations(range(3))).index(tuple(order.tolist()))
            for order in fg.vmap(lambda k: random.permutation(k, 3))(random.split(k, 3000))
        ]),
        [1 / 6] * 6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTINUOUS)
def test_laws_of_continuous_draws(name):
    draw, law = CONTINUOUS[name]
    draws = draw(KEY)
    assert stats.kstest(draws, law.cdf).pvalue > 1e-3
    if np.isfinite(law.stats("k")):
        for power in (1, 2):
            error = np.std(draws**power) / np.sqrt(N)
            assert abs(np.mean(draws**power) - law.moment(power)) < 5 * error


@pytest.mark.parametrize("name", DISCRETE)
def test_laws_of_discrete_draws(name):
    draw, probabilities = DISCRETE[name]
    draws = draw(KEY)
    p = np.array(probabilities)
    counts = np.bincount(draws, minlength=len(p))
    assert not np.any(counts[: len(p)][p == 0])
    expected = p[p > 0] * len(draws)
    statistic = np.sum((counts[: len(p)][p > 0] - expected) ** 2 / expected)
    assert stats.chi2.sf(statistic, np.sum(p > 0) - 1) > 1e-3


def test_covariance():
    draws = random.multivariate_normal(KEY, np.array([1.0, 2.0, 3.0]), COV, 50_000)
    assert_allclose(np.cov(draws.T), COV, atol=0.05)
    assert_allclose(draws.mean(0), [1, 2, 3], atol=0.05)


def test_extreme_parameters_stay_finite():
    """Where the numbers themselves underflow, ratios of them are still right."""
    for a in (1e-3, 1e-8):
        draws = random.beta(KEY, a, a, 2000)
        assert abs(np.mean(draws) - 0.5) < 0.06
        weights = random.dirichlet(KEY, np.full(3, a), 2000)
        assert_allclose(weights.sum(-1), 1.0)
        assert_allclose(weights.mean(0), 1 / 3, atol=0.06)
        slopes = fg.grad(lambda a: np.sum(random.gamma(KEY, a, 100)))(a)
        assert np.isfinite(slopes)
    assert_allclose(random.gamma(KEY, 1e8, 10), 1e8, rtol=1e-3)
    assert_array_equal(random.categorical(KEY, np.array([-np.inf, 3.0, -np.inf]), 5), 1)


# --- derivatives -----------------------------------------------------------------------------------


def test_location_and_scale():
    for draw in (random.normal, random.laplace, random.gumbel):
        noise = draw(KEY, (2, 3))
        value, pull = fg.vjp(lambda m, s, draw=draw: draw(KEY, (2, 3), m, s), 1.5, 2.0)
        same_bits(value, 1.5 + 2.0 * noise, draw.__name__)
        ct = np.arange(6.0).reshape(2, 3)
        assert_allclose(pull(ct), (15.0, np.sum(ct * noise)))
    u = random.uniform(KEY, 4)
    low, high = fg.grad(lambda a, b: np.sum(random.uniform(KEY, 4, a, b)), (0, 1))(0.5, 2.0)
    assert_allclose((low, high), (np.sum(1 - u), np.sum(u)))
    e = random.exponential(KEY, 4)
    assert_allclose(fg.grad(lambda s: np.sum(random.exponential(KEY, 4, s)))(2.0), np.sum(e))


def test_covariance_and_mean():
    def f(mean, factor):
        cov = factor @ factor.T
        return np.sum(random.multivariate_normal(KEY, mean, cov, 5) * np.arange(15.0).reshape(5, 3))

    fg.testing.check_grads(f, (np.ones(3), np.linalg.cholesky(COV)))


@pytest.mark.parametrize("a", [1.0, 1.3, 2.5, 10.0, 300.0])
def test_gamma_draws_keep_their_quantile(a):
    for q in (1e-8, 0.01, 0.3, 0.5, 0.61, 0.9, 1 - 1e-8):
        x = float(sc.gammaincinv(a, q))
        with mp.workdps(40):
            by_a = mp.diff(lambda a, x=x: mp.gammainc(a, 0, x, regularized=True), mp.mpf(a))
            want = -by_a / (mp.mpf(x) ** (a - 1) * mp.exp(-x) / mp.gamma(a))
        assert_allclose(gamma_slope(x, a), float(want), 1e-10)
        same_bits(gamma_slope(np.float32(x), np.float32(a)).dtype, np.float32, "dtype")


def test_gamma_slope_of_large_parameters():
    """With a large, the draw is about a + z √a + (z² - 1)/3, which moves as 1 + z / 2√a."""
    a, z = 1e8, np.array([-3.0, 0.0, 2.0])
    x = a + z * np.sqrt(a) + (z * z - 1) / 3
    assert_allclose(gamma_slope(x, np.full(3, a)) - 1, z / (2 * np.sqrt(a)), 1e-3, 1e-8)


EXPECTATIONS = [
    (lambda a: random.gamma(KEY, a, N), 0.4, 1.0),  # mean a
    (lambda a: random.gamma(KEY, a, N) ** 2, 3.0, 7.0),  # a (a + 1)
    (lambda a: np.log(random.gamma(KEY, a, N)), 2.0, sc.polygamma(1, 2.0)),  # psi(a)
    (lambda a: random.beta(KEY, a, 3.0, N), 2.0, 3 / 25),  # a / (a + b)
    (lambda a: random.beta(KEY, 3.0, a, N), 2.0, -3 / 25),
    (lambda a: random.student_t(KEY, a, N) ** 2, 9.0, -2 / 49),  # a / (a - 2)
    (lambda a: random.dirichlet(KEY, a * np.array([1.0, 2.0]), N)[:, 0] ** 2, 2.0, -2 / 147),
]


@pytest.mark.parametrize(("f", "x", "want"), EXPECTATIONS)
def test_gradients_of_expectations(f, x, want):
    slopes = fg.jvp(f, (x,), (1.0,))[1]
    error = np.std(slopes) / np.sqrt(N)
    assert abs(np.mean(slopes) - want) < 5 * error
    assert error < 0.1 * (1 + abs(want))
    for mean in (lambda a: np.mean(f(a)), fg.jit(lambda a: np.mean(f(a)))):
        assert_allclose(fg.grad(mean)(x), np.mean(slopes), 1e-10)


def test_gradients_keep_float32():
    x = np.float32(2)
    for draw in (random.gamma, random.student_t):
        value, slope = fg.value_and_grad(lambda a, d=draw: np.sum(d(KEY, a, 4, dtype=np.float32)))(
            x
        )
        assert value.dtype == slope.dtype == np.float32
        wide = fg.grad(lambda a, d=draw: np.sum(d(KEY, a, 4, dtype=np.float32)))(2.0)
        assert_allclose(slope, wide, 1e-4)


def test_second_derivatives():
    curvature = fg.grad(fg.grad(lambda s: np.sum(random.normal(KEY, 5, scale=s) ** 2)))(2.0)
    assert_allclose(curvature, 2 * np.sum(random.normal(KEY, 5) ** 2))
    with pytest.raises(UnsupportedFunctionError, match="second derivatives of gamma draws"):
        fg.grad(fg.grad(lambda a: np.sum(random.gamma(KEY, a, 5))))(2.0)


def test_discrete_draws_are_constant():
    f = lambda p: np.sum(random.bernoulli(KEY, p, 20) * 2.0 + random.poisson(KEY, p, 20))
    assert fg.grad(f)(0.4) == 0.0
    logits = np.zeros(3)
    assert not np.any(fg.grad(lambda z: np.sum(z[random.categorical(KEY, z, 4)] * 0.0))(logits))
    x = np.arange(5.0)
    weights = np.arange(1.0, 6.0)
    order = random.permutation(KEY, 5)
    gradient = fg.grad(lambda x: np.sum(weights * random.permutation(KEY, x)))(x)
    assert_array_equal(gradient[order], weights)
    chosen = fg.grad(lambda x: np.sum(random.choice(KEY, x, 7)))(x)
    assert_array_equal(chosen, np.bincount(random.choice(KEY, 5, 7), minlength=5))


def test_keys_are_inputs_of_jitted_steps():
    """Training with noise: each step has a key of its own, the program is traced once."""
    traced = []

    @fg.jit
    def step(w, key):
        traced.append(w)
        key, noise_key = random.split(key)

        def loss(w):
            return np.mean((w + 0.1 * random.normal(noise_key, w.shape) - 1.0) ** 2)

        return w - fg.grad(loss)(w), key

    w, key = np.zeros(3), KEY
    for _ in range(60):
        w, key = step(w, key)
    assert_allclose(w, 1.0, atol=0.3)
    assert len(traced) == 1


# --- shapes, dtypes, errors ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (2, 0, 3)])
def test_shapes(shape):
    for draw in (random.uniform, random.normal, random.laplace, random.gumbel, random.exponential):
        for dtype in (np.float64, np.float32):
            draws = np.asarray(draw(KEY, shape, dtype=dtype))
            assert (draws.shape, draws.dtype) == (shape, dtype)
    for draw, parameters in (
        (random.gamma, (2.0,)), (random.beta, (2.0, 3.0)), (random.student_t, (3.0,)),
    ):  # fmt: skip
        draws = np.asarray(draw(KEY, *parameters, shape, dtype=np.float32))
        assert (draws.shape, draws.dtype) == (shape, np.float32)
    assert np.shape(random.dirichlet(KEY, np.ones(3), shape)) == (*shape, 3)
    assert np.shape(random.multivariate_normal(KEY, np.ones(3), COV, shape)) == (*shape, 3)
    assert np.shape(random.choice(KEY, np.ones((4, 5)), shape)) == (*shape, 5)
    assert np.shape(random.categorical(KEY, np.ones(3), shape)) == shape


def test_shapes_of_parameters():
    row, column = np.ones(3), np.ones((2, 1))
    assert random.normal(KEY, None, row, column).shape == (2, 3)
    assert random.normal(KEY, [4, 2, 3], row, column).shape == (4, 2, 3)
    assert random.normal(KEY, np.int64(3), row).shape == (3,)
    assert random.beta(KEY, row, column).shape == (2, 3)
    assert random.dirichlet(KEY, np.ones((4, 3))).shape == (4, 3)
    assert random.categorical(KEY, np.ones((4, 3))).shape == (4,)
    assert random.multivariate_normal(KEY, np.ones((4, 1, 3)), np.stack([COV] * 2)).shape == (
        4,
        2,
        3,
    )
    for shape in ((3, 2), (2,), 4, ()):
        with pytest.raises(ShapeMismatchError, match="normal"):
            random.normal(KEY, shape, row, column)
    with pytest.raises(ValueError, match="negative"):
        random.normal(KEY, -1)
    with pytest.raises(TypeError):
        random.normal(KEY, 2.5)


def test_wrong_arguments():
    with pytest.raises(TypeError, match="float32 or float64, not float16"):
        random.normal(KEY, 3, dtype=np.float16)
    with pytest.raises(TypeError, match="real numbers"):
        random.gamma(KEY, 1j)
    with pytest.raises(TypeError, match="integers"):
        random.integers(KEY, 0.5, 3)
    with pytest.raises(TypeError, match="integer"):
        random.binomial(KEY, 2.5, 0.5)
    with pytest.raises(ValueError, match="low >= high"):
        random.integers(KEY, 3, 3)
    for a, p in ((0, None), (3, [1.0, 2.0])):
        with pytest.raises(ValueError, match=r"choose|weights"):
            random.choice(KEY, a, 2, p=p)
    with pytest.raises(ValueError, match="without replacement"):
        random.choice(KEY, 3, 4, replace=False)
    for draw in (random.dirichlet, random.categorical):
        with pytest.raises(ValueError, match="axis"):
            draw(KEY, 1.0)
    with pytest.raises(np.linalg.LinAlgError):
        random.multivariate_normal(KEY, np.zeros(2), -np.eye(2))


def test_orders_and_choices_hold_every_entry():
    x = np.arange(12.0).reshape(4, 3)
    for axis in (0, 1, -1):
        shuffled = random.permutation(KEY, x, axis)
        assert_array_equal(np.sort(shuffled, axis), np.sort(x, axis))
    assert_array_equal(np.sort(random.choice(KEY, 6, 6, replace=False)), np.arange(6))
    every = random.choice(KEY, 4, 4, False, WEIGHTS)
    assert sorted(every.tolist()) == [0, 1, 2, 3]
    assert every[-1] == 2  # its weight is 0


@pytest.mark.parametrize(("low", "high"), list(product((-5, 0), (1, 300))))
def test_bounds_of_integers(low, high):
    draws = random.integers(KEY, low, high, 20_000, np.int16)
    assert draws.dtype == np.int16
    assert (draws.min(), draws.max()) == (low, high - 1)
    traced = fg.jit(lambda key, high: random.integers(key, low, high, 20_000, np.int16))
    same_bits(traced(KEY, high), draws, "traced bound")


@pytest.mark.parametrize("a", [-1.0, -0.25, np.array([2.0, -1e-3])])
def test_negative_parameters_of_gamma_draws(a):
    for draw in (random.gamma, random.dirichlet, lambda key, a: random.beta(key, 1.0, a)):
        for run in (draw, fg.jit(draw)):
            with pytest.raises(ValueError, match="negative"):
                run(KEY, np.atleast_1d(a))
