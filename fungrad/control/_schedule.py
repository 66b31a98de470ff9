"""Loops of loops, for the memory of a backward pass: checkpointing schedules.

Row 9. In: the `Spec` of a loop. Out: a graph that computes the same by a loop over segments, whose
bodies are loops over shorter segments, and so on. Only the carries at the ends of the current
segments are kept for the backward pass; everything else is computed again, from the innermost
segment outwards. With ``k`` segments at each of ``d`` levels, ``kᵈ`` steps need ``k·d`` carries and
run forwards ``d`` times: a schedule of recursive bisection (Griewank 1992) for ``k = 2``, and for
``d = 2`` that of square roots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._graph import Graph, make_graph
from fungrad._tracer import Rewrite, Tracer
from fungrad.control._batch import inline
from fungrad.control._layout import Spec
from fungrad.control._loop import loop_p
from fungrad.ops.creation import full

_LEVELS = 3
"""How deep segments are nested where the user leaves it to us."""
_WHILE = 32
"""Steps in each segment of a loop of unknown length, where the user leaves it to us."""


def _graph(avals: Sequence[Aval], function: Callable[[list[Tracer]], Sequence[Any]]) -> Graph:
    trace = Rewrite(avals)
    outputs = function(trace.tracers())
    return make_graph(avals, [x._expr for x in outputs])


# --- a known number of steps -----------------------------------------------------------------------


def segmented(spec: Spec, avals: Sequence[Aval], keep: bool | int) -> Graph:
    """The graph of a ``scan`` by segments.

    Args:
        spec: of the whole loop.
        avals: what is known of its operands.
        keep: how many carries to keep at each level, or ``True``.
    """
    assert spec.length is not None
    if keep is True:
        keep = max(2, math.ceil(spec.length ** (1 / _LEVELS)))
    return _graph(avals, lambda operands: _segments(spec, operands, keep))


def _segments(spec: Spec, operands: Sequence[Tracer], keep: int) -> list[Tracer]:
    length, count = spec.length, spec.carries
    assert length is not None
    if length <= keep:
        return list(loop_p(*operands, spec=spec))
    size = keep
    while size * keep < length:
        size *= keep
    carries, sequences, constants = spec.operands(operands)
    number, rest = divmod(length, size)
    # Steps that fill no segment come last, in the order of the steps.
    whole = number * size
    full_part, rest_part = slice(whole), slice(whole, None)
    if spec.reverse:
        full_part, rest_part = slice(rest, None), slice(rest)

    inner = attrs.evolve(spec, length=size)
    avals = (
        [x.aval for x in carries],
        [make_aval((size, *x.shape[1:]), x.dtype) for x in sequences],
        [x.aval for x in constants],
    )
    body = _graph([*avals[0], *avals[1], *avals[2]], lambda xs: _segments(inner, xs, keep))
    outer = attrs.evolve(spec, body=body, length=number, recompute=True)
    folded = [x[full_part].reshape((number, size, *x.shape[1:])) for x in sequences]
    results = loop_p(*carries, *folded, *constants, spec=outer)
    carries = list(results[:count])
    stacked = [y.reshape((whole, *y.shape[2:])) for y in results[count:]]
    if rest:
        remaining = attrs.evolve(spec, length=rest)
        tails = [x[rest_part] for x in sequences]
        results = _segments(remaining, [*carries, *tails, *constants], keep)
        carries, after = results[:count], results[count:]
        pairs = zip(stacked, after, strict=True)
        stacked = [np.concatenate((b, a) if spec.reverse else (a, b)) for a, b in pairs]
    return [*carries, *stacked]


# --- an unknown number of steps --------------------------------------------------------------------


def bounded(spec: Spec, avals: Sequence[Aval], keep: bool | int) -> Graph:
    """The graph of a ``while_loop`` by segments: carries, and the number of outer segments.

    Args:
        spec: of the whole loop.
        avals: what is known of its operands.
        keep: how many steps or segments make a segment of the next level, or ``True``.
    """
    steps = _WHILE if keep is True else max(2, keep)
    body = spec.body
    for level in range(_LEVELS):
        inner = attrs.evolve(spec, body=body, recompute=level > 0)
        body = _graph(avals, lambda xs, inner=inner: _some(inner, xs, steps))  # type: ignore[misc]
    whole = attrs.evolve(spec, body=body, recompute=True)
    return _graph(avals, lambda xs: loop_p(*xs, spec=whole))


def _some(spec: Spec, operands: Sequence[Tracer], steps: int) -> list[Tracer]:
    """At most so many steps of a ``while_loop``."""
    assert spec.cond is not None
    cond, body = spec.cond, spec.body
    zero = operands[0].owner.constant(full, shape=(), value=0, dtype=np.dtype(np.int64))
    avals = [zero.aval, *[x.aval for x in operands]]
    counted = _graph(avals, lambda xs: [xs[0] + 1, *inline(body, xs[1:])])
    test = _graph(avals, lambda xs: [np.logical_and(xs[0] < steps, inline(cond, xs[1:])[0])])
    inner = attrs.evolve(spec, body=counted, cond=test, carries=spec.carries + 1)
    results: tuple[Tracer, ...] = loop_p(zero, *operands, spec=inner)
    return list(results[1:-1])
