"""``grad``, ``value_and_grad`` and ``derivative``: slopes of functions with one result.

Row 9. In: a function and its arguments. Out: derivatives, in the structure of the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from fungrad._aval import Aval, aval_of
from fungrad._gradient import gradient
from fungrad._jacobian import slope
from fungrad._provenance import explained
from fungrad._trace import Result, Traced, trace_flat
from fungrad._tracer import Tracer
from fungrad._tree import LEAF, tree_map
from fungrad.compile import run
from fungrad.errors import (
    ArgumentError,
    NonDifferentiableInputError,
    NonScalarOutputError,
    OutputTypeError,
)
from fungrad.ops.elementwise import stop_gradient as stop_gradient_p
from fungrad.transforms._arguments import (
    Argnums,
    check_callable,
    check_function,
    check_results,
    choose,
    differentiable_avals,
    kind_of_result,
    split_aux,
)

Function = Callable[..., Any]


def grad(
    f: Function, argnums: Argnums = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    r"""The gradient of a scalar-valued function.

    For a loss :math:`L(x)` the result is :math:`\nabla L(x) = \partial L / \partial x`, exact to
    rounding, by reverse-mode automatic differentiation: the chain rule from the loss backwards,
    summed over all paths.

    With respect to a complex :math:`z = x + iy` it is :math:`\partial L / \partial x - i \,
    \partial L / \partial y`, the conjugate of the direction of steepest ascent: a step of gradient
    descent is ``z - rate * np.conj(gradient)``. A holomorphic function has one complex derivative
    :math:`L'(z)`, which is what ``holomorphic`` asks for.

    Args:
        f: a pure function; its result is one real number (shape ``()``), or a complex one if
            ``holomorphic``.
        argnums: which positional arguments to differentiate with respect to: pytrees of
            floating-point arrays of any shapes. The others may be anything.
        has_aux: whether ``f`` returns ``(loss, aux)``; ``aux`` is any pytree that is passed on.
        holomorphic: whether arguments and result are complex and ``f`` satisfies the Cauchy-Riemann
            equations; promised by the caller, not checked.

    Returns:
        A function of the same arguments. It returns the gradient: the same structure, shapes and
        dtypes as the argument, in units of output per unit of input; a tuple of them if
        ``argnums`` is a sequence; ``(gradient, aux)`` if ``has_aux``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        NonScalarOutputError: the result has a shape other than ``()``.
        ComplexOutputError: the result is complex, or it is not with ``holomorphic``.
        ComplexInputError: a leaf is real with ``holomorphic``.
        OutputTypeError: the result is not a number.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> loss = lambda x, y, z: z * (x + y)
        >>> [float(g) for g in fg.grad(loss, argnums=(0, 1, 2))(2.0, 3.0, 6.0)]
        [6.0, 6.0, 5.0]
        >>> fg.grad(lambda p: np.sum(p["w"] ** 2))({"w": np.array([1.0, 2.0])})
        {'w': array([2., 4.])}
        >>> z = 3.0 + 4.0j
        >>> complex(fg.grad(lambda z: np.abs(z) ** 2)(z))
        (6-8j)
        >>> complex(fg.grad(lambda z: z**2, holomorphic=True)(z))
        (6+8j)

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.2. The convention
        for complex numbers is JAX's; Kreutz-Delgado, The Complex Gradient Operator and the
        CR-Calculus, 2009.
    """
    return _differentiated(f, argnums, has_aux, holomorphic, with_value=False)


def value_and_grad(
    f: Function, argnums: Argnums = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    """The value of a scalar-valued function together with its gradient, for one forward run.

    Args:
        f: as for ``grad``.
        argnums: as for ``grad``.
        has_aux: as for ``grad``.
        holomorphic: as for ``grad``.

    Returns:
        A function of the same arguments that returns ``(value, gradient)``, or
        ``((value, aux), gradient)`` if ``has_aux``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        NonScalarOutputError: the result has a shape other than ``()``.
        ComplexOutputError: the result is complex, or it is not with ``holomorphic``.
        ComplexInputError: a leaf is real with ``holomorphic``.
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
    return _differentiated(f, argnums, has_aux, holomorphic, with_value=True)


def _differentiated(
    f: Function, argnums: Argnums, has_aux: bool, holomorphic: bool, with_value: bool
) -> Function:
    name = "value_and_grad" if with_value else "grad"
    check_function(f, name, argnums)
    single = hasattr(argnums, "__index__")

    @explained
    @wraps(f)
    def gradient_function(*args: Any, **kwargs: Any) -> Any:
        chosen = choose(f, args, kwargs, argnums)
        avals = differentiable_avals(chosen, name, holomorphic)
        call, leaves = chosen.call, chosen.leaves
        traced = trace_flat(
            (lambda leaves: split_aux(call(leaves), True))
            if has_aux
            else (lambda leaves: (call(leaves),)),
            avals,
            leaves,
            True,
        )
        _check_scalar(traced, name, holomorphic)
        program = gradient(traced.graph, tuple(range(len(avals))), with_value)
        outputs = run(program, [*leaves, *traced.captures])
        primals = len(outputs) - len(avals)
        regrouped = chosen.regroup(outputs[primals:])
        grads = regrouped[0] if single else regrouped
        if not has_aux:
            return (outputs[0], grads) if with_value else grads
        aux = traced.results[1].rebuild(outputs[primals - traced.counts[1] : primals])
        return ((outputs[0], aux), grads) if with_value else (grads, aux)

    return gradient_function


def _check_scalar(traced: Traced, name: str, holomorphic: bool) -> None:
    result = traced.results[0]
    if result.opaque or result.tree is not LEAF:
        found = result.rebuild([0.0] * traced.counts[0])
        raise OutputTypeError(
            f"{name} needs a function that returns one scalar (a float), but it returned "
            f"{kind_of_result(found)}; write: return the loss alone, or (loss, aux) with has_aux=True"
        )
    aval = traced.graph.outputs[0].aval
    if aval.shape:
        raise NonScalarOutputError(
            f"{name} needs a function that returns a scalar, but the result has shape "
            f"{aval.shape}; write: np.sum(result) or np.mean(result), or fg.jacobian for all "
            "derivatives"
        )
    if not aval.inexact:
        raise OutputTypeError(
            f"{name} needs a function that returns one scalar (a float), but it returned {aval}, "
            "whose derivative is zero or does not exist; write: a loss that is floating-point, such "
            "as np.where(x > 0, 1.0, 0.0) for x > 0"
        )
    check_results([aval], name, holomorphic)


def derivative(f: Function, argnums: int = 0, holomorphic: bool = False) -> Function:
    r"""The derivative of a function of one number, at every entry of an array.

    :math:`f'(x_i)` for each entry :math:`x_i`, in one run of forward mode. The function must treat
    every entry by itself, as NumPy's elementwise functions do; if it mixes entries, the result is
    the sum :math:`\sum_j \partial f_i / \partial x_j`. ``elementwise_grad`` is another name of it.

    Args:
        f: a pure elementwise function; its result has the shape ``(...)`` of the argument.
        argnums: with respect to which positional argument: an array of floating-point numbers of
            any shape ``(...)``. The others may be anything.
        holomorphic: as for ``grad``; needed where the argument is complex.

    Returns:
        A function of the same arguments. It returns an array of the argument's shape and dtype, in
        units of output per unit of input.

    Raises:
        NonDifferentiableInputError: the argument is not one floating-point array.
        ComplexInputError: it is complex without ``holomorphic``, or real with it.
        OutputTypeError: the result is not one array of the argument's shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.derivative(lambda x: x**3)(np.array([1.0, 2.0, 3.0]))
        array([ 3., 12., 27.])
        >>> second = fg.derivative(fg.derivative(np.sin))
        >>> float(second(np.pi / 2))
        -1.0

    References:
        The alias is autograd's name. Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM
        2008, section 3.1.
    """
    check_callable(f, "derivative")

    @explained
    @wraps(f)
    def derivative_function(*args: Any, **kwargs: Any) -> Any:
        if not hasattr(argnums, "__index__"):
            raise ArgumentError(
                f"derivative is with respect to one argument, but argnums={argnums!r}; write: an int"
            )
        chosen = choose(f, args, kwargs, argnums)
        if chosen.trees != (LEAF,):
            raise NonDifferentiableInputError(
                "derivative needs one array to differentiate with respect to, but "
                f"argument {chosen.places[0]} has the structure {chosen.trees[0]}; write: fg.grad "
                "or fg.jacobian for trees"
            )
        avals = differentiable_avals(chosen, "derivative", holomorphic, real=True)
        traced = trace_flat(lambda leaves: (chosen.call(leaves),), avals, chosen.leaves, True)
        _check_elementwise(traced.results[0], traced.graph.avals, avals[0].shape)
        return run(slope(traced.graph), [*chosen.leaves, *traced.captures])[0]

    return derivative_function


def _check_elementwise(result: Result, avals: Sequence[Aval], shape: tuple[int, ...]) -> None:
    if result.opaque or result.tree is not LEAF or avals[0].shape != shape:
        found = (
            f"something of the structure {result.tree}"
            if result.opaque or result.tree is not LEAF
            else f"an array of shape {avals[0].shape}"
        )
        raise OutputTypeError(
            "derivative needs an elementwise function: one that returns an array of its "
            f"argument's shape {shape}; it returned {found}; write: fg.grad for a function with "
            "one number as its result, fg.jacobian for any other"
        )


elementwise_grad = derivative


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
