"""Rows of the primitives that move, select, reduce or multiply arrays."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fungrad._aval import tuple_aval
from fungrad._primitive import primitive
from fungrad._tracer import Tracer
from fungrad.ops.creation import arange_like, eye
from fungrad.ops.indexing import ARRAY, scatter_add_p, scatter_sum_p
from fungrad.ops.shape import number_p
from fungrad.ops.sums import row_sum_p
from tests._domains import (
    COMPLEX,
    REAL,
    Case,
    Function,
    Operand,
    Row,
    Shape,
    _reductions,
    apart,
    at,
    away_from_zero,
    booleans,
    integers,
    on,
)

sin_cos = primitive(
    "tests_sin_cos",
    value=lambda x: (np.sin(x), np.cos(x)),
    aval=lambda x: tuple_aval(x, x),
    vjp=lambda cts, y, x: (cts[0] * y[1] - cts[1] * y[0],),
    batch=lambda batched, size, x: sin_cos(x),
    fresh=True,
)
"""A primitive with two results, so that reading one of them can be tried."""


def _identity(x: Any, size: int) -> Any:
    traced = isinstance(x, Tracer)
    return (
        x.owner.constant(eye, size=size, dtype=x.dtype) if traced else np.eye(size, dtype=x.dtype)
    )


def _scattering(index: tuple[Any, ...], shape: Shape) -> Function:
    return lambda ct, *arrays: scatter_add_p(ct, *arrays, index=index, shape=shape)


def _scattered(index: tuple[Any, ...], shape: Shape) -> Function:
    """Adding entry by entry, in a loop, at the places that NumPy itself reads by that index."""

    def loop(ct: Any, *arrays: Any) -> Any:
        rest = iter(arrays)
        filled = tuple(next(rest) if item is ARRAY else item for item in index)
        places = np.arange(int(np.prod(shape))).reshape(shape)[filled]
        out = np.zeros(int(np.prod(shape)), np.asarray(ct).dtype)
        for place, value in zip(places.ravel(), np.ravel(ct), strict=True):
            out[place] += value
        return out.reshape(shape)

    return loop


def _scatter_sums() -> Row:
    """A sum of several, against adding up whole arrays."""
    x = slice(None)
    table: list[tuple[tuple[Any, ...], Shape]] = [
        (((slice(0, 3),), (slice(1, 4),)), (4,)),
        (((0,), (2,), (0,)), (3,)),
        (((1, x), (x, 1), (slice(1, 2), slice(0, 2))), (2, 3)),
        (((x, slice(0, 0)), (x, slice(1, 3))), (2, 3)),
        (((x,), (x,)), (3,)),
    ]

    def case(indices: tuple[Any, ...], shape: Shape) -> Case:
        def plain(*cts: Any) -> Any:
            wholes = [_scattered(i, shape)(ct) for i, ct in zip(indices, cts, strict=True)]
            return sum(wholes[1:], wholes[0])

        return Case(
            f"{indices} of {shape}",
            lambda *cts: scatter_sum_p(*cts, indices=indices, shape=shape),
            tuple([Operand(np.empty(shape)[index].shape) for index in indices]),
            plain,
        )

    return Row(tuple(case(indices, shape) for indices, shape in table))


def _scatter_rows() -> Row:
    x = slice(None)
    table: list[tuple[tuple[Any, ...], Shape, Shape, tuple[tuple[Shape, int, int], ...]]] = [
        ((slice(1, 3, 1),), (4,), (2,), ()),
        ((1, x), (3, 2), (2,), ()),
        ((slice(3, None, -2), None), (4,), (2, 1), ()),
        ((ARRAY,), (4,), (5,), (((5,), 0, 4),)),
        ((ARRAY, x), (3, 2), (2, 3, 2), (((2, 3), -3, 3),)),
        ((ARRAY, ARRAY), (3, 2), (2, 4), (((2, 1), 0, 3), ((4,), 0, 2))),
        ((ARRAY, x, ARRAY), (3, 2, 4), (5, 2), (((5,), 0, 3), ((5,), 0, 4))),
        ((x, ARRAY), (2, 3), (2, 4), (((4,), 0, 3),)),
        ((0, x, ARRAY), (2, 2, 3), (4, 2), (((4,), 0, 3),)),
        ((x, x, ARRAY), (2, 2, 3), (2, 2), (((), 0, 3),)),
        ((x, ARRAY, ARRAY), (2, 3, 4), (2, 2, 5), (((2, 1), 0, 3), ((5,), 0, 4))),
    ]
    cases = []
    for index, shape, ct_shape, indices in table:
        label = f"{ct_shape} into {shape} at {index}"
        case = at(label, _scattering(index, shape), ct_shape, *indices)
        cases.append(attrs.evolve(case, oracle=_scattered(index, shape)))
    return Row(tuple(cases), dtypes=REAL + COMPLEX)


def _positions(function: Function) -> tuple[Case, ...]:
    return tuple(
        on(f"{shape} axis={axis}", lambda x, a=axis: function(x, axis=a), shape, draw=apart())
        for shape, axis in (((1,), 0), ((5,), None), ((5,), 0), ((2, 3), None), ((2, 3), 0),
                            ((2, 3), -1), ((2, 3, 4), 1), ((0, 3), 1))
    )  # fmt: skip


def _i(*shape: int, of: int) -> tuple[Shape, int, int]:
    """An index array: of that shape, into an axis of that length, negative places included."""
    return shape, -of, of


GETITEM = (
    on("int", lambda x: x[1], (3, 2)),
    on("int of 1-d", lambda x: x[1], (3,)),
    on("negative int", lambda x: x[-1], (3, 2)),
    on("all ints", lambda x: x[1, -2], (3, 2)),
    on("slice", lambda x: x[1:3], (4,)),
    on("slice past the end", lambda x: x[2:99], (4,)),
    on("reversed", lambda x: x[::-1], (4,)),
    on("reversed, partly", lambda x: x[2:0:-1], (4, 2)),
    on("step", lambda x: x[::2, 1::3], (5, 7)),
    on("empty slice", lambda x: x[1:1], (4, 2)),
    on("new axis between", lambda x: x[:, None, 1:], (2, 3)),
    on("ellipsis", lambda x: x[..., 0], (2, 3, 4)),
    on("ellipsis between", lambda x: x[1, ..., 0], (2, 3, 4)),
    on("size 0", lambda x: x[:, 1], (0, 3)),
    on("list", lambda x: x[[0, 2, 2, -1]], (3, 2)),
    on("mask", lambda x: x[np.array([True, False, True])], (3, 2)),
    on("mask of rank 2", lambda x: x[np.array([[True, False], [True, True]])], (2, 2, 3)),
    on("mask behind", lambda x: x[:, np.array([True, False, True])], (2, 3)),
    on("empty list", lambda x: x[[]], (3, 2)),
    at("array", lambda x, i: x[i], (4,), _i(6, of=4)),
    at("array, rows", lambda x, i: x[i], (4, 3), _i(6, of=4)),
    at("array of rank 2", lambda x, i: x[i], (4, 3), _i(2, 3, of=4)),
    at("array of rank 0", lambda x, i: x[i], (4, 3), _i(of=4)),
    at("empty array", lambda x, i: x[i], (4, 3), _i(0, of=4)),
    at("array behind", lambda x, i: x[:, i], (2, 4), _i(5, of=4)),
    at("array behind ellipsis", lambda x, i: x[..., i], (2, 3, 4), _i(5, of=4)),
    at("two arrays", lambda x, i, j: x[i, j], (3, 4), _i(5, of=3), _i(5, of=4)),
    at("two arrays, broadcast", lambda x, i, j: x[i, j], (3, 4), _i(2, 1, of=3), _i(5, of=4)),
    at("two arrays behind", lambda x, i, j: x[:, i, j], (2, 3, 4), _i(5, of=3), _i(2, 1, of=4)),
    at("two arrays, apart", lambda x, i, j: x[i, :, j], (3, 2, 4), _i(5, of=3), _i(5, of=4)),
    at("apart, broadcast", lambda x, i, j: x[i, :, j], (3, 2, 4), _i(2, 1, of=3), _i(5, of=4)),
    at("apart, by a new axis", lambda x, i, j: x[i, None, j], (3, 4), _i(5, of=3), _i(5, of=4)),
    at("new axis in front", lambda x, i: x[None, i], (3, 4), _i(5, of=3)),
    at("array and int", lambda x, i: x[0, :, i], (2, 3, 4), _i(5, of=4)),
    at("array beside int", lambda x, i: x[:, 1, i], (2, 3, 4), _i(5, of=4)),
    at("array and slice", lambda x, i: x[1:, i, ::-1], (3, 4, 2), _i(2, 2, of=4)),
    at("three, apart", lambda x, i, j: x[:, i, :, j], (2, 3, 2, 4), _i(3, of=3), _i(1, of=4)),
)

MATMUL = tuple(
    on(f"{a} @ {b}", lambda x, y: x @ y, a, b)
    for a, b in (
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3, 4)),
        ((1, 1), (1, 1)),
        ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((1, 2, 3), (5, 3, 4)),
        ((2, 3), (5, 3, 4)),
        ((2, 1, 2, 3), (3, 3, 2)),
        ((3,), (5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((2, 0), (0, 3)),
        ((0, 2), (2, 3)),
        ((0,), (0,)),
        ((0, 2, 3), (3, 2)),
        ((2, 1, 3), (2, 3, 3)),
        ((2, 3), (3, 2)),
    )
)


def _loop_product(a: Any, b: Any) -> Any:
    """The matrix product by its definition."""
    left = a[None] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    out = (left[..., :, :, None] * right[..., None, :, :]).sum(-2)
    out = out[..., 0, :] if a.ndim == 1 else out
    return out[..., 0] if b.ndim == 1 else out


SHAPING: dict[str, Row] = {
    "reshape": Row((
        on("(6,) to (2, 3)", lambda x: x.reshape(2, 3), (6,)),
        on("(2, 3) to (6,)", lambda x: np.reshape(x, -1), (2, 3)),
        on("(2, 3, 4) to (4, 6)", lambda x: x.reshape((4, -1)), (2, 3, 4)),
        on("() to (1, 1)", lambda x: np.reshape(x, (1, 1)), ()),
        on("(1,) to ()", lambda x: np.reshape(x, ()), (1,)),
        on("(0, 3) to (3, 0)", lambda x: x.reshape(3, 0), (0, 3)),
        on("column-major", lambda x: x.reshape((3, 2), order="F"), (2, 3)),
        on("ravel", lambda x: np.ravel(x), (2, 1, 3)),
        on("squeeze", lambda x: np.squeeze(x), (2, 1, 3, 1)),
        on("expand_dims", lambda x: np.expand_dims(x, (0, 2)), (2, 3)),
    )),
    "transpose": Row((
        on(".T", lambda x: x.T, (2, 3)),
        on("(2, 0, 1)", lambda x: np.transpose(x, (2, 0, 1)), (2, 3, 4)),
        on("(0, 2, 1)", lambda x: x.transpose(0, 2, 1), (2, 3, 4)),
        on("(3, 1, 2, 0)", lambda x: x.transpose((3, 1, 2, 0)), (2, 3, 1, 2)),
        on("negative", lambda x: np.transpose(x, (-1, 0, 1)), (2, 3, 4)),
        on("swapaxes", lambda x: np.swapaxes(x, 0, -1), (2, 3, 4)),
        on("moveaxis", lambda x: np.moveaxis(x, 0, 2), (2, 3, 4)),
        on("mT", lambda x: x.mT, (2, 3, 4)),
        on("size 0", lambda x: x.T, (0, 3)),
    )),
    "broadcast_to": Row(tuple(
        on(f"{old} to {new}", lambda x, s=new: np.broadcast_to(x, s), old)
        for old, new in (((), (3,)), ((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1,), (4, 1)),
                         ((1, 3), (2, 3)), ((1, 1), (4, 2, 3)), ((1,), (0,)), ((0, 1), (2, 0, 3)),
                         ((2, 1, 3), (2, 4, 3)))
    )),
    "astype": Row((
        on("to float32", lambda x: x.astype(np.float32), (2, 3)),
        on("to complex", lambda x: x.astype(complex), (3,)),
        on("of 0-d", lambda x: x.astype(np.float32), ()),
        on("of size 0", lambda x: x.astype(np.float32), (0, 2)),
    ), numeric=lambda x: x * 1.0, dtypes=("bool", "int8", "int64", "float64"),
       gradient_dtypes=("float64",)),
    "concatenate": Row((
        on("two", lambda x, y: np.concatenate([x, y]), (2,), (3,)),
        on("axis 1", lambda x, y, z: np.concatenate((x, y, z), axis=1), (2, 1), (2, 3), (2, 2)),
        on("axis -1", lambda x, y: np.concatenate([x, y], -1), (2, 2, 1), (2, 2, 2)),
        on("one", lambda x: np.concatenate([x]), (2, 3)),
        on("one, twice", lambda x: np.concatenate([x, x]), (3,)),
        on("with an empty one", lambda x, y: np.concatenate([x, y]), (0, 2), (3, 2)),
        on("with a constant", lambda x: np.concatenate([x, np.ones((1, 3))]), (2, 3)),
        on("axis None", lambda x, y: np.concatenate([x, y], axis=None), (2, 2), (3,)),
        on("stack", lambda x, y: np.stack([x, y], axis=1), (2, 3), (2, 3)),
        on("stack of 0-d", lambda x, y: np.stack([x, y]), (), ()),
    )),
}  # fmt: skip

REDUCTION: dict[str, Row] = {
    "sum": Row((
        *_reductions(np.sum, away_from_zero(), True),
        on("dtype", lambda x: np.sum(x, 0, dtype=np.result_type(x, np.float64)), (2, 3)),
        on("add.reduce", lambda x: np.add.reduce(x), (2, 3)),
        on("method", lambda x: x.sum(-1), (2, 3)),
    )),
    "max": Row((
        *_reductions(np.max, apart(), False),
        on("maximum.reduce", lambda x: np.maximum.reduce(x), (2, 3), draw=apart()),
    )),
    "min": Row((
        *_reductions(np.min, apart(), False),
        on("method", lambda x: x.min(axis=0), (2, 3), draw=apart()),
    )),
    "all": Row(_reductions(np.all, lambda rng, s: booleans(rng, s) * 1.0, True)),
    "any": Row(_reductions(np.any, lambda rng, s: booleans(rng, s) * 1.0, True)),
    "argmax": Row(_positions(np.argmax)),
    "argmin": Row(_positions(np.argmin)),
}  # fmt: skip

OTHER: dict[str, Row] = {
    "full": Row((
        on("full_like", lambda x: np.full_like(x, 2.5), (2, 3)),
        on("shape", lambda x: np.zeros_like(x, shape=(2, 0)), (3,)),
        on("dtype", lambda x: np.ones_like(x, dtype=np.int32), ()),
        on("-0.0", lambda x: np.full_like(x, -0.0), (2,)),
        Case("nan", lambda x: np.full_like(x, np.nan, dtype=np.float32), (Operand((2,), varies=False),)),
        Case("inf", lambda x: np.full_like(x, -np.inf, dtype=np.float64), (Operand((), varies=False),)),
    ), gradient_dtypes=REAL),
    "arange": Row((
        on("5", lambda x: arange_like(x, 5) if isinstance(x, Tracer) else np.arange(5), (3,)),
        on("0", lambda x: arange_like(x, 0) if isinstance(x, Tracer) else np.arange(0), (3,)),
    )),
    "eye": Row(tuple(on(f"{n}", lambda x, n=n: _identity(x, n), (3,)) for n in (0, 1, 3))),
    "getitem": Row(GETITEM),
    "unravel_index": Row((
        at("0-d", lambda x, i: x * np.unravel_index(i, (3, 4))[1], (), ((), 0, 12)),
        at("1-d", lambda x, i: x * np.unravel_index(i, (2, 3, 4))[2], (5,), ((5,), 0, 24)),
        at("2-d", lambda x, i: x * np.unravel_index(i, (3, 4), order="F")[0], (2, 3),
           ((2, 3), 0, 12)),
        at("size 0", lambda x, i: x * np.unravel_index(i, 7)[0], (0,), ((0,), 0, 7)),
    )),
    "ravel_multi_index": Row((
        at("0-d", lambda x, i: x * np.ravel_multi_index((i, 1), (3, 4)), (), ((), 0, 3)),
        at("1-d", lambda x, i, j: x * np.ravel_multi_index((i, j), (3, 4)), (5,), ((5,), 0, 3),
           ((5,), 0, 4)),
        at("2-d", lambda x, i, j: x * np.ravel_multi_index((i, j), (3, 4), order="F"), (2, 5),
           ((5,), 0, 3), ((2, 1), 0, 4)),
        at("modes", lambda x, i, j: x * np.ravel_multi_index((i, j), (3, 4), ("wrap", "clip")),
           (5,), ((5,), -9, 9), ((5,), -9, 9)),
    )),
    "scatter_add": _scatter_rows(),
    "scatter_sum": _scatter_sums(),
    "matmul": Row(MATMUL, definition=_loop_product),
    "row_sum": Row(tuple(
        on(str(shape), lambda x: row_sum_p(x, rows=x.shape[0], dtype=x.dtype), shape)
        for shape in ((3, 2), (1, 4), (7, 3), (2, 1), (3, 0), (0, 2))
    ), oracle=lambda x: np.sum(x, axis=0), exact=False, dtypes=("float32", "float64"),
        gradient_dtypes=("float32", "float64")),
    "vecdot": Row(tuple(
        on(f"{a} and {b}", lambda x, y: np.vecdot(x, y), a, b)
        for a, b in (((3,), (3,)), ((2, 3), (3,)), ((2, 3), (2, 3)), ((2, 1, 3), (4, 3)), ((0,), (0,)),
                     ((1, 1), (2, 1)), ((0, 2), (2,)))
    ), definition=lambda x, y: np.sum(np.conjugate(x) * y, axis=-1)),
    "number": Row(tuple(
        Case(dtype.name, lambda x, d=dtype: number_p(x, dtype=d),
             (Operand((), integers(0, 100), False),), lambda x, d=dtype: d.type(x.item()))
        for dtype in map(np.dtype, ("int8", "uint8", "int64"))
    ), dtypes=("int64",)),
    "item": Row((
        on("first", lambda x: sin_cos(x)[0], (2, 3)),
        on("second", lambda x: sin_cos(x)[1], ()),
        on("both", lambda x: sin_cos(x)[0] / (2 + sin_cos(x)[1]), (3,)),
        on("one of them twice", lambda x: sin_cos(x)[0] * sin_cos(x)[0], (0, 2)),
    ), dtypes=REAL + COMPLEX),
}  # fmt: skip
