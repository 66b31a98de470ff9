"""Random loop bodies, and loops written out in Python to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

OPERATIONS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: np.tanh(a) - 0.5 * b,
    lambda a, b: np.where(a > b, a, b),
    lambda a, b: np.sin(a) / (1.5 + np.cos(b)),
    lambda a, b: np.exp(-a * a),
    lambda a, b: a[::-1] if np.ndim(a) else a * 0.5,
    lambda a, b: np.sum(a * b),
    lambda a, b: np.stack([a, b])[0] if np.shape(a) == np.shape(b) else a,
    lambda a, b: a,
)


@attrs.frozen
class Step:
    """A body ``(carry, x, closed over) -> (carry, y)`` made of random operations.

    The carry is ``{"v": (3,), "s": (), "n": an integer}``; ``x`` has shape ``(3,)``.
    """

    operations: tuple[tuple[int, int, int], ...]
    results: tuple[int, ...]

    def __call__(self, carry: Any, x: Any, k: Any) -> Any:
        v, s, n = carry["v"], carry["s"], carry["n"]
        pool = [v, s, x, k, v * n, 0.5]
        for which, i, j in self.operations:
            value = OPERATIONS[which](pool[i % len(pool)], pool[j % len(pool)])
            pool.append(np.tanh(value))
        a, b, c, d = [pool[i % len(pool)] for i in self.results]
        after = {"v": np.tanh(a + x), "s": np.tanh(np.sum(b) + s), "n": n + 1}
        return after, {"c": c + 0 * s, "d": (d, v)}


steps = st.builds(
    Step,
    st.lists(st.tuples(*[st.integers(0, 9), *[st.integers(0, 20)] * 2]), max_size=6).map(tuple),
    st.tuples(*[st.integers(0, 11)] * 4),
)


def written_out(f: Any, carry: Any, items: Any, reverse: bool = False) -> Any:
    """What ``scan`` computes for items in a list."""
    stacked = []
    for x in reversed(items) if reverse else items:
        carry, y = f(carry, x)
        stacked.append(y)
    return carry, stacked[::-1] if reverse else stacked
