"""Functions of complex numbers beside ``real``, ``imag`` and ``conjugate``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fungrad._primitive import INDEX, elementwise, implements
from fungrad.ops.shape import arraylike


def combined_value(x: Any, y: Any) -> Any:
    """``x + iy`` without arithmetic: infinities and signs of zero stay where they are."""
    shape, dtype = np.broadcast_shapes(np.shape(x), np.shape(y)), np.result_type(x, y)
    out = np.empty(shape, np.result_type(dtype, np.complex64))
    out.real, out.imag = x, y
    return out[()]


combined = elementwise(
    combined_value,
    INDEX,
    name="combined",
    vjp=lambda ct, y, a, b: (np.real(ct), -np.imag(ct)),
    fresh=True,
    analytic=False,
)


@implements(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """``np.angle``."""
    turn = np.arctan2(z.imag, z.real) if z.dtype.kind == "c" else np.arctan2(0, z)
    return turn * (180 / math.pi) if deg else turn


@implements(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """``np.real_if_close``: whether it is close is asked while the program is traced."""
    a = arraylike(a)
    if a.dtype.kind != "c":
        return a
    limit = float(np.finfo(a.dtype).eps) * tol if tol > 1 else tol
    return a.real if np.all(np.absolute(a.imag) < limit) else a
