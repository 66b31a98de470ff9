"""The transforms: arguments, structures, compositions and orders, against closed forms."""

import gc
import weakref
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg


def normal(*shape):
    return np.random.default_rng(sum(shape) + 11).normal(size=shape)


def loss(p, x, y):
    return np.mean((np.tanh(x @ p["w"]) @ p["v"] + p["b"] - y) ** 2)


PARAMS = {"w": normal(3, 4), "v": normal(4), "b": np.float64(0.3)}
X, Y = normal(5, 3), normal(5)


def numerical(f, x, step=1e-6):
    """Central differences of a function of one array, entry by entry."""
    slopes = np.zeros(np.shape(x))
    for place in np.ndindex(*np.shape(x)):
        high, low = np.array(x, float), np.array(x, float)
        high[place] += step
        low[place] -= step
        slopes[place] = (f(high) - f(low)) / (2 * step)
    return slopes


# --- grad and value_and_grad ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (0, 12.0), (1, 8.0), (2, 6.0), (-1, 6.0), (-3, 12.0), (np.int64(1), 8.0), ((0,), (12.0,)),
        ((0, 1), (12.0, 8.0)), ([2, 0], (6.0, 12.0)), ((-1, 1), (6.0, 8.0)), ((), ()),
        (range(3), (12.0, 8.0, 6.0)),
    ],
)  # fmt: skip
def test_argnums(argnums, expected):
    f = lambda x, y, z: x * y * z
    result = fg.grad(f, argnums)(2.0, 3.0, 4.0)
    assert type(result) is (tuple if isinstance(expected, tuple) else float)
    assert result == expected
    assert fg.value_and_grad(f, argnums=argnums)(2.0, 3.0, 4.0) == (24.0, expected)
    jacobian = fg.jacobian(f, argnums)(2.0, 3.0, 4.0)
    assert jacobian == expected


def test_gradients_have_the_structure_of_the_argument():
    value, grads = fg.value_and_grad(loss)(PARAMS, X, Y)
    assert_allclose(value, loss(PARAMS, X, Y), rtol=1e-15)
    assert fg.tree.structure(grads) == fg.tree.structure(PARAMS)
    for name in PARAMS:
        numeric = numerical(lambda a, name=name: loss(PARAMS | {name: a}, X, Y), PARAMS[name])
        assert np.shape(grads[name]) == np.shape(PARAMS[name])
        assert_allclose(grads[name], numeric, rtol=1e-6, atol=1e-9)
    both = fg.grad(loss, (0, 1))(PARAMS, X, Y)
    assert_array_equal(both[0]["w"], grads["w"])
    assert_allclose(both[1], numerical(lambda x: loss(PARAMS, x, Y), X), rtol=1e-6, atol=1e-9)


def test_gradients_have_the_dtype_of_the_argument():
    for dtype in (np.float16, np.float32, np.float64):
        x = np.ones(3, dtype)
        value, gradient = fg.value_and_grad(lambda x: np.sum(np.sin(x) * 2.0))(x)
        assert value.dtype == gradient.dtype == dtype
        mixed = fg.grad(lambda x: np.sum(x * np.ones(3)))(x)
        assert mixed.dtype == dtype


def test_has_aux_passes_any_tree():
    marker = object()

    def f(x):
        aux = {"x": x, "twice": (x * 2, "text", None), "n": 3, "object": marker, "flag": True}
        return np.sum(x**2), aux

    x = np.ones(2)
    for transform in (lambda g: g, fg.jit):
        gradient, aux = transform(fg.grad(f, has_aux=True))(x)
        assert gradient.tolist() == [2.0, 2.0]
        (value, same), again = transform(fg.value_and_grad(f, has_aux=True))(x)
        assert value == 2.0
        assert again.tolist() == [2.0, 2.0]
        for result in (aux, same):
            assert result["object"] is marker
            assert result["twice"][1:] == ("text", None)
            assert result["twice"][0].tolist() == [2.0, 2.0]
            assert result["x"].tolist() == [1.0, 1.0]
            assert (result["n"], result["flag"]) == (3, True)
    _, pull, aux = fg.vjp(f, x, has_aux=True)
    assert aux["twice"][0].tolist() == [2.0, 2.0]
    assert pull(1.0)[0].tolist() == [2.0, 2.0]


def test_aux_of_nested_gradients_is_differentiated():
    def inner(x):
        gradient, aux = fg.grad(lambda y: (y**2 * x, y * x), has_aux=True)(x)
        return gradient + aux  # 2x² + x²

    assert inner(3.0) == 27.0
    assert fg.grad(inner)(3.0) == 18.0


def test_keywords_are_passed_on():
    f = lambda x, y=1.0, *, scale=1.0, name="a": x * y * scale * len(name)
    assert fg.grad(f)(2.0, scale=3.0) == 3.0
    assert fg.grad(f)(2.0, y=5.0, name="ab") == 10.0
    assert fg.value_and_grad(f)(2.0, scale=np.float64(3.0)) == (6.0, 3.0)
    assert fg.jacobian(f)(2.0, scale=3.0) == 3.0
    assert fg.vmap(f)(np.ones(2), scale=3.0).tolist() == [3.0, 3.0]
    outer = lambda s: fg.grad(f)(2.0, scale=s) * s
    assert fg.grad(outer)(3.0) == 6.0


def test_names_are_kept():
    def energy(x):
        """Say what."""
        return x

    for transform in (fg.grad, fg.value_and_grad, fg.jacobian, fg.hessian, fg.vmap):
        assert (transform(energy).__name__, transform(energy).__doc__) == ("energy", "Say what.")


# --- vjp and jvp ---------------------------------------------------------------------------------


def test_a_pullback_is_linear_and_can_be_called_again():
    x, y = normal(3, 4), normal(4, 2)
    value, pull = fg.vjp(lambda x, y: np.sin(x @ y), x, y)
    assert_array_equal(value, np.sin(x @ y))
    first, second = normal(3, 2), normal(3, 2) ** 2
    parts = [pull(ct) for ct in (first, second, first + 2 * second, first)]
    for a, b, both, again in zip(*parts, strict=True):
        assert_allclose(a + 2 * b, both, rtol=1e-12)
        assert_array_equal(a, again)
    inner = first * np.cos(x @ y)
    assert_allclose(parts[0][0], inner @ y.T, rtol=1e-13)
    assert_allclose(parts[0][1], x.T @ inner, rtol=1e-13)


def test_a_pullback_remembers_values():
    for f, slope in ((lambda x: x * x, lambda x: 2 * x), (np.sin, np.cos), (np.exp, np.exp),
                     (lambda x: x * WEIGHTS, lambda x: WEIGHTS.copy())):  # fmt: skip
        x, before = np.array([1.0, 2.0]), WEIGHTS.copy()
        expected = slope(x)
        _, pull = fg.vjp(f, x)
        x[:] = 100.0
        WEIGHTS[:] = 100.0
        assert_allclose(pull(np.ones(2))[0], expected)
        WEIGHTS[:] = before
        assert_allclose(pull(np.ones(2))[0], expected)


WEIGHTS = np.array([3.0, 5.0])


def test_cotangents_of_trees_and_of_other_dtypes():
    f = lambda p: {"s": p["a"] * 2, "t": (p["b"].sum(), np.argmax(p["b"]))}
    value, pull = fg.vjp(f, {"a": np.float32(1.0), "b": normal(3)})
    (cts,) = pull({"s": 3.0, "t": (np.float32(4.0), 0)})
    assert (cts["a"], cts["a"].dtype, cts["b"].tolist()) == (6.0, np.float32, [4.0] * 3)
    assert value["t"][1].dtype == np.intp


def test_vjp_without_primals_that_matter():
    value, pull = fg.vjp(lambda x: 3.0, np.ones(2))
    assert value == 3.0
    assert pull(1.0)[0].tolist() == [0.0, 0.0]
    value, tangent = fg.jvp(lambda x: (3.0, x > 0), (1.0,), (1.0,))
    assert (value, tangent[0], bool(tangent[1])) == ((3.0, True), 0.0, False)


def test_jvp_is_the_adjoint_of_vjp():
    functions = [
        lambda x: np.sin(x) * x.sum(), lambda x: x @ x.T, lambda x: np.tanh(x)[::-1, None] ** 2,
        lambda x: np.max(x, axis=0) * np.mean(x), lambda x: np.where(x > 0, x**3, np.exp(x)),
        lambda x: np.stack([x, x.T]) / (2 + x), lambda x: x[[0, 0, 2]] * np.cumsum(np.ones(3)),
    ]  # fmt: skip
    x, v = normal(3, 3), normal(3, 3) ** 2 - 0.5
    for f in functions:
        value, tangent = fg.jvp(f, (x,), (v,))
        back_value, pull = fg.vjp(f, x)
        assert_array_equal(value, back_value)
        ct = np.random.default_rng(5).normal(size=value.shape)
        assert_allclose(np.vdot(ct, tangent), np.vdot(pull(ct)[0], v), rtol=1e-12)
        slope = numerical(lambda t, f=f, ct=ct: np.vdot(ct, f(x + t * v)), 0.0)
        assert_allclose(np.vdot(ct, tangent), slope, rtol=1e-6)


def test_jvp_of_trees_and_several_arguments():
    f = lambda p, x: {"y": p["a"] * x, "z": p["b"]}
    value, tangent = fg.jvp(f, ({"a": 2.0, "b": 1.0}, 3.0), ({"a": 10.0, "b": 5.0}, 100.0))
    assert value == {"y": 6.0, "z": 1.0}
    assert tangent == {"y": 230.0, "z": 5.0}


# --- jacobian and hessian ------------------------------------------------------------------------


def test_jacobian_shapes():
    f = lambda p: {"m": np.outer(p["a"], p["b"]), "s": p["a"].sum(), "same": p["b"]}
    jacobian = fg.jacobian(f)({"a": normal(2), "b": normal(3)})
    assert {k: {n: v.shape for n, v in row.items()} for k, row in jacobian.items()} == {
        "m": {"a": (2, 3, 2), "b": (2, 3, 3)}, "s": {"a": (2,), "b": (3,)},
        "same": {"a": (3, 2), "b": (3, 3)},
    }  # fmt: skip
    a, b = normal(2), normal(3)
    assert_allclose(jacobian["m"]["a"], np.einsum("j,ik->ijk", b, np.eye(2)))
    assert_allclose(jacobian["m"]["b"], np.einsum("i,jk->ijk", a, np.eye(3)))
    assert_array_equal(jacobian["same"]["b"], np.eye(3))
    assert not jacobian["same"]["a"].any()


def test_jacobian_of_a_linear_map_is_its_matrix():
    a = normal(4, 3)
    assert_allclose(fg.jacobian(lambda x: a @ x)(normal(3)), a, rtol=1e-15)
    assert fg.jacobian(lambda x: x * 2.0)(3.0) == 2.0
    assert fg.jacobian(lambda x: x)(np.ones((0,))).shape == (0, 0)
    first, second = fg.jacobian(lambda x, y: x * y, (0, 1))(normal(3), 2.0)
    assert_allclose(first, 2 * np.eye(3))
    assert_allclose(second, normal(3))
    complete = fg.jacobian(lambda x: x[:, None] * x)(normal(3))
    x = normal(3)
    expected = np.einsum("ik,j->ijk", np.eye(3), x) + np.einsum("jk,i->ijk", np.eye(3), x)
    assert_allclose(complete, expected)


def test_derivatives_of_numbers_are_numbers():
    """Python numbers, so that they promote no more than their primals."""
    f = lambda x: x * 2.0
    derivatives = [
        fg.grad(f)(1.0), fg.jvp(f, (1.0,), (1.0,))[1], fg.vjp(f, 1.0)[1](1.0)[0],
        fg.jacobian(f)(1.0), fg.hessian(lambda x: x**2)(1.0), fg.jit(fg.jacobian(f))(1.0),
    ]  # fmt: skip
    assert {type(derivative) for derivative in derivatives} == {float}


def test_jacobian_of_complex_results_drops_nothing():
    """Refused, or complex as the forward derivative is; the imaginary part must not get lost."""
    f = lambda x: x * (1 + 2j)
    assert fg.jvp(f, (1.0,), (1.0,)) == (1 + 2j, 1 + 2j)
    try:
        jacobian = fg.jacobian(f)(1.0)
    except fg.errors.ComplexOutputError:
        return
    assert jacobian == 1 + 2j


def test_hessian_of_a_quadratic_form():
    a = normal(4, 4)
    hessian = fg.hessian(lambda x: x @ a @ x)(normal(4))
    assert_allclose(hessian, a + a.T, rtol=1e-13, atol=1e-14)
    assert fg.hessian(lambda x: x**3)(2.0) == 12.0


def test_hessian_of_trees():
    f = lambda p: p["a"] ** 2 * np.sum(p["b"] ** 3)
    hessian = fg.hessian(f)({"a": 2.0, "b": np.array([1.0, 3.0])})
    assert hessian["a"]["a"] == 56.0
    assert_allclose(hessian["a"]["b"], [12.0, 108.0])
    assert_allclose(hessian["b"]["a"], [12.0, 108.0])
    assert_allclose(hessian["b"]["b"], np.diag([24.0, 72.0]))
    (xx, xy), (yx, yy) = fg.hessian(lambda x, y: x**2 * y, argnums=(0, 1))(3.0, 5.0)
    assert (xx, xy, yx, yy) == (10.0, 6.0, 6.0, 0.0)


def test_hessian_of_a_network_is_symmetric_and_right():
    p, rest = PARAMS["w"], PARAMS

    def f(flat):
        return loss(rest | {"w": flat.reshape(3, 4)}, X, Y)

    hessian = fg.hessian(f)(p.ravel())
    assert_allclose(hessian, hessian.T, rtol=1e-11, atol=1e-13)
    for i in (0, 5, 11):
        row = numerical(lambda x, i=i: fg.grad(f)(x)[i], p.ravel())
        assert_allclose(hessian[i], row, rtol=1e-5, atol=1e-8)


# --- vmap ----------------------------------------------------------------------------------------


def stacked(f, *columns):
    """What vmap must give: the results for each example, stacked leaf by leaf."""
    results = [f(*example) for example in zip(*columns, strict=True)]
    return fg.tree.map(lambda *leaves: np.stack(leaves), *results)


BATCHED = [
        lambda x, y: x * y, lambda x, y: x @ y, lambda x, y: np.outer(x, y), lambda x, y: x[0],
        lambda x, y: np.where(x > y, x, 2.0), lambda x, y: np.max(x) * y, lambda x, y: x.sum() + 1,
        lambda x, y: np.concatenate([x, y, y])[::-2], lambda x, y: np.stack([x, y], axis=1),
        lambda x, y: np.zeros_like(x), lambda x, y: y[[2, 0]],
        lambda x, y: x.astype(np.float32) * 2, lambda x, y: np.broadcast_to(x, (2, 3)) * y,
        lambda x, y: np.ones((2, 3)) @ x + y[:2], lambda x, y: x[:, None] * y @ np.ones((3, 2)),
        lambda x, y: np.var(x) + np.std(y), lambda x, y: 3.0 + 0 * x[0], lambda x, y: np.eye(3) @ x,
        lambda x, y: x.reshape(3, 1).T, lambda x, y: np.argmax(x), lambda x, y: np.tensordot(x, y, 0),
]  # fmt: skip


@pytest.mark.parametrize("f", BATCHED)
def test_vmap_is_stacking(f):
    x, y = normal(4, 3), normal(4, 3) ** 2 - 1
    for args in ((x, y), (x[:1], y[:1])):
        value, expected = fg.vmap(f)(*args), stacked(f, *args)
        assert value.dtype == expected.dtype
        assert_allclose(value, expected, rtol=1e-14, atol=1e-15)
    half = fg.vmap(f, in_axes=(0, None))(x, y[0])
    assert_allclose(half, stacked(lambda x: f(x, y[0]), x), rtol=1e-14, atol=1e-15)
    other = fg.vmap(f, (None, 0))(x[0], y)
    assert_allclose(other, stacked(lambda y: f(x[0], y), y), rtol=1e-14, atol=1e-15)
    assert fg.vmap(f)(x[:0], y[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_in_axes_and_out_axes(axis):
    x = normal(2, 3, 4)
    moved = np.moveaxis(x, axis, 0)
    f = lambda x: x * x.sum()
    expected = np.stack([f(part) for part in moved])
    assert_allclose(fg.vmap(f, in_axes=axis)(x), expected)
    assert_allclose(fg.vmap(f, in_axes=axis, out_axes=axis)(x), np.moveaxis(expected, 0, axis))
    assert_allclose(fg.vmap(f, in_axes=(axis,), out_axes=-1)(x), np.moveaxis(expected, 0, -1))


def test_in_axes_of_trees():
    f = lambda p, x: p["w"] @ x + p["b"]
    w, b, x = normal(5, 2, 3), normal(2), normal(3, 5)
    result = fg.vmap(f, in_axes=({"w": 0, "b": None}, 1))({"w": w, "b": b}, x)
    assert_allclose(result, np.stack([w[i] @ x[:, i] + b for i in range(5)]))
    result = fg.vmap(f, in_axes=(None, 1))({"w": w[0], "b": b}, x)
    assert_allclose(result, np.stack([w[0] @ x[:, i] + b for i in range(5)]))
    result = fg.vmap(f, in_axes=[{"w": 0, "b": None}, None])({"w": w, "b": b}, x[:, 0])
    assert_allclose(result, np.stack([w[i] @ x[:, 0] + b for i in range(5)]))
    pairs = fg.vmap(lambda t: t[0] * t[1][0], in_axes=((0, [1]),))((x[0], [x]))
    assert_allclose(pairs, x[0][:, None] * x.T)


def test_vmap_of_trees_and_constants():
    f = lambda p: {"a": (p["x"] * 2, 3.0), "b": None, "c": np.ones(2), "d": "text"}
    result = fg.vmap(f)({"x": np.arange(3.0), "unused": np.ones((3, 7))})
    assert result["a"][0].tolist() == [0.0, 2.0, 4.0]
    assert result["a"][1].tolist() == [3.0] * 3
    assert result["c"].tolist() == [[1.0, 1.0]] * 3
    assert (result["b"], result["d"]) == (None, "text")


def test_nested_vmap():
    x, y = normal(2), normal(3)
    table = fg.vmap(lambda a: fg.vmap(lambda b: np.sin(a) * b)(y))(x)
    assert_allclose(table, np.sin(x)[:, None] * y)
    table = fg.vmap(fg.vmap(lambda a, b: a - b, in_axes=(None, 0)), in_axes=(0, None))(x, y)
    assert_allclose(table, x[:, None] - y)
    cube = normal(2, 3, 4)
    assert_allclose(fg.vmap(fg.vmap(np.sum))(cube), cube.sum(-1))
    assert_allclose(fg.vmap(fg.vmap(np.sum, in_axes=1), in_axes=2)(cube), cube.sum(0).T)


def test_per_example_gradients():
    grads = fg.vmap(fg.grad(loss), in_axes=(None, 0, 0))(PARAMS, X[:, None], Y[:, None])
    for i in range(5):
        one = fg.grad(loss)(PARAMS, X[i : i + 1], Y[i : i + 1])
        for name in PARAMS:
            assert_allclose(grads[name][i], one[name], rtol=1e-12, atol=1e-15)
    mean = fg.tree.map(lambda g: g.mean(0), grads)
    assert_allclose(mean["w"], fg.grad(loss)(PARAMS, X, Y)["w"], rtol=1e-12)


def test_batched_indices():
    table, rows, columns = normal(5, 4), np.array([3, 0, 3]), np.array([1, 1, 2])
    cases = [
        (lambda t, i, j: t[i, j], (None, 0, 0), (table, rows, columns)),
        (lambda t, i, j: t[i], (None, 0, None), (table, rows, columns)),
        (lambda t, i, j: t[:, j], (None, None, 0), (table, rows, columns)),
        (lambda t, i, j: t[i][j], (0, 0, 0), (normal(3, 5, 4), rows, columns)),
        (lambda t, i, j: t[:, j], (0, 0, 0), (normal(3, 5, 4), rows, columns)),
        (lambda t, i, j: t[[0, 1], j], (0, 0, 0), (normal(3, 5, 4), rows, columns)),
        (lambda t, i, j: t[i, :, j], (0, 0, 0), (normal(3, 5, 2, 4), rows, columns)),
        (lambda t, i, j: t[:, i, None, j], (0, None, 0), (normal(3, 2, 5, 4), rows, columns)),
        (lambda t, i, j: t[np.stack([i, j])], (None, 0, 0), (table, rows, columns)),
        (
            lambda t, i, j: t[np.stack([i, j]), :2][:, ::-1],
            (0, 0, 0),
            (normal(3, 5, 4), rows, columns),
        ),
    ]
    for f, axes, args in cases:
        picked = [
            [a if axis is None else a[k] for a, axis in zip(args, axes, strict=True)]
            for k in range(3)
        ]
        assert_array_equal(fg.vmap(f, axes)(*args), np.stack([f(*one) for one in picked]))
        slope = fg.grad(lambda t, i, j, f=f: np.sum(np.sin(f(t, i, j))))
        for batched, one in zip(fg.vmap(slope, axes)(*args), picked, strict=True):
            assert_allclose(batched, slope(*one), rtol=1e-13)


# --- compositions --------------------------------------------------------------------------------

SHAPE = (2, 2, 3)


def slope_by_grad(f):
    return fg.grad(lambda x: np.sum(f(x)))


def slope_by_jvp(f):
    return lambda x: fg.jvp(f, (x,), (np.ones_like(x),))[1]


def slope_by_vjp(f):
    def slope(x):
        value, pull = fg.vjp(f, x)
        return pull(np.ones_like(value))[0]

    return slope


STEPS = {
    "jit": (fg.jit, 0), "vmap": (fg.vmap, 0), "grad": (slope_by_grad, 1),
    "jvp": (slope_by_jvp, 1), "vjp": (slope_by_vjp, 1),
}  # fmt: skip


@pytest.mark.parametrize("steps", list(product(STEPS, repeat=3)), ids="-".join)
def test_all_compositions_of_three(steps):
    """exp(x)·sin(x) entry by entry; its n-th derivative is √2ⁿ exp(x) sin(x + nπ/4)."""
    f, order = lambda x: np.exp(x) * np.sin(x), 0
    for step in steps:
        transform, derivatives = STEPS[step]
        f, order = transform(f), order + derivatives
    x = normal(*SHAPE)
    expected = 2 ** (order / 2) * np.exp(x) * np.sin(x + order * np.pi / 4)
    for _ in range(2):
        assert_allclose(f(x), expected, rtol=1e-12, atol=1e-13)


MATRICES = ["jit", "vmap", "hessian", "jacobian"]


@pytest.mark.parametrize("steps", list(product(MATRICES, repeat=2)), ids="-".join)
def test_compositions_with_matrices_of_derivatives(steps):
    def apply(step, f):
        if step == "jacobian":
            return lambda x: np.sum(fg.jacobian(f)(x))  # Σᵢⱼ ∂fᵢ/∂xⱼ
        if step == "hessian":
            return lambda x: np.sum(fg.hessian(lambda x: np.sum(f(x)))(x))
        if step == "vmap":
            return lambda x: fg.vmap(f)(x)
        return fg.jit(f)

    f, order = np.sin, 0
    for step in steps:
        f = apply(step, f)
        order += {"jacobian": 1, "hessian": 2}.get(step, 0)
    x = normal(3, 2)
    value = np.sum(f(x))
    assert_allclose(value, np.sum(np.sin(x + order * np.pi / 2)), rtol=1e-12)


@pytest.mark.parametrize(
    "use",
    [
        lambda f, x: fg.grad(f)(x),
        lambda f, x: fg.jit(fg.value_and_grad(f))(x),
        lambda f, x: fg.vmap(np.sin)(x),
        lambda f, x: fg.jvp(f, (x,), (np.ones(3),)),
        lambda f, x: fg.vjp(f, x)[1](1.0),
        lambda f, x: fg.hessian(f)(x),
        lambda f, x: fg.grad(lambda w: f(w * x))(np.ones(3)),
    ],
)
def test_arguments_do_not_wait_for_the_garbage_collector(use):
    # Arrays are large, and a loop makes many of them before Python looks for cycles.
    f = lambda x: np.sum(np.tanh(x) ** 2)
    gc.disable()
    try:
        for _ in range(3):
            x = np.ones(3)
            watch = weakref.ref(x)
            use(f, x)
            del x
            assert watch() is None
    finally:
        gc.enable()
