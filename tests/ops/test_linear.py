"""Products of matrices and vectors, against NumPy itself."""

from __future__ import annotations

import numpy as np
import pytest

import fungrad as fg
from fungrad.ops.linear import matmul_p
from tests.ops._linear_calls import check, check_value, normal

PRODUCTS = {
    "matmul": (np.matmul, [
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((3,), (5, 3, 4)),
        ((5, 2, 3), (3,)), ((2, 1, 2, 3), (3, 3, 2)), ((2, 1), (1, 3)), ((4, 1, 3), (3, 1)),
        ((4, 2, 3), (4, 3, 1)), ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((4, 1, 3), (4, 3, 2)),
    ]),
    "dot": (np.dot, [
        ((), ()), ((), (2, 3)), ((2, 3), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,)), ((2, 2, 3), (4, 3, 2)),
    ]),
    "inner": (np.inner, [
        ((), ()), ((), (3,)), ((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3)), ((2, 2, 3), (4, 3)),
    ]),
    "outer": (np.outer, [((3,), (4,)), ((2, 3), (2,)), ((), (3,)), ((0,), (2,))]),
    "linalg.outer": (np.linalg.outer, [((3,), (4,)), ((0,), (2,))]),
    "linalg.matmul": (np.linalg.matmul, [((2, 3), (3, 2))]),
    "vdot": (np.vdot, [((3,), (3,)), ((2, 3), (2, 3)), ((2, 3), (6,)), ((), ())]),
    "vecdot": (np.vecdot, [((3,), (3,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1, 3), (4, 3)),
                           ((0, 3), (3,)), ((2, 0), (2, 0))]),
    "linalg.vecdot": (np.linalg.vecdot, [((2, 3), (2, 3)), ((3,), (2, 3))]),
    "linalg.vecdot, axis 0": (lambda a, b: np.linalg.vecdot(a, b, axis=0), [((3, 2), (3, 2))]),
    "kron": (np.kron, [((2,), (3,)), ((2, 3), (2, 2)), ((2,), (2, 3)), ((2, 1, 3), (2, 2)),
                       ((), (2, 3)), ((2, 3), ()), ((2, 0), (3, 2))]),
    "cross": (np.cross, [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (2, 3)), ((4, 1, 3), (2, 3))]),
    "cross, axes": (lambda a, b: np.cross(a, b, axisa=0, axisb=1, axisc=0), [((3, 2), (2, 3))]),
    "cross, axis": (lambda a, b: np.cross(a, b, axis=0), [((3, 2), (3, 2))]),
    "linalg.cross": (lambda a, b: np.linalg.cross(a, b, axis=0), [((3, 2), (3, 2))]),
    "tensordot": (np.tensordot, [((2, 3), (2, 3)), ((4, 2, 3), (2, 3, 2))]),
    "tensordot 0": (lambda a, b: np.tensordot(a, b, 0), [((2,), (3, 2))]),
    "tensordot 1": (lambda a, b: np.tensordot(a, b, axes=1), [((2, 3), (3, 4))]),
    "tensordot, axes": (lambda a, b: np.tensordot(a, b, ([0, -1], [1, 0])), [((2, 4, 3), (3, 2))]),
    "tensordot, one axis": (lambda a, b: np.linalg.tensordot(a, b, axes=(0, 1)), [((2, 3), (3, 2))]),
    **({
        "matvec": (np.matvec, [((2, 3), (3,)), ((5, 2, 3), (5, 3)), ((2, 3), (5, 3)),
                               ((4, 1, 2, 3), (5, 3))]),
        "vecmat": (np.vecmat, [((2,), (2, 3)), ((5, 2), (5, 2, 3)), ((2,), (5, 2, 3))]),
    } if hasattr(np, "matvec") else {}),
}  # fmt: skip
CASES = [
    pytest.param(function, shapes, id=f"{name} {shapes}")
    for name, (function, table) in PRODUCTS.items()
    for shapes in table
]


@pytest.mark.parametrize(("function", "shapes"), CASES)
def test_products(function, shapes):
    check(function, *[normal(*shape, seed=i) for i, shape in enumerate(shapes)])


@pytest.mark.parametrize("name", PRODUCTS)
def test_complex_products(name):
    function, table = PRODUCTS[name]
    shapes = table[-1]
    check(function, *[normal(*s, seed=i, dtype=complex) for i, s in enumerate(shapes)], what=name)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float16"])
def test_dtypes(name, dtype):
    function, table = PRODUCTS[name]
    if "cross" in name and dtype == "bool":  # there is no difference of truth values
        for run in (function, fg.jit(function)):
            with pytest.raises(TypeError):
                run(*[np.ones(shape, bool) for shape in table[0]])
        return
    rng = np.random.default_rng(0)
    operands = [rng.integers(0, 2, shape).astype(dtype) for shape in table[0]]
    check_value(function, *operands, what=name)
    check_value(function, operands[0], operands[1].astype("float32"), what=name)


def test_python_numbers_and_lists():
    check_value(lambda x: np.dot(2, x), normal(3))
    check_value(lambda x: np.dot([1.0, 2.0, 3.0], x), normal(3))
    check_value(lambda x: np.inner(x, [1, 2, 3]), normal(3))
    check_value(lambda x: np.vdot(x, [1j, 2, 3]), normal(3))
    check_value(lambda x: np.kron(x, [1.0, 2.0]), normal(3))


TRACES = {
    "trace": np.trace,
    "offset": lambda a: np.trace(a, 1),
    "axes": lambda a: np.trace(a, axis1=0, axis2=-1),
    "dtype": lambda a: np.trace(a, dtype=np.complex128),
    "method": lambda a: a.trace(-1),
    "linalg.trace": np.linalg.trace,
    "linalg.trace, offset": lambda a: np.linalg.trace(a, offset=-1),
    "linalg.trace, far off": lambda a: np.linalg.trace(a, offset=9),
    "linalg.diagonal": np.linalg.diagonal,
    "linalg.diagonal, offset": lambda a: np.linalg.diagonal(a, offset=1),
}


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2, 3), (2, 0)], ids=str)
def test_traces(name, shape):
    if name == "dtype":
        check_value(TRACES[name], normal(*shape))
    else:
        check(TRACES[name], normal(*shape))
    check_value(TRACES[name], np.ones(shape, np.int8))


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")
@pytest.mark.parametrize("shapes", [((2,), (2,)), ((2,), (3,)), ((4, 3), (2,)), ((3, 2), (3, 2))])
def test_cross_of_flat_vectors(shapes):
    check(np.cross, *[normal(*shape, seed=i) for i, shape in enumerate(shapes)])


def test_gradients_of_stacks_are_one_product():
    def shapes(function, *operands):
        nodes = fg.trace(fg.grad(function, argnums=(0, 1)), *operands).nodes
        return [node.aval.shape for node in nodes if node.primitive is matmul_p]

    loss = lambda x, w: np.sum(np.matmul(x, w) ** 2)
    assert shapes(loss, np.ones((5, 2, 3)), np.ones((3, 4))) == [(5, 2, 4), (5, 2, 3), (3, 4)]
    assert shapes(loss, np.ones((5, 2, 3)), np.ones(3)) == [(5, 2), (3,)]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: x @ np.ones((2, 2)), ValueError),
        (lambda x: np.matmul(x, 2.0), ValueError),
        (lambda x: np.dot(x, np.ones(2)), ValueError),
        (lambda x: np.inner(x, np.ones(2)), ValueError),
        (lambda x: np.vdot(x, np.ones(2)), ValueError),
        (lambda x: np.vecdot(x, np.ones(2)), ValueError),
        (lambda x: np.vecdot(x, np.ones((3, 3, 2))), ValueError),
        (lambda x: np.linalg.outer(x, np.ones(2)), ValueError),
        (lambda x: np.linalg.cross(x, np.ones(2)), ValueError),
        (lambda x: np.cross(x, np.ones(4)), ValueError),
        (lambda x: np.tensordot(x, np.ones((2, 2))), ValueError),
        (lambda x: np.tensordot(x, np.ones(3), (0, 3)), ValueError),
        (lambda x: np.trace(x[0]), ValueError),
        *([(lambda x: np.matvec(x[0], np.ones(3)), ValueError),
           (lambda x: np.vecmat(x, np.ones(3)), ValueError)] if hasattr(np, "matvec") else []),
    ],
)  # fmt: skip
def test_refuses_what_numpy_refuses(call, error):
    x = np.ones((3, 3))
    with pytest.raises((error, IndexError)):
        call(x)
    with pytest.raises((error, IndexError)):
        fg.jit(call)(x)
