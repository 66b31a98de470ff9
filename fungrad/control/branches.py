"""``cond`` and ``switch``: branches of which one runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._graph import Graph, make_graph
from fungrad._tracer import Rewrite, Tracer
from fungrad._tree import check_same_structure, flatten
from fungrad.compile import run
from fungrad.control._body import (
    Body,
    check_callable,
    checked_predicate,
    is_numeric,
    known_of,
    number_of,
    trace_body,
)
from fungrad.control._layout import with_inputs
from fungrad.control._switch import switch_results
from fungrad.errors import ArgumentError, BranchError, PredicateError
from fungrad.ops.creation import full
from fungrad.ops.shape import cast_like

Function = Callable[..., Any]

_SUCH_AS = "lambda x: x, and its arguments after it"


def cond(pred: Any, true_fun: Function, false_fun: Function, *operands: Any) -> Any:
    """One of two functions, chosen by a truth value; only that one runs.

    It computes ``true_fun(*operands) if pred else false_fun(*operands)``. Where ``pred`` is traced,
    both functions are traced, once, and the program runs one of them. What they close over is
    differentiated like the operands.

    Under ``vmap`` with a ``pred`` that differs by example, both run on the whole batch, each with
    valid stand-ins for the examples of the other; so neither NaN nor a warning comes from the
    branch that an example did not choose, in values and in derivatives.

    Args:
        pred: one truth value (dtype bool, shape ``()``).
        true_fun: a pure function of the operands.
        false_fun: another one, whose result has the same structure and shapes.
        *operands: pytrees.

    Returns:
        What the chosen function returned. Where both are traced and their dtypes differ because
        one returned a Python number, in the dtype that NumPy gives both together.

    Raises:
        PredicateError: ``pred`` is something other than one truth value.
        BranchError: the results differ in structure, shape or dtype.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> f = lambda x: fg.cond(x > 0, np.log, lambda x: x - 1, x)
        >>> with np.errstate(all="raise"):
        ...     fg.vmap(fg.grad(f))(np.array([2.0, -3.0, 0.0]))
        array([0.5, 1. , 1. ])

    References:
        The name and the signature are JAX's.
    """
    checked_predicate(pred, "the condition of fg.cond")
    for function, name in ((true_fun, "true_fun"), (false_fun, "false_fun")):
        check_callable(function, f"{name} of fg.cond", _SUCH_AS)
    if not isinstance(pred, Tracer):
        return (true_fun if pred else false_fun)(*operands)
    names = ["false_fun of fg.cond", "true_fun of fg.cond"]
    return _chosen(pred.astype(np.int64), [false_fun, true_fun], names, operands)


def switch(index: Any, branches: Sequence[Function], *operands: Any) -> Any:
    """One of several functions, chosen by an integer; only that one runs.

    It computes ``branches[index](*operands)``, where an index below 0 counts as 0 and one beyond
    the last as the last. For everything else, see `cond`.

    Args:
        index: one integer.
        branches: pure functions of the operands, at least one, whose results have the same
            structure and shapes.
        *operands: pytrees.

    Returns:
        What the chosen function returned.

    Raises:
        PredicateError: ``index`` is something other than one integer.
        BranchError: the results differ in structure, shape or dtype.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> f = lambda i, x: fg.switch(i, [np.sin, np.cos, np.exp], x)
        >>> float(f(1, 0.0)), float(f(7, 0.0))
        (1.0, 1.0)
        >>> fg.vmap(fg.grad(f, 1))(np.array([0, 1, 2]), np.zeros(3))
        array([ 1., -0.,  1.])

    References:
        The name, the signature and the treatment of indices out of range are JAX's.
    """
    if callable(branches):
        raise ArgumentError("fg.switch was given one function as branches; write: [f, g]")
    branches = list(branches)
    if not branches:
        raise ArgumentError("fg.switch was given no branches; write: at least one function")
    names = [f"branches[{i}] of fg.switch" for i in range(len(branches))]
    for function, name in zip(branches, names, strict=True):
        check_callable(function, name, _SUCH_AS)
    aval = known_of(index) if is_numeric(index) else None
    if aval is None or aval.shape or aval.dtype.kind not in "iu":
        raise PredicateError(
            f"the index of fg.switch must be one integer, but is "
            f"{aval or type(index).__name__}; write: x.astype(int), or fg.cond for a truth value"
        )
    if not isinstance(index, Tracer):
        return branches[min(max(int(index), 0), len(branches) - 1)](*operands)
    if len(branches) == 1:
        return branches[0](*operands)
    return _chosen(index.astype(np.int64), branches, names, operands)


def _chosen(index: Any, functions: list[Function], names: list[str], operands: Any) -> Any:
    leaves, tree = flatten(operands)
    places = [i for i, leaf in enumerate(leaves) if is_numeric(leaf)]
    values = [leaves[i] for i in places]
    avals = [known_of(value) for value in values]

    def calling(function: Function) -> Function:
        def call(new: list[Any]) -> Any:
            complete = list(leaves)
            for place, value in zip(places, new, strict=True):
                complete[place] = value
            return function(*tree.unflatten(complete))

        return call

    bodies = [
        trace_body(calling(function), avals, name, lambda result: result)
        for function, name in zip(functions, names, strict=True)
    ]
    joint = _joint(bodies, names)
    # All branches get the operands and the captures of all.
    captures = [capture for body in bodies for capture in body.captures]
    known = [*avals, *[known_of(capture) for capture in captures]]
    branches, start = [], len(avals)
    for body in bodies:
        own = range(start, start + len(body.captures))
        branches.append(with_inputs(_cast(body.graph, joint), known, [*range(len(avals)), *own]))
        start += len(body.captures)
    graph = switch_results([index.aval, *known], tuple(branches))
    return bodies[0].tree.unflatten(run(graph, [index, *values, *captures]))


def _joint(bodies: list[Body], names: list[str]) -> list[Aval]:
    """What is known of the results of whichever branch."""
    first = bodies[0]
    joint = list(first.graph.avals)
    for body, name in zip(bodies[1:], names[1:], strict=True):
        try:
            check_same_structure(first.tree, body.tree, f"the result of {names[0]}", name)
        except ValueError as error:
            raise BranchError(
                f"the branches return different structures: {error.args[0]} Write: functions that "
                "return the same structure"
            ) from None
        for i, (a, b, path) in enumerate(
            zip(joint, body.graph.avals, first.tree.paths(), strict=True)
        ):
            joint[i] = _merged(a, b, path, names[0], name)
    return joint


def _merged(a: Aval, b: Aval, path: str, first: str, second: str) -> Aval:
    if a.shape == b.shape:
        if a.dtype == b.dtype:
            return a if b.weak else b
        if a.weak or b.weak:
            dtype = np.result_type(number_of(a), number_of(b))
            return make_aval(a.shape, np.dtype(dtype), a.weak and b.weak)
    differs = "shape" if a.shape != b.shape else "dtype"
    remedy = (
        "np.broadcast_to(value, shape) in one of them"
        if differs == "shape"
        else f"value.astype(np.{np.result_type(a.dtype, b.dtype).name}) in one of them"
    )
    raise BranchError(
        f"the branches differ in the {differs} of result{path}: it is {a} from {first}, but {b} "
        f"from {second}; write: {remedy}"
    )


def _cast(graph: Graph, avals: list[Aval]) -> Graph:
    """``graph`` with outputs of these kinds."""
    trace = Rewrite([node.aval for node in graph.inputs])
    outputs = []
    for out, aval in zip(graph.outputs, avals, strict=True):
        value = trace.tracer(out)
        if not isinstance(value, Tracer):
            value = trace.constant(full, aval.weak, shape=(), value=value, dtype=aval.dtype)
        outputs.append(cast_like(value, aval)._expr)
    return make_graph([node.aval for node in graph.inputs], outputs)
