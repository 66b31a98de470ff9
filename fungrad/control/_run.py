"""Running a loop: the body's compiled program, driven by a plain Python loop.

Row 9. In: a loop's static parts and arrays. Out: arrays. The loop around the program is generated
for the numbers of its carries, sequences and stacks, so that a step does nothing but call, store
and rebind. What is stacked goes into arrays allocated before, or onto lists where their length is
not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice, repeat
from typing import Any

import numpy as np

from fungrad._aval import Stack, StackAval, stack_aval
from fungrad._evaluate import as_operand
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import make_graph
from fungrad._primitive import primitive_named
from fungrad.compile.run import Program, program
from fungrad.control._layout import Spec
from fungrad.errors import GENERATED
from fungrad.ops.creation import full
from fungrad.ops.elementwise import positive

logical_or = primitive_named("logical_or")
_PROBES = 3
"""After how many steps the carries' memory layouts must repeat, to be relied on."""


def loop_value(*operands: Any, spec: Spec) -> tuple[Any, ...]:
    """The results of a loop."""
    key = ("driver", spec.cond, spec.carries, spec.items)
    driver: Driver = spec.body.memo(key, lambda: Driver(spec))
    steps = int(operands[0]) if spec.counted else spec.length
    inits, sequences, constants = spec.operands(operands)
    return driver.run(inits, sequences, constants, steps, spec.length is None, spec.reverse)


class Driver:
    """The loop around a body, for all lengths and in both directions."""

    def __init__(self, spec: Spec) -> None:
        body, cond = spec.body, spec.cond
        self._spec = spec  # its length and direction do not matter
        outputs: list[Expr] = []
        names: list[str] = []
        for out in body.outputs:
            if isinstance(out, Input) and out.index < spec.carries:
                names.append(f"c{out.index}")  # as it was: no need to pass it through the program
                continue
            if out not in outputs:
                outputs.append(out)
            names.append(f"u{outputs.index(out)}")
        strong = [_strong(out) for out in outputs]
        self._step: Program = program(make_graph([node.aval for node in body.inputs], strong))
        self._test: Program | None = program(cond) if cond else None
        self._loops = [
            _generated(spec, names, len(outputs), cond is not None, dynamic)
            for dynamic in (False, True)
        ]
        # A carry may come out twice, and is then copied at the end.
        next_carries = names[: spec.carries]
        self._repeats = any(name[0] == "c" for name in next_carries) or len(
            set(next_carries)
        ) < len(next_carries)

    def run(
        self,
        inits: list[Any],
        sequences: list[Any],
        constants: list[Any],
        steps: int | None,
        dynamic: bool,
        reverse: bool,
    ) -> tuple[Any, ...]:
        """The results, after ``steps`` steps or as soon as the test fails."""
        spec = self._spec
        loop = self._loops[dynamic]
        carries = [_own(init) for init in inits]
        constants = [as_operand(value) for value in constants]
        stacked = [node.aval for node in spec.stacked]
        if dynamic:
            stores: list[Any] = [[] for _ in stacked]
            puts: list[Any] = [store.append for store in stores]
        else:
            assert steps is not None
            stores = [_room(aval, steps) for aval in stacked]
            puts = stores
        numbers: Any = count() if steps is None else range(steps)
        if reverse:
            assert steps is not None
            numbers = range(steps - 1, -1, -1)
        rows: Iterator[Any] = zip(
            numbers, *[_walk(x, steps or 0, reverse) for x in sequences], strict=False
        )
        firsts = [_first(x) for x in sequences]
        flags = [*map(_contiguous, firsts), *map(_contiguous, constants)]
        done, taken = False, 0
        for _ in range(_PROBES):
            before = [_strides(carry) for carry in carries]
            done, number, carries = self._some(
                loop, islice(rows, 1), carries, constants, flags, puts
            )
            taken += number
            if done or [_strides(carry) for carry in carries] == before:
                break
        if not done:
            done, number, carries = self._some(loop, rows, carries, constants, flags, puts)
            taken += number
        if self._repeats or dynamic:
            carries = _apart(carries)
        if dynamic:
            for store in stores if reverse else ():
                store.reverse()
            stores = [
                Stack(stack_aval(aval.with_weak(False)), store)
                for aval, store in zip(stacked, stores, strict=True)
            ]
        else:
            stores = [
                Stack(stack_aval(aval), store.tolist()) if isinstance(aval, StackAval) else store
                for aval, store in zip(stacked, stores, strict=True)
            ]
        results = (*carries, *stores)
        return results if self._test is None else (*results, np.int64(taken))

    def _some(
        self,
        loop: Callable[..., Any],
        rows: Iterator[Any],
        carries: list[Any],
        constants: list[Any],
        flags: list[bool],
        puts: list[Any],
    ) -> tuple[bool, int, list[Any]]:
        """Some steps: whether the loop is over, how many steps were taken, and the carries."""
        contiguous = (*map(_contiguous, carries), *flags)
        step = self._step.variant(contiguous)
        test = self._test and self._test.variant(
            contiguous[: len(carries)] + contiguous[len(contiguous) - len(constants) :]
        )
        done, taken, *carries = loop(test, step, rows, *carries, *constants, *puts)
        return done, taken, carries


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


def _generated(
    spec: Spec, names: list[str], outputs: int, tested: bool, dynamic: bool
) -> Callable[..., Any]:
    """``(test, step, rows, *carries, *constants, *stores) -> (over, steps taken, *carries)``."""
    carries = [f"c{i}" for i in range(spec.carries)]
    constants = [f"k{i}" for i in range(spec.constants)]
    stores = [f"s{i}" for i in range(len(spec.stacked))]
    row = ["t", *[f"x{i}" for i in range(spec.items)]]
    operands = ", ".join([*carries, *row[1:], *constants])
    results = "".join(f"u{i}, " for i in range(outputs))
    after = "".join(f"{carry}, " for carry in carries)
    lines = [
        f"def loop({', '.join(['test', 'step', 'rows', *carries, *constants, *stores])}):",
        "    n = 0",
        f"    for {', '.join(row)}, in rows:",
    ]
    if tested:
        lines += [
            f"        if not test({', '.join([*carries, *constants])})[0]:",
            f"            return (True, n, {after})",
            "        n += 1",
        ]
    if outputs:
        lines.append(f"        {results}= step({operands})")
    for store, name in zip(stores, names[spec.carries :], strict=True):
        lines.append(f"        {store}({name})" if dynamic else f"        {store}[t] = {name}")
    if carries:
        lines.append(f"        {after}= {''.join(f'{name}, ' for name in names[: spec.carries])}")
    lines += ["        pass", f"    return (False, n, {after})"]
    namespace: dict[str, Any] = {"__builtins__": {}}
    exec(compile("\n".join(lines), GENERATED, "exec"), namespace)
    loop: Callable[..., Any] = namespace["loop"]
    return loop


def _own(value: Any) -> Any:
    """A carry that the loop alone owns."""
    value = as_operand(value)
    if not isinstance(value, np.ndarray):
        return value
    return value.copy(order="K") if value.shape else value[()]


def _apart(carries: list[Any]) -> list[Any]:
    """Carries that share memory with nothing else."""
    return [value.copy() if isinstance(value, np.ndarray) else value for value in carries]


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
