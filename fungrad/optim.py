"""Optimizers as values: gradients in, the next parameters and the next optimizer out.

Row 10, a public face, as ``fg.optim``. An optimizer is a frozen attrs instance and a pytree, so it
goes through ``jit``, ``vmap`` and pickling like parameters do. Its numbers (hyper-parameters, step
count, state) are leaves: inputs of a jitted step, never constants of it, so that
``attrs.evolve(opt, learning_rate=0.01)`` does not trace again. Flags and schedules are structure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import attrs
import numpy as np

from fungrad._aval import Aval, is_array, is_number_like
from fungrad._evaluate import as_operand
from fungrad._tracer import Tracer
from fungrad._tree import LEAF, TreeDef, check_same_structure, flatten, tree_map
from fungrad.errors import (
    CotangentError,
    InputTypeError,
    NonDifferentiableInputError,
    ShapeMismatchError,
)
from fungrad.ops.elementwise import root
from fungrad.ops.shape import cast_like
from fungrad.transforms._arguments import aval_of_leaf

__all__ = ["Adam", "Momentum", "Optimizer", "Schedule", "Sgd", "adam", "momentum", "sgd"]


@attrs.frozen(eq=False)
class Schedule:
    """A learning rate that is a function of the step; the function is structure, not a leaf."""

    function: Callable[[Any], Any] = attrs.field(metadata={"static": True})

    def __call__(self, step: Any) -> Any:
        """The learning rate at this step."""
        return self.function(step)


def _number(value: Any, name: str = "a hyper-parameter") -> Any:
    """A hyper-parameter as a leaf: never a Python number, because ``jit`` would not return one."""
    if type(value) in (int, float):
        return np.float64(value)
    if not (isinstance(value, Tracer) or is_array(value)) or value.dtype.kind not in "iuf":
        raise InputTypeError(f"{name} must be a real number, but is {value!r}; write: 0.1")
    if value.shape:
        raise ShapeMismatchError(
            f"{name} must be one number, but has shape {value.shape}; write: fg.vmap over a "
            "function that makes the optimizer, to try several"
        )
    return value if isinstance(value, Tracer) else value[()]


def _rate(value: Any) -> Any:
    """A learning rate: a number, or a callable whose numbers, if it is a pytree, are leaves."""
    if not callable(value):
        return _number(value, "learning_rate")
    leaves, tree = flatten(value)
    return Schedule(value) if tree is LEAF else tree.unflatten(map(as_operand, leaves))


@attrs.frozen(eq=False, kw_only=True)
class Optimizer:
    """What the optimizers share: the learning rate, the step count, and ``update``.

    Attributes:
        learning_rate: a number of shape ``()``, or a schedule.
        step: how many updates led here: an integer of shape ``()``.
    """

    learning_rate: Any = attrs.field(converter=_rate)
    step: Any = attrs.field(factory=partial(np.int64, 0))
    _state: ClassVar[tuple[str, ...]] = ()  # the fields that are trees like params

    def update(self, params: Any, grads: Any) -> tuple[Any, Any]:
        """Move the parameters by one step. Pure: neither argument nor the optimizer changes.

        Args:
            params: the parameters, as the optimizer was made for them.
            grads: the gradient of the loss with respect to them, as ``fg.grad`` returns it: of
                their structure and shapes. It is cast to their dtypes.

        Returns:
            ``(params, optimizer)``: the next parameters, in the same structure, shapes and dtypes
            (Python floats remain Python floats, except under ``jit``), and the next optimizer.

        Raises:
            TreeMismatchError: ``grads`` or the optimizer's state has another structure than
                ``params``; the message names the first place.
            ShapeMismatchError: a leaf of them has another shape; the message names it.
            CotangentError: a gradient is complex where its parameter is real.
            NonDifferentiableInputError: a parameter is not floating-point.
            InputTypeError: the schedule returned something that is not a real number.

        Example:
            >>> import numpy as np
            >>> import fungrad as fg
            >>> params = {"w": np.array([1.0, 2.0]), "b": 0.5}
            >>> opt = fg.optim.sgd(params, learning_rate=0.1)
            >>> grads = fg.grad(lambda p: np.sum(p["w"] ** 2) + p["b"])(params)
            >>> params, opt = opt.update(params, grads)
            >>> params
            {'w': array([0.8, 1.6]), 'b': 0.4}
        """
        leaves, tree = flatten(params)
        avals = _differentiable(leaves, tree)
        columns = [
            _column(name, values, tree, avals)
            for name, values in [
                ("grads", grads),
                *[(f"the optimizer's {name}", getattr(self, name)) for name in self._state],
            ]
        ]
        rate = self.learning_rate
        if callable(rate):
            rate = _number(rate(self.step), "the learning rate that the schedule returns")
        numbers = self._numbers(rate)
        moved = [
            self._moved_leaf(numbers, aval, *column)
            for aval, *column in zip(avals, leaves, *columns, strict=True)
        ]
        new, *state = [
            tree.unflatten([column[i] for column in moved]) for i in range(1 + len(self._state))
        ]
        state_fields = dict(zip(self._state, state, strict=True))
        return new, attrs.evolve(self, step=self.step + 1, **state_fields)

    def _moved_leaf(self, numbers: tuple[Any, ...], aval: Aval, p: Any, g: Any, *state: Any) -> Any:
        """The next value of one parameter, in its own precision, and its next state."""
        # Numbers of higher precision would promote whatever they multiply.
        precision = np.finfo(aval.dtype).dtype
        own = [number.astype(precision) for number in numbers]
        g = as_operand(g).astype(aval.dtype, copy=False)
        if aval.dtype.kind == "c":
            g = np.conjugate(g)  # the gradient pairs as Re(g·dp): its conjugate points uphill
        new, *state_of_leaf = self._moved(own, p, g, *state)
        if isinstance(new, Tracer):
            new = cast_like(new, aval)
        else:
            new = new.item() if aval.weak else new.astype(aval.dtype, copy=False)
        return new, *state_of_leaf

    def _numbers(self, rate: Any) -> tuple[Any, ...]:
        """The numbers that the formula for a leaf takes, calculated once for all leaves."""
        return (rate,)

    def _moved(self, numbers: list[Any], p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """The formula for a leaf: the next parameter, and the next value of each ``_state``."""
        raise NotImplementedError


def _differentiable(leaves: list[Any], tree: TreeDef) -> list[Aval]:
    """What is known of the parameters; an error for one that has no derivative."""
    avals = []
    for i, leaf in enumerate(leaves):
        numeric = isinstance(leaf, Tracer) or is_number_like(leaf)
        aval = aval_of_leaf(leaf) if numeric else None
        if aval is None or not aval.inexact:
            found = f"a {type(leaf).__name__}" if aval is None else f"of dtype {aval.dtype}"
            raise NonDifferentiableInputError(
                f"an optimizer moves floating-point numbers, but params{tree.paths()[i]} is "
                f"{found}; write: 1.0 for 1, x.astype(float) for an array of integers; keep other "
                "things out of params, or in fields that are declared static"
            )
        avals.append(aval)
    return avals


def _column(name: str, values: Any, tree: TreeDef, avals: list[Aval]) -> list[Any]:
    """The leaves of a tree that must be like ``params``, of which ``avals`` are known."""
    leaves, structure = flatten(values)
    check_same_structure(tree, structure, "params", name)
    for i, (leaf, aval) in enumerate(zip(leaves, avals, strict=True)):
        given = aval_of_leaf(leaf)
        if given.shape != aval.shape or not np.can_cast(given.dtype, aval.dtype, "same_kind"):
            kind = "shape" if given.shape != aval.shape else "dtype"
            error = ShapeMismatchError if kind == "shape" else CotangentError
            path = tree.paths()[i]
            raise error(
                f"{name}{path} has {kind} {getattr(given, kind)}, but params{path} has {kind} "
                f"{getattr(aval, kind)}; write: the gradients that fg.grad returned for these "
                "parameters, and an optimizer that was made for them"
            )
    return leaves


def _zeros(params: Any) -> Any:
    """State to begin with, in the precision of each parameter."""
    return tree_map(lambda p: np.zeros_like(p, subok=False), params)


# --- gradient descent --------------------------------------------------------------------------


@attrs.frozen(eq=False, kw_only=True)
class Sgd(Optimizer):
    """Gradient descent: what ``sgd`` returns."""

    def _moved(self, numbers: list[Any], p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        (rate,) = numbers
        return (p - rate * g,)


def sgd(params: Any, learning_rate: Any) -> Sgd:
    r"""Gradient descent; stochastic if the gradients are those of random parts of the data.

    .. math:: p \leftarrow p - \eta g

    Args:
        params: the parameters to optimize: a pytree of floating-point arrays of any shapes.
        learning_rate: :math:`\eta`, in units of params²/loss: a number of shape ``()``, or a
            schedule: a function of the step, which is 0 at the first update and an integer of
            shape ``()`` (traced under ``jit``). A schedule uses np functions, as in
            ``lambda step: 0.1 * np.exp(-step / 1000)``, and ``np.where(step < 100, 0.1, 0.01)``
            rather than ``if``, which makes ``jit`` trace every step.

    Returns:
        An optimizer, whose ``update`` takes the parameters and their gradients.

    Raises:
        NonDifferentiableInputError: a parameter is not floating-point.
        InputTypeError: the learning rate is neither a real number nor callable.
        ShapeMismatchError: the learning rate is an array with axes.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> @fg.jit
        ... def step(x, opt):
        ...     return opt.update(x, fg.grad(lambda x: np.sum((x - 3.0) ** 2))(x))
        >>> x = np.zeros(2)
        >>> opt = fg.optim.sgd(x, learning_rate=0.25)
        >>> for _ in range(3):
        ...     x, opt = step(x, opt)
        >>> x
        array([2.625, 2.625])

    References:
        Robbins and Monro, A stochastic approximation method, Ann. Math. Statist. 22 (1951) 400.
    """
    _differentiable(*flatten(params))
    return Sgd(learning_rate=learning_rate)


# --- momentum ----------------------------------------------------------------------------------


@attrs.frozen(eq=False, kw_only=True)
class Momentum(Optimizer):
    """Gradient descent with momentum: what ``momentum`` returns.

    Attributes:
        decay: which part of the velocity remains after a step, of shape ``()``.
        velocity: the decaying sum of all gradients so far, a tree like the parameters.
        nesterov: whether the step looks ahead.
    """

    decay: Any = attrs.field(converter=_number)
    velocity: Any = attrs.field(repr=False)
    nesterov: bool = attrs.field(metadata={"static": True})
    _state = ("velocity",)

    def _numbers(self, rate: Any) -> tuple[Any, ...]:
        return rate, self.decay

    def _moved(self, numbers: list[Any], p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        (rate, decay), (v,) = numbers, state
        v = decay * v + g
        return p - rate * (g + decay * v if self.nesterov else v), v


def momentum(params: Any, learning_rate: Any, decay: Any = 0.9, nesterov: bool = False) -> Momentum:
    r"""Gradient descent that remembers its direction: the heavy ball, or Nesterov's variant.

    .. math:: v \leftarrow \mu v + g, \qquad
              p \leftarrow p - \eta v \quad\text{or, Nesterov's,}\quad
              p \leftarrow p - \eta (g + \mu v)

    Starting with :math:`v = 0`. For a constant gradient the steps grow to
    :math:`1/(1 - \mu)` times those of ``sgd``.

    Args:
        params: as for ``sgd``.
        learning_rate: :math:`\eta`, as for ``sgd``, in units of params²/loss.
        decay: :math:`\mu`, the part of the velocity that remains: a number of shape ``()`` without
            unit, from 0 to less than 1.
        nesterov: whether to evaluate the momentum one step ahead.

    Returns:
        An optimizer, whose ``update`` takes the parameters and their gradients.

    Raises:
        NonDifferentiableInputError: a parameter is not floating-point.
        InputTypeError: the learning rate or the decay is not a real number.
        ShapeMismatchError: one of them is an array with axes.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> x = np.array([1.0, 2.0])
        >>> opt = fg.optim.momentum(x, learning_rate=0.5, decay=0.5)
        >>> for _ in range(2):
        ...     x, opt = opt.update(x, np.ones(2))
        >>> x, opt.velocity
        (array([-0.25, 0.75]), array([1.5, 1.5]))

    References:
        Polyak, Some methods of speeding up the convergence of iteration methods, USSR Comput.
        Math. Math. Phys. 4 (1964) 1. Sutskever, Martens, Dahl, Hinton, On the importance of
        initialization and momentum in deep learning, ICML 2013, equations 1 to 4; as in PyTorch,
        their velocity is :math:`-\eta v`, and Nesterov's parameters are taken at the point ahead.
    """
    _differentiable(*flatten(params))
    return Momentum(
        learning_rate=learning_rate, decay=decay, nesterov=nesterov, velocity=_zeros(params)
    )


# --- Adam --------------------------------------------------------------------------------------


@attrs.frozen(eq=False, kw_only=True)
class Adam(Optimizer):
    """Adam: what ``adam`` returns.

    The moments are kept as sums, which saves two multiplications of arrays in every step: they are
    those of the paper divided by ``1 - b1`` and ``1 - b2``.

    Attributes:
        b1: which part of the first moment remains after a step, of shape ``()``.
        b2: which part of the second moment remains after a step, of shape ``()``.
        eps: what keeps the denominator from 0, of shape ``()``.
        first: the decaying sum of all gradients so far, a tree like the parameters.
        second: the decaying sum of their squares, a tree like the parameters but real.
    """

    b1: Any = attrs.field(converter=_number)
    b2: Any = attrs.field(converter=_number)
    eps: Any = attrs.field(converter=_number)
    first: Any = attrs.field(repr=False)
    second: Any = attrs.field(repr=False)
    _state = ("first", "second")

    def _numbers(self, rate: Any) -> tuple[Any, ...]:
        # All that the bias corrections change is two numbers (section 2 of the paper, its end).
        step = self.step + 1
        scale = np.sqrt((1 - self.b2) / (1 - self.b2**step))
        rate = rate * (1 - self.b1) / ((1 - self.b1**step) * scale)
        return rate, self.b1, self.b2, self.eps / scale

    def _moved(self, numbers: list[Any], p: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        (rate, b1, b2, eps), (m, v) = numbers, state
        m = b1 * m + g
        # root: where all gradients were 0, the step is differentiable in them; sqrt there is not.
        v = b2 * v + np.square(np.abs(g) if g.dtype.kind == "c" else g)
        return p - rate * m / (root(v) + eps), m, v


def adam(params: Any, learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> Adam:
    r"""Adam: steps whose size does not depend on the scale of the gradients.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
              v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
              p \leftarrow p - \eta \frac{m / (1 - \beta_1^t)}
                                         {\sqrt{v / (1 - \beta_2^t)} + \varepsilon}

    Starting with :math:`m = v = 0`; the first update has :math:`t = 1`. Of a complex gradient the
    squared magnitude is taken.

    Args:
        params: as for ``sgd``.
        learning_rate: :math:`\eta`, in units of params (about the length of a step): a number or a
            schedule, as for ``sgd``.
        b1: :math:`\beta_1`, a number of shape ``()`` without unit, from 0 to less than 1.
        b2: :math:`\beta_2`, likewise.
        eps: :math:`\varepsilon`, a number of shape ``()`` in units of the gradient, loss/params.
            For float16 parameters choose at least 1e-7, which float16 does not round to 0.

    Returns:
        An optimizer, whose ``update`` takes the parameters and their gradients.

    Raises:
        NonDifferentiableInputError: a parameter is not floating-point.
        InputTypeError: a hyper-parameter is not a real number.
        ShapeMismatchError: one of them is an array with axes.

    Example:
        >>> import attrs
        >>> import numpy as np
        >>> import fungrad as fg
        >>> x = np.array([1.0, -2.0])
        >>> opt = fg.optim.adam(x, learning_rate=lambda step: 0.5 / (1 + step))
        >>> x, opt = opt.update(x, np.array([1e-3, -1e3]))
        >>> x.round(3)
        array([ 0.5, -1.5])
        >>> opt = attrs.evolve(opt, learning_rate=0.01)

    References:
        Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, Algorithm 1.
    """
    _differentiable(*flatten(params))
    return Adam(
        learning_rate=learning_rate,
        b1=b1,
        b2=b2,
        eps=eps,
        first=_zeros(params),
        second=_zeros(tree_map(np.real, params)),
    )
