"""Functions with all their keywords, on arrays of every kind: value and dtype, or the error.

Float and complex, integers and booleans, size 0, 0-d, float16, NaNs: for every function, every
combination of keywords of the table is tried on every array, first against NumPy, then its
gradient against differences.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import fungrad as fg
from tests._checks import normal_like, roundoff
from tests._versions import NUMPY

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

_RNG = np.random.default_rng(0)
_F, _T, _V = _RNG.normal(size=(3, 4)), _RNG.normal(size=(2, 3, 4)), _RNG.normal(size=5)
ARRAYS = {
    "matrix": _F,
    "stack": _T,
    "vector": _V,
    "float32": _F.astype(np.float32),
    "float16": _F.astype(np.float16),
    "int64": _RNG.integers(-5, 6, (3, 4)),
    "int8": _RNG.integers(-5, 6, (3, 4)).astype(np.int8),
    "uint8": _RNG.integers(0, 6, (3, 4)).astype(np.uint8),
    "bool": _F > 0,
    "complex": _F + 1j * _F[::-1] * 0.7,
    "no rows": np.zeros((0, 3)),
    "no columns": np.zeros((3, 0)),
    "scalar": np.float64(1.7),
    "0-d": np.array(2.5),
    "0-d integer": np.array(3),
    "NaNs": np.where(_F > 0.8, np.nan, _F),
}
SMOOTH = ("matrix", "stack", "vector", "complex", "scalar")


def named(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def each(**choices: Any) -> list[dict[str, Any]]:
    """All combinations of keywords."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


MASK = np.array([True, False, True, True])
AXES = each(axis=[None, 0, -1, (0, 1), ()], keepdims=[False, True])
DTYPES = [{"dtype": np.float32}, {"dtype": np.float64, "axis": 0}, {"dtype": complex}]
MASKED = [{"axis": -1, "where": MASK}, {"where": MASK}, {"where": False}]
STARTED = [
    {"initial": 2},
    {"initial": 2.5, "axis": 0},
    {"axis": -1, "where": MASK, "initial": 1},
]
FREEDOM = [{"ddof": 1}, {"ddof": 1, "axis": 0}, {"ddof": 1.5}, {"correction": 1}]
RUNNING = [{}, {"axis": 0}, {"axis": -1}, {"axis": 5}, {"dtype": np.float32}]
PLACES = [{}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}]
SORTS = [*each(axis=[-1, 0, None, 3]), {"axis": -1, "kind": "stable"}, {"stable": True}]
METHODS = [
    "inverted_cdf",
    "averaged_inverted_cdf",
    "closest_observation",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "linear",
    "median_unbiased",
    "normal_unbiased",
    "lower",
    "higher",
    "midpoint",
    "nearest",
]
QUANTILES = [
    *each(q=[0.3, [0.1, 0.9], 0, 1], axis=[None, 0, -1, (0, 1)], keepdims=[False, True]),
    *each(q=[0.37], method=METHODS, axis=[None, -1]),
    {"q": 1.5},
]
TRANSFORMS = each(n=[None, 2, 4, 7], axis=[0, -1], norm=[None, "ortho", "forward"])
TRANSFORMS_OF_AXES = [{}, {"norm": "ortho"}, {"s": (2, 5), "axes": (0, 1)}, {"axes": (0,)}]

TABLE: dict[str, list[dict[str, Any]]] = {
    **dict.fromkeys(("sum", "prod"), AXES + DTYPES + MASKED + STARTED),
    **dict.fromkeys(("max", "min"), AXES + STARTED),
    **dict.fromkeys(("mean", "nansum", "nanmean"), AXES + DTYPES + MASKED),
    **dict.fromkeys(("std", "var", "nanstd", "nanvar"), AXES + MASKED + FREEDOM),
    **dict.fromkeys(("all", "any"), AXES + MASKED),
    **dict.fromkeys(named(
        "ptp nanprod nanmax nanmin nanmedian count_nonzero amax amin"
    ), AXES),
    "median": each(axis=[None, 0, -1, (0, 1)], keepdims=[False, True]),
    **dict.fromkeys(["cumsum", "cumprod", "nancumsum", "nancumprod"], RUNNING),
    **dict.fromkeys(("argmax", "argmin", "nanargmax"), PLACES),
    **dict.fromkeys(("sort", "argsort"), SORTS),
    **dict.fromkeys(("quantile", "nanquantile"), QUANTILES),
    "percentile": [{"q": 30}, {"q": [25, 75], "axis": 0}],
    "diff": [
        {}, {"n": 2}, {"axis": 0}, {"n": 0}, {"n": 5}, {"prepend": 0}, {"append": 1.5, "axis": 0},
    ],
    "round": [{}, {"decimals": 1}, {"decimals": -1}],
    "trapezoid": [{}, {"axis": 0}, {"dx": 0.5}],
    "unique": [{}, {"return_index": True, "return_inverse": True, "return_counts": True}],
    "cov": [{}, {"rowvar": False}, {"bias": True}, {"ddof": 0}],
    "corrcoef": [{}],
    "average": [
        {}, {"axis": -1, "weights": [1, 2, 3, 4.0]}, {"keepdims": True},
        {"axis": -1, "weights": [1, 2, 3, 4.0], "returned": True},
    ],
    "nan_to_num": [{}, {"nan": 1.5, "posinf": 3}],
    "gradient": [{}, {"axis": 0}, {"edge_order": 2}],
    "linalg.norm": each(
        ord=[None, 1, 2, -1, -2, 0, 3, np.inf, -np.inf, "fro", "nuc", 0.5],
        axis=[None, 0, -1, (0, 1)], keepdims=[False, True],
    ),
    "linalg.vector_norm": each(ord=[1, 2, 0, np.inf, 2.5], axis=[None, 0, (0, 1)]),
    "linalg.matrix_norm": each(ord=["fro", "nuc", 1, -1, 2, -2, np.inf]),
    "linalg.qr": each(mode=["reduced", "complete", "r"]),
    "linalg.cond": each(p=[None, 2, -2, 1, "fro"]),
    **{name: [{}] for name in ("linalg.svdvals", "linalg.pinv", "linalg.matrix_rank")},
    **{f"fft.{name}": TRANSFORMS for name in named(
        "fft ifft rfft irfft hfft ihfft"
    )},
    **{
        f"fft.{name}": TRANSFORMS_OF_AXES
        for name in named(
        "fft2 ifft2 rfft2 irfft2 fftn rfftn irfftn ifftn"
    )
    },
    **{f"fft.{name}": [{}, {"axes": 0}] for name in ("fftshift", "ifftshift")},
    "pad": [
        *each(
            pad_width=[1, (1, 2), ((1, 0), (2, 3)), 0, 6],
            mode=named(
        "constant edge linear_ramp maximum mean median minimum reflect symmetric "
        "wrap"
    ),
        ),
        {"pad_width": 2, "mode": "mean", "stat_length": 1},
        {"pad_width": 1, "constant_values": (1, 2)},
        {"pad_width": -1},
    ],
    "roll": [{"shift": 2}, {"shift": (1, 2), "axis": (0, 1)}, {"shift": -7, "axis": 0}],
    "repeat": [{"repeats": 2}, {"repeats": 2, "axis": 0}, {"repeats": [1, 2, 0, 3], "axis": -1}],
    "tile": [{"reps": 2}, {"reps": (2, 1, 2)}, {"reps": 0}],
    "clip": [
        {"a_min": -0.5, "a_max": 0.5}, {"a_min": None, "a_max": 1}, {"a_min": 0, "a_max": None},
        {"min": -1, "max": 2},
    ],
    "take": [
        {"indices": [0, 2]}, {"indices": 1}, {"indices": [[0], [2]], "axis": 0},
        {"indices": [7, -9], "mode": "wrap"}, {"indices": [7, -9], "mode": "clip"},
        {"indices": [99]}, {"indices": [1.5]},
    ],
    "expand_dims": each(axis=[0, -1, (0, 2), 9]),
    "delete": [{"obj": 1}, {"obj": [0, -1], "axis": 0}, {"obj": slice(0, 2), "axis": -1}, {"obj": 99}],
    "insert": [
        {"obj": 1, "values": 5}, {"obj": [0, 2], "values": 7.5, "axis": 0},
        {"obj": -1, "values": 1, "axis": -1},
    ],
    "resize": each(new_shape=[(2, 3), 7, (0,)]),
    "split": [{"indices_or_sections": 2, "axis": -1}, {"indices_or_sections": [1], "axis": 0}],
    "vander": [{}, {"N": 3, "increasing": True}],
    **{
        name: [{}]
        for name in named(
        "flip fliplr flipud rot90 ravel transpose squeeze atleast_1d atleast_2d "
        "atleast_3d diag trace diagonal copy real imag conj angle unwrap sinc "
        "sign floor ceil trunc fix rint abs square sqrt cbrt exp expm1 log1p "
        "reciprocal negative positive logical_not isnan isfinite isreal signbit "
        "invert ediff1d argwhere nonzero flatnonzero shape ndim size tan arctan "
        "sinh tanh arcsinh deg2rad exp2 log modf frexp fabs iscomplex isposinf "
        "matrix_transpose sort_complex cumulative_sum cumulative_prod "
        "bitwise_count unstack"
    )
    },
}  # fmt: skip


def function_named(name: str) -> Any:
    """``linalg.norm`` → ``np.linalg.norm``."""
    function: Any = np
    for part in name.split("."):
        function = getattr(function, part)
    return function


def leaves(out: Any) -> list[np.ndarray]:
    """The arrays of a result."""
    if isinstance(out, (list, tuple)):
        return [leaf for part in out for leaf in leaves(part)]
    return [np.asarray(out)]


@pytest.mark.parametrize("name", TABLE)
def test_value_or_error(name):
    function = function_named(name)
    for keywords, (kind, x) in product(TABLE[name], ARRAYS.items()):
        what = f"{name}, {keywords}, {kind}"
        call = lambda x, keywords=keywords: function(x, **keywords)
        try:
            want = call(x)
        except (ValueError, TypeError, IndexError, DeprecationWarning):
            if NUMPY < (2, 3) and 0 in np.shape(x) and name.startswith("linalg."):
                continue  # norms of no entries, which are 0 since then
            with pytest.raises((ValueError, TypeError, IndexError, DeprecationWarning)):
                fg.jit(call)(x)
            continue
        got = fg.jit(call)(x)
        for one, other in zip(leaves(got), leaves(want), strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape), what
            bound = 16 * roundoff(other) + 1e-13
            np.testing.assert_allclose(one, other, bound, bound, equal_nan=True, err_msg=what)


@pytest.mark.parametrize("name", TABLE)
def test_gradient(name):
    function, rng = function_named(name), np.random.default_rng(1)
    for keywords, kind in product(TABLE[name], SMOOTH):
        x = ARRAYS[kind]
        call = lambda x, keywords=keywords: function(x, **keywords)
        try:
            results = leaves(call(x))
        except (ValueError, TypeError, IndexError, DeprecationWarning):
            continue
        if any(leaf.dtype in (np.float32, np.complex64) for leaf in results):
            continue
        weights = [rng.normal(size=leaf.shape) for leaf in results]

        def loss(x: Any, call: Any = call, weights: Any = weights) -> Any:
            total = 0.0
            out = call(x)
            parts = list(out) if isinstance(out, (list, tuple)) else [out]
            for weight, leaf in zip(weights, parts, strict=True):
                if np.result_type(leaf).kind in "fc":
                    total = total + np.sum(np.real(leaf * weight) + np.imag(leaf * weight))
            return total

        tangent, step = normal_like(rng, x), 1e-6
        want = (loss(x + step * tangent) - loss(x - step * tangent)) / (2 * step)
        got = np.sum(np.real(fg.grad(loss)(x) * tangent))
        if np.isfinite(want):
            what = f"{name}, {keywords}, {kind}"
            np.testing.assert_allclose(got, want, 1e-4, 1e-5, err_msg=what)


OF_NUMBERS = {
    "copy": np.copy,
    "transpose": np.transpose,
    "reshape": lambda x: np.reshape(x, ()),
    "ravel": np.ravel,
    "squeeze": np.squeeze,
    "broadcast_to": lambda x: np.broadcast_to(x, ()),
    "real": np.real,
    "imag": np.imag,
    "real_if_close": np.real_if_close,
    "nan_to_num": np.nan_to_num,
    "sum": np.sum,
    "round": np.round,
    "sin": np.sin,
    "abs": abs,
    "absolute": np.absolute,
    "negative": lambda x: -x,
    "square": lambda x: x**2,
    "clip": lambda x: np.clip(np.abs(x), 0, 5),
    "atleast_1d": np.atleast_1d,
    "stack": lambda x: np.stack([x, x]),
    "conj": np.conj,
    "where": lambda x: np.where(True, x, x),
}


@pytest.mark.parametrize("number", [2, 1.5, 1j])
@pytest.mark.parametrize("name", OF_NUMBERS)
def test_what_a_function_makes_of_a_python_number_promotes_as_numpys(name, number):
    """Arrays and NumPy scalars decide the dtype of what they meet, Python numbers do not."""
    function = lambda x, y: OF_NUMBERS[name](x) * y
    want = function(number, np.float32([2.0]))
    got = fg.jit(function)(number, np.float32([2.0]))
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, 1e-6)
