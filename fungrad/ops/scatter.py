"""Writing entries without mutation: ``fg.at(x)[index].set(v)`` and its arithmetic siblings.

The index is resolved into positions among the array's entries in a row, so that one primitive with
one index array does all. Repeated positions count as often as they occur, as in ``np.add.at``; of
several values set at one position, the last wins.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import attrs
import numpy as np

from fungrad._aval import make_aval
from fungrad._primitive import ZERO, Primitive, answers, primitive
from fungrad._tracer import Tracer, concrete_array
from fungrad.errors import ShapeMismatchError
from fungrad.ops.creation import arange_like, as_dtype
from fungrad.ops.shape import arraylike

_UFUNCS = {"add": np.add, "multiply": np.multiply, "minimum": np.minimum, "maximum": np.maximum}


def scatter_value(x: Any, values: Any, places: Any, operation: str, unique: bool) -> Any:
    """``x`` with ``values`` written at ``places``; all of them vectors.

    ``unique`` says that no place is named twice.
    """
    out = np.array(x)
    if operation == "set":
        out[places] = np.ascontiguousarray(values)  # in the order of the entries: the last wins
    else:
        _UFUNCS[operation].at(out, places, values)
    return out


def _scatter_vjp(
    ct: Any, y: Any, x: Any, values: Any, places: Any, operation: str, unique: bool
) -> tuple[Any, Any, Any]:
    at_places = ct[places]
    if operation == "add":
        return ct, at_places, ZERO
    if operation == "set":
        zeros = np.zeros_like(at_places)
        overwritten = scatter(ct, zeros, places, operation="set", unique=unique)
        kept = at_places if unique else np.where(_is_last(ct, places), at_places, 0)
        return overwritten, kept, ZERO
    if operation == "multiply":
        factors = scatter(np.ones_like(x), values, places, operation="multiply", unique=unique)
        of_values = at_places * x[places]
        if not unique:
            of_values = of_values * _product_of_others(values, places)
        return ct * factors, of_values, ZERO
    # Whatever reaches the extremum shares its cotangent evenly.
    stays, wins = np.equal(x, y).astype(y.dtype), np.equal(values, y[places]).astype(y.dtype)
    count = scatter(stays, wins, places, operation="add", unique=unique)
    share = ct / np.maximum(count, 1)  # nobody wins among NaNs
    return np.where(stays != 0, share, 0), np.where(wins != 0, share[places], 0), ZERO


def _is_last(x: Any, places: Any) -> Any:
    """For each entry of ``places``, whether no later one is equal."""
    order = arange_like(x, places.size)
    nobody = np.zeros_like(x, dtype=np.intp)
    winner = scatter(nobody, order, places, operation="set", unique=False)
    return np.equal(winner[places], order)


def _product_of_others(values: Any, places: Any) -> Any:
    """For each value, the product of all others at its place, without division.

    Sorted by place, that is the product of those before and of those behind it: two segmented
    scans (Blelloch, Prefix Sums and Their Applications, 1990), each in log2(n) doubling steps.
    """
    order = np.argsort(places, kind="stable")
    values, places = values[order], places[order]
    before = _products_before(values, places)
    behind = _products_before(values[::-1], places[::-1])[::-1]
    return (before * behind)[np.argsort(order)]


def _products_before(values: Any, places: Any) -> Any:
    """For each value, the product of those before it in its segment of equal places."""
    one = np.ones_like(values, shape=(1,))
    together = np.equal(places[1:], places[:-1])
    result = np.concatenate([one, np.where(together, values[:-1], 1)])
    step = 1
    while step < values.size:
        together = np.equal(places[step:], places[:-step])
        product = np.where(together, result[:-step], 1) * result[step:]
        result = np.concatenate([result[:step], product])
        step *= 2
    return result


def _scatter_batch(
    batched: tuple[bool, ...], size: int, x: Any, values: Any, places: Any, **static: Any
) -> Any:
    """All examples in a row, each at places of its own."""
    x, values, places = (
        operand if flag else np.broadcast_to(operand, (size, *operand.shape))
        for operand, flag in zip((x, values, places), batched, strict=True)
    )
    length = x.shape[1]
    shifted = places + arange_like(x, size).reshape((size, 1)) * length
    flat = scatter(np.ravel(x), np.ravel(values), np.ravel(shifted), **static)
    return flat.reshape((size, length))


scatter: Primitive = primitive(
    "scatter",
    value=scatter_value,
    aval=lambda x, values, places, operation, unique: make_aval(x.shape, x.dtype),
    vjp=_scatter_vjp,
    batch=_scatter_batch,
    fresh=True,
    analytic=False,
)


@attrs.frozen(eq=False)
class Updates:
    """What can be done at an index of an array; every method returns a new array."""

    _array: Any
    _index: Any

    def set(self, values: Any) -> Any:
        """``x[index] = values``; of several values for one place, the last."""
        return self._scattered(values, "set")

    def add(self, values: Any) -> Any:
        """``np.add.at(x, index, values)``."""
        return self._scattered(values, "add")

    def multiply(self, values: Any) -> Any:
        """``np.multiply.at(x, index, values)``."""
        return self._scattered(values, "multiply")

    def min(self, values: Any) -> Any:
        """``np.minimum.at(x, index, values)``."""
        return self._scattered(values, "minimum")

    def max(self, values: Any) -> Any:
        """``np.maximum.at(x, index, values)``."""
        return self._scattered(values, "maximum")

    def _scattered(self, values: Any, operation: str) -> Any:
        x, values = arraylike(self._array), arraylike(values)
        if not np.can_cast(values.dtype, x.dtype, "same_kind"):
            raise TypeError(
                f"values of {values.dtype} can't be written into an array of {x.dtype}; write: "
                f"fg.at(x.astype({str(values.dtype)!r}))[index].{operation}(values)"
            )
        places = _places(x, values, self._index)
        try:
            spread = np.broadcast_to(as_dtype(values, x.dtype), places.shape)
        except ValueError:
            raise ShapeMismatchError(
                f"at: values of shape {values.shape} do not fit the {places.shape} entries that "
                "the index names; write: values that broadcast to them"
            ) from None
        unique = not any(map(_may_repeat, _items(self._index)))
        vectors = [np.ravel(operand) for operand in (x, spread, places)]
        return scatter(*vectors, operation=operation, unique=unique).reshape(x.shape)


def _items(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _may_repeat(item: Any) -> bool:
    """Whether an item of an index can name an entry twice: an array of integers can."""
    if isinstance(item, list):
        item = concrete_array(item)
    return isinstance(item, (Tracer, np.ndarray)) and item.ndim > 0 and item.dtype.kind != "b"


def _places(x: Any, values: Any, index: Any) -> Any:
    """The positions, among the entries of ``x`` in a row, that ``x[index]`` reads."""
    count = math.prod(x.shape)
    for traced in (x, values, *_items(index)):
        if isinstance(traced, Tracer):
            return answers[operator.getitem](arange_like(traced, count).reshape(x.shape), index)
    return np.asarray(np.arange(count).reshape(x.shape)[index])


@attrs.frozen(eq=False)
class At:
    """An array whose entries are to be replaced: ``fg.at(x)[index]`` names which."""

    _array: Any

    def __getitem__(self, index: Any) -> Updates:
        return Updates(self._array, index)


def at(x: Any) -> At:
    """Update entries of an array without writing into it: the pure form of ``x[index] = v``.

    ``at(x)[index].set(v)`` is a copy of ``x`` with ``v`` at ``index``, in all of NumPy's forms of
    an index; ``add``, ``multiply``, ``min`` and ``max`` combine ``v`` with what is there, as the
    ufuncs' ``at`` methods do: a place that is named several times counts several times. Of
    several values that are *set* at one place, the last one (in the order of the entries) wins.
    Derivatives flow to ``x`` and to ``v``.

    Args:
        x: array of any shape.

    Returns:
        An object to be indexed; the update has the shape and dtype of ``x``.

    Raises:
        TypeError: values that can't be cast to the dtype of ``x`` without losing their kind, such
            as floats for an array of integers.
        ShapeMismatchError: values that do not broadcast to the entries at the index.

    Example:
        >>> import numpy as np
        >>> from fungrad.ops.scatter import at
        >>> at(np.zeros(4))[1:3].set([5.0, 6.0])
        array([0., 5., 6., 0.])
        >>> at(np.ones(3))[[0, 0, 2]].add(10.0)
        array([21.,  1., 11.])
    """
    return At(x)
