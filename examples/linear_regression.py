"""Linear regression: find the plane through noisy points by gradient descent.

The points are drawn around y = x @ w + b with known w and b. Gradient descent starts from zero,
knows only the points, and should come back with the same numbers, up to the noise.

    python examples/linear_regression.py
"""

import argparse

import numpy as np

import fungrad as fg

W, B, NOISE = np.array([2.0, -3.0]), 0.5, 0.1


def sample(rng, n):
    """Return n points x, shape (n, 2), and the noisy heights y, shape (n,), above them."""
    x = rng.uniform(-1, 1, (n, 2))
    return x, x @ W + B + rng.normal(0, NOISE, n)


def loss(params, x, y):
    """Return the mean squared distance between the plane and the points."""
    return np.mean((x @ params["w"] + params["b"] - y) ** 2)


@fg.jit
def step(params, opt, x, y):
    """Return the parameters and the optimizer after one step downhill, and the loss before it."""
    value, grads = fg.value_and_grad(loss)(params, x, y)
    params, opt = opt.update(params, grads)
    return params, opt, value


def main(steps):
    """Fit, and print what was found beside the truth."""
    x, y = sample(np.random.default_rng(0), 500)
    params = {"w": np.zeros(2), "b": 0.0}
    opt = fg.optim.sgd(params, learning_rate=0.1)
    for i in range(steps):
        params, opt, value = step(params, opt, x, y)
        if i % (steps // 5) == 0:
            print(f"step {i:3d}   loss {value:.4f}")

    w, b = params["w"], params["b"]
    print(f"found  w = [{w[0]:.2f}, {w[1]:.2f}]   b = {b:.2f}   loss = {loss(params, x, y):.4f}")
    print(f"truth  w = [{W[0]:.2f}, {W[1]:.2f}]   b = {B:.2f}   noise² = {NOISE**2:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fit a plane by gradient descent.")
    parser.add_argument("--short", action="store_true", help="take 100 steps only")
    main(100 if parser.parse_args().short else 200)
