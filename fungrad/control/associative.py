"""``associative_scan``: all partial results of an associative operation, without a loop over them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fungrad._aval import aval_of
from fungrad._tracer import Tracer
from fungrad._tree import check_same_structure, flatten
from fungrad.control._body import Leaves, check_callable
from fungrad.errors import ArgumentError, OutputTypeError, ShapeMismatchError

Function = Callable[..., Any]


def associative_scan(fn: Function, elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    r"""The partial results of an associative operation along an axis, as ``np.cumsum`` for ``+``.

    .. math:: y_0 = x_0, \quad y_t = y_{t-1} \circ x_t

    It calls ``fn`` about :math:`2 \log_2 n` times, on whole arrays, for :math:`2 n` operations in
    all; so it is much faster than `scan` where it applies. The order of the operations differs, so
    that the last bits may, too.

    Args:
        fn: ``(a, b) -> a ∘ b``, a pure function of two trees like ``elems``, of any length along
            the axis, for all positions at once. It must be associative.
        elems: a pytree of arrays of one common length ``n`` along ``axis``.
        reverse: whether to go from the last element to the first: ``y_t = y_{t+1} ∘ x_t``.
        axis: the axis of the sequence in every leaf.

    Returns:
        The partial results, with the structure, shapes and dtypes of ``elems``.

    Raises:
        ShapeMismatchError: lengths that differ, or ``fn`` changed a shape.
        TreeMismatchError: ``fn`` changed the structure.
        ArgumentError: a leaf without that axis.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> fg.associative_scan(np.multiply, np.array([1.0, 2.0, 3.0, 4.0]))
        array([ 1.,  2.,  6., 24.])
        >>> # y[t] = a[t] * y[t-1] + b[t]: the operation composes the steps
        >>> step = lambda p, q: (q[0] * p[0], q[0] * p[1] + q[1])
        >>> fg.associative_scan(step, (np.full(4, 0.5), np.ones(4)))[1]
        array([1.   , 1.5  , 1.75 , 1.875])

    References:
        Blelloch, Prefix Sums and Their Applications, CMU-CS-90-190, 1990, section 1.3. The name
        and the signature are JAX's.
    """
    leaves = Leaves.of(elems, "elems")
    axis = operator.index(axis)
    check_callable(fn, "fn of fg.associative_scan", "np.add")
    lengths: dict[str, int] = {}
    for aval, path in zip(leaves.avals, leaves.paths, strict=True):
        if not -aval.ndim <= axis < aval.ndim:
            raise ArgumentError(
                f"fg.associative_scan goes along axis {axis}, which {path} of shape {aval.shape} "
                "does not have; write: axis= with an axis of all arrays"
            )
        lengths[path] = aval.shape[axis]
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{path}: {length}" for path, length in lengths.items())
        raise ShapeMismatchError(
            f"fg.associative_scan needs sequences of one common length, but found {found}; write: "
            "sequences cut to the same length"
        )
    if not lengths:
        return elems

    def combine(a: list[Any], b: list[Any]) -> list[Any]:
        result = fn(leaves.tree.unflatten(a), leaves.tree.unflatten(b))
        out, tree = flatten(result)
        check_same_structure(leaves.tree, tree, "elems", "the result of fn")
        for x, y, path in zip(a, out, leaves.paths, strict=True):
            if np.shape(x) != np.shape(y):
                raise ShapeMismatchError(
                    f"fn gave an array of shape {np.shape(y)} for {path} of shape {np.shape(x)}; "
                    "write: an operation on arrays of any length, which keeps shapes"
                )
        return [_converted(y, x) for x, y in zip(a, out, strict=True)]

    moved = [np.moveaxis(x, axis, 0) for x in leaves.values]
    if reverse:
        moved = [x[::-1] for x in moved]
    results = _scan(combine, moved, next(iter(lengths.values())))
    if reverse:
        results = [x[::-1] for x in results]
    return leaves.tree.unflatten([np.moveaxis(x, 0, axis) for x in results])


def _converted(value: Any, like: Any) -> Any:
    """A result of the dtype of the elements, as it must be to be an operand again."""
    if not isinstance(value, Tracer):
        aval_of(value)
    if value.dtype != like.dtype:
        raise OutputTypeError(
            f"fn gave an array of dtype {value.dtype} for one of dtype {like.dtype}; write: "
            f"elems of dtype {value.dtype}"
        )
    return value


def _scan(combine: Function, elems: list[Any], length: int) -> list[Any]:
    """Along the first axis: pairs first, then their partial results, then what lies between."""
    if length < 2:
        return elems
    pairs = combine([x[:-1:2] for x in elems], [x[1::2] for x in elems])
    odd = _scan(combine, pairs, length // 2)
    # y[2i] = y[2i - 1] ∘ x[2i]
    before = odd if length % 2 else [y[:-1] for y in odd]
    even = combine(before, [x[2::2] for x in elems]) if length > 2 else [x[:0] for x in elems]
    return [
        _interleaved(np.concatenate((x[:1], e)), o)
        for x, e, o in zip(elems, even, odd, strict=True)
    ]


def _interleaved(even: Any, odd: Any) -> Any:
    """The entries of the two in turn, ``even`` first."""
    common = odd.shape[0]
    woven = np.stack((even[:common], odd), axis=1).reshape((2 * common, *odd.shape[1:]))
    return woven if even.shape[0] == common else np.concatenate((woven, even[common:]))
