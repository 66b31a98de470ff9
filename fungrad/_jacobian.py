"""Graphs of all derivatives at once: one batched pullback or pushforward, without a loop.

Row 7. In: a graph. Out: the graph of the blocks of its Jacobian. Each block has a pullback (or
pushforward) of its own, and so treats all others as zeros; what they share is computed once, because
equal nodes are one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._batch import batch
from fungrad._diagonal import without_identities
from fungrad._expr import Expr
from fungrad._graph import Graph, make_graph, substitute
from fungrad._jvp import along_one, linearized
from fungrad._tracer import Rewrite, Tracer
from fungrad._vjp import Positions, pullback
from fungrad.ops.creation import eye, full
from fungrad.ops.shape import cast_like


def slope(graph: Graph) -> Graph:
    """The graph ``inputs -> tangent of output 0`` for the tangent 1 of input 0."""

    def derive() -> Graph:
        out, into = graph.outputs[0].aval, graph.inputs[0].aval
        trace = Rewrite([node.aval for node in graph.inputs])
        return make_graph(trace.avals, [_cast(along_one(trace, graph, 0), out, into)])

    result: Graph = graph.memo("slope", derive)
    return result


def jacobian_by_rows(graph: Graph, wrt: Positions, outputs: Positions) -> Graph:
    """The graph ``inputs -> blocks``, by reverse mode, for each output and then each input.

    A block has the shape of the output followed by that of the input.
    """

    def derive() -> Graph:
        trace = Rewrite([node.aval for node in graph.inputs])
        blocks: list[Expr] = []
        for position in outputs:
            out = graph.outputs[position].aval
            back = pullback(graph, wrt, (position,) if out.inexact else ())
            cts = _mapped(trace, back, len(graph.inputs), out if out.inexact else None)
            for i, ct in zip(wrt, cts, strict=True):
                into = graph.inputs[i].aval
                shape = out.shape + into.shape
                ct = ct.reshape(shape) if out.inexact else np.broadcast_to(ct, shape)
                blocks.append(_cast(ct, out, into))
        return make_graph(trace.avals, without_identities(trace, blocks))

    result: Graph = graph.memo(("jacobian_by_rows", wrt, outputs), derive)
    return result


def jacobian_by_columns(graph: Graph, wrt: Positions, outputs: Positions) -> Graph:
    """The same by forward mode."""

    def derive() -> Graph:
        trace = Rewrite([node.aval for node in graph.inputs])
        columns = []
        for i in wrt:
            into = graph.inputs[i].aval
            forth = linearized(graph, (i,), outputs)
            tangents = _mapped(trace, forth, len(graph.inputs), into)
            for position, tangent in zip(outputs, tangents, strict=True):
                out = graph.outputs[position].aval
                if into.shape:
                    tangent = np.moveaxis(tangent, 0, -1).reshape(out.shape + into.shape)
                columns.append(_cast(tangent, out, into))
        count = len(outputs)
        blocks = [columns[j] for k in range(count) for j in range(k, len(columns), count)]
        return make_graph(trace.avals, without_identities(trace, blocks))

    result: Graph = graph.memo(("jacobian_by_columns", wrt, outputs), derive)
    return result


def _mapped(trace: Rewrite, linear: Graph, known: int, aval: Aval | None) -> list[Any]:
    """A linear program on every unit vector of the value like ``aval`` that is its last input.

    Results have the unit vectors' axis in front; there is none where the value is one number.
    """
    inputs: list[Expr] = list(linear.inputs[:known])
    if aval is None:
        outputs = substitute(linear, inputs)
    elif not aval.shape:
        outputs = substitute(linear, [*inputs, _ones(trace, aval)])
    else:
        flags = (*[False] * known, True)
        units = trace.constant(eye, size=aval.size, dtype=aval.dtype)
        units = units.reshape((aval.size, *aval.shape))
        outputs = substitute(batch(linear, flags, aval.size), [*inputs, units._expr])
    return [Tracer(trace, node) for node in outputs]


def _ones(trace: Rewrite, aval: Aval) -> Expr:
    return trace.constant(full, shape=aval.shape, value=1, dtype=aval.dtype)._expr


def _cast(block: Any, out: Aval, into: Aval) -> Expr:
    """In the input's dtype, as gradients are; complex if the output is."""
    dtype = into.dtype
    if out.dtype.kind == "c" != dtype.kind:
        dtype = np.result_type(dtype, np.complex64)
    node: Expr = cast_like(block, make_aval(block.shape, dtype, out.weak and into.weak))._expr
    return node
