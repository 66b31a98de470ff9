"""What a program computes from nothing: done once, when it is compiled, instead of at every call.

In: a graph. Out: a graph with more inputs, and the arrays to give it for them.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fungrad._aval import TupleAval
from fungrad._evaluate import apply
from fungrad._expr import Expr, Literal, make_input, with_args
from fungrad._graph import Graph, make_graph
from fungrad.ops.creation import full

LARGEST = 1 << 16
"""Up to how many entries an array is kept for all calls to come."""
MOST = 1 << 18
"""How many entries may be kept for one program."""


def hoist(graph: Graph) -> tuple[Graph, list[Any]]:
    """``graph`` with inputs for what depends on none, and the read-only values of these."""
    values: dict[Expr, Any] = {}
    for node in graph.nodes:
        if _is_closed(node, values):
            value = _value(node, values)
            if value is not None:
                values[node] = value
    read = {arg for node in graph.nodes if node not in values for arg in node.args}
    kept: dict[Expr, Any] = {}
    entries = 0
    for node, value in values.items():
        if node in read and node.aval.shape and entries + node.aval.size <= MOST:
            entries += node.aval.size
            kept[node] = value
    if not kept:
        return graph, []
    count = len(graph.inputs)
    new: dict[Expr, Expr] = {node: make_input(count + i, node.aval) for i, node in enumerate(kept)}
    for node in graph.nodes:
        if node not in kept:
            new[node] = with_args(node, tuple([new.get(arg, arg) for arg in node.args]))
    avals = [node.aval for node in (*graph.inputs, *kept)]
    return make_graph(avals, [new.get(out, out) for out in graph.outputs]), list(kept.values())


def _is_closed(node: Expr, values: dict[Expr, Any]) -> bool:
    primitive = node.primitive
    assert primitive is not None
    if isinstance(node.aval, TupleAval) or node.aval.dtype.kind == "O" or node.aval.weak:
        return False
    if node.aval.size > LARGEST or any(isinstance(value, Graph) for _, value in node.static):
        return False
    ours = getattr(primitive.value, "__module__", None) or "numpy"
    if not (
        isinstance(primitive.value, np.ufunc) or primitive.template or ours.startswith("fungrad.")
    ):
        return False  # a value that a user wrote may do anything
    return all(isinstance(arg, Literal) or arg in values for arg in node.args)


def _value(node: Expr, values: dict[Expr, Any]) -> Any:
    """The value, read-only; ``None`` if computing it warns or fails, which is left to each run."""
    operands = [arg.value if isinstance(arg, Literal) else values[arg] for arg in node.args]
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        try:
            value = apply(node, operands)
        except Exception:
            return None
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
        if node.aval.shape and not value.flags.c_contiguous and node.primitive is not full:
            return None
    return value
