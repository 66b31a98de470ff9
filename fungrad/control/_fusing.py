"""A loop over what another one has stacked becomes a part of it, and the stack is never made.

Row 9. In: a graph. Out: what stands for the two loops.
"""

from __future__ import annotations

import attrs

from fungrad._expr import Expr, make_input
from fungrad._graph import Graph, make_graph, substitute
from fungrad._primitive import item
from fungrad.control._instead import Change, Instead, Loop
from fungrad.control._loop import loop_p

_MAX_FUSED = 2_000
"""The longest body that fusing makes."""


def chain(graph: Graph) -> Change:
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
