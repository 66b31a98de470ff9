"""Graphs as plain data, and back: what pickling a graph writes.

Row 3. In: a graph. Out: nested tuples of None, numbers, strings and bytes, from which ``decode``
builds *the* graph again, in any process. Primitives go by name and are looked up in the registry,
so reading a graph runs no code but the shape rules of primitives that are already there. One row
for each node, so that depth is no limit.
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any, TypeVar

import attrs
import numpy as np

from fungrad._aval import SCALAR_TYPES, Aval, StackAval, make_aval, stack_aval
from fungrad._expr import Expr, Literal, make_input, make_literal
from fungrad._graph import Graph, make_graph
from fungrad._primitive import registry
from fungrad.errors import GraphFormatError

FORMAT = 1
"""Grows when data that was written before can't be read any more."""

Data = tuple[Any, ...]
T = TypeVar("T")
_AS_THEY_ARE = (type(None), bool, int, float, str)

markers: dict[str, Any] = {}
"""Objects that stand in statics, by name."""
records: dict[str, type[Any]] = {}
"""Classes of records that are statics, by name: data if their fields are."""


def record(cls: type[T]) -> type[T]:
    """Let statics be records of an attrs class of fungrad's own."""
    records[cls.__name__] = cls
    return cls


def encode(graph: Graph) -> Data:
    """``(FORMAT, avals of the inputs, a row for each node, references to the outputs)``.

    A row is ``(primitive, references to operands, names and values of statics, weak, aval)``. A
    reference is a position among inputs and then nodes, or a literal in a tuple of its own.

    Raises:
        GraphFormatError: a static value is no data, such as a function.
    """
    number = {node: i for i, node in enumerate([*graph.inputs, *graph.nodes])}

    def reference(node: Expr) -> Any:
        return (_plain(node.value, ""),) if isinstance(node, Literal) else number[node]

    rows = []
    for node in graph.nodes:
        assert node.primitive is not None
        static = [(name, _plain(value, node.primitive.name)) for name, value in node.static]
        args = tuple([reference(arg) for arg in node.args])
        rows.append((node.primitive.name, args, tuple(static), node.aval.weak, repr(node.aval)))
    inputs = tuple([_plain_aval(node.aval) for node in graph.inputs])
    return FORMAT, inputs, tuple(rows), tuple([reference(out) for out in graph.outputs])


def decode(data: Data) -> Graph:
    """The graph that ``encode`` wrote: the very same object where that still exists.

    Raises:
        GraphFormatError: a primitive is not declared here, or this is not what ``encode`` wrote.
    """
    if type(data) is not tuple or len(data) != 4 or type(data[0]) is not int or data[0] != FORMAT:
        raise GraphFormatError(
            f"a graph in another format than {FORMAT} can't be read; write: the version of fungrad "
            "that wrote it, or trace the function again"
        )
    _, inputs, rows, outputs = data
    try:
        avals = [_aval(*aval) for aval in inputs]
        nodes: list[Expr] = [make_input(i, aval) for i, aval in enumerate(avals)]
        for row in rows:
            nodes.append(_node(nodes, *row))
        return make_graph(avals, [_referred(nodes, out) for out in outputs])
    except GraphFormatError:
        raise
    except Exception as error:
        raise GraphFormatError(
            f"this is no graph that fungrad wrote ({type(error).__name__}: {error}); write: trace "
            "the function again"
        ) from error


def _plain_aval(aval: Aval) -> Data:
    if isinstance(aval, StackAval):
        return ("stack", _plain_aval(aval.element))
    return "array", aval.shape, aval.dtype.str, aval.weak


def _aval(kind: str, *fields: Any) -> Aval:
    if kind == "stack":
        return stack_aval(_aval(*fields[0]))
    shape, dtype, weak = fields
    if kind != "array" or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{shape!r} is no shape")
    return make_aval(tuple(shape), np.dtype(dtype), bool(weak))


def _node(
    nodes: Sequence[Expr], name: str, args: Data, static: Data, weak: bool, expected: str
) -> Expr:
    primitive = registry().get(name)
    if primitive is None:
        raise GraphFormatError(
            f"the primitive {name!r} is not declared in this process; write: import the module that "
            "declares it, and then read the graph"
        )
    operands = tuple([_referred(nodes, arg) for arg in args])
    node = primitive.node(operands, tuple([(key, _value(x)) for key, x in static]), bool(weak))
    if repr(node.aval) != expected:
        raise GraphFormatError(
            f"{name} gives {node.aval} in this process, and {expected} where the graph was written; "
            "write: trace the function again"
        )
    return node


def _referred(nodes: Sequence[Expr], reference: Any) -> Expr:
    if isinstance(reference, tuple):
        value = _value(reference[0])
        if type(value) not in SCALAR_TYPES:
            raise ValueError(f"{value!r} is no literal")
        return make_literal(value)
    if type(reference) is not int or reference < 0:
        raise ValueError(f"{reference!r} refers to no node")
    return nodes[reference]


def _plain(value: Any, primitive: str) -> Any:
    """A static value as data: itself, or ``(kind, …)``."""
    kind: Any = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is complex:
        return "complex", value.real, value.imag
    if kind is tuple:
        return "tuple", *[_plain(item, primitive) for item in value]
    if kind is slice:
        return "slice", *[_plain(x, primitive) for x in (value.start, value.stop, value.step)]
    if isinstance(value, np.dtype):
        return "dtype", value.str
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return "number", value.dtype.str, value.tobytes()
    if kind is Graph:
        return "graph", encode(value)
    if kind is np.ufunc and getattr(np, getattr(value, "__name__", ""), None) is value:
        return "ufunc", getattr(value, "__name__", "")
    if isinstance(value, Aval):
        return "aval", *_plain_aval(value)
    for name, cls in records.items():
        if type(value) is cls:
            fields: Any = attrs.fields(cls)
            return "record", name, *[_plain(getattr(value, x.name), primitive) for x in fields]
    for name, marker in markers.items():
        if value is marker:
            return "marker", name
    raise GraphFormatError(
        f"a graph with {primitive} can't be written as data: it holds a value of type "
        f"{kind.__module__}.{kind.__qualname__}; write: pickle the function instead, and trace it "
        "where it is needed"
    )


def _value(data: Any) -> Any:
    if not isinstance(data, tuple):
        if type(data) not in _AS_THEY_ARE:
            raise ValueError(f"{type(data).__name__} is no kind of static value")
        return data
    kind, *items = data
    return _KINDS[kind](*items)


def _ufunc(name: str) -> np.ufunc:
    found = vars(np)[name]
    if not isinstance(found, np.ufunc):
        raise ValueError(f"np.{name} is no ufunc")
    return found


_KINDS: dict[str, Any] = {
    "complex": complex,
    "tuple": lambda *items: tuple([_value(item) for item in items]),
    "slice": lambda *bounds: slice(*[_value(bound) for bound in bounds]),
    "dtype": np.dtype,
    "number": lambda dtype, octets: np.frombuffer(octets, dtype)[0],
    "graph": decode,
    "aval": _aval,
    "ufunc": _ufunc,
    "record": lambda name, *fields: records[name](*[_value(field) for field in fields]),
    "marker": markers.__getitem__,
}

copyreg.pickle(Graph, lambda graph: (decode, (encode(graph),)))
