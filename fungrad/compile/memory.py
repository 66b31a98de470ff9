"""Who owns which memory: aliases, layouts, what must be copied, and which buffers can be reused.

In: a graph, and which of its inputs are C-contiguous. Out: decisions, no code. A buffer is written
a second time only if this very run allocated it, every reader of it (and of every view of it) is
done, and NumPy would have allocated the same layout.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import attrs
import numpy as np

from fungrad._aval import StackAval
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph
from fungrad._primitive import item
from fungrad.ops.linear import matmul_p
from fungrad.ops.reduction import sum_p
from fungrad.ops.shape import broadcast_to_p, reshape_p

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
        root, taken, result = roots(graph), set[Expr](), []
        for out in graph.outputs:
            owner = root.get(out, out)
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
class Plan:
    """What to do at each operation.

    Attributes:
        out: operation position → the node whose buffer takes the result.
        drop: operation position → the nodes to forget after it.
    """

    out: dict[int, Expr]
    drop: dict[int, list[Expr]]


def plan(graph: Graph, contiguous: tuple[bool, ...]) -> Plan:
    """Buffer reuse by liveness, in the order of ``graph.nodes``."""
    root = roots(graph)
    dense = _dense(graph, contiguous)
    last: dict[Expr, int] = {}
    for position, node in enumerate(graph.nodes):
        assert node.primitive is not None
        for arg in node.args:
            owner = root.get(arg, arg)
            last[owner] = max(position, last.get(owner, 0))
        if not (node.primitive.view or node.primitive.fresh or node.primitive is item):
            # It may share memory with any of its operands, so none of them is written to again.
            last.update({root.get(arg, arg): len(graph.nodes) for arg in node.args})
    for output in graph.outputs:
        last[root.get(output, output)] = len(graph.nodes)
    aliases: dict[Expr, list[Expr]] = defaultdict(list)
    for node in graph.nodes:
        aliases[root[node]].append(node)
    ends: dict[int, list[Expr]] = defaultdict(list)
    for owner, position in last.items():
        if not isinstance(owner, (Input, Literal)):
            ends[position].append(owner)

    wanted: dict[Any, int] = defaultdict(int)  # operations to come that could use such a buffer
    for node in graph.nodes:
        if _takes_out(node, dense):
            wanted[_kind(node)] += 1
    free: dict[Any, list[Expr]] = defaultdict(list)
    out: dict[int, Expr] = {}
    drop: dict[int, list[Expr]] = defaultdict(list)
    for position, node in enumerate(graph.nodes):
        ending = ends.get(position, [])
        reused = None
        if _takes_out(node, dense):
            kind = _kind(node)
            wanted[kind] -= 1
            reused = _in_place(node, ending, dense, root, kind)
            if reused is None and free[kind]:
                reused = free[kind].pop()
            if reused is not None:
                out[position] = reused
                drop[position].append(reused)  # its array goes on under the result's name
        for owner in ending:
            kind = _kind(owner)
            views = aliases[owner][1:]  # the first of them is the owner itself
            if owner is reused:
                drop[position] += views
            elif owner in dense and _owned(owner) and len(free[kind]) < wanted[kind]:
                free[kind].append(owner)
                drop[position] += views
            else:
                drop[position] += [owner, *views]
    return Plan(out, drop)


def _kind(node: Expr) -> tuple[tuple[int, ...], np.dtype[Any]]:
    return node.aval.shape, node.aval.dtype


def _owned(node: Expr) -> bool:
    """Whether the run allocates an array for ``node``: no views, no scalars."""
    return _fresh(node) and bool(node.aval.shape)


def _fresh(node: Expr) -> bool:
    if node.primitive is item:  # as fresh as the results among which it is one
        node = node.args[0]
    return node.primitive is not None and node.primitive.fresh


def _takes_out(node: Expr, dense: set[Expr]) -> bool:
    assert node.primitive is not None
    ufunc = isinstance(node.primitive.value, np.ufunc) or node.primitive is matmul_p
    # Complex products round differently where an operand is overwritten.
    fits = node in dense and bool(node.aval.shape) and node.aval.size > 0
    return ufunc and fits and node.aval.dtype.kind != "c"


def _in_place(
    node: Expr, ending: list[Expr], dense: set[Expr], root: dict[Expr, Expr], kind: Any
) -> Expr | None:
    """An operand that nobody needs afterwards and that has the result's index map."""
    if node.primitive is matmul_p:
        return None
    for arg in node.args:
        if (
            arg in ending
            and arg in dense
            and _owned(arg)
            and _kind(arg) == kind
            and all(other is arg or root.get(other) is not arg for other in node.args)
        ):
            return arg
    return None


def _dense(graph: Graph, contiguous: tuple[bool, ...]) -> set[Expr]:
    """The nodes whose arrays are surely C-contiguous, as NumPy allocates them."""
    dense: set[Expr] = {node for node, flag in zip(graph.inputs, contiguous, strict=True) if flag}
    for node in graph.nodes:
        assert node.primitive is not None
        known = all(arg in dense or not arg.aval.shape for arg in node.args)
        # A stack of matrices is laid out as its operands are, a single product never is.
        single = node.primitive is matmul_p and len(node.aval.shape) <= 2
        kept = node.primitive.elementwise or node.primitive in (matmul_p, reshape_p, sum_p)
        if single or (known and kept) or (not node.args and node.primitive.fresh):
            dense.add(node)
    return dense
