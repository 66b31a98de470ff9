"""Functions that neural networks are made of, with stable values and derivatives (``fg.nn``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad.ops.elementwise import sigmoid as _sigmoid


def sigmoid(x: Any) -> Any:
    r"""The logistic function :math:`1 / (1 + e^{-x})`, entry by entry.

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
    return _sigmoid(x if hasattr(x, "ndim") else np.asarray(x))
