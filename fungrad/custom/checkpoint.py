"""``checkpoint``: intermediate results are computed again in the backward pass, not kept.

Stage: trace and rewrite. In: a function. Out: calls that stay calls, in derivatives and when they
run. The pullback of such a call is another one, of the graph of the function's pullback: it computes
what it needs from the operands, and forgets it when it ends. Nothing else is kept in between.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from fungrad._aval import Aval, tuple_aval
from fungrad._batch import batch
from fungrad._evaluate import as_operand
from fungrad._expr import Expr, make_input
from fungrad._graph import Graph, make_graph, substitute
from fungrad._linearity import zeros
from fungrad._primitive import ZERO, primitive
from fungrad._trace import trace_flat
from fungrad._tracer import Tracer
from fungrad._vjp import pullback
from fungrad.compile.run import program
from fungrad.custom._arguments import call_of

Function = Callable[..., Any]


def checkpoint(f: Function) -> Function:
    r"""The same function, whose intermediate results are not kept for the derivative.

    Reverse mode keeps every intermediate result from the forward to the backward pass. Those of a
    checkpointed function are computed a second time instead, one call at a time. For a chain of
    :math:`n` steps, a checkpoint around each keeps what is between the steps only; one around each
    of :math:`\sqrt n` groups of steps keeps :math:`O(\sqrt n)` results for one more forward pass;
    and checkpoints of checkpoints, each halving the chain, keep :math:`O(\log n)`.

    Args:
        f: a pure function of pytrees of arrays of any shapes; what it closes over is allowed.

    Returns:
        A function of the same arguments, with equal results and equal derivatives of all orders.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> layer = lambda w, x: np.tanh(np.sin(x @ w) * 2)
        >>> def loss(w, x, layer):
        ...     for _ in range(50):
        ...         x = layer(w, x)
        ...     return np.sum(x**2)
        >>> w, x = np.eye(3), np.ones((1000, 3))
        >>> plain = fg.grad(loss)(w, x, layer)
        >>> lean = fg.grad(loss)(w, x, fg.checkpoint(layer))
        >>> np.array_equal(plain, lean)
        True

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 12; Chen, Xu,
        Zhang, Guestrin, Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174, 2016.
    """

    @wraps(f)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        call = call_of((args, kwargs))
        if not call.traced:
            return f(*args, **kwargs)

        def run(leaves: list[Tracer]) -> tuple[Any]:
            positional, keywords = call.complete(leaves)
            return (f(*positional, **keywords),)

        traced = trace_flat(run, call.avals, call.tracers, keep_numbers=True)
        if not traced.graph.outputs:
            return traced.rebuild([])[0]
        outputs = checkpoint_call(*call.tracers, *traced.captures, graph=traced.graph)
        return traced.rebuild(outputs)[0]

    return checkpointed


def _value(*operands: Any, graph: Graph) -> tuple[Any, ...]:
    return tuple(map(as_operand, program(graph)(operands)))


def _aval(*operands: Aval, graph: Graph) -> Aval:
    return tuple_aval(*graph.avals)


def _vjp(ct: Any, y: Any, *operands: Any, graph: Graph, wanted: tuple[bool, ...]) -> list[Any]:
    wrt = tuple([i for i, flag in enumerate(wanted) if flag])
    seeds = tuple([i for i, part in enumerate(ct) if part is not None])
    parts: list[Any] = [ZERO] * len(operands)
    back = pullback(graph, wrt, seeds)
    zero = zeros(back)
    called = _call(back, [*operands, *[ct[i] for i in seeds]])
    for i, part, out in zip(wrt, called, back.outputs, strict=True):
        parts[i] = ZERO if out in zero else part
    return parts


def _call(graph: Graph, operands: list[Any]) -> Any:
    """A call of ``graph`` with those operands that its outputs depend on."""
    read: set[Expr] = {arg for node in graph.nodes for arg in node.args}.union(graph.outputs)
    used = [i for i, node in enumerate(graph.inputs) if node in read]
    avals = [graph.inputs[i].aval for i in used]
    inputs: dict[int, Expr] = {i: make_input(k, graph.inputs[i].aval) for k, i in enumerate(used)}
    # Whatever stands for the others is not read.
    places = [inputs.get(i, node) for i, node in enumerate(graph.inputs)]
    small = make_graph(avals, substitute(graph, places))
    if not used:
        trace = next(operand.owner for operand in operands if isinstance(operand, Tracer))
        return [Tracer(trace, node) for node in small.outputs]
    return checkpoint_call(*[operands[i] for i in used], graph=small)


def _batch(batched: tuple[bool, ...], size: int, *operands: Any, graph: Graph) -> Any:
    return checkpoint_call(*operands, graph=batch(graph, batched, size))


checkpoint_call = primitive(
    "checkpoint_call",
    value=_value,
    aval=_aval,
    vjp=_vjp,
    batch=_batch,
    selective=True,
    fresh=True,
)
"""``graph`` on the operands, as a step of its own that no other operation is merged with."""
