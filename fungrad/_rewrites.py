"""Rewrites of single nodes that keep the value to the last bit, by pass.

Row 7. In: a node whose operands are final. Out: a better node, or ``None``. ``x * 1``, ``x - 0``
and double transposes go; ``x * 0`` and ``x + 0`` stay: NaN, infinity and -0.0 would change.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Set
from functools import lru_cache
from typing import Any

import numpy as np

from fungrad._aval import Aval
from fungrad._evaluate import apply
from fungrad._expr import Expr, Literal, make_literal, with_args
from fungrad._graph import substitute, topological
from fungrad._primitive import Primitive
from fungrad._values import value_program
from fungrad.ops import elementwise, shape
from fungrad.ops.creation import full
from fungrad.ops.indexing import getitem_p, is_plain, scatter_add_p, scatter_sum_p

Uses = dict[Expr, int]
"""How often a node is read, of those that were seen; what a rewrite made is read once."""
Rewrite = Callable[[Expr, Uses], Expr | None]


def rewritten(node: Expr, uses: Uses, without: Set[str] = frozenset()) -> Expr:
    """``node``, rewritten until no pass improves it."""
    while node.primitive is not None:
        for rewrite in _applicable(node.primitive, frozenset(without)):
            better = rewrite(node, uses)
            if better is not None:
                inlined = rewrite is _inlined_value
                node = _rewritten_inside(better, node.args, uses, without) if inlined else better
                break
        else:
            return node
    return node


def _rewritten_inside(
    made: Expr, operands: tuple[Expr, ...], uses: Uses, without: Set[str]
) -> Expr:
    """The operations of ``made`` between itself and the operands, rewritten; not yet itself."""
    parts = topological([made], set(operands))
    readers = Counter([arg for part in parts for arg in part.args])
    inside = {arg: uses.get(arg, 0) + count for arg, count in readers.items()}
    new: dict[Expr, Expr] = {}
    for part in parts:
        plain = with_args(part, tuple([new.get(arg, arg) for arg in part.args]))
        new[part] = plain if part is made else rewritten(plain, inside, without)
    return new.get(made, made)


@lru_cache(maxsize=4096)
def _applicable(primitive: Primitive, without: frozenset[str]) -> tuple[Rewrite, ...]:
    """The rewrites of a primitive, in their order."""
    tables = [table for name, table in PASSES.items() if name not in without]
    general = (None,) if primitive.elementwise else ()
    return tuple(
        [
            rewrite
            for table in tables
            for key in (primitive, *general)
            for rewrite in table.get(key, ())
        ]
    )


def _build(primitive: Primitive, args: tuple[Expr, ...], weak: bool = False, **static: Any) -> Expr:
    return primitive.node(args, tuple(static.items()), weak)


def _rebuilt(node: Expr, primitive: Primitive, *args: Expr) -> Expr | None:
    """An elementwise operation in the place of ``node``, if it is of the same kind."""
    made = _build(primitive, args, node.aval.weak)
    return made if made.aval is node.aval else None


def _number(node: Expr) -> Any:
    """The one number that a constant node consists of, or ``None``."""
    if isinstance(node, Literal):
        return node.value
    return dict(node.static)["value"] if node.primitive is full else None


def constant(aval: Aval, value: Any) -> Expr:
    """The node of an array full of one number."""
    return _build(full, (), aval.weak, shape=aval.shape, value=value, dtype=aval.dtype)


def _same(node: Expr, arg: Expr) -> bool:
    """Whether ``arg`` can stand for ``node``."""
    return arg.aval is node.aval


# --- neutral elements ----------------------------------------------------------------------------


def drops(neutral: int, position: int) -> Rewrite:
    """``x ∘ neutral → x``: the operand at ``position`` is the neutral one, exactly."""

    def rewrite(node: Expr, uses: Uses) -> Expr | None:
        if node.aval.dtype.kind == "c" and node.primitive is not elementwise.subtract:
            return None  # x * (1 + 0j) adds products with 0, which change the sign of zeros
        other, number = node.args[1 - position], _number(node.args[position])
        # -0.0 == 0, but x - (-0.0) is not x for x = -0.0.
        if number is None or number != neutral or np.signbit(np.real(number)):
            return None
        # A literal is no array: what follows may call a method of it.
        return other if _same(node, other) and not isinstance(other, Literal) else None

    return rewrite


def _undone(node: Expr, uses: Uses) -> Expr | None:
    """``-(-x) → x``."""
    arg = node.args[0]
    if arg.primitive is not node.primitive or not _same(node, arg.args[0]):
        return None
    return arg.args[0]


# --- constants -----------------------------------------------------------------------------------


def _folded(node: Expr, uses: Uses) -> Expr | None:
    """Elementwise arithmetic on constants, done now by the operation itself on 0-d operands."""
    assert node.primitive is not None
    if any(_number(arg) is None for arg in node.args):
        return None
    operands = [
        arg.value if isinstance(arg, Literal) else arg.aval.dtype.type(_number(arg))
        for arg in node.args
    ]
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        try:
            value = apply(node, operands)
        except (ArithmeticError, Warning, ValueError):
            return None  # what it warns of, it shall warn of when it runs
    return constant(node.aval, value.item())


def _narrows(position: int) -> Rewrite:
    """A full array beside an operand of the result's shape: a 0-d constant does as well."""

    def rewrite(node: Expr, uses: Uses) -> Expr | None:
        wide, other = node.args[position], node.args[1 - position]
        if wide.primitive is not full or not wide.aval.shape:
            return None
        if other.aval.shape != node.aval.shape:
            return None
        static = dict(wide.static)
        scalar = _build(full, (), shape=(), value=static["value"], dtype=static["dtype"])
        args = (scalar, other) if position == 0 else (other, scalar)
        assert node.primitive is not None
        return _build(node.primitive, args, node.aval.weak)

    return rewrite


def _doubled_constant(node: Expr, uses: Uses) -> Expr | None:
    """``c * (2 * x) → 2c * x``, for a ``c`` with which products overflow if doubling alone does."""
    if node.aval.dtype not in (np.float32, np.float64):
        return None
    for factor, product in (node.args, node.args[::-1]):
        number = _number(factor)
        if product.primitive is not elementwise.multiply or type(number) not in (int, float):
            continue
        if not isinstance(factor, Literal) and factor.aval.dtype != node.aval.dtype:
            continue  # where c is kept, 2c might not fit
        limit = float(np.finfo(node.aval.dtype).max) / 4
        if product.aval is not node.aval or not 1 <= abs(number) <= limit:
            continue
        for two, x in (product.args, product.args[::-1]):
            if _number(two) == 2 and x.aval is node.aval and not isinstance(x, Literal):
                value = 2.0 * float(number)
                twice = (
                    make_literal(value)
                    if isinstance(factor, Literal)
                    else constant(factor.aval, value)
                )
                return _rebuilt(node, elementwise.multiply, twice, x)
    return None


def _moved_constant(node: Expr, uses: Uses) -> Expr | None:
    """A constant array, reshaped, transposed, broadcast or cast, is a constant array."""
    value = _number(node.args[0])
    if value is None or (node.primitive is shape.astype_p and not _casts_exactly(node, value)):
        return None
    return constant(node.aval, value)


def _casts_exactly(node: Expr, value: Any) -> bool:
    # Whether casting twice is casting once; a number like 0.1 may differ, 1.0 does not.
    return (
        bool(value == int(value))
        if isinstance(value, (bool, int, float)) and np.isfinite(value) and abs(value) < 2048
        else False
    )


# --- views ---------------------------------------------------------------------------------------


def _composed_reshape(node: Expr, uses: Uses) -> Expr | None:
    arg = node.args[0]
    if arg.primitive is not shape.reshape_p:
        return arg if _same(node, arg) else None
    source = arg.args[0]
    return source if _same(node, source) else with_args(node, (source,))


def _composed_transpose(node: Expr, uses: Uses) -> Expr | None:
    arg = node.args[0]
    if arg.primitive is not shape.transpose_p:
        return None
    outer, inner = dict(node.static)["axes"], dict(arg.static)["axes"]
    axes = tuple([inner[i] for i in outer])
    source = arg.args[0]
    return (
        source
        if axes == tuple(range(len(axes)))
        else _build(shape.transpose_p, (source,), axes=axes)
    )


def _takes_everything(index: tuple[Any, ...], old: tuple[int, ...]) -> bool:
    """Whether an index reads all of an array of shape ``old``, in its order."""
    entries = [entry for entry in index if entry is not None]
    return len(entries) == len(old) and all(
        range(n)[entry] == range(n) if isinstance(entry, slice) else entry == 0 and n == 1
        for entry, n in zip(entries, old, strict=True)
    )


def _read_in_full(node: Expr, uses: Uses) -> Expr | None:
    """``x[:, None]`` and ``x[:, 0]`` of one column are reshapes."""
    source = node.args[0]
    if len(node.args) > 1 or not _takes_everything(dict(node.static)["index"], source.aval.shape):
        return None
    if source.aval.shape == node.aval.shape:
        return source if _same(node, source) else None
    return _build(shape.reshape_p, (source,), shape=node.aval.shape)


def _written_in_full(node: Expr, uses: Uses) -> Expr | None:
    """So are their adjoints."""
    ct = node.args[0]
    if len(node.args) > 1 or not _takes_everything(dict(node.static)["index"], node.aval.shape):
        return None
    return _build(shape.reshape_p, (ct,), shape=node.aval.shape)


def _reversed_axes(node: Expr) -> tuple[bool, ...] | None:
    """For every axis whether the index reverses it, if it does nothing else."""
    if len(node.args) != 1 or node.aval is not node.args[0].aval:
        return None
    index = dict(node.static)["index"]
    if len(index) != node.aval.ndim:
        return None
    flips = []
    for entry, n in zip(index, node.aval.shape, strict=True):
        places = range(n)[entry] if isinstance(entry, slice) else range(0)
        if places != range(n) and places != range(n)[::-1]:
            return None
        flips.append(places != range(n))
    return tuple(flips)


def _unreversed(node: Expr, uses: Uses) -> Expr | None:
    """Reversing twice is nothing; writing in reversed order is reading in reversed order."""
    flips, arg = _reversed_axes(node), node.args[0]
    if flips is None:
        return None
    if arg.primitive is getitem_p and _reversed_axes(arg) == flips:
        return arg.args[0]
    if node.primitive is scatter_add_p:
        return _build(getitem_p, (arg,), index=dict(node.static)["index"])
    return None


def _unbroadcast(node: Expr, uses: Uses) -> Expr | None:
    """Operands of elementwise operations broadcast by themselves."""
    assert node.primitive is not None
    args = list(node.args)
    for i, arg in enumerate(args):
        if arg.primitive is shape.broadcast_to_p or _adds_leading_axes(arg):
            source = arg.args[0]
            shapes = [source.aval.shape, *[a.aval.shape for j, a in enumerate(args) if j != i]]
            # A weak number would decide less about the dtype than the array that it was made.
            if not source.aval.weak and np.broadcast_shapes(*shapes) == node.aval.shape:
                args[i] = source
    if args == list(node.args):
        return None
    return _rebuilt(node, node.primitive, *args)


def _adds_leading_axes(node: Expr) -> bool:
    if node.primitive is not shape.reshape_p:
        return False
    old, new = node.args[0].aval.shape, node.aval.shape
    return new == (1,) * (len(new) - len(old)) + old


_PRODUCTS = (elementwise.multiply, elementwise.divide)

# --- signs ---------------------------------------------------------------------------------------


_FACTORS = 3
"""How deep in a product the negative factor may be."""


def _positive_part(node: Expr, uses: Uses, depth: int = _FACTORS) -> Expr | None:
    """What ``node`` is the negative of, exactly, if nobody else needs ``node``."""
    if node.aval.dtype.kind != "f":
        return None  # an integer has no -0, and the smallest no negative
    if node.primitive is elementwise.negative:
        return node.args[0]
    if depth and uses.get(node, 1) == 1 and node.primitive in _PRODUCTS:
        for i, factor in enumerate(node.args):
            positive = _positive_part(factor, uses, depth - 1)
            if positive is not None:
                args = (positive, node.args[1]) if i == 0 else (node.args[0], positive)
                return _rebuilt(node, node.primitive, *args)
    return None


def _sum_of_negative(node: Expr, uses: Uses) -> Expr | None:
    """``a + -b → a - b`` and ``-a + b → b - a``; also where a factor is negative."""
    if node.aval.dtype.kind != "f":
        return None
    a, b = node.args
    positive = _positive_part(b, uses)
    if positive is not None:
        return _rebuilt(node, elementwise.subtract, a, positive)
    positive = _positive_part(a, uses)
    return None if positive is None else _rebuilt(node, elementwise.subtract, b, positive)


def _difference_of_negative(node: Expr, uses: Uses) -> Expr | None:
    """``a - -b → a + b``."""
    if node.aval.dtype.kind != "f":
        return None
    positive = _positive_part(node.args[1], uses)
    return None if positive is None else _rebuilt(node, elementwise.add, node.args[0], positive)


def _sign_into_constant(node: Expr, uses: Uses) -> Expr | None:
    """``c * -x → -c * x`` and ``-(c * x) → -c * x``, and so for quotients."""
    if node.aval.dtype.kind != "f":
        return None
    product = node
    if node.primitive is elementwise.negative:
        product = node.args[0]
    if product.primitive not in (elementwise.multiply, elementwise.divide):
        return None
    if product is not node and uses.get(product, 1) > 1:
        return None
    assert product.primitive is not None
    for i, factor in enumerate(product.args):
        other = product.args[1 - i]
        if other.aval.dtype.kind != "f":
            continue
        if isinstance(factor, Literal):
            if type(factor.value) not in (int, float) or factor.value == 0:
                continue
        elif factor.primitive is not full or factor.aval.shape or factor.aval.dtype.kind != "f":
            continue
        if product is node:
            if other.primitive is not elementwise.negative:
                continue
            other = other.args[0]
        number = _number(factor)
        minus = (
            make_literal(-number)
            if isinstance(factor, Literal)
            else constant(factor.aval, -float(number))
        )
        args = (minus, other) if i == 0 else (other, minus)
        return _rebuilt(node, product.primitive, *args)
    return None


def _minus_once(node: Expr, uses: Uses) -> Expr | None:
    """``-1 * x → -x``, which other rewrites know."""
    if node.aval.dtype.kind != "f":
        return None
    for factor, other in (node.args, node.args[::-1]):
        if _number(factor) == -1 and _same(node, other) and not isinstance(other, Literal):
            return _build(elementwise.negative, (other,), node.aval.weak)
    return None


def _even(node: Expr, uses: Uses) -> Expr | None:
    """``|-x| → |x|``, ``(-x)² → x²``."""
    arg = node.args[0]
    if arg.primitive is not elementwise.negative or arg.aval.dtype.kind != "f":
        return None
    return with_args(node, arg.args) if _same(arg, arg.args[0]) else None


def _mirrored(mirror: Primitive) -> Rewrite:
    """``-x ≥ 0 → x ≤ 0``, and so for other comparisons."""

    def rewrite(node: Expr, uses: Uses) -> Expr | None:
        arg, bound = node.args
        if arg.primitive is not elementwise.negative or arg.aval.dtype.kind != "f":
            return None
        return _rebuilt(node, mirror, arg.args[0], bound) if _number(bound) == 0 else None

    return rewrite


# --- sums of what was written into zeros -----------------------------------------------------------


def _sum_of_scatters(node: Expr, uses: Uses) -> Expr | None:
    """Adding up arrays that are zero but for some entries: one array, without the zeros."""
    left, right = node.args
    if right.primitive is scatter_sum_p:
        left, right = right, left
    if right.primitive is not scatter_add_p or left is right:
        return None
    if left.primitive not in (scatter_add_p, scatter_sum_p) or left.aval is not right.aval:
        return None
    if max(uses.get(left, 1), uses.get(right, 1)) > 1 or node.aval.dtype.kind != "f":
        return None
    indices: list[Any] = []
    pieces: list[Expr] = []
    for part in (left, right):
        if part.primitive is scatter_sum_p:
            indices += dict(part.static)["indices"]
            pieces += part.args
        elif len(part.args) == 1 and is_plain(dict(part.static)["index"]):
            indices.append(dict(part.static)["index"])
            pieces.append(part.args[0])
        else:
            return None
    return _build(scatter_sum_p, tuple(pieces), indices=tuple(indices), shape=node.aval.shape)


# --- values that are NumPy code --------------------------------------------------------------------


def _inlined_value(node: Expr, uses: Uses) -> Expr | None:
    """The operations of an elementwise value that is written in traceable NumPy code."""
    primitive = node.primitive
    assert primitive is not None
    if isinstance(primitive.value, np.ufunc) or primitive.template:
        return None
    if not primitive.value.__module__.startswith("fungrad."):
        return None
    program = value_program(node)
    return None if program is None else substitute(program, node.args)[0]


PASSES: dict[str, dict[Primitive | None, tuple[Rewrite, ...]]] = {
    "neutral": {
        elementwise.multiply: (drops(1, 0), drops(1, 1)),
        elementwise.divide: (drops(1, 1),),
        elementwise.subtract: (drops(0, 1),),
        elementwise.negative: (_undone,),
        elementwise.conjugate: (_undone,),
    },
    "constants": {
        elementwise.multiply: (_narrows(0), _narrows(1), _doubled_constant),
        elementwise.divide: (_narrows(0), _narrows(1)),
        elementwise.add: (_narrows(0), _narrows(1)),
        elementwise.subtract: (_narrows(0), _narrows(1)),
        shape.reshape_p: (_moved_constant,),
        shape.transpose_p: (_moved_constant,),
        shape.broadcast_to_p: (_moved_constant,),
        shape.astype_p: (_moved_constant,),
        None: (_folded,),
    },
    "views": {
        shape.reshape_p: (_composed_reshape,),
        shape.transpose_p: (_composed_transpose,),
        getitem_p: (_read_in_full, _unreversed),
        scatter_add_p: (_written_in_full, _unreversed),
        None: (_unbroadcast,),
    },
    "signs": {
        elementwise.add: (_sum_of_negative,),
        elementwise.subtract: (_difference_of_negative,),
        elementwise.multiply: (_minus_once, _sign_into_constant),
        elementwise.divide: (_sign_into_constant,),
        elementwise.negative: (_sign_into_constant,),
        elementwise.absolute: (_even,),
        elementwise.square: (_even,),
        elementwise.greater_equal: (_mirrored(elementwise.less_equal),),
        elementwise.less_equal: (_mirrored(elementwise.greater_equal),),
    },
    "scatters": {elementwise.add: (_sum_of_scatters,)},
    "calls": {None: (_inlined_value,)},
}
"""Pass → primitive, or ``None`` for all elementwise ones → rewrites; the first one that applies."""
