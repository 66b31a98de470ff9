"""``associative_scan`` against the loop that it replaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad import errors
from tests.laws.programs import share


def affine(p: Any, q: Any) -> Any:
    return {"a": q["a"] * p["a"], "b": q["a"] * p["b"] + q["b"]}


def written_out(fn: Any, elems: Any, n: int, reverse: bool) -> list[Any]:
    order = range(n - 1, -1, -1) if reverse else range(n)
    results: list[Any] = [None] * n
    last = None
    for i in order:
        element = fg.tree.map(lambda x, i=i: x[i : i + 1], elems)
        last = element if last is None else fn(last, element)
        results[i] = last
    return results


@share(0.5)
@given(st.integers(0, 20), st.booleans(), st.integers(-2, 1), st.integers(0, 2**32))
def test_it_equals_the_loop(n, reverse, axis, seed):
    rng = np.random.default_rng(seed)
    elems = {"a": rng.uniform(0.5, 1.5, (n, 2)), "b": rng.normal(size=(n, 2))}
    weights = rng.normal(size=(n, 2))
    turned = {k: np.moveaxis(v, 0, axis) for k, v in elems.items()}

    def total(elems):
        out = fg.associative_scan(affine, elems, reverse, axis)
        return np.sum(np.moveaxis(out["b"], axis, 0) * weights)

    def plain(elems):
        rows = written_out(affine, elems, n, reverse)
        return sum([np.sum(row["b"] * weights[i]) for i, row in enumerate(rows)]) + 0 * np.sum(
            elems["b"]
        )

    assert_allclose(total(turned), plain(elems), rtol=1e-10, atol=1e-12)
    got, want = fg.grad(total)(turned), fg.grad(plain)(elems)
    for key in ("a", "b"):
        assert_allclose(np.moveaxis(got[key], axis, 0), want[key], rtol=1e-9, atol=1e-10)
    assert_allclose(fg.jit(total)(turned), plain(elems), rtol=1e-10, atol=1e-12)


def test_operations_that_do_not_commute():
    rng = np.random.default_rng(0)
    m = rng.normal(size=(7, 2, 2))
    out = fg.associative_scan(np.matmul, m)
    last = np.eye(2)
    for i in range(7):
        last = last @ m[i]
        assert_allclose(out[i], last)
    backwards = fg.associative_scan(np.matmul, m, reverse=True)
    assert_allclose(backwards[0], m[6] @ m[5] @ m[4] @ m[3] @ m[2] @ m[1] @ m[0])


def test_it_is_work_efficient():
    count = [0, 0]

    def add(a, b):
        count[0] += 1
        count[1] += len(a)
        return a + b

    x = np.arange(1.0, 1001.0)
    assert_allclose(fg.associative_scan(add, x), np.cumsum(x))
    assert count[0] <= 20
    assert count[1] <= 2000
    assert fg.vmap(lambda x: fg.associative_scan(np.add, x))(np.ones((2, 3))).tolist() == [
        [1, 2, 3],
        [1, 2, 3],
    ]


def test_bad_input():
    one = np.ones(3)
    with pytest.raises(errors.ShapeMismatchError, match=r"\['a'\]: 3, elems\['b'\]: 4"):
        fg.associative_scan(affine, {"a": one, "b": np.ones(4)})
    with pytest.raises(errors.ArgumentError, match="axis 1"):
        fg.associative_scan(np.add, one, axis=1)
    with pytest.raises(errors.ShapeMismatchError, match="keeps shapes"):
        fg.associative_scan(lambda a, b: np.sum(a + b), one)
    with pytest.raises(errors.TreeMismatchError):
        fg.associative_scan(lambda a, b: (a, b), one)
    with pytest.raises(errors.OutputTypeError, match="float64"):
        fg.associative_scan(lambda a, b: a + b * 0.5, np.arange(3))
    with pytest.raises(errors.InputTypeError):
        fg.associative_scan(np.add, "abc")
    assert fg.associative_scan(np.add, None) is None
