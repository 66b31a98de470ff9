"""Forward mode is transposed reverse mode; after simplification it costs what a rule would."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad._graph import make_graph
from fungrad._jvp import pushforward
from fungrad._simplify import simplify
from fungrad._vjp import pullback
from tests._checks import graph_of
from tests._domains import all_rows

ROWS = all_rows()


def operations(graph):
    return [node.primitive.name for node in simplify(graph).nodes]


def directions(row):
    """For some cases of a row, the operations of value and pullback, and of value and tangent."""
    cases = [case for case in row.cases if case.varying]
    for case in cases[:1] + cases[-1:]:
        operands = case.sample(0, "float64" if "float64" in row.gradient_dtypes else None)
        with np.errstate(all="ignore"):
            graph, _ = graph_of(case.function, operands)
        seeds = tuple(i for i, aval in enumerate(graph.avals) if aval.inexact)
        if seeds:
            back = pullback(graph, case.varying, seeds)
            avals = [node.aval for node in back.inputs]
            both = make_graph(avals, [*graph.outputs, *back.outputs])
            yield operations(both), operations(pushforward(graph, case.varying))


MASKED = dict.fromkeys(("cholesky", "eigh", "eigvalsh"), 16)
"""Rules of triangles, by ``np.where``, whose masks are joined when they are transposed."""


@pytest.mark.parametrize("name", ROWS)
def test_a_tangent_takes_no_more_operations_than_a_cotangent(name):
    """Forward rules share the partials with reverse rules, and add the parts of all operands."""
    for backwards, forwards in directions(ROWS[name]):
        more = MASKED.get(name, 8)
        assert len(forwards) <= len(backwards) + more, f"{forwards}\n{backwards}"


LINEAR = {
    "sum": lambda x: np.sum(x, axis=0), "cumsum": lambda x: np.cumsum(x, axis=1),
    "transpose": lambda x: x.T, "flip": lambda x: x[::-1], "slice": lambda x: x[1:, ::-2],
    "reshape": np.ravel, "matmul": lambda x: x @ MATRIX, "concatenate": lambda x: np.vstack([x, x]),
    "stack": lambda x: np.stack([x[0], x[2]]), "roll": lambda x: np.roll(x, 1, 0),
    "einsum": lambda x: np.einsum("ij->j", x), "fft": np.fft.fft, "diff": np.diff,
    "unstack": lambda x: x[0] + 2 * x[1] - x[2], "pad": lambda x: np.pad(x, 1),
}  # fmt: skip
MATRIX = np.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize("name", LINEAR)
def test_the_tangent_of_a_linear_function_is_that_function(name):
    f, x = LINEAR[name], np.arange(12.0).reshape(3, 4) ** 2
    plain = operations(fg.trace(f, x))
    twice = operations(fg.trace(lambda x, t: fg.jvp(f, (x,), (t,)), x, x))
    assert len(twice) <= 2 * len(plain) + 4, twice
    assert_allclose(fg.jvp(f, (x,), (x + 1,))[1], f(x + 1), rtol=1e-13)


# --- cotangents of slices ------------------------------------------------------------------------


def test_taking_an_array_apart_costs_one_array():
    def f(x):
        a, b, c = x
        return a * b + np.sin(c)

    x = np.array([2.0, 3.0, 0.5])
    assert_allclose(fg.grad(f)(x), [3.0, 2.0, np.cos(0.5)])
    found = simplified(fg.grad(f), x)
    assert found.count("scatter_sum") == 1
    assert not {"scatter_add", "add"} & set(found)
    many = lambda x: sum(k * x[k] ** 2 for k in range(50))
    assert_allclose(fg.grad(many)(np.ones(50)), 2.0 * np.arange(50))
    assert simplified(fg.grad(many), np.ones(50)).count("scatter_sum") == 1
    assert "scatter_add" not in simplified(fg.grad(many), np.ones(50))


BLOCKS = {
    "all entries": lambda m: m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0] + m[2, 0] ** 3 * m[2, 1],
    "some entries": lambda m: m[0, 0] * m[-1, 1],
    "rows": lambda m: np.sum(m[0] * m[2]) * np.sum(np.exp(m[1])),
    "columns": lambda m: np.sum(m[:, 0] ** 2 * m[:, 1]),
    "blocks": lambda m: np.sum(m[:2, :1]) ** 2 + np.prod(m[2:, :1]) + np.sum(m[:2, 1:] ** 3),
    "overlapping": lambda m: np.sum((m[1:] - m[:-1]) ** 2) + np.sum(m[0] ** 3),
    "nested": lambda m: np.sum(m[1:, :]) * m[2, 1] + np.sum(m**2) * np.sum(m[0:1, 0:1]),
    "twice the same": lambda m: np.sum(np.sin(m[1])) + np.sum(m[1]) ** 2 + np.sum(m[0]),
    "steps": lambda m: np.sum(m[::2] ** 2) * np.sum(m[::-1, 1:] ** 3) + m[1, 1] * m[0, 0],
    "new axes": lambda m: np.sum(m[None, 0] * m[1, :, None]) + m[2, 0],
    "arrays": lambda m: np.sum(m[[0, 0, 2]] ** 2) * m[0, 1] + m[1, 1],
    "empty": lambda m: np.sum(m[1:1]) + np.sum(m[:, 2:] ** 2) + m[0, 0] * m[0, 1],
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_blocks_add_up(name, dtype):
    f, m = BLOCKS[name], (np.arange(6.0).reshape(3, 2) / 3 - 0.7)
    want = np.zeros((3, 2))
    for place in np.ndindex(3, 2):  # the complex step
        z = m.astype(complex)
        z[place] += 1e-30j
        want[place] = f(z).imag / 1e-30
    got = fg.grad(f)(m.astype(dtype))
    assert got.dtype == dtype
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    assert_allclose(got, want, rtol=rtol, atol=rtol)
    ones = np.ones_like(m)
    second = fg.hessian(f)(m)
    assert_allclose(second, np.einsum("ijkl->klij", second), rtol=1e-12, atol=1e-14)
    product = np.einsum("ijkl,kl->ij", second, ones)
    assert_allclose(fg.hvp(f, (m,), (ones,)), product, rtol=1e-11, atol=1e-13)
    rows = np.stack([m, 2 * m]).astype(dtype)
    each = np.stack([fg.grad(f)(row) for row in rows])
    assert_allclose(fg.vmap(fg.grad(f))(rows), each, rtol=rtol, atol=rtol)


# --- the rewrites that make it so ----------------------------------------------------------------


def simplified(f, *args):
    return operations(fg.trace(f, *args))


def test_rewrites():
    x, y = np.array([1.0, -0.0, np.inf]), np.array([0.0, 0.0, np.inf])
    column = np.ones((3, 1))
    cases = [
        (lambda x, y: -x + y, (x, y), ["subtract"]),
        (lambda x, y: x + -y, (x, y), ["subtract"]),
        (lambda x, y: x - (-y), (x, y), ["add"]),
        (lambda x, y: x[::-1][::-1] * y, (x, y), ["multiply"]),
        (lambda x, y: x[::-1][1:] * y[1:], (x, y), ["getitem", "getitem", "getitem", "multiply"]),
        (lambda x, y: np.broadcast_to(x, (2, 3)) * np.ones((2, 3)), (x, y), ["multiply"]),
        (lambda x, y: np.broadcast_to(x[None], (2, 3)) * y, (x, y),
         ["broadcast_to", "multiply"]),
        (lambda x, y: x[1:2].reshape(()) * y[:1].reshape(1, 1), (x, y),
         ["getitem", "getitem", "multiply"]),
        (lambda x, y: np.outer(x, y)[1:2, :, ][:, 2:3].reshape(()), (x, y),
         ["multiply", "getitem", "getitem"]),
        (lambda x, y: np.broadcast_to(column, (3, 3)) + np.broadcast_to(y, (3, 3)), (x, y), ["add"]),
        (lambda x, y: np.broadcast_to(x, (3, 3)) + 1.0, (x, y), ["broadcast_to", "add"]),
        (lambda x, y: -(x > 0).astype(int) + y, (x, y), ["greater", "astype", "negative", "add"]),
    ]  # fmt: skip
    for f, args, expected in cases:
        found = simplified(f, *args)
        assert [name for name in found if name != "reshape"] == expected
        with np.errstate(invalid="ignore"):
            want = f(*args)
            got = fg.jit(f)(*args)
            assert_array_equal(got, want)
            assert_array_equal(np.signbit(got), np.signbit(want))
