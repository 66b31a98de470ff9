"""Discrete draws: integers, choices and orders. They do not move with their parameters."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fungrad._tracer import Tracer
from fungrad.ops.shape import arraylike
from fungrad.random._operands import drawn, fitting, parameter, shape_of


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None) -> Any:
    """Draws that are true with a given probability.

    Args:
        key: a key.
        p: the probability, which broadcasts to ``(...)``.
        shape: the shape ``(...)`` of the result; by default, that of ``p``.

    Returns:
        Boolean array of shape ``(...)``.

    Raises:
        ShapeMismatchError: the probabilities do not broadcast to the shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.bernoulli(fg.random.key(0), 0.8, 10_000)
        >>> draws.dtype, bool(abs(np.mean(draws) - 0.8) < 0.02)
        (dtype('bool'), True)
    """
    return drawn(key, "uniform", shape_of("bernoulli", shape, p), np.float64) < p


def integers(key: Any, low: Any, high: Any, shape: Any = None, dtype: Any = np.int64) -> Any:
    """Integers that are equally likely, from ``low`` to ``high - 1``.

    Args:
        key: a key.
        low: the smallest integer; it broadcasts to ``(...)``.
        high: one more than the largest integer; it broadcasts to ``(...)``.
        shape: the shape ``(...)`` of the result; by default, that of the bounds together.
        dtype: of integers or booleans.

    Returns:
        Array of shape ``(...)``.

    Raises:
        ValueError: ``low`` is not less than ``high``, or the dtype does not hold the integers.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> dice = fg.random.integers(fg.random.key(0), 1, 7, 1000)
        >>> np.unique(dice)
        array([1, 2, 3, 4, 5, 6])
    """
    bounds = [arraylike(bound) for bound in (low, high)]
    if any(bound.dtype.kind not in "iu" for bound in bounds):
        raise TypeError(f"bounds are integers, not {bounds[0].dtype} and {bounds[1].dtype}")
    return drawn(key, "integers", shape_of("integers", shape, *bounds), dtype, *bounds)


def poisson(key: Any, rate: Any, shape: Any = None) -> Any:
    r"""Numbers of events, of probability :math:`\lambda^k e^{-\lambda} / k!`.

    Args:
        key: a key.
        rate: the mean :math:`\lambda`, not negative; it broadcasts to ``(...)``.
        shape: the shape ``(...)`` of the result; by default, that of ``rate``.

    Returns:
        int64 array of shape ``(...)``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.poisson(fg.random.key(0), 3.0, 10_000)
        >>> bool(abs(np.mean(draws) - 3.0) < 0.1)
        True
    """
    rate = parameter(rate, np.float64)
    return drawn(key, "poisson", shape_of("poisson", shape, rate), np.int64, rate)


def binomial(key: Any, n: Any, p: Any, shape: Any = None) -> Any:
    r"""Numbers of successes, of probability :math:`\binom{n}{k} p^k (1 - p)^{n - k}`.

    Args:
        key: a key.
        n: the number of trials, integers that are not negative; it broadcasts to ``(...)``.
        p: the probability of success; it broadcasts to ``(...)``.
        shape: the shape ``(...)`` of the result; by default, that of the parameters together.

    Returns:
        int64 array of shape ``(...)``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> draws = fg.random.binomial(fg.random.key(0), 10, 0.3, 10_000)
        >>> bool(abs(np.mean(draws) - 3.0) < 0.1)
        True
    """
    n, p = arraylike(n), parameter(p, np.float64)
    if n.dtype.kind not in "iu":
        raise TypeError(f"the number of trials is an integer, not {n.dtype}")
    return drawn(key, "binomial", shape_of("binomial", shape, n, p), np.int64, n, p)


def categorical(key: Any, logits: Any, shape: Any = None) -> Any:
    r"""Places along the last axis, of probability :math:`e^{l_i} / \sum_j e^{l_j}`.

    Args:
        key: a key.
        logits: logarithms of weights, which need not have sum one, of shape ``(n,)`` or one that
            broadcasts to ``(..., n)``; -inf for a weight of 0.
        shape: the shape ``(...)`` of the result; by default, that of ``logits`` without its last
            axis.

    Returns:
        Integer array of shape ``(...)``, from 0 to ``n - 1``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> logits = np.log([0.7, 0.2, 0.1])
        >>> draws = fg.random.categorical(fg.random.key(0), logits, 10_000)
        >>> (np.bincount(draws) / 10_000).round(1)
        array([0.7, 0.2, 0.1])

    References:
        Maddison, Tarlow and Minka, A* Sampling, NeurIPS 2014, section 2: the Gumbel-max trick.
    """
    logits = parameter(logits, np.float64)
    if not logits.ndim:
        raise ValueError("categorical: logits need an axis, along which to choose")
    rows = fitting("categorical", shape, logits.shape[:-1])
    noise = drawn(key, "gumbel", (*rows, logits.shape[-1]), np.float64)
    return np.argmax(logits + noise, axis=-1)


def permutation(key: Any, x: Any, axis: int = 0) -> Any:
    """A random order: of the integers below ``x``, or of an array along an axis.

    Args:
        key: a key.
        x: an integer, or an array of shape ``(..., n, ...)``.
        axis: the axis along which an array is reordered; slices stay together.

    Returns:
        int64 array of shape ``(x,)``, or an array of the shape and dtype of ``x``, differentiable.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> order = fg.random.permutation(fg.random.key(0), 5)
        >>> np.sort(order)
        array([0, 1, 2, 3, 4])
    """
    if np.ndim(x):
        x = arraylike(x)
        return _taken(x, _order(key, x.shape[axis]), axis)
    return _order(key, operator.index(x))


def _order(key: Any, size: int) -> Any:
    return drawn(key, "permutation", (size,), np.int64)


def choice(key: Any, a: Any, shape: Any = (), replace: bool = True, p: Any = None) -> Any:
    """Entries that are chosen at random.

    Args:
        key: a key.
        a: an integer, which stands for the integers below it; or an array, of which entries (or
            slices) along the first axis are chosen.
        shape: the shape ``(...)`` of what is chosen.
        replace: whether an entry can be chosen more than once.
        p: weights of the entries, not negative, of shape ``(n,)``; they need not have sum one. By
            default, all are equal. Without replacement, entries of weight 0 come last.

    Returns:
        Array of shape ``(...)``, followed by the other axes of ``a``; differentiable by ``a``.

    Raises:
        ValueError: more entries are to be chosen than there are, without replacement.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> key = fg.random.key(0)
        >>> batch = fg.random.choice(key, 100, 10, replace=False)
        >>> len(np.unique(batch))
        10
        >>> fg.random.choice(key, np.array([5.0, 7.0]), 4, p=[0.0, 1.0])
        array([7., 7., 7., 7.])

    References:
        Kool, van Hoof and Welling, Stochastic Beams and Where to Find Them, ICML 2019, section 2.3,
        for weights without replacement.
    """
    shape = shape_of("choice", shape)
    count = int(np.prod(shape))
    size = np.shape(a)[0] if np.ndim(a) else operator.index(a)
    if size < 1 and count:
        raise ValueError("there is nothing to choose from")
    if count > size and not replace:
        raise ValueError(f"{count} of {size} entries can't be chosen without replacement")
    if p is not None:
        logits = _log(parameter(p, np.float64))
        if logits.shape != (size,):
            raise ValueError(f"choice: weights of shape {logits.shape} for {size} entries")
    if replace:
        places = integers(key, 0, size, shape) if p is None else categorical(key, logits, shape)
    else:
        noise = None if p is None else drawn(key, "gumbel", (size,), np.float64)
        order = _order(key, size) if noise is None else np.argsort(-(logits + noise))
        places = np.reshape(order[:count], shape)
    return _taken(arraylike(a), places, 0) if np.ndim(a) else places


def _taken(x: Any, places: Any, axis: int) -> Any:
    """``np.take``, which asks only its first operand whether it is traced."""
    x = np.asarray(x, like=places) if isinstance(places, Tracer) else x
    return np.take(x, places, axis=axis)


def _log(p: Any) -> Any:
    """The logarithm of weights, -inf for 0 without a warning."""
    return np.where(p > 0, np.log(np.where(p > 0, p, 1)), -np.inf)
