"""The interpreter: computes nodes with NumPy, one at a time.

Row 3. In: a graph and arrays, or single nodes and what is known of the inputs. Out: arrays. It
runs first calls and answers questions at trace time; ``compile`` produces the same bits faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fungrad._aval import SCALAR_TYPES
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph, last_uses


def as_operand(value: Any) -> Any:
    """A Python number as the NumPy scalar that programs compute with; arrays as they are."""
    dtype = SCALAR_TYPES.get(type(value))
    return value if dtype is None else dtype.type(value)


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
    values: dict[Expr, Any] = dict(zip(graph.inputs, map(as_operand, inputs), strict=True))
    last: dict[Expr, int] = graph.memo("last_uses", lambda: last_uses(graph))
    for position, node in enumerate(graph.nodes):
        values[node] = apply(node, [_value(arg, values) for arg in node.args])
        for arg in node.args:
            if last[arg] == position and arg in values:
                del values[arg]
    return [as_operand(_value(output, values)) for output in graph.outputs]


def compute(node: Expr, memo: dict[Expr, Any], of_input: Callable[[Input], Any]) -> Any:
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
