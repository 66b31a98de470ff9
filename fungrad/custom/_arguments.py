"""The arguments of a function with a rule of its own: which of their leaves are traced.

Stage: trace. In: a call. Out: its traced leaves, which become operands, and the way back to a call.
Whatever else is in the arguments reaches the function and its rule as it is.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, aval_of, is_number_like
from fungrad._tracer import Tracer
from fungrad._tree import TreeDef, flatten
from fungrad.errors import ArgumentError

Function = Callable[..., Any]


@attrs.frozen(eq=False)
class Call:
    """The arguments of one call.

    Attributes:
        args: all of them, in their positions.
        fixed: the positions of those that have no derivative (``nondiff_argnums``).
        places: the positions of the others.
        leaves: the leaves of the others, one after the other.
        tree: their structure, as a tuple.
        traced: where in ``leaves`` the traced ones are.
        avals: what is known of these.
    """

    args: tuple[Any, ...]
    fixed: tuple[int, ...]
    places: tuple[int, ...]
    leaves: list[Any]
    tree: TreeDef
    traced: tuple[int, ...]
    avals: tuple[Aval, ...]

    @property
    def tracers(self) -> list[Tracer]:
        """The traced leaves."""
        return [self.leaves[i] for i in self.traced]

    @property
    def numeric(self) -> dict[int, Aval]:
        """What is known of the leaves that are numbers, by their place among the leaves."""
        avals = {i: aval_of(leaf) for i, leaf in enumerate(self.leaves) if is_number_like(leaf)}
        return avals | dict(zip(self.traced, self.avals, strict=True))

    def without_tracers(self) -> Call:
        """The same for later, when the tracers are dead; it does not keep them alive."""
        args = [None if i in self.places else arg for i, arg in enumerate(self.args)]
        leaves = [None if i in self.traced else leaf for i, leaf in enumerate(self.leaves)]
        return attrs.evolve(self, args=tuple(args), leaves=leaves)

    def differentiable(self) -> bool:
        """Whether a traced leaf depends on what is being differentiated."""
        return any(leaf.owner.differentiable(leaf._expr) for leaf in self.tracers)

    def with_traced(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments in ``places``, with ``values`` for the traced leaves."""
        leaves = list(self.leaves)
        for i, value in zip(self.traced, values, strict=True):
            leaves[i] = value
        return tuple(self.tree.unflatten(leaves))

    def complete(self, values: Sequence[Any]) -> list[Any]:
        """All arguments, with ``values`` for the traced leaves."""
        args = list(self.args)
        for place, arg in zip(self.places, self.with_traced(values), strict=True):
            args[place] = arg
        return args

    @property
    def fixed_args(self) -> list[Any]:
        """The arguments that have no derivative."""
        return [self.args[i] for i in self.fixed]

    def paths(self) -> list[str]:
        """For every leaf, where it stands in the call."""
        return [
            f"argument {place}{path}"
            for place, tree in zip(self.places, self.tree.children, strict=True)
            for path in tree.paths()
        ]


def call_of(args: tuple[Any, ...], fixed: tuple[int, ...] = ()) -> Call:
    """Take the arguments of a call apart."""
    places = tuple([i for i in range(len(args)) if i not in fixed])
    leaves, tree = flatten(tuple([args[i] for i in places]))
    traced = tuple([i for i, leaf in enumerate(leaves) if isinstance(leaf, Tracer)])
    avals = tuple([leaves[i].aval for i in traced])
    return Call(args, fixed, places, leaves, tree, traced, avals)


def aval_of_leaf(leaf: Any) -> Aval:
    """What is known of a leaf, traced or concrete."""
    return leaf.aval if isinstance(leaf, Tracer) else aval_of(leaf)


def positions(argnums: int | Sequence[int], count: int, name: str) -> tuple[int, ...]:
    """``nondiff_argnums`` as positions among ``count`` arguments, in order."""
    numbers = argnums if isinstance(argnums, Sequence) else (argnums,)
    for number in numbers:
        if not -count <= number < count:
            raise ArgumentError(
                f"nondiff_argnums={argnums} of {name} names an argument that this call does not "
                f"have: it has {count} positional ones; write: positions of existing arguments"
            )
    return tuple(sorted({operator.index(number) % count for number in numbers}))


def signature_of(function: Function) -> inspect.Signature | None:
    """The parameters of a function, if it tells them."""
    # The keywords of a ufunc (out=, where=, …) are no arguments of the mathematical function.
    if isinstance(function, np.ufunc):
        return None
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # a callable of C
        return None


def positional(
    signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> tuple[Any, ...]:
    """All arguments in their positions, those by keyword and the defaults included."""
    if signature is None:
        if kwargs:
            raise ArgumentError(
                f"{name} can't tell the positions of {', '.join(kwargs)}; write: all arguments by "
                "position"
            )
        return args
    bound = signature.bind(*args, **kwargs)
    if bound.kwargs:
        raise ArgumentError(
            f"{name} takes {', '.join(bound.kwargs)} by keyword only, but the arguments of a "
            "custom rule are told apart by position; write: a parameter without * before it"
        )
    bound.apply_defaults()
    return bound.args
