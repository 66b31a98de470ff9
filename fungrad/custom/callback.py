"""``pure_callback``: a call of opaque code as one operation of a program.

Stage: trace; the function runs with the program. In: a function of arrays, what it returns, and its
arguments. Out: its results, checked and copied, so that they are nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from fungrad._aval import Aval, aval_of, is_number_like, make_aval, tuple_aval
from fungrad._primitive import Unwritten, primitive
from fungrad._tracer import Tracer
from fungrad._tree import TreeDef, check_same_structure, flatten
from fungrad.custom.vjp import GivenResult
from fungrad.errors import ArgumentError, CallbackError
from fungrad.ops.creation import full_like

Function = Callable[..., Any]


class ShapeDtypeStruct:
    """What a result will look like: a shape and a dtype, and no numbers.

    Args:
        shape: the lengths of the axes.
        dtype: of the entries.

    Example:
        >>> import fungrad as fg
        >>> fg.ShapeDtypeStruct((2, 3))
        ShapeDtypeStruct(shape=(2, 3), dtype=float64)

    References:
        The name is JAX's; any other object with ``shape`` and ``dtype`` does as well.
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: int | Sequence[int], dtype: Any = float) -> None:
        self.shape = np.broadcast_shapes(shape)
        self.dtype = np.dtype(dtype)

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype})"


def pure_callback(
    function: Function,
    result: Any,
    *args: Any,
    vectorized: bool = False,
    vjp: Function | None = None,
) -> Any:
    r"""Call a function that fungrad can't look into: other libraries, compiled code, look-ups.

    Inside transformed functions it is one operation, and ``function`` gets plain arrays when the
    program runs. Called with the same arguments it must return the same, and do nothing else: it
    runs as often as the program happens to need it, which may be never.

    Args:
        function: takes ``args``, with read-only NumPy arrays and scalars for what is traced, and
            returns arrays of the announced structure, shapes and dtypes.
        result: a pytree of what the results look like: ``fg.ShapeDtypeStruct(shape, dtype)``, or
            anything else with a ``shape`` and a ``dtype``, such as an array.
        *args: pytrees of arrays of any shapes, and whatever else ``function`` takes.
        vectorized: whether ``function`` also takes arrays that all have one more leading axis, of
            examples, and returns results that have it too. Then ``vmap`` makes one call; by
            default it makes one for each example.
        vjp: the rule for derivatives, in NumPy: ``vjp(ct, result, *args) -> (ct of each argument,
            …)``, with ``None`` for zero; for both modes and all orders.

    Returns:
        The results, as arrays that nobody else holds.

    Raises:
        CallbackError: the results do not look as announced.
        UnsupportedFunctionError: a derivative is taken, but there is no ``vjp``.

    Example:
        >>> import math
        >>> import numpy as np
        >>> import fungrad as fg
        >>> def gamma(x):
        ...     return fg.pure_callback(math.gamma, x, x, vjp=lambda ct, y, x: (ct * y * psi(x),))
        >>> def psi(x):                                             # by a series, digamma(x)
        ...     k = np.arange(1.0, 1e5)
        ...     return -np.euler_gamma + np.sum(1 / k - 1 / (k + x - 1))
        >>> float(fg.jit(gamma)(5.0))
        24.0
        >>> round(float(fg.grad(gamma)(5.0)), 2)
        36.15

    References:
        The name is JAX's.
    """
    if vjp is not None:
        plain = lambda *args: pure_callback(function, result, *args, vectorized=vectorized)
        return GivenResult(plain, vjp, _name_of(function))(*args)
    leaves, tree = flatten(args)
    numeric = [isinstance(leaf, Tracer) or is_number_like(leaf) for leaf in leaves]
    rest = [(i, ById(leaf)) for i, leaf in enumerate(leaves) if not numeric[i]]
    outputs, out = flatten(result)
    callback = Callback(
        _by_id(function), tree, tuple(rest), out, tuple(map(_announced, outputs)), vectorized
    )
    operands = [leaf for leaf, flag in zip(leaves, numeric, strict=True) if flag]
    return out.unflatten(callback_p(*operands, callback=callback, loops=()))


def _announced(leaf: Any) -> Aval:
    if is_number_like(leaf):
        return aval_of(leaf).with_weak(False)
    try:
        return make_aval(tuple(leaf.shape), np.dtype(leaf.dtype))
    except (AttributeError, TypeError):
        raise ArgumentError(
            f"pure_callback was told that {leaf!r} is what its function returns; write: "
            "fg.ShapeDtypeStruct(shape, dtype), or an array like the result"
        ) from None


def _name_of(function: Function) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _by_id(function: Function) -> Any:
    # What says by its contents that it is equal to another function is taken at its word.
    try:
        hash(function)
    except TypeError:
        return ById(function)
    return function


@attrs.frozen(eq=False)
class ById:
    """A value, equal to itself only."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ById) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def __call__(self, *args: Any) -> Any:
        """Call the value, which is a function."""
        return self.value(*args)


@attrs.frozen
class Callback:
    """A function, how it takes arrays, and what it returns.

    Attributes:
        function: what to call.
        tree: the structure of its arguments.
        rest: the leaves of these that are no numbers, with their places.
        out: the structure of its result.
        avals: what the leaves of that look like.
        vectorized: whether it takes all examples of a batch at once.
    """

    function: Function
    tree: TreeDef
    rest: tuple[tuple[int, ById], ...]
    out: TreeDef
    avals: tuple[Aval, ...]
    vectorized: bool

    def __call__(self, operands: Sequence[Any]) -> tuple[Any, ...]:
        """The leaves of the result, checked and copied."""
        numbers, rest = iter(operands), dict(self.rest)
        leaves = [
            rest[i].value if i in rest else _locked(next(numbers))
            for i in range(self.tree.num_leaves)
        ]
        name = _name_of(self.function)
        leaves, tree = flatten(self.function(*self.tree.unflatten(leaves)))
        check_same_structure(self.out, tree, "the announced result", f"what {name} returned")
        return tuple(map(self._checked, leaves, self.avals, tree.paths()))

    def _checked(self, leaf: Any, aval: Aval, path: str) -> Any:
        if not is_number_like(leaf):
            found: str = f"a {type(leaf).__name__}"
        else:
            array = np.asarray(leaf)
            number = not isinstance(leaf, (np.ndarray, np.generic))
            if number and np.can_cast(array.dtype, aval.dtype, "same_kind"):
                array = array.astype(aval.dtype)
            if array.shape == aval.shape and array.dtype == aval.dtype:
                return array.copy()[()] if not aval.shape else array.copy()
            found = f"{array.dtype}{list(array.shape)}"
        batch = " (vectorized=True promises a leading axis of examples)" if self.vectorized else ""
        raise CallbackError(
            f"{_name_of(self.function)} returned {found}{path and f' at {path}'}, but "
            f"pure_callback was told {aval}{batch}; write: fg.ShapeDtypeStruct(shape, dtype) as "
            "it is, or return that"
        )


def _locked(operand: Any) -> Any:
    """An array that the function can't write into; scalars as they are."""
    if not isinstance(operand, np.ndarray):
        return operand
    view = operand.view()
    view.flags.writeable = False
    return view


Loops = tuple[tuple[tuple[bool, ...], int], ...]
"""For each batch, from the outermost: which operands have its axis, and how long that is."""


def _value(*operands: Any, callback: Callback, loops: Loops) -> tuple[Any, ...]:
    if not loops:
        return callback(operands)
    (batched, size), *inner = loops
    results = [
        _value(
            *[x[i] if flag else x for x, flag in zip(operands, batched, strict=True)],
            callback=callback,
            loops=tuple(inner),
        )
        for i in range(size)
    ]
    avals = _aval(callback=callback, loops=loops).avals
    if not size:
        return tuple([np.empty(aval.shape, aval.dtype) for aval in avals])
    return tuple([np.stack(column) for column in zip(*results, strict=True)])


def _aval(*operands: Aval, callback: Callback, loops: Loops) -> Any:
    sizes = tuple([size for _, size in loops])
    return tuple_aval(*[make_aval(sizes + aval.shape, aval.dtype) for aval in callback.avals])


def _vjp(ct: Any, y: Any, *operands: Any, callback: Callback, loops: Loops) -> list[Any]:
    name = _name_of(callback.function)
    reason = f"nothing is known of {name}; write: fg.pure_callback(..., vjp=rule)"
    return [Unwritten(reason)] * len(operands)


def _batch(
    batched: tuple[bool, ...], size: int, *operands: Any, callback: Callback, loops: Loops
) -> Any:
    if not callback.vectorized:
        return callback_p(*operands, callback=callback, loops=((batched, size), *loops))
    like = next(x for x, flag in zip(operands, batched, strict=True) if flag)
    every = [
        x if flag else _repeated(x, size, like) for x, flag in zip(operands, batched, strict=True)
    ]
    avals = tuple([make_aval((size, *aval.shape), aval.dtype) for aval in callback.avals])
    return callback_p(*every, callback=attrs.evolve(callback, avals=avals), loops=loops)


def _repeated(x: Any, size: int, like: Tracer) -> Any:
    if isinstance(x, Tracer):
        return np.broadcast_to(x, (size, *x.shape))
    return full_like(like, x, (size,), np.result_type(x))


callback_p = primitive(
    "pure_callback",
    value=_value,
    aval=_aval,
    vjp=_vjp,
    batch=_batch,
    fresh=True,
    analytic=False,
)
