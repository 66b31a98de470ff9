"""``root`` and ``fixed_point``: solutions of equations, with derivatives that unroll nothing.

Stage: trace. In: a function and a start. Out: the solution, as one opaque operation whose rule is
the implicit function theorem; the rule itself is a program, so it has derivatives again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, is_number_like, make_aval
from fungrad._batch import batch
from fungrad._graph import Graph
from fungrad._trace import trace_flat
from fungrad._tracer import Tracer, Unknown
from fungrad._tree import TreeDef, check_same_structure, flatten
from fungrad._vjp import pullback
from fungrad.compile import run
from fungrad.custom._arguments import aval_of_leaf, call_of
from fungrad.custom._call import rearranged
from fungrad.custom._linear import DENSE, linear_solve
from fungrad.custom._solvers import Solver, default_tolerance
from fungrad.custom.callback import ShapeDtypeStruct, pure_callback
from fungrad.custom.vjp import GivenResult
from fungrad.errors import (
    ArgumentError,
    ComplexOutputError,
    NonDifferentiableInputError,
    OutputTypeError,
    ShapeMismatchError,
)

Function = Callable[..., Any]


def root(f: Function, x0: Any, *args: Any, tol: float | None = None, max_steps: int = 100) -> Any:
    r"""A solution of :math:`f(x, \theta) = 0`, differentiable in :math:`\theta`.

    By Newton's method with a line search. The derivative is that of the implicit function theorem,
    :math:`dx = -(\partial_x f)^{-1} \, \partial_\theta f \, d\theta` at the solution, whatever the way
    there was. For up to 200 unknowns the Jacobian is formed; beyond, and where SciPy is installed,
    linear equations are solved by products with it. Under ``vmap`` each example is solved for itself.

    Args:
        f: ``f(x, *args)``, as many real numbers as ``x`` has, in any structure of arrays. It is
            traced once, so its Python code can't depend on the values of ``x``.
        x0: where to start: a pytree of real floating-point arrays of any shapes. The solution does
            not depend on it, unless there are several: its derivative is zero.
        *args: pytrees. With respect to them, and to what ``f`` closes over, the solution has
            derivatives of all orders, in both modes.
        tol: how small the last step is, relative to :math:`1 + \max |x|`; by default
            :math:`\epsilon^{3/4}` of the narrowest dtype, 1.8e-12 in double precision. From there
            on, it goes on as long as the residual halves.
        max_steps: after how many steps to give up.

    Returns:
        The solution, with the structure, shapes and dtypes of ``x0``.

    Raises:
        ConvergenceError: no solution was found.
        ShapeMismatchError: ``f`` returns more or fewer numbers than ``x`` has.
        NonDifferentiableInputError: ``x0`` holds something other than real floating-point numbers.
        numpy.linalg.LinAlgError: a derivative is taken where the Jacobian is singular.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> def power(a, n):                                     # the solution of xⁿ = a
        ...     return fg.root(lambda x: x**n - a, 1.0)
        >>> round(float(power(8.0, 3)), 12)
        2.0
        >>> round(float(fg.grad(power)(8.0, 3)), 12)             # 1 / (n xⁿ⁻¹)
        0.083333333333

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., Springer 2006, section 11.1; Griewank
        and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 15.
    """
    unknown = _unknown(x0, "root")
    residual = lambda x, *args: unknown.equations(f(unknown.unpacked(x), *args))
    return _solution(residual, unknown, args, tol, max_steps, None)


def fixed_point(
    f: Function,
    x0: Any,
    *args: Any,
    tol: float | None = None,
    max_steps: int = 1000,
    memory: int = 5,
) -> Any:
    r"""A solution of :math:`x = f(x, \theta)`, differentiable in :math:`\theta`.

    By iterating ``f``, with Anderson's acceleration. The derivative is that of the implicit function
    theorem, :math:`dx = (1 - \partial_x f)^{-1} \, \partial_\theta f \, d\theta` at the solution; no
    iteration is remembered. For up to 200 unknowns the Jacobian is formed; beyond, and where SciPy
    is installed, linear equations are solved by products with it. Under ``vmap`` each example is
    solved for itself.

    Args:
        f: ``f(x, *args)`` returns the structure, shapes and dtypes of ``x``. It is traced once, so
            its Python code can't depend on the values of ``x``.
        x0: where to start: a pytree of real floating-point arrays of any shapes. The solution does
            not depend on it, unless there are several: its derivative is zero.
        *args: pytrees. With respect to them, and to what ``f`` closes over, the solution has
            derivatives of all orders, in both modes.
        tol: how small the last step :math:`f(x) - x` is, relative to :math:`1 + \max |x|`; by
            default :math:`\epsilon^{3/4}` of the narrowest dtype, 1.8e-12 in double precision. Where ``f``
            contracts by :math:`\rho`, the error is that over :math:`1 - \rho`.
        max_steps: after how many steps to give up.
        memory: of how many earlier steps the acceleration takes account; 0 for none.

    Returns:
        The solution, with the structure, shapes and dtypes of ``x0``.

    Raises:
        ConvergenceError: no solution was found.
        TreeMismatchError: ``f`` returns another structure than ``x``.
        ShapeMismatchError: ``f`` returns other shapes than ``x``.
        NonDifferentiableInputError: ``x0`` holds something other than real floating-point numbers.
        numpy.linalg.LinAlgError: a derivative is taken where 1 - ∂f is singular.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> kepler = lambda e, m: fg.fixed_point(lambda x: m + e * np.sin(x), m)
        >>> x = kepler(0.5, 1.0)
        >>> np.isclose(x - 0.5 * np.sin(x), 1.0)
        np.True_
        >>> np.isclose(fg.grad(kepler)(0.5, 1.0), np.sin(x) / (1 - 0.5 * np.cos(x)))
        np.True_

    References:
        Walker and Ni, Anderson Acceleration for Fixed-Point Iterations, SIAM J. Numer. Anal. 49,
        2011; Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, chapter 15.
    """
    if memory < 0:
        raise ArgumentError(f"memory={memory} of fixed_point; write: 0 or more")
    unknown = _unknown(x0, "fixed_point")
    residual = lambda x, *args: unknown.like_x(f(unknown.unpacked(x), *args)) - x
    return _solution(residual, unknown, args, tol, max_steps, memory)


@attrs.frozen(eq=False)
class _Layout:
    """The unknown of an equation: a tree of arrays to users, a vector to solvers.

    Attributes:
        name: of the function that solves, for error messages.
        leaves: where to start.
        tree: the structure.
        avals: what is known of the leaves.
        aval: what is known of the vector.
    """

    name: str
    leaves: list[Any]
    tree: TreeDef
    avals: tuple[Aval, ...]
    aval: Aval

    def packed(self, leaves: Sequence[Any]) -> Any:
        """The vector of all entries."""
        dtype = self.aval.dtype
        vectors = [
            np.reshape(x if isinstance(x, Tracer) else np.asarray(x), (-1,)).astype(dtype)
            for x in leaves
        ]
        return vectors[0] if len(vectors) == 1 else np.concatenate(vectors)

    def unpacked(self, vector: Any) -> Any:
        """The tree of arrays."""
        start, leaves = 0, []
        for aval in self.avals:
            part = vector if aval.size == self.aval.size else vector[start : start + aval.size]
            leaves.append(np.reshape(part, aval.shape).astype(aval.dtype)[()])
            start += aval.size
        return self.tree.unflatten(leaves)

    def equations(self, out: Any) -> Any:
        """The residuals that the user's function returned, as a vector."""
        leaves, tree = flatten(out)
        avals = [self._real(leaf, path) for leaf, path in zip(leaves, tree.paths(), strict=True)]
        count = sum(aval.size for aval in avals)
        if count != self.aval.size:
            raise ShapeMismatchError(
                f"{self.name} needs as many equations as unknowns, but its function returned {count} "
                f"numbers for {self.aval.size}; write: one equation for each entry of x0"
            )
        return self.packed(leaves)

    def like_x(self, out: Any) -> Any:
        """The next ``x`` that the user's function returned, as a vector."""
        leaves, tree = flatten(out)
        check_same_structure(self.tree, tree, "x0", f"the result of the function of {self.name}")
        for leaf, aval, path in zip(leaves, self.avals, tree.paths(), strict=True):
            got = self._real(leaf, path)
            if got.shape != aval.shape:
                raise ShapeMismatchError(
                    f"the function of {self.name} returned shape {got.shape} for x{path}, which has "
                    f"shape {aval.shape}; write: a function that returns what it takes"
                )
        return self.packed(leaves)

    def _real(self, leaf: Any, path: str) -> Aval:
        if not isinstance(leaf, Tracer) and not is_number_like(leaf):
            raise OutputTypeError(
                f"the function of {self.name} returned a {type(leaf).__name__}{path and f' at {path}'}; "
                "write: numbers only"
            )
        aval = aval_of_leaf(leaf)
        if aval.dtype.kind == "c":
            raise ComplexOutputError(
                f"the function of {self.name} returned {aval}, but only real equations are solved; "
                "write: np.stack([np.real(z), np.imag(z)]) and the same for the unknown"
            )
        return aval


def _unknown(x0: Any, name: str) -> _Layout:
    leaves, tree = flatten(x0)
    avals = []
    for leaf, path in zip(leaves, tree.paths(), strict=True):
        known = isinstance(leaf, Tracer) or is_number_like(leaf)
        aval = aval_of_leaf(leaf) if known else None
        if aval is None or aval.dtype.kind != "f":
            raise NonDifferentiableInputError(
                f"{name} needs a start x0 of real floating-point numbers, but x0{path} is {leaf!r}; "
                "write: 1.0 for 1, and real and imaginary parts for a complex number"
            )
        avals.append(aval.with_weak(False))
    if not avals:
        raise ArgumentError(f"{name} got an x0 without numbers; write: an array to start from")
    dtype = np.result_type(*[aval.dtype for aval in avals])
    size = sum(aval.size for aval in avals)
    return _Layout(name, leaves, tree, tuple(avals), make_aval((size,), dtype))


def _solution(
    residual: Function,
    unknown: _Layout,
    args: tuple[Any, ...],
    tol: float | None,
    max_steps: int,
    memory: int | None,
) -> Any:
    if not (tol is None or tol > 0) or max_steps < 1:
        raise ArgumentError(
            f"{unknown.name} got tol={tol} and max_steps={max_steps}; write: positive numbers"
        )
    call = call_of(args)
    traced = trace_flat(
        lambda leaves: (residual(leaves[0], *call.complete(leaves[1:])),),
        [unknown.aval, *call.avals],
        [Unknown(f"is what {unknown.name} solves for, so it has no value yet"), *call.tracers],
    )
    graph = traced.graph
    tol = tol or default_tolerance([aval.dtype for aval in unknown.avals])
    solver = Solver(graph, unknown.name, tol, max_steps, memory)

    def rule(ct: Any, x: Any, start: Any, *parameters: Any) -> Any:
        # f(x, θ) = 0, so ∂x f dx = -∂θ f dθ: cotangents go through the transposes.
        multiplier = -_transposed_solution(graph, x, parameters, ct)
        wrt = [i for i, t in enumerate(parameters) if isinstance(t, Tracer) and t.aval.inexact]
        back = pullback(graph, tuple([i + 1 for i in wrt]), (0,))
        cts = dict(zip(wrt, run(back, [x, *parameters, multiplier]), strict=True))
        return (None, *[cts.get(i) for i in range(len(parameters))])

    like = ShapeDtypeStruct(unknown.aval.shape, unknown.aval.dtype)
    solve = GivenResult(
        lambda start, *parameters: pure_callback(solver, like, start, *parameters),
        rule,
        unknown.name,
    )
    return unknown.unpacked(solve(unknown.packed(unknown.leaves), *call.tracers, *traced.captures))


def _transposed_solution(graph: Graph, x: Any, parameters: Sequence[Any], ct: Any) -> Any:
    """``λ`` with ``∂x fᵀ λ = ct``, for ``graph = f``."""
    back, size = pullback(graph, (0,), (0,)), x.size
    if size <= DENSE:
        rows = batch(back, (False,) * (len(parameters) + 1) + (True,), size)
        (jacobian,) = run(rows, [x, *parameters, np.eye(size, dtype=x.dtype)])
        return np.linalg.solve(np.transpose(jacobian), ct)
    avals = [node.aval for node in back.inputs]
    places = [*range(1, len(avals)), 0]
    product = rearranged(back, [avals[-1], *avals[:-1]], places)
    return linear_solve(x, *parameters, ct, product=product)
