"""Continuous distributions: draws that move with their parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad.ops.elementwise import sigmoid
from fungrad.ops.random import Shape, draw_p, gamma_p
from fungrad.ops.softmax import softmax_p
from fungrad.random._operands import drawn, fitting, parameter, precision, shape_of
from fungrad.random.keys import checked, split


def uniform(
    key: Any, shape: Any = None, low: Any = 0.0, high: Any = 1.0, dtype: Any = np.float64
) -> Any:
    r"""Draws that are equally likely between two bounds, :math:`l + (h - l) u`.

    Args:
        key: a key.
        shape: the shape ``(...)`` of the result; by default, that of the bounds together.
        low: the lower bound, which may be drawn; it broadcasts to ``(...)``.
        high: the upper bound, which is not drawn (but for rounding); it broadcasts to ``(...)``.
        dtype: float32 or float64, in which :math:`u` is drawn.

    Returns:
        Array of shape ``(...)``, differentiable by the bounds.

    Raises:
        ShapeMismatchError: the bounds do not broadcast to the shape.

    Example:
        >>> import fungrad as fg
        >>> draws = fg.random.uniform(fg.random.key(0), 1000, 2.0, 3.0)
        >>> bool(2 <= draws.min() and draws.max() < 3)
        True
    """
    shape = shape_of("uniform", shape, low, high)
    return low + (high - low) * drawn(key, "uniform", shape, precision(dtype))


def normal(
    key: Any, shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = np.float64
) -> Any:
    r"""Normal draws, :math:`\mu + \sigma z`.

    Args:
        key: a key.
        shape: the shape ``(...)`` of the result; by default, that of the parameters together.
        loc: the mean :math:`\mu`; it broadcasts to ``(...)``.
        scale: the standard deviation :math:`\sigma`; it broadcasts to ``(...)``.
        dtype: float32 or float64, in which :math:`z` is drawn.

    Returns:
        Array of shape ``(...)``, differentiable by ``loc`` and ``scale``.

    Raises:
        ShapeMismatchError: the parameters do not broadcast to the shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> key = fg.random.key(0)
        >>> mean_of_squares = lambda mu: np.mean(fg.random.normal(key, 10_000, mu) ** 2)
        >>> bool(abs(fg.grad(mean_of_squares)(3.0) - 6.0) < 0.1)  # d/dμ (μ² + 1) = 2 μ
        True

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, section 2.4.
    """
    shape = shape_of("normal", shape, loc, scale)
    return loc + scale * drawn(key, "normal", shape, precision(dtype))


def truncated_normal(
    key: Any,
    low: float,
    high: float,
    shape: Any = None,
    loc: Any = 0.0,
    scale: Any = 1.0,
    dtype: Any = np.float64,
) -> Any:
    r"""Normal draws from between two bounds, :math:`\mu + \sigma z` with :math:`l \le z \le h`.

    Args:
        key: a key.
        low: the lower bound :math:`l`, a plain number in standard deviations from the mean.
        high: the upper bound :math:`h` of the same kind.
        shape: the shape ``(...)`` of the result; by default, that of the parameters together.
        loc: the mean :math:`\mu` of the normal distribution; it broadcasts to ``(...)``.
        scale: its standard deviation :math:`\sigma`; it broadcasts to ``(...)``.
        dtype: float32 or float64, the dtype of :math:`z`.

    Returns:
        Array of shape ``(...)``, differentiable by ``loc`` and ``scale``. The bounds move with
        them; as numbers they are constants.

    Raises:
        ValueError: ``low`` is not below ``high``.
        ShapeMismatchError: the parameters do not broadcast to the shape.

    Example:
        >>> import fungrad as fg
        >>> draws = fg.random.truncated_normal(fg.random.key(0), -2.0, 2.0, 1000)
        >>> bool(-2 <= draws.min() and draws.max() <= 2)
        True

    References:
        Robert, Simulation of truncated normal variables, Statistics and Computing 5, 1995.
    """
    low, high = float(low), float(high)
    if not low < high:
        raise ValueError(f"truncated_normal: low={low} must be below high={high}")
    shape, dtype = shape_of("truncated_normal", shape, loc, scale), precision(dtype)
    bounds = (np.float64(low), np.float64(high))
    return loc + scale * draw_p(checked(key), *bounds, method="truncated", shape=shape, dtype=dtype)


def laplace(
    key: Any, shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = np.float64
) -> Any:
    r"""Draws of density :math:`e^{-|x - \mu| / b} / 2b`.

    Args:
        key: a key.
        shape: the shape ``(...)`` of the result; by default, that of the parameters together.
        loc: the mean :math:`\mu`; it broadcasts to ``(...)``.
        scale: the mean distance :math:`b` from it; it broadcasts to ``(...)``.
        dtype: float32 or float64.

    Returns:
        Array of shape ``(...)``, differentiable by ``loc`` and ``scale``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.laplace(fg.random.key(0), 10_000, scale=2.0)
        >>> bool(abs(np.mean(np.abs(draws)) - 2.0) < 0.1)
        True
    """
    shape = shape_of("laplace", shape, loc, scale)
    return loc + scale * drawn(key, "laplace", shape, precision(dtype))


def gumbel(
    key: Any, shape: Any = None, loc: Any = 0.0, scale: Any = 1.0, dtype: Any = np.float64
) -> Any:
    r"""Draws with distribution function :math:`\exp(-e^{-(x - \mu) / \beta})`, of maxima.

    Args:
        key: a key.
        shape: the shape ``(...)`` of the result; by default, that of the parameters together.
        loc: the mode :math:`\mu`; it broadcasts to ``(...)``.
        scale: the scale :math:`\beta`; it broadcasts to ``(...)``.
        dtype: float32 or float64.

    Returns:
        Array of shape ``(...)``, differentiable by ``loc`` and ``scale``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.gumbel(fg.random.key(0), 10_000)
        >>> bool(abs(np.mean(draws) - np.euler_gamma) < 0.05)
        True

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, ICLR 2017.
    """
    shape = shape_of("gumbel", shape, loc, scale)
    return loc + scale * drawn(key, "gumbel", shape, precision(dtype))


def exponential(key: Any, shape: Any = None, scale: Any = 1.0, dtype: Any = np.float64) -> Any:
    r"""Draws of density :math:`e^{-x / s} / s`.

    Args:
        key: a key.
        shape: the shape ``(...)`` of the result; by default, that of ``scale``.
        scale: the mean :math:`s`, one over the rate; it broadcasts to ``(...)``.
        dtype: float32 or float64.

    Returns:
        Array of shape ``(...)``, differentiable by ``scale``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.exponential(fg.random.key(0), 10_000, 5.0)
        >>> bool(abs(np.mean(draws) - 5.0) < 0.2)
        True
    """
    shape = shape_of("exponential", shape, scale)
    return scale * drawn(key, "exponential", shape, precision(dtype))


def _boosted(key: Any, a: Any, shape: Shape, dtype: Any) -> tuple[Any, Any]:
    """A gamma draw as ``g`` and ``e`` with ``g exp(-e)``, where ``g`` has the parameter ``a + 1``.

    Exact for all ``a`` (Stuart, Gamma-distributed products of independent random variables,
    Biometrika 1962), and the logarithm does not underflow however small ``a`` is.
    """
    first, second = split(key)
    a = np.broadcast_to(parameter(a, dtype), shape)
    return gamma_p(checked(first), a + 1, dtype=dtype), drawn(
        second, "exponential", shape, dtype
    ) / a


def _log_gamma(key: Any, a: Any, shape: Shape, dtype: Any) -> Any:
    g, e = _boosted(key, a, shape, dtype)
    return np.log(g) - e


def gamma(key: Any, a: Any, shape: Any = None, scale: Any = 1.0, dtype: Any = np.float64) -> Any:
    r"""Draws of density :math:`(x / s)^{a - 1} e^{-x / s} / (s \Gamma(a))`.

    Args:
        key: a key.
        a: the shape parameter, positive; it broadcasts to ``(...)``.
        shape: the shape ``(...)`` of the result; by default, that of the parameters together.
        scale: the scale :math:`s`, one over the rate; it broadcasts to ``(...)``.
        dtype: float32 or float64.

    Returns:
        Array of shape ``(...)``. It is differentiable by ``scale``, and once by ``a``.

    Raises:
        ShapeMismatchError: the parameters do not broadcast to the shape.
        UnsupportedFunctionError: a second derivative by ``a``.
        ValueError: a negative ``a``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> key = fg.random.key(0)
        >>> mean = lambda a: np.mean(fg.random.gamma(key, a, 10_000))
        >>> bool(abs(fg.grad(mean)(2.0) - 1.0) < 0.05)  # the mean is a
        True

    References:
        Marsaglia and Tsang, A Simple Method for Generating Gamma Variables, ACM TOMS 2000, for the
        draw; Figurnov, Mohamed and Mnih, Implicit Reparameterization Gradients, NeurIPS 2018, for
        its derivative.
    """
    g, e = _boosted(key, a, shape_of("gamma", shape, a, scale), precision(dtype))
    return scale * (g * np.exp(-e))


def beta(key: Any, a: Any, b: Any, shape: Any = None, dtype: Any = np.float64) -> Any:
    r"""Draws of density :math:`x^{a - 1} (1 - x)^{b - 1} / B(a, b)`.

    Args:
        key: a key.
        a: the first parameter, positive; it broadcasts to ``(...)``.
        b: the second parameter, positive; it broadcasts to ``(...)``.
        shape: the shape ``(...)`` of the result; by default, that of the parameters together.
        dtype: float32 or float64.

    Returns:
        Array of shape ``(...)`` of numbers from 0 to 1, differentiable once by ``a`` and ``b``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.beta(fg.random.key(0), 2.0, 6.0, 10_000)
        >>> bool(abs(np.mean(draws) - 0.25) < 0.01)
        True
    """
    shape, dtype = shape_of("beta", shape, a, b), precision(dtype)
    first, second = split(key)
    return sigmoid(_log_gamma(first, a, shape, dtype) - _log_gamma(second, b, shape, dtype))


def dirichlet(key: Any, alpha: Any, shape: Any = None, dtype: Any = np.float64) -> Any:
    r"""Draws of weights of sum one, of density :math:`\propto \prod_i x_i^{\alpha_i - 1}`.

    Args:
        key: a key.
        alpha: the parameters, positive, of shape ``(n,)`` or one that broadcasts to ``(..., n)``.
        shape: the shape ``(...)`` of the result without its last axis; by default, as ``alpha``.
        dtype: float32 or float64.

    Returns:
        Array of shape ``(..., n)``, differentiable once by ``alpha``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> weights = fg.random.dirichlet(fg.random.key(0), np.array([1.0, 2.0, 7.0]), 10_000)
        >>> np.mean(weights, axis=0).round(1)
        array([0.1, 0.2, 0.7])
    """
    alpha = parameter(alpha, precision(dtype))
    if not alpha.ndim:
        raise ValueError("dirichlet: alpha needs an axis, along which the weights have sum one")
    rows = fitting("dirichlet", shape, alpha.shape[:-1])
    logarithms = _log_gamma(key, alpha, (*rows, alpha.shape[-1]), np.dtype(dtype))
    return softmax_p(logarithms, axis=(logarithms.ndim - 1,))


def student_t(key: Any, df: Any, shape: Any = None, dtype: Any = np.float64) -> Any:
    r"""Draws of Student's distribution, :math:`z / \sqrt{g / (\nu / 2)}`.

    Here :math:`z` is normal and :math:`g` a gamma draw of parameter :math:`\nu / 2`.

    Args:
        key: a key.
        df: the degrees of freedom :math:`\nu`, positive; they broadcast to ``(...)``.
        shape: the shape ``(...)`` of the result; by default, that of ``df``.
        dtype: float32 or float64.

    Returns:
        Array of shape ``(...)``, differentiable once by ``df``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.student_t(fg.random.key(0), 5.0, 10_000)
        >>> bool(abs(np.var(draws) - 5 / 3) < 0.15)  # the variance is ν / (ν - 2)
        True
    """
    shape, dtype = shape_of("student_t", shape, df), precision(dtype)
    first, second = split(key)
    half = parameter(df, dtype) / 2
    log_ratio = _log_gamma(second, half, shape, dtype) - np.log(half)
    return drawn(first, "normal", shape, dtype) * np.exp(-0.5 * log_ratio)


def multivariate_normal(
    key: Any, mean: Any, cov: Any, shape: Any = None, dtype: Any = np.float64
) -> Any:
    r"""Normal draws of vectors, :math:`\mu + L z` with :math:`L L^\top = \Sigma`.

    Args:
        key: a key.
        mean: the mean :math:`\mu`, of shape ``(n,)`` or one that broadcasts to ``(..., n)``.
        cov: the covariance :math:`\Sigma`, symmetric and positive definite, of shape ``(n, n)`` or
            one that broadcasts to ``(..., n, n)``.
        shape: the shape ``(...)`` of the result without its last axis; by default, that of the
            parameters together.
        dtype: float32 or float64, in which :math:`z` is drawn.

    Returns:
        Array of shape ``(..., n)``, differentiable by ``mean`` and ``cov``.

    Raises:
        LinAlgError: the covariance is not positive definite.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> cov = np.array([[2.0, 1.0], [1.0, 3.0]])
        >>> draws = fg.random.multivariate_normal(fg.random.key(0), np.zeros(2), cov, 10_000)
        >>> bool(np.all(np.abs(np.cov(draws.T) - cov) < 0.2))
        True
    """
    vectors = fitting("multivariate_normal", None, np.shape(mean), np.shape(cov)[:-1])
    rows = fitting("multivariate_normal", shape, vectors[:-1])
    z = drawn(key, "normal", (*rows, vectors[-1]), precision(dtype))
    return mean + np.matmul(np.linalg.cholesky(cov), z[..., None])[..., 0]
