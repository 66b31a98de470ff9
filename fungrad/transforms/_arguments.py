"""What all transforms do with arguments: choose, flatten, check, put back."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import SCALAR_TYPES, Aval, aval_of, make_aval
from fungrad._tracer import Tracer
from fungrad._tree import LEAF, TreeDef, flatten
from fungrad.errors import (
    ArgumentError,
    ComplexInputError,
    ComplexOutputError,
    CotangentError,
    NonDifferentiableInputError,
    OutputTypeError,
)

Argnums = int | Sequence[int]


def aval_of_leaf(leaf: Any) -> Aval:
    """What is known of a leaf, traced or concrete."""
    return leaf.aval if isinstance(leaf, Tracer) else aval_of(leaf)


@attrs.frozen(eq=False, slots=False)  # made at every call: faster without slots
class Chosen:
    """The arguments that a transform works on, as leaves, and the way back to a call.

    Attributes:
        leaves: all leaves of the chosen arguments.
        places: the position of each chosen argument.
        trees: the structure of each chosen argument.
        call: ``leaves -> function(*args, **kwargs)`` with those leaves in their places.
    """

    leaves: list[Any]
    places: tuple[int, ...]
    trees: tuple[TreeDef, ...]
    call: Callable[[Sequence[Any]], Any]

    def regroup(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """One tree for each chosen argument, made of ``leaves``."""
        return regrouped(self.trees, leaves)

    def paths(self) -> list[str]:
        """For every leaf, where it stands in the call."""
        return [
            f"argument {place}{path}"
            for place, tree in zip(self.places, self.trees, strict=True)
            for path in tree.paths()
        ]

    def numeric(self) -> tuple[Chosen, list[int]]:
        """The same without the leaves that are no numbers, and the positions of those that are.

        The others (strings, functions, …) reach the function as they are.
        """
        places = [i for i, leaf in enumerate(self.leaves) if is_numeric(leaf)]
        if len(places) == len(self.leaves):
            return self, places

        def call(new: Sequence[Any]) -> Any:
            complete = list(self.leaves)
            for place, leaf in zip(places, new, strict=True):
                complete[place] = leaf
            return self.call(complete)

        return Chosen([self.leaves[i] for i in places], self.places, self.trees, call), places


def regrouped(trees: Sequence[TreeDef], leaves: Sequence[Any]) -> tuple[Any, ...]:
    """One tree of each structure, made of consecutive ``leaves``."""
    start, grouped = 0, []
    for tree in trees:
        if tree is LEAF:
            grouped.append(leaves[start])
            start += 1
            continue
        grouped.append(tree.unflatten(leaves[start : start + tree.num_leaves]))
        start += tree.num_leaves
    return tuple(grouped)


def split_aux(out: Any, has_aux: bool) -> tuple[Any, ...]:
    """What a function returned as ``(result, aux)``, or as ``(result,)``."""
    if not has_aux:
        return (out,)
    if not isinstance(out, tuple) or len(out) != 2:
        raise OutputTypeError(
            "with has_aux=True the function must return (result, aux), but it returned "
            f"{kind_of_result(out)}; write: return result, aux"
        )
    return out


def kind_of_result(out: Any) -> str:
    """What a function returned, in words."""
    if out is None:
        return "None (is a `return` missing?)"
    if isinstance(out, Tracer):
        return f"one array, {out.aval}"
    return f"{'an' if type(out).__name__[0] in 'aeiou' else 'a'} {type(out).__name__}"


def check_callable(f: Any, transform: str, usage: str = "(f)(x)") -> None:
    """Refuse at once what is no function."""
    if not callable(f):
        raise ArgumentError(
            f"{transform} needs a function, but got {kind_of_result(f)}; write: "
            f"fg.{transform}{usage}, with f as it is and not a result of it"
        )


def check_function(f: Any, transform: str, argnums: Any = 0) -> None:
    """Refuse at once what is no function, or an argument in the place of its position."""
    check_callable(f, transform)
    for number in argnums if isinstance(argnums, Sequence) else (argnums,):
        if not hasattr(number, "__index__"):
            raise ArgumentError(
                f"argnums is {number!r}, which is no position of an argument; write: an int or a "
                f"tuple of ints, and give the arguments to the result: fg.{transform}(f)(x)"
            )


def choose(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Argnums
) -> Chosen:
    """Take the arguments ``argnums`` apart."""
    if len(args) == 1 and not kwargs and type(argnums) is int and argnums == 0:  # most calls
        leaves, tree = flatten(args[0])
        if tree is LEAF:
            return Chosen(leaves, (0,), (LEAF,), lambda new: function(new[0]))
    single = type(argnums) is int or not isinstance(argnums, Sequence)
    numbers: Any = (argnums,) if single else argnums
    places = [_place(i, len(args), bool(kwargs)) for i in numbers]
    if len(set(places)) != len(places):
        raise ArgumentError(f"argnums={argnums} names an argument twice; write: each one once")
    leaves = []
    trees = []
    for place in places:
        part, tree = flatten(args[place])
        leaves += part
        trees.append(tree)
    structure = tuple(trees)

    def call(new: Sequence[Any]) -> Any:
        complete = list(args)
        for place, tree in zip(places, regrouped(structure, new), strict=True):
            complete[place] = tree
        return function(*complete, **kwargs)

    # No cycle: arrays that are arguments must not wait for the garbage collector.
    return Chosen(leaves, tuple(places), structure, call)


def _place(argnum: Any, count: int, keywords: bool) -> int:
    place = operator.index(argnum)
    if not -count <= place < count:
        remedy = "that argument without its keyword" if keywords else f"one below {count}"
        raise ArgumentError(
            f"argnums={argnum} names an argument that this call does not have: it has {count} "
            "positional ones; write: "
            + (remedy if keywords or count else "the argument, as in fg.grad(f)(x)")
        )
    return place % count


def differentiable_avals(
    chosen: Chosen, transform: str, holomorphic: bool = False, real: bool = False
) -> list[Aval]:
    """What is known of the leaves; an error for a leaf that has no derivative.

    Args:
        chosen: the arguments.
        transform: its name.
        holomorphic: whether complex derivatives are wanted, so that all leaves must be complex.
        real: whether complex leaves are refused otherwise.
    """
    avals = []
    for i, leaf in enumerate(chosen.leaves):
        if type(leaf) is np.ndarray:
            aval: Aval | None = make_aval(leaf.shape, leaf.dtype)
        else:
            aval = aval_of_leaf(leaf) if is_numeric(leaf) else None
        if aval is None or not aval.inexact:
            others = "lambda x: f(x, n)" if transform in _WITHOUT_ARGNUMS else "argnums="
            kind = f"an array of dtype {aval.dtype}" if aval and aval.shape else None
            raise NonDifferentiableInputError(
                f"{transform} needs floating-point (float or complex dtype) leaves to "
                f"differentiate with respect to; {chosen.paths()[i]} is "
                f"{kind or _described(leaf)}; write: 1.0 for 1, x.astype(float) for an array of "
                "int or bool, fg.tree.register for a class of your own, and leave other things out "
                f"of what to differentiate: {others}"
            )
        if holomorphic and aval.dtype.kind != "c":
            raise ComplexInputError(
                f"{transform} with holomorphic=True needs complex leaves to differentiate with "
                f"respect to; {chosen.paths()[i]} is {aval}; write: x.astype(complex), or "
                f"{transform} without holomorphic"
            )
        if real and not holomorphic and aval.dtype.kind == "c":
            raise ComplexInputError(
                f"{transform} needs real leaves to differentiate with respect to; "
                f"{chosen.paths()[i]} is {aval}; write: holomorphic=True where the function is "
                "holomorphic, or x.real and x.imag as two arguments"
            )
        avals.append(aval)
    return avals


_WITHOUT_ARGNUMS = ("vjp", "jvp", "linearize", "hvp")


def check_results(avals: Sequence[Aval], transform: str, holomorphic: bool) -> None:
    """An error for a result whose derivative is no plain gradient: complex, or real if not."""
    for aval in avals:
        if holomorphic and aval.dtype.kind != "c":
            raise ComplexOutputError(
                f"{transform} with holomorphic=True needs complex results, but one is {aval}; "
                f"write: {transform} without holomorphic"
            )
        if not holomorphic and aval.dtype.kind == "c":
            raise ComplexOutputError(
                f"{transform} needs a function with real results, but one is {aval}; write: "
                "np.abs(result) or np.real(result), holomorphic=True for a holomorphic function, "
                "or fg.jacfwd for a complex function of real arguments"
            )


_NUMERIC = frozenset({np.ndarray, Tracer, float})


def is_numeric(leaf: Any) -> bool:
    """Whether a leaf is meant as numbers: an array of any kind, or a number."""
    return type(leaf) in _NUMERIC or isinstance(
        leaf, (Tracer, np.ndarray, np.generic, bool, int, float, complex)
    )


def _described(leaf: Any) -> str:
    return f"{leaf!r} of type {type(leaf).__name__}"


def check_like(leaf: Any, aval: Aval, what: str) -> Any:
    """A tangent or cotangent for a primal like ``aval``: of its shape, and cast to its dtype."""
    given = aval_of_leaf(leaf)
    if given.shape != aval.shape or (given.dtype.kind == "c" != aval.dtype.kind):
        raise CotangentError(
            f"{what} has shape {given.shape} and dtype {given.dtype}; write: one of shape "
            f"{aval.shape} and dtype {aval.dtype}, as its primal has"
        )
    if given.dtype == aval.dtype and not given.weak:
        return leaf
    kind = {"f": float, "c": complex}[aval.dtype.kind]
    if type(leaf) in SCALAR_TYPES and SCALAR_TYPES[kind] == aval.dtype:
        return kind(leaf)  # a constant of the program, so that 1.0 is the same in nested ones
    return (leaf if isinstance(leaf, Tracer) else np.asarray(leaf)).astype(aval.dtype)
