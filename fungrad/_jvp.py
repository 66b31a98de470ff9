"""Tangents forwards: graphs that push tangents of inputs through to those of outputs.

Row 7. In: a graph. Out: graphs. There are no rules of its own: the pullback of one operation is
linear in its cotangent, so its transpose is the pushforward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fungrad._aval import TupleAval
from fungrad._expr import Expr, alone, make_input, with_args
from fungrad._graph import Graph, make_graph, substitute, topological
from fungrad._linearity import active_nodes, is_linear, is_zero
from fungrad._primitive import item
from fungrad._provenance import unrecorded
from fungrad._tracer import Rewrite, Tracer
from fungrad._vjp import Positions, filled, fresh_pullback, like, times_one
from fungrad.errors import CotangentError
from fungrad.ops.creation import full


def pushforward(graph: Graph, wrt: Positions, pushed: Positions | None = None) -> Graph:
    """``(inputs, tangent of each input in wrt) -> outputs, tangent of each output in pushed``.

    By default, of each output.
    """

    def derive() -> Graph:
        linear = linearized(graph, wrt, range(len(graph.outputs)) if pushed is None else pushed)
        avals = [node.aval for node in linear.inputs]
        return make_graph(avals, [*graph.outputs, *linear.outputs])

    result: Graph = graph.memo(("pushforward", wrt, pushed), derive)
    return result


def linearized(graph: Graph, wrt: Positions, pushed: Sequence[int]) -> Graph:
    """The graph ``(inputs, tangent of each input in wrt) -> tangent of each output in pushed``.

    Node by node, in the order of the program, so that equal parts of a program have equal
    derivatives: n-th derivatives then grow polynomially in n.
    """

    def derive() -> Graph:
        inputs = [graph.inputs[i] for i in wrt]
        trace = Rewrite([node.aval for node in (*graph.inputs, *inputs)])
        trace.avals[len(graph.inputs) :] = [node.aval.with_weak(False) for node in inputs]
        given = trace.tracers()[len(graph.inputs) :]
        outputs = _forward(trace, graph, pushed, dict(zip(inputs, given, strict=True)))
        return make_graph(trace.avals, outputs)

    result: Graph = graph.memo(("linearized", wrt, tuple(pushed)), derive)
    return result


def along_one(trace: Rewrite, graph: Graph, position: int) -> Tracer:
    """The tangent of output 0 for the tangent 1 of an input."""
    aval = graph.inputs[position].aval
    (tangent,) = _forward(trace, graph, (0,), {graph.inputs[position]: filled(trace, aval, 1)})
    return Tracer(trace, tangent)


def _forward(
    trace: Rewrite, graph: Graph, pushed: Sequence[int], tangents: dict[Expr, Any]
) -> list[Expr]:
    """The tangents of the outputs ``pushed``, from those of some inputs."""
    active = active_nodes(graph, [i for i, node in enumerate(graph.inputs) if node in tangents])
    rules: dict[Any, Graph] = {}
    pushed_outputs = [graph.outputs[i] for i in pushed]
    for node in topological(pushed_outputs):
        if node in active:
            _push(trace, node, tangents, rules)
    return [
        like(tangents[out], out.aval)._expr
        if out in tangents and out.aval.inexact
        else filled(trace, out.aval, 0)._expr
        for out in pushed_outputs
    ]


def _push(trace: Rewrite, node: Expr, tangents: dict[Expr, Any], rules: dict[Any, Graph]) -> None:
    """Note the tangent of ``node``, of each of its results if there are several; no zeros."""
    if node.primitive is item:
        found = tangents.get(node.args[0], {}).get(dict(node.static)["index"])
        if found is not None:
            tangents[node] = found
        return
    places = tuple([k for k, arg in enumerate(node.args) if arg in tangents])
    trace.rewriting(node, differentiates=True)
    if trace.recording is None:
        rule = _rule(node, places, rules)
    else:
        with unrecorded():  # it serves several nodes, and so belongs to none
            rule = _rule(node, places, rules)
    given = [tangents[node.args[k]]._expr for k in places]
    used: dict[Expr, Expr] = dict(zip(rule.inputs, [*node.args, *given], strict=True))
    first = any(ct.primitive is full for ct in given)
    for inner in rule.nodes:
        plain = with_args(inner, tuple([used.get(arg, arg) for arg in inner.args]))
        used[inner] = times_one(plain) if first else plain
        if trace.recording is not None:
            trace.recording.built(used[inner])
    pushed = [used.get(out, out) for out in rule.outputs]
    results = [None if is_zero(out) else Tracer(trace, out) for out in pushed]
    if isinstance(node.aval, TupleAval):
        tangents[node] = {i: out for i, out in enumerate(results) if out is not None}
    elif results[0] is not None:
        tangents[node] = results[0]


def _rule(node: Expr, wrt: Positions, rules: dict[Any, Graph]) -> Graph:
    """The forward rule of an operation on such operands, made once."""
    single = alone(node)
    rule = rules.get((single, wrt))
    if rule is None:
        rule = rules[single, wrt] = _transposed(single, wrt)
    return rule


def _transposed(node: Expr, wrt: Positions) -> Graph:
    """The graph ``(operands, tangent of each in wrt) -> tangent of each result`` of one operation.

    The pullback is linear in its cotangents, so its transpose is the pushforward
    (Radul et al., You Only Linearize Once, POPL 2023, read backwards).
    """
    results: list[Expr] = [node]
    if isinstance(node.aval, TupleAval):
        results = [item.node((node,), (("index", i),)) for i in range(len(node.aval.avals))]
    seeds = tuple([i for i, out in enumerate(results) if out.aval.inexact])
    graph = make_graph([arg.aval for arg in node.args], results)
    count, back = len(graph.inputs), fresh_pullback(graph, wrt, seeds)
    places = tuple(range(count, len(back.inputs)))
    twice = fresh_pullback(back, places, tuple(range(len(wrt))))
    if not is_linear(back, places, twice):
        raise CotangentError(
            "forward mode transposes vjp rules, but one here is not linear in its cotangent, as "
            "when it clips it, adds to it or leaves it out; write: fg.grad or fg.vjp, or a rule "
            "for both modes by fg.custom_jvp"
        )
    avals = [one.aval for one in (*graph.inputs, *twice.inputs[len(back.inputs) :])]
    trace = Rewrite(avals)
    zeros = [filled(trace, one.aval, 0)._expr for one in back.inputs[count:]]
    inputs = [make_input(i, aval) for i, aval in enumerate(avals)]
    tangents = iter(substitute(twice, [*inputs[:count], *zeros, *inputs[count:]]))
    return make_graph(
        avals,
        [
            like(Tracer(trace, next(tangents)), out.aval.with_weak(False))._expr
            if out.aval.inexact
            else filled(trace, out.aval, 0)._expr
            for out in results
        ],
    )
