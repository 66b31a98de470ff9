"""All first and second derivatives at once: ``jacobian``, ``jacfwd``, ``jacrev``, ``hessian``.

Row 9. In: a function and its arguments. Out: the result's structure, with the argument's in place of
each leaf.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from fungrad._graph import Graph, make_graph
from fungrad._jacobian import jacobian_by_columns, jacobian_by_rows
from fungrad._provenance import explained
from fungrad._trace import trace_flat
from fungrad.compile import run
from fungrad.errors import OutputTypeError
from fungrad.transforms._arguments import (
    Argnums,
    check_function,
    check_results,
    choose,
    differentiable_avals,
    split_aux,
)

Function = Callable[..., Any]


def jacobian(
    f: Function, argnums: Argnums = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    r"""All derivatives of a function's outputs with respect to its inputs.

    :math:`J_{ij} = \partial f_i / \partial x_j`, by forward mode if there are fewer input entries
    than output entries, else by reverse mode; one batched run in either case. ``jacfwd`` and
    ``jacrev`` leave no choice.

    Args:
        f: a pure function; its result is a pytree of real arrays, or complex ones if
            ``holomorphic``.
        argnums: which positional arguments to differentiate with respect to: pytrees of
            floating-point arrays of any shapes. The others may be anything.
        has_aux: whether ``f`` returns ``(result, aux)``; ``aux`` is any pytree that is passed on.
        holomorphic: whether arguments and results are complex and ``f`` satisfies the
            Cauchy-Riemann equations; promised by the caller, not checked.

    Returns:
        A function of the same arguments. It returns the result's structure, each leaf replaced by
        the argument's structure (a tuple of them if ``argnums`` is a sequence), whose leaves have
        the shape ``(*output shape, *input shape)`` and the dtype of the input; ``(jacobian, aux)``
        if ``has_aux``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        ComplexOutputError: a result is complex, or it is not with ``holomorphic``.
        ComplexInputError: a leaf is real with ``holomorphic``.
        OutputTypeError: a leaf of the result is no array.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.jacobian(lambda x: np.stack([x[0] * x[1], x[0] ** 2]))(np.array([2.0, 3.0]))
        array([[3., 2.],
               [4., 0.]])

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, sections 3.1 and 3.2.
    """
    return _jacobian("jacobian", f, argnums, has_aux, holomorphic)


def jacfwd(
    f: Function, argnums: Argnums = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    """``jacobian`` by forward mode: for functions with few inputs and many outputs.

    Column by column, each the derivative along a unit vector of the inputs; all in one batched run,
    whose cost grows with the number of input entries.

    Args:
        f: as for ``jacobian``; its results may be complex also where the arguments are real.
        argnums: as for ``jacobian``.
        has_aux: as for ``jacobian``.
        holomorphic: as for ``jacobian``.

    Returns:
        As for ``jacobian``; blocks of complex results are complex.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        ComplexInputError: a leaf is complex without ``holomorphic``, or real with it.
        ComplexOutputError: a result is real with ``holomorphic``.
        OutputTypeError: a leaf of the result is no array.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.jacfwd(lambda t: np.stack([t, t**2, t**3]))(2.0)
        array([ 1.,  4., 12.])

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.1.
    """
    return _jacobian("jacfwd", f, argnums, has_aux, holomorphic)


def jacrev(
    f: Function, argnums: Argnums = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    """``jacobian`` by reverse mode: for functions with many inputs and few outputs.

    Row by row, each the gradient of one output entry; all in one batched run, whose cost grows with
    the number of output entries.

    Args:
        f: as for ``jacobian``.
        argnums: as for ``jacobian``.
        has_aux: as for ``jacobian``.
        holomorphic: as for ``jacobian``.

    Returns:
        As for ``jacobian``.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        ComplexOutputError: a result is complex, or it is not with ``holomorphic``.
        ComplexInputError: a leaf is real with ``holomorphic``.
        OutputTypeError: a leaf of the result is no array.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.jacrev(lambda x: {"sum": np.sum(x), "twice": 2 * x})(np.ones(2))
        {'sum': array([1., 1.]), 'twice': array([[2., 0.],
               [0., 2.]])}

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 3.2.
    """
    return _jacobian("jacrev", f, argnums, has_aux, holomorphic)


def hessian(
    f: Function, argnums: Argnums = 0, has_aux: bool = False, holomorphic: bool = False
) -> Function:
    r"""All second derivatives of a function, by forward over reverse mode.

    :math:`H_{ij} = \partial^2 f / \partial x_i \partial x_j`. ``hvp`` gives products with it without
    forming it.

    Args:
        f: a pure function; its result is a real number, or a pytree of real arrays; complex ones if
            ``holomorphic``.
        argnums: as for ``jacobian``.
        has_aux: as for ``jacobian``.
        holomorphic: as for ``jacobian``.

    Returns:
        A function of the same arguments. It returns the argument's structure, each leaf replaced by
        that structure again, with leaves of shape ``(*shape, *shape)``; all of this in place of each
        leaf of the result, whose shape comes first, unless the result is a number.

    Raises:
        NonDifferentiableInputError: a leaf to differentiate is not floating-point.
        ComplexInputError: a leaf is complex without ``holomorphic``, or real with it.
        ComplexOutputError: a result is complex, or it is not with ``holomorphic``.
        OutputTypeError: a leaf of the result is no array.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([2.0, 3.0]))
        array([[6., 4.],
               [4., 0.]])

        The Laplacian is the trace:

        >>> laplacian = lambda f: lambda x: np.trace(fg.hessian(f)(x))
        >>> float(laplacian(lambda x: np.sum(x**3))(np.array([1.0, 2.0])))
        18.0

    References:
        Griewank and Walther, Evaluating Derivatives, 2nd ed., SIAM 2008, section 5.1.
    """
    first = _jacobian("hessian", f, argnums, has_aux, holomorphic)
    return _jacobian("hessian", first, argnums, has_aux, holomorphic, forward=True)


def _jacobian(
    name: str,
    f: Function,
    argnums: Argnums,
    has_aux: bool,
    holomorphic: bool,
    forward: bool | None = None,
) -> Function:
    check_function(f, name, argnums)
    if forward is None:
        forward = {"jacfwd": True, "jacrev": False, "hessian": False}.get(name)

    @explained
    @wraps(f)
    def jacobian_function(*args: Any, **kwargs: Any) -> Any:
        chosen = choose(f, args, kwargs, argnums)
        avals = differentiable_avals(chosen, name, holomorphic, real=bool(forward))
        traced = trace_flat(
            lambda leaves: split_aux(chosen.call(leaves), has_aux), avals, chosen.leaves, True
        )
        result, count = traced.results[0], traced.counts[0]
        if result.opaque:
            found = next(iter(result.opaque.values()))
            raise OutputTypeError(
                f"{name} needs a function that returns arrays, but one leaf of the result is a "
                f"{type(found).__name__}; write: that as aux, with has_aux=True"
            )
        outputs = traced.graph.avals[:count]
        if holomorphic or not forward:
            check_results(outputs, name, holomorphic)
        by_columns = sum(a.size for a in avals) < sum(a.size for a in outputs)
        if forward is not None:
            by_columns = forward
        program = _program(traced.graph, len(avals), count, by_columns)
        values = run(program, [*chosen.leaves, *traced.captures])
        rest = len(traced.graph.outputs) - count
        width, blocks = len(avals), []
        for start in range(rest, len(values), width) if width else [rest] * count:
            block = chosen.regroup(values[start : start + width])
            blocks.append(block[0] if hasattr(argnums, "__index__") else block)
        rebuilt = result.rebuild(blocks)
        return (rebuilt, traced.results[1].rebuild(values[:rest])) if has_aux else rebuilt

    return jacobian_function


def _program(graph: Graph, inputs: int, outputs: int, by_columns: bool) -> Graph:
    """The graph ``inputs -> aux, blocks``."""
    derive = jacobian_by_columns if by_columns else jacobian_by_rows
    blocks = derive(graph, tuple(range(inputs)), tuple(range(outputs)))
    return make_graph(
        [node.aval for node in graph.inputs], [*graph.outputs[outputs:], *blocks.outputs]
    )
