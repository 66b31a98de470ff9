"""``np.einsum``: composed of diagonals, sums, and products of two operands at a time.

Two operands that share summed labels are one ``np.matmul`` over their transposed and flattened
axes; so derivatives are matrix products too, and BLAS does the work that NumPy's own loop over all
labels would do several times slower. More operands are contracted in the order that
``np.einsum_path`` finds; ``optimize=False``, NumPy's default, does not make it slower here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np

from fungrad._primitive import implements
from fungrad._tracer import Tracer
from fungrad.errors import ShapeMismatchError
from fungrad.ops.shape import arraylike

Labels = tuple[Any, ...]
"""One label for each axis: a letter, or ``("...", i)`` for the i-th last axis of an ellipsis."""
Labelled = tuple[Any, Labels]
"""An array and the labels of its axes, of which no two are equal."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@implements(np.einsum)
def einsum(
    *operands: Any,
    optimize: Any = False,
    dtype: Any = None,
    order: str = "K",
    casting: Any = "safe",
) -> Any:
    """``np.einsum`` in both of its forms, ``("ij,jk->ik", a, b)`` and ``(a, [0, 1], b, [1, 2])``."""
    subscripts, arrays = _call(operands)
    terms, output = _parse(subscripts, tuple([np.ndim(a) for a in arrays]))
    sizes = _sizes(terms, arrays)
    target = np.dtype(dtype or np.result_type(*[a.dtype for a in arrays]))
    for i, array in enumerate(arrays):
        if not np.can_cast(array.dtype, target, casting):
            raise TypeError(
                f"einsum: operand {i} can't be cast from {array.dtype} to {target} according to "
                f"the rule {casting!r}"
            )
    pending = [
        _distinct(array.astype(target, copy=False), labels, sizes)
        for array, labels in zip(arrays, terms, strict=True)
    ]
    for step in _path(tuple([labels for _, labels in pending]), output, sizes, optimize):
        chosen = [pending.pop(i) for i in sorted(step, reverse=True)][::-1]
        needed = {label for _, labels in pending for label in labels}.union(output)
        result = chosen[0]
        for i, other in enumerate(chosen[1:], 2):
            later = {label for _, labels in chosen[i:] for label in labels}
            result = _pair(result, other, needed | later, output)
        pending.append(result)
    array, labels = _sum_out(pending[0], set(output))
    return np.transpose(array, [labels.index(label) for label in output])


@implements(np.einsum_path)
def einsum_path(*operands: Any, optimize: Any = "greedy", einsum_call: bool = False) -> Any:
    """``np.einsum_path``, which looks at shapes only."""
    stand_ins = [
        np.broadcast_to(np.zeros((), x.dtype), x.shape) if isinstance(x, Tracer) else x
        for x in operands
    ]
    return np.einsum_path(*stand_ins, optimize=optimize)


# --- reading the call ----------------------------------------------------------------------------


def _call(operands: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """The subscripts as text, and the arrays."""
    if operands and isinstance(operands[0], str):
        return operands[0], [arraylike(x) for x in operands[1:]]
    lists = [*operands[1::2], *(operands[-1:] if len(operands) % 2 else [])]
    texts = ["".join([_letter(item) for item in items]) for items in lists]
    inputs = len(operands) // 2
    arrow = f"->{texts[-1]}" if len(operands) % 2 else ""
    return ",".join(texts[:inputs]) + arrow, [arraylike(x) for x in operands[: 2 * inputs : 2]]


def _letter(item: Any) -> str:
    return "..." if item is Ellipsis else _LETTERS[item]


@lru_cache(maxsize=4096)
def _parse(subscripts: str, ranks: tuple[int, ...]) -> tuple[tuple[Labels, ...], Labels]:
    """The labels of each operand and of the result."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(ranks):
        raise ValueError(
            f"einsum: the subscripts {subscripts!r} are for {len(texts)} operands, not {len(ranks)}"
        )
    terms = tuple([_labels(text, rank) for text, rank in zip(texts, ranks, strict=True)])
    dots = max([_dots(labels) for labels in terms], key=len)
    if not arrow:
        count = Counter(label for labels in terms for label in labels)
        once = [x for x in count if isinstance(x, str) and count[x] == 1]
        return terms, (*dots, *sorted(once))
    letters = len(right.replace("...", ""))
    output = _labels(right, letters + (len(dots) if "..." in right else 0))
    if len(set(output)) != len(output):
        raise ValueError(f"einsum: {subscripts!r} has a label more than once in its output")
    known = {label for labels in terms for label in labels}
    if not known.issuperset(output):
        raise ValueError(f"einsum: {subscripts!r} has an output label that no input has")
    if len(_dots(output)) != len(dots):
        raise ValueError(
            f"einsum: the ellipsis of {subscripts!r} stands for {len(dots)} axes, but the output "
            "has no '...' to take them; write: '...' in the output"
        )
    return terms, output


def _labels(text: str, rank: int) -> Labels:
    """One term as labels: its ellipsis stands for all axes that have no letter."""
    if not re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", text):
        raise ValueError(f"einsum: {text!r} must be letters, and '...' once at most")
    before, dots, after = text.partition("...")
    hidden = rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        raise ValueError(f"einsum: {text!r} does not label the axes of an array of rank {rank}")
    return (*before, *[("...", i) for i in reversed(range(hidden))], *after)


def _dots(labels: Labels) -> Labels:
    return tuple([label for label in labels if not isinstance(label, str)])


def _sizes(terms: tuple[Labels, ...], arrays: list[Any]) -> dict[Any, int]:
    """The length of every label's axis; an axis of length 1 goes with any other."""
    sizes: dict[Any, int] = {}
    for array, labels in zip(arrays, terms, strict=True):
        own: dict[Any, int] = {}
        for label, n in zip(labels, array.shape, strict=True):
            known = sizes.get(label, 1)
            if own.setdefault(label, n) != n or (known != n and 1 not in (known, n)):
                name = label if isinstance(label, str) else "..."
                shapes = " and ".join(str(array.shape) for array in arrays)
                raise ShapeMismatchError(
                    f"einsum: the axes with the label {name!r} differ in length, in operands of "
                    f"shapes {shapes}; write: axes of one length for each label"
                )
            sizes[label] = n if known == 1 else known
    return sizes


@lru_cache(maxsize=4096)
def _cached_path(subscripts: str, shapes: Any, optimize: Any) -> list[tuple[int, ...]]:
    stand_ins = [np.broadcast_to(0.0, shape) for shape in shapes]
    steps: Any = np.einsum_path(subscripts, *stand_ins, optimize=optimize)[0][1:]
    return [tuple(step) for step in steps]


def _path(
    terms: tuple[Labels, ...], output: Labels, sizes: dict[Any, int], optimize: Any
) -> list[tuple[int, ...]]:
    """Which operands to contract, step by step; a result goes to the end of the list."""
    if len(terms) <= 2:
        return [tuple(range(len(terms)))]
    if isinstance(optimize, (list, tuple)) and optimize[0] == "einsum_path":
        return [tuple(step) for step in optimize[1:]]
    names = dict(zip(sizes, _LETTERS, strict=False))
    text = ",".join(["".join([names[label] for label in labels]) for labels in terms])
    shapes = tuple([tuple([sizes[label] for label in labels]) for labels in terms])
    result = "".join([names[label] for label in output])
    return _cached_path(f"{text}->{result}", shapes, optimize or "greedy")


# --- contracting ---------------------------------------------------------------------------------


def _distinct(array: Any, labels: Labels, sizes: dict[Any, int]) -> Labelled:
    """Without axes that are broadcast, and with the diagonal for a label that is repeated."""
    kept = [i for i, label in enumerate(labels) if array.shape[i] == sizes[label]]
    array = array.reshape(tuple([array.shape[i] for i in kept]))
    rest = [labels[i] for i in kept]
    for label in [label for label, count in Counter(rest).items() for _ in range(count - 1)]:
        i = rest.index(label)
        j = rest.index(label, i + 1)
        array = np.diagonal(array, axis1=i, axis2=j)
        rest = [*rest[:i], *rest[i + 1 : j], *rest[j + 1 :], label]
    return array, tuple(rest)


def _sum_out(labelled: Labelled, needed: set[Any]) -> Labelled:
    """Without the axes that nobody needs any more; as in NumPy's einsum, the dtype stays."""
    array, labels = labelled
    axes = tuple([i for i, label in enumerate(labels) if label not in needed])
    if not axes:
        return labelled
    rest = tuple([label for label in labels if label in needed])
    return np.sum(array, axis=axes, dtype=array.dtype), rest


def _pair(first: Labelled, second: Labelled, needed: set[Any], output: Labels) -> Labelled:
    """The product of two operands, summed over what both have and nobody needs."""
    a, of_a = _sum_out(first, needed.union(second[1]))
    b, of_b = _sum_out(second, needed.union(first[1]))
    both = [label for label in of_a if label in of_b]
    stack = [label for label in both if label in needed]
    summed = [label for label in both if label not in needed]
    rows = [label for label in of_a if label not in both]
    columns = [label for label in of_b if label not in both]
    if not summed:
        every = [*stack, *rows, *columns]
        order = [*[x for x in output if x in every], *[x for x in every if x not in output]]
        return _spread(a, of_a, order) * _spread(b, of_b, order), tuple(order)
    if not rows and not columns:
        return _inner((a, of_a), (b, of_b), stack, summed)
    if rows and columns and _comes_first(columns, rows, output):
        a, of_a, rows, b, of_b, columns = b, of_b, columns, a, of_a, rows
    summed = [label for label in (of_a if len(of_a) >= len(of_b) else of_b) if label in summed]
    left = _matrices(a, of_a, stack, rows, summed)
    right = _matrices(b, of_b, stack, summed, columns)
    if not stack and not rows:
        left = left.reshape(left.shape[1:])
    if not stack and not columns:
        right = right.reshape(right.shape[:-1])
    size = dict(zip((*of_a, *of_b), (*a.shape, *b.shape), strict=True))
    labels = (*stack, *rows, *columns)
    return np.matmul(left, right).reshape(tuple([size[label] for label in labels])), labels


def _spread(array: Any, labels: Labels, order: list[Any]) -> Any:
    """The axes in ``order``, with length 1 for the labels that the array has not."""
    array = np.transpose(array, [labels.index(label) for label in order if label in labels])
    sizes = iter(array.shape)
    return array.reshape(tuple([next(sizes) if label in labels else 1 for label in order]))


def _inner(first: Labelled, second: Labelled, stack: list[Any], summed: list[Any]) -> Labelled:
    """Both operands have the same labels: products of vectors with vectors."""
    (a, of_a), (b, of_b) = first, second
    a = _matrices(a, of_a, stack, [], summed)
    b = _matrices(b, of_b, stack, [], summed)
    a, b = (x.reshape((*x.shape[:-2], x.shape[-1])) for x in (a, b))
    if not stack:
        return np.matmul(a, b), ()
    return np.vecdot(a.conj(), b), tuple(stack)


def _matrices(array: Any, labels: Labels, stack: list[Any], rows: Any, columns: Any) -> Any:
    """A stack of matrices, whose rows and columns are flattened groups of axes.

    Where the last axis belongs to a row, the transposed matrix is built and transposed back: a
    view, which BLAS reads as it is, instead of a copy against the order of memory.
    """
    backwards = bool(rows) and labels[-1] in rows
    groups = (columns, rows) if backwards else (rows, columns)
    array = np.transpose(array, [labels.index(x) for x in (*stack, *groups[0], *groups[1])])
    depth, split = len(stack), len(stack) + len(groups[0])
    sizes = math.prod(array.shape[depth:split]), math.prod(array.shape[split:])
    array = array.reshape((*array.shape[:depth], *sizes))
    return np.swapaxes(array, -1, -2) if backwards else array


def _comes_first(a: list[Any], b: list[Any], output: Labels) -> bool:
    """Whether the result has the labels ``a`` in front of ``b``."""
    place = {label: i for i, label in enumerate(output)}
    last = len(output)
    return place.get(a[0], last) < place.get(b[0], last)
