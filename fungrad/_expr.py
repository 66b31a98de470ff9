"""Expression nodes: immutable, interned, never compared by structure.

Row 2. In: a primitive, argument nodes, static parameters. Out: *the* node of that key, so that
equality is identity and common subexpressions are one object. Nothing here recurses over a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from fungrad._aval import SCALAR_TYPES, Aval, make_aval
from fungrad._intern import InternTable, bits_key, static_key
from fungrad._provenance import recording

if TYPE_CHECKING:
    from fungrad._primitive import Primitive

Static = tuple[tuple[str, Any], ...]
"""A primitive's metadata (axes, shapes, …) as name-value pairs, in the order of its rules."""


@attrs.frozen(eq=False, repr=False, weakref_slot=True)
class Expr:
    """One node: ``primitive`` applied to ``args``. Inputs and literals have no primitive."""

    primitive: Primitive | None
    args: tuple[Expr, ...]
    static: Static
    aval: Aval

    def __repr__(self) -> str:
        name = "node" if self.primitive is None else self.primitive.name
        return f"<{type(self).__name__} {name}: {self.aval}>"

    def __reduce__(self) -> Any:
        raise TypeError("single nodes can't be pickled or copied: they are immutable and shared")


@attrs.frozen(eq=False, repr=False, weakref_slot=True)
class Input(Expr):
    """The ``index``-th argument of whatever graph the node is read in."""

    index: int


@attrs.frozen(eq=False, repr=False, weakref_slot=True)
class Literal(Expr):
    """A Python number written into the program; weak, as NumPy treats it (NEP 50)."""

    value: Any


_exprs: InternTable[Expr] = InternTable()


@lru_cache(maxsize=256)
def make_input(index: int, aval: Aval) -> Input:
    """The ``Input`` node of this position and kind."""
    key = (Input, index, id(aval))
    node = _exprs.get(key)
    if node is None:
        node = _exprs.add(key, Input(None, (), (), aval, index))
    return node  # type: ignore[return-value]


def make_literal(value: bool | int | float | complex) -> Literal:
    """The ``Literal`` node of a Python number, told apart by type and by bits."""
    if type(value) is int or (type(value) is float and value):  # equal ones have equal bits
        return _frequent_literal(value)
    return _literal(value)


def _literal(value: bool | int | float | complex) -> Literal:
    key = (Literal, bits_key(value))
    node = _exprs.get(key)
    if node is None:
        aval = make_aval((), SCALAR_TYPES[type(value)], True)
        node = _exprs.add(key, Literal(None, (), (), aval, value))
    return node  # type: ignore[return-value]


_frequent_literal = lru_cache(maxsize=256, typed=True)(_literal)


def node_key(primitive: Primitive, args: tuple[Expr, ...], static: Static, weak: bool) -> Hashable:
    """The intern key. It may hold ids: the node keeps what they are of alive.

    And it holds little else, so that the garbage collector soon forgets about it.
    """
    if static:
        return id(primitive), weak, static_key(static), *map(id, args)
    count = len(args)
    if count == 2:  # most nodes; so it takes half the time
        return id(primitive), weak, (), id(args[0]), id(args[1])
    if count == 1:
        return id(primitive), weak, (), id(args[0])
    return id(primitive), weak, (), *map(id, args)


find_node: Callable[[Hashable], Expr | None] = _exprs.get
find_reference: Callable[[Hashable], Callable[[], Expr | None] | None] = _exprs.references.get
"""The same one step sooner, for the busiest place: the reference may be dead."""


def add_node(
    key: Hashable, primitive: Primitive, args: tuple[Expr, ...], static: Static, aval: Aval
) -> Expr:
    """Intern a node whose key (from ``node_key``) was not found."""
    return _exprs.add(key, Expr(primitive, args, static, aval))


def with_args(node: Expr, args: tuple[Expr, ...]) -> Expr:
    """``node`` with other arguments of the same avals."""
    if node.primitive is None or node.args == args:
        return node
    key = node_key(node.primitive, args, node.static, node.aval.weak)
    found = find_node(key)
    if found is None:
        found = add_node(key, node.primitive, args, node.static, node.aval)
    if (record := recording()) is not None:
        record.replaced(found, node)
    return found


def alone(node: Expr) -> Expr:
    """The same operation on inputs of its own, in the order of its operands, and on literals."""
    own = [
        arg if isinstance(arg, Literal) else make_input(k, arg.aval)
        for k, arg in enumerate(node.args)
    ]
    return with_args(node, tuple(own))
