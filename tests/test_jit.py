"""``jit``: one trace for each kind of arguments, and never a stale, shared or wrong result."""

import asyncio
import copy
import functools
import gc
import inspect
import math
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
import warnings
import weakref
from collections import defaultdict, namedtuple
from importlib import import_module

import attrs
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pyrsistent import PRecord, field, pmap

import fungrad as fg

graph_module = import_module("fungrad._graph")
programs_module = import_module("fungrad.transforms._programs")
pytestmark = pytest.mark.usefixtures("hotness")


def counting(f):
    """``f``, and a list that grows with every run of its Python code."""
    runs = []

    @functools.wraps(f)
    def counted(*args, **kwargs):
        runs.append(len(runs))
        return f(*args, **kwargs)

    return counted, runs


# --- what selects a program ----------------------------------------------------------------------


def test_one_run_for_each_shape_and_dtype():
    f, runs = counting(lambda x: np.sum(x * 2))
    g = fg.jit(f)
    for _ in range(4):
        for x in (np.ones(3), np.ones(4), np.ones((3, 1)), np.ones(3, np.float32), np.arange(3)):
            assert_array_equal(g(x), np.sum(x * 2))
    assert len(runs) == 5


def test_layout_and_writability_are_no_part_of_the_key():
    f, runs = counting(lambda x: x * 2)
    g, x = fg.jit(f), np.arange(6.0).reshape(2, 3)
    frozen = x.copy()
    frozen.flags.writeable = False
    for array in (x, np.asfortranarray(x), x[:, ::-1], frozen, np.broadcast_to(x[0], (2, 3))):
        for _ in range(2):
            assert_array_equal(g(array), array * 2)
    assert len(runs) == 1


def test_python_numbers_are_inputs():
    f, runs = counting(lambda x, rate: x - rate * x)
    g = fg.jit(f)
    for rate in (0.1, 0.2, -0.0, math.inf, 5e-324):
        assert_array_equal(g(np.ones(2), rate), np.ones(2) - rate * np.ones(2))
    assert len(runs) == 1
    assert_array_equal(g(np.ones(2), 3), [-2.0, -2.0])  # an int is of another kind
    assert_array_equal(g(np.ones(2), 4), [-3.0, -3.0])
    assert len(runs) == 2
    g(np.ones(2), 1j)
    g(np.ones(2), np.float64(0.1))
    g(np.ones(2), np.float32(0.1))
    assert len(runs) == 5


def test_weak_and_strong_numbers_are_told_apart():
    g, x = fg.jit(lambda x, s: x * s), np.ones(2, np.float32)
    for _ in range(3):
        assert g(x, 2.0).dtype == np.float32
        assert g(x, np.float64(2.0)).dtype == np.float64
        assert g(x, np.array(2.0)).dtype == np.float64
        assert g(x, 2).dtype == np.float32
        assert g(x, np.int64(2)).dtype == np.float64


def test_booleans_strings_and_other_objects_select_by_value():
    class Mode:
        pass

    one, two = Mode(), Mode()

    def f(x, mode, flag=False):
        return (x * 2 if mode in ("double", one, None) else x * 3) + (1 if flag else 0)

    counted, runs = counting(f)
    g = fg.jit(counted)
    for _ in range(3):
        assert [g(1.0, mode) for mode in ("double", "triple", one, two, None)] == [2, 3, 2, 3, 2]
        assert [g(1.0, "double", flag) for flag in (True, False)] == [3, 2]
        assert [g(1.0, "double", flag=flag) for flag in (True, False)] == [3, 2]
    assert len(runs) == 9


@pytest.mark.parametrize(
    "pair",
    [
        (1, True), (1, 1.0), (0.0, -0.0), (0, False), ((1,), (1.0,)), ((1,), (True,)),
        ((0.0, "a"), (-0.0, "a")), (((1,), 2), ((1.0,), 2)), (1, np.int8(1)),
        (frozenset({1}), frozenset({1.0})),
    ],
    ids=repr,
)  # fmt: skip
def test_static_arguments_that_python_merges(pair):
    """Equal and of equal hash, but other programs: types and signs of zero are seen by ``f``."""

    def f(x, static):
        part = next(iter(static)) if isinstance(static, (tuple, frozenset)) else static
        part = part[0] if isinstance(part, tuple) else part
        return math.copysign(1.0, part), type(part).__name__, x * 2

    for order in (pair, pair[::-1]):
        g = fg.jit(f, static_argnums=1)
        for _ in range(3):
            for static in order:
                sign, name, _ = f(1.0, static)
                assert (float(g(1.0, static)[0]), g(1.0, static)[1]) == (sign, name)


def test_static_argnums():
    f, runs = counting(lambda n, x, m: x * n + len(range(m)))
    g = fg.jit(f, static_argnums=(0, -1))
    for _ in range(3):
        assert g(2, 10.0, 3) == 23
        assert g(2, 11.0, 3) == 25
        assert g(3, 10.0, 3) == 33
        assert g(2, 10.0, 4) == 24
    assert len(runs) == 3
    h = fg.jit(lambda x, f: f(x), static_argnums=1)
    assert [h(0.5, np.sin), h(0.5, np.cos), h(0.5, np.sin)] == [
        math.sin(0.5),
        math.cos(0.5),
        math.sin(0.5),
    ]
    assert fg.jit(lambda x, names: x * len(names), static_argnums=1)(2.0, ("a", "b")) == 4.0
    assert fg.grad(fg.jit(lambda x, n: x**n, static_argnums=1))(2.0, 3) == 12.0


def test_static_arguments_that_are_left_out():
    f = fg.jit(lambda x, y=3: x * y, static_argnums=1)
    for _ in range(3):
        assert [f(2.0), f(2.0, 4), f(2.0, y=5.0)] == [6.0, 8.0, 10.0]


def test_static_nan():
    """NaN does not equal itself, but it selects the same program again."""
    f, runs = counting(lambda x, fill: x + fill)
    g = fg.jit(f, static_argnums=1)
    for _ in range(5):
        assert np.isnan(g(1.0, math.nan))
    assert len(runs) == 1


def test_keywords():
    f, runs = counting(lambda x, *, scale=1.0, mode="a", **rest: x * scale + len(mode) + len(rest))
    g = fg.jit(f)
    for _ in range(3):
        assert g(2.0) == 3.0
        assert g(2.0, scale=3.0) == 7.0
        assert g(2.0, mode="abc", scale=3.0) == g(2.0, scale=3.0, mode="abc") == 9.0
        assert g(2.0, other=1.0) == 4.0
        assert g(2.0, another=1.0) == 4.0
    assert len(runs) == 6  # ``**rest`` sees the order of keywords
    assert fg.jit(lambda x, y: x - y)(y=1.0, x=3.0) == 2.0


def test_positional_and_keyword_arguments_are_not_confused():
    g = fg.jit(lambda *args, **kwargs: (len(args), sorted(kwargs)))
    assert g(1.0, {"a": 2.0}) == (2, [])
    assert g(1.0, a=2.0) == (1, ["a"])
    assert g((1.0,), {"a": 2.0}) == (2, [])
    assert g((1.0,), {}) == (2, [])
    assert g(1.0) == (1, [])
    assert g((1.0, {"a": 2.0})) == (1, [])
    assert g() == (0, [])


def test_python_integers_do_not_wrap():
    """Un-jitted they have no bounds: the exact result, or an error, but never 0 for 2**80."""
    f = fg.jit(lambda n: n * n)
    assert [f(3), f(2**30)] == [9, 2**60]
    for _ in range(3):
        try:
            assert f(2**40) == 2**80
        except OverflowError:
            continue


@pytest.mark.parametrize(
    ("f", "n", "error"),
    [
        (lambda n: n + 1, 2**63 - 1, OverflowError),
        (lambda n: n - 1, -(2**63), OverflowError),
        (lambda n: n * 3, 2**62, OverflowError),  # fits uint64
        (lambda n: n**2, 2**32 - 1, OverflowError),
        (lambda n: n // -1, -(2**63), OverflowError),
        (lambda n: -n, -(2**63), OverflowError),
        (lambda n: abs(n), -(2**63), OverflowError),
        (lambda n: n << 1, 2**62, OverflowError),
        (lambda n: n << 64, 1, OverflowError),
        (lambda n: n, 2**63, OverflowError),
        (lambda n: n // 0, 5, ZeroDivisionError),
        (lambda n: n % 0, 5, ZeroDivisionError),
        (lambda n: divmod(5, n), 0, ZeroDivisionError),
        (lambda n: n >> -1, 5, ValueError),
        (lambda n: n + True, 2**63 - 1, OverflowError),
        (lambda n: (n > 0) + n, 2**63 - 1, OverflowError),
    ],
)
def test_python_integers_beyond_their_bounds(f, n, error):
    g = fg.jit(f)
    for _ in range(3):
        with pytest.raises(error):
            g(n)


@pytest.mark.parametrize(
    ("f", "n"),
    [
        (lambda n: n + (2**63 - 1), 0),
        (lambda n: n - (-(2**63) + 1), 0),
        (lambda n: 2**62 << n, 0),
        (lambda n: round(n), 2**53 + 1),
        (lambda n: round(n), -(2**63)),
    ],
)
def test_python_integers_are_exact_up_to_their_bounds(f, n):
    g = fg.jit(f)
    for _ in range(3):
        assert repr(g(n)) == repr(f(n))


def _sums_of_conditions(x):
    positive, large = x > 0, x > 1
    return (
        positive, positive + large, positive - large, positive * large, large // True, -positive,
        +positive, abs(positive), positive << 3, large & True, large | False, positive ^ large,
        positive * 1.5, large + 2, sum([positive, large, x < 5]),
    )  # fmt: skip


@pytest.mark.parametrize("x", [3.0, 0.5, -1.0, 3, -1])
def test_comparisons_of_python_numbers_count_as_pythons_do(x):
    g = fg.jit(_sums_of_conditions)
    for _ in range(3):
        assert list(map(repr, g(x))) == list(map(repr, _sums_of_conditions(x)))
    assert fg.jit(lambda x: [5.0, 6.0][x > 0])(x) == [5.0, 6.0][x > 0]
    weighted = lambda x, a: a * ((x > 0) * 1.5)
    assert fg.jit(weighted)(x, np.ones(2, np.float32)).dtype == np.float32
    if isinstance(x, float):
        assert fg.grad(lambda x: x * ((x > 0) + (x > 1)))(x) == (x > 0) + (x > 1)


def test_static_argnames():
    f, runs = counting(lambda x, n, *, mode="a": x * n + len(mode))
    for options in (
        {"static_argnames": ("n", "mode")},
        {"static_argnames": "mode", "static_argnums": 1},
        {"static_argnums": -1, "static_argnames": ["mode"]},
    ):
        runs.clear()
        g = fg.jit(f, **options)
        for _ in range(3):
            assert g(2.0, 3) == g(2.0, n=3) == 7.0
            assert g(2.0, 4, mode="bcd") == g(n=4, mode="bcd", x=2.0) == 11.0
        assert len(runs) <= 5
    g = fg.jit(lambda x, **options: x * len(options["names"]), static_argnames="names")
    assert [g(2.0, names=("a", "b")), g(2.0, names=("a",))] == [4.0, 2.0]


def test_a_static_argument_without_a_default_beyond_those_given():
    f = fg.jit(lambda x, *rest: x * len(rest), static_argnums=(3, -4))
    assert [f(2.0), f(2.0, 1, 2, "three")] == [0.0, 6.0]


def test_as_a_decorator_with_arguments():
    @fg.jit(static_argnames="n")
    def f(x, n):
        return sum([x] * n)

    @fg.jit()
    def g(x):
        return x + 1

    assert [f(2.0, 3), f(2.0, n=2), g(1.0)] == [6.0, 4.0, 2.0]
    assert f.__name__ == "f"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fg.jit(3.0), ("needs a function", "float", "fg.jit(f)(x)")),
        (lambda: fg.jit(lambda x: x, static_argnums=1), ("static_argnums has 1", "1 positional")),
        (lambda: fg.jit(lambda x: x, static_argnums=-2), ("static_argnums has -2",)),
        (lambda: fg.jit(lambda x: x, static_argnames="y"), ("'y'", "parameters are x")),
        (lambda: fg.jit(classmethod(lambda cls, x: x)), ("@classmethod above @fg.jit",)),
        (lambda: fg.jit(staticmethod(lambda x: x)), ("@staticmethod above @fg.jit",)),
    ],
)
def test_mistakes_in_the_arguments_of_jit(call, words):
    with pytest.raises(fg.errors.ArgumentError) as info:
        call()
    assert all(word in str(info.value) for word in words)


# --- trees ---------------------------------------------------------------------------------------


Point = namedtuple("Point", "x y")


@attrs.frozen
class Layer:
    w: object
    activation: str = attrs.field(default="tanh", metadata={"static": True})


class Record(PRecord):
    w = field()


def test_trees_in_and_out():
    f, runs = counting(lambda t: fg.tree.map(lambda leaf: leaf * 2, t))
    g, one = fg.jit(f), np.ones(2)
    trees = [
        {"b": one, "a": [one, (one,)]}, Point(one, 1.0), Layer(one), pmap({"w": one}),
        Record(w=one), (one, None), [], None, {"deep": {"er": Point([one], {"z": 3})}},
    ]  # fmt: skip
    for _ in range(3):
        for tree in trees:
            result = g(tree)
            assert type(result) is type(tree)
            assert fg.tree.structure(result) == fg.tree.structure(tree)
            for a, b in zip(fg.tree.leaves(result), fg.tree.leaves(tree), strict=True):
                assert_array_equal(a, b * 2)
    assert len(runs) == len(trees)


def test_dicts_come_and_go_in_their_own_order():
    """Code may depend on it, as ``a, b = d.values()`` does."""

    def f(d):
        a, b = d.values()
        return {"z": a - 2 * b, "y": [{"q": a, "p": b}]}

    def first(d):
        a, b = d.values()
        return a * a * b

    one, other = {"b": 1.0, "a": 2.0}, {"a": 2.0, "b": 1.0}
    g, slopes = fg.jit(f), fg.jit(fg.grad(first))
    for d in (one, other, one, other):
        for _ in range(30):
            assert repr(fg.tree.map(float, g(d))) == repr(f(d))
            assert repr(fg.tree.map(float, g(d))) == repr(f(d))
            a, b = d.values()
            want = dict(zip(d, (2 * a * b, a * a), strict=True))
            assert repr(fg.tree.map(float, fg.grad(first)(d))) == repr(want)
            assert repr(fg.tree.map(float, slopes(d))) == repr(want)
            assert [*fg.jit(lambda **k: k)(**d)] == [*d]
            assert [*fg.jit(lambda k: k)(defaultdict(float, d))] == [*d]
    assert fg.vmap(first)({"b": np.ones(2), "a": np.full(2, 3.0)}).tolist() == [3.0, 3.0]


def test_dicts_in_different_orders_go_together():
    one, other = {"b": 1.0, "a": 2.0}, {"a": 20.0, "b": 10.0}
    assert fg.tree.map(lambda x, y: x + y, one, other) == {"a": 22.0, "b": 11.0}
    assert fg.tree.structure(one) == fg.tree.structure(other)
    value = lambda d: d["a"] * d["b"] ** 2
    assert fg.jvp(value, (one,), (other,))[1] == 20.0 + 2 * 2.0 * 10.0
    _, pullback = fg.vjp(lambda x: {"b": x, "a": 3 * x}, 1.0)
    assert pullback({"a": 1.0, "b": 10.0}) == (13.0,)
    assert pullback({"b": 10.0, "a": 1.0}) == (13.0,)
    total = fg.fori_loop(0, 3, lambda i, c: {"a": c["a"] + 1, "b": c["b"] + c["a"]}, one)
    assert total == {"b": 1.0 + 2 + 3 + 4, "a": 5.0}
    branch = fg.cond(True, lambda x: {"b": x, "a": 1.0}, lambda x: {"a": 0.0, "b": x}, 2.0)
    assert branch == {"a": 1.0, "b": 2.0}
    axes = {"a": None, "b": 0}
    both = fg.vmap(value, in_axes=(axes,))({"b": np.arange(2.0), "a": 3.0})
    assert both.tolist() == [0.0, 3.0]
    opt = fg.optim.sgd(one, learning_rate=1.0)
    assert opt.update(one, other)[0] == {"a": -18.0, "b": -9.0}


def test_structure_selects_the_program():
    f, runs = counting(lambda t: sum(np.sum(leaf) for leaf in fg.tree.leaves(t)))
    g = fg.jit(f)
    for _ in range(2):
        for tree in (
            (1.0, 2.0),
            [1.0, 2.0],
            {"a": 1.0, "b": 2.0},
            {"a": 1.0, "c": 2.0},
            Point(1.0, 2.0),
        ):
            assert g(tree) == 3.0
    assert len(runs) == 5
    for _ in range(2):
        assert g({"b": 2.0, "a": 1.0}) == 3.0
    assert len(runs) == 6  # code sees the order of a dict
    h = fg.jit(lambda layer, x: np.tanh(x * layer.w) if layer.activation == "tanh" else x * layer.w)
    for _ in range(3):
        assert h(Layer(2.0), 1.0) == np.tanh(2.0)
        assert h(Layer(2.0, "linear"), 1.0) == 2.0


def test_results_that_are_no_arrays_pass_through():
    marker = object()

    def f(x):
        return {"x": x * 2, "name": "adam", "none": None, "object": marker, "f": f, "t": (1, "a")}

    g = fg.jit(f)
    for _ in range(4):
        result = g(1.5)
        assert result["x"] == 3.0
        assert result["object"] is marker
        assert result["f"] is f
        assert (result["name"], result["none"], result["t"]) == ("adam", None, (1, "a"))


@pytest.mark.parametrize(
    "result", [None, "text", (), [], {}, ("a", None), 3, 2.5, True, 1j, np.float32(2), (1, 2.0)],
    ids=repr,
)  # fmt: skip
def test_results_that_depend_on_nothing(result):
    """Also programs without any number to compute, on every call."""
    g = fg.jit(lambda x: result)
    kinds = [type(leaf) for leaf in fg.tree.leaves(g(np.ones(2)))]
    for _ in range(4):
        value = g(np.ones(2))
        assert [type(leaf) for leaf in fg.tree.leaves(value)] == kinds
        assert fg.tree.structure(value) == fg.tree.structure(result)
        for a, b in zip(fg.tree.leaves(value), fg.tree.leaves(result), strict=True):
            assert a == b
            assert isinstance(b, str) or np.asarray(a).dtype == np.asarray(b).dtype


def test_vjp_of_a_program_without_residuals():
    for _ in range(3):
        value, pull = fg.vjp(lambda x: x * 2.0, 3.0)
        assert (value, pull(1.0)) == (6.0, (2.0,))
        assert_array_equal(fg.jacobian(lambda x: 2.0 * x)(np.ones(2)), 2 * np.eye(2))


# --- methods -------------------------------------------------------------------------------------


def test_methods():
    @attrs.frozen
    class Model:
        w: object

        @fg.jit
        def __call__(self, x):
            return self.w * x

        @staticmethod
        @fg.jit
        def twice(x):
            return 2 * x

    model, other = Model(2.0), Model(np.array([1.0, 5.0]))
    for _ in range(3):
        assert model(3.0) == 6.0
        assert other(3.0).tolist() == [3.0, 15.0]
        assert Model.twice(2.0) == 4.0
        assert fg.grad(lambda m, x: np.sum(m(x)))(other, 3.0).w.tolist() == [3.0, 3.0]
        assert Model.__call__(model, 3.0) == 6.0
        assert fg.jit(model.__call__)(5.0) == 10.0


class Scaled:
    factor = 3.0

    def __init__(self, w):
        self.w = w

    @classmethod
    @fg.jit
    def scaled(cls, x):
        return x * cls.factor

    @fg.jit(static_argnums=2)
    def powers(self, x, n, *, plus=0.0):
        return self.w * x**n + plus

    @property
    @fg.jit
    def twice(self):
        return 2 * self.w


def test_methods_of_every_kind():
    one, two = Scaled(2.0), Scaled(5.0)
    for _ in range(3):
        assert Scaled.scaled(2.0) == one.scaled(2.0) == 6.0
        assert [one.powers(3.0, 2), two.powers(3.0, 1, plus=1.0)] == [18.0, 16.0]
        assert [one.twice, two.twice] == [4.0, 10.0]
        assert Scaled.powers(one, 2.0, 3) == 16.0
    method = one.powers
    assert (method.__name__, method.__self__) == ("powers", one)
    assert fg.grad(method)(3.0, 2) == 12.0
    assert list(map(one.scaled, [1.0, 2.0])) == [3.0, 6.0]


@fg.jit
def of_this_module(x):
    return x * 2


def plain_of_this_module(x, n=2):
    return x * n


wrapped_of_this_module = fg.jit(plain_of_this_module, static_argnums=1)


def test_pickling_and_copying():
    of_this_module(1.0)
    assert pickle.loads(pickle.dumps(of_this_module)) is of_this_module
    assert copy.deepcopy(of_this_module) is of_this_module
    wrapped_of_this_module(1.0, 3)
    again = pickle.loads(pickle.dumps(wrapped_of_this_module))
    assert again is not wrapped_of_this_module
    assert again._programs is None  # programs are not carried along
    assert [again(2.0, 3), again(2.0)] == [6.0, 4.0]
    assert again._statics == wrapped_of_this_module._statics
    local = fg.jit(lambda x: x * 3)
    assert copy.deepcopy({"f": local})["f"](2.0) == copy.copy(local)(2.0) == 6.0
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(local)
    method = pickle.loads(pickle.dumps(Scaled(2.0).powers))
    assert method(3.0, 2) == 18.0


def test_identity_and_repr():
    f = fg.jit(plain_of_this_module)
    assert f != fg.jit(plain_of_this_module)
    assert len({f, f, fg.jit(plain_of_this_module)}) == 2
    assert "plain_of_this_module" in repr(f)
    assert str(inspect.signature(f)) == "(x, n=2)"


def test_generators_and_coroutines_are_refused():
    def numbers(x):
        yield x

    async def later(x):
        return x

    for f in (numbers, lambda x: map(np.sin, [x]), lambda x: (x, iter([1, 2]))):
        for _ in range(2):
            with pytest.raises(fg.errors.OutputTypeError, match="a list or tuple"):
                fg.jit(f)(1.0)
    coroutines = []

    def start(x):
        coroutines.append(later(x))
        return coroutines[-1]

    with pytest.raises(fg.errors.OutputTypeError, match="coroutine"):
        fg.jit(start)(1.0)
    coroutines[0].close()


def test_inside_of_generators_and_coroutines():
    f = fg.jit(lambda x: x * 2 if x > 0 else -x)

    def numbers():
        for x in (1.0, -1.0, 2.0):
            yield f(x)

    async def work(x):
        y = f(x)
        await asyncio.sleep(0)
        return y + f(-x)

    async def all_of_them():
        return await asyncio.gather(*[work(x) for x in (1.0, -2.0, 3.0)])

    assert list(numbers()) == [2.0, 1.0, 4.0]
    assert asyncio.run(all_of_them()) == [3.0, 6.0, 9.0]


def test_jit_keeps_name_and_documentation():
    @fg.jit
    def loss(x):
        """Say what it is."""
        return x

    assert (loss.__name__, loss.__doc__) == ("loss", "Say what it is.")
    assert loss.__wrapped__(3) == 3
    assert fg.jit(functools.partial(lambda a, b: a * b, 3.0))(2.0) == 6.0
    assert fg.jit(np.sin)(0.0) == 0.0
    assert fg.jit(fg.jit(lambda x: x * 2))(2.0) == 4.0


# --- Python code that depends on values ----------------------------------------------------------


def test_both_branches_run_right():
    f = fg.jit(lambda x: x * 2 if x > 0 else -x)
    for x in (3.0, -3.0, 4.0, -4.0, 0.0, math.nan, 3.0):
        assert_array_equal(f(x), x * 2 if x > 0 else -x)
    g = fg.jit(fg.grad(lambda x: x * 2 if x > 0 else -x))
    assert [g(x) for x in (3.0, -3.0, 4.0, -4.0)] == [2, -1, 2, -1]


def test_loops_whose_length_depends_on_values():
    def collatz(n):
        steps = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        return steps

    g = fg.jit(collatz)
    for n in (6, 7, 1, 27, 6):
        assert g(n) == collatz(n)
    power = fg.jit(lambda x, n: functools.reduce(lambda y, _: y * x, range(n), 1.0))
    assert [power(2.0, n) for n in (3, 0, 5, 3)] == [8.0, 1.0, 32.0, 8.0]
    assert [fg.jit(lambda n: np.zeros(n).shape)(n) for n in (3, 4)] == [(3,), (4,)]


def test_the_kind_of_the_result_does_not_change_between_calls():
    """A branch on values must not turn the second call's result into another type."""
    f = fg.jit(lambda x: x * 2 if x > 0 else x)
    assert len({type(f(x)) for x in (1.0, 1.0, 2.0, -1.0)}) == 1
    g = fg.jit(lambda x: (x * 2 if x.sum() > 0 else x).sum())
    assert {type(g(np.ones(2))) for _ in range(3)} == {np.float64}


def test_results_of_branching_functions_are_fresh_too():
    f, x = fg.jit(lambda x: x if x[0] > 0 else -x), np.ones(3)
    for _ in range(4):
        y = f(x)
        assert not np.shares_memory(y, x)
        y[...] = 7.0
        assert x.tolist() == [1.0] * 3
    constant = np.ones(3)
    g = fg.jit(lambda x: constant if x > 0 else constant * 2)
    for _ in range(4):
        g(1.0)[...] = 7.0
        assert constant.tolist() == [1.0] * 3


def test_division_by_zero_is_the_same_on_every_call():
    """Numbers become NumPy's on every call, also where Python code looked at them."""
    f = fg.jit(lambda x: 1.0 / x if x < 1 else x)
    for _ in range(3):
        with np.errstate(divide="ignore"):
            assert f(0.0) == math.inf


# --- exceptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_failed_first_call_is_not_kept(error):
    fail = [True]

    @fg.jit
    def f(x):
        if fail:
            fail.pop()
            raise error("mine")
        return x * 2

    with pytest.raises(error):
        f(3.0)
    assert [f(3.0), f(4.0), f(5.0)] == [6.0, 8.0, 10.0]
    assert fg.grad(lambda x: f(x) * x)(3.0) == 12.0


def test_warnings_of_the_first_call_and_of_later_ones():
    f = fg.jit(lambda x: np.log(x) * 2)
    for _ in range(4):
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            assert_array_equal(f(np.array([0.0, 1.0])), [-np.inf, 0.0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            f(np.ones(2))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        f(np.zeros(2))


# --- re-entrancy and threads ---------------------------------------------------------------------


def test_recursion():
    @fg.jit
    def factorial(x, n):
        return x if n == "" else x * factorial(x - 1, n[1:])

    assert [factorial(5.0, "1111") for _ in range(3)] == [120.0] * 3


def test_a_function_that_calls_itself_by_another_transform():
    @fg.jit
    def f(x, order):
        return fg.grad(lambda x: f(x, order[1:]))(x) if order else x**4

    for _ in range(3):
        assert [f(2.0, order) for order in ("", "1", "11", "111", "1111")] == [16, 32, 48, 48, 24]


def test_threads_while_it_is_being_traced():
    """Many trace at once; what they keep is complete, and each gets its own result."""
    entered = threading.Barrier(6)
    waiting = threading.local()

    def f(x, n):
        if not hasattr(waiting, "done"):
            waiting.done = True
            entered.wait(30)  # so that all of them are in here before the first one has a program
        return np.sum(x) * n if n > 2 else x[0] - n

    g, results = fg.jit(f), []

    def work(i):
        x = np.full(3, float(i))
        results.extend((g(x, float(n)), 3.0 * i * n if n > 2 else i - n) for n in (1, 3, i))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 18
    assert all(got == want for got, want in results)


def test_an_error_in_the_middle_of_a_run():
    f = fg.jit(lambda x: np.log(x * 2) + np.exp(x))
    x = np.array([1.0, 2.0])
    want = f(x)
    for _ in range(3):
        with np.errstate(all="raise"), pytest.raises(FloatingPointError):
            f(np.array([0.0, 1.0]))
        assert f(x).tolist() == want.tolist()


def test_an_interrupt_in_the_middle_of_everything():
    """Wherever Ctrl-C strikes, in tracing, compiling or running, the next call is right."""

    def f(x):
        y = np.exp(x) * 2 if np.sum(x) > 0 else x - 1
        return np.sum(np.tanh(y) * y)

    x, old, struck = np.array([0.5, 1.5]), sys.gettrace(), 0
    want = fg.grad(f)(x)

    class Strike:
        def __init__(self, after):
            self.left = after

        def __call__(self, frame, event, argument):
            if "fungrad" in frame.f_code.co_filename:
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt
            return self

    for after in [*range(1, 400, 23), *range(400, 6000, 397)]:
        g = fg.jit(fg.grad(f))
        for _ in range(3):
            sys.settrace(Strike(after))
            try:
                g(x)
            except KeyboardInterrupt:
                struck += 1
            finally:
                sys.settrace(old)
            assert g(x).tolist() == want.tolist()
            assert g(-x).tolist() == fg.grad(f)(-x).tolist()
    assert struck > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_compile():
    """Also while another thread is in the middle of a call: its locks must not stay taken."""
    code = """if True:
        import os, threading, warnings
        import numpy as np
        import fungrad as fg

        warnings.simplefilter("ignore")
        f = fg.jit(lambda x: np.tanh(x) * 2 if np.sum(x) > 0 else -x)
        for _ in range(3):
            f(np.ones(3)), f(-np.ones(3))
        stop = threading.Event()

        def busy():
            i = 0
            while not stop.is_set():
                i += 1
                fg.jit(lambda x: x * i)(np.ones(i % 50 + 1))

        threads = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        codes = []
        for _ in range(8):
            child = os.fork()
            if not child:
                fresh = fg.jit(lambda x: x * 3)
                right = f(np.ones(3)).tolist() == (np.tanh(np.ones(3)) * 2).tolist()
                right &= fresh(np.ones(7)).tolist() == [3.0] * 7
                os._exit(0 if right else 1)
            codes.append(os.waitpid(child, 0)[1])
        stop.set()
        print(codes)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.strip() == str([0] * 8)


def test_threads_get_their_own_results():
    f = fg.jit(fg.grad(lambda x, c: np.sum(np.tanh(x @ x * c) ** 2 * x)))
    plain = fg.grad(lambda x, c: np.sum(np.tanh(x @ x * c) ** 2 * x))
    barrier, results = threading.Barrier(16), []

    def work(i):
        x = np.full(4 + i % 3, 0.1 * i)
        barrier.wait()
        for _ in range(20):
            results.append((i, f(x, 0.5), x))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 320
    for _, result, x in results:
        assert_allclose(result, plain(x, 0.5), rtol=1e-14, atol=1e-300)


def test_a_trace_that_was_overtaken_is_not_kept():
    """While one thread traces with the old constant, another rebinds it."""
    scale, entered, go_on = 2.0, threading.Event(), threading.Event()

    def f(x):
        y = x * scale
        if not go_on.is_set():
            entered.set()
            go_on.wait(10)
        return y

    g = fg.jit(f)
    slow = []
    thread = threading.Thread(target=lambda: slow.append(g(1.0)))
    thread.start()
    assert entered.wait(10)
    scale = 3.0
    go_on.set()
    fast = g(np.ones(1))
    thread.join(10)
    assert slow == [2.0]  # it began before
    assert fast.tolist() == [3.0]
    assert [g(1.0), g(1.0)] == [3.0, 3.0]


# --- memory --------------------------------------------------------------------------------------


def test_results_share_memory_with_nothing():
    constant = np.arange(6.0).reshape(2, 3)

    def f(x):
        y = np.exp(x)
        return (
            x, x.T, x.reshape(-1), x[1:], y, y, y.T, y[::-1], y.reshape(3, 2), constant,
            constant.T + 0 * x.T, constant[0], np.broadcast_to(x[0], (2, 3)), np.broadcast_to(y, (2, 2, 3)),
            x.real, x.astype(float), np.ravel(x), np.expand_dims(y, 0), x[[1, 0]], y[0],
        )  # fmt: skip

    g, x = fg.jit(f), np.arange(6.0).reshape(2, 3) / 6
    before, expected = x.copy(), [np.array(value) for value in f(x)]
    for _ in range(4):
        results = g(x)
        for i, result in enumerate(results):
            assert_allclose(result, expected[i], rtol=1e-15)
            assert result.flags.writeable
            others = [x, constant, *results[:i], *results[i + 1 :]]
            assert not any(np.shares_memory(result, other) for other in others)
        for result in results:
            result[...] = -1.0
        assert_array_equal(x, before)
        assert_array_equal(constant, np.arange(6.0).reshape(2, 3))


def test_results_of_grad_share_memory_with_nothing():
    x = np.ones(3)
    functions = [
        fg.grad(lambda x, y: np.sum(x * y), (0, 1)), fg.jit(fg.grad(lambda x, y: np.sum(x * y), (0, 1))),
        lambda x, y: fg.vjp(lambda x, y: x + y, x, y)[1](y), lambda x, y: fg.jvp(np.add, (x, y), (x, y)),
        lambda x, y: fg.grad(lambda x: (np.sum(x), (y, y, x)), has_aux=True)(x)[1],
        lambda x, y: fg.vmap(lambda a, b: (a, b, a))(x, y),
    ]  # fmt: skip
    for f in functions:
        for _ in range(3):
            results = fg.tree.leaves(f(x, x))
            for i, result in enumerate(results):
                assert not any(np.shares_memory(result, other) for other in [x, *results[:i]])
                result[...] = 5.0
            assert x.tolist() == [1.0] * 3


def test_mutating_arguments_after_the_call_changes_nothing():
    f, x = fg.jit(lambda x: (x, x * 2, np.sum(x))), np.ones(3)
    for value in (1.0, 2.0, 3.0, 4.0):
        x[:] = value
        results = f(x)
        x[:] = 99.0
        assert [np.max(r) for r in results] == [value, 2 * value, 3 * value]


# --- constants from outside ----------------------------------------------------------------------


def test_captured_arrays_are_read_at_each_call():
    """Held by reference: the caller's writes are seen, and the array is never written or frozen."""
    c = np.ones(3)
    f = fg.jit(lambda x: np.exp(x * 0) * c * x)
    for value in (1.0, 2.0, 3.0, 4.0):
        c[:] = value
        assert f(2.0).tolist() == [2 * value] * 3
        assert c.flags.writeable
        assert c.tolist() == [value] * 3


def test_rebound_closures_globals_and_defaults_are_seen():
    scale, shift = 2.0, np.ones(2)

    def f(x):
        return x * scale + shift

    g = fg.jit(f)
    assert g(np.ones(2)).tolist() == [3.0, 3.0]
    scale = 3.0
    assert g(np.ones(2)).tolist() == [4.0, 4.0]
    shift = np.zeros(2)
    for _ in range(3):
        assert g(np.ones(2)).tolist() == [3.0, 3.0]
    f.__defaults__ = None
    h = fg.jit(lambda x, c=2.0: x * c)
    assert h(1.0) == 2.0
    h.__wrapped__.__defaults__ = (5.0,)
    assert h(1.0) == 5.0


def test_rebound_numbers_are_compared_by_bits():
    zero = 0.0
    f = fg.jit(lambda x: np.copysign(1.0, zero) * x if False else x * zero)
    assert not np.signbit(f(1.0))
    zero = -0.0
    assert np.signbit(f(1.0))


def test_unchanged_constants_do_not_trace_again():
    constant, table = np.ones(2), {"a": 1.0}
    f, runs = counting(lambda x: x * constant * table["a"] * len(runs) ** 0)
    g = fg.jit(f)
    for _ in range(5):
        g(1.0)
    assert len(runs) == 1


def test_captured_tracers_are_resolved_in_each_trace():
    @fg.jit
    def plain(y):
        return y * 2

    def f(x):
        inner = fg.jit(lambda y: y * x)
        return inner(4.0) + inner(5.0) + plain(x)

    for _ in range(3):
        assert fg.grad(f)(5.0) == 11.0
        assert fg.jvp(f, (5.0,), (1.0,)) == (55.0, 11.0)
        assert fg.jit(f)(5.0) == 55.0
        assert f(5.0) == 55.0


def test_a_jitted_function_that_captured_a_tracer_that_is_dead():
    """Its program is of no use any more: traced again, in the new trace or in none."""
    box = []

    @fg.jit
    def inner(y):
        return y * box[0]

    def f(x):
        box[:] = [x]
        return inner(3.0) * x

    for _ in range(3):
        assert fg.grad(f)(2.0) == 12.0
        assert fg.grad(f)(4.0) == 24.0
        box[:] = [10.0]
        assert fg.jit(lambda y: inner(y))(1.0) == 10.0


def test_the_program_belongs_to_the_captured_tracer_not_to_its_shape():
    """A new trace of equal shape must not find the tracer of the last one."""

    def f(x):
        g = cached(lambda y: y * x)
        return g(1.0) + g(2.0)

    functions = {}

    def cached(function):
        current[0] = function
        return functions.setdefault("g", fg.jit(lambda y: current[0](y)))

    current = [None]
    for x in (2.0, 3.0, 4.0):
        assert fg.grad(f)(x) == 3.0
        assert fg.value_and_grad(f)(x)[0] == 3 * x


# --- composition ---------------------------------------------------------------------------------


def test_jit_in_grad_in_jit_in_vmap():
    inner = fg.jit(lambda x: np.sin(x) * x)
    f = fg.vmap(fg.jit(fg.grad(fg.jit(lambda x: inner(x) ** 2))))
    x = np.array([0.3, -1.0, 2.0])
    s, c = np.sin(x), np.cos(x)
    for _ in range(3):
        assert_allclose(f(x), 2 * s * x * (c * x + s), rtol=1e-14)
        assert_allclose(fg.jit(f)(x), 2 * s * x * (c * x + s), rtol=1e-14)


def test_a_function_used_in_all_modes_in_turn():
    f = fg.jit(lambda x: x**3)
    for _ in range(3):
        assert f(2.0) == 8.0
        assert fg.grad(f)(2.0) == 12.0
        assert f(np.float32(2.0)).dtype == np.float32
        assert fg.vmap(f)(np.array([1.0, 2.0])).tolist() == [1.0, 8.0]
        assert fg.grad(fg.grad(f))(2.0) == 12.0
        assert fg.jvp(f, (2.0,), (1.0,)) == (8.0, 12.0)
        assert fg.jit(f)(2) == 8


# --- bounds --------------------------------------------------------------------------------------


def test_the_number_of_programs_is_bounded(monkeypatch):
    monkeypatch.setattr(programs_module, "MAX_PROGRAMS", 3)
    f, runs = counting(lambda x: np.sum(x * 2.5))
    g = fg.jit(f)
    for n in range(1, 50):
        assert g(np.ones(n)) == 2.5 * n
    assert len(g._programs) <= 3
    assert len(runs) == 49
    g(np.ones(49))
    assert len(runs) == 49
    g(np.ones(1))
    assert len(runs) == 50


def test_a_program_in_use_is_not_the_one_to_be_dropped(monkeypatch):
    """Least recently used, so that the training step survives a sweep of odd shapes."""
    monkeypatch.setattr(programs_module, "MAX_PROGRAMS", 3)
    f, runs = counting(lambda x: np.sum(x * 2.5))
    g = fg.jit(f)
    for n in range(2, 20):
        g(np.ones(1))
        g(np.ones(n))
    assert len(runs) == 19


def test_programs_are_bounded_by_their_operations_too(monkeypatch):
    monkeypatch.setattr(programs_module, "MAX_SIZE", 500)
    f, runs = counting(lambda x: functools.reduce(lambda y, i: y * i + x, range(100), x))
    g = fg.jit(f)
    for n in (1, 2, 3, 4, 5):
        assert_array_equal(g(np.ones(n)), f(np.ones(n)))
    assert 1 <= len(g._programs) <= 3
    monkeypatch.setattr(programs_module, "MAX_SIZE", 10)
    runs.clear()
    for _ in range(5):
        g(np.ones(7))  # larger than all that there is room for, but in use
    assert len(runs) == 1


def test_many_shapes_take_no_more_memory_than_few(monkeypatch):
    monkeypatch.setattr(programs_module, "MAX_PROGRAMS", 20)
    monkeypatch.setattr(graph_module, "_MAX_KEPT_GRAPHS", 50)
    g, sizes = fg.jit(lambda x: np.tanh(x) * 2 if np.sum(x) > 0 else -x), []
    tracemalloc.start()
    for n in range(1, 401):
        g(np.ones(n, np.float32))
        if n in (100, 400):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] < sizes[0] + 1_000_000


def test_a_jitted_function_can_be_collected():
    class Anchor:
        pass

    anchor = Anchor()
    f = fg.jit(lambda x, anchor=anchor: x * 2)
    for _ in range(3):
        f(1.0)
        fg.grad(f)(1.0)
    watch = weakref.ref(anchor)
    del f, anchor
    gc.collect()
    assert watch() is None
