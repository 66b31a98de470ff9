"""The tests are tested: deliberately wrong rules must be caught by the checks of the matrix.

Each mutant changes one field of one primitive for the length of a test. What has been derived from
graphs before is forgotten on both sides, so that nothing remembers the right rule or the wrong one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import pytest

import fungrad as fg
from fungrad import _graph, _rewrites, _vjp
from fungrad._aval import make_aval
from fungrad._primitive import ZERO, Primitive, Same, registry
from fungrad.compile import memory
from fungrad.control._batch import loop_batch
from fungrad.control._layout import Spec
from fungrad.control._loop import loop_p
from fungrad.control._pullback import loop_vjp
from fungrad.control._switch import switch_vjp
from fungrad.custom._linear import linear_solve
from fungrad.custom.checkpoint import checkpoint_call
from fungrad.errors import FungradError
from fungrad.ops.elementwise import add
from fungrad.ops.indexing import ARRAY, scatter_add_p
from fungrad.ops.reduction import sum_p
from tests._checks import CHECKS, SPECIAL_CHECKS
from tests._domains import Row, all_rows
from tests.laws import test_broadcasting, test_calculus, test_programs

ROWS = all_rows()


@pytest.fixture
def mutate() -> Iterator[Callable[..., None]]:
    """Replace fields of frozen records, and put them back at the end."""
    undo: list[tuple[Primitive, str, Any]] = []

    def replace(record: Primitive, **fields: Any) -> None:
        for name, value in fields.items():
            undo.append((record, name, getattr(record, name)))
            object.__setattr__(record, name, value)

    forget()
    yield replace
    for record, name, value in reversed(undo):
        object.__setattr__(record, name, value)
    forget()


def forget() -> None:
    """Drop everything that is memoised on graphs."""
    for graph in _graph._graphs.values():
        graph._memo.clear()


def scaled_partials(*factors: Callable[..., Any]) -> Callable[..., Any]:
    """A vjp rule from partial derivatives."""
    return lambda ct, y, *x: tuple(ct * factor(y, *x) for factor in factors)


def _overwriting(ct: Any, *arrays: Any, index: Any, shape: Any) -> Any:
    out = np.zeros(shape, ct.dtype)
    rest = iter(arrays)
    out[tuple([next(rest) if item is ARRAY else item for item in index])] = ct
    return out


def _exp_in_place(x: Any) -> Any:
    return np.exp(x, out=x if isinstance(x, np.ndarray) and x.shape else None)


def _mixes_axes(batched: Any, size: int, x: Any, axes: Any) -> Any:
    return np.swapaxes(x.transpose((0, *[i + 1 for i in axes])), 1, -1)


def _forgets_offset(batched: Any, size: int, x: Any, axis: Any, dtype: Any) -> Any:
    return sum_p(np.moveaxis(x, 0, -1), axis=axis, dtype=dtype)


def _matmul_vjp(ct: Any, y: Any, a: Any, b: Any) -> Any:
    return ct @ b if b.ndim > 1 else ct, a @ ct


_call_vjp = registry()["custom_call"].vjp


def _rule_applied_twice(ct: Any, y: Any, *operands: Any, **static: Any) -> Any:
    return [part if part is ZERO else 2 * part for part in _call_vjp(ct, y, *operands, **static)]


def _not_transposed(ct: Any, y: Any, *operands: Any, product: Any, wanted: Any) -> Any:
    solution = linear_solve(*operands[:-1], ct, product=product)
    return [*[-solution * y] * (len(operands) - 1), solution]


def _forward_again(ct: Any, y: Any, *operands: Any, graph: Any, wanted: Any) -> Any:
    outputs = checkpoint_call(*operands, graph=graph)
    return [ct[0] * outputs[0]] * len(operands)


def _always_forwards(ct: Any, y: Any, *operands: Any, wanted: Any, spec: Spec) -> Any:
    def loop(*operands: Any, spec: Spec) -> Any:
        return loop_p(*operands, spec=attrs.evolve(spec, reverse=False))

    return loop_vjp(loop, ct, *operands, wanted=wanted, spec=spec)


def _first_branch(ct: Any, y: Any, index: Any, *operands: Any, **static: Any) -> Any:
    return switch_vjp(ct, y, index * 0, *operands, **static)


def _stacks_unmoved(batched: Any, size: int, *operands: Any, spec: Spec) -> Any:
    results = loop_batch(loop_p, batched, size, operands, spec)
    return tuple(x if isinstance(x, Same) else x[::-1] for x in results)


MUTANTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "the backward pass of a loop goes forwards": (
        "loop", {"vjp": _always_forwards}, "first_order",
    ),
    "a batch of loops in another order": ("loop", {"batch": _stacks_unmoved}, "batch"),
    "the derivative of the first branch": ("switch", {"vjp": _first_branch}, "first_order"),
    "tanh' = 1 - y": ("tanh", {"vjp": scaled_partials(lambda y, x: 1 - y)}, "first_order"),
    "sin' = -cos": ("sin", {"vjp": scaled_partials(lambda y, x: -np.cos(x))}, "first_order"),
    "log' off by 1e-9": (
        "log", {"vjp": scaled_partials(lambda y, x: (1 + 1e-9) / x)}, "first_order",
    ),
    "cosh' is constant for the second derivative": (
        "cosh",
        {"vjp": scaled_partials(lambda y, x: fg.stop_gradient(np.sinh(x)))},
        "second_order",
    ),
    "power with the wrong exponent": (
        "power",
        {"vjp": scaled_partials(lambda y, a, b: b * a**b, lambda y, a, b: y * np.log(a))},
        "first_order",
    ),
    "divide without a sign": (
        "divide",
        {"vjp": scaled_partials(lambda y, a, b: 1 / b, lambda y, a, b: y / b)},
        "first_order",
    ),
    "maximum gives both sides all": ("maximum", {"vjp": lambda ct, y, a, b: (ct, ct)}, "first_order"),
    "maximum gives ties to the first": (
        "maximum",
        {"vjp": lambda ct, y, a, b: (np.where(a >= b, ct, 0), np.where(a >= b, 0, ct))},
        "special_slopes",
    ),
    "hypot divides by 0": (
        "hypot",
        {"vjp": scaled_partials(lambda y, a, b: a / y, lambda y, a, b: b / y)},
        "special_slopes",
    ),
    "arcsin' cancels": (
        "arcsin", {"vjp": scaled_partials(lambda y, x: 1 / np.sqrt(1 - x * x))}, "special_slopes",
    ),
    "sigmoid' cancels": (
        "sigmoid", {"vjp": scaled_partials(lambda y, x: y * (1 - y))}, "special_slopes",
    ),
    "where multiplies by a mask": (
        "where",
        {"vjp": lambda ct, y, c, a, b: (c, ct * (a / a) * c, ct * (b / b) * ~c)},
        "special_slopes",
    ),
    "conjugate for all complex functions": (
        "exp", {"vjp": lambda ct, y, x: (ct * np.conjugate(y),)}, "first_order",
    ),
    "single precision on the way": (
        "square", {"vjp": lambda ct, y, x: ((2 * ct * x).astype(np.float32),)}, "first_order",
    ),
    "sum without broadcasting": (
        "sum", {"vjp": lambda ct, y, x, axis, dtype: (np.expand_dims(ct, axis) * x,)}, "first_order",
    ),
    "max gives all winners all": (
        "max", {"vjp": lambda ct, y, x, axis: (np.expand_dims(ct, axis) + 0 * x,)}, "first_order",
    ),
    "matmul without transposes": ("matmul", {"vjp": _matmul_vjp}, "first_order"),
    "transpose backwards is forwards": (
        "transpose", {"vjp": lambda ct, y, x, axes: (ct.transpose(axes),)}, "first_order",
    ),
    "concatenate gives the parts in reverse": (
        "concatenate", {"vjp": lambda ct, y, *x, axis: (ct,) * len(x)}, "first_order",
    ),
    "getitem forgets where it read": (
        "getitem",
        {"vjp": lambda ct, y, x, *i, index: (np.broadcast_to(ct.sum(), x.shape), *i)},
        "first_order",
    ),
    "scatter overwrites": ("scatter_add", {"value": _overwriting}, "value"),
    "scatter overwrites, in a gradient": (
        "getitem",
        {"vjp": lambda ct, y, x, *i, index: (
            scatter_add_p(ct * (1 if len(i) < 2 else 2), *i, index=index, shape=x.shape), *i)},
        "first_order",
    ),
    "a value that writes into its operand": (
        "exp", {"value": _exp_in_place, "template": None}, "value",
    ),
    "a value that hands back its operand": (
        "positive", {"value": lambda x: x, "template": "{0}"}, "compiled",
    ),
    "a value off in the last place": (
        "tan", {"value": lambda x: np.sin(x) / np.cos(x), "template": None}, "value",
    ),
    "a value without signs of zero": (
        "trunc", {"value": lambda x: np.trunc(x) + 0.0, "template": "(np.trunc({0}) + 0.0)"},
        "special_values",
    ),
    "source that differs from the value": ("sqrt", {"template": "np.cbrt({0})"}, "compiled"),
    "a dtype of its own": (
        "add",
        {"aval": lambda a, b: make_aval(np.broadcast_shapes(a.shape, b.shape), np.dtype(float))},
        "dtypes",
    ),
    "a view called fresh": ("reshape", {"view": False, "fresh": True}, "compiled"),
    "batching that mixes the axes": ("transpose", {"batch": _mixes_axes}, "batch"),
    "batching that moves the examples": ("sum", {"batch": _forgets_offset}, "batch"),
    "batching that aligns from the left": (
        "multiply", {"batch": lambda batched, size, a, b: np.multiply(a, b)}, "batch",
    ),
    "batching that takes the first example for all": (
        "cos", {"batch": lambda batched, size, x: np.cos(x[:1] + 0 * x)}, "batch",
    ),
    "a rule of the user's applied twice": (
        "custom_call", {"vjp": _rule_applied_twice}, "first_order",
    ),
    "cotangents solved for with the matrix itself": (
        "linear_solve", {"vjp": _not_transposed}, "first_order",
    ),
    "a checkpoint that computes again, but no derivative": (
        "checkpoint_call", {"vjp": _forward_again}, "first_order",
    ),
}  # fmt: skip


def check_of(name: str) -> Callable[[Row, Primitive], None]:
    return {**CHECKS, **SPECIAL_CHECKS}[name]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_caught(mutant, mutate):
    name, fields, check = MUTANTS[mutant]
    mutate(registry()[name], **fields)
    # A check sees a wrong number; sometimes the engine sees a wrong shape before that.
    with pytest.raises((AssertionError, FungradError)):
        check_of(check)(ROWS[name], registry()[name])


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_same_check_passes_without_the_mutant(mutant):
    name, _, check = MUTANTS[mutant]
    check_of(check)(ROWS[name], registry()[name])


# --- the engine ----------------------------------------------------------------------------------


def _overwrites(cts: Any, node: Any, ct: Any) -> None:
    cts[node] = [ct]


ENGINE_MUTANTS: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "cotangents of several paths are not added": (
        _vjp, "_accumulate", _overwrites,
        test_calculus.test_an_input_used_twice_sums_over_both_paths,
    ),
    "un-broadcasting takes the largest": (
        _vjp, "summed", lambda part, axes: np.max(part, axes),
        lambda: test_broadcasting.test_of_arithmetic(np.add),
    ),
    "x + 0 is x": (
        _rewrites, "_applicable",
        lambda primitive, without: (_rewrites.drops(0, 1),) if primitive is add else (),
        test_programs.test_simplification_keeps_nan_infinity_and_signs_of_zero,
    ),
    "views are taken for arrays of their own": (
        memory, "roots", lambda graph: {node: node for node in graph.nodes},
        test_programs.test_interpreted_simplified_and_compiled_programs_give_the_same_bits,
    ),
    "results may share memory with inputs": (
        sys.modules["fungrad.compile.source"], "finishes", lambda graph: (memory.FRESH,) * len(graph.outputs),
        test_programs.test_results_belong_to_the_caller,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", ENGINE_MUTANTS)
def test_mutants_of_the_engine_are_caught(mutant, mutate, monkeypatch):
    module, name, replacement, law = ENGINE_MUTANTS[mutant]
    monkeypatch.setattr(module, name, replacement)
    # Hypothesis groups the failures if it finds several.
    with pytest.raises((AssertionError, ExceptionGroup)):
        law()
