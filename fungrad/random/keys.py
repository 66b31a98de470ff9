"""Keys: where they come from, and how one becomes many."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from fungrad._tracer import Tracer
from fungrad.errors import InputTypeError, ShapeMismatchError
from fungrad.ops.random import KEY, fold_p, key_p, key_value, split_p
from fungrad.ops.shape import arraylike


def key(seed: Any) -> Any:
    """The key that belongs to a seed.

    Seeds are hashed, so that any two of them, also 0 and 1, give unrelated keys.

    Args:
        seed: an integer that is not negative: a Python integer of any size, or a traced one.

    Returns:
        Read-only uint64 array of shape ``(2,)``. Traced, for a traced seed.

    Raises:
        ValueError: a negative seed.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> key = fg.random.key(0)
        >>> key.shape, key.dtype
        ((2,), dtype('uint64'))
        >>> np.array_equal(fg.random.normal(key, 3), fg.random.normal(key, 3))
        True
        >>> fg.vmap(fg.random.key)(np.arange(5)).shape  # five keys
        (5, 2)

    References:
        ``numpy.random.SeedSequence``, after M. E. O'Neill, Developing a seed_seq Alternative, 2015.
    """
    if not isinstance(seed, Tracer):
        return _locked(key_value(np.asarray(operator.index(seed))))
    if seed.ndim or seed.dtype.kind not in "iu":
        raise InputTypeError(
            f"a seed is one integer, not {seed.aval}; write: fg.vmap(fg.random.key)(seeds) for "
            "several of them"
        )
    return key_p(seed)


def split(key: Any, count: int = 2) -> Any:
    """Keys that are independent of each other, and of what is drawn with ``key``.

    The first keys are the same for every count. Splitting a key again gives the same keys again:
    go on with one of them instead.

    Args:
        key: a key.
        count: how many keys to make.

    Returns:
        uint64 array of shape ``(count, 2)``: one key in each row, to be unpacked, indexed, or
        mapped over with ``fg.vmap``.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> key = fg.random.key(0)
        >>> for step in range(3):
        ...     key, step_key = fg.random.split(key)
        >>> draws = fg.vmap(fg.random.normal)(fg.random.split(key, 5))
        >>> draws.shape
        (5,)
    """
    count = operator.index(count)
    if count < 0:
        raise ValueError(f"the number of keys must not be negative; it is {count}")
    return _locked(split_p(checked(key), count=count))


def fold_in(key: Any, number: Any) -> Any:
    """The key that belongs to a key and an integer, such as the number of a step.

    It is independent of all others made from ``key``, by this function or by ``split``, and of
    what is drawn with ``key``.

    Args:
        key: a key.
        number: an integer, counted modulo 2⁶⁴; it may be traced.

    Returns:
        uint64 array of shape ``(2,)``.

    Example:
        >>> import fungrad as fg
        >>> key = fg.random.key(0)
        >>> keys = [fg.random.fold_in(key, step) for step in range(100)]
        >>> len({tuple(key.tolist()) for key in keys})
        100
    """
    if isinstance(number, (Tracer, np.ndarray)):
        if number.ndim or number.dtype.kind not in "iu":
            raise InputTypeError(
                f"fold_in takes one integer, not an array {number.dtype}{number.shape}; write: "
                "fg.vmap(fg.random.fold_in, (None, 0))(key, numbers) for several of them"
            )
    else:
        number = np.uint64(operator.index(number) % (1 << 64))
    return _locked(fold_p(checked(key), number))


def checked(key: Any) -> Any:
    """``key`` as an array, if it is one key.

    Raises:
        InputTypeError: it is no key at all.
        ShapeMismatchError: it is an array of keys.
    """
    if getattr(key, "dtype", None) != KEY:
        seen = f"a {type(key).__name__}" if not hasattr(key, "dtype") else f"{key.dtype} numbers"
        raise InputTypeError(
            f"a draw needs a key, not {seen}; write: key = fg.random.key(0), once, and "
            "fg.random.split(key) where several draws need one each"
        )
    if key.shape != (2,):
        raise ShapeMismatchError(
            f"a draw needs one key, of shape (2,); this has shape {key.shape}; write: keys[i], or "
            "fg.vmap over the keys"
        )
    return arraylike(key)


def _locked(keys: Any) -> Any:
    """Keys are values: nobody writes into them."""
    if isinstance(keys, np.ndarray):
        keys.flags.writeable = False
    return keys
