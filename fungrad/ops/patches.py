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
_CACHE = 1 << 21
"""Bytes of columns at a time: what is near to a core."""


def counts(sizes: Sizes, size: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    """How many patches there are along each axis."""
    axes = zip(sizes, size, stride, dilation, strict=True)
    return tuple([(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes])


def _view(
    x: Any, size: Sizes, stride: Sizes, dilation: Sizes, behind: int = 0, writeable: bool = False
) -> Any:
    """All patches of ``x``: its leading axes, the axes within a patch, their places, ``behind``."""
    stop = x.ndim - behind
    start = stop - len(size)
    steps = x.strides[start:stop]
    places = counts(x.shape[start:stop], size, stride, dilation)
    within = [step * d for step, d in zip(steps, dilation, strict=True)]
    between = [step * s for step, s in zip(steps, stride, strict=True)]
    shape = (*x.shape[:start], *size, *places, *x.shape[stop:])
    strides = (*x.strides[:start], *within, *between, *x.strides[stop:])
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
    number = counts(sizes, size, stride, (1,) * rank)
    apart = all(k <= s for k, s in zip(size, stride, strict=True))
    covered = apart and all(k * n == m for k, n, m in zip(size, number, sizes, strict=True))
    out = (np.empty if covered else np.zeros)((*ct.shape[1:-rank], *sizes), ct.dtype)
    view = _view(out, size, stride, (1,) * rank, writeable=True)
    for part, offset in zip(ct, product(*map(range, size)), strict=True):
        target = view[(..., *offset, *[slice(None)] * rank)]
        if apart:  # each entry is in one window at most
            target[...] = part
        else:
            target += part
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


_RUN = 5
"""As many entries are moved to other places in the time that starting a run of entries takes."""


def _chunks(count: int, entries: int, itemsize: int) -> Iterator[slice]:
    """So many examples at a time that their columns, ``entries`` in all, fit in a cache."""
    each = entries // max(count, 1) * itemsize
    step = max(1, _CACHE // max(each, 1))
    return (slice(start, start + step) for start in range(0, count, step))


def _pays(entries: int, places: Sizes, *moved: Sizes) -> bool:
    """Whether to move examples behind all other axes, so that columns are copied in long runs.

    Otherwise a run is a row of places, which may be few.
    """
    return _RUN * entries > places[-1] * sum([math.prod(shape) for shape in moved])


def _last(examples: Any) -> Any:
    """Examples ``(n, ...)`` as a new array ``(..., n)``."""
    flat = examples.reshape((len(examples), math.prod(examples.shape[1:])))
    return np.ascontiguousarray(flat.T).reshape((*examples.shape[1:], len(examples)))


def _columns(x: Any, size: Sizes, stride: Sizes, dilation: Sizes, last: bool) -> Any:
    """The patches of examples ``(n, G, C, ...)`` as columns of one matrix for each group."""
    groups, channels = x.shape[1:3]
    if last:
        patches = _view(_last(x), size, stride, dilation, behind=1)
    else:
        patches = np.moveaxis(_view(x, size, stride, dilation), 0, 2 + len(size))
    taps = channels * math.prod(size)
    return patches.reshape((groups, taps, math.prod(patches.shape[2 + len(size) :])))


def _matrices(examples: Any, last: bool) -> Any:
    """Examples ``(n, G, O, ...)`` as one matrix for each group, with columns like ``_columns``."""
    moved = _last(examples) if last else np.moveaxis(examples, 0, 2)
    return moved.reshape((*moved.shape[:2], math.prod(moved.shape[2:])))


def conv_value(x: Any, kernel: Any, stride: Sizes, dilation: Sizes) -> Any:
    """``y[n, g, o, p] = sum over c, k of kernel[g, o, c, k] x[n, g, c, stride p + dilation k]``."""
    (groups, channels), size = kernel.shape[:2], kernel.shape[3:]
    places = counts(x.shape[3:], size, stride, dilation)
    rows = kernel.reshape((groups, channels, math.prod(kernel.shape[2:])))
    out = np.empty((len(x), groups, channels, *places), np.result_type(x, kernel))
    entries = len(x) * groups * rows.shape[2] * math.prod(places)
    last = _pays(entries, places, x.shape, out.shape)
    for chunk in _chunks(len(x), entries, x.itemsize):
        part = x[chunk]
        result = rows @ _columns(part, size, stride, dilation, last)
        if last:
            result = result.reshape((groups, channels, *places, len(part)))
        else:
            result = result.reshape((groups, channels, len(part), *places))
        out[chunk] = np.moveaxis(result, -1 if last else 2, 0)
    return out


def conv_input_value(ct: Any, kernel: Any, stride: Sizes, dilation: Sizes, sizes: Sizes) -> Any:
    """The transpose of ``conv_value`` as a function of ``x``, whose spatial axes are ``sizes``."""
    (groups, channels), size = kernel.shape[:2], kernel.shape[3:]
    out = np.empty((len(ct), groups, kernel.shape[2], *sizes), np.result_type(ct, kernel))
    rows = kernel.reshape((groups, channels, math.prod(kernel.shape[2:]))).mT
    entries = len(ct) * groups * rows.shape[1] * math.prod(ct.shape[3:])
    for chunk in _chunks(len(ct), entries, out.itemsize):
        part = ct[chunk]
        moved = np.zeros((*out.shape[1:], len(part)), out.dtype)
        target = _view(moved, size, stride, dilation, behind=1, writeable=True)
        columns = (rows @ _matrices(part, last=True)).reshape(target.shape)
        for offset in product(*map(range, size)):
            target[:, :, *offset] += columns[:, :, *offset]
        out[chunk] = np.moveaxis(moved, -1, 0)
    return out


def conv_kernel_value(x: Any, ct: Any, stride: Sizes, dilation: Sizes, size: Sizes) -> Any:
    """The transpose of ``conv_value`` as a function of the kernel, whose windows are ``size``."""
    (_, groups, channels), places = x.shape[:3], ct.shape[3:]
    taps = channels * math.prod(size)
    out = np.zeros((groups, taps, ct.shape[2]), np.result_type(x, ct))
    entries = len(x) * groups * taps * math.prod(places)
    last = _pays(entries, places, x.shape, ct.shape)
    for chunk in _chunks(len(x), entries, x.itemsize):
        columns = _columns(x[chunk], size, stride, dilation, last)
        out += columns @ _matrices(ct[chunk], last).mT  # BLAS likes more rows than columns
    return np.ascontiguousarray(out.mT).reshape((groups, ct.shape[2], channels, *size))


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
