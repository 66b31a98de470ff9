"""Every exception that fungrad raises on purpose.

Row 0 of the design: imports nothing of fungrad. Each class shows code that fails and the code to
write instead. Each message ends with the line of the *user's* file that led here.
"""

from __future__ import annotations

import linecache
import os
import sys
from types import FrameType, TracebackType

_OWN_PACKAGES = frozenset(
    {"fungrad", "numpy", "attr", "attrs", "functools", "contextlib", "importlib"}
)
_INSTALLED = (os.path.dirname(linecache.__file__), "<frozen")
_PACKAGES = ("site-packages", "dist-packages")
GENERATED = "<fungrad program>"
"""What generated code calls its file."""


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs fungrad, a package that it is made of, or code that it generated."""
    name = str(frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in _OWN_PACKAGES or frame.f_code.co_filename == GENERATED


def _is_installed(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(_INSTALLED) or any(package in name for package in _PACKAGES)


def user_frame() -> FrameType | None:
    """The innermost frame of the running stack that is the user's.

    Frames of installed packages count only if there are no others.
    """
    frame: FrameType | None = sys._getframe(1)
    found: FrameType | None = None
    while frame is not None:
        if not is_ours(frame):
            found = found or frame
            if not _is_installed(frame):
                return frame
        frame = frame.f_back
    return found


def user_line() -> str:
    """The line that ``user_frame`` is at, as text for a message, or an empty string."""
    found = user_frame()
    return "" if found is None else _text(found, found.f_lineno)


def innermost(traceback: TracebackType | None) -> tuple[str, list[FrameType]]:
    """The innermost line of a traceback that is the user's, and the frames below it."""
    line, below = "", []
    while traceback is not None:
        frame = traceback.tb_frame
        below.append(frame)
        if not is_ours(frame) and not _is_installed(frame):
            line, below = _text(frame, traceback.tb_lineno), []
        traceback = traceback.tb_next
    return line, below


def _text(frame: FrameType, number: int) -> str:
    name = frame.f_code.co_filename
    text = linecache.getline(name, number).strip()
    where = f"\n  at {name}:{number}, in {frame.f_code.co_name}"
    return f"{where}\n    {text}" if text else where


def locate(error: Exception, line: str) -> None:
    """Let ``error`` say that it comes from this line; of lines that are told, the first stays."""
    if isinstance(error, FungradError):
        error.location = line or error.location
    elif line and not any("\n    " in note for note in getattr(error, "__notes__", ())):
        error.add_note(line.removeprefix("\n"))


class FungradError(Exception):
    """Base class of all errors below: ``except fg.errors.FungradError`` catches them all."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.location = user_line()

    def __str__(self) -> str:
        return f"{self.args[0]}{self.location}"


class NonDifferentiableInputError(FungradError, TypeError):
    """An argument to differentiate holds integers, booleans or no numbers at all.

    Fails: ``fg.grad(f)(np.array([1, 2]))``. Write: ``fg.grad(f)(np.array([1.0, 2.0]))``.
    """


class NonScalarOutputError(FungradError, TypeError):
    """``grad`` was asked for the gradient of something that is not one number.

    Fails: ``fg.grad(lambda x: x * 2)(np.ones(3))``.
    Write: ``fg.grad(lambda x: np.sum(x * 2))(np.ones(3))``, or ``fg.jacobian``.
    """


class ComplexOutputError(FungradError, TypeError):
    """``grad`` was asked for the gradient of a complex number.

    Fails: ``fg.grad(lambda x: x * 1j)(1.0)``. Write: ``fg.grad(lambda x: np.abs(x * 1j))(1.0)``, or
    ``fg.grad(f, holomorphic=True)`` of a holomorphic function.
    """


class ComplexInputError(FungradError, TypeError):
    """The derivative with respect to a complex number was asked for where that has two meanings.

    Fails: ``fg.jacfwd(f)(1j)``. Write: ``fg.jacfwd(f, holomorphic=True)(1j)``, or real and
    imaginary part as two arguments.
    """


class OutputTypeError(FungradError, TypeError):
    """A transformed function returned something that is not an array, a number or a tree of them.

    Fails: ``fg.grad(lambda x: "no")(1.0)``. Write: ``fg.grad(lambda x: x * 2)(1.0)``, and pass
    other results on through ``has_aux=True``.
    """


class InputTypeError(FungradError, TypeError):
    """An operand is of a kind that fungrad does not compute with.

    Fails: ``x + pandas_series``. Write: ``x + pandas_series.to_numpy()``.
    """


class UnsupportedFunctionError(FungradError, NotImplementedError):
    """A NumPy function, method or keyword that has no rule here (yet).

    Fails: ``np.histogram(x)``. Write: the same with functions that fungrad supports, or take
    the value out of the differentiated program with ``fg.stop_gradient``.
    """


class ShapeMismatchError(FungradError, ValueError):
    """Operands whose shapes do not go together.

    Fails: ``np.ones(3) + x`` with ``x`` of shape ``(4,)``. Write: ``np.ones(4) + x``, operands that
    broadcast.
    """


class TracerConversionError(FungradError, TypeError):
    """Code tried to turn a traced value into a concrete array: its derivative would be lost.

    Fails: ``np.array([x, y])`` and ``A.dot(x)``. Write: ``np.stack([x, y])`` or
    ``np.array([x, y], like=x)``, and ``A @ x`` or ``np.dot(A, x)``.
    """


class TracerMutationError(FungradError, TypeError):
    """Code tried to write into a traced value; traced programs are pure.

    Fails: ``x[0] = 1.0``. Write: ``x = fg.at(x)[0].set(1.0)``.
    """


class ArrayMutationError(FungradError, TypeError):
    """Code tried to write a traced value into a plain array (``out=``, ``np.add.at``, ``a += x``).

    Fails: ``np.add(x, y, out=buffer)``. Write: ``buffer = np.add(x, y)``.
    """


class ConcretizationError(FungradError, TypeError):
    """Code asked for the number behind a traced value where that is not known or not allowed.

    Fails: ``math.sin(x)`` while differentiating ``x``. Write: ``np.sin(x)``, or
    ``float(fg.stop_gradient(x))`` if the dependence is to be ignored.
    """


class MemoryLayoutError(FungradError, AttributeError):
    """Code asked how a traced value lies in memory (``x.flags``, ``x.strides``, ``x.base``).

    Fails: ``x.flags.c_contiguous``. Write: code that does not depend on it; ``x`` is immutable.
    """


class TruthValueError(FungradError, ValueError):
    """A condition is an array of several truth values; NumPy refuses these with a ValueError, too.

    Fails: ``x if x > 0 else 0`` and ``max(x, 0)`` for an array. Write: ``np.where(x > 0, x, 0)`` and
    ``np.maximum(x, 0)``.
    """


class TracerAttributeError(FungradError, AttributeError):
    """Code asked a traced value for something that NumPy's arrays do not have.

    Fails: ``x.detach()``, ``x.unsqueeze(0)``. Write: ``fg.stop_gradient(x)``, ``x[None]``.
    """


class RandomDrawError(FungradError, RuntimeError):
    """A function drew from ``np.random`` or ``random`` while ``jit`` traced it: it would never draw again.

    Fails: ``fg.jit(lambda x: x + np.random.normal())(1.0)``. Write: ``fg.jit(lambda x, key: x +
    fg.random.normal(key, ()))(1.0, fg.random.key(0))``, with a new key for new numbers.
    """


class EscapedTracerError(FungradError, RuntimeError):
    """A traced value was kept beyond the run of the function it belongs to.

    Fails: ``kept.append(x)`` inside a transformed function, then ``kept[0] + 1`` outside.
    Write: return the value, with ``has_aux=True`` where it is not the result.
    """


class TracerIdentityError(FungradError, TypeError):
    """Code tried to pickle or copy a traced value: it has no existence outside of its trace.

    Fails: ``copy.deepcopy(x)``. Write: ``x`` itself; traced values are immutable.
    """


class TreeMismatchError(FungradError, ValueError):
    """Two pytrees that must have the same structure differ.

    Fails: ``opt.update(params, {"w": gw})`` where ``params`` also has ``"b"``.
    Write: gradients of the structure that ``fg.grad`` returned.
    """


class CotangentError(FungradError, ValueError):
    """A cotangent or tangent does not have the shape and dtype of its primal.

    Fails: ``pullback(np.ones(3))`` for an output of shape ``(4,)``.
    Write: ``pullback(np.ones(4))``.
    """


class CallbackError(FungradError, ValueError):
    """A function called by ``pure_callback`` returned something else than was announced.

    Fails: ``fg.pure_callback(np.mean, x, x)``. Write: ``fg.pure_callback(np.mean,
    fg.ShapeDtypeStruct(()), x)``.
    """


class ConvergenceError(FungradError, ArithmeticError):
    """An equation was not solved: after all steps the residual was still too large.

    Fails: ``fg.root(lambda x: x**2 + 1, 1.0)``, which has no real solution. Write: another equation,
    or an ``x0`` nearer to the solution.
    """


class ArgumentError(FungradError, TypeError):
    """A transform was told to work on arguments that the call does not have.

    Fails: ``fg.grad(f, argnums=1)(x)``. Write: ``fg.grad(f, argnums=1)(x, y)``, with the argument
    in its position, not by keyword.
    """


class StaticArgumentError(FungradError, TypeError):
    """``jit`` needs hashable static arguments, to know which program they select.

    Fails: ``fg.jit(f, static_argnums=1)(x, [1, 2])``. Write: ``fg.jit(f, static_argnums=1)(x,
    (1, 2))``.
    """


class NonFiniteError(FungradError, FloatingPointError):
    """Under ``fg.config(debug_nans=True)``, an operation made NaN or infinity of finite numbers.

    Fails: ``np.log(x)`` with ``x`` of 0. Write: ``np.log(np.where(x > 0, x, 1.0))``, and then
    choose by the same condition between the result and what it shall be elsewhere.
    """


class CarryError(FungradError, TypeError):
    """The body of a loop returned a carry of another structure, shape or dtype than it got.

    Fails: ``fg.scan(lambda c, x: (np.stack([c, x]), None), 0.0, xs)``.
    Write: ``fg.scan(lambda c, x: (c + x, None), 0.0, xs)``.
    """


class PredicateError(FungradError, TypeError):
    """The condition of a loop or branch is something other than one truth value.

    Fails: ``fg.cond(x, f, g)`` with an array ``x``. Write: ``fg.cond(np.any(x > 0), f, g)``.
    """


class BranchError(FungradError, TypeError):
    """The branches of ``fg.cond`` or ``fg.switch`` return results that do not fit each other.

    Fails: ``fg.cond(x > 0, lambda x: x, lambda x: (x, x), x)``.
    Write: ``fg.cond(x > 0, lambda x: (x, 0.0), lambda x: (x, x), x)``.
    """


class GraphFormatError(FungradError, ValueError):
    """A graph can't be written as data, or data can't be read as a graph.

    Fails: ``pickle.loads(data)`` of a graph with a primitive of yours that is not declared here.
    Write: ``import mylab`` before, the module that declares it.
    """


class IntegrationError(FungradError, ArithmeticError):
    """A differential equation could not be followed to the next time.

    Fails: ``fg.ode.odeint(lambda y, t: y**2, 1.0, np.array([0.0, 2.0]))``, which has a pole at 1.
    Write: ``fg.ode.odeint(lambda y, t: y**2, 1.0, np.array([0.0, 0.9]))``.
    """


class IncompletePrimitiveError(FungradError, TypeError):
    """A primitive was declared without all of its rules, or twice.

    Fails: ``primitive("f", value=f, aval=a, vjp=None, batch=b)``. Write: the rule, or one of
    ``ZERO`` and ``Unwritten("why")``.
    """


class PathLimitWarning(UserWarning):
    """Python code inside ``jit`` took so many different paths that new ones are not kept any more.

    Warns: ``fg.jit(lambda x: x * float(x))`` after many different ``x``. Write: ``x * x``, or
    ``fg.cond``, ``fg.while_loop`` or ``np.where`` where the code branches.
    """


class UnrolledLoopWarning(UserWarning):
    """A Python loop in a traced function became a very long program.

    Warns: ``for _ in range(100_000): x = np.sin(x)``.
    Write: ``x = fg.fori_loop(0, 100_000, lambda _, x: np.sin(x), x)``.
    """
