"""Neural networks in float32: layers, recurrence, convolution; and what defeats a compiler."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from tests.benchmarks.record import LEARNING_RATE, Workload


def network(np: Any, params: Any, x: Any, labels: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = params
    hidden = np.tanh(np.tanh(x @ w1 + b1) @ w2 + b2)
    return cross_entropy(np, hidden @ w3 + b3, labels)


def cross_entropy(np: Any, logits: Any, labels: Any) -> Any:
    return np.mean(np.logsumexp(logits, 1) - np.sum(labels * logits, axis=1))


def _cross_entropy_manual(logits: Any, labels: Any) -> Any:
    logits -= logits.max(1, keepdims=True)
    shares = np.exp(logits)
    sums = shares.sum(1, keepdims=True)
    value = np.mean(np.log(sums[:, 0]) - np.sum(labels * logits, axis=1))
    shares /= sums
    shares -= labels
    shares /= np.float32(len(logits))
    return value, shares


def network_gradient(params: Any, x: Any, labels: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = params
    h1 = x @ w1
    h1 += b1
    np.tanh(h1, out=h1)
    h2 = h1 @ w2
    h2 += b2
    np.tanh(h2, out=h2)
    logits = h2 @ w3
    logits += b3
    value, d3 = _cross_entropy_manual(logits, labels)
    d2 = d3 @ w3.T
    d2 *= 1 - h2 * h2
    d1 = d2 @ w2.T
    d1 *= 1 - h1 * h1
    return value, [x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d3, d3.sum(0)]


def network_step(params: Any, x: Any, labels: Any) -> Any:
    value, grads = network_gradient(params, x, labels)
    return value, [p - np.float32(LEARNING_RATE) * g for p, g in zip(params, grads, strict=True)]


def _normal(rng: Any, *shape: int) -> Any:
    return (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)


def _labels(rng: Any, n: int, classes: int) -> Any:
    return np.eye(classes, dtype=np.float32)[rng.integers(classes, size=n)]


def network_inputs(rng: Any, size: Any) -> Any:
    batch, *widths = size
    params = []
    for m, n in pairwise(widths):
        params += [_normal(rng, m, n), np.zeros(n, np.float32)]
    x = rng.normal(size=(batch, widths[0])).astype(np.float32)
    return params, x, _labels(rng, batch, widths[-1])


def rnn(np: Any, params: Any, xs: Any, target: Any) -> Any:
    wx, wh, b = params
    h = np.zeros_like(target)
    for t in range(np.length(xs, 0)):
        h = np.tanh(xs[t] @ wx + h @ wh + b)
    return np.mean((h - target) ** 2)


def rnn_manual(params: Any, xs: Any, target: Any) -> Any:
    wx, wh, b = params
    steps = len(xs)
    hs = np.empty((steps + 1, *target.shape), target.dtype)
    hs[0] = 0
    inputs = xs @ wx + b
    for t in range(steps):
        np.tanh(inputs[t] + hs[t] @ wh, out=hs[t + 1])
    error = hs[-1] - target
    ct = error * np.float32(2 / error.size)
    inner = 1 - hs[1:] * hs[1:]
    back = wh.T.copy()
    for t in reversed(range(steps)):
        inner[t] *= ct
        ct = inner[t] @ back
    rows = inner.reshape(-1, inner.shape[2])
    d_wx = xs.reshape(-1, xs.shape[2]).T @ rows
    d_wh = hs[:-1].reshape(-1, hs.shape[2]).T @ rows
    return np.mean(error * error), [d_wx, d_wh, rows.sum(0)]


def lstm(np: Any, params: Any, xs: Any, target: Any) -> Any:
    wx, wh, b = params
    n = np.length(target, 1)
    h = c = np.zeros_like(target)
    for t in range(np.length(xs, 0)):
        gates = xs[t] @ wx + h @ wh + b
        i, f, o = (np.sigmoid(gates[:, k * n : (k + 1) * n]) for k in range(3))
        c = f * c + i * np.tanh(gates[:, 3 * n :])
        h = o * np.tanh(c)
    return np.mean((h - target) ** 2)


def lstm_manual(params: Any, xs: Any, target: Any) -> Any:
    wx, wh, b = params
    steps, (batch, n) = len(xs), target.shape
    one = np.float32(1)
    hs = np.zeros((steps + 1, batch, n), target.dtype)
    cs = np.zeros((steps + 1, batch, n), target.dtype)
    bent = np.empty((steps, batch, n), target.dtype)
    gates = xs @ wx + b
    for t in range(steps):
        g = gates[t]
        g += hs[t] @ wh
        np.tanh(g[:, 3 * n :], out=g[:, 3 * n :])
        s = g[:, : 3 * n]
        s[...] = one / (one + np.exp(-s))
        cs[t + 1] = g[:, n : 2 * n] * cs[t] + g[:, :n] * g[:, 3 * n :]
        np.tanh(cs[t + 1], out=bent[t])
        hs[t + 1] = g[:, 2 * n : 3 * n] * bent[t]
    error = hs[-1] - target
    ct_h = error * np.float32(2 / error.size)
    ct_c = np.zeros_like(ct_h)
    back = wh.T.copy()
    slopes = gates * (one - gates)
    slopes[:, :, 3 * n :] = one - gates[:, :, 3 * n :] ** 2
    for t in reversed(range(steps)):
        g, d = gates[t], slopes[t]
        d[:, 2 * n : 3 * n] *= ct_h * bent[t]
        ct_c = ct_c + ct_h * g[:, 2 * n : 3 * n] * (one - bent[t] * bent[t])
        d[:, :n] *= ct_c * g[:, 3 * n :]
        d[:, n : 2 * n] *= ct_c * cs[t]
        d[:, 3 * n :] *= ct_c * g[:, :n]
        ct_c = ct_c * g[:, n : 2 * n]
        ct_h = d @ back
    rows = slopes.reshape(-1, 4 * n)
    d_wx = xs.reshape(-1, xs.shape[2]).T @ rows
    d_wh = hs[:-1].reshape(-1, n).T @ rows
    return np.mean(error * error), [d_wx, d_wh, rows.sum(0)]


def recurrent_inputs(gates: int) -> Any:
    def inputs(rng: Any, size: Any) -> Any:
        steps, batch, m, n = size
        params = [_normal(rng, m, gates * n), _normal(rng, n, gates * n)]
        params.append(np.zeros(gates * n, np.float32))
        xs = rng.normal(size=(steps, batch, m)).astype(np.float32)
        return params, xs, rng.normal(size=(batch, n)).astype(np.float32)

    return inputs


def convnet(np: Any, params: Any, x: Any, labels: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = params
    h = np.max_pool(np.relu(np.conv(x, w1) + b1[:, None, None]))
    h = np.max_pool(np.relu(np.conv(h, w2) + b2[:, None, None]))
    return cross_entropy(np, h.reshape(np.length(x, 0), -1) @ w3 + b3, labels)


def _conv_manual(x: Any, w: Any, b: Any) -> Any:
    """Convolution as one product of patches, relu and pooling; and what the way back needs."""
    o, c, k, _ = w.shape
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    n, _, height, width = windows.shape[:4]
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, c * k * k)
    y = patches @ w.reshape(o, -1).T
    y += b
    np.maximum(y, 0, out=y)
    blocks = y.reshape(n, height // 2, 2, width // 2, 2, o)
    pooled = blocks.max(axis=(2, 4))
    return pooled.transpose(0, 3, 1, 2), patches, blocks, pooled


def _conv_back(ct: Any, w: Any, x: Any, kept: Any, needs_input: bool) -> Any:
    patches, blocks, pooled = kept
    o, c, k, _ = w.shape
    # Ties can only be at 0, where relu stops the derivative.
    top = (blocks == pooled[:, :, None, :, None]) & (blocks > 0)
    d = (top * ct.transpose(0, 2, 3, 1)[:, :, None, :, None]).reshape(-1, o)
    d_w, d_b = (d.T @ patches).reshape(w.shape), d.sum(0)
    if not needs_input:
        return d_w, d_b, None
    n, _, height, width = x.shape
    d_patches = (d @ w.reshape(o, -1)).reshape(n, height - k + 1, width - k + 1, c, k, k)
    d_x = np.zeros_like(x)
    for i in range(k):
        for j in range(k):
            target = d_x[:, :, i : i + height - k + 1, j : j + width - k + 1]
            target += d_patches[..., i, j].transpose(0, 3, 1, 2)
    return d_w, d_b, d_x


def convnet_manual(params: Any, x: Any, labels: Any) -> Any:
    w1, b1, w2, b2, w3, b3 = params
    h1, *kept1 = _conv_manual(x, w1, b1)
    h2, *kept2 = _conv_manual(h1, w2, b2)
    rows = h2.reshape(len(x), -1)
    value, d = _cross_entropy_manual(rows @ w3 + b3, labels)
    d_h2 = (d @ w3.T).reshape(h2.shape)
    d_w2, d_b2, d_h1 = _conv_back(d_h2, w2, h1, kept2, True)
    d_w1, d_b1, _ = _conv_back(d_h1, w1, x, kept1, False)
    return value, [d_w1, d_b1, d_w2, d_b2, rows.T @ d, d.sum(0)]


def convnet_inputs(rng: Any, batch: Any) -> Any:
    params = [
        0.2 * rng.normal(size=(8, 1, 5, 5)),
        0.1 * rng.normal(size=8),
        0.1 * rng.normal(size=(16, 8, 5, 5)),
        0.1 * rng.normal(size=16),
        0.1 * rng.normal(size=(256, 10)),
        np.zeros(10),
    ]
    x = rng.normal(size=(batch, 1, 28, 28)).astype(np.float32)
    return [p.astype(np.float32) for p in params], x, _labels(rng, batch, 10)


def ten(np: Any, w: Any, x: Any) -> Any:
    z = np.tanh(w * x + 1.0) - x
    return np.sum(np.exp(-z * z) * 0.5 + w**2)


def ten_manual(w: Any, x: Any) -> Any:
    t = np.tanh(w * x + 1.0)
    z = t - x
    return (2.0 * w - z * np.exp(-z * z) * (1.0 - t * t) * x,)


WORKLOADS = [
    Workload(
        name="mlp-small",
        title="MLP step 64-128-128-10, batch 64",
        kind="step",
        program=network,
        manual=network_step,
        inputs=network_inputs,
        size=(64, 64, 128, 128, 10),
        tiny=(3, 4, 5, 5, 2),
        tolerance=1e-4,
    ),
    Workload(
        name="mlp-large",
        title="MLP step 784-1024-1024-10, batch 256",
        kind="step",
        program=network,
        manual=network_step,
        inputs=network_inputs,
        size=(256, 784, 1024, 1024, 10),
        tiny=(3, 4, 5, 5, 2),
        tolerance=1e-4,
    ),
    Workload(
        name="rnn",
        title="RNN, 100 steps unrolled, batch 16, 32 units",
        program=rnn,
        manual=rnn_manual,
        inputs=recurrent_inputs(1),
        size=(100, 16, 16, 32),
        tiny=(3, 2, 3, 2),
        tolerance=1e-4,
    ),
    Workload(
        name="lstm",
        title="LSTM, 100 steps unrolled, batch 16, 64 units",
        program=lstm,
        manual=lstm_manual,
        inputs=recurrent_inputs(4),
        size=(100, 16, 32, 64),
        tiny=(3, 2, 3, 2),
        tolerance=1e-4,
    ),
    Workload(
        name="convnet",
        title="convnet 28×28, batch 32",
        program=convnet,
        manual=convnet_manual,
        inputs=convnet_inputs,
        size=32,
        tiny=2,
        tolerance=1e-4,
        without=("pytensor", "pytensor-c"),
    ),
    Workload(
        name="closure",
        title="10 operations, the closure rebuilt at every call, n = 10",
        kind="closure",
        program=ten,
        manual=ten_manual,
        inputs=lambda rng, n: (rng.normal(size=n), rng.normal(size=n)),
        size=10,
        tiny=3,
    ),
    Workload(
        name="batches",
        title="MLP 64-128-128-10, a new batch size at every call",
        kind="batches",
        program=network,
        manual=network_gradient,
        inputs=network_inputs,
        size=(256, 64, 128, 128, 10),
        tiny=(40, 4, 5, 5, 2),
        calls=200,
        tolerance=1e-4,
    ),
]
