"""``fg.at``: updates without mutation, against NumPy's assignments and ``ufunc.at``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad.errors import ShapeMismatchError
from fungrad.ops.indexing import add_at
from fungrad.ops.scatter import at
from tests._checks import same_bits
from tests.ops._ordering_calls import check_batched, check_derivatives, draw

A = np.array
UFUNCS = {"add": np.add, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}
INDICES = {
    "int": 1,
    "negative int": -1,
    "slice": slice(1, None),
    "strided": slice(None, None, -2),
    "ellipsis": (..., 2),
    "all": ...,
    "pair": (1, 2),
    "mixed": (slice(None), 1),
    "list": [0, 2],
    "repeated": [0, 0, 2, 0],
    "arrays": (A([0, 1, 1]), A([1, 3, 3])),
    "open mesh": np.ix_([0, 2], [1, 1, 3]),
    "mask": A([True, False, True]),
    "full mask": np.arange(12).reshape(3, 4) % 2 == 0,
    "nothing": [],
    "array and slice": (slice(None), A([[0, 1], [1, 1]])),
}


def expected(x, index, v, operation):
    out = np.array(x)
    if operation == "set":
        out[index] = v
    else:
        UFUNCS[operation].at(out, index, v)
    return out


@pytest.mark.parametrize("operation", ["set", *UFUNCS])
@pytest.mark.parametrize("name", INDICES)
def test_values_and_derivatives(name, operation):
    index, x = INDICES[name], draw(3, 4)
    index = np.asarray(index, int) if name == "nothing" else index
    v = draw(*x[index].shape, seed=5) * 1.37 + 0.011
    f = lambda x, v: getattr(at(x)[index], operation)(v)
    want = expected(x, index, v, operation)
    same_bits(f(x, v), want, "plain arrays")
    for _ in range(2):
        same_bits(fg.jit(f)(x, v), want, "jit")
    check_derivatives(f, x, v, what=name)
    check_batched(f, x, v, what=name)
    check_derivatives(lambda x: f(x, 0.7), x, what=f"{name}, a number")
    check_derivatives(lambda v: f(np.ones((3, 4)), v), v, what=f"{name}, a plain array")


@pytest.mark.parametrize("operation", ["set", *UFUNCS])
def test_traced_places(operation):
    x, v, i = draw(5), draw(4, seed=3), A([1, 4, 1, -1])
    f = lambda x, v, i: getattr(at(x)[i], operation)(v)
    same_bits(fg.jit(f)(x, v, i), expected(x, i, v, operation), "jit")
    many = A([[0, 0, 0, 0], [1, 2, 3, 4], [4, -1, 4, -5]])
    for axes in ((None, None, 0), (0, None, 0), (None, 0, 0)):
        batch = [np.stack([a] * 3) * A([[1], [2], [-1]]) if b == 0 else a
                 for a, b in ((x, axes[0]), (v, axes[1]))]  # fmt: skip
        rows = [
            expected(*[a[k] if b == 0 else a for a, b in zip((*batch, many)[:1], axes, strict=False)],
                     many[k], batch[1][k] if axes[1] == 0 else batch[1], operation)
            for k in range(3)
        ]  # fmt: skip
        same_bits(fg.vmap(f, axes)(*batch, many), np.stack(rows), str(axes))
    gradient = fg.vmap(fg.grad(lambda v, i: np.sum(f(x, v, i) * x), 0), (None, 0))(v, many)
    loop = [fg.grad(lambda v, k=k: np.sum(f(x, v, k) * x))(v) for k in many]
    assert_allclose(gradient, loop, rtol=1e-14)


def test_the_last_value_set_wins():
    i = A([2, 0, 2, 2])
    f = lambda x, v: at(x)[i].set(v)
    got = f(np.zeros(3), A([1.0, 2.0, 3.0, 4.0]))
    same_bits(got, A([2.0, 0.0, 4.0]), "set")
    pull = fg.vjp(f, np.zeros(3), np.ones(4))[1]
    x, v = pull(A([10.0, 20.0, 30.0]))
    same_bits(x, A([0.0, 20.0, 0.0]), "of x")
    same_bits(v, A([0.0, 10.0, 0.0, 30.0]), "of the values")
    # ... in the order of the entries, whatever their layout in memory
    index, values = np.asfortranarray([[0, 1], [0, 1]]), np.asfortranarray([[1.0, 2.0], [3.0, 4.0]])
    same_bits(at(np.zeros(2))[index].set(values), A([3.0, 4.0]), "layout")


def test_products_with_zeros_to_third_order():
    i = A([0, 1, 0, 0, 1])
    f = lambda v: np.sum(at(A([2.0, 3.0]))[i].multiply(v))
    v = A([0.0, 5.0, 0.0, 7.0, 0.0])
    # 2 a c d + 3 b e, with a = c = e = 0
    assert_allclose(fg.grad(f)(v), [0, 0, 0, 0, 15])
    hessian = fg.hessian(f)(v)
    want = np.zeros((5, 5))
    want[0, 2] = want[2, 0] = 14
    want[1, 4] = want[4, 1] = 3
    assert_allclose(hessian, want)
    third = fg.jacobian(fg.hessian(f))(v)
    assert third[0, 2, 3] == third[3, 0, 2] == 2
    assert third[0, 0, 2] == 0


def test_ties_share_evenly():
    f = lambda x, v: np.sum(at(x)[A([0, 0, 1])].max(v))
    x, v = fg.grad(f, (0, 1))(A([1.0, 5.0, 2.0]), A([1.0, 1.0, 4.0]))
    assert_allclose(x, [1 / 3, 1, 1])
    assert_allclose(v, [1 / 3, 1 / 3, 0])


def test_dtypes():
    x = np.zeros(3, np.float32)
    f = lambda x, v: at(x)[1].add(v)
    same_bits(fg.jit(f)(x, 2.0), A([0, 2, 0], np.float32), "a number")
    same_bits(fg.jit(f)(x, np.float64(2.0)), A([0, 2, 0], np.float32), "a wider one")
    gradients = fg.grad(lambda x, v: np.sum(f(x, v)), (0, 1))(x, np.ones((), np.float32))
    assert [g.dtype for g in gradients] == [np.float32, np.float32]
    counts = fg.jit(lambda i: at(np.zeros(3, int))[i].add(1))(A([0, 2, 2]))
    same_bits(counts, A([1, 0, 2]), "integers")
    same_bits(at(np.zeros(2, bool))[0].set(True), A([True, False]), "booleans")
    z = at(np.zeros(2, complex))[0].set(1j)
    same_bits(z, A([1j, 0]), "complex")
    check_derivatives(lambda x, v: at(x)[[0, 0]].add(v), np.ones(2) * 1j, A([1 + 1j, 2.0]))
    for bad in (lambda x: at(np.zeros(3, int))[0].set(x), lambda x: at(x)[0].set(1j)):
        with pytest.raises(TypeError, match="can't be written"):
            fg.jit(bad)(1.5 * np.ones(2))


def test_errors():
    x = np.ones(3)
    with pytest.raises(ShapeMismatchError, match=r"\(2,\).*\(3,\)"):
        fg.jit(lambda x: at(x)[:].set(np.ones(2)))(x)
    for run in (at(x).__getitem__(3).set, lambda v: fg.jit(lambda x: at(x)[3].set(v))(x)):
        with pytest.raises(IndexError):
            run(1.0)
    with pytest.raises(IndexError):
        fg.jit(lambda x, i: at(x)[i].set(1.0))(x, A([0, 9]))


def test_empty_and_scalar_arrays():
    same_bits(fg.jit(lambda x: at(x)[()].add(2.0))(1.0), np.float64(3.0), "0-d")
    assert fg.grad(lambda x: at(x)[...].multiply(x))(3.0) == 6.0
    same_bits(fg.jit(lambda x: at(x)[:].set(1.0))(np.ones((0, 2))), np.ones((0, 2)), "size 0")
    assert fg.grad(lambda x: np.sum(at(x)[1:1].set(5.0)))(np.ones(3)).tolist() == [1, 1, 1]


def test_operands_are_never_written():
    x, v, i = np.zeros(3), np.ones(2), A([0, 1])
    y = at(x)[i].set(v)
    y[:] = 7
    assert not x.any()
    jitted = fg.jit(lambda x, v: at(x)[i].add(v))
    for _ in range(3):
        jitted(x, v)
    assert not x.any()
    assert (v == 1).all()


def test_an_index_array_is_read_when_the_program_runs():
    i = A([0, 1])
    jitted = fg.jit(lambda x: at(x)[i].set(9.0))
    assert jitted(np.zeros(3)).tolist() == [9, 9, 0]
    i[:] = 2
    assert jitted(np.zeros(3)).tolist() == [0, 0, 9]


def test_slices_need_no_search_for_repeated_places():
    for index in (slice(1, 3), 0, A([True, False, True]), (..., None)):
        back = fg.trace(
            lambda x, i=index: fg.grad(lambda x: np.sum(at(x)[i].set(x[0])))(x), np.ones(3)
        )
        assert sum(node.primitive.name == "scatter" for node in back.nodes) == 1


@given(st.integers(0, 2**32))
def test_rows_are_added_as_numpy_adds_them(seed):
    """To the bit, whatever the layout of the values, and for broadcast ones."""
    rng = np.random.default_rng(seed)
    length, rest = rng.integers(1, 50), tuple(rng.integers(1, 40, rng.integers(1, 3)))
    shape = tuple(rng.integers(1, 30, rng.integers(0, 3)))
    rows, values = rng.integers(-length, length, shape), rng.normal(size=shape + rest)
    spread = np.broadcast_to(values.reshape(-1, *rest)[0], shape + rest)
    for ct in (values, np.asfortranarray(values), spread):
        want = rng.normal(size=(length, *rest))
        got, index = want.copy(), (np.asarray(rows), *[slice(None)] * len(rest))
        np.add.at(want, index, ct)
        add_at(got, index, ct)
        same_bits(got, want, f"{seed}")
