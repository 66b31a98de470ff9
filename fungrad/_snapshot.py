"""Whether a captured array still is what the function read, when its program runs at last.

Row 2. In: an array, while the function that reads it runs. Out: a ``Snapshot``. To copy or add up a
large array would take longer than many a gradient of it, so that is done only if code that may
write into arrays is in sight; otherwise some entries stand for all.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

import attrs
import numpy as np

from fungrad.errors import ArrayMutationError

_WHOLE_BYTES = 1 << 16
"""Arrays of at most so many bytes are copied."""
_ROW = 1 << 12
_SAMPLE = 512


@attrs.frozen(eq=False, slots=False)
class Snapshot:
    """What a captured array held when it was read: a copy, a checksum, or a sample of entries."""

    entries: Any
    read: Any
    """The function of an array that gave ``entries``; ``None`` if they are all."""

    @classmethod
    def of(cls, array: Any, traced: CodeType) -> Snapshot:
        """The snapshot of an array as it is now, for the function that ``traced`` runs."""
        if array.nbytes <= _WHOLE_BYTES:
            return cls(array.copy(), None)
        contiguous = array.flags.forc
        read = _checksum if not contiguous or _writer_in_sight(traced) else _sample
        return cls(read(array), read)

    def holds(self, array: Any) -> bool:
        """Whether the array has not been written to, as far as the snapshot tells."""
        now = array if self.read is None else self.read(array)
        return bool(now.tobytes() == self.entries.tobytes())

    def restored(self, array: Any) -> Any:
        """The array as it was."""
        if self.read is None:
            return self.entries
        raise ArrayMutationError(
            f"an array of shape {array.shape} was written to after a traced program had read it; "
            "write: a new array, such as a = a + 1, instead of writing into it"
        )


def _checksum(array: Any) -> Any:
    """Sums of the entries' bits, modulo 2**64, by column and by row; so it sees moves as well."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    count = words.size // _ROW * _ROW
    rows = words[:count].reshape(-1, _ROW)
    sums = [np.add.reduce(rows, axis=0), np.add.reduce(rows, axis=1)]
    return np.concatenate([*[part.view(np.uint8) for part in sums], flat[count * 8 :]])


def _sample(array: Any) -> Any:
    """Entries at random places, always the same ones, of an array that is contiguous."""
    flat = (array if array.flags.c_contiguous else array.T).reshape(-1)
    return flat[_places(flat.size)]


@lru_cache(maxsize=256)
def _places(size: int) -> Any:
    places = np.random.default_rng(size).integers(size, size=_SAMPLE)
    return np.sort(np.concatenate([places, [0, size - 1]]))


# --- code that may write into arrays ----------------------------------------------------------

_WRITERS = frozenset(
    {
        "__setitem__", "__iadd__", "__imul__", "__isub__", "__itruediv__", "at", "byteswap",
        "copyto", "fill", "fill_diagonal", "itemset", "nan_to_num", "out", "partition", "place",
        "put", "put_along_axis", "putmask", "resize", "setfield", "setflags", "setitem", "shuffle",
        "sort",
    }
)  # fmt: skip
"""Names of functions, methods and arguments by which arrays are written."""
_MAX_FUNCTIONS = 100


def _writer_in_sight(traced: CodeType) -> bool:
    """Whether a running function, from the traced one on, or one that it names may write arrays."""
    try:
        return _finds_writer(traced, sys._getframe(2))
    except Exception:  # objects may do anything when they are looked at, even have no hash
        return True


def _finds_writer(traced: CodeType, frame: FrameType | None) -> bool:
    pending: list[FunctionType] = []
    while frame is not None and frame.f_code is not traced:
        code = frame.f_code
        if not _is_ours(code, frame.f_globals.get("__name__")):
            if _may_write(code):
                return True
            pending += _functions(_names(code), frame.f_globals, frame.f_locals)
        frame = frame.f_back
    seen: set[CodeType] = set()
    while pending:
        function = pending.pop()
        code = function.__code__
        if code in seen:
            continue
        seen.add(code)
        if _may_write(code) or len(seen) > _MAX_FUNCTIONS:
            return True
        cells = zip(code.co_freevars, function.__closure__ or (), strict=False)
        read = {name: _content(cell) for name, cell in cells}
        pending += _functions(_names(code), function.__globals__, read)
    return False


@lru_cache(maxsize=4096)
def _is_ours(code: CodeType, module: Any) -> bool:
    package = str(module).partition(".")[0]
    return package in ("fungrad", "numpy", "functools", "contextlib")


@lru_cache(maxsize=4096)
def _may_write(code: CodeType) -> bool:
    """Whether this code, or code inside of it, does what can write into an array."""
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        if name.endswith("_SUBSCR") and not name.startswith("BINARY"):
            return True
        if name.startswith(("STORE_SLICE", "INPLACE_")):
            return True
        if name == "BINARY_OP" and instruction.argrepr.endswith("="):
            return True
    words = {*code.co_names}
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and _may_write(constant):
            return True
        words.update(constant if isinstance(constant, tuple) else (constant,))
    return not _WRITERS.isdisjoint(word for word in words if isinstance(word, str))


@lru_cache(maxsize=4096)
def _names(code: CodeType) -> tuple[str, ...]:
    """The names of everything that this code, and code inside of it, refers to."""
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in _names(c)]
    return tuple(dict.fromkeys([*code.co_names, *code.co_freevars, *code.co_varnames, *inner]))


def _functions(names: Any, world: Any, own: Any) -> Iterator[FunctionType]:
    """The users' functions that ``names`` mean, or as methods of the objects in ``own``."""
    spaces = [own, world]
    for kind in set(map(type, own.values())):
        spaces += _methods(kind)
    for name in names:
        for space in spaces:
            found = space.get(name)
            kind = type(found)
            if kind is MethodType:
                found = found.__func__
            elif kind is not FunctionType and str(kind.__module__).startswith(
                ("fungrad", "functools")
            ):
                found = getattr(found, "__wrapped__", None)  # jitted, cached
            while isinstance(found, FunctionType):
                if not _is_quiet(found):
                    yield found
                found = found.__dict__.get("__wrapped__")


@lru_cache(maxsize=1024)
def _methods(kind: type) -> tuple[Any, ...]:
    """What users define in the class ``kind`` and above it."""
    return tuple([vars(cls) for cls in kind.__mro__ if not _is_quiet(cls)])


def _is_quiet(thing: Any) -> bool:
    package = str(thing.__module__).partition(".")[0]
    return package in ("builtins", "fungrad", "numpy", "scipy")


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None
