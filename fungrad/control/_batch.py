"""A batch of loops as one loop over batches.

Row 9. Where the number of steps differs by example, the loop goes on until the last one is done.
Examples that are done keep their carries; meanwhile the body computes for them what it computes for
an example that is not done, so that it never sees values which the function never saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import StackAval
from fungrad._graph import Graph, make_graph, substitute
from fungrad._primitive import Same
from fungrad._tracer import Rewrite, Tracer
from fungrad.control._layout import Spec, batch_some, inputs_below
from fungrad.errors import UnsupportedFunctionError
from fungrad.ops.creation import arange_like
from fungrad.ops.stacks import stack_spread


def loop_batch(
    loop: Any, batched: tuple[bool, ...], size: int, operands: tuple[Any, ...], spec: Spec
) -> tuple[Any, ...]:
    """The batch rule of ``loop``."""
    body, cond, carries = spec.body, spec.cond, spec.carries
    inits, sequences, constants = spec.operands(operands)
    flags = list(batched[spec.counted :])
    init_flags, item_flags, constant_flags = spec.operands(batched)
    differing = bool(spec.counted and batched[0])
    while True:  # a carry may become batched after as many steps as there are carries
        spread = [flag or differing for flag in flags[:carries]]
        wide, outputs = batch_some(body, flags, size, spread + [differing] * len(spec.stacked))
        tested = [*outputs[:carries], *constant_flags]
        before = differing
        if cond is not None and any(tested[i] for i in inputs_below(cond, cond.outputs)):
            differing = True
        if outputs[:carries] == flags[:carries] and differing is before:
            break
        flags[:carries] = outputs[:carries]
    inits = [
        _spread(x, size) if new and not old else x
        for x, old, new in zip(inits, init_flags, flags, strict=False)
    ]
    if spec.length is not None:
        sequences = [
            np.moveaxis(x, 0, 1) if flag and not isinstance(x.aval, StackAval) else x
            for x, flag in zip(sequences, item_flags, strict=True)
        ]
    if differing:
        if any(isinstance(node.aval, StackAval) for node in body.inputs[:carries]):
            raise UnsupportedFunctionError(
                "a loop that sums over steps of another loop can't be batched where the number of "
                "steps differs by example; write: fg.scan with a fixed length, or a Python loop "
                "over the examples"
            )
        if cond is not None:
            test, _ = batch_some(cond, tested, size, [True])
            return _while_any(loop, wide, test, size, inits, constants)
        return _up_to_most(loop, wide, operands[0], spec.reverse, inits, sequences, constants)
    wide_test = None if cond is None else batch_some(cond, tested, size, [False])[0]
    results = loop(
        *operands[: spec.counted], *inits, *sequences, *constants,
        spec=attrs.evolve(spec, body=wide, cond=wide_test),
    )  # fmt: skip
    outputs += [False] * (cond is not None)
    return tuple(
        [
            Same(result)
            if not flag
            else np.moveaxis(result, 1, 0)
            if i >= carries and not isinstance(result.aval, StackAval)
            else result
            for i, (result, flag) in enumerate(zip(results, outputs, strict=True))
        ]
    )


def _spread(x: Any, size: int) -> Any:
    if isinstance(x.aval, StackAval):
        return stack_spread(x, size=size, axis=0)
    return np.broadcast_to(x, (size, *x.shape))


# --- the number of steps differs by example ------------------------------------------------------


def _while_any(
    loop: Any, wide: Graph, test: Graph, size: int, inits: list[Any], constants: list[Any]
) -> tuple[Any, ...]:
    """A ``while`` loop until the last example is done; it counts the steps of each."""
    count = len(inits)
    going = inline(test, [*inits, *constants])[0]
    steps = np.zeros_like(going, np.int64)
    avals = [x.aval.with_weak(False) for x in (going, steps, *inits, *constants)]

    trace = Rewrite(avals)
    mask, n, *rest = trace.tracers()
    carry, closed = rest[:count], rest[count:]
    row = np.where(mask, arange_like(mask, size), np.argmax(mask))
    out = inline(wide, [*[x[row] for x in carry], *closed])
    after = [_where(mask, new, old) for new, old in zip(out, carry, strict=False)]
    still = np.logical_and(mask, inline(test, [*after, *closed])[0])
    outputs = [still, n + mask, *after, *out[count:]]
    body = make_graph(avals, [x._expr for x in outputs])

    trace = Rewrite(avals)
    some: Any = np.any(trace.tracers()[0])
    cond = make_graph(avals, [some._expr])
    _, taken, *results, _ = loop(
        going, steps, *inits, *constants,
        spec=Spec(body, count + 2, 0, cond),
    )  # fmt: skip
    return (*results, taken)


def _up_to_most(
    loop: Any,
    wide: Graph,
    steps: Any,
    reverse: bool,
    inits: list[Any],
    sequences: Any,
    constants: Any,
) -> tuple[Any, ...]:
    """A loop for the largest number of steps, of which each example takes only its own."""
    count = len(inits)
    most = np.max(steps)
    start = most - 1 if reverse else np.zeros_like(most)
    items = [x.aval.element for x in sequences]
    avals = [
        start.aval, *[x.aval.with_weak(False) for x in inits],
        *items, *[x.aval for x in constants], steps.aval,
    ]  # fmt: skip

    trace = Rewrite(avals)
    t, *rest, n = trace.tracers()
    mask = t < n
    out = inline(wide, rest)
    after = [_where(mask, new, old) for new, old in zip(out, rest[:count], strict=False)]
    stacked = [
        x if isinstance(x.aval, StackAval) else _where(mask, x, np.zeros_like(x))
        for x in out[count:]
    ]
    outputs = [t - 1 if reverse else t + 1, *after, *stacked]
    body = make_graph(avals, [x._expr for x in outputs])
    _, *results = loop(
        most, start, *inits, *sequences, *constants, steps,
        spec=Spec(body, count + 1, len(sequences), reverse=reverse),
    )  # fmt: skip
    return tuple(results)


def inline(graph: Graph, operands: Sequence[Any]) -> list[Any]:
    """The outputs of ``graph`` for traced operands, in their trace."""
    trace = operands[0].owner
    return [Tracer(trace, node) for node in substitute(graph, [x._expr for x in operands])]


def _where(mask: Any, new: Any, old: Any) -> Any:
    return np.where(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new, old)
