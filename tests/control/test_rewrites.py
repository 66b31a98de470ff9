"""What becomes of loops before they are compiled: how many there are, and what they carry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad._expr import Expr
from fungrad.compile.run import program

XS = np.linspace(0.5, 1.5, 4)


def loops(function: Any, *args: Any) -> list[Expr]:
    graph = program(fg.trace(function, *args)).graph
    return [node for node in graph.nodes if node.primitive.name == "loop"]


def spec(loop: Expr) -> Any:
    return dict(loop.static)["spec"]


def last(x: Any, xs: Any = XS) -> Any:
    return fg.scan(lambda c, x: (np.sin(c) * x, c * x), x, xs)[0]


def both(x: Any, xs: Any = XS) -> Any:
    c, ys = fg.scan(lambda c, x: (np.sin(c) * x, c * x), x, xs)
    return c + np.sum(ys)


def newton(a: Any) -> Any:
    return fg.while_loop(lambda x: abs(x * x - a) > 1e-9, lambda x: (x + a / x) / 2, 1.0)


def power(x: Any) -> Any:
    return fg.fori_loop(0, 5, lambda i, y: y * x, 1.0)


@pytest.mark.parametrize("f", [last, both, newton, power])
def test_a_function_and_its_gradient_run_one_forward_loop(f):
    assert len(loops(f, 1.2)) == 1
    assert len(loops(fg.value_and_grad(f), 1.2)) == 2


@pytest.mark.parametrize("f", [last, both, newton, power])
def test_forward_mode_is_one_loop_that_stacks_no_residuals(f):
    (loop,) = loops(lambda x, t: fg.jvp(f, (x,), (t,)), 1.2, 1.0)
    assert spec(loop).carries == 2
    assert len(spec(loop).body.outputs) == (4 if f is both else 2)
    assert_allclose(fg.jvp(f, (1.2,), (1.0,))[1], fg.grad(f)(1.2))


def test_what_nobody_reads_goes():
    def f(x):
        carry = {"used": x, "unused": x, "never": np.ones(3)}

        def step(c, item):
            a, b = item
            after = {"used": c["used"] * a, "unused": np.exp(c["unused"]), "never": c["never"] + b}
            return after, c["unused"]

        return fg.scan(step, carry, (XS, XS))[0]["used"]

    (loop,) = loops(f, 2.0)
    assert [len(spec(loop).body.inputs), len(spec(loop).body.outputs)] == [2, 1]
    assert_allclose(fg.jit(f)(2.0), 2.0 * np.prod(XS))


def test_a_carry_that_never_changes_is_a_constant():
    def f(k, x):
        (k, x), ys = fg.scan(lambda c, x: ((c[0], c[1] * c[0]), c[0] + x), (k, x), XS)
        return k * x + np.sum(ys)

    (loop,) = loops(f, 2.0, 3.0)
    assert spec(loop).carries == 1
    assert_allclose(f(2.0, 3.0), 2 * 3 * 16 + np.sum(2 + XS))
    assert_allclose(fg.grad(f)(2.0, 3.0), 5 * 3 * 16 + 4)
    g = lambda k, n: fg.while_loop(
        lambda s: s[1] < s[2], lambda s: (s[0], s[1] + s[0], s[2]), (k, 0.0, n)
    )
    loop = loops(lambda k, n: g(k, n)[:2], 2.0, 5.0)[0]
    assert spec(loop).carries == 1
    assert fg.jit(g)(2.0, 5.0) == g(2.0, 5.0) == (2.0, 6.0, 5.0)


def test_loops_one_after_the_other_become_one():
    def f(x, k):
        _, ys = fg.scan(lambda c, x: (c + x, np.sin(c) * k), x, XS)
        _, zs = fg.scan(lambda c, y: (c * y + k, c + y), x, ys)
        return fg.scan(lambda c, z: (c + z, None), 0.0, zs)[0]

    def g(x, k):
        a = b = x
        total = 0.0
        for item in XS:
            a, y = a + item, np.sin(a) * k
            b, z = b * y + k, b + y
            total = total + z
        return total

    (loop,) = loops(f, 0.3, 1.1)
    assert len(spec(loop).body.outputs) == 3
    assert f(0.3, 1.1) == g(0.3, 1.1)
    assert_allclose(fg.grad(f, (0, 1))(0.3, 1.1), fg.grad(g, (0, 1))(0.3, 1.1))


def test_loops_that_need_the_end_of_another_stay_apart():
    def f(x):
        c, ys = fg.scan(lambda c, x: (c + x, c), x, XS)
        return fg.scan(lambda d, y: (d + c * y, None), 0.0, ys)[0]

    assert len(loops(f, 0.3)) == 2
    cs = 0.3 + np.concatenate([[0.0], np.cumsum(XS)])
    assert_allclose(f(0.3), cs[-1] * np.sum(cs[:-1]))

    def backwards(x):
        _, ys = fg.scan(lambda c, x: (c + x, c), x, XS)
        return fg.scan(lambda d, y: (d * y + 1, None), 0.0, ys, reverse=True)[0]

    assert len(loops(backwards, 0.3)) == 2
