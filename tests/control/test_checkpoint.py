"""Checkpointed loops: the same results, in less memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad import errors
from fungrad.compile.pool import release


def scanned(k: Any, n: int, reverse: bool, **keywords: Any) -> Any:
    step = lambda c, x: ((np.sin(c[0] * k) + x, c[1] + 1), (c[0] * x, c[1]))
    xs = np.linspace(0, 1, n)
    return fg.scan(step, (1.0, 0), xs, reverse=reverse, **keywords)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 9, 10, 27, 100])
@pytest.mark.parametrize("reverse", [False, True])
def test_scan_by_segments_is_scan(n, reverse):
    def loss(k, **keywords):
        (c, _), (ys, ns) = scanned(k, n, reverse, **keywords)
        return c + np.sum(ys * np.arange(n) * ns)

    k = 1.3
    (c, m), (ys, ns) = scanned(k, n, reverse)
    for keep in (True, 2, 3, 10):
        (c2, m2), (ys2, ns2) = scanned(k, n, reverse, checkpoint=keep)
        assert (c, m) == (c2, m2)
        assert_array_equal(ys, ys2)
        assert_array_equal(ns, ns2)
        f = lambda k, keep=keep: loss(k, checkpoint=keep)
        assert_allclose(fg.grad(f)(k), fg.grad(loss)(k), rtol=1e-12)
        assert_allclose(fg.jit(fg.grad(f))(k), fg.grad(loss)(k), rtol=1e-12)
        assert_allclose(fg.jvp(f, (k,), (1.0,))[1], fg.grad(loss)(k), rtol=1e-12)
        if n < 10:
            assert_allclose(fg.hessian(f)(k), fg.hessian(loss)(k), rtol=1e-11)
            points = np.array([k, 0.7])
            assert_allclose(fg.vmap(fg.grad(f))(points), fg.vmap(fg.grad(loss))(points), rtol=1e-12)


@pytest.mark.parametrize("keep", [True, 2, 3])
def test_while_loop_by_segments_is_while_loop(keep):
    def f(x, **keywords):
        body = lambda s: (s[0] + s[1], s[1] * x)
        return fg.while_loop(lambda s: s[0] < x * 1e3, body, (x, x), **keywords)[0]

    g = lambda x: f(x, checkpoint=keep)
    points = np.array([1.1, 1.2, 5.0])  # 47, 29 and 5 steps
    for x in points:
        assert f(x) == g(x)
        assert_allclose(fg.grad(g)(x), fg.grad(f)(x), rtol=1e-12)
        assert_allclose(fg.hessian(g)(x), fg.hessian(f)(x), rtol=1e-10)
    assert_allclose(fg.vmap(fg.grad(g))(points), fg.vmap(fg.grad(f))(points), rtol=1e-12)
    power = lambda x, n: fg.fori_loop(0, n, lambda i, y: y * x, 1.0, checkpoint=keep)
    assert fg.grad(power)(2.0, 9) == 9 * 2.0**8
    assert fg.jit(fg.grad(power))(2.0, 9) == 9 * 2.0**8  # the number of steps is traced


def carries_at_most(gradient: Any, k: Any) -> float:
    gradient(k)
    release()
    tracemalloc.start()
    gradient(k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / k.nbytes


@pytest.mark.parametrize("loop", ["scan", "while_loop"])
def test_memory(loop):
    n, k = 1000, np.ones(4000)

    def loss(k, **keywords):
        if loop == "scan":
            return np.sum(fg.scan(lambda c, _: (np.sin(c * k), None), k, length=n, **keywords)[0])
        body = lambda s: (s[0] + 1, np.sin(s[1] * k))
        return np.sum(fg.while_loop(lambda s: s[0] < n, body, (0, k), **keywords)[1])

    assert carries_at_most(fg.grad(loss), k) > n
    for keep, bound in ((4, 100), (10, 80), (True, 130)):
        assert carries_at_most(fg.grad(lambda k, keep=keep: loss(k, checkpoint=keep)), k) < bound


def test_what_arithmetic_gives_again_is_not_kept():
    n, k = 200, np.full(4000, 0.5)

    def loss(k):
        return np.sum(fg.scan(lambda c, _: (1 / (1 + np.exp(-c * k)), None), k, length=n)[0])

    assert n < carries_at_most(fg.grad(loss), k) < 2.2 * n  # carries and exponentials
    by_hand = k
    slope = np.ones_like(k)
    for _ in range(n):
        after = 1 / (1 + np.exp(-by_hand * k))
        by_hand, slope = after, after * (1 - after) * (slope * k + by_hand)
    assert_allclose(fg.grad(loss)(k), slope, rtol=1e-12)


@pytest.mark.parametrize("keep", [0, 1, -3, 2.5, "yes", None])
def test_bad_input(keep):
    with pytest.raises(errors.ArgumentError, match="at least 2"):
        fg.scan(lambda c, x: (c, None), 0.0, length=3, checkpoint=keep)
