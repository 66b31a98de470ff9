"""The order in which operations run: that of a few which keeps least memory in use.

In: a graph. Out: its operations, arguments first. Bits do not depend on the order.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from functools import lru_cache

from fungrad._aval import Aval, TupleAval
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph

WORTHWHILE = 1 << 18
"""How many bytes must be in use at once for the order to matter: a cache holds fewer."""


def schedule(graph: Graph) -> tuple[Expr, ...]:
    """The best of a few orders: as the outputs ask for them, or by levels.

    A node's level is how many operations are below it. The first order suits programs of many
    short branches. By levels suits several outputs that add up along one long chain, like the
    gradients of a recurrent network; then a node waits for the level of its first reader, and in
    the third order for that of the readers' readers. In the best of these, what takes the place of
    its operands may still move to where they are last read otherwise.
    """

    def derive() -> tuple[Expr, ...]:
        if sum(map(_bytes, graph.nodes)) < WORTHWHILE:
            return graph.nodes
        peaks = {graph.nodes: peak_bytes(graph, graph.nodes)}
        if peaks[graph.nodes] < WORTHWHILE:
            return graph.nodes
        level: dict[Expr, int] = {}
        for node in graph.nodes:
            level[node] = 1 + max([level.get(arg, 0) for arg in node.args], default=0)
        once = _delayed(graph, level, level)
        twice = _delayed(graph, level, once)
        for delayed in (once, twice):
            order = tuple(sorted(graph.nodes, key=delayed.__getitem__))
            peaks[order] = peak_bytes(graph, order)
        best = min(peaks, key=peaks.__getitem__)
        early = _early(graph, best)
        peaks[early] = peak_bytes(graph, early)
        return min(peaks, key=peaks.__getitem__)

    result: tuple[Expr, ...] = graph.memo("schedule", derive)
    return result


def _delayed(graph: Graph, level: dict[Expr, int], of: dict[Expr, int]) -> dict[Expr, int]:
    """For every node the level before that of its first reader, but no less than its own."""
    first: dict[Expr, int] = {}
    for node in graph.nodes:
        for arg in node.args:
            first[arg] = min(of[node], first.get(arg, of[node]))
    return {node: max(level[node], first.get(node, 0) - 1) for node in graph.nodes}


def _early(graph: Graph, order: Sequence[Expr]) -> tuple[Expr, ...]:
    """``order``, but what is no larger than what it reads last is computed as soon as it can be.

    Where a slope needs two values of the forward pass, it is kept from there on instead of both.
    """
    owner = _owners(order)
    kept = {owner.get(out, out) for out in graph.outputs}
    readers: dict[Expr, list[Expr]] = {}
    for node in order:
        for own in {owner.get(arg, arg) for arg in node.args}:
            readers.setdefault(own, []).append(node)
    place: dict[Expr, int] = {}
    for position, node in enumerate(order):
        owns = {owner.get(arg, arg) for arg in node.args}
        ending = [
            own for own in owns if own in owner and own not in kept and readers[own][-1] is node
        ]
        place[node] = position
        if ending and owner[node] is node and _bytes(node) <= sum(map(_bytes, ending)):
            before = [other for own in ending for other in readers[own][:-1]]
            place[node] = max([place.get(other, -1) for other in (*node.args, *before)])
    return tuple(sorted(order, key=place.__getitem__))


def _owners(order: Sequence[Expr]) -> dict[Expr, Expr]:
    """For every operation the one whose memory its result is in, as far as views tell."""
    owner: dict[Expr, Expr] = {}
    for node in order:
        assert node.primitive is not None
        source = node.args[0] if node.primitive.view else node
        owner[node] = owner.get(source, source)
    return owner


def peak_bytes(graph: Graph, order: Sequence[Expr], without: Set[Expr] = frozenset()) -> int:
    """The most that the results of operations take up together, ``without`` some of them."""
    owner, last = _owners(order), dict[Expr, int]()
    for position, node in enumerate(order):
        for arg in node.args:
            last[owner.get(arg, arg)] = position
    for out in graph.outputs:
        last[owner.get(out, out)] = len(order)
    used = most = 0
    for position, node in enumerate(order):
        used += _bytes(node) if owner[node] is node and node not in without else 0
        most = max(most, used)
        for own in {owner.get(arg, arg) for arg in node.args}:
            counted = not isinstance(own, (Input, Literal)) and own not in without
            if last[own] == position and counted:
                used -= _bytes(own)
    return most


def _bytes(node: Expr) -> int:
    return _bytes_like(node.aval)


@lru_cache(maxsize=4096)
def _bytes_like(aval: Aval) -> int:
    parts = aval.avals if isinstance(aval, TupleAval) else (aval,)
    return sum(part.size * part.dtype.itemsize for part in parts)
