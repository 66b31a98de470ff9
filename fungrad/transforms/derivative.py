"""``grad``, ``value_and_grad``, ``vjp``, ``jvp``: derivatives of functions of pytrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from fungrad._aval import aval_of
from fungrad._provenance import explained
from fungrad._trace import Traced, trace_flat
from fungrad._tracer import Tracer
from fungrad._tree import LEAF, check_same_structure, flatten, tree_map
from fungrad._vjp import gradient, pushforward, remembering
from fungrad.compile import run
from fungrad.errors import ComplexOutputError, NonScalarOutputError, OutputTypeError
from fungrad.ops.elementwise import stop_gradient as stop_gradient_p
from fungrad.transforms._arguments import (
    Argnums,
    check_like,
    choose,
    differentiable_avals,
)

Function = Callable[..., Any]


def grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    r"""The gradient of a scalar-valued function.

    For a loss :math:`L(x)` the result is :math:`\nabla L(x) = \partial L / \partial x`, exact to
    rounding, by reverse-mode automatic differentiation: the chain rule from the loss backwards,
    summed over all paths.

    Args:
        f: a pure function; its result is one real number (shape ``()``).
        argnums: which positional arguments to differentiate with respect to: pytrees of
            floating-point arrays of any shapes. The others may be anything.
        has_aux: whether ``f`` returns ``(loss, aux)``; ``aux`` is any pytree that is passed on.

    Returns:
        A function of the same arguments. It returns the gradient: the same structure, shapes and
        dtypes as the argument, in units of output per unit of input; a tuple of them if
        ``argnums`` is a sequence; ``(gradient, aux)`` if ``has_aux``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        NonScalarOutputError: the result has a shape other than ``()``.
        ComplexOutputError: the result is complex.
        OutputTypeError: the result is not a number.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> loss = lambda x, y, z: z * (x + y)
        >>> [float(g) for g in fg.grad(loss, argnums=(0, 1, 2))(2.0, 3.0, 6.0)]
        [6.0, 6.0, 5.0]
        >>> fg.grad(lambda p: np.sum(p["w"] ** 2))({"w": np.array([1.0, 2.0])})
        {'w': array([2., 4.])}

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.2.
    """
    derivative = _differentiated(f, argnums, has_aux, with_value=False)

    @explained
    @wraps(f)
    def gradient_function(*args: Any, **kwargs: Any) -> Any:
        _, grads, aux = derivative(args, kwargs)
        return (grads, aux) if has_aux else grads

    return gradient_function


def value_and_grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """The value of a scalar-valued function together with its gradient, for one forward run.

    Args:
        f: as for ``grad``.
        argnums: as for ``grad``.
        has_aux: as for ``grad``.

    Returns:
        A function of the same arguments that returns ``(value, gradient)``, or
        ``((value, aux), gradient)`` if ``has_aux``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        NonScalarOutputError: the result has a shape other than ``()``.
        ComplexOutputError: the result is complex.
        OutputTypeError: the result is not a number.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> value, gradient = fg.value_and_grad(lambda x: np.sum(x**2))(np.array([3.0, 4.0]))
        >>> float(value), gradient
        (25.0, array([6., 8.]))

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.2.
    """
    derivative = _differentiated(f, argnums, has_aux, with_value=True)

    @explained
    @wraps(f)
    def value_and_gradient_function(*args: Any, **kwargs: Any) -> Any:
        value, grads, aux = derivative(args, kwargs)
        return ((value, aux) if has_aux else value), grads

    return value_and_gradient_function


def _differentiated(f: Function, argnums: Argnums, has_aux: bool, with_value: bool) -> Function:
    """``(args, kwargs) -> (value or None, gradient, aux or None)``."""
    name = "value_and_grad" if with_value else "grad"

    def derivative(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        chosen = choose(f, args, kwargs, argnums)
        avals = differentiable_avals(chosen, name)
        traced = trace_flat(
            lambda leaves: _split_aux(chosen.call(leaves), has_aux), avals, chosen.leaves, True
        )
        _check_scalar(traced, name)
        wrt = tuple(range(len(avals)))
        program = gradient(traced.graph, wrt, with_value)
        outputs = run(program, [*chosen.leaves, *traced.captures])
        primals = len(outputs) - len(avals)
        grads = chosen.regroup(outputs[primals:])
        value, aux = None, None
        if has_aux:
            aux = traced.results[1].rebuild(outputs[primals - traced.counts[1] : primals])
        if with_value:
            value = outputs[0]
        return value, grads[0] if hasattr(argnums, "__index__") else grads, aux

    return derivative


def _split_aux(out: Any, has_aux: bool) -> tuple[Any, ...]:
    if not has_aux:
        return (out,)
    if not isinstance(out, tuple) or len(out) != 2:
        raise OutputTypeError(
            "with has_aux=True the function must return (result, aux), but it returned a "
            f"{type(out).__name__}; write: return result, aux"
        )
    return out


def _check_scalar(traced: Traced, name: str) -> None:
    result = traced.results[0]
    if result.opaque or result.tree is not LEAF:
        found = next(iter(result.opaque.values()), None)
        kind = f"a {type(found).__name__}" if result.opaque else f"the structure {result.tree}"
        raise OutputTypeError(
            f"{name} needs a function that returns one scalar (a float), but it returned {kind}; "
            "write: return the loss alone, or (loss, aux) with has_aux=True"
        )
    aval = traced.graph.outputs[0].aval
    if aval.shape:
        raise NonScalarOutputError(
            f"{name} needs a function that returns a scalar, but the result has shape "
            f"{aval.shape}; write: np.sum(result) or np.mean(result), or fg.jacobian for all "
            "derivatives"
        )
    if aval.dtype.kind == "c":
        raise ComplexOutputError(
            f"{name} needs a function that returns a real number, but the result is {aval.dtype}; "
            "write: np.abs(result) or np.real(result)"
        )


@explained
def vjp(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    r"""The value of a function and its pullback: the product of a cotangent with the Jacobian.

    The pullback maps a cotangent :math:`c` of the output to :math:`c^T J`, for the price of a few
    runs of ``f``. It remembers the primals as they were: writing into them later changes nothing.

    Args:
        f: a pure function of pytrees; its result is a pytree of arrays of any shapes.
        *primals: where to differentiate: pytrees of floating-point arrays.
        has_aux: whether ``f`` returns ``(result, aux)``.

    Returns:
        ``(value, pullback)``, or ``(value, pullback, aux)``. ``pullback(ct)`` takes a cotangent of
        the value's structure, shapes and dtypes, and returns a tuple: for each primal a cotangent
        of its structure, shapes and dtypes.

    Raises:
        NonDifferentiableInputError: a leaf of a primal is not floating-point.
        TreeMismatchError: a cotangent of another structure.
        CotangentError: a cotangent of another shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> value, pullback = fg.vjp(lambda x: x**2, np.array([1.0, 2.0]))
        >>> pullback(np.array([1.0, 10.0]))
        (array([ 2., 40.]),)

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.2.
    """
    chosen = choose(f, primals, {}, range(len(primals)))
    avals = differentiable_avals(chosen, "vjp")
    traced = trace_flat(
        lambda leaves: _split_aux(chosen.call(leaves), has_aux), avals, chosen.leaves, True
    )
    graph = traced.graph
    inexact = tuple([i for i in range(traced.counts[0]) if graph.outputs[i].aval.inexact])
    forward, backward = remembering(graph, tuple(range(len(avals))), inexact)
    outputs = run(forward, [*chosen.leaves, *traced.captures])
    residuals = outputs[len(graph.outputs) :]
    results = traced.rebuild(outputs[: len(graph.outputs)])
    out_avals = [node.aval.with_weak(False) for node in graph.outputs[: traced.counts[0]]]
    result_tree = traced.results[0].tree

    @explained
    def pull(ct: Any) -> tuple[Any, ...]:
        leaves, tree = flatten(ct)
        check_same_structure(result_tree, tree, "the function's result", "the cotangent")
        checked = [
            check_like(leaves[i], out_avals[i], f"cotangent{result_tree.paths()[i]}")
            for i in inexact
        ]
        return chosen.regroup(run(backward, [*residuals, *checked]))

    return (results[0], pull, results[1]) if has_aux else (results[0], pull)


@explained
def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    r"""The value of a function and its directional derivative :math:`J t`.

    Args:
        f: a pure function of pytrees.
        primals: where to differentiate: a tuple of pytrees of floating-point arrays, one for each
            argument.
        tangents: in which direction: a tuple of the same structure and shapes.

    Returns:
        ``(value, tangent)``, of the same structure, shapes and dtypes.

    Raises:
        NonDifferentiableInputError: a leaf of a primal is not floating-point.
        TreeMismatchError: tangents of another structure.
        CotangentError: a tangent of another shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> value, tangent = fg.jvp(np.sin, (0.0,), (2.0,))
        >>> float(value), float(tangent)
        (0.0, 2.0)

    References:
        Radul, Paszke, Frostig, Johnson, Maclaurin: You Only Linearize Once, POPL 2023.
    """
    primals, tangents = tuple(primals), tuple(tangents)
    chosen = choose(f, primals, {}, range(len(primals)))
    avals = differentiable_avals(chosen, "jvp")
    tangent_leaves, tree = flatten(tangents)
    check_same_structure(flatten(primals)[1], tree, "primals", "tangents")
    checked = [
        check_like(leaf, aval.with_weak(False), f"tangents{path}")
        for leaf, aval, path in zip(tangent_leaves, avals, tree.paths(), strict=True)
    ]
    traced = trace_flat(lambda leaves: (chosen.call(leaves),), avals, chosen.leaves, True)
    forward = pushforward(traced.graph, tuple(range(len(avals))))
    outputs = run(forward, [*chosen.leaves, *traced.captures, *checked])
    count = len(outputs) // 2
    (value,), (tangent,) = traced.rebuild(outputs[:count]), traced.rebuild(outputs[count:])
    return value, tangent


def stop_gradient(x: Any) -> Any:
    """The value of ``x`` as a constant of differentiation.

    Args:
        x: a pytree of arrays or numbers.

    Returns:
        The same values; their derivative with respect to anything is zero.

    Example:
        >>> import fungrad as fg
        >>> float(fg.grad(lambda x: x * fg.stop_gradient(x))(3.0))
        3.0

    References:
        The name is TensorFlow's and JAX's.
    """

    def stop(leaf: Any) -> Any:
        if isinstance(leaf, Tracer):
            return leaf._bind(stop_gradient_p, (leaf,), {}, leaf.aval.weak)
        aval_of(leaf)
        return leaf

    return tree_map(stop, x)
