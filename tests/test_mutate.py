"""The tool that breaks rules: it finds the expressions of rules, breaks them, and sees it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fungrad._primitive import registry
from fungrad.ops import elementwise, special, stacks
from tests import mutate
from tests.mutate import (
    EQUIVALENT,
    Use,
    exchanged,
    killer,
    mutants,
    mutated,
    reached,
    trials,
    variants,
)

OPS = [
    line.strip()
    for path in Path(elementwise.__file__).parent.glob("*.py")
    for line in path.read_text(encoding="utf-8").splitlines()
]


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ("a - b", {"a", "b", "a + b", "b - a"}),
        ("-a", {"a"}),
        ("a < 1", {"a <= 1"}),
        ("f(a, b)", {"f(b, a)"}),
        ("np.equal(a, b)", set()),
        ("np.sin(a)", {"a"}),
        ("a.conj()", {"a"}),
        ("(a, b)", {"(b, a)"}),
        ("a if c else b", {"a", "b"}),
        ("True", {"False"}),
        ("0.5", {"1.5"}),
        ("a.mT", {"a"}),
    ],
)
def test_an_expression_is_broken_in_each_way(source, broken):
    assert {ast.unparse(new) for new in variants(ast.parse(source, mode="eval").body)} == broken


def test_a_tree_is_whole_again_after_its_mutants():
    tree = ast.parse("f = lambda y, a: (y * -a, 2)")
    before = ast.dump(tree)
    changes = [change for _, change in mutated(tree)]
    assert "y * -a -> y / -a" in changes
    assert ast.dump(tree) == before


def test_helpers_of_a_rule_are_reached_and_users_functions_are_not():
    functions = reached(registry()["hypot"].vjp)
    assert elementwise._cosine in functions
    assert elementwise.clip not in functions


def test_a_mutant_is_killed_and_leaves_nothing_behind():
    tried = trials([Use(registry()["hypot"], ("first_order",))])
    wrong = (lambda a, length: length / a).__code__
    with exchanged([(elementwise._cosine, wrong)]):
        by = killer(tried)
    assert by is not None
    assert by.check == "first_order"
    assert killer(tried) is None


def test_a_mutant_that_never_ends_is_killed(monkeypatch):
    monkeypatch.setattr(mutate, "FOREVER", 0.05)
    forever = mutate.Trial("loop", lambda: [None for _ in iter(int, 1)])
    assert killer([forever]) is forever


def test_a_mutant_may_read_less_around_it():
    """The code of a function can be exchanged for one of the same closure only."""
    changes = {mutant.change for mutant in mutants(stacks, [stacks.stack_add.batch])}
    assert "x if flag else stack_spread(x, size=size, axis=0) -> x" in changes


def test_functions_inside_of_rules_are_broken_too():
    changes = {mutant.change for mutant in mutants(special, [special._hazard_slope])}
    assert "-1 / t / t -> -1 / t" in changes


@pytest.mark.parametrize("start", dict.fromkeys(start for start, _ in EQUIVALENT))
def test_what_is_explained_still_stands_there(start):
    assert any(line.startswith(start) for line in OPS)


def test_only_what_is_explained_is_forgiven():
    (start, end), *_ = EQUIVALENT
    assert mutate.explanation(f"    {start} and so on", f"... {end}")
    assert mutate.explanation(f"    {start} and so on", "a -> b") is None
