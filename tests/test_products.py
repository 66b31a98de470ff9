"""``vjp``, ``jvp`` and ``linearize``: pullbacks and pushforwards as values."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad.errors import CotangentError, TreeMismatchError

X = np.array([0.3, -1.2, 2.0])
A = np.random.default_rng(3).normal(size=(2, 3))
CT = np.array([1.0, -2.0])
f = lambda x: np.sin(A @ x)
JACOBIAN = np.cos(A @ X)[:, None] * A


def test_a_pushforward_is_the_jacobian():
    value, push = fg.linearize(f, X)
    assert_array_equal(value, f(X))
    for t in (X, np.ones(3), X):
        assert_allclose(push(t), JACOBIAN @ t, rtol=1e-13)
        assert_allclose(push(t), fg.jvp(f, (X,), (t,))[1], rtol=1e-15)
    assert_allclose(fg.vmap(push, out_axes=-1)(np.eye(3)), JACOBIAN, rtol=1e-13)
    assert_allclose(fg.jit(push)(X), JACOBIAN @ X, rtol=1e-13)
    assert_allclose(fg.jacobian(push)(X), JACOBIAN, rtol=1e-13)
    assert_allclose(fg.grad(lambda t: CT @ push(t))(X), CT @ JACOBIAN, rtol=1e-13)


def test_a_pushforward_of_trees_and_several_arguments():
    g = lambda p, x: {"y": p["a"] * x, "n": np.argmax(p["a"]), "t": "text", "z": None}
    a, x = np.array([1.0, 3.0]), 2.0
    for has_aux in (False, True):
        h = (lambda p, x: (g(p, x), {"aux": 2 * x, "s": "s"})) if has_aux else g
        value, push, *aux = fg.linearize(h, {"a": a}, x, has_aux=has_aux)
        again, tangent, *other = fg.jvp(
            h, ({"a": a}, x), ({"a": np.ones(2)}, 10.0), has_aux=has_aux
        )
        assert aux == other == ([{"aux": 4.0, "s": "s"}] if has_aux else [])
        for v in (value, again):
            assert_array_equal(v["y"], a * 2)
            assert (v["n"], v["t"], v["z"]) == (1, "text", None)
        for t in (push({"a": np.ones(2)}, 10.0), tangent):
            assert_array_equal(t["y"], [12.0, 32.0])
            assert t["n"] == 0
            assert np.asarray(t["n"]).dtype == np.intp
            assert (t["t"], t["z"]) == (None, None)


def test_cotangents_of_leaves_without_derivatives():
    """They may be left out, or be anything."""
    g = lambda x: ("text", {"n": np.argmax(x), "y": x**2}, x > 0)
    _, pull = fg.vjp(g, X)
    for ct in (
        (None, {"n": None, "y": CT[0] * X}, None), ("any", {"n": 0, "y": CT[0] * X}, X > 0),
    ):  # fmt: skip
        assert_allclose(pull(ct)[0], 2 * X * CT[0] * X)
    with pytest.raises(TreeMismatchError, match="cotangent"):
        pull((None, {"n": None, "y": None}, None))
    with pytest.raises(TreeMismatchError, match="cotangent"):
        pull((None, {"n": 0, "y": X}, None))
    with pytest.raises(CotangentError, match=r"cotangent\[1\]\['y'\].*\(3,\)"):
        pull((None, {"n": None, "y": 1.0}, None))


def test_integers_may_stand_for_floats():
    assert fg.vjp(lambda x: x * 3.0, 2.0)[1](1) == (3.0,)
    assert fg.jvp(lambda x: x * 3.0, (2.0,), (1,)) == (6.0, 3.0)
    assert_array_equal(fg.jvp(lambda x: x * 3.0, (X,), (np.arange(3),))[1], [0.0, 3.0, 6.0])


# --- as values -----------------------------------------------------------------------------------

MAKE = {
    "vjp": lambda g, x: fg.vjp(g, x)[1],
    "linearize": lambda g, x: fg.linearize(g, x)[1],
}
ARGUMENT = {"vjp": CT, "linearize": X}
EXPECTED = {"vjp": CT @ JACOBIAN, "linearize": JACOBIAN @ X}


def applied(linear, name):
    out = linear(ARGUMENT[name])
    return out[0] if name == "vjp" else out


@pytest.mark.parametrize("name", MAKE)
def test_linear_maps_are_returned_from_transformed_functions(name):
    make = MAKE[name]
    for transform in (fg.jit, lambda g: g):
        for _ in range(3):
            linear = transform(lambda x: make(f, x))(X)
            assert_allclose(applied(linear, name), EXPECTED[name], rtol=1e-13)
    gradient, linear = fg.grad(lambda x: (np.sum(x), make(f, x)), has_aux=True)(X)
    assert_array_equal(gradient, np.ones(3))
    assert_allclose(applied(linear, name), EXPECTED[name], rtol=1e-13)
    value, linear = fg.jit(lambda x: (f(x), make(f, x)))(X)
    assert_array_equal(value, f(X))
    assert_allclose(applied(linear, name), EXPECTED[name], rtol=1e-13)


@pytest.mark.parametrize("name", MAKE)
def test_linear_maps_are_arguments_of_transformed_functions(name):
    linear = MAKE[name](f, X)
    call = fg.jit(lambda linear, scale: scale * applied(linear, name))
    traced = []
    twice = fg.jit(lambda linear: traced.append(1) or applied(linear, name) * 2)
    for _ in range(3):
        assert_allclose(call(linear, 3.0), 3 * EXPECTED[name], rtol=1e-13)
        fresh = MAKE[name](f, X + 0)
        assert_allclose(twice(fresh), 2 * EXPECTED[name], rtol=1e-13)
    assert len(traced) == 1  # maps of one program are of one kind
    batch = fg.vmap(lambda x: MAKE[name](f, x))(np.stack([X, 2 * X]))
    each = fg.vmap(lambda linear: applied(linear, name))(batch)
    assert_allclose(each[0], EXPECTED[name], rtol=1e-13)
    assert_allclose(each[1], applied(MAKE[name](f, 2 * X), name), rtol=1e-13)


@pytest.mark.parametrize("name", MAKE)
def test_linear_maps_are_differentiated(name):
    """With respect to the point and to what they are applied to."""
    at = lambda x, v: np.sum(MAKE[name](f, x)(v)[0] if name == "vjp" else MAKE[name](f, x)(v))
    v = ARGUMENT[name]
    curvature = -np.sin(A @ X)
    expected = {
        "vjp": (curvature * CT * A.sum(1)) @ A,
        "linearize": (curvature * (A @ X)) @ A,
    }[name]
    for transform in (lambda g: g, fg.jit):
        assert_allclose(transform(fg.grad(at))(X, v), expected, rtol=1e-12)
        by_v = transform(fg.grad(at, argnums=1))(X, v)
        assert_allclose(by_v, {"vjp": JACOBIAN.sum(1), "linearize": JACOBIAN.sum(0)}[name])
    held = MAKE[name](f, X)
    through = fg.grad(lambda v: np.sum(applied_to(held, v, name)))(v)
    assert_allclose(through, {"vjp": JACOBIAN.sum(1), "linearize": JACOBIAN.sum(0)}[name])


def applied_to(linear, v, name):
    return linear(v)[0] if name == "vjp" else linear(v)


@pytest.mark.parametrize("name", MAKE)
def test_linear_maps_remember_values(name):
    point, matrix = X.copy(), A.copy()
    linear = MAKE[name](lambda x: np.sin(matrix @ x), point)
    point[:] = np.nan
    matrix[:] = np.nan
    for _ in range(3):
        out = applied(linear, name)
        assert_allclose(out, EXPECTED[name], rtol=1e-13)
        out[:] = np.nan  # the caller's own


def test_a_map_of_an_outer_value_is_differentiated():
    def outer(s):
        _, pull = fg.vjp(lambda x: s * x**2, 3.0)
        _, push = fg.linearize(lambda x: s * x**2, 3.0)
        return pull(s)[0] * push(1.0)  # 6 s² · 6 s

    assert outer(2.0) == 36 * 8
    assert fg.grad(outer)(2.0) == 108 * 4
    assert fg.jvp(outer, (2.0,), (1.0,)) == (288.0, 432.0)


def test_linear_maps_print_and_are_trees():
    _, pull = fg.vjp(f, X)
    assert repr(pull).startswith("<Pullback: ")
    doubled = fg.tree.map(lambda r: 2 * r, fg.vjp(lambda x: A[0] @ x * x, X)[1])
    assert_allclose(doubled(X)[0], fg.tree.map(np.asarray, doubled)(X)[0])
