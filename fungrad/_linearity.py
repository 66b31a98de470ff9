"""What depends on what: the nodes that carry derivatives, those that are zero, linear graphs.

Stage: rewrite. In: graphs. Out: sets of their nodes, and whether a graph looks linear.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np

from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph
from fungrad._primitive import ZERO
from fungrad.ops.creation import full
from fungrad.ops.elementwise import (
    add,
    conjugate,
    imag_part,
    multiply,
    negative,
    positive,
    real_part,
    subtract,
    where,
)
from fungrad.ops.linear import matmul_p
from fungrad.ops.reduction import sum_p
from fungrad.ops.shape import astype_p
from fungrad.ops.stacks import stack_zeros
from fungrad.ops.sums import row_sum_p

Positions = tuple[int, ...]
KEEP_ZEROS = frozenset(
    {
        add,
        subtract,
        negative,
        positive,
        where,
        conjugate,
        real_part,
        imag_part,
        sum_p,
        row_sum_p,
        matmul_p,
        astype_p,
    }
)
"""Beside views: what makes zeros of zeros."""


def active_nodes(graph: Graph, wrt: Iterable[int]) -> set[Expr]:
    """The nodes through which the outputs depend, differentiably, on inputs ``wrt``."""
    active: set[Expr] = {graph.inputs[i] for i in wrt}
    for node in graph.nodes:
        assert node.primitive is not None
        if (
            node.primitive.vjp is not ZERO
            and node.aval.inexact
            and not active.isdisjoint(node.args)
        ):
            active.add(node)
    return active


def is_linear(graph: Graph, wrt: Positions, back: Graph) -> bool:
    """Whether ``graph`` looks linear in the inputs ``wrt``; ``back`` is its pullback.

    Then the pullback does not read these inputs, and nothing that is independent of them is added
    to what is not. An array that is added may be zeros, which only a run can tell.
    """
    read = {arg for node in back.nodes for arg in node.args}.union(back.outputs)
    if any(back.inputs[i] in read for i in wrt):
        return False
    dependent, zero = active_nodes(graph, wrt), zeros(graph)
    for node in graph.nodes:
        if node in dependent and node.primitive in (add, subtract):
            constants = [arg for arg in _numbers(node) if arg not in dependent]
            if not all(arg in zero or isinstance(arg, Input) for arg in constants):
                return False
    return all(out in dependent or out in zero or not out.aval.inexact for out in graph.outputs)


def zeros(graph: Graph) -> set[Expr]:
    """Those of the nodes that surely are zeros, or have no entries, whatever the inputs are."""
    found: set[Expr] = set()
    for node in chain(graph.nodes, graph.outputs):
        numbers = _numbers(node)
        found.update(filter(is_zero, (node, *numbers)))
        zero = [arg in found for arg in numbers]
        record = node.primitive
        if record is multiply:
            known = any(zero)
        else:
            known = record is not None and (record.view or record in KEEP_ZEROS) and all(zero)
        if known and zero:
            found.add(node)
    return found


def _numbers(node: Expr) -> list[Expr]:
    return [arg for arg in node.args if arg.aval.inexact or isinstance(arg, Literal)]


def is_zero(node: Expr) -> bool:
    """Whether the node alone shows that it is zeros, or has no entries."""
    if isinstance(node, Literal):
        return bool(node.value == 0)
    if node.aval.size == 0:
        return True
    if node.primitive is full:
        value = dict(node.static)["value"]
        return bool(value == 0 and not np.signbit(np.real(value)))
    return node.primitive is stack_zeros
