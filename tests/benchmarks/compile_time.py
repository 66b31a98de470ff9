"""Measure what compiling costs: ``python -m tests.benchmarks.compile_time``.

The gradient of unrolled programs of more and more operations, stage by stage: tracing, deriving,
simplifying, writing the source, and Python's own compiler. In µs of processor time for each operation
of the compiled program; every line is a program that was not seen before.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fungrad as fg
from fungrad._gradient import gradient
from fungrad._graph import Graph, undisturbed
from fungrad._simplify import simplify
from fungrad.compile.source import generate
from fungrad.compile.spelling import spelled


def chain(steps: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Sines of a number."""

    def value(x: Any) -> Any:
        for _ in range(steps):
            x = np.sin(x)
        return x

    return value, (0.5,)


def recurrence(steps: int) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A network of vectors, with a weight and a bias that all steps share."""

    def value(w: Any, b: Any, x: Any) -> Any:
        for _ in range(steps):
            x = np.tanh(w @ x + b)
        return np.sum(x**2)

    return value, (np.eye(4) / 2, np.ones(4), np.ones(4))


def stages(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[int, dict[str, float]]:
    """How many operations the compiled program has, and the seconds that each stage took."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        seconds[name] = time.process_time() - start
        return result

    traced: Graph = timed("trace", lambda: fg.trace(function, *args))
    wrt = tuple(range(len(args)))
    derived = timed("derive", lambda: gradient(traced, wrt, True))
    simple = timed("simplify", lambda: simplify(derived))
    flags = (True,) * len(args)
    text, namespace = undisturbed(lambda: timed("write", lambda: generate(simple, flags)))
    undisturbed(lambda: timed("compile", lambda: spelled(text, namespace, "program")))
    return len(simple.nodes), seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", fg.errors.UnrolledLoopWarning)
    print("| program | operations | trace | derive | simplify | write | compile | sum | in all |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for program, each in ((chain, 3), (recurrence, 9)):
        stages(*program(8))  # what is done once in a process
        for wanted in options.operations:
            count, seconds = stages(*program(wanted // each + 1))
            costs = [*seconds.values(), sum(seconds.values())]
            cells = " | ".join([f"{1e6 * cost / count:.1f}" for cost in costs])
            whole = f"{1e3 * sum(seconds.values()):.0f} ms"
            print(f"| {program.__name__} | {count:,} | {cells} | {whole} |", flush=True)


if __name__ == "__main__":
    main()
