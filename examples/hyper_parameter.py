"""Learn a hyper-parameter: differentiate through the training itself.

How strongly should the weights of a model be held back? The answer is in data that the training has
not seen: the error there is a function of the penalty, because the trained weights are. They are
where the gradient of the training loss is zero, and `fg.root` differentiates such a solution by the
implicit function theorem, without a trace of how it was found. The second derivative is there too,
so Newton's method finds the best penalty in a few steps.

    python examples/hyper_parameter.py

Larsen, Hansen, Svarer, Ohlsson (1996), Design and regularization of neural networks: the optimal
use of a validation set. Bengio (2000), Gradient-based optimization of hyper-parameters.
"""

import argparse

import numpy as np

import fungrad as fg


def data(rng, count):
    """Return the powers of some x, and noisy values of a function of x."""
    x = rng.uniform(-1, 1, count)
    return x[:, None] ** np.arange(12), np.sin(3 * x) + 0.3 * rng.normal(size=count)


def training_loss(w, log_penalty, features, y):
    """Return the mean squared error, and the penalty on large weights."""
    return np.mean((features @ w - y) ** 2) + np.exp(log_penalty) * np.sum(w**2)


def trained(log_penalty, features, y):
    """Return the weights where the training loss has no slope."""
    start = np.zeros(features.shape[1])
    return fg.root(fg.grad(training_loss), start, log_penalty, features, y)


def validation_error(log_penalty, seen, unseen):
    """Return the mean squared error on data that the training has not seen."""
    features, y = unseen
    return np.mean((features @ trained(log_penalty, *seen) - y) ** 2)


slope = fg.jit(fg.grad(validation_error))
curvature = fg.jit(fg.grad(fg.grad(validation_error)))


def main(steps, grid):
    """Find the best penalty by Newton's method, then by trying many."""
    rng = np.random.default_rng(0)
    sets = data(rng, 30), data(rng, 200)
    p = np.log(1e-2)
    for i in range(steps):
        print(f"step {i}   penalty {np.exp(p):.6f}   error {validation_error(p, *sets):.9f}")
        step = slope(p, *sets) / abs(curvature(p, *sets))
        p -= np.clip(step, -1, 1)
        if abs(step) < 1e-9:
            break
    print(f"Newton: penalty {np.exp(p):.6f}, error {validation_error(p, *sets):.9f}")

    tried = np.linspace(np.log(1e-6), np.log(1.0), grid)
    errors = [validation_error(q, *sets) for q in tried]
    best = int(np.argmin(errors))
    print(f"best of {grid}: penalty {np.exp(tried[best]):.6f}, error {errors[best]:.9f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Learn how strongly to hold back the weights.")
    parser.add_argument("--short", action="store_true", help="try 100 penalties, not 1,000")
    main(50, 100 if parser.parse_args().short else 1_000)
