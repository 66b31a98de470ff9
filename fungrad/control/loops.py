"""``scan``, ``fori_loop`` and ``while_loop``: Python functions as the bodies of a loop."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from fungrad._provenance import explained
from fungrad._tracer import Tracer
from fungrad.compile import run
from fungrad.control._body import (
    Leaves,
    check_callable,
    check_carry,
    checked_predicate,
    is_numeric,
    known_of,
    trace_body,
    trace_step,
    without_axis,
)
from fungrad.control._layout import Spec, with_inputs
from fungrad.control._loop import loop_results
from fungrad.control._schedule import bounded, segmented
from fungrad.errors import ArgumentError, OutputTypeError, ShapeMismatchError

Function = Callable[..., Any]


@explained
def scan(
    f: Function,
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint: bool | int = False,
) -> tuple[Any, Any]:
    r"""A loop with a carry over the items of sequences, which is traced once.

    .. math:: c_{t+1}, y_t = f(c_t, x_t)

    It computes what this computes, to the last bit::

        ys = []
        for x in xs:
            carry, y = f(carry, x)
            ys.append(y)
        return carry, np.stack(ys)

    but ``f`` runs once, and its program runs for every item. Everything that ``f`` closes over is
    differentiated too.

    Args:
        f: ``(carry, x) -> (carry, y)``, a pure function of pytrees. The carry comes out with the
            structure, shapes and dtypes with which it went in; ``y`` is any pytree, also ``None``.
        init: the first carry. Python numbers in it take the dtype that ``f`` gives them.
        xs: a pytree of arrays ``(length, ...)``; ``None`` for a loop that only counts.
        length: the number of steps; needed if ``xs`` has no arrays.
        reverse: whether to go from the last item to the first. ``ys`` keeps the order of ``xs``.
        checkpoint: whether reverse mode keeps only some carries and computes again what lies
            between. An integer ``k`` keeps ``k`` carries at each of ``log(length, k)`` levels and
            runs forwards as many times; ``True`` chooses ``k`` so that there are three levels.

    Returns:
        ``(carry, ys)``: the last carry, and what ``f`` returned at each step, stacked along a new
        first axis of size ``length``.

    Raises:
        CarryError: ``f`` changed the structure, a shape or a dtype of the carry.
        ShapeMismatchError: sequences of different lengths, or none and no ``length``.
        OutputTypeError: ``f`` returned no pair.
        ConcretizationError: Python code in ``f`` depends on a traced value.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> total, sums = fg.scan(lambda c, x: (c + x, c + x), 0.0, np.array([1.0, 2.0, 3.0]))
        >>> float(total), sums
        (6.0, array([1., 3., 6.]))
        >>> compound = lambda rate: fg.scan(lambda c, _: (c * (1 + rate), None), 1.0, length=3)[0]
        >>> float(fg.grad(compound)(0.0))
        3.0

    References:
        The name and the signature are JAX's. Griewank and Walther, Evaluating Derivatives, 2nd
        ed., SIAM 2008, section 3.2, for the loop that runs backwards.
    """
    check_callable(f, "f of fg.scan", "lambda carry, x: (carry + x, carry)")
    return _scanned(f, Leaves.of(init, "init"), xs, length, bool(reverse), checkpoint, "fg.scan")


def _scanned(
    f: Function,
    carry: Leaves,
    xs: Any,
    length: int | None,
    reverse: bool,
    checkpoint: bool | int,
    name: str,
) -> tuple[Any, Any]:
    sequences = Leaves.of(xs, "xs")
    steps = _length(sequences, length)

    def step(state: Any, items: list[Any]) -> Any:
        return f(state, sequences.tree.unflatten(items))

    items = [without_axis(aval) for aval in sequences.avals]
    body, inits, _ = trace_step(step, carry, items, f"the body of {name}", _pair)
    operands = [*inits, *sequences.values, *body.captures]
    spec = Spec(body.graph, len(inits), len(items), length=steps, reverse=reverse)
    known = [known_of(x) for x in operands]
    keep = _keep(checkpoint, name)
    graph = segmented(spec, known, keep) if keep else loop_results(known, spec)
    last, ys = body.tree.unflatten(run(graph, operands))
    return last, ys


def _pair(result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise OutputTypeError(
            f"the body of fg.scan returned a {type(result).__name__} instead of a pair; write: "
            "return carry, y (or return carry, None)"
        )
    return result


def _length(sequences: Leaves, length: Any) -> int:
    """The number of steps, on which all sequences agree."""
    if length is not None:
        try:
            length = operator.index(length)
        except TypeError:
            raise ArgumentError(
                f"length={length!r} of fg.scan is no integer; write: length=n with an int"
            ) from None
    found: dict[str, int] = {}
    for aval, path in zip(sequences.avals, sequences.paths, strict=True):
        if not aval.shape:
            raise ShapeMismatchError(
                f"fg.scan goes over the first axis of its sequences, but {path} is a single "
                "number; write: np.full(n, value) for the same number at every step, or let the "
                "body close over it"
            )
        found[path] = aval.shape[0]
    lengths = {**found, **({} if length is None else {"length": length})}
    if not lengths:
        raise ShapeMismatchError(
            "fg.scan was given neither sequences nor a length, so that it can't know when to "
            "stop; write: length=n"
        )
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{path}: {size}" for path, size in lengths.items())
        raise ShapeMismatchError(
            f"fg.scan needs sequences of one common length, but found {text}; write: sequences "
            "cut to the same length"
        )
    steps: int = next(iter(lengths.values()))
    if steps < 0:
        raise ArgumentError(f"length={steps} is negative; write: length=0 or more")
    return steps


@explained
def fori_loop(
    lower: Any, upper: Any, body: Function, init: Any, checkpoint: bool | int = False
) -> Any:
    """A loop over a range of integers with a carry, which is traced once.

    It computes what this computes, to the last bit::

        for i in range(lower, upper):
            carry = body(i, carry)

    Args:
        lower: the first index, an integer; it may be traced.
        upper: the index before which to stop, an integer; it may be traced. If a bound is traced,
            the number of steps is known when the program runs only.
        body: ``(i, carry) -> carry``, a pure function of an integer and a pytree.
        init: the first carry. Python numbers in it take the dtype that ``body`` gives them.
        checkpoint: as for `scan`, or for `while_loop` if a bound is traced.

    Returns:
        The last carry; ``init`` itself if ``upper <= lower``.

    Raises:
        CarryError: ``body`` changed the structure, a shape or a dtype of the carry.
        ArgumentError: a bound is no integer.

    Example:
        >>> import fungrad as fg
        >>> power = lambda x: fg.fori_loop(0, 5, lambda i, y: y * x, 1.0)
        >>> float(power(2.0)), float(fg.grad(power)(2.0))
        (32.0, 80.0)

    References:
        The name and the signature are JAX's.
    """
    for bound, name in ((lower, "lower"), (upper, "upper")):
        aval = known_of(bound) if is_numeric(bound) else None
        if aval is None or aval.shape or aval.dtype.kind not in "iu":
            raise ArgumentError(
                f"fg.fori_loop needs integers as its bounds, but {name} is "
                f"{aval or type(bound).__name__}; write: an int, or x.astype(int)"
            )
    name = "fg.fori_loop"
    check_callable(body, f"body of {name}", "lambda i, carry: carry + i")
    start = Leaves.of(init, "init")

    def after(i: Any, carry: Any) -> Any:
        new = body(i, carry)
        check_carry(start, new, f"the body of {name}")
        return i + 1, new

    if isinstance(lower, Tracer) or isinstance(upper, Tracer):
        carry = _counting(lower, init)
        last = _while(
            lambda state: state[0] < upper, lambda state: after(*state), carry, checkpoint, name
        )
        return last[1]
    first = operator.index(lower)
    steps = max(operator.index(upper) - first, 0)

    def step(state: Any, _: Any) -> Any:
        return after(*state), None

    return _scanned(step, _counting(first, init), None, steps, False, checkpoint, name)[0][1]


def _counting(first: Any, init: Any) -> Leaves:
    """The carry of a loop that counts."""
    carry = Leaves.of((first, init), "init")
    return attrs.evolve(carry, paths=[path.replace("init[1]", "init", 1) for path in carry.paths])


@explained
def while_loop(cond: Function, body: Function, init: Any, checkpoint: bool | int = False) -> Any:
    """A loop with a carry that goes on as long as a condition holds, and is traced once.

    It computes what this computes, to the last bit::

        while cond(carry):
            carry = body(carry)

    It is differentiated in every mode. In reverse mode, the forward pass keeps what the backward
    pass needs of each step on a stack that grows with the loop. Under ``vmap`` it goes on until the
    condition holds for no example; those that are done before keep their carry.

    Args:
        cond: ``carry -> bool``, a pure function.
        body: ``carry -> carry``, a pure function of a pytree.
        init: the first carry. Python numbers in it take the dtype that ``body`` gives them.
        checkpoint: whether reverse mode keeps only some carries and computes again what lies
            between. With an integer ``k``, a loop of ``n`` steps keeps about ``3 k + n / k³``
            carries and runs forwards four times; ``True`` stands for 32.

    Returns:
        The first carry for which the condition does not hold.

    Raises:
        CarryError: ``body`` changed the structure, a shape or a dtype of the carry.
        PredicateError: ``cond`` returned something other than one truth value.

    Example:
        >>> import fungrad as fg
        >>> def root(a):  # Newton's method for x * x = a
        ...     return fg.while_loop(
        ...         lambda x: abs(x * x - a) > 1e-12 * a, lambda x: (x + a / x) / 2, 1.0
        ...     )
        >>> round(float(root(2.0)), 10), round(float(fg.grad(root)(2.0)), 10)
        (1.4142135624, 0.3535533906)

    References:
        The name and the signature are JAX's.
    """
    check_callable(cond, "cond of fg.while_loop", "lambda carry: carry < 1")
    check_callable(body, "body of fg.while_loop", "lambda carry: carry + 1")
    return _while(cond, body, Leaves.of(init, "init"), checkpoint, "fg.while_loop")


def _while(cond: Function, body: Function, carry: Leaves, checkpoint: bool | int, name: str) -> Any:
    traced, inits, avals = trace_step(
        lambda state, _: body(state), carry, [], f"the body of {name}", lambda r: (r, None)
    )
    test = trace_body(
        lambda leaves: cond(carry.tree.unflatten(leaves)),
        avals,
        f"the condition of {name}",
        lambda result: checked_predicate(result, f"the condition of {name}"),
    )
    count = len(inits)
    operands = [*inits, *traced.captures, *test.captures]
    known = [*avals, *[known_of(x) for x in operands[count:]]]
    inner = len(traced.captures)
    # Both graphs get the constants of both.
    step = with_inputs(traced.graph, known, range(count + inner))
    holds = with_inputs(test.graph, known, [*range(count), *range(count + inner, len(known))])
    spec, keep = Spec(step, count, 0, holds), _keep(checkpoint, name)
    known[:count] = [known_of(x) for x in inits]
    graph = bounded(spec, known, keep) if keep else loop_results(known, spec)
    *last, _ = run(graph, operands)
    return traced.tree.unflatten(last)[0]


def _keep(checkpoint: Any, name: str) -> int | bool:
    """How many carries to keep at each level; ``False`` for all of them."""
    if isinstance(checkpoint, (bool, np.bool_)):
        return bool(checkpoint)
    try:
        keep = operator.index(checkpoint)
    except TypeError:
        keep = 0
    if keep < 2:
        raise ArgumentError(
            f"checkpoint={checkpoint!r} of {name} is no number of carries to keep; write: True, "
            "False, or an int of at least 2"
        )
    return keep
