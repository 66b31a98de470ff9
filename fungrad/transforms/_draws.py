"""Draws of random numbers by a function that is being traced, where they would be frozen: refused.

The generators that the function's code reads by name are known, NumPy's and those of Python's
``random``; the global ones where it names their modules. If the state of one moves while the
function is traced, and again when it is traced anew, the function draws. (Once may be another
thread's doing; one that draws from the same generator without a pause can't be told apart.) A
generator that the function makes itself, from a seed, gives the same numbers at every call, so that
freezing them is right. Not seen: generators that hide deeper than what ``jit`` watches, those of
installed packages, and ``random.random`` where it is imported by its own name.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from fungrad.errors import RandomDrawError

T = TypeVar("T")

_TRIES = 3


def is_generator(value: Any) -> bool:
    """Whether a value is a generator with a state; ``numpy.random`` is not imported for it."""
    kind = type(value)  # by type: objects may claim to be of any class
    if issubclass(kind, random.Random):
        return not issubclass(kind, random.SystemRandom)
    module: Any = sys.modules.get("numpy.random")
    return module is not None and issubclass(kind, (module.Generator, module.RandomState))


def global_generators(module: Any) -> list[Any]:
    """The one behind ``np.random.normal`` or ``random.gauss``, if the module is in use."""
    if module is random:
        return [random.gauss.__self__]  # type: ignore[attr-defined]
    return [] if module is None else [module.normal.__self__]


def refusing_draws(trace: Callable[[], T], generators: Iterable[Any], name: str) -> T:
    """``trace()``; that it draws from one of the generators, every time, is an error."""
    known = list({id(generator): generator for generator in generators}.values())
    if not known:
        return trace()
    for _ in range(_TRIES):
        before = list(map(_state, known))
        result = trace()
        moved = [not _equal(old, _state(one)) for old, one in zip(before, known, strict=True)]
        if not any(moved):
            return result
    drawn = known[moved.index(True)]
    home = "random" if isinstance(drawn, random.Random) else "np.random"
    shared = global_generators(sys.modules.get(home.replace("np", "numpy")))
    own = f"a {type(drawn).__name__} of {home}"
    what = home if any(drawn is one for one in shared) else own
    raise RandomDrawError(
        f"{name} draws from {what} inside of jit: it would draw once, while it is traced, and give "
        "the same numbers at every call; write: a draw of fg.random with a key that is an argument, "
        "such as fg.random.normal(key, shape), or draw outside and pass the numbers in"
    )


def _state(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if hasattr(generator, "bit_generator"):
        return generator.bit_generator.state
    return generator.get_state(legacy=False)


def _equal(before: Any, now: Any) -> bool:
    if isinstance(before, dict):
        return all(_equal(value, now[key]) for key, value in before.items())
    if isinstance(before, tuple):
        return bool(before == now)
    return bool(np.array_equal(before, now))
