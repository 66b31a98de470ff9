"""Rows of the primitives behind ``fungrad.random``: NumPy's own generator is the oracle.

How gamma draws move with their parameter is tested in ``tests/test_random.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp

from fungrad.ops.random import draw_p, fold_p, gamma_p, gamma_slope, key_p, split_p
from tests._domains import Case, Function, Operand, Row, Shape, integers, within

KEY = Operand((2,), integers(0, 2**62, np.uint64), False)


def positive(*shape: int) -> Operand:
    """A parameter: the sample may move with it, but not as NumPy's does."""
    return Operand(shape, within(1.2, 5.0), False)


def whole(*shape: int, low: int = 0, high: int = 9) -> Operand:
    return Operand(shape, integers(low, high), False)


def philox(key: Any, *counter: int) -> Any:
    return np.random.Philox(key=key, counter=np.array(counter or (0, 0, 0, 0), np.uint64))


def generator(key: Any) -> np.random.Generator:
    return np.random.Generator(philox(key))


def drawing(method: str, name: str, shape: Shape, dtype: Any, *parameters: Operand) -> Case:
    """A draw, and the method of NumPy's generator that it stands for."""

    def draw(key: Any, *values: Any) -> Any:
        return draw_p(key, *values, method=method, shape=shape, dtype=np.dtype(dtype))

    def expected(key: Any, *values: Any) -> Any:
        keywords = {} if dtype != np.float32 and method != "integers" else {"dtype": dtype}
        return getattr(generator(key), name)(*values, size=shape, **keywords)

    return Case(f"{method} {shape} {np.dtype(dtype)}", draw, (KEY, *parameters), expected)


def rows_without_derivative(*cases: Case, **rest: Any) -> Row:
    return Row(cases, dtypes=("float64",), gradient_dtypes=(), **rest)


def _split(key: Any, count: int) -> Any:
    blocks = [philox(key, 0, 0, 0, 1 << 63).random_raw(4 * count)[4 * i :] for i in range(count)]
    return np.array([block[:2] for block in blocks], np.uint64).reshape(count, 2)


def _gamma_slope(x: Any, a: Any) -> Any:
    def exact(x: float, a: float) -> float:
        with mp.workdps(40):
            of_a = mp.diff(lambda a: mp.gammainc(a, 0, x, regularized=True), a)
            return float(-of_a / (mp.mpf(x) ** (a - 1) * mp.exp(-x) / mp.gamma(a)))

    value = np.vectorize(exact, otypes=[float])(x, a)
    return value.astype(np.result_type(x))[()]


def _splitting(count: int) -> tuple[Function, Function]:
    return lambda key: split_p(key, count=count), lambda key: _split(key, count)


RANDOM: dict[str, Row] = {
    "random_key": rows_without_derivative(
        Case("one", lambda seed: key_p(seed), (whole(),),
             lambda seed: np.random.SeedSequence(int(seed)).generate_state(2, np.uint64)),
    ),
    "random_split": rows_without_derivative(
        *[Case(str(n), _splitting(n)[0], (KEY,), _splitting(n)[1]) for n in (0, 1, 2, 5)]
    ),
    "random_fold": rows_without_derivative(
        Case("one", lambda key, n: fold_p(key, n), (KEY, whole()),
             lambda key, n: philox(key, int(n), 0, 0, 1 << 62).random_raw(2)),
    ),
    "random_draw": rows_without_derivative(
        *[
            drawing(method, name, shape, dtype)
            for method, name in (("uniform", "random"), ("normal", "standard_normal"),
                                 ("exponential", "standard_exponential"))
            for shape, dtype in (((), np.float64), ((2, 3), np.float32), ((0,), np.float64))
        ],
        drawing("gumbel", "gumbel", (3,), np.float64),
        drawing("laplace", "laplace", (3,), np.float64),
        drawing("integers", "integers", (2, 3), np.int16, whole(2, 3), whole(2, 3, low=9, high=20)),
        drawing("poisson", "poisson", (3,), np.int64, positive(3)),
        drawing("binomial", "binomial", (3,), np.int64, whole(3),
                Operand((3,), within(0.1, 0.9), False)),
        Case("permutation", lambda key: draw_p(key, method="permutation", shape=(5,),
                                               dtype=np.dtype(np.int64)),
             (KEY,), lambda key: generator(key).permutation(5)),
    ),
    "random_gamma": rows_without_derivative(
        *[
            Case(f"{shape} {dtype}",
                 lambda key, a, dtype=dtype: gamma_p(key, a, dtype=np.dtype(dtype)),
                 (KEY, positive(*shape)),
                 lambda key, a, dtype=dtype: np.asarray(
                     generator(key).standard_gamma(a, dtype=dtype)
                 ))
            for shape, dtype in (((), "float64"), ((2, 3), "float32"), ((0,), "float64"))
        ]
    ),
    "random_gamma_slope": rows_without_derivative(
        *[
            # The quadrature is good to more than ten digits.
            Case(str(shape), lambda x, a: np.round(gamma_slope(x, a), 10),
                 (positive(*shape), positive(*shape)),
                 lambda x, a: np.round(_gamma_slope(x, a), 10))
            for shape in ((), (2, 3))
        ],
        exact=False,
    ),
}  # fmt: skip
