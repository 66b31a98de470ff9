"""Closed programs over expression nodes, and the traversals that everything else shares.

Row 2. In: input and output nodes. Out: *the* ``Graph`` of them. What is derived from a graph (its
vjp, its compiled form) is memoised on it; a bounded list keeps recently used graphs alive.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import product
from operator import is_
from string import ascii_lowercase
from typing import Any, TypeVar

import attrs
import numpy as np

from fungrad._aval import Aval, TupleAval
from fungrad._expr import Expr, Input, Literal, make_input, with_args
from fungrad._intern import InternTable
from fungrad._locks import make_lock
from fungrad._provenance import recording, stage

T = TypeVar("T")

_UNKNOWN = object()
_MAX_DERIVED = 64
"""How much is kept that derives from one graph: a new batch size each call must not fill memory."""


@attrs.frozen(eq=False, repr=False, weakref_slot=True)
class Graph:
    """An immutable program: positional ``inputs`` and ``outputs`` that depend on them only.

    ``print(graph)`` lists it, a line per operation, with shapes and dtypes.
    """

    inputs: tuple[Input, ...]
    outputs: tuple[Expr, ...]
    nodes: tuple[Expr, ...]
    """All operations, arguments before their users; neither inputs nor literals."""
    _memo: dict[Hashable, Any] = attrs.field(factory=dict)

    @stage
    def memo(self, key: Hashable, derive: Callable[[], Any]) -> Any:
        """``derive()``, done once for this graph and ``key``; keeps the graph among the recent."""
        _keep(self)
        if (record := recording()) is not None:
            return record.during(derive)
        known = self._memo.get(key, _UNKNOWN)
        if known is not _UNKNOWN:
            return known
        derived = undisturbed(derive)
        with _kept_lock:
            # Two threads may both derive; they derive the same, and the first one stays.
            derived = self._memo.setdefault(key, derived)
            while len(self._memo) > _MAX_DERIVED:
                del self._memo[next(iter(self._memo))]
        return derived

    def known(self, key: Hashable) -> Any:
        """What ``memo`` would give for ``key`` without deriving it, or ``None``."""
        return self._memo.get(key)

    @property
    def avals(self) -> tuple[Aval, ...]:
        """What is known of the outputs."""
        return tuple([node.aval for node in self.outputs])

    def __repr__(self) -> str:
        return f"<Graph: {len(self.inputs)} inputs, {len(self.nodes)} operations>"

    def __str__(self) -> str:
        return listing(self)

    def __copy__(self) -> Graph:
        return self  # immutable

    def __deepcopy__(self, memo: Any) -> Graph:
        return self


def undisturbed(make: Callable[[], T]) -> T:
    """``make()``, without garbage collection.

    It makes many objects, in no cycles: to search them over and over costs half the time.
    """
    if not gc.isenabled():
        return make()  # and not disabled once more: another thread may just enable it
    try:
        gc.disable()
        return make()
    finally:
        gc.enable()


_graphs: InternTable[Graph] = InternTable()


def make_graph(input_avals: Sequence[Aval], outputs: Sequence[Expr]) -> Graph:
    """The one graph with these inputs and outputs."""
    key = (len(input_avals), *map(id, input_avals), *map(id, outputs))
    graph = _graphs.get(key)
    if graph is None:
        inputs = tuple([make_input(i, aval) for i, aval in enumerate(input_avals)])
        nodes = undisturbed(lambda: _items_first(topological(outputs)))
        graph = _graphs.add(key, Graph(inputs, tuple(outputs), nodes))
    return graph


def topological(outputs: Iterable[Expr], seen: set[Expr] | None = None) -> list[Expr]:
    """Every operation below ``outputs`` once, arguments first; iterative, so depth is no limit.

    Those in ``seen``, and what only they need, are left out; the others are added to it.
    """
    ordered: list[Expr] = []
    seen = set() if seen is None else seen
    for output in outputs:
        if output in seen or output.primitive is None:
            continue
        stack = [(output, iter(output.args))]
        while stack:
            node, rest = stack[-1]
            for arg in rest:
                if arg not in seen and arg.primitive is not None:
                    stack.append((arg, iter(arg.args)))
                    break
            else:
                stack.pop()
                seen.add(node)
                ordered.append(node)
    return ordered


def _items_first(nodes: list[Expr]) -> tuple[Expr, ...]:
    """The same order, but several results are told apart at once, so that each dies for itself."""
    items: dict[Expr, list[Expr]] = {n: [] for n in nodes if isinstance(n.aval, TupleAval)}
    if not items:
        return tuple(nodes)
    ordered: list[Expr] = []
    for node in nodes:
        if node.args and node.args[0] in items:
            items[node.args[0]].append(node)
    for node in nodes:
        if not (node.args and node.args[0] in items):
            ordered.append(node)
            ordered += items.get(node, ())
    return tuple(ordered)


def substitute(graph: Graph, args: Sequence[Expr]) -> list[Expr]:
    """The outputs of ``graph`` with ``args`` (of equal avals) in place of its inputs."""
    if all(map(is_, graph.inputs, args)):
        return list(graph.outputs)
    new: dict[Expr, Expr] = dict(zip(graph.inputs, args, strict=True))
    for node in graph.nodes:
        new[node] = with_args(node, tuple([new.get(arg, arg) for arg in node.args]))
    return [new.get(output, output) for output in graph.outputs]


def cut(sources: Sequence[Expr], outputs: Sequence[Expr]) -> Graph:
    """The graph that computes ``outputs`` from the values of ``sources``, its inputs in order.

    Every input below ``outputs`` must be one of the sources, or lie below them only.
    """
    avals = [node.aval for node in sources]
    new: dict[Expr, Expr] = {
        node: make_input(i, aval) for i, (node, aval) in enumerate(zip(sources, avals, strict=True))
    }
    for node in topological(outputs, set(sources)):
        new[node] = with_args(node, tuple([new.get(arg, arg) for arg in node.args]))
    return make_graph(avals, [new.get(output, output) for output in outputs])


def last_reads(graph: Graph) -> list[list[Expr]]:
    """For every operation, which of its operands nobody reads after it.

    Outputs are read at the end, by the caller.
    """
    later: set[Expr] = set(graph.outputs)
    last: list[list[Expr]] = []
    for node in reversed(graph.nodes):
        read = []
        for arg in node.args:
            if arg not in later and type(arg) is not Literal:
                later.add(arg)
                read.append(arg)
        last.append(read)
    last.reverse()
    return last


def holds_graph(value: Any) -> bool:
    """Whether a static value is a graph, as that of a loop's body, or has one in it."""
    if type(value) is tuple:
        return any(type(one) is not int and holds_graph(one) for one in value)
    if value is None or isinstance(value, (int, str, np.dtype)):
        return False  # sooner known than what follows
    if attrs.has(type(value)) and not isinstance(value, Graph):
        value = tuple([getattr(value, field.name) for field in attrs.fields(type(value))])
    if isinstance(value, tuple):
        return any(map(holds_graph, value))
    return isinstance(value, Graph)


# --- the bounded list of graphs that stay alive without a holder -----------------------------

_MAX_KEPT_NODES = 1_000_000
_MAX_KEPT_GRAPHS = 1_000
_ALWAYS_KEPT = 4
"""The graphs of one call, such as a function's, its gradient's and that one simplified: however long
they are, the next call finds them."""
_kept: OrderedDict[int, Graph] = OrderedDict()
_used: set[int] = set()
"""Which of them were used since they were put at the end."""
_kept_nodes = 0
_kept_lock = make_lock()


def _keep(graph: Graph) -> None:
    """Keep ``graph`` alive; beyond bounds, forget one that was not used for long.

    That is the oldest one, but those that were used in the meantime have their turn once more.
    """
    global _kept_nodes
    key = id(graph)
    if key in _kept:
        _used.add(key)  # without the lock: most calls come here
        return
    with _kept_lock:
        if key in _kept:
            return
        new, forgotten = len(graph.nodes), []
        while len(_kept) >= _ALWAYS_KEPT and (
            len(_kept) >= _MAX_KEPT_GRAPHS or _kept_nodes + new > _MAX_KEPT_NODES
        ):
            oldest = next(iter(_kept))
            if oldest in _used:
                _used.discard(oldest)
                _kept.move_to_end(oldest)
                continue
            old = _kept[oldest]
            forgotten.append(old)
            # Python interrupts after calls only: none stands between an entry and its count.
            size = len(old.nodes)
            del _kept[oldest]
            _kept_nodes -= size
        _kept[key] = graph
        _kept_nodes += new
    # `forgotten` dies here, outside the lock: freeing a graph may run arbitrary weakref callbacks.


# --- pretty text -----------------------------------------------------------------------------


def names() -> Iterator[str]:
    """``a, b, …, z, aa, ab, …``: names never come from the user."""
    length = 1
    while True:
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters)
        length += 1


def listing(graph: Graph) -> str:
    """The program as text, a line per operation."""
    name = names()
    text: dict[Expr, str] = {node: next(name) for node in graph.inputs}
    head = ", ".join(f"{text[node]}: {node.aval}" for node in graph.inputs)
    lines = [f"graph({head}):"]
    body = []
    for node in graph.nodes:
        text[node] = next(name)
        assert node.primitive is not None
        static = ", ".join(f"{key}={_static_text(value)}" for key, value in node.static)
        args = ", ".join(_operand(arg, text) for arg in node.args)
        call = f"{node.primitive.name}{f'[{static}]' if static else ''}({args})"
        body.append((f"    {text[node]} = {call}", str(node.aval)))
    width = max((len(left) for left, _ in body), default=0)
    lines += [f"{left:<{min(width, 60)}}  # {aval}" for left, aval in body]
    lines.append(f"    return {', '.join(_operand(out, text) for out in graph.outputs)}")
    return "\n".join(lines)


def _operand(node: Expr, text: dict[Expr, str]) -> str:
    return repr(node.value) if isinstance(node, Literal) else text[node]


def _static_text(value: Any) -> str:
    return value.name if hasattr(value, "name") else repr(value)
