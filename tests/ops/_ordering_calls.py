"""A table of calls, and what must hold for each of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fungrad as fg
from tests._checks import alike, differences, near, normal_like, pairing, same_bits

Function = Callable[..., Any]


def draw(*shape: int, seed: int = 0, dtype: Any = np.float64) -> Any:
    """Distinct numbers, none near another or near 0: no kinks within a step."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    values = (rng.permutation(size) - size / 2 + 0.5) * 0.4 + rng.uniform(-0.1, 0.1, size)
    return values.reshape(shape).astype(dtype)


def parts(result: Any) -> list[Any]:
    """One or several results, as a list."""
    return list(result) if isinstance(result, (tuple, list)) else [result]


def check_value(function: Function, *operands: Any, exact: bool = True, what: str = "") -> None:
    """NumPy's value and dtype: un-jitted, and jitted, twice."""
    want = parts(function(*operands))
    runs = [fg.jit(function)] * 2
    if any(np.asarray(x).dtype.kind in "fc" for x in operands):
        runs.append(lambda *xs: _un_jitted(function, xs))
    for run in runs:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results = parts(run(*operands))
        assert len(results) == len(want), what
        for got, expected in zip(results, want, strict=True):
            if exact:
                same_bits(got, expected, what)
            else:
                alike(got, expected, what)
                eps = np.finfo(np.result_type(expected, np.float16)).eps
                np.testing.assert_allclose(got, expected, 8 * eps, 8 * eps, err_msg=what)


def _un_jitted(function: Function, operands: Any) -> Any:
    """The value that comes with a derivative."""
    wrt = [i for i, x in enumerate(operands) if np.asarray(x).dtype.kind in "fc"]

    def run(*varying: Any) -> Any:
        complete = list(operands)
        for place, x in zip(wrt, varying, strict=True):
            complete[place] = x
        return function(*complete)

    value, _ = fg.vjp(run, *[operands[i] for i in wrt])
    return value


def check_derivatives(
    function: Function, *primals: Any, rtol: float = 2e-7, what: str = ""
) -> None:
    """Both modes against differences; first and second order; batches are stacks."""
    one = lambda *xs: np.concatenate([np.ravel(p) for p in parts(function(*xs))])
    value, pull = fg.vjp(one, *primals)
    rng = np.random.default_rng(1)
    ct = normal_like(rng, value)
    cotangents = pull(ct)
    for cotangent, primal in zip(cotangents, primals, strict=True):
        alike(cotangent, primal, what)
    tangents = [normal_like(rng, x) for x in primals]
    want = differences(one, primals, tangents)
    near(fg.jvp(one, primals, tangents)[1], want, f"{what}, forward", rtol * 10)
    near(pairing(cotangents, tangents), pairing([ct], [want]), f"{what}, reverse", rtol * 100)

    def first(*xs: Any) -> Any:
        return np.concatenate([np.ravel(p) for p in fg.vjp(one, *xs)[1](ct)])

    second = differences(first, primals, tangents)
    near(fg.jvp(first, primals, tangents)[1], second, f"{what}, second order", rtol * 100)
    np.testing.assert_allclose(fg.jit(first)(*primals), first(*primals), 1e-13, 1e-13)


def check_batched(function: Function, *operands: Any, what: str = "") -> None:
    """Mapping over one operand at a time, and over all, is stacking."""
    count = len(operands)
    for places in [{i} for i in range(count)] + [set(range(count))] * (count > 1):
        batches = [
            np.stack([x, x[..., ::-1] if np.ndim(x) else x, x * 2]) if i in places else x
            for i, x in enumerate(operands)
        ]
        rows = [
            parts(function(*[x[k] if i in places else x for i, x in enumerate(batches)]))
            for k in range(3)
        ]
        axes = tuple(0 if i in places else None for i in range(count))
        for got, *want in zip(parts(fg.vmap(function, axes)(*batches)), *rows, strict=True):
            near(got, np.stack(want), f"{what}, batched {places}", 1e-12)


def check_call(function: Function, *operands: Any, exact: bool = True, what: str = "") -> None:
    """All of the above, in float64."""
    check_value(function, *operands, exact=exact, what=what)
    check_derivatives(function, *operands, what=what)
    check_batched(function, *operands, what=what)
