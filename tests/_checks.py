"""What must hold for every primitive: the checks of the matrix, which the mutants must not survive.

Each check takes a row of the domain table and raises ``AssertionError`` where a cell fails.
References come from NumPy, the complex step, central differences and mpmath; never from the code
under test, except that a second derivative is compared with differences of the first.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, product
from typing import Any, Literal

import attrs
import numpy as np
from mpmath import mp

import fungrad as fg
from fungrad._aval import TupleAval, aval_of
from fungrad._batch import batch
from fungrad._evaluate import apply, as_operand, interpret
from fungrad._graph import Graph
from fungrad._primitive import Primitive, Unwritten
from fungrad._trace import trace_flat
from fungrad._vjp import pullback
from fungrad.compile.layouts import strides
from fungrad.compile.run import program
from fungrad.compile.source import build
from fungrad.errors import UnsupportedFunctionError
from tests._domains import Case, Dtypes, Function, Row

CELLS: Counter[str] = Counter()
"""How many cells each check has looked at: a primitive, a case, and one question about them."""

# --- comparing -----------------------------------------------------------------------------------


def same_bits(got: Any, want: Any, what: str) -> None:
    """Equal dtype, shape and values; NaN where NaN is, and zeros of the same sign."""
    got, want = np.asarray(got), np.asarray(want)
    alike(got, want, what)
    for part in ("real", "imag") if want.dtype.kind == "c" else ("real",):
        a, b = getattr(got, part), getattr(want, part)
        equal = a == b
        if want.dtype.kind in "fc":
            equal = (equal & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))
        assert np.all(equal), f"{what}: {got} is not, to the bit, {want}"


def alike(got: Any, want: Any, what: str) -> None:
    """Equal dtype and shape; which of its bytes comes first in memory is not part of a dtype here."""
    got, want = np.asarray(got), np.asarray(want)
    one, other = (x.dtype.newbyteorder("=") for x in (got, want))
    assert (one, got.shape) == (other, want.shape), (
        f"{what}: {got.dtype}{got.shape}, not {want.dtype}{want.shape}"
    )


def near(got: Any, want: Any, what: str, rtol: float, scale: Any = None) -> None:
    """Equal shapes, and values within ``rtol`` of ``scale``, which defaults to 1 + their size."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    if not got.size:
        return
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        off = np.where(same, 0.0, np.abs(got * 1.0 - want))
        bound = rtol * (1 + np.abs(want) if scale is None else scale)
    assert np.all((off <= bound) | same), f"{what}: {got}, not {want}; off by {np.max(off):.1e}"


def roundoff(*values: Any) -> float:
    """The epsilon of the coarsest floating-point dtype among ``values``; 0 if there is none."""
    dtypes = [np.asarray(value).dtype for value in values]
    return max([float(np.finfo(dtype).eps) for dtype in dtypes if dtype.kind in "fc"], default=0.0)


def pairing(cotangents: Sequence[Any], values: Sequence[Any]) -> float:
    """``Re Σ c v`` over all leaves: how cotangents pair with values, also complex ones."""
    return float(sum(np.real(np.sum(c * v)) for c, v in zip(cotangents, values, strict=True)))


def _size_of_pairing(cotangents: Sequence[Any], values: Sequence[Any]) -> float:
    return float(sum(np.sum(np.abs(c * v)) for c, v in zip(cotangents, values, strict=True)))


def normal_like(rng: np.random.Generator, x: Any) -> Any:
    """Random numbers of the shape and dtype of ``x``; zeros where that has no derivative."""
    x = np.asarray(x)
    if x.dtype.kind not in "fc":
        return np.zeros(x.shape)
    noise = rng.normal(size=(2, *x.shape))
    return np.asarray(noise[0] + 1j * noise[1] if x.dtype.kind == "c" else noise[0]).astype(x.dtype)


# --- layouts -------------------------------------------------------------------------------------

FOREIGN: Literal["<", ">"] = ">" if sys.byteorder == "little" else "<"


def _spread(a: Any, step: int) -> Any:
    room = np.zeros(tuple(n * abs(step) for n in a.shape), a.dtype)
    view = room[(*[slice(None, None, step)] * a.ndim, ...)]  # a view even for rank 0
    view[...] = a
    return view


def _locked(a: Any) -> Any:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "contiguous": np.copy,
    "column-major": lambda a: np.array(a, order="F"),
    "every second": lambda a: _spread(a, 2),
    "backwards": lambda a: _spread(a, -1),
    "read-only": _locked,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder(FOREIGN)),
}
"""The same values, differently laid out in memory."""

# --- values --------------------------------------------------------------------------------------


def check_value(row: Row, record: Primitive) -> None:
    """The value is NumPy's to the bit, in every layout, interpreted and compiled."""
    for case in row.cases:
        for layout, arrange in LAYOUTS.items():
            what = f"{record.name}, {case.label}, {layout}"
            operands = [arrange(operand) for operand in case.sample(1)]
            before = [operand.copy() for operand in operands]
            want = row.expected(case)(*[arrange(operand) for operand in before])
            jitted = fg.jit(case.function)
            for run in range(3):
                got = jitted(*operands)
                _check_against(got, want, row, f"{what}, run {run}")
                check_untouched([got], operands, before, what)
            if row.definition:
                again = row.definition(*operands)
                near(want, again, f"{what}, by definition", row.rounding * roundoff(want))
            CELLS["value"] += 1
        nodes = fg.trace(case.function, *case.sample(1)).nodes
        assert any(node.primitive is record for node in nodes), (
            f"{record.name}, {case.label}: the code gives {nodes} instead"
        )


def check_untouched(
    outputs: Sequence[Any], operands: Sequence[Any], before: Sequence[Any], what: str
) -> None:
    """Operands are as they were, and results belong to the caller alone."""
    for operand, old in zip(operands, before, strict=True):
        same_bits(operand, old, f"{what}: an operand was written to")
        for out in outputs:
            assert not np.shares_memory(out, operand), f"{what}: a result shares memory"
    for out in outputs:
        assert not isinstance(out, np.ndarray) or out.flags.writeable, f"{what}: a locked result"


def _check_against(got: Any, want: Any, row: Row, what: str) -> None:
    if row.exact:
        same_bits(got, want, what)
    else:
        alike(got, want, what)
        near(got, want, what, 4 * roundoff(want))


def check_dtypes(row: Row, record: Primitive) -> None:
    """NumPy's promotion, or NumPy's refusal, for every dtype, pair of dtypes, and Python number."""
    for case in row.cases:
        for dtype in row.dtypes:
            what = f"{record.name}, {case.label}, {dtype}"
            _check_like_numpy(case.function, row.expected(case), case.sample(2, dtype), row, what)
    if not row.elementwise or len(row.cases[0].operands) != 2:
        return
    case = row.cases[1]
    function = case.function
    for first, second in product(row.dtypes, row.dtypes):
        operands = [case.sample(3, first)[0], case.sample(3, second)[1]]
        what = f"{record.name}, {first} and {second}"
        _check_like_numpy(function, function, operands, row, what)
    for dtype, number, place in product(row.dtypes, (True, 2, 1.5, 1 + 0.5j), (0, 1)):
        array = case.sample(4, dtype)[0]
        what = f"{record.name}, {dtype}, {number!r} in place {place}"
        operands = [number, array] if place == 0 else [array, number]
        _check_like_numpy(function, function, operands, row, f"{what}, an argument")
        closed = _with_literal(function, number, place)
        _check_like_numpy(closed, closed, [array], row, f"{what}, a literal")


def _with_literal(function: Function, number: Any, place: int) -> Function:
    if place == 0:
        return lambda x: function(number, x)
    return lambda x: function(x, number)


def _check_like_numpy(
    function: Function, reference: Function, operands: list[Any], row: Row, what: str
) -> None:
    CELLS["dtype"] += 1
    jitted = fg.jit(function)
    with np.errstate(all="ignore"):
        try:
            want = reference(*operands)
        except (TypeError, ValueError, OverflowError) as error:
            assert _raises(type(error), jitted, operands), f"{what}: no error, but NumPy: {error}"
            return
        for run in range(2):
            _check_against(jitted(*operands), want, row, f"{what}, run {run}")
        graph, values = graph_of(function, operands)
        check_claims(graph, [as_operand(value) for value in values], what)


def _raises(kind: type[Exception], function: Function, operands: list[Any]) -> bool:
    try:
        function(*operands)
    except kind:
        return True
    return False


# --- derivatives ---------------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Problem:
    """A case as a function of the operands to differentiate with respect to.

    Attributes:
        function: of these operands, for the code under test.
        reference: the same for NumPy.
        primals: where to differentiate.
    """

    function: Function
    reference: Function
    primals: tuple[Any, ...]


def problem(row: Row, case: Case, operands: Sequence[Any]) -> Problem:
    """Close over the operands that have no derivative: indices, conditions, integers."""
    wrt = [i for i in case.varying if operands[i].dtype.kind in "fc"]

    def closed(function: Function) -> Function:
        def of_varying(*varying: Any) -> Any:
            complete = list(operands)
            for place, value in zip(wrt, varying, strict=True):
                complete[place] = value
            return function(*complete)

        return of_varying

    reference = row.numeric or row.expected(case)
    return Problem(closed(case.function), closed(reference), tuple(operands[i] for i in wrt))


def complex_step(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """``J t`` of an analytic function, without subtraction (Squire and Trapp, SIAM Review 1998)."""
    step = 1e-30
    return np.imag(function(*_moved(primals, tangents, 1j * step))) / step


def differences(function: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """``J t`` by central differences; zeros where the values are not floating-point."""
    step = 1e-5 * max([1.0, *[float(np.max(np.abs(x), initial=0.0)) for x in primals]])
    ahead = function(*_moved(primals, tangents, step))
    behind = function(*_moved(primals, tangents, -step))
    if np.asarray(ahead).dtype.kind not in "fc":
        return np.zeros(np.shape(ahead))
    return (ahead - behind) / (2 * step)


def _moved(primals: Sequence[Any], tangents: Sequence[Any], step: Any) -> list[Any]:
    return [x + step * t for x, t in zip(primals, tangents, strict=True)]


def _directions(rng: np.random.Generator, primals: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Along one operand at a time, then along all of them."""
    random = [normal_like(rng, x) for x in primals]
    for k in range(len(primals)):
        yield tuple(t if i == k else np.zeros_like(t) for i, t in enumerate(random))
    if len(primals) > 1:
        yield tuple(random)


def computable(row: Row, case: Case, dtype: Dtypes) -> bool:
    """Whether NumPy computes the case in this dtype."""
    try:
        with np.errstate(all="ignore"):
            row.expected(case)(*case.sample(1, dtype))
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def differentiable(row: Row, case: Case, dtype: Dtypes) -> bool:
    """Whether NumPy does, and an operand has derivatives there."""
    operands = case.sample(1, dtype)
    return computable(row, case, dtype) and any(
        operands[i].dtype.kind in "fc" for i in case.varying
    )


def _differentiable_cases(row: Row) -> Iterator[tuple[Case, Dtypes]]:
    """Every case with its operands as they are drawn, as complex numbers, and some of both."""
    for case in row.cases:
        kinds: list[Dtypes] = [None]
        if "complex128" in row.gradient_dtypes:
            kinds.append("complex128")
        if len(case.varying) == 2 == len(case.operands) and len(kinds) == 2:
            kinds += [("float64", "complex128"), ("complex128", "float64")]
        for dtypes in kinds:
            if differentiable(row, case, dtypes):
                yield case, dtypes


def check_first_order(row: Row, record: Primitive) -> None:
    """Both modes against the complex step or differences; they are adjoint to each other."""
    for case, dtype in _differentiable_cases(row):
        posed = problem(row, case, case.sample(5, dtype))
        dtypes = {x.dtype for x in (*posed.primals, np.asarray(posed.reference(*posed.primals)))}
        exact = record.analytic and dtypes == {np.dtype(np.float64)} and row.numeric is None
        what = f"{record.name}, {case.label}, {dtype}"
        _check_both_modes(posed, complex_step if exact else differences, what)
        if dtype is None and not any(x.shape for x in posed.primals):
            _check_python_numbers(posed, what)


def _check_python_numbers(posed: Problem, what: str) -> None:
    """A derivative at Python numbers is that at float64 or complex128 scalars."""
    cotangents, ct = _cotangents(posed)
    numbers = tuple(x.item() for x in posed.primals)
    for got, want in zip(
        _cotangents(attrs.evolve(posed, primals=numbers), ct)[0], cotangents, strict=True
    ):
        same_bits(got, want, f"{what}, at Python numbers")
    CELLS["first order"] += 1


def _check_both_modes(posed: Problem, derivative: Function, what: str) -> None:
    rng = np.random.default_rng(6)
    value, pull = fg.vjp(posed.function, *posed.primals)
    ct = normal_like(rng, value)
    cotangents = pull(ct)
    for cotangent, primal in zip(cotangents, posed.primals, strict=True):
        alike(cotangent, primal, f"{what}, cotangent")
    for tangents in _directions(rng, posed.primals):
        want = derivative(posed.reference, posed.primals, tangents)
        _, pushed = fg.jvp(posed.function, posed.primals, tangents)
        alike(pushed, value, f"{what}, tangent")
        rtol = max(1e-11 if derivative is complex_step else 2e-7, 4 * roundoff(value))
        near(pushed, want, f"{what}, forward", rtol)
        got, expected = pairing(cotangents, tangents), pairing([ct], [want])
        near(got, expected, f"{what}, reverse", rtol, 1 + _size_of_pairing([ct], [want]))
        adjoint = pairing([ct], [pushed])
        rtol = max(1e-13, 4 * roundoff(value))
        near(got, adjoint, f"{what}, adjoint", rtol, 1 + _size_of_pairing([ct], [pushed]))
        CELLS["first order"] += 1


def check_second_order(row: Row, record: Primitive) -> None:
    """The derivative of the derivative, in both modes, against differences of the derivative."""
    for case, dtype in _differentiable_cases(row):
        posed = problem(row, case, case.sample(7, dtype))
        rng = np.random.default_rng(8)
        ct = normal_like(rng, posed.function(*posed.primals))

        def first(*primals: Any, posed: Problem = posed, ct: Any = ct) -> Any:
            parts = fg.vjp(posed.function, *primals)[1](ct)
            return np.concatenate([np.ravel(part) for part in parts])

        what = f"{record.name}, {case.label}, {dtype}, second order"
        rtol = max(1e-6, 4 * roundoff(ct))
        gradient, pull = fg.vjp(first, *posed.primals)
        outer = normal_like(rng, gradient)
        cotangents = pull(outer)
        for tangents in _directions(rng, posed.primals):
            want = differences(first, posed.primals, tangents)
            pushed = fg.jvp(first, posed.primals, tangents)[1]
            near(pushed, want, f"{what}, forward over reverse", rtol)
            got, expected = pairing(cotangents, tangents), pairing([outer], [want])
            scale = 1 + _size_of_pairing([outer], [want])
            near(got, expected, f"{what}, reverse over reverse", rtol, scale)
            CELLS["second order"] += 1


def check_gradient_dtypes(row: Row, record: Primitive) -> None:
    """Cotangents have their operands' dtypes, and are right to rounding in the narrow ones."""
    for case, dtype in product(row.cases, row.gradient_dtypes):
        if not differentiable(row, case, dtype):
            continue
        what = f"{record.name}, {case.label}, {dtype}"
        posed = problem(row, case, case.sample(9, dtype))
        cotangents, ct = _cotangents(posed)
        wide = [x.astype(np.result_type(x, np.float64)) for x in posed.primals]
        exact, _ = _cotangents(attrs.evolve(posed, primals=tuple(wide)), ct)
        for got, want, primal in zip(cotangents, exact, posed.primals, strict=True):
            alike(got, primal, what)
            near(got, want, what, 12.5 * row.rounding * roundoff(primal))
        CELLS["gradient dtype"] += 1
    for case in row.cases:
        if len(case.varying) == 2 and {"float32", "float64"} <= set(row.gradient_dtypes):
            for narrow in case.varying:
                operands = case.sample(9)
                operands[narrow] = operands[narrow].astype("float32")
                posed = problem(row, case, operands)
                for got, primal in zip(_cotangents(posed)[0], posed.primals, strict=True):
                    alike(got, primal, f"{record.name}, {case.label}, {narrow} narrow")
                CELLS["gradient dtype"] += 1


def check_layouts(row: Row, record: Primitive) -> None:
    """Derivatives are those of contiguous arrays, however operands, tangents, cotangents lie."""
    for case in row.cases:
        if not differentiable(row, case, None):
            continue
        operands = case.sample(18)
        posed = problem(row, case, operands)
        rng = np.random.default_rng(19)
        ct = normal_like(rng, posed.function(*posed.primals))
        tangents = tuple(normal_like(rng, x) for x in posed.primals)
        want = _derivatives(posed, ct, tangents)
        for layout, arrange in LAYOUTS.items():
            laid = [arrange(x) for x in (*operands, ct, *tangents)]
            arranged = problem(row, case, laid[: len(operands)])
            new_ct, new_tangents = laid[len(operands)], tuple(laid[len(operands) + 1 :])
            what = f"{record.name}, {case.label}, {layout}"
            for run in range(2):
                got = _derivatives(arranged, new_ct, new_tangents, fg.jit if run else None)
                _all_near(got, want, f"{what}, {'jitted' if run else 'interpreted'}", row)
                CELLS["layout"] += 1


def _derivatives(posed: Problem, ct: Any, tangents: Any, way: Any = None) -> list[Any]:
    """The cotangents of all operands, then the tangent of the value."""
    function = posed.function if way is None else way(posed.function)
    cotangents = fg.vjp(function, *posed.primals)[1](ct)
    return [*cotangents, fg.jvp(function, posed.primals, tangents)[1]]


def check_checkpoint(row: Row, record: Primitive) -> None:
    """A function that is computed again on the way back has the derivatives that it has."""
    for case, dtype in _differentiable_cases(row):
        posed = problem(row, case, case.sample(20, dtype))
        rng = np.random.default_rng(21)
        ct = normal_like(rng, posed.function(*posed.primals))
        tangents = tuple(normal_like(rng, x) for x in posed.primals)
        want = _derivatives(posed, ct, tangents)
        got = _derivatives(posed, ct, tangents, fg.checkpoint)
        _all_near(got, want, f"{record.name}, {case.label}, {dtype}, checkpoint", row)
        CELLS["checkpoint"] += 1


def _all_near(got: Sequence[Any], want: Sequence[Any], what: str, row: Row) -> None:
    for place, (a, b) in enumerate(zip(got, want, strict=True)):
        alike(a, b, f"{what}, {place}")
        near(a, b, f"{what}, {place}", row.rounding * roundoff(b))


def _cotangents(posed: Problem, ct: Any = None) -> tuple[tuple[Any, ...], Any]:
    value, pull = fg.vjp(posed.function, *posed.primals)
    ct = normal_like(np.random.default_rng(10), value) if ct is None else ct
    return pull(ct), ct


# --- batching ------------------------------------------------------------------------------------


def check_batch(row: Row, record: Primitive) -> None:
    """Mapping over any subset of the operands is stacking; of the cotangents too."""
    if isinstance(record.batch, Unwritten):
        for case in row.cases:
            operands = [np.stack([x, x]) for x in case.sample(11)]
            assert _raises(UnsupportedFunctionError, fg.vmap(case.function), operands), case.label
            CELLS["batch"] += 1
        return
    for case in row.cases:
        count = len(case.operands)
        subsets = chain.from_iterable(combinations(range(count), n) for n in range(1, count + 1))
        for subset in subsets:
            what = f"{record.name}, {case.label}, batched {subset}"
            draws = [case.sample(seed) for seed in (11, 12, 13)]
            _check_stacked(row, case.function, row.expected(case), draws, subset, what)
            posed = problem(row, case, draws[0])
            if posed.primals:
                ct = normal_like(np.random.default_rng(14), posed.function(*posed.primals))
                pull = _pulling(row, case, ct)
                _check_stacked(row, pull, pull, draws, subset, f"{what}, cotangents")
            mapped = fg.vmap(case.function, tuple(0 if i in subset else None for i in range(count)))
            for size in (0, 1):
                operands = _stacked([draws[0]] * size, draws[0], subset)
                want = np.asarray(row.expected(case)(*draws[0]))
                got = np.asarray(mapped(*operands))
                assert (got.shape, got.dtype) == ((size, *want.shape), want.dtype), (
                    f"{what}, size {size}: {got.dtype}{got.shape}"
                )


def _pulling(row: Row, case: Case, ct: Any) -> Function:
    """The cotangents of a case's operands, as one vector."""

    def pull(*operands: Any) -> Any:
        posed = problem(row, case, operands)
        parts = fg.vjp(posed.function, *posed.primals)[1](ct)
        return np.concatenate([np.ravel(part) for part in parts])

    return pull


def _stacked(draws: list[list[Any]], first: list[Any], subset: tuple[int, ...]) -> list[Any]:
    """Every operand in ``subset`` with one example from each draw."""
    return [
        np.stack([d[i] for d in draws]) if draws and i in subset
        else np.zeros((0, *x.shape), x.dtype) if i in subset
        else x
        for i, x in enumerate(first)
    ]  # fmt: skip


def _check_stacked(
    row: Row,
    function: Function,
    reference: Function,
    draws: list[list[Any]],
    subset: tuple[int, ...],
    what: str,
) -> None:
    operands = _stacked(draws, draws[0], subset)
    axes = tuple(0 if i in subset else None for i in range(len(operands)))
    want = np.stack(
        [reference(*[d[i] if i in subset else x for i, x in enumerate(draws[0])]) for d in draws]
    )
    mapped = fg.vmap(function, axes)
    for run in range(2):
        got = mapped(*operands)
        alike(got, want, f"{what}, run {run}")
        near(got, want, f"{what}, run {run}", row.rounding * roundoff(want))
    CELLS["batch"] += 1


# --- compiled programs ---------------------------------------------------------------------------


def check_compiled(row: Row, record: Primitive) -> None:
    """Interpreted, simplified and compiled programs give the same bits."""
    for case, layout in product(row.cases, ("contiguous", "column-major", "backwards")):
        operands = [LAYOUTS[layout](operand) for operand in case.sample(15)]
        graph, values = graph_of(case.function, operands)
        check_claims(graph, values, f"{record.name}, {case.label}, {layout}")
        what = f"{record.name}, {case.label}, {layout}"
        check_program(graph, values, what)
        flags = tuple(i < len(operands) for i in range(len(values)))
        batched = [np.stack([x, x]) if flag else x for x, flag in zip(values, flags, strict=True)]
        if not isinstance(record.batch, Unwritten):
            check_program(batch(graph, flags, 2), batched, f"{what}, batched")
        wrt = tuple(i for i in case.varying if operands[i].dtype.kind in "fc")
        if not wrt or not graph.outputs[0].aval.inexact:
            continue
        ct = normal_like(np.random.default_rng(16), interpret(graph, values)[0])
        back = pullback(graph, wrt, (0,))
        check_program(back, [*values, ct], f"{what}, pullback")
        cts = [normal_like(np.random.default_rng(17), values[i]) for i in wrt]
        twice = pullback(back, wrt, tuple(range(len(wrt))))
        check_program(twice, [*values, ct, *cts], f"{what}, second pullback")


def graph_of(function: Function, operands: Sequence[Any]) -> tuple[Graph, list[Any]]:
    """The program of a function, and the values of its inputs: the operands, then captures."""
    avals = [aval_of(operand) for operand in operands]
    traced = trace_flat(lambda leaves: (function(*leaves),), avals, operands)
    return traced.graph, [*operands, *traced.captures]


def check_strides(value: Any, expected: tuple[int, ...], what: str) -> None:
    """An array lies in memory as the compiler expects."""
    value = np.asarray(value)
    axes = [i for i, n in enumerate(value.shape) if n > 1 and value.size]
    found, want = ([s[i] for i in axes] for s in (value.strides, expected))
    assert found == [n * value.itemsize for n in want], f"{what} has strides {value.strides}"


def check_claims(graph: Graph, values: Sequence[Any], what: str) -> None:
    """Each operation keeps its word: shape and dtype, and with whom its result shares memory.

    And NumPy lays it out as the compiler expects.
    """
    flags = tuple(bool(np.asarray(value).flags.c_contiguous) for value in values)
    laid = strides(graph, flags)
    known: dict[Any, Any] = dict(zip(graph.inputs, values, strict=True))
    for node in graph.nodes:
        record = node.primitive
        operands = [known.get(arg, getattr(arg, "value", None)) for arg in node.args]
        result = known[node] = apply(node, operands)
        if isinstance(node.aval, TupleAval):
            continue
        shape, dtype = np.shape(result), np.asarray(result).dtype.newbyteorder("=")
        assert (shape, dtype) == (node.aval.shape, node.aval.dtype), (
            f"{what}: {record} gives {dtype}{shape}, but says {node.aval}"
        )
        if node in laid:
            check_strides(result, laid[node], f"{what}: {record}")
        for i, operand in enumerate(operands):
            if record.fresh or (record.view and i > 0):
                shares = isinstance(operand, np.ndarray) and np.shares_memory(result, operand)
                assert not shares, f"{what}: {record} says it does not share memory, and does"
        CELLS["claim"] += 1


def plainly(graph: Graph, values: Sequence[Any]) -> list[Any]:
    """The outputs, every operation by itself and nothing written over: what all others must give."""
    known: dict[Any, Any] = dict(zip(graph.inputs, map(as_operand, values), strict=True))
    for node in graph.nodes:
        known[node] = apply(
            node, [known.get(arg, getattr(arg, "value", None)) for arg in node.args]
        )
    return [as_operand(known.get(out, getattr(out, "value", None))) for out in graph.outputs]


def check_program(graph: Graph, values: Sequence[Any], what: str) -> None:
    """One graph in all the ways to run it; the inputs stay as they are."""
    before = [np.copy(value) for value in values]
    want = plainly(graph, values)
    simple = program(graph).graph
    flags = tuple(bool(np.asarray(value).flags.c_contiguous) for value in values)
    compiled = build(simple, flags)
    for way, got in (
        ("interpreted", interpret(graph, values)),
        ("simplified", interpret(simple, values)),
        ("compiled", compiled(*values)),
        ("compiled, again", compiled(*values)),
    ):
        for a, b in zip(got, want, strict=True):
            same_bits(a, b, f"{what}, {way}")
        CELLS["program"] += 1
    check_untouched(compiled(*values), values, before, what)


# --- special points ------------------------------------------------------------------------------

NEAR_ONE = (1 - 1e-10, 1 + 1e-10, 1 - 2**-53, -1 + 1e-10)
TINY = float(np.finfo(np.float64).tiny)
SPECIAL = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 5.0, -8.0, 20.0, -20.0, 40.0, -40.0, 700.0,
    -700.0, 1e-8, -1e-8, 1e8, -1e8, TINY, 1e-300, 1e-200, -1e-200, 1e200, -1e200, 1e308,
    np.inf, -np.inf, *NEAR_ONE,
)  # fmt: skip
"""Operands at which values and slopes overflow, underflow, cancel, saturate, or sit on a kink."""


def check_special_values(row: Row, record: Primitive) -> None:
    """The value at special points, all in one array, is NumPy's to the bit."""
    for dtype in ("float64", "float32", "float16"):
        for case in row.cases:
            if any(operand.shape for operand in case.operands):
                continue
            points = [
                *product((*SPECIAL, 5e-324, np.nan), repeat=min(len(case.operands), 2)),
                *row.points,
            ]
            with np.errstate(all="ignore"):
                columns = np.array([p for p in points if len(p) == len(case.operands)]).T
                columns = columns.astype(dtype)
                operands = [
                    column if operand.varies else column != 0
                    for column, operand in zip(columns, case.operands, strict=True)
                ]
                _check_special_array(row, case, operands, f"{record.name}, {dtype}")


def _check_special_array(row: Row, case: Case, operands: list[Any], what: str) -> None:
    want = row.expected(case)(*operands)
    jitted = fg.jit(case.function)
    for run in range(2):
        if row.exact:
            same_bits(jitted(*operands), want, f"{what}, run {run}")
        else:
            np.testing.assert_allclose(jitted(*operands), want, 4 * roundoff(want), 1e-300)
    CELLS["special value"] += len(operands[0])


def check_special_slopes(row: Row, record: Primitive) -> None:
    """Slopes at special points: accurate, and quiet and not NaN where the function is.

    Where the true slope is infinite or too large for a float, a warning is right.
    """
    (case, *_) = [c for c in row.cases if not any(operand.shape for operand in c.operands)]
    assert row.slopes is not None
    count = len(case.operands)
    points = [*(product(SPECIAL, repeat=count) if count < 3 else ()), *row.points]
    wrt = case.varying
    gradient = fg.jit(_slopes(case))
    failures = []
    for point in points:
        operands = [np.float64(x) if i in wrt else np.bool_(x != 0) for i, x in enumerate(point)]
        if not _calm(row.expected(case), operands) or row.undefined(*point):
            continue
        CELLS["special slope"] += 1
        truth = [_truth(row.slopes[i], point) for i in wrt]
        with np.errstate(all="ignore"):
            got = gradient(*operands)
        if all(map(np.isfinite, [*got, *[t for t in truth if t is not None]])):
            try:
                with np.errstate(all="raise", under="ignore"):
                    gradient(*operands)
            except FloatingPointError as error:
                failures.append(f"at {point}: {error}")
        failures += [
            f"at {point}: the slope of operand {place} is {float(slope)!r}, not {want!r}"
            for place, slope, want in zip(wrt, got, truth, strict=True)
            if not _agrees(float(slope), want, row.slope_atol)
        ]
    assert not failures, f"{record.name}, {len(failures)} points:\n" + "\n".join(failures[:40])


def _slopes(case: Case) -> Function:
    def slopes(*operands: Any) -> Any:
        def closed(*varying: Any) -> Any:
            complete = list(operands)
            for place, value in zip(case.varying, varying, strict=True):
                complete[place] = value
            return case.function(*complete)

        return fg.vjp(closed, *[operands[i] for i in case.varying])[1](1.0)

    return slopes


def _calm(function: Function, operands: list[Any]) -> bool:
    """Whether NumPy computes a value that is not NaN, without a warning."""
    try:
        with np.errstate(all="raise", under="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            return not np.isnan(function(*operands))
    except (FloatingPointError, RuntimeWarning):
        return False


def _truth(slope: Function, point: Sequence[float]) -> float | None:
    """The slope as a float, infinite beyond the largest; ``None`` where there is no formula."""
    if not all(map(np.isfinite, point)):
        return None
    with mp.workdps(60):
        try:
            # mpmath has no sign of zero: zeros stay Python's.
            return float(mp.mpf(slope(*[mp.mpf(x) if x else x for x in point])))
        except ZeroDivisionError:
            return np.inf


def _agrees(got: float, want: float | None, atol: float) -> bool:
    if want is None:
        return not np.isnan(got)
    if np.isinf(want):
        return abs(got) >= 1e308
    return bool(abs(got - want) <= 2e-12 * abs(want) + max(atol, 1e-290))


CHECKS: dict[str, Callable[[Row, Primitive], None]] = {
    "value": check_value,
    "dtypes": check_dtypes,
    "first_order": check_first_order,
    "second_order": check_second_order,
    "gradient_dtypes": check_gradient_dtypes,
    "layouts": check_layouts,
    "checkpoint": check_checkpoint,
    "batch": check_batch,
    "compiled": check_compiled,
}
"""What holds for every row."""

SPECIAL_CHECKS: dict[str, Callable[[Row, Primitive], None]] = {
    "special_values": check_special_values,
    "special_slopes": check_special_slopes,
}
"""What holds, in addition, for elementwise rows."""
