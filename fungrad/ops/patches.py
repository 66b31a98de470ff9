"""Patches of images: convolution with learnt kernels, and what pooling is made of.

The spatial axes are the last ones. A patch is what a window sees: as many entries along each
spatial axis as ``size`` says, ``dilation`` apart; the next patch is ``stride`` further.

Images have axes ``(N, G, C, ...)``, kernels ``(G, O, C, ...)`` and outputs ``(N, G, O, ...)``:
examples, groups, input channels, output channels. The convolution and its two derivatives are three
bilinear primitives, each of which contracts one of the axes ``N``, ``C`` and ``O``, and which are
each other's derivatives. All of them are matrix products with the patches as columns ("im2col":
Chellapilla, Puri, Simard, High performance convolutional neural networks for document processing,
IWFHR 2006), built for as many examples at a time as fit in a cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._primitive import Primitive, primitive

Sizes = tuple[int, ...]
_CACHE = 1 << 22
"""Bytes of columns at a time."""


def counts(sizes: Sizes, size: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """How many patches there are along each axis."""
    axes = zip(sizes, size, stride, dilation, strict=True)
    return tuple([(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes])


def _view(x: Any, size: Sizes, stride: Sizes, dilation: Sizes, writeable: bool = False) -> Any:
    """All patches of ``x``: its leading axes, then the axes within a patch, then their places."""
    rank = len(size)
    steps = x.strides[-rank:]
    shape = (*x.shape[:-rank], *size, *counts(x.shape[-rank:], size, stride, dilation))
    within = [step * d for step, d in zip(steps, dilation, strict=True)]
    between = [step * s for step, s in zip(steps, stride, strict=True)]
    strides = (*x.strides[:-rank], *within, *between)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=writeable)


# --- patches side by side ------------------------------------------------------------------------


def patches_value(x: Any, size: Sizes, stride: Sizes) -> Any:
    """A leading axis for the entry within a patch; then the axes of ``x``, now of patches."""
    rank, view = len(size), _view(x, size, stride, (1,) * len(size))
    lead = view.ndim - 2 * rank
    moved = np.moveaxis(view, range(lead, lead + rank), range(rank))
    return np.array(moved, order="C").reshape((math.prod(size), *moved.shape[rank:]))


def patch_sum_value(ct: Any, size: Sizes, stride: Sizes, sizes: Sizes) -> Any:
    """The transpose of ``patches_value``: every entry is the sum of its places in all patches."""
    rank = len(size)
    out = np.zeros((*ct.shape[1:-rank], *sizes), ct.dtype)
    view = _view(out, size, stride, (1,) * rank, writeable=True)
    for part, offset in zip(ct, product(*map(range, size)), strict=True):
        view[(..., *offset, *[slice(None)] * rank)] += part
    return out


def _patches_aval(x: Aval, size: Sizes, stride: Sizes) -> Aval:
    rank = len(size)
    number = counts(x.shape[-rank:], size, stride, (1,) * rank)
    return make_aval((math.prod(size), *x.shape[:-rank], *number), x.dtype)


patches_p: Primitive = primitive(
    "patches",
    value=patches_value,
    aval=_patches_aval,
    vjp=lambda ct, y, x, size, stride: (
        patch_sum_p(ct, size=size, stride=stride, sizes=x.shape[-len(size) :]),
    ),
    batch=lambda batched, n, x, size, stride: np.moveaxis(
        patches_p(x, size=size, stride=stride), 1, 0
    ),
    fresh=True,
)

patch_sum_p: Primitive = primitive(
    "patch_sum",
    value=patch_sum_value,
    aval=lambda ct, size, stride, sizes: make_aval((*ct.shape[1 : -len(size)], *sizes), ct.dtype),
    vjp=lambda ct, y, x, size, stride, sizes: (patches_p(ct, size=size, stride=stride),),
    batch=lambda batched, n, ct, size, stride, sizes: patch_sum_p(
        np.moveaxis(ct, 0, 1), size=size, stride=stride, sizes=sizes
    ),
    fresh=True,
)

# --- convolution ---------------------------------------------------------------------------------


def _chunks(x: Any, columns: Any) -> Iterator[slice]:
    """The examples of ``x``, so many at a time that their columns fit in a cache."""
    each = columns.size // max(len(x), 1) * columns.itemsize
    step = max(1, _CACHE // max(each, 1))
    return (slice(start, start + step) for start in range(0, len(x), step))


def _matrices(examples: Any, rows: int, depth: int) -> Any:
    """Examples ``(n, G, ...)`` as one matrix for each group, whose columns run over them too."""
    moved = np.moveaxis(examples, 0, depth)
    return moved.reshape((moved.shape[0], rows, math.prod(moved.shape[depth:])))


def conv_value(x: Any, kernel: Any, stride: Sizes, dilation: Sizes) -> Any:
    """``y[n, g, o, p] = sum over c, k of kernel[g, o, c, k] x[n, g, c, stride p + dilation k]``."""
    rank, (groups, channels) = len(stride), kernel.shape[:2]
    view = _view(x, kernel.shape[3:], stride, dilation)
    places = view.shape[-rank:]
    taps = math.prod(kernel.shape[2:])
    rows = kernel.reshape((groups, channels, taps))
    out = np.empty((len(x), groups, channels, *places), np.result_type(x, kernel))
    for chunk in _chunks(x, view):
        result = rows @ _matrices(view[chunk], taps, 2 + rank)
        result = result.reshape((groups, channels, len(out[chunk]), *places))
        out[chunk] = np.moveaxis(result, 2, 0)
    return out


def conv_input_value(ct: Any, kernel: Any, stride: Sizes, dilation: Sizes, sizes: Sizes) -> Any:
    """The transpose of ``conv_value`` as a function of ``x``, whose spatial axes are ``sizes``."""
    rank, (groups, channels) = len(stride), kernel.shape[:2]
    out = np.zeros((len(ct), groups, kernel.shape[2], *sizes), np.result_type(ct, kernel))
    view = _view(out, kernel.shape[3:], stride, dilation, writeable=True)
    rows = kernel.reshape((groups, channels, math.prod(kernel.shape[2:]))).mT
    offsets = list(product(*map(range, kernel.shape[3:])))
    for chunk in _chunks(ct, view):
        target = view[chunk]
        columns = rows @ _matrices(ct[chunk], channels, 2)
        columns = columns.reshape((*target.shape[1 : 3 + rank], len(target), *ct.shape[3:]))
        columns = np.moveaxis(columns, 2 + rank, 0)
        for offset in offsets:
            target[:, :, :, *offset] += columns[:, :, :, *offset]
    return out


def conv_kernel_value(x: Any, ct: Any, stride: Sizes, dilation: Sizes, size: Sizes) -> Any:
    """The transpose of ``conv_value`` as a function of the kernel, whose windows are ``size``."""
    rank, (_, groups, channels) = len(stride), x.shape[:3]
    view = _view(x, size, stride, dilation)
    taps = channels * math.prod(size)
    out = np.zeros((groups, ct.shape[2], taps), np.result_type(x, ct))
    for chunk in _chunks(x, view):
        columns = _matrices(view[chunk], taps, 2 + rank)
        out += _matrices(ct[chunk], ct.shape[2], 2) @ columns.mT
    return out.reshape((groups, ct.shape[2], channels, *size))


def _conv_aval(x: Aval, kernel: Aval, stride: Sizes, dilation: Sizes) -> Aval:
    places = counts(x.shape[3:], kernel.shape[3:], stride, dilation)
    return make_aval(
        (*x.shape[:2], kernel.shape[1], *places), np.result_type(x.dtype, kernel.dtype)
    )


def _conv_input_aval(ct: Aval, kernel: Aval, stride: Sizes, dilation: Sizes, sizes: Sizes) -> Aval:
    return make_aval(
        (*ct.shape[:2], kernel.shape[2], *sizes), np.result_type(ct.dtype, kernel.dtype)
    )


def _conv_kernel_aval(x: Aval, ct: Aval, stride: Sizes, dilation: Sizes, size: Sizes) -> Aval:
    return make_aval(
        (x.shape[1], ct.shape[2], x.shape[2], *size), np.result_type(x.dtype, ct.dtype)
    )


def _batching(record: Callable[..., Any], first: str, second: str, result: str) -> Any:
    """The batch rule of a product whose operands and result have axes of these names.

    Examples of one operand are more entries of the axis that it alone shares with the result;
    examples of both are more groups.
    """

    def batch(batched: tuple[bool, bool], count: int, a: Any, b: Any, **static: Any) -> Any:
        if all(batched):
            axis = "G"
        else:
            inside, outside = (first, second) if batched[0] else (second, first)
            axis = next(name for name in inside if name in result and name not in outside)
        operands, length = [], 0
        for x, names, flag in zip((a, b), (first, second), batched, strict=True):
            place = names.index(axis) if axis in names else 0
            length = x.shape[1 + place] if flag else length
            operands.append(_folded(x, place) if flag else x)
        out, place = record(*operands, **static), result.index(axis)
        split = (*out.shape[:place], count, length, *out.shape[place + 1 :])
        return np.moveaxis(out.reshape(split), place, 0)

    return batch


def _folded(x: Any, axis: int) -> Any:
    """The leading axis merged into another one."""
    moved = np.moveaxis(x, 0, axis)
    merged = moved.shape[axis] * moved.shape[axis + 1]
    return moved.reshape((*moved.shape[:axis], merged, *moved.shape[axis + 2 :]))


conv_p: Primitive = primitive(
    "conv",
    value=conv_value,
    aval=_conv_aval,
    vjp=lambda ct, y, x, kernel, stride, dilation: (
        conv_input_p(ct, kernel, stride=stride, dilation=dilation, sizes=x.shape[3:]),
        conv_kernel_p(x, ct, stride=stride, dilation=dilation, size=kernel.shape[3:]),
    ),
    batch=_batching(lambda *operands, **static: conv_p(*operands, **static), "NGC", "GOC", "NGO"),
    fresh=True,
)

conv_input_p: Primitive = primitive(
    "conv_input",
    value=conv_input_value,
    aval=_conv_input_aval,
    vjp=lambda ct, y, of, kernel, stride, dilation, sizes: (
        conv_p(ct, kernel, stride=stride, dilation=dilation),
        conv_kernel_p(ct, of, stride=stride, dilation=dilation, size=kernel.shape[3:]),
    ),
    batch=_batching(
        lambda *operands, **static: conv_input_p(*operands, **static), "NGO", "GOC", "NGC"
    ),
    fresh=True,
)

conv_kernel_p: Primitive = primitive(
    "conv_kernel",
    value=conv_kernel_value,
    aval=_conv_kernel_aval,
    vjp=lambda ct, y, x, of, stride, dilation, size: (
        conv_input_p(of, ct, stride=stride, dilation=dilation, sizes=x.shape[3:]),
        conv_p(x, ct, stride=stride, dilation=dilation),
    ),
    batch=_batching(
        lambda *operands, **static: conv_kernel_p(*operands, **static), "NGC", "NGO", "GOC"
    ),
    fresh=True,
)
