"""Activation functions, entry by entry."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad.nn._operands import floating
from fungrad.ops import activations, elementwise


def sigmoid(x: Any) -> Any:
    r"""The logistic function :math:`1 / (1 + e^{-x})`.

    It keeps full relative accuracy on both sides, does not overflow, and its derivative
    :math:`\sigma(x) \sigma(-x)` does not cancel. ``scipy.special.expit`` of a traced value is the
    same primitive.

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.

    Returns:
        Array of shape ``(...)`` and the dtype of ``x``, between 0 and 1.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.sigmoid(np.array([-800.0, 0.0, 800.0]))
        array([0. , 0.5, 1. ])
        >>> float(fg.grad(fg.nn.sigmoid)(0.0))
        0.25

    References:
        Goodfellow, Bengio, Courville, Deep Learning, MIT Press 2016, section 3.10.
    """
    return elementwise.sigmoid(floating(x))


def log_sigmoid(x: Any) -> Any:
    r"""The logarithm of the logistic function, :math:`-\log(1 + e^{-x})`.

    Unlike ``np.log(sigmoid(x))`` it is accurate on both sides: about :math:`x` far to the left,
    about :math:`-e^{-x}` far to the right. Its derivative is :math:`\sigma(-x)`.

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.

    Returns:
        Array of shape ``(...)`` and the dtype of ``x``, at most 0.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.log_sigmoid(np.array([-800.0, 800.0])).tolist()
        [-800.0, -0.0]
    """
    return -activations.softplus(-floating(x))


def softplus(x: Any) -> Any:
    r"""The smooth rectifier :math:`\log(1 + e^x)`; its derivative is ``sigmoid(x)``.

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.

    Returns:
        Array of shape ``(...)`` and the dtype of ``x``, at least 0.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.softplus(np.array([-800.0, 800.0])).tolist()
        [0.0, 800.0]
        >>> float(fg.grad(fg.nn.softplus)(0.0))
        0.5

    References:
        Dugas et al., Incorporating second-order functional knowledge for better option pricing,
        NIPS 2000, section 3. Its form without overflow: Mächler, Accurately computing
        log(1 - exp(-\|a\|)), 2012, section 3.
    """
    return activations.softplus(floating(x))


def relu(x: Any) -> Any:
    r"""The rectifier :math:`\max(x, 0)`; its derivative is 1 for :math:`x > 0` and 0 elsewhere.

    At 0, where it has none, its derivative is 0. (``np.maximum(x, 0)`` gives 1/2 there: ties share
    evenly.)

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.

    Returns:
        Array of shape ``(...)`` and the dtype of ``x``, at least 0.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.relu(np.array([-1.0, 0.0, 2.0]))
        array([0., 0., 2.])
        >>> fg.vmap(fg.grad(fg.nn.relu))(np.array([-1.0, 0.0, 2.0]))
        array([0., 0., 1.])

    References:
        Glorot, Bordes, Bengio, Deep sparse rectifier neural networks, AISTATS 2011.
    """
    return activations.relu(floating(x))


def _negative_part(x: Any) -> Any:
    """The smaller of ``x`` and 0; its derivative at 0 is 1."""
    return activations.masked(x <= 0, x)


def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Any:
    """A rectifier that lets a part of what is negative through.

    It is ``x`` for positive ``x``, and ``negative_slope * x`` for others; at 0, its derivative is
    ``negative_slope``.

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.
        negative_slope: number, or array that broadcasts against ``x``. It may be traced: a learnt
            slope makes it the parametric rectifier.

    Returns:
        Array of the common shape; of the dtype of ``x`` if the slope is a Python number.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.leaky_relu(np.array([-1.0, 0.0, 2.0]), 0.25)
        array([-0.25,  0.  ,  2.  ])
        >>> fg.grad(lambda slope: np.sum(fg.nn.leaky_relu(np.array([-1.0, 2.0]), slope)))(0.25)
        -1.0

    References:
        Maas, Hannun, Ng, Rectifier nonlinearities improve neural network acoustic models, ICML
        2013, section 2. A learnt slope: He, Zhang, Ren, Sun, Delving deep into rectifiers, ICCV
        2015.
    """
    x = floating(x)
    return activations.relu(x) + negative_slope * _negative_part(x)


def elu(x: Any, alpha: Any = 1.0) -> Any:
    r"""The exponential linear unit: :math:`x` if positive, else :math:`\alpha (e^x - 1)`.

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.
        alpha: minus the limit for small ``x``: a number, or an array that broadcasts against ``x``.

    Returns:
        Array of the common shape; of the dtype of ``x`` if ``alpha`` is a Python number.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.elu(np.array([-800.0, 0.0, 2.0]))
        array([-1.,  0.,  2.])

    References:
        Clevert, Unterthiner, Hochreiter, Fast and accurate deep network learning by exponential
        linear units, ICLR 2016, section 3.
    """
    x = floating(x)
    return activations.relu(x) + alpha * np.expm1(_negative_part(x))


def gelu(x: Any, *, approximate: bool = True) -> Any:
    r"""The Gaussian error linear unit :math:`x \Phi(x)`, for :math:`\Phi` the normal distribution.

    With ``approximate``, it is
    :math:`\frac{x}{2} (1 + \tanh(\sqrt{2 / \pi} (x + 0.044715 x^3)))`, which differs by less than
    0.0005 and is several times faster. Models with published weights use the one or the other.

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.
        approximate: whether to compute the approximation.

    Returns:
        Array of shape ``(...)`` and the dtype of ``x``. Relatively exact to rounding, except far
        to the left, where both forms are less than 1e-30 and the error grows up to 1e-12.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.gelu(np.array([-1.0, 0.0, 2.0])).round(4)
        array([-0.1588,  0.    ,  1.9546])
        >>> fg.nn.gelu(np.array([-1.0, 0.0, 2.0]), approximate=False).round(4)
        array([-0.1587,  0.    ,  1.9545])

    References:
        Hendrycks, Gimpel, Gaussian error linear units, arXiv:1606.08415, section 2.
    """
    return (activations.gelu_tanh if approximate else activations.gelu)(floating(x))


def silu(x: Any) -> Any:
    r"""The sigmoid linear unit :math:`x \sigma(x)`, also called swish.

    Args:
        x: real array or number of any shape ``(...)``; integers become float64.

    Returns:
        Array of shape ``(...)`` and the dtype of ``x``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.silu(np.array([-np.inf, 0.0, np.inf]))
        array([-0.,  0., inf])

    References:
        Elfwing, Uchibe, Doya, Sigmoid-weighted linear units for neural network function
        approximation in reinforcement learning, Neural Networks 107, 2018, equation 12.
    """
    return activations.silu(floating(x))
