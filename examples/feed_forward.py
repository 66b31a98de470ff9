"""A feed-forward network: two classes that no straight line separates.

Four noisy clusters stand on the corners of a square; opposite corners belong to the same class
(exclusive or). One layer cannot tell the classes apart, two layers of sigmoids can. The parameters
are a tuple of frozen attrs classes: any tree of arrays will do.

    python examples/feed_forward.py
"""

import argparse
from itertools import pairwise

import attrs
import numpy as np

import fungrad as fg

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
CLASSES = np.array([0.0, 1.0, 1.0, 0.0])


@attrs.frozen
class Layer:
    """One layer of the network: weights (n_in, n_out) and biases (n_out,)."""

    w: np.ndarray
    b: np.ndarray


def network(rng, *sizes):
    """Return the layers of a network with so many inputs, hidden units…, outputs."""
    return tuple(Layer(rng.normal(0, 1, (m, n)), np.zeros(n)) for m, n in pairwise(sizes))


def score(layers, x):
    """Return the log-odds of class 1 for each row of x: (n, 2) to (n,)."""
    *hidden, last = layers
    for layer in hidden:
        x = fg.nn.sigmoid(x @ layer.w + layer.b)
    return (x @ last.w + last.b)[:, 0]


def loss(layers, x, y):
    """Return the mean cross-entropy, -log(probability of the right class), safe from overflow."""
    z = score(layers, x)
    return np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))


@fg.jit
def step(layers, opt, x, y):
    """Return the layers and the optimizer after one step, and the loss before it."""
    value, grads = fg.value_and_grad(loss)(layers, x, y)
    layers, opt = opt.update(layers, grads)
    return layers, opt, value


def main(steps):
    """Train, then print the truth table that the network has learnt."""
    rng = np.random.default_rng(0)
    which = rng.integers(0, 4, 400)
    x, y = CORNERS[which] + rng.normal(0, 0.15, (400, 2)), CLASSES[which]

    layers = network(rng, 2, 8, 1)
    opt = fg.optim.momentum(layers, learning_rate=0.5)
    for i in range(steps):
        layers, opt, value = step(layers, opt, x, y)
        if i % (steps // 5) == 0:
            print(f"step {i:3d}   loss {value:.4f}")

    for (a, b), p in zip(CORNERS, fg.nn.sigmoid(score(layers, CORNERS)), strict=True):
        print(f"{a:.0f} xor {b:.0f}: probability {p:.2f}")
    print(f"accuracy: {100 * np.mean((score(layers, x) > 0) == y):.1f}%")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Teach exclusive or to a small network.")
    parser.add_argument("--short", action="store_true", help="take 300 steps only")
    main(300 if parser.parse_args().short else 1000)
