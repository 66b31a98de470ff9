"""No perturbation is taken for another one, and what does not depend has a zero of its own kind."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg

D = {
    "grad": fg.grad,
    "jvp": lambda f: lambda x: fg.jvp(f, (x,), (1.0,))[1],
    "vjp": lambda f: lambda x: fg.vjp(f, x)[1](1.0)[0],
    "linearize": lambda f: lambda x: fg.linearize(f, x)[1](1.0),
    "derivative": fg.derivative,
    "jacfwd": fg.jacfwd,
    "jacrev": fg.jacrev,
    "hessian of the integral": lambda f: (
        lambda x: (
            # d²/dt² of an antiderivative along t: f itself is differentiated once, inside a loop.
            fg.grad(lambda t: fg.fori_loop(0, 1, lambda i, c: c + f(t), 0.0))(x)
        )
    ),
    "vmapped grad": lambda f: lambda x: fg.vmap(fg.grad(f))(x * np.ones(1))[0],
    "jitted grad": lambda f: fg.jit(fg.grad(f)),
}
NESTS = {
    "x D(x + y)": (lambda d: lambda x: x * d(lambda y: x + y)(1.0), 2.0, 1.0),
    "x D(x y)": (lambda d: lambda x: x * d(lambda y: x * y)(3.0), 4.0, 8.0),
    "D(y (x - y))": (lambda d: lambda x: d(lambda y: y * (x - y))(x), 1.0, -1.0),
    "x D(x³ y)": (lambda d: lambda x: x * d(lambda y: x**3 * y)(5.0), 2.0, 32.0),
    "three": (lambda d: lambda x: x * d(lambda y: y * d(lambda z: x * y * z)(1.0))(2.0), 3.0, 24.0),
    "shadowed": (lambda d: lambda x: d(lambda x: x * d(lambda x: x**2)(x))(x) * x, 3.0, 24.0),
    "outer in inner point": (lambda d: lambda x: d(lambda y: x * y**2)(x * x), 2.0, 24.0),
    "other way round": (
        lambda d: lambda x: d(lambda y: d(lambda z: z * y * x)(y) * x)(x),
        3.0,
        6.0,
    ),
}


@pytest.mark.parametrize(("outer", "inner"), list(product(D, repeat=2)))
def test_perturbations_are_kept_apart(outer, inner):
    for name, (nest, x, expected) in NESTS.items():
        assert_allclose(D[outer](nest(D[inner]))(x), expected, rtol=1e-13, err_msg=name)


@pytest.mark.parametrize("mode", D)
def test_deep_nests(mode):
    """dⁿ/dx₁…dxₙ of a product, each level closing over all outer ones, is 1 at every level."""
    d = D[mode]

    def level(product, left):
        return d(lambda x: level(product * x, left - 1))(2.0) if left else product

    for depth in range(1, 6):
        assert_allclose(level(1.0, depth), 1.0)


def test_closures_over_tracers_of_all_levels():
    def f(x):
        g = lambda y: x * y
        h = lambda z: g(z) * x
        return fg.grad(lambda y: h(y) * fg.grad(g)(y) * y)(x)  # d/dy x³ y² = 2 x³ y at y = x

    assert_allclose(f(1.5), 2 * 1.5**4)
    assert_allclose(fg.grad(f)(1.5), 8 * 1.5**3)
    assert_allclose(fg.jit(fg.grad(fg.jit(f)))(1.5), 8 * 1.5**3)


def test_a_pullback_of_another_function_is_returned_and_differentiated():
    def pull_at(x):
        return fg.vjp(lambda y: x * y**2, 3.0)[1]

    assert fg.jit(pull_at)(2.0)(1.0) == (12.0,)
    assert fg.grad(lambda x: pull_at(x)(x)[0])(2.0) == 24.0  # 6 x²
    gradient, pull = fg.grad(lambda x: (x**2, pull_at(x)), has_aux=True)(2.0)
    assert (gradient, pull(1.0)) == (4.0, (12.0,))
    pulls = fg.vmap(pull_at)(np.arange(3.0))
    assert_array_equal(fg.vmap(lambda p: p(1.0)[0])(pulls), [0.0, 6.0, 12.0])


# --- zeros ---------------------------------------------------------------------------------------


def all_modes(f, *x):
    """The derivative with respect to all arguments, by every transform that gives one."""
    every = tuple(range(len(x)))
    yield fg.grad(f, every)(*x)
    yield fg.jit(fg.grad(f, every))(*x)
    yield fg.jacrev(f, every)(*x)
    yield fg.jacfwd(f, every)(*x)
    yield fg.vjp(f, *x)[1](1.0)


def test_ignored_arguments_have_zeros_of_their_own_kind():
    tree = {"a": np.ones((2, 3), np.float32), "b": [None, (np.float64(1.0),)], "c": np.ones(0)}
    for derivative in all_modes(lambda x, p: x**2, 3.0, tree):
        assert derivative[0] == 6.0
        zeros = derivative[1]
        assert fg.tree.structure(zeros) == fg.tree.structure(tree)
        for zero, leaf in zip(fg.tree.leaves(zeros), fg.tree.leaves(tree), strict=True):
            assert zero.shape == np.shape(leaf)
            assert zero.dtype == leaf.dtype
            assert not np.any(zero)


def test_integer_branches_have_zeros():
    f = lambda x: np.sum((x > 0) * 1.0) + np.argmax(x) + np.floor(x[0]) + np.sum(np.sign(x))
    for derivative in all_modes(f, np.array([0.5, -2.0])):
        assert_array_equal(derivative[0], np.zeros(2))
    mixed = lambda x: np.sum(np.where(x > 0, 1.0, x) * (np.argsort(x) + 1))
    for derivative in all_modes(mixed, np.array([0.5, -2.0])):
        assert_array_equal(derivative[0], [0.0, 1.0])
    assert fg.jvp(lambda x: (x > 0, np.argmax(x)), (np.ones(2),), (np.ones(2),))[1][1] == 0


def test_constants_have_zeros():
    for derivative in all_modes(lambda x: 3.0, np.ones((2, 1), np.float32)):
        assert derivative[0].shape == (2, 1)
        assert derivative[0].dtype == np.float32
    for derivative in all_modes(lambda x: fg.stop_gradient(x) * 2.0, 1.5):
        assert derivative == (0.0,)


def test_zeros_cost_nothing():
    """What only an ignored argument, or no result, needs is not computed."""
    m = np.array([[1.0, 2.0], [3.0, 1.0]])
    costly = lambda x: np.linalg.inv(np.exp(x))
    ignored = lambda x, y: np.sum(x**2) + 0 * np.sum(fg.stop_gradient(costly(y)))
    several = lambda x: {"a": np.sum(x), "b": costly(x)}
    programs = {
        "ignored": fg.trace(fg.grad(ignored, (0, 1)), m, m),
        "another result": fg.trace(lambda x: fg.jvp(several, (x,), (x,))[1]["a"], m),
        "an auxiliary result": fg.trace(
            lambda x: fg.grad(lambda x: (np.sum(x**2), costly(x)), has_aux=True)(x)[0], m
        ),
    }
    for name, graph in programs.items():
        found = {node.primitive.name for node in graph.nodes}
        assert not {"inv", "exp", "matmul"} & found, name
    pull = fg.vjp(several, m)[1]
    assert_array_equal(pull({"a": 1.0, "b": np.zeros((2, 2))})[0], np.ones((2, 2)))
