"""Rows of the primitives behind ``fg.nn``."""

from __future__ import annotations

from typing import Any

import numpy as np
from mpmath import mp
from scipy import special

from fungrad.ops import activations as act
from fungrad.ops.patches import (
    conv_input_p,
    conv_kernel_p,
    conv_p,
    patch_sum_p,
    patches_p,
)
from fungrad.ops.softmax import exponentials_p, log_softmax_p, logsumexp_p, softmax_p
from tests._domains import (
    NUMBERS,
    REAL,
    Case,
    Function,
    Operand,
    Row,
    Shape,
    apart,
    away_from_zero,
    booleans,
    elementwise,
    third_derivative,
    unary,
    within,
)

FREE = within(-2.0, 2.0)
SMALL = within(-0.8, 0.8)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _smooth(record: Any, slope: Function, definition: Function) -> Row:
    """A row whose value is compared with itself in all ways to run it, and with a definition."""
    return unary(lambda x: record(x), FREE, slope, oracle=record.value, definition=definition,
                 dtypes=REAL, gradient_dtypes=REAL)  # fmt: skip


def _gelu_tanh_slope(x: Any) -> Any:
    scale, cubic = 2 * mp.sqrt(2 / mp.pi), mp.mpf(0.044715)
    opening = _sigmoid(scale * (x + cubic * x**3)) if x > -50 else mp.mpf(0)
    closing = _sigmoid(-scale * (x + cubic * x**3)) if x < 50 else mp.mpf(0)
    return opening * (1 + x * scale * (1 + 3 * cubic * x * x) * closing)


def _within_50(function: Function, below: int, above: int) -> Function:
    """``function``, which mpmath does not evaluate far out, with its limits there."""
    return lambda x: function(x) if abs(x) < 50 else mp.mpf(below if x < 0 else above)


def _density(x: Any) -> Any:
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def _product_of_sigmoids(x: Any) -> Any:
    return special.expit(x) * special.expit(-x)


def _fourth_of_silu(x: Any) -> Any:
    s = _sigmoid(x) * _sigmoid(-x)
    return x * s * mp.tanh(-x / 2) * (1 - 12 * s) + 4 * s * (1 - 6 * s)


ACTIVATIONS: dict[str, Row] = {
    "masked": Row(
        tuple(
            Case(
                f"{mask} {shape}",
                lambda m, x: act.masked(m, x),
                (Operand(mask, booleans, False), Operand(shape)),
                lambda m, x: np.where(m, x, 0)[()],
            )
            for mask, shape in (
                ((), ()), ((3,), (3,)), ((2, 3), (2, 3)), ((3,), (2, 1)), ((0,), (0,)), ((2,), ()),
            )
        ),
        dtypes=NUMBERS,
    ),
    "relu": unary(lambda x: act.relu(x), away_from_zero(), lambda x: float(x > 0),
                  oracle=lambda x: np.maximum(x, 0), gradient_dtypes=REAL,
                  dtypes=("int32", "int64", *REAL)),
    "softplus": _smooth(act.softplus, _sigmoid, lambda x: np.logaddexp(x, 0)),
    "sigmoid_cross_entropy": elementwise(
        lambda x, p: act.sigmoid_cross_entropy(x, p), FREE, within(0.1, 0.9),
        slopes=(lambda x, p: (1 - p) * _sigmoid(x) - p * _sigmoid(-x), lambda x, p: -x),
        oracle=act.sigmoid_cross_entropy.value, dtypes=REAL, gradient_dtypes=REAL,
        definition=lambda x, p: np.logaddexp(x, 0) - x * p,
        slope_atol=3e-16, undefined=lambda x, p: np.isinf(x) or np.isinf(p) or abs(x * p) > 1e300,
    ),
    "normal_cdf": _smooth(act.normal_cdf, _within_50(mp.npdf, 0, 0), special.ndtr),
    "normal_cdf_derivative": third_derivative(
        act.normal_cdf_derivative, lambda x: _density(x) * (x * x - 1),
        _within_50(lambda x: mp.npdf(x) * (3 * x - x**3), 0, 0), dtypes=REAL, gradient_dtypes=REAL,
        slope_atol=1e-15,
    ),
    "gelu_derivative": third_derivative(
        act.gelu_derivative, lambda x: _density(x) * (x**3 - 4 * x),
        _within_50(lambda x: mp.npdf(x) * (-x**4 + 7 * x * x - 4), 0, 0), dtypes=REAL,
        gradient_dtypes=REAL,
    ),
    "silu_derivative": third_derivative(
        act.silu_derivative,
        lambda x: _product_of_sigmoids(x) * (x - 6 * x * _product_of_sigmoids(x) - 3 * np.tanh(x / 2)),
        _within_50(_fourth_of_silu, 0, 0), dtypes=REAL, gradient_dtypes=REAL, slope_atol=1e-15,
    ),
    "silu": _smooth(act.silu, lambda x: _sigmoid(x) * (1 + x * _sigmoid(-x)),
                    lambda x: x * special.expit(x)),
    "gelu": _smooth(act.gelu, _within_50(lambda x: mp.ncdf(x) + x * mp.npdf(x), 0, 1),
                    lambda x: x * special.ndtr(x)),
    "gelu_tanh": _smooth(
        act.gelu_tanh, _gelu_tanh_slope,
        lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    ),
}  # fmt: skip


def _along(function: Function, reference: Function) -> Row:
    shapes: list[tuple[Shape, tuple[int, ...]]] = [
        ((), ()), ((4,), (0,)), ((2, 3), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((2, 3, 4), (0, 2)),
        ((2, 3), ()), ((1,), (0,)), ((0, 3), (1,)), ((2, 0), (0,)), ((4, 5, 3), (2,)),
    ]  # fmt: skip

    def case(shape: Shape, axis: tuple[int, ...]) -> Case:
        label = f"{shape} axis={axis}"
        oracle = lambda x: reference(x, axis)
        return Case(label, lambda x: function(x, axis=axis), (Operand(shape, apart()),), oracle)

    cases = tuple(case(shape, axis) for shape, axis in shapes)
    return Row(cases, exact=False, dtypes=REAL, gradient_dtypes=REAL)


def _softmax(x: Any, axis: Any) -> Any:
    weights = np.exp(x)
    return weights / np.sum(weights, axis=axis, keepdims=True)


def _weighted(x: Any, axis: Any) -> Any:
    logs, total, shares = exponentials_p(
        x, axis=axis, wanted=("log_softmax", "logsumexp", "softmax")
    )
    return 2 * logs + shares - 3 * np.expand_dims(total, axis)


def _weighted_reference(x: Any, axis: Any) -> Any:
    shares = _softmax(x, axis)
    return 2 * np.log(shares) + shares - 3 * np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


SOFTMAX: dict[str, Row] = {
    "exponentials": _along(_weighted, _weighted_reference),
    "softmax": _along(softmax_p, _softmax),
    "log_softmax": _along(log_softmax_p, lambda x, axis: np.log(_softmax(x, axis))),
    "logsumexp": _along(logsumexp_p, lambda x, axis: np.log(np.sum(np.exp(x), axis=axis))),
}

# --- patches, by plain loops ---------------------------------------------------------------------

Sizes = tuple[int, ...]


def _taps(size: Sizes, places: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """For each entry of a window and each place, the index among the spatial axes."""
    for k in np.ndindex(size):
        for p in np.ndindex(places):
            yield k, p, tuple(np.add(np.multiply(p, stride), np.multiply(k, dilation)))


def _places(sizes: Sizes, size: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    return tuple(
        len(range(0, n - d * (k - 1), s))
        for n, k, s, d in zip(sizes, size, stride, dilation, strict=True)
    )


def _wide(a: Any, b: Any) -> Any:
    """A dtype in which sums of products of floating-point numbers round less."""
    dtype = np.result_type(a, b)
    return np.result_type(dtype, np.float64) if dtype.kind in "fc" else dtype


def _conv(x: Any, kernel: Any, stride: Sizes, dilation: Sizes) -> Any:
    places = _places(x.shape[3:], kernel.shape[3:], stride, dilation)
    out = np.zeros((*x.shape[:2], kernel.shape[1], *places), _wide(x, kernel))
    for k, p, i in _taps(kernel.shape[3:], places, stride, dilation):
        product = kernel[(None, ..., *k)] * x[:, :, None, :, *i]
        out[:, :, :, *p] += product.sum(3, dtype=out.dtype)
    return out.astype(np.result_type(x, kernel))


def _conv_input(ct: Any, kernel: Any, stride: Sizes, dilation: Sizes, sizes: Sizes) -> Any:
    out = np.zeros((*ct.shape[:2], kernel.shape[2], *sizes), _wide(ct, kernel))
    for k, p, i in _taps(kernel.shape[3:], ct.shape[3:], stride, dilation):
        product = kernel[(None, ..., *k)] * ct[:, :, :, None, *p]
        out[:, :, :, *i] += product.sum(2, dtype=out.dtype)
    return out.astype(np.result_type(ct, kernel))


def _conv_kernel(x: Any, ct: Any, stride: Sizes, dilation: Sizes, size: Sizes) -> Any:
    shape = (x.shape[1], ct.shape[2], x.shape[2], *size)
    out = np.zeros(shape, _wide(x, ct))
    for k, p, i in _taps(size, ct.shape[3:], stride, dilation):
        product = x[:, :, None, :, *i] * ct[:, :, :, None, *p]
        out[:, :, :, *k] += product.sum(0, dtype=out.dtype)
    return out.astype(np.result_type(x, ct))


def _patches(x: Any, size: Sizes, stride: Sizes) -> Any:
    rank = len(size)
    places = _places(x.shape[-rank:], size, stride, (1,) * rank)
    out = np.zeros((*size, *x.shape[:-rank], *places), x.dtype)
    for k, p, i in _taps(size, places, stride, (1,) * rank):
        out[*k, ..., *p] = x[..., *i]
    return out.reshape((int(np.prod(size)), *out.shape[rank:]))


def _patch_sum(ct: Any, size: Sizes, stride: Sizes, sizes: Sizes) -> Any:
    rank = len(size)
    out = np.zeros((*ct.shape[1:-rank], *sizes), ct.dtype)
    parts = ct.reshape((*size, *ct.shape[1:]))
    for k, p, i in _taps(size, ct.shape[-rank:], stride, (1,) * rank):
        out[..., *i] += parts[*k, ..., *p]
    return out


CONV_FORMS: list[tuple[Shape, Shape, Sizes, Sizes]] = [
    ((2, 1, 3, 5), (1, 2, 3, 2), (1,), (1,)),
    ((2, 2, 1, 8), (2, 2, 1, 3), (2,), (2,)),
    ((1, 1, 2, 4, 5), (1, 3, 2, 2, 3), (1, 1), (1, 1)),
    ((2, 2, 2, 5, 4), (2, 1, 2, 2, 2), (2, 1), (1, 2)),
    ((0, 1, 2, 3), (1, 2, 2, 2), (1,), (1,)),
    ((2, 1, 0, 3), (1, 2, 0, 2), (1,), (1,)),
    ((1, 1, 1, 2, 3, 2), (1, 2, 1, 2, 2, 1), (1, 1, 1), (1, 1, 1)),
]
"""Shapes of images and of kernels, strides, dilations."""


def _product_row(record: Any, reference: Function, which: tuple[int, int]) -> Row:
    cases = []
    for x, kernel, stride, dilation in CONV_FORMS:
        places = _places(x[3:], kernel[3:], stride, dilation)
        shapes = x, kernel, (*x[:2], kernel[1], *places)
        static: dict[str, Any] = {"stride": stride, "dilation": dilation}
        if which == (2, 1):
            static["sizes"] = x[3:]
        if which == (0, 2):
            static["size"] = kernel[3:]
        cases.append(
            Case(
                f"{shapes} {static}",
                lambda a, b, static=static: record(a, b, **static),
                tuple(Operand(shapes[i], SMALL) for i in which),
                lambda a, b, static=static: reference(a, b, **static),
            )
        )
    return Row(tuple(cases), exact=False, rounding=16.0)


PATCH_FORMS: list[tuple[Shape, Sizes, Sizes]] = [
    ((5,), (2,), (1,)), ((2, 5), (2,), (2,)), ((2, 4, 5), (2, 3), (1, 2)), ((3, 4), (1, 1), (2, 1)),
    ((2, 3), (1, 1), (1, 1)), ((0, 3), (2,), (1,)), ((2, 2, 3, 2), (2, 2, 1), (1, 1, 1)),
]  # fmt: skip


def _patch_cases(adjoint: bool) -> tuple[Case, ...]:
    cases = []
    for shape, size, stride in PATCH_FORMS:
        rank = len(size)
        sizes = shape[-rank:]
        static: dict[str, Any] = {"size": size, "stride": stride}
        if adjoint:
            places = _places(sizes, size, stride, (1,) * rank)
            shape, static = (
                (int(np.prod(size)), *shape[:-rank], *places),
                {**static, "sizes": sizes},
            )
        record, reference = (patch_sum_p, _patch_sum) if adjoint else (patches_p, _patches)
        cases.append(
            Case(
                f"{shape} {static}",
                lambda x, record=record, static=static: record(x, **static),
                (Operand(shape, FREE),),
                lambda x, reference=reference, static=static: reference(x, **static),
            )
        )
    return tuple(cases)


PATCHES: dict[str, Row] = {
    "patches": Row(_patch_cases(False)),
    "patch_sum": Row(_patch_cases(True), exact=False),
    "conv": _product_row(conv_p, _conv, (0, 1)),
    "conv_input": _product_row(conv_input_p, _conv_input, (2, 1)),
    "conv_kernel": _product_row(conv_kernel_p, _conv_kernel, (0, 2)),
}
