"""Random programs over the whole registry: every primitive with a derivative can occur in them.

A program is a chain of steps. Each is a case of the domain table, user code that reaches one
primitive, applied to operands from the case's own domain, each moved a little by the values so far:
far enough to depend on them, not so far as to leave the domain. ``print(program)`` lists the steps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st

import fungrad as fg
from fungrad._primitive import ZERO, Unwritten, registry
from tests._checks import graph_of
from tests._domains import Case, Row, all_rows

ROWS: dict[str, Row] = {
    name: row
    for name, row in all_rows().items()
    if registry()[name].vjp is not ZERO and not isinstance(registry()[name].vjp, Unwritten)
}
"""Of all primitives that can be differentiated."""

APART = 0.02
"""How far operands are moved within their domain."""
LARGEST = 40
NARROW = ("float16", "float32", "complex64")
INPUTS = ((3,), ())


@attrs.frozen
class Step:
    """A case of a primitive that programs can use."""

    name: str
    place: int

    @property
    def case(self) -> Case:
        return ROWS[self.name].cases[self.place]

    def operands(self, seed: int) -> list[Any]:
        """Operands of the case's domain, in double precision."""
        dtypes = ROWS[self.name].gradient_dtypes
        return self.case.sample(seed, "float64" if "float64" in dtypes else "complex128")

    def __repr__(self) -> str:
        return f"{self.name}: {self.case.label}"


@cache
def steps(name: str) -> tuple[Step, ...]:
    """The cases of a primitive that are small, differentiable, and reach it."""
    usable = []
    for place, case in enumerate(ROWS[name].cases):
        step = Step(name, place)
        sizes = [np.size(x) for x in step.operands(0)]
        if not case.varying or not all(sizes) or sum(sizes) > LARGEST:
            continue
        with np.errstate(all="ignore"):
            try:
                graph, _ = graph_of(case.function, step.operands(0))
                out = fg.tree.leaves(case.function(*step.operands(0)))
            except Exception:  # some cases are there to be refused
                continue
        reached = any(node.primitive.name == name for node in graph.nodes)
        narrow = any(node.aval.dtype.name in NARROW for node in graph.nodes)
        smooth = any(aval.inexact for aval in graph.avals) and not narrow
        if reached and smooth and all(np.all(np.isfinite(leaf)) for leaf in out):
            usable.append(step)
    return tuple(usable)


def _moved(operand: Any, value: Any, matrix: Any) -> Any:
    change = APART * np.tanh(np.ravel(value) @ matrix).reshape(np.shape(operand))
    return operand + change * (1 + 0.5j) if np.iscomplexobj(operand) else operand + change


def _real(value: Any) -> Any:
    return np.real(value) + np.imag(value) if value.dtype.kind == "c" else value


@attrs.frozen(eq=False, repr=False)
class Program:
    """A function of a vector of three numbers and of a number; its result is a vector.

    Attributes:
        steps: in their order.
        constants: of each step: operands, and the matrices that move them.
        scales: of each result of each step: what it is divided by before it is squashed.
        reads: which values move the operands of each step.
    """

    steps: tuple[Step, ...]
    constants: list[list[tuple[Any, Any]]]
    scales: list[list[float]]
    reads: list[list[int]]

    def __call__(self, x: Any, y: Any) -> Any:
        values = [x, y]
        for i, step in enumerate(self.steps):
            out = self._results(i, step, values)
            squashed = [np.ravel(np.tanh(z / s)) for z, s in zip(out, self.scales[i], strict=True)]
            values.append(np.concatenate(squashed))
        total = sum(np.sum(np.sin(value)) for value in values)
        return np.concatenate([values[-1][:3], np.stack([total, np.cos(y) * total])])

    def _results(self, i: int, step: Step, values: list[Any]) -> list[Any]:
        operands = [
            operand if matrix is None else _moved(operand, values[k], matrix)
            for (operand, matrix), k in zip(self.constants[i], self.reads[i], strict=True)
        ]
        leaves = fg.tree.leaves(step.case.function(*operands))
        return [_real(leaf) for leaf in leaves if leaf.dtype.kind in "fc"]

    def scalar(self, x: Any, y: Any) -> Any:
        """The same with one number as its result."""
        out = self(x, y)
        return np.sum(out * np.cos(out))

    def inputs(self, seed: int) -> tuple[Any, Any]:
        """Where to evaluate it."""
        rng = np.random.default_rng(seed)
        return rng.uniform(-1, 1, 3), rng.uniform(-1, 1)

    def __repr__(self) -> str:
        names = ["x", "y", *[f"t{i}" for i in range(len(self.steps))]]
        lines = [
            f"t{i} = [{step}] near {', '.join(names[k] for k in reads)}"
            for i, (step, reads) in enumerate(zip(self.steps, self.reads, strict=True))
        ]
        return "\n".join(["", *lines])


def build(chosen: tuple[Step, ...], seed: int) -> Program:
    """The program with these steps; the rest of it follows from the seed."""
    rng = np.random.default_rng(seed)
    program = Program(chosen, [], [], [])
    values: list[Any] = list(program.inputs(seed))
    with np.errstate(all="ignore"):
        for i, step in enumerate(chosen):
            operands = step.operands(int(rng.integers(2**31)))
            reads = [int(rng.integers(max(0, len(values) - 3), len(values))) for _ in operands]
            matrices = [
                rng.normal(size=(np.size(values[k]), np.size(operand)))
                if place in step.case.varying
                else None
                for place, (operand, k) in enumerate(zip(operands, reads, strict=True))
            ]
            program.reads.append(reads)
            program.constants.append(list(zip(operands, matrices, strict=True)))
            out = program._results(i, step, values)
            program.scales.append([float(max(1.0, np.max(np.abs(z), initial=0))) for z in out])
            scaled = zip(out, program.scales[i], strict=True)
            values.append(np.concatenate([np.ravel(np.tanh(z / s)) for z, s in scaled]))
    return program


@st.composite
def registry_programs(draw: Any, largest: int = 3) -> Program:
    """Programs of one to ``largest`` steps, every primitive as likely as any other."""
    usable = [name for name in sorted(ROWS) if steps(name)]
    names = draw(st.lists(st.sampled_from(usable), min_size=1, max_size=largest))
    chosen = [draw(st.sampled_from(steps(name))) for name in names]
    return build(tuple(chosen), draw(st.integers(0, 2**16)))
