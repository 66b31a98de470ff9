"""``fg.testing.check_grads`` passes what is right, and names what is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest

import fungrad as fg
from fungrad._primitive import ZERO, Primitive, elementwise
from fungrad.errors import ArgumentError, NonDifferentiableInputError
from fungrad.testing import check_grads

X = np.array([0.3, -1.2, 2.0])
MATRIX = np.array([[1.0, -2.0], [0.5, 3.0]])


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (np.sin, (0.5,)),
        (lambda x: np.sum(np.exp(x)), (X,)),
        (lambda x, y: x @ y, (MATRIX, MATRIX.T)),
        (lambda p, x: np.tanh(x @ p["w"] + p["b"]), ({"w": MATRIX, "b": X[:2]}, X[1:])),
        (lambda x: {"a": x**3, "b": (np.sum(x), x > 0)}, (X,)),
        (lambda x: np.abs(x), (X,)),
        (lambda z: z * z + np.conjugate(z) * np.abs(z), (X + 1j * X[::-1],)),
        (lambda x: np.fft.fft(x), (X,)),
        (lambda x: np.sum(x), (np.ones((0, 3)),)),
        (lambda x: np.floor(x), (0.9 * X,)),
        (lambda x: 1e9 * np.sin(x), (X,)),
        (lambda x: x**2, (1e6 * X,)),
    ],
)
def test_right_derivatives_pass(f, args):
    check_grads(f, args)


@pytest.mark.parametrize("dtype", ["float16", "float32", "complex64"])
def test_narrow_dtypes_pass(dtype):
    check_grads(lambda x: np.sin(x) * x, (X.astype(dtype),))
    check_grads(lambda x, y: np.tanh(x) * y, (X.astype(dtype), X))


def test_third_order():
    check_grads(lambda x: np.sum(np.sin(x) ** 3), (X,), order=3)


def test_one_mode_is_enough():
    for modes in (("rev",), ("fwd",), ["fwd", "rev"]):
        check_grads(lambda x: np.exp(x) / x, (X,), modes=modes)


def wrong(name: str, partials: object) -> Primitive:
    """A sine with another derivative."""
    return elementwise(lambda x: np.sin(x), partials, name=f"tests_wrong_{name}")


HALF = wrong("half", lambda y, x: (0.5 * np.cos(x),))
NONE = wrong("none", ZERO)
SECOND = wrong("second", lambda y, x: (HALF(x + np.pi / 2),))
SLIGHTLY = wrong("slightly", lambda y, x: ((1 + 1e-5) * np.cos(x),))


@pytest.mark.parametrize("modes", [("rev",), ("fwd",), ("rev", "fwd")])
@pytest.mark.parametrize("f", [HALF, NONE, SLIGHTLY])
def test_wrong_first_derivatives_fail(f, modes):
    mode = "reverse" if "rev" in modes else "forward"
    with pytest.raises(AssertionError, match=f"of order 1 .* by {mode} mode"):
        check_grads(f, (X,), modes=modes, order=1)


@pytest.mark.parametrize("modes", [("rev",), ("fwd",)])
def test_wrong_second_derivatives_fail(modes):
    check_grads(SECOND, (X,), order=1)
    with pytest.raises(AssertionError, match="of order 2"):
        check_grads(SECOND, (X,), modes=modes)


BARELY = wrong("barely", lambda y, x: ((1 + 1e-8) * np.cos(x),))


@pytest.mark.parametrize(
    "f",
    [
        BARELY,
        lambda x: np.where(x > 0, BARELY(x), x),
        lambda x: {"y": BARELY(x) @ MATRIX[:, :1], "n": np.argmax(x)},
    ],
)
def test_the_complex_step_sees_small_mistakes_in_analytic_functions(f):
    with pytest.raises(AssertionError, match=r"the complex step gives -?[0-9.]+ \(allowed"):
        check_grads(f, (X[:2],), order=1)
    check_grads(f, (X[:2],), order=1, rtol=1e-6)
    # In second derivatives too: those of the program that a derivative is.
    second = elementwise(
        lambda x: np.sin(x), lambda y, x: (BARELY(x + np.pi / 2),), name=f"tests_barely_{id(f)}"
    )
    with pytest.raises(AssertionError, match="of order 2 .*the complex step gives"):
        check_grads(second, (X,))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: BARELY(x) + np.abs(x),
        lambda x: BARELY(x) * np.sign(x),
        lambda x: fg.checkpoint(BARELY)(x),
        lambda x: np.real(BARELY(x) * 1j * -1j),
        lambda x: BARELY(x) + fg.stop_gradient(x * 0),
    ],
)
def test_elsewhere_differences_decide(f):
    check_grads(f, (X,), order=1)
    with pytest.raises(AssertionError, match="central differences give"):
        check_grads(lambda x: f(x) + HALF(x), (X,), order=1)


def test_rules_of_the_users_are_seen_through():
    good = fg.custom_vjp(lambda x: np.sin(x))
    good.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * np.cos(x),))
    check_grads(good, (X,))
    bad = fg.custom_vjp(lambda x: np.sin(x))
    bad.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * np.cos(x) * (1 + 1e-8),))
    with pytest.raises(AssertionError, match="the complex step gives"):
        check_grads(bad, (X,))


def test_the_leaf_and_both_numbers_are_named():
    def f(p, y):
        return np.sum(p["right"] * y) + np.sum(HALF(p["wrong"][0]))

    with pytest.raises(AssertionError) as caught:
        check_grads(f, ({"right": X, "wrong": [X, X]}, X))
    message = str(caught.value)
    assert message.startswith("args[0]['wrong'][0]: ")
    got, expected = map(float, re.findall(r"(?:is|gives?) (-?[0-9.e+-]+)", message))
    assert got == pytest.approx(0.5 * expected, rel=1e-6)


def test_modes_that_are_not_adjoint_fail():
    # The pullback of `f` is nearly right where it is checked, but its transpose is not that of `f`:
    # something is added to the cotangent, in a way that forward mode does not look through.
    crooked = elementwise(
        lambda x: np.sin(x),
        ZERO,
        vjp=lambda ct, y, x: (np.sum(np.stack([ct * np.cos(x), 1e-8 * np.exp(x)]), axis=0),),
        name="tests_crooked",
    )
    with pytest.raises(AssertionError, match="by forward mode, which is its adjoint"):
        check_grads(crooked, (X,), order=1, rtol=1e-6)


def test_tolerances():
    check_grads(SLIGHTLY, (X,), order=1, rtol=1e-4)
    check_grads(SLIGHTLY, (X,), order=1, atol=1e-3)
    with pytest.raises(AssertionError):
        check_grads(np.abs, (np.array([1e-7]),), order=1)  # a kink within the step
    with pytest.raises(AssertionError):
        check_grads(lambda x: x * np.nan, (X,), order=1)


def test_arguments_are_left_alone():
    x = X.copy()
    x.flags.writeable = False
    check_grads(lambda x: x * x, (x,))
    assert x.tobytes() == X.tobytes()


def test_arguments_that_make_no_sense():
    with pytest.raises(ArgumentError, match="modes"):
        check_grads(np.sin, (X,), modes=("reverse",))
    with pytest.raises(ArgumentError, match="modes"):
        check_grads(np.sin, (X,), modes=())
    with pytest.raises(ArgumentError, match="order"):
        check_grads(np.sin, (X,), order=0)
    with pytest.raises(NonDifferentiableInputError):
        check_grads(np.sin, (np.arange(3),))
