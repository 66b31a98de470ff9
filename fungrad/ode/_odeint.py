"""``odeint``: trees of any shapes in, the solution at the given times out."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad._aval import is_number_like, make_aval
from fungrad._provenance import explained
from fungrad._tracer import Tracer
from fungrad._tree import check_same_structure, flatten
from fungrad.compile import run
from fungrad.control import scan
from fungrad.control._body import Leaves, check_callable, is_numeric, known_of, trace_body
from fungrad.custom import custom_vjp
from fungrad.errors import ArgumentError, OutputTypeError, ShapeMismatchError
from fungrad.ode._integrate import Control, Field, follow
from fungrad.transforms import vjp


@explained
def odeint(
    f: Callable[..., Any],
    y0: Any,
    ts: Any,
    *args: Any,
    rtol: float = 1.4e-8,
    atol: float = 1.4e-8,
    max_steps: int = 100_000,
    adjoint: bool = False,
) -> Any:
    r"""The solution of an initial value problem at given times.

    .. math:: \frac{dy}{dt} = f(y, t, a), \qquad y(t_0) = y_0

    Steps of Dormand and Prince, of order 5, adapt their length to the estimated error; between
    their ends, a polynomial of order 4 gives the solution at ``ts``.

    Derivatives with respect to ``y0``, ``ts``, ``args`` and whatever ``f`` closes over are those of
    the steps that were taken, with their lengths as constants: exact for the computed numbers, to
    rounding, in every order and mode. In reverse mode the stages of a step are computed again; one
    vector and its slope are kept for each step. With ``adjoint=True``, reverse mode integrates the
    adjoint equation :math:`\dot\lambda = -\lambda^T \partial f / \partial y` backwards in time
    instead, and keeps the solution at ``ts`` only; its result has an error of the order of the
    tolerances. Forward mode (``jvp``, ``hvp``) needs ``adjoint=False``.

    Args:
        f: ``(y, t, *args) -> dy/dt``, a pure function; ``y`` and the result are pytrees of one
            structure and of equal shapes.
        y0: the value at ``ts[0]``: a pytree of arrays.
        ts: times ``(n,)``, growing or falling, ``n >= 1``, in the unit of time of ``f``.
        *args: passed on to ``f``: pytrees of arrays.
        rtol: how large the error of a step may be, relative to ``y``.
        atol: how large it may be in units of ``y``, in addition.
        max_steps: how many attempts at a step there may be between two times.
        adjoint: whether reverse mode solves the adjoint equation.

    Returns:
        A pytree like ``y0``, whose leaves have a new first axis of length ``n``: the values at
        ``ts``.

    Raises:
        CotangentError: forward mode through ``adjoint=True``.
        IntegrationError: a time was not reached, by too many steps or because they became too
            short; also raised when a jitted program runs.
        ArgumentError: ``ts`` is no sequence of growing or falling numbers; a tolerance is not
            positive.
        OutputTypeError: ``f`` returned complex numbers for real ``y``.
        ShapeMismatchError: ``f`` returned something of another shape than ``y``.
        TreeMismatchError: ``f`` returned another structure than that of ``y``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> decay = lambda k: fg.ode.odeint(lambda y, t: -k * y, 1.0, np.array([0.0, 1.0, 2.0]))
        >>> decay(1.0).round(6)
        array([1.      , 0.367879, 0.135335])
        >>> round(float(fg.grad(lambda k: decay(k)[-1])(1.0)), 6)  # -2 exp(-2)
        -0.270671

    References:
        Dormand, Prince, J. Comp. Appl. Math. 6, 1980. Hairer, Nørsett, Wanner, Solving Ordinary
        Differential Equations I, 2nd ed., Springer 1993, sections II.4 to II.6. Pontryagin et al.,
        The Mathematical Theory of Optimal Processes, 1962, for the adjoint equation. The name and
        the signature are JAX's.
    """
    check_callable(f, "f of fg.ode.odeint", "lambda y, t: -y")
    control = _control(rtol, atol, max_steps)
    times = _times(ts)
    start = Leaves.of(y0, "y0")
    flat = _Flat(start)
    if not flat.size:
        return flat.tree(np.zeros((times.shape[0], 0), flat.dtype))
    field, constants = _traced(f, flat, times, args)

    def solve(y: Any, times: Any, *constants: Any) -> Any:
        return follow(field, y, times, constants, control)

    if adjoint:
        solve = _with_adjoint(solve, field, control)
    return flat.tree(solve(flat.vector(start.values), times, *constants))


class _Flat:
    """A pytree as a vector, of the dtype that all its leaves can have."""

    def __init__(self, like: Leaves) -> None:
        self._like = like
        self._shapes = [aval.shape for aval in like.avals]
        self.dtype = np.result_type(*[aval.dtype for aval in like.avals], np.float16)
        self.size = sum(int(np.prod(shape)) for shape in self._shapes)
        if any(a.dtype.kind == "i" for a in like.avals) and self.dtype.kind == "f":
            self.dtype = np.result_type(self.dtype, np.float64)

    def vector(self, leaves: list[Any]) -> Any:
        parts = [np.reshape(_array(leaf).astype(self.dtype), -1) for leaf in leaves]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def tree(self, vectors: Any) -> Any:
        """The tree of a vector, or of an array of vectors."""
        lead, start, leaves = vectors.shape[:-1], 0, []
        for shape in self._shapes:
            stop = start + int(np.prod(shape))
            leaves.append(np.reshape(vectors[..., start:stop], (*lead, *shape)))
            start = stop
        return self._like.tree.unflatten(leaves)

    def slope(self, value: Any) -> Any:
        """What ``f`` returned, as a vector."""
        leaves, tree = flatten(value)
        check_same_structure(self._like.tree, tree, "y0", "the result of f")
        for leaf, shape, path in zip(leaves, self._shapes, self._like.tree.paths(), strict=True):
            if np.shape(leaf) != shape:
                raise ShapeMismatchError(
                    f"f returned a slope of shape {np.shape(leaf)} for y{path} of shape {shape}; "
                    "write: dy/dt with the shapes of y"
                )
            if known_of(leaf).dtype.kind == "c" and self.dtype.kind != "c":
                raise OutputTypeError(
                    f"f returned a complex slope for y{path}, which is real; write: "
                    "y0.astype(complex), or np.real(slope)"
                )
        return self.vector(leaves)


def _array(leaf: Any) -> Any:
    return leaf if isinstance(leaf, Tracer) else np.asarray(leaf)


def _traced(f: Any, flat: _Flat, times: Any, args: Any) -> tuple[Field, list[Any]]:
    """``f`` on vectors, with all that it closes over as further arguments, and their values."""
    leaves, tree = flatten(args)
    places = [
        i for i, leaf in enumerate(leaves) if isinstance(leaf, Tracer) or is_number_like(leaf)
    ]
    values = [_array(leaves[i]) for i in places]

    def call(operands: list[Any]) -> Any:
        y, t, *rest = operands
        complete = list(leaves)
        for place, value in zip(places, rest, strict=True):
            complete[place] = value
        return flat.slope(f(flat.tree(y), t, *tree.unflatten(complete)))

    avals = [make_aval((flat.size,), flat.dtype), make_aval((), times.dtype)]
    body = trace_body(
        call, [*avals, *[known_of(x) for x in values]], "the function of fg.ode.odeint", lambda r: r
    )

    def field(y: Any, t: Any, *constants: Any) -> Any:
        return run(body.graph, [y, t, *constants])[0]

    return field, [*values, *body.captures]


def _control(rtol: Any, atol: Any, max_steps: Any) -> Control:
    for value, name in ((rtol, "rtol"), (atol, "atol")):
        if not is_numeric(value) or np.ndim(value):
            raise ArgumentError(
                f"{name} of fg.ode.odeint is a {type(value).__name__}; write: one number"
            )
    if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise ArgumentError(
            f"rtol={rtol} and atol={atol} leave no error to tolerate; write: positive tolerances"
        )
    try:
        most = operator.index(max_steps)
    except TypeError:
        most = 0
    if most < 1:
        raise ArgumentError(
            f"max_steps={max_steps!r} of fg.ode.odeint is no number of steps; write: a positive int"
        )
    return Control(float(rtol), float(atol), most)


def _times(ts: Any) -> Any:
    times = ts if isinstance(ts, Tracer) else np.asarray(ts)
    if times.ndim != 1 or not times.shape[0] or times.dtype.kind not in "iuf":
        raise ArgumentError(
            f"ts must be a sequence of times, but is of shape {times.shape} and dtype "
            f"{times.dtype}; write: np.array([t0, …, t1])"
        )
    if times.dtype.kind != "f":
        times = times.astype(np.float64)
    return times


# --- the adjoint equation --------------------------------------------------------------------------


def _with_adjoint(solve: Field, field: Field, control: Control) -> Field:
    """``solve`` with a derivative by the adjoint equation, backwards in time."""

    def forward(y: Any, times: Any, *constants: Any) -> Any:
        ys = solve(y, times, *constants)
        return ys, (ys, times, constants)

    def backward(residuals: Any, cts: Any) -> Any:
        ys, times, constants = residuals
        places = [i for i, x in enumerate(constants) if x.dtype.kind in "fc"]
        shapes = [constants[i].shape for i in places]
        n, sizes = ys.shape[1], [int(np.prod(shape)) for shape in shapes]

        def augmented(state: Any, t: Any, *constants: Any) -> Any:
            y, a = state[:n], state[n : 2 * n]

            def of_inexact(y: Any, *values: Any) -> Any:
                complete = list(constants)
                for i, value in zip(places, values, strict=True):
                    complete[i] = value
                return field(y, t, *complete)

            slope, pull = vjp(of_inexact, y, *[constants[i] for i in places])
            parts = [np.reshape(-part.astype(y.dtype), -1) for part in pull(a)]
            return np.concatenate([slope, *parts])

        def back(carry: Any, piece: Any) -> Any:
            a, sums = carry
            (y, t, ct), (y_before, t_before, ct_before) = piece
            at_time = np.sum(np.real(ct * field(y, t, *constants)))
            state = np.concatenate([y, a, sums])
            span = np.stack([t, t_before])
            state = follow(augmented, state, span, constants, control)[1]
            a, sums = state[n : 2 * n], state[2 * n :]
            at_start = np.sum(np.real(a * field(y_before, t_before, *constants)))
            rows = at_time.astype(times.dtype), at_start.astype(times.dtype)
            return (a + ct_before, sums), rows

        zeros = np.zeros_like(ys[0], shape=(sum(sizes),))
        later, earlier = (ys[1:], times[1:], cts[1:]), (ys[:-1], times[:-1], cts[:-1])
        pieces = later, earlier
        (a, sums), (at_times, at_starts) = scan(back, (cts[-1], zeros), pieces, reverse=True)
        time_cts = np.concatenate([-at_starts[:1], at_times])
        if ys.shape[0] == 1:
            time_cts = np.zeros_like(times)
        parts, start = [], 0
        for shape, size in zip(shapes, sizes, strict=True):
            parts.append(np.reshape(sums[start : start + size], shape))
            start += size
        of_constants: list[Any] = [None] * len(constants)
        for i, part in zip(places, parts, strict=True):
            dtype = constants[i].dtype
            of_constants[i] = (np.real(part) if dtype.kind == "f" else part).astype(dtype)
        return (a, time_cts, *of_constants)

    adjoint = custom_vjp(solve)
    adjoint.defvjp(forward, backward)
    return adjoint
