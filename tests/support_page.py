"""Writes the page of the docs that says what of NumPy and SciPy is supported: run it as a module.

Nothing on the page is claimed by hand: a callable is listed as supported because a probe calls it,
and where it is listed is what tracing that call gives. What is refused stands in the table of
refusals. What is neither ends up in ``Page.unclassified``, and fails a test.
"""

from __future__ import annotations

import ast
import inspect
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import scipy
from numpy.lib import stride_tricks
from scipy import special

import fungrad as fg
from fungrad._linearity import active_nodes
from fungrad._primitive import answers
from fungrad._refusals import REFUSALS
from fungrad._tracer import Tracer
from tests._probes import ALL, INPUTS

PATH = Path(inspect.getfile(fg)).parent / "docs" / "numpy.md"
NAMES = {"np": np, "sc": special, "swv": stride_tricks.sliding_window_view, "fg": fg}

MODULES: dict[str, ModuleType] = {
    "np": np,
    "np.linalg": np.linalg,
    "np.fft": np.fft,
    "scipy.special": special,
}
"""How users write a module → the module."""

DERIVATIVE = "Differentiable"
ZERO = "Derivative zero, or none: integers, booleans, shapes"
CONSTANT = "Constants: called with plain numbers, beside traced values"
REFUSED_STATUS = "Refused"
STATUSES = (DERIVATIVE, ZERO, CONSTANT)

NO_NUMBERS = {
    "np": (
        "busdaycalendar flatiter fromfile fromregex genfromtxt info load loadtxt memmap ndarray "
        "printoptions row_stack set_printoptions setbufsize seterr seterrcall show_config "
        "show_runtime test ufunc"
    ),
    "np.linalg": "test",
    "np.fft": "test",
    "scipy.special": "test",
}
"""What computes nothing from arrays: it reads files, prints, changes settings, or makes tests run."""
OUTSIDE = "Not about numbers: files, settings, text"


def public(module: ModuleType) -> Iterator[str]:
    """The names of a module's public functions, ufuncs and classes that are no dtypes."""
    for name in sorted(dir(module)):
        value = getattr(module, name)
        if name.startswith("_") or not callable(value):
            continue
        if isinstance(value, type) and (
            issubclass(value, (np.generic, Exception)) or value is bool
        ):
            continue
        yield name


# --- what a call is ------------------------------------------------------------------------------


def function_of(
    source: str, inputs: Collection[str] = INPUTS.keys()
) -> tuple[Callable[..., Any], list[str]]:
    """An expression as a function of the inputs that it names, and their names."""
    tree = ast.parse(source, mode="eval")
    used = sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & set(inputs))
    return eval(f"lambda {', '.join(used)}: {source}", dict(NAMES)), used


def status_of(source: str) -> str:
    """Whether derivatives flow through an expression, or traced values, or nothing."""
    function, used = function_of(source)
    inputs = [INPUTS[name] for name in used]
    traced = False

    def watching(*tracers: Any) -> Any:
        nonlocal traced
        out = function(*tracers)
        out = list(out) if isinstance(out, Iterator) else out
        traced = any(isinstance(leaf, Tracer) for leaf in fg.tree.leaves(out))
        return [leaf for leaf in fg.tree.leaves(out) if isinstance(leaf, Tracer)]

    graph = fg.trace(watching, *inputs)
    wrt = tuple(i for i, x in enumerate(inputs) if x.dtype.kind in "fc")
    if not active_nodes(graph, wrt).isdisjoint(graph.outputs):
        return DERIVATIVE
    return ZERO if traced or used else CONSTANT


# --- which callables a probe calls ---------------------------------------------------------------


def calls(line: str) -> Iterator[tuple[Any, str]]:
    """The callables that a line calls, as objects or as ``.method``; with the source of the call."""
    for node in ast.walk(ast.parse(line, mode="eval")):
        if isinstance(node, ast.Call):
            source = ast.unparse(node)
            called = node.func
            if isinstance(called, ast.Call):  # sc.legendre(3)(x): the call of what a call made
                called = called.func
            value = _resolved(called)
            if value is not None:
                yield value, source
                if isinstance(called, ast.Attribute):
                    owner = _resolved(called.value)
                    if isinstance(owner, np.ufunc):
                        yield (owner, called.attr), source
            elif isinstance(called, ast.Attribute):
                yield f".{called.attr}", source
        elif isinstance(node, ast.Attribute) and _resolved(node) is None:
            yield f".{node.attr}", ast.unparse(node)


def _resolved(node: ast.expr) -> Any:
    """The object that ``np.linalg.inv`` names, or ``None``."""
    if isinstance(node, ast.Name):
        return NAMES.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolved(node.value)
        return getattr(owner, node.attr, None)
    return None


def _rank(status: str) -> int:
    return STATUSES.index(status)


def evidence() -> dict[Any, str]:
    """Callable, by identity (or ``.method``) → what the probes that call it show."""
    found: dict[Any, str] = {}
    for line in ALL:
        for called, source in calls(line):
            key = called if isinstance(called, str) else id(called)
            if isinstance(called, tuple):
                continue
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    status = status_of(source)
                except NameError:  # inside of a lambda
                    continue
            if key not in found or _rank(status) < _rank(found[key]):
                found[key] = status
    return found


# --- the page ------------------------------------------------------------------------------------


@attrs.frozen
class Page:
    """The statuses of all public callables.

    Attributes:
        sections: module → status → names.
        refused: module → reason → names.
        unclassified: full names of what is neither supported nor refused with a reason.
    """

    sections: dict[str, dict[str, list[str]]]
    refused: dict[str, dict[str, list[str]]]
    unclassified: list[str]


def collect() -> Page:
    """The status of every public callable, by probes, registry and refusals."""
    known = evidence()
    sections: dict[str, dict[str, list[str]]] = {}
    refused: dict[str, dict[str, list[str]]] = {}
    unclassified = []
    for where, module in MODULES.items():
        section: dict[str, list[str]] = defaultdict(list)
        reasons: dict[str, list[str]] = defaultdict(list)
        for name in public(module):
            value, full = getattr(module, name), f"{where}.{name}"
            if full in REFUSALS:
                reasons[REFUSALS[full]].append(name)
            elif name in NO_NUMBERS[where].split():
                section[OUTSIDE].append(name)
            elif id(value) in known:
                section[known[id(value)]].append(name)
            else:
                unclassified.append(full)
        sections[where], refused[where] = dict(section), dict(reasons)
    methods: dict[str, list[str]] = defaultdict(list)
    for name in sorted(dir(np.ndarray)):
        if name.startswith("_"):
            continue
        if f".{name}" in known:
            methods[known[f".{name}"]].append(name)
        elif not _refuses(name):
            unclassified.append(f"np.ndarray.{name}")
        else:
            methods[REFUSED_STATUS].append(name)
    sections["np.ndarray"], refused["np.ndarray"] = dict(methods), {}
    return Page(sections, refused, unclassified)


def _refuses(name: str) -> bool:
    """Whether a method or attribute of a traced value raises an error of fungrad's."""
    refusals = []

    def ask(x: Any) -> Any:
        try:
            attribute = getattr(x, name)
            if callable(attribute):
                attribute(0)
        except fg.errors.FungradError as error:
            refusals.append(error)
        except (TypeError, ValueError, IndexError):
            pass
        return x

    fg.trace(ask, INPUTS["x"])
    return bool(refusals)


def methods_of_ufuncs() -> dict[str, list[str]]:
    """``reduce``, ``accumulate``, ``reduceat`` → the ufuncs that have it."""
    table: dict[str, list[str]] = defaultdict(list)
    for spelling in answers:
        if isinstance(spelling, tuple) and isinstance(spelling[0], np.ufunc):
            ufunc, method = spelling
            if isinstance(method, str):
                table[method].append(ufunc.__name__)
    return {method: sorted(names) for method, names in sorted(table.items())}


def listed(names: list[str]) -> str:
    """Names as code, wrapped by whoever reads."""
    return ", ".join(f"`{name}`" for name in names)


NOTES = """\
## Notes

* **Equal eigenvalues or singular values.** Functions of the values alone, and functions of the
  vectors alone that do not depend on the basis chosen among them, have the right derivative there. A
  function of both, such as `v @ np.diag(np.sqrt(w)) @ v.T`, lacks the part `f'(w)` of its derivative
  between equal values: that part can't be computed from the derivatives by `w` and by `v`. Where
  values may coincide, write it without vectors: `np.linalg.inv`, `matrix_power` and `solve` have
  rules of their own.
* **Branches of `np.where`.** The branch that is not taken adds nothing to a gradient, also where its
  own slope is infinite or NaN. NumPy still computes it, with its warnings.
* **`np.random`.** Un-jitted, a draw is a constant. Inside of `jit`, draws from `np.random`, from
  Python's `random`, and from generators that the code reads by name, are an error; `fg.random` draws from
  a key.
* **Not NumPy's on purpose.** `np.power.reduce` and `np.arctan2.reduce` are refused, because NumPy
  computes them wrongly on some processors.
"""


def versions() -> str:
    """What the page is made with."""
    short = [".".join(module.__version__.split(".")[:2]) for module in (np, scipy)]
    return f"NumPy {short[0]} and SciPy {short[1]}"


def text(page: Page) -> str:
    """The page as Markdown."""
    out = [
        "# NumPy and SciPy, function by function",
        "",
        f"This page is generated (`python -m tests.support_page`, with {versions()}) and",
        "checked: every function that it calls supported is called by a test, which compares the",
        "value and dtype with NumPy's and the gradient with differences. A function stands under",
        "what at least one use of it shows; which operands and keywords a function takes is NumPy's",
        "own documentation.",
        "",
        "A refused function raises an error with the reason that stands here.",
        "",
    ]
    for where, section in page.sections.items():
        total = sum(map(len, section.values())) + sum(map(len, page.refused[where].values()))
        out += [f"## `{where}`: {total} names", ""]
        for status in (*STATUSES, OUTSIDE, REFUSED_STATUS):
            if section.get(status):
                out += [f"**{status}** ({len(section[status])}): {listed(section[status])}.", ""]
        if page.refused[where]:
            count = sum(map(len, page.refused[where].values()))
            out += [f"**{REFUSED_STATUS}** ({count}):", "", "| function | why, and what to write |"]
            out += ["|---|---|"]
            rows = sorted(page.refused[where].items(), key=lambda row: row[1])
            out += [f"| {listed(names)} | {reason.replace('|', '¦')} |" for reason, names in rows]
            out += [""]
    out += ["## Methods of ufuncs", ""]
    out += [
        "`np.add.outer` and the like work for every binary ufunc that is differentiable. `at` is",
        "refused, because it writes: `fg.at(x)[index].add(y)`.",
        "",
    ]
    for method, names in methods_of_ufuncs().items():
        out += [f"**`{method}`** ({len(names)}): {listed(names)}.", ""]
    return "\n".join([*out, NOTES])


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    current = collect()
    PATH.write_text(text(current), encoding="utf-8")
    print(f"wrote {PATH}; unclassified: {' '.join(current.unclassified) or 'nothing'}")
