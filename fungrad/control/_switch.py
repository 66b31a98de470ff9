"""The branch as one primitive: of several graphs, the one that an index chooses runs.

Row 9. ``switch[branches, batched, size]`` has the operands ``index, operands…``, and the results of
whichever branch. The pullback is a switch over the pullbacks, and computes of the branch's forward
run what it needs once more.

In a batch in which the index differs by example, every branch that some example has chosen runs,
for the whole batch; but in the place of examples that have chosen another, it gets one that has
chosen it. So no branch sees values that it was guarded against, neither in the value nor in any
derivative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fungrad import _vjp
from fungrad._aval import Aval, Stack, StackAval, tuple_aval
from fungrad._batch import batch
from fungrad._evaluate import as_operand
from fungrad._expr import make_input
from fungrad._graph import Graph, make_graph
from fungrad._linearity import is_zero
from fungrad._primitive import ZERO, Primitive, Same, items, primitive
from fungrad.compile.run import program
from fungrad.control._layout import batch_some, inputs_below, positions, with_inputs
from fungrad.errors import UnsupportedFunctionError
from fungrad.ops.stacks import batched_aval

Branches = tuple[Graph, ...]
Flags = tuple[bool, ...]


def _value(
    index: Any, *operands: Any, branches: Branches, batched: Flags, size: int | None
) -> tuple[Any, ...]:
    if size is None:
        chosen = branches[min(max(int(index), 0), len(branches) - 1)]
        return tuple([as_operand(out) for out in program(chosen)(operands)])
    wide = [batch(branch, batched, size) for branch in branches]
    results: list[Any] | None = None
    index = np.clip(index, 0, len(branches) - 1)
    for place, graph in enumerate(wide):
        mask = index == place
        if not mask.any():
            continue
        rows = np.where(mask, np.arange(size), np.argmax(mask))
        safe = [_rows(x, rows) if flag else x for x, flag in zip(operands, batched, strict=True)]
        out = program(graph)(safe)
        if results is None:
            results = list(out)
        else:
            results = [_chosen(mask, a, b) for a, b in zip(out, results, strict=True)]
    if results is None:  # a batch of no examples
        results = list(program(wide[0])(operands))
    return tuple(results)


def _rows(x: Any, rows: Any) -> Any:
    if not isinstance(x, Stack):
        return x[rows]
    return Stack(x.aval, x.values and [_rows(value, rows) for value in x.values])


def _chosen(mask: Any, new: Any, old: Any) -> Any:
    """Of each example, the new value or the old one."""
    if not isinstance(new, Stack):
        return np.where(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new, old)
    if new.values is None and old.values is None:
        return new
    zeros = [_zero_like(value) for value in new.values or old.values]
    pairs = zip(new.values or zeros, old.values or zeros, strict=True)
    return Stack(new.aval, [_chosen(mask, a, b) for a, b in pairs])


def _zero_like(value: Any) -> Any:
    return Stack(value.aval, None) if isinstance(value, Stack) else np.zeros_like(value)


def _aval(
    index: Aval, *operands: Aval, branches: Branches, batched: Flags, size: int | None
) -> Aval:
    avals = branches[0].avals
    return tuple_aval(*(avals if size is None else [batched_aval(aval, size) for aval in avals]))


def switch_vjp(
    ct: tuple[Any, ...],
    y: tuple[Any, ...],
    index: Any,
    *operands: Any,
    wanted: Flags,
    branches: Branches,
    batched: Flags,
    size: int | None,
) -> tuple[Any, ...]:
    """The vjp rule of ``switch``."""
    seeds = tuple([i for i, part in enumerate(ct) if part is not None and not is_zero(part._expr)])
    wrt = tuple(positions(wanted[1:]))
    if not seeds:
        return (ZERO,) * len(wanted)
    back = [_vjp.pullback(branch, wrt, seeds) for branch in branches]
    given = [*operands, *[ct[i] for i in seeds]]
    flags = (*batched, *[size is not None] * len(seeds))
    # What the pullbacks do not read need not be kept for them.
    read = sorted(set().union(*[inputs_below(graph, graph.outputs) for graph in back]))
    if not read:
        return (ZERO,) * len(wanted)
    places = {old: new for new, old in enumerate(read)}
    avals = [back[0].inputs[i].aval for i in read]
    sparing = tuple(
        [
            with_inputs(graph, avals, [places.get(i, 0) for i in range(len(graph.inputs))])
            for graph in back
        ]
    )
    pulled = switch_p(
        index, *[given[i] for i in read], branches=sparing,
        batched=tuple([flags[i] for i in read]), size=size,
    )  # fmt: skip
    parts = dict(zip(wrt, pulled, strict=True))
    return (ZERO, *[parts.get(i, ZERO) for i in range(len(operands))])


def _switch_batch(
    flags: Flags,
    outer: int,
    index: Any,
    *operands: Any,
    branches: Branches,
    batched: Flags,
    size: int | None,
) -> tuple[Any, ...]:
    if size is not None:
        return _nested(flags, outer, index, operands, branches, batched, size)
    if flags[0]:
        return tuple(switch_p(index, *operands, branches=branches, batched=flags[1:], size=outer))
    single = [False] * len(branches[0].outputs)
    each = [batch_some(branch, flags[1:], outer, single)[1] for branch in branches]
    spread = [any(column) for column in zip(*each, strict=True)]
    wide = tuple([batch_some(branch, flags[1:], outer, spread)[0] for branch in branches])
    results = switch_p(index, *operands, branches=wide, batched=batched, size=None)
    return tuple([out if flag else Same(out) for out, flag in zip(results, spread, strict=True)])


def _nested(
    flags: Flags, outer: int, index: Any, operands: Any, branches: Branches, inner: Flags, size: int
) -> tuple[Any, ...]:
    """A batch of batches is a longer batch."""

    def flat(x: Any, has_outer: bool, has_inner: bool) -> Any:
        if isinstance(x.aval, StackAval):
            raise UnsupportedFunctionError(
                "a branch over what a loop has stacked can't be batched twice where the index "
                "differs by example; write: one vmap over both axes"
            )
        shape = x.shape[has_outer + has_inner :]
        if not has_outer:
            x = x[np.newaxis]
        if not has_inner:
            x = x.reshape(x.shape[0], 1, *shape)
        return np.broadcast_to(x, (outer, size, *shape)).reshape((outer * size, *shape))

    any_flags = tuple([a or b for a, b in zip(flags[1:], inner, strict=True)])
    flattened = [
        flat(x, a, b) if a or b else x for x, a, b in zip(operands, flags[1:], inner, strict=True)
    ]
    results = switch_p(
        flat(index, flags[0], True), *flattened,
        branches=branches, batched=any_flags, size=outer * size,
    )  # fmt: skip
    return tuple([out.reshape((outer, size, *out.shape[1:])) for out in results])


switch_p: Primitive = primitive(
    "switch",
    value=_value,
    aval=_aval,
    vjp=switch_vjp,
    batch=_switch_batch,
    fresh=True,
    selective=True,
)


def switch_results(avals: list[Aval], branches: Branches) -> Graph:
    """The graph of one switch: its index and operands in, its results out."""
    inputs = tuple([make_input(i, aval) for i, aval in enumerate(avals)])
    static = (("branches", branches), ("batched", (False,) * (len(avals) - 1)), ("size", None))
    return make_graph(avals, items(switch_p.node(inputs, static)))
