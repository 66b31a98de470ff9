"""What of a call's arguments selects the program of a jitted function, and what goes into it.

Row 9. In: arguments. Out: a hashable key, the leaves that are the program's inputs, and the call of
the function with traced values in their places.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import aval_of, is_array, is_number_like
from fungrad._containers import kinds
from fungrad._intern import bits_key
from fungrad._tracer import Tracer
from fungrad._tree import TreeDef, flatten
from fungrad.errors import ArgumentError

Function = Callable[..., Any]


@attrs.frozen
class Statics:
    """Which arguments select a program by value.

    Attributes:
        places: their positions; negative ones count from the end.
        names: their keywords.
    """

    places: frozenset[int]
    names: frozenset[str]

    @classmethod
    def of(cls, function: Function, argnums: Any, argnames: Any) -> Statics:
        """As ``jit`` is told; an argument that has a name and a position has both."""
        numbers = argnums if isinstance(argnums, Sequence) else (argnums,)
        words = (argnames,) if isinstance(argnames, str) else tuple(argnames)
        places = set(map(operator.index, numbers))
        names = set(words)
        if not (places or names):
            return cls(frozenset(), frozenset())
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # some builtins have none
            return cls(frozenset(places), frozenset(names))
        kinds = [parameter.kind for parameter in parameters]
        named = {parameter.name for parameter in parameters if parameter.kind in _NAMED}
        if inspect.Parameter.VAR_KEYWORD not in kinds and not names <= named:
            raise ArgumentError(
                f"static_argnames names {min(names - named)!r}, but the function's parameters are "
                f"{', '.join(p.name for p in parameters) or 'none'}; write: one of these"
            )
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        if inspect.Parameter.VAR_POSITIONAL not in kinds:
            count = len(positional)
            wrong = [i for i in places if not -count <= i < count]
            if wrong:
                raise ArgumentError(
                    f"static_argnums has {wrong[0]}, but the function has {count} positional "
                    "parameters; write: the position of one of them, or static_argnames"
                )
        for i, parameter in enumerate(positional):
            if parameter.kind in _NAMED and parameter.name in names:
                places.add(i)
            elif parameter.kind in _NAMED and i in places:
                names.add(parameter.name)
        return cls(frozenset(places), frozenset(names))

    def __bool__(self) -> bool:
        return bool(self.places or self.names)

    def among(self, args: Sequence[Any]) -> frozenset[int]:
        """The positions of those that are given by position."""
        count = len(args)
        return frozenset([i % count for i in self.places if -count <= i < count])


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@attrs.frozen(eq=False)
class Call:
    """A call, taken apart.

    Attributes:
        key: what selects the program.
        inputs: the leaves that are inputs of the program.
        leaves: all leaves of the arguments that are not static.
        tree: their structure; ``None`` if each argument is a leaf.
        places: the positions of the static arguments.
        args: the positional arguments as they were given.
        static: the static ones among the keywords.
        plain: whether there are neither keywords nor static arguments.
    """

    key: Hashable
    inputs: Sequence[Any]
    leaves: Sequence[Any]
    tree: TreeDef | None = None
    places: frozenset[int] = frozenset()
    args: tuple[Any, ...] = ()
    static: dict[str, Any] = attrs.field(factory=dict)
    plain: bool = True

    def on(self, function: Function, tracers: Sequence[Any]) -> Any:
        """The function's result, with tracers in the inputs' places."""
        rest = iter(tracers)
        leaves = [next(rest) if is_input(leaf) else leaf for leaf in self.leaves]
        if self.tree is None:
            return function(*leaves)
        if self.plain:
            return function(*self.tree.unflatten(leaves))
        positional, keywords = self.tree.unflatten(leaves)
        dynamic = iter(positional)
        complete = [a if i in self.places else next(dynamic) for i, a in enumerate(self.args)]
        return function(*complete, **keywords, **self.static)

    def selecting(self) -> list[Any]:
        """What selects the program by its value, or is a part of its structure."""
        found = [leaf for leaf in self.leaves if not is_input(leaf)]
        found += [self.args[i] for i in self.places]
        found += self.static.values()
        return found + self.tree.statics() if self.tree is not None else found


def key_of(
    args: tuple[Any, ...], kwargs: dict[str, Any], statics: Statics
) -> tuple[Hashable, Sequence[Any]]:
    """What selects the program for a call, and its inputs; this is done at every call."""
    if kwargs or statics:
        call = call_of(args, kwargs, statics)
        return call.key, call.inputs
    signed = signature(args)
    if signed is not None:
        return signed
    leaves, tree = flatten(args)
    key, inputs = _signed(leaves)
    return (tree, key), inputs


def call_of(args: tuple[Any, ...], kwargs: dict[str, Any], statics: Statics) -> Call:
    """Take the arguments of a call apart."""
    if not kwargs and not statics:
        signed = signature(args)
        if signed is not None:
            return Call(*signed, args)
        leaves, tree = flatten(args)
        key, inputs = _signed(leaves)
        return Call((tree, key), inputs, leaves, tree)
    places = statics.among(args)
    dynamic = tuple([arg for i, arg in enumerate(args) if i not in places])
    static = {name: value for name, value in kwargs.items() if name in statics.names}
    keywords = {name: value for name, value in kwargs.items() if name not in static}
    leaves, tree = flatten((dynamic, keywords))
    key, inputs = _signed(leaves)
    by_place = tuple([(i, bits_key(args[i])) for i in sorted(places)])
    by_name = tuple([(name, bits_key(static[name])) for name in sorted(static)])
    whole = (tree, by_place, by_name, key)
    return Call(whole, inputs, leaves, tree, places, args, static, False)


def is_input(leaf: Any) -> bool:
    """Whether a leaf is an input of the program; others select one by their value."""
    return isinstance(leaf, Tracer) or (type(leaf) is not bool and is_number_like(leaf))


def _signed(leaves: Sequence[Any]) -> tuple[Hashable, Sequence[Any]]:
    signed = signature(leaves)
    assert signed is not None
    return signed


def signature(leaves: Sequence[Any]) -> tuple[tuple[Hashable, ...], Sequence[Any]] | None:
    """What of leaves selects the program, and those that are its inputs.

    ``None`` if one of them is no leaf. This is much of what a small jitted function costs.
    """
    key: list[Any] = []
    statics = False
    for leaf in leaves:
        kind = type(leaf)
        if kind is np.ndarray:
            key.append(leaf.shape)
            key.append(leaf.dtype)
        elif kind is float or kind is int or kind is complex:
            key.append(kind)
        elif isinstance(leaf, Tracer):
            key.append(leaf.aval)
        elif kinds[kind] is not None:
            return None
        elif is_array(leaf):
            key.append(leaf.shape)
            key.append(leaf.dtype)
        elif isinstance(leaf, np.ndarray):
            aval_of(leaf)  # raises: a matrix or masked array has operators of its own
        else:
            key.append(("static", bits_key(leaf)))
            statics = True
    return tuple(key), [leaf for leaf in leaves if is_input(leaf)] if statics else leaves
