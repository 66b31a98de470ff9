"""Rows of the loops: the oracle is the same loop, written out in Python.

The stacks of loops whose number of steps is not known are no arrays. So the code that reaches their
primitives is the derivative of a ``while_loop`` that computes a power, and has a closed form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fungrad as fg
from fungrad.ode._integrate import checked
from tests._domains import Case, Function, Operand, Row, Shape

FLOATS = ("float32", "float64")


def _step(c: Any, x: Any) -> tuple[Any, Any]:
    return c * x + x, c * c + x


def _step_of_two(state: Any, x: Any) -> tuple[Any, Any]:
    (a, b), (x, y) = state, x
    return (b * x, a + y), (a * y, x)


def _start(c: Any, *sequences: Any) -> Any:
    """The first carry in the dtype that the steps keep."""
    return c.astype(np.result_type(c.dtype, *[x.dtype for x in sequences]))


def _scanned(part: int, **keywords: Any) -> Function:
    return lambda xs, c: fg.scan(_step, _start(c, xs), xs, **keywords)[part]


def _written_out(f: Any, carry: Any, items: Any, order: int = 1) -> tuple[Any, Any]:
    stacked = []
    for x in items[::order]:
        carry, y = f(carry, x)
        stacked.append(y)
    return carry, stacked[::order]


def _sums(xs: Any, c: Any) -> Any:
    return _written_out(_step, _start(c, xs), xs)[0]


def _stacked(xs: Any, c: Any, order: int = 1) -> Any:
    return np.stack(_written_out(_step, _start(c, xs), xs, order)[1])


def _two(xs: Any, ys: Any, c: Any) -> Any:
    start = _start(c, xs, ys)
    (a, b), stacked = _written_out(_step_of_two, (start, start), list(zip(xs, ys, strict=True)))
    return a + b + stacked[0][0] + stacked[-1][1]


def _scanned_two(xs: Any, ys: Any, c: Any) -> Any:
    start = _start(c, xs, ys)
    (a, b), (us, vs) = fg.scan(_step_of_two, (start, start), (xs, ys))
    return a + b + us[0] + vs[-1]


def cube(x: Any) -> Any:
    """``x ** 3`` by a loop that does not know how long it is."""
    state = (0, np.ones_like(x))
    return fg.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), state)[1]


def _pulled(x: Any, ts: Any) -> Any:
    # 3x² Σ t, by a loop over what a loop has stacked
    pull = fg.vjp(cube, x)[1]
    return fg.scan(lambda c, t: (c + pull(t)[0], None), np.zeros_like(x), ts)[0]


def _slope(x: Any, ts: Any) -> Any:
    return fg.grad(lambda x: np.sum(_pulled(x, ts)))(x)


def _slopes(x: Any, ts: Any) -> Any:
    return fg.vmap(lambda ts: _slope(x, ts))(ts)


def _slope_of_slopes(x: Any, ts: Any) -> Any:
    return fg.grad(lambda x: np.sum(_slopes(x, ts)))(x)


def _case(label: str, function: Function, oracle: Function, *shapes: Shape) -> Case:
    return Case(label, function, tuple(Operand(shape) for shape in shapes), oracle)


def _of_stacks(label: str, function: Function, oracle: Function, *shapes: Shape) -> Row:
    return Row(
        (_case(label, function, oracle, *shapes),),
        exact=False, dtypes=FLOATS, gradient_dtypes=("float64",), rounding=64.0,
    )  # fmt: skip


ROWS = {
    "loop": Row(
        (
            _case("carry", _scanned(0), _sums, (4, 1), (1,)),
            _case("arrays", _scanned(0), _sums, (3, 2), (2,)),
            _case("stacked", _scanned(1), _stacked, (3, 2), (2,)),
            _case(
                "reverse", _scanned(1, reverse=True), lambda xs, c: _stacked(xs, c, -1), (4, 3), (3,)
            ),
            _case("trees", _scanned_two, _two, (3, 2), (3, 2), (2,)),
            _case("one step", _scanned(1), _stacked, (1, 2), (2,)),
            _case("no step", _scanned(0), lambda xs, c: _start(c, xs), (0, 2), (2,)),
        ),
    ),
    "stack_zeros": _of_stacks(
        "slope", _slope, lambda x, ts: 6 * x * np.sum(ts, axis=0), (), (3,)
    ),
    "stack_spread": _of_stacks(
        "slopes", _slopes, lambda x, ts: 6 * x * np.sum(ts, axis=1), (2,), (2, 2, 2)
    ),
    "stack_add": _of_stacks(
        "slope of slopes", _slope_of_slopes,
        lambda x, ts: np.broadcast_to(6 * np.sum(ts, axis=(0, 1)), x.shape), (2,), (2, 2, 2),
    ),
}  # fmt: skip


# --- branches ------------------------------------------------------------------------------------


def _branches(x: Any, y: Any) -> tuple[Any, ...]:
    return (
        lambda: (x * y, x + y),
        lambda: (np.sin(x) - y, x * x),
        lambda: (x - y, x),
    )


def _switched(index: int) -> Function:
    def function(x: Any, y: Any) -> Any:
        dtype = np.result_type(x.dtype, y.dtype)
        x, y = x.astype(dtype), y.astype(dtype)
        place = np.sum(np.zeros_like(x, np.int64)) + index
        a, b = fg.switch(place, _branches(x, y))
        return a * a + b

    return function


def _chosen(index: int) -> Function:
    def function(x: Any, y: Any) -> Any:
        dtype = np.result_type(x.dtype, y.dtype)
        a, b = _branches(x.astype(dtype), y.astype(dtype))[index]()
        return a * a + b

    return function


BRANCH_ROWS = {
    "switch": Row(
        tuple(
            Case(f"branch {i}", _switched(i), (Operand((2, 3)), Operand((3,))), _chosen(i))
            for i in (0, 1)
        ),
        dtypes=("float32", "float64", "complex128"),
    ),
}


# --- differential equations ------------------------------------------------------------------------

ODE_ROWS = {
    "reached": Row(
        (
            Case(
                "reached",
                lambda x: checked(x * 2, np.all(x == x), steps=1),
                (Operand((2, 3)),),
                lambda x: x * 2,
            ),
        ),
        dtypes=("float32", "float64"),
        gradient_dtypes=("float32", "float64"),
    ),
}
