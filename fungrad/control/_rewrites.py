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
from fungrad._expr import Expr, make_input
from fungrad._graph import Graph, make_graph, substitute
from fungrad._primitive import item
from fungrad.control._fusing import chain
from fungrad.control._instead import Change, Instead, Loop, changed
from fungrad.control._layout import inputs_below
from fungrad.control._loop import loop_p


def rewrite(graph: Graph) -> Graph:
    """``graph`` with its loops merged, pruned and fused."""
    if not any(node.primitive is loop_p for node in graph.nodes):
        return graph
    for find in (_equal, _unread):
        graph = changed(graph, find(graph))
    for _ in range(len(graph.nodes)):
        change = chain(graph)
        if not change:
            break
        graph = changed(graph, change)
        graph = changed(graph, _unread(graph))
    return graph


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
