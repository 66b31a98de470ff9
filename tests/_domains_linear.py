"""Rows of the primitives of linear algebra and of Fourier transforms.

Signs and phases of eigenvectors and singular vectors are arbitrary, so their cases are functions
that do not depend on them.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fungrad.ops.determinants import lift_p
from fungrad.ops.inverses import inverse_p
from fungrad.ops.linalg import refined_p
from fungrad.ops.triangular import cholesky_cotangent_p, thin_cotangent_p, triangular_inverse_p
from tests._domains import (
    NUMBERS,
    REAL,
    Case,
    Draw,
    Function,
    Operand,
    Row,
    Shape,
    away_from_zero,
    on,
    within,
)

LAPACK = ("float32", "float64", "complex64", "complex128")


def regular(rng: np.random.Generator, shape: Shape) -> Any:
    """Matrices that are far from singular."""
    return rng.uniform(-1, 1, shape) + 3 * np.eye(*shape[-2:])


def symmetric(rng: np.random.Generator, shape: Shape) -> Any:
    """Symmetric matrices, positive definite, whose eigenvalues are not near each other."""
    half = rng.uniform(-0.3, 0.3, shape)
    return half + np.swapaxes(half, -1, -2) + np.diag(3.0 * np.arange(1, shape[-1] + 1))


def definite(rng: np.random.Generator, shape: Shape) -> Any:
    """Symmetric matrices with eigenvalues near 2."""
    half = rng.uniform(-0.05, 0.05, shape)
    return half + np.swapaxes(half, -1, -2) + 2 * np.eye(shape[-1])


def spread(rng: np.random.Generator, shape: Shape) -> Any:
    """Matrices whose singular values are not near each other."""
    values = np.zeros(shape[-2:])
    np.fill_diagonal(values, 2.0 * np.arange(1, min(shape[-2:]) + 1))
    return rng.uniform(-0.3, 0.3, shape) + values


def _products(v: Any) -> Any:
    """``vvᴴ`` of every column."""
    rows = np.swapaxes(v, -1, -2)
    return rows[..., :, None] * rows[..., None, :].conj()


def _projector(v: Any) -> Any:
    """Onto the space that the columns span."""
    return v @ np.swapaxes(v, -1, -2).conj()


SQUARE: tuple[Shape, ...] = ((3, 3), (1, 1), (0, 0), (2, 3, 3), (0, 2, 2), (2, 1, 2, 2))
ANY: tuple[Shape, ...] = ((3, 3), (4, 2), (2, 4), (1, 3), (3, 1), (2, 3, 2))


def _of_matrices(
    function: Function, shapes: tuple[Shape, ...], draw: Draw, label: str = ""
) -> tuple[Case, ...]:
    return tuple(on(f"{label} {shape}", function, shape, draw=draw) for shape in shapes)


def _row(*cases: Case, rounding: float = 64.0) -> Row:
    return Row(cases, gradient_dtypes=LAPACK, rounding=rounding)


def _systems(*shapes: tuple[Shape, Shape]) -> tuple[Case, ...]:
    return tuple(
        Case(
            f"{a} and {b}",
            lambda a, b: np.linalg.solve(a, b),
            (Operand(a, regular), Operand(b)),
        )
        for a, b in shapes
    )


def _least_squares(label: str, part: int, a: Shape, b: Shape) -> Case:
    return Case(
        f"{label}, {a} and {b}",
        lambda a, b: np.linalg.lstsq(a, b)[part],
        (Operand(a, spread), Operand(b)),
    )


def _lifting(part: int, matrix: Any, expected: Any) -> Case:
    """What is added to a singular (or to a regular) matrix."""
    return Case(
        f"part {part} at {matrix}",
        lambda a: lift_p(a)[part],
        (Operand(np.shape(matrix), lambda rng, shape: np.asarray(matrix)),),
        lambda a: np.asarray(expected, a.dtype),
    )


def _some_lower(rng: np.random.Generator, shape: Shape) -> Any:
    return np.tril(rng.normal(size=shape))


def _lower(a: Any) -> Any:
    """The lower triangle, as a program in which nothing knows that it is one."""
    return a * np.tri(a.shape[-1], dtype=a.dtype)


def _inverse_of_lower(a: Any) -> Any:
    return np.tril(np.linalg.inv(_lower(a))) if a.size else a


def _by_inverse(a: Any, b: Any) -> Any:
    return refined_p(a, np.linalg.inv(a), b)


def _cotangent(g: Any, a: Any) -> Any:
    factor = _lower(a)
    return cholesky_cotangent_p(g, factor, np.linalg.inv(factor))


def _cotangent_by_one_formula(g: Any, a: Any) -> Any:
    """Murray's equation 10, with nothing left out."""
    factor = _lower(a)
    half = np.tri(a.shape[-1]) - np.eye(a.shape[-1]) / 2
    inverse = np.linalg.inv(factor)
    s = (
        np.swapaxes(inverse, -1, -2).conj()
        @ (half * (np.swapaxes(factor, -1, -2).conj() @ g))
        @ inverse
    )
    return ((s + np.swapaxes(s, -1, -2).conj()) * half).astype(np.result_type(g, a))


def _thin_cotangent(diagonal: Any, u: Any, v: Any, a: Any) -> Any:
    return thin_cotangent_p(diagonal, u, v, _lower(a))


def _thin_cotangent_by_one_formula(diagonal: Any, u: Any, v: Any, a: Any) -> Any:
    half = np.tri(a.shape[-1]) - np.eye(a.shape[-1]) / 2
    inside = u @ np.swapaxes(v, -1, -2) + diagonal[..., None] * np.eye(a.shape[-1])
    s = np.swapaxes(_lower(a), -1, -2).conj() @ (half * inside) @ _lower(a)
    result = (s + np.swapaxes(s, -1, -2).conj()) * half
    return result.astype(np.result_type(diagonal, u, v, a))


def _thin(a: Any, upper: bool = False) -> Any:
    """What reads the factor of a matrix by its diagonal and by a system."""
    factor = np.linalg.cholesky(a, upper=upper)
    sides = np.linalg.solve(factor, np.cos(np.arange(a.shape[-1]))[:, None])
    return np.log(np.diagonal(factor, 0, -2, -1)) - 9 * sides[..., 0]


def _regular_systems(*table: tuple[str, Function, Shape, Shape]) -> tuple[Case, ...]:
    return tuple(
        Case(label, function, (Operand(a, regular), Operand(b))) for label, function, a, b in table
    )


_KNOWN = _regular_systems(
    ("lower", lambda a, b: np.linalg.solve(np.tril(a), b), (3, 3), (3, 2)),
    ("upper", lambda a, b: np.linalg.solve(np.triu(a), b), (2, 3, 3), (2, 3, 1)),
    ("lower, turned", lambda a, b: np.linalg.solve(np.tril(a).T, b), (3, 3), (3,)),
    ("upper, turned", lambda a, b: np.linalg.solve(-np.triu(a).mT, b), (2, 3, 3), (3, 2)),
    ("and inverse", lambda a, b: np.linalg.inv(a) @ np.linalg.solve(a, b), (3, 3), (3, 2)),
)
_WITH_DETERMINANT = _regular_systems(
    ("and system", lambda a, b: np.linalg.slogdet(a)[1] * np.linalg.solve(a, b), (3, 3), (3,)),
    ("and system of a transpose",
     lambda a, b: np.linalg.slogdet(a.T)[1] * np.linalg.solve(a.T, b), (3, 3), (3, 2)),
    ("and inverse", lambda a, b: np.linalg.slogdet(a)[1] * np.linalg.inv(a) @ b, (3, 3), (3, 2)),
    ("of a triangle", lambda a, b: np.linalg.slogdet(np.triu(a))[1] * b, (3, 3), (3, 2)),
)  # fmt: skip


def _vectors_of_svd(full: bool) -> Function:
    def pairs(a: Any) -> Any:
        u, _, vh = np.linalg.svd(a, full_matrices=full)
        k = min(a.shape[-2:])
        return np.swapaxes(u[..., :k], -1, -2)[..., :, :, None] * vh[..., :k, None, :]

    return pairs


def _rest_of_svd(a: Any) -> Any:
    u, _, vh = np.linalg.svd(a)
    k = min(a.shape[-2:])
    rest = np.sum(_projector(u[..., k:]), axis=(-2, -1))
    return rest + np.sum(_projector(np.swapaxes(vh[..., k:, :], -1, -2)), axis=(-2, -1))


def _rest_of_qr(a: Any) -> Any:
    q, r = np.linalg.qr(a, mode="complete")
    return _projector(q[..., r.shape[-1] :])


ALMOST = np.array([[0, 1], [2, -1], [1, 1]], np.int8)


LINALG: dict[str, Row] = {
    "inv": _row(*_of_matrices(lambda a: np.linalg.inv(a), SQUARE, regular)),
    "solve": _row(*_KNOWN, *_systems(
        ((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3,)), ((2, 2, 2), (2, 2)),
        ((3, 3), (2, 3, 1)), ((2, 1, 2, 2), (3, 2, 2)), ((1, 1), (1,)), ((0, 0), (0,)),
        ((2, 2), (2, 0)), ((0, 2, 2), (2,)),
    ), *(
        Case(f"{part.__name__}({k})", lambda a, b, f=part, k=k: np.linalg.solve(f(a, k), b),
             (Operand((3, 3), regular), Operand((3,))))
        for part, k in ((np.tril, 0), (np.tril, 1), (np.triu, 0), (np.triu, -1))
    )),
    "inverse": Row(
        _of_matrices(inverse_p, SQUARE, regular), np.linalg.inv,
        dtypes=LAPACK, gradient_dtypes=LAPACK, rounding=64.0,
    ),
    "triangular_inverse": Row(
        _of_matrices(triangular_inverse_p, (*SQUARE, (7, 7), (2, 8, 8)), regular),
        _inverse_of_lower, exact=False, dtypes=LAPACK, gradient_dtypes=LAPACK, rounding=64.0,
    ),
    "refined_solve": Row(
        tuple(
            Case(f"{a} and {b}", _by_inverse, (Operand(a, regular), Operand(b)))
            for a, b in (
                ((3, 3), (3, 2)), ((2, 3, 3), (3, 1)), ((3, 3), (2, 3, 1)), ((0, 0), (0, 1)),
                ((2, 1, 2, 2), (3, 2, 2)), ((2, 2), (2, 0)), ((1, 1), (1, 1)),
            )
        ),
        lambda a, b: np.linalg.solve(a, b),
        exact=False, dtypes=LAPACK, gradient_dtypes=LAPACK, rounding=64.0,
    ),
    "cholesky_cotangent": Row(
        tuple(
            Case(f"{shape}", _cotangent, (Operand(shape, _some_lower), Operand(shape, regular)))
            for shape in (*SQUARE, (2, 5, 5))
        ),
        _cotangent_by_one_formula,
        exact=False, dtypes=LAPACK, gradient_dtypes=LAPACK, rounding=64.0,
    ),
    "thin_cotangent": Row(
        tuple(
            Case(
                f"{shape} and {k}",
                _thin_cotangent,
                tuple(
                    Operand(operand, within(-0.4, 0.4))
                    for operand in (shape[:-1], (*shape[:-1], k), (*shape[:-1], k), shape)
                ),
            )
            for shape, k in (
                ((3, 3), 1), ((3, 3), 2), ((3, 3), 0), ((1, 1), 1), ((0, 0), 1), ((2, 5, 5), 1),
                ((0, 2, 2), 2),
            )
        ),
        _thin_cotangent_by_one_formula,
        exact=False, dtypes=LAPACK, gradient_dtypes=LAPACK, rounding=64.0,
    ),
    "det": _row(*_of_matrices(lambda a: np.linalg.det(a), SQUARE, regular)),
    "lift": Row((
        _lifting(0, np.eye(3), np.zeros((3, 3))),
        _lifting(1, np.eye(3), np.zeros((3, 2))),
        _lifting(3, np.eye(3), 1.0),
        _lifting(0, np.diag([4.0, 2.0, 0.0]), np.diag([0.0, 4.0, 4.0])),
        _lifting(3, np.diag([4.0, 2.0, 0.0]), 1.0),
        _lifting(0, np.diag([0.0, 2.0, 0.0]), np.diag([2.0, 0.0, 2.0])),
        _lifting(0, np.zeros((3, 3)), np.eye(3)),
        _lifting(3, np.zeros((3, 3)), 0.0),
        _lifting(2, np.zeros((3, 3)), np.zeros((3, 2))),
        _lifting(0, np.zeros((1, 1)), np.eye(1)),
        _lifting(3, np.zeros((2, 0, 0)), np.ones(2)),
    ), dtypes=("float32", "float64"), gradient_dtypes=("float32", "float64")),
    "slogdet": _row(
        *_of_matrices(lambda a: np.linalg.slogdet(a)[1], SQUARE, regular, "logarithm"),
        *_of_matrices(lambda a: np.linalg.slogdet(a)[0], SQUARE, regular, "sign"),
        *_WITH_DETERMINANT,
    ),
    "cholesky": _row(
        *_of_matrices(lambda a: np.linalg.cholesky(a), SQUARE, symmetric),
        *_of_matrices(lambda a: np.linalg.cholesky(a, upper=True), SQUARE, symmetric, "upper"),
        *_of_matrices(_thin, ((34, 34), (2, 33, 33)), definite, "thin"),
        *_of_matrices(lambda a: _thin(a, True), ((33, 33),), definite, "thin, upper"),
    ),
    "qr": _row(
        *_of_matrices(lambda a: np.linalg.qr(a)[0], ANY, spread, "Q"),
        *_of_matrices(lambda a: np.linalg.qr(a).R, ANY, spread, "R"),
        *_of_matrices(lambda a: np.linalg.qr(a, "r"), ((3, 2),), spread, "R alone"),
        *_of_matrices(lambda a: np.linalg.qr(a, "complete")[1], ((4, 2),), spread, "complete R"),
        *_of_matrices(_rest_of_qr, ((4, 2), (2, 3, 1)), spread, "orthogonal to A"),
    ),
    "eigh": _row(
        *_of_matrices(lambda a: np.linalg.eigh(a)[0], SQUARE, symmetric, "values"),
        *_of_matrices(lambda a: _products(np.linalg.eigh(a)[1]), SQUARE, symmetric, "vectors"),
        *_of_matrices(lambda a: _products(np.linalg.eigh(a, "U").eigenvectors), ((3, 3),),
                      symmetric, "upper"),
    ),
    "eigvalsh": _row(
        *_of_matrices(lambda a: np.linalg.eigvalsh(a), SQUARE, symmetric),
        *_of_matrices(lambda a: np.linalg.eigvalsh(a, UPLO="u"), SQUARE, symmetric, "upper"),
    ),
    "eig": _row(
        *_of_matrices(lambda a: np.linalg.eig(a * 1j)[0], SQUARE[:4], symmetric, "values"),
        *_of_matrices(lambda a: np.linalg.eig(a * 1j)[1], (*SQUARE[:4], (2, 1, 2, 2)), symmetric,
                      "vectors"),
        Case("vectors that are real here", lambda a, b: np.linalg.eig(a + 1j * b)[1],
             (Operand((2, 2), symmetric), Operand((2, 2), lambda rng, shape: np.zeros(shape)))),
    ),
    "eigvals": _row(*_of_matrices(lambda a: np.linalg.eigvals(a * 1j), SQUARE, symmetric)),
    "svd": _row(
        *_of_matrices(lambda a: np.linalg.svd(a)[1], ANY, spread, "values"),
        *_of_matrices(_vectors_of_svd(False), ANY, spread, "vectors"),
        *_of_matrices(_vectors_of_svd(True), ((4, 2), (2, 3)), spread, "all vectors"),
        *_of_matrices(_vectors_of_svd(True), ((1, 2, 3), (3, 3, 2)), spread, "all vectors of each"),
        *_of_matrices(_rest_of_svd, ((4, 2), (2, 3)), spread, "orthogonal to A"),
        *(on(f"some vectors, {i}", lambda a, i=i: np.square(np.abs(np.linalg.svd(a)[i])), (2, 2),
             draw=spread) for i in (0, 2)),
    ),
    "svdvals": _row(
        *_of_matrices(lambda a: np.linalg.svdvals(a), ANY, spread),
        *_of_matrices(lambda a: np.linalg.norm(a, "nuc"), ((3, 2),), spread, "norm"),
    ),
    "pinv": _row(
        *_of_matrices(lambda a: np.linalg.pinv(a), ANY, spread),
        Case("rcond", lambda a, r: np.linalg.pinv(a, r),
             (Operand((2, 3, 2), spread), Operand((2,), within(0.01, 0.02), False))),
        *(Case(f"one rcond, {shape}", lambda a, r: np.linalg.pinv(a, r),
               (Operand(shape, spread), Operand((), within(0.01, 0.02), False)))
          for shape in ((3, 2), (2, 3, 2))),
    ),
    "lstsq": _row(
        _least_squares("solution", 0, (4, 2), (4,)),
        _least_squares("solution", 0, (4, 2), (4, 3)),
        _least_squares("solution", 0, (2, 3), (2,)),
        _least_squares("singular values", 3, (4, 2), (4,)),
        Case("almost of low rank",
             lambda u, v, b: np.linalg.lstsq(u @ v + u.dtype.type(1e-9) * ALMOST, b, rcond=1e-3)[0],
             (Operand((3, 1)), Operand((1, 2)), Operand((3,)))),
    ),
}  # fmt: skip


def _transforms(function: Function, draw: Draw | None = None) -> tuple[Case, ...]:
    """Lengths cut, kept and padded, even and odd, along every axis, by every norm."""
    table: list[tuple[Shape, Any, int, str | None]] = [
        ((4,), None, -1, None), ((5,), None, 0, "ortho"), ((4,), 3, -1, "forward"),
        ((4,), 7, 0, "backward"), ((5,), 8, 0, None), ((2, 3), None, 0, None), ((2, 3), 4, 1, None),
        ((2, 4, 3), 5, -2, "ortho"), ((3,), 1, 0, None), ((3,), 2, 0, "forward"),
        ((0, 4), None, 1, None),
    ]  # fmt: skip
    return tuple(
        on(
            f"{shape} n={n} axis={axis} norm={norm}",
            lambda x, n=n, axis=axis, norm=norm: function(x, n, axis, norm),
            shape,
            draw=draw or away_from_zero(),
        )
        for shape, n, axis, norm in table
    )


def _fourier(function: Function, dtypes: tuple[str, ...] = NUMBERS) -> Row:
    return Row(_transforms(function), dtypes=dtypes)


FOURIER: dict[str, Row] = {
    "fft": _fourier(np.fft.fft),
    "ifft": _fourier(np.fft.ifft),
    "rfft": attrs.evolve(_fourier(np.fft.rfft), gradient_dtypes=REAL),
    "irfft": _fourier(np.fft.irfft),
}
