"""Writing one operation as source.

In: a node, and the text of its operands. Out: the text of an expression, or of statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fungrad._aval import Aval
from fungrad._expr import Expr, Literal
from fungrad._primitive import item
from fungrad.compile.blocks import select, sum_rows, sum_short
from fungrad.compile.constants import Constants, converted, tuple_text
from fungrad.ops import elementwise
from fungrad.ops.activations import masked
from fungrad.ops.creation import full
from fungrad.ops.indexing import (
    Index,
    add_at,
    getitem_p,
    scatter_add_p,
    scatter_intersection,
    scatter_sum_p,
)
from fungrad.ops.linear import matmul_p
from fungrad.ops.reduction import sum_p
from fungrad.ops.shape import concatenate_p, reshape_p
from fungrad.ops.softmax import log_softmax_p, softmax_p

_OPERATORS = {
    elementwise.add: "{0} + {1}",
    elementwise.subtract: "{0} - {1}",
    elementwise.multiply: "{0} * {1}",
    elementwise.divide: "{0} / {1}",
    elementwise.negative: "-{0}",
    elementwise.square: "{0} * {0}",
    elementwise.positive: "{0}",
}
"""What NumPy's scalars compute by operators to the same bits, ten times faster than by ufuncs.

They raise and warn as ufuncs do. Not ``**``, for which they have another routine.
"""


LONG = 1 << 12
"""The number of entries from which on choosing by bits is faster than by branches."""
SHORT, MANY = 16, 1024
"""How long the last axis may be, and how many sums there must be, for adding column by column."""
TAIL, MANY_ROWS, MOST_AXES = 32, 256, 26
"""How long rows may be, and how many there must be, for adding them by ``np.einsum``."""
TAKING_OUT = frozenset({matmul_p, softmax_p, log_softmax_p})
"""What takes the keyword ``out``, apart from ufuncs."""


def is_scalar_arithmetic(node: Expr) -> bool:
    """Whether ``node`` is written with an operator."""
    dtype = node.aval.dtype
    return (
        node.primitive in _OPERATORS
        and not node.aval.shape
        and dtype.kind == "f"
        and dtype.itemsize in (4, 8)
        and all(
            arg.aval.dtype == dtype
            or (isinstance(arg, Literal) and type(arg.value) in (int, float))
            for arg in node.args
        )
        and any(map(_is_numpys, node.args))
    )


def _is_numpys(arg: Expr) -> bool:
    """Whether a number is surely NumPy's, which divides by zero; Python's would raise.

    Inputs are; but a value that a user wrote, or that a loop returns, may be a Python number.
    """
    primitive = arg.primitive
    if primitive is None:
        return not isinstance(arg, Literal)
    return primitive is getitem_p or (isinstance(primitive.template, str) and primitive is not item)


def operand(node: Expr, arg: Expr, name: str | None, constants: Constants) -> str:
    """The text of one operand; ``name`` is that of its value, if it has one."""
    if isinstance(arg, Literal):
        return constants.operand(node, arg)
    if arg.primitive is full and not arg.aval.shape and is_scalar_arithmetic(node):
        value = arg.aval.dtype.type(dict(arg.static)["value"])
        if arg.aval.dtype == np.float64 and np.isfinite(value) and not _is_constant(node, arg):
            return repr(float(value))
    assert name is not None
    return name


def _is_constant(node: Expr, arg: Expr) -> bool:
    """Whether all other operands are constants, so that some number must remain NumPy's."""
    return all(
        other is arg or isinstance(other, Literal) or other.primitive is full for other in node.args
    )


def expression(
    node: Expr, operands: Sequence[str], constants: Constants, static: dict[str, Any]
) -> str:
    """The value of ``node``."""
    primitive = node.primitive
    assert primitive is not None
    if is_scalar_arithmetic(node):
        if primitive is elementwise.multiply and "1.0" in operands:
            return operands[1 - operands.index("1.0")]
        return _OPERATORS[primitive].format(*operands)
    if callable(primitive.template):
        return str(primitive.template(operands, constants.value, **static))
    texts = {name: constants.value(value) for name, value in static.items()}
    if primitive.template is None:
        function = constants.function(primitive.value, primitive.name)
        arguments = [*operands, *[f"{name}={text}" for name, text in texts.items()]]
        return f"{function}({', '.join(arguments)})"
    return primitive.template.format(*operands, **texts)


def short_sum(node: Expr, text: str, axis: tuple[int, ...], constants: Constants) -> str | None:
    """A sum of a C-contiguous array that NumPy would compute in short loops, many of them.

    ``axis`` are the axes of what is called ``text``.
    """
    dtype, shape = node.aval.dtype, node.args[0].aval.shape
    if node.primitive is not sum_p or dtype != node.args[0].aval.dtype or not adds_exactly(dtype):
        return None
    own = dict(node.static)["axis"]
    if own == (len(shape) - 1,):
        short = 2 <= shape[-1] <= SHORT and node.aval.size >= MANY
        return f"{constants.helper(sum_short)}({text})" if short else None
    neighbours = own and own[-1] - own[0] == len(own) - 1 and len(shape) <= MOST_AXES
    stop = own[-1] + 1 if neighbours else 0
    if prod(shape[:stop]) < MANY_ROWS or not is_tail(shape[stop:]):
        return None
    return f"{constants.helper(sum_rows)}({text}, {axis[0]}, {axis[-1] + 1})"


def adds_exactly(dtype: np.dtype[Any]) -> bool:
    """Whether sums in another loop of the same order have the same bits: of float64 and float32."""
    return dtype.kind == "f" and dtype.itemsize in (4, 8)


def is_tail(rest: Sequence[int]) -> bool:
    """Whether rows of that shape are so short that ``sum_rows`` is faster."""
    return 2 <= prod(rest) <= TAIL


def is_ufunc(node: Expr) -> bool:
    """Whether the value is a ufunc's: it reads every entry once, before it writes that of its result."""
    return node.primitive is not None and isinstance(node.primitive.value, np.ufunc)


def is_choice(node: Expr) -> bool:
    """Whether ``node`` chooses between floats of its own dtype, or numbers, by a mask."""
    dtype = node.aval.dtype
    return (
        node.primitive in (elementwise.where, masked)
        and _is_made(node.args[0])
        and dtype.kind == "f"
        and dtype.itemsize in (4, 8)
        and all(arg.aval.dtype == dtype or _is_number(arg, dtype) for arg in node.args[1:])
        and not all(map(_is_zero, node.args[1:]))
    )


def _is_made(mask: Expr) -> bool:
    """Whether a ufunc made the mask: the bytes of users' booleans may be others than 0 and 1."""
    while mask.primitive is not None and mask.primitive.view:
        mask = mask.args[0]
    return mask.aval.dtype == np.bool_ and is_ufunc(mask)


def is_long_choice(node: Expr) -> bool:
    """Whether choosing by bits is faster than by branches."""
    return node.aval.size >= LONG and is_choice(node)


def _is_number(arg: Expr, dtype: np.dtype[Any]) -> bool:
    return (
        isinstance(arg, Literal)
        and type(arg.value) is not bool
        and converted(arg.value, dtype) is not None
    )


def _is_zero(arg: Expr) -> bool:
    return isinstance(arg, Literal) and arg.value == 0 and not np.signbit(arg.value)


def choice(node: Expr, operands: Sequence[str], target: str, constants: Constants) -> str:
    """The text of a call of ``select`` that writes to ``target``; ``node`` is a choice."""
    texts = [
        "None"
        if _is_zero(arg)
        else constants.number(arg.value, node.aval.dtype)
        if isinstance(arg, Literal)
        else text
        for arg, text in zip(node.args[1:], operands[1:], strict=True)
    ]
    texts += ["None"] * (node.primitive is masked)
    return f"{constants.helper(select)}({operands[0]}, {', '.join(texts)}, {target})"


def statements(
    node: Expr, name: str, operands: Sequence[str], constants: Constants, target: str | None
) -> list[str] | None:
    """What fills the array ``name`` piece by piece, where that is how ``node`` is computed.

    ``target`` is the name of the array that it shall be, if there is one.
    """
    if node.primitive not in (scatter_add_p, scatter_sum_p):
        return None
    static = dict(node.static)
    shape, dtype = constants.value(node.aval.shape), constants.value(node.aval.dtype)
    lines = [f"{name} = np.zeros({shape}, {dtype})"]
    if target is not None:
        lines = [f"{name} = {target}", f"{name}.fill(0)"]
    assert callable(getitem_p.template)
    if node.primitive is scatter_add_p and len(operands) > 1:
        where = getitem_p.template(["np.s_", *operands[1:]], constants.value, index=static["index"])
        function = constants.function(add_at, "add_at")
        return [*lines, f"{function}({name}, {where}, {operands[0]})"]
    if node.primitive is scatter_add_p:
        pieces, sign = [(static["index"], operands[0])], "="
    else:
        pieces, sign = list(zip(static["indices"], operands, strict=True)), "+="
    small = node.aval.size <= LONG
    if node.primitive is scatter_sum_p:
        everywhere = scatter_intersection(static["indices"], node.aval.shape)
        if everywhere is not None and small:
            zeros = constants.held(_zeros(node.aval, everywhere))
            lines = [f"{name} = {zeros}.copy()"]
            if target is not None:
                lines = [f"{name} = {target}", f"np.copyto({name}, {zeros})"]
        elif everywhere is not None:
            lines.append(f"{getitem_p.template([name], constants.value, index=everywhere)} = -0.0")
    for index, text in pieces:
        place = getitem_p.template([name], constants.value, index=index)
        if sign == "+=" and small and any(isinstance(entry, slice) for entry in index):
            lines.append(
                f"view = {place}; view += {text}"
            )  # not written back to where it is already
        else:
            lines.append(f"{place} {sign} {text}")
    return lines


def _zeros(aval: Aval, negative: Index) -> np.ndarray[Any, Any]:
    """Zeros, those at the index ``negative`` -0."""
    zeros = np.zeros(aval.shape, aval.dtype)
    zeros[negative] = -0.0
    zeros.flags.writeable = False
    return zeros


def stacked_numbers(node: Expr) -> list[Expr] | None:
    """The numbers of which a concatenation makes an array of one axis, if that is what it does."""
    if node.primitive is not concatenate_p or len(node.aval.shape) != 1:
        return None
    numbers = []
    for arg in node.args:
        if (
            arg.primitive is not reshape_p
            or arg.args[0].aval.shape
            or arg.aval is not node.args[0].aval
        ):
            return None
        numbers.append(arg.args[0])
    return numbers


def array_of(numbers: Sequence[str], dtype: str) -> str:
    """The text of an array of numbers."""
    return f"np.array({tuple_text(list(numbers))}, {dtype})"
