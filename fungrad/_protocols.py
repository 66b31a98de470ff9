"""NumPy's protocols, operators, methods and attributes of a traced value.

Row 4. In: what user code does to an array-like. Out: a call of whatever ``answers`` that NumPy
function, or an error that says what to write. How nodes are made is the subclass's business.
"""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import FrameType
from typing import Any, NoReturn

import numpy as np

from fungrad._aval import SCALAR_TYPES, Aval
from fungrad._primitive import Primitive, Symbolic, answers, special_answers, unsupported
from fungrad._questions import as_it_is
from fungrad._refusals import REFUSALS
from fungrad.errors import (
    ArrayMutationError,
    ConcretizationError,
    MemoryLayoutError,
    TracerAttributeError,
    TracerConversionError,
    TracerIdentityError,
    TracerMutationError,
    TruthValueError,
)


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


def _caller() -> str:
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
            raise _out_error(full_name(function))
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


def _out_error(name: str) -> ArrayMutationError:
    return ArrayMutationError(
        f"{name} was told to write a traced value into an array; traced programs are pure: "
        f"write `result = {name}(...)` without out=, and `a = a + x` for `a += x`"
    )


def _binary(ufunc: np.ufunc, reflected: bool = False) -> Any:
    def operate(self: ArrayProtocols, other: Any) -> Any:
        operands = (other, self) if reflected else (self, other)
        if not self.aval.weak or not _is_weak(other):
            return self._bind(answers[ufunc], operands, None)
        if _is_integer(self) and _is_integer(other):
            return self._bind(answers.get((ufunc, int)) or answers[ufunc], operands, None, True)
        return self._bind(answers[ufunc], operands, None, True)

    return operate


def _is_integer(operand: Any) -> bool:
    if isinstance(operand, ArrayProtocols):
        return operand.aval.dtype.kind == "i"
    return type(operand) is int


def _unary(ufunc: np.ufunc) -> Any:
    def operate(self: ArrayProtocols) -> Any:
        weak = self.aval.weak
        integer = answers.get((ufunc, int)) if weak and _is_integer(self) else None
        return self._bind(integer or answers[ufunc], (self,), {}, weak)

    return operate


def _power_function(aval: Aval, exponent: Any) -> Any:
    """What computes ``x ** exponent``: equal bits need NumPy's own choice.

    Arrays have shortcuts for some exponents, scalars have a routine of their own.
    """
    kind = aval.dtype.kind
    if aval.shape == () and exponent is not None and getattr(exponent, "shape", ()) == ():
        one = type(exponent) in (int, float) and exponent == 1 and kind == "f"
        return np.positive if one else operator.pow
    if type(exponent) not in (int, float):
        if not (_MORE_SHORTCUTS and isinstance(exponent, (bool, np.generic, np.ndarray))):
            return np.power
        if np.ndim(exponent) or (
            exponent is not True and np.result_type(exponent).kind not in "iuf"
        ):
            return np.power
        exponent = np.asarray(exponent).item()
    if exponent == 2 and (isinstance(exponent, int) or kind in ("bfc" if _MORE_SHORTCUTS else "f")):
        return np.square
    if exponent == 1 and kind in ("fc" if _MORE_SHORTCUTS else "f"):
        return np.positive
    if kind in "fc" and exponent in (0.5, -1):
        return np.sqrt if exponent == 0.5 else np.reciprocal
    return np.power


_MORE_SHORTCUTS = (np.ones(1, np.float32) ** np.float64(2)).dtype == np.float32
"""NumPy below 2.3 has them for NumPy's scalars and for booleans too, and more of them."""


def _is_weak(operand: Any) -> bool:
    if isinstance(operand, ArrayProtocols):
        return operand.aval.weak
    return type(operand) in SCALAR_TYPES


def _comparison(ufunc: np.ufunc) -> Any:
    def compare(self: ArrayProtocols, other: Any) -> Any:
        return self._bind(answers[ufunc], (self, other), {}, False)

    return compare


def _method(function: Any) -> Any:
    def method(self: ArrayProtocols, *args: Any, **kwargs: Any) -> Any:
        return call_answer(function, (self, *args), kwargs)

    method.__name__ = function.__name__
    return method


def _refuses_mutation(name: str, remedy: str) -> Any:
    def method(self: ArrayProtocols, *args: Any, **kwargs: Any) -> NoReturn:
        raise TracerMutationError(
            f"{name} would write into a traced value of shape {self.shape}, which is immutable; "
            f"write: {remedy}"
        )

    return method


def _refuses_identity(name: str, remedy: str) -> Any:
    def method(self: ArrayProtocols, *args: Any, **kwargs: Any) -> NoReturn:
        raise TracerIdentityError(f"a traced value can't be {name}; {remedy}")

    return method


def _refuses_leaving(name: str) -> Any:
    def method(self: ArrayProtocols, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConcretizationError(
            f".{name}() would take a traced value of shape {self.shape} out of its program; "
            "return it from the function instead (has_aux=True where it is not the result)"
        )

    return method


_MEMORY = ("flags", "strides", "data", "base", "ctypes")


def _has_no_memory(name: str) -> Any:
    def attribute(self: ArrayProtocols) -> NoReturn:
        raise MemoryLayoutError(
            f".{name} asks how a traced value of shape {self.shape} lies in memory, which is decided "
            "when its program runs; write: x itself, results do not depend on it"
        )

    return property(attribute)


_FOR_NUMBERS = (
    "np.stack([x, y]) or np.array([x, y], like=x) for np.array([x, y]), np.sum(np.stack(numbers)) for "
    "np.sum(numbers), and give np.array([1.0, 2.0]), not the list, to the transformed function"
)
_FOR_INDICES = "np.asarray(a, like=i)[i] for a[i], "
_FOR_ARRAYS = (
    "np.stack([x, y]) or np.array([x, y], like=x) to build an array, np.hstack([x, y]) for "
    "np.r_[x, y], a @ x for a.dot(x), np.asarray(a, like=x)[x] for a[x], fg.vmap(f)(x) for "
    "np.vectorize(f)(x), x for np.asarray(x)"
)
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


class ArrayProtocols(Symbolic):
    """Everything that makes an object with an ``aval`` look like an ndarray."""

    __slots__ = ()

    # --- what the subclass provides ---

    @property
    def aval(self) -> Aval:
        raise NotImplementedError

    def _bind(
        self, primitive: Any, operands: tuple[Any, ...], static: Any, weak: bool = False
    ) -> Any:
        raise NotImplementedError

    def _concrete(self, asked: str, leaves: bool, read: Callable[[Any], Any] = as_it_is) -> Any:
        """What ``read`` makes of the value, for Python code to go on with.

        ``asked`` says in words what the code did; ``leaves`` if the value goes on as a number.
        """
        raise NotImplementedError

    # --- attributes ---

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
            raise _out_error(name if method == "__call__" else f"{name}.{method}")
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

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = _caller()
        if name in REFUSALS:
            raise TracerConversionError(
                f"{name} makes a plain array of a traced value of shape {self.shape}, which would "
                f"lose its derivative: {REFUSALS[name]}"
            )
        remedy = _FOR_ARRAYS if self.shape else _FOR_NUMBERS
        if not self.shape and self.dtype.kind in "iu":
            remedy = _FOR_INDICES + remedy
        raise TracerConversionError(
            f"a traced value of shape {self.shape} was to become a plain array, which would lose "
            f"its derivative; write: {remedy}"
        )

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

    # --- operators ---

    __add__, __radd__ = _binary(np.add), _binary(np.add, True)
    __sub__, __rsub__ = _binary(np.subtract), _binary(np.subtract, True)
    __mul__, __rmul__ = _binary(np.multiply), _binary(np.multiply, True)
    __truediv__, __rtruediv__ = _binary(np.divide), _binary(np.divide, True)
    __floordiv__, __rfloordiv__ = _binary(np.floor_divide), _binary(np.floor_divide, True)
    __mod__, __rmod__ = _binary(np.remainder), _binary(np.remainder, True)
    __and__, __rand__ = _binary(np.bitwise_and), _binary(np.bitwise_and, True)
    __or__, __ror__ = _binary(np.bitwise_or), _binary(np.bitwise_or, True)
    __xor__, __rxor__ = _binary(np.bitwise_xor), _binary(np.bitwise_xor, True)
    __lshift__, __rlshift__ = _binary(np.left_shift), _binary(np.left_shift, True)
    __rshift__, __rrshift__ = _binary(np.right_shift), _binary(np.right_shift, True)
    __neg__, __abs__ = _unary(np.negative), _unary(np.absolute)
    __pos__, __invert__ = _unary(np.positive), _unary(np.invert)
    __lt__, __le__ = _comparison(np.less), _comparison(np.less_equal)
    __gt__, __ge__ = _comparison(np.greater), _comparison(np.greater_equal)
    __eq__, __ne__ = _comparison(np.equal), _comparison(np.not_equal)

    def __hash__(self) -> NoReturn:
        name = _caller()
        hint = f" ({name}): {REFUSALS[name]}" if name in REFUSALS else "; write: a list for a set"
        raise TracerIdentityError(f"a traced value is unhashable, as arrays are{hint}")

    def __pow__(self, exponent: Any) -> Any:
        weak = self.aval.weak and _is_weak(exponent)
        function = _power_function(self.aval, exponent)
        if function is np.positive:
            return self
        if function in (np.power, operator.pow):
            if weak and _is_integer(self) and _is_integer(exponent):
                function = (np.power, int)
            return self._bind(answers[function], (self, exponent), {}, weak)
        return self._bind(answers[function], (self,), {}, weak)

    def __rpow__(self, base: Any) -> Any:
        if self.shape or np.ndim(base):
            return self._bind(answers[np.power], (base, self), {}, False)
        weak = self.aval.weak and _is_weak(base)
        integers = weak and _is_integer(self) and _is_integer(base)
        return self._bind(
            answers[(np.power, int) if integers else operator.pow], (base, self), {}, weak
        )

    def __matmul__(self, other: Any) -> Any:
        return answers[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return answers[np.matmul](other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __round__(self, digits: int | None = None) -> Any:
        return (
            _whole(self, np.rint) if digits is None else call_answer(np.round, (self, digits), {})
        )

    def __floor__(self) -> Any:
        return _whole(self, np.floor)

    def __ceil__(self) -> Any:
        return _whole(self, np.ceil)

    def __trunc__(self) -> Any:
        return _whole(self, np.trunc)

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

    def __dlpack__(self, **kwargs: Any) -> NoReturn:
        raise TracerConversionError(f"np.from_dlpack: {REFUSALS['np.from_dlpack']}")

    def __dlpack_device__(self) -> NoReturn:
        self.__dlpack__()

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

    # --- leaving the traced program ---

    def __bool__(self) -> bool:
        if self.size != 1:
            raise TruthValueError(
                f"the truth value of an array of shape {self.shape} is ambiguous; write: "
                "np.where(condition, a, b), np.maximum(x, 0) for max(x, 0), np.logical_and(a, b) "
                "for `a and b`, or condition.any() or condition.all()"
            )
        asked = "a Python condition (if, while, and, or, not, bool)"
        return bool(self._concrete(asked, False, bool))

    def __int__(self) -> int:
        return int(self._concrete("int()", False, int))

    def __index__(self) -> int:
        if self.aval.dtype.kind not in "iu":
            raise TypeError(f"only integers can be used as an index; this is {self.aval}")
        asked = "use as a Python integer (range, index)"
        return operator.index(self._concrete(asked, False, operator.index))

    def __float__(self) -> float:
        asked = "float() (or a function of `math`, or a[i] = x)"
        return float(self._concrete(asked, True, float))

    def __complex__(self) -> complex:
        asked = "complex() (or a function of `cmath`, or a[i] = x)"
        return complex(self._concrete(asked, True, complex))

    def item(self, *index: int) -> Any:
        return self._concrete(".item()", True).item(*index)

    def __contains__(self, value: Any) -> bool:
        found: Any = np.any(self == value)
        return bool(found._concrete("`in`", False, bool))

    def __format__(self, spec: str) -> str:
        # Text carries no derivative; so printing is fine wherever a value is known.
        return format(self._concrete("formatting", False), spec) if spec else repr(self)

    tolist, tobytes, tofile, dump, dumps = map(
        _refuses_leaving, ("tolist", "tobytes", "tofile", "dump", "dumps")
    )

    # --- what would make a traced value mutable, or let it outlive its trace ---

    __setitem__ = _refuses_mutation("x[index] = value", "x = fg.at(x)[index].set(value)")
    __delitem__ = _refuses_mutation("del x[index]", "x = np.concatenate([x[:i], x[i + 1:]])")
    sort = _refuses_mutation("x.sort()", "x = np.sort(x)")
    partition = _refuses_mutation("x.partition(k)", "x = np.partition(x, k)")
    fill = _refuses_mutation("x.fill(value)", "x = np.full_like(x, value)")
    put = _refuses_mutation("x.put(index, value)", "x = fg.at(x)[index].set(value)")
    resize = _refuses_mutation("x.resize(shape)", "x = np.resize(x, shape)")
    byteswap = _refuses_mutation("x.byteswap()", "the array as it is: results are native")
    setfield = _refuses_mutation("x.setfield(value, dtype)", "x = fg.at(x)[index].set(value)")
    setflags = _refuses_mutation("x.setflags()", "nothing: traced values can't be written to")
    __reduce_ex__ = _refuses_identity("pickled", "compute its value first: return it")
    __copy__ = _refuses_identity("copied", "it is immutable: use it as it is")
    __deepcopy__ = _refuses_identity("copied", "it is immutable: use it as it is")


def _whole(x: ArrayProtocols, rounded: np.ufunc) -> Any:
    """``round``, ``math.floor``, …: a Python integer of a number, which arrays refuse."""
    if x.shape:
        raise TypeError("only 0-dimensional arrays can be converted to Python scalars")
    whole = call_answer(rounded, (x,), {}).astype(np.int64)
    return whole._bind(answers[np.positive], (whole,), {}, True)


def _cast(operand: Any, dtype: np.dtype[Any], casting: Any, name: str) -> Any:
    if _is_weak(operand):
        return operand if not isinstance(operand, ArrayProtocols) else operand.astype(dtype)
    if not np.can_cast(np.result_type(operand), dtype, casting):
        raise TypeError(
            f"Cannot cast ufunc '{name}' input from {np.result_type(operand)!r} to {dtype!r} with "
            f"casting rule {casting!r}"
        )
    return operand.astype(dtype) if hasattr(operand, "astype") else np.asarray(operand, dtype)
