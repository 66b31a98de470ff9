"""Pytrees for users, as ``fg.tree``: functions of nested containers of arrays.

Row 10, a public face: everything is done by `fungrad._tree`, except `ravel`, which is plain NumPy
on the leaves and so works on traced values too.

A *pytree* is any nesting of

* ``dict``, ``OrderedDict``, ``defaultdict``, ``list``, ``tuple``, namedtuples and ``None``, which
  has no leaves;
* instances of attrs classes and dataclasses, through their fields. A field declared with
  ``metadata={"static": True}`` is part of the structure: it must be hashable, is compared by
  ``==`` and type, and is never differentiated. Instances are rebuilt without ``__init__``, so
  that no validator or converter meets a traced value; attributes that are not fields are lost;
* ``PMap``, ``PVector``, ``PRecord``, ``CheckedPMap`` and ``CheckedPVector`` of pyrsistent; the
  checked ones are rebuilt without their checks;
* instances of classes given to `register`.

Everything else is a *leaf*: arrays, numbers, strings, functions, and any other object. That holds
for subclasses of ``dict``, ``list`` and ``tuple`` too (namedtuples aside), because they could come
back only as the plain type, or without what they add; `register` them.

The leaves of a mapping stand in the order of its sorted keys; keys that do not compare are sorted
by class name and ``repr``. A dict's own order is no part of the structure: what `unflatten` makes
of one is sorted, unlike an ``OrderedDict``, where the order counts in ``==``. `map`, the transforms,
and the functions that they call have dicts in the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from fungrad import _containers, _tree
from fungrad._tree import TreeDef
from fungrad.errors import FungradError, TreeMismatchError

__all__ = ["TreeDef", "flatten", "leaves", "map", "ravel", "register", "structure", "unflatten"]


def map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Apply a function to every leaf, or to the corresponding leaves of several trees.

    With one tree ``map(f, t)`` has the structure and types of ``t``; the laws are
    ``map(identity, t) = t`` and ``map(f, map(g, t)) = map(f ∘ g, t)``.

    Args:
        fn: A function of as many leaves as there are trees. What it returns becomes a leaf.
        tree: A pytree.
        *rest: More pytrees, of the same structure.

    Returns:
        A pytree of the structure of ``tree``.

    Raises:
        TreeMismatchError: If the structures differ; it names the first place.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> params = {"w": np.array([1.0, 2.0]), "b": (0.5, None)}
        >>> grads = {"w": np.array([0.1, 0.2]), "b": (1.0, None)}
        >>> fg.tree.map(lambda p, g: p - 0.5 * g, params, grads)
        {'w': array([0.95, 1.9 ]), 'b': (0.0, None)}
    """
    return _tree.tree_map(fn, tree, *rest)


def leaves(tree: Any) -> list[Any]:
    """The leaves of a tree, from left to right, in mappings by sorted key.

    Args:
        tree: A pytree.

    Returns:
        A list of the leaves themselves, not of copies.

    Raises:
        TreeMismatchError: If the tree contains itself or is nested too deeply.

    Example:
        >>> import fungrad as fg
        >>> fg.tree.leaves({"b": [3, None], "a": (1, 2)})
        [1, 2, 3]
    """
    return _tree.flatten(tree)[0]


def structure(tree: Any) -> TreeDef:
    """What remains of a tree without its leaves: containers, keys and static fields.

    Args:
        tree: A pytree.

    Returns:
        A `TreeDef`: immutable, hashable, and equal exactly for trees of equal structure. Its
        ``num_leaves`` counts the leaves, ``paths()`` says where each stands, ``unflatten(leaves)``
        fills it.

    Raises:
        TreeMismatchError: If the tree contains itself or is nested too deeply.
        FungradError: If a static field is unhashable, or mapping keys cannot be put in order.

    Example:
        >>> import fungrad as fg
        >>> fg.tree.structure({"w": (1.0, None), "b": 2.0})
        TreeDef({'b': *, 'w': (*, None)})
        >>> fg.tree.structure({"w": (1.0, None), "b": 2.0}).paths()
        ["['b']", "['w'][0]"]
    """
    return _tree.structure(tree).plain


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """Take a tree apart into its leaves and its structure.

    Args:
        tree: A pytree.

    Returns:
        What `leaves` and `structure` return.

    Raises:
        TreeMismatchError: If the tree contains itself or is nested too deeply.
        FungradError: If a static field is unhashable, or mapping keys cannot be put in order.

    Example:
        >>> import fungrad as fg
        >>> fg.tree.flatten({"w": (1.0, None), "b": 2.0})
        ([2.0, 1.0], TreeDef({'b': *, 'w': (*, None)}))
    """
    leaves, treedef = _tree.flatten(tree)
    return leaves, treedef.plain


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """Put a tree together; the inverse of `flatten`.

    Args:
        treedef: A structure, from `flatten` or `structure`.
        leaves: Its leaves in order, any objects; containers among them are not looked into.

    Returns:
        A pytree of that structure and those leaves.

    Raises:
        TreeMismatchError: If the number of leaves is not ``treedef.num_leaves``.

    Example:
        >>> import fungrad as fg
        >>> leaves, treedef = fg.tree.flatten({"w": (1.0, None), "b": 2.0})
        >>> fg.tree.unflatten(treedef, [10 * leaf for leaf in leaves])
        {'b': 20.0, 'w': (10.0, None)}
    """
    return treedef.unflatten(leaves)


def register(
    cls: type,
    flatten: Callable[[Any], tuple[Sequence[Any], Hashable]],
    unflatten: Callable[[Any, Sequence[Any]], Any],
) -> None:
    """Make the instances of a class containers; those of its subclasses are not affected.

    ``unflatten(*reversed(flatten(x)))`` must be an equal ``x``. An attrs class or dataclass may be
    registered to override its fields, best before its first use: treedefs from before and after
    differ.

    Args:
        cls: The class.
        flatten: From an instance to ``(children, aux)``: a sequence of pytrees, and a hashable rest
            that is compared by ``==`` and type.
        unflatten: From ``(aux, children)``, with a list of children, to an instance. It must accept
            any objects as children (traced values, placeholders) and so should not check them.

    Raises:
        FungradError: If ``cls`` is no class or is registered already; and at each `flatten`, if
            the function given does not return a pair with a hashable ``aux``.

    Example:
        >>> import fungrad as fg
        >>> class Interval:
        ...     def __init__(self, low, high):
        ...         self.low, self.high = low, high
        >>> fg.tree.register(
        ...     Interval,
        ...     flatten=lambda x: ((x.low, x.high), None),
        ...     unflatten=lambda aux, children: Interval(*children),
        ... )
        >>> fg.tree.map(lambda end: 2 * end, Interval(1.0, 3.0)).high
        6.0
    """
    _containers.register(cls, flatten, unflatten)


def ravel(tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Write all numbers of a tree into one vector; for optimizers that want one, as SciPy's do.

    Args:
        tree: A pytree whose leaves are arrays, numbers or traced values, of any shapes and of
            boolean, integer, real or complex dtypes.

    Returns:
        ``(vector, unravel)``. ``vector`` has shape ``(n,)``, where n counts the numbers of all
        leaves in order, each leaf in C order, and dtype ``np.result_type(*leaves)`` (float64 if
        there are none). Python numbers are weak in it, as everywhere in NumPy.
        ``unravel(v)`` is the inverse: the tree with the numbers of ``v``, of shape ``(n,)``, each
        leaf cast to its own shape and dtype. Where the tree had a Python number or NumPy scalar
        there is a NumPy scalar, and for a Python number its precision is the vector's: beside
        float32 arrays a Python float comes back as ``np.float32``, so that calculations remain in
        float32. Of a complex vector a real leaf takes the real part. Nothing shares memory with
        its argument.

    Raises:
        FungradError: If a leaf is not numeric or of a subclass of ``np.ndarray``, or if ``unravel``
            gets a complex vector for a real tree.
        TreeMismatchError: If ``unravel`` gets a vector of another shape.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> vector, unravel = fg.tree.ravel({"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": 0.5})
        >>> vector
        array([0.5, 1. , 2. , 3. , 4. ])
        >>> unravel(2 * vector)
        {'w': array([[2., 4.],
               [6., 8.]]), 'b': np.float64(1.0)}
    """
    leaves, treedef = _tree.flatten(tree)
    for index, leaf in enumerate(leaves):
        if not _is_numeric(leaf):
            raise FungradError(
                f"ravel takes numbers and arrays of numbers, but tree{treedef.paths()[index]} is a "
                f"{type(leaf).__name__}. Declare its field static, leave it out, or, if it is a "
                "kind of array, convert it by np.asarray."
            )
    common = np.result_type(*leaves or [0.0])
    pieces = [_as_vector(leaf, common) for leaf in leaves]
    sizes = [piece.shape[0] for piece in pieces]
    size = sum(sizes)
    dtypes = [_own_dtype(leaf, common) for leaf in leaves]
    # None: a scalar, which indexing gives and reshaping does not.
    shapes = [None if isinstance(leaf, _SCALARS) else leaf.shape for leaf in leaves]

    def unravel(vector: Any) -> Any:
        vector = vector if hasattr(vector, "dtype") else np.asarray(vector)
        if vector.shape != (size,):
            raise TreeMismatchError(
                f"unravel takes a vector of shape ({size},), not {vector.shape}."
            )
        if vector.dtype.kind not in ("biufc" if common.kind == "c" else "biuf"):
            raise FungradError(
                f"unravel takes real numbers for a tree of {common}, not {vector.dtype}: write "
                "unravel(vector.real), if the imaginary part may be dropped."
            )
        filled = []
        start = 0
        for count, shape, dtype in zip(sizes, shapes, dtypes, strict=True):
            part = vector[start] if shape is None else vector[start : start + count].reshape(shape)
            if vector.dtype.kind == "c" and dtype.kind != "c":
                part = part.real
            filled.append(part.astype(dtype))
            start += count
        return treedef.unflatten(filled)

    return np.concatenate(pieces) if pieces else np.zeros(0), unravel


_SCALARS = (bool, int, float, complex, np.generic)


def _is_numeric(leaf: Any) -> bool:
    if not hasattr(leaf, "dtype"):
        return isinstance(leaf, _SCALARS) and np.result_type(leaf).kind != "O"  # as 2**70 is
    known = isinstance(leaf, np.generic) or type(leaf) is np.ndarray
    traced = not isinstance(leaf, np.ndarray) and hasattr(type(leaf), "__array_function__")
    return (known or traced) and leaf.dtype.kind in "biufc"


def _as_vector(leaf: Any, dtype: np.dtype[Any]) -> Any:
    if not hasattr(leaf, "dtype"):
        # Not by way of an array of its own dtype: 300 must not become uint8(44).
        return np.asarray(leaf, dtype).reshape(1)
    vector = np.ravel(leaf)
    return vector if vector.dtype == dtype else vector.astype(dtype)


def _own_dtype(leaf: Any, common: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that a leaf has after `ravel` and back."""
    if not (leaf.aval.weak if hasattr(leaf, "aval") else not hasattr(leaf, "dtype")):
        own: np.dtype[Any] = leaf.dtype
        return own
    own = np.result_type(leaf)
    if own.kind == "f":
        return np.finfo(common).dtype  # for complex64 this is float32
    return common if common.kind in {"i": "iu", "c": "c"}.get(own.kind, "") else own
