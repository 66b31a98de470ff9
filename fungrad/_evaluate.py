"""The interpreter: computes nodes with NumPy, one at a time.

Row 3. In: a graph and arrays, or single nodes and what is known of the inputs. Out: arrays. It
runs first calls and answers questions at trace time; ``compile`` produces the same bits faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fungrad._aval import SCALAR_TYPES, Stack
from fungrad._config import settings
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph, last_reads
from fungrad._primitive import Primitive
from fungrad._provenance import Recording, recording
from fungrad.errors import NonFiniteError


def as_operand(value: Any) -> Any:
    """A Python number as the NumPy scalar that programs compute with; arrays as they are."""
    dtype = SCALAR_TYPES.get(type(value))
    if dtype is None:
        return value
    try:
        return dtype.type(value)
    except OverflowError:
        raise too_large() from None


def too_large() -> OverflowError:
    """The error for a Python integer that no program can compute with."""
    return OverflowError(
        "Python int too large: in traced programs Python integers have 64 bits; write: float(n), or "
        "static_argnums= (static_argnames=) of fg.jit for what is to stay an integer of Python's"
    )


def apply(node: Expr, operands: Sequence[Any]) -> Any:
    """The value of one operation."""
    assert node.primitive is not None
    if node.static:
        return node.primitive.value(*operands, **dict(node.static))
    return node.primitive.value(*operands)


def interpret(graph: Graph, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of ``graph``; values that nobody reads any more are dropped on the way.

    Outputs may be inputs, or views of inputs or of each other: see ``compile.run``.
    """
    record = recording()
    if record is not None:
        return list(record.during(lambda: _watched(graph, inputs, record)))
    values: dict[Expr, Any] = dict(zip(graph.inputs, map(as_operand, inputs), strict=True))
    last: list[list[Expr]] = graph.memo("last_reads", lambda: last_reads(graph))
    over: dict[Expr, Expr] = graph.memo("overwritten", lambda: _overwritten(graph, last))
    for node, read in zip(graph.nodes, last, strict=True):
        target = values[over[node]] if node in over else None
        if target is not None and target.flags.c_contiguous:  # as the result would be
            operands = [arg.value if type(arg) is Literal else values[arg] for arg in node.args]
            values[node] = node.primitive.value(*operands, out=target)  # type: ignore[union-attr]
            del operands
        else:
            values[node] = apply(
                node, [arg.value if type(arg) is Literal else values[arg] for arg in node.args]
            )
        for arg in read:
            del values[arg]
    return [as_operand(_value(output, values)) for output in graph.outputs]


def _overwritten(graph: Graph, last: Sequence[Sequence[Expr]]) -> dict[Expr, Expr]:
    """The operands over which results are written, as nobody else has them or reads them again."""
    candidates: list[tuple[Expr, Expr]] = []
    for node, read in zip(graph.nodes, last, strict=True):
        primitive, aval = node.primitive, node.aval
        assert primitive is not None
        # Complex products round differently where an operand is overwritten.
        if not read or not aval.shape or not primitive.elementwise or aval.dtype.kind == "c":
            continue
        if isinstance(primitive.value, np.ufunc):
            fitting = [arg for arg in read if arg.aval is aval and _is_plain(arg.primitive)]
            candidates += [(node, arg) for arg in fitting]
    if not candidates:
        return {}
    shared: set[Expr] = set()
    for node in graph.nodes:
        if not _is_plain(node.primitive):
            shared.update(node.args)
    return {node: arg for node, arg in candidates if arg not in shared}


@lru_cache(maxsize=4096)
def _is_plain(primitive: Primitive | None) -> bool:
    """Whether NumPy itself computes the value, in memory that is new, and then has no reference."""
    if primitive is None or not primitive.fresh:
        return False
    return isinstance(primitive.value, np.ufunc) or isinstance(primitive.template, str)


def _watched(graph: Graph, inputs: Sequence[Any], record: Recording) -> list[Any]:
    """``interpret``, telling which node it computes, and stopping at NaN where that is asked."""
    values: dict[Expr, Any] = dict(zip(graph.inputs, map(as_operand, inputs), strict=True))
    stops = settings().debug_nans
    for node in graph.nodes:
        record.current = node
        operands = [_value(arg, values) for arg in node.args]
        if stops:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                values[node] = apply(node, operands)
            if operands and all(map(_is_finite, operands)):
                _check_finite(node, values[node])
        else:
            values[node] = apply(node, operands)
    return [as_operand(_value(output, values)) for output in graph.outputs]


def _arrays(value: Any) -> Iterator[Any]:
    """The arrays that a value consists of: several results, or what a loop has stacked."""
    if isinstance(value, (tuple, list)):
        for one in value:
            yield from _arrays(one)
    elif isinstance(value, Stack):
        yield from _arrays(value.values or ())
    else:
        yield value


def _is_finite(value: Any) -> bool:
    kinds = ((one, np.result_type(one).kind) for one in _arrays(value))
    return all(kind not in "fc" or bool(np.all(np.isfinite(one))) for one, kind in kinds)


def _check_finite(node: Expr, value: Any) -> None:
    """Raise ``NonFiniteError`` if the value of ``node`` has an entry that is not finite."""
    for one in _arrays(value):
        if not _is_finite(one):
            wrong = np.argwhere(~np.isfinite(one))
            first = tuple(wrong[0].tolist())
            assert node.primitive is not None
            where = f" at {first}, and {len(wrong)} of {np.size(one)} entries" if first else ""
            operands = [repr(x.value if isinstance(x, Literal) else x.aval) for x in node.args]
            raise NonFiniteError(
                f"{node.primitive.name} gave {np.asarray(one)[first]}{where} from finite operands "
                f"({', '.join(operands)}); write: np.where(ok, x, 1.0) before the operation, and "
                "np.where(ok, result, value) after it"
            )


def compute(
    node: Expr,
    memo: dict[Expr, Any],
    of_input: Callable[[Input], Any],
    apply: Callable[[Expr, Sequence[Any]], Any] = apply,
) -> Any:
    """The value of one node inside a running trace; everything computed stays in ``memo``."""
    pending = [node]
    while pending:
        target = pending[-1]
        if target in memo:
            pending.pop()
        elif isinstance(target, Literal):
            memo[target] = as_operand(target.value)
        elif isinstance(target, Input):
            memo[target] = as_operand(of_input(target))
        else:
            missing = [a for a in target.args if a not in memo and not isinstance(a, Literal)]
            if missing:
                pending += missing
            else:
                memo[target] = apply(target, [_value(arg, memo) for arg in target.args])
    return memo[node]


def depends(
    node: Expr,
    memo: dict[Expr, bool],
    on_input: Callable[[Input], bool],
    through: Callable[[Expr], bool],
) -> bool:
    """Whether ``node`` depends on an input with ``on_input``, by operations with ``through``."""

    def of(target: Expr) -> bool:
        return on_input(target) if isinstance(target, Input) else memo.get(target, False)

    pending = [node]
    while pending:
        target = pending[-1]
        missing = [a for a in target.args if a.primitive is not None and a not in memo]
        if target.primitive is None or target in memo:
            pending.pop()
        elif missing:
            pending += missing
        else:
            memo[target] = through(target) and any(map(of, target.args))
    return of(node)


def _value(node: Expr, values: dict[Expr, Any]) -> Any:
    # Literals stay Python numbers, so that NumPy promotes them as weak.
    return node.value if isinstance(node, Literal) else values[node]
