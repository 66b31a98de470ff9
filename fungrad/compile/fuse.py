"""Which operations run together, block by block, so that their temporaries stay in the cache.

In: a graph's operations in order. Out: units: single operations and ``Group``s. A group's values
are cut along one index space of ``length`` rows: the leading axes of all of them, taken as one.
Its operations are elementwise, reductions within rows, reshapes that keep the rows; and sums over
all rows, whose results leave the group only when it is done.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence, Set
from itertools import accumulate
from math import prod
from operator import mul

import attrs

from fungrad._expr import Expr, Literal
from fungrad._graph import Graph
from fungrad.ops.indexing import getitem_p
from fungrad.ops.reduction import all_p, any_p, max_p, min_p, sum_p
from fungrad.ops.shape import astype_p, reshape_p

CACHE = 1 << 20
"""How many bytes a block may use: what is near to a core of today."""
LONGEST_ROW = 4096
"""How many entries a row may have: longer ones are a block each, and leave nothing to gain."""
MOST_ROWS = 16384
"""How many rows a block has at most."""
WORTHWHILE = 1 << 14
"""The number of entries from which on a value may be worth cutting."""
ALONE = 1 << 20
"""From how many entries on a single operation is: it gains nothing but threads."""
SHORTEST = 256
"""How many rows a block may have if sums are cut: NumPy cuts no further than to 128 entries."""
MAX_GROUPS = 256
"""Beyond, operations run one by one: finding more groups would take longer than linear time."""

ROW_REDUCTIONS = frozenset({sum_p, max_p, min_p, all_p, any_p})


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
    def flat(self) -> bool:
        """Whether some total is over every entry, so that blocks are cut for its sake."""
        return any(not node.aval.shape for node in self.totals)

    def rest(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What remains of ``shape`` behind the axes that are the rows."""
        return shape[lead(shape, self.length) :]


Unit = Expr | Group


def lead(shape: Sequence[int], length: int) -> int:
    """How many leading axes have ``length`` entries together: the fewest that do."""
    return list(accumulate(shape, mul)).index(length) + 1


def units(graph: Graph, order: Sequence[Expr], dense: Set[Expr]) -> list[Unit]:
    """The operations in ``order``, those that go together as groups."""
    if not any(node.aval.size >= WORTHWHILE for node in order):
        return list(order)
    cuts = {node: admissible(node, dense) for node in order}
    # A group pays only with a long member, and has a number of rows into which all can be cut.
    long = {
        n for node, (lengths, _) in cuts.items() if _largest(node) >= WORTHWHILE for n in lengths
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
            return max(1, ALONE // 4 * length // self.largest)
        least = SHORTEST if any(not node.aval.shape for node in self.totals) else 1
        return max(least, min(CACHE // self.bytes_per_row(), MOST_ROWS))

    def pays(self) -> bool:
        """Whether running in blocks is worth the trouble: the cache does not hold all anyway."""
        if self.largest < (ALONE if self.alone else WORTHWHILE):
            return False
        return max(self.lengths) * self.bytes_per_row() > 2 * CACHE

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
            if not view and not _is_total(node) and len(self.drafts) < MAX_GROUPS:
                draft = _Draft(len(self.drafts), lengths)
                self.drafts.append(draft)
                return self._join(node, draft, lengths, view)
        self._needs[node] = self._below(node, None)
        return None

    def _candidates(self, node: Expr, view: bool) -> Iterator[_Draft]:
        found = {id(d): d for d in (self.of.get(arg) for arg in reversed(node.args)) if d}
        if not (view or _is_total(node)):
            for arg in node.args:
                sharing = self._readers.get(arg)
                if sharing is not None:
                    found.setdefault(id(sharing), sharing)
        yield from found.values()

    def _common(self, node: Expr, draft: _Draft, lengths: Set[int]) -> Set[int]:
        """The numbers of rows that suit both: members are read row by row, never as a whole."""
        members = [arg for arg in node.args if self.of.get(arg) is draft]
        common = draft.lengths & lengths
        if any(not total.aval.shape for total in (*draft.totals, *[node] * _is_total(node))):
            largest = max(draft.largest, _largest(node))
            common = {n for n in common if largest == n}
        return {n for n in common if all(by_rows(node, arg, n) for arg in members)}

    def _may_join(self, node: Expr, draft: _Draft) -> bool:
        """No operand waits for the group to be done."""
        if any(arg in draft.totals for arg in node.args):
            return False
        if _is_total(node):
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
        draft.largest = max(draft.largest, _largest(node))
        draft.needs |= self._below(node, draft)
        draft.nodes.append(node)
        self.of[node] = draft
        if view:
            draft.views.add(node)
        if _is_total(node):
            draft.totals.add(node)
        for arg in node.args:
            if arg.aval.shape:
                self._readers[arg] = draft


# --- which lengths an operation can be cut to ----------------------------------------------------


def admissible(node: Expr, dense: Set[Expr]) -> tuple[Set[int], bool]:
    """The numbers of rows into which ``node`` can be cut, and whether it is a view of its operand.

    Cut so, every row of its value depends on the same row of its operands, and has the same bits.
    """
    primitive = node.primitive
    assert primitive is not None
    if not node.args or any(arg.aval.dtype.kind not in "biuf" for arg in (node, *node.args)):
        return frozenset(), False
    source = node.args[0].aval.shape
    view = primitive is reshape_p or (primitive is getitem_p and len(node.args) == 1)
    if primitive.elementwise or primitive is astype_p:
        if node not in dense or not primitive.fresh:
            return frozenset(), False
        lengths = _leading(node.aval.shape, _common_axes(node))
    elif primitive is reshape_p:
        lengths = _leading(source, len(source)) & _leading(node.aval.shape, len(node.aval.shape))
    elif view:
        index = dict(node.static)["index"]
        whole = [item == slice(None) for item in index]
        lengths = _leading(source, (*whole, False).index(False))
    elif primitive in ROW_REDUCTIONS and node.args[0] in dense:
        axis = dict(node.static)["axis"]
        within = _leading(source, min(axis, default=0))
        lengths = _sum_lengths(node, axis) if _is_total(node) else within
        if not _exact(node):
            return frozenset(), False
    else:
        return frozenset(), False
    return frozenset([n for n in lengths if n > 1 and _largest(node) // n <= LONGEST_ROW]), view


def by_rows(node: Expr, arg: Expr, length: int) -> bool:
    """Whether a row of ``node`` needs the same row of ``arg`` only, not all of it."""
    assert node.primitive is not None
    if not (node.primitive.elementwise or node.primitive is astype_p):
        return True
    shape, own = node.aval.shape, arg.aval.shape
    axes = lead(shape, length)
    return len(own) == len(shape) and own[:axes] == shape[:axes]


def _largest(node: Expr) -> int:
    return max(arg.aval.size for arg in (node, *node.args))


def _leading(shape: tuple[int, ...], axes: int) -> frozenset[int]:
    """The numbers of entries of the first axes together, up to ``axes`` of them."""
    return frozenset(accumulate(shape[:axes], mul)) if 0 not in shape else frozenset()


def _common_axes(node: Expr) -> int:
    """Along how many leading axes every operand has the result's length, or none at all."""
    shape = node.aval.shape
    axes = len(shape)
    for arg in node.args:
        own = (1,) * (len(shape) - len(arg.aval.shape)) + arg.aval.shape
        same = next((i for i, n in enumerate(shape) if own[i] != n), len(shape))
        absent = next((i for i, n in enumerate(own) if n != 1), len(shape))
        if len(arg.aval.shape) < len(shape):
            same = 0
        axes = min(axes, max(same, absent))
    return axes


def _is_total(node: Expr) -> bool:
    if node.primitive is not sum_p:
        return False
    axis = dict(node.static)["axis"]
    return bool(axis) and axis[0] == 0


def _sum_lengths(node: Expr, axis: tuple[int, ...]) -> frozenset[int]:
    """Sums over the first axes: row after row. Single entries are added in pairs instead."""
    if axis != tuple(range(len(axis))) or (node.aval.shape and node.aval.size < 2):
        return frozenset()
    return frozenset([prod(node.args[0].aval.shape[: len(axis)])])


def _exact(node: Expr) -> bool:
    """Whether NumPy adds without converting, which it does in chunks; integers never round."""
    source, target = node.args[0].aval.dtype, node.aval.dtype
    if node.primitive is not sum_p:
        return True
    if _is_total(node):
        return source == target and source.kind in "fiu" and source.itemsize > 2
    return source.kind in "biu" or (source == target and source.itemsize > 2)


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
