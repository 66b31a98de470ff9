"""Triangular inverses and what rules make of them: sizes beyond the matrix's, and exactness."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose as close
from numpy.testing import assert_array_equal

import fungrad as fg
from fungrad.ops import inverses, triangular
from fungrad.ops.inverses import inverse_or_nan
from fungrad.ops.linalg import refined
from fungrad.ops.triangular import (
    STRIP,
    cholesky_cotangent,
    gram,
    invert_triangle,
    thin_cotangent,
)

SIZES = (1, 2, 5, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 7, 100)
DTYPES = ("f", "d", "F", "D")
LARGE = inverses.LARGE


def normal(*shape, dtype="d", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def lower(*shape, dtype="d", seed=0):
    """Factors of well-conditioned matrices."""
    a = normal(*shape, dtype=dtype, seed=seed)
    n = shape[-1]
    return np.linalg.cholesky(a @ a.mT.conj() / n + np.eye(n, dtype=dtype))


def definite(n, dtype="d", seed=0):
    factor = lower(n, n, dtype=dtype, seed=seed)
    a = factor @ factor.mT.conj()
    return ((a + a.mT.conj()) / 2).astype(dtype)


def tolerance(dtype):
    return 500 * np.finfo(dtype).eps


# --- the parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_inverse_of_a_triangle(n, dtype):
    a = lower(2, 3, n, n, dtype=dtype)
    x = invert_triangle(a)
    assert x.dtype == a.dtype
    close(x, np.tril(np.linalg.inv(a)), rtol=0, atol=tolerance(dtype))
    assert_array_equal(x, np.tril(x))
    rubbish = a + np.triu(np.full_like(a, np.nan), 1)
    assert_array_equal(invert_triangle(rubbish), x)
    assert_array_equal(invert_triangle(a.mT.copy().mT), x)  # whatever the order in memory
    close(gram(x), x.mT.conj() @ x, rtol=0, atol=tolerance(dtype))


@pytest.mark.parametrize("n", [2, 10, STRIP, STRIP + 1])
def test_inverse_of_a_triangle_of_entries_of_all_sizes(n):
    """Substitution is right entry by entry; an exchange of rows by their size can cost all digits."""
    rng = np.random.default_rng(n)
    a = np.tril(rng.normal(size=(n, n)) * 10 ** rng.uniform(-9, 9, (n, n)))
    with mpmath.workdps(300):
        exact = (mpmath.matrix(a.tolist()) ** -1).tolist()
    exact = np.tril(np.array(exact, dtype="d"))
    for x in (invert_triangle(a), invert_triangle(a[None])[0]):
        assert x.flags.c_contiguous
        close(x, exact, rtol=1e-12)


@pytest.mark.parametrize("n", [2, STRIP + 1])
def test_a_triangle_without_an_inverse_is_infinite_there_and_says_nothing(n):
    a = np.eye(n)
    a[1, 1] = 0
    x = invert_triangle(a)
    assert x[0, 0] == 1
    assert np.isinf(x[1, 1])


def one_formula(g, factor):
    """Murray's equation 10."""
    n = factor.shape[-1]
    half = np.tri(n) - np.eye(n) / 2
    x = np.linalg.inv(factor)
    s = x.mT.conj() @ (half * (factor.mT.conj() @ g)) @ x
    return half * (s + s.mT.conj())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_cotangent_of_a_cholesky_factor(n, dtype):
    factor, g = lower(2, n, n, dtype=dtype), normal(2, n, n, dtype=dtype, seed=1)
    got = cholesky_cotangent(g, factor, invert_triangle(factor))
    assert got.dtype == factor.dtype
    close(got, one_formula(np.tril(g), factor), rtol=0, atol=tolerance(dtype) * n)


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_cotangent_made_of_a_diagonal_and_a_few_columns(n, dtype, k):
    factor, d = lower(2, n, n, dtype=dtype), normal(2, n, dtype=dtype, seed=1)
    u, v = normal(2, n, k, dtype=dtype, seed=2), normal(2, n, k, dtype=dtype, seed=3)
    inverse = invert_triangle(factor)
    got = thin_cotangent(d, u, v, inverse)
    assert got.dtype == factor.dtype
    g = inverse.mT.conj() @ (u @ v.mT + d[..., None] * np.eye(n, dtype=dtype))  # Lᴴ G = u vᵀ + ...
    n_digits = tolerance(dtype) * n * (1 + k)
    half = np.tri(n) - np.eye(n) / 2
    s = inverse.mT.conj() @ (half * (factor.mT.conj() @ g)) @ inverse
    close(got, half * (s + s.mT.conj()), rtol=0, atol=n_digits)


MADE_OF = {
    "a diagonal": (lambda f, y: np.sum(np.log(np.diagonal(f))), True),
    "a trace": (lambda f, y: np.trace(f) ** 2, True),
    "a system": (lambda f, y: np.sum(np.linalg.solve(f, y)[::2] ** 3), True),
    "systems": (lambda f, y: np.sum(np.linalg.solve(f, np.stack([y, y**2], 1)) ** 3), True),
    "a difference": (
        lambda f, y: np.trace(f) - np.sum(np.linalg.solve(f, y)) - f[..., 0, 0] * 0,
        False,
    ),
    "a negative": (
        lambda f, y: np.sum(np.diagonal(-f) ** 3) + np.sum(np.linalg.solve(-f, y) ** 3),
        True,
    ),
    "a product": (lambda f, y: np.sum((f @ y) ** 2) - np.sum(np.log(np.diagonal(f))), True),
    "too many": (lambda f, y: np.sum(np.linalg.solve(f, np.outer(y, y)) ** 2), False),
    "another diagonal": (lambda f, y: np.sum(np.diagonal(f, -1) ** 2), False),
    "entries": (lambda f, y: np.sum(f * f), False),
    "rows": (lambda f, y: np.sum(f[3] ** 2) + np.trace(f), False),
}


@pytest.mark.parametrize("side", ["lower", "upper", "upper, turned"])
@pytest.mark.parametrize("name", MADE_OF)
def test_thin_cotangents_are_found(name, side):
    function, made = MADE_OF[name]
    n = STRIP + 3
    k, y = definite(n), normal(n, seed=1)

    def loss(k):
        factor = np.linalg.cholesky(k, upper=side != "lower")
        return function(factor.T if side == "upper, turned" else factor, y)

    names = [node.primitive.name for node in fg.trace(fg.grad(loss), k).nodes]
    assert ("thin_cotangent" in names, "cholesky_cotangent" in names) == (made, not made)
    e = normal(n, n, seed=2)
    e = (e + e.T) / n
    slope = (loss(k + 1e-5 * e) - loss(k - 1e-5 * e)) / 2e-5
    close(np.sum(fg.grad(loss)(k) * e), slope, rtol=1e-6)


@pytest.mark.parametrize("upper", [False, True])
def test_thin_cotangents_of_complex_stacks(upper):
    n = STRIP + 3
    k = np.stack([definite(n, "D"), definite(n, "D", seed=4)])
    y = normal(2, n, 1, dtype="D", seed=1)

    def parts(k):
        factor = np.linalg.cholesky(k, upper=upper)
        factor = np.swapaxes(factor, -1, -2).conj() if upper else factor
        return factor, np.linalg.solve(factor, y)

    def thinly(k):
        factor, z = parts(k)
        logs = np.log(np.real(np.diagonal(factor, 0, -2, -1)))
        return np.sum(np.abs(z) ** 2) + np.sum(np.imag(z)) + np.sum(logs)

    def thickly(k):  # the same, but the factor is read as a whole
        return thinly(k) + np.real(np.sum(0.0 * parts(k)[0]))

    found = [[n.primitive.name for n in fg.trace(fg.grad(f), k).nodes] for f in (thinly, thickly)]
    assert "thin_cotangent" in found[0]
    assert "cholesky_cotangent" in found[1]
    close(fg.grad(thinly)(k), fg.grad(thickly)(k), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [3, LARGE, LARGE + 21])
@pytest.mark.parametrize("dtype", DTYPES)
def test_inverse_by_the_kind_of_matrix(n, dtype):
    positive = definite(n, dtype)
    shift = 0.5 * np.median(np.linalg.eigvalsh(positive)).astype(dtype) * np.eye(n, dtype=dtype)
    for a in (positive, positive - 2 * shift, positive + normal(n, n, dtype=dtype) / n):
        got = inverse_or_nan(a)
        assert got.dtype == a.dtype
        size = np.abs(np.linalg.inv(a)).max() ** 2
        close(got, np.linalg.inv(a), rtol=0, atol=float(tolerance(dtype) * size * 10))
    rank = np.ones((n, n), dtype)
    several = inverse_or_nan(np.stack([positive, rank, positive]))
    assert np.isnan(several[1]).all()
    assert_array_equal(several[[0, 2]], np.linalg.inv(np.stack([positive] * 2)))
    assert np.isnan(inverse_or_nan(rank)).all()


# --- gradients -----------------------------------------------------------------------------------


def by_factor(k, y):
    factor = np.linalg.cholesky(k)
    z = np.linalg.solve(factor, y)
    return 0.5 * np.sum(z * z) + np.sum(np.log(np.diagonal(factor)))


def by_factor_and_back(k, y):
    factor = np.linalg.cholesky(k)
    alpha = np.linalg.solve(factor.T, np.linalg.solve(factor, y))
    return 0.5 * y @ alpha + np.sum(np.log(np.diagonal(factor)))


def by_upper_factor(k, y):
    factor = np.linalg.cholesky(k, upper=True)
    z = np.linalg.solve(factor.T, y)
    return 0.5 * np.sum(z * z) + np.sum(np.log(np.diagonal(factor)))


def by_determinant(k, y):
    return 0.5 * y @ np.linalg.solve(k, y) + 0.5 * np.linalg.slogdet(k)[1]


def by_inverse(k, y):
    return 0.5 * y @ np.linalg.inv(k) @ y + 0.5 * np.linalg.slogdet(k)[1]


def by_all(k, y):
    return by_inverse(k, y) + 0.5 * y @ np.linalg.solve(k, y)


LIKELIHOODS = {
    by_factor: {"cholesky": 1, "solve": 1, "triangular_inverse": 1, "cholesky_cotangent": 1},
    by_factor_and_back: {
        "cholesky": 1, "solve": 2, "triangular_inverse": 1, "cholesky_cotangent": 1,
    },
    by_upper_factor: {"cholesky": 1, "solve": 1, "triangular_inverse": 1, "cholesky_cotangent": 1},
    by_determinant: {"solve": 1, "slogdet": 1, "inverse": 1},
    by_inverse: {"inv": 1, "slogdet": 1},
    by_all: {"inv": 1, "slogdet": 1, "solve": 1},
}  # fmt: skip
FACTORISATIONS = frozenset().union(*LIKELIHOODS.values())
EVERY = pytest.mark.parametrize("likelihood", LIKELIHOODS)


@EVERY
def test_every_matrix_is_factorised_or_inverted_once(likelihood):
    a, y = normal(5, 5), normal(5, seed=1)
    f = lambda a: likelihood(a @ a.T + np.eye(5), y)
    names = [n.primitive.name for n in fg.trace(fg.value_and_grad(f), a).nodes]
    counted = {name: names.count(name) for name in FACTORISATIONS if name in names}
    assert counted == LIKELIHOODS[likelihood]


@EVERY
@pytest.mark.parametrize("n", [4, LARGE + 9])
def test_gradients_of_likelihoods(likelihood, n):
    k, y = definite(n), normal(n, seed=1)
    gradient = fg.grad(likelihood)
    inverse = np.linalg.inv(k)
    want = 0.5 * (inverse - np.outer(inverse @ y, inverse @ y))
    if likelihood is by_all:
        want = want - 0.5 * np.outer(inverse @ y, inverse @ y)
    g = gradient(k, y)
    close((g + g.T) / 2, want, rtol=1e-9, atol=1e-11)
    assert_array_equal(fg.jit(gradient)(k, y), g)
    # along a direction: forward mode, and forward over reverse against differences of gradients
    e = normal(n, n, seed=2)
    e = (e + e.T) / n
    close(fg.jvp(lambda k: likelihood(k, y), (k,), (e,))[1], np.sum(want * e), rtol=1e-8)
    ahead, behind = gradient(k + 1e-5 * e, y), gradient(k - 1e-5 * e, y)
    turned = fg.jvp(lambda k: gradient(k, y), (k,), (e,))[1]
    close(turned, (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-6 * np.abs(turned).max())
    twice = fg.grad(lambda k: np.sum(gradient(k, y) * e))(k)
    close(np.sum(twice * e), np.sum(turned * e), rtol=1e-9)


@EVERY
def test_gradients_of_a_batch_of_likelihoods(likelihood):
    n = LARGE + 1
    ks, ys = np.stack([definite(n, seed=i) for i in range(3)]), normal(3, n, seed=1)
    got = fg.vmap(fg.grad(likelihood))(ks, ys)
    close(
        got, [fg.grad(likelihood)(k, y) for k, y in zip(ks, ys, strict=True)], rtol=1e-9, atol=1e-12
    )
    shared = fg.vmap(fg.grad(likelihood, 1), in_axes=(None, 0))(ks[0], ys)
    close(shared, [fg.grad(likelihood, 1)(ks[0], y) for y in ys], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("triangle", [np.tril, np.triu], ids=["tril", "triu"])
@pytest.mark.parametrize("n", [3, 2 * STRIP + 3])
def test_systems_of_triangles(triangle, n):
    a, b = normal(n, n) / n + np.eye(n), normal(n, 2, seed=1)
    known = lambda a, b: np.sum(np.cos(np.linalg.solve(triangle(a), b)))
    unknown = lambda a, b: np.sum(np.cos(np.linalg.solve(a * triangle(np.ones((n, n))), b)))
    names = [node.primitive.name for node in fg.trace(fg.grad(known, (0, 1)), a, b).nodes]
    assert (names.count("solve"), names.count("triangular_inverse")) == (1, 1)
    names = [node.primitive.name for node in fg.trace(fg.grad(unknown), a, b).nodes]
    assert (names.count("solve"), names.count("triangular_inverse")) == (2, 0)
    for got, want in zip(fg.grad(known, (0, 1))(a, b), fg.grad(unknown, (0, 1))(a, b), strict=True):
        close(got, want, rtol=1e-10, atol=1e-13)


def test_only_what_is_a_triangle_counts_as_one():
    a, b = normal(4, 4) + 4 * np.eye(4), normal(4, 1)
    for f in (
        lambda a: np.tril(a, 1),
        lambda a: np.triu(a, -1),
        lambda a: np.where(a > 0, a, 0.0) + np.eye(4),
        lambda a: np.tril(a) + np.triu(a),
        lambda a: np.swapaxes(np.tril(np.stack([a, a])), 0, 1)[:, 0] + 4 * np.eye(4),
    ):
        loss = lambda a, f=f: np.sum(np.cos(np.linalg.solve(f(a), b)))
        names = [node.primitive.name for node in fg.trace(fg.grad(loss), a).nodes]
        assert "triangular_inverse" not in names
        fg.testing.check_grads(loss, (a,))


def test_an_infinite_cotangent_of_a_zero_does_not_spread():
    # No derivative goes through the zeros above the diagonal, and those of strips are not read.
    n = 2 * STRIP
    g, factor = np.tril(normal(n, n)), lower(n, n)
    want = cholesky_cotangent(g, factor, invert_triangle(factor))
    g[:STRIP, STRIP:] = np.inf
    assert_array_equal(cholesky_cotangent(g, factor, invert_triangle(factor)), want)


# --- exactness -----------------------------------------------------------------------------------


def smooth(n, condition, seed):
    """The covariance of a smooth process: nearly singular, as those in practice are."""
    x = np.sort(np.random.default_rng(seed).uniform(size=n))
    return np.exp(-((x[:, None] - x) ** 2) / 0.08) + np.eye(n) * n / condition


def spread_out(n, condition, seed):
    """Eigenvalues over the whole range, in no special directions."""
    q = np.linalg.qr(normal(n, n, seed=seed))[0]
    k = q * np.geomspace(1, 1 / condition, n) @ q.T
    return (k + k.T) / 2


def error(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


def errors(k, y):
    """Pairs of errors: ours and those of LAPACK's routines, where there is no triangular inverse."""
    with mpmath.workdps(40):
        inverse = mpmath.matrix(k.tolist()) ** -1
        # Sides in general directions, and such that solutions are far smaller than the inverse is.
        sides = np.stack([y, k @ y], axis=1)
        solutions = np.array((inverse * mpmath.matrix(sides.tolist())).tolist(), float)
        alpha = inverse * mpmath.matrix(y.tolist())
        gradient = np.array(((inverse - alpha * alpha.T) / 2).tolist(), float)
        inverse = np.array(inverse.tolist(), float)
    ours, usual = inverse_or_nan(k), np.linalg.inv(k)
    yield error(ours, inverse), error(usual, inverse)
    for side, want in zip(sides.T[..., None], solutions.T[..., None], strict=True):
        yield error(refined(k, ours, side), want), error(np.linalg.solve(k, side), want)
    factor = np.linalg.cholesky(k)
    z = np.linalg.solve(factor, y)
    g = np.diag(1 / np.diagonal(factor)) - np.outer(np.linalg.solve(factor.T, z), z)
    by_lapack = one_formula(g, factor)
    usual = error((by_lapack + by_lapack.T) / 2, gradient)
    for likelihood in (by_factor, by_determinant):
        g = fg.grad(likelihood)(k, y)
        yield error((g + g.T) / 2, gradient), usual


@pytest.mark.parametrize("condition", [1e8, 1e10])
@pytest.mark.parametrize("kernel", [smooth, spread_out])
def test_ill_conditioned_matrices_cost_no_more_digits_than_by_lapack(
    kernel, condition, monkeypatch
):
    monkeypatch.setattr(triangular, "STRIP", 16)
    monkeypatch.setattr(inverses, "LARGE", 8)
    n = 24
    found = [list(errors(kernel(n, condition, i), normal(n, seed=i))) for i in range(5)]
    ours, usual = np.median(found, axis=0).T  # single ones vary
    assert (ours < 3 * usual).all(), (ours, usual)
