"""Likelihoods: logistic regression with its Hessian, a Gaussian mixture, a Gaussian process."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.record import Workload


def logistic(np: Any, w: Any, b: Any, x: Any, y: Any) -> Any:
    return np.mean(np.softplus(-y * (x @ w + b)))


def logistic_manual(w: Any, b: Any, x: Any, y: Any) -> Any:
    m = -y * (x @ w + b)
    d_m = -y / ((1.0 + np.exp(-m)) * len(y))
    return np.mean(np.logaddexp(0.0, m)), d_m @ x, np.sum(d_m)


def logistic_inputs(rng: Any, size: Any) -> Any:
    n, d = size
    return rng.normal(size=d) / d, 0.1, rng.normal(size=size), rng.choice([-1.0, 1.0], size=n)


def linear_logistic(np: Any, w: Any, x: Any, y: Any) -> Any:
    return np.mean(np.softplus(-y * (x @ w)))


def hvp_manual(w: Any, v: Any, x: Any, y: Any) -> Any:
    p = 1.0 / (1.0 + np.exp(y * (x @ w)))
    return ((p * (1.0 - p) / len(y) * (x @ v)) @ x,)


def hvp_inputs(rng: Any, size: Any) -> Any:
    w, _, x, y = logistic_inputs(rng, size)
    return w, rng.normal(size=len(w)), x, y


def cauchy(np: Any, x: Any, a: Any) -> Any:
    return np.sum(np.log(1.0 + (a @ x) ** 2))


def cauchy_hessian(x: Any, a: Any) -> Any:
    square = (a @ x) ** 2
    return ((2.0 * (1.0 - square) / (1.0 + square) ** 2 * a.T) @ a,)


def mixture(np: Any, weights: Any, means: Any, scales: Any, factors: Any, x: Any, mask: Any) -> Any:
    """Minus the log-likelihood; component k has precision LᵀL, L = diag(exp(scale)) + factor."""
    n, d = np.length(x, 0), np.length(x, 1)
    lower = np.exp(scales)[:, :, None] * np.eye(d) + factors * mask
    z = (x[None] - means[:, None]) @ np.swapaxes(lower, 1, 2)
    inner = weights + np.sum(scales, axis=1) - 0.5 * np.swapaxes(np.sum(z * z, axis=2), 0, 1)
    return n * np.logsumexp(weights, 0) - np.sum(np.logsumexp(inner, 1))


def mixture_manual(weights: Any, means: Any, scales: Any, factors: Any, x: Any, mask: Any) -> Any:
    n, d = x.shape
    diagonal = np.exp(scales)
    lower = factors * mask
    lower[:, range(d), range(d)] = diagonal
    centred = x - means[:, None]
    z = centred @ lower.transpose(0, 2, 1)
    inner = (weights + scales.sum(1))[:, None] - 0.5 * np.einsum("knd,knd->kn", z, z)
    top = inner.max(0)
    share = np.exp(inner - top)
    total = share.sum(0)
    share /= total
    prior = np.exp(weights - weights.max())
    sums = prior.sum()
    value = n * (np.log(sums) + weights.max()) - np.sum(np.log(total) + top)
    members = share.sum(1)
    z *= share[:, :, None]
    d_lower = z.transpose(0, 2, 1) @ centred
    d_means = -(z @ lower).sum(1)
    d_scales = d_lower[:, range(d), range(d)] * diagonal - members[:, None]
    return value, n * prior / sums - members, d_means, d_scales, d_lower * mask


def mixture_inputs(rng: Any, size: Any) -> Any:
    n, d, k = size
    return (
        rng.normal(size=k),
        rng.normal(size=(k, d)),
        0.1 * rng.normal(size=(k, d)),
        0.1 * rng.normal(size=(k, d, d)),
        rng.normal(size=(n, d)),
        np.tri(d, k=-1),
    )


def _kernel(np: Any, length: Any, amplitude: Any, noise: Any, squares: Any, eye: Any) -> Any:
    smooth = np.exp(2.0 * amplitude - 0.5 * np.exp(-2.0 * length) * squares)
    return smooth + (np.exp(2.0 * noise) + 1e-6) * eye


def process_cholesky(np: Any, length: Any, amplitude: Any, noise: Any, *data: Any) -> Any:
    squares, y, eye = data
    lower = np.cholesky(_kernel(np, length, amplitude, noise, squares, eye))
    z = np.solve_lower(lower, y)
    return 0.5 * np.sum(z * z) + np.sum(np.log(np.diagonal(lower)))


def process_slogdet(np: Any, length: Any, amplitude: Any, noise: Any, *data: Any) -> Any:
    squares, y, eye = data
    kernel = _kernel(np, length, amplitude, noise, squares, eye)
    return 0.5 * np.sum(y * np.solve(kernel, y)) + 0.5 * np.slogdet(kernel)[1]


def process_manual(logdet: Any) -> Any:
    def gradient(length: Any, amplitude: Any, noise: Any, squares: Any, y: Any, eye: Any) -> Any:
        inverse_square = np.exp(-2.0 * length)
        smooth = np.exp(2.0 * amplitude - 0.5 * inverse_square * squares)
        variance = np.exp(2.0 * noise)
        kernel = smooth.copy()
        kernel[range(len(y)), range(len(y))] += variance + 1e-6
        half = logdet(kernel)
        inverse = np.linalg.inv(kernel)
        alpha = inverse @ y
        d_kernel = 0.5 * (inverse - np.outer(alpha, alpha))
        product = d_kernel * smooth
        return (
            0.5 * (y @ alpha) + half,
            inverse_square * np.vdot(product, squares),
            2.0 * np.sum(product),
            2.0 * variance * np.trace(d_kernel),
        )

    return gradient


def process_inputs(rng: Any, n: Any) -> Any:
    x = rng.normal(size=(n, 3))
    squares = np.sum((x[:, None] - x) ** 2, axis=2)
    return 0.2, 0.1, -0.5, squares, rng.normal(size=n), np.eye(n)


WORKLOADS = [
    Workload(
        name="logistic",
        title="logistic regression, 10⁴×100",
        program=logistic,
        manual=logistic_manual,
        inputs=logistic_inputs,
        size=(10_000, 100),
        tiny=(7, 3),
        wrt=(0, 1),
    ),
    Workload(
        name="hvp",
        title="Hessian-vector product, logistic regression 10⁴×100",
        kind="hvp",
        program=linear_logistic,
        manual=hvp_manual,
        inputs=hvp_inputs,
        size=(10_000, 100),
        tiny=(7, 3),
        without=("mygrad",),
    ),
    Workload(
        name="hessian",
        title="full Hessian, 50 dimensions",
        kind="hessian",
        program=cauchy,
        manual=cauchy_hessian,
        inputs=lambda rng, size: (rng.normal(size=size[1]), rng.normal(size=size) / size[1]),
        size=(100, 50),
        tiny=(5, 3),
        without=("mygrad",),
    ),
    Workload(
        name="mixture",
        title="Gaussian mixture, N 1000, d 10, K 25",
        program=mixture,
        manual=mixture_manual,
        inputs=mixture_inputs,
        size=(1000, 10, 25),
        tiny=(5, 2, 3),
        wrt=(0, 1, 2, 3),
    ),
    Workload(
        name="process-cholesky",
        title="Gaussian process, n 200, Cholesky",
        program=process_cholesky,
        manual=process_manual(lambda k: np.sum(np.log(np.diagonal(np.linalg.cholesky(k))))),
        inputs=process_inputs,
        size=200,
        tiny=5,
        wrt=(0, 1, 2),
        without=("mygrad",),
    ),
    Workload(
        name="process-slogdet",
        title="Gaussian process, n 200, slogdet",
        program=process_slogdet,
        manual=process_manual(lambda k: 0.5 * np.linalg.slogdet(k)[1]),
        inputs=process_inputs,
        size=200,
        tiny=5,
        wrt=(0, 1, 2),
        without=("mygrad",),
    ),
]
