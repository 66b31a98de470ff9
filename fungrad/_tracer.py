"""Traces and tracers: the one interpretation at trace time is *build a node*.

Row 4. In: operations of user code on tracers. Out: nodes, plus the captured values of the trace.
Each trace is a namespace of inputs of its own; a tracer of another trace can only enter as a
capture. That, and nothing else, keeps nested derivatives apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence, Set
from itertools import count
from typing import Any

import attrs
import numpy as np

from fungrad._aval import SCALAR_TYPES, Aval, TupleAval, aval_of
from fungrad._dispatch import call_answer
from fungrad._evaluate import apply, compute, depends
from fungrad._expr import (
    Expr,
    Input,
    Literal,
    find_reference,
    make_input,
    make_literal,
    node_key,
    with_args,
)
from fungrad._primitive import ZERO, Primitive, items, kind_of, promoted_dtypes
from fungrad._protocols import ArrayProtocols
from fungrad._provenance import recording
from fungrad._questions import Question, Read, as_it_is
from fungrad._snapshot import Snapshot
from fungrad.errors import (
    ConcretizationError,
    EscapedTracerError,
    TracerConversionError,
    UnrolledLoopWarning,
    user_frame,
)

_serials = count()
MANY_OPERATIONS = 50_000
"""From how many new operations in one trace on a hint is given: such programs are compiled late."""
_hinted: set[tuple[str, int]] = set()
_MAX_HINTS = 1_000


class Trace:
    """One run of a function on tracers: the namespace of its inputs.

    Attributes:
        serial: grows with creation; of two live traces, the later one is the inner one.
        alive: false as soon as the function has returned or raised.
        avals: what is known of the inputs: first the arguments, then captures.
        values: the inputs' values: arrays, or tracers of outer traces; ``None`` where a value
            differs by example (under ``vmap``), ``Unknown`` where there is none for other reasons.
        arguments: how many of the inputs are arguments.
        differentiated: whether a derivative is taken with respect to the arguments.
        built: how many operations were new.
        questions: what Python code asked of values, each question once, in order; ``None`` where
            nobody wants to know.
        recording: what notes the lines that build nodes, if anything does.
    """

    __slots__ = (
        "_captured",
        "_computed",
        "_differentiable",
        "_snapshots",
        "alive",
        "arguments",
        "avals",
        "built",
        "differentiated",
        "questions",
        "recording",
        "serial",
        "values",
    )

    def __init__(
        self,
        avals: Sequence[Aval],
        values: Sequence[Any],
        differentiated: bool = False,
        guarded: bool = False,
    ) -> None:
        self.serial = next(_serials)
        self.alive = True
        self.avals = list(avals)
        self.values = list(values)
        self.arguments = len(self.avals)
        self.differentiated = differentiated
        self.questions: dict[tuple[Expr, Read], Question] | None = {} if guarded else None
        self.recording = recording()
        self.built = 0
        self._captured: dict[Any, Input] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._computed: dict[Expr, Any] = {}
        self._differentiable: dict[Expr, bool] = {}

    def hint(self) -> None:
        """Tell once for each line of the user's that a loop around it would better be a value."""
        frame = user_frame()
        place = ("<unknown>", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        if place in _hinted:
            return
        if len(_hinted) < _MAX_HINTS:
            _hinted.add(place)
        warnings.warn_explicit(
            f"more than {MANY_OPERATIONS:,} operations were traced, the last of them by this line; "
            "a Python loop around it unrolls, which costs time and memory for every step, and a "
            "program so long is compiled late; write: fg.scan(f, init, xs), fg.fori_loop or "
            "fg.while_loop, which trace their body once",
            UnrolledLoopWarning,
            *place,
        )

    def tracers(self) -> list[Tracer]:
        """One tracer for each argument."""
        avals = self.avals if len(self.avals) == self.arguments else self.avals[: self.arguments]
        return [Tracer(self, make_input(i, aval)) for i, aval in enumerate(avals)]

    @property
    def captures(self) -> list[Any]:
        """The captured values, in order of first use."""
        return self.values[self.arguments :]

    def capture(self, value: Any) -> Input:
        """The input that stands for an array or a foreign tracer, held by reference."""
        if isinstance(value, Tracer):
            value.check_alive()
            key: Any = (value._trace.serial, value._expr)
            aval = value.aval
        else:
            key = id(value)
            aval = aval_of(value)
        node = self._captured.get(key)
        if node is not None and self._settled(node.index):
            return node
        node = self._captured[key] = make_input(len(self.avals), aval)
        if isinstance(value, np.ndarray):
            self._snapshots[len(self.avals)] = Snapshot.of(value, run_in.__code__)
        self.avals.append(aval)
        self.values.append(value)
        return node

    def settle(self) -> None:
        """After the run: captures that the function wrote into get the value that it read."""
        if self._snapshots:
            for index in list(self._snapshots):
                self._settled(index)

    def _settled(self, index: int) -> bool:
        """Whether a captured array still is what it was; if not, its copy takes its place."""
        snapshot = self._snapshots.get(index)
        if snapshot is None or snapshot.holds(self.values[index]):
            return True
        self.values[index] = snapshot.restored(self.values[index])
        del self._snapshots[index]
        return False

    def lift(self, operand: Any) -> Expr:
        """The node for any operand of an operation in this trace."""
        if isinstance(operand, Tracer):
            return operand._expr if operand._trace is self else self.capture(operand)
        if type(operand) in SCALAR_TYPES:
            return make_literal(operand)
        if isinstance(operand, (list, tuple)):
            return self.capture(concrete_array(operand))
        if isinstance(operand, (int, float)) and not isinstance(operand, np.generic):
            # Subclasses, such as IntEnum, by their number.
            return make_literal(int(operand) if isinstance(operand, int) else float(operand))
        return self.capture(operand)

    def constant(self, primitive: Primitive, weak: bool = False, **static: Any) -> Tracer:
        """A primitive without operands, as a node of this trace."""
        return Tracer(self, primitive.node((), tuple(static.items()), weak))

    def concrete(self, node: Expr, asked: str, leaves: bool, read: Read) -> Any:
        """What ``read`` makes of the value of ``node``; ``asked`` says what the user's code did.

        If outer traces decide the value, the question goes to them, as one about their own nodes.
        """

        def of_input(source: Input) -> Any:
            self._settled(source.index)
            value = self.values[source.index]
            if value is None:
                value = Unknown("differs by example under vmap (or is not known while a rule runs)")
            if isinstance(value, Unknown):
                raise ConcretizationError(
                    f"{asked} needs the value of {node.aval}, which {value.why}; "
                    f"write: {value.instead}"
                )
            return self._outward(value) if isinstance(value, np.ndarray) else value

        value = compute(node, self._computed, of_input, _apply)
        if isinstance(value, Tracer):
            answer = value.owner.concrete(value._expr, asked, leaves, read)
        else:
            answer = read(value)
        if self.questions is not None and (node, read) not in self.questions:
            self.questions[node, read] = Question.of(node, asked, leaves, read, answer)
        return answer

    def _outward(self, array: Any) -> Any:
        """A captured array as the innermost outer trace sees it: by reference, not by value."""
        tracers = [value for value in self.values if isinstance(value, Tracer)]
        if not tracers:
            return array
        outer = max(tracers, key=lambda tracer: tracer._trace.serial).owner
        return Tracer(outer, outer.capture(array))

    def differentiable(self, node: Expr) -> bool:
        """Whether ``node`` depends on what this trace or an outer one differentiates."""

        def on_input(source: Input) -> bool:
            if self.differentiated and source.index < self.arguments:
                return True
            value = self.values[source.index]
            return isinstance(value, Tracer) and value._trace.differentiable(value._expr)

        def through(node: Expr) -> bool:
            assert node.primitive is not None
            return node.primitive.vjp is not ZERO and node.aval.inexact

        return depends(node, self._differentiable, on_input, through)


def _apply(node: Expr, operands: Sequence[Any]) -> Any:
    """The value of an operation; if an operand belongs to an outer trace, as a node of that."""
    trace: Trace | None = None
    for operand in operands:
        if isinstance(operand, Tracer) and (trace is None or operand._trace.serial > trace.serial):
            trace = operand._trace
    if trace is None:
        return apply(node, operands)
    return Tracer(trace, with_args(node, tuple(map(trace.lift, operands))))


@attrs.frozen(eq=False)
class Unknown:
    """In the place of an input's value: why there is none, and what to write instead."""

    why: str
    instead: str = "np.where(condition, a, b), or fg.cond(condition, f, g, x)"


_TAKING_LIKE = frozenset(
    getattr(np, name)
    for name in (
        "array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray", "require",
        "zeros", "ones", "full", "empty", "eye", "identity", "tri", "arange", "fromiter",
    )
)  # fmt: skip
"""What reaches a tracer only through ``like=``."""


class Tracer(ArrayProtocols):
    """The array-like that user code holds: a node, and the trace in which it has a meaning."""

    __slots__ = ("_expr", "_trace", "aval")

    aval: Aval

    def __init__(self, trace: Trace, expr: Expr) -> None:
        self._trace = trace
        self._expr = expr
        self.aval = expr.aval

    @property
    def owner(self) -> Trace:
        """The trace in which this value exists, if it is still running."""
        self.check_alive()
        return self._trace

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = call_answer(func, args, kwargs)
        if isinstance(result, np.ndarray) and func in _TAKING_LIKE:
            # np.asarray(a, like=x): the user asks for an array of the kind of x.
            return Tracer(self.owner, self._trace.lift(result))
        return result

    def check_alive(self) -> None:
        """Raise if the function to which this tracer belongs has ended."""
        if not self._trace.alive:
            raise EscapedTracerError(
                f"a traced value ({self.aval}) is used after the function it belongs to has "
                "finished: it escaped from its trace; write: return it from the function "
                "(has_aux=True where it is not the result) instead of storing it outside"
            )

    def _bind(
        self, primitive: Primitive, operands: tuple[Any, ...], static: Any, weak: bool = False
    ) -> Any:
        """``primitive`` applied to operands of which ``self`` is one: a node, as a tracer.

        The result belongs to the innermost trace among the operands'. ``weak`` says that the
        result is a Python number's equal in type promotion (an operator on weak operands only).
        """
        trace, innermost = self._trace, self
        alone = len(operands) == 1
        if not alone:
            for one in operands:
                if isinstance(one, Tracer):
                    owner = one._trace
                    if owner is not trace and owner.serial > trace.serial:
                        trace, innermost = owner, one
        if not trace.alive:
            innermost.check_alive()
        args = (
            (self._expr,)
            if alone
            else tuple(
                [
                    one._expr
                    if isinstance(one, Tracer) and one._trace is trace
                    else trace.lift(one)
                    for one in operands
                ]
            )
        )
        pairs = tuple(static.items()) if static else ()
        key = node_key(primitive, args, pairs, weak)
        reference = find_reference(key)
        node = None if reference is None else reference()
        if node is None:
            trace.built += 1
            if trace.built == MANY_OPERATIONS:
                trace.hint()
            promoted = _promote(primitive, trace, args) if primitive.elementwise else args
            if promoted is args:
                node = primitive.build(key, args, pairs, weak)
            else:
                node = primitive.node(promoted, pairs, weak)
        if trace.recording is not None:
            trace.recording.built(node)
        if isinstance(node.aval, TupleAval):
            return items_of(trace, node)
        return Tracer(trace, node)

    def _concrete(self, asked: str, leaves: bool, read: Read = as_it_is) -> Any:
        self.check_alive()
        if leaves and self._trace.differentiable(self._expr):
            raise ConcretizationError(
                f"{asked} would take {self.aval} out of the program that is being differentiated, "
                "and its derivative would be lost; write: np.sin(x) for math.sin(x), np.stack([x, "
                "y]) for a[i] = x, or fg.stop_gradient(x) where the dependence is to be ignored"
            )
        return self._trace.concrete(self._expr, asked, leaves, read)


def items_of(trace: Trace, node: Expr) -> tuple[Tracer, ...]:
    """The results of a node with several, one by one."""
    return tuple([Tracer(trace, one) for one in items(node)])


_COMPARISONS = (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)


def _promote(primitive: Primitive, trace: Trace, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Cast traced Python numbers as NumPy would (NEP 50): at run time they are not weak."""
    all_weak, some = True, False
    for arg in args:
        if not arg.aval.weak:
            all_weak = False
        elif not isinstance(arg, Literal):
            some = True
    if all_weak or not some:
        return args
    if primitive.value in _COMPARISONS and any(
        a.aval.weak and a.aval.dtype.kind == "i" for a in args
    ):
        return args  # NumPy compares Python integers exactly, also those that do not fit
    dtypes = promoted_dtypes(primitive.value, tuple([kind_of(arg.aval) for arg in args]))
    return tuple(
        [
            arg
            if isinstance(arg, Literal) or not arg.aval.weak or arg.aval.dtype == dtype
            else Tracer(trace, arg).astype(dtype)._expr
            for arg, dtype in zip(args, dtypes, strict=True)
        ]
    )


def concrete_array(values: Any) -> Any:
    """``np.asarray`` of a list without tracers; the tracer's own error if there is one."""
    try:
        return np.asarray(values)
    except ValueError as error:
        if isinstance(error.__cause__, TracerConversionError):
            raise error.__cause__ from None
        raise


class Rewrite(Trace):
    """The trace in which rules run: over the nodes of an existing graph, without captures.

    Attributes:
        active: the nodes of that graph through which a pullback goes, while it goes.
    """

    __slots__ = ("active",)

    def hint(self) -> None:
        """No hint: whoever traced the graph got one."""

    def __init__(self, avals: Sequence[Aval]) -> None:
        super().__init__(avals, [None] * len(avals))
        self.active: Set[Expr] = frozenset()

    def lift(self, operand: Any) -> Expr:
        # np functions of literals give 0-d values; in a rule they are as weak as the literals.
        if isinstance(operand, (np.generic, np.ndarray)) and operand.ndim == 0:
            operand = operand.item()
        return super().lift(operand)

    def capture(self, value: Any) -> Input:
        raise TypeError(
            f"a rule used a concrete array of shape {np.shape(value)}; rules may use their "
            "operands, Python numbers and np functions with like= only"
        )

    def rewriting(self, node: Expr, differentiates: bool) -> None:
        """Say for which node a rule runs."""
        if self.recording is not None:
            self.recording.current, self.recording.differentiates = node, differentiates

    def tracer(self, node: Expr) -> Any:
        """``node`` as a rule sees it: a tracer, a tuple of them, or the number of a literal."""
        if isinstance(node.aval, TupleAval):
            return items_of(self, node)
        return node.value if isinstance(node, Literal) else Tracer(self, node)


def run_in(trace: Trace, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``; afterwards, whatever happens, the trace's tracers are dead."""
    try:
        return function(*args)
    finally:
        trace.alive = False
