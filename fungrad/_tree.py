"""Pytrees: nested containers, taken apart into a flat list of leaves and put together again.

Row 1, at both ends of every call. In: a user's arguments. Out: a list of leaves and a `TreeDef`; on
the way back, leaves become the user's own structure and types again. `flatten` runs at every jitted
call, so it makes one pass, which builds a nested key, and one look-up of the interned `TreeDef`.

The walk is recursive, at most `MAX_DEPTH` deep: containers are nested by hand, unlike expressions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from typing import Any

import attrs

from fungrad._containers import Aux, Kind, full_name, kinds, plain_aux
from fungrad._intern import InternTable
from fungrad.errors import TreeMismatchError

MAX_DEPTH = 1000
_TOO_DEEP = (
    f"The tree is nested more than {MAX_DEPTH} deep, or deeper than the call stack allows, or it "
    "contains itself. Write a long chain as a list; break a cycle."
)


@attrs.frozen(eq=False, repr=False)
class TreeDef:
    """A pytree without its leaves: immutable and interned, so that equality is identity."""

    kind: Kind | None  # None: a leaf
    aux: Any
    children: tuple[TreeDef, ...]
    num_leaves: int
    shallow: bool  # all children are leaves
    sorted: TreeDef | None = None  # with dicts in the order of their keys; None: this is so

    @property
    def plain(self) -> TreeDef:
        """What counts where structures are compared: the order of a dict's keys does not."""
        return self.sorted or self

    def statics(self) -> list[Any]:
        """The values of static fields, which are part of the structure."""
        found: list[Any] = []
        pending = [self]
        while pending:
            node = pending.pop()
            pending += node.children
            if node.kind is not None and node.kind.named_by == "field":
                found += node.aux or ()
        return found

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree of this structure with these leaves."""
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise TreeMismatchError(
                f"A tree of {self.num_leaves} leaves cannot be built from {len(leaves)}: "
                f"{_clip(repr(self), 300)}"
            )
        if self.shallow and self.kind is not None:
            return self.kind.unflatten(self.aux, leaves)
        try:
            return _build(self, iter(leaves))
        except RecursionError as error:
            raise TreeMismatchError(_TOO_DEEP) from error

    def paths(self) -> list[str]:
        """For every leaf the way from the root to it, such as ``['w1'][0].bias``."""
        paths, stack = [], [("", self)]
        while stack:
            path, node = stack.pop()
            if node.kind is None:
                paths.append(path)
            else:
                below = [path + step for step in _steps(node)]
                stack.extend(reversed(list(zip(below, node.children, strict=True))))
        return paths

    def __repr__(self) -> str:
        return f"TreeDef({_show(self, 50)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Flattening again on arrival interns; the functions in a Kind would not pickle.
        return structure, (self.unflatten([0] * self.num_leaves),)


LEAF = TreeDef(kind=None, aux=None, children=(), num_leaves=1, shallow=False)

_treedefs: InternTable[TreeDef] = InternTable()
# The table is weak; this keeps the latest alive for callers that flatten and drop the treedef.
_recent: deque[TreeDef] = deque(maxlen=256)


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """The leaves of a tree, from left to right, in mappings by sorted key; and its structure.

    What is built of the structure has dicts in the order in which they were; see ``TreeDef.plain``.
    """
    kind = kinds[type(tree)]
    if kind is None:
        return [tree], LEAF
    leaves: list[Any] = []
    try:
        key = _walk(tree, kind, leaves, MAX_DEPTH)
        treedef = _treedefs.get(key)
        if treedef is None:
            treedef = _intern(key)
            _recent.append(treedef)
        return leaves, treedef
    except RecursionError as error:
        raise TreeMismatchError(_TOO_DEEP) from error


def _walk(tree: Any, kind: Kind, leaves: list[Any], depth: int) -> tuple[Any, ...]:
    """Append the leaves of ``tree``; return its structure as ``(kind, aux, *children)``."""
    if not depth:
        raise RecursionError
    children, aux = kind.flatten(tree)
    key: list[Any] = [kind, aux]
    for child in children:
        child_kind = kinds[type(child)]
        if child_kind is None:
            leaves.append(child)
            key.append(None)
        else:
            key.append(_walk(child, child_kind, leaves, depth - 1))
    return tuple(key)


def _intern(key: Any) -> TreeDef:
    if key is None:
        return LEAF
    kind, aux, *rest = key
    children = tuple(map(_intern, rest))  # not a comprehension: half the stack, before 3.12
    treedef = TreeDef(
        kind,
        aux and aux.value,
        children,
        num_leaves=sum(child.num_leaves for child in children),
        shallow=all(child is LEAF for child in children),
        sorted=_intern(_sorted(key)) if _is_ordered(key) else None,
    )
    return _treedefs.add(key, treedef)


def _is_ordered(key: Any) -> bool:
    if key is None:
        return False
    kind, aux, *rest = key
    return (kind.ordered and aux.value[-1] is not None) or any(map(_is_ordered, rest))


def _sorted(key: Any) -> Any:
    if key is None:
        return None
    kind, aux, *rest = key
    return kind, plain_aux(kind, aux), *map(_sorted, rest)


def _build(node: TreeDef, leaves: Iterator[Any]) -> Any:
    if node.kind is None:
        return next(leaves)
    if node.shallow:
        children = list(islice(leaves, len(node.children)))
    else:
        children = list(map(_build, node.children, repeat(leaves)))
    return node.kind.unflatten(node.aux, children)


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """The tree of structure ``treedef`` with these leaves."""
    return treedef.unflatten(leaves)


def structure(tree: Any) -> TreeDef:
    """The structure of a tree."""
    return flatten(tree)[1]


def tree_map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply ``fn`` to the corresponding leaves of trees of equal structure."""
    leaves, treedef = flatten(tree)
    columns = [leaves]
    for number, other in enumerate(rest, start=1):
        column, other_treedef = flatten(other)
        check_same_structure(treedef, other_treedef, "trees[0]", f"trees[{number}]")
        columns.append(column)
    return treedef.unflatten(map(fn, *columns))


def spread(
    prefix: Any, tree: TreeDef, is_leaf: Callable[[Any], bool], name: str, owner: str
) -> list[Any]:
    """For every leaf of ``tree`` the leaf of ``prefix`` at or above it.

    Args:
        prefix: a pytree of the structure of ``tree``, or of its part near the root.
        tree: the whole structure.
        is_leaf: what counts as a leaf of ``prefix``; so ``None`` may.
        name: of ``prefix``, and
        owner: of what has the structure ``tree``, for messages.
    """
    found: list[Any] = []
    pending = [(name, prefix, tree)]
    while pending:
        path, part, node = pending.pop()
        if is_leaf(part):
            found += [part] * node.num_leaves
            continue
        kind = kinds[type(part)]
        children, aux = ((), None) if kind is None else kind.flatten(part)
        children = tuple(children)
        if (
            kind is None
            or kind is not node.kind
            or len(children) != len(node.children)
            or (aux is not None and plain_aux(kind, aux) != plain_aux(kind, Aux(node.aux)))
        ):
            raise TreeMismatchError(
                f"{path} is {_clip(repr(part), 80)}, which does not fit the structure of {owner}, "
                f"which there is {_describe(node)}; write: the same structure, or one value for "
                "all of it"
            )
        below = zip(_steps(node), children, node.children, strict=True)
        pending += reversed([(path + step, child, under) for step, child, under in below])
    return found


def check_same_structure(
    expected: TreeDef, actual: TreeDef, expected_name: str, actual_name: str
) -> None:
    """Raise `TreeMismatchError`, naming the first path where they differ, unless they are equal."""
    expected, actual = expected.plain, actual.plain
    if expected is not actual:
        path, wanted, found = _first_difference(expected, actual)
        raise TreeMismatchError(
            f"{actual_name} must have the structure of {expected_name}, but "
            f"{expected_name}{path} {wanted}, and {actual_name}{path} {found}."
        )


def _first_difference(a: TreeDef, b: TreeDef) -> tuple[str, str, str]:
    path = ""
    while a.kind is not None and a.kind is b.kind:
        names, others = _names(a), _names(b)
        if a.kind.named_by == "index" and names != others:
            return path, f"has length {len(names)}", f"has length {len(others)}"
        if odd := set(names) ^ set(others):
            name = min(odd)
            has = f"has the {a.kind.named_by} {name}"
            return (path, has, "has not") if name in names else (path, "has not", has)
        if Aux(a.aux) != Aux(b.aux):
            break
        for step, x, y in zip(_steps(a), a.children, b.children, strict=True):
            if x is not y:
                path, a, b = path + step, x, y
                break
    return path, f"is {_describe(a)}", f"is {_describe(b)}"


def _describe(node: TreeDef) -> str:
    """One level of a node, with the full name of its class: two classes may share the short one."""
    if node.kind is None or node.kind.cls is type(None):
        return "a leaf" if node.kind is None else "None"
    return f"the {full_name(node.kind.cls)} {_clip(_show(node, 0), 80)}"


def _show(node: TreeDef, depth: int) -> str:
    if node.kind is None:
        return "*"
    form = {"index": "{1}", "key": "{0}: {1}", "field": "{0}={1}"}[node.kind.named_by]
    children = [_show(c, depth - 1) if depth or not c.children else "..." for c in node.children]
    items = [form.format(*pair) for pair in zip(_names(node), children, strict=True)]
    if note := node.kind.note(node.aux):
        items.append(note)
    lone = node.kind.cls is tuple and len(items) == 1
    return node.kind.shown.format(", ".join(items) + "," * lone)


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _names(node: TreeDef) -> list[str]:
    assert node.kind is not None
    names = node.kind.names(node.aux, len(node.children))
    return [str(name) if node.kind.named_by == "field" else repr(name) for name in names]


def _steps(node: TreeDef) -> list[str]:
    assert node.kind is not None
    form = ".{}" if node.kind.named_by == "field" else "[{}]"
    return [form.format(name) for name in _names(node)]
