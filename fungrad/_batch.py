"""Batching: one graph that treats every example of a batch at once.

Row 7. In: a graph of one example, and which inputs come in batches. Out: a graph over the batch.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np

from fungrad._aval import StackAval, TupleAval
from fungrad._expr import Expr, Literal, with_args
from fungrad._graph import Graph, make_graph
from fungrad._primitive import Same, Unwritten, item
from fungrad._tracer import Rewrite, Tracer
from fungrad.errors import ShapeMismatchError, UnsupportedFunctionError
from fungrad.ops.creation import full
from fungrad.ops.stacks import batched_aval, stack_spread


def batch(graph: Graph, batched: tuple[bool, ...], size: int, once: tuple[bool, ...] = ()) -> Graph:
    """``graph`` with a leading axis of length ``size`` on the marked inputs and on all outputs.

    Outputs marked in ``once``, which must not vary, have none.
    """

    def derive() -> Graph:
        trace, outputs = _mapped(graph, batched, size)
        nodes = [
            one._expr if varies or single else _spread(trace, one, size)._expr
            for (one, varies), single in zip_longest(outputs, once)
        ]
        return make_graph(trace.avals, nodes)

    result: Graph = graph.memo(("batch", batched, size, once), derive)
    return result


def varying(graph: Graph, batched: tuple[bool, ...], size: int) -> tuple[bool, ...]:
    """Which outputs differ by example if the marked inputs do."""
    return tuple([varies for _, varies in _mapped(graph, batched, size)[1]])


def _mapped(
    graph: Graph, batched: tuple[bool, ...], size: int
) -> tuple[Rewrite, list[tuple[Tracer, bool]]]:
    """For each output its batch, and ``True``; or its value, which all examples share."""

    def derive() -> tuple[Rewrite, list[tuple[Tracer, bool]]]:
        avals = [
            batched_aval(node.aval, size) if flag else node.aval
            for node, flag in zip(graph.inputs, batched, strict=True)
        ]
        trace = Rewrite(avals)
        new: dict[Expr, Any] = {
            node: tracer
            for node, tracer, flag in zip(graph.inputs, trace.tracers(), batched, strict=True)
            if flag
        }
        same: dict[Expr, Expr] = {}
        for node in graph.nodes:
            if node.primitive is item and node.args[0] in new:
                part = new[node.args[0]][dict(node.static)["index"]]
                if isinstance(part, Same):
                    same[node] = part.value._expr
                else:
                    new[node] = part
            elif any(arg in new for arg in node.args):
                new[node] = _apply_rule(trace, node, new, same, size)
            elif any(arg in same for arg in node.args):
                same[node] = with_args(node, tuple([same.get(arg, arg) for arg in node.args]))
        return trace, [
            (new[out], True) if out in new else (_shared(trace, same.get(out, out)), False)
            for out in graph.outputs
        ]

    result: tuple[Rewrite, list[tuple[Tracer, bool]]] = graph.memo(
        ("mapped", batched, size), derive
    )
    return result


def _apply_rule(
    trace: Rewrite, node: Expr, new: dict[Expr, Any], same: dict[Expr, Expr], size: int
) -> Any:
    primitive = node.primitive
    assert primitive is not None
    trace.rewriting(node, differentiates=False)
    if isinstance(primitive.batch, Unwritten):
        raise UnsupportedFunctionError(
            f"{primitive.name} can't be batched yet: {primitive.batch.reason}"
        )
    flags = tuple([arg in new for arg in node.args])
    operands = [new[arg] if arg in new else trace.tracer(same.get(arg, arg)) for arg in node.args]
    out: Any = primitive.batch(flags, size, *operands, **dict(node.static))
    several = isinstance(node.aval, TupleAval)
    avals = node.aval.avals if isinstance(node.aval, TupleAval) else (node.aval,)
    for one, aval in zip(out if several else (out,), avals, strict=True):
        want = batched_aval(aval, size)
        if isinstance(one, Same):
            one, want = one.value, aval
        if not isinstance(one, Tracer) or one.aval.with_weak(False) is not want.with_weak(False):
            raise ShapeMismatchError(
                f"the batch rule of {primitive.name} gave {one!r} instead of {want}; write: a rule "
                "that returns the examples along the first axis"
            )
    return out


def _shared(trace: Rewrite, out: Expr) -> Tracer:
    if isinstance(out, Literal):
        return trace.constant(full, shape=(), value=out.value, dtype=out.aval.dtype)
    return Tracer(trace, out)


def _spread(trace: Rewrite, one: Tracer, size: int) -> Any:
    """A value that is the same for all examples, repeated."""
    if isinstance(one.aval, StackAval):
        return stack_spread(one, size=size, axis=0)
    return np.broadcast_to(one, (size, *one.shape))
