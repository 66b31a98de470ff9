"""``jit``: keep the program of a function, and run that instead of the function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from types import MethodType
from typing import Any

from fungrad._aval import aval_of
from fungrad._config import settings
from fungrad._provenance import explain, recording, watched
from fungrad._trace import trace_flat
from fungrad._tracer import Tracer
from fungrad.compile import run
from fungrad.errors import ArgumentError, StaticArgumentError
from fungrad.transforms._draws import refusing_draws
from fungrad.transforms._observe import observe
from fungrad.transforms._paths import UNKNOWN
from fungrad.transforms._programs import Programs
from fungrad.transforms._signature import Call, Statics, call_of, key_of

Function = Callable[..., Any]


def jit(
    f: Function | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Function:
    """Trace a function once for each kind of arguments, then run the compiled program.

    The program is kept for the arguments' structure, shapes and dtypes. Python numbers are inputs
    of it, not constants, so a new learning rate does not trace again; booleans, strings and other
    leaves that are no arrays select a program by their value. The function must be pure: what it
    prints or stores happens while tracing only. Draws of ``np.random`` and of Python's ``random`` are
    refused where they are seen.

    What it reads from closures, globals, defaults and attributes may change, and it is traced
    again: another array or number there, other entries of a dict, list, set or deque, a write into
    an array; also of the objects that hold these (``self.config.rate``, ``layers[0].w``), and what
    their operators and look-ups (``config["rate"]``) read. Not seen: a
    write into a few entries only of an array of more than 4 KiB, from which Python code takes
    numbers (``float(np.max(table))``; what traced operations read is always up to date); a write
    into an array of which both are true, once writing has proved to make no other program; an entry
    of a container of more than 64 as long as the length stays, or of another kind (``array.array``);
    ``os.environ``, files, clocks; another class or another ``__code__`` given to an object; what
    functions of installed packages read. Pass such things as arguments. A function that itself binds
    anew what it reads (``self.calls += 1``) is traced at every call: right, but slow. Warnings and
    errors follow the ``np.errstate`` around the call, not one inside of the function.

    Python code may depend on values (``if x > 0``, ``while error > tol``, ``range(int(n))``). The
    program asks again what the code asked, and goes the way that it went; for an answer that is
    new, the function is traced once more. What two ways have in common is computed once. Where
    there are too many ways, new ones are not kept: slower, never wrong, and a warning says so.

    Temporaries of more than 64 kB in all lie in memory that stays when a call is done, for the next
    call of any program: as much as the largest of them needs, once for each call at a time. A
    program that needs more than 256 MB keeps nothing. ``fg.explain`` says how much it is.

    Args:
        f: a pure function of pytrees. Left out, the result is a decorator:
            ``@fg.jit(static_argnums=1)``.
        static_argnums: the positions of arguments that select a program by value; they must be
            hashable.
        static_argnames: the names of such arguments. A position stands for the name of the
            parameter there too, and a name for the position.

    Returns:
        A function of the same arguments that returns equal results. Arrays that it returns are
        fresh: they share memory with nothing else.

    Raises:
        ArgumentError: ``f`` is no function, or has no such parameters.
        StaticArgumentError: a static argument is not hashable.
        RandomDrawError: ``f`` draws from ``np.random``, ``random`` or a generator that it reads by name.

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
    if f is None:
        return partial(jit, static_argnums=static_argnums, static_argnames=static_argnames)
    return Jitted(f, static_argnums, static_argnames)


class Jitted:
    """A jitted function: callable like the original."""

    def __init__(self, f: Function, static_argnums: Any = (), static_argnames: Any = ()) -> None:
        if isinstance(f, (classmethod, staticmethod)) or not callable(f):
            what = f"a {type(f).__name__}"
            method = isinstance(f, (classmethod, staticmethod))
            remedy = f"@{type(f).__name__} above @fg.jit" if method else "fg.jit(f)(x)"
            raise ArgumentError(f"jit needs a function, but got {what}; write: {remedy}")
        update_wrapper(self, f)
        self._function = f
        self._options = static_argnums, static_argnames
        self._statics = Statics.of(f, static_argnums, static_argnames)
        self._programs: Programs | None = None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        # Like a function, so that a method can be jitted; the instance is a leaf or a tree.
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> Any:
        """By name, where that leads here; else as the function, without its programs."""
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self, "__module__", None) or "")
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (Jitted, (self._function, *self._options))

    def __repr__(self) -> str:
        return f"<jitted {self._function!r}>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The function's result, by its program; traced first if there is none."""
        try:
            if recording() is None and not settings().debug_nans:
                programs = self._programs
                if programs is not None:
                    result = programs.entry(args, kwargs)
                    if result is not UNKNOWN:
                        return result
                return self._call(programs, args, kwargs)
        except Exception as error:
            explain(error, lambda: self._call(None, args, kwargs))
            raise
        return watched(lambda: self._call(None, args, kwargs))

    def _call(self, programs: Programs | None, args: tuple[Any, ...], kwargs: Any) -> Any:
        if programs is None or programs.environment.changed():
            programs = self._observed(programs)
            if recording() is None:
                self._programs = programs
        key, inputs = key_of(args, kwargs, self._statics)
        try:
            known = programs.get(key)
        except TypeError as error:
            raise StaticArgumentError(
                f"jit needs hashable arguments where they are not arrays or numbers: {error}; "
                "write: a tuple instead of a list or set, or an array"
            ) from None
        if known is not None and not known.outdated():
            programs.used(key)
            result = known.paths.run(inputs)
            if result is not UNKNOWN:
                if recording() is None:
                    entry = known.entry(args, kwargs, self._statics, programs.environment)
                    if entry is not None:
                        programs.enter(key, entry)
                return result
        return self._first(programs, call_of(args, kwargs, self._statics))

    def _observed(self, before: Programs | None) -> Programs:
        """No programs yet, in the environment as it is now."""
        if before is None or before.environment.rebound():
            return Programs(observe(self._function))
        return Programs(observe(self._function, exempt=before.environment.exempt), before)

    def _first(self, programs: Programs, call: Call) -> Any:
        """The result of a call that no program is known for; the next one like it has one."""
        selecting, inputs = call.selecting(), call.inputs
        reads = None
        if selecting:
            base, known = programs.environment, programs.get(call.key)
            exempt = known.reads.exempt if known is not None and known.reads is not None else {}
            reads = observe(self._function, *selecting, exempt=exempt | base.exempt).beyond(base)
        avals = [x.aval if isinstance(x, Tracer) else aval_of(x) for x in inputs]
        name = getattr(self._function, "__qualname__", repr(self._function))
        generators = [*programs.environment.generators, *(reads.generators if reads else ())]
        traced = refusing_draws(
            lambda: trace_flat(
                lambda tracers: (call.on(self._function, tracers),),
                avals,
                inputs,
                keep_numbers=True,
                guarded=True,
            ),
            generators,
            name,
        )
        # What was traced while another thread rebound what it reads may hold for no arguments.
        if not programs.environment.rebound():
            programs.settle()
            programs.add(call.key, traced, inputs, reads and reads.settled(), name)
        return traced.rebuild(run(traced.graph, [*inputs, *traced.captures]))[0]
