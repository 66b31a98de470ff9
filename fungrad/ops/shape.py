"""Primitives that move, copy or convert entries: ``reshape``, ``transpose``, ``concatenate``."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from fungrad._aval import Aval, make_aval
from fungrad._primitive import ZERO, Unwritten, answers, implements, primitive
from fungrad._tracer import Tracer, concrete_array
from fungrad.errors import ShapeMismatchError

# --- what all families need ----------------------------------------------------------------------


def arraylike(x: Any) -> Any:
    """``x`` itself if it is an array, traced or not; else, a number too, as an array."""
    if isinstance(x, Tracer):
        return x.astype(x.dtype) if x.aval.weak else x
    return x if isinstance(x, np.ndarray) else concrete_array(x)


def along(axis: int, item: Any) -> tuple[Any, ...]:
    """The index that applies ``item`` to one axis: ``x[along(1, item)]`` is ``x[:, item]``."""
    return (*[slice(None)] * axis, item)


def flipped(x: Any, axis: int) -> Any:
    """``x`` backwards along an axis."""
    return x[along(axis, slice(None, None, -1))]


# --- reshape ---------------------------------------------------------------------------------

reshape_p = primitive(
    "reshape",
    value="{0}.reshape({shape})",
    aval=lambda x, shape: make_aval(shape, x.dtype),
    vjp=lambda ct, y, x, shape: (ct.reshape(x.shape),),
    batch=lambda batched, size, x, shape: x.reshape((size, *shape)),
    view=True,
)


@implements(np.reshape)
def reshape(a: Any, shape: Any, order: str = "C", copy: Any = None) -> Any:
    """``np.reshape``; column-major order reads and writes the axes backwards."""
    a, new = arraylike(a), _completed(a.shape, shape)
    if order == "F":
        return a.transpose().reshape(new[::-1]).transpose()
    if order not in ("C", "A"):
        raise ValueError(f"order must be one of 'C', 'F' or 'A', not {order!r}")
    return a if new == a.shape else reshape_p(a, shape=new)


def _completed(old: tuple[int, ...], shape: Any) -> tuple[int, ...]:
    """The new shape with -1 replaced, after NumPy's checks."""
    plain = type(shape) is tuple and all(type(n) is int and n > 0 for n in shape)
    if plain and math.prod(shape) == math.prod(old):
        return tuple(shape)
    sizes = [operator.index(n) for n in (shape if np.iterable(shape) else (shape,))]
    total, known = math.prod(old), math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known and total % known == 0:
        sizes[sizes.index(-1)] = total // known
    if -1 in sizes or math.prod(sizes) != total:
        raise ShapeMismatchError(
            f"reshape: {total} entries of shape {old} can't take the shape {tuple(sizes)}; "
            "write: a shape with the same number of entries, -1 in one place at most"
        )
    return tuple(sizes)


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    """``np.ravel``, ``x.ravel()`` and ``x.flatten()``."""
    return a.reshape((a.size,), order="C" if order == "K" else order)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """``np.expand_dims``."""
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    rank = a.ndim + len(axes)
    places = normalize_axis_tuple(axes, rank)
    sizes = iter(a.shape)
    shape = tuple([1 if i in places else next(sizes) for i in range(rank)])
    return reshape_p(arraylike(a), shape=shape) if axes else a


@implements(np.squeeze)
def squeeze(a: Any, axis: Any = None) -> Any:
    """``np.squeeze``."""
    if axis is None:
        return a.reshape(tuple([n for n in a.shape if n != 1]))
    places = normalize_axis_tuple(axis, a.ndim)
    if any(a.shape[i] != 1 for i in places):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return a.reshape(tuple([n for i, n in enumerate(a.shape) if i not in places]))


def _answer_atleast(function: Any, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    """``before[n]`` and ``after[n]``: how many axes are put around the ``n`` of an array."""

    @implements(function)
    def atleast(*arrays: Any) -> Any:
        out = []
        for x in [arraylike(x) for x in arrays]:
            around = (before[x.ndim], after[x.ndim]) if x.ndim < len(before) else (0, 0)
            out.append(x.reshape(((1,) * around[0]) + x.shape + ((1,) * around[1])))
        return out[0] if len(out) == 1 else tuple(out)


_answer_atleast(np.atleast_1d, (1,), (0,))
_answer_atleast(np.atleast_2d, (2, 1), (0, 0))
_answer_atleast(np.atleast_3d, (2, 1, 0), (1, 1, 1))


# --- transpose -------------------------------------------------------------------------------

transpose_p = primitive(
    "transpose",
    value="{0}.transpose({axes})",
    aval=lambda x, axes: make_aval(tuple([x.shape[i] for i in axes]), x.dtype),
    vjp=lambda ct, y, x, axes: (ct.transpose(sorted(range(len(axes)), key=axes.__getitem__)),),
    batch=lambda batched, size, x, axes: x.transpose((0, *[i + 1 for i in axes])),
    view=True,
)


@implements(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Any = None) -> Any:
    """``np.transpose``."""
    a = arraylike(a)
    identity = tuple(range(a.ndim))
    order = identity[::-1] if axes is None else normalize_axis_tuple(axes, a.ndim)
    if len(order) != a.ndim:
        raise ValueError("axes don't match array")
    return a if order == identity else transpose_p(a, axes=order)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """``np.swapaxes``."""
    order = list(range(a.ndim))
    i, j = normalize_axis_index(axis1, a.ndim), normalize_axis_index(axis2, a.ndim)
    order[i], order[j] = j, i
    return a if i == j else transpose_p(arraylike(a), axes=tuple(order))


@implements(np.matrix_transpose, np.linalg.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    """``np.matrix_transpose``, ``x.mT``: the last two axes swapped."""
    return swapaxes(x, -1, -2)


@implements(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """``np.moveaxis``."""
    sources = normalize_axis_tuple(source, a.ndim)
    places = normalize_axis_tuple(destination, a.ndim)
    if len(sources) != len(places):
        raise ValueError("`source` and `destination` arguments must have the same number of axes")
    rest = iter([i for i in range(a.ndim) if i not in sources])
    moved = dict(zip(places, sources, strict=True))
    return a.transpose([moved[i] if i in moved else next(rest) for i in range(a.ndim)])


# --- broadcast_to ----------------------------------------------------------------------------


def _batch_broadcast_to(batched: Any, size: int, x: Any, *, shape: tuple[int, ...]) -> Any:
    padding = (1,) * (len(shape) + 1 - x.ndim)
    return broadcast_to_p(x.reshape((size, *padding, *x.shape[1:])), shape=(size, *shape))


broadcast_to_p = primitive(
    "broadcast_to",
    value="np.broadcast_to({0}, {shape})",
    aval=lambda x, shape: make_aval(shape, x.dtype),
    vjp=lambda ct, y, x, shape: (ct,),  # the engine sums over what was broadcast
    batch=_batch_broadcast_to,
    view=True,
)


@implements(np.broadcast_to)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """``np.broadcast_to``."""
    array = arraylike(array)
    new = tuple([operator.index(n) for n in (shape if np.iterable(shape) else (shape,))])
    kept = new[len(new) - array.ndim :] if len(new) >= array.ndim else None
    if kept is None or any(m not in (1, n) for m, n in zip(array.shape, kept, strict=True)):
        raise ShapeMismatchError(
            f"broadcast_to: an array of shape {array.shape} can't be broadcast to {new}; write: a "
            "shape that ends in the array's own, where its axes of length 1 may grow"
        )
    return array if new == array.shape else broadcast_to_p(array, shape=new)


# --- astype ----------------------------------------------------------------------------------


astype_p = primitive(
    "astype",
    value="{0}.astype({dtype})",
    aval=lambda x, dtype: make_aval(x.shape, dtype),
    vjp=lambda ct, y, x, dtype: (ct,),  # the engine casts back
    batch=lambda batched, size, x, dtype: x.astype(dtype),
    fresh=True,
    analytic=False,
)


def number_value(x: Any, *, dtype: np.dtype[Any]) -> Any:
    """A Python integer as ``dtype``; NumPy's ``OverflowError`` if it does not fit."""
    return dtype.type(int(x))


number_p = primitive(
    "number",
    value=number_value,
    aval=lambda x, dtype: make_aval((), dtype),
    vjp=ZERO,
    batch=Unwritten("Python numbers are the same for all examples"),
    fresh=True,
)


@implements(np.ndarray.astype, *([np.astype] if hasattr(np, "astype") else []))
def astype(x: Any, dtype: Any, order: str = "K", casting: str = "unsafe", **_: Any) -> Any:
    """``x.astype(dtype)`` and ``np.astype``."""
    target = np.dtype(dtype)
    if casting == "unsafe" and target == x.dtype and not x.aval.weak:
        return x
    if not np.can_cast(x.dtype, target, casting):  # type: ignore[arg-type]
        raise TypeError(f"cannot cast from {x.dtype} to {target} by the rule {casting!r}")
    if x.aval.weak and x.dtype.kind == "i" and target.kind in "iu":
        return number_p(x, dtype=target)
    return x if target == x.dtype and not x.aval.weak else astype_p(x, dtype=target)


def cast_like(x: Any, aval: Aval) -> Any:
    """A traced ``x`` in the dtype of ``aval``, and as weak as a Python number if that is."""
    cast = x.astype(aval.dtype)
    if aval.weak and not cast.aval.weak:
        cast = cast._bind(answers[np.positive], (cast,), {}, True)
    return cast


@implements(np.copy)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    """``np.copy``: traced values are immutable, so the value itself, as an array."""
    return arraylike(a)


# --- concatenate -----------------------------------------------------------------------------


def concatenate_value(*arrays: Any, axis: int) -> Any:
    """``np.concatenate`` of operands."""
    return np.concatenate(arrays, axis)


def _concatenate_aval(*arrays: Aval, axis: int) -> Aval:
    first = arrays[0].shape
    rest = [a.shape[:axis] + a.shape[axis + 1 :] for a in arrays]
    if any(shape != rest[0] for shape in rest) or any(a.ndim != len(first) for a in arrays):
        raise ShapeMismatchError(
            f"concatenate: operands of shapes {' and '.join(str(a.shape) for a in arrays)} differ "
            f"outside of axis {axis}; write: operands that agree in all other axes"
        )
    total = sum(a.shape[axis] for a in arrays)
    return make_aval(
        (*first[:axis], total, *first[axis + 1 :]), np.result_type(*[a.dtype for a in arrays])
    )


def _concatenate_vjp(ct: Any, y: Any, *arrays: Any, axis: int) -> tuple[Any, ...]:
    parts, start = [], 0
    for array in arrays:
        stop = start + array.shape[axis]
        parts.append(ct[(*[slice(None)] * axis, slice(start, stop))])
        start = stop
    return tuple(parts)


def _concatenate_batch(batched: Any, size: int, *arrays: Any, axis: int) -> Any:
    pairs = zip(arrays, batched, strict=True)
    return concatenate_p(
        *[x if b else np.broadcast_to(x, (size, *x.shape)) for x, b in pairs], axis=axis + 1
    )


concatenate_p = primitive(
    "concatenate",
    value=concatenate_value,
    template=lambda operands, text, axis: f"np.concatenate(({', '.join(operands)},), {axis})",
    aval=_concatenate_aval,
    vjp=_concatenate_vjp,
    batch=_concatenate_batch,
    fresh=True,
)


@implements(np.concatenate)
def concatenate(arrays: Any, axis: Any = 0, dtype: Any = None, casting: str = "same_kind") -> Any:
    """``np.concatenate``."""
    operands = [arraylike(x) for x in arrays]
    if axis is None:
        operands, axis = [np.ravel(x) for x in operands], 0
    if dtype is not None:
        operands = [x.astype(dtype) for x in operands]
    if operands[0].ndim == 0:
        raise ValueError("zero-dimensional arrays cannot be concatenated; write: np.stack")
    return concatenate_p(*operands, axis=normalize_axis_index(axis, operands[0].ndim))


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, dtype: Any = None, casting: str = "same_kind") -> Any:
    """``np.stack``."""
    operands = [arraylike(x) for x in arrays]
    if any(x.shape != operands[0].shape for x in operands):
        raise ShapeMismatchError(
            f"stack: operands of shapes {' and '.join(str(x.shape) for x in operands)}; write: "
            "operands of one shape"
        )
    axis = normalize_axis_index(axis, operands[0].ndim + 1)
    return np.concatenate([np.expand_dims(x, axis) for x in operands], axis, dtype=dtype)
