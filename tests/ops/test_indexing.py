"""Reading by index: every form and mixture of NumPy's, by random indices."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fungrad as fg
from tests._checks import same_bits
from tests.ops._ordering_calls import check_batched

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


@st.composite
def items(draw, size: int):
    """An index item for an axis of that length, sometimes out of bounds."""
    return draw(
        st.one_of(
            st.integers(-size - 1, size),
            st.integers(0, max(size - 1, 0)),
            st.slices(size),
            hnp.arrays(
                np.intp,
                hnp.array_shapes(max_dims=2, max_side=2),
                elements=st.integers(-size, max(size - 1, -size)),
            ),
            st.lists(st.integers(-size, max(size - 1, -size)), max_size=2),
            hnp.arrays(np.bool_, (size,)),
        )
    )


@st.composite
def reads(draw):
    """A shape, and an index for it: of as many items as there are axes, fewer, or one more."""
    shape = draw(SHAPES)
    index = []
    axis = 0
    while axis < len(shape):
        kind = draw(st.integers(0, 9))
        if kind == 0:
            index.append(None)
        elif kind == 1:
            index.append(
                draw(st.sampled_from([True, False, np.True_, np.array(True), np.array(False)]))
            )
        elif kind == 2 and axis + 1 < len(shape):
            index.append(draw(hnp.arrays(np.bool_, shape[axis : axis + 2])))
            axis += 2
        elif kind == 3:
            break
        else:
            index.append(draw(items(shape[axis])))
            axis += 1
    if draw(st.booleans()):
        index.insert(draw(st.integers(0, len(index))), Ellipsis)
    if draw(st.integers(0, 9)) == 0:
        index.append(draw(st.sampled_from([0, None, True, False])))
    return shape, tuple(index)


def gradient_of(shape, index, weights):
    """Adding the weights at the places that NumPy reads."""
    out = np.zeros(shape)
    np.add.at(out.reshape(-1), np.arange(out.size).reshape(shape)[index], weights)
    return out


@settings(max_examples=400, deadline=None)
@given(reads())
def test_any_index(case):
    shape, index = case
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape) + 0.5
    jitted = fg.jit(lambda x: x[index])
    try:
        want = x[index]
    except IndexError:
        with pytest.raises(IndexError):
            jitted(x)
        return
    for run in range(2):
        same_bits(jitted(x), want, f"run {run}")
    weights = np.random.default_rng(0).normal(size=np.shape(want))
    got = fg.grad(lambda x: np.sum(x[index] * weights))(x)
    np.testing.assert_allclose(got, gradient_of(shape, index, weights), rtol=1e-13, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(reads())
def test_any_index_of_a_batch(case):
    shape, index = case
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape) + 0.5
    try:
        x[index]
    except IndexError:
        return
    check_batched(lambda x: x[index], x)


@pytest.mark.parametrize("flag", [True, np.True_, np.array(True), False, np.array(False)])
def test_a_boolean_is_a_new_axis(flag):
    x = np.arange(6.0).reshape(2, 3)
    same_bits(
        fg.jit(operator.getitem)(x, flag) if flag is None else fg.jit(lambda x: x[flag])(x),
        x[flag],
        "",
    )
    same_bits(fg.jit(lambda x: x[x.sum() > 0])(x), x[np.True_], "a traced condition")
    same_bits(
        fg.jit(lambda x: fg.at(x)[flag].set(7.0))(x), np.full((2, 3), 7.0) if flag else x, "at"
    )


def test_reading_one_by_one_is_linear_in_the_graph_too():
    def program(x):
        return sum((np.sin(x[i]) * x[i] for i in range(len(x))), 0.0)

    for n in (4, 40):
        nodes = fg.trace(fg.grad(program), np.linspace(0.0, 1.0, n)).nodes
        names = [node.primitive.name for node in nodes]
        assert names.count("scatter_sum") == 1
        assert len(nodes) < 20 * n
    x = np.linspace(0.0, 1.0, 5)
    np.testing.assert_allclose(fg.grad(program)(x), np.cos(x) * x + np.sin(x), rtol=1e-14)
    np.testing.assert_allclose(
        fg.hessian(program)(x), np.diag(2 * np.cos(x) - x * np.sin(x)), rtol=1e-13, atol=1e-15
    )
    check_batched(fg.grad(program), x)


def test_parts_beside_whole_uses_and_choices():
    f = lambda x: np.sum(x[:-1] * x[1:]) + np.sum(x**3) + np.sum(np.where(x > 0, x, 0)) + x[0]
    x = np.array([1.0, -2.0, 3.0])
    want = np.array([-2.0, 4.0, -2.0]) + 3 * x**2 + (x > 0) + np.array([1.0, 0, 0])
    np.testing.assert_allclose(fg.grad(f)(x), want)


def test_parts_by_new_axes_and_steps():
    x = np.arange(4.0) + 1
    f = lambda x: np.sum(x[None, 1:] ** 2) + np.sum(x[0:2] ** 3) + np.sum(x[::2]) + np.sum(x[::-1])
    want = 2 * x * [0, 1, 1, 1] + 3 * x**2 * [1, 1, 0, 0] + [1, 0, 1, 0] + 1
    np.testing.assert_allclose(fg.grad(f)(x), want)
    np.testing.assert_allclose(fg.jit(fg.grad(f))(x), want)


@pytest.mark.parametrize("kind", ["int64", "int8", "uint8", "uint64"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "complex128"])
def test_many_rows(kind, dtype):
    """Rows are added as numbers, in the order and with the bits of ``np.add.at``."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0 if kind[0] == "u" else -100, 100, (20, 15)).astype(kind)
    weights = rng.normal(size=(20, 15, 7, 8)).astype(dtype)
    want = np.zeros((300, 7, 8), dtype)
    np.add.at(want, rows, weights)
    pull = lambda x, weights: fg.vjp(lambda x: x[rows], x)[1](weights)[0]
    same_bits(pull(np.ones((300, 7, 8), dtype), weights), want, kind)
    same_bits(fg.jit(pull)(np.ones((300, 7, 8), dtype), weights), want, kind)
    wide = np.zeros((300, 9000), dtype)  # longer than what is added at a time
    pieces = rng.normal(size=(4, 9000)).astype(dtype)
    np.add.at(wide, rows[0, :4], pieces)
    same_bits(fg.vjp(lambda x: x[rows[0, :4]], np.ones_like(wide))[1](pieces)[0], wide, kind)


def test_many_rows_beside_the_last_one():
    rows = np.arange(90)
    gradient = fg.jit(fg.grad(lambda x, rows: np.sum(x[rows])))
    gradient(np.ones((90, 8)), rows)
    for wrong in (rows + 1, rows - 91):
        with pytest.raises(IndexError, match="out of bounds"):
            gradient(np.ones((90, 8)), wrong)
