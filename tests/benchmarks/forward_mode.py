"""Forward mode without forward rules: a jitted ``jvp`` against value and tangent by hand.

Run with ``python -m tests.benchmarks.forward_mode``. It prints, for each function and size, the time
of both and their ratio. By hand means NumPy that computes common factors once and reuses its
temporaries; fungrad derives the same program by transposing the pullback.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fungrad as fg
from tests.benchmarks.clock import best


def bump(x: Any) -> Any:
    """Products, quotients and chains."""
    return np.exp(-(x**2)) * np.sin(x) / (1 + x**2)


def bump_by_hand(x: Any, t: Any) -> tuple[Any, Any]:
    """``bump`` and its tangent."""
    square = x * x
    bell = np.negative(square)
    np.exp(bell, out=bell)
    square += 1
    wave = np.sin(x)
    value = bell * wave
    value /= square
    slope = np.cos(x)
    slope *= bell
    bell *= wave
    bell *= x
    bell *= 2
    slope -= bell
    np.multiply(value, x, out=wave)
    wave *= 2
    slope -= wave
    slope /= square
    slope *= t
    return value, slope


def activation(x: Any) -> Any:
    """A chain."""
    return np.tanh(x * 0.5) * x


def activation_by_hand(x: Any, t: Any) -> tuple[Any, Any]:
    """``activation`` and its tangent."""
    y = x * 0.5
    np.tanh(y, out=y)
    slope = y * y
    np.subtract(1, slope, out=slope)
    slope *= 0.5
    slope *= x
    slope += y
    slope *= t
    y *= x
    return y, slope


def sigmoids(x: Any) -> Any:
    """Many cheap operations and few costly ones."""
    y = x
    for k in range(1, 6):
        y = y + k * x / (1 + y * y)
    return y


def sigmoids_by_hand(x: Any, t: Any) -> tuple[Any, Any]:
    """``sigmoids`` and its tangent."""
    y, s = x, t
    for k in range(1, 6):
        below = y * y
        below += 1
        part = k * x
        part /= below
        slope = k * t
        change = 2 * y
        change *= s
        change *= part
        slope -= change
        slope /= below
        y, s = y + part, s + slope
    return y, s


CASES = {
    "bump": (bump, bump_by_hand),
    "activation": (activation, activation_by_hand),
    "sigmoids": (sigmoids, sigmoids_by_hand),
}


def main() -> None:
    """Print the table."""
    print(f"{'function':>12} {'size':>8} {'by hand':>11} {'fungrad':>11} {'ratio':>6}")
    for name, (f, by_hand) in CASES.items():
        for size in (1_000, 100_000, 1_000_000):
            rng = np.random.default_rng(0)
            x, t = rng.normal(size=(2, size))
            function = fg.jit(lambda x, t, f=f: fg.jvp(f, (x,), (t,)))
            for got, want in zip(function(x, t), by_hand(x, t), strict=True):
                assert np.allclose(got, want, rtol=1e-10)
            hand = best(lambda args=(x, t), f=by_hand: f(*args))
            ours = best(lambda args=(x, t), f=function: f(*args))
            print(
                f"{name:>12} {size:>8} {hand * 1e6:>9.1f}µs {ours * 1e6:>9.1f}µs "
                f"{ours / hand:>6.2f}"
            )


if __name__ == "__main__":
    main()
