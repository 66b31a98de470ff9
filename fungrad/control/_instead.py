"""Loops taken apart, and graphs with other loops in the place of some.

Row 9. In: a graph, and what stands for some of its loops. Out: a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from fungrad._expr import Expr, with_args
from fungrad._graph import Graph, make_graph
from fungrad._primitive import item
from fungrad.control._layout import Spec
from fungrad.control._loop import loop_p


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


def changed(graph: Graph, change: Change) -> Graph:
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
