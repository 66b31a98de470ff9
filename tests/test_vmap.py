"""``vmap``: axes of inputs and results, keywords, sizes, and what can go wrong."""

import attrs
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyrsistent import pmap

import fungrad as fg
from fungrad.errors import (
    ArgumentError,
    ConcretizationError,
    ShapeMismatchError,
    TreeMismatchError,
)


def normal(*shape):
    return np.random.default_rng(sum(shape) + 3).normal(size=shape)


X, Y = normal(4, 3), normal(4, 3) ** 2


@attrs.frozen
class Layer:
    w: object
    b: object


# --- where the examples' axis comes from and goes to ---------------------------------------------


def test_out_axes_are_trees():
    f = lambda x: {"m": np.outer(x, x), "s": (x.sum(), x, 7.0), "t": "text"}
    out = fg.vmap(f, out_axes={"m": 1, "s": (0, -1, None), "t": 0})(X)
    assert_allclose(out["m"], np.einsum("bi,bj->ibj", X, X))
    assert_allclose(out["s"][0], X.sum(1))
    assert_array_equal(out["s"][1], X.T)
    assert (out["s"][2], out["t"]) == (7.0, "text")
    out = fg.vmap(f, out_axes={"m": 2, "s": 0, "t": None})(X)  # 0 for all below s
    assert_allclose(out["m"], np.einsum("bi,bj->ijb", X, X))
    assert_array_equal(out["s"][1], X)
    assert_array_equal(out["s"][2], [7.0] * 4)
    assert_allclose(fg.jit(fg.vmap(np.sin, out_axes=-1))(X), np.sin(X).T)


def test_what_is_the_same_for_all_examples_comes_once():
    w = normal(3)
    both = fg.vmap(lambda x, w: (x @ w, np.sum(w**2)), (0, None), (0, None))
    rows, same = both(X, w)
    assert_allclose(rows, X @ w)
    assert same.shape == ()
    assert_allclose(same, np.sum(w**2))
    # Also where it is used inside and differentiated outside.
    total = lambda w: np.sum(both(X, w)[0]) + both(X, w)[1]
    assert_allclose(fg.grad(total)(w), X.sum(0) + 2 * w)
    outer = fg.vmap(lambda w: both(X, w), out_axes=(1, 0))(np.stack([w, 2 * w]))
    assert outer[0].shape == (4, 2)
    assert outer[1].shape == (2,)
    assert_array_equal(fg.vmap(lambda x: x * 0 + np.ones(2).sum(), out_axes=0)(X[:, 0]), [2.0] * 4)


def test_axes_of_containers_of_all_kinds():
    f = lambda layer, x: layer.w @ x + layer.b
    w, b = normal(2, 3, 4), normal(2)
    out = fg.vmap(f, in_axes=(Layer(2, None), 0))(Layer(w, b), X)
    assert_allclose(out, np.stack([w[:, :, i] @ X[i] + b for i in range(4)]))
    out = fg.vmap(lambda p: p["x"] * p["y"], in_axes=(pmap({"x": 0, "y": -1}),))(
        pmap({"x": X[:, 0], "y": X.T})
    )
    assert_allclose(out, X[:, :1] * X)
    layers = fg.vmap(lambda x: Layer(x, x.sum()), out_axes=Layer(1, 0))(X)
    assert_array_equal(layers.w, X.T)
    assert_allclose(layers.b, X.sum(1))
    nothing = fg.vmap(lambda x, n: x, in_axes=(0, None))(X, None)
    assert_array_equal(nothing, X)
    assert_array_equal(fg.vmap(lambda p: p[1], in_axes=((None, np.int64(1)),))((None, X.T)), X)


def test_arrays_by_keyword_are_mapped_over_axis_0():
    f = lambda x, *, y, scale=1.0, mode="sum": getattr(np, mode)(x * y) * scale
    out = fg.vmap(f)(X, y=Y)
    assert_allclose(out, (X * Y).sum(1))
    out = fg.vmap(f, in_axes=1)(X.T, y=Y, scale=2.0, mode="prod")
    assert_allclose(out, 2 * (X * Y).prod(1))
    out = fg.jit(fg.vmap(f))(X, y=Y, scale=np.float64(2.0))
    assert_allclose(out, 2 * (X * Y).sum(1))
    assert_allclose(fg.vmap(lambda *, p: p["a"].sum())(p={"a": X, "n": 3}), X.sum(1))
    nested = fg.vmap(lambda x: fg.vmap(lambda a, *, b: a * b)(x, b=x))(X)
    assert_allclose(nested, X * X)


def test_axis_size_is_needed_where_nothing_is_mapped():
    assert_array_equal(fg.vmap(lambda: 3.0, axis_size=2)(), [3.0, 3.0])
    assert fg.vmap(lambda x: x, in_axes=None, axis_size=0)(np.ones(3)).shape == (0, 3)
    assert fg.vmap(lambda x: x, in_axes=None, out_axes=None, axis_size=5)(2.0) == 2.0
    assert_array_equal(fg.vmap(lambda x: x, axis_size=4)(X), X)


def test_batches_of_size_zero():
    empty = X[:0]
    loss = lambda w, x: np.sum(np.tanh(x @ w)) ** 2
    assert fg.vmap(fg.grad(loss), (None, 0))(normal(3, 2), empty).shape == (0, 3, 2)
    assert fg.vmap(np.max)(empty).shape == (0,)
    assert fg.vmap(np.linalg.inv)(np.ones((0, 2, 2))).shape == (0, 2, 2)
    assert fg.vmap(lambda x, i: x[i], (None, 0))(X, np.ones(0, int)).shape == (0, 3)
    assert_array_equal(
        fg.grad(lambda w: np.sum(fg.vmap(loss, (None, 0))(w, empty)))(np.ones((3, 2))),
        np.zeros((3, 2)),
    )


def test_mapped_twice_over_axes_of_all_kinds():
    cube = normal(2, 3, 4)
    for first in range(-3, 3):
        for second in range(-2, 2):
            got = fg.vmap(fg.vmap(lambda x: x**2, second, -1), first, -1)(cube)
            rows = np.moveaxis(np.moveaxis(cube, first, 0), second % 2 + 1, -1)
            assert_array_equal(got, np.moveaxis(rows, 0, -1) ** 2)


# --- mistakes ------------------------------------------------------------------------------------

ONES = np.ones(3)
MISTAKES = {
    "sizes": (
        lambda: fg.vmap(lambda p, x: x)({"a": ONES, "b": np.ones((4, 2))}, x=ONES),
        ShapeMismatchError,
        r"argument 0\['a'\]: 3, argument 0\['b'\]: 4, keyword argument \['x'\]: 3.*in_axes=None",
    ),
    "size of the keyword": (
        lambda: fg.vmap(lambda x, y: x)(ONES, y=np.ones(4)), ShapeMismatchError, r"\['y'\]: 4",
    ),
    "axis_size": (
        lambda: fg.vmap(lambda x: x, axis_size=2)(ONES), ShapeMismatchError,
        "argument 0: 3, axis_size: 2",
    ),
    "negative axis_size": (
        lambda: fg.vmap(lambda: 1.0, axis_size=-1)(), ArgumentError, "axis_size=-1.*number",
    ),
    "axis_size that is no integer": (
        lambda: fg.vmap(lambda: 1.0, axis_size=2.5)(), ArgumentError, "axis_size=2.5.*number",
    ),
    "nothing": (lambda: fg.vmap(lambda: 1.0)(), ShapeMismatchError, "none.*axis_size"),
    "axis out of range": (
        lambda: fg.vmap(lambda p: p, in_axes=({"a": 2},))({"a": np.ones((2, 3))}),
        ShapeMismatchError, r"argument 0\['a'\] over axis 2, but it has 2 axes",
    ),
    "structure of in_axes": (
        lambda: fg.vmap(lambda p: p["a"], in_axes=({"a": (0, 1)},))({"a": ONES}),
        TreeMismatchError, r"in_axes\[0\]\['a'\] is \(0, 1\).*argument 0.*a leaf",
    ),
    "keys of in_axes": (
        lambda: fg.vmap(lambda p: p["a"], in_axes=({"b": 0},))({"a": ONES}),
        TreeMismatchError, r"in_axes\[0\].*argument 0.*'a'",
    ),
    "no axis at all": (
        lambda: fg.vmap(lambda x: x, in_axes=("0",))(ONES), TreeMismatchError, r"in_axes\[0\] is '0'",
    ),
    "structure of out_axes": (
        lambda: fg.vmap(lambda x: (x, x), out_axes=(0, 0, 0))(ONES),
        TreeMismatchError, r"out_axes is \(0, 0, 0\).*the result.*the tuple",
    ),
    "out axis out of range": (
        lambda: fg.vmap(lambda x: {"y": x}, out_axes=1)(ONES),
        ShapeMismatchError, r"axis 1 of result\['y'\].*1 axes.*-1 to 0",
    ),
    "None for what differs": (
        lambda: fg.vmap(lambda x: {"y": x, "z": 1.0}, out_axes=None)(ONES),
        ShapeMismatchError, r"result\['y'\].*depends.*out_axes=0",
    ),
    "number of in_axes": (
        lambda: fg.vmap(lambda x, y: x, in_axes=(0,))(ONES, ONES), ArgumentError, "in_axes for 1.*2",
    ),
    "a branch": (
        lambda: fg.vmap(lambda x: x if x > 0 else -x)(ONES),
        ConcretizationError, r"vmap.*np.where.*fg.cond",
    ),
    "a loop": (
        lambda: fg.vmap(lambda x: [x for _ in range(int(x))][0])(ONES), ConcretizationError, "vmap",
    ),
    "a branch of the gradient": (
        lambda: fg.vmap(fg.grad(lambda x: x if x > 0 else -x))(ONES),
        ConcretizationError, r"vmap.*np.where.*fg.cond",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):
        fg.jit(call)()


def test_a_branch_on_what_is_the_same_for_all_is_fine():
    f = lambda x, flip: -x if flip > 0 else x
    assert_array_equal(fg.vmap(f, (0, None))(ONES, 1.0), -ONES)
    assert_array_equal(fg.vmap(f)(ONES, flip=-1.0), ONES)


# --- cost ----------------------------------------------------------------------------------------


def test_per_example_gradients_are_whole_matrix_products():
    """One product of two matrices for each layer and direction; outer products are multiplied."""

    def loss(layers, x, y):
        for w in layers[:-1]:
            x = np.tanh(x @ w)
        return np.sum((x @ layers[-1] - y) ** 2)

    layers = [normal(3, 4), normal(4, 5), normal(5, 2)]
    mapped = fg.vmap(fg.grad(loss), in_axes=(None, 0, 0))
    graph = fg.trace(mapped, layers, normal(7, 3), normal(7, 2))
    products = [node for node in graph.nodes if node.primitive.name == "matmul"]
    assert len(products) == 5
    assert all(arg.aval.ndim == 2 for node in products for arg in node.args)


PRODUCTS = [  # axes, shapes of both operands, greatest number of axes in the batched product
    ((0, None), (3,), (3, 4), 2),
    ((0, None), (2, 3), (3, 4), 2),
    ((0, None), (2, 3), (3,), 2),
    ((0, None), (6, 2, 3), (3, 4), 2),
    ((None, 0), (2, 3), (3,), 2),
    ((None, 0), (3,), (3,), 2),
    ((None, 0), (3,), (3, 4), 3),
    ((None, 0), (2, 3), (3, 4), 3),
    ((0, 0), (3,), (3,), 2),
    ((0, 0), (2, 3), (3,), 3),
    ((0, 0), (6, 2, 3), (6, 3, 4), 4),
]


@pytest.mark.parametrize(("axes", "first", "second", "rank"), PRODUCTS)
@pytest.mark.parametrize("dtype", [float, complex])
def test_products_collapse(axes, first, second, rank, dtype):
    size = 5
    operands = [
        normal(*([size] if axis == 0 else []), *shape).astype(dtype) * (1 + 0.5j if dtype is complex else 1)
        for axis, shape in zip(axes, (first, second), strict=True)
    ]  # fmt: skip
    one = lambda i: [x if axis is None else x[i] for x, axis in zip(operands, axes, strict=True)]
    mapped = fg.vmap(np.matmul, in_axes=axes)
    want = np.stack([np.matmul(*one(i)) for i in range(size)])
    assert_allclose(mapped(*operands), want, rtol=1e-13)
    graph = fg.trace(mapped, *operands)
    ranks = [
        arg.aval.ndim for node in graph.nodes if node.primitive.name in ("matmul", "vecdot")
        for arg in node.args
    ]  # fmt: skip
    assert max(ranks) <= rank + (dtype is complex and first == second == (3,) and axes == (0, 0))
