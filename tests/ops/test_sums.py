"""Sums of cotangents over axes along which a value was broadcast: by whichever way they are added."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from fungrad._aval import aval_of
from fungrad._gradient import gradient
from fungrad._trace import trace_flat
from fungrad.ops.sums import FEW, SHORT, SMALL, summed

LENGTHS = st.sampled_from([1, 2, 3, 9, 40])


@st.composite
def arrays_and_axes(draw):
    """Two arrays of a shape, and axes of it in order; integers, so that no sum is rounded."""
    shape = tuple(draw(st.lists(LENGTHS, min_size=1, max_size=3)))
    axes = tuple(sorted(draw(st.sets(st.sampled_from(range(len(shape))), min_size=1))))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16, np.complex64, np.longdouble]))
    turned = draw(st.booleans())
    arrays = [rng.integers(-3, 4, size=shape).astype(dtype) for _ in range(2)]
    return [np.asfortranarray(a) if turned else a for a in arrays], axes


@given(arrays_and_axes(), st.sampled_from([(), (0,), (1,), (0, 1)]), st.booleans())
def test_sums_of_products_with_signs(given, negated, jitted):
    (a, b), axes = given

    def function(a, b):
        a, b = -a if 0 in negated else a, -b if 1 in negated else b
        return summed(a * b, axes), summed(a + b, axes)

    found = (fg.jit(function) if jitted else fg.vmap(function, in_axes=(None, None), axis_size=1))(
        a, b
    )
    signs = [-1 if i in negated else 1 for i in range(2)]
    a, b = a * signs[0], b * signs[1]
    for got, want in zip(found, (np.sum(a * b, axis=axes), np.sum(a + b, axis=axes)), strict=True):
        assert got.dtype == a.dtype
        np.testing.assert_array_equal(got.reshape(want.shape), want)


def names(function, *arrays):
    """The primitives of the gradient of the first operand."""
    traced = trace_flat(lambda xs: (function(*xs),), [aval_of(a) for a in arrays], list(arrays))
    return {node.primitive.name for node in gradient(traced.graph, (0,), False).nodes}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_biases_and_scales_are_added_by_products(dtype):
    x = np.ones((SMALL // 64, 64), dtype)
    assert "row_sum" in names(lambda b, x: np.sum(np.tanh(x + b)), x[0], x)
    assert "row_sum" in names(lambda b, x: np.sum(np.tanh(x + b)), x[0], x.reshape(2, -1, 64))
    assert "vecdot" in names(lambda s, x: np.sum(np.tanh(x * s)), x[0, 0], x)
    assert "vecdot" in names(lambda s, x: np.sum(np.tanh(x * s)), x[:, :1], x)


def test_what_is_long_or_imprecise_is_left_to_sum():
    for shape, dtype in [
        ((SMALL // 64 + 1, 64), np.float64),
        ((4, 64), np.float16),
        ((4, 1), float),
    ]:
        x = np.ones(shape, dtype)
        assert "row_sum" not in names(lambda b, x: np.sum(np.tanh(x + b)), x[0], x)
    for shape in [(FEW // SHORT + 1, SHORT), (2, SHORT + 1), (4, 1)]:
        x = np.ones(shape)
        assert "vecdot" not in names(lambda s, x: np.sum(np.tanh(x * s)), 1.0, x)


def test_sums_overflow_with_a_warning_and_infinities_stay():
    x = np.full((4, 3), 3e38, np.float32)
    rows = fg.jit(fg.grad(lambda b, x: np.sum((x + b) * x)))
    with np.errstate(over="ignore"):
        for _ in range(3):
            assert np.all(np.isposinf(rows(np.zeros(3, np.float32), x)))
    x[0, 0], x[1, 1] = np.inf, np.nan
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(rows(np.zeros(3, np.float32), x), [np.inf, np.nan, np.inf])


UNREADABLE = {
    "reversed": lambda s, x, y: np.sum((x * s)[:, ::-1] * y),
    "repeated": lambda s, x, y: np.sum(np.mean(x * s, axis=1) * y[:, 0]),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_is_reversed_or_repeated_is_added_as_accurately_as_by_sum(what):
    rng = np.random.default_rng(0)
    x, y = (rng.random((200, 256), np.float32) + 1 for _ in range(2))
    s = np.ones((200, 1), np.float32)
    slopes = fg.grad(UNREADABLE[what])
    want = slopes(*[v.astype(float) for v in (s, x, y)])
    jitted = fg.jit(slopes)
    got = [jitted(s, x, y) for _ in range(3)]
    assert np.max(np.abs(got[0] / want - 1)) < 2 * np.finfo(np.float32).eps
    assert len({v.tobytes() for v in got}) == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_products_of_what_is_reversed_have_the_same_bits_at_the_first_call(axis):
    # Old versions of NumPy multiply such matrices without BLAS.
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(50, 64)), rng.normal(size=(64, 32))
    jitted = fg.jit(fg.grad(lambda x, w: np.sum(np.sin(np.flip(x @ w, axis)))))
    assert len({jitted(x, w).tobytes() for _ in range(3)}) == 1
