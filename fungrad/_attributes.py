"""Attributes of a traced value: an ndarray's, and what to write instead of those that it has not.

Row 4. In: attributes that user code asks for. Out: what is known of the value, or its transpose and
parts, as nodes. How nodes are made is the subclass's business.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, NoReturn

import numpy as np

from fungrad._aval import Aval
from fungrad._dispatch import call_answer
from fungrad._primitive import Symbolic, answers
from fungrad._questions import as_it_is
from fungrad.errors import MemoryLayoutError, TracerAttributeError

_MEMORY = ("flags", "strides", "data", "base", "ctypes")


def _has_no_memory(name: str) -> Any:
    def attribute(self: Attributes) -> NoReturn:
        raise MemoryLayoutError(
            f".{name} asks how a traced value of shape {self.shape} lies in memory, which is decided "
            "when its program runs; write: x itself, results do not depend on it"
        )

    return property(attribute)


_ELSEWHERE = {
    "at": "fg.at(x)[index].set(value)",
    "backward": "fg.grad(f)(x), which gives the gradient of f at x",
    "block_until_ready": "x; there is nothing to wait for",
    "cpu": "x; it is on the CPU",
    "cuda": "x; there is no GPU",
    "detach": "fg.stop_gradient(x)",
    "double": "x.astype(np.float64)",
    "exp": "np.exp(x)",
    "expand": "np.broadcast_to(x, shape)",
    "float": "x.astype(np.float32)",
    "grad": "fg.grad(f)(x), which gives the gradient of f at x",
    "log": "np.log(x)",
    "numel": "x.size",
    "numpy": "x; it takes NumPy's functions",
    "permute": "x.transpose(axes)",
    "relu": "fg.nn.relu(x)",
    "requires_grad": "argnums= of fg.grad, which says what to differentiate with respect to",
    "requires_grad_": "argnums= of fg.grad, which says what to differentiate with respect to",
    "sigmoid": "fg.nn.sigmoid(x)",
    "sqrt": "np.sqrt(x)",
    "t": "x.T",
    "tanh": "np.tanh(x)",
    "to": "x.astype(dtype)",
    "unsqueeze": "np.expand_dims(x, axis), or x[:, None]",
    "zero_": "np.zeros_like(x)",
}
"""What arrays of other libraries can, and how to say that here."""


class Attributes(Symbolic):
    """An object with an ``aval`` and the attributes of an ndarray."""

    __slots__ = ()

    aval: Aval
    """What is known of the value; the subclass sets it."""

    def _bind(
        self, primitive: Any, operands: tuple[Any, ...], static: Any, weak: bool = False
    ) -> Any:
        raise NotImplementedError

    def _concrete(self, asked: str, leaves: bool, read: Callable[[Any], Any] = as_it_is) -> Any:
        """What ``read`` makes of the value, for Python code to go on with.

        ``asked`` says in words what the code did; ``leaves`` if the value goes on as a number.
        """
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        return len(self.aval.shape)

    @property
    def size(self) -> int:
        return self.aval.size

    @property
    def itemsize(self) -> int:
        return self.aval.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def T(self) -> Any:
        return answers[np.transpose](self)

    @property
    def mT(self) -> Any:
        return answers[np.matrix_transpose](self)

    @property
    def real(self) -> Any:
        return call_answer(np.real, (self,), {})

    @property
    def imag(self) -> Any:
        return call_answer(np.imag, (self,), {})

    flags, strides, data, base, ctypes = map(_has_no_memory, _MEMORY)
    device = "cpu"

    @property
    def flat(self) -> Any:
        return iter(call_answer(np.ravel, (self,), {}))

    def __repr__(self) -> str:
        return f"Tracer<{self.aval}>"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __getitem__(self, index: Any) -> Any:
        return answers[operator.getitem](self, index)

    def __getattr__(self, name: str) -> NoReturn:
        if hasattr(type(self), name):  # a property raised: let it say so
            object.__getattribute__(self, name)
        if name.startswith("_"):  # the protocols of others, which ask for them silently
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        close = get_close_matches(name, dir(type(self)), n=1)
        remedy = _ELSEWHERE.get(name) or (f"x.{close[0]}" if close else "a function of np")
        raise TracerAttributeError(
            f"a traced value of shape {self.shape} is like a NumPy array, which has no .{name}; "
            f"write: {remedy}"
        )
