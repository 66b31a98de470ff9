"""``np.linalg``: systems, factorisations and norms, against NumPy and closed forms."""

from __future__ import annotations

from functools import partial
from math import inf

import numpy as np
import pytest
from numpy.testing import assert_allclose as close

import fungrad as fg
from fungrad.testing import check_grads
from tests._versions import NUMPY
from tests.ops._linear_calls import alike, check, check_batches, check_narrow, check_value, normal

BOTH = pytest.mark.parametrize("dtype", [float, complex])


def square(*shape, dtype=float, seed=0):
    """Well-conditioned square matrices."""
    return normal(*shape, dtype=dtype, seed=seed) + 3 * np.eye(shape[-1])


def definite(a):
    """A positive definite function of any matrix."""
    return a @ np.swapaxes(a, -1, -2).conj() + np.eye(a.shape[-1])


def hermitian(a):
    """A Hermitian function of any matrix."""
    return a + np.swapaxes(a, -1, -2).conj()


def outer_products(v):
    """What depends on the directions of the columns only, not on their signs and phases."""
    return np.swapaxes(v, -1, -2)[..., :, None] * np.swapaxes(v, -1, -2).conj()[..., None, :]


def projector(v):
    """What depends on the space that the columns span only."""
    return v @ np.swapaxes(v, -1, -2).conj()


# --- systems -------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 3, 3), (0, 0), (0, 2, 2)], ids=str)
def test_inverses_and_determinants(shape, dtype):
    a = square(*shape, dtype=dtype)
    check(np.linalg.inv, a)
    check(np.linalg.det, a)
    check(np.linalg.slogdet, a)
    check(lambda a: np.linalg.slogdet(a).logabsdet, a)


SOLVES = [
    ((3, 3), (3,)), ((3, 3), (3, 2)), ((3, 3), (3, 1)), ((2, 3, 3), (3,)), ((2, 3, 3), (2, 3, 1)),
    ((2, 3, 3), (3, 4)), ((3, 3), (2, 3, 4)), ((2, 1, 3, 3), (4, 3, 2)), ((1, 1), (1,)),
    ((2, 2, 2), (2, 2)),  # a matrix for both, not a stack of vectors
    ((0, 0), (0,)), ((3, 3), (3, 0)), ((0, 2, 2), (2,)),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("shapes", SOLVES, ids=str)
def test_solve(shapes, dtype):
    check(np.linalg.solve, square(*shapes[0], dtype=dtype), normal(*shapes[1], dtype=dtype))


def test_solve_with_mixed_dtypes():
    a, b = square(2, 2), np.arange(2)
    check_value(np.linalg.solve, a, b)
    check_value(np.linalg.solve, a.astype("f"), normal(2))
    check_value(np.linalg.solve, a, normal(2, dtype=complex))
    check_value(lambda a: np.linalg.solve(a, [1, 2]), a)
    real, mixed = fg.grad(lambda a, b: np.real(np.sum(np.linalg.solve(a, b))), (0, 1))(
        a, normal(2, dtype=complex)
    )
    assert (real.dtype, mixed.dtype) == (np.float64, np.complex128)


def test_one_matrix_is_factorised_once_for_a_batch():
    a, bs = square(3, 3), normal(5, 3)
    solve = fg.vmap(np.linalg.solve, (None, 0))
    shapes = [n.args[1].aval.shape for n in fg.trace(solve, a, bs).nodes
              if n.primitive.name == "solve"]  # fmt: skip
    assert shapes == [(3, 5)]
    close(solve(a, bs), np.linalg.solve(a, bs.T).T, rtol=1e-14)


@pytest.mark.parametrize(
    ("n", "rank"), [(1, 0), (2, 1), (2, 0), (3, 2), (3, 1), (3, 0), (4, 3), (4, 2), (4, 1), (4, 0)]
)
def test_determinant_of_singular_matrices(n, rank):
    a = np.zeros((n, n))
    a[range(rank), range(rank)] = np.arange(1.0, rank + 1)
    a = a[np.random.default_rng(n).permutation(n)]
    assert np.linalg.slogdet(a)[0] == 0

    def cofactors(a):
        rest = lambda i, j: np.delete(np.delete(a, i, 0), j, 1)
        return np.array([
            [(-1) ** (i + j) * np.linalg.det(rest(i, j)) for j in range(n)] for i in range(n)
        ])  # fmt: skip

    close(fg.grad(np.linalg.det)(a), cofactors(a), atol=1e-13)
    close(fg.jit(fg.grad(np.linalg.det))(a), cofactors(a), atol=1e-13)
    close(fg.vmap(fg.grad(np.linalg.det))(np.stack([a, square(n, n)]))[0], cofactors(a), atol=1e-13)
    check_grads(np.linalg.det, [a])
    check_grads(np.linalg.det, [a + 0j])
    if rank >= n - 2:  # beside a singular matrix, differences of second derivatives are inexact
        check_grads(np.linalg.det, [a], order=3, rtol=1e-4, atol=1e-4)


def test_determinant_of_an_almost_singular_matrix():
    a = np.arange(9.0).reshape(3, 3) + 1
    close(fg.grad(np.linalg.det)(a), [[-3, 6, -3], [6, -12, 6], [-3, 6, -3]], atol=1e-13)
    close(fg.grad(np.linalg.det)(0.001 * np.eye(120)), np.zeros((120, 120)))  # underflow


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("n", [3, 4, 7])
def test_second_derivatives_of_the_determinant_where_rounding_hides_singularity(n, dtype):
    """Mixed second differences along rank-one directions are exact: the determinant is bilinear."""
    rng = np.random.default_rng(n)
    a = np.stack([rng.normal(size=(n, n - 1)) @ rng.normal(size=(n - 1, n)) for _ in range(4)])
    a = (a * (1 + 1j) if dtype is complex else a).astype(dtype)
    assert np.any(np.linalg.slogdet(a)[0] != 0)
    d, e = (np.outer(rng.normal(size=n), rng.normal(size=n)).astype(dtype) for _ in range(2))
    det = np.linalg.det
    slope = lambda a: np.sum(fg.vjp(det, a)[1](1)[0] * d)
    for m in a:
        exact = det(m + d + e) - det(m + d) - det(m + e) + det(m)
        close(fg.jvp(slope, (m,), (e,))[1], exact, rtol=1e-9, atol=1e-9)


def test_determinant_in_single_precision():
    a = np.diag(np.float32([1, 2, 0]))
    close(fg.grad(np.linalg.det)(a), np.diag(np.float32([0, 0, 2])), atol=1e-6)
    assert fg.grad(np.linalg.det)(a).dtype == np.float32


def test_determinants_at_the_identity():
    """D² det(1)[E, E] = (tr E)² - tr E², though all singular values coincide."""
    e = normal(3, 3)
    hessian = fg.jvp(fg.grad(np.linalg.det), (np.eye(3),), (e,))[1]
    close(np.sum(hessian * e), np.trace(e) ** 2 - np.trace(e @ e), rtol=1e-12)


def test_slogdet_of_a_singular_matrix_does_not_end_the_others():
    a = np.stack([np.diag([1.0, 0.0]), np.diag([1.0, 2.0])])
    log = lambda a: np.linalg.slogdet(a)[1]
    assert fg.jit(log)(a).tolist() == [-inf, np.log(2)]
    g = fg.vjp(log, a)[1](np.ones(2))[0]
    close(g[1], np.diag([1.0, 0.5]))
    assert np.isnan(g[0]).all()
    g = fg.vjp(lambda a: log(np.tril(a)), a)[1](np.ones(2))[0]
    close(g[1], np.diag([1.0, 0.5]))
    assert np.isnan(g[0][np.tril_indices(2)]).all()


@BOTH
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5), (2, 4, 2), (3, 1), (1, 3)], ids=str)
def test_pseudo_inverses(shape, dtype):
    a = normal(*shape, dtype=dtype)
    check(np.linalg.pinv, a, rtol=1e-5)
    check(lambda a: np.linalg.pinv(a, 1e-3), a, order=1)
    check(lambda a: np.linalg.pinv(a, rtol=None), a, order=1)


def test_pseudo_inverse_of_low_rank():
    low = lambda u, v: np.linalg.pinv(u @ v, rcond=1e-10)
    check(low, normal(4, 2), normal(2, 3), order=1, rtol=1e-5)
    check(lambda a: np.linalg.pinv(hermitian(a), hermitian=True), normal(3, 3), order=1)
    close(fg.grad(lambda a: np.sum(np.linalg.pinv(a)))(np.eye(2)), -np.ones((2, 2)), atol=1e-14)
    check_value(np.linalg.pinv, np.zeros((3, 2)))
    check_value(np.linalg.pinv, np.zeros((0, 2)))
    check_value(lambda a: np.linalg.pinv(a, np.array([1e-3, 0.9])), normal(2, 3, 2))
    cut = fg.vmap(lambda a, rcond: np.linalg.pinv(a, rcond))
    a = normal(2, 3, 2)
    close(cut(a, np.array([1e-3, 0.9])), np.linalg.pinv(a, np.array([1e-3, 0.9])))


@BOTH
@pytest.mark.parametrize("shapes", [((5, 3), (5,)), ((5, 3), (5, 2)), ((3, 5), (3, 2)),
                                    ((3, 3), (3,))], ids=str)  # fmt: skip
def test_least_squares(shapes, dtype):
    a, b = (normal(*shape, dtype=dtype) for shape in shapes)
    check_value(np.linalg.lstsq, a, b, tolerance=1e3)
    check_batches(lambda a, b: np.linalg.lstsq(a, b)[0], a, b)
    for place in (0, 1, 3):
        part = lambda a, b, place=place: np.linalg.lstsq(a, b)[place]
        check_grads(part, (a, b), rtol=1e-5)
        check_narrow(part, a, b)


@pytest.mark.parametrize("last", [3.0, 3.0 + 2**-21], ids=["of low rank", "almost"])
def test_least_squares_in_single_precision(last):
    """NumPy computes them in double precision; so the rank is that of the same float64 matrix."""
    a, b, ct = np.array([[1.0, 2.0], [2.0, 4.0], [1.5, last]]), normal(3), normal(2)
    pull = lambda dtype: fg.vjp(
        lambda a, b: np.linalg.lstsq(a, b)[0], a.astype(dtype), b.astype(np.float32).astype(dtype)
    )[1](ct.astype(np.float32).astype(dtype))
    for got, want in zip(pull(np.float32), pull(np.float64), strict=True):
        assert got.dtype == np.float32
        close(got, want, rtol=1e-4, atol=1e-6 * np.max(np.abs(want)))


def test_least_squares_of_low_rank():
    a, b = normal(4, 2) @ normal(2, 3), normal(4)
    check_value(lambda a, b: np.linalg.lstsq(a, b, rcond=1e-10), a, b, tolerance=1e3)
    x = lambda u, v, b: np.linalg.lstsq(u @ v, b, rcond=1e-10)[0]
    check_grads(x, (normal(4, 2), normal(2, 3), b), order=1, rtol=1e-5)


@pytest.mark.parametrize("n", [-3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 8])
def test_matrix_power(n):
    check(lambda a: np.linalg.matrix_power(a, n), square(3, 3) / 3, order=1)
    check(lambda a: np.linalg.matrix_power(a, n), square(2, 2, 2, dtype=complex) / 3, order=1)
    if n >= 0:
        check_value(lambda a: np.linalg.matrix_power(a, n), np.arange(4).reshape(2, 2))


@pytest.mark.parametrize(
    "shapes",
    [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 3), (3, 4), (4, 2)), ((3,), (3, 4), (4,)),
     ((9, 2), (2, 8), (8, 1), (1, 5)), ((3,), (3, 4), (4, 2), (2,)), ((2,), (2, 4), (4, 5), (5, 3))],
    ids=str,
)  # fmt: skip
def test_multi_dot(shapes):
    operands = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    check(lambda *x: np.linalg.multi_dot(x), *operands, order=1, batches=len(shapes) < 4)


def test_tensor_systems():
    a = normal(4, 6, 8, 3) + np.eye(24).reshape(4, 6, 8, 3) * 5
    check(np.linalg.tensorinv, a, order=1)
    check(lambda a: np.linalg.tensorinv(a, ind=1), square(6, 6).reshape(6, 2, 3), order=1)
    a, b = square(6, 6).reshape(2, 3, 3, 2), normal(2, 3)
    check(np.linalg.tensorsolve, a, b, order=1)
    a = np.moveaxis(square(6, 6).reshape(2, 3, 6), 2, 0)
    check(lambda a, b: np.linalg.tensorsolve(a, b, axes=(0,)), a, b, order=1)


def test_ranks():
    low = normal(4, 2) @ normal(2, 4)
    stack = np.stack([low, np.eye(4), np.zeros((4, 4))])
    for a in (low, stack, normal(3), np.zeros(3), np.eye(3, dtype=int), np.ones((2, 3))):
        alike(fg.jit(np.linalg.matrix_rank)(a), np.asarray(np.linalg.matrix_rank(a)), "rank")
    for keywords in ({"tol": 3.0}, {"rtol": 0.5}, {"hermitian": True}, {"tol": [0.5, 1.0, 0.1]}):
        check_value(partial(np.linalg.matrix_rank, **keywords), stack)
    weight = lambda a: np.sum(a) * np.linalg.matrix_rank(a)
    assert fg.grad(weight)(low).tolist() == np.full((4, 4), 2.0).tolist()
    assert fg.vmap(np.linalg.matrix_rank)(stack).tolist() == [2, 4, 0]


@pytest.mark.parametrize("p", [None, 2, -2, 1, -1, inf, -inf, "fro", "nuc"])
def test_conditions(p):
    check(lambda a: np.linalg.cond(a, p), square(3, 3), rtol=1e-5)
    check(lambda a: np.linalg.cond(a, p), normal(2, 3, 3), order=1, rtol=1e-5)
    if p in (None, 2, -2):
        check(lambda a: np.linalg.cond(a, p), normal(4, 2), order=1)
    singular = np.diag([1.0, 0.0])
    stack = np.stack([singular, np.eye(2), np.zeros((2, 2))])
    if p != "nuc":  # an error in NumPy
        check_value(lambda a: np.linalg.cond(a, p), stack)
    if p != -2:
        infinite = np.isinf(fg.jit(lambda a: np.linalg.cond(a, p))(stack))
        assert infinite.tolist() == [True, False, True]
    assert np.isfinite(fg.grad(lambda a: np.linalg.cond(a, p))(1e-3 * np.eye(200))).all()


# --- factorisations ------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 3, 3), (0, 0)], ids=str)
def test_cholesky(shape, upper, dtype):
    a = definite(normal(*shape, dtype=dtype))
    cholesky = lambda a: np.linalg.cholesky(a, upper=upper)
    check(cholesky, a, what="cholesky")
    # One triangle is read, so there is no derivative with respect to the other.
    g = fg.vjp(cholesky, a)[1](normal(*shape, dtype=dtype))[0]
    assert not (np.tril(g, -1) if upper else np.triu(g, 1)).any()
    assert not np.imag(np.diagonal(g, 0, -2, -1)).any()


def test_cholesky_of_a_symmetric_parameter():
    a, ct = definite(normal(3, 3)), normal(3, 3)
    g = fg.vjp(np.linalg.cholesky, a)[1](ct)[0]
    e = hermitian(normal(3, 3, seed=1))
    ahead, behind = np.linalg.cholesky(a + 1e-6 * e), np.linalg.cholesky(a - 1e-6 * e)
    close(np.sum((g + g.T) / 2 * e), np.sum(ct * (ahead - behind)) / 2e-6, rtol=1e-7)


@BOTH
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5), (2, 4, 2), (1, 3), (3, 1)], ids=str)
def test_qr(shape, dtype):
    a = normal(*shape, dtype=dtype)
    check(np.linalg.qr, a, rtol=1e-5)
    check(lambda a: np.linalg.qr(a, mode="r"), a, order=1)
    check_value(lambda a: np.linalg.qr(a, mode="complete"), a)
    k = min(shape[-2:])

    def spaces(a):
        q, r = np.linalg.qr(a, "complete")
        return q[..., :k], projector(q[..., k:]), r

    check(spaces, a, order=1)


HERMITIAN = [("L", float), ("U", float), ("L", complex), ("U", complex)]


@pytest.mark.parametrize(("uplo", "dtype"), HERMITIAN)
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 3, 3), (0, 0)], ids=str)
def test_eigh(shape, uplo, dtype):
    a = hermitian(normal(*shape, dtype=dtype)) + np.diag(np.arange(shape[-1]))
    check_value(lambda a: np.linalg.eigh(a, uplo), a)
    check_value(lambda a: np.linalg.eigh(a, UPLO=uplo.lower()), a)
    check(lambda a: np.linalg.eigvalsh(a, uplo), a)

    def invariant(a):
        w, v = np.linalg.eigh(a, uplo)
        return w, outer_products(v)

    check(invariant, a)
    g = fg.vjp(lambda a: np.linalg.eigvalsh(a, uplo), a)[1](normal(*shape[:-1]))[0]
    assert not (np.triu(g, 1) if uplo == "L" else np.tril(g, -1)).any()


def test_single_eigenvectors():
    a = hermitian(normal(4, 4))
    check_grads(lambda a: np.linalg.eigh(a)[1], [a])  # LAPACK's signs are locally constant


@BOTH
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 4), (2, 3, 3)], ids=str)
def test_eig(shape, dtype):
    a = normal(*shape, dtype=dtype, seed=3)
    check_value(np.linalg.eig, a, tolerance=1e3)
    check_value(np.linalg.eigvals, a, tolerance=1e3)
    check_grads(np.linalg.eigvals, [a])
    check_grads(np.linalg.eig, [a], rtol=1e-5)  # as LAPACK normalises, phases included
    check_narrow(np.linalg.eigvals, a)


def test_eig_with_real_eigenvalues():
    a = np.diag([1.0, 2.0, 4.0]) + 0.1 * normal(3, 3)
    assert np.linalg.eigvals(a).dtype == np.float64
    check(np.linalg.eig, a, batches=False)
    check(np.linalg.eigvals, a, batches=False)
    want = np.stack([np.linalg.eigvals(a), np.linalg.eigvals(2 * a)])
    got = fg.vmap(np.linalg.eigvals)(np.stack([a, 2 * a]))
    assert got.dtype == np.complex128
    close(got, want)


def test_eig_changes_its_dtype_under_jit():
    eigvals = fg.jit(np.linalg.eigvals)
    turn, stretch = np.array([[0.0, -1.0], [1.0, 0.0]]), np.diag([1.0, 2.0])
    for a in (turn, stretch, turn, stretch, turn):
        alike(eigvals(a), np.linalg.eigvals(a), "eigvals")


SHAPES = pytest.mark.parametrize(
    "shape", [(1, 1), (3, 3), (4, 2), (2, 4), (2, 3, 2), (3, 1)], ids=str
)


@BOTH
@SHAPES
@pytest.mark.parametrize("full", [False, True])
def test_svd(shape, full, dtype):
    a, k = normal(*shape, dtype=dtype), min(shape[-2:])
    check_value(lambda a: np.linalg.svd(a, full), a)
    check(lambda a: np.linalg.svd(a, compute_uv=False), a)

    def invariant(a):
        u, s, vh = np.linalg.svd(a, full)
        v = np.swapaxes(vh, -1, -2).conj()
        # Signs and phases cancel between the two vectors of a singular value.
        pairs = np.swapaxes(u[..., :k], -1, -2)[..., :, :, None] * vh[..., :k, None, :]
        return s, pairs, projector(u[..., k:]), projector(v[..., k:])

    check(invariant, a, rtol=1e-5)


@BOTH
@SHAPES
def test_svdvals(shape, dtype):
    check(np.linalg.svdvals, normal(*shape, dtype=dtype))


def test_single_singular_vectors():
    check_grads(lambda a: np.linalg.svd(a, full_matrices=False), [normal(4, 3)])
    check_grads(lambda a: np.linalg.svd(a, full_matrices=False), [normal(3, 4)])


@BOTH
def test_svd_of_hermitian_matrices(dtype):
    a = hermitian(normal(3, 3, dtype=dtype))
    check_value(lambda a: np.linalg.svd(a, hermitian=True), a)
    check(lambda a: np.linalg.svd(a, compute_uv=False, hermitian=True), a, order=1)
    check_grads(lambda a: np.linalg.svd(a, hermitian=True).S, [a], order=1)


def test_a_singular_value_of_0_has_derivative_0():
    """As the absolute value at 0; alone, and beside vectors that somebody reads."""
    a, weights = np.diag([2.0, 1.0, 0.0]), np.array([3.0, 5.0, 7.0])

    def beside_vectors(a):
        u, s, _ = np.linalg.svd(a)
        return np.sum(weights * s) + 0.0 * u[0, 0]

    for f in (lambda a: np.sum(weights * np.linalg.svd(a)[1]), beside_vectors):
        close(fg.grad(f)(a), np.diag([3.0, 5.0, 0.0]), atol=1e-12)


def test_named_results():
    a = square(3, 3)
    for function, fields in (
        (np.linalg.eig, ("eigenvalues", "eigenvectors")),
        (np.linalg.eigh, ("eigenvalues", "eigenvectors")),
        (np.linalg.qr, ("Q", "R")),
        (np.linalg.svd, ("U", "S", "Vh")),
        (np.linalg.slogdet, ("sign", "logabsdet")),
    ):
        seen = []
        fg.jit(lambda a: seen.append(function(a)) or seen[0][0])(a)  # noqa: B023
        assert type(seen[0]) is type(function(a))
        assert seen[0]._fields == fields


# --- values that coincide ------------------------------------------------------------------------


def test_repeated_eigenvalues():
    eye = np.eye(3)
    close(fg.grad(lambda a: np.sum(np.linalg.eigvalsh(a)))(eye), eye, atol=1e-12)
    close(fg.grad(lambda a: np.sum(np.linalg.eigh(a)[0] ** 2))(2 * eye), 4 * eye, atol=1e-12)
    for a in (eye, 2 * eye, np.diag([1.0, 1.0, 3.0]), np.zeros((3, 3))):
        close(fg.grad(lambda a: np.sum(np.linalg.eigvalsh(a) ** 3))(a), 3 * a @ a, atol=1e-12)
        close(fg.grad(lambda a: np.sum(np.linalg.svdvals(a) ** 2))(a), 2 * a, atol=1e-12)
        close(fg.grad(lambda a: np.sum(np.linalg.svd(a)[1] ** 3))(a), 3 * a @ a, atol=1e-12)
        close(fg.grad(lambda a: np.real(np.sum(np.linalg.eigvals(a) ** 2)))(a), 2 * a, atol=1e-12)


def test_projectors_onto_repeated_eigenspaces():
    """The projector has a derivative, although the two vectors have none."""
    q = np.linalg.qr(normal(3, 3))[0]
    for values, pair in (([1, 1, 3], slice(2)), ([-3, -1, -1], slice(1, 3)), ([0, 0, 3], slice(2))):

        def onto_pair(a, pair=pair):
            v = np.linalg.eigh(a)[1][:, pair]
            return v @ v.T

        check_grads(onto_pair, [q @ np.diag(np.array(values, float)) @ q.T], order=1)
    close(fg.jacobian(lambda a: np.linalg.eigh(a)[1] @ np.linalg.eigh(a)[1].T)(np.eye(3)), 0,
          atol=1e-12)  # fmt: skip


def test_eigenvectors_alone_are_not_differentiated_for_eigenvalues():
    graph = fg.trace(fg.grad(lambda a: np.sum(np.linalg.eigh(a)[0])), np.eye(3))
    assert not [node for node in graph.nodes if node.primitive.name in ("divide", "reciprocal")]


def test_eigenvectors_of_tiny_matrices():
    """What counts as rounding is measured by the eigenvalues."""
    a, tiny = definite(square(3, 3)), 2.0**-80
    f = lambda a: np.linalg.eigh(a)[1][0, 0] ** 2
    close(fg.grad(f)(tiny * a) * tiny, fg.grad(f)(a), rtol=1e-12)


def test_functions_of_repeated_eigenvalues_and_their_vectors_are_finite():
    """The documented limit: between equal eigenvalues, ``v f(w) v.T`` lacks a part."""
    rebuilt = lambda a: (lambda w, v: (v * w) @ v.T)(*np.linalg.eigh(a))
    g = fg.vjp(rebuilt, 2 * np.eye(2))[1](np.array([[1.0, 5.0], [5.0, 3.0]]))[0]
    close(g, np.diag([1.0, 3.0]), atol=1e-14)


def test_eigendecomposition_is_the_identity():
    def rebuilt(a):
        w, v = np.linalg.eigh(a)
        return np.sum(((v * w) @ v.T) * np.array([[1.0, 2.0], [3.0, 4.0]]))

    g = fg.grad(rebuilt)(np.array([[2.0, 1.0], [1.0, 3.0]]))
    close(g + g.T, [[2, 5], [5, 8]], atol=1e-10)


def test_zero_matrix_has_finite_gradients():
    zero = np.zeros((3, 2))
    for function in (
        lambda a: np.sum(np.linalg.svdvals(a)),
        lambda a: np.linalg.norm(a, "nuc"),
        lambda a: np.linalg.norm(a, 2),
        lambda a: np.sum(np.linalg.svd(a)[0]) + np.sum(np.linalg.svd(a)[2]),
    ):
        assert fg.grad(function)(zero).tolist() == zero.tolist()


# --- norms ---------------------------------------------------------------------------------------

VECTOR_ORDERS = [None, 2, 1, 0, 3, -1, -2, 0.5, 2.5, inf, -inf]
MATRIX_ORDERS = [None, "fro", "f", "nuc", 2, -2, 1, -1, inf, -inf]


@BOTH
@pytest.mark.parametrize("ord", VECTOR_ORDERS)
def test_vector_norms(ord, dtype):
    check(lambda x: np.linalg.norm(x, ord), normal(5, dtype=dtype))
    check(lambda x: np.linalg.norm(x, ord, axis=1), normal(2, 3, 2, dtype=dtype), order=1)
    check(lambda x: np.linalg.norm(x, ord, -1, True), normal(2, 3, dtype=dtype), order=1)
    check_value(lambda x: np.linalg.norm(x, ord, (0,)), np.arange(1, 7).reshape(2, 3))
    if ord is not None:
        vector_norm = np.linalg.vector_norm
        check(lambda x: vector_norm(x, ord=ord), normal(2, 3, dtype=dtype), order=1)
        check(lambda x: vector_norm(x, axis=0, ord=ord), normal(2, 3, dtype=dtype), order=1)
        check(lambda x: vector_norm(x, axis=(2, 0), ord=ord, keepdims=True),
              normal(2, 3, 2, dtype=dtype), order=1)  # fmt: skip


@BOTH
@pytest.mark.parametrize("ord", MATRIX_ORDERS)
def test_matrix_norms(ord, dtype):
    check(lambda x: np.linalg.norm(x, ord), normal(3, 2, dtype=dtype))
    check(lambda x: np.linalg.norm(x, ord, (2, 0)), normal(2, 3, 3, dtype=dtype), order=1)
    check(lambda x: np.linalg.norm(x, ord, (0, 1), True), normal(2, 3, 2, dtype=dtype), order=1)
    check_value(lambda x: np.linalg.norm(x, ord, axis=(0, 1)), np.arange(6).reshape(2, 3))
    matrix_norm = lambda x: np.linalg.matrix_norm(x, ord=ord, keepdims=True)
    check(matrix_norm, normal(2, 2, 3, dtype=dtype), order=1)


def test_norms_of_anything():
    for shape in ((), (3,), (2, 3), (2, 3, 2), (0,), (0, 2)):
        check(lambda x: np.linalg.norm(x), normal(*shape))
        check(lambda x: np.linalg.norm(x, keepdims=True), normal(*shape))
    check_value(np.linalg.norm, np.arange(3))
    check_value(np.linalg.norm, normal(3).astype("f2"))
    check_value(lambda x: np.linalg.norm(x, axis=0), np.zeros((0, 2)))
    if NUMPY >= (2, 3):  # before, the greatest of no entries was refused
        check_value(lambda x: np.linalg.norm(x, inf, axis=0), np.zeros((0, 2)))
    check_value(np.linalg.vector_norm, normal(2, 0))


@pytest.mark.parametrize("ord", VECTOR_ORDERS)
def test_vector_norms_at_zero(ord):
    norm = lambda x: np.linalg.norm(x, ord)
    for run in (fg.grad(norm), fg.jit(fg.grad(norm))):
        assert run(np.zeros(3)).tolist() == [0, 0, 0]
    partly = fg.grad(norm)(np.array([0.0, -2.0, 1.0]))
    assert np.isfinite(partly).all()
    assert partly[0] == 0
    assert np.isfinite(fg.jvp(fg.grad(norm), (np.zeros(3),), (np.ones(3),))[1]).all()


@pytest.mark.parametrize("ord", MATRIX_ORDERS)
def test_matrix_norms_at_zero(ord):
    assert fg.grad(lambda x: np.linalg.norm(x, ord))(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_ties_share_evenly():
    g = fg.grad(lambda x: np.linalg.norm(x, inf))(np.array([1.0, -3.0, 3.0]))
    assert g.tolist() == [0, -0.5, 0.5]
    g = fg.grad(lambda x: np.linalg.norm(x, 1))(np.array([[1.0, 2.0], [1.0, 0.0]]))
    assert g.tolist() == [[0.5, 0.5], [0.5, 0]]


def test_norms_in_single_precision():
    x = np.arange(1, 5, dtype=np.float32).reshape(2, 2)
    for ord in VECTOR_ORDERS:
        value, g = fg.value_and_grad(lambda x, p=ord: np.sum(np.linalg.norm(x, p, axis=0)))(x)
        assert (np.asarray(value).dtype, g.dtype) == (np.float32, np.float32)


# --- what is refused -----------------------------------------------------------------------------

ERRORS = [
    (lambda a: np.linalg.inv(a[0]), np.linalg.LinAlgError),
    (lambda a: np.linalg.inv(a[:2]), np.linalg.LinAlgError),
    (lambda a: np.linalg.inv(a.astype(np.float16)), TypeError),
    (lambda a: np.linalg.inv(a * 0), np.linalg.LinAlgError),
    (lambda a: np.linalg.cholesky(-a), np.linalg.LinAlgError),
    (lambda a: np.linalg.det(a[:2]), np.linalg.LinAlgError),
    (lambda a: np.linalg.svd(a[0]), np.linalg.LinAlgError),
    (lambda a: np.linalg.qr(a, "economy"), ValueError),
    (lambda a: np.linalg.eigh(a, "X"), ValueError),
    (lambda a: np.linalg.solve(a, np.ones(2)), ValueError),
    (lambda a: np.linalg.solve(np.stack([a, a]), np.ones((2, 4))), ValueError),
    (lambda a: np.linalg.solve(a, 1.0), ValueError),
    (lambda a: np.linalg.lstsq(a, np.ones(2)), np.linalg.LinAlgError),
    (lambda a: np.linalg.lstsq(a[None], np.ones(3)), np.linalg.LinAlgError),
    (lambda a: np.linalg.pinv(a, 0.1, rtol=0.1), ValueError),
    (lambda a: np.linalg.matrix_rank(a, 0.1, rtol=0.1), ValueError),
    (lambda a: np.linalg.matrix_power(a, 0.5), TypeError),
    (lambda a: np.linalg.matrix_power(a[:2], 2), np.linalg.LinAlgError),
    (lambda a: np.linalg.multi_dot([a]), ValueError),
    (lambda a: np.linalg.multi_dot([a, a[None], a]), np.linalg.LinAlgError),
    (lambda a: np.linalg.tensorinv(a, 0), ValueError),
    (lambda a: np.linalg.tensorsolve(a, np.ones((3, 3))), np.linalg.LinAlgError),
    (lambda a: np.linalg.cond(a[:0]), np.linalg.LinAlgError),
    (lambda a: np.linalg.norm(a, 3), ValueError),
    (lambda a: np.linalg.norm(a[0], "fro"), ValueError),
    (lambda a: np.linalg.norm(a[None], 2), ValueError),
    (lambda a: np.linalg.norm(a, axis=(0, 0)), ValueError),
]


@pytest.mark.parametrize(("call", "error"), ERRORS)
def test_refuses_what_numpy_refuses(call, error):
    with pytest.raises(error):
        call(np.eye(3))
    with pytest.raises(error):
        fg.jit(call)(np.eye(3))


def test_refuses_raw_factors():
    with pytest.raises(fg.errors.UnsupportedFunctionError, match="reduced"):
        fg.jit(lambda a: np.linalg.qr(a, "raw"))(np.eye(3))
