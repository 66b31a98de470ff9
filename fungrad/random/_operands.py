"""Shapes, dtypes and parameters of draws."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fungrad._primitive import broadcast_shapes
from fungrad.errors import ShapeMismatchError
from fungrad.ops.random import Shape, draw_p
from fungrad.ops.shape import arraylike
from fungrad.random.keys import checked


def drawn(key: Any, method: str, shape: Shape, dtype: Any, *parameters: Any) -> Any:
    """Numbers of that shape by a method of NumPy's generator; constant in its parameters."""
    spread = [np.broadcast_to(x, shape) for x in parameters]
    return draw_p(checked(key), *spread, method=method, shape=shape, dtype=np.dtype(dtype))


def shape_of(name: str, shape: Any, *parameters: Any) -> Shape:
    """The shape of a draw: as asked for, or that to which its parameters broadcast."""
    return fitting(name, shape, *map(np.shape, parameters))


def fitting(name: str, shape: Any, *shapes: Shape) -> Shape:
    """The shape that is asked for, if ``shapes`` broadcast to it; by default, their common one.

    Raises:
        ShapeMismatchError: they do not broadcast to it.
    """
    common = broadcast_shapes(name, [(), *shapes])
    if shape is None:
        return common
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    wanted = tuple([operator.index(size) for size in sizes])
    if any(size < 0 for size in wanted):
        raise ValueError(f"{name}: negative sizes are not allowed in the shape {wanted}")
    if broadcast_shapes(name, [common, wanted]) != wanted:
        raise ShapeMismatchError(
            f"{name}: parameters of shape {common} do not fit into a draw of shape {wanted}; "
            "write: a shape whose last axes are those of the parameters, or None for theirs"
        )
    return wanted


def precision(dtype: Any) -> np.dtype[Any]:
    """The dtype of continuous draws.

    Raises:
        TypeError: NumPy's generators do not draw such numbers.
    """
    result: np.dtype[Any] = np.dtype(dtype)
    if result not in (np.float32, np.float64):
        raise TypeError(f"draws are float32 or float64, not {result}; write: draw.astype(dtype)")
    return result


def parameter(x: Any, dtype: Any) -> Any:
    """A real parameter as an array of the dtype of the draw; traced if it is."""
    x = arraylike(x)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"parameters of distributions are real numbers, not {x.dtype}")
    return x if x.dtype == dtype else x.astype(dtype)
