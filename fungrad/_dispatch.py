"""What answers a NumPy callable, and by which name the user knows it.

Row 4. In: a function of NumPy or SciPy, and a call of it. Out: what its answer returns, or an error
that names the function and says what to write.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np

from fungrad._primitive import answers, special_answers, unsupported
from fungrad.errors import ArrayMutationError


def lookup(function: Any) -> Callable[..., Any] | None:
    """What answers a NumPy callable; SciPy's special functions are recognised by identity."""
    found = answers.get(function)
    if found is None and isinstance(function, np.ufunc):
        name = str(function.__name__)
        for module in ("scipy.special", "scipy.special._ufuncs"):
            if getattr(sys.modules.get(module), name, None) is function:
                return special_answers.get(name)
    return found


def full_name(function: Any) -> str:
    """``numpy.linalg.eig`` as the user wrote it: ``np.linalg.eig``."""
    module = getattr(function, "__module__", None) or "numpy"
    name = str(getattr(function, "__qualname__", getattr(function, "__name__", repr(function))))
    if isinstance(function, np.ufunc) and getattr(np, name, None) is not function:
        vectorized = name.endswith("(vectorized)")
        module, name = ("np", "frompyfunc") if vectorized else ("scipy.special", name.lstrip("_"))
    return f"{module.replace('numpy', 'np', 1)}.{name}"


def caller() -> str:
    """The function of NumPy or SciPy, written in Python, whose code is running; or nothing."""
    frame: FrameType | None = sys._getframe(2)
    name = ""
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).split(".")
        if package[0] not in ("numpy", "scipy"):
            break
        public = [part for part in package[:2] if part in ("scipy", "special", "linalg", "fft")]
        own = frame.f_code.co_qualname.partition(".")[0]
        if own == "MultiUFunc":  # SciPy's name for many functions
            own = getattr(frame.f_locals.get("self"), "__name__", own)
        name = ".".join([*(public if package[0] == "scipy" else ["np", *public]), own])
        frame = frame.f_back
    return name


_NO_VALUE = np._NoValue


def call_answer(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call what answers ``function``, or refuse by name."""
    implementation = answers.get(function) or lookup(function)
    if implementation is None:
        raise unsupported(full_name(function))
    if kwargs:
        kwargs = {k: v for k, v in kwargs.items() if v is not _NO_VALUE}
        if kwargs.pop("out", None) is not None:
            raise out_error(full_name(function))
    try:
        return implementation(*args, **kwargs)
    except TypeError:
        _refuse_keywords(function, implementation, args, kwargs)
        raise


def _refuse_keywords(function: Any, implementation: Any, args: Any, kwargs: Any) -> None:
    try:
        inspect.signature(implementation).bind(*args, **kwargs)
    except TypeError as error:
        remedy = "write it with the other arguments, or with other functions"
        raise unsupported(f"{full_name(function)} called this way ({error})", remedy) from None


def out_error(name: str) -> ArrayMutationError:
    return ArrayMutationError(
        f"{name} was told to write a traced value into an array; traced programs are pure: "
        f"write `result = {name}(...)` without out=, and `a = a + x` for `a += x`"
    )
