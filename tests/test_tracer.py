"""Tracers behave as the arrays that they stand for: NumPy itself is the oracle."""

import math
import operator
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fungrad as fg
from fungrad.errors import ArrayMutationError, ConcretizationError, FungradError


def assert_same_bits(actual, expected):
    """Equal dtype, shape, NaN placement, sign of zero and bits; arrays where there are arrays."""
    a, b = np.asarray(actual), np.asarray(expected)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert isinstance(actual, np.ndarray) == (isinstance(expected, np.ndarray) and b.ndim > 0)
    parts = [(a.real, b.real), (a.imag, b.imag)] if a.dtype.kind == "c" else [(a, b)]
    for one, other in parts:
        assert_array_equal(np.isnan(one), np.isnan(other))
        known = ~np.isnan(one)
        assert_array_equal(one[known], other[known])
        if a.dtype.kind in "fc":
            assert_array_equal(np.signbit(one[known]), np.signbit(other[known]))


def outcome(f, *args):
    """The value, or the class of the exception."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return f(*args), None
    except Exception as error:  # NumPy's private subclasses count as their public base
        for base in (OverflowError, ZeroDivisionError, TypeError, ValueError):
            if isinstance(error, base):
                return None, base
        raise


def check_like_numpy(f, *args):
    """``f`` jitted gives the same as ``f``: interpreted, then compiled, and when inlined."""
    value, error = outcome(f, *args)
    for function in (fg.jit(f), fg.jit(lambda *args: fg.jit(f)(*args))):
        for _ in range(3):
            actual, raised = outcome(function, *args)
            assert raised is error, f"{raised} instead of {error}"
            if error is None:
                assert_same_bits(actual, value)


# --- operators -----------------------------------------------------------------------------------

BINARY = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow, "&": operator.and_,
    "|": operator.or_, "^": operator.xor, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
UNARY = {
    "-": operator.neg, "+": operator.pos, "~": operator.invert, "abs": abs,
    "real": lambda x: x.real, "imag": lambda x: x.imag, "conj": lambda x: x.conj(),
}  # fmt: skip

DTYPES = ["?", "i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
VALUES = [[1, 0, 1], [100, 3, -7], [-0.0, 2.5, np.nan], [np.inf, -1.5, 0.1]]


def arrays(dtype):
    """Small arrays of a dtype, with the values that make trouble in it."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return [np.array([True, False, True])]
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        return [np.array([3, 1, 2], dtype), np.array([low, high, 0], dtype)]
    specials = np.array([-0.0, 2.5, np.nan, np.inf, -np.inf, -1.5], dtype)
    if dtype.kind == "c":
        specials = np.array([0.5 - 2j, 1j, -0.0, complex(-0.0, -0.0), complex(np.inf, 0)], dtype)
    return [specials]


OTHERS = {
    "True": True, "2": 2, "0": 0, "-1": -1, "127": 127, "300": 300, "0.5": 0.5, "2.0": 2.0,
    "1e300": 1e300, "nan": math.nan, "1j": 1j, "float32": np.float32(0.1),
    "float64": np.float64(0.1), "int8": np.int8(3), "bool": np.True_,
    "0-d": np.array(3.0, np.float32),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_binary_operators_with_constants(name, dtype):
    operate = BINARY[name]
    for x in arrays(dtype):
        for other in [*OTHERS.values(), [2] * x.size, (1.5,) * x.size]:
            check_like_numpy(lambda x, other=other: operate(x, other), x)
            check_like_numpy(lambda x, other=other: operate(other, x), x)


@pytest.mark.parametrize("dtype", ["i1", "i8", "f4", "f8"])
def test_divmod_and_matmul(dtype):
    for x in arrays(dtype):
        for other in (2, -3, 0.5, [2] * x.size):
            check_like_numpy(lambda x, other=other: divmod(x, other)[0], x)
            check_like_numpy(lambda x, other=other: divmod(x, other)[1], x)
            check_like_numpy(lambda x, other=other: divmod(other, x)[0], x)
            check_like_numpy(lambda x, other=other: divmod(other, x)[1], x)
        check_like_numpy(lambda x: x @ ([2] * x.size), x[:3])
        check_like_numpy(lambda x: ([2] * x.size) @ x, x[:3])
        check_like_numpy(lambda x: np.ones((2, x.size), np.float32) @ x, x[:3])


def test_divmod_of_an_array_by_a_tracer():
    x = np.array([2.0, -3.0])
    check_like_numpy(lambda x: divmod(np.array([7.0, 8.0]), x)[0], x)
    check_like_numpy(lambda x: divmod(np.float64(7.0), x)[1], x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["+", "*", "/", "//", "%", "<", "=="])
def test_binary_operators_of_two_arguments(name, dtype):
    """The second one is an input of the program: a Python number there is still weak."""
    for x in arrays(dtype):
        for other in OTHERS.values():
            check_like_numpy(BINARY[name], x, other)
            check_like_numpy(BINARY[name], other, x)


@pytest.mark.parametrize("first", DTYPES)
@pytest.mark.parametrize("second", DTYPES)
def test_promotion_of_two_arrays(first, second):
    x, y = arrays(first)[0][:3], arrays(second)[0][:3]
    for name in ("+", "*", "/", "//", "<", "**", "&"):
        check_like_numpy(BINARY[name], x, y)
    check_like_numpy(lambda x, y: np.where(x > 0 if x.dtype.kind != "c" else x == 0, x, y), x, y)
    check_like_numpy(lambda x, y: np.concatenate([x, y]), x, y)
    check_like_numpy(lambda x, y: np.maximum(x, y), x, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary_operators(name, dtype):
    for x in arrays(dtype):
        check_like_numpy(UNARY[name], x)
        check_like_numpy(UNARY[name], x[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_and_methods(dtype):
    for x in arrays(dtype):
        for f in (
            np.sum, np.max, np.min, np.all, np.any, lambda x: x.sum(axis=0, keepdims=True),
            lambda x: np.sum(x, dtype=np.float64 if x.dtype.kind != "c" else None),
            np.argmax, np.argmin, lambda x: x.astype(np.complex64), lambda x: x.T, np.ravel,
            lambda x: np.stack([x, x]), lambda x: x[::-1], lambda x: np.expand_dims(x, 0),
            np.zeros_like, np.ones_like, lambda x: np.full_like(x, 1),
            lambda x: np.zeros_like(x, dtype=np.float32, shape=(2, 2)), np.isnan, np.isfinite,
            lambda x: np.where(x == x, 1, 0), lambda x: np.where(x == x, x, 0),
            lambda x: np.where(x == x, x, 0.5), np.logical_not, np.positive, np.square,
        ):  # fmt: skip
            check_like_numpy(f, x)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i8", "f2", "f4", "f8", "c8"])
def test_means(dtype):
    x = arrays(dtype)[0][:2]
    for f in (np.mean, lambda x: x.mean(axis=0, keepdims=True), np.var, np.std):
        check_like_numpy(f, x)


@pytest.mark.parametrize(
    "value", [2, -3, 2.5, -0.0, math.inf, 2 + 1j, np.float32(2.5), np.int8(100), np.uint8(200)],
    ids=repr,
)  # fmt: skip
def test_programs_of_scalars(value):
    """Python numbers and NumPy scalars, as arguments, in operators and beside each other."""
    for f in (
        lambda s: s + s, lambda s: s * 2, lambda s: s * 0.5, lambda s: 2 * s - s, lambda s: s / 3,
        lambda s: -s, lambda s: abs(s), lambda s: np.sin(s), lambda s: s + np.float32(1),
        lambda s: s * np.ones(2, np.float32), lambda s: np.ones(2, np.int8) * s,
        lambda s: (s * 2) * np.ones(2, np.float32), lambda s: np.stack([s, s]), lambda s: s == s,
        lambda s: np.where(s == s, s, 1), lambda s: np.where(True, s, np.ones(2, np.float32)),
        lambda s: np.array([s, 1.0]) if not hasattr(s, "aval") else np.array([s, 1.0], like=s),
        lambda s: np.add(s, np.ones(1, np.float32)), lambda s: np.multiply(2, s),
    ):  # fmt: skip
        check_like_numpy(f, value)


def test_uint8_wraps_and_int8_refuses():
    u, i = np.array([200], np.uint8), np.array([100], np.int8)
    assert_same_bits(fg.jit(lambda x: x + x)(u), np.array([144], np.uint8))
    assert_same_bits(fg.jit(lambda x: x + 100)(i), np.array([-56], np.int8))
    for f in (lambda x: x + 300, lambda x: x * -1000, lambda x: 128 - x):
        with pytest.raises(OverflowError, match="out of bounds"):
            fg.jit(f)(i)
    with pytest.raises(OverflowError):
        fg.jit(lambda x: x + -1)(u)
    assert_same_bits(fg.jit(lambda x: x > -1)(u), np.array([True]))
    assert_same_bits(fg.jit(lambda x: x < 300)(u), np.array([True]))


def test_a_python_integer_argument_that_the_dtype_cannot_hold():
    """NumPy refuses ``int8_array + 300``; the number must not be wrapped when it is an input."""
    i, u = np.ones(2, np.int8), np.ones(2, np.uint8)
    add, less = fg.jit(lambda a, n: a + n), fg.jit(lambda a, n: a < n)
    assert_same_bits(add(i, 3), i + 3)
    for _ in range(3):
        with pytest.raises(OverflowError):
            add(i, 300)
        with pytest.raises(OverflowError):
            add(u, -1)
        assert_same_bits(less(u, 300), u < 300)
        assert_same_bits(less(u, 256), u < 256)
        assert_same_bits(less(u, -1), u < -1)
    assert_same_bits(add(i, 4), i + 4)


def test_weak_numbers_do_not_widen():
    x = np.ones(2, np.float32)
    for f in (lambda s: s, lambda s: s * 2 + 1, lambda s: -s, lambda s: s**2 / 3, abs):
        assert fg.jit(lambda s, x, f=f: f(s) * x)(0.1, x).dtype == np.float32
        assert fg.grad(lambda s, x, f=f: np.sum(f(s) * x), argnums=1)(0.1, x).dtype == np.float32
    assert fg.jit(lambda s, x: np.sin(s) * x)(0.1, x).dtype == (np.sin(0.1) * x).dtype
    assert_same_bits(fg.jit(lambda s, x: s * x)(0.1, x), 0.1 * x)


INNER = {
    "multiply": lambda jit, x: jit(lambda s, x: s * x)(0.1, x),
    "stack": lambda jit, x: jit(lambda a, b: np.stack([a, b]))(x[0], 0.1).sum(),
    "reshape": lambda jit, x: x * jit(lambda a: np.reshape(a * 1.0, (1,)))(0.5),
    "function": lambda jit, x: x * jit(lambda a, x: np.sin(a) * 1 + 0 * x)(0.5, x[0]),
    "sum": lambda jit, x: x * jit(lambda a, b: np.sum(a) * b)(0.5, x[0]),
    "index": lambda jit, x: jit(lambda a, b: b * np.broadcast_to(a, (2,))[0])(0.1, x),
    "weak operations": lambda jit, x: jit(lambda a, b: (a * 2 - 1) / 3 * b)(0.1, x),
    "comparison": lambda jit, x: jit(lambda a, b: np.where(b > a, a, b))(1.5, x),
    "matmul": lambda jit, x: jit(lambda a, b: np.stack([a, a]) @ b)(0.1, x),
    "power": lambda jit, x: jit(lambda a, b: b**a)(2.0, x),
    "integer": lambda jit, x: jit(lambda n, b: b * n + n**2)(3, x),
}


@pytest.mark.parametrize("name", INNER)
def test_python_numbers_in_a_jitted_function_inside_of_another(name):
    """There the number is written into the outer program; it must stay weak and computable."""
    plain = lambda x: INNER[name](lambda f: f, x)
    inner = lambda x: INNER[name](fg.jit, x)
    x = np.array([1.0, 3.0], np.float32)
    expected = plain(x)
    for _ in range(2):
        assert_same_bits(fg.jit(inner)(x), expected)
        assert_same_bits(fg.jvp(inner, (x,), (x,))[0], expected)
        batch = fg.vmap(inner)(np.stack([x, x]))
        assert_same_bits(batch, np.stack([expected, expected]))
    with_inner = fg.grad(lambda x: np.sum(inner(x) ** 2))(x)
    assert_same_bits(with_inner, fg.grad(lambda x: np.sum(plain(x) ** 2))(x))


@pytest.mark.parametrize("exponent", [2, 2.0, 0.5, -1, 1, 0, 3, -2])
def test_powers_of_scalars(exponent):
    """NumPy computes them by another routine than powers of arrays: an ulp apart.

    But infinity, NaN and the signs of zero are as for scalars: (-inf)**0.5 is inf, -0.0**0.5 is 0.
    """
    f = lambda x: x**exponent
    for value in (0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0):
        check_like_numpy(f, np.float64(value))
    for value in np.random.default_rng(0).lognormal(size=50):
        assert_allclose(fg.jit(f)(value), value**exponent, rtol=3e-16)


@pytest.mark.parametrize(
    "exponent", [2, 2.0, 0.5, -1, 1, 0, 3, -2, 0.25, np.float64(2), np.int64(2)]
)
def test_powers_of_arrays_have_the_same_bits(exponent):
    x = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-10, 10, 0.1)
    for dtype in (np.float64, np.float32, np.float16, np.complex128):
        with np.errstate(all="ignore"):
            check_like_numpy(lambda x: x**exponent, x.astype(dtype))
    if isinstance(exponent, int) and exponent >= 0:
        check_like_numpy(lambda x: x**exponent, np.arange(-5, 5))
    for base in (2, 2.0, np.float32(2)):
        check_like_numpy(lambda x, base=base: base**x, np.linspace(-3, 3, 20))


def test_complex_arithmetic_with_one():
    """1 is not neutral among complex numbers: inf·0 is NaN, and signs of zeros change."""
    z = np.array([complex(np.inf, 0), complex(-0.0, -0.0), complex(1, -np.inf), 0.5 - 0.0j])
    for f in (
        lambda z: z * 1, lambda z: 1.0 * z, lambda z: z / 1, lambda z: z - 0, lambda z: z + 0,
        lambda z: -np.negative(z), lambda z: z.conj().conj(), lambda z: z * 1j, lambda z: z * np.ones(4),
    ):  # fmt: skip
        check_like_numpy(f, z)


def test_real_arithmetic_with_neutral_numbers():
    x = np.array([-0.0, 0.0, np.nan, np.inf, -np.inf, 5e-324])
    for f in (
        lambda x: x * 1, lambda x: x * 0, lambda x: x + 0, lambda x: x - 0, lambda x: 0 - x,
        lambda x: x - (-0.0), lambda x: x + (-0.0), lambda x: x / 1, lambda x: -np.negative(x),
        lambda x: x**1, lambda x: x**0, lambda x: x * np.ones_like(x), lambda x: x * -1,
        lambda x: x - np.zeros_like(x), lambda x: 0 * x, lambda x: x - x, lambda x: x / x,
    ):  # fmt: skip
        check_like_numpy(f, x)


# --- NumPy's dispatch ----------------------------------------------------------------------------


def test_every_spelling_is_one_program():
    x = np.ones((3, 4))
    for spellings in (
        [np.sum, lambda x: x.sum(), lambda x: np.add.reduce(x, axis=None)],
        [lambda x: np.transpose(x), lambda x: x.T, lambda x: x.transpose(), lambda x: x.mT],
        [np.abs, abs, np.absolute], [lambda x: -x, np.negative],
        [lambda x: x * x, lambda x: np.multiply(x, x)],
        [np.max, np.amax, lambda x: x.max()], [np.ravel, lambda x: x.flatten()],
        [lambda x: x @ x.T, lambda x: np.matmul(x, x.T), lambda x: np.dot(x, x.T)],
        [lambda x: x[1:], lambda x: x[1:3], lambda x: x[-2:], lambda x: x[1:, ...]],
    ):  # fmt: skip
        first, *others = [fg.trace(f, x) for f in spellings]
        assert all(graph is first for graph in others), spellings


def test_ufunc_keywords():
    x = np.array([1.5, 2.5])
    check_like_numpy(lambda x: np.add(x, 1, dtype=np.float32), x)
    check_like_numpy(lambda x: np.add(x, 1, out=None), x)
    check_like_numpy(lambda x: np.add(x, 1, where=True), x)
    check_like_numpy(lambda x: np.add(x, 1, dtype=int), x)  # both refuse to cast
    check_like_numpy(lambda x: np.add(x, 1, casting="no"), np.ones(2, np.float32))
    check_like_numpy(lambda x: np.sum(x, keepdims=True, initial=5.0, where=x > 2), x)
    check_like_numpy(lambda x: np.max(x, initial=2.0), x)
    check_like_numpy(lambda x: np.mean(x, where=x > 2), x)


def test_array_like():
    x = np.array([1.0, 2.0, 3.0], np.float32)
    assert_same_bits(fg.jit(lambda x: np.array([x[0], x[2]], like=x))(x), x[[0, 2]])
    assert_same_bits(
        fg.jit(lambda x: np.array([[x[0], 1], [x[1], x[2]]], like=x))(x),
        np.array([[x[0], 1], [x[1], x[2]]]),
    )
    assert_same_bits(fg.jit(lambda x: np.asarray([x, x], like=x))(x), np.array([x, x]))
    assert fg.jit(lambda x: np.array([x[0]], dtype=np.float64, like=x))(x).dtype == np.float64
    f = lambda x: np.sum(np.array([x[0] * x[1], 5.0, x[0]], like=x))
    assert fg.grad(f)(np.array([2.0, 3.0])).tolist() == [4.0, 2.0]


def test_like_functions_depend_on_nothing():
    x = np.array([[1.0, 2.0]])
    for f in (np.zeros_like, np.ones_like, lambda x: np.full_like(x, 7.0)):
        check_like_numpy(f, x)
        assert not fg.grad(lambda x, f=f: np.sum(f(x)))(x).any()
    with pytest.raises(FungradError):  # NumPy looks at the array only, so we can't see the number
        fg.grad(lambda s: np.sum(np.full_like(x, s)))(1.0)
    assert fg.grad(lambda y: np.sum(np.full_like(y, y[0, 0])))(x).tolist() == [[2.0, 0.0]]


def test_shape_functions():
    seen = []

    def f(x):
        seen.append((np.shape(x), np.ndim(x), np.size(x), np.size(x, 1), np.iscomplexobj(x)))
        seen.append((np.result_type(x, 1.0), np.isrealobj(x), np.isscalar(x)))
        return np.sum(x)

    fg.grad(f)(np.ones((2, 3), np.float32))
    assert seen == [((2, 3), 2, 6, 3, False), (np.float32, True, False)]


# --- leaving the program -------------------------------------------------------------------------


def test_conditions_and_loops_of_values():
    def newton(a):
        x = a
        while abs(x * x - a) > 1e-12:
            x = (x + a / x) / 2
        return x

    for transform in (lambda f: f, fg.jit):
        assert_allclose(transform(newton)(2.0), math.sqrt(2), rtol=1e-12)
        assert_allclose(fg.grad(transform(newton))(2.0), 0.5 / math.sqrt(2), rtol=1e-10)
        assert_allclose(transform(fg.grad(newton))(2.0), 0.5 / math.sqrt(2), rtol=1e-10)


def test_ranges_and_indices_of_values():
    def f(x):
        total = 0.0
        for i in range(int(x[0])):  # floor: locally constant
            total = total + x[1] * (i + 1)
        return total

    assert_array_equal(fg.grad(f)(np.array([3.7, 2.0])), [0.0, 6.0])
    names = ["a", "b", "c"]
    assert fg.grad(lambda x: x * (names[int(x)] == "c"))(2.5) == 1.0
    assert fg.grad(lambda x: x[np.argmax(x)] ** 2)(np.array([1.0, 3.0])).tolist() == [0.0, 6.0]
    assert fg.grad(lambda x, n: sum([x] * n))(1.0, 3) == 3.0
    assert fg.jit(lambda n: np.zeros(n))(3).shape == (3,)
    with pytest.raises(TypeError):
        fg.grad(lambda x: x * range(x)[0])(2.0)
    with pytest.raises(TypeError):
        fg.grad(lambda x: x * names[x])(2.0)


def test_logic_of_values():
    f = lambda x: x if x > 0 and not x > 2 else (-x if x < 0 or x == 5 else 0 * x)
    assert [fg.grad(f)(x) for x in (1.0, -1.0, 3.0, 5.0)] == [1.0, -1.0, 0.0, -1.0]
    assert fg.grad(lambda x: x * (1.0 if 3.0 in x else 2.0) @ x)(np.array([3.0])).tolist() == [6.0]


def test_numbers_may_leave_where_nothing_is_lost():
    f = lambda x, n: x * float(n) * math.sqrt(n) * n.item()
    assert fg.grad(f)(1.0, np.float64(4.0)) == 32.0
    assert fg.grad(f)(1.0, 4.0) == 32.0 if hasattr(4.0, "item") else True
    assert fg.jit(lambda x: x * math.sqrt(x))(4.0) == 8.0
    assert fg.jit(lambda x: float(x))(2.5) == 2.5
    assert fg.grad(lambda x: x * float(fg.stop_gradient(x)))(3.0) == 3.0
    assert fg.grad(lambda x: x * float(np.floor(x)))(3.5) == 3.0
    assert fg.grad(lambda x: x * float(x > 0))(3.5) == 1.0
    assert fg.grad(lambda x: x * float(np.argmax(x)) if x.ndim else x * float(np.sign(x)))(2.0) == 1
    assert fg.grad(lambda x: x * math.floor(np.ceil(x)))(2.5) == 3.0


def test_numbers_may_not_leave_where_an_outer_derivative_is_lost():
    inner = lambda x: fg.grad(lambda y: y * float(x))(1.0)
    with pytest.raises(ConcretizationError, match="stop_gradient"):
        fg.grad(inner)(2.0)
    assert inner(2.0) == 2.0
    assert fg.jit(inner)(2.0) == 2.0
    with pytest.raises(ConcretizationError, match="stop_gradient"):
        fg.grad(fg.jit(inner))(2.0)


def test_values_of_nested_traces_are_their_own():
    """The same nodes mean different values in different traces."""
    seen = []

    def f(x):
        seen.append(bool(x * x > 4))
        return x * x

    g = lambda x: fg.grad(f)(x) + fg.grad(f)(x * 3)
    assert fg.grad(g)(1.0) == 2.0 + 3 * 2.0
    assert seen == [False, True]
    seen.clear()
    assert [fg.grad(f)(x) for x in (1.0, 3.0, 1.0)] == [2.0, 6.0, 2.0]
    assert seen == [False, True, False]


def test_vmap_answers_for_what_is_the_same_in_all_examples():
    f = lambda x, n: x * n if n > 0 else -x
    assert fg.vmap(f, in_axes=(0, None))(np.ones(2), 3.0).tolist() == [3.0, 3.0]
    assert fg.vmap(f, in_axes=(0, None))(np.ones(2), -3.0).tolist() == [-1.0, -1.0]
    outer = lambda n: fg.vmap(lambda x: x if n > 0 else -x)(np.ones(2)).sum() * n
    assert fg.grad(outer)(3.0) == 2.0


# --- stop_gradient -------------------------------------------------------------------------------


def test_stop_gradient():
    x = np.array([2.0, 3.0])
    assert_array_equal(fg.grad(lambda x: np.sum(x * fg.stop_gradient(x)))(x), x)
    assert_array_equal(fg.grad(lambda x: np.sum(fg.stop_gradient(x**2)))(x), 0 * x)
    assert_array_equal(fg.grad(lambda x: np.sum(fg.stop_gradient(x) + x**2))(x), 2 * x)
    for transform in (fg.jit, lambda f: fg.vmap(f), lambda f: f):
        assert_array_equal(transform(fg.stop_gradient)(x), x)
    assert fg.jvp(lambda x: x * fg.stop_gradient(x), (3.0,), (1.0,)) == (9.0, 3.0)
    tree = {"a": x, "b": (1, True, 2.0)}
    assert fg.stop_gradient(tree)["b"] == (1, True, 2.0)
    assert fg.stop_gradient(tree)["a"] is x
    for value in (np.array([True, False]), np.arange(3), np.array([1j, -0.0])):
        assert_same_bits(fg.jit(fg.stop_gradient)(value), value)
    second = fg.grad(fg.grad(lambda x: x**3 * fg.stop_gradient(x)))
    assert second(2.0) == 6 * 2.0 * 2.0


# --- captures ------------------------------------------------------------------------------------


def test_captured_arrays_and_numbers():
    w = np.array([1.0, 2.0])
    f = lambda x: np.sum(w * x) + 3 * np.sum([4.0, 5.0] * x)
    assert fg.grad(f)(np.ones(2)).tolist() == [13.0, 17.0]
    assert len(fg.trace(f, np.ones(2)).inputs) == 3  # x, w, the list
    assert len(fg.trace(lambda x: w * x + w * w[0] * x, np.ones(2)).inputs) <= 3


def test_the_captured_array_is_read_when_it_is_used():
    """A scratch array that is written between two uses has a value at each of them."""

    def f(x):
        scratch, total = np.zeros(3), 0.0
        for i in range(4):
            scratch[:] = i
            total = total + np.sum(x * scratch)
        return total

    x = np.ones(3)
    assert f(x) == 18.0
    assert fg.value_and_grad(f)(x)[0] == 18.0
    assert fg.grad(f)(x).tolist() == [6.0, 6.0, 6.0]
    assert [fg.jit(f)(x), fg.vmap(f)(x[None])[0], fg.jvp(f, (x,), (x,))[1]] == [18.0] * 3


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_one_entry_of_a_captured_array_is_written_between_two_uses(size):
    """The right value or an error; not the value of an array that never was."""

    def f(x):
        scratch = np.zeros(size)
        before = np.sum(x * scratch)
        scratch[7] = 1.0
        return before + 10 * np.sum(x * scratch)

    for transform in (lambda f: f, fg.jit, lambda f: lambda x: fg.value_and_grad(f)(x)[0]):
        try:
            value = transform(f)(np.ones(size))
        except ArrayMutationError:
            continue
        assert value == 10.0


def test_a_captured_array_is_written_and_restored():
    def f(x):
        scratch = np.ones(3)
        first = np.sum(x * scratch)
        scratch[:] = 2.0
        second = np.sum(x * scratch)
        scratch[:] = 1.0
        return first + 10 * second + 100 * np.sum(x * scratch)

    assert f(np.ones(3)) == 363.0
    assert fg.jit(f)(np.ones(3)) == 363.0
    assert fg.grad(f)(np.ones(3)).tolist() == [121.0] * 3


def test_captured_tracers_of_outer_transforms():
    def f(x):
        y = x * 2
        return fg.grad(lambda z: z**2 * x * y)(3.0)  # 6·2x² → 24x

    assert f(5.0) == 300.0
    assert fg.grad(f)(5.0) == 120.0
    assert fg.grad(fg.grad(f))(5.0) == 24.0
    assert_array_equal(fg.vmap(fg.grad(f))(np.array([1.0, 2.0])), [24.0, 48.0])


MODES = {
    "grad": fg.grad,
    "jvp": lambda f: lambda x: fg.jvp(f, (x,), (1.0,))[1],
    "vjp": lambda f: lambda x: fg.vjp(f, x)[1](1.0)[0],
    "jit grad": lambda f: fg.jit(fg.grad(f)),
    "grad jit": lambda f: fg.grad(fg.jit(f)),
    "jacobian": fg.jacobian,
}


@pytest.mark.parametrize("outer", MODES.values(), ids=MODES)
@pytest.mark.parametrize("inner", MODES.values(), ids=MODES)
def test_no_perturbation_confusion(outer, inner):
    """Siskind and Pearlmutter's example and relatives, for every pair of modes."""
    assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(1.0) == 1.0
    assert outer(lambda x: x * inner(lambda y: x * y)(1.0))(4.0) == 8.0
    assert outer(lambda x: inner(lambda y: y * (x - y))(x))(1.0) == -1.0
    assert outer(lambda x: x * inner(lambda y: x**3 * y)(5.0))(2.0) == 32.0
    deep = lambda x: inner(lambda y: inner(lambda z: x * y * z)(1.0) * y)(x)
    assert outer(deep)(3.0) == 2 * 2 * 3.0


@pytest.mark.parametrize(
    "f", [lambda x, y: x * y, lambda x, y: y * x, lambda x, y: np.stack([y, x])[1] * y]
)
def test_innermost_trace_wins_in_either_order(f):
    assert fg.grad(lambda x: fg.grad(lambda y: f(x, y))(2.0))(3.0) == 1.0


# --- printing ------------------------------------------------------------------------------------


def test_printing_shows_shape_and_dtype_and_never_fails():
    seen = []

    def f(x):
        seen.extend([repr(x), str(x), f"{x}", f"{x}", repr([x, {"a": x}])])
        return np.sum(x)

    for transform in (fg.grad, fg.jit, lambda f: fg.vmap(f)):
        transform(f)(np.ones((2, 3)))
    assert seen[0] == seen[1] == seen[2] == seen[3] == "Tracer<float64[2,3]>"
    assert seen[4] == "[Tracer<float64[2,3]>, {'a': Tracer<float64[2,3]>}]"
    assert "float64[3]" in seen[-1]


def test_format_specifications_show_the_value():
    seen = []
    fg.grad(lambda x: (seen.append(f"{x * 2:.3f}"), x * x)[1])(1.25)
    assert seen == ["2.500"]
    with pytest.raises(ConcretizationError):
        fg.vmap(lambda x: (f"{x:.3f}", x)[1])(np.ones(2))


def test_round():
    check_like_numpy(lambda x: round(x, 1), np.float64(2.567))


def test_divmod_and_abs_of_numbers():
    assert fg.grad(lambda x: abs(x) * 3)(-2.0) == -3.0
    assert fg.grad(lambda x: divmod(x, 2.0)[1] + divmod(x, 2.0)[0])(5.0) == 1.0
    assert fg.grad(lambda x: sum(divmod(7.0, x)))(2.0) == -3.0


def test_tracers_are_no_arrays_and_have_no_dict():
    def f(x):
        assert not isinstance(x, (np.ndarray, float))
        with pytest.raises(AttributeError):
            x.name = "mine"
        with pytest.raises((AttributeError, FungradError)):
            x.shape = (3, 1)
        return np.sum(x)

    fg.grad(f)(np.ones(3))


def test_numpy_warnings_stay_where_they_are():
    """A rule or a probe warns of nothing that the function itself does not warn of."""
    x = np.array([0.5, 0.25])
    with np.errstate(all="raise"):
        for f in (np.arctanh, np.arccosh, np.log, np.sqrt, np.arcsin, np.tan, np.exp, np.cbrt):
            at = x + 1 if f is np.arccosh else x
            for dtype in (np.float64, np.float32):
                at = at.astype(dtype)
                assert_same_bits(fg.jit(f)(at), f(at))
                assert np.all(np.isfinite(fg.grad(lambda x, f=f: np.sum(f(x)))(at)))
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        fg.jit(np.log)(np.zeros(2))


def test_a_predicate_that_is_no_ufunc_compares_numbers_as_numbers():
    assert fg.jit(lambda x: np.isclose(x, np.array([1, 5])))(5.0).tolist() == [False, True]
    branch = lambda x: x**2 if np.allclose(x, np.array([1, 1])) else x**3
    assert fg.grad(branch)(5.0) == 75.0


def test_numbers_become_arrays_where_numpy_makes_them_arrays():
    check_like_numpy(lambda x: np.dot(2.5, x), np.ones(2, np.float32))
    dot = fg.jit(lambda a, x: np.dot(a, x))
    assert dot(2.5, np.ones(2, np.float32)).dtype == np.dot(2.5, np.ones(2, np.float32)).dtype


def test_an_empty_index_in_generated_source():
    gradient = fg.jit(fg.grad(lambda x: np.sum(np.pad(x, 1) ** 2)))
    assert [gradient(np.array(0.75)) for _ in range(3)] == [1.5] * 3


def test_a_branch_sees_a_captured_array_as_the_function_did():
    w = np.ones(2)

    def f(x):
        y = x * w
        w[:] = -1
        return np.sum(y) if np.sum(y) > 0 else np.sum(x * 100)

    assert fg.grad(f)(np.ones(2)).tolist() == [1.0, 1.0]


def test_rows_of_a_large_captured_array_that_change_places():
    w = np.arange(4 * 4096.0).reshape(4, 4096)

    def f(x):
        y = np.sum(x * w, 1)
        w[[0, 1]] = w[[1, 0]]
        return np.sum(y * np.arange(4.0))

    with pytest.raises(fg.errors.ArrayMutationError, match="written to"):
        fg.grad(f)(1.0)


BIG = 100_000


class Buffer:
    def __init__(self):
        self.entries = np.ones(BIG)

    def reset(self, place):
        self.entries[place] = 0.0


def reset(buffer):
    forget(buffer.entries)


def forget(entries):
    entries[5:6].fill(0.0)


def twice_through_positional_out(w):
    np.multiply(w, 2, w)


@pytest.mark.parametrize(
    "write",
    [
        lambda buffer: buffer.entries.__setitem__(5, 0.0),
        lambda buffer: buffer.reset(5),
        reset,
        lambda buffer: reset(buffer),
        lambda buffer: np.copyto(buffer.entries[5:6], 0.0),
        lambda buffer: np.negative(buffer.entries[5:6], out=buffer.entries[5:6]),
        lambda buffer: twice_through_positional_out(buffer.entries),
    ],
)
def test_a_large_captured_array_is_written_after_it_was_read(write):
    buffer = Buffer()

    def f(x):
        y = np.sum(x * buffer.entries)
        write(buffer)
        return y

    with pytest.raises(fg.errors.ArrayMutationError, match="written to"):
        fg.grad(f)(1.0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_captured_arrays_are_not_read_as_a_whole_for_nothing(order, monkeypatch):
    def checksum(array):
        raise AssertionError

    monkeypatch.setattr("fungrad._snapshot._checksum", checksum)
    w = np.asarray(np.ones((BIG, 2)), order=order)
    layers = {"scale": 2.0}

    def f(x):
        return np.sum(np.tanh(w @ x) * layers["scale"])

    assert np.allclose(fg.grad(f)(np.zeros(2)), 2.0 * BIG)


def test_a_view_with_gaps_is_read_as_a_whole():
    w = np.ones((BIG, 2))[:, 0]

    def f(x):
        y = np.sum(x * w)
        np.multiply(w[3:4], 2, w[3:4])
        return y

    with pytest.raises(fg.errors.ArrayMutationError, match="written to"):
        fg.grad(f)(1.0)


def test_looking_for_writers_stumbles_over_nothing():
    class Kind(type):
        __hash__ = None

    class Odd(metaclass=Kind):
        __slots__ = ()

        def __getattr__(self, name):
            raise RuntimeError(name)

    w, odd = np.ones(BIG), Odd()
    assert fg.grad(lambda x: np.sum(x * w) if odd is not None else x)(1.0) == BIG


def test_reshape_takes_copy():  # as NumPy's since 2.1
    x = np.arange(6.0)
    for copy in (None, True):
        got = fg.jit(lambda x, copy=copy: x.reshape((2, 3), order="F", copy=copy))(x)
        assert_array_equal(got, x.reshape((2, 3), order="F"))
