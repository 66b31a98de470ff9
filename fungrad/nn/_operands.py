"""What functions of ``fg.nn`` take as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad.ops.shape import arraylike


def floating(x: Any) -> Any:
    """``x`` as real floating-point numbers, traced if it is: integers become float64."""
    x = arraylike(x)
    if x.dtype.kind in "biu":
        return x.astype(np.float64)
    if x.dtype.kind != "f":
        raise TypeError(f"fg.nn works with real numbers, not {x.dtype}; write: np.real(x)")
    return x


def weights(w: Any, x: Any) -> Any:
    """Factors of ``x``: integers and booleans are as narrow as ``x`` is."""
    w = arraylike(w)
    return w.astype(x.dtype) if w.dtype.kind in "biu" else w
