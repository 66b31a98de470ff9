"""NumPy's protocols and methods of a traced value.

Row 4. In: what user code does to an array-like. Out: a call of whatever ``answers`` that NumPy
function, or an error that says what to write. How nodes are made is the subclass's business.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fungrad._dispatch import call_answer, full_name, lookup, out_error
from fungrad._leaving import Leaving
from fungrad._operators import Operators, is_weak
from fungrad._primitive import Primitive, answers, unsupported
from fungrad.errors import ArrayMutationError


def _method(function: Any) -> Any:
    def method(self: ArrayProtocols, *args: Any, **kwargs: Any) -> Any:
        return call_answer(function, (self, *args), kwargs)

    method.__name__ = function.__name__
    return method


class ArrayProtocols(Operators, Leaving):
    """Everything that makes an object with an ``aval`` look like an ndarray."""

    __slots__ = ()

    # --- NumPy's dispatch ---

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs:
            implementation = answers.get(ufunc) or lookup(ufunc)
            if type(implementation) is Primitive:
                return self._bind(implementation, inputs, None)
            if implementation is not None:
                return implementation(*inputs)
        return self._called(ufunc, method, inputs, kwargs)

    def _called(self, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: Any) -> Any:
        """A call of a ufunc with keywords, of a method of it, or of one without a rule."""
        name = full_name(ufunc)
        if method == "at":
            raise ArrayMutationError(
                f"{name}.at would write traced values into an array; traced programs are pure: "
                f"write: a = fg.at(a)[index].{'add' if ufunc is np.add else 'set'}(value)"
            )
        if kwargs.pop("out", None) is not None:
            raise out_error(name if method == "__call__" else f"{name}.{method}")
        if method == "outer" and ufunc.signature is None:
            a, b = inputs
            return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b, **kwargs)
        if method != "__call__":
            if (ufunc, method) not in answers:
                raise unsupported(f"{name}.{method}")
            return call_answer((ufunc, method), inputs, kwargs)
        implementation = lookup(ufunc)
        if implementation is None:
            raise unsupported(name)
        if kwargs.pop("where", True) is not True:
            raise unsupported(
                f"{name} with where= and no out=, which leaves entries uninitialised,",
                f"write: np.where(mask, {name}(...), fill)",
            )
        dtype, casting = kwargs.pop("dtype", None), kwargs.pop("casting", "same_kind")
        for harmless in ("order", "subok"):
            kwargs.pop(harmless, None)
        if kwargs and isinstance(implementation, Primitive):
            raise unsupported(f"{name} with {', '.join(kwargs)}=")
        if dtype is not None:
            inputs = tuple([_cast(x, np.dtype(dtype), casting, name) for x in inputs])
        return call_answer(ufunc, inputs, kwargs) if kwargs else implementation(*inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return call_answer(func, args, kwargs)

    # --- methods ---

    all, any = _method(np.all), _method(np.any)
    argmax, argmin, argsort = _method(np.argmax), _method(np.argmin), _method(np.argsort)
    argpartition, nonzero = _method(np.argpartition), _method(np.nonzero)
    clip, choose = _method(np.clip), _method(np.choose)
    copy, diagonal, dot = _method(np.copy), _method(np.diagonal), _method(np.dot)
    cumprod, cumsum = _method(np.cumprod), _method(np.cumsum)
    flatten = ravel = _method(np.ravel)
    max, min, mean, prod = _method(np.max), _method(np.min), _method(np.mean), _method(np.prod)
    repeat, round, searchsorted = _method(np.repeat), _method(np.round), _method(np.searchsorted)
    squeeze, swapaxes, take = _method(np.squeeze), _method(np.swapaxes), _method(np.take)
    sum, std, var, trace = _method(np.sum), _method(np.std), _method(np.var), _method(np.trace)
    astype = _method(np.ndarray.astype)

    def compress(self, condition: Any, axis: Any = None) -> Any:
        return call_answer(np.compress, (condition, self), {"axis": axis})

    def conjugate(self) -> Any:
        return call_answer(np.conjugate, (self,), {}) if self.aval.dtype.kind == "c" else self

    conj = conjugate

    def view(self, *dtype_or_type: Any) -> Any:
        if dtype_or_type:
            raise unsupported(
                "x.view(dtype), which reads the bits of a traced value as others,",
                "write: x.astype(dtype) to convert, x.real and x.imag for the parts",
            )
        return self

    def getfield(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.view(*args, **kwargs)
        raise AssertionError

    def to_device(self, device: Any, *, stream: Any = None) -> Any:
        if device != "cpu":
            raise ValueError(f'Unsupported device: {device!r}. Only "cpu" is accepted.')
        return self

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> Any:
        target = shape[0] if len(shape) == 1 else shape
        if order == "C" and copy is None:
            return answers[np.reshape](self, target)
        return call_answer(np.reshape, (self, target), {"order": order, "copy": copy})

    def transpose(self, *axes: Any) -> Any:
        order = axes[0] if len(axes) == 1 else axes or None
        return answers[np.transpose](self, order)


def _cast(operand: Any, dtype: np.dtype[Any], casting: Any, name: str) -> Any:
    if is_weak(operand):
        return operand if not isinstance(operand, ArrayProtocols) else operand.astype(dtype)
    if not np.can_cast(np.result_type(operand), dtype, casting):
        raise TypeError(
            f"Cannot cast ufunc '{name}' input from {np.result_type(operand)!r} to {dtype!r} with "
            f"casting rule {casting!r}"
        )
    return operand.astype(dtype) if hasattr(operand, "astype") else np.asarray(operand, dtype)
