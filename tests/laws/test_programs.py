"""However a program is run, it gives the same: jit, simplification, compilation, memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from fungrad._batch import batch
from fungrad._jvp import pushforward
from fungrad._vjp import pullback
from tests._checks import (
    LAYOUTS,
    alike,
    check_claims,
    check_program,
    graph_of,
    near,
    normal_like,
    roundoff,
    same_bits,
)
from tests.laws.programs import programs, share

SEEDS = st.integers(0, 2**16)
ARRANGED = st.sampled_from(list(LAYOUTS.values()))
FLOATS = ("float64", "float32")


def gradients(program: Any) -> Any:
    return fg.grad(program, argnums=tuple(range(len(program.shapes))))


def check_bits(program: Any, got: Any, want: Any, what: str) -> None:
    """The same bits; where a 0-d value is raised to a power, the same to rounding."""
    if program.scalar_power:
        alike(got, want, what)
        near(got, want, what, 100 * roundoff(want))
    else:
        same_bits(got, want, what)


@share(1.25)
@given(programs(elementwise=True, dtypes=FLOATS), SEEDS, ARRANGED)
def test_jit_of_elementwise_code_gives_the_same_bits(program, seed, arrange):
    x = [arrange(v) for v in program.wild_inputs(seed)]
    with np.errstate(all="ignore"):
        want = program(*x)
        jitted = fg.jit(program)
        for run in range(3):
            check_bits(program, jitted(*x), want, f"run {run}")


@share(0.5)
@given(
    st.lists(st.just(()), min_size=1, max_size=3).flatmap(
        lambda shapes: programs(shapes, elementwise=True)
    ),
    SEEDS,
)
def test_jit_of_python_numbers_gives_the_same_bits(program, seed):
    x = [v.item() for v in program.inputs(seed)]
    want = program(*x)
    jitted = fg.jit(program)
    for run in range(3):
        check_bits(program, jitted(*x), want, f"run {run}")


@share(1.25)
@given(programs(dtypes=FLOATS), SEEDS, ARRANGED)
def test_jit_gives_the_same(program, seed, arrange):
    x = [arrange(v) for v in program.inputs(seed)]
    want = program(*x)
    jitted = fg.jit(program)
    rtol = 1e-11 if all(v.dtype == np.float64 for v in x) else 1e-3
    for run in range(3):
        got = jitted(*x)
        alike(got, want, f"run {run}")
        near(got, want, f"run {run}", rtol, 1 + np.max(np.abs(want), initial=0))


@share(0.38)
@given(
    st.integers(1, 2).flatmap(
        lambda n: programs([(70_000,), (1,)][:n], elementwise=True, largest=12)
    ),
    SEEDS,
)
def test_jit_of_long_arrays_gives_the_same_bits(program, seed):
    x = program.wild_inputs(seed)
    with np.errstate(all="ignore"):
        want = program(*x)
        jitted = fg.jit(program)
        for run in range(3):
            same_bits(jitted(*x), want, f"run {run}")


@share(1.25)
@given(programs(elementwise=True, branches=True, dtypes=FLOATS), SEEDS)
def test_jit_of_code_that_depends_on_values_gives_the_same_bits(program, seed):
    jitted = fg.jit(program)
    cases = [program.inputs(seed + i) for i in range(5)]
    for run in range(3):
        for i, x in enumerate(cases):
            check_bits(program, jitted(*x), program(*x), f"run {run} of inputs {i}")


@share(1.25)
@given(programs(scalar=True, branches=True, dtypes=FLOATS), SEEDS)
def test_jit_and_grad_commute_where_code_depends_on_values(program, seed):
    count = len(program.shapes)
    inside = fg.grad(fg.jit(program), argnums=tuple(range(count)))
    outside = fg.jit(gradients(program))
    for run in range(2):
        for i in range(4):
            x = program.inputs(seed + i)
            want = gradients(program)(*x)
            for got in (inside(*x), outside(*x)):
                for g, w in zip(got, want, strict=True):
                    same_bits(g, w, f"run {run} of inputs {i}")


@share(1.25)
@given(programs(scalar=True, dtypes=FLOATS), SEEDS)
def test_jit_and_grad_commute(program, seed):
    x = program.inputs(seed)
    want = gradients(program)(*x)
    inside = fg.grad(fg.jit(program), argnums=tuple(range(len(x))))
    outside = fg.jit(gradients(program))
    for run in range(3):
        for got in (inside(*x), outside(*x)):
            for g, w in zip(got, want, strict=True):
                same_bits(g, w, f"run {run}")


@share(0.75)
@given(programs(dtypes=FLOATS), SEEDS)
def test_jit_of_jit_is_jit(program, seed):
    x = program.inputs(seed)
    once, twice = fg.jit(program), fg.jit(fg.jit(program))
    for run in range(3):
        same_bits(twice(*x), once(*x), f"run {run}")


@share(1.5)
@given(programs(scalar=True, dtypes=FLOATS), SEEDS, st.lists(ARRANGED, min_size=3, max_size=3))
def test_interpreted_simplified_and_compiled_programs_give_the_same_bits(program, seed, layouts):
    x = [arrange(v) for arrange, v in zip(layouts, program.inputs(seed), strict=False)]
    graph, values = graph_of(program, x)
    check_claims(graph, values, "value")
    check_program(graph, values, "value")
    wrt = tuple(range(len(x)))
    rng = np.random.default_rng(seed)
    ct = normal_like(rng, program(*x))
    tangents = [normal_like(rng, v) for v in x]
    back, forth = pullback(graph, wrt, (0,)), pushforward(graph, wrt)
    check_claims(back, [*values, ct], "pullback")
    check_program(back, [*values, ct], "pullback")
    check_program(forth, [*values, *tangents], "pushforward")
    rows = (*[False] * len(values), True)
    check_program(batch(back, rows, 2), [*values, np.stack([ct, ct])], "batched pullback")


@share(1)
@given(programs(dtypes=FLOATS), SEEDS)
def test_simplification_keeps_nan_infinity_and_signs_of_zero(program, seed):
    x = program.wild_inputs(seed)
    graph, values = graph_of(program, program.inputs(seed))
    values[: len(x)] = x
    wrt = tuple(range(len(x)))
    with np.errstate(all="ignore"):
        check_program(graph, values, "value")
        ct = normal_like(np.random.default_rng(seed), program(*program.inputs(seed)))
        check_program(pullback(graph, wrt, (0,)), [*values, ct], "pullback")


@share(1)
@given(programs(scalar=True), SEEDS)
def test_inputs_are_never_written(program, seed):
    x = [LAYOUTS["read-only"](v) for v in program.inputs(seed)]
    kept = [v.tobytes() for v in x]
    jitted, gradient = fg.jit(program), fg.jit(gradients(program))
    for _ in range(3):
        jitted(*x)
        gradient(*x)
    value, pull = fg.vjp(program, *x)
    ct = LAYOUTS["read-only"](np.asarray(value))
    for _ in range(3):
        pull(ct)
        fg.jvp(program, x, x)
    assert [v.tobytes() for v in x] == kept


@share(1)
@given(programs(), SEEDS)
def test_results_belong_to_the_caller(program, seed):
    x = program.inputs(seed)
    jitted = fg.jit(program)
    want = np.copy(jitted(*x))
    for _ in range(3):
        out = jitted(*x)
        same_bits(out, want, "after the last result was written to")
        assert not any(np.shares_memory(out, v) for v in x)
        if isinstance(out, np.ndarray):
            out[...] = np.nan


@share(1)
@given(programs(scalar=True), SEEDS)
def test_a_pullback_remembers_its_primals(program, seed):
    x = program.inputs(seed)
    want = gradients(program)(*x)
    _, pull = fg.vjp(program, *x)
    for v in x:
        v[...] = np.nan
    for _ in range(3):
        for got, w in zip(pull(1.0), want, strict=True):
            near(got, w, "after the primals were overwritten", 1e-11, 1 + np.max(np.abs(w)))


@share(0.75)
@given(programs(dtypes=FLOATS), SEEDS)
def test_tracing_twice_gives_the_identical_graph(program, seed):
    x = program.inputs(seed)
    assert fg.trace(program, *x) is fg.trace(program, *x)
    assert fg.source(program, *x) == fg.source(program, *x)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_reused_buffer_has_the_layout_that_numpy_would_allocate(order):
    # NumPy lays out a product of stacked column-major matrices in another order than C, and that
    # decides in which order a sum visits its entries.
    rng = np.random.default_rng(0)
    a, b = (np.array(rng.normal(size=(3, 4, 16, 16)), order=order) for _ in range(2))
    c = rng.normal(size=(3, 4, 16, 16))

    def program(a: Any, b: Any, c: Any) -> Any:
        first = np.sum(np.tanh(np.matmul(a, b)))
        second = np.sum(np.exp(np.sin(c)))
        return first, second, np.matmul(a, b) * np.cos(c)

    graph, values = graph_of(program, [a, b, c])
    check_program(graph, values, order)
    jitted = fg.jit(program)
    for _ in range(3):
        assert jitted(a, b, c)[2].strides == program(a, b, c)[2].strides
