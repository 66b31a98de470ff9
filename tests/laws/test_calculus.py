"""Laws of differentiation, on random programs."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from tests._checks import near, normal_like, pairing
from tests.laws.programs import SHAPES, programs, share

SEEDS = st.integers(0, 2**16)
FACTORS = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0])


def gradients(function: Any, inputs: list[Any]) -> tuple[Any, ...]:
    """With respect to all arguments."""
    return fg.grad(function, argnums=tuple(range(len(inputs))))(*inputs)


def all_near(got: Any, want: Any, what: str, rtol: float = 1e-9) -> None:
    """Pairwise near, relative to the greatest of all values wanted."""
    scale = 1 + max([float(np.max(np.abs(w), initial=0.0)) for w in want])
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        near(g, w, f"{what}, argument {i}", rtol, scale)


@st.composite
def two_programs(draw: Any) -> Any:
    """Two scalar programs of the same inputs, and values for these."""
    shapes = draw(st.lists(SHAPES, min_size=1, max_size=2))
    f, g = (draw(programs(shapes, scalar=True, largest=6)) for _ in range(2))
    return f, g, f.inputs(draw(SEEDS))


@share(1)
@given(two_programs(), FACTORS, FACTORS)
def test_gradients_are_linear(drawn, a, b):
    f, g, x = drawn
    want = [a * u + b * v for u, v in zip(gradients(f, x), gradients(g, x), strict=True)]
    all_near(gradients(lambda *x: a * f(*x) + b * g(*x), x), want, "a f + b g")


@share(1)
@given(two_programs())
def test_product_rule(drawn):
    f, g, x = drawn
    pairs = zip(gradients(f, x), gradients(g, x), strict=True)
    want = [g(*x) * u + f(*x) * v for u, v in pairs]
    all_near(gradients(lambda *x: f(*x) * g(*x), x), want, "f g")


@share(1)
@given(two_programs())
def test_quotient_rule(drawn):
    f, g, x = drawn
    over = lambda *x: 2.5 + np.cos(g(*x))
    pairs = zip(gradients(f, x), gradients(over, x), strict=True)
    want = [(u * over(*x) - f(*x) * v) / over(*x) ** 2 for u, v in pairs]
    all_near(gradients(lambda *x: f(*x) / over(*x), x), want, "f / g")


@st.composite
def compositions(draw: Any) -> Any:
    """A program, a scalar program of its result, and inputs."""
    inner = draw(programs(largest=5))
    x = inner.inputs(draw(SEEDS))
    outer = draw(programs([np.shape(inner(*x))], scalar=True, largest=5))
    return outer, inner, x


@share(1)
@given(compositions())
def test_chain_rule(drawn):
    outer, inner, x = drawn
    value, pull = fg.vjp(inner, *x)
    want = pull(fg.grad(outer)(value))
    all_near(gradients(lambda *x: outer(inner(*x)), x), want, "f(g(x))")


@share(1)
@given(compositions(), st.integers(0, 99))
def test_chain_rule_forwards(drawn, seed):
    outer, inner, x = drawn
    t = [normal_like(np.random.default_rng(seed), v) for v in x]
    value, tangent = fg.jvp(inner, x, t)
    _, want = fg.jvp(outer, (value,), (tangent,))
    _, got = fg.jvp(lambda *x: outer(inner(*x)), x, t)
    all_near([got], [want], "f(g(x))")


@share(1)
@given(SHAPES.flatmap(lambda s: programs([s, s], scalar=True)), SEEDS)
def test_an_input_used_twice_sums_over_both_paths(program, seed):
    x = program.inputs(seed)[0]
    first, second = gradients(program, [x, x])
    all_near([fg.grad(lambda x: program(x, x))(x)], [first + second], "f(x, x)")


@share(1)
@given(SHAPES.flatmap(lambda s: programs([s, s], scalar=True)), SEEDS)
def test_what_is_closed_over_is_constant(program, seed):
    x, y = program.inputs(seed)
    want, of_second = gradients(program, [x, y])
    all_near([fg.grad(lambda x: program(x, y))(x)], [want], "y closed over")
    all_near([fg.grad(lambda y: program(x, y))(y)], [of_second], "x closed over")
    nested = fg.grad(lambda x: fg.grad(lambda y: program(x, y))(y).sum())(x)
    mixed = fg.grad(lambda x: gradients(program, [x, y])[1].sum())(x)
    all_near([nested], [mixed], "mixed second derivative")


@share(1.25)
@given(programs(), SEEDS)
def test_forward_and_reverse_are_adjoint(program, seed):
    x = program.inputs(seed)
    rng = np.random.default_rng(seed)
    t = [normal_like(rng, v) for v in x]
    value, pull = fg.vjp(program, *x)
    ct = normal_like(rng, value)
    _, pushed = fg.jvp(program, x, t)
    pulled = pull(ct)
    scale = 1 + sum(float(np.sum(np.abs(a * b))) for a, b in zip(pulled, t, strict=True))
    near(pairing([ct], [pushed]), pairing(pulled, t), "adjoint", 1e-10, scale)


def central(function: Any, x: list[Any], t: list[Any], step: float = 2e-4) -> Any:
    """The derivative along ``t``, by central differences of fourth order."""

    def at(k: int) -> Any:
        return function(*[v + k * step * d for v, d in zip(x, t, strict=True)])

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)


@share(2)
@given(programs(scalar=True, kinks=False), SEEDS)
def test_gradient_against_differences(program, seed):
    x = program.inputs(seed)
    t = [normal_like(np.random.default_rng(seed), v) for v in x]
    gradient = gradients(program, x)
    scale = 1 + sum(float(np.sum(np.abs(g * d))) for g, d in zip(gradient, t, strict=True))
    near(pairing(gradient, t), central(program, x, t), "along t", 1e-6, scale)


@share(0.75)
@given(programs(scalar=True, kinks=False, largest=6), SEEDS)
def test_second_derivative_against_differences(program, seed):
    x = program.inputs(seed)
    t = [normal_like(np.random.default_rng(seed), v) for v in x]

    def slope(*x: Any) -> Any:
        return np.concatenate([np.ravel(g) for g in gradients(program, list(x))])

    want = central(slope, x, t)
    all_near([fg.jvp(slope, x, t)[1]], [want], "forward over reverse", 1e-5)


@share(0.75)
@given(programs(scalar=True, largest=6), SEEDS)
def test_hessians_are_symmetric(program, seed):
    x = program.inputs(seed)
    places = tuple(range(len(x)))
    hessian = fg.hessian(program, argnums=places)(*x)
    for i in places:
        for j in places:
            block = np.reshape(hessian[i][j], (x[i].size, x[j].size))
            other = np.reshape(hessian[j][i], (x[j].size, x[i].size))
            all_near([block], [other.T], f"block {i}, {j}")


@share(0.75)
@given(programs(scalar=True, largest=6), SEEDS)
def test_hessian_vector_products_agree(program, seed):
    x = program.inputs(seed)
    t = [normal_like(np.random.default_rng(seed), v) for v in x]
    gradient = lambda *x: gradients(program, list(x))
    _, forward = fg.jvp(gradient, x, t)
    (reverse, *_), pull = fg.vjp(gradient, *x)
    all_near(forward, pull(tuple(t)), "forward over reverse, reverse over reverse")
    slope = lambda *x: fg.jvp(program, x, t)[1]
    all_near(gradients(slope, x), forward, "reverse over forward")
    assert np.shape(reverse) == np.shape(x[0])


@share(0.75)
@given(programs(largest=6), SEEDS)
def test_jacobian_has_the_pullbacks_rows_and_the_pushforwards_columns(program, seed):
    x = program.inputs(seed)
    jacobian = fg.jacobian(program)(*x)
    value, pull = fg.vjp(program, *x)
    assert jacobian.shape == (*np.shape(value), *x[0].shape)
    for place in np.ndindex(np.shape(value)):
        unit = np.zeros(np.shape(value))
        unit[place] = 1
        all_near([pull(unit)[0]], [jacobian[place]], f"row {place}")
    for place in np.ndindex(x[0].shape):
        tangents = [np.zeros(v.shape) for v in x]
        tangents[0][place] = 1
        pushed = fg.jvp(program, x, tangents)[1]
        all_near([pushed], [jacobian[(..., *place)]], f"column {place}")


@share(0.75)
@given(programs(scalar=True, dtypes=("float32",)), SEEDS)
def test_single_precision_stays(program, seed):
    x = program.inputs(seed)
    value, narrow = fg.value_and_grad(program, argnums=tuple(range(len(x))))(*x)
    assert value.dtype == program(*x).dtype
    assert {g.dtype for g in narrow} == {np.dtype(np.float32)}
    assert fg.jvp(program, x, x)[1].dtype == value.dtype


@share(0.75)
@given(programs(scalar=True, dtypes=("float32", "float64", "float16")), SEEDS)
def test_gradients_have_the_dtypes_of_their_inputs(program, seed):
    x = program.inputs(seed)
    for gradient, value in zip(gradients(program, x), x, strict=True):
        assert (gradient.shape, gradient.dtype) == (value.shape, value.dtype)
