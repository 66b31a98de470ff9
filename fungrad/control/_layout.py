"""What a loop consists of, and what its rules share.

Row 9. A loop is one node. Its body is a graph from the carries, the items of this step and the
constants to the next carries and what is stacked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from fungrad._aval import Aval
from fungrad._batch import batch
from fungrad._codec import record
from fungrad._expr import Expr, Input, make_input, with_args
from fungrad._graph import Graph, make_graph, substitute, topological


@record
@attrs.frozen(repr=False)
class Spec:
    """What a loop is, besides its operands.

    Attributes:
        body: ``carries, items of this step, constants -> next carries, what is stacked``.
        carries: how many values go from step to step.
        items: how many sequences there are, of which each step gets one item.
        cond: ``carries, constants -> whether to go on``.
        length: the number of steps, where it is known.
        reverse: whether the last item comes first.
        recompute: whether the backward pass keeps the carries only, and runs steps once more.
    """

    body: Graph
    carries: int
    items: int
    cond: Graph | None = None
    length: int | None = None
    reverse: bool = False
    recompute: bool = False

    @property
    def counted(self) -> int:
        """1 if the first operand is the number of steps, otherwise 0."""
        return int(self.cond is None and self.length is None)

    @property
    def constants(self) -> int:
        """How many values are the same in all steps."""
        return len(self.body.inputs) - self.carries - self.items

    @property
    def stacked(self) -> tuple[Expr, ...]:
        """What each step puts aside."""
        return self.body.outputs[self.carries :]

    def operands(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The initial carries, the sequences and the constants."""
        rest = list(operands[self.counted :])
        sequences = self.carries + self.items
        return rest[: self.carries], rest[self.carries : sequences], rest[sequences:]

    def __repr__(self) -> str:
        times = "while …" if self.cond else "…" if self.length is None else f"{self.length} times"
        return f"{times}{' backwards' if self.reverse else ''}, {self.body!r}"


def positions(flags: Sequence[Any]) -> list[int]:
    """Where ``flags`` are true."""
    return [i for i, flag in enumerate(flags) if flag]


def rebuilt(outputs: Sequence[Expr], new: dict[Expr, Expr]) -> list[Expr]:
    """``outputs`` with the replacements ``new`` of some nodes below them; ``new`` grows."""
    for node in topological([out for out in outputs if out not in new]):
        if node not in new:
            new[node] = with_args(node, tuple([new.get(arg, arg) for arg in node.args]))
    return [new.get(output, output) for output in outputs]


def inputs_below(
    graph: Graph, outputs: Sequence[Expr], within: set[Expr] | None = None
) -> set[int]:
    """The inputs of ``graph`` on which ``outputs`` depend, through the nodes ``within`` only."""
    found: set[int] = set()
    seen: set[Expr] = set()
    pending = list(outputs)
    while pending:
        node = pending.pop()
        if node in seen or (within is not None and node not in within):
            continue
        seen.add(node)
        if isinstance(node, Input):
            found.add(node.index)
        pending += node.args
    return found


def batch_some(
    graph: Graph, batched: Sequence[bool], size: int, spread: Sequence[bool]
) -> tuple[Graph, list[bool]]:
    """``graph`` over a batch; outputs that no batched input decides stay single.

    Unless ``spread`` says otherwise. Also returns which outputs are batched.
    """
    inputs = {i for i, flag in enumerate(batched) if flag}
    flags = [
        wide or not inputs.isdisjoint(inputs_below(graph, [out]))
        for out, wide in zip(graph.outputs, spread, strict=True)
    ]
    wide = batch(graph, tuple(batched), size)
    # Single inputs are the same nodes in both graphs, and so is what depends on them only.
    outputs: list[Expr] = [
        new if flag else old
        for new, old, flag in zip(wide.outputs, graph.outputs, flags, strict=True)
    ]
    return make_graph([node.aval for node in wide.inputs], outputs), flags


def with_inputs(graph: Graph, avals: Sequence[Aval], places: Sequence[int]) -> Graph:
    """``graph`` with more inputs, of which it reads those at ``places``."""
    inputs = [make_input(place, avals[place]) for place in places]
    return make_graph(avals, substitute(graph, inputs))
