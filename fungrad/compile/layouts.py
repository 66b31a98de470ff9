"""How results lie in memory: as NumPy lays them out, which no pass may change.

In: a graph, and which of its inputs are C-contiguous. Out: the strides of results, in entries, where
they are sure. What is C-contiguous can be given memory to write to, and cut into blocks of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod
from operator import mul
from typing import Any

import numpy as np

from fungrad._aval import TupleAval
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
from fungrad.ops.shape import astype_p, broadcast_to_p, concatenate_p, reshape_p, transpose_p
from fungrad.ops.softmax import SHARING, exponentials_p
from fungrad.ops.sums import row_sum_p
from fungrad.ops.triangular import cholesky_cotangent_p, thin_cotangent_p, triangular_inverse_p

Shape = tuple[int, ...]
Strides = tuple[int, ...]


def dense_nodes(graph: Graph, contiguous: tuple[bool, ...]) -> set[Expr]:
    """The nodes whose arrays are surely C-contiguous, as NumPy allocates them."""
    known = strides(graph, contiguous)
    return {node for node, found in known.items() if found == in_order(node.aval.shape)}


def strides(graph: Graph, contiguous: tuple[bool, ...]) -> dict[Expr, Strides]:
    """How far apart neighbours along each axis are; along axes of length 1, as if in order."""
    known: dict[Expr, Strides] = {}
    for input_node, flag in zip(graph.inputs, contiguous, strict=True):
        if flag or not input_node.aval.shape:
            known[input_node] = in_order(input_node.aval.shape)
    for node in graph.nodes:
        if not isinstance(node.aval, TupleAval):
            found = _strides(node, node.aval.shape, known)
            if found is not None:
                known[node] = found
    return known


@lru_cache(maxsize=4096)
def in_order(shape: Shape) -> Strides:
    """The strides of a C-contiguous array."""
    return tuple([*accumulate(shape[:0:-1], mul, initial=1)][::-1]) if shape else ()


_KEEPING = frozenset({astype_p, concatenate_p, *SHARING})
"""What is C-contiguous if its operands' axes lie in their order; so are elementwise operations."""
_REDUCTIONS = frozenset({sum_p, max_p, min_p, any_p, all_p})
_SOLID = frozenset(
    {
        conv_p,
        conv_input_p,
        conv_kernel_p,
        patches_p,
        patch_sum_p,
        row_sum_p,
        scatter_add_p,
        scatter_sum_p,
    }
)
"""What is always C-contiguous."""


_OF_STACKS = frozenset({cholesky_p, inv_p, solve_p})
"""What lays out stacks of matrices as products do."""
_SOLVERS = frozenset(
    {
        cholesky_cotangent_p,
        inverse_p,
        refined_p,
        thin_cotangent_p,
        triangular_inverse_p,
    }
)
"""What gives single matrices in the order of C, whatever the order of its operands; so do these."""


def _strides(node: Expr, shape: Shape, known: dict[Expr, Strides]) -> Strides | None:
    primitive = node.primitive
    assert primitive is not None
    own = in_order(shape)
    if not shape or 0 in shape:
        return own
    if primitive.view:
        return _of_view(node, shape, known)
    if is_ufunc(node) or primitive is where:
        return _allocated(shape, [_broadcast(arg, shape, known) for arg in node.args])
    if primitive is matmul_p or primitive in _OF_STACKS:
        return _of_product(node, shape, known)
    if primitive in _REDUCTIONS:
        source = known.get(node.args[0])
        axis = dict(node.static)["axis"]
        kept = None if source is None else [s for i, s in enumerate(source) if i not in axis]
        return _allocated(shape, [kept])
    if primitive in _SOLID or (primitive in _SOLVERS and len(shape) <= 2):
        return own
    if primitive is item:
        joint = node.args[0]
        return own if joint.primitive is exponentials_p and _lies(joint.args[0], known) else None
    if primitive.elementwise or primitive in _KEEPING:
        return own if all(_lies(arg, known) for arg in node.args) else None
    return own if not node.args and primitive.fresh else None


def _lies(node: Expr, known: dict[Expr, Strides]) -> bool:
    """Whether the axes of a value lie in memory in their order; there may be gaps."""
    if not node.aval.shape:
        return True
    inner = 0
    for stride, n in zip(reversed(known.get(node, ())), reversed(node.aval.shape), strict=False):
        if n > 1:
            if stride <= inner:
                return False
            inner = stride * (n - 1)
    return node in known


def _broadcast(arg: Expr, shape: Shape, known: dict[Expr, Strides]) -> Sequence[int] | None:
    """The strides of an operand of a result of that shape."""
    own = arg.aval.shape
    if not own:
        return (0,) * len(shape)
    found = known.get(arg)
    if found is None:
        return None
    moved = [0 if n == 1 else stride for stride, n in zip(found, own, strict=True)]
    return [*[0] * (len(shape) - len(own)), *moved]


def _allocated(shape: Shape, operands: Sequence[Sequence[int] | None]) -> Strides | None:
    """The strides of an array that NumPy's iterator allocates for operands with these strides.

    It walks along short strides first (nditer_constr.c, npyiter_find_best_axis_ordering): axes are
    inserted one by one, and where operands contradict each other, C's order wins.
    """
    own = in_order(shape)
    long = [i for i, n in enumerate(shape) if n > 1]
    if len(long) < 2:
        return own
    if any(x is not None and _descends([x[i] for i in long]) for x in operands):
        return own
    sure = [x for x in operands if x is not None]
    if len(sure) < len(operands):
        return None
    axes = long[::-1]  # the innermost first
    for i in range(1, len(axes)):
        axis, place = axes[i], i
        for j in range(i - 1, -1, -1):
            pairs = [(x[axis], x[axes[j]]) for x in sure]
            opinions = [inner > outer for outer, inner in pairs if outer and inner]
            if opinions and not all(opinions):
                break
            place = j if opinions else place
        axes.insert(place, axes.pop(i))
    found, step = list(own), 1
    for axis in axes:
        found[axis] = step
        step *= shape[axis]
    return tuple(found)


def _descends(found: Sequence[int]) -> bool:
    """Whether strides say for every two axes that the first one is the outer one."""
    return all(found) and all(a >= b for a, b in pairwise(found))


def _of_product(node: Expr, shape: Shape, known: dict[Expr, Strides]) -> Strides | None:
    """Of a stack of matrices, whose own axes come last in any case."""
    stack = max(len(arg.aval.shape) for arg in node.args) - 2
    if stack < 2:
        return in_order(shape)
    operands: list[Sequence[int] | None] = []
    for arg in node.args:
        own, found = arg.aval.shape[:-2], known.get(arg)
        pairs = zip(own, found or (), strict=False)
        moved = [0 if n == 1 else stride for n, stride in pairs]
        unknown = found is None and own
        operands.append(None if unknown else [*[0] * (stack - len(own)), *moved])
    outer = _allocated(shape[:stack], operands)
    if outer is None:
        return None
    size = prod(shape[stack:])
    return (*[stride * size for stride in outer], *in_order(shape[stack:]))


def _of_view(node: Expr, shape: Shape, known: dict[Expr, Strides]) -> Strides | None:
    primitive, source, static = node.primitive, node.args[0], dict(node.static)
    found = known.get(source)
    if primitive is reshape_p:
        if found is None or found == in_order(source.aval.shape):
            return in_order(shape) if found is not None or _must_copy(node) else None
        return _reshaped(source.aval.shape, found, shape)
    if found is None or len(node.args) > 1:
        return None
    if primitive is transpose_p:
        moved: Sequence[int] | None = [found[axis] for axis in static["axes"]]
    elif primitive is broadcast_to_p:
        moved = _broadcast(source, shape, known)
    elif primitive is getitem_p:
        moved = _indexed(static["index"], source.aval.shape, found)
    else:
        return None
    return None if moved is None else _normal(moved, shape)


def _normal(found: Sequence[int], shape: Shape) -> Strides:
    """Strides along axes of length 1 say nothing."""
    own = in_order(shape)
    return tuple([c if n == 1 else s for s, c, n in zip(found, own, shape, strict=True)])


def _indexed(index: Any, shape: Shape, found: Strides) -> list[int] | None:
    moved: list[int] = []
    axes = iter(zip(shape, found, strict=True))
    for entry in index:
        if entry is None:
            moved.append(0)
            continue
        n, stride = next(axes)
        if isinstance(entry, slice):
            step = range(n)[entry].step
            if step < 0:
                return None  # which iterators turn round
            moved.append(stride * step)
    return moved


def _reshaped(old: Shape, found: Strides, shape: Shape) -> Strides | None:
    """The strides of the view, or of the copy where there is none."""
    byte = np.empty(1, np.bool_)  # only its strides are looked at
    wide = np.lib.stride_tricks.as_strided(byte, old, found, writeable=False)
    try:
        return _normal(np.reshape(wide, shape, copy=False).strides, shape)
    except ValueError:
        return in_order(shape)
    except TypeError:  # NumPy before 2.1 can't tell
        return None


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
