"""Derivatives with respect to complex numbers: the conventions, against closed forms.

With respect to z = x + iy, the gradient of a real L is ∂L/∂x - i ∂L/∂y: the convention of JAX, whose
results the numbers in `test_values_by_jax` are.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fungrad as fg
from fungrad.errors import ComplexInputError, ComplexOutputError

Z = np.array([1 + 2j, -0.5 + 0.3j, 0.7 - 1.1j])
W = np.array([[1 + 1j, 2 - 0.5j, 0.3j], [0.2, 1 - 1j, -2j]])
T = np.array([0.3 - 1j, 1j, 2.0 + 0j])

REAL_VALUED = {
    "|z|²": (lambda z: np.sum(np.abs(z) ** 2), lambda z: 2 * np.conj(z)),
    "z conj(z)": (lambda z: np.sum((z * np.conj(z)).real), lambda z: 2 * np.conj(z)),
    "Re z²": (lambda z: np.sum(np.real(z * z)), lambda z: 2 * z),
    "Im z³": (lambda z: np.sum(np.imag(z**3)), lambda z: -3j * z**2),
    "arg z": (lambda z: np.sum(np.angle(z)), lambda z: -1j / z),
    "log|z|": (lambda z: np.sum(np.log(np.abs(z))), lambda z: 1 / z),
    "Re conj(z) c": (lambda z: np.sum(np.real(np.conj(z) * W[0])), lambda z: np.conj(W[0])),
    "Re exp": (lambda z: np.sum(np.exp(z).real), np.exp),
    "|Wz|²": (lambda z: np.sum(np.abs(W @ z) ** 2), lambda z: 2 * np.conj(W @ z) @ W),
}


@pytest.mark.parametrize("name", REAL_VALUED)
def test_gradients_of_real_functions(name):
    f, expected = REAL_VALUED[name]
    for transform in (lambda g: g, fg.jit):
        gradient = transform(fg.grad(f))(Z)
        assert gradient.dtype == np.complex128
        assert_allclose(gradient, expected(Z), rtol=1e-13)
    by_parts = fg.grad(lambda x, y: f(x + 1j * y), (0, 1))(Z.real, Z.imag)
    assert_allclose(by_parts[0] - 1j * by_parts[1], expected(Z), rtol=1e-13)
    assert_allclose(fg.jacrev(f)(Z), expected(Z), rtol=1e-13)
    # To first order, L(z + t) = L(z) + Re(gradient · t).
    assert_allclose(fg.jvp(f, (Z,), (T,))[1], np.real(expected(Z) @ T), rtol=1e-13, atol=1e-14)


def test_single_precision_stays_single():
    z = Z.astype(np.complex64)
    assert fg.grad(lambda z: np.sum(np.abs(z) ** 2))(z).dtype == np.complex64
    assert fg.grad(lambda z: np.sum(z**2), holomorphic=True)(z).dtype == np.complex64
    assert fg.jacfwd(lambda x: np.exp(1j * x))(z.real).dtype == np.complex64
    for jacobian in (fg.jacfwd, fg.jacrev, fg.jacobian):
        assert jacobian(lambda z: z**2, holomorphic=True)(z).dtype == np.complex64


def test_gradient_descent_takes_the_conjugate():
    z = 3.0 - 2.0j
    for _ in range(60):
        z = z - 0.2 * np.conj(fg.grad(lambda z: np.abs(z - (1 + 1j)) ** 2)(z))
    assert_allclose(z, 1 + 1j, rtol=1e-10)


HOLOMORPHIC = {
    "z³": (lambda z: z**3, lambda z: 3 * z**2, lambda z: 6 * z),
    "exp sin": (
        lambda z: np.exp(np.sin(z)),
        lambda z: np.cos(z) * np.exp(np.sin(z)),
        lambda z: (np.cos(z) ** 2 - np.sin(z)) * np.exp(np.sin(z)),
    ),
    "1/(1 + z²)": (
        lambda z: 1 / (1 + z * z),
        lambda z: -2 * z / (1 + z * z) ** 2,
        lambda z: (6 * z * z - 2) / (1 + z * z) ** 3,
    ),
}


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_holomorphic_functions(name):
    f, first, second = HOLOMORPHIC[name]
    total = lambda z: np.sum(f(z))
    assert_allclose(fg.grad(total, holomorphic=True)(Z), first(Z), rtol=1e-12)
    value, gradient = fg.jit(fg.value_and_grad(total, holomorphic=True))(Z)
    assert_allclose(value, total(Z), rtol=1e-13)
    assert_allclose(gradient, first(Z), rtol=1e-12)
    assert_allclose(fg.derivative(f, holomorphic=True)(Z), first(Z), rtol=1e-12)
    twice = fg.derivative(fg.derivative(f, holomorphic=True), holomorphic=True)
    assert_allclose(twice(Z), second(Z), rtol=1e-11)
    for jacobian in (fg.jacfwd, fg.jacrev, fg.jacobian):
        assert_allclose(jacobian(lambda z: W @ f(z), holomorphic=True)(Z), W * first(Z), rtol=1e-12)
    hessian = fg.hessian(total, holomorphic=True)(Z)
    assert_allclose(hessian, np.diag(second(Z)), rtol=1e-11, atol=1e-14)
    (complex_slope,) = fg.vjp(total, Z)[1](1.0 + 0j)
    assert_allclose(complex_slope, first(Z), rtol=1e-12)


def test_complex_results_of_real_arguments():
    f = lambda x: W @ np.exp(1j * x)
    x = Z.real
    expected = W * (1j * np.exp(1j * x))
    assert_allclose(fg.jacfwd(f)(x), expected, rtol=1e-13)
    assert_allclose(fg.jvp(f, (x,), (x,))[1], expected @ x, rtol=1e-13)
    assert_allclose(fg.derivative(lambda x: np.exp(1j * x))(x), 1j * np.exp(1j * x), rtol=1e-13)
    real, imaginary = (fg.jacrev(lambda x, part=part: part(f(x)))(x) for part in (np.real, np.imag))
    assert_allclose(real + 1j * imaginary, expected, rtol=1e-13)


def test_values_by_jax():
    """jax 0.x with 64 bits, ``jvp``/``vjp`` of functions that are neither real nor holomorphic."""
    f = lambda z: np.conj(z) * np.abs(z)
    tangent = [-0.089443 + 3.756594j, -0.257248 - 0.737444j, 3.359307 + 1.181126j]
    assert_allclose(fg.jvp(f, (Z,), (T,))[1], tangent, atol=1e-6)
    assert_allclose(fg.linearize(f, Z)[1](T), tangent, atol=1e-6)
    assert_allclose(fg.vjp(f, Z)[1](T)[0], tangent, atol=1e-6)
    cotangent = fg.vjp(lambda z: W @ (z * z), Z)[1](T[:2])[0]
    assert_allclose(cotangent, [4.6 + 4.2j, -0.41 + 1.81j, 3.418 - 4.934j], atol=1e-6)
    length = lambda w, z: np.sum(np.abs(w @ z))
    of_w, of_z = fg.grad(length, (0, 1))(W, Z)
    expected_z = [0.386722 - 1.269029j, -2.074852 - 0.611299j, 0.462027 + 1.886601j]
    expected_w = [
        [1.522419 - 1.637754j, 0.456264 + 0.363074j, -1.275603 - 0.269883j],
        [-1.176965 - 1.901251j, 0.470786 - 0.344036j, -0.597536 + 1.158858j],
    ]
    assert_allclose(of_z, expected_z, atol=1e-6)
    assert_allclose(of_w, expected_w, atol=1e-6)
    spectrum = lambda x: np.sum(np.abs(np.fft.fft(x) * Z) ** 2)
    assert_allclose(fg.grad(spectrum)(Z.real), [15.672, 6.492, 13.836], atol=1e-6)
    expected = [12.374175 - 18.965293j, 13.794326 - 10.681323j, 9.831499 - 6.353384j]
    assert_allclose(fg.grad(spectrum)(Z), expected, atol=1e-6)


MISTAKES = {
    "a complex result": (lambda: fg.grad(np.sum)(Z), ComplexOutputError, "np.abs.*holomorphic"),
    "a complex jacobian": (lambda: fg.jacobian(lambda z: z)(Z), ComplexOutputError, "jacobian.*real"),
    "a complex jacrev of reals": (
        lambda: fg.jacrev(lambda x: 1j * x)(Z.real), ComplexOutputError, "jacrev.*jacfwd",
    ),
    "a complex jacfwd": (lambda: fg.jacfwd(lambda z: z)(Z), ComplexInputError, "jacfwd.*holomorphic"),
    "a complex hessian": (
        lambda: fg.hessian(lambda z: np.sum(np.abs(z)))(Z), ComplexInputError, "hessian.*holomorphic",
    ),
    "a complex derivative": (
        lambda: fg.derivative(np.abs)(Z), ComplexInputError, "derivative.*z?.real",
    ),
    "a real argument": (
        lambda: fg.grad(lambda p: np.sum(p["x"]), holomorphic=True)({"x": Z.real}),
        ComplexInputError, r"argument 0\['x'\].*float64.*astype\(complex\)",
    ),
    "a real result": (
        lambda: fg.grad(lambda z: np.sum(np.abs(z)), holomorphic=True)(Z),
        ComplexOutputError, "without holomorphic",
    ),
    "a real jacobian": (
        lambda: fg.jacfwd(np.abs, holomorphic=True)(Z), ComplexOutputError, "without holomorphic",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, error, message = MISTAKES[name]
    with pytest.raises(error, match=message):
        call()
    with pytest.raises(error, match=message):
        fg.jit(call)()
