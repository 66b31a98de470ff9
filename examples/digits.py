"""Learn to read handwritten digits: a two-layer perceptron, trained on mini-batches with adam.

All that computes is a pure function: parameters go in, new parameters come out. `fg.value_and_grad`
gives the loss and its derivative, `fg.jit` makes the whole step one straight line of NumPy. The
data are described in digits.txt.

    python examples/digits.py            # trains, prints the accuracy, draws digits.png
    python examples/digits.py --short    # the same, with a few epochs only
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import fungrad as fg

try:
    from matplotlib.figure import Figure
    from tqdm import trange
except ImportError as error:
    sys.exit(f"{error.name} is missing; install what the examples need:  pip install '.[examples]'")

HIDDEN, BATCH, EPOCHS, LEARNING_RATE, NOISE, SEED = 128, 32, 50, 2e-3, 0.2, 0


def load(rng):
    """Return (x, y) to train on and a fifth held out: x is (n, 64) in 0..1, y is (n,) in 0..9."""
    with np.load(Path(__file__).with_name("digits.npz")) as data:
        x = data["images"].reshape(-1, 64).astype(np.float32) / 16
        y = data["labels"].astype(np.int64)
    test, train = np.split(rng.permutation(len(y)), [-(-len(y) // 5)])
    return (x[train], y[train]), (x[test], y[test])


def initial_params(rng, n_in=64, n_out=10):
    """Return weights that keep the variance of what passes through, and zero biases."""
    return {
        "w1": rng.standard_normal((n_in, HIDDEN), np.float32) * np.float32(np.sqrt(2 / n_in)),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": rng.standard_normal((HIDDEN, n_out), np.float32) * np.float32(np.sqrt(1 / HIDDEN)),
        "b2": np.zeros(n_out, np.float32),
    }


def predict(params, x):
    """Return the log-probabilities of the ten digits for each image: (n, 64) to (n, 10)."""
    hidden = np.maximum(x @ params["w1"] + params["b1"], 0)
    scores = hidden @ params["w2"] + params["b2"]
    scores = scores - np.max(scores, axis=1, keepdims=True)  # so that exp cannot overflow
    return scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))


def loss(params, x, y):
    """Return the mean cross-entropy: minus the log-probability given to the right digit."""
    return -np.mean(predict(params, x)[np.arange(len(y)), y])


@fg.jit
def step(params, opt, x, y):
    """Return the parameters and the optimizer after one mini-batch, and the loss before it."""
    value, grads = fg.value_and_grad(loss)(params, x, y)
    params, opt = opt.update(params, grads)
    return params, opt, value


def draw(path, losses, x, y, guess):
    """Save the loss curve, and test images with what the network reads in them, mistakes first."""
    figure = Figure(figsize=(11, 4.4), dpi=130, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
    curve, epochs = left.subplots(), np.arange(len(losses) + 1)
    each = np.linspace(0, len(losses), losses.size)
    curve.semilogy(each, losses.ravel(), "C0", alpha=0.3, lw=0.7, label="each mini-batch")
    curve.stairs(losses.mean(axis=1), epochs, color="C0", lw=2, baseline=None, label="each epoch")
    curve.set(title="Training loss", xlabel="epoch", ylabel="cross-entropy per image")
    curve.grid(alpha=0.3)
    curve.legend()
    right.suptitle(f"Test images: the {np.sum(guess != y)} mistakes of {len(y)} first")
    order = np.argsort(guess == y, kind="stable")
    for axes, i in zip(right.subplots(5, 8).flat, order, strict=False):
        axes.imshow(x[i].reshape(8, 8), cmap="gray_r")
        if guess[i] == y[i]:
            axes.set_title(guess[i], fontsize=9)
        else:
            axes.set_title(f"{guess[i]}, is {y[i]}", fontsize=9, color="red")
        axes.axis("off")
    figure.savefig(path)


def main(epochs, path):
    """Train for so many epochs, draw the picture, print the accuracies."""
    rng = np.random.default_rng(SEED)
    (x, y), (x_test, y_test) = load(rng)
    params = initial_params(rng)
    opt = fg.optim.adam(params, LEARNING_RATE)

    losses = []
    progress = trange(epochs, desc="training", unit="epoch", disable=None)
    for _ in progress:
        for batch in np.split(rng.permutation(len(y)), range(BATCH, len(y), BATCH)):
            noise = NOISE * rng.standard_normal(
                (len(batch), 64), np.float32
            )  # never twice the same
            params, opt, value = step(params, opt, x[batch] + noise, y[batch])
            losses.append(value)
        progress.set_postfix(loss=f"{value:.4f}")

    guess, guess_test = (np.argmax(predict(params, images), axis=1) for images in (x, x_test))
    draw(path, np.reshape(losses, (epochs, -1)), x_test, y_test, guess_test)
    print(f"saved {path}")
    print(f"train accuracy: {100 * np.mean(guess == y):.1f}%")
    print(f"test accuracy: {100 * np.mean(guess_test == y_test):.1f}%")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a classifier of handwritten digits.")
    parser.add_argument("--short", action="store_true", help="train for 5 epochs only")
    parser.add_argument("--out", default="digits.png", help="the picture (default: %(default)s)")
    args = parser.parse_args()
    main(5 if args.short else EPOCHS, args.out)
