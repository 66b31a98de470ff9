"""The clock of the small benchmarks that compare fungrad with code written by hand."""

from collections.abc import Callable
from timeit import default_timer
from typing import Any


def best(f: Callable[[], Any], seconds: float = 0.5) -> float:
    """The least time of a call, in seconds."""
    f(), f(), f()
    least, end = float("inf"), default_timer() + seconds
    while default_timer() < end:
        start = default_timer()
        f()
        least = min(least, default_timer() - start)
    return least
