"""``jacfwd``, ``jacrev``, ``jacobian``, ``hessian``, ``hvp``, ``derivative``."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad.errors import (
    ArgumentError,
    NonDifferentiableInputError,
    OutputTypeError,
    TreeMismatchError,
)


def normal(*shape):
    return np.random.default_rng(sum(shape) + 5).normal(size=shape)


P = {"a": normal(2), "b": np.float64(0.7), "c": (normal(3, 2), None)}
JACOBIANS = {"jacfwd": fg.jacfwd, "jacrev": fg.jacrev, "jacobian": fg.jacobian}


def trees(p, x):
    return {"m": np.outer(p["c"][0] @ p["a"], x), "n": (np.sum(x) * p["b"], np.argmax(x)), "x": x}


def assert_same(got, want, rtol=1e-12):
    assert fg.tree.structure(got) == fg.tree.structure(want)
    for g, w in zip(fg.tree.leaves(got), fg.tree.leaves(want), strict=True):
        assert type(g) is type(w)
        assert np.shape(g) == np.shape(w)
        assert np.asarray(g).dtype == np.asarray(w).dtype
        assert_allclose(g, w, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("argnums", [0, 1, -1, (0, 1), (1,), ()])
def test_forward_and_reverse_mode_agree(argnums):
    x = normal(4)
    rows, columns, either = (jac(trees, argnums)(P, x) for jac in JACOBIANS.values())
    assert_same(rows, columns)
    assert_same(either, columns)
    assert_same(fg.jit(fg.jacfwd(trees, argnums))(P, x), columns)


def test_blocks():
    x = normal(4)
    blocks = fg.jacfwd(trees)(P, x)
    matrix = P["c"][0]
    assert_allclose(blocks["m"]["a"], np.einsum("ik,j->ijk", matrix, x), rtol=1e-14)
    assert_allclose(
        blocks["m"]["c"][0], np.einsum("il,m,j->ijlm", np.eye(3), P["a"], x), rtol=1e-14
    )
    assert blocks["m"]["c"][1] is None
    assert blocks["n"][0]["b"] == np.sum(x)
    assert_array_equal(blocks["n"][1]["a"], np.zeros(2))  # an integer result
    assert_array_equal(blocks["x"]["c"][0], np.zeros((4, 3, 2)))


@pytest.mark.parametrize("name", JACOBIANS)
def test_aux_and_keywords(name):
    f = lambda x, *, scale: (x**2 * scale, {"twice": 2 * x, "text": "aux", "n": 3})
    for transform in (lambda g: g, fg.jit):
        block, aux = transform(JACOBIANS[name](f, has_aux=True))(np.array([1.0, 2.0]), scale=3.0)
        assert_allclose(block, np.diag([6.0, 12.0]))
        assert_array_equal(aux["twice"], [2.0, 4.0])
        assert (aux["text"], aux["n"]) == ("aux", 3)
    second, aux = fg.hessian(lambda x: (np.sum(x**3), x), has_aux=True)(np.array([1.0, 2.0]))
    assert_allclose(second, np.diag([6.0, 12.0]))
    assert_array_equal(aux, [1.0, 2.0])


@pytest.mark.parametrize("name", JACOBIANS)
def test_sizes_of_zero_and_numbers(name):
    jacobian = JACOBIANS[name]
    assert jacobian(lambda x: x)(np.ones((0, 2))).shape == (0, 2, 0, 2)
    assert jacobian(lambda x: x[:0])(np.ones(3)).shape == (0, 3)
    assert jacobian(lambda x: x.sum() + np.ones(3))(np.ones((0, 2))).shape == (3, 0, 2)
    assert jacobian(lambda x: x**2)(3.0) == 6.0
    assert type(jacobian(lambda x: x**2)(3.0)) is float
    assert_array_equal(jacobian(lambda x: np.stack([x, x**2]))(3.0), [1.0, 6.0])
    assert_array_equal(jacobian(lambda x: 2.0)(np.ones(2)), np.zeros(2))
    assert_array_equal(jacobian(lambda x: np.ones(2))(3.0), np.zeros(2))


@pytest.mark.parametrize("name", JACOBIANS)
def test_dtypes_are_the_inputs(name):
    x, y = np.ones(2, np.float32), np.ones(3)
    first, second = JACOBIANS[name](lambda x, y: np.sum(x) * y, (0, 1))(x, y)
    assert (first.dtype, second.dtype) == (np.float32, np.float64)
    assert JACOBIANS[name](lambda x: x * 2.0)(x).dtype == np.float32


@pytest.mark.parametrize("name", JACOBIANS)
def test_jacobians_nest_and_are_mapped(name):
    jacobian, x = JACOBIANS[name], normal(3)
    f = lambda x: np.sin(x) * x[0]
    third = jacobian(jacobian(jacobian(lambda x: np.sum(x**4))))(x)
    expected = np.zeros((3, 3, 3))
    expected[range(3), range(3), range(3)] = 24 * x
    assert_allclose(third, expected, atol=1e-13)
    rows = normal(5, 3)
    assert_allclose(
        fg.vmap(jacobian(f))(rows), np.stack([jacobian(f)(r) for r in rows]), rtol=1e-13
    )
    trace = lambda s: np.trace(jacobian(lambda x: s * f(x))(x))
    assert_allclose(fg.grad(trace)(2.0), np.trace(jacobian(f)(x)), rtol=1e-13)


def operations(f, *args):
    return [node.primitive.name for node in fg.trace(f, *args).nodes]


def test_the_forward_half_is_computed_once():
    """Not once for each leaf of the result."""
    matrix = np.ones((4, 4))
    f = lambda x: {k: k * np.exp(np.sin(x) @ matrix) for k in (1.0, 2.0, 3.0, 4.0)}
    for jacobian in JACOBIANS.values():
        assert operations(jacobian(f), np.ones(4)).count("exp") == 1
        assert operations(jacobian(f), np.ones(4)).count("sin") == 1


N = 4
A, B = normal(N, N), normal(N, N) + 1
DIAGONALS = {  # functions of a vector, and which products of matrices their Jacobians need
    "linear": (lambda x: A @ x, 0),
    "vector first": (lambda x: x @ A, 0),
    "negative": (lambda x: -(A @ x), 0),
    "half": (lambda x: (A @ x) / 2, 0),
    "quotient": (lambda x: (A @ x) / B[0], 0),
    "after": (lambda x: np.tanh(A @ x), 0),
    "before": (lambda x: A @ np.tanh(x), 0),
    "scaled twice": (lambda x: B[0] * np.sin(2.0 * (A @ x)), 0),
    "column": (lambda x: (A @ x[:, None] * B[:, :1])[:, 0], 0),
    "network": (lambda x: B @ np.tanh(A @ x), 1),
    "both sides": (lambda x: np.exp(B @ np.tanh(A @ np.sin(x))), 1),
    "elementwise": (lambda x: np.sin(x) * x, 0),
    "sum": (lambda x: A @ x + B @ x + x, 0),
    "rectangular": (lambda x: A[:2] @ x, 0),
    "product": (lambda x: np.sin(A @ x) * np.exp(A @ x) / (2 + np.cos(A @ x)), 0),
    "by itself": (lambda x: x / (1 + x * x) - np.tanh(x), 0),
    "both axes": (lambda x: B @ (np.sin(x) * np.cos(A[0] * x)) * (A @ x), 0),
    "by number": (lambda x: 3 * (A @ (x / 2) * 0.5) / 7 * 2, 0),
    "matrix": (lambda x: (A * x) @ B, None),
    "one": (lambda x: A[:1, :1] @ np.tanh(x[:1]), None),
}


@pytest.mark.parametrize("name", DIAGONALS)
def test_products_with_the_identity_are_not_computed(name):
    f, products = DIAGONALS[name]
    x = normal(N)
    columns = [fg.jvp(f, (x,), (unit,))[1] for unit in np.eye(N)]
    for jacobian in (fg.jacrev, fg.jacfwd):
        assert_allclose(jacobian(f)(x), np.stack(columns, axis=-1), rtol=1e-12, atol=1e-14)
        graph = fg.trace(jacobian(f), x)
        matrices = [
            node for node in graph.nodes
            if node.primitive.name == "matmul" and min(arg.aval.ndim for arg in node.args) > 1
        ]  # fmt: skip
        assert products is None or len(matrices) <= products + (name == "column")


def test_a_structural_zero_times_infinity_is_nothing():
    matrix = np.array([[1.0, np.inf], [np.nan, -0.0]])
    for jacobian in (fg.jacrev, fg.jacfwd):
        assert_array_equal(jacobian(lambda x: matrix @ x)(np.zeros(2)), matrix)


def test_an_infinite_slope_is_on_the_diagonal_only():
    with np.errstate(divide="ignore"):
        for jacobian in (fg.jacrev, fg.jacfwd):
            found = jacobian(lambda x: 2 * np.sqrt(x))(np.array([0.0, 4.0]))
            assert_array_equal(found, [[np.inf, 0.0], [0.0, 0.5]])
            by_zero = jacobian(lambda x: x / np.zeros(2))(np.ones(2))
            assert_array_equal(by_zero, [[np.inf, 0.0], [0.0, np.inf]])


def large_results(f, *args):
    """How many matrices the compiled program of ``f`` computes, views not counted."""
    lines = fg.source(f, *args).splitlines()
    return sum("float64[6,9]" in line or "float64[6,6]" in line for line in lines if "np." in line)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, a: np.sum(np.log(1 + (a @ x) ** 2)),
        lambda x, a: np.sum(np.tanh(a @ x) * np.exp(-(a @ x))),
        lambda x, a: np.mean(np.logaddexp(0, a @ x)) / 3 + np.sum(np.sin(a @ x)),
    ],
)
def test_a_hessian_scales_one_matrix_once(function):
    """Whatever the number of terms: factors along an axis are put together before."""
    x, a = normal(6), normal(9, 6)
    hessian = fg.hessian(function)
    assert large_results(hessian, x, a) == 2  # scaled rows, and their product
    columns = [fg.hvp(lambda x: function(x, a), (x,), (unit,)) for unit in np.eye(6)]
    assert_allclose(hessian(x, a), np.stack(columns, axis=-1), rtol=1e-12, atol=1e-13)


def test_factors_are_put_together_where_they_broadcast():
    """Scales of rows and of columns at once are not: their product is as large as the matrix."""
    a, rows = normal(4, 3), normal(4)
    f = lambda x: np.sin(a * x) * rows[:, None]  # of an input that is repeated
    x = normal(3)
    columns = [fg.jvp(f, (x,), (unit,))[1] for unit in np.eye(3)]
    for jacobian in (fg.jacrev, fg.jacfwd):
        assert_allclose(jacobian(f)(x), np.stack(columns, axis=-1), rtol=1e-13)
    narrow = fg.jacfwd(lambda x: np.float32(3) * np.tanh(a.astype(np.float32) @ x))
    assert narrow(x.astype(np.float32)).dtype == np.float32


def test_jacobian_takes_the_cheaper_mode():
    """One input and many outputs: the tangent of one number; no rows."""
    tall = operations(fg.jacobian(lambda t: np.sin(t * np.arange(50.0))), 1.0)
    assert tall == operations(fg.jacfwd(lambda t: np.sin(t * np.arange(50.0))), 1.0)
    wide = operations(fg.jacobian(lambda x: np.sum(x) ** 2), np.ones(50))
    assert wide == operations(fg.jacrev(lambda x: np.sum(x) ** 2), np.ones(50))


def test_hessians_of_several_results():
    f = lambda x: {"cube": x**3, "sum": np.sum(x**2)}
    second = fg.hessian(f)(np.array([1.0, 2.0]))
    assert second["cube"].shape == (2, 2, 2)
    assert_allclose([second["cube"][i, i, i] for i in range(2)], [6.0, 12.0])
    assert_allclose(second["sum"], 2 * np.eye(2))


# --- hvp -----------------------------------------------------------------------------------------


def network(p, x):
    return np.mean((np.tanh(x @ p["w"]) @ p["v"]) ** 2)


def test_hvp_is_the_hessian_times_the_vector():
    a, v = normal(4, 4), normal(4) ** 2
    f = lambda x: np.sum(np.tanh(a @ x) ** 2)
    x = normal(4)
    for transform in (lambda g: g, fg.jit):
        product = transform(lambda x, v: fg.hvp(f, (x,), (v,)))(x, v)
        assert_allclose(product, fg.hessian(f)(x) @ v, rtol=1e-11)
    columns = fg.vmap(lambda v: fg.hvp(f, (x,), (v,)), out_axes=-1)(np.eye(4))
    assert_allclose(columns, fg.hessian(f)(x), rtol=1e-11)


def test_hvp_of_trees_and_of_several_arguments():
    p, x = {"w": normal(3, 4), "v": normal(4)}, normal(5, 3)
    v = {"w": normal(3, 4) + 1, "v": normal(4) - 1}
    product, second = fg.hvp(network, (p,) + (x,), (v, 0 * x)), fg.hessian(network)(p, x)
    assert isinstance(product, tuple)
    for name in p:
        expected = sum(
            np.tensordot(second[name][other], v[other], np.ndim(v[other])) for other in p
        )
        assert_allclose(product[0][name], expected, rtol=1e-11)
    alone = fg.hvp(lambda p: network(p, x), (p,), (v,))
    assert_same(alone, product[0], rtol=1e-11)
    assert product[1].shape == x.shape


def test_hvp_costs_no_hessian():
    size = 200_000
    product = fg.hvp(lambda x: np.sum(np.sin(x) * x[::-1]), (np.ones(size),), (np.ones(size),))
    assert_allclose(product, np.full(size, 2 * np.cos(1) - np.sin(1)), rtol=1e-12)


# --- derivative ----------------------------------------------------------------------------------


def test_derivative_of_every_entry():
    x = np.linspace(-2, 2, 12).reshape(3, 4)
    for transform in (lambda g: g, fg.jit):
        assert_allclose(transform(fg.derivative(np.tanh))(x), 1 - np.tanh(x) ** 2, rtol=1e-13)
    assert fg.derivative(lambda x: x**2)(3.0) == 6.0
    assert type(fg.derivative(lambda x: x**2)(3.0)) is float
    assert fg.derivative(np.sin)(np.float32(0.0)).dtype == np.float32
    assert_allclose(fg.derivative(lambda a, x: a * x, argnums=1)(3.0, x), np.full((3, 4), 3.0))
    assert_allclose(fg.derivative(lambda x, k: x**k)(x, k=2), 2 * x)
    assert fg.elementwise_grad is fg.derivative
    assert fg.derivative(lambda x: 1.0 + 0 * x)(np.ones((0, 3))).shape == (0, 3)


def test_high_derivatives():
    f = lambda x: np.exp(np.sin(x))
    x = np.array([-1.3, 0.0, 2.0])
    for order in range(1, 6):
        f = fg.derivative(f)
        exact = lambda t: mpmath.exp(mpmath.sin(t))
        with mpmath.workdps(40):
            expected = [float(mpmath.diff(exact, mpmath.mpf(t), order)) for t in x]
        assert_allclose(f(x), expected, rtol=1e-11)


def test_a_derivative_takes_no_more_than_the_rule_says():
    assert operations(fg.derivative(np.sin), np.ones(3)) in (["cos"], ["full", "cos", "multiply"])
    assert "multiply" not in fg.source(fg.derivative(np.sin), np.ones(3))


# --- mistakes ------------------------------------------------------------------------------------

ONES = np.ones(3)
MISTAKES = {
    "text in the result": (
        lambda: fg.jacobian(lambda x: (x, "text"))(ONES), OutputTypeError, "jacobian.*str.*has_aux",
    ),
    "integers": (lambda: fg.jacfwd(lambda x: x)(np.arange(3)), NonDifferentiableInputError, "jacfwd"),
    "no aux": (lambda: fg.jacrev(lambda x: x, has_aux=True)(ONES), OutputTypeError, "return result"),
    "no tuple": (lambda: fg.hvp(np.sum, ONES, (ONES,)), ArgumentError, r"hvp.*\(primal,\)"),
    "no tuple of tangents": (
        lambda: fg.jvp(np.sum, (ONES,), ONES), ArgumentError, r"jvp.*\(tangent,\)",
    ),
    "an integer": (
        lambda: fg.jvp(lambda x, n: x * n, (ONES, 2), (ONES, 0)),
        NonDifferentiableInputError, r"jvp.*argument 1 is 2 .*lambda x: f\(x, n\)",
    ),
    "an integer of hvp": (
        lambda: fg.hvp(lambda n: n * 2.0, (2,), (1.0,)), NonDifferentiableInputError, "hvp.*lambda x",
    ),
    "an integer of linearize": (
        lambda: fg.linearize(lambda n: n * 2.0, 2), NonDifferentiableInputError, "linearize.*lambda x",
    ),
    "tangents of another tree": (
        lambda: fg.hvp(lambda p: p["a"] ** 2, ({"a": 1.0},), ({"b": 1.0},)),
        TreeMismatchError, "tangents",
    ),
    "number of tangents": (
        lambda: fg.linearize(np.sin, 1.0)[1](1.0, 2.0), TreeMismatchError, "length 1.*length 2",
    ),
    "another shape": (
        lambda: fg.derivative(np.sum)(ONES), OutputTypeError, r"\(3,\).*shape \(\).*fg.grad",
    ),
    "another structure": (
        lambda: fg.derivative(lambda x: (x, x))(ONES), OutputTypeError, r"elementwise.*structure",
    ),
    "a tree": (
        lambda: fg.derivative(lambda p: p["a"])({"a": ONES}), NonDifferentiableInputError, "one array",
    ),
    "integers of derivative": (
        lambda: fg.derivative(lambda x: x)(np.arange(3)), NonDifferentiableInputError, "derivative",
    ),
    "several argnums": (
        lambda: fg.derivative(lambda x: x, argnums=(0,))(ONES), ArgumentError, "derivative.*one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        call()


def test_a_factor_of_one_entry_scales_a_whole_diagonal():
    """It has an axis, and the diagonal is longer."""
    programs = (
        lambda a, b: np.sum(np.tanh(np.tanh(b * a) @ (b * a))),
        lambda a, b: np.tanh(np.sum(b * a)) + np.mean(np.sin(np.tanh(b * a))),
    )
    a, b = np.array([0.7]), np.array([0.3, -1.1])
    for f in programs:
        (aa, ab), (ba, bb) = fg.hessian(f, (0, 1))(a, b)
        slopes = fg.grad(f, (0, 1))
        for column, step in enumerate(1e-5 * np.eye(2)):
            ahead, behind = slopes(a, b + step), slopes(a, b - step)
            assert_allclose(ab[:, column], (ahead[0] - behind[0]) / 2e-5, rtol=1e-8)
            assert_allclose(bb[:, column], (ahead[1] - behind[1]) / 2e-5, rtol=1e-8)
        assert_allclose(ba, ab.T, rtol=1e-14)
        assert_allclose(
            aa, (slopes(a + 1e-5, b)[0] - slopes(a - 1e-5, b)[0])[None] / 2e-5, rtol=1e-8
        )
