"""Exponentials normalised to sum one, and the logarithm of their sum.

Each is a primitive: its derivative is a short formula of its value, and its value takes care of
infinities, among which ties share evenly, as in ``np.logaddexp``. They consist of the same parts, so
where a program needs several of one operand, it computes them at once: ``exponentials_p``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval, tuple_aval
from fungrad._primitive import Primitive, primitive, result_dtype
from fungrad.ops.reduction import Axes, reduced_shape

FEW, MANY = 32, 16
"""Up to how many entries, along the last axis, of how many rows at least are computed in columns.

NumPy reduces short rows one by one, and broadcasts to them one by one.
"""

BLOCK = 1 << 18
"""How many bytes of rows are computed at a time."""


@lru_cache(maxsize=32)
def _bound(dtype: np.dtype[Any]) -> Any:
    """What is below can be subtracted from any number of ``dtype`` without overflow."""
    limits = np.finfo(dtype)
    return limits.max * limits.eps / 8


def _centred(x: Any, axis: Axes, out: Any) -> tuple[Any, Any]:
    """The maximum, and ``x`` minus it; equal infinities have the difference 0.

    ``out`` is memory for the difference, if there is any.
    """
    most = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    if b"\0" not in np.less(np.absolute(most), _bound(x.dtype)).tobytes():
        return most, np.asarray(np.subtract(x, most, out=out))
    if np.logical_and.reduce(np.isfinite(most), axis=None):
        with np.errstate(over="ignore"):
            return most, np.asarray(np.subtract(x, most, out=out))
    wins = np.equal(x, most)
    return most, np.where(wins, 0, x) - np.where(wins, 0, most)


def _in_columns(x: Any, axis: Axes) -> bool:
    length = x.shape[-1] if x.ndim else 0
    short = axis == (x.ndim - 1,) and 2 <= length <= FEW and x.size >= MANY * length
    return bool(short and x.dtype.itemsize > 2)  # sums of float16 are more accurate along rows


def _in_blocks(x: Any, axis: Axes) -> bool:
    return bool(x.nbytes > BLOCK and axis == (x.ndim - 1,) and not _in_columns(x, axis))


def exponentials_value(x: Any, axis: Axes, wanted: tuple[str, ...]) -> tuple[Any, ...]:
    """The ``wanted`` ones of ``softmax``, ``log_softmax`` and ``logsumexp``."""
    x = np.asarray(x)
    if _in_columns(x, axis):
        native = x.dtype.newbyteorder("=")
        columns = x.reshape((-1, x.shape[-1])).T.astype(native, order="C")
        parts = zip(wanted, _parts(columns, (0,), wanted, columns), strict=True)
        return tuple(
            [
                y.reshape(x.shape[:-1]) if name == "logsumexp" else y.T.copy().reshape(x.shape)
                for name, y in parts
            ]
        )
    if _in_blocks(x, axis):
        x = np.ascontiguousarray(x)  # as in blocks: sums depend on the order in memory
    return tuple(_parts(x, axis, wanted, None))


def _parts(x: Any, axis: Axes, wanted: tuple[str, ...], out: Any) -> list[Any]:
    """The results along any axes; ``out`` is memory for the differences, if there is any."""
    most, centred = _centred(x, axis, out)
    weights = np.asarray(np.exp(centred, out=None if "log_softmax" in wanted else centred))
    total = np.add.reduce(weights, axis=axis, keepdims=True)
    parts = []
    for name in wanted:
        if name == "softmax":
            parts.append(np.divide(weights, total, out=weights))
        elif name == "log_softmax":
            parts.append(np.subtract(centred, _log(total, x.size), out=centred))
        else:
            parts.append(
                np.asarray(most + _log(total, x.size)).reshape(reduced_shape(x.shape, axis))
            )
    return parts


def _log(total: Any, size: int) -> Any:
    if size:
        return np.log(total)
    with np.errstate(divide="ignore"):  # a sum of nothing
        return np.log(total)


def _into(name: str, x: Any, axis: Axes, out: Any) -> Any:
    """One of the results of the shape of ``x``, in ``out`` if there is one."""
    x = np.asarray(x)
    if _in_blocks(x, axis):
        # Rows depend on nothing else, and what is computed of a few stays in the cache.
        out = np.empty(x.shape, np.exp(x[:0]).dtype) if out is None else out
        rows, targets = (v.reshape((-1, x.shape[-1])) for v in (x, out))
        step = max(1, BLOCK // (x.itemsize * x.shape[-1]))
        for start in range(0, len(rows), step):
            block, target = rows[start : start + step], targets[start : start + step]
            _assign(target, _parts(block, (1,), (name,), target)[0])
        return out
    (y,) = (
        exponentials_value(x, axis, (name,))
        if out is None or _in_columns(x, axis)
        else _parts(x, axis, (name,), out)
    )
    return y if out is None else _assign(out, y)


def _assign(out: Any, y: Any) -> Any:
    if y is not out:
        out[...] = y
    return out


def softmax_value(x: Any, axis: Axes, out: Any = None) -> Any:
    """``exp(x) / sum(exp(x))``."""
    return _into("softmax", x, axis, out)


def log_softmax_value(x: Any, axis: Axes, out: Any = None) -> Any:
    """``x - log(sum(exp(x)))``."""
    return _into("log_softmax", x, axis, out)


def logsumexp_value(x: Any, axis: Axes) -> Any:
    """``log(sum(exp(x)))``; -inf of nothing."""
    return exponentials_value(x, axis, ("logsumexp",))[0][()]


def _declare(name: str, value: Callable[..., Any], aval: Any, vjp: Any) -> Primitive:
    record = primitive(
        name,
        value=value,
        aval=aval,
        vjp=vjp,
        batch=lambda batched, size, x, **static: record(x, **_behind(**static)),
        fresh=True,
        analytic=False,
    )
    return record


def _behind(axis: Axes, **static: Any) -> dict[str, Any]:
    """The static for one axis more in front."""
    return {"axis": tuple([i + 1 for i in axis]), **static}


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


SHARING = (softmax_p, log_softmax_p, logsumexp_p)
"""What ``exponentials_p`` computes."""


def _exponentials_vjp(ct: Any, y: Any, x: Any, axis: Axes, wanted: tuple[str, ...]) -> tuple[Any]:
    rules: dict[str, Any] = {record.name: record.vjp for record in SHARING}
    parts = zip(wanted, ct, y, strict=True)
    first, *others = [rules[name](c, part, x, axis)[0] for name, c, part in parts]
    return (sum(others, start=first),)


exponentials_p = _declare(
    "exponentials",
    exponentials_value,
    lambda x, axis, wanted: tuple_aval(
        *[(_reduced if name == "logsumexp" else _same)(x, axis) for name in wanted]
    ),
    _exponentials_vjp,
)
