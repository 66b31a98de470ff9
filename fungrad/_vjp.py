"""Derivatives of graphs: cotangents backwards, tangents forwards, and what can be computed before.

Row 7. In: a graph. Out: graphs. Un-broadcasting happens here and nowhere else: whatever a rule
returns is summed over the axes along which its operand was broadcast, as visible nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from fungrad._aval import Aval, StackAval, TupleAval
from fungrad._expr import Expr, Literal, alone, make_input, with_args
from fungrad._graph import Graph, cut, make_graph, substitute, topological
from fungrad._linearity import active_nodes, is_linear, is_zero
from fungrad._masks import added, narrowed, passed, under
from fungrad._primitive import INDEX, ZERO, Masked, Part, Unwritten, item
from fungrad._provenance import unrecorded
from fungrad._rewrites import drops
from fungrad._shared import MANY, joined
from fungrad._tracer import Rewrite, Tracer
from fungrad.errors import CotangentError, UnsupportedFunctionError
from fungrad.ops.creation import full
from fungrad.ops.elementwise import multiply, selected
from fungrad.ops.indexing import is_scattered, scattered
from fungrad.ops.shape import astype_p, cast_like
from fungrad.ops.stacks import stack_add, stack_zeros
from fungrad.ops.sums import summed

Positions = tuple[int, ...]


def pullback(graph: Graph, wrt: Positions, seeds: Positions) -> Graph:
    """The graph ``(inputs, ct of each output in seeds) -> ct of each input in wrt``."""
    result: Graph = graph.memo(("pullback", wrt, seeds), lambda: _pullback(graph, wrt, seeds))
    return result


def _pullback(graph: Graph, wrt: Positions, seeds: Positions) -> Graph:
    avals = [node.aval for node in graph.inputs]
    ct_avals = [graph.outputs[i].aval.with_weak(False) for i in seeds]
    trace = Rewrite([*avals, *ct_avals])
    cts = trace.tracers()[len(avals) :]
    outputs = _backward(trace, graph, wrt, dict(zip(seeds, cts, strict=True)))
    return make_graph(trace.avals, outputs)


def gradient(graph: Graph, wrt: Positions, with_outputs: bool) -> Graph:
    """The graph ``inputs -> (outputs,) gradients of output 0``, its cotangent being 1."""

    def derive() -> Graph:
        avals = [node.aval for node in graph.inputs]
        trace = Rewrite(avals)
        cts = _slope_of_number(trace, graph, wrt)
        if cts is None:
            cts = _backward(trace, graph, wrt, {0: _full(trace, graph.outputs[0].aval, 1)})
        return make_graph(avals, [*(graph.outputs if with_outputs else graph.outputs[1:]), *cts])

    result: Graph = graph.memo(("gradient", wrt, with_outputs), derive)
    return result


def _slope_of_number(trace: Rewrite, graph: Graph, wrt: Positions) -> list[Expr] | None:
    """The gradient by forward mode, if elementwise operations on real numbers lead to output 0.

    Then forward mode costs no more than reverse mode, and its programs nest better: the graph of a
    tenth derivative has some hundred nodes instead of thousands.
    """
    if len(wrt) != 1:
        return None
    number, active = graph.inputs[wrt[0]], active_nodes(graph, wrt)
    path = [node for node in topological(graph.outputs[:1]) if node in active]
    if not all(
        node.aval.dtype.kind == "f"
        and not node.aval.shape
        and (node.primitive in (None, astype_p) or node.primitive.elementwise)
        for node in (number, *path)
    ):
        return None
    try:
        return [cast_like(along_one(trace, graph, wrt[0]), number.aval)._expr]
    except CotangentError:  # by a rule that is for reverse mode only
        return None


def along_one(trace: Rewrite, graph: Graph, position: int) -> Tracer:
    """The tangent of output 0 for the tangent 1 of an input."""
    aval = graph.inputs[position].aval
    (tangent,) = _forward(trace, graph, (0,), {graph.inputs[position]: _full(trace, aval, 1)})
    return Tracer(trace, tangent)


def remembering(graph: Graph, linear: Graph) -> tuple[Graph, Graph]:
    """The two halves of a linear program, the first one together with the outputs of ``graph``.

    Args:
        graph: the function.
        linear: its inputs are those of ``graph``, then cotangents or tangents.

    Returns:
        ``(inputs -> outputs, residuals)`` and ``(residuals, cotangents) -> outputs of linear``.
    """

    def derive() -> tuple[Graph, Graph]:
        before, after = split(linear, len(graph.inputs))
        avals = [node.aval for node in graph.inputs]
        return make_graph(avals, [*graph.outputs, *before.outputs]), after

    result: tuple[Graph, Graph] = graph.memo(("remembering", linear), derive)
    return result


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
        _like(tangents[out], out.aval)._expr
        if out in tangents and out.aval.inexact
        else _full(trace, out.aval, 0)._expr
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
        used[inner] = _times_one(plain) if first else plain
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
    count, back = len(graph.inputs), _pullback(graph, wrt, seeds)
    places = tuple(range(count, len(back.inputs)))
    twice = _pullback(back, places, tuple(range(len(wrt))))
    if not is_linear(back, places, twice):
        raise CotangentError(
            "forward mode transposes vjp rules, but one here is not linear in its cotangent, as "
            "when it clips it, adds to it or leaves it out; write: fg.grad or fg.vjp, or a rule "
            "for both modes by fg.custom_jvp"
        )
    avals = [one.aval for one in (*graph.inputs, *twice.inputs[len(back.inputs) :])]
    trace = Rewrite(avals)
    zeros = [_full(trace, one.aval, 0)._expr for one in back.inputs[count:]]
    inputs = [make_input(i, aval) for i, aval in enumerate(avals)]
    tangents = iter(substitute(twice, [*inputs[:count], *zeros, *inputs[count:]]))
    return make_graph(
        avals,
        [
            _like(Tracer(trace, next(tangents)), out.aval.with_weak(False))._expr
            if out.aval.inexact
            else _full(trace, out.aval, 0)._expr
            for out in results
        ],
    )


def _like(ct: Any, aval: Aval) -> Any:
    return ct if isinstance(ct.aval, StackAval) else cast_like(ct, aval)


def split(graph: Graph, known: int) -> tuple[Graph, Graph]:
    """Compute what depends on the first ``known`` inputs only, and keep what the rest needs.

    Returns:
        ``(inputs[:known] -> residuals, (residuals, inputs[known:]) -> outputs)``.
    """

    def derive() -> tuple[Graph, Graph]:
        unknown: set[Expr] = set(graph.inputs[known:])
        residuals: dict[Expr, int] = {}
        for node in graph.nodes:
            if not unknown.isdisjoint(node.args):
                unknown.add(node)
        for reader in [node for node in graph.nodes if node in unknown]:
            for arg in reader.args:
                if arg not in unknown and not isinstance(arg, Literal):
                    residuals.setdefault(arg, len(residuals))
        for output in graph.outputs:
            if output not in unknown and not isinstance(output, Literal):
                residuals.setdefault(output, len(residuals))
        first = make_graph([node.aval for node in graph.inputs[:known]], list(residuals))
        return first, cut([*residuals, *graph.inputs[known:]], graph.outputs)

    result: tuple[Graph, Graph] = graph.memo(("split", known), derive)
    return result


def _times_one(node: Expr) -> Expr:
    """``x`` for ``1 * x``, as the rule for the first node on the way gives it.

    Where that went later, every node after it would have to be built again.
    """
    better = [drop(node, {}) for drop in _DROPS] if node.primitive is multiply else []
    return next((one for one in better if one is not None), node)


_DROPS = (drops(1, 0), drops(1, 1))


def _full(trace: Rewrite, aval: Aval, value: int) -> Tracer:
    if isinstance(aval, StackAval):
        return trace.constant(stack_zeros, aval=aval)
    return trace.constant(full, shape=aval.shape, value=value, dtype=aval.dtype)


def _backward(trace: Rewrite, graph: Graph, wrt: Positions, seeds: dict[int, Tracer]) -> list[Expr]:
    """Cotangents of the inputs ``wrt``: from the outputs backwards, summed over all paths."""
    active = trace.active = active_nodes(graph, wrt)
    cts: dict[Expr, Any] = {}
    for position, ct in seeds.items():
        _accumulate(cts, graph.outputs[position], ct)
    order: dict[Expr, int] = {}
    for node in reversed(graph.nodes):
        pending = cts.pop(node, None)
        if pending is None or node not in active:
            continue
        summed: Any
        if isinstance(pending, dict):
            summed = {index: total(parts) for index, parts in pending.items()}
        else:
            summed = total(pending, order)
            if isinstance(summed, Tracer):
                order.setdefault(summed._expr, -len(order))
        first = isinstance(summed, Tracer) and summed._expr.primitive is full
        for arg, part in zip(node.args, _parts(trace, node, summed, active), strict=True):
            if arg in active and part is not ZERO:
                fits = isinstance(part, Part) or (type(part) is Tracer and part.aval is arg.aval)
                fitting = part if fits else _fit(part, node, arg.aval)
                if first and isinstance(fitting, Tracer):
                    fitting = Tracer(trace, _times_one(fitting._expr))
                _accumulate(cts, arg, fitting)
    inputs = [graph.inputs[i] for i in wrt]
    results = [
        selected(total(cts[node], order)) if node in cts else _full(trace, node.aval, 0)
        for node in inputs
    ]
    return [_like(ct, node.aval)._expr for ct, node in zip(results, inputs, strict=True)]


def _accumulate(cts: dict[Expr, Any], node: Expr, ct: Any) -> None:
    """Note a cotangent of ``node``; for one of several results, beside those of that result."""
    if isinstance(ct, Part):
        cts.setdefault(node, {}).setdefault(ct.index, []).append(ct.ct)
    elif node in cts:
        cts[node].append(ct)
    elif not isinstance(node, Literal):
        cts[node] = [ct]


def total(cts: list[Any], order: Mapping[Expr, int] = MappingProxyType({})) -> Any:
    """The sum of all cotangents of one value; those of its parts go into one array of zeros.

    ``order`` says when cotangents were computed, the latest first.
    """
    if len(cts) == 1:
        return cts[0]
    parts = [ct for ct in cts if isinstance(ct, Tracer) and is_scattered(ct._expr)]
    if len(parts) > 1:
        rest = [ct for ct in cts if not (isinstance(ct, Tracer) and is_scattered(ct._expr))]
        cts = [*rest, scattered(parts)]
    return reduce(plus, joined(cts, order) if len(cts) >= MANY else cts)


def plus(a: Any, b: Any) -> Any:
    """The sum of two cotangents of one value."""
    if isinstance(a, Masked) or isinstance(b, Masked):
        return added(a, b)
    return stack_add(a, b) if isinstance(a.aval, StackAval) else a + b


def _parts(trace: Rewrite, node: Expr, ct: Any, active: set[Expr]) -> Any:
    """The cotangents of the operands; masks pass by rules that keep entries apart."""
    if isinstance(ct, Masked):
        masks = passed(node, ct.masks, [trace.tracer(arg) for arg in node.args])
        if masks is not None:
            parts = _apply_rule(trace, node, ct.value, active)
            return [under(part, own) for part, own in zip(parts, masks, strict=True)]
    return _apply_rule(trace, node, selected(ct), active)


def _apply_rule(trace: Rewrite, node: Expr, ct: Any, active: set[Expr]) -> Any:
    primitive = node.primitive
    assert primitive is not None
    trace.rewriting(node, differentiates=True)
    if isinstance(primitive.vjp, Unwritten):
        raise UnsupportedFunctionError(
            f"{primitive.name} can't be differentiated yet: {primitive.vjp.reason}"
        )
    assert callable(primitive.vjp)
    selection: dict[str, Any] = {}
    if primitive.selective:
        selection["wanted"] = tuple([arg in active for arg in node.args])
    if isinstance(node.aval, TupleAval):
        pairs = enumerate(node.aval.avals)
        if not primitive.selective:
            ct = {i: ct[i] if i in ct else _full(trace, aval, 0) for i, aval in pairs}
        ct = tuple([ct.get(i) for i in range(len(node.aval.avals))])
    operands = [trace.tracer(arg) for arg in node.args]
    if selection or node.static:
        parts = primitive.vjp(ct, trace.tracer(node), *operands, **selection, **dict(node.static))
    else:
        parts = primitive.vjp(ct, trace.tracer(node), *operands)
    several = isinstance(parts, (tuple, list))
    if not several or len(parts) != len(node.args):
        found = f"{len(parts)} cotangents" if several else f"a {type(parts).__name__}"
        raise CotangentError(
            f"the vjp rule of {primitive.name} gave {found} for {len(node.args)} operands; write: a "
            "tuple with one for each, such as (ct * x,)"
        )
    return parts


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(m in (1, n) for m, n in pairs)


def _fit(part: Any, node: Expr, aval: Aval) -> Any:
    """Sum ``part`` over what was broadcast and cast it: the cotangent of a value like ``aval``."""
    if isinstance(part, Masked):
        masks = narrowed(part.masks, np.shape(part.value), aval.shape)
        if masks is not None:
            return Masked(_fit(part.value, node, aval), masks, part.clean)
        part = selected(part)
    if isinstance(part, Unwritten):
        assert node.primitive is not None
        raise UnsupportedFunctionError(
            f"{node.primitive.name} can't be differentiated with respect to an operand {aval}: "
            f"{part.reason}"
        )
    if not isinstance(part, Tracer):
        meaning = "no cotangent" if part is INDEX else f"a {type(part).__name__}"
        raise CotangentError(
            f"the vjp rule of {node.primitive} gave {meaning} for an operand {aval} that is being "
            "differentiated"
        )
    if part.aval is aval:
        return part
    if part.shape != aval.shape:
        if not _broadcasts(aval.shape, part.shape):
            raise CotangentError(
                f"the vjp rule of {node.primitive} gave a cotangent of shape {part.shape} for an "
                f"operand of shape {aval.shape}; it must have that shape, or one to which the "
                "operand was broadcast"
            )
        extra = part.ndim - aval.ndim
        grown = [i for i, n in enumerate(aval.shape) if n == 1 != part.shape[extra + i]]
        axes = (*range(extra), *[extra + i for i in grown])
        part = summed(part, axes).reshape(aval.shape)
    if part.dtype != aval.dtype:
        if part.dtype.kind == "c" and aval.dtype.kind != "c":
            part = np.real(part)
        part = part.astype(aval.dtype)
    return part
