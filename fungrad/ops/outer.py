"""``ufunc.outer``: every entry of one operand with every entry of the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._primitive import answers, implements
from fungrad.ops import elementwise, rounding  # noqa: F401  (whose ufuncs these are)
from fungrad.ops.differences import arraylike


def _answer_outer(ufunc: np.ufunc) -> None:
    @implements((ufunc, "outer"))
    def outer(A: Any, B: Any, **kwargs: Any) -> Any:
        A, B = arraylike(A), arraylike(B)
        return ufunc(A.reshape(A.shape + (1,) * B.ndim), B, **kwargs)


for _spelling in list(answers):
    if isinstance(_spelling, np.ufunc) and _spelling.nin == 2 and _spelling.signature is None:
        _answer_outer(_spelling)
