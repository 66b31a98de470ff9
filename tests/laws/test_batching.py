"""``vmap`` is a loop and a stack."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

import fungrad as fg
from tests._checks import alike, near
from tests.laws.programs import programs, share

SEEDS = st.integers(0, 2**16)
SIZES = st.integers(1, 3)


def all_near(got: Any, want: Any, what: str, rtol: float = 1e-11) -> None:
    """Of one dtype and shape, and near relative to the greatest value."""
    alike(got, want, what)
    near(got, want, what, rtol, 1 + np.max(np.abs(want), initial=0))


@st.composite
def batches(draw: Any, **options: Any) -> Any:
    """A program, which of its inputs come in batches, and along which axes; and the examples."""
    program = draw(programs(**options))
    seeds = draw(st.lists(SEEDS, min_size=1, max_size=3))
    examples = [program.inputs(seed) for seed in seeds]
    axes = tuple(
        draw(st.one_of(st.none(), st.integers(-len(shape) - 1, len(shape))))
        for shape in program.shapes
    )
    assume(any(axis is not None for axis in axes))
    first = examples[0]
    examples = [
        [v if axis is not None else u for u, v, axis in zip(first, example, axes, strict=True)]
        for example in examples
    ]
    stacked = [
        first[i] if axis is None else np.stack([example[i] for example in examples], axis)
        for i, axis in enumerate(axes)
    ]
    return program, axes, examples, stacked


@share(1.5)
@given(batches(dtypes=("float64", "float32")))
def test_mapping_is_stacking(drawn):
    program, axes, examples, stacked = drawn
    want = np.stack([program(*example) for example in examples])
    rtol = 1e-11 if all(v.dtype == np.float64 for v in stacked) else 1e-3
    mapped = fg.vmap(program, in_axes=axes)
    for run in range(2):
        all_near(mapped(*stacked), want, f"run {run}", rtol)
    last = fg.vmap(program, in_axes=axes, out_axes=-1)(*stacked)
    all_near(last, np.moveaxis(want, 0, -1), "out_axes=-1", rtol)


@share(1.25)
@given(batches(scalar=True))
def test_mapping_the_gradient_is_stacking_gradients(drawn):
    program, axes, examples, stacked = drawn
    gradient = fg.grad(program, argnums=tuple(range(len(axes))))
    want = [gradient(*example) for example in examples]
    for i, got in enumerate(fg.vmap(gradient, in_axes=axes)(*stacked)):
        all_near(got, np.stack([w[i] for w in want]), f"argument {i}")


@share(1.25)
@given(batches(scalar=True))
def test_the_gradient_of_a_mapped_sum_is_the_mapped_gradient(drawn):
    program, axes, examples, stacked = drawn
    places = tuple(range(len(axes)))
    total = lambda *x: np.sum(fg.vmap(program, in_axes=axes)(*x))
    singles = [fg.grad(program, argnums=places)(*example) for example in examples]
    for i, got in enumerate(fg.grad(total, argnums=places)(*stacked)):
        parts = [single[i] for single in singles]
        want = np.sum(parts, axis=0) if axes[i] is None else np.stack(parts, axes[i])
        all_near(got, want, f"argument {i}", 1e-9)


@share(0.75)
@given(batches())
def test_jit_and_vmap_commute(drawn):
    program, axes, _, stacked = drawn
    want = fg.vmap(program, in_axes=axes)(*stacked)
    outside, inside = fg.jit(fg.vmap(program, in_axes=axes)), fg.vmap(fg.jit(program), in_axes=axes)
    for run in range(3):
        all_near(outside(*stacked), want, f"jit outside, run {run}")
        all_near(inside(*stacked), want, f"jit inside, run {run}")


@share(0.75)
@given(programs(largest=6), SEEDS, SIZES, SIZES)
def test_mapping_twice_is_stacking_twice(program, seed, rows, columns):
    grid = [[program.inputs(seed + 7 * i + j) for j in range(columns)] for i in range(rows)]
    stacked = [
        np.stack([np.stack([cell[k] for cell in row]) for row in grid])
        for k in range(len(program.shapes))
    ]
    want = np.stack([np.stack([program(*cell) for cell in row]) for row in grid])
    all_near(fg.vmap(fg.vmap(program))(*stacked), want, "rows, columns")
    swapped = fg.vmap(fg.vmap(program), in_axes=1)(*stacked)
    all_near(swapped, np.swapaxes(want, 0, 1), "columns, rows")


@share(0.75)
@given(programs(largest=6), SEEDS)
def test_mapping_the_pushforward_over_unit_tangents_gives_the_jacobian(program, seed):
    x = program.inputs(seed)
    first, *rest = x
    along = lambda t: fg.jvp(lambda v: program(v, *rest), (first,), (t,))[1]
    columns = fg.vmap(along)(np.eye(first.size).reshape(first.size, *first.shape))
    want = fg.jacobian(program)(*x)
    value = np.shape(program(*x))
    got = np.reshape(np.moveaxis(columns, 0, -1), (*value, *first.shape))
    all_near(got, want, "columns", 1e-9)
