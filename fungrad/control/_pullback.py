"""The derivative of a loop: two loops.

Row 9. The first is the loop itself, which also stacks what the pullback of its body needs of each
step; the second runs the other way, over what was stacked and the cotangents of what the loop
stacked itself. Both are ordinary loops, so that every order and every mode follows. As nodes are
shared, the first has the operands and the carries of the original, and ``_rewrites`` makes the two
one again.

Sums go into the carry of the second loop: the cotangents of constants.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from fungrad import _residuals, _vjp
from fungrad._aval import Aval, StackAval
from fungrad._expr import Expr, Input, Literal, make_input
from fungrad._graph import Graph, make_graph, topological
from fungrad._linearity import active_nodes, is_zero
from fungrad._primitive import ZERO
from fungrad._tracer import Trace, Tracer
from fungrad._values import written_out
from fungrad.control._layout import Spec, inputs_below, positions, rebuilt
from fungrad.ops.creation import full
from fungrad.ops.elementwise import add, divide, multiply, negative, square, subtract
from fungrad.ops.stacks import stack_zeros

_ARITHMETIC = {add, divide, multiply, negative, square, subtract}
_ENTRIES = 256
"""From how many entries on the arithmetic is faster than the memory."""


def loop_vjp(
    loop: Any, ct: tuple[Any, ...], *operands: Any, wanted: tuple[bool, ...], spec: Spec
) -> tuple[Any, ...]:
    """The vjp rule of ``loop``."""
    body, count = spec.body, spec.carries
    given = ct[: len(body.outputs)]
    present = [part is not None and not is_zero(part._expr) for part in given]
    flow = Flow.of(spec, list(wanted[spec.counted :]), present)
    if not flow.seeds:
        return (ZERO,) * len(operands)
    _, sequences, constants = spec.operands(operands)
    back = written_out(_vjp.pullback(body, flow.wrt, flow.seeds))
    before, after = _residuals.split(back, len(body.inputs))
    sources = Sources.of(spec, before.outputs)

    extra = [node for node in sources.stored if node not in spec.stacked]
    recording = make_graph([node.aval for node in body.inputs], [*body.outputs, *extra])
    results = loop(*operands, spec=attrs.evolve(spec, body=recording))
    known = [
        *[results[recording.outputs.index(node, count)] for node in sources.stored],
        *[sequences[node.index - count] for node in sources.items],
    ]

    trace: Trace = next(part for part in ct if part is not None).owner
    backward, sums = _backward_body(spec, flow, sources, before, after)
    cts = [node.aval for node in backward.inputs]
    starts = [
        _zeros(trace, aval) if given[i] is None else given[i]
        for i, aval in zip(flow.carries, cts, strict=False)
    ]
    starts += [_zeros(trace, aval) for aval in sums]
    outside: dict[Expr, Expr] = {
        node: x._expr if isinstance(x, Tracer) else trace.lift(x)
        for node, x in zip(body.inputs[count + spec.items :], constants, strict=True)
    }
    hoisted = [Tracer(trace, node) for node in rebuilt(sources.hoisted, outside)]
    steps: list[Any] = []
    if spec.length is None:
        steps = [operands[0] if spec.counted else results[-1]]
    pulled = loop(
        *steps, *starts, *known, *[given[i] for i in flow.stacked], *hoisted,
        spec=Spec(
            backward, len(starts), len(known) + len(flow.stacked),
            length=spec.length, reverse=not spec.reverse, recompute=spec.recompute,
        ),
    )  # fmt: skip
    parts = dict(zip(flow.carries + flow.constants + flow.items, pulled, strict=True))
    return (*[ZERO] * spec.counted, *[parts.get(i, ZERO) for i in range(len(body.inputs))])


def _backward_body(
    spec: Spec, flow: Flow, sources: Sources, before: Graph, after: Graph
) -> tuple[Graph, list[Aval]]:
    """The body of the loop that runs the other way, and what is known of the sums it carries.

    ``before`` computes what ``after``, the rest of the body's pullback, needs.
    """
    body, n = spec.body, len(flow.carries)
    cts = [body.outputs[i].aval.with_weak(False) for i in flow.seeds]
    sums = [body.inputs[i].aval.with_weak(False) for i in flow.constants]
    parts = [
        cts[:n],
        sums,
        [node.aval for node in (*sources.stored, *sources.items)],
        cts[n:],
        [node.aval.with_weak(False) for node in sources.hoisted],
    ]
    avals = [aval for part in parts for aval in part]
    inputs = iter([make_input(i, aval) for i, aval in enumerate(avals)])
    carried, totals, known, given, hoisted = [[next(inputs) for _ in part] for part in parts]
    new: dict[Expr, Expr] = dict(zip((*sources.stored, *sources.items), known, strict=True))
    new.update(zip(sources.hoisted, hoisted, strict=True))
    needed = [*rebuilt(before.outputs, new), *carried, *given]
    back = rebuilt(after.outputs, dict(zip(after.inputs, needed, strict=True)))
    trace = Trace(avals, [None] * len(avals))
    m = n + len(flow.items)
    added = [
        _vjp.plus(Tracer(trace, total), Tracer(trace, part))._expr
        for total, part in zip(totals, back[m:], strict=True)
    ]
    return make_graph(avals, [*back[:n], *added, *back[n:m]]), sums


@attrs.frozen
class Flow:
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
    def of(cls, spec: Spec, wanted: list[bool], given: list[bool]) -> Flow:
        """The flow from the outputs with a ``given`` cotangent to the ``wanted`` inputs."""
        body = spec.body
        first_item, first_constant = spec.carries, spec.carries + spec.items
        varying = {i for i in positions(wanted) if body.inputs[i].aval.inexact}
        while True:  # a carry may vary only after as many steps as there are carries
            active = active_nodes(body, varying)
            more = {i for i in range(spec.carries) if body.outputs[i] in active} - varying
            if not more:
                break
            varying |= more
        useful = set(positions(given))
        while True:
            below = inputs_below(body, [body.outputs[i] for i in useful], active)
            more = {i for i in below if i < spec.carries} - useful
            if not more:
                break
            useful |= more
        return cls(
            tuple([i for i in range(spec.carries) if i in varying and i in useful]),
            tuple([i for i in sorted(useful) if i >= spec.carries and body.outputs[i] in active]),
            tuple([i for i in range(first_item, first_constant) if wanted[i] and i in below]),
            tuple([i for i in range(first_constant, len(wanted)) if wanted[i] and i in below]),
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.carries + self.stacked

    @property
    def wrt(self) -> tuple[int, ...]:
        return self.carries + self.items + self.constants


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
    def of(cls, spec: Spec, needed: tuple[Expr, ...]) -> Sources:
        """Sources of the nodes ``needed``; what is cheap is computed from them again."""
        first_item, first_constant = spec.carries, spec.carries + spec.items
        by_step: dict[Expr, int] = {}  # 0: nothing, 1: constants, 2: items, 3: carries
        for source in spec.body.inputs:
            by_step[source] = (
                3 if source.index < first_item else 2 if source.index < first_constant else 1
            )
        for node in topological(needed):
            by_step[node] = max([by_step.get(arg, 0) for arg in node.args], default=0)
        stored: dict[Expr, None] = {}
        sequences: dict[Input, None] = {}
        hoisted: dict[Expr, None] = {}
        seen: set[Expr] = set()

        def take(nodes: Iterable[Expr]) -> None:
            pending = list(reversed(list(nodes)))
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
                elif kind == 0 or _is_cheap(node, kind, spec):
                    pending += node.args
                else:
                    stored[node] = None

        take(needed)
        # What follows by arithmetic from values that are kept anyway is not kept. What the loop
        # itself does not compute can as well be computed in the backward pass, if that takes no
        # more values than this one.
        computed = set(spec.body.nodes)
        again = True
        while again:
            again = False
            for node in list(stored):
                missing = [x for x in node.args if x not in seen and by_step.get(x) == 3]
                size = sum(x.aval.size for x in missing)
                if node in computed:
                    cheap = not missing and _is_arithmetic(node)
                else:
                    cheap = size <= node.aval.size and _is_cheap(node, 2, spec)
                if cheap:
                    del stored[node]
                    take(node.args)
                    again = True
        return cls(list(stored), list(sequences), list(hoisted))


def _is_cheap(node: Expr, kind: int, spec: Spec) -> bool:
    """Whether to compute a value again instead of keeping it."""
    if node.primitive is None or spec.recompute:
        return node.primitive is not None
    if node.primitive.view:
        return node.args[0].aval.size <= node.aval.size
    # Of items alone, so that the transpose of a backward pass keeps nothing.
    return kind == 2 and node.primitive.elementwise


def _is_arithmetic(node: Expr) -> bool:
    """Whether to compute it takes no longer than to keep it: writing, reading, new memory."""
    return node.primitive in _ARITHMETIC and node.aval.size >= _ENTRIES


def _zeros(trace: Trace, aval: Aval) -> Tracer:
    if isinstance(aval, StackAval):
        return trace.constant(stack_zeros, aval=aval)
    return trace.constant(full, shape=aval.shape, value=0, dtype=aval.dtype)
