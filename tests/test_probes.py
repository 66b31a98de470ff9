"""Single calls of plain NumPy: the values of NumPy, and the gradients of differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy import special

import fungrad as fg
from fungrad._refusals import REFUSALS
from fungrad.errors import FungradError
from tests import _probes
from tests._checks import normal_like
from tests._versions import NUMPY

NAMES = {"np": np, "swv": sliding_window_view, "sc": special, "fg": fg}


LINES = [line for line in _probes.ALL if NUMPY >= (2, 1) or "np.clip(x, min=" not in line]


def compiled(line: str) -> tuple[Any, tuple[str, ...]]:
    """The probe as a function of the inputs that it names, and their names."""
    code = compile(line, line, "eval")
    used = tuple(sorted(_names(code) & _probes.INPUTS.keys()))
    return eval(f"lambda {', '.join(used)}: {line}", dict(NAMES)), used


def _names(code: Any) -> set[str]:
    inner = [_names(c) for c in code.co_consts if hasattr(c, "co_names")]
    return set(code.co_names).union(*inner)


def numbers(out: Any) -> list[Any]:
    """The leaves of a result: arrays and numbers, in order."""
    if isinstance(out, (list, tuple)):
        return [leaf for part in out for leaf in numbers(part)]
    return [out]


@pytest.mark.parametrize("line", LINES)
def test_value(line):
    function, used = compiled(line)
    inputs = [_probes.INPUTS[name] for name in used]
    want = numbers(function(*inputs))
    jitted = fg.jit(function)
    for run in range(3):
        got = numbers(jitted(*inputs))
        assert len(got) == len(want), f"run {run}: {len(got)} results"
        for one, other in zip(got, want, strict=True):
            assert np.asarray(one).dtype == np.asarray(other).dtype, f"run {run}"
            tolerance = 1e-5 if np.asarray(other).dtype == np.float32 else 1e-12
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=1e-13, equal_nan=True)


@pytest.mark.parametrize("line", LINES)
def test_gradient(line):
    function, used = compiled(line)
    inputs = [_probes.INPUTS[name] for name in used]
    wrt = [i for i, x in enumerate(inputs) if x.dtype.kind in "fc"]
    if not wrt:
        return
    rng = np.random.default_rng(1)
    results = numbers(function(*inputs))
    weights = [rng.normal(size=np.shape(leaf)) for leaf in results]

    def loss(*varying: Any) -> Any:
        complete = list(inputs)
        for place, value in zip(wrt, varying, strict=True):
            complete[place] = value
        total = 0.0
        for weight, leaf in zip(weights, numbers(function(*complete)), strict=True):
            if np.result_type(leaf).kind in "fc":
                clean = np.where(np.isnan(leaf), 0.0, leaf)
                total = total + np.sum(np.real(clean * weight) + np.imag(clean * weight))
        return total

    primals = [inputs[i] for i in wrt]
    gradients = fg.grad(loss, argnums=tuple(range(len(wrt))))(*primals)
    for gradient, x in zip(gradients, primals, strict=True):
        assert (gradient.dtype, np.shape(gradient)) == (x.dtype, x.shape)
    tangents = [np.where(np.isnan(x), 0.0, normal_like(rng, x)) for x in primals]
    coarse = any(np.result_type(x) == np.float32 for x in [*primals, *results])
    step, tolerance = (1e-2, 1e-2) if coarse else (1e-5, 2e-6)
    ahead, behind = (
        loss(*[x + s * t for x, t in zip(primals, tangents, strict=True)]) for s in (step, -step)
    )
    got = sum(np.sum(np.real(g * t)) for g, t in zip(gradients, tangents, strict=True))
    np.testing.assert_allclose(got, (ahead - behind) / (2 * step), tolerance, tolerance / 10)


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("line", _probes.REFUSED)
def test_refusal(line):
    function, used = compiled(line)
    reason = REFUSALS[_probes.REFUSED[line]]
    with pytest.raises((FungradError, ValueError, TypeError)) as caught:
        fg.trace(function, *[_probes.INPUTS[name] for name in used])
    if _probes.REFUSED[line] not in _probes.UNNAMED:
        assert isinstance(caught.value, FungradError)
        assert reason in str(caught.value)


def test_enough_of_the_probes_pass():
    count = len(_probes.ALL)
    assert count >= 338
    assert count / (count + len(_probes.REFUSED)) >= 0.9
