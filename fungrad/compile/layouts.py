"""How results lie in memory: as NumPy lays them out, which no pass may change.

In: a graph, and which of its inputs are C-contiguous. Out: the nodes that surely are. Those can be
given memory to write to, and cut into blocks of rows.
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np

from fungrad._expr import Expr
from fungrad._graph import Graph
from fungrad._primitive import item
from fungrad.compile.calls import is_ufunc
from fungrad.ops.decompositions import cholesky_p
from fungrad.ops.elementwise import where
from fungrad.ops.indexing import getitem_p, scatter_add_p, scatter_sum_p
from fungrad.ops.inverses import inv_p, inverse_p
from fungrad.ops.linalg import refined_p, solve_p
from fungrad.ops.linear import matmul_p
from fungrad.ops.patches import conv_input_p, conv_kernel_p, conv_p, patch_sum_p, patches_p
from fungrad.ops.reduction import all_p, any_p, max_p, min_p, sum_p
from fungrad.ops.shape import astype_p, broadcast_to_p, concatenate_p, reshape_p
from fungrad.ops.softmax import SHARING, exponentials_p
from fungrad.ops.triangular import cholesky_cotangent_p, thin_cotangent_p, triangular_inverse_p


def dense_nodes(graph: Graph, contiguous: tuple[bool, ...]) -> set[Expr]:
    """The nodes whose arrays are surely C-contiguous, as NumPy allocates them."""
    dense: set[Expr] = {node for node, flag in zip(graph.inputs, contiguous, strict=True) if flag}
    ordered = set(dense)  # those whose axes lie in memory in their order, gaps allowed
    for node in graph.nodes:
        primitive = node.primitive
        assert primitive is not None
        laid = dense if primitive is matmul_p else ordered
        known = all(arg in laid or not arg.aval.shape for arg in node.args)
        # The axes of a stack of matrices are laid out as the operands' are; one alone has no choice.
        most = 3 if primitive is matmul_p else 2 if primitive in _SOLVERS else 0
        single = len(node.aval.shape) <= most
        kept = primitive.elementwise or primitive in _KEEPING
        if primitive is getitem_p and len(node.args) == 1:
            if node.args[0] in ordered and _goes_forward(node):
                ordered.add(node)
                if node.args[0] in dense and _is_solid(node):
                    dense.add(node)
        elif primitive is reshape_p:
            if node.args[0] in dense or _must_copy(node):
                dense.add(node)
            elif node.args[0] in ordered:
                ordered.add(node)
        elif primitive is item:
            if node.args[0].primitive is exponentials_p and node.args[0].args[0] in ordered:
                dense.add(node)
        elif single or (known and kept) or _settles(node, dense) or _is_new(node):
            dense.add(node)
        if node in dense:
            ordered.add(node)
    return dense


_KEEPING = frozenset(
    {matmul_p, sum_p, max_p, min_p, any_p, all_p, astype_p, concatenate_p, *SHARING}
)
"""What is laid out as its operands are, apart from elementwise operations."""
_SOLID = frozenset(
    {conv_p, conv_input_p, conv_kernel_p, patches_p, patch_sum_p, scatter_add_p, scatter_sum_p}
)
"""What is always C-contiguous."""


_SOLVERS = frozenset(
    {
        cholesky_p,
        cholesky_cotangent_p,
        inv_p,
        inverse_p,
        refined_p,
        solve_p,
        thin_cotangent_p,
        triangular_inverse_p,
    }
)
"""What gives single matrices in the order of C, whatever the order of its operands."""


def _is_new(node: Expr) -> bool:
    known = node.primitive in _SOLID
    return known or (not node.args and node.primitive is not None and node.primitive.fresh)


def _settles(node: Expr, dense: Set[Expr]) -> bool:
    """Whether one operand alone makes the result C-contiguous.

    Where operands contradict each other about the order of two axes, NumPy takes C's
    (nditer_constr.c); and one that is broadcast along neither has an opinion on both.
    """
    decides = is_ufunc(node) or node.primitive is where
    return decides and any(a in dense and a.aval.shape == node.aval.shape for a in node.args)


def _must_copy(node: Expr) -> bool:
    """Whether a reshape joins axes along which its operand was broadcast: then it is a new array."""
    source = node.args[0]
    if source.primitive is not broadcast_to_p or node.aval.size == 0:
        return False
    wide = np.broadcast_to(np.empty(source.args[0].aval.shape, np.bool_), source.aval.shape)
    try:
        np.reshape(wide, node.aval.shape, copy=False)
    except ValueError:
        return True
    except TypeError:  # NumPy before 2.1 can't tell
        return False
    return False


def _goes_forward(node: Expr) -> bool:
    """Whether a slicing keeps the order in memory: no negative steps."""
    index = dict(node.static)["index"]
    return all(not isinstance(item, slice) or (item.step or 1) > 0 for item in index)


def _is_solid(node: Expr) -> bool:
    """Whether a slicing of a C-contiguous array has no gaps."""
    cut = False  # whether an axis that has more than one entry came before
    entries = [entry for entry in dict(node.static)["index"] if entry is not None]
    for entry, length in zip(entries, node.args[0].aval.shape, strict=True):
        if cut and (not isinstance(entry, slice) or range(length)[entry] != range(length)):
            return False
        if isinstance(entry, slice):
            taken = range(length)[entry]
            if len(taken) > 1 and taken.step != 1:
                return False
            cut = cut or len(taken) > 1
    return True
