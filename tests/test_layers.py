"""The layers of the design: each module imports only from rows above its own."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(str(files("fungrad")))

ROWS = (
    {"errors"},
    {"_locks", "_intern", "_aval", "_containers", "_tree", "_config", "_provenance"},
    {"_expr", "_graph"},
    {"_refusals", "_primitive", "_evaluate", "_codec", "_questions", "_snapshot"},
    {"_dispatch", "_attributes", "_operators", "_leaving", "_protocols", "_tracer"},
    {"ops"},
    {"_trace"},
    {
        "_linearity",
        "_masks",
        "_shared",
        "_vjp",
        "_jvp",
        "_gradient",
        "_residuals",
        "_batch",
        "_diagonal",
        "_jacobian",
        "_values",
        "_rewrites",
        "_together",
        "_simplify",
    },
    {"compile"},
    {"control", "custom"},
    {"transforms"},
    {"optim", "testing", "extend", "nn", "ode", "random", "tree", ""},
)
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}

PATHS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").strip("."): path
    for path in sorted(ROOT.rglob("*.py"))
}
"""Module name without ``fungrad.`` → file; the package itself is the empty string."""


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def runtime_nodes(tree: ast.AST):
    """All nodes of a module, except what only type checkers read."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
        pending += children


def own(dotted: str) -> str | None:
    """``fungrad.ops.shape`` as ``ops.shape``; None for other packages."""
    package, _, rest = dotted.partition(".")
    return rest if package == "fungrad" else None


def imports_of(path: Path) -> set[str]:
    """The modules of fungrad that a file imports, at the top or inside of functions."""
    found = set()
    for node in runtime_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {own(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}:{node.lineno}: relative import"
            source = own(node.module)
            if source is None:
                continue
            for alias in node.names:
                inner = f"{source}.{alias.name}".strip(".")
                # `from fungrad.compile import run` names the function that the package exports.
                exported = source and f"{alias.name!r}" in ast.unparse(
                    ast.parse(PATHS[source].read_text(encoding="utf-8"))
                )
                found.add(inner if inner in PATHS and not exported else source)
            if source:
                found.add(source)
    return found - {None}


IMPORTS = {name: imports_of(path) for name, path in PATHS.items()}


def test_the_walk_sees_the_package():
    assert {"_tracer", "ops.elementwise", "transforms.jit", ""} <= PATHS.keys()
    assert "_primitive" in IMPORTS["_tracer"]
    assert "_primitive" not in IMPORTS["_expr"]  # there it is behind TYPE_CHECKING


def test_type_checking_is_exempt_but_its_else_and_functions_are_not(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from fungrad._vjp import pullback\n"
        "else:\n    from fungrad import _batch\n"
        "def f():\n    import fungrad._simplify\n"
    )
    assert imports_of(file) == {"_batch", "_simplify"}


@pytest.mark.parametrize("module", PATHS, ids=lambda name: name or "fungrad")
def test_module_has_a_row(module):
    part = module.partition(".")[0]
    assert part in ROW_OF, f"fungrad.{module} is in no row of the design; add it to ROWS"


@pytest.mark.parametrize("module", PATHS, ids=lambda name: name or "fungrad")
def test_module_imports_from_its_row_or_above(module):
    row = ROW_OF[module.partition(".")[0]]
    below = {name for name in IMPORTS[module] if ROW_OF[name.partition(".")[0]] > row}
    assert not below, f"fungrad.{module} (row {row}) imports from below: {sorted(below)}"


def test_no_module_but_the_package_itself_imports_the_package():
    assert [name for name, imported in IMPORTS.items() if "" in imported] == []


def test_no_cycles():
    graph = {name: imported - {name} for name, imported in IMPORTS.items()}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert set(order) == set(PATHS)


def test_every_import_resolves():
    assert set().union(*IMPORTS.values()) <= PATHS.keys()


def test_importing_fungrad_imports_its_three_dependencies_only():
    code = (
        "import sys; before = set(sys.modules); import fungrad; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = set(out.stdout.split()) - sys.stdlib_module_names
    # pyrsistent needs typing_extensions, and has a C extension on some machines.
    assert new - {"typing_extensions", "pvectorc"} == {
        "fungrad", "numpy", "attr", "attrs", "pyrsistent",
    }  # fmt: skip


def test_dependencies_are_stated_where_used():
    allowed = {"fungrad", "numpy", "attr", "attrs", "pyrsistent"} | sys.stdlib_module_names
    for name, path in PATHS.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                roots = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots = {node.module.partition(".")[0]}
            else:
                continue
            assert roots <= allowed, f"fungrad.{name} imports {roots - allowed} when it is imported"


def test_package_is_typed():
    assert (ROOT / "py.typed").is_file()
