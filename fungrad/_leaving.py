"""Ways out of a traced program, and into its values: most are closed, and say what to write.

Row 4. In: what user code does to a traced value that an array would take and a program can't. Out:
a concrete answer where there is one, or an error.
"""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from fungrad._attributes import Attributes
from fungrad._dispatch import caller
from fungrad._refusals import REFUSALS
from fungrad.errors import (
    ConcretizationError,
    TracerConversionError,
    TracerIdentityError,
    TracerMutationError,
    TruthValueError,
)


def _refuses_mutation(name: str, remedy: str) -> Any:
    def method(self: Attributes, *args: Any, **kwargs: Any) -> NoReturn:
        raise TracerMutationError(
            f"{name} would write into a traced value of shape {self.shape}, which is immutable; "
            f"write: {remedy}"
        )

    return method


def _refuses_identity(name: str, remedy: str) -> Any:
    def method(self: Attributes, *args: Any, **kwargs: Any) -> NoReturn:
        raise TracerIdentityError(f"a traced value can't be {name}; {remedy}")

    return method


def _refuses_leaving(name: str) -> Any:
    def method(self: Attributes, *args: Any, **kwargs: Any) -> NoReturn:
        raise ConcretizationError(
            f".{name}() would take a traced value of shape {self.shape} out of its program; "
            "return it from the function instead (has_aux=True where it is not the result)"
        )

    return method


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


def _index(value: Any) -> int:
    return int(value) if value.dtype.kind == "b" else operator.index(value)


class Leaving(Attributes):
    """What would take a traced value out of its program, write into it, or let it outlive it."""

    __slots__ = ()

    # --- numbers ---

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
        kinds = "iub" if self.aval.weak else "iu"  # Python's booleans are integers
        if self.aval.dtype.kind not in kinds:
            raise TypeError(f"only integers can be used as an index; this is {self.aval}")
        asked = "use as a Python integer (range, index)"
        return operator.index(self._concrete(asked, False, _index))

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

    # --- plain arrays ---

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        name = caller()
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

    def __dlpack__(self, **kwargs: Any) -> NoReturn:
        raise TracerConversionError(f"np.from_dlpack: {REFUSALS['np.from_dlpack']}")

    def __dlpack_device__(self) -> NoReturn:
        self.__dlpack__()

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
