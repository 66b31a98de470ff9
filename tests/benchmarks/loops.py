"""Loops beside the same statements, written by hand in NumPy and a Python ``for`` loop.

    python -m tests.benchmarks.loops             # times, then memory
    python -m tests.benchmarks.loops --long      # with 10⁵ steps of a carry of 1 MB, checkpointed

A row gives the time of a step by hand, and the ratio to it of ``fg.scan``, ``fg.fori_loop`` or
``fg.while_loop`` under ``fg.jit``: of the values, and of the gradient, which by hand would be about
three times the values. Rounds of the two alternate, and the smallest of each counts.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np

import fungrad as fg

BATCH, HIDDEN, INPUTS = 16, 64, 32


@attrs.frozen
class Case:
    """A loop in both forms, and what it is called with.

    Attributes:
        name: of the row.
        steps: how many steps it takes.
        loop: with a loop of fungrad's.
        by_hand: the same in NumPy.
        args: of both; derivatives are taken with respect to the first.
    """

    name: str
    steps: int
    loop: Callable[..., Any]
    by_hand: Callable[..., Any]
    args: tuple[Any, ...]


def sigmoid(x: Any) -> Any:
    """By hand, for arguments that are not extreme."""
    return 1 / (1 + np.exp(-x))


def rnn_step(params: Any, h: Any, x: Any) -> Any:
    """One step of a plain recurrent network."""
    w, u, b = params
    return np.tanh(x @ w + h @ u + b)


def lstm_step(params: Any, state: Any, x: Any) -> Any:
    """One step of an LSTM."""
    (w, u, b), (h, c) = params, state
    gates = x @ w + h @ u + b
    i, f = sigmoid(gates[:, :HIDDEN]), sigmoid(gates[:, HIDDEN : 2 * HIDDEN])
    o, g = sigmoid(gates[:, 2 * HIDDEN : 3 * HIDDEN]), np.tanh(gates[:, 3 * HIDDEN :])
    c = f * c + i * g
    return o * np.tanh(c), c


def recurrent(steps: int) -> Iterator[Case]:
    """RNN and LSTM over a sequence; all hidden states are kept."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(steps, BATCH, INPUTS))

    def params(width: int) -> Any:
        shapes = (INPUTS, width), (HIDDEN, width), (width,)
        return tuple(0.1 * rng.normal(size=shape) for shape in shapes)

    def rnn(params: Any, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = rnn_step(params, h, x)
            return h, h

        return fg.scan(step, np.zeros((BATCH, HIDDEN)), xs)[1]

    def rnn_by_hand(params: Any, xs: Any) -> Any:
        h, hs = np.zeros((BATCH, HIDDEN)), np.empty((len(xs), BATCH, HIDDEN))
        for t, x in enumerate(xs):
            hs[t] = h = rnn_step(params, h, x)
        return hs

    yield Case("RNN", steps, rnn, rnn_by_hand, (params(HIDDEN), xs))

    def lstm(params: Any, xs: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            state = lstm_step(params, state, x)
            return state, state[0]

        return fg.scan(step, (np.zeros((BATCH, HIDDEN)),) * 2, xs)[1]

    def lstm_by_hand(params: Any, xs: Any) -> Any:
        state, hs = (np.zeros((BATCH, HIDDEN)),) * 2, np.empty((len(xs), BATCH, HIDDEN))
        for t, x in enumerate(xs):
            state = lstm_step(params, state, x)
            hs[t] = state[0]
        return hs

    yield Case("LSTM", steps, lstm, lstm_by_hand, (params(4 * HIDDEN), xs))


def slope(y: Any, k: Any) -> Any:
    """A damped oscillation with a pull that is not linear."""
    return k @ y - 0.1 * y * y * y


def euler_step(y: Any, k: Any) -> Any:
    """One explicit step of first order."""
    return y + 1e-4 * slope(y, k)


def rk4_step(y: Any, k: Any) -> Any:
    """One classical step of Runge and Kutta."""
    h = 1e-4
    a = slope(y, k)
    b = slope(y + h / 2 * a, k)
    c = slope(y + h / 2 * b, k)
    d = slope(y + h * c, k)
    return y + h / 6 * (a + 2 * b + 2 * c + d)


def scalar_step(y: Any, k: Any) -> Any:
    """One step of first order of a single number."""
    return y + 1e-4 * (k - y * y * y)


def explicit(steps: int) -> Iterator[Case]:
    """Euler and Runge-Kutta steps."""
    start, k = np.array([1.0, 0.5, -0.2]), np.array([[0, 1, 0.0], [-1, 0, 0.2], [0.1, -0.3, -1]])
    for name, step, args in (
        ("Euler, 3 numbers", euler_step, (k, start)),
        ("RK4, 3 numbers", rk4_step, (k, start)),
        ("Euler, one number", scalar_step, (np.float64(0.3), np.float64(1.0))),
    ):

        def loop(k: Any, y: Any, step: Any = step) -> Any:
            return fg.fori_loop(0, steps, lambda _, y: step(y, k), y)

        def by_hand(k: Any, y: Any, step: Any = step) -> Any:
            for _ in range(steps):
                y = step(y, k)
            return y

        yield Case(name, steps, loop, by_hand, args)


def newton() -> Iterator[Case]:
    """A root by Newton's method, to tolerance."""

    def loop(a: Any, x: Any) -> Any:
        return fg.while_loop(
            lambda x: np.max(np.abs(x * x - a)) > 1e-10, lambda x: 0.5 * (x + a / x), x
        )

    def by_hand(a: Any, x: Any) -> Any:
        while np.max(np.abs(x * x - a)) > 1e-10:
            x = 0.5 * (x + a / x)
        return x

    a = np.linspace(1.0, 10.0, 100)
    steps, x = 0, np.full(100, 1e6)
    while np.max(np.abs(x * x - a)) > 1e-10:
        x, steps = 0.5 * (x + a / x), steps + 1
    yield Case("Newton, 100 numbers", steps, loop, by_hand, (a, np.full(100, 1e6)))


def seconds(call: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(case: Case, rounds: int) -> tuple[float, float, float]:
    """Microseconds of a step by hand, and the ratios of the values and of the gradient to that."""
    value = fg.jit(case.loop)
    gradient = fg.jit(fg.grad(lambda *args: np.sum(case.loop(*args))))
    for _ in range(2):  # what is called twice is compiled
        got = value(*case.args)
        gradient(*case.args)
    np.testing.assert_allclose(got, case.by_hand(*case.args), rtol=1e-9)
    best = [np.inf] * 3
    for _ in range(rounds):
        for i, call in enumerate((case.by_hand, value, gradient)):
            best[i] = min(best[i], seconds(lambda call=call: call(*case.args)))
    return 1e6 * best[0] / case.steps, best[1] / best[0], best[2] / best[0]


def times(rounds: int) -> None:
    """Print the table of times."""
    print("loop                    steps   by hand, µs/step   values   gradient")
    cases = [
        *recurrent(100), *recurrent(10_000), *explicit(1_000), *explicit(100_000), *newton()
    ]  # fmt: skip
    for case in cases:
        by_hand, values, gradient = measure(case, rounds if case.steps < 5_000 else 3)
        print(
            f"{case.name:<20} {case.steps:>8,}   {by_hand:16.2f}   {values:6.2f}   {gradient:8.2f}"
        )


def memory(steps: int, size: int) -> None:
    """Print the memory and the time of gradients through a long loop."""
    k = np.full(size, 0.5)

    def loss(k: Any, checkpoint: Any) -> Any:
        step = lambda y, _: (y + 1e-4 * (k - y * y), None)
        return np.sum(fg.scan(step, np.ones(size), length=steps, checkpoint=checkpoint)[0])

    def while_loss(k: Any, checkpoint: Any) -> Any:
        step = lambda s: (s[0] + 1, s[1] + 1e-4 * (k - s[1] * s[1]))
        return np.sum(
            fg.while_loop(lambda s: s[0] < steps, step, (0, np.ones(size)), checkpoint)[1]
        )

    print(f"{steps:,} steps of a carry of {k.nbytes / 1e6:.2f} MB: peak of memory, MB")
    for name, f in (("scan", loss), ("while_loop", while_loss)):
        for checkpoint in (False, True, 8, 2):
            if not checkpoint and steps * k.nbytes > 2e9:
                continue
            gradient = fg.grad(lambda k, f=f, c=checkpoint: f(k, c))
            tracemalloc.start()
            took = seconds(lambda gradient=gradient: gradient(k))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(f"{name:<11} checkpoint={checkpoint!s:<6} {peak / 1e6:9.1f}   in {took:6.1f} s")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="of the short loops")
    parser.add_argument("--long", action="store_true", help="10⁵ steps of 1 MB; takes minutes")
    options = parser.parse_args()
    times(options.rounds)
    memory(2_000, 12_500)
    if options.long:
        memory(100_000, 125_000)


if __name__ == "__main__":
    main()
