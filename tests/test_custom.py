"""Functions with rules of the user's: the rule is used, in every mode, and mistakes are named."""

from __future__ import annotations

from functools import partial

import attrs
import numpy as np
import pytest
from numpy.testing import assert_allclose as close

import fungrad as fg
from fungrad.errors import (
    ArgumentError,
    ConcretizationError,
    CotangentError,
    OutputTypeError,
    ShapeMismatchError,
    TreeMismatchError,
    UnsupportedFunctionError,
)

X = np.array([0.3, -1.2, 2.0])


def with_vjp(f, forward, backward, **keywords):
    """A function with a rule, in one expression."""
    result = fg.custom_vjp(f, **keywords)
    result.defvjp(forward, backward)
    return result


def marked(f, factor=1.0):
    """``f`` with a rule that multiplies its derivative, so that one can tell which was used."""

    def forward(*args):
        out, pull = fg.vjp(f, *args)
        return out, pull

    return with_vjp(f, forward, lambda pull, ct: pull(fg.tree.map(lambda c: factor * c, ct)))


# --- the rule is used ------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit, lambda f: fg.jit(fg.jit(f))])
def test_the_rule_decides_in_every_mode(wrap):
    f = wrap(marked(np.sin, 10.0))
    close(f(X), np.sin(X))
    close(fg.grad(lambda x: np.sum(f(x)))(X), 10 * np.cos(X))
    close(fg.jvp(f, (X,), (np.ones(3),))[1], 10 * np.cos(X))
    close(fg.vjp(f, X)[1](np.ones(3))[0], 10 * np.cos(X))
    close(fg.jacobian(f)(X), np.diag(10 * np.cos(X)))
    close(fg.vmap(fg.grad(f))(X), 10 * np.cos(X))
    close(fg.grad(lambda x: np.sum(fg.vmap(f)(x)))(X), 10 * np.cos(X))
    for _ in range(3):  # interpreted, then compiled
        close(fg.jit(fg.vmap(fg.grad(f)))(X), 10 * np.cos(X))


def test_vmap_of_some_arguments():
    f = marked(lambda a, b: np.sin(a) * b, 2.0)
    a, b = np.arange(6.0).reshape(2, 3), X
    want = 2 * np.cos(a) * b
    close(fg.vmap(fg.grad(lambda a, b: np.sum(f(a, b))), (0, None))(a, b), want)
    per_example = fg.vmap(fg.grad(lambda b, a: np.sum(f(a, b))), (None, 0))(b, a)
    close(per_example, 2 * np.sin(a))
    total = fg.grad(lambda b: np.sum(fg.vmap(f, (0, None))(a, b)))(b)
    close(total, 2 * np.sin(a).sum(0))
    nested = fg.vmap(fg.vmap(fg.grad(f), (0, None)), (None, 0))(X, np.array([1.0, 2.0]))
    close(nested, 2 * np.cos(X) * np.array([[1.0], [2.0]]))


def test_derivatives_of_the_rule():
    # y = x³ by a rule that says y' = sin x: from the second order on, that of sin.
    f = with_vjp(lambda x: x**3, lambda x: (x**3, x), lambda x, ct: (ct * np.sin(x),))
    g = f
    for want in (0.7**3, np.sin(0.7), np.cos(0.7), -np.sin(0.7), -np.cos(0.7)):
        close(g(0.7), want)
        close(fg.jit(g)(0.7), want)
        g = fg.grad(g)
    close(fg.hessian(lambda x: np.sum(f(x)))(X), np.diag(np.cos(X)))


def test_a_rule_may_call_its_own_function():
    f = fg.custom_vjp(np.exp)
    f.defvjp(lambda x: (y := f(x), y), lambda y, ct: (2 * ct * y,))
    g = f
    for order in range(5):
        close(g(0.3), 2**order * np.exp(0.3))
        for _ in range(3):
            close(fg.jit(g)(0.3), 2**order * np.exp(0.3))
        close(fg.vmap(g)(X), 2**order * np.exp(X))
        g = fg.grad(g)


def test_an_endless_family_of_functions():
    # Bessel functions: 2 J_n' = J_(n-1) - J_(n+1), each with the rule of its neighbours.
    special = pytest.importorskip("scipy.special")

    @partial(fg.custom_vjp, nondiff_argnums=0)
    def bessel(n, x):
        return special.jv(n, x)

    bessel.defvjp(
        lambda n, x: (bessel(n, x), x),
        lambda n, x, ct: (ct * (bessel(n - 1, x) - bessel(n + 1, x)) / 2,),
    )
    g = lambda x: bessel(2, x)
    for order in range(4):
        close(g(1.5), special.jvp(2, 1.5, order), rtol=1e-12)
        close(fg.vmap(g)(np.array([1.5, 2.5])), special.jvp(2, np.array([1.5, 2.5]), order))
        g = fg.grad(g)


def test_rules_of_two_functions_may_call_each_other():
    sine, cosine = fg.custom_vjp(np.sin), fg.custom_vjp(np.cos)
    sine.defvjp(lambda x: (sine(x), x), lambda x, ct: (ct * cosine(x),))
    cosine.defvjp(lambda x: (cosine(x), x), lambda x, ct: (-ct * sine(x),))
    g = sine
    for want in (np.sin, np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin):
        close(g(0.4), want(0.4))
        g = fg.grad(g)


def test_nested_functions_with_rules():
    inner = marked(np.sin, 3.0)
    outer = with_vjp(
        lambda x: inner(x) ** 2, lambda x: (inner(x) ** 2, x), lambda x, ct: (ct * inner(x),)
    )
    close(fg.grad(outer)(0.5), np.sin(0.5))
    close(fg.grad(fg.grad(outer))(0.5), 3 * np.cos(0.5))


def test_compiled_programs_hold_the_operations_not_the_call():
    f = marked(np.sin)
    text = fg.source(lambda x: np.exp(f(x)), X)
    assert "np.sin" in text
    assert "custom" not in text
    # The gradient runs cos alone: nothing is computed twice, or in vain.
    assert fg.source(fg.grad(lambda x: np.sum(f(x))), X).count("np.sin") == 0


def test_the_same_code_is_the_same_graph():
    f = with_vjp(np.sin, lambda x: (np.sin(x), np.cos(x)), lambda c, ct: (ct * c,))
    trace = lambda: fg.trace(fg.grad(lambda x: np.sum(f(x))), X)
    assert trace() is trace()


# --- the same by a rule for forward mode -------------------------------------------------------


def with_jvp(f, rule, **keywords):
    """A function with a rule for forward mode, in one expression."""
    result = fg.custom_jvp(f, **keywords)
    assert result.defjvp(rule) is rule
    return result


def marked_jvp(f, factor=1.0):
    """``f`` with a rule that multiplies its derivative."""
    scaled = lambda out: (out[0], fg.tree.map(lambda t: factor * t, out[1]))
    return with_jvp(f, lambda primals, tangents: scaled(fg.jvp(f, primals, tangents)))


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
def test_the_jvp_rule_decides_in_every_mode(wrap):
    f = wrap(marked_jvp(lambda a, b: np.sin(a) * b, 10.0))
    a, b = X, np.array([[1.0], [2.0]])
    close(f(a, b), np.sin(a) * b)
    da, db = 10 * np.cos(a) * b, 10 * np.sin(a)
    close(fg.jvp(f, (a, b), (np.ones(3), np.zeros((2, 1))))[1], da)
    close(fg.grad(lambda a, b: np.sum(f(a, b)))(a, b), da.sum(0))
    close(fg.grad(lambda a, b: np.sum(f(a, b)), 1)(a, b), np.full((2, 1), db.sum()))
    close(fg.vmap(fg.grad(f, 1), (0, None))(a, 2.0), db)
    close(fg.grad(lambda b: np.sum(fg.vmap(f, (0, None))(a, b)))(2.0), db.sum())
    close(fg.jacfwd(f)(a, 2.0), np.diag(10 * np.cos(a) * 2))
    close(fg.jacrev(f)(a, 2.0), np.diag(10 * np.cos(a) * 2))
    for _ in range(3):
        close(fg.jit(fg.vmap(fg.grad(f, 1), (0, None)))(a, 2.0), db)


def test_derivatives_of_the_jvp_rule():
    f = with_jvp(lambda x: x**3, lambda p, t: (p[0] ** 3, t[0] * np.sin(p[0])))
    g = h = f
    for want in (0.7**3, np.sin(0.7), np.cos(0.7), -np.sin(0.7), -np.cos(0.7)):
        close(g(0.7), want)
        close(h(0.7), want)
        g = fg.grad(g)
        h = lambda x, h=h: fg.jvp(h, (x,), (1.0,))[1]


def test_a_jvp_rule_may_call_its_own_function():
    f = with_jvp(np.exp, lambda p, t: ((y := f(*p)), 2 * t[0] * y))
    g = f
    for order in range(5):
        close(g(0.3), 2**order * np.exp(0.3))
        close(fg.jit(g)(0.3), 2**order * np.exp(0.3))
        close(fg.vmap(g)(X), 2**order * np.exp(X))
        g = fg.grad(g)


def test_one_rule_for_each_argument():
    f = fg.custom_jvp(lambda a, b, c: a * b + c)
    f.defjvps(lambda t, y, a, b, c: 10 * t * b, None, lambda t, y, a, b, c: t * y)
    close(fg.grad(f, (0, 1, 2))(2.0, 3.0, 4.0), (30.0, 0.0, 10.0))
    # The derivative 10 b of a does not depend on a; that of c is y, of which it is the rule's.
    close(fg.grad(fg.grad(f, 2), 0)(2.0, 3.0, 4.0), 30.0)
    f.defjvps(None, None, None)
    close(fg.grad(f, (0, 1, 2))(2.0, 3.0, 4.0), (0.0, 0.0, 0.0))
    f.defjvps(lambda t, y, a: t)
    with pytest.raises(ArgumentError, match=r"3 arguments.*got 1 rules"):
        fg.grad(f)(2.0, 3.0, 4.0)
    g = fg.custom_jvp(lambda n, x: x**n, nondiff_argnums=0)
    g.defjvps(None, None)
    with pytest.raises(ArgumentError, match=r"write: f\.defjvp\(rule\)"):
        fg.grad(g, 1)(2, 3.0)


def test_pytrees_integers_and_options_in_a_jvp_rule():
    @partial(fg.custom_jvp, nondiff_argnums=(0,))
    def f(g, p, i):
        return {"y": g(p["w"])[i], "i": i * 2, "text": "same"}

    @f.defjvp
    def rule(g, primals, tangents):
        (p, i), (dp, di) = primals, tangents
        assert di.dtype == np.float64
        out = f(g, p, i)
        return out, {"y": 10 * fg.jvp(g, (p["w"],), (dp["w"],))[1][i], "i": None, "text": None}

    loss = lambda p, i: f(np.sin, p, i)["y"]
    for derive in (fg.grad(loss), fg.jit(fg.grad(loss))):
        got = derive({"w": X, "b": 1.0}, np.int64(1))
        close(got["w"], [0, 10 * np.cos(X[1]), 0])
        assert got["b"] == 0.0
    assert f(np.sin, {"w": X}, 1)["text"] == "same"


def test_closures_over_traced_values_in_a_jvp_rule():
    def outer(k, x):
        return with_jvp(lambda x: x * k, lambda p, t: (p[0] * k, 100 * k * t[0]))(x)

    close(fg.grad(outer)(3.0, 2.0), 2.0)
    close(fg.grad(outer, argnums=1)(3.0, 2.0), 300.0)
    close(fg.grad(fg.grad(outer, argnums=1))(3.0, 2.0), 100.0)
    close(fg.jvp(outer, (3.0, 2.0), (1.0, 0.0))[1], 2.0)


@pytest.mark.parametrize(
    ("rule", "error", "match"),
    [
        (lambda p, t: p[0], OutputTypeError, "rule of f must return a pair.*result, tangent"),
        (lambda p, t: (p[0], t[0]), TreeMismatchError, "result of f by its rule"),
        (lambda p, t: ((p[0], p[0]), t[0]), TreeMismatchError, "tangent of the result of f"),
        (lambda p, t: ((p[0], np.sum(p[0])), (t[0], t[0])), ShapeMismatchError, "float64"),
        (lambda p, t: ((p[0], p[0]), (t[0], np.sum(t[0]))), CotangentError,
         r"rule of f gave for its result\[1\], float64\[3\], a tangent of shape \(\)"),
        (lambda p, t: ((p[0], p[0]), (t[0].astype(np.float32), None)), CotangentError,
         r"result\[0\], float64\[3\], a tangent of dtype float32"),
        (lambda p, t: ((p[0], p[0]), ("no", None)), CotangentError, "a tangent of type str"),
        (lambda p, t: ((p[0], p[0]), (t[0] ** 2, None)), CotangentError, "not linear in the tang"),
        (lambda p, t: ((p[0], p[0]), (np.abs(t[0]), None)), CotangentError, "f is not linear"),
        (lambda p, t: ((p[0], p[0]), (np.cos(p[0]), None)), CotangentError, "f is not linear"),
        (lambda p, t: ((p[0], p[0]), (p[0], None)), CotangentError, "f is not linear"),
        (lambda p, t: ((p[0], p[0]), (np.ones(3), None)), CotangentError, "f is not linear"),
        (lambda p, t: ((p[0], p[0]), (2 * t[0] + 1.0, None)), CotangentError, "f is not linear"),
        (lambda p, t: ((p[0], p[0]), (t[0] - np.exp(p[0]), None)), CotangentError, "f is not lin"),
    ],
)  # fmt: skip
def test_wrong_jvp_rules(rule, error, match):
    def f(x):
        return x * 1, x * 1

    g = with_jvp(f, rule)
    for wrap in (lambda h: h, fg.jit):
        with pytest.raises(error, match=match):
            wrap(fg.grad(lambda x: np.sum(g(x)[0] + g(x)[1])))(X)
    close(fg.jit(g)(X), [X, X])


def test_no_jvp_rule():
    f = fg.custom_jvp(np.sin)
    close(fg.jit(f)(X), np.sin(X))
    with pytest.raises(UnsupportedFunctionError, match=r"sin .*no rule.*f\.defjvp\(rule"):
        fg.jvp(f, (1.0,), (1.0,))


# --- among loops and branches -----------------------------------------------------------------


def _sine_by(kind):
    """A sine with the slope ``3 cos``, by a rule of some kind, or recomputed."""
    vjp = lambda ct, x: (3 * ct * np.cos(x),)
    match kind:
        case "vjp":
            return with_vjp(np.sin, lambda x: (np.sin(x), x), lambda x, ct: vjp(ct, x))
        case "jvp":
            return with_jvp(np.sin, lambda p, t: (np.sin(p[0]), 3 * t[0] * np.cos(p[0])))
        case "checkpoint":
            return fg.checkpoint(_sine_by("vjp"))
        case "callback":
            return lambda x: fg.pure_callback(np.sin, x, x, vjp=lambda ct, y, x: vjp(ct, x))
        case "root":  # y = sin x solved for y, with a slope that is not 1
            return lambda x: fg.root(lambda y: (y - _sine_by("vjp")(x)) * 2, 0.0)
    raise AssertionError(kind)


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
@pytest.mark.parametrize("kind", ["vjp", "jvp", "checkpoint", "callback", "root"])
def test_in_the_bodies_of_loops_and_branches(kind, wrap):
    f, steps = _sine_by(kind), np.linspace(0.5, 1.0, 4)
    value, slope = 0.5, 1.0
    for step in steps:
        slope *= 3 * np.cos(value) * step
        value = np.sin(value) * step
    scan = lambda c: fg.scan(lambda c, x: (f(c) * x, None), c, steps)[0]
    close(wrap(scan)(0.5), value, rtol=1e-10)
    close(wrap(fg.grad(scan))(0.5), slope, rtol=1e-10)
    close(wrap(lambda c: fg.jvp(scan, (c,), (1.0,)))(0.5)[1], slope, rtol=1e-10)
    close(wrap(fg.vmap(fg.grad(scan)))(np.array([0.5, 0.5])), [slope, slope], rtol=1e-10)
    loop = lambda c: fg.fori_loop(0, 2, lambda i, c: f(c), c)
    close(wrap(fg.grad(loop))(0.5), 9 * np.cos(0.5) * np.cos(np.sin(0.5)), rtol=1e-10)
    branch = lambda c: fg.cond(c > 0, f, np.exp, c)
    close(wrap(fg.grad(branch))(0.5), 3 * np.cos(0.5), rtol=1e-10)
    close(wrap(fg.grad(branch))(-0.5), np.exp(-0.5))
    both = wrap(fg.vmap(fg.grad(branch)))(np.array([0.5, -0.5]))
    close(both, [3 * np.cos(0.5), np.exp(-0.5)], rtol=1e-10)


# --- what arguments, results and residuals may be ---------------------------------------------


def test_pytrees_and_none():
    @fg.custom_vjp
    def f(p, pair, flag=None):
        return {"out": p["w"] * pair[0], "same": pair[1], "note": "text", "n": 3.0}

    seen = {}

    def forward(p, pair, flag=None):
        return f(p, pair, flag), {"p": p, "pair": pair, "label": "anything", "f": np.sin}

    def backward(res, ct):
        seen.update(ct)
        assert res["label"] == "anything"
        return {"w": ct["out"] * 7, "b": None}, (None, res["f"](ct["same"])), None

    f.defvjp(forward, backward)

    def loss(p, pair):
        out = f(p, pair)
        assert out["note"] == "text"
        assert out["n"] == 3.0
        return np.sum(out["out"]) + np.sum(out["same"]) * 2

    p, pair = {"w": X, "b": X}, (X, X)
    got_p, got_pair = fg.grad(loss, argnums=(0, 1))(p, pair)
    close(got_p["w"], [7, 7, 7])
    close(got_p["b"], [0, 0, 0])
    close(got_pair[0], [0, 0, 0])
    close(got_pair[1], np.sin([2, 2, 2]))
    assert seen["note"] == "text"
    assert seen["n"] == 0.0


def test_none_for_a_whole_argument():
    f = with_vjp(lambda p, x: p["w"] * x, lambda p, x: (p["w"] * x, None), lambda r, ct: (None, ct))
    p, x = fg.grad(lambda p, x: np.sum(f(p, x)), argnums=(0, 1))({"w": X, "v": 1.0}, X)
    close(p["w"], 0)
    assert p["v"] == 0.0
    close(x, 1)


def test_keywords_and_defaults_find_their_positions():
    @partial(fg.custom_vjp, nondiff_argnums=(1,))
    def scaled(x, power=2, *, unused_by_position=None):
        return x**power

    with pytest.raises(ArgumentError, match=r"unused_by_position.*write: a parameter without \*"):
        scaled(1.0, unused_by_position=3)
    scaled = with_vjp(
        lambda x, power=2: x**power,
        lambda x, power: (x**power, x),
        lambda power, x, ct: (100 * ct * power * x ** (power - 1),),
        nondiff_argnums=1,
    )
    for call in (
        lambda x: scaled(x, 3),
        lambda x: scaled(x, power=3),
        lambda x: scaled(power=3, x=x),
    ):
        close(fg.grad(call)(2.0), 1200.0)
    close(fg.grad(scaled)(2.0), 400.0)
    assert scaled(2.0, power=3) == 8.0


def test_functions_and_options_as_arguments_without_derivative():
    @partial(fg.custom_vjp, nondiff_argnums=(0, -1))
    def apply(g, x, mode):
        return g(x) if mode == "plain" else -g(x)

    apply.defvjp(
        lambda g, x, mode: (apply(g, x, mode), x),
        lambda g, mode, x, ct: (ct * fg.grad(g)(x) * (5 if mode == "plain" else 7),),
    )
    close(fg.grad(lambda x: apply(np.sin, x, "plain"))(0.5), 5 * np.cos(0.5))
    close(fg.grad(lambda x: apply(np.sin, x, "other"))(0.5), 7 * np.cos(0.5))


def test_integer_arguments_and_results():
    @fg.custom_vjp
    def pick(x, i):
        return x[i], i + 1

    def backward(res, ct):
        x, i = res
        out, following = ct
        assert np.result_type(following) in (np.int64, np.float64)  # 0.0 for a Python number
        return fg.at(np.zeros_like(x))[i].set(10 * out), None

    pick.defvjp(lambda x, i: (pick(x, i), (x, i)), backward)
    for i in (np.array([2, 0]), 1, np.int64(1)):
        want = np.zeros(3)
        want[i] = 10
        close(fg.grad(lambda x, i=i: np.sum(pick(x, i)[0]))(X), want)
        close(fg.jit(fg.grad(lambda x, i: np.sum(pick(x, i)[0])))(X, i), want)
    batched = fg.vmap(fg.grad(lambda x, i: pick(x, i)[0]), (None, 0))(X, np.array([2, 0]))
    close(batched, 10 * np.eye(3)[[2, 0]])


def test_dtypes_stay():
    x = X.astype(np.float32)
    f = with_vjp(lambda x: x * 2, lambda x: (x * 2, None), lambda r, ct: (ct * 2,))
    assert fg.grad(lambda x: np.sum(f(x)))(x).dtype == np.float32
    # A Python number stays as weak as it was.
    assert fg.jit(lambda s: f(s) * x)(2.0).dtype == np.float32
    assert fg.jit(lambda s: f(s) * x)(np.float64(2.0)).dtype == np.float64
    # A Python number is a cotangent of any dtype.
    g = with_vjp(lambda s: s * 1, lambda s: (s * 1, None), lambda r, ct: (3.0,))
    assert fg.grad(g)(np.float32(1)).dtype == np.float32


def test_methods():
    @attrs.frozen(eq=False)
    class Layer:
        scale: float

        @partial(fg.custom_vjp, nondiff_argnums=0)
        def __call__(self, x):
            return self.scale * x

        __call__.defvjp(
            lambda self, x: (self.scale * x, None), lambda self, res, ct: (10 * self.scale * ct,)
        )

    close(fg.grad(Layer(2.0))(1.0), 20.0)
    assert Layer(2.0)(1.0) == 2.0


# --- values, closures, purity ----------------------------------------------------------------


def test_python_conditions_on_values():
    @fg.custom_vjp
    def f(x):
        return x * 2 if x > 0 else x * 3

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * 20,) if x > 0 else (ct * 30,))
    g = fg.jit(fg.grad(f))
    for call in (fg.grad(f), g, g):
        assert [float(call(x)) for x in (1.0, -1.0, 2.0)] == [20.0, 30.0, 20.0]
    with pytest.raises(ConcretizationError, match=r"differs by example under vmap.*np\.where"):
        fg.vmap(f)(X)
    h = with_vjp(f, f.__rules__[0], lambda x, ct: (ct,) if ct > 0 else (-ct,))
    with pytest.raises(ConcretizationError, match="is a derivative, which is not known"):
        fg.grad(h)(1.0)


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit])
def test_closures_over_traced_values(wrap):
    def outer(k, x):
        h = with_vjp(lambda x: x * k, lambda x: (x * k, None), lambda res, ct: (100 * ct * k,))
        return h(x)

    close(wrap(fg.grad(outer))(3.0, 2.0), 2.0)  # with respect to k: the function's own derivative
    close(wrap(fg.grad(outer, argnums=1))(3.0, 2.0), 300.0)
    close(wrap(fg.grad(lambda k: outer(k, k)))(3.0), 3.0 + 300.0)
    close(wrap(fg.grad(fg.grad(lambda k: outer(k, k))))(3.0), 1.0 + 100.0)
    close(wrap(fg.grad(lambda k: fg.grad(outer, argnums=1)(k, 2.0)))(3.0), 100.0)
    close(wrap(fg.vmap(fg.grad(outer), (0, None)))(X, 2.0), [2.0, 2.0, 2.0])


def test_a_rule_that_closes_over_a_traced_value_at_higher_order_is_refused_clearly():
    def outer(k):
        h = fg.custom_vjp(np.exp)
        h.defvjp(lambda x: (y := h(x), y), lambda y, ct: (k * ct * y,))
        return fg.grad(h)(0.5)

    close(outer(3.0), 3 * np.exp(0.5))
    with pytest.raises(
        UnsupportedFunctionError, match="closes over a traced value.*as an argument"
    ):
        fg.grad(lambda k: fg.grad(lambda x: x * outer(k * x))(1.0))(3.0) + fg.grad(
            lambda k: fg.grad(fg.grad(_closing(k)))(1.0)
        )(3.0)


def _closing(k):
    h = fg.custom_vjp(np.exp)
    h.defvjp(lambda x: (y := h(x), y), lambda y, ct: (k * ct * y,))
    return h


def test_closures_over_arrays_are_read_again():
    table = {"w": np.array([1.0, 2.0, 3.0])}
    f = fg.custom_vjp(lambda x: x * 1)
    f.defvjp(lambda x: (f(x), f(x)), lambda y, ct: (ct * table["w"] * y,))
    second = lambda: fg.grad(lambda x: np.sum(fg.grad(lambda x: np.sum(f(x)))(x)))(X)
    close(second(), table["w"] * table["w"] * X)
    table["w"] = np.array([10.0, 20.0, 30.0])
    close(second(), table["w"] * table["w"] * X)


def test_a_pullback_of_a_derivative_remembers_what_a_rule_read():
    table = np.array([1.0, 2.0, 3.0])
    f = fg.custom_vjp(lambda x: x * 1)
    f.defvjp(lambda x: (f(x), f(x)), lambda y, ct: (ct * table * y,))
    _, pull = fg.vjp(lambda x: fg.vjp(f, x)[1](np.ones(3))[0], X)
    want = pull(np.ones(3))[0]
    table[:] = 100.0
    close(pull(np.ones(3))[0], want)


def test_jit_sees_what_a_rule_reads_change():
    factor = 2.0
    f = with_vjp(np.sin, lambda x: (np.sin(x), None), lambda r, ct: (ct * factor,))
    g = fg.jit(fg.grad(lambda x: f(x)))
    assert float(g(1.0)) == 2.0
    factor = 5.0
    assert float(g(1.0)) == 5.0
    f.defvjp(lambda x: (np.sin(x), None), lambda r, ct: (ct * 11,))
    assert float(g(1.0)) == 11.0


def test_stop_gradient_needs_no_rule():
    f = fg.custom_vjp(np.sin)
    close(fg.grad(lambda x: x * fg.stop_gradient(f(x)))(0.5), np.sin(0.5))
    close(fg.grad(lambda x: x * f(fg.stop_gradient(x)))(0.5), np.sin(0.5))


@pytest.mark.parametrize(
    "zero",
    [
        lambda p: None, lambda p: 0.0 * p, lambda p: np.zeros(3),
        lambda p: np.zeros_like(p), lambda p: np.zeros_like(p) * np.exp(p),
        lambda p: -np.zeros_like(p), lambda p: np.broadcast_to(0.0, (3,)),
    ],
)  # fmt: skip
def test_zero_tangents_are_linear_however_written(zero):
    f = with_jvp(lambda x: (x, 2 * x), lambda p, t: ((p[0], 2 * p[0]), (zero(p[0]), 2 * t[0])))
    close(fg.jvp(f, (X,), (X,))[1], [0 * X, 2 * X])
    close(fg.jit(fg.grad(lambda x: np.sum(f(x)[0] + f(x)[1])))(X), 2 + 0 * X)
    if zero(X) is not None:
        g = with_jvp(lambda x: x, lambda p, t: (p[0], zero(p[0]) + 3 * t[0]))
        close(fg.grad(lambda x: np.sum(g(x)))(X), 3 + 0 * X)


@pytest.mark.parametrize(
    "backward",
    [
        lambda r, ct: (r,),
        lambda r, ct: (ct + 1,),
        lambda r, ct: (1.0,),
        lambda r, ct: (ct - r * r,),
    ],
)
def test_forward_mode_of_a_rule_that_leaves_its_cotangent_out(backward):
    f = with_vjp(np.sin, lambda x: (np.sin(x), np.cos(x)), backward)
    for wrap in (lambda h: h, fg.jit):
        with pytest.raises(CotangentError, match=r"not linear in its cotangent"):
            wrap(lambda x: fg.jvp(f, (x,), (1.0,)))(0.5)


def test_the_value_is_that_of_the_function():
    f = with_vjp(lambda x: 1.0 * x, lambda x: (5.0 * x, None), lambda r, ct: (ct,))
    for wrap in (lambda h: h, fg.jit):
        close(wrap(fg.value_and_grad(f))(2.0), [2.0, 1.0])
    close(fg.vjp(f, 2.0)[0], 2.0)


def test_forward_mode_needs_a_linear_rule():
    clipped = with_vjp(lambda x: x, lambda x: (x, None), lambda r, ct: (np.clip(ct, -1, 1),))
    assert float(fg.grad(lambda x: 10 * clipped(x))(3.0)) == 1.0
    with pytest.raises(CotangentError, match=r"not linear in its cotangent.*fg\.custom_jvp"):
        fg.jvp(clipped, (3.0,), (1.0,))


def test_after_an_exception_all_is_as_before():
    fail = [True]

    def backward(res, ct):
        if fail[0]:
            raise KeyboardInterrupt
        return (ct * 5,)

    f = with_vjp(np.sin, lambda x: (np.sin(x), None), backward)
    with pytest.raises(KeyboardInterrupt):
        fg.grad(f)(1.0)
    fail[0] = False
    assert float(fg.grad(f)(1.0)) == 5.0


# --- mistakes --------------------------------------------------------------------------------


def test_no_rule():
    f = fg.custom_vjp(np.sin)
    assert f(1.0) == np.sin(1.0)
    assert fg.jit(f)(1.0) == np.sin(1.0)
    close(fg.vmap(f)(X), np.sin(X))
    for derive in (fg.grad(f), fg.jit(fg.grad(f)), lambda x: fg.jvp(f, (x,), (1.0,))):
        with pytest.raises(UnsupportedFunctionError, match=r"sin .*no rule.*f\.defvjp\(forward"):
            derive(1.0)


@pytest.mark.parametrize(
    ("backward", "error", "match"),
    [
        (lambda r, ct: ct, CotangentError, "a Tracer instead of a tuple of 2 .*write: return a tuple"),
        (lambda r, ct: (ct,), CotangentError, "gave 1 instead of a tuple of 2 cotangents"),
        (lambda r, ct: (ct,) * 3, CotangentError, "gave 3 instead of a tuple of 2 cotangents"),
        (lambda r, ct: ({"w": np.ones(7)}, ct), CotangentError,
         r"argument 0\['w'\], float64\[3\], a cotangent of shape \(7,\); write: .*\(3,\)"),
        (lambda r, ct: ({"w": ct}, np.sum(ct)), CotangentError,
         r"argument 1, float64\[3\], a cotangent of shape \(\)"),
        (lambda r, ct: ({"w": 0.0}, ct), CotangentError, r"shape \(\).*or None for zero"),
        (lambda r, ct: ({"w": ct}, ct.astype(np.float32)), CotangentError,
         r"argument 1, float64\[3\], a cotangent of dtype float32; .*\.astype\('float64'\)"),
        (lambda r, ct: ({"w": ct}, ct * 1j), CotangentError, "dtype complex128"),
        (lambda r, ct: (ct, ct), TreeMismatchError, "arguments.*cotangents by the backward rule of f"),
        (lambda r, ct: ({"v": ct}, ct), TreeMismatchError, "'v'"),
        (lambda r, ct: (None, (None, ct)), TreeMismatchError, "cotangents by the backward rule"),
    ],
)  # fmt: skip
def test_wrong_cotangents(backward, error, match):
    def f(p, x):
        return p["w"] * x

    f = with_vjp(f, lambda p, x: (p["w"] * x, None), backward)
    for wrap in (lambda g: g, fg.jit):
        with pytest.raises(error, match=match):
            wrap(fg.grad(lambda x: np.sum(f({"w": x}, X))))(X)
    # Whoever only calls it never needs the rule; whoever does later is told.
    close(fg.jit(lambda x: f({"w": x}, X))(X), X * X)


def test_wrong_forward_rules():
    def f(x):
        return x * 2

    for forward, error, match in (
        (lambda x: x * 2, OutputTypeError, "forward rule of f must return a pair.*residuals"),
        (lambda x: (x * 2, None, None), OutputTypeError, "must return a pair"),
        (lambda x: ((x, x), None), TreeMismatchError, "result of f.*by its forward rule"),
        (lambda x: (np.sum(x), None), ShapeMismatchError, r"is float64\[3\], but float64\[\]"),
    ):
        g = with_vjp(f, forward, lambda r, ct: (ct,))
        with pytest.raises(error, match=match):
            fg.grad(lambda x, g=g: np.sum(g(x)))(X)


def test_a_broken_rule_is_reported_when_a_jitted_caller_is_differentiated():
    f = with_vjp(np.sin, lambda x: (np.sin(x), None), lambda r, ct: 1 / 0)
    jitted = fg.jit(lambda x: f(x))
    assert fg.vmap(jitted)(X).shape == (3,)  # the program is made here, without a derivative
    with pytest.raises((UnsupportedFunctionError, ZeroDivisionError), match="division by zero"):
        fg.grad(lambda x: np.sum(fg.vmap(jitted)(x)))(X)


def test_bad_nondiff_argnums():
    f = fg.custom_vjp(np.sin, nondiff_argnums=3)
    with pytest.raises(ArgumentError, match=r"nondiff_argnums=3 of sin.*1 positional"):
        f(1.0)


def test_a_constant_of_zeros_that_is_not_zero_is_seen_in_a_pushforward():
    """``cos`` of zeros is ones: what is added to a cotangent makes the rule affine, not linear."""
    f = fg.custom_vjp(np.sin)
    f.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * np.cos(x) + np.cos(np.zeros_like(x)),))
    with pytest.raises(CotangentError, match="not linear in its cotangent"):
        fg.jvp(f, (1.0,), (1.0,))
