"""Who owns which memory: aliases, what must be copied, and which buffers can be reused.

In: a graph, and which of its nodes are C-contiguous. Out: decisions, no code. A buffer is written
a second time only if this very run allocated it, every reader of it (and of every view of it) is
done, and NumPy would have allocated the same layout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from typing import Any

import attrs
import numpy as np

from fungrad._aval import StackAval
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph
from fungrad._primitive import item
from fungrad.compile.calls import TAKING_OUT, is_long_choice, is_ufunc, stacked_numbers
from fungrad.compile.fuse import Unit
from fungrad.compile.rows import by_rows
from fungrad.ops.indexing import scatter_add_p, scatter_sum_p
from fungrad.ops.shape import broadcast_to_p, concatenate_p

COPY, SCALAR, NUMBER, FRESH = ".copy()", "[()]", ".item()", ""
"""What to do with an output before it is handed out, as source text.

What is as weak as a Python number (NEP 50) must leave as one, or it would promote float32 arrays.
"""


def roots(graph: Graph) -> dict[Expr, Expr]:
    """For every node, the node that owns its memory: itself, or what it may be a view of."""
    root: dict[Expr, Expr] = {}
    for node in graph.nodes:
        assert node.primitive is not None
        source = node.args[0] if node.primitive.view else node
        root[node] = root.get(source, source)
    return root


def finishes(graph: Graph) -> tuple[str, ...]:
    """For every output, how it becomes an array (or scalar) that the caller alone owns."""

    def derive() -> tuple[str, ...]:
        root: dict[Expr, Expr] = {}
        taken, result = set[Expr](), []
        for out in graph.outputs:
            owner, views = out, []
            while owner.primitive is not None and owner.primitive.view and owner not in root:
                views.append(owner)
                owner = owner.args[0]
            owner = root.get(owner, owner)
            root.update(dict.fromkeys(views, owner))
            # A broadcast view repeats memory, so it can't be written to.
            repeats = out.primitive is broadcast_to_p or (owner is not out and _repeats(out))
            shared = owner in taken or not _fresh(owner) or repeats
            array = bool(out.aval.shape) or isinstance(out.aval, StackAval)
            kind = NUMBER if out.aval.weak else FRESH if array else SCALAR
            result.append(COPY if shared and kind is FRESH else kind)
            taken.add(owner)
        return tuple(result)

    result: tuple[str, ...] = graph.memo("finishes", derive)
    return result


def _repeats(node: Expr) -> bool:
    while node.primitive is not None and node.primitive.view:
        if node.primitive is broadcast_to_p:
            return True
        node = node.args[0]
    return False


@attrs.frozen
class Buffer:
    """Memory that one node allocates, others write over, and nobody sees after the run.

    Attributes:
        nodes: whose values it holds, one after the other.
        start: the position of the unit that first writes to it.
        end: that of the last one that reads it.
    """

    nodes: tuple[Expr, ...]
    start: int
    end: int


@attrs.frozen
class Plan:
    """What to do at each unit.

    Attributes:
        out: a node → the node whose buffer takes its value.
        drop: unit position → the nodes to forget after it.
        buffers: those of temporaries that can be given memory to write to.
    """

    out: dict[Expr, Expr]
    drop: dict[int, list[Expr]]
    buffers: tuple[Buffer, ...]


def plan(graph: Graph, units: Sequence[Unit], dense: Set[Expr]) -> Plan:
    """Buffer reuse by liveness, in the order of ``units``."""
    root = roots(graph)
    last: dict[Expr, int] = {}
    for position, unit in enumerate(units):
        for arg in _reads(unit):
            last[root.get(arg, arg)] = position
    for node in graph.nodes:
        assert node.primitive is not None
        if not (node.primitive.view or node.primitive.fresh or node.primitive is item):
            # It may share memory with any of its operands, so none of them is written to again.
            last.update({root.get(arg, arg): len(units) for arg in node.args})
    for output in graph.outputs:
        last[root.get(output, output)] = len(units)
    seen = _seen(graph, root)
    reusable = dense - seen
    aliases: dict[Expr, list[Expr]] = defaultdict(list)
    for node in graph.nodes:
        aliases[root[node]].append(node)
    ends: dict[int, list[Expr]] = defaultdict(list)
    for owner, position in last.items():
        if not isinstance(owner, (Input, Literal)):
            ends[position].append(owner)

    wanted: dict[Any, int] = defaultdict(int)  # operations to come that could use such a buffer
    for unit in units:
        for node in _takes_out(unit, dense):
            wanted[_kind(node)] += 1
    free: dict[Any, list[Expr]] = defaultdict(list)
    out: dict[Expr, Expr] = {}
    written: dict[Expr, int] = {}  # where a node is computed that could be given memory
    drop: dict[int, list[Expr]] = defaultdict(list)
    for position, unit in enumerate(units):
        ending = ends.get(position, [])
        taken = set()
        for node in _takes_out(unit, dense):
            kind = _kind(node)
            wanted[kind] -= 1
            written[node] = position
            fitting = [o for o in ending if o in reusable and _owned(o) and _kind(o) == kind]
            fitting = [o for o in fitting if o not in taken and _may_overwrite(unit, node, o, root)]
            reused = fitting[0] if fitting else free[kind].pop() if free[kind] else None
            if reused is not None:
                out[node] = reused
                taken.add(reused)
                drop[position].append(reused)  # its array goes on under the result's name
        for owner in ending:
            kind = _kind(owner)
            views = aliases[owner][1:]  # the first of them is the owner itself
            if owner in taken:
                drop[position] += views
            elif owner in reusable and _owned(owner) and len(free[kind]) < wanted[kind]:
                free[kind].append(owner)
                drop[position] += views
            else:
                drop[position] += [owner, *views]
    return Plan(out, drop, _buffers(out, written, last, len(units), seen))


def _buffers(
    out: dict[Expr, Expr],
    written: dict[Expr, int],
    last: dict[Expr, int],
    end: int,
    seen: Set[Expr],
) -> tuple[Buffer, ...]:
    """The buffers whose values are all forgotten before the ``end``, and not ``seen``."""
    chains: dict[Expr, list[Expr]] = {}  # the last node of a buffer so far → all of them
    for node in written:
        nodes = chains.pop(out[node], [out[node]]) if node in out else []
        nodes.append(node)
        chains[node] = nodes
    return tuple(
        [
            Buffer(tuple(nodes), written[nodes[0]], last[nodes[-1]])
            for nodes in chains.values()
            if nodes[0] in written and last[nodes[-1]] < end and seen.isdisjoint(nodes)
        ]
    )


def _seen(graph: Graph, root: dict[Expr, Expr]) -> set[Expr]:
    """What code reads that is not known to forget it: users', and programs with such code inside."""
    seen = set()
    for node in graph.nodes:
        primitive = node.primitive
        assert primitive is not None
        ours = str(getattr(primitive.value, "__module__", "")).startswith("fungrad.ops.")
        if not (ours or isinstance(primitive.value, np.ufunc) or primitive.template):
            seen.update([root.get(arg, arg) for arg in node.args])
    return seen


def _reads(unit: Unit) -> list[Expr]:
    """What a unit reads that others computed."""
    return list(unit.args) if isinstance(unit, Expr) else unit.reads


def _kind(node: Expr) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return node.aval.shape, node.aval.dtype


def _owned(node: Expr) -> bool:
    """Whether the run allocates an array for ``node``: no views, no scalars."""
    return _fresh(node) and bool(node.aval.shape)


def _fresh(node: Expr) -> bool:
    if node.primitive is item:  # as fresh as the results among which it is one
        node = node.args[0]
    return node.primitive is not None and node.primitive.fresh


def _takes_out(unit: Unit, dense: Set[Expr]) -> Sequence[Expr]:
    """The nodes of a unit that can write into a buffer they are given."""
    if not isinstance(unit, Expr):
        return unit.kept
    primitive, aval = unit.primitive, unit.aval
    assert primitive is not None
    ufunc = is_ufunc(unit) or (primitive in _FILLING and stacked_numbers(unit) is None)
    # Complex products round differently where an operand is overwritten.
    fits = (
        (ufunc or is_long_choice(unit))
        and unit in dense
        and bool(aval.shape)
        and aval.size > 0
        and aval.dtype.kind != "c"
    )
    return (unit,) if fits else ()


_FILLING = TAKING_OUT | {concatenate_p, scatter_add_p, scatter_sum_p}
"""What takes the keyword ``out``, or starts from zeros in any array, apart from ufuncs."""


def _may_overwrite(unit: Unit, node: Expr, owner: Expr, root: dict[Expr, Expr]) -> bool:
    """Whether ``node`` may be written over an operand that nobody needs after ``unit``.

    Every read of it is done by then, or has the result's index map.
    """
    if isinstance(unit, Expr):
        if not is_ufunc(unit) or owner not in unit.args:
            return False  # or it reads operands again after it has written
        return all(arg is owner or root.get(arg) is not owner for arg in unit.args)
    late = False  # whether node's block is already written
    for member in unit.nodes:
        for arg in member.args:
            if root.get(arg) is owner and (
                late or arg is not owner or not by_rows(member, arg, unit.length)
            ):
                return False
        late |= member is node
    return owner in unit.reads
