"""One-call probes: plain NumPy as people write it, a line for each call.

Every line is an expression over the arrays of ``INPUTS`` and the names ``np``, ``swv`` (the sliding
windows of ``np.lib.stride_tricks``) and ``sc`` (``scipy.special``). A line of ``PROBES`` must give
NumPy's value and dtype, and the gradient that differences give with respect to all floating-point
inputs that it names. A line of ``REFUSED`` must be refused, with the words that stand beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_RNG = np.random.default_rng(0)


def _apart(*shape: int) -> Any:
    """Distinct numbers of both signs, neither near 0, a half or an integer, nor near each other."""
    size = int(np.prod(shape))
    places = _RNG.permutation(size) - size // 2
    return (places * 0.31 + 0.137 * np.sign(places + 0.5)).reshape(shape)


INPUTS: dict[str, Any] = {
    "x": _apart(5),
    "y": _apart(5) * 1.3 + 0.05,
    "p": _RNG.permutation(np.linspace(0.13, 0.87, 5)),
    "q": _RNG.permutation(np.linspace(1.23, 3.07, 5)),
    "u": np.sort(_apart(6)) * 1.07 + 0.02,
    "a": _apart(3, 4),
    "b": _apart(3, 4) * 1.1 + 0.07,
    "c": _apart(4, 2),
    "M": _RNG.normal(size=(3, 3)) + 2.5 * np.eye(3),
    "N": _RNG.normal(size=(3, 3)),
    "B": _RNG.normal(size=(2, 3, 3)) + 3 * np.eye(3),
    "t": _apart(2, 3, 4),
    "w": _RNG.normal(size=3),
    "r": np.float64(0.73),
    "z": _RNG.normal(size=5) + 1j * _RNG.normal(size=5),
    "Z": _RNG.normal(size=(3, 3)) + 1j * _RNG.normal(size=(3, 3)) + 3 * np.eye(3),
    "o": np.zeros((0, 3)),
    "f": _apart(5).astype(np.float32),
    "h": np.array([1.3, np.nan, -0.4, 2.1, np.nan]),
    "H": np.where(_RNG.random((3, 4)) < 0.3, np.nan, _apart(3, 4)),
    "i": np.array([2, 0, 4, 2, 1]),
    "j": np.array([[1], [0], [2]]),
    "k": np.array([3, 1, 2, 7, 1]),
    "m": np.array([True, False, True, True, False]),
    "mm": _RNG.random((3, 4)) < 0.5,
}
"""The arrays that probes name: lower case for vectors mostly, upper case for matrices."""

PROBES: dict[str, str] = {
    "creation beside traced values": """
        np.zeros_like(x) + x
        np.ones_like(x) * x
        np.full_like(x, 3.0) * x
        np.full_like(x, r)
        np.empty_like(x).shape[0] * x
        np.zeros(5) + x
        np.ones((2, 5)) * x
        np.full(5, 2.0) * x
        np.arange(5) * x
        np.arange(5.0) + x
        np.linspace(0, 1, 5) * x
        np.logspace(0, 1, 5) * x
        np.geomspace(1, 16, 5) * x
        np.eye(3) @ w
        np.identity(3) * M
        np.tri(3) * M
        np.array([r, r * r], like=x)
        np.array([[r, 1.0], [2.0, r]], like=x)
        np.asarray([r, 2 * r], like=x)
        np.asarray(x, like=x)
        np.asanyarray([x, y], like=x)
        np.arange(3, like=x) * r
        np.zeros(3, like=x) + r
        np.ones(3, like=x) * r
        np.full(3, r, like=x)
        np.eye(3, like=x) @ w
        np.linspace(r, 2.0, 4)
        np.linspace(0.0, r, 4, endpoint=False)
        np.linspace(x, y, 3, axis=-1)
        np.linspace(r, 2.0, 4, retstep=True)
        np.logspace(r, 2.0, 4)
        np.geomspace(r, 2.0, 4)
        np.meshgrid(x, y)
        np.meshgrid(x, w, indexing="ij")
        np.meshgrid(x, w, sparse=True)
        np.copy(x)
        x.copy()
        np.diag(x)
        np.diag(a)
        np.diag(a, 1)
        np.diag(w, -1)
        np.diagflat(a)
        np.vander(x)
        np.vander(x, 3, increasing=True)
        np.tril(a)
        np.triu(a, 1)
        np.tril(t, -1)
        np.ascontiguousarray(x, like=x) * 2
        np.asfortranarray(a, like=x) * 2
        np.asanyarray(x, like=x) * 2
        np.require(x, like=x) * 2
    """,
    "arithmetic": """
        x + y
        x - y
        x * y
        x / y
        x // y
        x % y
        divmod(x, y)
        x ** 2
        x ** 3
        x ** -1
        q ** 0.5
        q ** y
        2 ** x
        -x
        +x
        abs(x)
        x + 1
        1 - x
        2 / q
        x @ y
        a @ c
        round(r)
        np.add(x, y)
        np.subtract(x, y)
        np.multiply(x, y)
        np.divide(x, y)
        np.true_divide(x, y)
        np.floor_divide(x, y)
        np.remainder(x, y)
        np.mod(x, y)
        np.fmod(x, y)
        np.divmod(x, y)
        np.power(q, y)
        np.power(x, 3)
        np.pow(q, y)
        np.float_power(q, y)
        np.negative(x)
        np.positive(x)
        np.reciprocal(x)
        np.square(x)
        np.sqrt(q)
        np.cbrt(x)
        np.abs(x)
        np.absolute(x)
        np.fabs(x)
        np.sign(x)
        np.copysign(x, y)
        np.maximum(x, y)
        np.minimum(x, y)
        np.fmax(x, y)
        np.fmin(x, y)
        np.maximum(x, 0)
        np.clip(x, -0.5, 0.5)
        np.clip(x, p, None)
        np.clip(x, a_min=None, a_max=p)
        np.clip(x, min=-0.5, max=0.5)
        x.clip(-0.5, 0.5)
        x.clip(min=0)
        np.add(x, y, dtype=np.float32)
        np.multiply(x, 2, dtype=np.float64)
        np.add(x, k)
        k * x
        k / 2 * x
        f * 2
        f + r
        f * np.float64(2)
        np.heaviside(x, 0.5) * x
        np.ldexp(x, k)
        np.frexp(x)
        np.modf(x)
        np.nextafter(x, y)
        np.spacing(x)
        np.gcd(k, 2) * x
        np.lcm(k, 2) * x
        np.hypot(x, y)
    """,
    "exponentials, trigonometry": """
        np.exp(x)
        np.exp2(x)
        np.expm1(x)
        np.log(q)
        np.log2(q)
        np.log10(q)
        np.log1p(q)
        np.logaddexp(x, y)
        np.logaddexp2(x, y)
        np.sin(x)
        np.cos(x)
        np.tan(x)
        np.arcsin(p)
        np.arccos(p)
        np.arctan(x)
        np.asin(p)
        np.acos(p)
        np.atan(x)
        np.arctan2(x, y)
        np.atan2(x, y)
        np.sinh(x)
        np.cosh(x)
        np.tanh(x)
        np.arcsinh(x)
        np.arccosh(q)
        np.arctanh(p)
        np.asinh(x)
        np.acosh(q)
        np.atanh(p)
        np.sinc(x)
        np.deg2rad(x)
        np.rad2deg(x)
        np.degrees(x)
        np.radians(x)
        np.unwrap(x * 4)
        np.i0(x)
        np.angle(z)
        np.angle(z, deg=True)
        np.angle(x)
        np.real(z)
        np.imag(z)
        np.real(x)
        np.imag(x)
        z.real
        z.imag
        x.real
        np.conj(z)
        np.conjugate(z)
        z.conj()
        z.conjugate()
        np.abs(z)
        np.exp(z)
        np.log(z)
        np.sqrt(z)
        z * x
        z ** 2
        z / y
        np.real_if_close(x)
        np.real_if_close(z)
        np.nan_to_num(h)
        np.nan_to_num(x, nan=1.0, posinf=2.0)
    """,
    "rounding": """
        np.floor(x)
        np.ceil(x)
        np.trunc(x)
        np.fix(x)
        np.rint(x)
        np.round(x)
        np.round(x, 1)
        np.around(x, decimals=1)
        x.round(1)
        np.signbit(x)
        np.astype(x, np.float32)
        x.astype(np.float32)
        x.astype(int)
        x.astype(float, copy=False)
        x.view()
    """,
    "reductions": """
        np.sum(x)
        np.sum(a, axis=0)
        np.sum(a, 1)
        np.sum(a, axis=-1, keepdims=True)
        np.sum(t, axis=(0, 2))
        np.sum(t, axis=(-1, 0), keepdims=True)
        np.sum(a, axis=())
        np.sum(x, where=m)
        np.sum(x, initial=3.0)
        np.sum(a, axis=0, where=mm, initial=1.0)
        np.sum(f, dtype=np.float64)
        np.sum(k, dtype=float) * r
        np.sum(k) * r
        np.sum(m) * r
        np.sum(o, axis=0)
        np.sum(o)
        np.sum(r)
        x.sum()
        a.sum(0)
        a.sum(axis=1, keepdims=True)
        np.prod(x)
        np.prod(a, axis=1)
        np.prod(x, where=m)
        np.prod(x, initial=2.0)
        x.prod()
        np.mean(x)
        np.mean(a, axis=0)
        np.mean(a, axis=(0, 1), keepdims=True)
        np.mean(x, where=m)
        np.mean(f, dtype=np.float64)
        np.mean(k) * r
        a.mean(axis=1)
        np.average(x)
        np.average(x, weights=q)
        np.average(a, axis=0, weights=w)
        np.average(x, weights=q, returned=True)
        np.var(x)
        np.var(a, axis=1, ddof=1)
        np.var(a, axis=0, keepdims=True)
        np.var(x, where=m)
        np.var(a, correction=1)
        np.var(z)
        x.var(ddof=1)
        np.std(x)
        np.std(a, axis=(0, 1))
        np.std(a, axis=-1, ddof=1)
        np.std(x, where=m)
        np.std(x, mean=np.mean(x, keepdims=True))
        x.std()
        np.max(x)
        np.max(a, axis=1)
        np.max(a, axis=(0, 1), keepdims=True)
        np.max(x, initial=0.2)
        np.max(x, where=m, initial=-9.0)
        np.amax(a, 0)
        x.max()
        a.max(axis=0)
        np.min(x)
        np.min(t, axis=(0, 2))
        np.amin(a, axis=1)
        x.min()
        np.ptp(x)
        np.ptp(a, axis=1, keepdims=True)
        np.median(x)
        np.median(a, axis=1)
        np.median(a, axis=0, keepdims=True)
        np.trace(M)
        np.trace(t, offset=1, axis1=1, axis2=2)
        a.trace()
        np.all(x > 0) * x
        np.any(a > 0, axis=0) * c.T
        (x > 0).all()
        np.count_nonzero(x > 0) * x
        np.count_nonzero(a, axis=0, keepdims=True) * r
        np.argmax(x) * r
        np.argmax(a, axis=1)
        np.argmin(a, axis=0, keepdims=True)
        x.argmin()
        np.nansum(h)
        np.nansum(H, axis=0)
        np.nanmean(h)
        np.nanmean(H, axis=1)
        np.nanvar(h)
        np.nanvar(H, axis=0, ddof=0)
        np.nanstd(h)
        np.nanmax(h)
        np.nanmax(H, axis=1)
        np.nanmin(h)
        np.nanprod(h)
        np.nanmedian(h)
        np.nanmedian(H, axis=1)
        np.nanpercentile(h, 30)
        np.nanquantile(H, 0.3, axis=1)
        np.nanargmax(h) * r
        np.nanargmin(h) * r
        np.logical_and.reduce(x > 0) * r
        np.linalg.norm(x)
    """,
    "shape": """
        np.reshape(a, (4, 3))
        np.reshape(a, -1)
        np.reshape(a, (2, -1), order="F")
        a.reshape(2, 6)
        a.reshape((2, 6), order="F")
        a.reshape(-1, 2)
        np.ravel(a)
        np.ravel(a, order="F")
        a.ravel()
        a.ravel("F")
        a.flatten()
        a.flatten("F")
        np.transpose(t)
        np.transpose(t, (1, 0, 2))
        t.transpose(2, 0, 1)
        t.transpose((0, -1, 1))
        a.T
        t.mT
        np.matrix_transpose(t)
        np.permute_dims(t, (2, 1, 0))
        np.swapaxes(t, 0, 2)
        t.swapaxes(0, -1)
        np.moveaxis(t, 0, -1)
        np.moveaxis(t, (0, 1), (2, 0))
        np.rollaxis(t, 2)
        np.expand_dims(x, 0)
        np.expand_dims(a, (0, -1))
        np.squeeze(x[None, :, None])
        np.squeeze(x[None, :, None], axis=0)
        x[None].squeeze(0)
        np.atleast_1d(r)
        np.atleast_2d(x)
        np.atleast_3d(a)
        np.atleast_1d(r, x)
        np.broadcast_to(x, (3, 5))
        np.broadcast_arrays(x, r)
        np.broadcast_arrays(w, M)
        np.concatenate([x, y])
        np.concatenate([a, b], axis=1)
        np.concatenate((a, b), axis=None)
        np.concat([x, y])
        np.concatenate([x, np.zeros(2)])
        np.stack([x, y])
        np.stack([x, y], axis=1)
        np.stack([a, b], axis=-1)
        np.vstack([x, y])
        np.hstack([x, y])
        np.dstack([x, y])
        np.column_stack([x, y])
        np.block([[M, N], [N, M]])
        np.block([x, 1.0])
        np.append(x, y)
        np.append(a, b, axis=0)
        np.append(x, 1.0)
        np.split(u, 3)
        np.split(u, [2, 3])
        np.split(a, 2, axis=1)
        np.array_split(x, 2)
        np.hsplit(a, 2)
        np.vsplit(a, 3)
        np.dsplit(t, 2)
        np.unstack(a)
        np.unstack(t, axis=1)
        np.tile(x, 2)
        np.tile(a, (2, 1, 2))
        np.repeat(x, 2)
        np.repeat(a, 2, axis=0)
        np.repeat(x, [1, 0, 2, 1, 3])
        x.repeat(3)
        np.flip(a)
        np.flip(a, 1)
        np.flip(t, axis=(0, 2))
        np.flipud(a)
        np.fliplr(a)
        np.rot90(a)
        np.rot90(a, 2)
        np.rot90(t, k=3, axes=(1, 2))
        np.roll(x, 2)
        np.roll(a, (1, 2), axis=(0, 1))
        np.roll(a, -1, axis=0)
        np.pad(x, 2)
        np.pad(x, (1, 2), mode="edge")
        np.pad(a, 1, mode="reflect")
        np.pad(a, ((0, 1), (2, 0)), mode="symmetric")
        np.pad(a, 2, mode="wrap")
        np.pad(x, 2, mode="linear_ramp", end_values=1.0)
        np.pad(x, 2, mode="maximum")
        np.pad(x, 2, mode="mean", stat_length=2)
        np.pad(x, 2, mode="median")
        np.pad(x, 2, mode="minimum")
        np.pad(x, 2, constant_values=3.0)
        np.pad(x, 2, mode="reflect", reflect_type="odd")
        np.insert(x, 2, r)
        np.insert(a, 1, 0.0, axis=1)
        np.insert(x, [1, 3], [5.0, 6.0])
        np.delete(x, 2)
        np.delete(a, [0, 2], axis=1)
        np.delete(a, slice(0, 2), 0)
        np.resize(x, (2, 4))
        np.trim_zeros(np.concatenate([np.zeros(2), x, np.zeros(1)]))
        np.diagonal(a)
        np.diagonal(t, 1, 1, 2)
        a.diagonal()
        np.apply_along_axis(np.sum, 0, a)
        np.apply_along_axis(lambda v: v * v[0], 1, a)
        np.apply_over_axes(np.sum, t, [0, 2])
        np.kron(M, w)
        np.kron(x, y)
        np.shape(x)[0] * x
        np.size(a) * r
        np.ndim(a) * r
        len(x) * x
        a.size * r
        sum(v for v in x)
        [v * 2 for v in w]
        swv(x, 3)
        swv(a, (2, 2))
        swv(a, 2, axis=1)
    """,
    "indexing": """
        x[0]
        x[-1]
        x[1:4]
        x[::-1]
        x[4:0:-2]
        x[...]
        x[None]
        x[:, None]
        a[1]
        a[:, 2]
        a[1, 2]
        a[..., 0]
        a[-1, ::2]
        t[:, None, 1]
        x[i]
        x[[0, -1, 0]]
        x[np.array([[0, 1], [2, 0]])]
        a[[0, 2], [1, 1]]
        a[:, i[3:]]
        a[j, [0, 3]]
        t[0, :, [1, 2]]
        t[[0, 1], :, [1, 2]]
        t[:, [0, 2], [1, 3]]
        x[m]
        x[x > 0]
        a[mm]
        a[a > 0.2]
        a[[True, False, True]]
        a[[True, False, True], 1]
        a[[True, False, True], [1, 3]]
        a[np.array([True, False, True]), :2]
        t[:, mm]
        t[0][mm]
        x[True]
        x[False]
        x[None, True]
        a[True, 0]
        a[np.True_, :, 1]
        x[np.newaxis, ..., np.newaxis]
        x[()]
        r[()]
        r[None]
        r[...]
        a[np.ix_([0, 2], [1, 3])]
        a[np.nonzero(mm)]
        a[np.where(mm)]
        a[np.s_[1:, ::2]]
        x[np.argsort(y)]
        x[np.argmax(x)]
        x[slice(1, 3)]
        x[np.int64(2)]
        np.take(x, i)
        np.take(a, [0, 2], axis=1)
        np.take(a, i)
        np.take(x, [7, -8], mode="wrap")
        np.take(x, [7, -8], mode="clip")
        x.take([1, 1])
        np.take_along_axis(a, np.argsort(a, axis=1), axis=1)
        np.take_along_axis(a, np.argsort(a, axis=None), axis=None)
        np.compress([True, False, True], a, axis=0)
        np.compress(m, x)
        x.compress(m)
        np.choose([0, 1, 0, 1, 1], [x, y])
        np.choose([0, 3, -1, 1, 1], [x, y], mode="wrap")
        np.array([0, 1, 0, 1, 1]).choose([1.0, 2.0]) * x
        np.select([x > 0.5, x > 0], [x, x ** 2], 3.0)
        np.select([x > 0], [y])
        np.extract(m, x)
        np.extract(x > 0, x)
        np.where(x > 0, x, y)
        np.where(m, x, 0)
        np.where(mm, a, b)
        np.where(x > 0)[0]
        np.piecewise(x, [x < 0, x >= 0], [lambda v: -v, lambda v: v ** 2])
        np.nonzero(x > 0)[0]
        np.flatnonzero(x > 0)
        np.argwhere(a > 0)
        (x > 0).nonzero()[0]
        [v for v in a.flat]
        a[np.tril_indices(3)]
        a[np.triu_indices(3, 1)]
        a[np.diag_indices(3)]
        a[np.unravel_index([1, 5], (3, 4))]
        x[np.searchsorted(u, 0.1) - 1]
    """,
    "products": """
        np.dot(x, y)
        np.dot(a, c)
        np.dot(r, x)
        np.dot(t, c)
        x.dot(y)
        a.dot(c)
        np.matmul(a, c)
        np.matmul(t, c)
        np.matmul(B, B)
        np.matmul(w, M)
        np.matmul(M, w)
        np.inner(x, y)
        np.inner(a, b)
        np.outer(x, w)
        np.vdot(x, y)
        np.vdot(z, z)
        np.vecdot(a, b)
        np.vecdot(z, z)
        np.vecdot(a.T, w)
        np.matvec(M, w)
        np.matvec(B, w)
        np.vecmat(w, M)
        np.tensordot(a, c, 1)
        np.tensordot(a, b)
        np.tensordot(t, a, axes=((1, 2), (0, 1)))
        np.tensordot(a, b, axes=0)
        np.tensordot(t, c, axes=(2, 0))
        np.cross(w, M)
        np.cross(M, N)
        np.cross(M, N, axis=0)
        np.einsum("i,i", x, y)
        np.einsum("ij,jk->ik", a, c)
        np.einsum("ij,jk", a, c)
        np.einsum("ii", M)
        np.einsum("ii->i", M)
        np.einsum("ij->ji", a)
        np.einsum("ij->", a)
        np.einsum("...ij,jk->...ik", t, c)
        np.einsum("i,j->ij", x, y)
        np.einsum("i,j,k->ijk", x, y, w)
        np.einsum("ij,ij->i", a, b)
        np.einsum("ij,jk,kl->il", a, c, c.T, optimize=True)
        np.einsum("ij,jk,kl->il", a, c, c.T, optimize="optimal")
        np.einsum(a, [0, 1], c, [1, 2], [0, 2])
        np.einsum("bij,bjk->bik", B, B)
        np.einsum("ij,kj->ik", a, b)
        np.einsum("i...,i...->...", a, b)
        np.convolve(x, w)
        np.convolve(x, w, mode="same")
        np.convolve(x, w, mode="valid")
        np.correlate(x, w)
        np.correlate(x, w, mode="full")
        np.correlate(x, w, "same")
        np.linalg.multi_dot([a, c, c.T])
        np.linalg.matmul(a, c)
        np.linalg.outer(x, y)
        np.linalg.vecdot(a, b)
        np.linalg.tensordot(a, b)
        np.linalg.cross(M, N)
        np.linalg.diagonal(t)
        np.linalg.matrix_transpose(t)
        np.linalg.trace(t)
    """,
    "linear algebra": """
        np.linalg.inv(M)
        np.linalg.inv(B)
        np.linalg.inv(Z)
        np.linalg.pinv(a)
        np.linalg.pinv(M)
        np.linalg.pinv(a, rcond=1e-12)
        np.linalg.solve(M, w)
        np.linalg.solve(M, N)
        np.linalg.solve(B, N)
        np.linalg.solve(B, w)
        np.linalg.solve(Z, w)
        np.linalg.det(M)
        np.linalg.det(B)
        np.linalg.det(Z)
        np.linalg.slogdet(M)
        np.linalg.slogdet(B)[1]
        np.linalg.cholesky(M @ M.T + np.eye(3))
        np.linalg.cholesky(M @ M.T + np.eye(3), upper=True)
        np.linalg.qr(M)
        np.linalg.qr(a.T)
        np.linalg.qr(a.T, mode="r")
        np.linalg.qr(a)[0] @ np.linalg.qr(a)[1]
        np.linalg.eigvalsh(M + M.T)
        np.linalg.eigvalsh(M + M.T, UPLO="U")
        np.linalg.eigh(M + M.T)[0]
        np.abs(np.linalg.eigh(M + M.T)[1])
        np.linalg.eigvals(M + np.diag([0.0, 5.0, 9.0]))
        np.abs(np.linalg.eigvals(M))
        np.linalg.eig(M + np.diag([0.0, 5.0, 9.0]))[0]
        np.abs(np.linalg.eig(M + np.diag([0.0, 5.0, 9.0]))[1])
        np.abs(np.linalg.eig(Z + np.diag([0.0, 5.0, 9.0]))[1])
        np.linalg.svd(a, compute_uv=False)
        np.linalg.svdvals(a)
        np.linalg.svd(a, full_matrices=False)[1]
        np.abs(np.linalg.svd(a, full_matrices=False)[2])
        np.abs(np.linalg.svd(M)[0])
        np.linalg.lstsq(a.T, b[0])[0]
        np.linalg.lstsq(a.T, b.T)[0]
        np.linalg.lstsq(a.T, b[0])[1]
        np.linalg.norm(a)
        np.linalg.norm(a, axis=1)
        np.linalg.norm(a, axis=1, keepdims=True)
        np.linalg.norm(x, 1)
        np.linalg.norm(x, 3)
        np.linalg.norm(x, np.inf)
        np.linalg.norm(x, -np.inf)
        np.linalg.norm(x, 0)
        np.linalg.norm(x, -1)
        np.linalg.norm(a, "fro")
        np.linalg.norm(a, "nuc")
        np.linalg.norm(a, 2)
        np.linalg.norm(a, -2)
        np.linalg.norm(a, 1)
        np.linalg.norm(a, -1)
        np.linalg.norm(a, np.inf)
        np.linalg.norm(a, -np.inf)
        np.linalg.norm(t, axis=(1, 2))
        np.linalg.norm(t, 2, axis=(0, 2))
        np.linalg.norm(z)
        np.linalg.vector_norm(a)
        np.linalg.vector_norm(a, axis=1, ord=3)
        np.linalg.matrix_norm(a)
        np.linalg.matrix_norm(t, ord="nuc")
        np.linalg.matrix_power(M, 3)
        np.linalg.matrix_power(M, -2)
        np.linalg.matrix_power(M, 0)
        np.linalg.cond(M)
        np.linalg.cond(M, 1)
        np.linalg.cond(M, "fro")
        np.linalg.cond(M, -2)
        np.linalg.cond(B, np.inf)
        np.linalg.matrix_rank(M) * r
        np.linalg.tensorinv(M.reshape(3, 3), ind=1)
        np.linalg.tensorsolve(M, w)
    """,
    "Fourier": """
        np.fft.fft(x)
        np.fft.fft(z)
        np.fft.fft(x, 8)
        np.fft.fft(x, 3)
        np.fft.fft(a, axis=0)
        np.fft.fft(x, norm="ortho")
        np.fft.fft(x, norm="forward")
        np.fft.ifft(z)
        np.fft.ifft(x, 7, norm="ortho")
        np.fft.rfft(x)
        np.fft.rfft(u)
        np.fft.rfft(x, 8, norm="ortho")
        np.fft.rfft(a, axis=0)
        np.fft.irfft(z)
        np.fft.irfft(z, 7)
        np.fft.irfft(z, n=9, norm="forward")
        np.fft.hfft(z)
        np.fft.hfft(z, 7)
        np.fft.ihfft(x)
        np.fft.fft2(a)
        np.fft.fft2(t, axes=(0, 1))
        np.fft.ifft2(a)
        np.fft.fftn(t)
        np.fft.fftn(t, s=(2, 5), axes=(0, 2))
        np.fft.ifftn(t, norm="ortho")
        np.fft.rfft2(a)
        np.fft.rfftn(t)
        np.fft.irfft2(Z)
        np.fft.irfftn(Z, s=(3, 4), axes=(0, 1))
        np.fft.fftshift(x)
        np.fft.fftshift(a, axes=1)
        np.fft.ifftshift(x)
        np.fft.fftfreq(5) * x
        np.fft.rfftfreq(9) * x
        np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(y), 5)
    """,
    "order and statistics": """
        np.sort(x)
        np.sort(a, axis=0)
        np.sort(a, axis=None)
        np.sort(x, kind="stable")
        np.sort(x)[::-1]
        np.argsort(x)
        np.argsort(-x, kind="stable")
        a.argsort(axis=0)
        np.lexsort((y, x))
        np.sort_complex(x)
        np.partition(x, 2)
        np.partition(a, 1, axis=1)
        np.argpartition(x, 2)[:2].sum() * r
        np.searchsorted(u, x)
        np.searchsorted(u, 0.1, side="right") * r
        u.searchsorted(x)
        np.digitize(x, [-1.0, 0.0, 1.0])
        np.unique(x)
        np.unique(x, return_index=True)
        np.unique(k) * r
        np.sort(np.unique_values(x))
        np.isin(k, [1, 2]) * x
        np.intersect1d(k, [1, 2]) * r
        np.setdiff1d(k, [1, 2]) * r
        np.union1d(k, [1, 2]) * r
        np.quantile(x, 0.3)
        np.quantile(x, [0.1, 0.9])
        np.quantile(a, 0.4, axis=1)
        np.quantile(a, p[0], axis=0, keepdims=True)
        np.quantile(x, 0.3, method="linear")
        np.quantile(x, 0.31, method="lower")
        np.quantile(x, 0.31, method="higher")
        np.quantile(x, 0.31, method="nearest")
        np.quantile(x, 0.31, method="midpoint")
        np.quantile(x, 0.31, method="hazen")
        np.quantile(x, 0.31, method="weibull")
        np.quantile(x, 0.31, method="median_unbiased")
        np.quantile(x, 0.31, method="normal_unbiased")
        np.quantile(x, 0.31, method="interpolated_inverted_cdf")
        np.quantile(x, 0.31, method="closest_observation")
        np.quantile(x, 0.31, method="averaged_inverted_cdf")
        np.quantile(x, 0.31, method="inverted_cdf")
        np.quantile(x, 0.31, method="inverted_cdf", weights=q)
        np.percentile(x, 30)
        np.percentile(a, [25, 75], axis=1)
        np.percentile(x, 30, method="midpoint")
        np.cumsum(x)
        np.cumsum(a, axis=1)
        np.cumsum(a, axis=None)
        np.cumsum(f, dtype=np.float64)
        x.cumsum()
        np.cumprod(x)
        np.cumprod(a, axis=0)
        x.cumprod()
        np.nancumsum(h)
        np.nancumprod(h)
        np.cumulative_sum(x)
        np.cumulative_sum(a, axis=1, include_initial=True)
        np.cumulative_prod(x)
        np.diff(x)
        np.diff(x, 2)
        np.diff(a, axis=0)
        np.diff(x, prepend=0.0)
        np.diff(x, append=r)
        np.ediff1d(x)
        np.ediff1d(x, to_begin=0.0, to_end=[1.0, 2.0])
        np.gradient(x)
        np.gradient(x, 2.0)
        np.gradient(u, u ** 3 + u)
        np.gradient(a)
        np.gradient(a, axis=1, edge_order=2)
        np.trapezoid(x)
        np.trapezoid(x, y)
        np.trapezoid(a, dx=0.5, axis=0)
        np.interp(x, u, u ** 2)
        np.interp(r, u, u)
        np.interp(x, u, u, left=0.0, right=1.0)
        np.cov(x, y)
        np.cov(a)
        np.cov(a, rowvar=False, ddof=0)
        np.cov(x)
        np.cov(a, aweights=[1.0, 2.0, 1.5, 0.5])
        np.corrcoef(x, y)
        np.corrcoef(a)
        np.bincount(k) * r
        np.bincount(i, weights=x)
        np.bincount(i, weights=x, minlength=7)
        np.histogram(y, bins=[-3.0, 0.0, 3.0])[0] * r
        np.histogram(k, bins=3)[0] * r
        np.polyval(w, x)
        np.polyadd(x, w)
        np.polysub(x, w)
        np.polymul(x, w)
        np.polydiv(x, w)
        np.polyder(x)
        np.polyder(x, 2)
        np.polyint(x)
        np.polyint(x, 2, k=[1.0, 2.0])
        np.polyfit(x, y, 2)
        np.polyfit(x, y, 1, w=q)
        np.poly(w)
        np.abs(np.roots([1.0, -6.0, 11.0, -6.5]) * r)
        np.abs(np.roots(q))
    """,
    "ufunc methods": """
        np.add.reduce(x)
        np.add.reduce(a)
        np.add.reduce(a, axis=None)
        np.add.reduce(a, axis=1, keepdims=True)
        np.add.reduce(x, initial=2.0, where=m)
        np.multiply.reduce(x)
        np.multiply.reduce(a, axis=1)
        np.maximum.reduce(a)
        np.minimum.reduce(a, axis=1)
        np.logical_or.reduce(m) * r
        np.logaddexp.reduce(x)
        np.logaddexp.reduce(a, axis=1)
        np.hypot.reduce(x)
        np.subtract.reduce(x)
        np.divide.reduce(q)
        np.add.accumulate(x)
        np.add.accumulate(a, axis=1)
        np.multiply.accumulate(x)
        np.maximum.accumulate(x)
        np.maximum.accumulate(a, axis=1)
        np.minimum.accumulate(x)
        np.logaddexp.accumulate(x)
        np.subtract.accumulate(x)
        np.add.reduceat(x, [0, 2, 1])
        np.add.reduceat(a, [0, 2], axis=1)
        np.multiply.reduceat(x, [0, 2])
        np.maximum.reduceat(x, [0, 3])
        np.minimum.reduceat(x, [0, 3])
        np.add.outer(x, y)
        np.subtract.outer(x, w)
        np.multiply.outer(x, a)
        np.divide.outer(x, q)
        np.maximum.outer(x, y)
        np.power.outer(q, w)
        np.less.outer(x, y)
        np.arctan2.outer(x, y)
    """,
    "tests and comparisons": """
        x > y
        x <= 0
        x == x
        (x > 0) & (y > 0)
        (x > 0) | m
        ~(x > 0)
        (x > 0) ^ m
        np.greater(x, y)
        np.greater_equal(x, y)
        np.less(x, y)
        np.bitwise_or(k, 1) * x
        np.bitwise_xor(k, 1) * x
        np.right_shift(k, 1) * x
        np.bitwise_right_shift(k, 1) * x
        (x > 0).any() * x
        x.argmax() * r
        x.argpartition(2)[:3].sum() * r
        a.ndim * r
        a.nbytes * r
        x.to_device("cpu")
        k[0].item() * x
        x.device == "cpu"
        np.less_equal(x, 0)
        np.equal(x, y)
        np.not_equal(x, y)
        np.logical_and(x > 0, m)
        np.logical_or(x, m)
        np.logical_not(x > 0)
        np.logical_xor(m, x > 0)
        np.isnan(h)
        np.isinf(x)
        np.isfinite(h)
        np.isposinf(x)
        np.isneginf(x)
        np.isreal(z)
        np.iscomplex(z)
        np.isrealobj(x) * r
        np.iscomplexobj(z) * r
        np.isclose(x, y)
        np.allclose(x, x + 1e-12) * r
        np.array_equal(x, y) * r
        np.array_equiv(x, y) * r
        np.isscalar(2.0) * r
        np.result_type(x, np.float32) == np.float64
        np.can_cast(np.float32, x.dtype) * r
        np.issubdtype(x.dtype, np.floating) * r
        np.min_scalar_type(300).itemsize * r
        np.common_type(x, z) is np.complex128
        np.finfo(x.dtype).eps * r
        np.bitwise_and(k, 1) * x
        np.left_shift(k, 1) * x
        np.invert(k) * x
        k & 3
        k << 2
        np.bitwise_count(k) * x
        np.indices((2, 3)) * r
        np.broadcast_shapes(x.shape, (2, 1))[0] * r
        np.ravel_multi_index((1, 2), (3, 4)) * r
        float(np.iinfo(k.dtype).max > 3) * r
    """,
    "functional updates": """
        fg.at(x)[1].set(r)
        fg.at(x)[i].add(y)
        fg.at(x)[[1, 1]].multiply(r)
        fg.at(x)[::2].min(0.1)
        fg.at(x)[m].max(r)
        fg.at(a)[:, 1].set(w)
        fg.at(a)[mm].set(0.0)
        fg.at(a)[1, [0, 2]].add(r)
        fg.at(np.zeros(5))[i].add(x)
    """,
    "scipy.special": """
        sc.gammaln(q)
        sc.gamma(q)
        sc.rgamma(q)
        sc.digamma(q)
        sc.psi(q)
        sc.loggamma(q)
        sc.beta(q, p)
        sc.betaln(q, p)
        sc.poch(q, p)
        sc.binom(q, p)
        sc.erf(x)
        sc.erfc(x)
        sc.erfcx(x)
        sc.erfinv(p)
        sc.erfcinv(p)
        sc.dawsn(x)
        sc.ndtr(x)
        sc.ndtri(p)
        sc.log_ndtr(x)
        sc.expit(x)
        sc.log_expit(x)
        sc.logit(p)
        sc.xlogy(x, q)
        sc.xlog1py(x, q)
        sc.entr(p)
        sc.rel_entr(p, q)
        sc.kl_div(p, q)
        sc.boxcox(q, r)
        sc.boxcox1p(q, r)
        sc.inv_boxcox(p, r)
        sc.huber(0.5, x)
        sc.pseudo_huber(0.5, x)
        sc.exp10(x)
        sc.exp2(x)
        sc.expm1(x)
        sc.log1p(q)
        sc.cosm1(x)
        sc.exprel(x)
        sc.cbrt(x)
        sc.sindg(x)
        sc.i0(x)
        sc.i0e(x)
        sc.i1(x)
        sc.i1e(x)
        sc.iv(2, q)
        sc.ive(2, q)
        sc.j0(x)
        sc.j1(x)
        sc.jv(2, q)
        sc.jn(2, q)
        sc.y0(q)
        sc.y1(q)
        sc.yn(2, q)
        sc.yv(2, q)
        sc.jvp(1, x)
        sc.yvp(1, q)
        sc.ivp(1, x)
        sc.kvp(1, q)
        sc.h1vp(1, q)
        sc.h2vp(1, q)
        sc.k0(q)
        sc.k1(q)
        sc.kv(2, q)
        sc.kn(2, q)
        sc.gammainc(2.0, q)
        sc.gammaincc(2.0, q)
        sc.gammaincinv(2.0, p)
        sc.gammainccinv(2.0, p)
        sc.betainc(2.0, 3.0, p)
        sc.betaincinv(2.0, 3.0, p)
        sc.stdtr(4.0, x)
        sc.stdtrit(4.0, p)
        sc.chdtr(3.0, q)
        sc.chdtrc(3.0, q)
        sc.expi(q)
        sc.exp1(q)
        sc.expn(2, q)
        sc.sici(q)
        sc.shichi(q)
        sc.spence(q)
        sc.fresnel(x)
        sc.ellipk(p)
        sc.ellipe(p)
        sc.ellipkm1(p)
        sc.hyp0f1(1.5, x)
        sc.hyp1f1(1.5, 2.5, x)
        sc.hyp2f1(1.0, 2.0, 3.5, p)
        sc.zeta(2.5, q)
        sc.wofz(z)
        sc.owens_t(x, y)
        sc.airy(x)
        sc.gammasgn(q) * r
        sc.round(x)
        sc.lambertw(q)
        sc.factorial(3) * r
        sc.comb(5, 2) * r
        sc.softplus(x)
        sc.assoc_laguerre(x, 2, 1.0)
        sc.betaincc(2.0, 3.0, p)
        sc.betainccinv(2.0, 3.0, p)
        sc.chdtri(3.0, p)
        sc.pdtr(2, q)
        sc.pdtrc(2, q)
        sc.powm1(q, y)
        sc.cosdg(x)
        sc.tandg(x)
        sc.cotdg(x)
        sc.erfi(x)
        sc.ndtri_exp(-q)
        sc.inv_boxcox1p(p, r)
        sc.hyperu(1.5, 2.5, q)
        sc.hankel1(1, q)
        sc.hankel2(1, q)
        sc.k0e(q)
        sc.k1e(q)
        sc.kve(1.5, q)
        sc.eval_chebyt(3, x)
        sc.eval_chebyu(3, x)
        sc.eval_gegenbauer(3, 0.5, x)
        sc.eval_genlaguerre(3, 0.5, x)
        sc.eval_hermite(3, x)
        sc.eval_hermitenorm(3, x)
        sc.eval_jacobi(3, 0.5, 1.0, x)
        sc.eval_laguerre(3, x)
        sc.eval_legendre(3, x)
        sc.eval_chebyc(3, x)
        sc.eval_chebys(3, x)
        sc.eval_sh_chebyt(3, x)
        sc.eval_sh_chebyu(3, x)
        sc.eval_sh_legendre(3, x)
        sc.eval_sh_jacobi(3, 2.5, 1.0, x)
        sc.sh_legendre(3)(x)
        sc.sh_chebyt(3)(x)
        sc.sh_chebyu(3)(x)
        sc.chebyc(3)(x)
        sc.chebys(3)(x)
        sc.sh_jacobi(3, 2.5, 1.0)(x)
        sc.bdtr(2, 5, p)
        sc.bdtrc(2, 5, p)
        sc.nbdtr(2, 5, p)
        sc.nbdtrc(2, 5, p)
        sc.pdtri(2, p)
        sc.fdtr(2.5, 3.5, q)
        sc.fdtrc(2.5, 3.5, q)
        sc.fdtri(2.5, 3.5, p)
        sc.gdtr(q, 2.5, 1.5)
        sc.gdtrc(q, 2.5, 1.5)
        sc.gdtrix(q, 2.5, p)
        sc.gdtria(p, 2.5, q)
        sc.nrdtrimn(p, q, x)
        sc.nrdtrisd(x, 0.9, q)
        sc.radian(x, y, q)
        sc.chebyt(3)(x)
        sc.chebyu(3)(x)
        sc.gegenbauer(3, 0.5)(x)
        sc.genlaguerre(3, 0.5)(x)
        sc.hermite(3)(x)
        sc.hermitenorm(3)(x)
        sc.jacobi(3, 0.5, 1.0)(x)
        sc.laguerre(3)(x)
        sc.legendre(3)(x)
    """,
    "constants of scipy.special": """
        sc.ai_zeros(2)[0] * r
        sc.bi_zeros(2)[0] * r
        sc.bei_zeros(2) * r
        sc.beip_zeros(2) * r
        sc.ber_zeros(2) * r
        sc.berp_zeros(2) * r
        sc.kei_zeros(2) * r
        sc.keip_zeros(2) * r
        sc.ker_zeros(2) * r
        sc.kerp_zeros(2) * r
        sc.kelvin_zeros(2)[0] * r
        sc.bernoulli(4) * r
        sc.euler(4) * r
        sc.erf_zeros(2) * r
        sc.fresnel_zeros(2)[0] * r
        sc.fresnelc_zeros(2) * r
        sc.fresnels_zeros(2) * r
        sc.jn_zeros(1, 2) * r
        sc.jnp_zeros(1, 2) * r
        sc.jnjnp_zeros(2)[0] * r
        sc.jnyn_zeros(1, 2)[0] * r
        sc.yn_zeros(1, 2) * r
        sc.ynp_zeros(1, 2) * r
        sc.y0_zeros(2)[0] * r
        sc.y1_zeros(2)[0] * r
        sc.y1p_zeros(2)[0] * r
        sc.c_roots(3)[0] * r
        sc.cg_roots(3, 0.5)[0] * r
        sc.h_roots(3)[0] * r
        sc.he_roots(3)[0] * r
        sc.j_roots(3, 0.5, 1.0)[0] * r
        sc.js_roots(3, 2.5, 1.0)[0] * r
        sc.l_roots(3)[0] * r
        sc.la_roots(3, 0.5)[0] * r
        sc.p_roots(3)[0] * r
        sc.ps_roots(3)[0] * r
        sc.s_roots(3)[0] * r
        sc.t_roots(3)[0] * r
        sc.ts_roots(3)[0] * r
        sc.u_roots(3)[0] * r
        sc.us_roots(3)[0] * r
        sc.geterr()["loss"] is not None
        sc.seterr() is not None
        sc.errstate() is not None
    """,
    "beside traced values": """
        np.base_repr(10, 2) == "1010"
        np.binary_repr(10) == "1010"
        np.dtype(x.dtype).itemsize * r
        np.einsum_path("i,i", x, y)[0][0] == "einsum_path"
        np.empty((2, 0)) * r
        np.errstate(all="ignore") is not None
        np.frombuffer(b"abc", np.uint8) * r
        np.fromfunction(lambda i: i * r, (3,))
        np.fromiter([1.0, 2.0], float) * r
        np.fromstring("1 2", sep=" ") * r
        np.diag_indices_from(a[:, :3])[0] * r
        np.tril_indices_from(a)[0] * r
        np.triu_indices_from(a)[0] * r
        np.mask_indices(3, np.triu)[0] * r
        np.get_printoptions()["precision"] * r
        np.geterr()["over"] is not None
        np.geterrcall() is None
        np.getbufsize() * r
        np.isdtype(x.dtype, "real floating") * r
        np.iterable(x) * r
        np.promote_types(np.float32, x.dtype) == x.dtype
        [index for index in np.ndindex(2, 2)]
        np.poly1d(x)(r)
        len(np.get_include()) > 0
        np.indices((2, 3)) * r
        np.histogram_bin_edges(x, 4)
        np.histogram(x, 4)
        np.histogram(x, 4, density=True)
        np.unique_all(k)[0] * r
        np.unique_counts(k)[1] * r
        np.unique_inverse(k)[1] * r
        np.ravel_multi_index((k, 1), (9, 3)) * x
        np.unravel_index(np.argmax(a), a.shape)[0] * r
        np.bartlett(5) * x
        np.blackman(5) * x
        np.hamming(5) * x
        np.hanning(5) * x
        np.datetime_data("M8[D]")[1] * r
        np.format_float_positional(1.5) == "1.5"
        np.format_float_scientific(1.5) == "1.5e+00"
    """,
}
"""Family → a line for each probe."""


def lines(text: str) -> list[str]:
    """The probes of a family."""
    return [line.strip() for line in text.splitlines() if line.strip()]


ALL = {line: family for family, text in PROBES.items() for line in lines(text)}
"""Probe → its family."""


def _called(line: str) -> str:
    return line.partition("(")[0].replace("sc.", "scipy.special.")


_REFUSED = """
    np.copyto(x, y)
    np.put(x, 0, 1.0)
    np.place(x, x > 0, 1.0)
    np.putmask(x, x > 0, 1.0)
    np.fill_diagonal(a, 1.0)
    np.put_along_axis(a, j, 1.0, 1)
    np.matrix(a)
    np.nditer(x)
    np.ndenumerate(x)
    np.broadcast(x, y)
    np.recarray(x)
    np.array2string(x)
    np.array_repr(x)
    np.array_str(x)
    np.save("x.npy", x)
    np.savetxt("x.txt", x)
    np.savez("x.npz", x)
    np.savez_compressed("x.npz", x)
    np.packbits(k)
    np.unpackbits(k)
    np.busday_count(k, k)
    np.busday_offset(k, 1)
    np.is_busday(k)
    np.datetime_as_string(k)
    np.isnat(k)
    np.may_share_memory(x, x)
    np.shares_memory(x, x)
    np.isfortran(a)
    np.from_dlpack(x)
    np.nested_iters([a], [[0], [1]])
    np.vectorize(lambda v: v * v)(x)
    np.frompyfunc(lambda v: v * v, 1, 1)(x)
    np.asmatrix(a)
    np.bmat([[a, a]])
    np.asarray_chkfinite(x)
    np.mintypecode(x)
    np.typename(x)
    np.setxor1d(x, y)
    np.histogram2d(x, y)
    np.histogramdd(a)
    np.power.reduce(q)
    np.float_power.reduce(q)
    np.arctan2.reduce(q)
    np.power.reduceat(q, [0, 2])
    np.kaiser(5, r)
    np.asarray(x)
    np.asanyarray(x)
    np.ascontiguousarray(x)
    np.asfortranarray(x)
    np.require(x)
    sc.logsumexp(x)
    sc.softmax(x)
    sc.log_softmax(x)
    sc.factorial(q)
    sc.factorial2(q)
    sc.factorialk(q, 3)
    sc.comb(q, 2)
    sc.perm(q, 2)
    sc.stirling2(k, k)
    sc.polygamma(1, q)
    sc.multigammaln(q, 2)
    sc.diric(x, 3)
    sc.spherical_jn(1, q)
    sc.spherical_yn(1, q)
    sc.spherical_in(1, q)
    sc.spherical_kn(1, q)
    sc.legendre_p(2, p)
    sc.legendre_p_all(2, p)
    sc.assoc_legendre_p(2, 1, p)
    sc.assoc_legendre_p_all(2, 1, p)
    sc.sph_legendre_p(2, 1, p)
    sc.sph_legendre_p_all(2, 1, p)
    sc.lqn(2, r)
    sc.lqmn(1, 2, r)
    sc.sph_harm_y(2, 1, p, p)
    sc.sph_harm_y_all(2, 1, p, p)
    sc.ellip_harm(1.0, 2.0, 1, 1, x)
    sc.ellip_harm_2(1.0, 2.0, 1, 1, x)
    sc.ellip_normal(r, 2.0, 1, 1)
    sc.lmbda(1.5, r)
    sc.mathieu_even_coef(2, r)
    sc.mathieu_odd_coef(2, r)
    sc.obl_cv_seq(1, 2, r)
    sc.pro_cv_seq(1, 2, r)
    sc.pbdn_seq(2, r)
    sc.pbdv_seq(2.0, r)
    sc.pbvv_seq(2.0, r)
    sc.riccati_jn(2, r)
    sc.riccati_yn(2, r)
"""

REFUSED = {line: _called(line) for line in lines(_REFUSED)}
"""Probe that is refused → the name by which the reason is found."""

UNNAMED = frozenset(
    f"{module}.{name}"
    for module, names in (
        (
            "np",
            "asarray asanyarray ascontiguousarray asfortranarray require nested_iters isfortran matrix "
            "nditer ndenumerate broadcast recarray",
        ),
        (
            "scipy.special",
            "lmbda mathieu_even_coef mathieu_odd_coef obl_cv_seq pro_cv_seq pbdn_seq pbdv_seq "
            "pbvv_seq riccati_jn riccati_yn spherical_jn spherical_yn spherical_in spherical_kn",
        ),
    )
    for name in names.split()
)
"""What asks nobody before it looks for plain numbers, so that the error can't name it."""
