"""Every primitive, in every way it can be run and differentiated, against NumPy and mathematics."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fungrad as fg
from fungrad._primitive import registry
from tests._checks import CELLS, CHECKS, SPECIAL_CHECKS, same_bits
from tests._domains import all_rows
from tests._versions import NUMPY

ROWS = all_rows()


class CellSummary:
    """Says at the end of the run how many cells were checked."""

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        parts = ", ".join(f"{count} {name}" for name, count in sorted(CELLS.items()))
        terminalreporter.write_line(f"primitives: {CELLS.total()} cells ({parts})")


@pytest.fixture(scope="module", autouse=True)
def _cell_summary(request: pytest.FixtureRequest) -> Iterator[None]:
    manager = request.config.pluginmanager
    if not manager.has_plugin("fungrad-cells"):
        manager.register(CellSummary(), "fungrad-cells")
    yield


def test_every_primitive_has_a_row():
    # In a process of its own: tests elsewhere declare primitives too.
    code = "import fungrad._primitive as p; print(*sorted(p.registry()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == sorted(ROWS)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ROWS)
def test_primitive(name, check):
    if name == "sici" and check == "gradient_dtypes" and NUMPY < (2, 4):
        pytest.skip("its derivative has np.sinc in it, which was NaN at a float16 zero")
    CHECKS[check](ROWS[name], registry()[name])


@pytest.mark.parametrize("check", SPECIAL_CHECKS)
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.elementwise])
def test_special_points(name, check):
    SPECIAL_CHECKS[check](ROWS[name], registry()[name])


@pytest.mark.parametrize(("extremum", "sign"), [(np.max, 1), (np.min, -1)])
@pytest.mark.parametrize("axis", [0, 1, (0, 1), None])
def test_ties_share_evenly(extremum, sign, axis):
    x = sign * np.array([[3.0, 1.0, 3.0], [3.0, 2.0, 2.0]])
    wins = x == extremum(x, axis=axis, keepdims=True)
    want = wins / np.sum(wins, axis=axis, keepdims=True)
    got = fg.grad(lambda x: np.sum(extremum(x, axis=axis)))(x)
    same_bits(got, want, f"{extremum.__name__}, axis={axis}")
