"""Summing over what was broadcast is the adjoint of broadcasting, for all pairs of shapes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fungrad as fg
from tests._checks import same_bits
from tests.laws.programs import broadcastable_pairs

PAIRS = broadcastable_pairs()


def summed_back(ct, shape):
    """The adjoint by its definition: every entry of ``ct`` is added where it was read from."""
    places = np.broadcast_to(np.arange(int(np.prod(shape))).reshape(shape), ct.shape)
    out = np.zeros(int(np.prod(shape)))
    for place, value in zip(places.ravel(), ct.ravel(), strict=True):
        out[place] += value
    return out.reshape(shape)


def whole(shape, seed):
    """Whole numbers, whose sums are exact in any order."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


@pytest.mark.parametrize("rank", range(4))
def test_of_broadcast_to(rank):
    for shape, target in [pair for pair in PAIRS if len(pair[1]) == rank]:
        x, ct = whole(shape, 0), whole(target, 1)
        value, pull = fg.vjp(lambda x, s=target: np.broadcast_to(x, s), x)
        same_bits(value, np.broadcast_to(x, target), f"{shape} to {target}")
        (got,) = pull(ct)
        same_bits(got + 0.0, summed_back(ct, shape), f"adjoint of {shape} to {target}")


@pytest.mark.parametrize("ufunc", [np.add, np.subtract, np.multiply])
def test_of_arithmetic(ufunc):
    small = [(), (1,), (2,), (1, 1), (1, 3), (2, 1), (2, 3), (0,), (0, 3), (1, 2, 1), (2, 1, 3)]
    for first, second in itertools.product(small, small):
        try:
            shape = np.broadcast_shapes(first, second)
        except ValueError:
            continue
        a, b, ct = whole(first, 0), whole(second, 1), whole(shape, 2)
        got = fg.vjp(ufunc, a, b)[1](ct)
        slopes = {
            np.add: (1.0, 1.0),
            np.subtract: (1.0, -1.0),
            np.multiply: (np.broadcast_to(b, shape), np.broadcast_to(a, shape)),
        }[ufunc]
        for g, slope, operand in zip(got, slopes, (first, second), strict=True):
            want = summed_back(ct * slope, operand)
            same_bits(g + 0.0, want + 0.0, f"{ufunc.__name__} of {first} and {second}")


def test_forward_mode_broadcasts():
    for shape, target in PAIRS:
        x, t = whole(shape, 0), whole(shape, 1)
        _, got = fg.jvp(lambda x, s=target: np.broadcast_to(x, s), (x,), (t,))
        same_bits(got + 0.0, np.broadcast_to(t, target) + 0.0, f"{shape} to {target}")
