"""Whole-graph rewrites of loops, before a graph is compiled.

Row 9, registered with ``_simplify``. None of them changes a bit of the result.

* *Merge*: loops over equal operands with equal carries become one, with what either has stacked.
  So a function and its gradient run one forward loop.
* *Prune*: carries, stacks, sequences and constants that decide nothing go; a carry that never
  changes is a constant.
* *Fuse*: a loop over what another one has stacked, in the same direction, becomes a part of it, and
  the stack is never made. So the pushforward of a loop is one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from fungrad._aval import Aval
from fungrad._expr import Expr, make_input, with_args
from fungrad._graph import Graph, make_graph, substitute
from fungrad._primitive import item
from fungrad.control._layout import Spec, inputs_below
from fungrad.control._loop import loop_p

_MAX_FUSED = 2_000
"""The longest body that fusing makes."""


@attrs.frozen(eq=False)
class Loop:
    """A loop, taken apart."""

    spec: Spec
    count: tuple[Expr, ...]
    inits: tuple[Expr, ...]
    sequences: tuple[Expr, ...]
    constants: tuple[Expr, ...]

    @classmethod
    def of(cls, node: Expr) -> Loop:
        """The parts of a node."""
        spec: Spec = dict(node.static)["spec"]
        return cls(spec, node.args[: spec.counted], *map(tuple, spec.operands(node.args)))

    @property
    def operands(self) -> tuple[Expr, ...]:
        """Of the node."""
        return self.count + self.inits + self.sequences + self.constants

    def steps_of(self, node: Expr) -> Any:
        """What two loops must share to have equally many steps; ``node`` is this loop's own."""
        if self.spec.length is not None:
            return self.spec.length
        return self.count[0] if self.count else (node, len(self.spec.body.outputs))

    def node(self, operands: Sequence[Expr]) -> Expr:
        """The loop over other operands."""
        return loop_p.node(tuple(operands), (("spec", self.spec),))


@attrs.frozen(eq=False)
class Instead:
    """What stands for a loop: another one, and where each of its results is now.

    A result that is no result of the other loop is one of the operands.
    """

    loop: Loop
    places: dict[int, int | Expr]


Change = dict[Expr, Instead]


def rewrite(graph: Graph) -> Graph:
    """``graph`` with its loops merged, pruned and fused."""
    if not any(node.primitive is loop_p for node in graph.nodes):
        return graph
    for find in (_equal, _unread):
        graph = _changed(graph, find(graph))
    for _ in range(len(graph.nodes)):
        change = _chain(graph)
        if not change:
            break
        graph = _changed(graph, change)
        graph = _changed(graph, _unread(graph))
    return graph


def _changed(graph: Graph, change: Change) -> Graph:
    """``graph`` with other loops in the place of some."""
    if not change:
        return graph
    new: dict[Expr, Expr] = {}

    def needs(node: Expr) -> tuple[Expr, ...]:
        return change[node].loop.operands if node in change else node.args

    def build(node: Expr) -> Expr:
        if node in change:
            loop = change[node].loop
            return loop.node([new.get(x, x) for x in loop.operands])
        if node.primitive is item and node.args[0] in change:
            place = change[node.args[0]].places[dict(node.static)["index"]]
            if isinstance(place, Expr):
                return new.get(place, place)
            return item.node((new[node.args[0]],), (("index", place),), node.aval.weak)
        return with_args(node, tuple([new.get(arg, arg) for arg in node.args]))

    pending = list(graph.outputs)
    while pending:
        node = pending[-1]
        missing = [x for x in needs(node) if x.primitive is not None and x not in new]
        if node.primitive is None or node in new:
            pending.pop()
        elif missing:
            pending += missing
        else:
            new[node] = build(node)
    outputs = [new.get(out, out) for out in graph.outputs]
    return make_graph([node.aval for node in graph.inputs], outputs)


# --- merge ---------------------------------------------------------------------------------------


def _equal(graph: Graph) -> Change:
    groups: dict[Any, list[tuple[Expr, Loop]]] = {}
    for node in graph.nodes:
        if node.primitive is loop_p:
            loop = Loop.of(node)
            body = loop.spec.body
            carried = body.outputs[: loop.spec.carries]
            # Whatever else the bodies put aside, the rest of the two must be the same.
            rest = attrs.evolve(loop.spec, body=make_graph([x.aval for x in body.inputs], carried))
            groups.setdefault((loop.operands, rest), []).append((node, loop))
    change: Change = {}
    for members in groups.values():
        if len(members) > 1:
            loop = members[0][1]
            body, count = loop.spec.body, loop.spec.carries
            stacked = list(dict.fromkeys(x for _, member in members for x in member.spec.stacked))
            body = make_graph([x.aval for x in body.inputs], [*body.outputs[:count], *stacked])
            merged = attrs.evolve(loop, spec=attrs.evolve(loop.spec, body=body))
            for node, member in members:
                places: dict[int, int | Expr] = {i: i for i in range(count)}
                for i, out in enumerate(member.spec.stacked):
                    places[count + i] = count + stacked.index(out)
                places[count + len(member.spec.stacked)] = count + len(
                    stacked
                )  # the steps of a while
                change[node] = Instead(merged, places)
    return change


# --- prune ---------------------------------------------------------------------------------------


def _unread(graph: Graph) -> Change:
    read: dict[Expr, set[int]] = {}
    for node in graph.nodes:
        if node.primitive is item:
            read.setdefault(node.args[0], set()).add(dict(node.static)["index"])
    change: Change = {}
    for node in graph.nodes:
        if node.primitive is loop_p:
            instead = _pruned(Loop.of(node), read.get(node, set()))
            if instead is not None:
                change[node] = instead
    return change


def _pruned(loop: Loop, read: set[int]) -> Instead | None:
    spec = loop.spec
    body, cond, count = spec.body, spec.cond, spec.carries
    fixed = {
        i
        for i, init in enumerate(loop.inits)
        if body.outputs[i] is body.inputs[i] and init.aval is body.inputs[i].aval
    }
    alive = {i for i in read if i < len(body.outputs)} - fixed
    if cond is not None:
        alive |= {i for i in inputs_below(cond, cond.outputs) if i < count} - fixed
    while True:
        below = inputs_below(body, [body.outputs[i] for i in alive])
        more = {i for i in below if i < count} - fixed - alive
        if not more:
            break
        alive |= more
    tested = inputs_below(cond, cond.outputs) if cond is not None else set()
    # Constants of the condition are numbered after its carries, without sequences.
    of_test = {i if i < count else i + len(loop.sequences) for i in tested}
    carries = [i for i in range(count) if i in alive]
    first_constant = count + len(loop.sequences)
    items = [i for i in range(count, first_constant) if i in below]
    constants = [i for i in range(first_constant, len(body.inputs)) if i in below | of_test]
    constants = [i for i in range(count) if i in fixed and i in below | of_test] + constants
    stacked = [i for i in range(count, len(body.outputs)) if i in alive]
    results = len(carries) + len(stacked)
    complete = (len(body.outputs), len(loop.sequences), len(loop.constants))
    if not fixed and (results, len(items), len(constants)) == complete:
        return None
    operands = (*loop.inits, *loop.sequences, *loop.constants)
    order = [*carries, *items, *constants]
    smaller = Loop(
        attrs.evolve(
            spec,
            body=_renumbered(
                body, order, [body.inputs[i].aval for i in order], [*carries, *stacked]
            ),
            carries=len(carries),
            items=len(items),
            cond=cond and _renumbered_test(cond, loop, carries, constants),
        ),
        loop.count,
        tuple([operands[i] for i in carries]),
        tuple([operands[i] for i in items]),
        tuple([operands[i] for i in constants]),
    )
    places: dict[int, int | Expr] = {i: loop.inits[i] for i in fixed}
    places |= {old: new for new, old in enumerate([*carries, *stacked])}
    places[len(body.outputs)] = len(carries) + len(stacked)
    return Instead(smaller, places)


def _renumbered(graph: Graph, order: list[int], avals: list[Aval], outputs: Sequence[int]) -> Graph:
    """``graph`` with the inputs ``order`` only, and these outputs."""
    inputs: list[Expr] = list(graph.inputs)
    for new, old in enumerate(order):
        inputs[old] = make_input(new, avals[new])
    results = substitute(graph, inputs)
    return make_graph(avals, [results[i] for i in outputs])


def _renumbered_test(cond: Graph, loop: Loop, carries: list[int], constants: list[int]) -> Graph:
    skipped, count = len(loop.sequences), len(loop.inits)
    order = [i if i < count else i - skipped for i in (*carries, *constants)]
    return _renumbered(cond, order, [cond.inputs[i].aval for i in order], [0])


# --- fuse ----------------------------------------------------------------------------------------


def _chain(graph: Graph) -> Change:
    """The first loop that can become a part of the one whose stacks it reads."""
    loops = {node: Loop.of(node) for node in graph.nodes if node.primitive is loop_p}
    for node, second in loops.items():
        for source in dict.fromkeys(_loop_behind(x) for x in second.sequences):
            if source in loops and _joins(source, loops[source], second):
                return _fused(source, loops[source], node, second)
    return {}


def _loop_behind(sequence: Expr) -> Expr:
    """What a sequence is a result of; itself, if of nothing that has several."""
    return sequence.args[0] if sequence.primitive is item else sequence


def _index(node: Expr) -> int:
    index: int = dict(node.static)["index"]
    return index


def _joins(source: Expr, first: Loop, second: Loop) -> bool:
    one, two = first.spec, second.spec
    if one.reverse is not two.reverse or one.recompute or two.recompute or two.cond is not None:
        return False
    if two.length is None:
        steps, counter = first.steps_of(source), second.count[0]
        of = (counter.args[0], _index(counter)) if counter.primitive is item else None
        same = steps in (counter, of)
    else:
        same = one.length == two.length
    if not same or len(one.body.nodes) + len(two.body.nodes) > _MAX_FUSED:
        return False
    others = [x for x in (*second.inits, *second.constants) if x.primitive is not None]
    others += [x for x in second.sequences if _loop_behind(x) is not source]
    # What the second loop needs besides must be there before the first one starts.
    return not _depend(others, source)


def _depend(nodes: list[Expr], on: Expr) -> bool:
    seen: set[Expr] = set()
    pending = list(nodes)
    while pending:
        node = pending.pop()
        if node is on:
            return True
        if node not in seen:
            seen.add(node)
            pending += node.args
    return False


def _fused(source: Expr, first: Loop, node: Expr, second: Loop) -> Change:
    own = [x for x in second.sequences if _loop_behind(x) is not source]
    sequences = tuple(dict.fromkeys([*first.sequences, *own]))
    constants = tuple(dict.fromkeys([*first.constants, *second.constants]))
    one, two = first.spec, second.spec
    n, m = one.carries, one.carries + two.carries
    avals = [node.aval for spec in (one, two) for node in spec.body.inputs[: spec.carries]]
    kinds = {
        x: node.aval
        for loop in (second, first)
        for x, node in zip(loop.sequences, loop.spec.body.inputs[loop.spec.carries :], strict=False)
    }
    avals += [kinds[x] for x in sequences]
    avals += [x.aval for x in constants]
    inputs: list[Expr] = [make_input(i, aval) for i, aval in enumerate(avals)]
    at_item = dict(zip(sequences, inputs[m:], strict=False))
    at_constant = dict(zip(constants, inputs[m + len(sequences) :], strict=True))

    def constants_of(loop: Loop) -> list[Expr]:
        return [at_constant[x] for x in loop.constants]

    items = [at_item[x] for x in first.sequences]
    before = substitute(one.body, [*inputs[:n], *items, *constants_of(first)])
    items = [
        before[_index(x)] if _loop_behind(x) is source else at_item[x] for x in second.sequences
    ]
    after = substitute(two.body, [*inputs[n:m], *items, *constants_of(second)])
    k = two.carries
    body = make_graph(avals, [*before[:n], *after[:k], *before[n:], *after[k:]])
    cond = one.cond
    if cond is not None:
        of_test = [*avals[:m], *[x.aval for x in constants]]
        slots: list[Expr] = [make_input(i, aval) for i, aval in enumerate(of_test)]
        held = [slots[m + constants.index(x)] for x in first.constants]
        cond = make_graph(of_test, substitute(cond, [*slots[:n], *held]))
    spec = attrs.evolve(one, body=body, carries=m, items=len(sequences), cond=cond)
    fused = Loop(spec, first.count, first.inits + second.inits, sequences, constants)
    of_first: dict[int, int | Expr] = {i: i for i in range(n)}
    of_first |= {n + i: m + i for i in range(len(one.stacked))}
    of_first[n + len(one.stacked)] = len(body.outputs)  # the steps of a while
    of_second: dict[int, int | Expr] = {i: n + i for i in range(k)}
    rest = m + len(one.stacked)
    of_second |= {k + i: rest + i for i in range(len(two.stacked))}
    return {source: Instead(fused, of_first), node: Instead(fused, of_second)}
