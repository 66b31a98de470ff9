"""Products with derivatives: ``vjp``, ``jvp`` and ``linearize``, and ``hvp`` with the Hessian.

Row 9. A pullback or pushforward is a value: a linear program with the numbers that it remembers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from fungrad._aval import Aval
from fungrad._graph import Graph
from fungrad._jvp import linearized, pushforward
from fungrad._provenance import explained
from fungrad._residuals import remembering
from fungrad._trace import Result, Traced, trace_flat
from fungrad._tree import TreeDef, check_same_structure, flatten, structure
from fungrad._vjp import pullback
from fungrad.compile import run
from fungrad.errors import ArgumentError
from fungrad.transforms._arguments import (
    Chosen,
    check_callable,
    check_like,
    choose,
    differentiable_avals,
    regrouped,
    split_aux,
)
from fungrad.transforms.derivative import grad

Function = Callable[..., Any]


@attrs.frozen
class _Like:
    """What a cotangent or tangent must look like.

    Attributes:
        tree: the structure of the value that it belongs to.
        avals: of every leaf; ``None`` where there is no derivative (integers, text, …).
    """

    tree: TreeDef
    avals: tuple[Aval | None, ...]

    def checked(self, value: Any, name: str, owner: str) -> list[Any]:
        """The leaves that matter, in their dtypes; the others may be anything, or ``None``."""
        leaves, tree = flatten(value)
        places = [i for i, aval in enumerate(self.avals) if aval is not None]
        if tree.plain is self.tree.plain:
            leaves = [leaves[i] for i in places]
        elif tree.plain is not _pruned(self.tree, [aval is not None for aval in self.avals]).plain:
            check_same_structure(self.tree, tree, owner, name)
        avals, paths = [aval for aval in self.avals if aval is not None], self.tree.paths()
        return [
            check_like(leaf, aval, f"{name}{paths[i]}")
            for leaf, aval, i in zip(leaves, avals, places, strict=True)
        ]


def _pruned(tree: TreeDef, keep: Sequence[bool]) -> TreeDef:
    """``tree`` with ``None`` in place of some leaves."""
    return structure(tree.unflatten([0 if kept else None for kept in keep]))


_STATIC = {"static": True}


@attrs.frozen(eq=False, repr=False)
class _Linear:
    """A linear program and the values that it remembers, which are its leaves as a pytree."""

    residuals: tuple[Any, ...]
    _program: Graph = attrs.field(metadata=_STATIC)
    _takes: _Like = attrs.field(metadata=_STATIC)
    _gives: tuple[TreeDef, ...] = attrs.field(metadata=_STATIC)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._program.nodes)} operations>"

    def _applied(self, value: Any, name: str, owner: str) -> tuple[Any, ...]:
        leaves = self._takes.checked(value, name, owner)
        return regrouped(self._gives, run(self._program, [*self.residuals, *leaves]))


class Pullback(_Linear):
    """From a cotangent of a function's result to a tuple: the cotangent of each primal."""

    __slots__ = ()

    @explained
    def __call__(self, ct: Any, *more: Any) -> tuple[Any, ...]:
        """The cotangents of the primals; ``more`` is there to be told what to write."""
        if more:
            raise ArgumentError(
                "a pullback takes one cotangent, of the structure of the function's result, but "
                f"got {1 + len(more)}; write: pullback((a, b)) where the result is a tuple"
            )
        return self._applied(ct, "the cotangent", "the function's result")


class Pushforward(_Linear):
    """From tangents, one for each primal, to the tangent of a function's result."""

    __slots__ = ()

    @explained
    def __call__(self, *tangents: Any) -> Any:
        """The tangent of the result."""
        return self._applied(tangents, "tangents", "primals")[0]


def _traced(
    f: Function, primals: tuple[Any, ...], has_aux: bool, name: str
) -> tuple[Chosen, list[Aval], Traced]:
    check_callable(f, name, "(f, (x,), (tangent,))" if name == "jvp" else "(f, x)")
    chosen = choose(f, primals, {}, range(len(primals)))
    avals = differentiable_avals(chosen, name)
    call = lambda leaves: split_aux(chosen.call(leaves), has_aux)
    return chosen, avals, trace_flat(call, avals, chosen.leaves, True)


@explained
def vjp(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    r"""The value of a function and its pullback: the product of a cotangent with the Jacobian.

    The pullback maps a cotangent :math:`c` of the output to :math:`c^T J`, for the price of a few
    runs of ``f``. It remembers values as they were: writing into an array later changes nothing.

    Args:
        f: a pure function of pytrees; its result is a pytree of arrays of any shapes.
        *primals: where to differentiate: pytrees of floating-point arrays.
        has_aux: whether ``f`` returns ``(result, aux)``; ``aux`` is any pytree.

    Returns:
        ``(value, pullback)``, or ``(value, pullback, aux)``. ``pullback(ct)`` takes a cotangent of
        the value's structure, shapes and dtypes, and returns a tuple: for each primal a cotangent
        of its structure, shapes and dtypes. Leaves of the value that are not floating-point
        (integers, text, …) have no cotangent: anything may stand there, also ``None``. A pullback
        is a pytree: functions may return it, also transformed ones, and take it as an argument.

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
    chosen, avals, traced = _traced(f, primals, has_aux, "vjp")
    result, outputs = traced.results[0], traced.graph.avals[: traced.counts[0]]
    seeds = tuple([i for i, aval in enumerate(outputs) if aval.inexact])
    back = pullback(traced.graph, tuple(range(len(avals))), seeds)
    value, residuals, program, aux = _remembered(chosen, traced, back)
    cts = iter([aval.with_weak(False) if aval.inexact else None for aval in outputs])
    like = _Like(result.tree, tuple([next(cts) if kept else None for kept in _numeric(result)]))
    pull = Pullback(residuals, program, like, chosen.trees)
    return (value, pull, aux) if has_aux else (value, pull)


@explained
def linearize(f: Function, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    r"""The value of a function and its pushforward: the product of the Jacobian with a tangent.

    The pushforward maps a tangent :math:`t` of the primals to :math:`J t`. What does not depend on
    the tangent is computed once; for a single tangent, ``jvp`` takes less memory.

    Args:
        f: a pure function of pytrees; its result is a pytree of arrays of any shapes.
        *primals: where to differentiate: pytrees of floating-point arrays.
        has_aux: whether ``f`` returns ``(result, aux)``; ``aux`` is any pytree.

    Returns:
        ``(value, pushforward)``, or ``(value, pushforward, aux)``. ``pushforward(*tangents)`` takes
        for each primal a tangent of its structure, shapes and dtypes, and returns one of the
        value's, as ``jvp`` does. Like a pullback, it remembers values as they were and is a pytree.

    Raises:
        NonDifferentiableInputError: a leaf of a primal is not floating-point.
        TreeMismatchError: tangents of another structure.
        CotangentError: a tangent of another shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> value, pushforward = fg.linearize(lambda x: x**2, np.array([1.0, 2.0]))
        >>> pushforward(np.array([1.0, 10.0]))
        array([ 2., 40.])

    References:
        Radul, Paszke, Frostig, Johnson, Maclaurin: You Only Linearize Once, POPL 2023.
    """
    chosen, avals, traced = _traced(f, primals, has_aux, "linearize")
    wrt, pushed = tuple(range(len(avals))), tuple(range(traced.counts[0]))
    forth = linearized(traced.graph, wrt, pushed)
    value, residuals, program, aux = _remembered(chosen, traced, forth)
    like = _Like(structure(primals), tuple([aval.with_weak(False) for aval in avals]))
    push = Pushforward(residuals, program, like, (_tangent_tree(traced.results[0]),))
    return (value, push, aux) if has_aux else (value, push)


def _remembered(
    chosen: Chosen, traced: Traced, linear: Graph
) -> tuple[Any, tuple[Any, ...], Graph, Any]:
    """Run the function; its value, what ``linear`` needs of the run, the rest of it, and aux."""
    forward, rest = remembering(traced.graph, linear)
    outputs = run(forward, [*chosen.leaves, *traced.captures])
    count = len(traced.graph.outputs)
    value, *aux = traced.rebuild(outputs[:count])
    return value, tuple(outputs[count:]), rest, aux[0] if aux else None


def _numeric(result: Result) -> list[bool]:
    return [i not in result.opaque for i in range(result.tree.num_leaves)]


def _tangent_tree(result: Result) -> TreeDef:
    return _pruned(result.tree, _numeric(result))


@explained
def jvp(
    f: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    r"""The value of a function and its directional derivative :math:`J t`.

    Args:
        f: a pure function of pytrees; its result is a pytree of arrays of any shapes.
        primals: where to differentiate: a tuple of pytrees of floating-point arrays, one for each
            argument.
        tangents: in which direction: a tuple of the same structure and shapes.
        has_aux: whether ``f`` returns ``(result, aux)``; ``aux`` is any pytree.

    Returns:
        ``(value, tangent)``, of the same structure, shapes and dtypes, or ``(value, tangent,
        aux)``. The tangent of a leaf that is not floating-point is zeros of its dtype; ``None`` for
        what is no number (text, …).

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
    return _jvp("jvp", f, primals, tangents, has_aux)


def _jvp(
    name: str, f: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool
) -> tuple[Any, ...]:
    primals, tangents = _as_tuple(primals, name, "primals"), _as_tuple(tangents, name, "tangents")
    chosen, avals, traced = _traced(f, primals, has_aux, name)
    like = _Like(structure(primals), tuple([aval.with_weak(False) for aval in avals]))
    checked = like.checked(tangents, "tangents", "primals")
    graph, pushed = traced.graph, tuple(range(traced.counts[0]))
    forward = pushforward(graph, tuple(range(len(avals))), pushed)
    outputs = run(forward, [*chosen.leaves, *traced.captures, *checked])
    count = len(graph.outputs)
    value, *aux = traced.rebuild(outputs[:count])
    tangent = _tangent_tree(traced.results[0]).unflatten(outputs[count:])
    return (value, tangent, aux[0]) if has_aux else (value, tangent)


def _as_tuple(values: Any, transform: str, name: str) -> tuple[Any, ...]:
    if not isinstance(values, (tuple, list)):
        raise ArgumentError(
            f"{transform} needs {name} as a tuple, one for each argument of the function, but got "
            f"a {type(values).__name__}; write: ({name[:-1]},) for a single one"
        )
    return tuple(values)


@explained
def hvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    r"""The product of a scalar-valued function's Hessian with a vector, without the Hessian.

    :math:`(H t)_i = \sum_j \partial^2 f / \partial x_i \partial x_j \, t_j`, the derivative of the
    gradient along :math:`t`: forward over reverse mode, for the price of a few gradients.

    Args:
        f: a pure function of pytrees; its result is one real number.
        primals: where to differentiate: a tuple of pytrees of floating-point arrays, one for each
            argument.
        tangents: the vector: a tuple of the same structure and shapes.

    Returns:
        The product, of the argument's structure, shapes and dtypes; if there are several arguments,
        a tuple with the part of each.

    Raises:
        NonDifferentiableInputError: a leaf of a primal is not floating-point.
        NonScalarOutputError: the result has a shape other than ``()``.
        TreeMismatchError: tangents of another structure.
        CotangentError: a tangent of another shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.hvp(lambda x: x[0] ** 2 * x[1], (np.array([2.0, 3.0]),), (np.array([1.0, 10.0]),))
        array([46.,  4.])

        The Laplacian, the trace of the Hessian, as a sum over the unit vectors:

        >>> def laplacian(f):
        ...     def trace(x):
        ...         along = lambda v: v @ fg.hvp(f, (x,), (v,))
        ...         return np.sum(fg.vmap(along)(np.eye(x.size)))
        ...     return trace
        >>> float(laplacian(lambda x: np.sum(x**3))(np.array([1.0, 2.0])))
        18.0

    References:
        Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6, 1994.
    """
    check_callable(f, "hvp", "(f, (x,), (tangent,))")
    primals = _as_tuple(primals, "hvp", "primals")
    argnums = 0 if len(primals) == 1 else range(len(primals))
    return _jvp("hvp", grad(f, argnums), primals, tangents, False)[1]
