"""All first and second derivatives at once: ``jacobian`` and ``hessian``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from fungrad._aval import Aval
from fungrad._batch import batch
from fungrad._provenance import explained
from fungrad._trace import trace_flat
from fungrad._tracer import Tracer
from fungrad._vjp import pullback, split
from fungrad.compile import run
from fungrad.errors import ComplexOutputError
from fungrad.ops.shape import cast_like
from fungrad.transforms._arguments import Argnums, choose, differentiable_avals
from fungrad.transforms.derivative import grad

Function = Callable[..., Any]


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    r"""All derivatives of a function's outputs with respect to its inputs.

    :math:`J_{ij} = \partial f_i / \partial x_j`, by one batched pullback for each output leaf.

    Args:
        f: a pure function; its result is a pytree of floating-point arrays.
        argnums: which positional arguments to differentiate with respect to.

    Returns:
        A function of the same arguments. It returns the result's structure, each leaf replaced by
        the argument's structure, whose leaves have the shape ``(*output shape, *input shape)``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        ComplexOutputError: a result is complex.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.jacobian(lambda x: np.stack([x[0] * x[1], x[0] ** 2]))(np.array([2.0, 3.0]))
        array([[3., 2.],
               [4., 0.]])

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.1.
    """

    @explained
    @wraps(f)
    def jacobian_function(*args: Any, **kwargs: Any) -> Any:
        chosen = choose(f, args, kwargs, argnums)
        avals = differentiable_avals(chosen, "jacobian")
        traced = trace_flat(lambda leaves: (chosen.call(leaves),), avals, chosen.leaves, True)
        values = [*chosen.leaves, *traced.captures]
        for aval in traced.graph.avals:
            if aval.dtype.kind == "c":
                raise ComplexOutputError(
                    f"jacobian needs a function with real results, but one is {aval}; write: the "
                    "jacobians of np.real(result) and of np.imag(result)"
                )
        wrt = tuple(range(len(avals)))
        blocks = []
        for position, node in enumerate(traced.graph.outputs):
            before, after = split(pullback(traced.graph, wrt, (position,)), len(values))
            residuals = run(before, values)
            flags = (*[False] * len(residuals), True)
            rows = batch(after, flags, node.aval.size)
            cotangents = run(rows, [*residuals, _unit_cotangents(node.aval)])
            pairs = zip(cotangents, avals, strict=True)
            block = chosen.regroup([_block(ct, node.aval, aval) for ct, aval in pairs])
            blocks.append(block[0] if hasattr(argnums, "__index__") else block)
        return traced.results[0].rebuild(blocks)

    return jacobian_function


def _block(ct: Any, out: Aval, into: Aval) -> Any:
    """One block of the Jacobian; between Python numbers, a Python number."""
    block: Any = np.reshape(ct, out.shape + into.shape)
    if isinstance(block, Tracer):
        return cast_like(block, into.with_weak(out.weak and into.weak))
    return block.item() if out.weak and into.weak else block[()]


def _unit_cotangents(aval: Aval) -> Any:
    """One cotangent for each entry of the output: 1 there, 0 elsewhere."""
    return np.eye(aval.size, dtype=aval.dtype).reshape((aval.size, *aval.shape))


def hessian(f: Function, argnums: Argnums = 0) -> Function:
    r"""All second derivatives of a scalar-valued function.

    :math:`H_{ij} = \partial^2 f / \partial x_i \partial x_j`, the Jacobian of the gradient.

    Args:
        f: a pure function; its result is one real number.
        argnums: which positional arguments to differentiate with respect to.

    Returns:
        A function of the same arguments. It returns the argument's structure, each leaf replaced by
        that structure again, with leaves of shape ``(*shape, *shape)``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        NonScalarOutputError: the result has a shape other than ``()``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([2.0, 3.0]))
        array([[6., 4.],
               [4., 0.]])

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 5.1.
    """
    return jacobian(grad(f, argnums), argnums)
