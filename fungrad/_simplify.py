"""Value-preserving rewrites: the same result to the last bit, with fewer operations.

Row 7. In: a graph. Out: a graph. ``x * 1``, ``x - 0``, double transposes and arithmetic on
constants go; ``x * 0`` and ``x + 0`` stay, because NaN, infinity and -0.0 would change.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad._aval import Aval
from fungrad._evaluate import apply
from fungrad._expr import Expr, Literal, with_args
from fungrad._graph import Graph, make_graph, substitute
from fungrad._primitive import Primitive, item
from fungrad.ops import elementwise, shape
from fungrad.ops.creation import full

Rewrite = Callable[[Expr], Expr | None]
graph_rewrites: list[Callable[[Graph], Graph]] = []
"""What rewrites whole graphs, before the nodes: modules of later rows add to it."""


def simplify(graph: Graph) -> Graph:
    """``graph`` with every rewrite applied, arguments first; a single pass."""

    def derive() -> Graph:
        new: dict[Expr, Expr] = {}
        flat = expand(graph)
        for rewrite in graph_rewrites:
            flat = rewrite(flat)
        for node in flat.nodes:
            new[node] = _rewritten(with_args(node, tuple([new.get(arg, arg) for arg in node.args])))
        return make_graph(
            [node.aval for node in flat.inputs], [new.get(out, out) for out in flat.outputs]
        )

    result: Graph = graph.memo("simplified", derive)
    return result


def expand(graph: Graph) -> Graph:
    """``graph`` with the operations of the graphs that its calls hold, in the place of the calls.

    A call keeps together what has a derivative of its own; when a program is to run, no derivative
    is taken of it any more.
    """
    if not any(node.primitive is not None and node.primitive.inlined for node in graph.nodes):
        return graph

    def derive() -> Graph:
        new: dict[Expr, Expr] = {}
        results: dict[Expr, list[Expr]] = {}
        for node in graph.nodes:
            args = tuple([new.get(arg, arg) for arg in node.args])
            assert node.primitive is not None
            if node.primitive.inlined:
                held = expand(dict(node.static)[node.primitive.inlined])
                results[node] = substitute(held, [_as_array(arg) for arg in args])
            elif node.primitive is item and node.args[0] in results:
                index = dict(node.static)["index"]
                new[node] = _as_array(results[node.args[0]][index])
            else:
                new[node] = with_args(node, args)
        return make_graph(
            [node.aval for node in graph.inputs], [new.get(out, out) for out in graph.outputs]
        )

    result: Graph = graph.memo("expanded", derive)
    return result


def _as_array(node: Expr) -> Expr:
    # What reads a result of a call may call a method of it; a literal has none.
    return _constant(node.aval, node.value) if isinstance(node, Literal) else node


def _rewritten(node: Expr) -> Expr:
    while node.primitive is not None:
        better = None
        for rewrite in _REWRITES.get(node.primitive, ()):
            better = rewrite(node)
            if better is not None:
                break
        if better is None and node.args and node.primitive.elementwise:
            better = _folded(node)
        if better is None:
            return node
        node = better
    return node


def _build(primitive: Primitive, args: tuple[Expr, ...], weak: bool = False, **static: Any) -> Expr:
    return primitive.node(args, tuple(static.items()), weak)


def _number(node: Expr) -> Any:
    """The one number that a constant node consists of, or ``None``."""
    if isinstance(node, Literal):
        return node.value
    return dict(node.static)["value"] if node.primitive is full else None


def _constant(aval: Aval, value: Any) -> Expr:
    return _build(full, (), aval.weak, shape=aval.shape, value=value, dtype=aval.dtype)


def _same(node: Expr, arg: Expr) -> bool:
    """Whether ``arg`` can stand for ``node``."""
    return arg.aval is node.aval


def _folded(node: Expr) -> Expr | None:
    """Elementwise arithmetic on constants, done now by the operation itself on 0-d operands."""
    if any(_number(arg) is None for arg in node.args):
        return None
    operands = [
        arg.value if isinstance(arg, Literal) else arg.aval.dtype.type(_number(arg))
        for arg in node.args
    ]
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        try:
            value = apply(node, operands)
        except (ArithmeticError, Warning, ValueError):
            return None  # what it warns of, it shall warn of when it runs
    return _constant(node.aval, value.item())


def _drops(neutral: int, position: int) -> Rewrite:
    """``x ∘ neutral → x``: the operand at ``position`` is the neutral one, exactly."""

    def rewrite(node: Expr) -> Expr | None:
        if node.aval.dtype.kind == "c" and node.primitive is not elementwise.subtract:
            return None  # x * (1 + 0j) adds products with 0, which change the sign of zeros
        other, constant = node.args[1 - position], _number(node.args[position])
        # -0.0 == 0, but x - (-0.0) is not x for x = -0.0.
        if constant is None or constant != neutral or np.signbit(np.real(constant)):
            return None
        # A literal is no array: what follows may call a method of it.
        return other if _same(node, other) and not isinstance(other, Literal) else None

    return rewrite


def _narrows(position: int) -> Rewrite:
    """A full array beside an operand of the result's shape: a 0-d constant does as well."""

    def rewrite(node: Expr) -> Expr | None:
        constant, other = node.args[position], node.args[1 - position]
        if constant.primitive is not full or not constant.aval.shape:
            return None
        if other.aval.shape != node.aval.shape:
            return None
        static = dict(constant.static)
        scalar = _build(full, (), shape=(), value=static["value"], dtype=static["dtype"])
        args = (scalar, other) if position == 0 else (other, scalar)
        assert node.primitive is not None
        return _build(node.primitive, args, node.aval.weak)

    return rewrite


def _undone(node: Expr) -> Expr | None:
    """``-(-x) → x``."""
    arg = node.args[0]
    if arg.primitive is not node.primitive or not _same(node, arg.args[0]):
        return None
    return arg.args[0]


def _moved_constant(node: Expr) -> Expr | None:
    """A constant array, reshaped, transposed, broadcast or cast, is a constant array."""
    value = _number(node.args[0])
    if value is None or (node.primitive is shape.astype_p and not _casts_exactly(node, value)):
        return None
    return _constant(node.aval, value)


def _casts_exactly(node: Expr, value: Any) -> bool:
    # Whether casting twice is casting once; a number like 0.1 may differ, 1.0 does not.
    return (
        bool(value == int(value))
        if isinstance(value, (bool, int, float)) and np.isfinite(value) and abs(value) < 2048
        else False
    )


def _composed_reshape(node: Expr) -> Expr | None:
    arg = node.args[0]
    if arg.primitive is not shape.reshape_p:
        return arg if _same(node, arg) else None
    source = arg.args[0]
    return source if _same(node, source) else with_args(node, (source,))


def _composed_transpose(node: Expr) -> Expr | None:
    arg = node.args[0]
    if arg.primitive is not shape.transpose_p:
        return None
    outer, inner = dict(node.static)["axes"], dict(arg.static)["axes"]
    axes = tuple([inner[i] for i in outer])
    source = arg.args[0]
    return (
        source
        if axes == tuple(range(len(axes)))
        else _build(shape.transpose_p, (source,), axes=axes)
    )


_REWRITES: dict[Primitive, tuple[Rewrite, ...]] = {
    elementwise.multiply: (_drops(1, 0), _drops(1, 1), _narrows(0), _narrows(1)),
    elementwise.divide: (_drops(1, 1), _narrows(0), _narrows(1)),
    elementwise.add: (_narrows(0), _narrows(1)),
    elementwise.subtract: (_drops(0, 1), _narrows(0), _narrows(1)),
    elementwise.negative: (_undone,),
    elementwise.conjugate: (_undone,),
    shape.reshape_p: (_moved_constant, _composed_reshape),
    shape.transpose_p: (_moved_constant, _composed_transpose),
    shape.broadcast_to_p: (_moved_constant,),
    shape.astype_p: (_moved_constant,),
}
