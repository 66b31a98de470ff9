"""``vmap``: a function of one example becomes a function of a batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from fungrad._aval import make_aval
from fungrad._batch import batch
from fungrad._provenance import explained
from fungrad._trace import trace_flat
from fungrad._tree import flatten
from fungrad.compile import run
from fungrad.errors import ArgumentError, ShapeMismatchError, TreeMismatchError
from fungrad.transforms._arguments import aval_of_leaf, choose

Function = Callable[..., Any]


def vmap(f: Function, in_axes: Any = 0, out_axes: int = 0) -> Function:
    """Map a function over an axis of its arguments, as one program instead of a loop.

    Args:
        f: a pure function of one example.
        in_axes: along which axis the examples of each positional argument lie: an int for all of
            them, or a tuple with, for each argument, an int, ``None`` (the same for all examples)
            or a pytree of these with the argument's structure.
        out_axes: where the axis of the examples goes in every leaf of the result.

    Returns:
        A function of batches that returns what stacking ``f``'s results would give.

    Raises:
        ShapeMismatchError: batches of different sizes, or nothing to map over.
        ConcretizationError: Python code in ``f`` depends on a value that differs by example.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.vmap(np.dot, in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0]))
        array([3., 4.])

    References:
        The name and its arguments are JAX's.
    """

    @explained
    @wraps(f)
    def batched_function(*args: Any, **kwargs: Any) -> Any:
        every = choose(f, args, kwargs, range(len(args)))
        chosen, places = every.numeric()
        all_axes, all_paths = _axes_of_leaves(in_axes, every.trees), every.paths()
        axes, paths = [all_axes[i] for i in places], [all_paths[i] for i in places]
        avals = [aval_of_leaf(leaf) for leaf in chosen.leaves]
        sizes = {
            path: aval.shape[_checked(axis, aval.ndim, path)]
            for path, aval, axis in zip(paths, avals, axes, strict=True)
            if axis is not None
        }
        if len(set(sizes.values())) != 1:
            found = ", ".join(f"{path}: {size}" for path, size in sizes.items()) or "none"
            raise ShapeMismatchError(
                f"vmap needs batches of one common size, but found {found}; write: in_axes=None "
                "for what is the same for all examples"
            )
        (size,) = set(sizes.values())
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
        outputs = run(batch(traced.graph, flags, size), [*moved, *traced.captures])
        if out_axes != 0:
            outputs = [np.moveaxis(out, 0, out_axes) for out in outputs]
        return traced.rebuild(outputs)[0]

    return batched_function


def _axes_of_leaves(in_axes: Any, trees: tuple[Any, ...]) -> list[int | None]:
    """The batch axis of each leaf, or ``None``."""
    if not isinstance(in_axes, (tuple, list)):
        in_axes = (in_axes,) * len(trees)
    if len(in_axes) != len(trees):
        raise ArgumentError(
            f"vmap got in_axes for {len(in_axes)} arguments, but {len(trees)} positional "
            "arguments; write: one axis for each argument"
        )
    axes: list[int | None] = []
    for number, (axis, tree) in enumerate(zip(in_axes, trees, strict=True)):
        part: list[int | None] = [None] * tree.num_leaves
        _assign(axis, tree.unflatten(range(tree.num_leaves)), part, f"in_axes[{number}]")
        axes += part
    return axes


def _assign(axis: Any, positions: Any, axes: list[int | None], path: str) -> None:
    """Set ``axes`` at all positions below a subtree; ``axis`` may stop above the leaves."""
    if axis is None or isinstance(axis, int):
        for position in flatten(positions)[0]:
            axes[position] = axis
        return
    keyed = isinstance(axis, dict)
    if (
        type(axis) is not type(positions)
        or len(axis) != len(positions)
        or (keyed and axis.keys() != positions.keys())
    ):
        raise TreeMismatchError(
            f"vmap's {path} is {axis!r}, which does not fit the argument's structure; write: an "
            "int or None, or the argument's own structure filled with these"
        )
    for key in axis if keyed else range(len(axis)):
        _assign(axis[key], positions[key], axes, f"{path}[{key!r}]")


def _checked(axis: int, rank: int, path: str) -> int:
    if not -rank <= axis < rank:
        raise ShapeMismatchError(
            f"vmap was told to map {path} over axis {axis}, but it has {rank} axes; write: "
            "in_axes=None for what is the same for all examples"
        )
    return axis


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]
