"""Programs with transforms, loops and containers within them, under transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from tests._checks import check_claims, check_program, graph_of, near, normal_like, same_bits
from tests.laws.programs import programs, share

SEEDS = st.integers(0, 2**16)
STEP = 1e-5


def every(program: Any) -> tuple[int, ...]:
    return tuple(range(len(program.shapes)))


@share(0.75)
@given(programs(scalar=True, nested=True, kinks=False, largest=5), SEEDS)
def test_gradients_are_slopes(program, seed):
    x = program.inputs(seed)
    t = [normal_like(np.random.default_rng(seed), v) for v in x]
    ahead, behind = (
        program(*[a + h * b for a, b in zip(x, t, strict=True)]) for h in (STEP, -STEP)
    )
    slope = (ahead - behind) / (2 * STEP)
    parts = fg.grad(program, every(program))(*x)
    size = 1 + sum(np.sum(np.abs(a * b)) for a, b in zip(parts, t, strict=True))
    near(sum(np.sum(a * b) for a, b in zip(parts, t, strict=True)), slope, "reverse", 1e-6, size)
    near(fg.jvp(program, tuple(x), tuple(t))[1], slope, "forward", 1e-6, size)


@share(0.75)
@given(programs(scalar=True, nested=True, branches=True, largest=5), SEEDS)
def test_jit_outside_and_inside_gives_the_same(program, seed):
    gradient = fg.grad(program, every(program))
    inside, outside = fg.grad(fg.jit(program), every(program)), fg.jit(gradient)
    for run in range(2):
        for i in range(2):
            x = program.inputs(seed + i)
            want = gradient(*x)
            for way in (inside, outside):
                for got, w in zip(way(*x), want, strict=True):
                    near(
                        got, w, f"run {run} of inputs {i}", 1e-11, 1 + np.max(np.abs(w), initial=0)
                    )


@share(0.5)
@given(programs(scalar=True, nested=True, largest=5), SEEDS)
def test_interpreted_simplified_and_compiled_give_the_same_bits(program, seed):
    graph, values = graph_of(fg.grad(program), program.inputs(seed))
    check_claims(graph, values, "gradient")
    check_program(graph, values, "gradient")


@share(0.5)
@given(programs(nested=True, largest=4), SEEDS)
def test_mapping_is_stacking(program, seed):
    examples = [program.inputs(seed + i) for i in range(3)]
    want = np.stack([program(*example) for example in examples])
    got = fg.vmap(program)(*[np.stack(column) for column in zip(*examples, strict=True)])
    near(got, want, "mapped", 1e-10, 1 + np.max(np.abs(want), initial=0))


@share(0.5)
@given(programs(scalar=True, nested=True, largest=4), SEEDS)
def test_containers_of_inputs_are_inputs(program, seed):
    x = program.inputs(seed)
    of_tree = lambda tree: program(*tree["x"], *tree["rest"])
    tree = {"x": x[:1], "rest": tuple(x[1:])}
    got, want = fg.grad(of_tree)(tree), fg.grad(program, every(program))(*x)
    for a, b in zip([*got["x"], *got["rest"]], want, strict=True):
        same_bits(a, b, "a leaf")
