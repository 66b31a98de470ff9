"""Normalised exponentials along axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad.nn._operands import floating, weights
from fungrad.ops.elementwise import stop_gradient
from fungrad.ops.reduction import axes_of, kept
from fungrad.ops.softmax import log_softmax_p, logsumexp_p, softmax_p


def softmax(x: Any, axis: Any = -1, *, where: Any = True) -> Any:
    r"""Positive weights of sum one, :math:`e^{x_i} / \sum_j e^{x_j}`.

    Entries of -inf get weight 0. Infinite entries that are equal share evenly, as the limit of
    equal finite ones: so a vector of nothing but -inf gives equal weights, not NaN.

    Args:
        x: real array of shape ``(..., n)``; integers become float64.
        axis: the axis, or tuple of axes, along which the weights have sum one; ``None`` for all.
        where: boolean array that broadcasts against ``x``. Other entries do not take part: they
            have weight 0, and where none takes part, all weights are 0.

    Returns:
        Array of shape ``(..., n)`` and the dtype of ``x``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.softmax(np.array([1000.0, 1000.0, -np.inf]))
        array([0.5, 0.5, 0. ])
        >>> fg.nn.softmax(np.array([5.0, 1.0, 1.0]), where=np.array([False, True, True]))
        array([0. , 0.5, 0.5])

    References:
        Goodfellow, Bengio, Courville, Deep Learning, MIT Press 2016, sections 4.1 and 6.2.2.3.
    """
    x = _unmasked(floating(x), where)
    weights = softmax_p(x, axis=axes_of(x, axis))
    return weights if where is True else np.where(where, weights, 0)


def log_softmax(x: Any, axis: Any = -1, *, where: Any = True) -> Any:
    r"""The logarithm of ``softmax``, :math:`x_i - \log \sum_j e^{x_j}`, without cancellation.

    Args:
        x: real array of shape ``(..., n)``; integers become float64.
        axis: the axis, or tuple of axes, over which the sum runs; ``None`` for all.
        where: boolean array that broadcasts against ``x``. Other entries do not take part: they
            become -inf, and derivatives with respect to them are 0.

    Returns:
        Array of shape ``(..., n)`` and the dtype of ``x``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.log_softmax(np.array([0.0, -1000.0]))
        array([    0., -1000.])

    References:
        Blanchard, Higham, Higham, Accurately computing the log-sum-exp and softmax functions, IMA
        Journal of Numerical Analysis 41, 2021.
    """
    x = _unmasked(floating(x), where)
    logs = log_softmax_p(x, axis=axes_of(x, axis))
    return logs if where is True else np.where(where, logs, -np.inf)


def logsumexp(
    x: Any, axis: Any = None, b: Any = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    r"""The logarithm of a sum of exponentials, :math:`\log \sum_i b_i e^{x_i}`, without overflow.

    Its derivatives are weights, as of ``softmax``. Entries of -inf have weight 0; equal infinities
    share evenly if there is no ``b``.

    Args:
        x: real array of shape ``(..., n)``; integers become float64.
        axis: the axis, or tuple of axes, over which the sum runs; ``None``, the default, for all.
        b: factors that broadcast against ``x``, such as counts or signs. Where they are 0, they
            still have a derivative. The sum must not be negative: NaN, as of ``np.log``.
        keepdims: whether the axes stay, with length 1.
        where: boolean array that broadcasts against ``x``. Other entries do not take part.

    Returns:
        Array of the shape of ``x`` without ``axis``; -inf for a sum of nothing.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> float(fg.nn.logsumexp(np.array([1000.0, 1000.0])).round(4))
        1000.6931
        >>> fg.grad(fg.nn.logsumexp)(np.array([0.0, 0.0, -np.inf]))
        array([0.5, 0.5, 0. ])

    References:
        Blanchard, Higham, Higham, Accurately computing the log-sum-exp and softmax functions, IMA
        Journal of Numerical Analysis 41, 2021.
    """
    x = _unmasked(floating(x), where)
    if b is None:
        axes = axes_of(x, axis)
        return kept(logsumexp_p(x, axis=axes), x, axes, keepdims)
    b = weights(b, x)
    most = np.max(np.where(b != 0, x, -np.inf), axis=axis, keepdims=True, initial=-np.inf)
    shift = stop_gradient(np.where(np.isfinite(most), most, 0))
    # An entry without weight may be far larger than the others; its slope then is capped.
    limit = math.log(np.finfo(x.dtype).max) - 1
    exponents = np.where(b != 0, x - shift, np.minimum(x - shift, limit))
    total = np.sum(b * np.exp(exponents), axis=axis, keepdims=True)
    zero = total == 0
    result = np.where(zero, -np.inf, shift + np.log(np.where(zero, 1, total)))
    return result if keepdims else np.squeeze(result, axes_of(exponents, axis))


def _unmasked(x: Any, where: Any) -> Any:
    return x if where is True else np.where(where, x, -np.inf)
