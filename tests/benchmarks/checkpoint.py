"""Measure what checkpoints save: ``python -m tests.benchmarks.checkpoint``.

The gradient of a chain of ``n`` steps, with a checkpoint around nothing, around each step, around
each of √n groups of steps, and around halves of halves. For each the peak of memory, as NumPy
reports it to ``tracemalloc``, in units of one step's result, and the time in units of the plain one.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import fungrad as fg
from fungrad.compile.pool import release


def step(w: Any, x: Any) -> Any:
    """A small residual layer; its derivative needs five results of the size of ``x``."""
    return x + np.cos(np.exp(-np.square(np.sin(np.tanh(x @ w)))))


def plain(ws: Any, x: Any) -> Any:
    """Keep everything."""
    for w in ws:
        x = step(w, x)
    return x


def each(ws: Any, x: Any) -> Any:
    """A checkpoint around each step."""
    lean = fg.checkpoint(step)
    for w in ws:
        x = lean(w, x)
    return x


def groups(ws: Any, x: Any) -> Any:
    """A checkpoint around each group of √n steps."""
    size = max(1, round(len(ws) ** 0.5))
    group = fg.checkpoint(plain)
    for i in range(0, len(ws), size):
        x = group(ws[i : i + size], x)
    return x


def halves(ws: Any, x: Any) -> Any:
    """A checkpoint around each half, of each half, and so on."""
    if len(ws) == 1:
        return step(ws[0], x)
    middle = len(ws) // 2
    half = fg.checkpoint(halves)
    return half(ws[middle:], half(ws[:middle], x))


def measured(derive: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """The peak of memory in bytes and the shortest time in seconds, when everything is compiled."""
    for _ in range(3):
        derive()
    release()
    tracemalloc.start()
    derive()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        derive()
        times.append(time.perf_counter() - start)
    return peak, min(times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.rows, options.width))
    print("| steps | checkpoints | jit | peak / result of a step | time / plain |")
    print("|---:|---|---|---:|---:|")
    for n in options.steps:
        ws = [rng.normal(size=(options.width,) * 2) / options.width for _ in range(n)]
        for wrap in (lambda f: f, fg.jit):
            base = None
            for chain in (plain, each, groups, halves):
                derive = wrap(fg.grad(lambda ws, x, chain=chain: np.sum(chain(ws, x) ** 2)))
                peak, seconds = measured(partial(derive, ws, x), options.repeats)
                base = base or seconds
                jitted = "yes" if wrap is fg.jit else "no"
                ratios = f"{peak / x.nbytes:.1f} | {seconds / base:.2f}"
                print(f"| {n} | {chain.__name__} | {jitted} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
