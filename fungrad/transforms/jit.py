"""``jit``: keep the program of a function, and run that instead of the function."""

from __future__ import annotations

import operator
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import update_wrapper
from typing import Any

import attrs
import numpy as np

from fungrad._aval import SCALAR_TYPES, aval_of, is_number_like
from fungrad._config import settings
from fungrad._intern import bits_key
from fungrad._provenance import explain, recording, watched
from fungrad._questions import Question
from fungrad._trace import Traced, trace_flat
from fungrad._tracer import Tracer
from fungrad._tree import TreeDef, flatten
from fungrad.compile import run
from fungrad.errors import PathLimitWarning, StaticArgumentError
from fungrad.transforms._environment import Environment, observe
from fungrad.transforms._paths import End, Paths, first_path, with_path

Function = Callable[..., Any]

MAX_PROGRAMS = 1_000
"""How many programs one jitted function keeps; beyond, the least recently used is dropped."""
MAX_GROWTH = 1 << 14
"""How far the paths of one program may branch; beyond, new paths are not kept (``Paths.growth``)."""


def jit(f: Function, static_argnums: int | Sequence[int] = ()) -> Function:
    """Trace a function once for each kind of arguments, then run the compiled program.

    The program is kept for the arguments' structure, shapes and dtypes. Python numbers are inputs
    of it, not constants, so a new learning rate does not trace again; booleans, strings and other
    leaves that are no arrays select a program by their value. The function must be pure: what it
    prints or stores happens while tracing only, and random draws are frozen.

    Arrays and numbers that it reads from closures, globals and defaults may be rebound, and so may
    attributes of objects that it reads or gets (``self.scale``): then it is traced again. Not seen:
    a change deeper inside (``self.config.rate``, an entry of a list), and writing into an array
    from which the function computes without a traced value.

    Python code may depend on values (``if x > 0``, ``while error > tol``, ``range(int(n))``). The
    program asks again what the code asked, and goes the way that it went; for an answer that is
    new, the function is traced once more. What two ways have in common is computed once. Where
    there are too many ways, new ones are not kept: slower, never wrong, and a warning says so.

    Args:
        f: a pure function of pytrees.
        static_argnums: positional arguments that select a program by value; they must be hashable.

    Returns:
        A function of the same arguments that returns equal results. Arrays that it returns are
        fresh: they share memory with nothing else.

    Raises:
        StaticArgumentError: a static argument is not hashable.

    Warns:
        PathLimitWarning: once, if the code goes on differently after ever new values.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> @fg.jit
        ... def step(w, x, y):
        ...     return w - 0.1 * fg.grad(lambda w: np.mean((x @ w - y) ** 2))(w)
        >>> step(np.zeros(2), np.eye(2), np.ones(2))
        array([0.1, 0.1])

    References:
        The name and the caching by structure, shapes and dtypes are JAX's.
    """
    return Jitted(f, static_argnums)


@attrs.frozen(eq=False)
class _Program:
    """What holds for all arguments of one kind, as long as what it read stays.

    Attributes:
        paths: the paths that the code has taken.
        reads: what the static arguments read: functions, schedules, plain objects.
        tracers: captured values of other traces.
        closed: whether new paths are not kept any more.
    """

    paths: Paths
    reads: Environment
    tracers: tuple[Tracer, ...]
    closed: bool = False

    def outdated(self) -> bool:
        if self.tracers and not all(tracer._trace.alive for tracer in self.tracers):
            return True
        return self.reads.changed()

    def run(self, inputs: Sequence[Any]) -> Any:
        """The function's result, or ``_NEW`` if its code would take a path not known yet."""
        root = self.paths.root
        if isinstance(root, End):
            end, outputs = root, root.segment.run(inputs, {})
        else:
            found = root.follow(inputs)
            if found is None:
                return _NEW
            end, outputs = found
        return end.result.rebuild(outputs)


_NEW = object()


class _State:
    """The programs that were traced in one environment; another environment, another state."""

    __slots__ = ("_lock", "environment", "programs")

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.programs: OrderedDict[Hashable, _Program] = OrderedDict()
        self._lock = threading.RLock()

    def use(self, key: Hashable, program: _Program) -> None:
        """Keep a program as the most recently used one, and drop the least recently used."""
        with self._lock:
            self.programs[key] = program
            self.programs.move_to_end(key)
            while len(self.programs) > MAX_PROGRAMS:
                self.programs.popitem(last=False)

    def add(
        self, key: Hashable, traced: Traced, count: int, reads: Environment, function: Function
    ) -> None:
        """Keep one more path, as long as there are not too many of them."""
        tracers = tuple([x for x in traced.captures if isinstance(x, Tracer)])
        with self._lock:
            known = self.programs.get(key)
            if known is None or known.outdated():
                return self.use(key, _Program(first_path(traced, count), reads, tracers))
            if known.closed:
                return
            paths = with_path(known.paths, traced, count)
            if paths.growth <= MAX_GROWTH:
                self.use(key, _Program(paths, reads, (*known.tracers, *tracers)))
                return
            self.use(key, attrs.evolve(known, closed=True))
        if paths.last is not None:
            _warn(function, paths.last)


def _warn(function: Function, question: Question) -> None:
    name = getattr(function, "__qualname__", repr(function))
    warnings.warn_explicit(
        f"the Python code of {name} has gone on in too many different ways after it was told, by "
        f"{question.asked}, what a value is; from now on jit keeps no more of them, and runs new "
        "ones un-jitted: right, but slower; write: fg.cond or np.where for a choice, "
        "fg.while_loop for a loop, or the value itself in place of float(x) or int(x)",
        PathLimitWarning,
        *question.place,
    )


class Jitted:
    """A jitted function: callable like the original."""

    def __init__(self, f: Function, static_argnums: int | Sequence[int] = ()) -> None:
        update_wrapper(self, f)
        self._function = f
        numbers = static_argnums if isinstance(static_argnums, Sequence) else (static_argnums,)
        self._static = frozenset(map(operator.index, numbers))
        self._state: _State | None = None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        # Like a function, so that a method can be jitted; the instance is a leaf or a tree.
        return self if instance is None else _Bound(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result, by its program; traced first if there is none."""
        try:
            if recording() is None and not settings().debug_nans:
                return self._call(self._state, args, kwargs)
        except Exception as error:
            explain(error, lambda: self._call(None, args, kwargs))
            raise
        return watched(lambda: self._call(None, args, kwargs))

    def _call(self, state: _State | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if state is None or state.environment.changed():
            state = _State(observe(self._function))
            if recording() is None:
                self._state = state
        static = self._static_part(args) if self._static else ()
        plain = not (self._static or kwargs)
        leaves, tree = flatten(args if plain else (self._dynamic_part(args), kwargs))
        key, inputs = _signature(leaves)
        key = (tree, static, plain, key)
        try:
            known = state.programs.get(key)
        except TypeError as error:
            raise StaticArgumentError(
                f"jit needs hashable arguments where they are not arrays or numbers: {error}; "
                "write: a tuple instead of a list or set, or an array"
            ) from None
        if known is not None and not known.outdated():
            if len(state.programs) > MAX_PROGRAMS // 2:
                state.use(key, known)
            result = known.run(inputs)
            if result is not _NEW:
                return result
        traced = self._trace(state, key, args, plain, leaves, tree, inputs)
        return traced.rebuild(run(traced.graph, [*inputs, *traced.captures]))[0]

    def _trace(
        self,
        state: _State,
        key: Hashable,
        args: tuple[Any, ...],
        plain: bool,
        leaves: list[Any],
        tree: TreeDef,
        inputs: list[Any],
    ) -> Traced:
        """Trace the function, and keep the program if it holds for all arguments of this kind."""
        statics = [leaf for leaf in leaves if not _is_input(leaf)] + tree.statics()
        statics += [args[i] for i in self._static_places(args)]
        reads = observe(self._function, *statics) if statics else observe()
        avals = [x.aval if isinstance(x, Tracer) else aval_of(x) for x in inputs]

        def call(tracers: list[Tracer]) -> tuple[Any]:
            rest = iter(tracers)
            rebuilt = tree.unflatten([next(rest) if _is_input(leaf) else leaf for leaf in leaves])
            if plain:
                return (self._function(*rebuilt),)
            positional, keywords = rebuilt
            dynamic, places = iter(positional), self._static_places(args)
            complete = [arg if i in places else next(dynamic) for i, arg in enumerate(args)]
            return (self._function(*complete, **keywords),)

        traced = trace_flat(call, avals, inputs, keep_numbers=True, guarded=True)
        # What was traced while another thread rebound what it reads may hold for no arguments.
        if not state.environment.changed():
            state.add(key, traced, len(inputs), reads, self._function)
        return traced

    def _static_places(self, args: tuple[Any, ...]) -> frozenset[int]:
        return frozenset(i % len(args) for i in self._static if -len(args) <= i < len(args))

    def _static_part(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([(i, bits_key(args[i])) for i in sorted(self._static_places(args))])

    def _dynamic_part(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if not self._static:
            return args
        places = self._static_places(args)
        return tuple([arg for i, arg in enumerate(args) if i not in places])


class _Bound:
    """A jitted method of an instance."""

    def __init__(self, jitted: Jitted, instance: Any) -> None:
        self._jitted, self._instance = jitted, instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._jitted(self._instance, *args, **kwargs)


def _is_input(leaf: Any) -> bool:
    """Whether a leaf is an input of the program; others select one by their value."""
    return isinstance(leaf, Tracer) or (type(leaf) is not bool and is_number_like(leaf))


def _signature(leaves: list[Any]) -> tuple[Hashable, list[Any]]:
    """What of the leaves selects the program, and the leaves that are its inputs."""
    key: list[Hashable] = []
    inputs = []
    for leaf in leaves:
        kind = type(leaf)
        if kind is np.ndarray:
            key.append((leaf.shape, leaf.dtype))
        elif kind is float or kind is int or kind is complex:
            key.append(kind.__name__)
        elif isinstance(leaf, Tracer):
            key.append(leaf.aval)
        elif is_number_like(leaf) and kind not in SCALAR_TYPES:
            key.append((leaf.shape, leaf.dtype))
        elif isinstance(leaf, np.ndarray):
            aval_of(leaf)  # raises: a matrix or masked array has operators of its own
        else:
            key.append(("static", bits_key(leaf)))
            continue
        inputs.append(leaf)
    return tuple(key), inputs
