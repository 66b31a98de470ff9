"""The programs that a jitted function keeps, and how long each of them holds.

Row 9. In: what a call's arguments are like, and traced paths. Out: the program to run, if there is
one. Programs belong to an environment: what the function read from outside when they were traced.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import count
from typing import Any

import attrs

from fungrad._locks import make_lock
from fungrad._questions import Question
from fungrad._trace import Traced
from fungrad._tracer import Tracer
from fungrad.errors import PathLimitWarning
from fungrad.transforms._entry import Entry, entry_of, no_entry
from fungrad.transforms._environment import Environment
from fungrad.transforms._paths import Paths, first_path, leads_to, with_path
from fungrad.transforms._signature import Statics

MAX_PROGRAMS = 1_000
"""How many programs one jitted function keeps; beyond, the least recently used is dropped."""
MAX_SIZE = 200_000
"""How many operations these programs have together; the most recently used one may have more."""
MAX_GROWTH = 1 << 14
"""How far the paths of one program may branch; beyond, new paths are not kept (``Paths.growth``)."""
HOT = 64
"""The call of a program from which on it has an entry: until then that would take longer."""

_lock = make_lock()


@attrs.frozen(eq=False)
class Program:
    """What holds for all arguments of one kind, as long as what it read stays.

    Attributes:
        paths: the paths that the code has taken.
        reads: what the static arguments read, if any: functions, schedules, plain objects.
        closed: whether new paths are not kept any more.
    """

    paths: Paths
    reads: Environment | None = None
    closed: bool = False
    _runs: Iterator[int] = attrs.field(factory=count, init=False)
    _entry: list[tuple[Environment, Entry]] = attrs.field(factory=list, init=False)

    def entry(
        self, args: tuple[Any, ...], kwargs: Any, statics: Statics, environment: Environment
    ) -> Entry | None:
        """What takes calls like this one, if there have been many."""
        if next(self._runs) < HOT:
            return None
        if not self._entry or self._entry[0][0] is not environment:
            environments = [environment, self.reads] if self.reads else [environment]
            entry = entry_of(args, kwargs, statics, self.paths, environments)
            self._entry[:] = [(environment, entry)]
        return self._entry[0][1]

    def outdated(self) -> bool:
        """Whether it holds no more."""
        if self.paths.tracers and not all(map(_is_alive, self.paths.tracers)):
            return True
        return self.reads is not None and self.reads.changed()

    def written(self) -> list[Any] | None:
        """What was written into, if nothing else is the matter."""
        if not all(map(_is_alive, self.paths.tracers)):
            return None
        if self.reads is None:
            return []
        return None if self.reads.rebound() else self.reads.written()


def _is_alive(tracer: Tracer) -> bool:
    return tracer._trace.alive


class Programs:
    """The programs that were traced in one environment, by the kind of their arguments.

    Some of what the function read may have been written into, which a program sees if it captured
    the array, and not if Python code looked at it. So it is traced again; if that gives the very
    same program of the very same arrays, those arrays are not watched any more.
    """

    __slots__ = (
        "_entered",
        "_former",
        "_programs",
        "_size",
        "_written",
        "entry",
        "environment",
        "get",
    )

    def __init__(self, environment: Environment, before: Programs | None = None) -> None:
        self.environment = environment
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()
        self._size = 0
        self.entry: Entry = no_entry
        self._entered: Hashable = None
        self.get: Callable[[Hashable], Program | None] = self._programs.get
        self._former: dict[Hashable, Paths] = {}
        self._written: dict[int, Any] = {}
        if before is not None:
            kept = {key: program.paths for key, program in before._programs.items()}
            self._former = kept | before._former
            written = before.environment.written()
            self._written = before._written | {id(one): one for one in written}

    def __len__(self) -> int:
        return len(self._programs)

    def values(self) -> list[Program]:
        """All of them, the most recently used one last."""
        return list(self._programs.values())

    def used(self, key: Hashable) -> None:
        """Note that a program is in use; only where one might be dropped soon."""
        if 2 * len(self._programs) > MAX_PROGRAMS or 2 * self._size > MAX_SIZE:
            with _lock:
                for one in (self._entered, key):
                    if one in self._programs:
                        self._programs.move_to_end(one)

    def enter(self, key: Hashable, entry: Entry) -> None:
        """Let an entry take the next calls, instead of that of another program."""
        self.entry, self._entered = entry, key

    def settle(self) -> None:
        """Watch no more what has been written into by the function itself, while it was traced."""
        self.environment = self.environment.settled()

    def add(
        self,
        key: Hashable,
        traced: Traced,
        inputs: Sequence[Any],
        reads: Environment | None,
        name: str,
    ) -> None:
        """Keep one more path, as long as there are not too many of them."""
        with _lock:
            known = self._programs.get(key)
            if known is None or known.outdated():
                return self._set(key, self._fresh(key, known, traced, inputs, reads))
            if known.closed:
                return None
            paths = with_path(known.paths, traced, inputs)
            if paths.growth <= MAX_GROWTH:
                return self._set(key, Program(paths, reads))
            self._set(key, attrs.evolve(known, closed=True))
        if paths.last is not None:
            _warn(name, paths.last)
        return None

    def _fresh(
        self,
        key: Hashable,
        known: Program | None,
        traced: Traced,
        inputs: Sequence[Any],
        reads: Environment | None,
    ) -> Program:
        """The first program of a kind of arguments, or the one in place of an outdated one."""
        former, written = self._former.pop(key, None), self._written
        if known is not None:
            more = known.written()
            former = None if more is None else former or known.paths
            written = written | {id(one): one for one in more or ()}
        if former is None or not written:
            return Program(first_path(traced, inputs), reads)
        if not leads_to(former, traced, inputs):
            paths = with_path(former, traced, inputs)
            if paths.growth <= MAX_GROWTH:
                self._former[key] = paths
            return Program(first_path(traced, inputs), reads)
        captured = {id(x) for x in traced.captures}
        live = [one for one in written.values() if id(one) in captured]
        self.environment = self.environment.without(live)
        all_live = len(live) == len(written)
        paths = former if all_live else first_path(traced, inputs)
        return Program(paths, reads and reads.without(live))

    def _set(self, key: Hashable, program: Program) -> None:
        self.enter(None, no_entry)
        before = self._programs.get(key)
        self._programs[key] = program
        self._programs.move_to_end(key)
        self._size += program.paths.size - (before.paths.size if before else 0)
        while len(self) > MAX_PROGRAMS or (self._size > MAX_SIZE and len(self) > 1):
            self._size -= self._programs.popitem(last=False)[1].paths.size


def _warn(name: str, question: Question) -> None:
    warnings.warn_explicit(
        f"the Python code of {name} has gone on in too many different ways after it was told, by "
        f"{question.asked}, what a value is; from now on jit keeps no more of them, and runs new "
        "ones un-jitted: right, but slower; write: fg.cond or np.where for a choice, "
        "fg.while_loop for a loop, or the value itself in place of float(x) or int(x)",
        PathLimitWarning,
        *question.place,
    )
