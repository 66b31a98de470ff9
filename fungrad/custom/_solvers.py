"""How equations are solved, in plain NumPy: Newton's method and Anderson's acceleration.

Stage: run. In: a graph ``(x, parameters) -> residual`` of flat vectors, a start, and parameters.
Out: the ``x`` where the residual is zero, or an error that says how far it got.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._batch import batch
from fungrad._graph import Graph
from fungrad._jvp import linearized
from fungrad._vjp import pullback
from fungrad.compile.run import program
from fungrad.custom._linear import DENSE, krylov
from fungrad.errors import ConvergenceError

Residual = Callable[[Any], Any]
Step = Callable[[Any, Any], tuple[Any, Any]]


def default_tolerance(dtypes: Iterable[np.dtype[Any]]) -> float:
    """What a step may be, relative to ``1 + |x|``, when the next one is below rounding."""
    return max(float(np.finfo(dtype).eps ** 0.75) for dtype in dtypes)


@attrs.frozen
class Solver:
    """A method and its settings, for one equation; equal settings are one operation.

    Attributes:
        residual: ``(x, parameters) -> residual``.
        name: what error messages call it.
        tol: how small the last step is, relative to ``1 + max |x|``.
        max_steps: after how many steps to give up.
        memory: of how many steps Anderson's method takes account; ``None`` for Newton's method.
    """

    residual: Graph
    name: str
    tol: float
    max_steps: int
    memory: int | None

    def __call__(self, x: Any, *parameters: Any) -> Any:
        """The solution, from the start ``x``."""
        compiled = program(self.residual)
        residual = lambda x: compiled([x, *parameters])[0]
        x = np.array(x)
        if not x.size:
            return x
        # Iterates may go far; where they go on being infinite, that is said below.
        with np.errstate(all="ignore"):
            if self.memory is None:
                return self._newton(x, residual, self._steps(parameters))
            return self._anderson(x, residual, self.memory)

    def _failed(self, steps: int, residual: Any) -> ConvergenceError:
        return ConvergenceError(
            f"{self.name} did not converge in {steps} steps: the residual is still "
            f"{float(np.max(np.abs(residual))):.2g}; write: a better x0, max_steps=, or a larger "
            "tol="
        )

    def _small(self, step: Any, x: Any) -> bool:
        return bool(np.max(np.abs(step)) <= self.tol * (1 + np.max(np.abs(x))))

    def _finite(self, x: Any, residual: Any) -> None:
        if not np.all(np.isfinite(residual)):
            raise ConvergenceError(
                f"{self.name} starts where the function is not finite: its result is {residual} "
                f"at x0 = {x}; write: another x0"
            )

    # --- Newton's method with a line search: Nocedal and Wright, section 11.1 ---

    def _steps(self, parameters: Sequence[Any]) -> Step:
        """``(x, residual) -> Newton's step, and what is left of the residual in its model``."""
        size = self.residual.inputs[0].aval.size
        if size <= DENSE:
            count = len(parameters)
            rows = program(
                batch(pullback(self.residual, (0,), (0,)), (False,) * (count + 1) + (True,), size)
            )
            unit = np.eye(size, dtype=self.residual.inputs[0].aval.dtype)

            def dense(x: Any, residual: Any) -> tuple[Any, Any]:
                jacobian = rows([x, *parameters, unit])[0]
                if not np.all(np.isfinite(jacobian)):
                    return jacobian[0], residual
                try:
                    step = np.linalg.solve(jacobian, -residual)
                except np.linalg.LinAlgError:  # the shortest of the best steps
                    step = np.linalg.lstsq(jacobian, -residual, rcond=None)[0]
                return step, residual + jacobian @ step

            return dense
        push = program(linearized(self.residual, (0,), (0,)))

        def free(x: Any, residual: Any) -> tuple[Any, Any]:
            def product(v: Any) -> Any:
                return push([x, *parameters, v])[0]

            try:
                step = krylov(product, -residual, 1e-3)
            except (np.linalg.LinAlgError, ConvergenceError):
                return np.full_like(x, np.nan), residual
            return step, residual + product(step)

        return free

    def _newton(self, x: Any, residual: Residual, step_at: Step) -> Any:
        now = residual(x)
        self._finite(x, now)
        near = False
        for count in range(self.max_steps):
            if not np.any(now):
                return x
            step, left = step_at(x, now)
            if not np.all(np.isfinite(step)):
                raise self._failed(count, now)
            near = self._small(step, x)
            if not near:
                x, now = self._searched(x, now, step, residual, count)
                continue
            size = np.linalg.norm(now)
            if np.linalg.norm(left) > 0.5 * size:
                raise self._failed(count, now)  # the residual has a minimum here
            ahead = residual(x + step)
            better = np.linalg.norm(ahead) < size
            if not np.linalg.norm(ahead) < 0.5 * size:  # rounding, by now
                return x + step if better else x
            x, now = x + step, ahead
        if near:
            return x
        raise self._failed(self.max_steps, now)

    def _searched(
        self, x: Any, now: Any, step: Any, residual: Residual, count: int
    ) -> tuple[Any, Any]:
        """As far along the step as the residual falls."""
        size = np.linalg.norm(now)
        for halvings in range(30):
            part = 0.5**halvings
            ahead = residual(x + part * step)
            if np.linalg.norm(ahead) <= (1 - 1e-4 * part) * size:  # false for NaN
                return x + part * step, ahead
        raise self._failed(count, now)

    # --- Anderson's method: Walker and Ni, SIAM J. Numer. Anal. 49 (2011), algorithm AA ---

    def _anderson(self, x: Any, residual: Residual, memory: int) -> Any:
        now = residual(x)
        self._finite(x, now)
        best, least = x, np.linalg.norm(now)
        steps: list[Any] = []
        changes: list[Any] = []
        for _ in range(self.max_steps):
            if self._small(now, x):
                return x + now
            ahead = x + now
            if steps:
                ahead = _mixed(ahead, now, np.stack(steps, axis=1), np.stack(changes, axis=1))
            then = residual(ahead)
            size = np.linalg.norm(then)
            if memory and steps and not size <= 10 * least:
                # The model is bad here: forget it, and go on from the best point by plain steps.
                steps, changes = [], []
                x, now = best, residual(best)
                ahead = x + now
                then = residual(ahead)
                size = np.linalg.norm(then)
            if not np.all(np.isfinite(then)):
                raise self._failed(self.max_steps, now)
            steps = [*steps, ahead - x][-memory:] if memory else []
            changes = [*changes, then - now][-memory:] if memory else []
            x, now = ahead, then
            if size < least:
                best, least = x, size
        raise self._failed(self.max_steps, now)


def _mixed(ahead: Any, now: Any, steps: Any, changes: Any) -> Any:
    """``ahead``, moved to where earlier changes say that the residual is least."""
    if not np.all(np.isfinite(changes)):
        return ahead
    weights = np.linalg.lstsq(changes, now, rcond=None)[0]
    mixed = ahead - (steps + changes) @ weights
    return mixed if np.all(np.isfinite(mixed)) else ahead
