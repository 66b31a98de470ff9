"""Random programs: a hypothesis strategy that writes correct NumPy code, statement by statement.

A program is readable source text (``print(program)``), so that a failing example says what failed.
Every value is kept between about -8 and 8, so that nothing overflows and differences are accurate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from math import prod
from typing import Any

import attrs
import numpy as np
from hypothesis import assume, settings
from hypothesis import strategies as st

import fungrad as fg

Shape = tuple[int, ...]
TAME = 8.0
LARGEST = 48


def share(fraction: float) -> settings:
    """Settings with that fraction of the profile's number of examples."""
    return settings(max_examples=max(1, round(settings.default.max_examples * fraction)))


@attrs.frozen
class Program:
    """A function of arrays, as source text.

    Attributes:
        source: the text of ``def program(x0, x1, …)``.
        shapes: of the inputs.
        dtypes: of the inputs.
        function: the text, executed.
        scalar_power: whether it has ``**`` of a 0-d value, which NumPy's scalars compute by another
            routine than its arrays, so that the last bit may differ.
    """

    source: str
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    function: Callable[..., Any] = attrs.field(repr=False, eq=False)
    scalar_power: bool

    def __call__(self, *inputs: Any) -> Any:
        return self.function(*inputs)

    def __repr__(self) -> str:
        pairs = zip(self.shapes, self.dtypes, strict=True)
        return f"{self.source}# inputs: {', '.join(f'{d}{s}' for s, d in pairs)}"

    def inputs(self, seed: int) -> list[Any]:
        """Random values for the inputs, between -2 and 2."""
        rng = np.random.default_rng(seed)
        pairs = zip(self.shapes, self.dtypes, strict=True)
        return [np.asarray(rng.uniform(-2, 2, shape)).astype(dtype) for shape, dtype in pairs]

    def wild_inputs(self, seed: int) -> list[Any]:
        """Values among which are zeros of both signs, infinities, NaN, huge and tiny ones."""
        rng = np.random.default_rng(seed)
        wild = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e30, -1e-30, 1e-38, 3.5]
        return [
            np.where(rng.random(x.shape) < 0.5, rng.choice(wild, x.shape), x).astype(x.dtype)
            for x in self.inputs(seed)
        ]


@attrs.frozen
class Value:
    """A variable of the program being written: ``bound`` limits its absolute values."""

    name: str
    shape: Shape
    bound: float


@attrs.frozen
class Template:
    """An elementwise expression and the bound of its value, from those of its operands."""

    text: str
    bound: Callable[..., float]


def _template(text: str, bound: Callable[..., float] | float) -> Template:
    return Template(text, bound if callable(bound) else lambda *_: bound)


def _same(*bounds: float) -> float:
    return max(bounds)


SMOOTH_UNARY = (
    _template("np.tanh({0})", 1),
    _template("np.sin({0})", 1),
    _template("np.cos(2 * {0})", 1),
    _template("np.arctan({0})", 1.6),
    _template("np.exp(-{0} * {0})", 1),
    _template("np.expm1(np.tanh({0}))", 2),
    _template("np.sqrt(1.0 + {0} ** 2)", lambda b: b + 1),
    _template("(1.5 + {0} ** 2) ** 0.5", lambda b: b + 2),
    _template("np.log1p({0} * {0})", lambda b: b),
    _template("np.log2(1.25 + np.square({0}))", lambda b: b + 1),
    _template("{0} / (1 + {0} * {0})", 0.5),
    _template("1 / (1.5 + np.sin({0}))", 2),
    _template("np.reciprocal(2.0 + {0} ** 2)", 0.5),
    _template("fg.nn.sigmoid({0})", 1),
    _template("-{0}", _same),
    _template("+{0}", _same),
    _template("2.5 * {0}", lambda b: 2.5 * b),
    _template("{0} - 0.5", lambda b: b + 0.5),
    _template("3 - {0}", lambda b: b + 3),
    _template("0.1 * {0} ** 3", lambda b: 0.1 * b**3),
    _template("(2.0 + np.tanh({0})) ** -1.5", 1),
    _template("np.power(2.0, np.cos({0}))", 2),
    _template("np.arcsinh({0})", _same),
    _template("np.arctan2({0}, 2.0)", 1.6),
    _template("np.positive({0})", _same),
)
NEUTRAL = (
    _template("{0} * 1", _same),
    _template("{0} / 1.0", _same),
    _template("{0} + 0", _same),
    _template("0.0 + {0}", _same),
    _template("{0} - 0", _same),
    _template("{0} - -0.0", _same),
    _template("-(-{0})", _same),
    _template("{0} + 0 * {0}", _same),
    _template("{0} ** 1 - 0.0", _same),
    _template("np.transpose(np.transpose({0}))", _same),
)
"""What simplification is tempted to drop; some of them change the sign of zeros, or NaN."""

KINKED_UNARY = (
    _template("np.abs({0})", _same),
    _template("np.maximum({0}, 0.25)", lambda b: b + 0.25),
    _template("np.minimum(0.5, {0})", lambda b: b + 0.5),
    _template("np.where({0} > 0.125, {0}, -0.5 * {0})", _same),
    _template("np.where(np.isfinite({0}) & ({0} < 1), 0.0, {0})", _same),
    _template("np.clip({0}, -1.0, 1.5)", 1.5),
    _template("np.sign({0}) * {0}", _same),
    _template("{0} + np.floor({0})", lambda b: 2 * b + 1),
    _template("fg.stop_gradient({0}) * {0}", lambda b: b * b),
)
SMOOTH_BINARY = (
    _template("{0} + {1}", lambda a, b: a + b),
    _template("{0} - {1}", lambda a, b: a + b),
    _template("{0} * {1}", lambda a, b: a * b),
    _template("{0} / (2.0 + np.cos({1}))", lambda a, b: a),
    _template("np.arctan2({0}, 1.5 + {1} ** 2)", 1.6),
    _template("np.hypot(1.0 + {0} ** 2, {1})", lambda a, b: 1 + a * a + b),
    _template("np.logaddexp({0}, {1})", lambda a, b: max(a, b) + 1),
    _template("np.power(1.0 + {0} ** 2, np.tanh({1}))", lambda a, b: 1 + a * a),
)
KINKED_BINARY = (
    _template("np.maximum({0}, {1})", _same),
    _template("np.minimum({0}, {1})", _same),
    _template("np.fmax({0}, {1})", _same),
    _template("np.where({0} > {1}, {0}, 2.0 * {1})", lambda a, b: 2 * max(a, b)),
    _template("np.where({0} != {1}, {1}, 1)", lambda a, b: b + 1),
)


def _joint_shape(a: Shape, b: Shape) -> Shape | None:
    try:
        shape = np.broadcast_shapes(a, b)
    except ValueError:
        return None
    return shape if prod(shape) <= LARGEST else None


class Writer:
    """Writes one program; holds the statements so far and the variables that they defined."""

    def __init__(self, draw: Any, shapes: Sequence[Shape], kinks: bool) -> None:
        self.draw = draw
        self.kinks = kinks
        self.values = [Value(f"x{i}", shape, 2.0) for i, shape in enumerate(shapes)]
        self.inputs = len(self.values)
        self.lines: list[str] = []
        self.scalar_power = False

    # --- choosing ---

    def one_of(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def number(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def operand(self) -> Value:
        # The latest ones first: that makes deep programs rather than broad ones.
        return self.values[-1 - self.number(0, len(self.values) - 1)]

    def define(self, text: str, shape: Shape, bound: float) -> None:
        if bound > TAME:
            text, bound = f"np.tanh({text})", 1.0
        name = f"t{len(self.lines)}"
        self.scalar_power |= not shape and "**" in text
        self.lines.append(f"    {name} = {text}")
        self.values.append(Value(name, shape, bound))

    # --- statements; each returns whether it could be written ---

    def unary(self) -> bool:
        template = self.one_of(SMOOTH_UNARY + (KINKED_UNARY if self.kinks else ()))
        x = self.operand()
        self.define(template.text.format(x.name), x.shape, template.bound(x.bound))
        return True

    def neutral(self) -> bool:
        x = self.operand()
        self.define(self.one_of(NEUTRAL).text.format(x.name), x.shape, x.bound)
        return True

    def binary(self) -> bool:
        template = self.one_of(SMOOTH_BINARY + (KINKED_BINARY if self.kinks else ()))
        x = self.operand()
        partners = [y for y in reversed(self.values) if _joint_shape(x.shape, y.shape) is not None]
        if not partners:
            return False
        y = self.one_of(partners)
        if self.draw(st.booleans()):
            x, y = y, x
        text = template.text.format(x.name, y.name)
        self.define(text, _joint_shape(x.shape, y.shape) or (), template.bound(x.bound, y.bound))
        return True

    def reduction(self) -> bool:
        x = self.operand()
        rank = len(x.shape)
        if rank and self.draw(st.booleans()):
            axis: Any = self.number(-rank, rank - 1)
            axes = {axis % rank}
        elif rank > 1 and self.draw(st.booleans()):
            axis, axes = (0, -1), {0, rank - 1}
        else:
            axis, axes = None, set(range(rank))
        keep = self.draw(st.booleans())
        count = prod(x.shape[i] for i in axes)
        names = ["sum", "mean", "var"] + (["max", "min", "std"] if self.kinks else [])
        name = self.one_of(names)
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes)
        bound = {"sum": x.bound * count, "var": x.bound**2}.get(name, x.bound)
        text = f"np.{name}({x.name}, axis={axis}{', keepdims=True' if keep else ''})"
        self.define(text, shape, bound)
        return True

    def product(self) -> bool:
        x = self.operand()
        if not x.shape or not prod(x.shape):
            return False
        inner = x.shape[-1]
        partners = [
            y for y in self.values
            if y.shape and y.shape[-2:][0] == inner and len(y.shape) + len(x.shape) < 6
        ]  # fmt: skip
        if partners and self.draw(st.booleans()):
            y = self.one_of(partners)
            try:
                shape = np.matmul(np.ones(x.shape), np.ones(y.shape)).shape
            except ValueError:
                return False
            self.define(f"{x.name} @ {y.name}", shape, x.bound * y.bound * inner)
        elif len(x.shape) == 2 and self.draw(st.booleans()):
            self.define(f"{x.name}.T @ {x.name}", (inner, inner), x.bound**2 * x.shape[0])
        elif len(x.shape) == 1 and self.draw(st.booleans()):
            self.define(f"np.dot({x.name}, {x.name})", (), x.bound**2 * inner)
        else:  # a constant of the program: a captured array
            columns = self.number(1, 3)
            matrix = f"np.linspace(-1, 1, {inner * columns}).reshape({inner}, {columns})"
            self.define(f"{x.name} @ {matrix}", (*x.shape[:-1], columns), x.bound * inner)
        return prod(self.values[-1].shape) <= LARGEST or bool(self.forget())

    def forget(self) -> None:
        self.values.pop()
        self.lines.pop()

    def indexing(self) -> bool:
        x = self.operand()
        items, shape = [], []
        for n in x.shape:
            if n == 0:
                return False
            kind = self.number(0, 5)
            if kind == 0:
                items.append(str(self.number(-n, n - 1)))
            elif kind == 1:
                items.append("::-1")
                shape.append(n)
            elif kind == 2:
                start = self.number(0, n - 1)
                items.append(f"{start}:")
                shape.append(n - start)
            elif kind == 3 and not any("[" in item for item in items):
                places = [self.number(-n, n - 1) for _ in range(self.number(1, 3))]
                items.append(str(places))
                shape.append(len(places))
            elif kind == 4:
                items += ["None", ":"]
                shape += [1, n]
            else:
                items.append("::2")
                shape.append(len(range(0, n, 2)))
        index = ", ".join(items) or "..., None"
        value = np.empty(x.shape)
        shape = list(eval(f"value[{index}]", {"value": value}).shape)  # where NumPy puts its axes
        if prod(shape) > LARGEST:
            return False
        self.define(f"{x.name}[{index}]", tuple(shape), x.bound)
        return True

    def reshaping(self) -> bool:
        x = self.operand()
        rank, size = len(x.shape), prod(x.shape)
        options = [
            (f"{x.name}.reshape(-1)", (size,)),
            (f"{x.name}.T", x.shape[::-1]),
            (f"np.reshape({x.name}, {(1, *x.shape)})", (1, *x.shape)),
            (f"{x.name}.reshape({x.shape[::-1]})", x.shape[::-1]),
            (f"np.expand_dims({x.name}, -1)", (*x.shape, 1)),
            (f"np.squeeze({x.name})", tuple(n for n in x.shape if n != 1)),
        ]
        if rank > 1:
            swapped = (x.shape[-1], *x.shape[1:-1], x.shape[0])
            options.append((f"np.swapaxes({x.name}, 0, -1)", swapped))
            options.append((f"np.moveaxis({x.name}, 0, -1)", (*x.shape[1:], x.shape[0])))
        if size % 2 == 0 and size:
            options.append((f"{x.name}.reshape((2, -1))", (2, size // 2)))
        if 2 * size <= LARGEST:
            options.append((f"np.broadcast_to({x.name}, {(2, *x.shape)})", (2, *x.shape)))
        text, shape = self.one_of(options)
        self.define(text, shape, x.bound)
        return True

    def joining(self) -> bool:
        x = self.operand()
        partners = [y for y in self.values if y.shape == x.shape]
        y = self.one_of(partners)
        if 2 * prod(x.shape) > LARGEST:
            return False
        pair = f"[{x.name}, {y.name}]"
        bound = max(x.bound, y.bound)
        axis = self.number(0, len(x.shape))
        if x.shape and self.draw(st.booleans()):
            axis = min(axis, len(x.shape) - 1)
            shape = tuple(2 * n if i == axis else n for i, n in enumerate(x.shape))
            self.define(f"np.concatenate({pair}, axis={axis})", shape, bound)
        else:
            shape = (*x.shape[:axis], 2, *x.shape[axis:])
            self.define(f"np.stack({pair}, axis={axis})", shape, bound)
        return True

    # --- transforms within the program ---

    def nesting(self) -> bool:
        """A transform of a function that captures another variable, of leaves and of containers."""
        x = self.operand()
        template = self.one_of(SMOOTH_UNARY)
        y = self.one_of([y for y in self.values if y.shape in ((), x.shape)] or [x])
        of = lambda name: f"np.tanh({template.text.format(name)} + 0.5 * {y.name})"
        of = of if _joint_shape(x.shape, y.shape) == x.shape else template.text.format
        pair = f"{{'a': {x.name}, 'b': ({x.name}, 2.0)}}"
        inside = of("p['a']")
        kinds = [
            f"fg.jit(lambda v: {of('v')})({x.name})",
            f"fg.checkpoint(lambda v: {of('v')})({x.name})",
            f"fg.grad(lambda v: np.sum({of('v')}))({x.name})",
            f"fg.grad(fg.jit(lambda v: np.sum({of('v')})))({x.name})",
            f"fg.grad(lambda p: np.sum({inside} * p['b'][0]) * p['b'][1])({pair})['a']",
            f"fg.jvp(lambda v: {of('v')}, ({x.name},), ({x.name},))[1]",
            f"fg.vjp(lambda v: {of('v')}, {x.name})[1]({x.name})[0]",
            f"fg.fori_loop(0, 3, lambda i, v: np.tanh({of('v')}), {x.name})",
            f"fg.scan(lambda c, _: (np.tanh({of('c')}), c), {x.name}, None, length=2)[1][1]",
            f"fg.cond(np.sum({x.name}) > 0, lambda v: {of('v')}, lambda v: -v, {x.name})",
        ]
        if x.shape and y.shape == ():
            kinds.append(f"fg.vmap(lambda v: {of('v')})({x.name})")
        self.define(f"np.tanh({self.one_of(kinds)})", x.shape, 1.0)
        return True

    # --- statements that depend on values ---

    def branching(self) -> bool:
        """A choice, or a loop whose length varies; by conditions on all of a variable."""
        x = self.operand()
        name = f"t{len(self.lines)}"
        one, two = [self.tame(self.one_of(SMOOTH_UNARY), name, x.bound) for _ in range(2)]
        kind = self.number(0, 2)
        if kind == 0:
            limit = self.number(-2, 2)
            body = f"if np.sum({name}) > {limit}:\n        {name} = {one}\n    else:\n        {name} = {two}"
        elif kind == 1:
            body = f"while np.max(np.abs({name})) > 0.4:\n        {name} = {name} * 0.6"
        else:
            again = self.tame(self.one_of(SMOOTH_UNARY), name, TAME)
            count = f"int(np.sum(np.abs({name})) % 3)"
            body = f"for _ in range({count}):\n        {name} = {again}"
        self.define(f"{x.name}\n    {body}", x.shape, TAME)
        return True

    def tame(self, template: Template, name: str, bound: float) -> str:
        """The template, applied; so that it keeps within the bound."""
        text = template.text.format(name)
        return f"np.tanh({text})" if template.bound(bound) > TAME else text

    # --- the whole ---

    def program(self, result: str, dtypes: tuple[str, ...]) -> Program:
        arguments = [value.name for value in self.values[: self.inputs]]
        text = "\n".join(
            [f"def program({', '.join(arguments)}):", *self.lines, f"    return {result}", ""]
        )
        namespace: dict[str, Any] = {"np": np, "fg": fg}
        exec(text, namespace)
        shapes = tuple(value.shape for value in self.values[: self.inputs])
        return Program(text, shapes, dtypes, namespace["program"], self.scalar_power)


SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def programs(
    draw: Any,
    shapes: Sequence[Shape] | None = None,
    *,
    scalar: bool = False,
    elementwise: bool = False,
    kinks: bool = True,
    branches: bool = False,
    nested: bool = False,
    dtypes: Sequence[str] = ("float64",),
    largest: int = 9,
) -> Program:
    """Programs of two to ``largest`` statements.

    Args:
        draw: hypothesis's.
        shapes: of the inputs; by default, one to three random ones.
        scalar: whether the result is one number that depends on several of the variables.
        elementwise: whether there are elementwise statements only.
        kinks: whether there may be points without a derivative.
        branches: whether Python code depends on values.
        nested: whether there are transforms, loops and containers within.
        dtypes: from which those of the inputs are drawn.
        largest: the greatest number of statements.
    """
    if shapes is None:
        shapes = draw(st.lists(SHAPES, min_size=1, max_size=3))
        if elementwise:  # so that they have much to do with each other
            shapes = [shape if draw(st.booleans()) else shapes[0] for shape in shapes]
    writer = Writer(draw, shapes, kinks)
    kinds = [writer.unary, writer.binary, writer.neutral]
    if not elementwise:
        kinds += [writer.binary, writer.reduction, writer.product, writer.indexing]
        kinds += [writer.reshaping, writer.joining]
    if nested:
        kinds += [writer.nesting] * len(kinds)
    if branches:
        kinds += [writer.branching] * len(kinds)
    for _ in range(draw(st.integers(2, largest))):
        writer.one_of(kinds)()
    assume(writer.lines)
    kind = tuple(draw(st.sampled_from(list(dtypes))) for _ in shapes)
    last = writer.values[-1]
    if not scalar:
        return writer.program(last.name, kind)
    terms = [f"np.sum({last.name})"]
    unused = [
        value.name
        for value in writer.values[:-1]
        if not any(value.name in line.partition("=")[2] for line in writer.lines)
    ]
    terms += [f"0.5 * np.mean(np.sin({name}))" for name in unused]
    return writer.program(" + ".join(terms), kind)


def broadcastable_pairs(largest: int = 3, rank: int = 3) -> list[tuple[Shape, Shape]]:
    """All pairs ``(shape, wider shape)`` with axes up to ``largest`` where one broadcasts."""
    pairs = []
    wide: list[Shape] = [()]
    for _ in range(rank):
        wide += [(n, *shape) for shape in wide for n in (0, 1, 2, largest)]
    for target in dict.fromkeys(wide):
        narrow: list[Shape] = [()]
        for n in reversed(target):
            narrow += [(m, *shape) for shape in narrow for m in {1, n}]
        for shape in dict.fromkeys(narrow):
            tail = target[len(target) - len(shape) :]
            if all(m in (1, n) for m, n in zip_longest(shape, tail)):
                pairs.append((shape, target))
    return pairs
