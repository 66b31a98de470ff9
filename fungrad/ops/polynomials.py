"""NumPy's polynomials by their coefficients, highest power first."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fungrad._primitive import implements, unsupported
from fungrad.ops.manipulation import concrete
from fungrad.ops.shape import arraylike


def _coefficients(p: Any) -> Any:
    if isinstance(p, np.poly1d):
        raise unsupported("np.poly1d beside traced values", "write: p.coeffs for p")
    return np.atleast_1d(arraylike(p))


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """``np.polyval``: Horner's scheme."""
    p, x = _coefficients(p), arraylike(x)
    y = np.zeros_like(x)
    for coefficient in p:
        y = y * x + coefficient
    return y


def _padded(a1: Any, a2: Any) -> list[Any]:
    a1, a2 = _coefficients(a1), _coefficients(a2)
    size = max(a1.size, a2.size)
    return [np.concatenate([np.zeros(size - a.size, a.dtype), a]) for a in (a1, a2)]


@implements(np.polyadd)
def polyadd(a1: Any, a2: Any) -> Any:
    """``np.polyadd``."""
    first, second = _padded(a1, a2)
    return first + second


@implements(np.polysub)
def polysub(a1: Any, a2: Any) -> Any:
    """``np.polysub``."""
    first, second = _padded(a1, a2)
    return first - second


def _trimmed(a: Any, function: str) -> Any:
    """Without leading zeros, as ``np.poly1d`` does; they are asked for at trace time."""
    a = _coefficients(a)
    nonzero = np.flatnonzero(concrete(a != 0, function))
    return a[int(nonzero[0]) :] if nonzero.size else np.zeros_like(a, shape=(1,))


@implements(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """``np.polymul``."""
    return np.convolve(_trimmed(a1, "np.polymul"), _trimmed(a2, "np.polymul"))


@implements(np.polydiv)
def polydiv(u: Any, v: Any) -> Any:
    """``np.polydiv``: long division; where the remainder starts is asked at trace time."""
    u, v = _coefficients(u) + 0.0, _coefficients(v) + 0.0
    dtype = np.result_type(u, v)
    remainder, scale, length = u.astype(dtype), 1.0 / v[0], v.size
    quotient = []
    for k in range(u.size - length + 1):
        digit = scale * remainder[k]
        quotient.append(digit)
        changed = remainder[k : k + length] - digit * v
        remainder = np.concatenate([remainder[:k], changed, remainder[k + length :]])
    while remainder.size > 1 and np.allclose(remainder[0], 0, rtol=1e-14):
        remainder = remainder[1:]
    if not quotient:
        return np.zeros(1, dtype), remainder
    return np.stack(quotient), remainder


@implements(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """``np.polyder``."""
    p, m = _coefficients(p), operator.index(m)
    if m < 0:
        raise ValueError("Order of derivative must be positive (see polyint)")
    for _ in range(m):
        p = p[:-1] * np.arange(p.size - 1, 0, -1)
    return p


@implements(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """``np.polyint``."""
    p, m = _coefficients(p), operator.index(m)
    if m < 0:
        raise ValueError("Order of integral must be positive (see polyder)")
    constants = np.atleast_1d(arraylike(np.zeros(m) if k is None else k))
    if constants.size == 1 and m > 1:
        constants = np.broadcast_to(constants, (m,))
    if constants.size < m:
        raise ValueError("k must be a scalar or a rank-1 array of length 1 or >m.")
    for i in range(m):
        p = np.concatenate([p / np.arange(p.size, 0, -1), constants[i : i + 1]])
    return p


@implements(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """``np.poly``: the product of the factors ``x - zero``."""
    zeros = seq_of_zeros
    if zeros.ndim == 2 and zeros.shape[0] == zeros.shape[1] != 0:
        zeros = np.linalg.eigvals(zeros)
    if zeros.ndim != 1:
        raise ValueError("input must be 1d or non-empty square 2d array.")
    if zeros.dtype.kind not in "fc":
        zeros = zeros.astype(float)
    coefficients = np.ones_like(zeros, shape=(1,))
    for zero in zeros:
        longer = np.zeros_like(zeros, shape=(1,))
        shifted = np.concatenate([longer, zero * coefficients])
        coefficients = np.concatenate([coefficients, longer]) - shifted
    if zeros.dtype.kind == "c":
        value = concrete(zeros, "np.poly")
        if np.all(np.sort(value) == np.sort(value.conj())):
            return coefficients.real
    return coefficients


@implements(np.roots)
def roots(p: Any) -> Any:
    """``np.roots``: eigenvalues of the companion matrix; zeros at the ends are asked for."""
    if p.ndim > 1:
        raise ValueError("Input must be a rank-1 array.")
    p = np.atleast_1d(p)
    nonzero = np.flatnonzero(concrete(p != 0, "np.roots"))
    if nonzero.size == 0:
        return np.array([])
    trailing = p.size - int(nonzero[-1]) - 1
    p = p[int(nonzero[0]) : int(nonzero[-1]) + 1]
    p = p if p.dtype.kind in "fc" else p.astype(float)
    if p.size == 1:
        return np.zeros(trailing)
    first_row = -p[1:] / p[0]
    companion = np.concatenate([first_row[None], np.eye(p.size - 2, p.size - 1, dtype=p.dtype)])
    found = np.linalg.eigvals(companion)
    return np.concatenate([found, np.zeros_like(found, shape=(trailing,))])


@implements(np.polyfit)
def polyfit(
    x: Any,
    y: Any,
    deg: int,
    rcond: Any = None,
    full: bool = False,
    w: Any = None,
    cov: bool | str = False,
) -> Any:
    """``np.polyfit``: least squares on the scaled Vandermonde matrix."""
    if full:
        raise unsupported("np.polyfit with full=True", "write: np.linalg.lstsq of np.vander(x)")
    order = operator.index(deg) + 1
    x, y = arraylike(x) + 0.0, arraylike(y) + 0.0
    if order < 1:
        raise ValueError("expected deg >= 0")
    if x.ndim != 1 or x.size == 0:
        raise TypeError("expected non-empty vector for x")
    if y.ndim not in (1, 2):
        raise TypeError("expected 1D or 2D array for y")
    if y.shape[0] != x.size:
        raise TypeError("expected x and y to have same length")
    rcond = x.size * np.finfo(x.dtype).eps if rcond is None else rcond
    left, right = np.vander(x, order), y
    if w is not None:
        w = arraylike(w) + 0.0
        if w.shape != (x.size,):
            raise TypeError("expected a 1-d array for weights, as long as y")
        left, right = left * w[:, None], right * (w[:, None] if y.ndim == 2 else w)
    scale = np.sqrt(np.sum(left * left, axis=0))
    left = left / scale
    solution = np.linalg.lstsq(left, right, rcond)
    coefficients = (solution[0].T / scale).T
    if not cov:
        return coefficients
    base = np.linalg.inv(left.T @ left) / np.outer(scale, scale)
    if cov != "unscaled":
        if x.size <= order:
            raise ValueError("the number of data points must exceed order to scale the covariance")
        residual = right - left @ solution[0]
        base = np.expand_dims(base, -1) if y.ndim == 2 else base
        base = base * (np.sum(residual * residual, axis=0) / (x.size - order))
    elif y.ndim == 2:
        base = np.expand_dims(base, -1)
    return coefficients, base
