"""What a gradient costs, by family of functions: ``python -m tests.benchmarks.families``.

The cost of the gradient of ``sum(w * f(x))`` over that of the sum itself, both jitted.
Reverse mode needs the function's value once and about twice its work again, so that ratios of 2 to
4 are what to expect; far more says that a rule makes arrays that a view or a BLAS call would spare.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fungrad as fg

Function = Callable[[Any], Any]

_RNG = np.random.default_rng(0)
_LONG = _RNG.uniform(0.5, 1.5, 300_000)
_WIDE = _RNG.uniform(0.5, 1.5, (600, 500))
_SQUARE = _RNG.normal(size=(200, 200)) + 20 * np.eye(200)
_SMALL = _RNG.normal(size=(60, 60)) + 10 * np.eye(60)
_IMAGES = _RNG.normal(size=(8, 4, 28, 28))
_FILTERS = _RNG.normal(size=(8, 4, 3, 3))
_PLACES = _RNG.integers(0, 300_000, 300_000)
_SYMMETRIC = lambda a: a + a.T

FAMILIES: dict[str, tuple[tuple[str, Function, Any], ...]] = {
    "elementwise": (
        ("tanh(x) * exp(-x)", lambda x: np.tanh(x) * np.exp(-x), _LONG),
        ("where(x > 1, log(x), x²)", lambda x: np.where(x > 1, np.log(x), x * x), _LONG),
        ("maximum(x, 1)", lambda x: np.maximum(x, 1.0), _LONG),
        ("x**2.5", lambda x: x**2.5, _LONG),
    ),
    "reductions": (
        ("sum(x, axis=0)", lambda x: np.sum(x * x, axis=0), _WIDE),
        ("max(x, axis=1)", lambda x: np.max(x, axis=1), _WIDE),
        ("std(x, axis=0)", lambda x: np.std(x, axis=0), _WIDE),
        ("prod(x, axis=1)", lambda x: np.prod(x[:, :40], axis=1), _WIDE),
        ("linalg.norm(x, axis=1)", lambda x: np.linalg.norm(x, axis=1), _WIDE),
    ),
    "indexing": (
        ("x[1:] - x[:-1]", lambda x: x[1:] - x[:-1], _LONG),
        ("x[places]", lambda x: x[_PLACES], _LONG),
        ("at(x)[::2].set(0)", lambda x: fg.at(x)[::2].set(0.0), _LONG),
        ("take_along_axis", lambda x: np.take_along_axis(x, _PLACES.reshape(600, 500) % 500, 1), _WIDE),
        ("bincount(weights=x)", lambda x: np.bincount(_PLACES % 100, x), _LONG),
    ),
    "shapes": (
        ("transpose, reshape", lambda x: x.T.reshape(-1), _WIDE),
        ("concatenate, split", lambda x: np.concatenate(np.split(x, 4)[::-1]), _WIDE),
        ("pad(x, 2)", lambda x: np.pad(x, 2), _WIDE),
        ("roll(x, 3, axis=1)", lambda x: np.roll(x, 3, axis=1), _WIDE),
        ("tile(x, 2)", lambda x: np.tile(x, 2), _WIDE),
    ),
    "products": (
        ("x @ x.T", lambda x: x @ x.T, _SQUARE),
        ("einsum('ij,kj->ik')", lambda x: np.einsum("ij,kj->ik", x, x), _SQUARE),
        ("outer(x, x)", lambda x: np.outer(x, x), _LONG[:700]),
        ("kron(x, x)", lambda x: np.kron(x, x), _SMALL[:25, :25]),
    ),
    "linear algebra": (
        ("solve(a, a)", lambda a: np.linalg.solve(a, _SQUARE), _SQUARE),
        ("inv(a)", np.linalg.inv, _SQUARE),
        ("slogdet(a)", lambda a: np.linalg.slogdet(a)[1], _SQUARE),
        ("cholesky(a a')", lambda a: np.linalg.cholesky(a @ a.T), _SQUARE),
        ("qr(a)", lambda a: np.linalg.qr(a)[1], _SQUARE),
        ("eigh(a)", lambda a: np.linalg.eigh(_SYMMETRIC(a))[0], _SMALL),
        ("svd(a)", lambda a: np.linalg.svd(a)[1], _SMALL),
    ),
    "Fourier": (
        ("fft(x)", lambda x: np.abs(np.fft.fft(x)) ** 2, _LONG[:65536]),
        ("irfft(rfft(x))", lambda x: np.fft.irfft(np.fft.rfft(x) ** 2), _LONG[:65536]),
        ("fft2(x)", lambda x: np.abs(np.fft.fft2(x)) ** 2, _WIDE[:256, :256]),
    ),
    "sorting": (
        ("sort(x)", np.sort, _LONG),
        ("median(x, axis=1)", lambda x: np.median(x, axis=1), _WIDE),
        ("quantile(x, 0.3)", lambda x: np.quantile(x, 0.3), _LONG),
    ),
    "cumulative": (
        ("cumsum(x, axis=1)", lambda x: np.cumsum(x, axis=1), _WIDE),
        ("cumprod(x, axis=0)", lambda x: np.cumprod(x[:60], axis=0), _WIDE),
        ("maximum.accumulate(x)", lambda x: np.maximum.accumulate(x, axis=0), _WIDE),
        ("diff(x)", np.diff, _LONG),
        ("interp(x)", lambda x: np.interp(x, [0.0, 1.0, 2.0], [0.0, 1.0, 4.0]), _LONG),
    ),
    "convolution": (
        ("convolve(x, w)", lambda x: np.convolve(x, _LONG[:50]), _LONG[:20_000]),
        ("nn.conv, 3×3", lambda x: fg.nn.conv(x, _FILTERS), _IMAGES),
        ("nn.max_pool", lambda x: fg.nn.max_pool(x, (2, 2)), _IMAGES),
    ),
    "special": (
        ("nn.gelu(x)", fg.nn.gelu, _LONG),
        ("nn.softmax(x)", lambda x: fg.nn.softmax(x, axis=1), _WIDE),
        ("nn.logsumexp(x)", lambda x: fg.nn.logsumexp(x, axis=1), _WIDE),
    ),
}  # fmt: skip
"""Family → name, function and operand of what is measured."""


def seconds(function: Function, x: Any, budget: float) -> float:
    """The least time of a call, within a budget, after the compiled form is in use.

    The last result is kept, as programs do: memory that is given back to the system at every call
    costs more than most of these functions.
    """
    kept = [function(x) for _ in range(4)][-1]
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        start = time.perf_counter()
        kept = function(x)
        best = min(best, time.perf_counter() - start)
    assert kept is not None
    return best


def costs(function: Function, x: Any, budget: float) -> tuple[float, float]:
    """Seconds of ``sum(w * f(x))`` and of its gradient."""
    weights = _RNG.normal(size=np.shape(function(x)))
    total = lambda x: np.sum(function(x) * weights)
    return seconds(fg.jit(total), x, budget), seconds(fg.jit(fg.grad(total)), x, budget)


def table(budget: float) -> str:
    """The measurements as a Markdown table."""
    lines = ["| family | function | own cost | gradient | ratio |", "|---|---|---|---|---|"]
    for family, members in FAMILIES.items():
        for name, function, x in members:
            own, gradient = costs(function, x, budget)
            row = (
                family,
                f"`{name}`",
                f"{own * 1e3:.2f} ms",
                f"{gradient * 1e3:.2f} ms",
                f"{gradient / own:.1f}",
            )
            lines.append(f"| {' | '.join(row)} |")
            family = ""
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(float(sys.argv[1]) if len(sys.argv) > 1 else 0.2))
