"""The loop as one primitive: with a known number of steps, with one that is an operand, or a test.

Row 9. ``loop[body, cond, length, reverse, carries, items]`` has the operands ``(number of steps,)
carries…, sequences…, constants…`` and the results ``carries…, stacked…, (steps taken)``:

* ``length`` is a number: ``scan``. Sequences and what is stacked are arrays with a leading axis.
* ``cond`` is a graph ``(carries, constants) -> bool``: ``while_loop``. What is stacked are
  ``Stack``s, and the last result says how many steps were taken.
* neither: the backward pass of the second kind. The first operand is the number of steps,
  sequences are ``Stack``s.

The derivative of a loop is two loops: the same one, which also stacks what the pullback of its body
needs, and one that runs the other way. As nodes are shared, the first one has the operands and the
carries of the original, and ``_rewrites`` makes them one again.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from fungrad import _vjp
from fungrad._aval import Aval, StackAval, make_aval, stack_aval, tuple_aval
from fungrad._expr import Expr, Input, Literal, make_input
from fungrad._graph import Graph, make_graph, topological
from fungrad._primitive import ZERO, Primitive, items, primitive
from fungrad._tracer import Trace, Tracer
from fungrad.control._batch import loop_batch
from fungrad.control._layout import Layout, inputs_below, is_zero, positions, rebuilt
from fungrad.control._run import loop_value
from fungrad.ops.creation import full
from fungrad.ops.stacks import stack_zeros


def _loop_aval(
    *operands: Aval,
    body: Graph,
    cond: Graph | None,
    length: int | None,
    reverse: bool,
    carries: int,
    items: int,
) -> Aval:
    stacked = [aval.with_weak(False) for aval in body.avals[carries:]]
    results = [node.aval for node in body.inputs[:carries]]
    for aval in stacked:
        # A stack in a step makes a stack of stacks: they need not be equally high.
        if length is None or isinstance(aval, StackAval):
            results.append(stack_aval(aval))
        else:
            results.append(make_aval((length, *aval.shape), aval.dtype))
    if cond is not None:
        results.append(make_aval((), np.dtype(np.int64)))
    return tuple_aval(*results)


# --- the pullback --------------------------------------------------------------------------------


@attrs.frozen
class _Flow:
    """Which cotangents flow through a body, by position.

    Attributes:
        carries: carries that depend on what is differentiated and that results depend on.
        stacked: outputs with a cotangent, among those stacked.
        items: inputs whose cotangents are wanted, among the items.
        constants: the same among the constants.
    """

    carries: tuple[int, ...]
    stacked: tuple[int, ...]
    items: tuple[int, ...]
    constants: tuple[int, ...]

    @classmethod
    def of(cls, body: Graph, layout: Layout, wanted: list[bool], given: list[bool]) -> _Flow:
        """The flow from the outputs with a ``given`` cotangent to the ``wanted`` inputs."""
        first_item, first_constant = layout.carries, layout.carries + layout.items
        varying = {i for i in positions(wanted) if body.inputs[i].aval.inexact}
        while True:  # a carry may vary only after as many steps as there are carries
            active = _vjp.active_nodes(body, varying)
            more = {i for i in range(layout.carries) if body.outputs[i] in active} - varying
            if not more:
                break
            varying |= more
        useful = set(positions(given))
        while True:
            below = inputs_below(body, [body.outputs[i] for i in useful], active)
            more = {i for i in below if i < layout.carries} - useful
            if not more:
                break
            useful |= more
        return cls(
            tuple([i for i in range(layout.carries) if i in varying and i in useful]),
            tuple([i for i in sorted(useful) if i >= layout.carries and body.outputs[i] in active]),
            tuple([i for i in range(first_item, first_constant) if wanted[i] and i in below]),
            tuple([i for i in range(first_constant, len(wanted)) if wanted[i] and i in below]),
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.carries + self.stacked

    @property
    def wrt(self) -> tuple[int, ...]:
        return self.carries + self.items + self.constants


def _loop_vjp(
    ct: tuple[Any, ...],
    y: tuple[Any, ...],
    *operands: Any,
    wanted: tuple[bool, ...],
    body: Graph,
    cond: Graph | None,
    length: int | None,
    reverse: bool,
    carries: int,
    items: int,
) -> tuple[Any, ...]:
    layout = Layout.of(body, cond, length, carries, items)
    given = list(ct[: len(body.outputs)])
    flow = _Flow.of(
        body,
        layout,
        list(wanted[layout.counted :]),
        [part is not None and not is_zero(part) for part in given],
    )
    if not flow.seeds:
        return (ZERO,) * len(operands)
    trace: Trace = next(part for part in ct if part is not None).owner
    _, sequences, constants = layout.operands(operands)
    before, after = _vjp.split(_vjp.pullback(body, flow.wrt, flow.seeds), len(body.inputs))
    source = Sources.of(body, layout, before.outputs)

    # The loop once more, with what the backward pass needs to know of each step.
    extra = [node for node in source.stored if node not in body.outputs[carries:]]
    recording = make_graph([node.aval for node in body.inputs], [*body.outputs, *extra])
    results = loop_p(
        *operands,
        body=recording, cond=cond, length=length, reverse=reverse, carries=carries, items=items,
    )  # fmt: skip
    put_aside = recording.outputs[carries:]
    stacks = [results[carries + put_aside.index(node)] for node in source.stored]
    stacks += [sequences[node.index - carries] for node in source.items]

    # The body of the backward pass: carries, accumulators, items, constants.
    cts = [body.outputs[i].aval.with_weak(False) for i in flow.seeds]
    sums = [body.inputs[i].aval.with_weak(False) for i in flow.constants]
    known = [node.aval for node in (*source.stored, *source.items)]
    hoisted = source.hoisted
    n = len(flow.carries)
    avals = [
        *cts[:n], *sums, *known, *cts[n:], *[node.aval.with_weak(False) for node in hoisted]
    ]  # fmt: skip
    inputs: list[Expr] = [make_input(i, aval) for i, aval in enumerate(avals)]
    at = n + len(sums)
    new: dict[Expr, Expr] = dict(
        zip((*source.stored, *source.items), inputs[at : at + len(known)], strict=True)
    )
    at += len(known)
    new.update(zip(hoisted, inputs[at + len(cts) - n :], strict=True))
    residuals = rebuilt(before.outputs, new)
    back = rebuilt(
        after.outputs,
        dict(
            zip(
                after.inputs,
                [*residuals, *inputs[:n], *inputs[at : at + len(cts) - n]],
                strict=True,
            )
        ),
    )
    inner = Trace(avals, [None] * len(avals))
    m = n + len(flow.items)
    added = [
        _vjp.plus(Tracer(inner, total), Tracer(inner, part))._expr
        for total, part in zip(inputs[n : n + len(sums)], back[m:], strict=True)
    ]
    backward = make_graph(avals, [*back[:n], *added, *back[n:m]])

    starts = [
        given[i] if given[i] is not None else _zeros(trace, aval)
        for i, aval in zip(flow.carries, cts, strict=False)
    ]
    outside: dict[Expr, Expr] = dict(
        zip(body.inputs[carries + items :], map(_node(trace), constants), strict=True)
    )
    hoists = [Tracer(trace, node) for node in rebuilt(hoisted, outside)]
    steps: list[Any] = [] if length is not None else [operands[0] if cond is None else results[-1]]
    pulled = loop_p(
        *steps, *starts, *[_zeros(trace, aval) for aval in sums],
        *stacks, *[given[i] for i in flow.stacked], *hoists,
        body=backward, cond=None, length=length, reverse=not reverse,
        carries=n + len(sums), items=len(stacks) + len(flow.stacked),
    )  # fmt: skip
    order = flow.carries + flow.constants + flow.items
    parts = dict(zip(order, pulled, strict=True))
    return (
        *[ZERO] * layout.counted,
        *[parts.get(i, ZERO) for i in range(len(body.inputs))],
    )


@attrs.frozen
class Sources:
    """Where the backward pass takes the values from that the pullback of a body needs.

    Attributes:
        stored: nodes that are stacked by the forward pass.
        items: inputs of the body that are sequences already.
        hoisted: nodes that depend on constants only, and are computed once.
    """

    stored: list[Expr]
    items: list[Input]
    hoisted: list[Expr]

    @classmethod
    def of(cls, body: Graph, layout: Layout, needed: tuple[Expr, ...]) -> Sources:
        """Sources of the nodes ``needed``; what is cheap is computed from them again."""
        first_item, first_constant = layout.carries, layout.carries + layout.items
        by_step: dict[Expr, int] = {}  # 0: nothing, 1: constants, 2: items, 3: carries
        for source in body.inputs:
            by_step[source] = (
                3 if source.index < first_item else 2 if source.index < first_constant else 1
            )
        for node in topological(needed):
            by_step[node] = max([by_step.get(arg, 0) for arg in node.args], default=0)
        stored: dict[Expr, None] = {}
        sequences: dict[Input, None] = {}
        hoisted: dict[Expr, None] = {}
        seen: set[Expr] = set()
        pending: list[Expr] = list(reversed(needed))
        while pending:
            node = pending.pop()
            if node in seen or isinstance(node, Literal):
                continue
            seen.add(node)
            kind = by_step[node]
            if kind == 1:
                hoisted[node] = None
            elif isinstance(node, Input) and kind == 2:
                sequences[node] = None
            elif kind == 0 or _is_cheap(node, kind):
                pending += node.args
            else:
                stored[node] = None
        return cls(list(stored), list(sequences), list(hoisted))


def _is_cheap(node: Expr, kind: int) -> bool:
    """Whether to compute a value again instead of keeping it."""
    if node.primitive is None:
        return False
    if node.primitive.view:
        return node.args[0].aval.size <= node.aval.size
    # Of items alone, so that the transpose of a backward pass keeps nothing.
    return kind == 2 and node.primitive.elementwise


def _zeros(trace: Trace, aval: Aval) -> Tracer:
    if isinstance(aval, StackAval):
        return trace.constant(stack_zeros, aval=aval)
    return trace.constant(full, shape=aval.shape, value=0, dtype=aval.dtype)


def _node(trace: Trace) -> Any:
    return lambda operand: operand._expr if isinstance(operand, Tracer) else trace.lift(operand)


loop_p: Primitive = primitive(
    "loop",
    value=loop_value,
    aval=_loop_aval,
    vjp=_loop_vjp,
    batch=lambda batched, size, *operands, **static: loop_batch(
        loop_p, batched, size, operands, **static
    ),
    fresh=True,
    analytic=True,
    selective=True,
)


def loop_results(avals: list[Aval], **static: Any) -> Graph:
    """The graph of one loop: its operands in, its results out."""
    inputs = tuple([make_input(i, aval) for i, aval in enumerate(avals)])
    return make_graph(avals, items(loop_p.node(inputs, tuple(static.items()))))
