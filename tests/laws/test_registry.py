"""The laws of derivatives and batches, on random programs over the whole registry of primitives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import fungrad as fg
from fungrad.errors import ConcretizationError, UnsupportedFunctionError
from tests._checks import near
from tests.laws.programs import share
from tests.laws.registry import INPUTS, ROWS, build, registry_programs, steps

SEEDS = st.integers(0, 2**16)
BOTH = (0, 1)
STEP = 1e-4
NOT_COMPOSED = {
    "random_gamma": "integers are among its operands, and it is differentiated in its own tests",
    "riemann_zeta": "its derivative is no function of scipy.special",
    "pure_callback": "opaque code, which has a derivative only by a rule of the user's",
}
"""Primitives that random programs leave out, and why."""


def examples(fraction: float) -> settings:
    """That share of the profile's examples; a program without some rule does not count."""
    return settings(share(fraction), suppress_health_check=[HealthCheck.filter_too_much])


def all_near(got: Any, want: Any, what: str, rtol: float = 1e-9) -> None:
    """Equal relative to the greatest value, leaf by leaf; NaN only where the other has it too."""
    pairs = zip(fg.tree.leaves(got), fg.tree.leaves(want), strict=True)
    for i, (g, w) in enumerate(pairs):
        near(g, w, f"{what}, leaf {i}", rtol, 1 + np.max(np.abs(w), initial=0))


def checked(call: Any) -> Any:
    """``call()``, unless it asks for a rule that is stated not to exist, or branches on values."""
    try:
        with np.errstate(all="ignore"):
            return call()
    except (UnsupportedFunctionError, ConcretizationError):
        assume(False)


def directions(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed + 1)
    return rng.normal(size=3), float(rng.normal())


@pytest.mark.parametrize("name", sorted(ROWS.keys() - NOT_COMPOSED.keys()))
def test_every_primitive_occurs_in_programs(name):
    """And is differentiated in them."""
    assert steps(name), "no case of the domain table serves a program"
    program = build(steps(name)[:1], 1)
    graph = fg.trace(program, *program.inputs(1))
    assert any(node.primitive.name == name for node in graph.nodes)
    with np.errstate(all="ignore"):
        gradient = fg.grad(program.scalar, BOTH)(*program.inputs(1))
    assert [np.shape(g) for g in gradient] == list(INPUTS)
    assert all(np.all(np.isfinite(g)) for g in gradient)


@examples(1.5)
@given(registry_programs(), SEEDS)
def test_forward_mode_is_the_adjoint_of_reverse_mode(program, seed):
    x, t = program.inputs(seed), directions(seed)
    value, tangent = checked(lambda: fg.jvp(program, x, t))
    again, pull = checked(lambda: fg.vjp(program, *x))
    assume(np.all(np.isfinite(value)))
    all_near(again, value, "value")
    ct = np.random.default_rng(seed).normal(size=np.shape(value))
    with np.errstate(all="ignore"):
        parts = pull(ct)
    one, other = np.vdot(ct, tangent), np.vdot(parts[0], t[0]) + parts[1] * t[1]
    size = np.sum(np.abs(ct * tangent)) + np.sum(np.abs(parts[0] * t[0])) + abs(parts[1] * t[1])
    near(one, other, "⟨c, J t⟩", 1e-9, 1 + size)
    _, push = checked(lambda: fg.linearize(program, *x))
    all_near(push(*t), tangent, "linearize")


@examples(1)
@given(registry_programs(), SEEDS)
def test_tangents_are_slopes(program, seed):
    """Central differences; the other laws would hold for a wrong rule as well."""
    assume(all(ROWS[step.name].numeric is None for step in program.steps))
    (x, y), (u, v) = program.inputs(seed), directions(seed)
    tangent = checked(lambda: fg.jvp(program, (x, y), (u, v)))[1]
    assume(np.all(np.isfinite(tangent)))
    with np.errstate(all="ignore"):
        ahead, behind = (program(x + h * u, y + h * v) for h in (STEP, -STEP))
    near((ahead - behind) / (2 * STEP), tangent, "tangent", 2e-6, 1 + np.max(np.abs(tangent)))


@examples(1)
@given(registry_programs(largest=2), SEEDS)
def test_jacobians_of_both_modes_agree(program, seed):
    x = program.inputs(seed)
    rows = checked(lambda: fg.jacrev(program, BOTH)(*x))
    columns = checked(lambda: fg.jacfwd(program, BOTH)(*x))
    all_near(rows, columns, "jacobian")


@examples(0.75)
@given(registry_programs(largest=2), SEEDS)
def test_hessians_are_symmetric_and_hvp_is_their_product(program, seed):
    x, t = program.inputs(seed), directions(seed)
    (xx, xy), (yx, yy) = checked(lambda: fg.hessian(program.scalar, BOTH)(*x))
    assume(all(np.all(np.isfinite(part)) for part in (xx, xy, yx, yy)))
    all_near(xx, xx.T, "xx", 1e-8)
    all_near(xy, yx, "xy", 1e-8)
    product = checked(lambda: fg.hvp(program.scalar, x, t))
    all_near(product, (xx @ t[0] + xy * t[1], yx @ t[0] + yy * t[1]), "hvp", 1e-8)


@examples(1)
@given(registry_programs(largest=2), SEEDS, st.integers(1, 3))
def test_mapping_is_stacking(program, seed, size):
    """Of values and of gradients; and the gradient of a mapped sum is the mapped gradient."""
    examples = [program.inputs(seed + i) for i in range(size)]
    stacked = [np.stack([example[i] for example in examples]) for i in BOTH]
    with np.errstate(all="ignore"):
        want = np.stack([program(*example) for example in examples])
    assume(np.all(np.isfinite(want)))
    all_near(checked(lambda: fg.vmap(program)(*stacked)), want, "values")
    gradient = fg.grad(program.scalar, BOTH)
    each = [checked(lambda example=example: gradient(*example)) for example in examples]
    slopes = tuple(np.stack([one[i] for one in each]) for i in BOTH)
    all_near(checked(lambda: fg.vmap(gradient)(*stacked)), slopes, "mapped gradients")
    total = lambda x, y: np.sum(fg.vmap(program.scalar)(x, y))
    all_near(checked(lambda: fg.grad(total, BOTH)(*stacked)), slopes, "gradient of the mapped sum")


@examples(1)
@given(registry_programs(), SEEDS)
def test_jit_and_checkpoint_change_nothing(program, seed):
    x = program.inputs(seed)
    gradient = fg.grad(program.scalar, BOTH)
    want = checked(lambda: gradient(*x))
    ways = {
        "jit outside": fg.jit(gradient),
        "jit inside": fg.grad(fg.jit(program.scalar), BOTH),
        "checkpoint": fg.grad(fg.checkpoint(program.scalar), BOTH),
        "all": fg.jit(fg.grad(fg.checkpoint(fg.jit(program.scalar)), BOTH)),
    }
    for name, way in ways.items():
        for run in range(2):
            all_near(checked(lambda way=way: way(*x)), want, f"{name}, run {run}", 1e-11)
