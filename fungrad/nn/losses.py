"""Losses of classifiers, example by example, from scores that may be arbitrarily large."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad.nn._operands import floating, weights
from fungrad.nn.softmax import log_softmax
from fungrad.ops.activations import sigmoid_cross_entropy
from fungrad.ops.shape import arraylike


def softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1) -> Any:
    r"""The cross entropy :math:`-\sum_i p_i \log q_i` of labels and predicted classes.

    :math:`q` is the softmax of the logits. With respect to them, the derivative is :math:`q - p` if
    the labels have sum one. A class with label 0 and logit -inf costs nothing.

    Args:
        logits: real array of shape ``(..., n)``, the scores of ``n`` classes.
        labels: their probabilities ``p``, of a shape that broadcasts to ``(..., n)``; one-hot if
            the class is certain.
        axis: the axis of the classes.

    Returns:
        Array of shape ``(...)``, one loss in nats for each example.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> logits = np.array([[1000.0, 0.0], [0.0, 1000.0]])
        >>> fg.nn.softmax_cross_entropy(logits, np.array([[1.0, 0.0], [1.0, 0.0]]))
        array([   0., 1000.])

    References:
        Goodfellow, Bengio, Courville, Deep Learning, MIT Press 2016, sections 3.13 and 6.2.2.3.
    """
    logs = log_softmax(logits, axis)
    labels = weights(labels, logs)
    # Of 0 * log(0) the limit is 0.
    logs = np.where((labels == 0) & (logs == -np.inf), 0, logs)
    return 0 - np.sum(labels * logs, axis=axis)  # 0 where all is right, not -0


def sparse_softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1) -> Any:
    r"""The cross entropy :math:`-\log q_k` of predicted classes, where class :math:`k` is right.

    The same as ``softmax_cross_entropy`` with labels ``one_hot(labels, n)``, but cheaper.

    Args:
        logits: real array of shape ``(..., n)``, the scores of ``n`` classes.
        labels: integer array of shape ``(...)``, from 0 to ``n - 1``.
        axis: the axis of the classes in ``logits``.

    Returns:
        Array of shape ``(...)``, one loss in nats for each example.

    Raises:
        IndexError: a label of ``n`` or more.
        TypeError: labels that are no integers.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> logits = np.array([[1000.0, 0.0], [0.0, 1000.0]])
        >>> fg.nn.sparse_softmax_cross_entropy(logits, np.array([0, 0]))
        array([   0., 1000.])
    """
    labels, logs = arraylike(labels), log_softmax(logits, axis)
    if labels.dtype.kind not in "iu":
        raise TypeError(
            f"labels must be integers, not {labels.dtype}; for probabilities write: "
            "fg.nn.softmax_cross_entropy(logits, labels)"
        )
    chosen = np.take_along_axis(logs, np.expand_dims(labels, axis), axis)
    return 0 - np.squeeze(chosen, axis)  # 0 where all is right, not -0


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Any:
    r"""The cross entropy of yes-or-no labels and predictions, entry by entry.

    It is :math:`-p \log \sigma(x) - (1 - p) \log \sigma(-x)` for a logit :math:`x` and a label
    :math:`p`. With respect to the logit, the derivative is :math:`\sigma(x) - p`. An infinite logit
    of the right sign costs nothing.

    Args:
        logits: real array of any shape ``(...)``, the logarithms of the odds.
        labels: array that broadcasts against it, from 0 to 1; or booleans.

    Returns:
        Array of the common shape, one loss in nats for each entry.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.sigmoid_binary_cross_entropy(np.array([-1000.0, 1000.0, np.inf]), 1.0)
        array([1000.,    0.,    0.])

    References:
        Goodfellow, Bengio, Courville, Deep Learning, MIT Press 2016, section 6.2.2.2.
    """
    logits = floating(logits)
    return sigmoid_cross_entropy(logits, weights(labels, logits))
