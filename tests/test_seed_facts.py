"""The facts that every system of reverse-mode differentiation must get right, by hand or by loop."""

import time
from itertools import product

import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg


def normal(*shape):
    return np.random.default_rng(sum(shape) + 7).normal(size=shape)


def same(actual, expected, rtol=1e-12, atol=1e-13):
    """Equal values, and equal shapes: assert_allclose alone would broadcast."""
    assert np.shape(actual) == np.shape(expected)
    assert_allclose(actual, expected, rtol=rtol, atol=atol)


# --- sums over paths ---------------------------------------------------------------------------


def test_product_of_a_sum():
    grads = fg.grad(lambda x, y, z: z * (x + y), argnums=(0, 1, 2))(2.0, 3.0, 6.0)
    assert grads == (6.0, 6.0, 5.0)


def test_paths_of_different_lengths_add_up():
    assert fg.grad(lambda x: x + x**4)(2.0) == 33.0
    assert fg.grad(lambda x: x**4 + x)(2.0) == 33.0
    assert fg.grad(lambda x: x * x * x * x + x)(2.0) == 33.0


def test_diamond():
    def f(x):
        y = x * x
        return y * x + y  # x³ + x²

    assert fg.grad(f)(3.0) == 3 * 9 + 2 * 3


def test_both_arguments_the_same_value():
    x = normal(3)
    same(fg.grad(lambda x: x @ x)(x), 2 * x)
    same(fg.grad(lambda x: np.dot(x, x))(x), 2 * x)
    assert fg.grad(lambda x: x * x)(3.0) == 6.0
    assert fg.grad(lambda x: x - x)(3.0) == 0.0
    assert fg.grad(lambda x: x / x)(3.0) == 0.0
    m = normal(3, 3)
    same(fg.grad(lambda m: np.sum(m @ m))(m), np.ones((3, 3)) @ m.T + m.T @ np.ones((3, 3)))


def test_the_same_array_in_two_arguments_is_two_arguments():
    x = normal(3)
    first, second = fg.grad(lambda x, y: np.sum(x * np.sin(y)), argnums=(0, 1))(x, x)
    same(first, np.sin(x))
    same(second, x * np.cos(x))


def test_unused_arguments_and_constant_functions():
    assert_array_equal(fg.grad(lambda x, y: np.sum(y))(np.ones((2, 3)), 1.0), np.zeros((2, 3)))
    assert fg.grad(lambda x: 3.0)(1.0) == 0.0


# --- broadcasting ------------------------------------------------------------------------------

BROADCASTS = [
    ((), (2, 3)), ((3,), (2, 3)), ((1,), (2, 3)), ((1, 3), (2, 3)), ((2, 1), (2, 3)),
    ((1, 1), (2, 3)), ((2, 1), (1, 3)), ((3,), (2, 1)), ((1, 2, 1), (4, 1, 3)), ((), ()),
    ((1,), ()), ((0, 1), (1, 3)), ((1,), (0,)),
]  # fmt: skip


@pytest.mark.parametrize(("b_shape", "a_shape"), BROADCASTS)
def test_gradient_of_a_broadcast_operand_has_its_shape(a_shape, b_shape):
    a, b = normal(*a_shape), normal(*b_shape)
    out = np.broadcast_shapes(a_shape, b_shape)
    weight = normal(*out)

    def folded(full, shape):
        """Sum by an explicit loop what went out to more than one place."""
        result = np.zeros(shape)
        for place in np.ndindex(*out):
            tail = place[len(out) - len(shape) :]
            result[tuple(0 if n == 1 else i for i, n in zip(tail, shape, strict=True))] += full[
                place
            ]
        return result

    ga, gb = fg.grad(lambda a, b: np.sum(weight * (a + b)), argnums=(0, 1))(a, b)
    same(ga, folded(weight, a_shape))
    same(gb, folded(weight, b_shape))
    ga, gb = fg.grad(lambda a, b: np.sum(weight * (a * b)), argnums=(0, 1))(a, b)
    same(ga, folded(weight * np.broadcast_to(b, out), a_shape))
    same(gb, folded(weight * np.broadcast_to(a, out), b_shape))


# --- products ----------------------------------------------------------------------------------


def test_matrix_product():
    a, b, g = normal(2, 3), normal(3, 4), normal(2, 4)
    ga, gb = fg.grad(lambda a, b: np.sum(g * (a @ b)), argnums=(0, 1))(a, b)
    same(ga, g @ b.T)
    same(gb, a.T @ g)


PRODUCTS = {
    np.matmul: [
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3,)),
        ((3,), (5, 3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)),
        ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)),
        ((2, 0), (0, 4)), ((0, 3), (3, 4)), ((1, 1), (1, 1)),
    ],
    np.dot: [
        ((), (3,)), ((2, 3), ()), ((), ()), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)),
        ((2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((5, 2, 3), (6, 3, 4)),
        ((2, 3), (5, 3, 4)),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("product_of", "a_shape", "b_shape"),
    [(f, *shapes) for f, cases in PRODUCTS.items() for shapes in cases],
)
def test_products_of_all_ranks(product_of, a_shape, b_shape):
    """The product is bilinear, so its Jacobian's columns are products with unit vectors."""
    a, b = normal(*a_shape), normal(*b_shape)
    weight = normal(*np.shape(product_of(a, b)))
    same(fg.jit(product_of)(a, b), product_of(a, b))
    ga, gb = fg.grad(lambda a, b: np.sum(weight * product_of(a, b)), argnums=(0, 1))(a, b)

    def units(shape):
        for place in np.ndindex(*shape):
            unit = np.zeros(shape)
            unit[place] = 1.0
            yield unit

    slopes_a = [np.sum(weight * product_of(unit, b)) for unit in units(a_shape)]
    slopes_b = [np.sum(weight * product_of(a, unit)) for unit in units(b_shape)]
    same(ga, np.reshape(slopes_a, a_shape))
    same(gb, np.reshape(slopes_b, b_shape))


# --- long and wide programs --------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::fungrad.errors.UnrolledLoopWarning")
def test_chain_of_100_000_operations():
    c, n = 1.00001, 100_000

    def f(x):
        for _ in range(n):
            x = x * c
        return x

    start = time.process_time()
    value, gradient = fg.value_and_grad(f)(2.0)
    assert time.process_time() - start < 20
    assert_allclose([value, gradient], [2 * c**n, c**n], rtol=1e-9)


def test_sixty_doublings():
    def f(y):
        for _ in range(60):
            y = y + y
        return y

    start = time.process_time()
    assert fg.grad(f)(1.0) == 2.0**60
    assert fg.jit(fg.grad(f))(1.0) == 2.0**60
    assert fg.jvp(f, (3.0,), (1.0,)) == (3 * 2.0**60, 2.0**60)
    assert time.process_time() - start < 10


def test_wide_sum():
    x = normal(1000)
    same(fg.grad(lambda x: sum(v * v for v in x))(x), 2 * x)


# --- arguments are never written ---------------------------------------------------------------

PROGRAMS = {
    "chain": lambda x, y: np.sum(np.exp(np.sin(x) * 2 + y)),
    "views": lambda x, y: np.sum(x.T.reshape(-1)[::-1] * np.ravel(y)),
    "in-place on a new value": lambda x, y: np.sum(x - y - x - y),
    "matmul": lambda x, y: np.sum((x @ y.T) ** 2),
    "index": lambda x, y: np.sum(x[[0, 0, 1]] * y[::-1][:1]),
    "returns the argument": lambda x, y: np.sum(x),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_arguments_are_never_written(name):
    f = PROGRAMS[name]
    x, y = normal(3, 4), normal(3, 4)
    before = x.copy(), y.copy()
    transforms = [
        fg.jit(f), fg.grad(f, (0, 1)), fg.jit(fg.grad(f, (0, 1))), fg.hessian(f), fg.vmap(f),
        lambda x, y: fg.vjp(f, x, y)[1](1.0), lambda x, y: fg.jvp(f, (x, y), (x, y)),
    ]  # fmt: skip
    for transform in transforms:
        if transform is transforms[4]:
            args = x[None], y[None]
        else:
            args = x, y
        for writeable in (True, False):
            for array in (x, y):
                array.flags.writeable = writeable
            for _ in range(3):
                for result in fg.tree.leaves(transform(*args)):
                    if isinstance(result, np.ndarray):
                        result[...] = 1e9  # results are the caller's: writing changes nothing
            assert (x.flags.writeable, y.flags.writeable) == (writeable, writeable)
            assert_array_equal(x, before[0])
            assert_array_equal(y, before[1])
            x.flags.writeable = y.flags.writeable = True


# --- higher derivatives ------------------------------------------------------------------------


def test_second_and_higher_derivatives():
    derivative, polynomial = lambda x: x**5, np.polynomial.Polynomial([0, 0, 0, 0, 0, 1])
    for _ in range(6):
        derivative, polynomial = fg.grad(derivative), polynomial.deriv()
        assert_allclose([derivative(1.5), derivative(0.0)], [polynomial(1.5), polynomial(0.0)])


def test_mixed_second_derivatives_commute():
    f = lambda x, y: np.sin(x * y) + x**2 * y**3
    x, y = 0.7, -0.4
    expected = np.cos(x * y) - x * y * np.sin(x * y) + 6 * x * y**2
    assert_allclose(fg.grad(fg.grad(f, 0), 1)(x, y), expected, rtol=1e-12)
    assert_allclose(fg.grad(fg.grad(f, 1), 0)(x, y), expected, rtol=1e-12)


# --- the array interface -----------------------------------------------------------------------


def test_attributes_are_those_of_the_array():
    x = normal(3, 4).astype(np.float32)
    seen = {}

    def f(x):
        seen.update(
            shape=x.shape, dtype=x.dtype, ndim=x.ndim, size=x.size, len=len(x),
            itemsize=x.itemsize, nbytes=x.nbytes, rows=[row.shape for row in x],
        )  # fmt: skip
        return np.sum(x)

    fg.grad(f)(x)
    assert seen == {
        "shape": (3, 4), "dtype": x.dtype, "ndim": 2, "size": 12, "len": 3, "itemsize": 4,
        "nbytes": 48, "rows": [(4,)] * 3,
    }  # fmt: skip


METHODS = {
    "T": (lambda x: x.T, (3, 4)),
    "T of a cube": (lambda x: x.T, (2, 3, 4)),
    "mT": (lambda x: x.mT, (2, 3, 4)),
    "transpose": (lambda x: x.transpose(1, 2, 0), (2, 3, 4)),
    "transpose tuple": (lambda x: x.transpose((2, 0, 1)), (2, 3, 4)),
    "swapaxes": (lambda x: x.swapaxes(0, -1), (2, 3, 4)),
    "sum": (lambda x: x.sum(), (3, 4)),
    "sum axis 0": (lambda x: x.sum(axis=0), (3, 4)),
    "sum axis -1": (lambda x: x.sum(-1), (3, 4)),
    "sum axes": (lambda x: x.sum(axis=(0, 2)), (2, 3, 4)),
    "sum keepdims": (lambda x: x.sum(axis=1, keepdims=True), (3, 4)),
    "sum no axes": (lambda x: x.sum(axis=()), (3, 4)),
    "mean": (lambda x: x.mean(axis=0), (3, 4)),
    "reshape": (lambda x: x.reshape(2, 6), (3, 4)),
    "reshape tuple": (lambda x: x.reshape((4, 3)), (3, 4)),
    "reshape -1": (lambda x: x.reshape(2, -1), (3, 4)),
    "reshape order": (lambda x: x.reshape(2, 6, order="F"), (3, 4)),
    "ravel": (lambda x: x.ravel(), (3, 4)),
    "ravel F": (lambda x: x.ravel("F"), (3, 4)),
    "flatten": (lambda x: x.flatten(), (3, 4)),
    "squeeze": (lambda x: x.squeeze(), (3, 1, 4, 1)),
    "squeeze axis": (lambda x: x.squeeze(axis=1), (3, 1, 4, 1)),
    "copy": (lambda x: x.copy(), (3, 4)),
    "astype": (lambda x: x.astype(np.float64), (3, 4)),
    "dot": (lambda x: x.dot(np.arange(4.0)), (3, 4)),
    "flat": (lambda x: np.stack(list(x.flat)), (3, 4)),
    "real": (lambda x: x.real, (3, 4)),
    "conj": (lambda x: x.conj(), (3, 4)),
    "iteration": (lambda x: np.stack(list(x)[::-1]), (3, 4)),
    "unpacking": (lambda x: [2 * a - b + c for a, b, c in [x]][0], (3, 4)),
    "nested iteration": (lambda x: np.stack([a for row in x for a in row]), (3, 4)),
    "reversed": (lambda x: np.stack(list(reversed(x))), (3, 4)),
    "moveaxis": (lambda x: np.moveaxis(x, 0, -1), (2, 3, 4)),
    "expand_dims": (lambda x: np.expand_dims(x, (0, 2)), (3, 4)),
    "broadcast_to": (lambda x: np.broadcast_to(x, (5, 3, 4)), (3, 1)),
    "concatenate": (lambda x: np.concatenate([x, 2 * x, x[:1]]), (3, 4)),
    "concatenate axis None": (lambda x: np.concatenate([x, x.T], axis=None), (3, 4)),
    "stack": (lambda x: np.stack([x, -x], axis=1), (3, 4)),
}


@pytest.mark.parametrize("name", METHODS)
def test_linear_methods(name):
    """They are linear: the gradient is found from the values at unit arrays."""
    method, shape = METHODS[name]
    x = normal(*shape)
    value = method(x)
    weight = normal(*np.shape(value))
    result = fg.jit(method)(x)
    same(result, value, rtol=0)
    slopes = [np.sum(weight * method(np.reshape(unit, shape))) for unit in np.eye(x.size)]
    same(fg.grad(lambda x: np.sum(weight * method(x)))(x), np.reshape(slopes, shape))


# --- indexing ----------------------------------------------------------------------------------

TWO = np.array([[0, 2], [1, 1]])
INDICES = {
    "integer": np.s_[1],
    "negative integer": np.s_[-1],
    "all integers": np.s_[1, 2, 3],
    "NumPy integer": np.s_[np.int8(2)],
    "0-d array": np.s_[np.array(2)],
    "slice": np.s_[1:3],
    "open slices": np.s_[1:, :-1, ::2],
    "negative step": np.s_[::-1],
    "negative step with bounds": np.s_[3:0:-2, 4::-1],
    "negative step to before the start": np.s_[2::-1, :, -6::-1],
    "negative step far before the start": np.s_[-10::-1],
    "positive step far behind the end": np.s_[10:20:3],
    "empty slice": np.s_[3:1],
    "empty slice of negative step": np.s_[1:3:-1],
    "bounds out of range": np.s_[-100:100, 2:100, 100:-100:-1],
    "ellipsis": np.s_[..., 1],
    "ellipsis in the middle": np.s_[1, ..., -1],
    "ellipsis alone": np.s_[...],
    "ellipsis of nothing": np.s_[1, 2, ..., 3],
    "empty tuple": (),
    "new axes": np.s_[None, :, None, 1, ..., None],
    "array": np.s_[TWO],
    "repeated": np.s_[[0, 0, 0, 2]],
    "negative entries": np.s_[[-1, 0, -4]],
    "list": np.s_[[1, 3]],
    "empty list": np.s_[[]],
    "two arrays": np.s_[[0, 1, 1], [2, 2, 0]],
    "two arrays that broadcast": np.s_[[[0], [1]], [2, 2, 0]],
    "three arrays": np.s_[[0, 1], [2, 2], [4, 0]],
    "array and slice": np.s_[TWO, 1:3],
    "slice and array": np.s_[1:3, TWO],
    "slice, array, array": np.s_[::-1, [0, 2, 2], [1, 1, 4]],
    "array, slice, array": np.s_[[0, 1, 1], :, [2, 2, 0]],
    "array, slice, integer": np.s_[[0, 1, 1], ::2, 3],
    "integer, slice, array": np.s_[1, :, [2, 2, 0]],
    "integer and array": np.s_[1, [2, 2, 0]],
    "slice, integer, array": np.s_[:, 1, [2, 2, 0]],
    "array, new axis, array": np.s_[[0, 1, 1], None, [2, 2, 0]],
    "new axis and array": np.s_[None, [0, 1, 1]],
    "array, ellipsis, array": np.s_[[0, 1], ..., [3, 3]],
    "mask of the first axis": np.s_[np.array([True, False, True, True])],
    "mask of all axes": np.s_[np.arange(60).reshape(4, 3, 5) % 7 == 0],
    "mask of two axes": np.s_[np.arange(12).reshape(4, 3) % 5 == 0],
    "mask of the last axes": np.s_[..., np.arange(15).reshape(3, 5) % 4 == 0],
    "mask of nothing": np.s_[np.zeros(4, bool)],
    "mask as a list": np.s_[[True, False, False, True]],
    "mask and integer": np.s_[np.array([True, False, True, True]), 1],
    "mask and slice": np.s_[:, np.array([True, False, True]), ::2],
    "mask and array": np.s_[np.array([True, False, True, False]), [0, 2]],
    "mask, slice, array": np.s_[np.array([True, False, True, False]), :, [0, 2]],
}


def places(index, shape):
    """Which entries of the flat array an index reads: NumPy's own answer for an array of ints."""
    return np.arange(np.prod(shape)).reshape(shape)[index]


@pytest.mark.parametrize("name", INDICES)
def test_indexing(name):
    index, shape = INDICES[name], (4, 3, 5)
    x, read = normal(*shape), places(INDICES[name], shape)
    weight = normal(*np.shape(read))
    expected = np.zeros(x.size)
    for place, w in zip(np.ravel(read), np.ravel(weight), strict=True):
        expected[place] += w
    assert_array_equal(fg.jit(lambda x: x[index])(x), x[index], strict=np.ndim(read) > 0)
    f = lambda x: np.sum(weight * x[index])
    same(fg.grad(f)(x), expected.reshape(shape))
    same(fg.jvp(f, (x,), (x,))[1], np.sum(weight * x[index]), rtol=1e-10)
    batch = np.stack([x, 2 * x])
    same(fg.vmap(lambda x: x[index])(batch), np.stack([x[index], 2 * x[index]]), rtol=0)
    same(fg.vmap(fg.grad(f))(batch), np.stack([expected.reshape(shape)] * 2))
    # the gradient is linear in the cotangent; its own derivative reads the same places
    square = lambda x: np.sum(x[index] ** 2)
    count = np.zeros(x.size)
    np.add.at(count, np.ravel(read), 1.0)
    hessian = fg.jacobian(lambda x: np.sum(fg.grad(square)(x)))(x)
    same(hessian, 2 * count.reshape(shape))


@pytest.mark.parametrize("size", [0, 1, 4])
def test_every_slice(size):
    """All slices with bounds around the ends: values, and the gradient by a loop."""
    x, bounds = np.arange(1.0, size + 1), [None, -size - 2, -size - 1, -size, -1, 0, 1, size + 1]
    for start, stop, step in product(bounds, bounds, [None, 1, 2, -1, -2, -3]):
        index = slice(start, stop, step)
        value, gradient = fg.value_and_grad(lambda x, index=index: np.sum(x[index] ** 2))(x)
        expected = np.zeros(size)
        for place in range(*index.indices(size)):
            expected[place] += 2 * x[place]
        assert value == sum(x[i] ** 2 for i in range(*index.indices(size))), index
        assert_array_equal(gradient, expected, err_msg=str(index))


def test_indexing_by_traced_integers():
    x, i = normal(4, 3), np.array([2, 0, 2])
    count = np.array([1.0, 0.0, 2.0, 0.0])[:, None]
    same(fg.jit(lambda x, i: x[i])(x, i), x[i], rtol=0)
    same(fg.grad(lambda x, i: np.sum(x[i]))(x, i), np.broadcast_to(count, x.shape))
    same(fg.grad(lambda x: np.sum(x[np.argmax(x, axis=0), [0, 1, 2]]))(x), x == x.max(axis=0))
    rows = fg.vmap(lambda x, i: x[i], in_axes=(None, 0))(x, i)
    same(rows, x[i], rtol=0)
    pairs = fg.vmap(lambda x, i: x[i])(normal(3, 5), i)
    same(pairs, normal(3, 5)[[0, 1, 2], i], rtol=0)
    crossed = fg.vmap(lambda x, i: x[:, i])(normal(3, 2, 5), i)
    same(crossed, np.stack([normal(3, 2, 5)[n, :, i[n]] for n in range(3)]), rtol=0)


def test_indexing_by_a_computed_mask():
    x = np.array([-1.0, 2.0, -3.0, 4.0])
    same(fg.grad(lambda x: np.sum(x[x > 0] ** 2))(x), np.array([0.0, 4.0, 0.0, 8.0]))
    same(fg.jit(lambda x: x[x > 0])(x), x[x > 0])


@pytest.mark.parametrize(
    ("index", "error"),
    [
        (5, IndexError), (-5, IndexError), ((0, 0, 0, 0), IndexError), (1.0, IndexError),
        ("a", IndexError), ([0.5], IndexError), (np.ones(3, bool), IndexError),
        ((..., ...), IndexError), ([0, 7], IndexError), (([0, 1], [0, 1, 2]), IndexError),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_indices_are_numpy_errors(index, error):
    x = normal(4, 3, 5)
    with pytest.raises(error):
        x[index]
    with pytest.raises(error):
        fg.grad(lambda x: np.sum(x[index]))(x)
    with pytest.raises(error):
        fg.jit(lambda x: x[index])(x)


# --- SciPy -------------------------------------------------------------------------------------


def test_expit_is_the_sigmoid_primitive():
    x = np.array([-800.0, -2.0, 0.0, 3.0, 800.0])
    assert fg.trace(scipy.special.expit, x) is fg.trace(fg.nn.sigmoid, x)
    assert_allclose(fg.jit(scipy.special.expit)(x), scipy.special.expit(x), rtol=1e-14)
    exact = [0.0, *(np.exp(-x[1:4]) / (1 + np.exp(-x[1:4])) ** 2), 0.0]
    same(fg.grad(lambda x: np.sum(scipy.special.expit(x)))(x), np.array(exact))
