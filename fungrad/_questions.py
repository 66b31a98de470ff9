"""Questions that Python code asks of traced values, and what makes two answers the same.

Row 3. In: a node, and how the code reads its value. Out: a record of the answer, by which ``jit``
finds, when its program runs, the path that the code would take.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any

import attrs
import numpy as np

from fungrad._evaluate import as_operand
from fungrad._expr import Expr
from fungrad._intern import bits_key
from fungrad.errors import user_frame

Read = Callable[[Any], Any]
_DIGESTED = 64
"""Arrays of more bytes are told apart by a digest, so that an answer does not keep them."""


def as_it_is(value: Any) -> Any:
    """The whole value, for code that reads more than one number of it."""
    return value


@attrs.frozen(eq=False)
class Question:
    """What Python code asked of a node.

    Attributes:
        node: the value in question.
        asked: in words, what the code did.
        leaves: whether the value goes on as a number.
        read: what the code got to see of the value: ``bool`` for a condition, and so on.
        outcome: what it saw, so that equal outcomes lead to the same code.
        place: the file and line of the user's code that asked.
    """

    node: Expr
    asked: str
    leaves: bool
    read: Read
    outcome: Hashable
    place: tuple[str, int]

    @classmethod
    def of(cls, node: Expr, asked: str, leaves: bool, read: Read, answer: Any) -> Question:
        """The record of a question that was answered just now."""
        frame = user_frame()
        place = ("<unknown>", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
        return cls(node, asked, leaves, read, outcome_of(answer), place)

    def same(self, other: Question) -> bool:
        """Whether it is the same question, whatever the answers were."""
        return self.node is other.node and self.read is other.read

    def outcome_for(self, value: Any) -> Hashable:
        """The outcome that a value gives; the code would fail where this does."""
        return outcome_of(self.read(as_operand(value)))


def outcome_of(answer: Any) -> Hashable:
    """What two answers have in common that code can't tell apart: bits, dtype and shape."""
    if answer is True or answer is False:
        return answer
    if isinstance(answer, np.ndarray) and answer.shape:
        data = answer.tobytes()
        if len(data) > _DIGESTED:
            data = hashlib.blake2b(data, digest_size=32).digest()
        return answer.shape, answer.dtype, data
    return bits_key(answer[()] if isinstance(answer, np.ndarray) else answer)
