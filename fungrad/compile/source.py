"""Writing a graph as NumPy source, and turning that into a function.

Names come from counters, constants go by reference, builtins are empty: no text of the user's ever
reaches the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import attrs

from fungrad._aval import Aval, TupleAval
from fungrad._expr import Expr, Literal
from fungrad._graph import Graph
from fungrad.compile.blocks import evenly, total
from fungrad.compile.calls import (
    array_of,
    choice,
    expression,
    is_long_choice,
    operand,
    short_sum,
    stacked_numbers,
    statements,
)
from fungrad.compile.constants import Constants, tuple_text
from fungrad.compile.cuts import cut, parts, piecewise
from fungrad.compile.fuse import Group, units
from fungrad.compile.hoist import hoist
from fungrad.compile.layouts import dense_nodes
from fungrad.compile.loops import loop, spread_call
from fungrad.compile.memory import Plan, finishes, plan
from fungrad.compile.schedule import schedule
from fungrad.compile.scratch import layout
from fungrad.compile.spelling import spelled
from fungrad.ops.creation import full


@attrs.frozen
class Pieces:
    """A program, not yet put together.

    Attributes:
        functions: the source of functions that it calls.
        lines: its statements, each with a comment.
        outputs: an expression for each output.
        namespace: what its names refer to.
    """

    functions: list[str]
    lines: list[tuple[str, str]]
    outputs: list[str]
    namespace: dict[str, Any]


_note = lru_cache(maxsize=4096)(str)
"""An aval as a comment."""


class _Writer:
    """The source of one program, as it is written unit by unit."""

    def __init__(
        self,
        graph: Graph,
        contiguous: tuple[bool, ...],
        held: Sequence[Any] = (),
        pooled: bool = False,
    ) -> None:
        self.graph = graph
        self.constants = Constants(pooled)
        self._dense = dense = dense_nodes(graph, contiguous)
        self._units = units(graph, schedule(graph), dense)
        self._plan: Plan = plan(graph, self._units, dense)
        self._scratch = layout(self._plan.buffers if pooled else ())
        self._inputs = graph.inputs[: len(graph.inputs) - len(held)]
        self._names: dict[Expr, str] = {node: f"x{i}" for i, node in enumerate(self._inputs)}
        for node, value in zip(graph.inputs[len(self._inputs) :], held, strict=True):
            self._names[node] = self.constants.held(value)
        self._numbers = {node: i for i, node in enumerate(graph.nodes)}
        self._absorbed = self._reshaped_numbers()
        self._functions: list[str] = []
        self._lines: list[tuple[str, str]] = []

    def pieces(self) -> Pieces:
        """What the source consists of."""
        before, after = self.constants.scratch(self._scratch.spots)
        self._lines += [(line, "") for line in before]
        for position, unit in enumerate(self._units):
            dead = self._plan.drop.get(position, [])
            if isinstance(unit, Group):
                self._group(unit, dead)
            else:
                self._operation(unit, dead)
        self._lines += [(line, "") for line in after]
        graph, names = self.graph, self._names
        outputs = [
            self.constants.value(out.value) if isinstance(out, Literal) else f"{names[out]}{finish}"
            for out, finish in zip(graph.outputs, finishes(graph), strict=True)
        ]
        return Pieces(self._functions, self._lines, outputs, self.constants.namespace)

    def write(self) -> str:
        """The whole source."""
        parts, names = self.pieces(), self._names
        width = min(max((len(line) for line, _ in parts.lines), default=0), 68)
        source = [
            *self.constants.notes,
            *parts.functions,
            f"def program({', '.join(names[node] for node in self._inputs)}):",
            *[f"    # {names[node]}: {node.aval}" for node in self._inputs],
            *[f"    {line:<{width}}{note and f'  # {note}'}" for line, note in parts.lines],
            f"    return ({''.join(f'{out}, ' for out in parts.outputs).rstrip()})",
        ]
        return "\n".join(source) + "\n"

    def _reshaped_numbers(self) -> set[Expr]:
        """Numbers made arrays of one entry, for nobody but concatenations that take numbers."""
        others: set[Expr] = set(self.graph.outputs)
        takers = []
        for node in self.graph.nodes:
            if stacked_numbers(node) is None:
                others.update(node.args)
            else:
                takers.append(node)
        refused = {node for node in takers if not others.isdisjoint(node.args)}
        while refused:  # whose operands are then written, and known to all
            others.update([arg for node in refused for arg in node.args])
            takers = [node for node in takers if node not in refused]
            refused = {node for node in takers if not others.isdisjoint(node.args)}
        return {arg for node in takers for arg in node.args}

    def _text(self, node: Expr, arg: Expr) -> str:
        return operand(node, arg, self._names.get(arg), self.constants)

    def _operation(self, node: Expr, dead: list[Expr]) -> None:
        constants = self.constants
        if node.primitive is full and not node.aval.shape:
            self._names[node] = constants.number(dict(node.static)["value"], node.aval.dtype)
            return
        if node in self._absorbed:
            return
        name = f"t{self._numbers[node]}"
        numbers = stacked_numbers(node)
        if numbers is not None and self._absorbed.issuperset(node.args):
            texts = [self._text(node, number) for number in numbers]
            lines = [f"{name} = {array_of(texts, constants.value(node.aval.dtype))}"]
        else:
            operands = [self._text(node, arg) for arg in node.args]
            lines = self._in_pieces(node, name, operands)
            lines = lines or statements(node, name, operands, constants, self._target(node)) or []
            if not lines:
                text, target = self._call(node, operands), self._target(node)
                if is_long_choice(node) and node in self._dense:
                    target = target or self._empty(node.aval)
                    text = choice(node, operands, target, constants)
                elif target is not None:
                    text = f"{text[:-1]}, out={target})"
                lines = [f"{name} = {text}"]
        self._names[node] = name
        lines[-1] += self._forget(dead)
        self._lines += [(line, "") for line in lines[:-1]]
        self._lines.append((lines[-1], _note(node.aval)))

    def _call(self, node: Expr, operands: list[str]) -> str:
        static = dict(node.static)
        if node.args and self._dense.issuperset(node.args):
            text = short_sum(node, operands[0], static.get("axis", ()), self.constants)
            if text is not None:
                return text
        return expression(node, operands, self.constants, static)

    def _in_pieces(self, node: Expr, name: str, operands: list[str]) -> list[str]:
        """What computes ``node`` on several threads, if that is worth it."""
        where = cut(node, self._dense)
        if where is None:
            return []
        function, constants = f"g{len(self._functions)}", self.constants
        call = self._call(node, parts(where))
        self._functions.append(piecewise(function, node, where, call))
        if isinstance(node.aval, TupleAval):
            arrays, values = tuple_text([self._empty(aval) for aval in node.aval.avals]), f"*{name}"
        else:
            arrays, values = self._target(node) or self._empty(node.aval), name
        pieces = constants.blocks(evenly, where.length, where.pieces)
        run = spread_call(function, pieces, [*operands, values], constants)
        return [f"{name} = {arrays}", run]

    def _empty(self, aval: Aval) -> str:
        return f"np.empty({self.constants.value(aval.shape)}, {self.constants.value(aval.dtype)})"

    def _group(self, group: Group, dead: list[Expr]) -> None:
        constants, names = self.constants, self._names
        pieces = group.cut(group.length, group.rows)
        for node in (*group.kept, *[n for n in group.nodes if n in group.totals]):
            shape, dtype = constants.value(node.aval.shape), constants.value(node.aval.dtype)
            name = f"t{self._numbers[node]}"
            if node in group.totals and not node.aval.shape:
                name = f"p{self._numbers[node]}"
                text = f"np.empty(({len(pieces)},), {dtype})"
            elif node in group.totals:
                text = f"np.zeros({shape}, {dtype})"
            else:
                text = self._target(node) or self._empty(node.aval)
            self._names[node] = name
            self._lines.append((f"{name} = {text}", str(node.aval)))
        reads = set(group.reads)
        overwriting = {node for node in group.kept if self._plan.out.get(node) in reads}
        name = f"g{len(self._functions)}"
        lines, run = loop(group, name, names, self._numbers, overwriting, constants, expression)
        self._functions.append("\n".join(lines))
        self._lines.append((f"{run}{self._forget(dead)}", ""))
        for node in group.nodes:
            if node in group.totals and not node.aval.shape:
                add, name = constants.helper(total), f"t{self._numbers[node]}"
                sums, names[node] = names[node], name
                call = f"{add}({sums}, {group.length}, {group.rows})"
                self._lines.append((f"{name} = {call}", str(node.aval)))

    def kept_bytes(self) -> int:
        """How much memory stays between calls of what was written: groups take turns."""
        pools, own = self.constants.pools, bool(self._scratch.spots)
        sizes = [pool.nbytes for pool in pools]
        return sum(sizes[:own]) + max(sizes[own:], default=0)

    def _target(self, node: Expr) -> str | None:
        """The name of the array that takes the value of ``node``, if there is one already."""
        buffer = self._plan.out.get(node)
        if buffer is not None:
            return self._names[buffer]
        number = self._scratch.of.get(node)
        return None if number is None else f"s{number}"

    def _forget(self, dead: list[Expr]) -> str:
        # Numbers are not worth the time; several results, or a stack of them, are.
        large = [n for n in dead if n.aval.shape or type(n.aval) is not Aval]
        inside = self._scratch.inside
        names = [self._names[n] for n in large if n in self._names and n not in inside]
        dropped = [name for name in names if name[0] == "t"]
        return f"; del {', '.join(dropped)}" if dropped else ""


def generate(graph: Graph, contiguous: tuple[bool, ...]) -> tuple[str, dict[str, Any]]:
    """The source of ``graph`` and the namespace that it needs."""
    writer = _hoisting(graph, contiguous, pooled=True)
    return writer.write(), writer.constants.namespace


def pieces(graph: Graph, contiguous: tuple[bool, ...]) -> Pieces:
    """The program of ``graph`` to stand in another source, where its inputs are ``x0, x1, …``."""
    return _hoisting(graph, contiguous, pooled=False).pieces()


def _hoisting(graph: Graph, contiguous: tuple[bool, ...], pooled: bool) -> _Writer:
    complete, held = hoist(graph)
    return _Writer(complete, (*contiguous, *[True] * len(held)), held, pooled)


def kept_bytes(graph: Graph) -> int:
    """How much memory the program of ``graph`` leaves to the next call, for C-contiguous inputs."""
    writer = _hoisting(graph, (True,) * len(graph.inputs), pooled=True)
    writer.write()
    return writer.kept_bytes()


def written(graph: Graph, contiguous: tuple[bool, ...]) -> tuple[str, Constants]:
    """The source of ``graph`` that computes everything itself, and what it refers to."""
    writer = _Writer(graph, contiguous)
    return writer.write(), writer.constants


def build(graph: Graph, contiguous: tuple[bool, ...]) -> Callable[..., tuple[Any, ...]]:
    """The compiled program of ``graph``: takes the inputs' values, returns the outputs'."""
    text, namespace = generate(graph, contiguous)
    return spelled(text, namespace, "program")


def source(graph: Graph) -> str:
    """The source of ``graph`` for C-contiguous inputs, with shapes and dtypes as comments."""
    return generate(graph, (True,) * len(graph.inputs))[0]
