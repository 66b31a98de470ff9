"""Tracing the functions that loops and branches run.

Row 9. In: a function of pytrees and what is known of its arguments. Out: its graph and what it
captured. A function runs once, without values, however often its graph will run. The carry of a
loop must come out as it went in; a Python number among its initial values takes the dtype that the
first step gives it, as it would in a loop that is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import SCALAR_TYPES, Aval, aval_of, is_number_like, make_aval
from fungrad._graph import Graph
from fungrad._trace import trace_flat
from fungrad._tracer import Tracer, Unknown
from fungrad._tree import TreeDef, check_same_structure, flatten
from fungrad.errors import (
    ArgumentError,
    CarryError,
    InputTypeError,
    OutputTypeError,
    PredicateError,
)

Function = Callable[..., Any]


@attrs.frozen(eq=False)
class Leaves:
    """A pytree of arrays: its leaves, where they stand, and how to rebuild it."""

    values: list[Any]
    paths: list[str]
    tree: TreeDef
    avals: list[Aval]

    @classmethod
    def of(cls, tree: Any, what: str) -> Leaves:
        """The leaves of an argument called ``what``, all of them numbers."""
        values, treedef = flatten(tree)
        paths = [what + path for path in treedef.paths()]
        for value, path in zip(values, paths, strict=True):
            if not isinstance(value, Tracer) and not is_number_like(value):
                raise InputTypeError(
                    f"{path} is a {type(value).__name__}, which no loop or branch can compute "
                    "with; write: arrays and numbers there, and let the function close over "
                    "everything else"
                )
        return cls(values, paths, treedef, [known_of(value) for value in values])


def check_callable(function: Any, name: str, such_as: str) -> None:
    """An argument called ``name`` must be a function."""
    if not callable(function):
        raise ArgumentError(
            f"{name} is a {type(function).__name__}; write: a function, such as {such_as}"
        )


def known_of(value: Any) -> Aval:
    """What is known of a value, traced or concrete; truth values are arrays like others."""
    aval = value.aval if isinstance(value, Tracer) else aval_of(value)
    return aval.with_weak(False) if aval.dtype.kind == "b" else aval


@attrs.frozen(eq=False)
class Body:
    """A traced function.

    Attributes:
        graph: from the arguments' leaves and the captures to the result's leaves.
        captures: arrays and outer tracers that the function closes over.
        tree: the structure of its result.
    """

    graph: Graph
    captures: list[Any]
    tree: TreeDef


def trace_body(
    function: Function, avals: Sequence[Aval], what: str, check: Callable[[Any], Any]
) -> Body:
    """Trace a function of leaves, without values.

    Args:
        function: of a list of leaves.
        avals: what is known of each.
        what: how messages call the function.
        check: the result as the loop or branch needs it, or an error.
    """
    unknown = Unknown(
        f"is not known while {what} is traced, once for all times that it will run",
        "np.where(condition, a, b), or fg.cond(condition, true_fun, false_fun, *operands) so that "
        "only one branch runs, or np.asarray(a, like=i)[i] for the entry i of a list a",
    )
    trees: list[TreeDef] = []

    def call(leaves: list[Tracer]) -> tuple[list[Any]]:
        out, tree = flatten(check(function(leaves)))
        trees.append(tree)
        for leaf, path in zip(out, tree.paths(), strict=True):
            if not isinstance(leaf, Tracer) and not is_number_like(leaf):
                raise OutputTypeError(
                    f"{what} returned a {type(leaf).__name__} at result{path}, which is no array "
                    "or number; write: arrays and numbers only"
                )
        return (out,)

    traced = trace_flat(call, avals, [unknown] * len(avals))
    return Body(traced.graph, traced.captures, trees[0])


def trace_step(
    step: Function,
    init: Leaves,
    others: Sequence[Aval],
    what: str,
    split: Callable[[Any], tuple[Any, Any]],
) -> tuple[Body, list[Any], list[Aval]]:
    """Trace the body of a loop.

    Args:
        step: ``(carry, leaves of the other arguments) -> result``.
        init: the initial carry.
        others: what is known of the other leaves.
        what: how messages call the body.
        split: the result as ``(carry, what is stacked)``.

    Returns:
        The body, the initial values and what is known of the carries.
    """
    count = len(init.values)
    known = list(init.avals)

    def call(leaves: list[Tracer]) -> Any:
        return step(init.tree.unflatten(leaves[:count]), leaves[count:])

    def check(result: Any) -> Any:
        carry, stacked = split(result)
        check_carry(init, carry, what)
        return carry, stacked

    while True:
        body = trace_body(call, [*known, *others], what, check)
        after = body.graph.avals[:count]
        merged = [
            _merged(before, now, path, what)
            for before, now, path in zip(known, after, init.paths, strict=True)
        ]
        if merged == known:
            break
        known = merged
    inits = [_converted(value, aval) for value, aval in zip(init.values, known, strict=True)]
    return body, inits, known


def check_carry(init: Leaves, carry: Any, what: str) -> None:
    """The carry must have the structure that it had."""
    tree = flatten(carry)[1]
    if tree is not init.tree:
        try:
            check_same_structure(init.tree, tree, "the initial carry", "the returned carry")
        except ValueError as error:
            raise CarryError(
                f"{what} returned a carry of another structure: {error.args[0]} Write: the carry "
                "with the structure that it came in with"
            ) from None


def _merged(before: Aval, after: Aval, path: str, what: str) -> Aval:
    """The kind of a carry that was ``before`` a step and is ``after`` it."""
    if before.shape == after.shape:
        if before.dtype == after.dtype:
            return before if after.weak else before.with_weak(False)
        if before.weak and np.result_type(number_of(before), after.dtype) == after.dtype:
            return after
    if before.shape == after.shape:
        remedy = (
            f"value.astype(np.{before.dtype.name}) in the returned carry, or an initial value of "
            f"dtype {after.dtype.name}"
        )
    elif _broadcasts(before.shape, after.shape):
        remedy = f"np.broadcast_to(value, {after.shape}) as the initial value"
    else:
        remedy = f"a step that returns the shape {before.shape}, with which it is called"
    raise CarryError(
        f"{what} changed the carry {path} from dtype {before.dtype.name} and shape {before.shape} "
        f"to dtype {after.dtype.name} and shape {after.shape}, and it must stay the same from "
        f"step to step; write: {remedy}"
    )


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    ends = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(size in (1, wanted) for size, wanted in ends)


def _converted(value: Any, aval: Aval) -> Any:
    """An initial value as the kind of carry that it starts."""
    if isinstance(value, Tracer):
        if value.aval.dtype != aval.dtype:
            return value.astype(aval.dtype)
        return value
    if type(value) in SCALAR_TYPES:
        return type(number_of(aval))(value) if aval.weak else aval.dtype.type(value)
    return value


def number_of(aval: Aval) -> Any:
    """What decides a value's part in promotion: its dtype, or a Python number if it is weak."""
    return {"i": 0, "f": 0.0, "c": 0j}[aval.dtype.kind] if aval.weak else aval.dtype


def without_axis(aval: Aval) -> Aval:
    """What is known of the items of an array."""
    return make_aval(aval.shape[1:], aval.dtype)


def is_numeric(value: Any) -> bool:
    """Whether a value is an array or a number, traced or not."""
    return isinstance(value, Tracer) or is_number_like(value)


def checked_predicate(value: Any, what: str) -> Any:
    """One truth value, or an error."""
    aval = known_of(value) if is_numeric(value) else None
    if aval is None or aval.shape or aval.dtype.kind != "b":
        found = f"a {type(value).__name__}" if aval is None else f"an array {aval}"
        remedy = (
            "np.all(condition) or np.any(condition)" if aval and aval.shape else "x > 0 or x != 0"
        )
        raise PredicateError(
            f"{what} must be one truth value (dtype bool, shape ()), but is {found}; "
            f"write: {remedy}"
        )
    return value
