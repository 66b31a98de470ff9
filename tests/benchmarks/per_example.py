"""Per-example gradients: ``vmap(grad(loss), (None, 0, 0))`` against matrix products by hand.

Run with ``python -m tests.benchmarks.per_example``. It prints, for each network, the time of both
and their ratio; by hand means one batched product for each layer and direction, in NumPy.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

import fungrad as fg
from tests.benchmarks.clock import best


def loss(params: list[Any], x: Any, y: Any) -> Any:
    """The squared error of a network of tanh layers, for one example."""
    for w, b in params[:-1]:
        x = np.tanh(x @ w + b)
    w, b = params[-1]
    return np.sum((x @ w + b - y) ** 2)


def by_hand(params: list[Any], x: Any, y: Any) -> list[Any]:
    """The gradient of every example of a batch."""
    inputs = []
    for w, b in params[:-1]:
        inputs.append(x)
        x = x @ w
        x += b
        np.tanh(x, out=x)
    w, b = params[-1]
    inputs.append(x)
    out = x @ w
    out += b
    out -= y
    out *= 2
    grads = []
    for layer in reversed(range(len(params))):
        if layer < len(params) - 1:
            slope = np.square(inputs[layer + 1])
            np.subtract(1, slope, out=slope)
            out *= slope
        grads.append((inputs[layer][:, :, None] * out[:, None, :], out))
        if layer:
            out = out @ params[layer][0].T
    return grads[::-1]


def network(sizes: tuple[int, ...], batch: int, dtype: Any) -> tuple[list[Any], Any, Any]:
    """Random parameters, inputs and targets."""
    rng = np.random.default_rng(0)
    params = [
        (rng.normal(0, m**-0.5, (m, n)).astype(dtype), rng.normal(size=n).astype(dtype))
        for m, n in pairwise(sizes)
    ]
    x = rng.normal(size=(batch, sizes[0])).astype(dtype)
    return params, x, rng.normal(size=(batch, sizes[-1])).astype(dtype)


CASES = (
    ((8, 16, 1), 64, np.float64),
    ((64, 128, 10), 128, np.float32),
    ((64, 128, 128, 10), 64, np.float32),
    ((784, 128, 10), 32, np.float32),
)


def main() -> None:
    """Print the table."""
    print(f"{'layers':>20} {'batch':>6} {'by hand':>10} {'fungrad':>10} {'ratio':>6}")
    for sizes, batch, dtype in CASES:
        params, x, y = network(sizes, batch, dtype)
        function = fg.jit(fg.vmap(fg.grad(loss), in_axes=(None, 0, 0)))
        for got, want in zip(
            fg.tree.leaves(function(params, x, y)),
            fg.tree.leaves(by_hand(params, x, y)),
            strict=True,
        ):
            assert np.allclose(got, want, rtol=1e-3, atol=1e-3)
        hand = best(lambda args=(params, x, y): by_hand(*args))
        ours = best(lambda args=(params, x, y), f=function: f(*args))
        name = "-".join(map(str, sizes))
        print(
            f"{name:>20} {batch:>6} {hand * 1e6:>8.0f}µs {ours * 1e6:>8.0f}µs {ours / hand:>6.2f}"
        )


if __name__ == "__main__":
    main()
