"""Exponentials normalised to sum one, and the logarithm of their sum.

Each is a primitive: its derivative is a short formula of its value, and its value takes care of
infinities, among which ties share evenly, as in ``np.logaddexp``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, primitive, result_dtype
from fungrad.ops.reduction import Axes, reduced_shape


def _centred(x: Any, axis: Axes) -> tuple[Any, Any]:
    """The maximum, and ``x`` minus it; equal infinities have the difference 0."""
    most = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    if np.isfinite(most).all():
        with np.errstate(over="ignore"):
            return most, np.asarray(x - most)
    wins = np.equal(x, most)
    return most, np.where(wins, 0, x) - np.where(wins, 0, most)


def softmax_value(x: Any, axis: Axes) -> Any:
    """``exp(x) / sum(exp(x))``."""
    _, weights = _centred(x, axis)
    weights = np.exp(weights, out=np.asarray(weights))
    weights /= np.add.reduce(weights, axis=axis, keepdims=True)
    return weights


def log_softmax_value(x: Any, axis: Axes) -> Any:
    """``x - log(sum(exp(x)))``."""
    _, out = _centred(x, axis)
    out = np.asarray(out)
    out -= np.log(np.add.reduce(np.exp(out), axis=axis, keepdims=True))
    return out


def logsumexp_value(x: Any, axis: Axes) -> Any:
    """``log(sum(exp(x)))``; -inf of nothing."""
    most, exponents = _centred(x, axis)
    with np.errstate(divide="ignore"):
        total = np.log(np.add.reduce(np.exp(exponents), axis=axis))
    return most.reshape(total.shape) + total


def _declare(name: str, value: Callable[..., Any], aval: Any, vjp: Any) -> Primitive:
    record = primitive(
        name,
        value=value,
        aval=aval,
        vjp=vjp,
        batch=lambda batched, size, x, axis: record(x, axis=tuple([i + 1 for i in axis])),
        fresh=True,
        analytic=False,
    )
    return record


def _same(x: Aval, axis: Axes) -> Aval:
    return make_aval(x.shape, result_dtype(np.exp, (x.dtype,)))


def _reduced(x: Aval, axis: Axes) -> Aval:
    return make_aval(reduced_shape(x.shape, axis), result_dtype(np.exp, (x.dtype,)))


def _softmax_vjp(ct: Any, y: Any, x: Any, axis: Axes) -> tuple[Any]:
    weighted = ct * y
    return (weighted - y * weighted.sum(axis, keepdims=True),)


softmax_p = _declare("softmax", softmax_value, _same, _softmax_vjp)
log_softmax_p = _declare(
    "log_softmax",
    log_softmax_value,
    _same,
    lambda ct, y, x, axis: (ct - np.exp(y) * ct.sum(axis, keepdims=True),),
)
logsumexp_p = _declare(
    "logsumexp",
    logsumexp_value,
    _reduced,
    lambda ct, y, x, axis: (np.expand_dims(ct, axis) * softmax_p(x, axis=axis),),
)
