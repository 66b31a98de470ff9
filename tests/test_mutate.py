"""The tool that breaks rules: it finds the expressions of rules, breaks them, and sees it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fungrad._primitive import registry
from fungrad.ops import elementwise
from tests import mutate
from tests.mutate import EQUIVALENT, Use, killer, mutated, reached, variants

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
    use = [Use(registry()["hypot"], ("first_order",))]
    cosine = elementwise._cosine
    code = cosine.__code__
    try:
        cosine.__code__ = (lambda a, length: length / a).__code__
        assert killer(use) == "first_order"
    finally:
        cosine.__code__ = code
    assert killer(use) is None


@pytest.mark.parametrize("start", dict.fromkeys(start for start, _ in EQUIVALENT))
def test_what_is_explained_still_stands_there(start):
    assert any(line.startswith(start) for line in OPS)


def test_only_what_is_explained_is_forgiven():
    (start, end), *_ = EQUIVALENT
    assert mutate.explanation(f"    {start} and so on", f"... {end}")
    assert mutate.explanation(f"    {start} and so on", "a -> b") is None
