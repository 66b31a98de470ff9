"""Rows of the primitives that pass along an axis, sort, search, convolve or interpolate."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

import fungrad as fg
from fungrad._tracer import Tracer
from fungrad.ops.cumulative import recurrence_p
from fungrad.ops.segments import spread_p
from fungrad.ops.sorting import order_positions_p, order_statistics_p
from tests._domains import (
    COMPLEX,
    REAL,
    Case,
    Draw,
    Function,
    Operand,
    Row,
    Shape,
    _reductions,
    apart,
    away_from_zero,
    between_integers,
    on,
    within,
)

BINARY_FLOATS = (*REAL, *COMPLEX)


def _along_axes(function: Function, draw: Draw | None = None) -> tuple[Case, ...]:
    """A function of one array and an axis, on all kinds of shapes."""
    table: list[tuple[Shape, int]] = [
        ((5,), 0), ((1,), 0), ((0,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 3), -1), ((2, 3, 4), 1),
        ((0, 3), 1), ((3, 0), 1), ((2, 0), 0),
    ]  # fmt: skip
    return tuple(
        on(f"{shape} axis={axis}", lambda x, a=axis: function(x, axis=a), shape, draw=draw)
        for shape, axis in table
    )


def _loop(a: Any, b: Any, axis: int) -> Any:
    """The recurrence by its definition."""
    terms: list[Any] = []
    for i in range(b.shape[axis]):
        term = np.take(b, i, axis)
        terms.append(term + np.take(a, i, axis) * terms[-1] if terms else term)
    return np.stack(terms, axis) if terms else b


def _recurrences() -> tuple[Case, ...]:
    shapes: list[tuple[Shape, int]] = [
        ((5,), 0), ((1,), 0), ((0,), 0), ((4, 3), 0), ((2, 3), 1), ((2, 4, 3), 1), ((0, 3), 1),
    ]  # fmt: skip
    cases = []
    for shape, axis in shapes:
        case = on(
            f"{shape} axis={axis}",
            lambda a, b, i=axis: recurrence_p(a, b, axis=i),
            shape,
            shape,
        )
        cases.append(attrs.evolve(case, oracle=lambda a, b, i=axis: _loop(a, b, i)))
    return tuple(cases)


def _pairs(function: Function, *shapes: tuple[Shape, Shape]) -> tuple[Case, ...]:
    return tuple(on(f"{a} and {v}", function, a, v) for a, v in shapes)


def _with_starts(label: str, function: Function, shape: Shape, *starts: int) -> Case:
    """An array, and where its segments start."""
    fixed = lambda rng, shape: np.array(starts, np.intp)
    return Case(label, function, (Operand(shape), Operand((len(starts),), fixed, False)))


def _by_example(function: Function) -> Function:
    """A function mapped over the leading axes of its operands; by NumPy, one example at a time."""

    def mapped(*operands: Any) -> Any:
        if any(isinstance(x, Tracer) for x in operands):
            return fg.vmap(function)(*operands)
        return np.stack([function(*example) for example in zip(*operands, strict=True)])

    return mapped


def _spread_case(shape: Shape, axis: int, length: int, *starts: int) -> Case:
    """The transpose of ``np.add.reduceat``, whose matrix NumPy gives column by column."""

    def oracle(ct: Any, places: Any) -> Any:
        matrix = np.add.reduceat(np.eye(length), places, 0)
        moved = np.tensordot(matrix.T.astype(np.asarray(ct).dtype), ct, (1, axis))
        return np.moveaxis(moved, 0, axis)

    case = _with_starts(
        f"{shape} axis={axis} {starts}",
        lambda ct, places: spread_p(ct, places, axis=axis, length=length),
        shape,
        *starts,
    )
    return attrs.evolve(case, oracle=oracle)


def _kept_places(function: Function, positions: bool = False) -> tuple[Case, ...]:
    """Some places of the sorted axis; of places, what stands there is compared."""

    def case(shape: Shape, axis: int, kth: tuple[int, ...]) -> Case:
        def selected(x: Any) -> Any:
            return function(x, axis=axis, kth=kth)

        def sorted_places(x: Any) -> Any:
            return (np.argsort if positions else np.sort)(x, axis=axis).take(kth, axis)

        label = f"{shape} axis={axis} kth={kth}"
        return attrs.evolve(on(label, selected, shape, draw=apart()), oracle=sorted_places)

    return (
        case((5,), 0, (2,)),
        case((5,), 0, (0, 2, 4)),
        case((1,), 0, (0,)),
        case((4, 3), 0, (1, 2)),
        case((3, 4), 1, (1, 3)),
        case((2, 3, 2), 1, (1,)),
        case((0, 3), 1, (1,)),
    )


def _interp(x: Any, xp: Any, fp: Any) -> Any:
    return np.interp(x, xp, fp)


def _grid(rng: np.random.Generator, shape: Shape) -> Any:
    return np.arange(shape[-1]) + rng.uniform(0.2, 0.5, shape)


def _between(rng: np.random.Generator, shape: Shape) -> Any:
    """Away from all grid points, some of them outside."""
    return rng.integers(-2, 7, shape) + rng.uniform(0.6, 0.9, shape)


def _interp_case(shape: Shape, count: int) -> Case:
    operands = (Operand(shape, _between), Operand((count,), _grid), Operand((count,)))
    return Case(f"{shape} among {count}", _interp, operands)


ORDERING: dict[str, Row] = {
    "cumsum": Row((
        *_along_axes(np.cumsum),
        on("flat", lambda x: np.cumsum(x), (2, 3)),
        on("of 0-d", lambda x: np.cumsum(x), ()),
        on("method", lambda x: x.cumsum(1), (2, 3)),
        on("dtype", lambda x: np.cumsum(x, 0, dtype=np.complex128), (2, 3)),
        on("accumulate", lambda x: np.add.accumulate(x), (3, 2)),
    )),
    "cumprod": Row((
        *_along_axes(np.cumprod),
        on("flat", lambda x: np.cumprod(x), (2, 2)),
        on("method", lambda x: x.cumprod(0), (2, 3)),
        on("accumulate", lambda x: np.multiply.accumulate(x, 1), (3, 2)),
    )),
    "cummax": Row(_along_axes(np.maximum.accumulate, apart())),
    "cummin": Row(_along_axes(np.minimum.accumulate, apart())),
    "cumlogaddexp": Row(_along_axes(np.logaddexp.accumulate)),
    "accumulate": Row((
        *_along_axes(np.divide.accumulate),
        on("subtract", lambda x: np.subtract.accumulate(x), (2, 3)),
        on("power", lambda x: np.power.accumulate(x, 1), (2, 3), draw=within(0.5, 1.5)),
        on("flat in one operand", lambda x: np.copysign.accumulate(x), (3, 2)),
        on("masked", lambda x: np.fmax.accumulate(x), (4,), draw=apart()),
        on("flat but for the first entry", lambda x: np.floor_divide.accumulate(x), (3,),
           draw=between_integers),
    )),
    "reduce": Row(tuple(
        on(f"{shape} axis={axis}", lambda x, a=axis: np.divide.reduce(x, axis=a), shape)
        for shape, axis in (((4,), 0), ((1,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 3, 4), 1),
                            ((0, 3), 1))
    )),
    "linear_recurrence": Row(_recurrences(), exact=False, dtypes=BINARY_FLOATS),
    "prod": Row((
        *_reductions(np.prod, away_from_zero(), True),
        on("dtype", lambda x: np.prod(x, axis=0, dtype=np.complex128), (2, 3)),
        on("wider, where half precision overflows",
           lambda x: np.prod(x, axis=0, dtype=np.result_type(x, np.float64)), (36,),
           draw=lambda rng, s: rng.uniform(1.9, 2.1, s) ** np.sign(17.5 - np.arange(36))),
        on("many, an odd number", lambda x: np.prod(x, axis=1), (196, 21), draw=within(0.9, 1.1)),
        on("many, an even number", lambda x: np.prod(x, axis=0), (18, 229), draw=within(0.9, 1.1)),
        on("multiply.reduce", lambda x: np.multiply.reduce(x), (2, 3)),
        on("method", lambda x: x.prod(-1), (2, 3)),
    )),
    "add_reduceat": Row((
        _with_starts("rising", lambda x, i: np.add.reduceat(x, i), (6,), 0, 2, 5),
        _with_starts("mixed", lambda x, i: np.add.reduceat(x, i), (8,), 0, 4, 1, 5, 2, 6, 3, 7),
        _with_starts("axis 0", lambda x, i: np.add.reduceat(x, i, axis=0), (5, 2), 1, 3),
        _with_starts("axis 1", lambda x, i: np.add.reduceat(x, i, axis=1), (2, 5), 4, 4, 0),
        _with_starts("axis -2", lambda x, i: np.add.reduceat(x, i, -2), (2, 3, 2), 0),
        _with_starts("none", lambda x, i: np.add.reduceat(x, i), (3,)),
        Case("by example", _by_example(lambda x, i: np.add.reduceat(x, i)),
             (Operand((2, 5)), Operand((2, 3), lambda rng, s: np.array([[0, 2, 4], [3, 1, 0]]), False))),
    )),
    "spread_over_segments": Row((
        _spread_case((3,), 0, 6, 0, 2, 5),
        _spread_case((8,), 0, 8, 0, 4, 1, 5, 2, 6, 3, 7),
        _spread_case((2, 3), 1, 5, 4, 4, 0),
        _spread_case((2, 2, 3), 1, 4, 1, 2),
    ), exact=False, dtypes=(*REAL, *COMPLEX)),
    "sort": Row((
        *_along_axes(np.sort, apart()),
        on("axis None", lambda x: np.sort(x, None), (2, 3), draw=apart()),
        on("stable", lambda x: np.sort(x, 0, stable=True), (4, 2), draw=apart()),
    )),
    "argsort": Row((
        *_along_axes(np.argsort, apart()),
        on("method, stable", lambda x: x.argsort(kind="stable"), (2, 4), draw=apart()),
    )),
    "partition": Row((
        *(on(f"{s} axis={a}", lambda x, a=a, k=k: np.partition(x, k, axis=a), s, draw=apart())
          for s, a, k in (((5,), 0, 2), ((6,), -1, (1, -1)), ((4, 3), 0, 2), ((2, 3, 4), 2, 1),
                          ((0, 3), 1, 1))),
        on("axis None", lambda x: np.partition(x, 2, None), (2, 3), draw=apart()),
    ), gradient_dtypes=("float64", "complex128")),  # arrangements differ between dtypes
    "argpartition": Row(tuple(
        on(f"{s} axis={a}", lambda x, a=a, k=k: np.argpartition(x, k, axis=a), s, draw=apart())
        for s, a, k in (((5,), 0, 2), ((6,), -1, (1, -1)), ((4, 3), 0, 2), ((0, 3), 1, 1))
    )),
    "order_statistics": Row(_kept_places(
        lambda x, axis, kth: order_statistics_p(x, axis=axis, kth=kth)
    )),
    "order_positions": Row(_kept_places(
        lambda x, axis, kth: order_positions_p(x, axis=axis, kth=kth), True
    ), dtypes=BINARY_FLOATS),
    "searchsorted": Row((
        *(Case(f"{shape} {side}", lambda a, v, s=side: np.searchsorted(a, v, s),
               (Operand((5,), _grid), Operand(shape, _between)))
          for shape in ((), (4,), (0,), (2, 3)) for side in ("left", "right")),
        Case("no samples", lambda a, v: np.searchsorted(a, v),
             (Operand((0,)), Operand((3,), _between))),
        Case("by example", _by_example(lambda a, v: np.searchsorted(a, v)),
             (Operand((2, 4), lambda rng, s: np.sort(rng.uniform(0, 4, s))), Operand((2, 3), _between))),
    ), dtypes=REAL),
    "convolve": Row((
        *_pairs(np.convolve, ((4,), (3,)), ((2,), (5,)), ((1,), (3,)), ((4,), (4,))),
        *_pairs(lambda a, v: np.convolve(a, v, "same"), ((5,), (3,)), ((5,), (2,)), ((3,), (4,))),
        *_pairs(lambda a, v: np.convolve(a, v, "valid"), ((5,), (3,)), ((2,), (4,)), ((3,), (3,))),
    ), exact=False),
    "interp": Row((
        *(_interp_case(shape, 5) for shape in ((), (4,), (2, 3), (0,))),
        _interp_case((4,), 2),
        Case("a jump", _interp, (
            Operand((4,), lambda rng, s: np.array([-0.4, 0.7, 1.4, 3.8])),
            Operand((4,), lambda rng, s: np.array([0.0, 1.0, 1.0, 3.0]), False), Operand((4,)),
        )),
        Case("by example", _by_example(_by_example(_interp)),
             (Operand((1, 3, 4), _between), Operand((1, 3, 5), _grid), Operand((1, 3, 5)))),
    ), dtypes=REAL, gradient_dtypes=REAL),
}  # fmt: skip
"""All rows by the primitive's name."""
