"""Long programs: time steps of differential equations, and chains of many operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.benchmarks.record import Workload


def euler(np: Any, w: Any, y: Any, ticks: Any) -> Any:
    """The number of steps is the length of ``ticks``, here as below."""
    steps = np.length(ticks, 0)
    return np.sum(np.repeat_step(steps, lambda y: y + 0.01 * np.tanh(w @ y), y) ** 2)


def euler_manual(w: Any, y: Any, ticks: Any) -> Any:
    steps = len(ticks)
    ys, slopes = [], []
    for _ in range(steps):
        slope = np.tanh(w @ y)
        ys.append(y)
        slopes.append(slope)
        y = y + 0.01 * slope
    value, ct = np.sum(y * y), 2.0 * y
    inner = np.stack(slopes)
    inner = 0.01 * (1.0 - inner * inner)
    transposed = w.T.copy()
    for i in reversed(range(steps)):
        inner[i] *= ct
        ct = ct + transposed @ inner[i]
    return value, inner.T @ np.stack(ys), ct


def rk4(np: Any, w: Any, y: Any, ticks: Any) -> Any:
    def step(y: Any) -> Any:
        k1 = np.tanh(w @ y)
        k2 = np.tanh(w @ (y + 0.005 * k1))
        k3 = np.tanh(w @ (y + 0.005 * k2))
        k4 = np.tanh(w @ (y + 0.01 * k3))
        return y + (0.01 / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)

    return np.sum(np.repeat_step(np.length(ticks, 0), step, y) ** 2)


def rk4_manual(w: Any, y: Any, ticks: Any) -> Any:
    steps = len(ticks)
    points: list[Any] = []
    slopes: list[Any] = []
    for _ in range(steps):
        k1 = np.tanh(w @ y)
        y2 = y + 0.005 * k1
        k2 = np.tanh(w @ y2)
        y3 = y + 0.005 * k2
        k3 = np.tanh(w @ y3)
        y4 = y + 0.01 * k3
        k4 = np.tanh(w @ y4)
        points += [y, y2, y3, y4]
        slopes += [k1, k2, k3, k4]
        y = y + (0.01 / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)
    value, ct = np.sum(y * y), 2.0 * y
    inner = np.stack(slopes)
    inner = 1.0 - inner * inner
    back = w.T.copy()
    for i in reversed(range(0, 4 * steps, 4)):
        d1 = (0.01 / 6.0) * ct
        d2 = 2.0 * d1
        inner[i + 3] *= d1
        y4 = back @ inner[i + 3]
        inner[i + 2] *= d2 + 0.01 * y4
        y3 = back @ inner[i + 2]
        inner[i + 1] *= d2 + 0.005 * y3
        y2 = back @ inner[i + 1]
        inner[i] *= d1 + 0.005 * y2
        ct = ct + back @ inner[i] + y2 + y3 + y4
    return value, inner.T @ np.stack(points), ct


def deep(np: Any, x: Any, ticks: Any) -> Any:
    return np.repeat_step(np.length(ticks, 0), np.sin, x)


def deep_manual(x: Any, ticks: Any) -> Any:
    slope = 1.0
    for _ in ticks:
        slope *= math.cos(x)
        x = math.sin(x)
    return x, slope


def system_inputs(rng: Any, size: Any) -> Any:
    steps, n = size
    return rng.normal(size=(n, n)) / n, rng.normal(size=n), np.empty(steps)


# A compiler that unrolls needs minutes to hours for these.
UNROLLING = ("torch-compile",)

WORKLOADS = [
    Workload(
        name="ode-euler",
        title="ODE, 1000 steps of Euler, dimension 10",
        program=euler,
        manual=euler_manual,
        inputs=system_inputs,
        size=(1000, 10),
        tiny=(5, 2),
        wrt=(0, 1),
        without=UNROLLING,
    ),
    Workload(
        name="ode-rk4",
        title="ODE, 1000 steps of Runge-Kutta 4, dimension 10",
        program=rk4,
        manual=rk4_manual,
        inputs=system_inputs,
        size=(1000, 10),
        tiny=(5, 2),
        wrt=(0, 1),
        without=UNROLLING,
    ),
    *[
        Workload(
            name=f"depth-{label}",
            title=f"chain of {label} operations on a float",
            program=deep,
            manual=deep_manual,
            inputs=lambda rng, steps: (0.5, np.empty(steps)),
            size=steps,
            tiny=5,
            without=UNROLLING,
        )
        for label, steps in (("1e4", 10_000), ("1e5", 100_000))
    ],
]
