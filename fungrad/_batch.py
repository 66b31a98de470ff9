"""Batching: one graph that treats every example of a batch at once.

Row 7. In: a graph of one example, and which inputs come in batches. Out: a graph over the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import TupleAval, make_aval
from fungrad._expr import Expr, Literal
from fungrad._graph import Graph, make_graph
from fungrad._primitive import Unwritten
from fungrad._tracer import Rewrite, Tracer
from fungrad.errors import UnsupportedFunctionError
from fungrad.ops.creation import full


def batch(graph: Graph, batched: tuple[bool, ...], size: int) -> Graph:
    """``graph`` with a leading axis of length ``size`` on the marked inputs and on all outputs."""

    def derive() -> Graph:
        avals = [
            make_aval((size, *node.aval.shape), node.aval.dtype) if flag else node.aval
            for node, flag in zip(graph.inputs, batched, strict=True)
        ]
        trace = Rewrite(avals)
        new: dict[Expr, Any] = {
            node: tracer
            for node, tracer, flag in zip(graph.inputs, trace.tracers(), batched, strict=True)
            if flag
        }
        for node in graph.nodes:
            if any(arg in new for arg in node.args):
                new[node] = _apply_rule(trace, node, new, size)
        return make_graph(avals, [_spread(trace, out, new, size)._expr for out in graph.outputs])

    result: Graph = graph.memo(("batch", batched, size), derive)
    return result


def _apply_rule(trace: Rewrite, node: Expr, new: dict[Expr, Any], size: int) -> Any:
    primitive = node.primitive
    assert primitive is not None
    trace.rewriting(node, differentiates=False)
    if isinstance(primitive.batch, Unwritten):
        raise UnsupportedFunctionError(
            f"{primitive.name} can't be batched yet: {primitive.batch.reason}"
        )
    flags = tuple([arg in new for arg in node.args])
    operands = [new[arg] if arg in new else trace.tracer(arg) for arg in node.args]
    out: Any = primitive.batch(flags, size, *operands, **dict(node.static))
    several = isinstance(node.aval, TupleAval)
    avals = node.aval.avals if isinstance(node.aval, TupleAval) else (node.aval,)
    for one, aval in zip(out if several else (out,), avals, strict=True):
        want = (size, *aval.shape)
        if not isinstance(one, Tracer) or one.shape != want or one.dtype != aval.dtype:
            raise AssertionError(
                f"the batch rule of {primitive.name} gave {one!r} instead of {aval.dtype}{want}"
            )
    return out


def _spread(trace: Rewrite, out: Expr, new: dict[Expr, Any], size: int) -> Any:
    """The batch of an output; one that is the same for all examples is repeated."""
    if out in new:
        return new[out]
    same = (
        trace.constant(full, shape=(), value=out.value, dtype=out.aval.dtype)
        if isinstance(out, Literal)
        else Tracer(trace, out)
    )
    return np.broadcast_to(same, (size, *out.aval.shape))
