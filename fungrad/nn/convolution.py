"""Convolution and pooling of sequences, images and volumes: channels first, then spatial axes."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from fungrad.errors import ShapeMismatchError
from fungrad.nn._operands import floating
from fungrad.ops.patches import Sizes, conv_p, counts, patches_p


def conv(
    x: Any,
    kernel: Any,
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    r"""Convolution with learnt kernels, over as many spatial axes as a kernel has.

    For one spatial axis, without padding, with stride :math:`s` and dilation :math:`d`,
    :math:`y_{o, p} = \sum_{c, k} w_{o, c, k} x_{c, s p + d k}`. As everywhere in deep learning the
    kernel is not flipped, so this is what ``np.correlate`` computes, not ``np.convolve``.

    Axes are channels first ("NCHW"): examples, channels, then spatial axes. To add a bias of shape
    ``(o,)`` to images, write ``conv(x, kernel) + bias[:, None, None]``.

    Args:
        x: real array of shape ``(..., c, h, w)`` for images, ``(..., c, n)`` for sequences.
        kernel: real array of shape ``(o, c / groups, kh, kw)`` or ``(o, c / groups, k)``, with
            ``o`` output channels; its rank decides how many axes are spatial.
        stride: by how much the kernel moves on: a positive integer, or one for each spatial axis.
        padding: zeros around ``x``. ``"valid"``: none; ``"same"``: so many that the output has
            ``ceil(n / stride)`` entries, the odd one at the end; or how many at both ends: an
            integer, one for each spatial axis, or for each axis a pair (before, after).
        dilation: the distance between the entries that a kernel reads: a positive integer, or one
            for each spatial axis.
        groups: into how many parts the channels are divided; each part of the output sees its part
            of the input only. ``groups=c`` is a depthwise convolution.

    Returns:
        Array of shape ``(..., o, h', w')``, where ``h'`` is
        ``(h + padding - dilation * (kh - 1) - 1) // stride + 1``.

    Raises:
        ShapeMismatchError: channels that do not match, or a kernel that does not fit into ``x``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> x, difference = np.array([[1.0, 4.0, 9.0, 16.0]]), np.array([[[-1.0, 1.0]]])
        >>> fg.nn.conv(x, difference)
        array([[3., 5., 7.]])
        >>> fg.nn.conv(np.ones((10, 3, 28, 28)), np.ones((8, 3, 5, 5)), padding="same").shape
        (10, 8, 28, 28)

    References:
        Dumoulin, Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285.
    """
    x, kernel = floating(x), floating(kernel)
    rank = kernel.ndim - 2
    if rank < 1 or x.ndim <= rank:
        raise _mismatch(x, kernel, "write: x of shape (..., c, h, w), kernel of (o, c, kh, kw)")
    channels, size = kernel.shape[1], kernel.shape[2:]
    if x.shape[-rank - 1] != channels * groups or kernel.shape[0] % groups:
        raise _mismatch(
            x,
            kernel,
            f"for groups={groups}, axis {-rank - 1} of x must be {groups} times axis 1 of the "
            f"kernel, and axis 0 of the kernel a multiple of {groups}",
        )
    strides, dilations = _sizes(stride, rank, "stride"), _sizes(dilation, rank, "dilation")
    x = _padded(x, _widths(padding, x.shape[-rank:], size, strides, dilations), 0)
    if min(counts(x.shape[-rank:], size, strides, dilations)) < 1:
        raise _mismatch(x, kernel, "the kernel is larger than the (padded) x; write: padding=")
    lead = x.shape[: -rank - 1]
    images = x.reshape((math.prod(lead), groups, channels, *x.shape[-rank:]))
    kernels = kernel.reshape((groups, kernel.shape[0] // groups, channels, *size))
    out = conv_p(images, kernels, stride=strides, dilation=dilations)
    return out.reshape((*lead, kernel.shape[0], *out.shape[3:]))


def max_pool(x: Any, window: Any, *, stride: Any = None, padding: Any = "valid") -> Any:
    """The largest entry in each window; of equal ones, each gets its share of the derivative.

    Args:
        x: real array of shape ``(..., h, w)`` for images.
        window: the lengths of the window along the last axes, one for each: ``(2, 2)`` for images.
        stride: by how much the window moves on: a positive integer, or one for each axis;
            ``None`` for windows side by side.
        padding: as in ``conv``, with entries that never are the largest.

    Returns:
        Array of shape ``(..., h', w')``, where ``h'`` is ``(h + padding - window) // stride + 1``.

    Raises:
        ShapeMismatchError: a window that does not fit into ``x``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.max_pool(np.arange(16.0).reshape(4, 4), (2, 2))
        array([[ 5.,  7.],
               [13., 15.]])
    """
    x = floating(x)
    size, strides, widths = _pooling(x, window, stride, padding)
    return np.max(patches_p(_padded(x, widths, -np.inf), size=size, stride=strides), axis=0)


def avg_pool(x: Any, window: Any, *, stride: Any = None, padding: Any = "valid") -> Any:
    """The mean of each window.

    Args:
        x: real array of shape ``(..., h, w)`` for images.
        window: the lengths of the window along the last axes, one for each: ``(2, 2)`` for images.
        stride: by how much the window moves on: a positive integer, or one for each axis;
            ``None`` for windows side by side.
        padding: as in ``conv``. The mean is that of the entries of ``x`` in the window: padding
            does not count.

    Returns:
        Array of shape ``(..., h', w')``, where ``h'`` is ``(h + padding - window) // stride + 1``.

    Raises:
        ShapeMismatchError: a window that does not fit into ``x``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.nn.avg_pool(np.arange(16.0).reshape(4, 4), (2, 2))
        array([[ 2.5,  4.5],
               [10.5, 12.5]])
    """
    x = floating(x)
    size, strides, widths = _pooling(x, window, stride, padding)
    total = np.sum(patches_p(_padded(x, widths, 0), size=size, stride=strides), axis=0)
    if not any(map(any, widths)):
        return total / math.prod(size)
    ones = _padded(np.ones(x.shape[-len(size) :], x.dtype), widths, 0)
    return total / np.sum(patches_p(ones, size=size, stride=strides), axis=0)


# --- reading the arguments -----------------------------------------------------------------------


def _mismatch(x: Any, kernel: Any, remedy: str) -> ShapeMismatchError:
    return ShapeMismatchError(
        f"conv: x of shape {x.shape} and kernel of shape {kernel.shape} do not go together; {remedy}"
    )


def _sizes(value: Any, rank: int, name: str) -> Sizes:
    """A positive integer, or one for each axis: one for each axis."""
    sizes = tuple(map(operator.index, value if np.iterable(value) else (value,) * rank))
    if len(sizes) != rank or any(n < 1 for n in sizes):
        raise ValueError(
            f"{name} must be a positive integer, or one for each of {rank} axes: not {value!r}"
        )
    return sizes


def _widths(
    padding: Any, sizes: Sizes, size: Sizes, stride: Sizes, dilation: Sizes
) -> list[tuple[int, int]]:
    """How many entries to add before and after each spatial axis."""
    rank = len(sizes)
    if isinstance(padding, str):
        if padding not in ("valid", "same"):
            raise ValueError(f"padding must be 'valid', 'same' or integers, not {padding!r}")
        if padding == "valid":
            return [(0, 0)] * rank
        spans = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
        axes = zip(sizes, spans, stride, strict=True)
        missing = [max((-(-n // s) - 1) * s + span - n, 0) for n, span, s in axes]
        return [(n // 2, n - n // 2) for n in missing]
    pads = padding if np.iterable(padding) else (padding,) * rank
    widths = [tuple(map(operator.index, p if np.iterable(p) else (p, p))) for p in pads]
    if len(widths) != rank or any(len(w) != 2 or min(w) < 0 for w in widths):
        raise ValueError(
            f"padding must be 'valid', 'same', an integer, or an integer or a pair for each of "
            f"{rank} axes: not {padding!r}"
        )
    return [(before, after) for before, after in widths]


def _padded(x: Any, widths: list[tuple[int, int]], value: float) -> Any:
    """``x`` with ``value`` around its last axes."""
    if not any(map(any, widths)):
        return x
    rest = [(0, 0)] * (x.ndim - len(widths))
    return np.pad(x, [*rest, *widths], constant_values=value)


def _pooling(
    x: Any, window: Any, stride: Any, padding: Any
) -> tuple[Sizes, Sizes, list[tuple[int, int]]]:
    """The window, its strides, and the padding around the last axes."""
    if not np.iterable(window):
        raise TypeError(
            f"window must be one length for each spatial axis; write: ({window}, {window}) for "
            f"images, ({window},) for sequences"
        )
    size = _sizes(window, len(tuple(window)), "window")
    rank = len(size)
    strides = size if stride is None else _sizes(stride, rank, "stride")
    if not 0 < rank <= x.ndim:
        raise ShapeMismatchError(f"pooling: a window {size} for an x of shape {x.shape}")
    ones = (1,) * rank
    widths = _widths(padding, x.shape[-rank:], size, strides, ones)
    if any(max(pair) >= n for pair, n in zip(widths, size, strict=True)):
        raise ValueError(
            f"padding {padding!r} is as large as the window {size}: windows would be empty"
        )
    padded = tuple([n + sum(pair) for n, pair in zip(x.shape[-rank:], widths, strict=True)])
    if min(counts(padded, size, strides, ones)) < 1:
        raise ShapeMismatchError(
            f"pooling: the window {size} does not fit into x of shape {x.shape}; write: padding="
        )
    return size, strides, widths
