"""From one time to the next by steps whose length follows the error: loops of `fungrad.control`.

In: a function of flat vectors ``(y, t, *constants)``. Out: the solution at given times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._primitive import ZERO, Primitive, primitive
from fungrad._tracer import Tracer
from fungrad.control import cond, scan, while_loop
from fungrad.custom import custom_vjp
from fungrad.errors import ArgumentError, IntegrationError
from fungrad.ode._tableau import polynomial, step
from fungrad.transforms import stop_gradient, vjp

Field = Callable[..., Any]

_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0


@attrs.frozen
class Control:
    """How exact the solution shall be.

    Attributes:
        rtol: relative to the solution.
        atol: in absolute terms, in units of the solution.
        max_steps: how many attempts at a step there may be between two times.
    """

    rtol: float
    atol: float
    max_steps: int

    def ratio(self, error: Any, y: Any, after: Any) -> Any:
        """The error in units of what is tolerated; accepted up to 1."""
        scale = self.atol + self.rtol * np.maximum(np.abs(y), np.abs(after))
        return np.sqrt(np.mean((np.abs(error) / scale) ** 2))


def follow(f: Field, y0: Any, ts: Any, constants: Sequence[Any], control: Control) -> Any:
    """The solution at the times ``ts``, which grow or fall: an array ``(len(ts), n)``."""
    # The solver's own time grows. Whatever the function depends on is among its arguments: its
    # derivative may be traced when this call has ended.
    sign = np.where(ts[-1] < ts[0], -1.0, 1.0).astype(ts.dtype)
    ts = checked(ts, np.all(np.diff(sign * ts) >= 0), steps=None)

    def forwards(y: Any, s: Any, sign: Any, *constants: Any) -> Any:
        return sign.astype(y.real.dtype) * f(y, sign * s, *constants)

    return _integrate(forwards, y0, sign * ts, [sign, *constants], control)


def _integrate(f: Field, y0: Any, ts: Any, constants: list[Any], control: Control) -> Any:
    t0 = ts[0]
    k0 = f(y0, t0, *constants)
    h0 = stop_gradient(_first_step(f, y0, k0, t0, constants, control))
    attempt = _attempt(f, control)

    def to(state: Any, target: Any) -> Any:
        def unfinished(state: Any) -> Any:
            (_, _, t, _), _, (tries, _) = state
            return (t < target) & (tries < control.max_steps)

        def once(state: Any) -> Any:
            (y, k, t, h), piece, (tries, stuck) = state
            h = stop_gradient(h)
            after, k_after, ratio, coefficients = attempt(y, k, t, h, *constants)
            ratio = stop_gradient(ratio)
            good = ratio <= 1.0  # False for NaN
            factor = np.where(
                np.isfinite(ratio), _SAFETY * np.maximum(ratio, 1e-10) ** -0.2, _SHRINK
            )
            factor = np.clip(factor, _SHRINK, np.where(good, _GROW, 1.0))
            taken = (y, t, h, coefficients)

            def pick(new: Any, old: Any) -> Any:
                return np.where(good, new, old)

            y, k, t = pick(after, y), pick(k_after, k), pick(t + h, t)
            piece = (
                pick(taken[0], piece[0]),
                pick(taken[1], piece[1]),
                pick(taken[2], piece[2]),
                tuple([pick(a, b) for a, b in zip(coefficients, piece[3], strict=True)]),
            )
            h = h * factor.astype(h.dtype)
            stuck = np.logical_or(stuck, t + h == t)
            tries = np.where(stuck, control.max_steps, tries + 1)
            return (y, k, t, h), piece, (tries, stuck)

        now, piece, _ = state
        now, piece, _ = while_loop(unfinished, once, (now, piece, (0, False)))
        reached = now[2] >= target
        start, t, h, coefficients = piece
        theta = ((target - t) / np.where(h == 0, 1.0, h)).astype(start.real.dtype)
        y = checked(polynomial(start, coefficients, theta), reached, steps=control.max_steps)
        return (now, piece, None), y

    flat = tuple([np.zeros_like(y0)] * 4)
    state = ((y0, k0, t0, h0), (y0, t0, np.zeros_like(h0), flat), None)
    _, ys = scan(to, state, ts[1:])
    return np.concatenate((y0[np.newaxis], ys))


def _attempt(f: Field, control: Control) -> Field:
    """A step and its error; what was too inexact to be taken has no derivative.

    So a stage that overflowed before the step was shortened leaves no NaN behind.
    """

    def one(y: Any, k: Any, t: Any, h: Any, *constants: Any) -> Any:
        return step(lambda y, t: f(y, t, *constants), y, k, t, h)

    def function(y: Any, *others: Any) -> Any:
        after, slope, error, between = one(y, *others)
        return after, slope, control.ratio(error, y, after), between

    def forward(*args: Any) -> Any:
        out = function(*args)
        return out, (args, out[2] <= 1.0)

    def backward(residuals: Any, ct: Any) -> Any:
        args, taken = residuals
        of_after, of_slope, _, of_between = ct  # the length of the next step is a constant
        ct = of_after, of_slope, of_between

        def pulled(args: Any, ct: Any) -> Any:
            places = [i for i, x in enumerate(args) if x.dtype.kind in "fc"]

            def of_inexact(*values: Any) -> Any:
                complete = list(args)
                for i, value in zip(places, values, strict=True):
                    complete[i] = value
                after, slope, _, between = one(*complete)
                return after, slope, between

            return vjp(of_inexact, *[args[i] for i in places])[1](ct)

        def nothing(args: Any, ct: Any) -> Any:
            return tuple([np.zeros_like(x) for x in args if x.dtype.kind in "fc"])

        parts = iter(cond(taken, pulled, nothing, args, ct))
        return tuple([next(parts) if x.dtype.kind in "fc" else None for x in args])

    attempt = custom_vjp(function)
    attempt.defvjp(forward, backward)
    return attempt


def _first_step(f: Field, y: Any, k: Any, t: Any, constants: list[Any], control: Control) -> Any:
    # Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I, 2nd ed., section II.4.
    y, k, t, *constants = stop_gradient((y, k, t, *constants))
    scale = control.atol + np.abs(y) * control.rtol

    def norm(x: Any) -> Any:
        return np.sqrt(np.mean(np.abs(x / scale) ** 2))

    d0, d1 = norm(y), norm(k)
    tiny = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = np.where(tiny, 1e-6, 0.01 * d0 / np.where(tiny, 1.0, d1))
    d2 = norm(f(y + h0.astype(y.real.dtype) * k, t + h0, *constants) - k) / h0
    steepest = np.maximum(d1, d2)
    flat = steepest <= 1e-15
    h1 = np.where(flat, np.maximum(1e-6, h0 * 1e-3), (0.01 / np.where(flat, 1.0, steepest)) ** 0.2)
    h = np.minimum(100 * h0, h1)
    return np.where(np.isfinite(h), h, 1e-6).astype(t.dtype)


# --- never silently wrong --------------------------------------------------------------------------


def _checked_value(y: Any, holds: Any, steps: int | None) -> Any:
    if not np.all(holds):
        if steps is None:
            raise ArgumentError(
                "ts must grow or fall from the first time to the last; write: np.sort(ts)"
            )
        raise IntegrationError(
            f"fg.ode.odeint did not reach the next time: {steps} steps were not enough, or the "
            "step became too short for the time to advance; the solution may have a pole before "
            "it, or the equation may be stiff; write: max_steps= with more, rtol= and atol= with "
            "larger tolerances, or an earlier time"
        )
    return np.positive(y)


def _checked_batch(batched: Any, size: int, y: Any, holds: Any, steps: int | None) -> Any:
    if not batched[0]:
        y = np.broadcast_to(y, (size, *y.shape))
    return checked_p(y, np.all(holds), steps=steps)


checked_p: Primitive = primitive(
    "reached",
    value=_checked_value,
    aval=lambda y, holds, steps: y,
    # The gradient may be asked for without the value.
    vjp=lambda ct, y, x, holds, steps: (checked_p(ct, holds, steps=steps), ZERO),
    batch=_checked_batch,
    fresh=True,
    analytic=False,
)


def checked(y: Any, holds: Any, steps: int | None) -> Any:
    """``y``, or an error when the program runs if a condition does not hold.

    The condition is that so many ``steps`` reached the next time, or that ``y`` are times in order.
    """
    if isinstance(holds, Tracer) or isinstance(y, Tracer):
        return checked_p(y, holds, steps=steps)
    return _checked_value(y, holds, steps)
