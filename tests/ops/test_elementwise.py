"""NumPy's ufuncs and their relatives: parts of numbers, rounding, questions, series, outer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad._primitive import answers
from fungrad.errors import ArrayMutationError, ConcretizationError
from tests._checks import same_bits
from tests.ops._ordering_calls import (
    check_batched,
    check_call,
    check_derivatives,
    check_value,
    draw,
    parts,
)

A = np.array

UNARY = {
    "deg2rad": np.deg2rad,
    "radians": np.radians,
    "rad2deg": np.rad2deg,
    "degrees": np.degrees,
    "copysign": lambda x: np.copysign(x, -1.0),
    "copysign from": lambda x: np.copysign(2.0, x),
    "ldexp": lambda x: np.ldexp(x, 3),
    "frexp": lambda x: np.frexp(x),
    "modf": lambda x: np.modf(x + 0.03),
    "divmod": lambda x: np.divmod(x + 0.03, 0.7),
    "builtin divmod": lambda x: divmod(x + 0.03, 0.7),
    "heaviside": lambda x: np.heaviside(x, 0.5),
    "nextafter": lambda x: np.nextafter(x, 9.0),
    "spacing": np.spacing,
    "fix": np.fix,
    "round": lambda x: np.round(x + 0.0321, 1),
    "round to integers": lambda x: np.round(x),
    "around": lambda x: np.around(x, decimals=-1),
    "round method": lambda x: x.round(2),
    "sinc": np.sinc,
    "i0": np.i0,
    "nan_to_num": np.nan_to_num,
    "angle": lambda x: np.angle(x),
    "real_if_close": np.real_if_close,
    "float_power": lambda x: np.float_power(np.abs(x), 2.5),
    "logaddexp2": lambda x: np.logaddexp2(x, 0.5),
    "isclose": lambda x: np.isclose(x, 0.7, atol=0.3),
    "isposinf": np.isposinf,
    "isneginf": np.isneginf,
    "isreal": np.isreal,
    "iscomplex": np.iscomplex,
    "add.outer": lambda x: np.add.outer(x, x[0]),
    "multiply.outer": lambda x: np.multiply.outer(x[0], [1.0, 2.0]),
    "subtract.outer": lambda x: np.subtract.outer(2.0, x),
    "maximum.outer": lambda x: np.maximum.outer(x[0], x[1]),
    "power.outer": lambda x: np.power.outer(np.abs(x[0]), A([2.0, 3.0])),
    "arctan2.outer": lambda x: np.arctan2.outer(x[0], x[:, 1]),
    "less.outer": lambda x: np.less.outer(x[0], x[1]),
    "ufunc dtype": lambda x: np.add(x, 1.0, dtype=np.float64),
}
NEVER_COMPLEX = {
    "deg2rad", "radians", "rad2deg", "degrees", "copysign", "copysign from", "ldexp", "frexp", "modf",
    "divmod", "builtin divmod", "heaviside", "nextafter", "spacing", "fix", "i0", "logaddexp2",
    "isposinf", "isneginf", "arctan2.outer",
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_value_and_derivatives(name):
    check_call(UNARY[name], draw(3, 4), what=name)


@pytest.mark.parametrize("name", UNARY)
def test_dtypes(name):
    function = UNARY[name]
    for dtype in (np.float32, np.float16, np.int64, np.int8, np.uint8, bool, np.complex64):
        x = np.abs(2 * draw(3, 4)).astype(dtype)
        try:
            function(x)
        except TypeError:
            with pytest.raises(TypeError):
                fg.jit(function)(x)
            continue
        check_value(function, x, what=f"{name}, {np.dtype(dtype)}")
    if name in NEVER_COMPLEX:
        with pytest.raises(TypeError):
            fg.jit(function)(draw(3, 4) * 1j)


@pytest.mark.parametrize("name", ["deg2rad", "copysign", "ldexp", "frexp", "modf", "sinc", "i0",
                                  "nan_to_num", "add.outer"])  # fmt: skip
def test_float32_gradients(name):
    x = draw(3, 4, dtype=np.float32)
    total = lambda x: sum(np.sum(part) for part in parts(UNARY[name](x)) if part.dtype.kind == "f")
    gradient = fg.grad(total)(x)
    assert gradient.dtype == np.float32
    assert_allclose(gradient, fg.grad(total)(x.astype(float)), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["sinc", "frexp", "round", "nan_to_num", "i0", "angle", "isclose"])
def test_empty_and_scalar_operands(name):
    for x in (np.ones((0, 3)), np.float64(0.75), np.array(-0.75)):
        check_value(UNARY[name], x, what=name)


def test_special_values():
    special = A([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan, 5e-324, -2.0, 1e300])
    for name in ("copysign", "copysign from", "ldexp", "frexp", "modf", "heaviside", "spacing",
                 "nan_to_num", "isclose", "isposinf", "isneginf", "isreal", "angle", "fix"):  # fmt: skip
        with np.errstate(all="ignore"):
            want, got = UNARY[name](special), fg.jit(UNARY[name])(special)
        for one, other in zip(parts(got), parts(want), strict=True):
            same_bits(one, other, name)
    pairs = np.meshgrid(special, special)
    for function in (np.copysign, np.nextafter, np.isclose, np.heaviside, np.logaddexp2):
        with np.errstate(all="ignore"):
            same_bits(
                fg.jit(lambda a, b, f=function: f(a, b))(*pairs), function(*pairs), str(function)
            )


def test_integers():
    a, b = A([12, 18, -7, 0]), A([8, 4, 3, 5])
    for ufunc in (np.gcd, np.lcm, np.left_shift, np.right_shift, np.bitwise_and):
        check_value(ufunc, a, b, what=ufunc.__name__)
        check_value(ufunc.outer, a, b, what=ufunc.__name__)
    check_value(np.bitwise_count, a)
    check_value(np.divmod, a, b)
    check_value(np.ldexp, draw(4), b)


def test_remainders_of_mixed_signs():
    for x, y in [(-19.0, 3.0), (19.0, -3.0), (19.0, 3.0), (-19.0, -3.0)]:
        assert_allclose(fg.grad(lambda y, x=x: np.remainder(x, y))(y), -np.floor(x / y))
        assert_allclose(fg.grad(lambda x, y=y: np.remainder(x, y))(x), 1.0)
        assert_allclose(fg.grad(lambda y, x=x: np.fmod(x, y))(y), -np.trunc(x / y))
        assert_allclose(fg.grad(lambda x, y=y: np.fmod(x, y))(x), 1.0)
        assert_allclose(fg.grad(lambda x, y=y: np.floor_divide(x, y))(x + 0.1), 0.0)
        assert_allclose(fg.grad(lambda y, x=x: np.divmod(x, y)[1])(y), -np.floor(x / y))
    a, b = A([-1.0, 1.0, 0.0]), A([1.0, -1.0, -3.0])
    same_bits(fg.jit(np.remainder)(a, b), np.remainder(a, b), "remainder")


def test_sinc_near_zero_to_every_order():
    s = lambda x: np.sinc(x)
    assert fg.grad(s)(0.0) == 0
    assert_allclose(fg.grad(fg.grad(s))(0.0), -(np.pi**2) / 3, rtol=1e-14)
    for x in (1e-300, 1e-8, 1e-6, 1e-4):
        assert_allclose(fg.grad(s)(x), -(np.pi**2) * x / 3, rtol=1e-6 if x > 1e-5 else 1e-12)
    fourth = fg.grad(fg.grad(fg.grad(fg.grad(s))))
    assert_allclose(fourth(0.0), np.pi**4 / 5, rtol=1e-14)
    # sinc is even, so odd derivatives are odd; and x sinc'' + 2 sinc' + π² x sinc = 0
    x = np.linspace(-3, 3, 41)
    first, second = fg.vmap(fg.grad(s))(x), fg.vmap(fg.grad(fg.grad(s)))(x)
    assert_allclose(x * second + 2 * first + np.pi**2 * x * np.sinc(x), 0, atol=1e-13)
    assert_allclose(fg.vmap(fg.grad(s))(-x), -first, rtol=1e-15)


def test_i0_satisfies_its_equation():
    f = np.i0
    x = A([0.0, 1e-8, 0.3, 2.0, 7.9, 8.1, 30.0, 300.0])
    first, second = fg.vmap(fg.grad(f))(x), fg.vmap(fg.grad(fg.grad(f)))(x)
    scale = np.i0(x) * (1 + x)
    assert_allclose((x * second + first - x * np.i0(x)) / scale, 0, atol=2e-15)
    assert_allclose(second[0], 0.5)
    assert_allclose(fg.grad(f)(-2.0), -fg.grad(f)(2.0))
    third = fg.grad(fg.grad(fg.grad(f)))
    assert_allclose(third(1e-9), 0.375e-9, rtol=1e-9)


def test_rules_that_a_select_would_hide():
    assert_allclose(fg.grad(lambda x: np.ldexp(x, 3))(0.0), 8.0)
    assert_allclose(fg.grad(lambda x: np.ldexp(x, 3))(1.5), 8.0)
    assert_allclose(fg.grad(lambda x: np.copysign(x, 1.0))(2.0), 1.0)
    assert_allclose(fg.grad(lambda x: np.copysign(x, -1.0))(2.0), -1.0)
    assert_allclose(fg.grad(lambda x: np.copysign(x, -1.0))(-2.0), 1.0)
    assert_allclose(fg.grad(lambda x: np.nan_to_num(x))(3.0), 1.0)
    assert_allclose(fg.grad(lambda x: np.nan_to_num(x))(np.nan), 0.0)
    assert_allclose(fg.grad(lambda x: np.heaviside(x, 0.5) * x)(3.0), 1.0)
    assert_allclose(fg.grad(lambda x: np.frexp(x)[0])(0.0), 1.0)
    assert_allclose(fg.grad(lambda x: np.modf(x)[0])(2.0), 1.0)


def test_nan_to_num():
    x = A([1.0, np.nan, np.inf, -np.inf])
    for keywords in ({}, {"nan": -1.0}, {"nan": 2.0, "posinf": 5, "neginf": -5.0}):
        for dtype in (np.float64, np.float32, np.float16, np.complex128):
            f = lambda x, k=keywords: np.nan_to_num(x, **k)
            with np.errstate(all="ignore"):
                v = x.astype(dtype)
                v = v + 1j * v[::-1] if v.dtype.kind == "c" else v
            check_value(f, v)
    parts = A([complex(np.nan, -0.0), complex(-0.0, np.inf), complex(1, 2)])
    check_value(lambda z: np.nan_to_num(z), parts)
    assert_allclose(
        fg.grad(lambda x: np.sum(np.nan_to_num(x) * A([1.0, 2.0, 3.0, 4.0])))(x), [1, 0, 0, 0]
    )
    traced = lambda x, fill: np.nan_to_num(x, nan=fill)
    assert_allclose(fg.grad(lambda x, fill: np.sum(traced(x, fill)), (0, 1))(x[:2], 2.0)[1], 1.0)
    with pytest.raises(ArrayMutationError, match="nan_to_num"):
        fg.jit(lambda x: np.nan_to_num(x, copy=False))(x)


def test_complex_functions():
    z = A([1 + 2j, -3 + 0.5j, 2 - 1j, 1e-20 - 4j])
    for f in (lambda z: np.angle(z), lambda z: np.angle(z, deg=True), lambda z: np.real_if_close(z),
              lambda z: np.sign(z), lambda z: np.abs(z), lambda z: np.isreal(z),
              lambda z: np.real_if_close(z.real + 1e-18j), lambda z: np.nan_to_num(z)):  # fmt: skip
        check_value(f, z)
        check_value(f, z.astype(np.complex64))
        if f(z).dtype != bool:
            check_derivatives(f, z[:3])
    pull = fg.vjp(lambda z: np.angle(z), z)[1]
    # d arg z = Im(dz / z), and cotangents pair with values as Re(ct dz)
    assert_allclose(pull(np.ones(4))[0], -1j / z, rtol=1e-14)
    with pytest.raises(TypeError, match="ambiguous"):
        fg.jit(lambda z: np.isposinf(z))(z)
    with pytest.raises(ConcretizationError, match="vmap"):
        fg.vmap(lambda z: np.real_if_close(z))(z)


def test_questions_about_arrays():
    x = A([1.0, np.nan, 2.0])
    near = x + 1e-9
    for f in (
        lambda x: np.allclose(x, near), lambda x: np.allclose(x, near, equal_nan=True),
        lambda x: np.isclose(x, near, equal_nan=True), lambda x: np.isclose([1.0, 2.0, 2.0], x),
        lambda x: np.array_equal(x, x), lambda x: np.array_equal(x, x, equal_nan=True),
        lambda x: np.array_equal(x, [1.0, 2.0]), lambda x: np.array_equal(x, x[None]),
        lambda x: np.array_equiv(x[:1], [1.0, 1.0]), lambda x: np.array_equiv(x, [1.0, 2.0]),
        lambda x: np.isclose(x, near, rtol=A([0.0, 1.0, 1e-12]), atol=0.0),
    ):  # fmt: skip
        got, want = fg.jit(f)(x), f(x)
        assert np.array_equal(got, want)
        assert np.asarray(got).dtype == bool
    infinite = A([np.inf, -np.inf, 1.0])
    check_value(lambda x: np.isclose(x, infinite), infinite)  # no warning about inf - inf
    check_value(lambda x: np.isclose(x, 3), A([3, 4]))

    def branch(x):
        return x * 2 if np.allclose(x, 1.0) else x * 3

    jitted = fg.jit(branch)
    assert_allclose([jitted(1.0), jitted(2.0), jitted(1.0)], [2, 6, 2])
    assert_allclose(
        fg.vmap(lambda x: np.where(np.allclose(x, 1.0), 1.0, 2.0))(A([1.0, 3.0])), [1, 2]
    )


def test_every_binary_ufunc_has_an_outer():
    binary = [f for f in answers if isinstance(f, np.ufunc) and f.nin == 2 and f.signature is None]
    a, b = A([3, 5, 2]), A([2, 1])
    outers = 0
    for ufunc in binary:
        try:
            want = ufunc.outer(a, b)
        except TypeError:
            continue
        if not isinstance(want, tuple):
            same_bits(fg.jit(lambda a, b, f=ufunc: f.outer(a, b))(a, b), want, ufunc.__name__)
            outers += 1
    assert outers > 30
    check_derivatives(lambda x, y: np.multiply.outer(x, y), draw(2, 3), draw(4))
    check_batched(lambda x, y: np.subtract.outer(x, y), draw(2, 3), draw(4))
    same_bits(
        fg.jit(lambda x: np.add.outer(x, x, dtype=np.float32))(a),
        np.add.outer(a, a, dtype=np.float32),
        "dtype",
    )


@pytest.mark.parametrize("sign", [np.inf, -np.inf])
def test_logaddexp_at_an_infinity_and_the_same_literal_one(sign):
    """Both share evenly; a literal is not looked at by ``np.where``."""
    assert fg.grad(lambda x: np.logaddexp(x, sign))(sign) == 0.5
    assert fg.grad(lambda x: np.logaddexp2(sign, x))(sign) == 0.5


def test_float_power_and_logaddexp2():
    x = A([0.5, 2.0, 3.0])
    check_call(lambda a, b: np.float_power(a, b), x, draw(3), exact=True)
    f = lambda x: np.sum(np.float_power(x, 3))
    gradient = fg.grad(f)(x.astype(np.float32))
    assert gradient.dtype == np.float32
    assert_allclose(gradient, 3 * x**2, rtol=1e-6)
    assert_allclose(fg.grad(lambda y: np.float_power(0.0, y))(2.0), 0.0)
    check_call(lambda a, b: np.logaddexp2(a, b), draw(4), draw(4, seed=1))
    assert_allclose(fg.grad(lambda x: np.logaddexp2(x, -np.inf))(3.0), 1.0)
    assert_allclose(fg.grad(lambda x: np.logaddexp2(x, x))(3.0), 1.0)


def test_round_of_python_and_wide_numbers():
    for decimals in (-2, -1, 0, 1, 3):
        check_value(lambda x, d=decimals: np.round(x, d), A([1.2345, -2.5, 1234.5678, 0.5]))
        check_value(lambda x, d=decimals: np.round(x, d), A([12345, -25, 15]))
    same_bits(fg.jit(lambda x: round(x, 1))(np.float64(1.26)), np.float64(1.3), "round()")
    assert fg.grad(lambda x: np.round(x, 2) * x)(1.234) == 1.23
