"""Random numbers as functions of a key: counter-based generators, and one reparameterised sample.

A key is the 128-bit key of ``numpy.random.Philox``, two uint64 along the last axis; leading axes
are examples, which all other operands share. The 256-bit counter of that generator is divided by
its last word: draws count from 0, children of ``split`` and of ``fold_in`` have blocks elsewhere.
No two of them can meet, so draws and children are independent (Salmon et al., Parallel Random
Numbers: As Easy as 1, 2, 3, SC 2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._primitive import ZERO, Primitive, Unwritten, elementwise, primitive
from fungrad.ops.examples import all_batched, by_example

Shape = tuple[int, ...]
KEY = np.dtype(np.uint64)
_SPLIT, _FOLD = 1 << 63, 1 << 62


def _each(function: Callable[..., Any], key: Any, shape: Shape, dtype: Any, *operands: Any) -> Any:
    """``function`` of one key and the operands that go with it, for all examples."""
    leading = key.shape[:-1]
    if not leading:
        return np.asarray(function(key, *operands), dtype)
    return by_example(function, leading, (*leading, *shape), dtype, key, *operands)


def _generator(key: Any) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


def _batched_by(record: Callable[..., Any]) -> Any:
    """A batch rule: every operand has the examples in front."""

    def batch(batched: Any, size: int, *operands: Any, **static: Any) -> Any:
        return record(*all_batched(batched, size, *operands), **static)

    return batch


# --- keys ------------------------------------------------------------------------------------------


def key_value(seed: Any) -> Any:
    """The keys that NumPy's own hash makes of integers."""

    def hashed(number: Any) -> Any:
        return np.random.SeedSequence(int(number)).generate_state(2, KEY.type)

    seed = np.asarray(seed)
    return by_example(hashed, seed.shape, (*seed.shape, 2), KEY, seed)


key_p: Primitive = primitive(
    "random_key",
    value=key_value,
    aval=lambda seed: make_aval((*seed.shape, 2), KEY),
    vjp=ZERO,
    batch=lambda batched, size, seed: key_p(seed),
    fresh=True,
)


def split_value(key: Any, count: int) -> Any:
    """``count`` children: the first halves of consecutive blocks."""

    def children(key: Any) -> Any:
        counter = np.array([0, 0, 0, _SPLIT], KEY)
        raw = np.random.Philox(key=key, counter=counter).random_raw(4 * count)
        return raw.reshape(count, 4)[:, :2]

    return _each(children, key, (count, 2), KEY)


split_p: Primitive = primitive(
    "random_split",
    value=split_value,
    aval=lambda key, count: make_aval((*key.shape[:-1], count, 2), KEY),
    vjp=ZERO,
    batch=_batched_by(lambda key, count: split_p(key, count=count)),
    fresh=True,
)


def fold_value(key: Any, number: Any) -> Any:
    """The child that belongs to an integer."""

    def child(key: Any, number: Any) -> Any:
        counter = np.array([int(number) % (1 << 64), 0, 0, _FOLD], KEY)
        return np.random.Philox(key=key, counter=counter).random_raw(2)

    return _each(child, key, (2,), KEY, np.asarray(number))


fold_p: Primitive = primitive(
    "random_fold",
    value=fold_value,
    aval=lambda key, number: make_aval(key.shape, KEY),
    vjp=ZERO,
    batch=_batched_by(lambda key, number: fold_p(key, number)),
    fresh=True,
)

# --- normal numbers between two bounds ---------------------------------------------------------------


def truncated(g: np.random.Generator, shape: Shape, low: float, high: float) -> Any:
    """Standard normal numbers between ``low`` and ``high``, by rejection.

    Proposals are uniform where the interval is short, normal where it is wide and near 0, and
    exponential in a tail (Robert, Simulation of truncated normal variables, 1995).
    """
    if high < 0:
        return -truncated(g, shape, -high, -low)
    nearest = max(low, 0.0)
    rate = 0.5 * (low + math.hypot(low, 2)) if low > 0 else 1.0
    short = high - low < (1 / rate if low > 0 else math.sqrt(2 * math.pi))
    count = math.prod(shape)
    out, filled = np.empty(count), 0
    while filled < count:
        size = count - filled
        if short:
            z = g.uniform(low, high, size)
            keep = g.random(size) < np.exp(0.5 * (nearest * nearest - z * z))
        elif low > 0:
            z = low + g.standard_exponential(size) / rate
            keep = (g.random(size) < np.exp(-0.5 * np.square(z - rate))) & (z <= high)
        else:
            z = g.standard_normal(size)
            keep = (low <= z) & (z <= high)
        kept = z[keep]
        out[filled : filled + kept.size] = kept
        filled += kept.size
    return out.reshape(shape)


# --- draws -----------------------------------------------------------------------------------------

_METHODS: dict[str, Callable[..., Any]] = {
    "uniform": lambda g, shape, dtype: g.random(shape, dtype),
    "normal": lambda g, shape, dtype: g.standard_normal(shape, dtype),
    "exponential": lambda g, shape, dtype: g.standard_exponential(shape, dtype),
    "gumbel": lambda g, shape, dtype: g.gumbel(size=shape),
    "laplace": lambda g, shape, dtype: g.laplace(size=shape),
    "integers": lambda g, shape, dtype, low, high: g.integers(low, high, shape, dtype),
    "poisson": lambda g, shape, dtype, rate: g.poisson(rate, shape),
    "binomial": lambda g, shape, dtype, n, p: g.binomial(n, p, shape),
    "permutation": lambda g, shape, dtype: g.permutation(*shape),
    "truncated": lambda g, shape, dtype, low, high: truncated(g, shape, float(low), float(high)),
}


def draw_value(key: Any, *parameters: Any, method: str, shape: Shape, dtype: Any) -> Any:
    """Numbers of that shape for each key, by NumPy's generator."""

    def draw(key: Any, *parameters: Any) -> Any:
        return _METHODS[method](_generator(key), shape, dtype, *parameters)

    return _each(draw, key, shape, dtype, *parameters)


draw_p: Primitive = primitive(
    "random_draw",
    value=draw_value,
    aval=lambda key, *_, method, shape, dtype: make_aval((*key.shape[:-1], *shape), dtype),
    vjp=ZERO,
    batch=_batched_by(lambda *operands, **static: draw_p(*operands, **static)),
    fresh=True,
)


# --- gamma, whose samples move with the shape parameter ----------------------------------------------


def _digamma(a: Any) -> Any:
    """For ``a >= 1``: ten steps up, then the asymptotic series (DLMF 5.5.2, 5.11.2)."""
    z = a + 10
    t = 1 / (z * z)
    series = t * (1 / 12 - t * (1 / 120 - t * (1 / 252 - t * (1 / 240 - t * (1 / 132)))))
    return np.log(z) - 0.5 / z - series - sum([1 / (a + k) for k in range(10)])


def gamma_slope_value(x: Any, a: Any) -> Any:
    """How a sample ``x`` of the gamma distribution moves with ``a >= 1``, its quantile kept.

    That is -(∂P/∂a)/(∂P/∂x) for the distribution function P (Figurnov, Mohamed and Mnih, Implicit
    Reparameterization Gradients, NeurIPS 2018). With t = x exp(w) in the integral of ∂P/∂a, it is

        -x ∫ (w + log x - ψ(a)) exp(a w - x (exp(w) - 1)) dw  over w < 0,

    or with the other sign over w > 0: the side that falls away from 0 is taken. The substitution
    w = s exp(τ - exp(-τ)) makes the trapezoidal rule converge exponentially (Takahasi and Mori,
    Double Exponential Formulas for Numerical Integration, Publ. RIMS 9, 1974).
    """
    dtype = np.result_type(x)
    a = np.asarray(a, np.float64)
    x = np.maximum(np.asarray(x, np.float64), np.finfo(np.float64).tiny)
    scale = np.where(x < a, -1, 1) / (np.abs(a - x) + np.sqrt(x))
    offset = np.log(x) - _digamma(a)
    nodes, step = np.linspace(-4.2, 5.6, 100, retstep=True)
    total = np.zeros(np.broadcast_shapes(x.shape, a.shape))
    for node, inverse in zip(np.exp(nodes - np.exp(-nodes)), np.exp(-nodes), strict=True):
        w = scale * node
        total += node * (1 + inverse) * (w + offset) * np.exp(a * w - x * np.expm1(w))
    return (x * scale * step * total).astype(dtype)[()]


gamma_slope: Primitive = elementwise(
    gamma_slope_value,
    Unwritten("second derivatives of gamma draws by their shape parameter"),
    name="random_gamma_slope",
    spellings=(),
    fresh=True,
)


def gamma_value(key: Any, a: Any, dtype: Any) -> Any:
    """One sample for each entry of ``a >= 1``.

    Raises:
        ValueError: a smaller entry, which means a negative parameter (`fungrad.random.gamma` adds 1).
    """
    if np.any(a < 1):
        raise ValueError("the parameters of gamma draws must not be negative")
    draw = lambda key, a: _generator(key).standard_gamma(a, dtype=dtype)
    return _each(draw, key, a.shape[key.ndim - 1 :], dtype, a)


gamma_p: Primitive = primitive(
    "random_gamma",
    value=gamma_value,
    aval=lambda key, a, dtype: make_aval(a.shape, dtype),
    vjp=lambda ct, y, key, a, dtype: (ZERO, ct * gamma_slope(y, a)),
    batch=_batched_by(lambda key, a, dtype: gamma_p(key, a, dtype=dtype)),
    fresh=True,
)
