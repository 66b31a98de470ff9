"""What must hold for every call of the linear families: values, dtypes, derivatives, batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

import fungrad as fg
from fungrad.testing import check_grads
from tests._checks import roundoff

Function = Callable[..., Any]


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Any:
    """Normally distributed numbers, of other values for every shape."""
    rng = np.random.default_rng([seed, *shape])
    value = rng.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        value = value + 1j * rng.normal(size=shape)
    return value.astype(dtype)


def parts(result: Any) -> list[Any]:
    """One or several results, as a list."""
    return list(result) if isinstance(result, tuple) else [result]


def alike(got: Any, want: Any, what: str, tolerance: float = 64.0) -> None:
    """One type of result, equal dtypes and shapes, and values equal up to rounding."""
    assert isinstance(got, tuple) == isinstance(want, tuple), what
    if isinstance(want, tuple):
        assert type(got) is type(want), f"{what}: a {type(got)}, not a {type(want)}"
    for one, other in zip(parts(got), parts(want), strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype, f"{what}: {one.dtype}, not {other.dtype}"
        bound = tolerance * roundoff(other)
        size = np.max(np.abs(other), initial=0.0, where=np.isfinite(other))
        np.testing.assert_allclose(one, other, bound, bound * size, err_msg=what)


def check_value(
    function: Function, *operands: Any, what: str = "", tolerance: float = 64.0
) -> None:
    """NumPy's value, as the same type: jitted, twice; and un-jitted, beside a derivative."""
    want = function(*operands)
    jitted = fg.jit(function)
    alike(jitted(*operands), want, f"{what}, jit", tolerance)
    alike(jitted(*operands), want, f"{what}, jit again", tolerance)
    wrt = [i for i, x in enumerate(operands) if np.asarray(x).dtype.kind in "fc"]
    if wrt:
        alike(fg.vjp(_closed(function, operands, wrt), *[operands[i] for i in wrt])[0], want,
              f"{what}, vjp", tolerance)  # fmt: skip


def _closed(function: Function, operands: Any, places: Any) -> Function:
    def of(*varying: Any) -> Any:
        complete = dict(enumerate(operands)) | dict(zip(places, varying, strict=True))
        return function(*complete.values())

    return of


def check_batches(function: Function, *operands: Any, what: str = "") -> None:
    """``vmap`` is a stack, over each operand alone and over all together."""
    for flags in product((False, True), repeat=len(operands)):
        if not any(flags):
            continue
        # Powers of two change no rounding, and keep what is singular or symmetric so.
        batches = [
            np.stack([x, 2 * x, -x]) if flag else x for x, flag in zip(operands, flags, strict=True)
        ]
        if "cholesky" in what:
            batches = [np.abs(b) if flag else b for b, flag in zip(batches, flags, strict=True)]
        examples = [
            function(*[b[i] if flag else b for b, flag in zip(batches, flags, strict=True)])
            for i in range(3)
        ]
        got = fg.vmap(function, tuple([0 if flag else None for flag in flags]))(*batches)
        for one, *others in zip(parts(got), *map(parts, examples), strict=True):
            want = np.stack(others)
            bound = 1e4 * roundoff(want)
            size = np.max(np.abs(want), initial=0.0)
            np.testing.assert_allclose(one, want, bound, bound * size, err_msg=f"{what}, {flags}")


def check_narrow(function: Function, *operands: Any, what: str = "") -> None:
    """Single precision in, single precision out, and gradients too."""
    narrow = [np.asarray(x).astype("F" if np.asarray(x).dtype.kind == "c" else "f")
              for x in operands]  # fmt: skip
    want, (got, pull) = function(*narrow), fg.vjp(function, *narrow)
    for one, other in zip(parts(got), parts(want), strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype, what
    cts = [np.ones_like(x) for x in parts(got)]
    gradients = pull(type(got)(*cts) if hasattr(got, "_fields") else tuple(cts)
                     if isinstance(got, tuple) else cts[0])  # fmt: skip
    for gradient, operand in zip(gradients, narrow, strict=True):
        assert gradient.dtype == operand.dtype, f"{what}: a gradient of dtype {gradient.dtype}"


def check(
    function: Function,
    *operands: Any,
    what: str = "",
    order: int = 2,
    rtol: float = 1e-6,
    batches: bool = True,
    tolerance: float = 64.0,
) -> None:
    """Everything at once, at operands of double precision."""
    check_value(function, *operands, what=what, tolerance=tolerance)
    check_grads(function, operands, order=order, rtol=rtol)
    check_narrow(function, *operands, what=what)
    if batches:
        check_batches(function, *operands, what=what)
