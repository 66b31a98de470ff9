"""What became of a program: operations, blocks, memory.

In: a graph as traced. Out: an ``Explanation``, which prints as a table.
"""

from __future__ import annotations

import attrs

from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph
from fungrad._rewrites import PASSES
from fungrad._simplify import expand, simplify
from fungrad.compile.fuse import Group, Unit, units
from fungrad.compile.layouts import dense_nodes
from fungrad.compile.schedule import peak_bytes, schedule
from fungrad.compile.source import kept_bytes


@attrs.frozen
class Loop:
    """Operations that run block by block."""

    operations: int
    rows: int
    blocks: int


@attrs.frozen
class Explanation:
    """What became of a program; ``print`` shows it as a table.

    Attributes:
        operations: pass → how many operations there were after it, in order; the first entry is
            the program as it was traced.
        loops: the groups of operations that run block by block.
        peak_bytes: the most that results of operations take up at once, after scheduling;
            without inputs, and without what reusing buffers saves.
        kept_bytes: how much memory stays when a call is done, for the next one of any program.
        moved_bytes: what operations read and write, if each one runs on whole arrays.
        moved_bytes_in_blocks: the same, without the temporaries that stay in a block.
    """

    operations: dict[str, int]
    loops: tuple[Loop, ...]
    peak_bytes: int
    kept_bytes: int
    moved_bytes: int
    moved_bytes_in_blocks: int

    def __str__(self) -> str:
        rows = [(f"operations {name}", f"{count}") for name, count in self.operations.items()]
        rows += [
            (f"loop {i}", f"{x.operations} operations on {x.rows} rows in {x.blocks} blocks")
            for i, x in enumerate(self.loops)
        ]
        rows += [
            ("memory of results, at most", _amount(self.peak_bytes)),
            ("memory kept between calls", _amount(self.kept_bytes)),
            ("memory moved, whole arrays", _amount(self.moved_bytes)),
            ("memory moved, in blocks", _amount(self.moved_bytes_in_blocks)),
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def explain(graph: Graph) -> Explanation:
    """What becomes of a graph whose inputs are C-contiguous."""
    operations = {"as traced": len(expand(graph).nodes)}
    names = list(PASSES)
    for i, name in enumerate(names):
        operations[f"after {name}"] = len(simplify(graph, frozenset(names[i + 1 :])).nodes)
    simple = simplify(graph)
    dense = dense_nodes(simple, (True,) * len(simple.inputs))
    order = schedule(simple)
    planned = units(simple, order, dense)
    groups = [unit for unit in planned if isinstance(unit, Group)]
    loops = [
        Loop(len(group.nodes) - len(group.views), group.length, -(-group.length // group.rows))
        for group in groups
    ]
    return Explanation(
        operations,
        tuple(loops),
        _peak(simple, planned),
        kept_bytes(simple),
        sum(map(_moved, simple.nodes)),
        sum(map(_moved, planned)),
    )


def _peak(graph: Graph, planned: list[Unit]) -> int:
    inside = {
        node
        for unit in planned
        if isinstance(unit, Group)
        for node in unit.nodes
        if node not in unit.kept and node not in unit.totals
    }
    order = [
        node for unit in planned for node in (unit.nodes if isinstance(unit, Group) else [unit])
    ]
    return peak_bytes(graph, list(dict.fromkeys(order)), inside)


def _moved(unit: Unit) -> int:
    if isinstance(unit, Group):
        return sum(map(_bytes, [*unit.reads, *unit.kept, *unit.totals]))
    assert unit.primitive is not None
    if unit.primitive.view:
        return 0
    return sum(map(_bytes, [*[arg for arg in unit.args if not isinstance(arg, Literal)], unit]))


def _bytes(node: Expr | Input) -> int:
    return node.aval.size * node.aval.dtype.itemsize


def _amount(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
