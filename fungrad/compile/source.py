"""Writing a graph as NumPy source, and turning that into a function.

Names come from counters, constants go by reference, builtins are empty: no text of the user's ever
reaches the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from fungrad._expr import Expr, Literal
from fungrad._graph import Graph
from fungrad.compile.memory import finishes, plan
from fungrad.errors import GENERATED
from fungrad.ops.creation import full


class _Constants:
    """Names for what the source refers to: functions ``k0, k1, …`` and values ``c0, c1, …``."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"np": np, "__builtins__": {}}
        self.notes: list[str] = []
        self._names: dict[Any, str] = {}
        self._count = count()

    def function(self, value: Callable[..., Any], name: str) -> str:
        """The name of a function; ``name`` is a primitive's, an identifier."""
        return self._named("k", id(value), value, f"the primitive {name}")

    def value(self, value: Any) -> str:
        """The text of a static value or a literal."""
        if value is None or type(value) in (bool, int):
            return repr(value)
        if type(value) is float and math.isfinite(value):
            return repr(value)
        if type(value) is tuple:
            items = [self.value(item) for item in value]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        if isinstance(value, np.generic):
            return self._named("c", id(value), value, f"{value} of dtype {value.dtype.name}")
        if isinstance(value, np.dtype):
            return self._named("c", value, value, f"dtype {value.name}")
        return self._named("c", id(value), value, f"a constant of type {type(value).__name__}")

    def _named(self, prefix: str, key: Any, value: Any, note: str) -> str:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"{prefix}{next(self._count)}"
            self.namespace[name] = value
            self.notes.append(f"# {name}: {note}")
        return name


def _call(node: Expr, operands: Sequence[str], constants: _Constants, out: str | None) -> str:
    primitive = node.primitive
    assert primitive is not None
    static = dict(node.static)
    if callable(primitive.template):
        return str(primitive.template(operands, constants.value, **static))
    texts = {name: constants.value(value) for name, value in static.items()}
    if primitive.template is None:
        function = constants.function(primitive.value, primitive.name)
        arguments = [*operands, *[f"{name}={text}" for name, text in texts.items()]]
        return f"{function}({', '.join(arguments)})"
    text = primitive.template.format(*operands, **texts)
    return text if out is None else f"{text[:-1]}, out={out})"


def generate(graph: Graph, contiguous: tuple[bool, ...]) -> tuple[str, dict[str, Any]]:
    """The source of ``graph`` and the namespace that it needs."""
    constants = _Constants()
    decisions = plan(graph, contiguous)
    names: dict[Expr, str] = {node: f"x{i}" for i, node in enumerate(graph.inputs)}
    lines: list[tuple[str, str]] = []

    def text(node: Expr) -> str:
        return constants.value(node.value) if isinstance(node, Literal) else names[node]

    for position, node in enumerate(graph.nodes):
        if node.primitive is full and not node.aval.shape:
            names[node] = constants.value(node.aval.dtype.type(dict(node.static)["value"]))
            continue
        buffer = decisions.out.get(position)
        call = _call(
            node, [text(arg) for arg in node.args], constants, names[buffer] if buffer else None
        )
        names[node] = f"t{position}"
        dead = decisions.drop.get(position, ())
        dropped = [names[node] for node in dead if names[node][0] == "t"]
        end = f"; del {', '.join(dropped)}" if dropped else ""
        lines.append((f"    t{position} = {call}{end}", str(node.aval)))
    width = min(max((len(line) for line, _ in lines), default=0), 72)
    head = [
        f"def program({', '.join(names[node] for node in graph.inputs)}):",
        *[f"    # {names[node]}: {node.aval}" for node in graph.inputs],
    ]
    outputs = [
        constants.value(out.value) if isinstance(out, Literal) else f"{names[out]}{finish}"
        for out, finish in zip(graph.outputs, finishes(graph), strict=True)
    ]
    body = [f"{line:<{width}}  # {aval}" for line, aval in lines]
    source = [
        *constants.notes,
        *head,
        *body,
        f"    return ({''.join(f'{out}, ' for out in outputs).rstrip()})",
    ]
    return "\n".join(source) + "\n", constants.namespace


def build(graph: Graph, contiguous: tuple[bool, ...]) -> Callable[..., tuple[Any, ...]]:
    """The compiled program of ``graph``: takes the inputs' values, returns the outputs'."""
    text, namespace = generate(graph, contiguous)
    exec(compile(text, GENERATED, "exec"), namespace)
    program: Callable[..., tuple[Any, ...]] = namespace["program"]
    return program


def source(graph: Graph) -> str:
    """The source of ``graph`` for C-contiguous inputs, with shapes and dtypes as comments."""
    return generate(graph, (True,) * len(graph.inputs))[0]
