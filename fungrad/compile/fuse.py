"""Which operations run together, block by block, so that their temporaries stay in the cache.

In: a graph's operations in order. Out: units: single operations and ``Group``s. A group's values
are cut along one index space of ``length`` rows: the leading axes of all of them, taken as one.
Its operations are elementwise, reductions within rows, reshapes that keep the rows; and sums over
all rows, whose results leave the group only when it is done.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence, Set

import attrs

from fungrad._expr import Expr, Literal
from fungrad._graph import Graph
from fungrad.compile.blocks import Block, halves, rows
from fungrad.compile.rows import admissible, by_rows, is_total, largest, lead
from fungrad.compile.work import BUSY, nanoseconds

CACHE = 1 << 20
"""How many bytes a block may use: what is near to a core of today."""
MOST_ROWS = 16384
"""How many rows a block has at most."""
WORTHWHILE = 1 << 14
"""The number of entries from which on a value may be worth cutting."""
SHORTEST = 256
"""How many rows a block may have if sums are cut: NumPy cuts no further than to 128 entries."""
MAX_GROUPS = 256
"""Beyond, operations run one by one: finding more groups would take longer than linear time."""


@attrs.frozen(eq=False)
class Group:
    """Operations that run together, on ``length`` rows cut into blocks.

    Attributes:
        length: the number of rows.
        nodes: members, arguments first.
        views: the members that only look at others' memory.
        totals: the members that are sums over all rows.
        kept: the members whose whole arrays others read; they are none of ``views``.
        rows: how many rows a block has at most.
    """

    length: int
    nodes: tuple[Expr, ...]
    views: Set[Expr]
    totals: Set[Expr]
    kept: tuple[Expr, ...]
    rows: int

    @property
    def reads(self) -> list[Expr]:
        """What the members read that is computed before."""
        inside = set(self.nodes)
        args = dict.fromkeys(arg for node in self.nodes for arg in node.args)
        return [arg for arg in args if arg not in inside and not isinstance(arg, Literal)]

    @property
    def cut(self) -> Callable[[int, int], Sequence[Block]]:
        """How blocks are cut: anyhow, or for the sake of totals over every entry."""
        return halves if any(not node.aval.shape for node in self.totals) else rows

    def rest(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What remains of ``shape`` behind the axes that are the rows."""
        return shape[lead(shape, self.length) :]


Unit = Expr | Group


def units(graph: Graph, order: Sequence[Expr], dense: Set[Expr]) -> list[Unit]:
    """The operations in ``order``, those that go together as groups."""
    if not any(largest(node) >= WORTHWHILE for node in order):
        return list(order)
    cuts = {node: admissible(node, dense) for node in order}
    # A group pays only with a long member, and has a number of rows into which all can be cut.
    long = {
        n for node, (lengths, _) in cuts.items() if largest(node) >= WORTHWHILE for n in lengths
    }
    search = _Search()
    for node, (lengths, view) in cuts.items():
        search.place(node, lengths & long, view)
    return _arranged(graph, order, search)


@attrs.define(eq=False)
class _Draft:
    """A group while it grows."""

    index: int
    lengths: Set[int]
    largest: int = 1
    nodes: list[Expr] = attrs.field(factory=list)
    views: set[Expr] = attrs.field(factory=set)
    totals: set[Expr] = attrs.field(factory=set)
    needs: int = 0
    """Which groups must be done before, directly or not: a set of bits."""

    @property
    def alone(self) -> bool:
        """Whether there is one operation, which has no temporaries to keep in the cache."""
        return len(self.nodes) - len(self.views) < 2

    def rows(self) -> int:
        """How many rows a block has at most."""
        length = max(self.lengths)
        if self.alone:
            return max(1, int(length * (BUSY // 2) / self.work()))
        least = SHORTEST if any(not node.aval.shape for node in self.totals) else 1
        return max(least, min(CACHE // self.bytes_per_row(), MOST_ROWS))

    def pays(self) -> bool:
        """Whether running in blocks is worth the trouble: the cache does not hold all anyway."""
        if self.largest < WORTHWHILE or (self.alone and self.work() < BUSY):
            return False  # a single operation gains nothing but threads
        return max(self.lengths) * self.bytes_per_row() > 2 * CACHE

    def work(self) -> float:
        """About how many nanoseconds it takes."""
        return sum([nanoseconds(node) for node in self.nodes if node not in self.views])

    def bytes_per_row(self) -> int:
        """How much is in use at once for each row: members read later, and arrays from outside."""
        length = max(self.lengths)
        computed = {n for n in self.nodes if n not in self.views and n not in self.totals}
        last = {arg: node for node in self.nodes for arg in node.args}
        members = set(self.nodes)
        outside = [arg for arg in last if arg not in members]
        used = most = sum(_row_bytes(arg, length) for arg in outside)
        for node in self.nodes:
            used += _row_bytes(node, length) if node in computed else 0
            most = max(most, used)
            ending = {arg for arg in node.args if last[arg] is node and arg in computed}
            used -= sum(_row_bytes(arg, length) for arg in ending)
        return max(1, most)


def _row_bytes(node: Expr, length: int) -> int:
    return node.aval.size // length * node.aval.dtype.itemsize


class _Search:
    """Puts one operation after the other into the first group that it may join."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.of: dict[Expr, _Draft] = {}
        self._needs: dict[Expr, int] = {}  # of operations in no group: the groups below them
        self._readers: dict[Expr, _Draft] = {}  # the latest group that reads a value

    def place(self, node: Expr, lengths: Set[int], view: bool) -> None:
        if lengths:
            for draft in self._candidates(node, view):
                common = self._common(node, draft, lengths)
                if common and self._may_join(node, draft):
                    return self._join(node, draft, common, view)
            founds = not view and not (is_total(node) and node.aval.shape)
            if founds and len(self.drafts) < MAX_GROUPS:
                draft = _Draft(len(self.drafts), lengths)
                self.drafts.append(draft)
                return self._join(node, draft, lengths, view)
        self._needs[node] = self._below(node, None)
        return None

    def _candidates(self, node: Expr, view: bool) -> Iterator[_Draft]:
        found = {id(d): d for d in (self.of.get(arg) for arg in reversed(node.args)) if d}
        if not (view or is_total(node)):
            for arg in node.args:
                sharing = self._readers.get(arg)
                if sharing is not None:
                    found.setdefault(id(sharing), sharing)
        yield from found.values()

    def _common(self, node: Expr, draft: _Draft, lengths: Set[int]) -> Set[int]:
        """The numbers of rows that suit both: members are read row by row, never as a whole."""
        members = [arg for arg in node.args if self.of.get(arg) is draft]
        common = draft.lengths & lengths
        if any(not total.aval.shape for total in (*draft.totals, *[node] * is_total(node))):
            most = max(draft.largest, largest(node))
            common = {n for n in common if most == n}
        return {n for n in common if all(by_rows(node, arg, n) for arg in members)}

    def _may_join(self, node: Expr, draft: _Draft) -> bool:
        """No operand waits for the group to be done."""
        if any(arg in draft.totals for arg in node.args):
            return False
        if is_total(node):
            arg = node.args[0]
            # Rows are added in a scratch array, which a view does not have.
            if self.of.get(arg) is not draft or (node.aval.shape and arg in draft.views):
                return False
        return not self._below(node, draft) >> draft.index & 1

    def _below(self, node: Expr, inside: _Draft | None) -> int:
        """The groups that must be done before ``node``; not for operands ``inside`` its own."""
        needs = 0
        for arg in node.args:
            draft = self.of.get(arg)
            if draft is None:
                needs |= self._needs.get(arg, 0)
            elif draft is not inside:
                needs |= 1 << draft.index
        return self._closed(needs)

    def _closed(self, needs: int) -> int:
        """With the groups that those groups need: groups grow after others were found to need them."""
        pending = needs
        while pending:
            index = pending.bit_length() - 1
            pending ^= 1 << index
            new = self.drafts[index].needs & ~needs
            needs |= new
            pending |= new
        return needs

    def _join(self, node: Expr, draft: _Draft, lengths: Set[int], view: bool) -> None:
        draft.lengths = lengths
        draft.largest = max(draft.largest, largest(node))
        draft.needs |= self._below(node, draft)
        draft.nodes.append(node)
        self.of[node] = draft
        if view:
            draft.views.add(node)
        if is_total(node):
            draft.totals.add(node)
        for arg in node.args:
            # A total that founds a group stays alone: others might have to wait for it.
            if arg.aval.shape and draft.nodes[0] not in draft.totals:
                self._readers[arg] = draft


# --- the order of the units ----------------------------------------------------------------------


def _arranged(graph: Graph, order: Sequence[Expr], search: _Search) -> list[Unit]:
    pays = {id(draft): draft.pays() for draft in search.drafts}
    of = {node: draft for node, draft in search.of.items() if pays[id(draft)]}
    if not of:
        return list(order)
    outside = set(graph.outputs)  # what is read by others than the members of its own group
    for node in reversed(order):
        mine = of.get(node)
        for arg in node.args:
            its = of.get(arg)
            if its is not None and (its is not mine or (node in its.views and node in outside)):
                outside.add(arg)
    groups: dict[int, Group] = {}
    for draft in {id(draft): draft for draft in of.values()}.values():
        kept = [n for n in draft.nodes if n in outside and n not in draft.views | draft.totals]
        groups[id(draft)] = Group(
            max(draft.lengths),
            tuple(draft.nodes),
            draft.views,
            draft.totals,
            tuple(kept),
            draft.rows(),
        )
    # Views that others read, too, are looked at again from outside, when the group is done.
    unit_of: dict[Expr, Unit] = {}
    position: dict[Unit, int] = {}
    needs: dict[Unit, set[Unit]] = {}
    for at, node in enumerate(order):
        its = of.get(node)
        unit: Unit = node if its is None else groups[id(its)]
        seen = [unit]
        if its is not None and node in its.views and node in outside:
            seen.append(node)
        for member in seen:
            inner = its if member is unit else None
            needs.setdefault(member, set()).update(
                [
                    unit_of[arg]
                    for arg in node.args
                    if arg in unit_of and (inner is None or of.get(arg) is not inner)
                ]
            )
            position[member] = at
        unit_of[node] = seen[-1]
    return _sorted(position, needs)


def _sorted(position: dict[Unit, int], needs: dict[Unit, set[Unit]]) -> list[Unit]:
    """All units, each as soon as what it needs is done, in the order of their last operations."""
    waiting: dict[Unit, int] = {}
    readers: dict[Unit, list[Unit]] = {}
    for unit, before in needs.items():
        before.discard(unit)
        waiting[unit] = len(before)
        for other in before:
            readers.setdefault(other, []).append(unit)
    ready = [(position[unit], i, unit) for i, unit in enumerate(needs) if not waiting[unit]]
    heapq.heapify(ready)
    done: list[Unit] = []
    serial = len(needs)
    while ready:
        _, _, unit = heapq.heappop(ready)
        done.append(unit)
        for reader in readers.get(unit, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                serial += 1
                heapq.heappush(ready, (position[reader], serial, reader))
    assert len(done) == len(needs), "operations wait for each other"
    return done
