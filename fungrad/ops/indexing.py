"""Reading entries by index, and its adjoint: adding entries into zeros."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, is_array, make_aval
from fungrad._codec import markers
from fungrad._expr import Expr
from fungrad._primitive import INDEX, Primitive, answer, primitive
from fungrad._tracer import Tracer, concrete_array
from fungrad.ops.creation import arange_like
from fungrad.ops.examples import all_batched


@attrs.frozen(eq=False)
class _ArrayPlace:
    """Stands in a static index where an index array, an operand, goes."""

    def __repr__(self) -> str:
        return "array"


ARRAY = markers["array"] = _ArrayPlace()
Index = tuple[Any, ...]
"""One entry for each axis: an int, a slice, ``ARRAY``; and ``None`` for new axes.

``Ellipsis`` stands for no axis, but it keeps index arrays apart, as in NumPy.
"""


def _with_arrays(index: Index, arrays: tuple[Any, ...]) -> Index:
    rest = iter(arrays)
    return tuple([next(rest) if item is ARRAY else item for item in index])


def getitem_value(x: Any, *arrays: Any, index: Index) -> Any:
    """``x[index]``."""
    return x[_with_arrays(index, arrays)]


def add_at(out: Any, index: Any, values: Any) -> None:
    """``np.add.at`` for a C-contiguous ``out``, faster where the first axis is read by an array.

    NumPy adds numbers by one index array several times faster than rows, in the same order. They
    are counted a few thousand at a time, so that no long array of positions is made.
    """
    rows, count, length = index[0], len(out), math.prod(out.shape[1:])
    whole = all(isinstance(item, slice) and item == slice(None) for item in index[1:])
    many = length > 1 and values.size >= 256 and out.dtype.kind == "f"
    by_rows = many and whole and type(rows) is np.ndarray
    if not by_rows or not np.all((rows >= -count) & (rows < count)):
        np.add.at(out, index, values)
        return
    starts, flat = rows.astype(np.intp) % count * length, out.reshape(-1)
    if values.flags.c_contiguous or not rows.ndim:
        starts, values = starts.reshape(-1), values.reshape((-1, length))
    step = max(1, 8192 * len(starts) // values.size)
    for i in range(0, len(starts), step):
        places = starts[i : i + step].reshape((-1, 1)) + np.arange(length)
        np.add.at(flat, places.reshape(-1), values[i : i + step].reshape(-1))


def scatter_add_value(ct: Any, *arrays: Any, index: Index, shape: tuple[int, ...]) -> Any:
    """Zeros of ``shape`` with ``ct`` added at ``index``; repeated places add up."""
    out = np.zeros(shape, np.asarray(ct).dtype)
    if arrays:
        add_at(out, _with_arrays(index, arrays), ct)
    else:
        out[index] = ct
    return out


def scatter_sum_value(*cts: Any, indices: tuple[Index, ...], shape: tuple[int, ...]) -> Any:
    """The sum of arrays of ``shape``, each of them zeros with one of ``cts`` at its index.

    The bits are those of the arrays added one after the other. Only where no array is zero for its
    index may the sum be -0.0: there it starts from -0.0, to which everything adds exactly.
    """
    out = np.zeros(shape, np.result_type(*[ct.dtype for ct in cts]))
    everywhere = scatter_intersection(indices, shape)
    if everywhere is not None:
        out[everywhere] = -0.0
    for index, ct in zip(indices, cts, strict=True):
        out[index] += ct
    return out


def scatter_intersection(indices: tuple[Index, ...], shape: tuple[int, ...]) -> Index | None:
    """What all indices read, of integers and slices of step 1; ``None`` if that is nothing."""
    common = []
    for axis, length in enumerate(shape):
        entries = [index[axis] for index in indices]
        spans = [range(length)[e if isinstance(e, slice) else slice(e, e + 1)] for e in entries]
        start, stop = max(span.start for span in spans), min(span.stop for span in spans)
        if start >= stop:
            return None
        common.append(slice(start, stop))
    return tuple(common)


def _is_advanced(item: Any) -> bool:
    # An integer is an index array of shape () as soon as there is another index array.
    return item is ARRAY or isinstance(item, int)


def _place(index: Index) -> int:
    """Where the axes of the broadcast index arrays stand in the result.

    Where they are not side by side in the index, NumPy puts them first.
    """
    places = [i for i, item in enumerate(index) if _is_advanced(item)]
    together = places == list(range(places[0], places[-1] + 1))
    return places[0] if together else 0


def _result_shape(x: Aval, index: Index, arrays: tuple[Aval, ...]) -> tuple[int, ...]:
    rest: list[int] = []
    axis = 0
    for item in index:
        if item is None:
            rest.append(1)
        if item is None or item is Ellipsis:
            continue
        if isinstance(item, slice):
            rest.append(len(range(*item.indices(x.shape[axis]))))
        axis += 1
    if not arrays:
        return tuple(rest)
    try:
        common = np.broadcast_shapes(*[a.shape for a in arrays])
    except ValueError:
        shapes = " ".join(str(a.shape) for a in arrays)
        raise IndexError(
            f"shape mismatch: indexing arrays could not be broadcast together with shapes {shapes}"
        ) from None
    place = _place(index)
    return (*rest[:place], *common, *rest[place:])


def _getitem_vjp(ct: Any, y: Any, x: Any, *arrays: Any, index: Index) -> tuple[Any, ...]:
    return scatter_add_p(ct, *arrays, index=index, shape=x.shape), *[INDEX] * len(arrays)


def _batched_index(
    batched: tuple[bool, ...], size: int, x: Any, arrays: tuple[Any, ...], index: Index
) -> tuple[Index, tuple[Any, ...], int]:
    """The index that reads all examples at once, its arrays, and where the batch axis comes out."""
    on_x, on_arrays = batched[0], batched[1:]
    if not any(on_arrays):
        index = (slice(None), *index)
        behind = max(a.ndim for a in arrays) if arrays and not _place(index) else 0
        return index, arrays, behind
    rank = max(a.ndim - b for a, b in zip(arrays, on_arrays, strict=True))
    aligned = [
        a.reshape((size, *[1] * (rank + 1 - a.ndim), *a.shape[1:])) if b else a
        for a, b in zip(arrays, on_arrays, strict=True)
    ]
    if not on_x:
        return index, tuple(aligned), _place(index)
    example = arange_like(aligned[on_arrays.index(True)], size).reshape((size, *[1] * rank))
    return (ARRAY, *index), (example, *aligned), 0


def _getitem_batch(batched: Any, size: int, x: Any, *arrays: Any, index: Index) -> Any:
    new_index, new_arrays, axis = _batched_index(batched, size, x, arrays, index)
    out = np.moveaxis(getitem_p(x, *new_arrays, index=new_index), axis, 0)
    if batched[0] and any(batched[1:]):
        # The index arrays' other axes stand behind the batch axis; they belong where they
        # would be without it.
        out = np.moveaxis(out, *_index_axes(index, new_arrays))
    return out


def _index_axes(index: Index, arrays: tuple[Any, ...]) -> tuple[range, range]:
    """Which axes of all examples belong to their index arrays: as NumPy puts them, and by rights."""
    rank, place = max(a.ndim for a in arrays), _place(index)
    return range(1, rank), range(place + 1, place + rank)


def _scatter_add_batch(
    batched: Any, size: int, ct: Any, *arrays: Any, index: Index, shape: tuple[int, ...]
) -> Any:
    # Every example is added into a block of its own: as if x had a batch axis of its own.
    if not batched[0]:
        ct = np.broadcast_to(ct, (size, *ct.shape))
    flags = (True, *batched[1:])
    new_index, new_arrays, axis = _batched_index(flags, size, ct, arrays, index)
    if any(flags[1:]):
        now, before = _index_axes(index, new_arrays)
        ct = np.moveaxis(ct, before, now)
    return scatter_add_p(
        np.moveaxis(ct, 0, axis), *new_arrays, index=new_index, shape=(size, *shape)
    )


def _getitem_source(operands: list[str], text: Any, index: Index) -> str:
    """``x[1:3, y]``: made of integers and of the operands' names."""
    rest = iter(operands[1:])
    items = [next(rest) if item is ARRAY else _item_source(item) for item in index]
    text = ", ".join(items) + ("," if len(items) == 1 else "")
    return f"{operands[0]}[{text or '()'}]"


def _item_source(item: Any) -> str:
    if not isinstance(item, slice):
        return "..." if item is Ellipsis else repr(item)
    parts = ["" if n is None else str(n) for n in (item.start, item.stop, item.step)]
    return ":".join(parts[:2] if item.step in (None, 1) else parts)


getitem_p = primitive(
    "getitem",
    value=getitem_value,
    template=_getitem_source,
    aval=lambda x, *arrays, index: make_aval(_result_shape(x, index, arrays), x.dtype),
    vjp=_getitem_vjp,
    batch=_getitem_batch,
    view=True,
)

scatter_add_p = primitive(
    "scatter_add",
    value=scatter_add_value,
    aval=lambda ct, *arrays, index, shape: make_aval(shape, ct.dtype),
    vjp=lambda ct, y, x, *arrays, index, shape: (
        getitem_p(ct, *arrays, index=index),
        *[INDEX] * len(arrays),
    ),
    batch=_scatter_add_batch,
    fresh=True,
)


scatter_sum_p: Primitive = primitive(
    "scatter_sum",
    value=scatter_sum_value,
    aval=lambda *cts, indices, shape: make_aval(shape, np.result_type(*[ct.dtype for ct in cts])),
    vjp=lambda ct, y, *cts, indices, shape: tuple([getitem_p(ct, index=i) for i in indices]),
    batch=lambda batched, size, *cts, indices, shape: scatter_sum_p(
        *all_batched(batched, size, *cts),
        indices=tuple([(slice(None), *index) for index in indices]),
        shape=(size, *shape),
    ),
    fresh=True,
)
"""A sum of ``scatter_add_p`` without index arrays."""


def is_plain(index: Index) -> bool:
    """Whether an index is made of integers and of slices without steps."""
    return all(
        isinstance(entry, int) or (isinstance(entry, slice) and entry.step in (None, 1))
        for entry in index
    )


def is_scattered(node: Expr) -> bool:
    """Whether a node is zeros but for one part, read by a plain index."""
    return node.primitive is scatter_add_p and is_plain(dict(node.static)["index"])


def scattered(parts: Sequence[Tracer]) -> Any:
    """The sum of such values: reading n entries one by one costs n steps backwards, not n²."""
    statics = [dict(part._expr.static) for part in parts]
    cts = [Tracer(part.owner, part._expr.args[0]) for part in parts]
    return scatter_sum_p(
        *cts, indices=tuple([s["index"] for s in statics]), shape=statics[0]["shape"]
    )


# --- what an index means -------------------------------------------------------------------------


def _expanded(index: Any, rank: int) -> list[Any]:
    """The index as a list with one entry for each axis, ellipsis and masks spelled out."""
    items: list[Any] = []
    for item in index if isinstance(index, tuple) else (index,):
        items += _entries(item)
    used = sum(not (item is None or item is Ellipsis or _is_0d_mask(item)) for item in items)
    if used > rank:
        raise IndexError(
            f"too many indices for array: array is {rank}-dimensional, but {used} were indexed"
        )
    fill: list[Any] = [slice(None)] * (rank - used)
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if not dots:
        return items + fill
    return items[: dots[0]] + (fill or [Ellipsis]) + items[dots[0] + 1 :]


def _entries(item: Any) -> list[Any]:
    """One index item as entries: a boolean mask of rank n becomes n integer arrays."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return [item]
    if isinstance(item, (list, tuple)):
        item = concrete_array(item)
        item = item.astype(np.intp) if item.size == 0 else item
    if isinstance(item, Tracer) and item.dtype.kind == "b":
        item = item._concrete("indexing by a boolean mask, which decides the shape,", False)
    if is_array(item) or isinstance(item, Tracer):
        if item.dtype.kind == "b":
            return [_Mask(item), *[_MaskAxis()] * (item.ndim - 1)]
        if item.dtype.kind not in "iu":
            raise IndexError("arrays used as indices must be of integer (or boolean) type")
        return [int(item) if isinstance(item, np.generic) or _is_plain_0d(item) else item]
    if isinstance(item, bool):
        return [_Mask(np.asarray(item))]
    if not hasattr(item, "__index__"):
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or "
            f"boolean arrays are valid indices, not {item!r}"
        )
    return [operator.index(item)]


def _is_plain_0d(item: Any) -> bool:
    return not isinstance(item, Tracer) and item.ndim == 0


@attrs.frozen
class _Mask:
    mask: Any


class _MaskAxis:
    """The further axes that a mask of rank > 1 covers."""


def _is_0d_mask(item: Any) -> bool:
    return isinstance(item, _Mask) and item.mask.ndim == 0


def _getitem(x: Any, index: Any) -> Any:
    """``x[index]`` in all of NumPy's forms; masks are resolved when the program is traced."""
    basic = _basic(x.shape, index if type(index) is tuple else (index,))
    if basic is not None:
        return x if all(item is _ALL for item in basic) else getitem_p(x, index=basic)
    static: list[Any] = []
    arrays: list[Any] = []
    axis = 0
    items = _expanded(index, x.ndim)
    # A single boolean is an index into a new axis of length 1: array([0]), or for False array([]).
    axes = [item for item in items if item is not None and item is not Ellipsis]
    single = [i for i, item in enumerate(axes) if _is_0d_mask(item)]
    x = np.expand_dims(x, tuple(single)) if single else x
    for item in items:
        if item is None or item is Ellipsis:
            static.append(item)
            continue
        size = x.shape[axis]
        if _is_0d_mask(item):
            item = np.zeros(int(item.mask), np.intp)
        if isinstance(item, _Mask):
            covered = x.shape[axis : axis + item.mask.ndim]
            if item.mask.shape != covered:
                raise IndexError(
                    f"boolean index did not match indexed array: its shape is {item.mask.shape}, "
                    f"the array's axes are {covered}"
                )
            places = np.nonzero(item.mask)
            static += [ARRAY] * len(places)
            arrays += places
        elif isinstance(item, slice):
            static.append(_canonical(item, size))
        elif isinstance(item, int):
            if not -size <= item < size:
                raise IndexError(f"index {item} is out of bounds for axis {axis} with size {size}")
            static.append(item % size)
        elif not isinstance(item, _MaskAxis):
            static.append(ARRAY)
            arrays.append(item)
        axis += 1
    if Ellipsis in static and not _keeps_apart(static):
        static.remove(Ellipsis)
    if all(item is None or (isinstance(item, slice) and item == slice(None)) for item in static):
        # Only new axes: the adjoint of a reshape writes no zeros.
        sizes = iter(x.shape)
        return x.reshape(tuple([1 if item is None else next(sizes) for item in static]))
    return getitem_p(x, *arrays, index=tuple(static))


def _basic(shape: tuple[int, ...], items: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The canonical index, the short way, if it is one of slices and of integers in range."""
    if len(items) > len(shape):
        return None
    static: list[Any] = []
    for item, size in zip(items, shape, strict=False):
        if type(item) is slice:
            static.append(_canonical(item, size))
        elif type(item) is int and -size <= item < size:
            static.append(item % size)
        else:
            return None
    return *static, *[_ALL] * (len(shape) - len(items))


def _keeps_apart(static: list[Any]) -> bool:
    place = static.index(Ellipsis)
    return all(any(map(_is_advanced, part)) for part in (static[:place], static[place + 1 :]))


_ALL = slice(None)


def _canonical(item: slice, size: int) -> slice:
    """The slice with its bounds resolved, so that equal reads are one node."""
    return _resolved(*item.indices(size), size)


@lru_cache(maxsize=1024)
def _resolved(start: int, stop: int, step: int, size: int) -> slice:
    length = len(range(start, stop, step))
    if length == 0:
        return slice(0, 0)
    if length == size and step == 1:
        return _ALL
    return slice(start, stop if stop >= 0 else None, step)


answer(operator.getitem, _getitem)
