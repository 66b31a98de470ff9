"""Breaks the rules of primitives in every small way, and says which of it the checks don't see.

``python -m tests.mutate elementwise reduction`` reads ``fungrad/ops/elementwise.py`` and so on. Each
mutant changes one expression of a function that a vjp or batch rule reaches: a sign, an operator,
the order of operands, a term, a call, a constant, a comparison. The code of the live function is
exchanged, the checks of the matrix run for the primitives that reach it, cheap ones first, then the
page on kinks; the first that fails kills the mutant. Survivors are printed with their lines. Those
that are equivalent to the code stand in ``EQUIVALENT``, with the reason.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dis import get_instructions
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any

import attrs
import numpy as np

from fungrad import _graph
from fungrad._primitive import Primitive, registry
from tests import kinks_page
from tests._checks import CHECKS, SPECIAL_CHECKS
from tests._domains import Row, all_rows

# --- mutations -----------------------------------------------------------------------------------

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
SYMMETRIC = ("np.equal", "np.hypot", "np.maximum", "np.minimum", "np.broadcast_shapes")
ORDERED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult)


def variants(node: ast.expr) -> Iterator[ast.expr]:
    """An expression, broken in each of the small ways."""
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() | complex() as value):
            yield ast.Constant(value + 1)
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield node.operand
        case ast.BinOp(left, op, right):
            yield left
            yield right
            if type(op) in OPERATORS:
                yield ast.BinOp(left, _other(op), right)
            if isinstance(op, ORDERED):
                yield ast.BinOp(right, op, left)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(_other(op), values)
        case ast.Compare(left, [op], [right]):
            yield ast.Compare(left, [_other(op)], [right])
        case ast.IfExp(_, body, orelse):
            yield body
            yield orelse
        case ast.Tuple([first, second], ast.Load()):
            yield ast.Tuple([second, first], ast.Load())
        case ast.Call(function, arguments, keywords):
            if len(arguments) > 1 and not any(isinstance(x, ast.Starred) for x in arguments):
                first, second, *rest = arguments
                if ast.unparse(function) not in SYMMETRIC:
                    yield ast.Call(function, [second, first, *rest], keywords)
            elif len(arguments) == 1 and not isinstance(arguments[0], ast.Starred):
                yield arguments[0]
            if isinstance(function, ast.Attribute) and not _names_numpy(function.value):
                yield function.value
        case ast.Attribute(value, "T" | "mT" | "real"):
            yield value


def _other(op: Any) -> Any:
    return OPERATORS.get(type(op), type(op))()


def _names_numpy(node: ast.expr) -> bool:
    return any(isinstance(x, ast.Name) and x.id in ("np", "math", "cmath") for x in ast.walk(node))


def mutated(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The tree with one expression broken after the other: the line, and what was done."""
    for parent in list(ast.walk(tree)):
        for field, old in list(ast.iter_fields(parent)):
            places = enumerate(old) if isinstance(old, list) else [(None, old)]
            for place, node in list(places):
                if not isinstance(node, ast.expr) or getattr(parent, "arg", None) == "strict":
                    continue
                for new in variants(node):
                    ast.fix_missing_locations(ast.copy_location(new, node))
                    _put(parent, field, place, new)
                    yield node.lineno, f"{ast.unparse(node)} -> {ast.unparse(new)}"
                    _put(parent, field, place, node)


def _put(parent: Any, field: str, place: int | None, node: Any) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


# --- live functions ------------------------------------------------------------------------------


def codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and all that are nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def _own(code: CodeType) -> Any:
    """What a code object does, but for those nested in it."""
    plain = [repr(c) for c in code.co_consts if not isinstance(c, CodeType)]
    return code.co_code, plain, code.co_names, code.co_varnames, code.co_freevars


def reached(rule: Any) -> set[FunctionType]:
    """The functions of ``fungrad.ops`` that a rule may call: by closure, or by a global name."""
    found: set[FunctionType] = set()
    waiting = [rule]
    while waiting:
        function = waiting.pop()
        if not isinstance(function, FunctionType) or function in found:
            continue
        if function.__module__.startswith("fungrad.ops"):
            found.add(function)
        elif function.__module__ != "fungrad._primitive":
            continue
        waiting += [cell.cell_contents for cell in function.__closure__ or ()]
        for code in codes(function.__code__):
            waiting += [
                function.__globals__.get(step.argval)
                for step in get_instructions(code)
                if step.opname == "LOAD_GLOBAL"
            ]
    return found


@attrs.frozen
class Use:
    """A primitive whose rule reaches a function, and the checks of that rule."""

    record: Primitive
    checks: tuple[str, ...]


BY_RULE = {
    "vjp": (
        "first_order",
        "special_slopes",
        "second_order",
        "gradient_dtypes",
        "batch",
        "compiled",
    ),
    "batch": ("batch", "compiled"),
}
"""The rule → the checks that run it."""
ALL_CHECKS = {**CHECKS, **SPECIAL_CHECKS}
ROWS = all_rows()


def uses() -> dict[FunctionType, list[Use]]:
    """Function → the primitives that reach it."""
    table: dict[FunctionType, list[Use]] = defaultdict(list)
    for record in registry().values():
        for rule, checks in BY_RULE.items():
            for function in reached(getattr(record, rule)):
                table[function].append(Use(record, checks))
    return table


# --- the run -------------------------------------------------------------------------------------


def killer(used: list[Use]) -> str | None:
    """The first check that fails for one of the primitives, or ``None``."""
    order = dict.fromkeys(check for use in used for check in use.checks)
    for check in order:
        for use in used:
            row: Row = ROWS[use.record.name]
            if check not in use.checks or (check in SPECIAL_CHECKS and not row.elementwise):
                continue
            if _fails(lambda check=check, row=row, use=use: ALL_CHECKS[check](row, use.record)):
                return check
    current = kinks_page.PATH.read_text(encoding="utf-8")
    return "kinks" if _fails(lambda: _equal(kinks_page.text(), current)) else None


def _equal(got: str, want: str) -> None:
    assert got == want


def _fails(check: Callable[[], None]) -> bool:
    for graph in list(_graph._graphs.values()):  # nothing remembers what another rule gave
        graph._memo.clear()
    with warnings.catch_warnings(), np.errstate():
        warnings.simplefilter("error")
        try:
            check()
        except Exception:
            return True
    return False


FAST = "a shorter way to the same product"
ROUNDING = "the same to rounding, which the dtype of the cotangent hides"
UNREAD = "the quotient is not read where this divides"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("return of_a, a.mT * ct if ", "else np.matmul(a.mT, ct) -> np.matmul(a.mT, ct)"): FAST,
    ("if not second and b.ndim == 2 and a.ndim == 2", "a.ndim == 2 -> a.ndim != 2"): FAST,
    ("if not second and b.ndim == 2 and a.ndim == 2", "2 -> 3"): FAST,
    ("if first and not second and b.ndim <= 2", "b.ndim <= 2 -> b.ndim < 2"): FAST,
    ("rows = a if a.ndim == 2 else _rows(a)", "a if a.ndim == 2 else _rows(a) -> a"): FAST,
    ("rows = a if a.ndim == 2 else _rows(a)", "a if a.ndim == 2 else _rows(a) -> _rows(a)"): FAST,
    ("rows = a if a.ndim == 2 else _rows(a)", "a.ndim == 2 -> a.ndim != 2"): FAST,
    ("rows = a if a.ndim == 2 else _rows(a)", "_rows(a) -> a"): FAST,
    ("rows = a if a.ndim == 2 else _rows(a)", "2 -> 3"): FAST,
    ("if column and not first and a.ndim == 1", "not first -> first"): FAST,
    ("if column and not first and a.ndim == 1", "1 -> 2"): FAST,
    ("return vecdot_p(a, b)", "-> vecdot_p(b, a)"): "real here, where the product is symmetric",
    ("return _times_vector(b, ct), np.expand_dims(a, -1)", "-1 -> 1"): "the operand has one axis",
    ("if isinstance(a, (int, float)):", "(int, float) -> (float, int)"): "a set of types",
    ("if any(isinstance(x, (int, float))", "(a, b) -> (b, a)"): "a set of operands",
    ("wide = [x.astype(y.dtype) if isinstance", "x.astype(y.dtype) -> x"): ROUNDING,
    ("wide = [x.astype(y.dtype) if isinstance", "if isinstance(x, Tracer) else x -> x"): ROUNDING,
    ("fmod = elementwise(np.fmod", "np.rint((a - y) / b) -> (a - y) / b"): ROUNDING,
    ("return (np.conjugate(np.sign(a)) if a", "-> np.conjugate(np.sign(a))"): "real: its conjugate",
    ("defined = np.where((y == 0) | (a == 0)", "a > 0 -> a >= 0"): "0 is taken out before",
    ("return np.where(b == 0, 0, a / np.where(b == 0, 1, b))", "1 -> 2"): UNREAD,
    ("return np.where(special, limit, a / np.where(special, 1,", "1 -> 2"): UNREAD,
}  # fmt: skip
"""How a line begins, and how a mutation of it ends → why nothing can tell it from the code."""


def explanation(line: str, change: str) -> str | None:
    """Why a mutant of a line is equivalent, if that is known."""
    for (start, end), reason in EQUIVALENT.items():
        if line.strip().startswith(start) and change.endswith(end):
            return reason
    return None


def run(module: ModuleType, table: dict[FunctionType, list[Use]]) -> Counter[str]:
    """Try all mutants of a module, and print those that survive."""
    assert module.__file__ is not None
    with open(module.__file__, encoding="utf-8") as file:
        source = file.read()
    lines, tree = source.splitlines(), ast.parse(source)
    original = list(codes(compile(tree, module.__file__, "exec")))
    live: dict[CodeType, list[FunctionType]] = defaultdict(list)
    for function in table:
        if function.__module__ == module.__name__:
            live[function.__code__].append(function)
    counts: Counter[str] = Counter()
    for line, change in mutated(tree):
        try:
            changed = list(codes(compile(tree, module.__file__, "exec")))
        except (SyntaxError, ValueError):
            continue
        swaps = [
            (function, old, new)
            for old, new in zip(original, changed, strict=False)
            if len(changed) == len(original) and _own(old) != _own(new)
            for function in live.get(old, ())
        ]
        if not swaps:
            continue
        if any(old.co_freevars != new.co_freevars for _, old, new in swaps):
            counts["not tried: another closure"] += 1
            continue
        try:
            for function, _, new in swaps:
                function.__code__ = new
            by = killer([use for function, *_ in swaps for use in table[function]])
        finally:
            for function, old, _ in swaps:
                function.__code__ = old
        if by:
            counts["killed"] += 1
            counts[f"  by {by}"] += 1
            continue
        reason = explanation(lines[line - 1], change)
        counts["equivalent" if reason else "survived"] += 1
        if not reason:
            print(f"{module.__name__}:{line}: {change}", flush=True)
    return counts


def main(names: list[str]) -> int:
    """Run for the modules of these names; 1 if a mutant survived without a reason."""
    table = uses()
    total: Counter[str] = Counter()
    for name in names:
        module = import_module(f"fungrad.ops.{name}")
        counts = run(module, table)
        print(name, dict(counts), flush=True)
        total += counts
    print("all", dict(total))
    return int(total["survived"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
