"""Writing a group of operations as a function that runs them block by block.

In: a ``Group``. Out: the lines of ``def g0(blocks, a0, …)``, where ``a0, …`` are whole arrays
whose first axis is the rows, ``b0, …`` the block's rows of them, ``s0, …`` scratch arrays of one
block and ``w0, …`` the rows of those in use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence, Set
from math import prod
from typing import Any

import attrs
import numpy as np

from fungrad._config import settings
from fungrad._expr import Expr, Literal
from fungrad.compile.blocks import spread, sum_rows
from fungrad.compile.calls import (
    SHORT,
    adds_exactly,
    choice,
    is_choice,
    is_tail,
    is_ufunc,
    short_sum,
)
from fungrad.compile.constants import Constants, tuple_text
from fungrad.compile.fuse import Group
from fungrad.compile.pool import side_by_side
from fungrad.compile.rows import ROW_REDUCTIONS, by_rows, lead
from fungrad.compile.work import BUSY, nanoseconds
from fungrad.ops.shape import reshape_p

Shape = tuple[int, ...]
Call = Callable[[Expr, Sequence[str], Constants, dict[str, Any]], str]
"""Writes the call of one operation, from its operands' names and its static."""


def shared(work: Callable[..., None], pieces: Sequence[Any], operands: Sequence[Any]) -> None:
    """``spread`` on as many threads as the settings say."""
    spread(work, pieces, operands, settings().workers)


def spread_call(name: str, pieces: str, arguments: list[str], constants: Constants) -> str:
    """The line that runs the function ``name`` on all blocks, on some threads."""
    return f"{constants.helper(shared)}({name}, {pieces}, {tuple_text(arguments)})"


def loop(
    group: Group,
    name: str,
    names: dict[Expr, str],
    numbers: dict[Expr, int],
    overwriting: Set[Expr],
    constants: Constants,
    call: Call,
) -> tuple[list[str], str]:
    """The lines of the function ``name``, and the line that runs it on all blocks.

    ``names`` are those of all whole arrays: what the group reads, and what it keeps. ``numbers``
    name the others. ``overwriting`` are the kept nodes whose array is that of an operand.
    """
    writer = _Loop(group, names, numbers, overwriting, constants, call)
    for position, node in enumerate(group.nodes):
        writer.write(position, node)
    return writer.function(name), writer.run(name)


@attrs.define(eq=False)
class _Loop:
    _group: Group
    _whole: dict[Expr, str]
    _numbers: dict[Expr, int]
    _overwriting: Set[Expr]
    _constants: Constants
    _call: Call
    _arguments: dict[tuple[str, Shape | None], str] = attrs.field(factory=dict, init=False)
    """Text and shape → parameter."""
    _scratch: list[tuple[Shape, np.dtype[Any]]] = attrs.field(factory=list, init=False)
    _heads: list[str] = attrs.field(factory=list, init=False)
    """The first lines of the loop: rows of arrays."""
    _body: list[tuple[str, str]] = attrs.field(factory=list, init=False)
    _names: dict[Expr, str] = attrs.field(factory=dict, init=False)
    _root: dict[Expr, Expr] = attrs.field(factory=dict, init=False)
    _last: dict[Expr, int] = attrs.field(factory=dict, init=False)
    """Of memory owners: the last reader's position."""
    _slots: dict[Expr, str] = attrs.field(factory=dict, init=False)
    """The scratch rows that a member lies in."""
    _free: dict[Any, list[str]] = attrs.field(factory=lambda: defaultdict(list), init=False)
    _tall: dict[Expr, str] = attrs.field(factory=dict, init=False)
    _summed: Set[Expr] = attrs.field(factory=frozenset, init=False)

    def __attrs_post_init__(self) -> None:
        for position, node in enumerate(self._group.nodes):
            source = node.args[0] if node in self._group.views else node
            self._root[node] = self._root.get(source, source)
            for arg in node.args:
                self._last[self._root.get(arg, arg)] = position
        self._summed = {t.args[0] for t in self._group.totals if t.aval.shape}

    # --- operations ---

    def write(self, position: int, node: Expr) -> None:
        """One operation, and what becomes of the scratch of its operands."""
        operands = [self._operand(node, arg) for arg in node.args]
        owners = dict.fromkeys([self._root.get(arg, arg) for arg in node.args])
        dying = [owner for owner in owners if self._last[owner] == position]
        if node in self._group.views:
            self._view(node, operands[0])
        elif node in self._group.totals:
            self._total(node, operands[0])
        else:
            self._operation(node, operands, dying)
        used = {slot for owner, slot in self._slots.items() if self._last[owner] > position}
        for owner in dying:
            slot = self._slots.pop(owner, None)
            if slot is not None and slot not in used:
                self._free[self._key(owner)].append(slot)

    def _operation(self, node: Expr, operands: list[str], dying: list[Expr]) -> None:
        static = dict(node.static)
        if node.primitive in ROW_REDUCTIONS:
            first = lead(node.args[0].aval.shape, self._group.length)
            static["axis"] = tuple([axis - first + 1 for axis in static["axis"]])
        target = self._target(node, dying)
        selection = None
        if target is not None and not self._overwrites(node, target):
            if is_choice(node):
                selection = choice(node, operands, target, self._constants)
            spread = [i for i, arg in enumerate(node.args) if self._spreads_slowly(node, arg)]
            if is_ufunc(node) and len(spread) == 1:
                self._line(f"{target}[...] = {operands[spread[0]]}", node)
                operands[spread[0]] = target
        axis = static.get("axis", ())
        text = selection or short_sum(node, operands[0], axis, self._constants)
        text = text or self._call(node, operands, self._constants, static)
        name = self._names[node] = f"t{self._numbers[node]}"
        if target is None or selection is not None:
            self._line(f"{name} = {text}", node)
        elif node.primitive in ROW_REDUCTIONS or is_ufunc(node):
            self._line(f"{name} = {text[:-1]}, out={target})", node)
        else:
            self._line(f"{target}[...] = {text}", node)
            self._names[node] = target

    def _overwrites(self, node: Expr, target: str) -> bool:
        """Whether an operand lies where the result goes."""
        owners = [self._root.get(arg, arg) for arg in node.args]
        return node in self._overwriting or target in [self._slots.get(own) for own in owners]

    def _spreads_slowly(self, node: Expr, arg: Expr) -> bool:
        """Whether NumPy would walk along a short last axis only, again and again.

        So it does where an operand is broadcast along an axis in the middle. Copying it first is
        the faster way: then few axes are left to walk along.
        """
        shape, own = node.aval.shape, arg.aval.shape
        if arg.aval.dtype != node.aval.dtype or len(own) != len(shape) or own == shape:
            return False
        spread = [i for i, n in enumerate(own) if n == 1 != shape[i]]
        behind = prod(own[spread[-1] + 1 :])
        return 1 < behind <= SHORT and prod(own[: spread[-1]]) > 1

    def _view(self, node: Expr, operand: str) -> None:
        source, group = node.args[0], self._group
        rest = group.rest(node.aval.shape)
        static = dict(node.static)
        if node.primitive is reshape_p:
            if rest == group.rest(source.aval.shape):
                self._names[node] = operand
                return
            text = f"{operand}.reshape({tuple_text(['n', *map(str, rest)])})"
        else:
            within = static["index"][lead(source.aval.shape, group.length) :]
            static = {"index": (slice(None), *within)}
            text = self._call(node, [operand], self._constants, static)
        self._names[node] = name = f"t{self._numbers[node]}"
        self._line(f"{name} = {text}", node)

    def _total(self, node: Expr, operand: str) -> None:
        """A sum over all rows: the sums of blocks, or all rows so far in one row."""
        source = node.args[0]
        rest = self._group.rest(source.aval.shape)
        shape = rest if node.aval.shape and rest != node.aval.shape else None
        whole = self._parameter(self._whole[node], shape)
        if not node.aval.shape:
            self._line(f"{whole}[i] = np.add.reduce({operand}, axis=None)", node)
            return
        if source in self._whole:
            tall = self._tall_scratch(source)
            self._line(f"{tall}[1:] = {operand}", source)
        else:
            tall = self._tall[source]
        self._line(f"{tall}[0] = {whole}", node)
        if adds_exactly(node.aval.dtype) and is_tail(rest):
            add = self._constants.helper(sum_rows)
            self._line(f"{add}({tall}, 0, 1, out={whole})", node)
        else:
            self._line(f"np.add.reduce({tall}, axis=0, out={whole})", node)

    def _line(self, text: str, node: Expr) -> None:
        self._body.append((text, str(node.aval)))

    # --- operands ---

    def _operand(self, node: Expr, arg: Expr) -> str:
        if isinstance(arg, Literal):
            return self._constants.operand(node, arg)
        if arg in self._names:
            return self._names[arg]
        text = self._whole[arg]
        if not arg.aval.shape:
            return text if text[0] == "c" else self._parameter(text, None)  # c0 is known to all
        if by_rows(node, arg, self._group.length):
            return self._rows(arg)
        # The same for all blocks: it broadcasts along the rows.
        padded = (1,) * (len(node.aval.shape) - len(arg.aval.shape)) + arg.aval.shape
        own = padded[lead(node.aval.shape, self._group.length) :]
        same = _trimmed(own) == _trimmed(arg.aval.shape) and len(arg.aval.shape) <= 1 + len(own)
        return self._parameter(text, None if same else own)

    def _parameter(self, text: str, shape: Shape | None) -> str:
        """The parameter for a whole array, in another shape if one is given."""
        return self._arguments.setdefault((text, shape), f"a{len(self._arguments)}")

    def _rows(self, arg: Expr) -> str:
        """The block's rows of a whole array."""
        shape = (self._group.length, *self._group.rest(arg.aval.shape))
        whole = self._parameter(self._whole[arg], None if shape == arg.aval.shape else shape)
        self._head(f"b{whole[1:]} = {whole}[r]")
        return f"b{whole[1:]}"

    def _head(self, line: str) -> None:
        if line not in self._heads:
            self._heads.append(line)

    # --- memory ---

    def _key(self, node: Expr) -> tuple[Shape, np.dtype[Any]]:
        return self._group.rest(node.aval.shape), node.aval.dtype

    def _target(self, node: Expr, dying: list[Expr]) -> str | None:
        """Where the block of ``node`` goes: rows of a whole array or of scratch; or nowhere."""
        if node in self._whole:
            return self._rows(node)
        if node in self._summed:
            return f"w{self._tall_scratch(node)[1:]}"
        if not (is_ufunc(node) or is_choice(node)):
            return None
        key = self._key(node)
        for owner in dying if is_ufunc(node) else ():  # a choice reads operands twice
            sharing = [arg for arg in node.args if self._root.get(arg) is owner]
            if owner in self._slots and self._key(owner) == key and set(sharing) == {owner}:
                self._slots[node] = self._slots[owner]
                return self._slots[node]
        if not self._free[key]:
            serial = self._new_scratch(node, 0)
            self._head(f"w{serial} = s{serial}[:n]")
            self._free[key].append(f"w{serial}")
        self._slots[node] = self._free[key].pop()
        return self._slots[node]

    def _new_scratch(self, node: Expr, more: int) -> int:
        serial = len(self._scratch)
        rest, dtype = self._key(node)
        self._scratch.append(((self._group.rows + more, *rest), dtype))
        return serial

    def _tall_scratch(self, node: Expr) -> str:
        """Scratch with one row more in front, for the sum of all rows so far."""
        if node not in self._tall:
            serial = self._new_scratch(node, 1)
            self._heads += [f"v{serial} = s{serial}[:n + 1]", f"w{serial} = v{serial}[1:]"]
            self._tall[node] = f"v{serial}"
        return self._tall[node]

    # --- text ---

    def function(self, name: str) -> list[str]:
        """The lines of the function."""
        width = min(max((len(line) for line, _ in self._body), default=0), 64)
        before, after = self._constants.scratch(side_by_side(self._scratch))
        return [
            f"def {name}({', '.join(['blocks', *self._arguments.values()])}):",
            *[f"    {line}" for line in before],
            "    for i, r, n in blocks:",
            *[f"        {line}" for line in self._heads],
            *[f"        {line:<{width}}  # {note}" for line, note in self._body],
            *[f"    {line}" for line in after],
        ]

    def run(self, name: str) -> str:
        """The line that calls the function."""
        group = self._group
        pieces = self._constants.blocks(group.cut, group.length, group.rows)
        arguments = [
            text if shape is None else f"{text}.reshape({shape})" for text, shape in self._arguments
        ]
        work = sum(nanoseconds(node) for node in group.nodes if node not in group.views)
        in_order = any(node.aval.shape for node in group.totals)  # these add row after row
        if work < BUSY or in_order:
            return f"{name}({', '.join([pieces, *arguments])})"
        return spread_call(name, pieces, arguments, self._constants)


def _trimmed(shape: Shape) -> Shape:
    """``shape`` without its leading axes of length 1, which broadcast as if they were absent."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape
