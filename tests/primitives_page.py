"""Writes the page of the docs that lists all primitives: run it as a module.

Each line is what the matrix of ``tests/test_primitives.py`` checks of a primitive: the page is made
from the domain table alone, and a primitive without a row fails the suite.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import fungrad as fg
from fungrad._primitive import ZERO, Primitive, Unwritten, registry
from tests._checks import CHECKS, SPECIAL_CHECKS, computable, differentiable
from tests._domains import Row, all_rows
from tests.support_page import versions

PATH = Path(inspect.getfile(fg)).parent / "docs" / "primitives.md"
KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


def dtypes(names: Iterable[str]) -> str:
    """As ``float16 32 64, complex64 128``: sizes by kind."""
    sizes: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: np.dtype(name).itemsize):
        kind = KINDS[np.dtype(name).kind]
        sizes.setdefault(kind, []).append(name.removeprefix(kind))
    return ", ".join(f"{kind}{' '.join(sizes[kind])}" for kind in KINDS.values() if kind in sizes)


def slopes(row: Row, record: Primitive) -> str:
    """In which dtypes there are derivatives; or none, and why."""
    if record.vjp is ZERO:
        return "zero"
    if isinstance(record.vjp, Unwritten):
        return f"refused: {record.vjp.reason}"
    taken = dtypes(
        dtype
        for dtype in row.gradient_dtypes
        if any(differentiable(row, case, dtype) for case in row.cases)
    )
    return taken or "checked in tests of its own"


def operands(row: Row) -> set[str]:
    """The dtypes of operands for which NumPy computes a value."""
    found: set[str] = set()
    for case in row.cases:
        if case.varying:
            found.update(dtype for dtype in row.dtypes if computable(row, case, dtype))
        else:
            found.update(x.dtype.name for x in case.sample(1))
    return found


def line(name: str, row: Row, record: Primitive) -> str:
    """One row of the table."""
    batch = f"refused: {record.batch.reason}" if isinstance(record.batch, Unwritten) else "yes"
    value = "bits" if row.exact else "rounding"
    taken = dtypes(operands(row)) or "none"
    cells = (f"`{name}`", str(len(row.cases)), value, taken, slopes(row, record), batch)
    return f"| {' | '.join(cells)} |"


def text() -> str:
    """The page as Markdown."""
    rows, records = all_rows(), registry()
    count = Counter(
        "zero" if records[n].vjp is ZERO
        else "refused" if isinstance(records[n].vjp, Unwritten)
        else "derivative"
        for n in rows
    )  # fmt: skip
    checks = ", ".join(name.replace("_", " ") for name in (*CHECKS, *SPECIAL_CHECKS))
    out = [
        "# Primitives",
        "",
        f"All {len(rows)} operations that programs are made of: {count['derivative']} with derivatives,",
        f"{count['zero']} whose derivative is zero, {count['refused']} that refuse to be differentiated.",
        f"This page is generated (`python -m tests.primitives_page`, with {versions()}) from",
        "the table by which `pytest tests/test_primitives.py` checks each line, namely its",
        f"{checks}.",
        "",
        "*Cases*: pieces of NumPy code, by shapes and keywords, that reach the primitive. *Value*:",
        "equal to NumPy's to the bit, or to rounding where NumPy has no such function. *Dtypes*:",
        "those of operands for which NumPy computes a value. *Derivatives*: the dtypes in which",
        "`vjp` and `jvp` are checked, to second order. *Batch*: whether `vmap` runs it in one call.",
        "",
        "| primitive | cases | value | dtypes | derivatives | batch |",
        "|---|---:|---|---|---|---|",
        *[line(name, rows[name], records[name]) for name in sorted(rows)],
    ]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
