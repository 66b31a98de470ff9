"""Simplification: what each pass does, and that none of them changes a bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from fungrad._evaluate import interpret
from fungrad._gradient import gradient
from fungrad._rewrites import PASSES
from fungrad._simplify import simplify
from fungrad._vjp import pullback
from fungrad.compile.calls import LONG
from fungrad.compile.source import build
from fungrad.ops.indexing import scatter_add_p
from tests._checks import graph_of, normal_like, plainly, same_bits
from tests.laws.programs import programs, share


def names(f, *args, without=()):
    graph = simplify(graph_of(f, args)[0], frozenset(without))
    return [node.primitive.name for node in graph.nodes]


x, m = np.linspace(-2, 2, 5), np.linspace(-1, 1, 12).reshape(4, 3)
EFFECTS = {
    "neutral": (lambda x: (x * 1 - 0) / 1.0 + np.negative(-x), x, ["add"]),
    "constants": (lambda x: x + np.ones_like(x) * (np.zeros_like(x) + 3), x, ["full", "add"]),
    "views": (
        lambda m: np.broadcast_to(m[:, :1][:, 0][:, None], (4, 3)) * m[None].transpose(1, 2, 0)[:, :, 0],
        m, None,
    ),
    "signs": (lambda x: 2.0 * -np.sin(x) + -x * np.cos(x) - -x, x,
              ["sin", "multiply", "cos", "multiply", "subtract", "add"]),
    "scatters": (
        lambda x: scatter_add_p(x, index=(slice(1, 6),), shape=(7,))
        + scatter_add_p(x, index=(slice(0, 5),), shape=(7,)),
        x, ["scatter_sum"],
    ),
    "calls": (fg.nn.softplus, x,
              ["maximum", "absolute", "negative", "exp", "log1p", "add"]),
}  # fmt: skip


@pytest.mark.parametrize("name", EFFECTS)
def test_what_a_pass_does(name):
    f, value, expected = EFFECTS[name]
    with_it, without_it = names(f, value), names(f, value, without=[name])
    if expected is not None:
        assert with_it == expected
    assert with_it != without_it


def test_every_pass_has_an_example():
    assert EFFECTS.keys() == PASSES.keys()


def test_broadcasting_is_left_to_the_operations():
    softmax = lambda m: (lambda e: e / e.sum(1, keepdims=True))(np.exp(m))
    assert "broadcast_to" not in names(fg.grad(lambda m: np.sum(softmax(m) ** 2)), m)
    assert "scatter_add" not in names(fg.grad(lambda m: np.sum(m[:, None] * m[None])), m)


def test_a_broadcast_number_that_decides_the_dtype_stays():
    f = lambda a, b: np.broadcast_to(a, (3,)) * b
    a, b = 2.5, np.ones(3, np.float32)
    for _ in range(3):
        same_bits(fg.jit(f)(a, b), f(a, b), "weak")


SIGNS = {
    "a + -b": lambda a, b: a + -b,
    "-a + b": lambda a, b: -a + b,
    "a - -b": lambda a, b: a - -b,
    "-a - b": lambda a, b: -a - b,
    "-(a - b)": lambda a, b: -(a - b),
    "-a * b + a": lambda a, b: -a * b + a,
    "a - a * -b": lambda a, b: a - a * -b,
    "b + a / -b": lambda a, b: b + a / -b,
    "-(2 * a)": lambda a, b: -(2 * a),
    "3 / -a": lambda a, b: 3 / -a,
    "-a / 3 - -0.0": lambda a, b: -a / 3 - -0.0,
    "0.0 * -a": lambda a, b: 0.0 * -a,
    "-np.zeros * a": lambda a, b: np.zeros_like(a) * -a,
    "-1.0 * a + b": lambda a, b: -1.0 * a + b,
    "a * -1 - b": lambda a, b: a * -1 - b,
    "abs(-a) + (-b)**2": lambda a, b: np.abs(-a) + np.square(-b),
    "-a >= 0": lambda a, b: (-a >= 0) + (-b <= 0.0),
    "b + -a / b * a": lambda a, b: b + -a / b * a,
    "b - a * (-a * b) / a": lambda a, b: b - a * (-a * b) / a,
    "in a shared product": lambda a, b: (lambda p: (b + p * a) / p)(-a / b),
    "twice": lambda a, b: (lambda p: p + (a + p))(-a * b),
}
ZEROS = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 5e-324, 1e308, -3.5])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128, np.int64])
@pytest.mark.parametrize("name", SIGNS)
def test_signs_of_zero_survive(name, dtype):
    with np.errstate(all="ignore"):
        a, b = (v.ravel() for v in np.meshgrid(ZEROS, ZEROS))
        if dtype is np.int64:
            a, b = np.arange(-3, 4), np.arange(1, 8)
        a, b = a.astype(dtype), b.astype(dtype)
        want, jitted = SIGNS[name](a, b), fg.jit(SIGNS[name])
        for _ in range(3):
            same_bits(jitted(a, b), want, name)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("scale", [2, 3, 100.0, -7.5, 0.3, -0.5])
def test_a_number_takes_a_doubling_along_only_where_no_bit_changes(scale, dtype):
    most = np.finfo(dtype).max
    with np.errstate(all="ignore"):
        x = np.array([*ZEROS, most, most / 2, -most / 3, most / 150, 1.1], dtype=dtype)
        for f in (lambda x: scale * (2 * x), lambda x: (x * 2.0) * np.full_like(x, scale)):
            want, jitted = f(x), fg.jit(f)
            for _ in range(3):
                same_bits(jitted(x), want, f"{scale}")
        count = names(lambda x: scale * (2 * x), x).count("multiply")
    exact = abs(scale) >= 1 and dtype in (np.float32, np.float64)
    assert count == (1 if exact else 2)


@pytest.mark.parametrize(
    ("kept", "scale", "dtype"),
    [("f4", 3e38, "f8"), ("f2", 40000, "f4"), ("i1", 100, "f4"), ("i8", 1 << 62, "f8")],
)
def test_a_number_whose_double_does_not_fit_its_array_is_left(kept, scale, dtype):
    def f(a, x):
        return np.full_like(a, scale) * (2 * x)

    operands = np.ones(3, kept), np.asarray([1.5, -2.5, 0.1], dtype)
    jitted = fg.jit(f)
    for _ in range(3):
        same_bits(jitted(*operands), f(*operands), kept)


def test_doubling_warns_of_overflow_as_before():
    x = np.array([1e308])
    for scale in (3.0, 0.3):
        jitted = fg.jit(lambda x, scale=scale: scale * (2 * x))
        for _ in range(3):
            with pytest.warns(RuntimeWarning, match="overflow"):
                jitted(x)


def test_a_sign_leaves_products_of_products():
    assert "negative" not in names(lambda x: np.cos(x) + -np.sin(x) / np.exp(x) * x, x)


def test_mirrored_sigmoids_share_their_exponential():
    f = lambda x: fg.nn.sigmoid(x) * fg.nn.sigmoid(-x)
    counted = names(f, x)
    assert counted.count("exp") == 1
    assert "negative" not in names(lambda x: -x >= 0, x)
    want = f(ZEROS)
    for _ in range(3):
        same_bits(fg.jit(f)(ZEROS), want, "mirrored")


def test_high_derivatives_of_tanh_stay_small():
    f = np.tanh
    for _ in range(4):
        f = fg.grad(lambda x, f=f: np.sum(f(x)))
    assert len(names(f, x)) < 16


@pytest.mark.parametrize("width", [1, LONG])
def test_scattered_zeros_keep_their_signs(width):
    factors = np.array([[-0.0, 0.0, -0.0], [-0.0, -0.0, 5.0]])[:, :, None] * np.ones(width)
    f = lambda x: np.sum(x[1:4] * factors[0] + x[:3] * factors[1])
    graph, values = graph_of(fg.grad(f), [np.ones((6, width))])
    assert "scatter_sum" in [node.primitive.name for node in simplify(graph).nodes]
    want = interpret(graph, values)
    compiled = build(simplify(graph), (True,) * len(values))
    for _ in range(2):
        same_bits(compiled(*values)[0], want[0], "compiled")
    assert np.signbit(want[0]).any()


@share(2)
@given(
    programs(scalar=True, dtypes=("float64", "float32")),
    st.integers(0, 2**16),
    st.sets(st.sampled_from([*PASSES])),
)
def test_any_choice_of_passes_gives_the_same_bits(program, seed, without):
    x = program.inputs(seed)
    graph, values = graph_of(program, x)
    wrt = tuple(range(len(x)))
    ct = normal_like(np.random.default_rng(seed), program(*x))
    for some, operands in (
        (graph, values),
        (gradient(graph, wrt, True), values),
        (pullback(graph, wrt, (0,)), [*values, ct]),
    ):
        want = plainly(some, operands)
        simple = simplify(some, frozenset(without))
        flags = (True,) * len(operands)
        for way, got in (
            ("as it is", interpret(some, operands)),
            ("interpreted", interpret(simple, operands)),
            ("compiled", build(simple, flags)(*operands)),
        ):
            for a, b in zip(got, want, strict=True):
                same_bits(a, b, f"{way} without {without}")


@share(1)
@given(programs(dtypes=("float64",)), st.integers(0, 2**16), st.sampled_from([*PASSES]))
def test_wild_values_without_a_pass(program, seed, name):
    graph, values = graph_of(program, program.inputs(seed))
    wild = program.wild_inputs(seed)
    values[: len(wild)] = wild
    with np.errstate(all="ignore"):
        want = interpret(graph, values)
        got = interpret(simplify(graph, frozenset([name])), values)
    for a, b in zip(got, want, strict=True):
        same_bits(a, b, f"without {name}")


# --- what is computed at once --------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 10), (40, 3), (3, 40), (5,), (0, 3), (20, 16, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_softmaxes_of_one_operand_are_computed_at_once(shape, dtype):
    def f(x):
        logs, shares, total = fg.nn.log_softmax(x), fg.nn.softmax(x), fg.nn.logsumexp(x, -1)
        return logs, shares, total, fg.nn.softmax(x, 0), fg.nn.softmax(x * 2)

    x = np.random.default_rng(0).normal(size=shape).astype(dtype) * 30
    if x.size > 12:
        x[..., 0].flat[:3] = [np.inf, -np.inf, np.nan]
    graph = simplify(fg.trace(f, x))
    names = [node.primitive.name for node in graph.nodes]
    assert names.count("exponentials") == 1
    assert names.count("softmax") == (len(shape) > 1) + 1
    with np.errstate(invalid="ignore"):
        plain = f(x)
        for got in (interpret(graph, [x]), build(graph, (True,))(x)):
            for a, b in zip(got, plain, strict=True):
                same_bits(a, b, f"{shape}")


def test_the_value_and_gradient_of_cross_entropy_share_exponentials():
    def loss(x, y):
        return np.mean(fg.nn.logsumexp(x, 1) - np.sum(x * y, axis=1))

    text = fg.source(fg.value_and_grad(loss), np.ones((20, 5)), np.ones((20, 5)))
    assert text.count("the primitive exponentials") == 1
    assert "the primitive softmax" not in text
