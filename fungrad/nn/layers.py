"""Layers without weights of their own: normalisation, dropout, one-hot codes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fungrad._tracer import Tracer
from fungrad.nn._operands import floating
from fungrad.ops.activations import masked
from fungrad.ops.creation import arange_like
from fungrad.ops.shape import arraylike


def layer_norm(
    x: Any, scale: Any = None, bias: Any = None, *, axis: Any = -1, epsilon: float = 1e-5
) -> Any:
    r"""Entries shifted and scaled to mean 0 and variance 1 along an axis.

    :math:`y = (x - \mu) / \sqrt{v + \epsilon} \cdot s + b`, for :math:`\mu` and :math:`v` the mean
    and the variance of each example.

    Args:
        x: real array of shape ``(..., n)``; integers become float64.
        scale: learnt factors ``s``, which broadcast against ``x``; ``None`` for 1.
        bias: learnt terms ``b``, which broadcast against ``x``; ``None`` for 0.
        axis: the axis, or tuple of axes, along which to normalise.
        epsilon: what is added to the variance, in units of ``x`` squared.

    Returns:
        Array of shape ``(..., n)`` and the dtype of ``x``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.layer_norm(np.array([[1.0, 3.0], [7.0, 7.0]])).round(4)
        array([[-1.,  1.],
               [ 0.,  0.]])

    References:
        Ba, Kiros, Hinton, Layer normalization, arXiv:1607.06450, section 3.1.
    """
    x = floating(x)
    centred = x - np.mean(x, axis=axis, keepdims=True)
    variance = np.mean(np.square(centred), axis=axis, keepdims=True)
    y = centred / np.sqrt(variance + epsilon)
    y = y if scale is None else y * scale
    return y if bias is None else y + bias


def dropout(x: Any, rate: float, key: Any) -> Any:
    """Entries replaced by 0 at random; the others grow so that the mean stays.

    It is for training; at test time, leave it out.

    Args:
        x: real array of any shape ``(...)``; integers become float64.
        rate: the probability with which an entry is dropped, at least 0 and less than 1.
        key: a key of ``fg.random``; or a boolean array of shape ``(...)``, true where an entry
            stays. Equal keys drop equal places: derive a new one for each use.

    Returns:
        Array of shape ``(...)`` and the dtype of ``x``: 0 or ``x / (1 - rate)``.

    Raises:
        ValueError: a rate below 0, or of 1 or more.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.dropout(np.ones(3), 0.5, np.array([True, False, True]))
        array([2., 0., 2.])

    References:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout, JMLR 15, 2014.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"a dropout rate must be at least 0 and less than 1, not {rate}")
    x = floating(x)
    if getattr(key, "dtype", None) == np.bool_:
        stays = key
    else:
        from fungrad.random import bernoulli  # only here: most users of fg.nn never draw

        stays = bernoulli(key, 1 - rate, x.shape)
    return masked(stays, x / (1 - rate))


def one_hot(labels: Any, num_classes: int, *, axis: int = -1, dtype: Any = np.float64) -> Any:
    """Integers as unit vectors: 1 at the place that a label names, 0 elsewhere.

    Args:
        labels: integer array of shape ``(...)``. Labels out of range give zeros only.
        num_classes: the length ``n`` of the new axis.
        axis: where the new axis stands in the result.
        dtype: the dtype of the result.

    Returns:
        Array of shape ``(..., n)``.

    Raises:
        TypeError: labels that are no integers.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.one_hot(np.array([2, 0]), 3)
        array([[0., 0., 1.],
               [1., 0., 0.]])
    """
    labels, count = arraylike(labels), operator.index(num_classes)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, not {labels.dtype}")
    traced = isinstance(labels, Tracer)
    classes = arange_like(labels, count) if traced else np.arange(count)
    codes = np.expand_dims(labels, -1) == classes
    return np.moveaxis(codes.astype(dtype), -1, axis)
