"""Breaks the rules of primitives in every small way, and says which of it the checks don't see.

``python -m tests.mutate elementwise reduction`` reads ``fungrad/ops/elementwise.py`` and so on. Each
mutant changes one expression of a function that a vjp or batch rule reaches: a sign, an operator,
the order of operands, a term, a call, a constant, a comparison. The code of the live function is
exchanged, the checks of the matrix run for the primitives that reach it, case by case and cheap ones
first, then other tests of them and the page on kinks; the first that fails kills the mutant (and is
tried without it). Survivors are printed with their lines. Those that are equivalent to the code
stand in ``EQUIVALENT``, with the reason. Without names: all modules, and the table of the sums.
"""

from __future__ import annotations

import argparse
import ast
import math
import signal
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dis import get_instructions
from functools import partial
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import attrs
import numpy as np

from fungrad import _graph
from fungrad._primitive import Primitive, registry
from fungrad.ops import special
from tests import kinks_page, test_random
from tests._checks import CHECKS, SPECIAL_CHECKS
from tests._domains import Row, all_rows
from tests.control import test_loops
from tests.ops import (
    test_elementwise,
    test_linalg,
    test_manipulation,
    test_sorting,
    test_special,
    test_triangular,
)

# --- mutations -----------------------------------------------------------------------------------

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
SYMMETRIC = (
    "np.equal", "np.hypot", "np.maximum", "np.minimum", "np.broadcast_shapes", "np.clip", "min",
    "max", "zip", "betaln", "hyp2f1", "np.result_type",
)  # fmt: skip
"""Whose first two arguments may change places; of a product of pairs, the factors."""
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


def mutated(tree: ast.Module, beside: bool = False) -> Iterator[tuple[int, str]]:
    """The tree with one expression broken after the other: the line, and what was done.

    With ``beside`` the expression stays where it is never reached, so that a function's closure
    does not change.
    """
    for parent in list(ast.walk(tree)):
        for field, old in list(ast.iter_fields(parent)):
            places = enumerate(old) if isinstance(old, list) else [(None, old)]
            for place, node in list(places):
                if not isinstance(node, ast.expr) or getattr(parent, "arg", None) == "strict":
                    continue
                for new in variants(node):
                    whole = ast.IfExp(ast.Constant(True), new, node) if beside else new
                    ast.fix_missing_locations(ast.copy_location(whole, node))
                    _put(parent, field, place, whole)
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


def _does(code: CodeType) -> Any:
    """What a code object does, and those nested in it: not at which columns that is written."""
    constants = [_does(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


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
CHECKS_USED = (*BY_RULE["vjp"], "other", "kinks")
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

FOREVER = 20.0
"""Seconds of processor time after which a check counts as failed: a mutant may loop."""


@attrs.frozen(eq=False)
class Trial:
    """A check of what reaches a function: of one case of a primitive where it can be divided."""

    check: str
    run: Callable[[], object]

    def fails(self) -> bool:
        """Whether the check sees that something is wrong."""
        return _fails(self.run)


def trials(used: Iterable[Use]) -> list[Trial]:
    """The trials of what reaches a function: cheap checks first, first cases before others."""
    found: dict[tuple[str, str, int], Trial] = {}
    records = dict.fromkeys(use.record for use in used)
    for use in used:
        row: Row = ROWS[use.record.name]
        for check in use.checks:
            if check in SPECIAL_CHECKS:
                parts = [row] if row.elementwise else []
            else:
                parts = [attrs.evolve(row, cases=(case,)) for case in row.cases]
            for place, part in enumerate(parts):
                run = partial(ALL_CHECKS[check], part, use.record)
                found[check, use.record.name, place] = Trial(check, run)
    order = list(BY_RULE["vjp"])
    keys = sorted(found, key=lambda key: (order.index(key[0]), key[2]))
    return [*[found[key] for key in keys], *_other_tests(records)]


def _other_tests(records: Iterable[Primitive]) -> Iterator[Trial]:
    """What stands outside of the matrix: draws, stacks, and ``scipy.special`` against mpmath."""
    names = {record.name for record in records}
    if "random_gamma" in names:
        for case in test_random.EXPECTATIONS:
            yield Trial("other", partial(test_random.test_gradients_of_expectations, *case))
    if "stack_spread" in names:
        yield Trial("other", test_loops.test_a_batch_of_spread_stacks_is_each_of_them_spread)
    if "logaddexp" in names:
        for sign in (math.inf, -math.inf):
            test = test_elementwise.test_logaddexp_at_an_infinity_and_the_same_literal_one
            yield Trial("other", partial(test, sign))
    if "sort" in names:
        yield Trial("other", test_sorting.test_lexsort_by_plain_and_traced_keys)
    if "solve" in names:
        for name in ("triu of a vector", "tril of a stack"):
            yield Trial("other", partial(test_manipulation.test_moving, name))
    if not names.isdisjoint(("eigh", "eigvalsh", "eig", "eigvals", "svd", "svdvals")):
        for test in (
            test_linalg.test_repeated_eigenvalues,
            test_linalg.test_projectors_onto_repeated_eigenspaces,
            test_linalg.test_eigenvectors_alone_are_not_differentiated_for_eigenvalues,
            test_linalg.test_functions_of_repeated_eigenvalues_and_their_vectors_are_finite,
            test_linalg.test_zero_matrix_has_finite_gradients,
            test_linalg.test_eigenvectors_of_tiny_matrices,
        ):
            yield Trial("other", test)
    if not names.isdisjoint(("cholesky", "solve", "slogdet")):
        for likelihood in test_triangular.LIKELIHOODS:
            test = test_triangular.test_every_matrix_is_factorised_or_inverted_once
            yield Trial("other", partial(test, likelihood))
    if not names.isdisjoint(("det", "slogdet", "lift")):
        for n, rank in ((2, 1), (2, 0), (3, 2), (3, 1), (3, 0), (4, 3), (4, 2)):
            yield Trial(
                "other", partial(test_linalg.test_determinant_of_singular_matrices, n, rank)
            )
        yield Trial("other", test_linalg.test_determinant_of_an_almost_singular_matrix)
        yield Trial("other", test_linalg.test_determinants_at_the_identity)
        yield Trial("other", test_linalg.test_slogdet_of_a_singular_matrix_does_not_end_the_others)
    if "lstsq" in names:
        for last in (3.0, 3.0 + 2**-21):
            yield Trial("other", partial(test_linalg.test_least_squares_in_single_precision, last))
    if "svd" in names:
        yield Trial("other", test_linalg.test_a_singular_value_of_0_has_derivative_0)
    if special.__name__ not in {getattr(record.vjp, "__module__", None) for record in records}:
        return
    for name, row in test_special.FUNCTIONS.items():
        if test_special.answer(name) in records or (name, *names) == ("log_ndtr", "normal_hazard"):
            for point in row.points:
                yield Trial("other", partial(test_special.test_derivatives, name, row, point))
    for edge in test_special.EDGES:
        yield Trial("other", partial(test_special.test_edges, *edge))
    for edge in test_special.SECOND_AT_EDGES:
        yield Trial("other", partial(test_special.test_second_derivatives_at_edges, *edge))
    for name in test_special.ANALYTIC:
        yield Trial("other", partial(test_special.test_complex, name))
    for parameter in test_special.BY_PARAMETER:
        if test_special.answer(parameter[0]) in records:
            yield Trial(
                "other", partial(test_special.test_parameters_are_refused_or_flat, *parameter)
            )
    yield Trial("other", test_special.test_complex_far_out)
    yield Trial("other", test_special.test_complex_where_there_is_no_function)
    yield Trial("other", test_special.test_horner)
    yield Trial("other", test_special.test_a_derivative_without_a_function_says_what_to_write)
    yield Trial("other", test_special.test_higher_derivatives_at_zero)
    yield Trial("other", test_special.test_mixed_derivatives_at_zero)


def killer(tried: Iterable[Trial]) -> Trial | None:
    """The first trial that fails, or ``None``."""
    for graph in list(_graph._graphs.values()):  # nothing remembers what another rule gave
        graph._memo.clear()
    return next((trial for trial in tried if trial.fails()), None)


def kinks_differ() -> bool:
    """Whether the page on kinks is another one now."""
    current = kinks_page.PATH.read_text(encoding="utf-8")
    return _fails(lambda: _equal(kinks_page.text(), current))


def _equal(got: str, want: str) -> None:
    assert got == want


def _fails(check: Callable[[], None]) -> bool:
    with warnings.catch_warnings(), np.errstate():
        warnings.simplefilter("error")
        signal.signal(signal.SIGVTALRM, _give_up)
        signal.setitimer(signal.ITIMER_VIRTUAL, FOREVER)
        try:
            check()
        except Exception:
            return True
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return False


def _give_up(*_: Any) -> None:
    raise TimeoutError


FAST = "a shorter way to the same product"
ROUNDING = "the same to rounding, which the dtype of the cotangent hides"
UNREAD = "what comes of it there is not read"
TERM = "one term more of a series that is exact to rounding"
POLES = "the formula for poles holds left of 1/2"
MEETING = "both formulas hold where they meet"
NOISE = "what is rounding is known to a factor only"
FIRST = "a recurrence does not read its first factor"
SEQUENCE = "a list does as well"
ALL_ALIKE = "a batch of one operand alone is done as one of all"

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "scale = ct[1] * np.where(sign == 0",
        "-> ct[1] / np.where(sign == 0, math.nan, 1)",
    ): "a factor of 1 or NaN",
    (
        "unit = np.where(arange_like(a, 2)",
        "-> np.where(np.ones_like(m), arange_like(a, 2)[:, None] == arange_like(a, 2), 0)",
    ): "1 or 0, as a boolean",
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
    ("return tuple(parts)", "tuple(parts) -> parts"): SEQUENCE,
    ("return index, tuple(aligned)", "tuple(aligned) -> aligned"): SEQUENCE,
    ("vjp=lambda ct, y, *cts, indices, shape", " -> [getitem_p(ct, index=i) for i in indices]"): SEQUENCE,
    ("return tuple([x if flag else", " for x, flag in pairs]"): SEQUENCE,
    ("return tuple([d if isinstance(d, Unwritten)", " for d in slopes]"): SEQUENCE,
    ("factors = delayed(flipped(a, axis), axis, 0)", "0 -> 1"): FIRST,
    ("of_previous = np.concatenate([np.zeros_like(", "np.zeros_like(y[first]) -> y[first]"): FIRST,
    ("if starts.ndim > 1", "starts.ndim > 1 -> starts.ndim >= 1"): ALL_ALIKE,
    ("if a.ndim > 1", "a.ndim > 1 -> a.ndim >= 1"): ALL_ALIKE,
    ("if any(batched[1:]) or xp.ndim > 1", "xp.ndim > 1 -> xp.ndim >= 1"): ALL_ALIKE,
    ("raise AssertionError(", "-> 'a primitive without operands is never batched'"): "never reached",
    ("vjp=lambda ct, y, a, b: (np.real(ct)", "np.real(ct) -> ct"): "the engine takes the real part",
    ("if x.size <= _SHORT or length < 16", "-> x.size <= _SHORT and length < 16"): FAST,
    ("if x.size <= _SHORT or length < 16", "x.size <= _SHORT -> x.size < _SHORT"): FAST,
    ("if x.size <= _SHORT or length < 16", "length < 16 -> length <= 16"): FAST,
    ("if x.size <= _SHORT or length < 16", "16 -> 17"): FAST,
    ("if len(axis) == 1", "len(axis) -> axis"): FAST,
    ("if n <= length", "n <= length -> n < length"): FAST,
    ("kept = at_places if unique else", "np.where(_is_last(ct, places), at_places, 0)"): FAST,
    ("while step < values.size", "step < values.size -> step <= values.size"): FAST,
    ("winner = scatter(nobody", "False -> True"): "integers have no derivative",
    ("if length % 2:", ""): "of an even length there is no rest",
    ("start, stop = _bounds(n, m, mode)", "-> _bounds(m, n, mode)"): "a convolution is symmetric",
    ("short, long = sorted((n, m))", "(n, m) -> (m, n)"): "they are sorted",
    ("width = np.where(width == 0, 1, width)", "1 -> 2"): "nothing is in a piece without a width",
    ("weight = np.where(inside, weight, behind", "behind.astype(xp.dtype) -> behind"): "promoted",
    ("if any(batched[1:]) or xp.ndim > 1", "any(batched[1:]) -> batched[1:]"): ALL_ALIKE,
    ("if any(batched[1:]) or xp.ndim > 1", "1 -> 2"): "samples of several examples have two axes",
    ("place = names.index(axis) if axis in names else 0", "0 -> 1"): "read of batched operands only",
    ("operands, length = [], 0", "0 -> 1"): "there is a batched operand",
    ("if a.shape[-2] > k", "a.shape[-2] > k -> a.shape[-2] >= k"): "all vectors: nothing is outside",
    ("if a.shape[-1] > k", "a.shape[-1] > k -> a.shape[-1] >= k"): "all vectors: nothing is outside",
    ("cutoff = max(a.shape[-2:]) * float(np.finfo(wide).eps)", "-> np.finfo(wide).eps"): "a number",
    ("cutoff = max(a.shape[-2:]) * float(np.finfo(wide).eps)", "-> float(np.finfo(wide).eps)"): NOISE,
    ("cutoff = max(a.shape[-2:]) * float(np.finfo(wide).eps)", "2 -> 3"): NOISE,
    ("cutoff = max(a.shape[-2:]) * float(np.finfo(wide).eps)", "else rcond -> rcond"): NOISE,
    ("np.copysign, lambda y, a, b", "np.sign(a) / np.copysign(1, b)"): "divided by ±1",
    ("if any(isinstance(x, (int, float)) and", "(int, float) -> (float, int)"): "a set of types",
    ("return bool(axes == ", "-> axes == (*range(last - 1), last, last - 1)"): "a truth value",
    ("eps = float(np.finfo(values.dtype).eps)", "-> np.finfo(values.dtype).eps"): "a number",
    ("return np.expand_dims(x, (-2, -1))", "(-2, -1) -> (-1, -2)"): "a set of axes",
    ("return weights.astype(", "weights.astype(real_dtype(x.dtype)) -> weights"): ROUNDING,
    ("return weights.astype(real_dtype(x.dtype))", "real_dtype(x.dtype) -> x.dtype"): "weights are real",
    ("weights = np.where(row > place, 1.0", "float(diagonal) -> diagonal"): "a number",
    ("return n * eps * np.max(np.abs(values)", "n * eps -> eps"): NOISE,
    ("last = len(axes) - 1", "len(axes) - 1 -> 1"): FAST,
    ("return bool(axes == ", "last - 1 -> 1 - last"): FAST,
    ("return bool(axes == ", "1 -> 2"): FAST,
    ("place = arange_like(x, x.shape[-1])", "1 -> 2"): "square",
    ("return np.where(small, 0, 1 / np.where(small, 1, x))", "1 -> 2"): UNREAD,
    ("real = np.where(np.imag(v) == 0, np.abs(v), -1)", "np.abs(v) -> v"): "LAPACK makes it positive",
    ("real = np.where(np.imag(v) == 0, np.abs(v), -1)", "1 -> 2"): "any negative number",
    ("pivot = arange_like(v, v.shape[-1])", "1 -> 2"): "square",
    ("length = np.sum(np.where(pivot, np.real(v), 0)", "np.real(v) -> v"): "it is real there",
    ("product, n = u @ v.mT, inverse.shape[-1]", "1 -> 2"): "square",
    ("if rest.shape[-1]:", ""): "without others, a product without columns",
    ("x = p @ b if narrow else y[0]", "p @ b if narrow else y[0] -> p @ b"): FAST,
    ("return choose(np.abs(x) < 1, ", "np.abs(x) < 1 -> np.abs(x) <= 1"): MEETING,
    ("return choose(np.abs(x) < 0.1, ", "np.abs(x) < 0.1 -> np.abs(x) <= 0.1"): MEETING,
    ("return -choose(np.abs(x - 1) < 0.1, ", "< 0.1 -> np.abs(x - 1) <= 0.1"): MEETING,
    ("return np.where(x > 10, far(", "x > 10 -> x >= 10"): MEETING,
    ("distant = np.abs(x) > 10", "np.abs(x) > 10 -> np.abs(x) >= 10"): MEETING,
    ("distant = np.abs(x) > 10", "10 -> 11"): MEETING,
    ("tail = x < -14", "x < -14 -> x <= -14"): MEETING,
    ("distant = np.abs(x) > 10", ""): MEETING,
    ("first, second = ((of_left, left)", "-> ((of_right, left + 1), (of_left, left))"): "a sum of two",
    ("series = lambda t: horner(t * t, ", "9 -> 10"): TERM,
    ("series = lambda t: horner(t - 1, ", "18 -> 19"): TERM,
    ("above = _times_psi(y, m, lambda at", "at(k + 1) -> k + 1"): "1/Γ is finite where it is not read",
    ("below = _times_psi(y, k + 1, lambda at", "at(m) -> m"): "1/Γ is finite where it is not read",
    ("factor = rest(lambda z: np.where(pole, z, 1))", "1 -> 2"): UNREAD,
    ("return np.where(pole, at_pole, y * psi(", "1 -> 2"): UNREAD,
    ("reflected = y * (psi(np.where(both, 1 - end, 1))", "1 -> 2"): UNREAD,
    ("return np.where(left, reflected, -psi(", "1 -> 2"): UNREAD,
    ("series = lambda t: horner(t, [1 / (math.factorial(k) * (k + 2))", "19 -> 20"): TERM,
    ("series = lambda t: horner(t, [(k + 1)", "18 -> 19"): TERM,
    ("series = lambda t: horner(t, [(k + 1)", "k + 1 -> k - 1"): "of the same parity",
    ("series = lambda t: horner(t, [(k + 1)", "(k + 1) / (k + 2) / (-1) ** (k + 1)"): "1 / -1 is -1",
    ("tail = x < -14", ""): MEETING,
    ("return choose(np.abs(x) < 1, ", "1 -> 2"): MEETING,
    ("return choose(", "0 -> 1"): UNREAD,
    ("return choose(", "1 -> 2"): UNREAD,
    ("return -choose(", "1 -> 2"): UNREAD,
    ("return -choose(", "2 -> 3"): UNREAD,
    ("return -choose(", "x - 1 -> 1 - x"): "the absolute value of it is taken",
    ("bounded = x if np.iscomplexobj(x)", "40 -> 41"): "exp(-1600) is 0",
    ("direct = 2 * np.where(x > 10, 0, x)", "x > 10 -> x >= 10"): MEETING,
    ("direct = 2 * np.where(x > 10, 0, x)", "10 -> 11"): UNREAD,
    ("direct = 2 * np.where(x > 10, 0, x)", "0 -> 1"): UNREAD,
    ("return np.where(x > 10, far(", "10 -> 11"): UNREAD,
    ("return np.where(distant, far(np.where(distant", "0 -> 1"): UNREAD,
    ("return np.where(distant, far(np.where(distant", "10 -> 11"): UNREAD,
    ("inside = np.where(tail, 0, y)", "0 -> 1"): UNREAD,
    ("return np.where(tail, far(np.where(tail, x, -14))", "-14 -> 14"): UNREAD,
    ("return np.where(tail, far(np.where(tail, x, -14))", "14 -> 15"): UNREAD,
    ("return np.where(tail, far(np.where(tail, x, -14))", "0 -> 1"): UNREAD,
    ("return x / np.where((x == 0) & (y == 0), 1, y)", "1 -> 2"): UNREAD,
    ("return np.where(x == 0, at_zero, rel_entr", "1 -> 2"): UNREAD,
    ("inside = -1 - np.log(np.where(x > 0, x, 1))", "1 -> 2"): UNREAD,
    ("logarithm = np.where(at_zero, 0, logarithm)", "0 -> 1"): UNREAD,
    ("q = r / np.where(delta == 0, 1, delta)", "1 -> 2"): UNREAD,
    ("left = x < 0", ""): "left and right of it, both formulas hold",
    ("_, sine, _ = _turn(np.where(left, x, -0.5))", "0.5"): UNREAD,
    ("_, sine, _ = _turn(np.where(left, x, -0.5))", "0.5 -> 1.5"): UNREAD,
    ("return (x <= 0) & (x == np.floor(x))", "-> x <= 0"): POLES,
    ("return (x <= 0) & (x == np.floor(x))", "np.floor(x) -> x"): POLES,
    ("at_pole = -factor * _rgamma_slope(0, ", "0 -> 1"): UNREAD,
    ("both = _is_pole(z) & _is_pole(end)", "-> _is_pole(end)"): "at a pole of the end alone, y is infinite",
    ("of_end = y * psi(np.where(both, 1, end))", "1 -> 2"): UNREAD,
    ("start = _times_psi(y, np.where(both, 1, z)", "1 -> 2"): UNREAD,
    ("inside = np.where(np.isinf(x), 1, x)", "1 -> 2"): UNREAD,
    ("df = np.where(normal, 1, df)", "1 -> 2"): UNREAD,
    ("before_zero = (np.exp(-x) + y) / np.where(zero, x, 1)", "1 -> 2"): UNREAD,
    ("return np.where(x == 0, 0, a / np.where(x == 0, 1, x))", "1 -> 2"): UNREAD,
    ("return np.where(lowest, 0, polynomial(", "1 -> 2"): UNREAD,
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


@attrs.frozen
class Mutant:
    """One change of one expression, and the codes of functions that it exchanges."""

    line: int
    change: str
    swaps: tuple[tuple[FunctionType, CodeType], ...]


def mutants(module: ModuleType, functions: Iterable[FunctionType]) -> Iterator[Mutant]:
    """The mutants of a module that change one of the functions."""
    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    tree, twin = ast.parse(source), ast.parse(source)
    original = _by_place(tree, module.__file__)
    live: dict[CodeType, list[FunctionType]] = defaultdict(list)
    for function in functions:
        if function.__module__ == module.__name__:
            live[function.__code__].append(function)
    for (line, change), _ in zip(mutated(tree), mutated(twin, beside=True), strict=True):
        try:
            swaps = _swaps(original, _by_place(tree, module.__file__), live)
            if any(f.__code__.co_freevars != code.co_freevars for f, code in swaps):
                swaps = _swaps(original, _by_place(twin, module.__file__), live)
        except (SyntaxError, ValueError):
            continue
        if swaps:
            yield Mutant(line, change, swaps)


def _swaps(original: Any, changed: Any, live: Any) -> tuple[tuple[FunctionType, CodeType], ...]:
    return tuple(
        (function, changed[place])
        for place, old in original.items()
        if old in live and place in changed and _does(old) != _does(changed[place])
        for function in live[old]
    )


def _by_place(tree: ast.Module, file: str) -> dict[Any, CodeType]:
    """All codes by their line and name; those of the same line and name by their order."""
    found: dict[Any, CodeType] = {}
    seen: Counter[Any] = Counter()
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        whole = compile(tree, file, "exec")
    for code in codes(whole):
        place = (code.co_firstlineno, code.co_qualname)
        found[*place, seen[place]] = code
        seen[place] += 1
    return found


@contextmanager
def exchanged(swaps: Iterable[tuple[FunctionType, CodeType]]) -> Iterator[None]:
    """Give functions other codes for a while."""
    old = [(function, function.__code__) for function, _ in swaps]
    try:
        for function, code in swaps:
            function.__code__ = code
        yield
    finally:
        for function, code in old:
            function.__code__ = code


def run(module: ModuleType, table: dict[FunctionType, list[Use]], until: float) -> Counter[str]:
    """Try all mutants of a module, and print those that survive."""
    assert module.__file__ is not None
    lines = Path(module.__file__).read_text(encoding="utf-8").splitlines()
    tried: dict[frozenset[FunctionType], list[Trial]] = {}
    counts: Counter[str] = Counter()
    sound: set[Trial] = set()
    for mutant in mutants(module, table):
        if time.process_time() > until:
            counts["not tried"] += 1
            continue
        functions = frozenset(function for function, _ in mutant.swaps)
        if functions not in tried:
            tried[functions] = trials([use for function in functions for use in table[function]])
        order = tried[functions]
        with exchanged(mutant.swaps):
            by = killer(order)
            kinks = by is None and kinks_differ()
        if by and by not in sound:
            assert not killer([by]), f"without a mutant, {by} fails too"
            sound.add(by)
        if by:
            order.remove(by)
            order.insert(0, by)  # it likely sees what else is wrong there
        if by or kinks:
            counts["killed"] += 1
            counts[by.check if by else "kinks"] += 1
            continue
        reason = explanation(lines[mutant.line - 1], mutant.change)
        counts["equivalent" if reason else "survived"] += 1
        if not reason:
            print(f"{module.__name__}:{mutant.line}: {mutant.change}", flush=True)
    return counts


def every_module() -> list[str]:
    """The modules of ``fungrad.ops`` that hold a rule."""
    return sorted({f.__module__.removeprefix("fungrad.ops.") for f in uses()})


COLUMNS = ("killed", "equivalent", "survived", "not tried")


def line(name: str, counts: Counter[str]) -> str:
    """A row of the table."""
    cells = [name, str(sum(counts[c] for c in COLUMNS)), *[str(counts[c]) for c in COLUMNS]]
    by = ", ".join(f"{n} {check}" for check, n in counts.most_common() if check in CHECKS_USED)
    return f"| {' | '.join(cells)} | {by} |"


def main(names: list[str], limit: float) -> int:
    """Run for the modules of these names, or for all; 1 if a mutant survived without a reason."""
    table = uses()
    total: Counter[str] = Counter()
    print(f"| module | mutants | {' | '.join(COLUMNS)} | killed by |\n|---|{'---:|' * 5}---|")
    for name in names or every_module():
        module = import_module(f"fungrad.ops.{name}")
        counts = run(module, table, time.process_time() + limit)
        print(line(name, counts), flush=True)
        total += counts
    print(line("all", total))
    return int(total["survived"] > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="modules of fungrad.ops; all if none is named")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds for each module")
    arguments = parser.parse_args()
    sys.exit(main(arguments.names, arguments.limit))
