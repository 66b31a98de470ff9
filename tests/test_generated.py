"""Generated source holds names of fungrad's own making only, whatever the user's program is called."""

import ast
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fungrad as fg
from tests._checks import graph_of
from tests._domains import all_rows
from tests.laws.programs import programs, share

ROWS = all_rows()
HOSTILE = (
    "__import__('os').system('false')", "x); import os; (", "'''", '"""', "\\", "{0}", "%s", "\n",
    "lambda: 0", "np", "t0", "del", "é", "\u202e", "# c0: ", "__builtins__", "a" * 10_000,
)  # fmt: skip
FORBIDDEN = (
    ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.ClassDef, ast.Lambda, ast.Await,
    ast.Yield, ast.YieldFrom, ast.AsyncFunctionDef, ast.JoinedStr,
)  # fmt: skip


def check_source(text):
    """No import, no class, no dunder, no text; every name is short or NumPy's."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        assert not isinstance(node, FORBIDDEN), ast.unparse(node)
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_"), node.attr
            assert node.attr.isascii()
        if isinstance(node, ast.Name):
            assert re.fullmatch(r"[a-z_]{1,16}\d*", node.id), node.id
            assert not node.id.startswith("__"), node.id
        if isinstance(node, ast.Constant):
            assert node.value is None or isinstance(node.value, (int, float, complex)), node.value
    assert all(mark not in text for mark in HOSTILE[:4])


@pytest.mark.parametrize("name", sorted(ROWS))
def test_of_every_primitive(name):
    from fungrad.compile import source

    for case in ROWS[name].cases[:2]:
        check_source(source(graph_of(case.function, case.sample(0))[0]))


@share(0.12)
@given(programs(scalar=True, largest=6))
def test_of_random_programs(program):
    inputs = program.inputs(0)
    check_source(fg.source(fg.grad(program), *inputs))
    check_source(fg.source(fg.vmap(fg.grad(program)), *[np.stack([x, x]) for x in inputs]))


def make(text):
    """A function with hostile names everywhere that a user can put them."""

    def f(tree, scale=2.0):
        total = sum(np.sum(np.tanh(leaf * scale)) for leaf in tree.values())
        return total * float(len(text)) + np.sum(np.einsum("i,i->", tree[text], tree[text]))

    f.__name__ = f.__qualname__ = f.__doc__ = f.__module__ = text
    return f


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_of_hostile_names(text):
    f, tree = make(text), {text: np.ones(3), "b": np.ones(2)}
    for g in (f, fg.grad(f), fg.jit(fg.grad(f))):
        source = fg.source(g, tree)
        check_source(source)
        assert text not in source or len(text) < 4 or text in ("# c0: ",)
    for _ in range(3):
        assert fg.jit(f)(tree) == pytest.approx(f(tree))
    assert set(fg.grad(f)(tree)) == {text, "b"}


@given(st.text(max_size=30))
@share(0.15)
def test_of_any_text(text):
    f, tree = make(text), {text: np.ones(3), "b": np.ones(2)}
    check_source(fg.source(fg.grad(f), tree))


@pytest.mark.parametrize(
    "number",
    [np.nan, np.inf, -np.inf, -0.0, 1e-320, 2**70, -(2**63), complex(np.nan, np.inf), True, 1e308],
    ids=str,
)
def test_of_odd_constants(number):
    f = lambda x: x * number
    with np.errstate(all="ignore"):
        try:
            want = f(np.ones(2))
        except OverflowError:
            with pytest.raises(OverflowError):
                fg.jit(f)(np.ones(2))
            return
        check_source(fg.source(f, np.ones(2)))
        g = fg.jit(f)
        for _ in range(3):
            assert np.asarray(g(np.ones(2))).tobytes() == np.asarray(want).tobytes()
