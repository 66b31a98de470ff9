"""Running a loop: the statements of the body's program, inside a Python loop.

Row 9. In: a loop's static parts and arrays. Out: arrays. The source of the loop is generated around
the body's, so that a step does nothing but compute, store and rebind. What is stacked goes into
arrays allocated before, or onto lists where their length is not known.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from typing import Any

import numpy as np

from fungrad._aval import Aval, Stack, StackAval, stack_aval
from fungrad._evaluate import as_operand
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import make_graph, substitute
from fungrad._primitive import primitive_named
from fungrad._provenance import recording
from fungrad.compile.constants import BUILTINS
from fungrad.compile.run import MAX_VARIANTS, program
from fungrad.compile.source import pieces
from fungrad.compile.spelling import spelled
from fungrad.control._layout import Spec
from fungrad.ops.creation import full
from fungrad.ops.elementwise import positive

logical_or = primitive_named("logical_or")
_PROBES = 3
"""After how many steps the carries' memory layouts are taken to repeat."""
_MAX_INLINED = 2_000
"""The largest body whose source stands inside the loop; larger ones are called."""


def loop_value(*operands: Any, spec: Spec) -> tuple[Any, ...]:
    """The results of a loop."""
    key = ("driver", spec.cond, spec.carries, spec.items)
    driver: Driver = spec.body.memo(key, lambda: Driver(spec))
    steps = int(operands[0]) if spec.counted else spec.length
    inits, sequences, constants = spec.operands(operands)
    return driver.run(inits, sequences, constants, steps, spec.length is None, spec.reverse)


class Driver:
    """The loop around a body, for all lengths and in both directions.

    The condition of a ``while`` loop is computed at the end of each step, for the next one.
    """

    def __init__(self, spec: Spec) -> None:
        body, cond = spec.body, spec.cond
        self._spec = spec  # its length and direction do not matter
        outputs = [_strong(out) for out in body.outputs]
        unique = list(dict.fromkeys(outputs))
        self._places = [unique.index(out) for out in outputs]
        if cond is not None:
            after = [*outputs[: spec.carries], *body.inputs[spec.carries :]]
            unique.append(_strong(substitute(cond, after)[0]))
        self._step = program(make_graph([node.aval for node in body.inputs], unique))
        self._test = program(cond) if cond is not None else None
        self._loops: dict[Any, Callable[..., Any]] = {}
        # What comes out twice, or as it went in, is copied at the end.
        carried = body.outputs[: spec.carries]
        same = any(isinstance(out, Input) for out in carried)
        self._repeats = same or len(set(carried)) < len(carried)

    def run(
        self,
        inits: list[Any],
        sequences: list[Any],
        constants: list[Any],
        steps: int | None,
        dynamic: bool,
        reverse: bool,
    ) -> tuple[Any, ...]:
        """The results, after ``steps`` steps or as soon as the condition fails."""
        spec = self._spec
        carries = [_own(init) for init in inits]
        constants = [as_operand(value) for value in constants]
        stacked = [node.aval for node in spec.stacked]
        stores: list[Any] = [[] if dynamic else _room(aval, steps or 0) for aval in stacked]
        puts = [store.append for store in stores] if dynamic else stores
        numbers = range(steps or 0)
        walks = [_walk(x, len(numbers), reverse) for x in sequences]
        rows = zip(numbers[::-1] if reverse else numbers, *walks, strict=False)
        flags = [_contiguous(x) for x in (*map(_first, sequences), *constants)]
        going = self._test is None or bool(self._test([*carries, *constants])[0])
        taken, limit, probes = 0, 1, 0
        while True:  # one step at a time, until the layouts of the carries repeat
            before = [_strides(carry) for carry in carries]
            loop = self._loop((*map(_contiguous, carries), *flags), dynamic)
            some = islice(rows, limit) if limit == 1 else rows
            going, number, *carries = loop(going, limit, some, *carries, *constants, *puts)
            taken += number
            if not going or limit > 1:
                break
            probes += 1
            if probes == _PROBES or [_strides(carry) for carry in carries] == before:
                limit = sys.maxsize
        carries = [_settled(carry, self._repeats or dynamic) for carry in carries]
        if dynamic and reverse:
            for store in stores:
                store.reverse()
        results = (*carries, *map(_stack, stores, stacked))
        return results if self._test is None else (*results, np.int64(taken))

    def _loop(self, contiguous: tuple[bool, ...], dynamic: bool) -> Callable[..., Any]:
        """``(going, limit, rows, *carries, *constants, *stores) -> (going, steps, *carries)``."""
        if recording() is not None:
            return self._generated(contiguous, dynamic)
        if len(self._loops) >= 2 * MAX_VARIANTS:
            contiguous = (False,) * len(contiguous)
        loop = self._loops.get((contiguous, dynamic))
        if loop is None:
            loop = self._loops[contiguous, dynamic] = self._generated(contiguous, dynamic)
        return loop

    def _generated(self, contiguous: tuple[bool, ...], dynamic: bool) -> Callable[..., Any]:
        spec, graph = self._spec, self._step.graph
        inputs = [f"x{i}" for i in range(len(graph.inputs))]
        carries = inputs[: spec.carries]
        items = inputs[spec.carries : spec.carries + spec.items]
        constants = inputs[spec.carries + spec.items :]
        stores = [f"store{i}" for i in range(len(spec.stacked))]
        if recording() is not None or len(graph.nodes) > _MAX_INLINED:
            values = [f"u{i}" for i in range(len(graph.outputs))]
            lines = [f"{', '.join(values)}, = step({', '.join(inputs)})"] if values else []
            namespace: dict[str, Any] = {
                "__builtins__": BUILTINS,
                "step": self._step.variant(contiguous),
            }
            source = []
        else:
            parts = pieces(graph, contiguous)
            namespace, source = parts.namespace, parts.functions
            lines = [line for line, _ in parts.lines]
            values = []
            for i, (out, text) in enumerate(zip(graph.outputs, parts.outputs, strict=True)):
                carried = i in self._places[: spec.carries]
                value = _finished(out, text, spec.carries, copies=not dynamic and not carried)
                if not value.isidentifier():
                    lines.append(f"u{i} = {value}")
                    value = f"u{i}"
                values.append(value)
        results = [values[place] for place in self._places]
        for store, value in zip(stores, results[spec.carries :], strict=True):
            lines.append(f"{store}({value})" if dynamic else f"{store}[number] = {value}")
        if spec.cond is None:
            head = f"for {', '.join(['number', *items])}, in rows:"
        else:
            head, lines = "while going and number < limit:", [*lines, f"going = {values[-1]}"]
        if carries:
            lines.append(f"{', '.join(carries)}, = {', '.join(results[: spec.carries])},")
        # Or the next step would run beside the arrays of this one.
        held = {
            name
            for name, out in zip(values, graph.outputs, strict=True)
            if name[0] in "tu" and (out.aval.shape or isinstance(out.aval, StackAval))
        }
        if held:
            lines.append(f"del {', '.join(sorted(held))}")
        lines.append("number += 1" if spec.cond is not None else "pass")
        arguments = ", ".join(["going", "limit", "rows", *carries, *constants, *stores])
        source += [
            f"def loop({arguments}):",
            "    number = 0",
            f"    {head}",
            *[f"        {line}" for line in lines],
            f"    return {', '.join(['going', 'number', *carries])},",
        ]
        return spelled("\n".join(source), namespace, "loop")


def _finished(out: Expr, text: str, carries: int, copies: bool) -> str:
    """An output as the next step can read it; ``copies`` if it will only be copied anyway."""
    if isinstance(out, Input) and (copies or out.index < carries):
        return f"x{out.index}"  # nobody writes into a carry, and the last ones are copied
    if out.primitive is not None and isinstance(out.primitive.value, np.ufunc):
        return text.removesuffix("[()]")  # a ufunc of numbers gives a number by itself
    return text.removesuffix(".copy()") if copies else text


def _strong(out: Expr) -> Expr:
    """What is as weak as a Python number, as the NumPy scalar that it is while a program runs."""
    if isinstance(out, Literal):
        static = (("shape", ()), ("value", out.value), ("dtype", out.aval.dtype))
        return full.node((), static)
    if not out.aval.weak:
        return out
    if out.aval.dtype.kind == "b":
        return logical_or.node((out, out), ())
    return positive.node((out,), ())


def _own(value: Any) -> Any:
    """A carry that the loop alone owns."""
    value = as_operand(value)
    if not isinstance(value, np.ndarray):
        return value
    return value.copy(order="K") if value.shape else value[()]


def _settled(value: Any, shared: bool) -> Any:
    """A carry at the end, which shares memory with nothing else."""
    if not isinstance(value, np.ndarray):
        return value
    return value[()] if not value.shape else value.copy() if shared else value


def _stack(store: Any, aval: Aval) -> Any:
    """What was stacked, as a result."""
    if isinstance(store, list):
        return Stack(stack_aval(aval.with_weak(False)), store)
    return Stack(stack_aval(aval), store.tolist()) if isinstance(aval, StackAval) else store


def _room(aval: Any, steps: int) -> Any:
    return np.empty((steps, *aval.shape), aval.dtype)


def _zero(aval: Any) -> Any:
    return (
        Stack(aval, None) if isinstance(aval, StackAval) else np.zeros(aval.shape, aval.dtype)[()]
    )


def _walk(sequence: Any, steps: int, reverse: bool) -> Iterator[Any]:
    """The items of a sequence, in the order of the steps."""
    if not isinstance(sequence, Stack):
        return iter(sequence[::-1] if reverse else sequence)
    if sequence.values is None:
        return repeat(_zero(sequence.aval.element), steps)
    return reversed(sequence.values) if reverse else iter(sequence.values)


def _first(sequence: Any) -> Any:
    values = sequence.values if isinstance(sequence, Stack) else sequence
    return values[0] if values is not None and len(values) else None


def _contiguous(value: Any) -> bool:
    return not isinstance(value, np.ndarray) or value.flags.c_contiguous


def _strides(value: Any) -> Any:
    return getattr(value, "strides", None)
