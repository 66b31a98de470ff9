"""Names for what generated source refers to: functions ``k0, k1, …`` and values ``c0, c1, …``.

In: functions, static values and literals. Out: their text, and the namespace that it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from fungrad._expr import Expr, Literal
from fungrad._intern import bits_key
from fungrad._primitive import kind_of, promoted_dtypes
from fungrad.compile.blocks import Block
from fungrad.compile.pool import Pool, Spot

BUILTINS = {"__import__": __import__}
"""What of Python's builtins programs see: what CPython 3.13 itself imports with when NumPy warns."""


class Constants:
    """What one program refers to.

    Attributes:
        pooled: whether arrays to work in are kept from one call to the next.
        namespace: the globals of the program; builtins are empty.
        notes: a comment for each name.
        pools: what keeps such arrays.
        origins: of functions, the primitive's name; of block lists, how they are cut.
    """

    def __init__(self, pooled: bool = False) -> None:
        self.pooled = pooled
        self.namespace: dict[str, Any] = {"np": np, "__builtins__": BUILTINS}
        self.notes: list[str] = []
        self.origins: dict[str, Any] = {}
        self.pools: list[Pool] = []
        self._names: dict[Any, str] = {}
        self._count = count()

    def function(self, value: Callable[..., Any], name: str) -> str:
        """The name of a function; ``name`` is a primitive's, an identifier."""
        text = self._named("k", id(value), value, f"the primitive {name}")
        self.origins[text] = name
        return text

    def helper(self, value: Callable[..., Any]) -> str:
        """The name of a function of ``blocks``."""
        return self._named("k", id(value), value, f"fungrad.compile.blocks.{value.__name__}")

    def blocks(self, cut: Callable[[int, int], Sequence[Block]], length: int, limit: int) -> str:
        """The name of ``cut(length, limit)``, a list of blocks."""
        pieces = cut(length, limit)
        note = f"{len(pieces)} blocks of up to {max([n for _, _, n in pieces])} of {length} rows"
        text = self._named("c", ("blocks", cut, length, limit), pieces, note)
        self.origins[text] = (cut, length, limit)
        return text

    def scratch(self, spots: Sequence[Spot]) -> tuple[list[str], list[str]]:
        """The lines from which on there are arrays ``s0, s1, …``, and those after which not."""
        if not spots:
            return [], []
        if not self.pooled:
            kinds = [f"{self.value(spot.shape)}, {self.value(spot.dtype)}" for spot in spots]
            return [f"s{i} = np.empty({kind})" for i, kind in enumerate(kinds)], []
        pool = Pool(spots)
        self.pools.append(pool)
        size = f"{len(spots)} arrays in {pool.nbytes} bytes kept between calls"
        take = self._named("k", ("take", id(pool)), pool.take, f"take {size}")
        give = self._named("k", ("give", id(pool)), pool.give, "give them back")
        arrays = "".join([f"s{i}, " for i in range(len(spots))])
        return [f"{arrays}= s = {take}()"], [f"{give}(s)"]

    def value(self, value: Any) -> str:
        """The text of a static value or a literal."""
        if value is None or type(value) in (bool, int):
            return repr(value)
        if type(value) is float and math.isfinite(value):
            return repr(value)
        if type(value) is tuple:
            return tuple_text([self.value(item) for item in value])
        if isinstance(value, np.generic):
            return self._named("c", id(value), value, f"{value} of dtype {value.dtype.name}")
        if isinstance(value, np.dtype):
            return self._named("c", value, value, f"dtype {value.name}")
        return self._named("c", id(value), value, f"a constant of type {type(value).__name__}")

    def held(self, value: np.ndarray[Any, Any]) -> str:
        """The name of an array that was computed when the program was compiled."""
        shape = ",".join(map(str, value.shape))
        return self._named(
            "c", ("held", id(value)), value, f"{value.dtype.name}[{shape}], computed once"
        )

    def operand(self, node: Expr, arg: Literal) -> str:
        """The text of a number among the operands of ``node``.

        NumPy takes longer to convert a Python number than to compute a short array, so the number
        is converted once, to the dtype that it would get.
        """
        ufunc = node.primitive.value if node.primitive is not None else None
        if isinstance(ufunc, np.ufunc) and node.aval.shape and ufunc.nout == 1:
            dtypes = promoted_dtypes(ufunc, tuple([kind_of(a.aval) for a in node.args]))
            dtype = dtypes[node.args.index(arg)]
            if dtype.kind == "f" and type(arg.value) is not bool:
                return self.array(arg.value, dtype) or self.value(arg.value)
        return self.value(arg.value)

    def number(self, value: Any, dtype: np.dtype[Any]) -> str:
        """The name of a number of that dtype: as a 0-d array, with which arrays compute fastest."""
        return self.array(value, dtype) or self.value(dtype.type(value))

    def array(self, value: Any, dtype: np.dtype[Any]) -> str | None:
        """The name of a 0-d array, if ``value`` can be converted without a warning."""
        key = ("array", bits_key(value), dtype)
        if key in self._names:
            return self._names[key]
        number = converted(value, dtype)
        if number is None:
            return None
        note = f"{number[()]} of dtype {dtype.name}"
        number.flags.writeable = False
        return self._named("c", key, number, note)

    def _named(self, prefix: str, key: Any, value: Any, note: str) -> str:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"{prefix}{next(self._count)}"
            self.namespace[name] = value
            self.notes.append(f"# {name}: {note}")
        return name


def converted(value: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
    """A number as a 0-d array, unless NumPy would warn."""
    try:
        with np.errstate(all="raise"):
            return np.array(value, dtype)
    except (ArithmeticError, TypeError, ValueError):
        return None


def tuple_text(items: list[str]) -> str:
    """The items as the text of a tuple."""
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
