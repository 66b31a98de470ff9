"""The coefficients of Dormand and Prince, and a step with them.

Dormand, Prince, A family of embedded Runge-Kutta formulae, J. Comp. Appl. Math. 6, 1980, table 2:
order 5 with an error estimate of order 4, and the first stage of a step is the last of the one
before. Shampine, Some practical Runge-Kutta formulas, Math. Comp. 46, 1986, for the polynomial
between the ends of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

C = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
"""The times of stages 2 to 7, as fractions of the step."""
A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
"""From the stages before, where stages 2 to 7 are; the last row leads to the end of the step."""
E = (-71 / 57600, 0.0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40)
"""The difference of the results of orders 5 and 4."""
P = (
    (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
    (0.0, 0.0, 0.0, 0.0),
    (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
    (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
    (
        0.0,
        127303824393 / 49829197408,
        -318862633887 / 49829197408,
        701980252875 / 199316789632,
    ),
    (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
    (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
)
"""For each stage, the coefficients of θ, θ², θ³, θ⁴ in ``(y(t + θ h) - y) / h``."""


def combined(weights: Sequence[float], stages: Sequence[Any]) -> Any:
    """The weighted sum of stages."""
    total = None
    for weight, stage in zip(weights, stages, strict=False):
        if weight:
            part = weight * stage
            total = part if total is None else total + part
    return total


def step(f: Callable[..., Any], y: Any, k: Any, t: Any, h: Any) -> tuple[Any, Any, Any, Any]:
    """One step of length ``h`` from ``y`` with slope ``k`` at ``t``; ``h`` may be negative.

    Returns:
        The result, the slope there, the error estimate, and the four coefficients of the
        polynomial between.
    """
    stages = [k]
    width = h.astype(k.real.dtype)
    for fraction, row in zip(C, A, strict=True):
        last = y + width * combined(row, stages)
        stages.append(f(last, t + fraction * h))
    error = width * combined(E, stages)
    between = [width * combined([row[i] for row in P], stages) for i in range(4)]
    return last, stages[-1], error, tuple(between)


def polynomial(y: Any, coefficients: Sequence[Any], theta: Any) -> Any:
    """The value at the fraction ``theta`` of a step that began at ``y``."""
    a, b, c, d = coefficients
    return y + theta * (a + theta * (b + theta * (c + theta * d)))
