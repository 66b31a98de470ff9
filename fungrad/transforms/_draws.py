"""Draws of ``np.random`` by a function that is being traced, where they would be frozen: refused.

The generators that the function's code reads by name are known, NumPy's global one where it says
``random``. If the state of one moves while the function is traced, and again when it is traced
anew, the function draws. (Once may be another thread's doing; one that draws from the same
generator without a pause can't be told apart.) A generator that the function makes itself, from a
seed, gives the same numbers at every call, so that freezing them is right. Not seen: generators
that hide deeper than what ``jit`` watches, and those of installed packages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from fungrad.errors import RandomDrawError

T = TypeVar("T")

_TRIES = 3


def is_generator(value: Any) -> bool:
    """Whether a value is one of NumPy's generators; ``numpy.random`` is not imported for it."""
    module: Any = sys.modules.get("numpy.random")
    kind = type(value)  # by type: objects may claim to be of any class
    return module is not None and issubclass(kind, (module.Generator, module.RandomState))


def global_generators() -> list[Any]:
    """The one behind ``np.random.normal`` and the like, if ``numpy.random`` is in use."""
    module: Any = sys.modules.get("numpy.random")
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
    own = f"a {type(drawn).__name__} of np.random"
    what = "np.random" if any(drawn is one for one in global_generators()) else own
    raise RandomDrawError(
        f"{name} draws from {what} inside of jit: it would draw once, while it is traced, and give "
        "the same numbers at every call; write: a draw of fg.random with a key that is an argument, "
        "such as fg.random.normal(key, shape), or draw outside and pass the numbers in"
    )


def _state(generator: Any) -> Any:
    if hasattr(generator, "bit_generator"):
        return generator.bit_generator.state
    return generator.get_state(legacy=False)


def _equal(before: Any, now: Any) -> bool:
    if isinstance(before, dict):
        return all(_equal(value, now[key]) for key, value in before.items())
    return bool(np.array_equal(before, now))
