"""``vmap``: a function of one example becomes a function of a batch.

Row 9. In: a function, its arguments, and which axes count examples. Out: the stacked results.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from fungrad._aval import Aval, make_aval
from fungrad._batch import batch, varying
from fungrad._provenance import explained
from fungrad._trace import Traced, trace_flat
from fungrad._tree import TreeDef, spread
from fungrad.compile import run
from fungrad.errors import ArgumentError, ShapeMismatchError
from fungrad.transforms._arguments import Chosen, aval_of_leaf, check_function, choose, is_numeric

Function = Callable[..., Any]
Axis = int | None


def vmap(
    f: Function, in_axes: Any = 0, out_axes: Any = 0, axis_size: int | None = None
) -> Function:
    """Map a function over an axis of its arguments, as one program instead of a loop.

    Args:
        f: a pure function of one example.
        in_axes: along which axis the examples of each positional argument lie: an int for all of
            them, or a tuple with, for each argument, an int, ``None`` (the same for all examples)
            or a pytree of these with the argument's structure, or a part of it from the root. Of
            keyword arguments, arrays are mapped over axis 0; numbers are the same for all.
        out_axes: where the axis of the examples goes in the result: an int, or a pytree of ints
            and ``None`` with the result's structure, or a part of it from the root. ``None``: a
            value that is the same for all examples, once.
        axis_size: how many examples there are; needed only where nothing is mapped over.

    Returns:
        A function of batches that returns what stacking ``f``'s results would give.

    Raises:
        ShapeMismatchError: batches of different sizes, nothing to map over, an axis that an array
            does not have, or ``None`` in ``out_axes`` for a value that differs by example.
        TreeMismatchError: ``in_axes`` or ``out_axes`` of another structure.
        ConcretizationError: Python code in ``f`` depends on a value that differs by example.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.vmap(np.dot, in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0]))
        array([3., 4.])
        >>> loss = lambda w, x, y: (x @ w - y) ** 2
        >>> fg.vmap(fg.grad(loss), in_axes=(None, 0, 0))(np.ones(2), np.eye(2), np.zeros(2))
        array([[2., 0.],
               [0., 2.]])

    References:
        The name and its arguments are JAX's.
    """
    check_function(f, "vmap")

    @explained
    @wraps(f)
    def batched_function(*args: Any, **kwargs: Any) -> Any:
        chosen, axes, paths = _mapped(f, args, kwargs, in_axes)
        avals = [aval_of_leaf(leaf) for leaf in chosen.leaves]
        size = _common_size(avals, axes, paths, axis_size)
        moved = [
            leaf if axis is None else np.moveaxis(leaf, axis, 0)
            for leaf, axis in zip(chosen.leaves, axes, strict=True)
        ]
        traced = trace_flat(
            lambda leaves: (chosen.call(leaves),),
            [
                aval if axis is None else make_aval(_without(aval.shape, axis), aval.dtype)
                for aval, axis in zip(avals, axes, strict=True)
            ],
            [leaf if axis is None else None for leaf, axis in zip(moved, axes, strict=True)],
        )
        flags = (*[axis is not None for axis in axes], *[False] * len(traced.captures))
        places = _places(traced, out_axes, varying(traced.graph, flags, size))
        once = tuple([place is None for place in places])
        outputs = run(batch(traced.graph, flags, size, once), [*moved, *traced.captures])
        return traced.rebuild(
            [
                out if not place else np.moveaxis(out, 0, place)
                for out, place in zip(outputs, places, strict=True)
            ]
        )[0]

    return batched_function


def _mapped(
    f: Function, args: tuple[Any, ...], kwargs: dict[str, Any], in_axes: Any
) -> tuple[Chosen, list[Axis], Callable[[], list[str]]]:
    """The numeric leaves of a call; for each, over which axis it is mapped; and their names."""
    call = lambda *parts: f(*parts[:-1], **parts[-1])
    every = choose(call, (*args, kwargs), {}, range(len(args) + 1))
    chosen, numeric = every.numeric()
    *trees, keywords = every.trees
    axes = _axes_of_leaves(in_axes, trees)
    first = len(axes)
    axes += [
        0 if is_numeric(leaf) and aval_of_leaf(leaf).ndim else None for leaf in every.leaves[first:]
    ]

    def paths() -> list[str]:
        names = every.paths()
        names[first:] = [f"keyword argument {path}" for path in keywords.paths()]
        return [names[i] for i in numeric]

    return chosen, [axes[i] for i in numeric], paths


def _axes_of_leaves(in_axes: Any, trees: Sequence[TreeDef]) -> list[Axis]:
    """The batch axis of each leaf, or ``None``."""
    if not isinstance(in_axes, (tuple, list)):
        in_axes = (in_axes,) * len(trees)
    if len(in_axes) != len(trees):
        raise ArgumentError(
            f"vmap got in_axes for {len(in_axes)} arguments, but {len(trees)} positional "
            "arguments; write: one axis for each argument"
        )
    return [
        axis
        for number, (part, tree) in enumerate(zip(in_axes, trees, strict=True))
        for axis in spread(part, tree, _is_axis, f"in_axes[{number}]", f"argument {number}")
    ]


def _is_axis(value: Any) -> bool:
    return value is None or (hasattr(value, "__index__") and not isinstance(value, bool))


def _common_size(
    avals: list[Aval], axes: list[Axis], paths: Callable[[], list[str]], axis_size: int | None
) -> int:
    mapped = [(i, axis) for i, axis in enumerate(axes) if axis is not None]
    for i, axis in mapped:
        rank = avals[i].ndim
        if not -rank <= axis < rank:
            raise ShapeMismatchError(
                f"vmap was told to map {paths()[i]} over axis {axis}, but it has {rank} axes; "
                "write: in_axes=None for what is the same for all examples"
            )
    sizes = [avals[i].shape[axis] for i, axis in mapped]
    if axis_size is not None and (not hasattr(axis_size, "__index__") or axis_size < 0):
        raise ArgumentError(f"vmap got axis_size={axis_size!r}; write: the number of examples")
    every = sizes if axis_size is None else [*sizes, operator.index(axis_size)]
    if len(set(every)) != 1:
        names = [paths()[i] for i, _ in mapped]
        pairs = zip([*names, "axis_size"], every, strict=False)
        found = ", ".join([f"{name}: {size}" for name, size in pairs]) or "none"
        raise ShapeMismatchError(
            f"vmap needs batches of one common size, but found {found}; write: in_axes=None "
            "for what is the same for all examples, and axis_size= where that is everything"
        )
    return every[0]


def _places(traced: Traced, out_axes: Any, differs: tuple[bool, ...]) -> list[Axis]:
    """For each output, where the axis of the examples goes."""
    result = traced.results[0]
    every = spread(out_axes, result.tree, _is_axis, "out_axes", "the result")
    numeric = [i for i in range(result.tree.num_leaves) if i not in result.opaque]
    for i, aval, flag in zip(numeric, traced.graph.avals, differs, strict=True):
        axis, rank = every[i], aval.ndim + 1
        if axis is None and flag:
            raise ShapeMismatchError(
                f"vmap was told by out_axes=None that result{result.tree.paths()[i]} is the same for all "
                f"examples, but it depends on what is mapped over; write: out_axes=0, or a value "
                "that does not depend on it"
            )
        if axis is not None and not -rank <= axis < rank:
            raise ShapeMismatchError(
                f"vmap was told to put the examples along axis {axis} of result{result.tree.paths()[i]}, but "
                f"with them it has {rank} axes; write: out_axes from {-rank} to {rank - 1}"
            )
    return [every[i] for i in numeric]


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]
