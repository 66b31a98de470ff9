"""Cotangents backwards: graphs that pull cotangents of outputs back to those of inputs.

Row 7. In: a graph. Out: graphs. Un-broadcasting happens here and nowhere else: whatever a rule
returns is summed over the axes along which its operand was broadcast, as visible nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from fungrad._aval import Aval, StackAval, TupleAval
from fungrad._expr import Expr, Literal
from fungrad._graph import Graph, make_graph
from fungrad._linearity import active_nodes
from fungrad._masks import added, narrowed, passed, under
from fungrad._primitive import INDEX, ZERO, Masked, Part, Unwritten
from fungrad._rewrites import drops
from fungrad._shared import MANY, joined
from fungrad._tracer import Rewrite, Tracer
from fungrad.errors import CotangentError, UnsupportedFunctionError
from fungrad.ops.creation import full
from fungrad.ops.elementwise import multiply, selected
from fungrad.ops.indexing import is_scattered, scattered
from fungrad.ops.shape import cast_like
from fungrad.ops.stacks import stack_add, stack_zeros
from fungrad.ops.sums import summed

Positions = tuple[int, ...]


def pullback(graph: Graph, wrt: Positions, seeds: Positions) -> Graph:
    """The graph ``(inputs, ct of each output in seeds) -> ct of each input in wrt``."""
    result: Graph = graph.memo(("pullback", wrt, seeds), lambda: fresh_pullback(graph, wrt, seeds))
    return result


def fresh_pullback(graph: Graph, wrt: Positions, seeds: Positions) -> Graph:
    """The same, not kept with ``graph``."""
    avals = [node.aval for node in graph.inputs]
    ct_avals = [graph.outputs[i].aval.with_weak(False) for i in seeds]
    trace = Rewrite([*avals, *ct_avals])
    cts = trace.tracers()[len(avals) :]
    outputs = backward(trace, graph, wrt, dict(zip(seeds, cts, strict=True)))
    return make_graph(trace.avals, outputs)


def like(ct: Any, aval: Aval) -> Any:
    """A cotangent or tangent in the dtype of ``aval``, and as weak."""
    return ct if isinstance(ct.aval, StackAval) else cast_like(ct, aval)


def times_one(node: Expr) -> Expr:
    """``x`` for ``1 * x``, as the rule for the first node on the way gives it.

    Where that went later, every node after it would have to be built again.
    """
    better = [drop(node, {}) for drop in _DROPS] if node.primitive is multiply else []
    return next((one for one in better if one is not None), node)


_DROPS = (drops(1, 0), drops(1, 1))


def filled(trace: Rewrite, aval: Aval, value: int) -> Tracer:
    """A value like ``aval`` that is one number everywhere."""
    if isinstance(aval, StackAval):
        return trace.constant(stack_zeros, aval=aval)
    return trace.constant(full, shape=aval.shape, value=value, dtype=aval.dtype)


def backward(trace: Rewrite, graph: Graph, wrt: Positions, seeds: dict[int, Tracer]) -> list[Expr]:
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
                    fitting = Tracer(trace, times_one(fitting._expr))
                _accumulate(cts, arg, fitting)
    inputs = [graph.inputs[i] for i in wrt]
    results = [
        selected(total(cts[node], order)) if node in cts else filled(trace, node.aval, 0)
        for node in inputs
    ]
    return [like(ct, node.aval)._expr for ct, node in zip(results, inputs, strict=True)]


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
            ct = {i: ct[i] if i in ct else filled(trace, aval, 0) for i, aval in pairs}
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
