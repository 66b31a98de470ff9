"""The page on kinks is current, and all ways to differentiate agree on what stands there."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fungrad as fg
from tests import kinks_page
from tests.kinks_page import RULES, Row
from tests.support_page import versions

ROWS = {
    f"{row.source} at {row.point}, {rule.title}": (rule, row) for rule in RULES for row in rule.rows
}


def test_the_page_is_current():
    committed = kinks_page.PATH.read_text(encoding="utf-8")
    if versions() not in committed:
        pytest.skip(f"the page was made with other versions than {versions()}")
    assert committed == kinks_page.text(), "run: python -m tests.kinks_page"


def tangents(row: Row) -> list[np.ndarray]:
    """The slopes by forward mode, one entry of one operand at a time."""
    slopes = []
    for place, operand in enumerate(row.operands):
        units = np.eye(np.size(operand)).reshape(-1, *np.shape(operand))
        pushed = [fg.jvp(row.of_one(place), (operand,), (unit[()],))[1] for unit in units]
        slopes.append(np.reshape(pushed, np.shape(operand)))
    return slopes


@pytest.mark.parametrize("name", ROWS)
def test_all_modes_agree_and_the_rule_holds(name):
    rule, row = ROWS[name]
    operands, argnums = row.operands, tuple(range(len(row.point)))
    gradient = fg.grad(row.function, argnums)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reverse = gradient(*operands)
        stacked = fg.vmap(gradient)(*[np.stack([x, x]) for x in operands])
        ways = {
            "jit of grad": fg.jit(gradient)(*operands),
            "grad of jit": fg.grad(fg.jit(row.function), argnums)(*operands),
            "vmap": [part[1] for part in stacked],
            "one operand": [fg.grad(row.of_one(i))(x) for i, x in enumerate(operands)],
        }
        if not _infinite_entries(reverse):
            ways["forward"] = tangents(row)
    for way, slopes in ways.items():
        for got, want in zip(slopes, reverse, strict=True):
            np.testing.assert_allclose(got, want, 1e-13, 1e-15, err_msg=way)
    assert rule.holds(np.concatenate([np.ravel(part) for part in reverse]))


def _infinite_entries(slopes: tuple[np.ndarray, ...]) -> bool:
    """Whether an array has an entry with an infinite slope, whose product with 0 is NaN."""
    return any(np.ndim(part) and not np.all(np.isfinite(part)) for part in slopes)


def _quiet(rule: kinks_page.Rule, row: Row) -> bool:
    """Whether no warning is due: the function gives none, and no slope is infinite on the way."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return row.calm and rule is not SELECTED and kinks_page.finite(np.hstack(row.gradient()))


(SELECTED,) = [rule for rule in RULES if rule.title.startswith("Only what is selected")]
QUIET = {name: row for name, (rule, row) in ROWS.items() if _quiet(rule, row)}


@pytest.mark.parametrize("name", QUIET)
def test_a_derivative_is_as_quiet_as_its_function(name):
    row, argnums = QUIET[name], tuple(range(len(QUIET[name].point)))
    with np.errstate(all="raise", under="ignore"):
        row.gradient()
        fg.jit(fg.grad(row.function, argnums))(*row.operands)
        tangents(row)


def test_a_wrong_policy_would_be_seen():
    (ties, *_) = RULES
    assert ties.holds(np.array([0.5, 0.5]))
    assert not ties.holds(np.array([1.0, 0.0]))
    assert not ties.holds(np.array([1.0, 1.0]))
