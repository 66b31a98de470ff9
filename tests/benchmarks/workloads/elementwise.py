"""Elementwise work: from two floats to ten million numbers, and derivatives up to order 8."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.benchmarks.record import Workload


def scalar(np: Any, a: Any, b: Any) -> Any:
    return a * b + np.sin(a) * np.exp(-b)


def scalar_manual(a: float, b: float) -> Any:
    sine, decay = math.sin(a), math.exp(-b)
    return a * b + sine * decay, b + math.cos(a) * decay, a - sine * decay


def rosenbrock(np: Any, x: Any) -> Any:
    a, b = x[:-1], x[1:]
    return np.sum(100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2)


def rosenbrock_manual(x: Any) -> Any:
    a, b = x[:-1], x[1:]
    r = b - a * a
    s = 1.0 - a
    gradient = np.zeros_like(x)
    gradient[1:] = 200.0 * r
    gradient[:-1] -= 400.0 * r * a + 2.0 * s
    return np.sum(100.0 * r * r + s * s), gradient


def chain(np: Any, x: Any) -> Any:
    root = np.sqrt(x * x + 1.0)
    ratio = x / root
    gate = np.tanh(0.5 * ratio + x)
    slope = (1.0 - gate * gate) * x
    return np.sum(np.exp(-0.1 * ((slope + ratio) * ratio + root)))


def chain_manual(x: Any) -> Any:
    root = np.sqrt(x * x + 1.0)
    ratio = x / root
    gate = np.tanh(0.5 * ratio + x)
    bend = 1.0 - gate * gate
    both = bend * x + ratio
    result = np.exp(-0.1 * (both * ratio + root))
    d_sum = -0.1 * result
    d_both = d_sum * ratio
    d_gate = -2.0 * gate * (d_both * x) * bend
    d_ratio = d_sum * both + d_both + 0.5 * d_gate
    d_root = d_sum - d_ratio * ratio / root
    return np.sum(result), d_both * bend + d_gate + d_ratio / root + d_root * ratio


def tanh(np: Any, x: Any) -> Any:
    return np.tanh(x)


def _coefficients(order: int) -> list[int]:
    """Of the polynomial in tanh(x) that is its derivative: each order multiplies by 1 - t²."""
    polynomial = [0, 1]
    for _ in range(order):
        slope = [i * c for i, c in enumerate(polynomial)][1:]
        polynomial = [a - b for a, b in zip([*slope, 0, 0], [0, 0, *slope], strict=True)]
    return polynomial


def tanh_manual(order: int) -> Any:
    # Every other coefficient is 0: a polynomial in t², times t for even orders.
    odd = 1 - order % 2
    first, *rest = [float(c) for c in _coefficients(order)[odd::2]][::-1]

    def derivative(x: Any) -> Any:
        t = np.tanh(x)
        square = t * t
        result = first * square
        for c in rest[:-1]:
            result += c
            result *= square
        result += rest[-1]
        return (result * t if odd else result,)

    return derivative


WORKLOADS = [
    Workload(
        name="scalar",
        title="scalar function of two floats",
        program=scalar,
        manual=scalar_manual,
        inputs=lambda rng, size: (0.7, 1.3),
        size=None,
        tiny=None,
        wrt=(0, 1),
    ),
    *[
        Workload(
            name=f"rosenbrock-{label}",
            title=f"Rosenbrock, n = {label}",
            program=rosenbrock,
            manual=rosenbrock_manual,
            inputs=lambda rng, n: (rng.normal(size=n),),
            size=n,
            tiny=7,
        )
        for label, n in (("100", 100), ("1e6", 1_000_000))
    ],
    *[
        Workload(
            name=f"chain-{label}",
            title=f"15 elementwise operations, n = {label}",
            program=chain,
            manual=chain_manual,
            inputs=lambda rng, n: (rng.normal(size=n),),
            size=n,
            tiny=7,
        )
        for label, n in (("1e4", 10_000), ("1e7", 10_000_000))
    ],
    *[
        Workload(
            name=f"tanh-{order}",
            title=f"tanh, derivative of order {order}, n = 1000",
            kind="derivative",
            program=tanh,
            manual=tanh_manual(order),
            inputs=lambda rng, n: (rng.normal(size=n),),
            size=1000,
            tiny=3,
            order=order,
            tolerance=1e-7,
        )
        for order in (1, 2, 4, 6, 8)
    ],
]
