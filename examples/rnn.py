"""A character model: a recurrent network learns to write the project's own licence.

The network reads one character after the other and says which one it expects next. `fg.scan` carries
its state along the text; the gradient runs the same loop backwards. To write, the network reads its
own characters, in another scan.

    python examples/rnn.py            # learns the licence by heart
    python examples/rnn.py --short    # a few steps: something that looks like English, from afar

Hochreiter and Schmidhuber (1997), Long short-term memory, Neural Computation 9(8).
"""

import argparse
from pathlib import Path

import numpy as np

import fungrad as fg

HIDDEN, LENGTH, BATCH, LEARNING_RATE, SEED = 64, 32, 16, 1e-2, 0


def load():
    """Return the text as integers and the characters that they stand for."""
    text = Path(__file__).parents[1].joinpath("LICENSE").read_text(encoding="utf-8")
    characters = np.array(sorted(set(text)))
    return np.searchsorted(characters, list(text)), characters


def initial_params(rng, n):
    """Return an embedding of n characters, an LSTM cell, and weights to n scores."""
    draw = lambda *shape: rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[0]))
    return {
        "embed": draw(n, HIDDEN),
        "cell": draw(2 * HIDDEN, 4 * HIDDEN),
        "bias": np.zeros(4 * HIDDEN, np.float32),
        "out": draw(HIDDEN, n),
    }


def cell(params, state, x):
    """Return the state of the memory after one more character: two arrays (batch, HIDDEN)."""
    h, c = state
    gates = np.concatenate([params["embed"][x], h], axis=-1) @ params["cell"] + params["bias"]
    keep, write, read, new = np.split(gates, 4, axis=-1)
    c = fg.nn.sigmoid(keep + 1) * c + fg.nn.sigmoid(write) * np.tanh(new)
    return fg.nn.sigmoid(read) * np.tanh(c), c


def blank(batch):
    """Return the state of a network that has read nothing."""
    return (np.zeros((batch, HIDDEN), np.float32),) * 2


@fg.jit
def loss(params, x):
    """Return the mean cross-entropy of each next character of x, integers (time, batch)."""

    def read(state, x):
        state = cell(params, state, x)
        return state, state[0]

    _, hidden = fg.scan(read, blank(x.shape[1]), x[:-1])
    scores = hidden @ params["out"]
    return np.mean(fg.nn.sparse_softmax_cross_entropy(scores, x[1:]))


@fg.jit
def step(params, opt, x):
    """Return the parameters and the optimizer after one batch, and the loss before it."""
    value, grads = fg.value_and_grad(loss)(params, x)
    params, opt = opt.update(params, grads)
    return params, opt, value


@fg.jit
def write(params, first, key, temperature):
    """Return what the network writes after the character ``first``, with some chance in it."""

    def next_character(carry, key):
        state, x = carry
        state = cell(params, state, x)
        scores = (state[0] @ params["out"])[0]
        x = fg.random.categorical(key, scores / temperature)[np.newaxis]
        return (state, x), x[0]

    start = (blank(1), np.stack([first]))
    return fg.scan(next_character, start, fg.random.split(key, 200))[1]


def main(steps):
    """Train, then write."""
    rng = np.random.default_rng(SEED)
    text, characters = load()
    params = initial_params(rng, len(characters))
    opt = fg.optim.adam(params, LEARNING_RATE)
    for i in range(steps):
        starts = rng.integers(0, len(text) - LENGTH, BATCH)
        params, opt, value = step(params, opt, text[starts + np.arange(LENGTH + 1)[:, np.newaxis]])
        if i % max(steps // 10, 1) == 0:
            print(f"step {i:4d}   cross-entropy per character {value:.3f}")
    print(f"step {steps:4d}   cross-entropy per character {loss(params, text[:, np.newaxis]):.3f}")
    written = write(params, text[0], fg.random.key(SEED), 0.3)
    print("".join(characters[[text[0], *written]]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a character model on the licence.")
    parser.add_argument("--short", action="store_true", help="train for 40 steps only")
    main(40 if parser.parse_args().short else 400)
