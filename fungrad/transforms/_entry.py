"""The way from a call straight to its program, for calls that are like many before.

Row 9. In: a call, and what is known of calls like it: the environment, the program, the result's
structure. Out: a generated function of the arguments that checks whether a call is like it, without
lists or keys in between, runs the compiled program and builds the result. Whatever it does not know
it leaves to the general way (``UNKNOWN``), also the arguments that fail there: so it never decides
what a call means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from fungrad._aval import SCALAR_TYPES
from fungrad._containers import Kind, kinds
from fungrad._evaluate import as_operand
from fungrad._intern import bits_key
from fungrad._trace import Result
from fungrad._tree import TreeDef
from fungrad.compile.constants import tuple_text
from fungrad.transforms._code import Code
from fungrad.transforms._environment import Environment
from fungrad.transforms._paths import UNKNOWN, End, Paths
from fungrad.transforms._signature import Statics, is_input

Entry = Callable[[tuple[Any, ...], dict[str, Any]], Any]
"""A function of the arguments and keywords of a call: its result, or ``UNKNOWN``."""

MOST = 500
"""How many leaves there may be; programs of more take so long that this does not matter."""
_PLAIN = frozenset({bool, int, str, bytes, type(None)})
"""What is the same where it is equal and of the same type."""


def no_entry(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The entry of what has none."""
    return UNKNOWN


def entry_of(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    statics: Statics,
    paths: Paths,
    environments: Sequence[Environment],
) -> Entry:
    """The entry for calls like this one, which goes these paths as long as the environments stay."""
    try:
        return _Writer().write(args, kwargs, statics, paths, environments)
    except Exception:  # objects may do anything when they are looked at
        return no_entry


class _Refusal(Exception):
    """What the arguments are is known to the general way only."""


class _Writer:
    """The source of one entry, as it is written."""

    def __init__(self) -> None:
        self._code = Code()
        self._inputs: list[tuple[str, Any]] = []

    def write(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        statics: Statics,
        paths: Paths,
        environments: Sequence[Environment],
    ) -> Entry:
        """The function."""
        code = self._code
        code.lines.append("try:")
        self._arguments(args, kwargs, statics)
        for environment in environments:
            self._unless(f"{code.held(environment.comparison())}()")
        operands = [*self._inputs]
        if isinstance(paths.root, End):
            held = [as_operand(value) for value in paths.root.segment.captures]
            operands += zip(map(code.held, held), held, strict=True)
            program = paths.root.segment.compiled([as_operand(value) for _, value in operands])
            if program is None:
                raise _Refusal
            texts = list(map(self._operand, operands))
            self._else_unknown()
            self._result(paths.root.result, f"{code.held(program)}({', '.join(texts)})")
        else:
            self._else_unknown()
            leaves = ", ".join([name for name, _ in self._inputs])
            code.lines.append(f"return {code.held(paths.run)}([{leaves}])")
        return code.function("entry(args, kwargs)")

    def _else_unknown(self) -> None:
        # Nothing of what the arguments did is passed on: they do it again on the general way.
        code = self._code
        code.lines.append(f"except {code.held(Exception)}: return {code.held(UNKNOWN)}")

    def _unless(self, condition: str) -> None:
        self._code.lines.append(f"    if {condition}: return {self._code.held(UNKNOWN)}")

    # --- arguments --------------------------------------------------------------------------------

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any], statics: Statics) -> None:
        """Take them apart; their leaves come in the order in which programs take them."""
        places = statics.among(args)
        names = self._unpacked("args", len(args))
        dynamic: list[tuple[str, Any]] = []
        for place, (name, value) in enumerate(zip(names, args, strict=True)):
            if place in places:
                self._static(name, value)
            else:
                dynamic.append((name, value))
        if not _PLAIN.issuperset(map(type, kwargs)):
            raise _Refusal
        named = self._items("kwargs", kwargs)
        for key in sorted(kwargs):
            if key in statics.names:
                self._static(named[key], kwargs[key])
            else:
                dynamic.append((named[key], kwargs[key]))
        pending = dynamic[::-1]
        while pending:
            if len(self._inputs) + len(pending) > MOST:
                raise _Refusal
            name, value = pending.pop()
            kind = kinds[type(value)]
            if kind is None:
                self._leaf(name, value)
            else:
                pending += reversed(self._children(name, value, kind))

    def _unpacked(self, text: str, count: int) -> list[str]:
        """Names for the values of an iterable, which must be as many."""
        names = [self._code.local() for _ in range(count)]
        self._code.lines.append(f"    {tuple_text(names)} = {text}")
        return names

    def _items(self, text: str, mapping: dict[Any, Any]) -> dict[Any, str]:
        """Names for the values of a dict, which must have the same keys in the same order."""
        hold = self._code.held
        if not mapping:
            self._unless(text)
            return {}
        for name, key in zip(self._unpacked(text, len(mapping)), mapping, strict=True):
            self._unless(f"{hold(type)}({name}) is not {hold(type(key))} or {name} != {hold(key)}")
        values = self._unpacked(f"{hold(dict.values)}({text})", len(mapping))
        return dict(zip(mapping, values, strict=True))

    def _children(self, name: str, value: Any, kind: Kind) -> list[tuple[str, Any]]:
        code, cls = self._code, type(value)
        if kind.cls in (tuple, list, dict, type(None)):
            self._unless(f"{code.held(type)}({name}) is not {code.held(cls)}")
        else:  # a class may become another kind of container
            self._unless(f"{code.held(kinds)}[{code.held(type)}({name})] is not {code.held(kind)}")
        if value is None:
            return []
        if kind.cls is dict and _PLAIN.issuperset(map(type, value)):
            names = self._items(name, value)
            _, aux = kind.flatten(value)
            assert aux is not None
            return [(names[key], value[key]) for key in aux.value[0]]
        if kind.cls in (tuple, list):
            return list(zip(self._unpacked(name, len(value)), value, strict=True))
        flat, aux = kind.flatten(value)
        children = list(flat)
        parts, other = self._unpacked(f"{code.held(kind.flatten)}({name})", 2)
        self._unless(f"{other} is not None" if aux is None else f"{other} != {code.held(aux)}")
        return list(zip(self._unpacked(parts, len(children)), children, strict=True))

    def _leaf(self, name: str, value: Any) -> None:
        hold, kind = self._code.held, type(value)
        if not is_input(value):
            self._static(name, value)
            return
        condition = f"{hold(type)}({name}) is not {hold(kind)}"
        if kind is np.ndarray:
            shape, dtype = hold(value.shape), hold(value.dtype)
            condition += f" or {name}.shape != {shape}"
            condition += f" or ({name}.dtype is not {dtype} and {name}.dtype != {dtype})"
        elif kind not in SCALAR_TYPES and not isinstance(value, np.generic):
            raise _Refusal  # tracers, memory maps
        self._unless(condition)
        self._inputs.append((name, value))

    def _static(self, name: str, value: Any) -> None:
        """What selects the program by its value."""
        hold = self._code.held
        kind: Any = type(value)
        if kind in _PLAIN:
            self._unless(f"{hold(type)}({name}) is not {hold(kind)} or {name} != {hold(value)}")
        else:
            if kind.__eq__ is object.__eq__:
                self._unless(f"{name} is not {hold(value)}")
            else:
                self._unless(f"{hold(bits_key)}({name}) != {hold(bits_key(value))}")
            self._unless(f"{hold(kinds)}[{hold(type)}({name})] is not {hold(kinds[kind])}")

    def _operand(self, operand: tuple[str, Any]) -> str:
        """The text of what the program takes for an input or a captured value."""
        name, value = operand
        kind = type(value)
        if kind is np.ndarray:
            contiguous = value.flags.c_contiguous
            self._unless(f"{'not ' * contiguous}{name}.flags.c_contiguous")
        elif kind in SCALAR_TYPES:
            number = self._code.local()
            self._code.lines.append(
                f"    {number} = {self._code.held(SCALAR_TYPES[kind].type)}({name})"
            )
            return number
        return name

    # --- results ----------------------------------------------------------------------------------

    def _result(self, result: Result, call: str) -> None:
        """Run the program and build what the function returns."""
        code, opaque = self._code, result.opaque
        count = result.tree.num_leaves
        outputs = [code.local() for _ in range(count - len(opaque))]
        code.lines.append(f"{tuple_text(outputs)} = {call}")
        rest = iter(outputs)
        leaves = [code.held(opaque[i]) if i in opaque else next(rest) for i in range(count)]
        code.lines.append(f"return {self._built(result.tree, iter(leaves))}")

    def _built(self, tree: TreeDef, leaves: Iterator[str]) -> str:
        """The text of a tree with these leaves; its branches are built before."""
        done: list[str] = []
        pending = [(tree, False)]
        while pending:
            node, below = pending.pop()
            if node.kind is None:
                done.append(next(leaves))
            elif below:
                start = len(done) - len(node.children)
                name = self._code.local()
                self._code.lines.append(f"{name} = {self._container(node, done[start:])}")
                done[start:] = [name]
            else:
                pending.append((node, True))
                pending += zip(reversed(node.children), repeat(False))
        return done[0]

    def _container(self, node: TreeDef, children: list[str]) -> str:
        kind, hold = node.kind, self._code.held
        assert kind is not None
        if kind.cls is tuple:
            return tuple_text(children)
        listed = ", ".join(children)
        if kind.cls is list:
            return f"[{listed}]"
        if kind.cls is dict:
            keys, _, order = node.aux
            items = dict(zip(keys, children, strict=True))
            return f"{{{', '.join([f'{hold(key)}: {items[key]}' for key in order or keys])}}}"
        return f"{hold(kind.unflatten)}({hold(node.aux)}, [{listed}])"
