"""The domain table: for every primitive, operands to try it on and what it must give there.

The rows stand in the files ``_domains_*.py``, by family; here is what they are made of. A case is
user code: a function of plain arrays, which NumPy itself evaluates for the expected value. Where a
primitive has no NumPy spelling, the row or the case has an oracle of its own. The slopes of
elementwise rows are closed forms in mpmath arithmetic, which neither overflows nor cancels; at
kinks they state the policy: ties share evenly, ``abs'(0) = 0``, a norm at 0 has derivative 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import attrs
import numpy as np

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], Any]
Function = Callable[..., Any]
Dtypes = str | tuple[str, ...] | None

REAL = ("float16", "float32", "float64")
COMPLEX = ("complex64", "complex128")
NUMBERS = ("bool", "int8", "uint8", "int32", "int64", *REAL, *COMPLEX)


# --- how values are drawn ------------------------------------------------------------------------


def within(low: float, high: float) -> Draw:
    """Between two bounds, each entry for itself."""
    return lambda rng, shape: rng.uniform(low, high, shape)


def away_from_zero(low: float = 0.2, high: float = 2.0) -> Draw:
    """Of either sign, and not near 0."""
    return lambda rng, shape: rng.choice([-1.0, 1.0], shape) * rng.uniform(low, high, shape)


def between_integers(rng: np.random.Generator, shape: Shape) -> Any:
    """Where rounding has no jump: neither near an integer nor near a half."""
    return rng.integers(-5, 6, shape) + rng.choice([0.1, 0.6], shape) + rng.uniform(0, 0.25, shape)


def apart(offset: float = 0.0) -> Draw:
    """Distinct values, also from those with another offset: no ties, and none within a step."""

    def draw(rng: np.random.Generator, shape: Shape) -> Any:
        size = int(np.prod(shape))
        return ((rng.permutation(size) - size // 2) * 0.25 + offset).reshape(shape)

    return draw


def integers(low: int, high: int, dtype: Any = np.int64) -> Draw:
    """From ``low`` to ``high - 1``."""
    return lambda rng, shape: rng.integers(low, high, shape).astype(dtype)


def booleans(rng: np.random.Generator, shape: Shape) -> Any:
    """Either truth value."""
    return rng.integers(0, 2, shape).astype(bool)


def complex_within(low: float, high: float) -> Draw:
    """Real and imaginary parts between two bounds."""
    return lambda rng, shape: rng.uniform(low, high, shape) + 1j * rng.uniform(low, high, shape)


# --- the records ---------------------------------------------------------------------------------


@attrs.frozen
class Operand:
    """An array operand. ``varies`` says that derivatives with respect to it are to be tried."""

    shape: Shape
    draw: Draw = away_from_zero()
    varies: bool = True

    def sample(self, rng: np.random.Generator, dtype: str | None = None) -> Any:
        """An array of values from the domain, or small numbers of another kind, as ``dtype``."""
        value = np.asarray(self.draw(rng, self.shape))
        if dtype is None or not self.varies:
            return value
        kind = np.dtype(dtype).kind
        if kind == "b":
            return booleans(rng, self.shape)
        if kind in "iu":
            return rng.integers(1, 4, self.shape).astype(dtype)
        if kind == "c" and value.dtype.kind != "c":
            return (value + 1j * rng.uniform(0.1, 0.5, self.shape)).astype(dtype)
        return value.astype(dtype)


@attrs.frozen
class Case:
    """User code that must reach the primitive, and operands for it; an oracle if that is no NumPy."""

    label: str
    function: Function
    operands: tuple[Operand, ...]
    oracle: Function | None = None

    def sample(self, seed: int, dtypes: Dtypes = None) -> list[Any]:
        """One array for each operand, of one dtype for all or one for each."""
        rng = np.random.default_rng(seed)
        each = dtypes if isinstance(dtypes, tuple) else (dtypes,) * len(self.operands)
        return [x.sample(rng, dtype) for x, dtype in zip(self.operands, each, strict=True)]

    @property
    def varying(self) -> tuple[int, ...]:
        """The operands to differentiate with respect to."""
        return tuple(i for i, operand in enumerate(self.operands) if operand.varies)


def on(label: str, function: Function, *shapes: Shape, draw: Draw | None = None) -> Case:
    """A case whose operands are all to be differentiated."""
    return Case(label, function, tuple(Operand(s, draw or away_from_zero()) for s in shapes))


@attrs.frozen
class Row:
    """What is known of one primitive.

    Attributes:
        cases: user code that reaches it.
        oracle: gives the value where the cases' function is not NumPy's; applied to the operands.
        exact: whether the value equals the oracle's to the last bit, not only to rounding.
        numeric: the function whose differences are the derivative, if not the value's.
        dtypes: the operands' dtypes to try; where NumPy raises, so must the program.
        gradient_dtypes: the dtypes in which derivatives are to be tried.
        slopes: elementwise rows: the partial derivatives in mpmath arithmetic.
        slope_atol: how far a slope may be off in absolute terms, beyond rounding.
        points: operands at which rules are often wrong, tried in addition to the common ones.
        undefined: operands at which the function is defined, but a slope has no value.
        definition: the value by another way, to which it must be equal to rounding.
        rounding: how many epsilons results may differ by where they are computed differently.
    """

    cases: tuple[Case, ...]
    oracle: Function | None = None
    exact: bool = True
    numeric: Function | None = None
    dtypes: tuple[str, ...] = NUMBERS
    gradient_dtypes: tuple[str, ...] = ("float16", "float32", "float64", "complex64", "complex128")
    slopes: tuple[Function, ...] | None = None
    slope_atol: float = 0.0
    points: tuple[tuple[float, ...], ...] = ()
    undefined: Function = lambda *operands: False
    definition: Function | None = None
    rounding: float = 8.0

    def expected(self, case: Case) -> Function:
        """The function that NumPy evaluates."""
        return case.oracle or self.oracle or case.function

    @property
    def elementwise(self) -> bool:
        """Whether special points can be tried one by one."""
        return self.slopes is not None


def at(label: str, function: Function, shape: Shape, *indices: tuple[Shape, int, int]) -> Case:
    """A case with index arrays, each given by its shape and bounds."""
    places = [Operand(s, integers(low, high), False) for s, low, high in indices]
    return Case(label, function, (Operand(shape), *places))


def _reductions(function: Function, draw: Draw, empty: bool) -> tuple[Case, ...]:
    """All ways to choose axes."""

    def along(**keywords: Any) -> Function:
        return lambda x: function(x, **keywords)

    table: list[tuple[Shape, Any]] = [
        ((), None), ((1,), 0), ((4,), None), ((2, 3), 0), ((2, 3), 1), ((2, 3), -1), ((2, 3), None),
        ((2, 3, 4), (0, 2)), ((2, 3, 4), (2, -3)), ((2, 3, 4), 1), ((1, 3, 1), (0, 2)),
        ((0, 3), 1), ((2, 0), 0), ((2, 3), ()),
    ]  # fmt: skip
    if empty:
        table += [((0,), None), ((0, 3), 0), ((2, 0, 3), (0, 1))]
    return (
        *(on(f"{s} axis={a}", along(axis=a), s, draw=draw) for s, a in table),
        on("keepdims", along(axis=1, keepdims=True), (2, 3), draw=draw),
        on("keepdims, all", along(keepdims=True), (2, 3), draw=draw),
    )


# --- elementwise rows -------------------------------------------------------------------------------

SHAPES: dict[int, tuple[tuple[Shape, ...], ...]] = {
    1: (((),), ((1,),), ((5,),), ((0,),), ((2, 3),), ((1, 3, 1),), ((2, 0, 3),)),
    2: (
        ((), ()),
        ((4,), (4,)),
        ((4,), ()),
        ((), (2, 3)),
        ((2, 1), (1, 3)),
        ((3,), (2, 3)),
        ((1,), (3,)),
        ((1, 1), (2,)),
        ((0,), (1,)),
        ((0, 3), (3,)),
        ((2, 1, 3), (4, 1)),
    ),
    3: (
        ((), (), ()),
        ((3,), (3,), (3,)),
        ((2, 1), (3,), ()),
        ((), (2,), (2, 1)),
        ((1, 3), (2, 1), (2, 3)),
        ((0, 1), (0, 3), (3,)),
    ),
}


def labelled(function: Function, shapes: Iterable[Shape], draws: Any, varies: Any) -> Case:
    """A case named by its operands' shapes."""
    operands = tuple(map(Operand, shapes, draws, varies))
    return Case(" ".join(str(operand.shape) for operand in operands), function, operands)


def elementwise(
    function: Function,
    *draws: Draw,
    slopes: tuple[Function, ...] | None,
    varies: tuple[bool, ...] | None = None,
    more: tuple[Case, ...] = (),
    **rest: Any,
) -> Row:
    """A row that tries one function on all shapes that broadcast."""
    flags = varies or (True,) * len(draws)
    cases = [labelled(function, shapes, draws, flags) for shapes in SHAPES[len(draws)]]
    return Row((*cases, *more), slopes=slopes, **rest)


def unary(function: Function, draw: Draw, slope: Function, **rest: Any) -> Row:
    """A row of one operand."""
    return elementwise(function, draw, slopes=(slope,), **rest)


def third_derivative(value: Any, definition: Function, slope: Function, **rest: Any) -> Row:
    """A row of a derivative in closed form ``(x, order)``, at order 3."""
    third = lambda x: value.value(x, 3)
    # Operators on complex NumPy scalars round otherwise than the ufuncs of the program.
    return unary(
        lambda x: value(x, 3), within(-1.2, 1.2), slope,
        oracle=third, definition=definition, exact=False, **rest,
    )  # fmt: skip


def binary(
    function: Function, draws: tuple[Draw, Draw], slopes: tuple[Function, Function], **rest: Any
) -> Row:
    """A row of two operands."""
    return elementwise(function, *draws, slopes=slopes, **rest)


def flat(function: Function, count: int, draw: Draw = between_integers, **rest: Any) -> Row:
    """A row whose derivative is zero wherever it exists."""
    return elementwise(function, *[draw] * count, slopes=(lambda *x: 0,) * count, **rest)


def with_number(function: Function, number: Any, place: int, draw: Draw) -> Case:
    """A Python number beside one array: a literal of the program."""
    spelled = (lambda x: function(number, x)) if place == 0 else (lambda x: function(x, number))
    label = f"{number!r}, (2, 3)" if place == 0 else f"(2, 3), {number!r}"
    return Case(label, spelled, (Operand((2, 3), draw),))


def with_numbers(function: Function, *draws: Draw) -> tuple[Case, ...]:
    """A Python int or float in place of either operand."""
    return tuple(
        with_number(function, number, place, draws[1 - place])
        for number, place in product((2, 1.5), (0, 1))
    )


# --- the table -----------------------------------------------------------------------------------


def all_rows() -> dict[str, Row]:
    """The rows of all families by the primitive's name: every module-level dict of rows."""
    found: dict[str, Row] = {}
    for path in sorted(Path(__file__).parent.glob("_domains_*.py")):
        for table in vars(import_module(f"tests.{path.stem}")).values():
            if isinstance(table, dict) and any(isinstance(row, Row) for row in table.values()):
                twice = found.keys() & table.keys()
                assert not twice, f"{path.name} has rows that stand elsewhere: {twice}"
                found |= table
    return found
