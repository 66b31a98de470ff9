"""What a benchmark is: one program, its inputs, and the gradient that a careful person writes.

A program takes the namespace of a system first (``np`` for all of them) and is written once; the
few functions that systems spell differently stand in ``systems``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

KINDS = ("value_and_grad", "step", "hvp", "hessian", "derivative", "closure", "batches")
"""What is asked of a system: see the methods of ``systems.System`` of these names."""

LEARNING_RATE = 0.01


@attrs.frozen(kw_only=True)
class Workload:
    """One row of the table.

    Attributes:
        name: how the command line calls it.
        title: how the table calls it.
        kind: one of ``KINDS``.
        program: ``(np, *inputs) -> loss``; of ``derivative``, ``(np, x) -> array``.
        manual: ``(*inputs) -> results``, in NumPy: what the kind asks for, as arrays.
        inputs: ``(rng, size) -> inputs``: floats, arrays and lists of arrays.
        size: the full size; any value that ``inputs`` understands.
        tiny: the size for tests.
        wrt: which inputs to differentiate with respect to.
        order: of ``derivative``.
        calls: how many calls differ from each other (``batches``); 0 for as many as time allows.
        tolerance: how far results may be from ``manual``'s, relative to the largest entry.
        without: systems that have no such function, or need minutes: an empty cell in the table.
    """

    name: str
    title: str
    kind: str = attrs.field(default="value_and_grad", validator=attrs.validators.in_(KINDS))
    program: Callable[..., Any]
    manual: Callable[..., Any]
    inputs: Callable[..., tuple[Any, ...]]
    size: Any
    tiny: Any
    wrt: tuple[int, ...] = (0,)
    order: int = 1
    calls: int = 0
    tolerance: float = 1e-9
    without: tuple[str, ...] = ()


def flat(results: Any) -> list[Any]:
    """The arrays of nested tuples and lists, in order."""
    if isinstance(results, (tuple, list)):
        return [array for part in results for array in flat(part)]
    return [results]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """``function`` of every array in nested tuples and lists."""
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(function, part) for part in tree)
    return function(tree)
