"""Long operations that are spread over threads on their own: not elementwise, so in no group.

In: a node, and which nodes are C-contiguous. Out: a ``Cut``, and the source of a function that
computes it piece by piece. A piece of the value has the bits that it has in the whole: stacks of
matrices and lines of entries are computed one after the other, and depend on nothing else.

Two products that do not depend on each other run one after the other: what is worth a thread is
large enough for BLAS to use threads of its own, which two of ours would only wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from itertools import pairwise
from math import prod

import attrs

from fungrad._aval import TupleAval
from fungrad._expr import Expr, Literal
from fungrad._primitive import Primitive
from fungrad.compile.calls import TAKING_OUT
from fungrad.compile.rows import ROW_REDUCTIONS, exact
from fungrad.compile.work import BUSY, OF_CUBE, OF_ENTRY, multiplications, nanoseconds
from fungrad.ops.cumulative import cumprod_p, cumsum_p
from fungrad.ops.indexing import ARRAY, getitem_p
from fungrad.ops.inverses import LARGE, inverse_p
from fungrad.ops.linear import matmul_p, vecdot_p
from fungrad.ops.softmax import SHARING, exponentials_p

MOST = 32
"""How many pieces there are at most."""
RUN = 1 << 15
"""How many bytes of neighbours a piece has at least, for memory to be read ahead."""
LINES = 512
"""How many lines a piece has at least that are accumulated: NumPy lets other threads wait for fewer."""
SINGLE_PRODUCT, SINGLE_MATRIX = 1 << 18, 96**2
"""Up to how many multiplications, or entries, BLAS works on one thread."""

Axes = tuple[int | None, ...]


@attrs.frozen
class Cut:
    """Where an operation can be cut.

    Attributes:
        axis: the axis of the value, or of each of several.
        axes: that axis of every operand; ``None`` where all pieces read all of it.
        length: how long it is.
        pieces: how many of them there are.
    """

    axis: int
    axes: Axes
    length: int
    pieces: int


def cut(node: Expr, dense: Set[Expr]) -> Cut | None:
    """How ``node`` is cut, if that is worth it."""
    rule = _RULES.get(node.primitive)
    if rule is None or any(isinstance(arg, Literal) for arg in node.args):
        return None
    work = nanoseconds(node)
    if work < BUSY or not (node in dense or dense >= {*node.args}):
        return None  # or it is not sure how NumPy lays out the value
    found = list(rule(node))
    if not found:
        return None
    most = min(MOST, int(work) // (BUSY // 2))
    lengths = [_length(node, axes) for _, axes in found]
    enough = [i for i, length in enumerate(lengths) if length >= most]
    best = enough[0] if enough else max(range(len(found)), key=lengths.__getitem__)
    (axis, axes), length = found[best], lengths[best]
    pieces = min(most, length, *_runs(node, axes))
    return Cut(axis, axes, length, pieces) if pieces > 1 else None


def _length(node: Expr, axes: Axes) -> int:
    return next(
        arg.aval.shape[axis] for arg, axis in zip(node.args, axes, strict=True) if axis is not None
    )


def _runs(node: Expr, axes: Axes) -> Iterator[int]:
    """Into how many pieces the axes can be cut, for other reasons than their length."""
    if node.primitive in (cumprod_p, cumsum_p):
        yield node.aval.size // (node.aval.shape[dict(node.static)["axis"]] * LINES)
    for arg, axis in zip(node.args, axes, strict=True):
        if axis and node.primitive not in _STACKS:
            yield prod(arg.aval.shape[axis:]) * arg.aval.dtype.itemsize // RUN


# --- the axes along which operations can be cut ----------------------------------------------------


def _of_stack(node: Expr) -> Iterator[tuple[int, Axes]]:
    """The axes of a stack of matrices, or of vectors, in front of their own."""
    shapes = [arg.aval.shape for arg in node.args]
    own = 1 if node.primitive is vecdot_p else 2
    ranks = [max(len(shape) - own, 0) for shape in shapes]
    if node.primitive is matmul_p:
        single = multiplications(node) <= SINGLE_PRODUCT * prod(node.aval.shape[: max(ranks)])
    elif node.primitive is inverse_p:
        single = shapes[0][-1] < LARGE  # from there on it depends on all matrices how each is done
    else:
        single = all(prod(shape[-own:]) <= SINGLE_MATRIX for shape in shapes)
    for axis in range(max(ranks)) if single else ():
        places = [axis - max(ranks) + rank for rank in ranks]
        pairs = list(zip(shapes, places, strict=True))
        length = max([shape[place] for shape, place in pairs if place >= 0])
        yield axis, tuple([p if p >= 0 and shape[p] == length else None for shape, p in pairs])


def _of_lines(node: Expr) -> Iterator[tuple[int, Axes]]:
    """The axes other than the one along which something is done with entries."""
    static, shape = dict(node.static), node.args[0].aval.shape
    along = static["axis"] if isinstance(static["axis"], tuple) else (static["axis"],)
    kept = len(node.aval.shape) == len(shape)
    # Where other axes are in between, NumPy's order of adding depends on how long they are.
    if exact(node) and all(b - a == 1 for a, b in pairwise(along)):
        for axis in range(len(shape)):
            if axis not in along:
                before = 0 if kept else sum([other < axis for other in along])
                yield axis - before, (axis,) * len(node.args)


def _of_rows(node: Expr) -> Iterator[tuple[int, Axes]]:
    """The first axis, for functions of the last one; pieces are long enough not to change how."""
    rank = len(node.args[0].aval.shape)
    if rank > 1 and dict(node.static)["axis"] == (rank - 1,):
        yield 0, (0,)


def _of_reading(node: Expr) -> Iterator[tuple[int, Axes]]:
    """The first axis of the positions, where they are those of the first axis of the operand."""
    first, *others = dict(node.static)["index"]
    if first is ARRAY and all(other == slice(None) for other in others):
        yield 0, (None, 0)


_STACKS = frozenset({*OF_CUBE, matmul_p, vecdot_p})
_ROWS = frozenset({exponentials_p, *SHARING})
_LINES = frozenset(OF_ENTRY) - _ROWS - {getitem_p}
_RULES: dict[Primitive | None, Callable[[Expr], Iterator[tuple[int, Axes]]]] = {
    **dict.fromkeys(_STACKS, _of_stack),
    **dict.fromkeys(_LINES, _of_lines),
    **dict.fromkeys(_ROWS, _of_rows),
    getitem_p: _of_reading,
}


# --- source ----------------------------------------------------------------------------------------


def parts(cut: Cut) -> list[str]:
    """The operands in a function that computes one piece after the other."""
    return [_part(i, axis) for i, axis in enumerate(cut.axes)]


def _part(number: int, axis: int | None) -> str:
    return f"a{number}" if axis is None else f"a{number}[{':, ' * axis}r]"


def piecewise(name: str, node: Expr, cut: Cut, call: str) -> str:
    """The source of that function, of the blocks, the operands and arrays for the values."""
    first, count = len(node.args), 1
    if isinstance(node.aval, TupleAval):
        count = len(node.aval.avals)
    targets = [_part(first + i, cut.axis) for i in range(count)]
    if node.primitive in _WRITING:
        line = f"{call[:-1]}, out={targets[0]})"
    else:
        line = f"{', '.join(targets)} = {call}"
    arguments = [f"a{i}" for i in range(first + count)]
    return "\n".join(
        [
            f"def {name}({', '.join(['blocks', *arguments])}):",
            "    for i, r, n in blocks:",
            f"        {line}  # {node.aval}",
        ]
    )


_WRITING = TAKING_OUT | ROW_REDUCTIONS
