"""The record of a primitive, its constructors, and the registry of what answers which spelling.

Row 3. Everything about a primitive stands in one declaration; an incomplete one fails at import.
Rules are written in the NumPy that users write, on tracers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from string import Formatter
from typing import Any

import attrs
import numpy as np
from pyrsistent import PMap, pmap

from fungrad._aval import Aval, TupleAval, make_aval
from fungrad._expr import Expr, Literal, Static, add_node, find_node, node_key
from fungrad._refusals import REFUSALS
from fungrad.errors import (
    GENERATED,
    IncompletePrimitiveError,
    ShapeMismatchError,
    UnsupportedFunctionError,
)

Rule = Callable[..., Any]


@attrs.frozen(eq=False)
class _Marker:
    meaning: str

    def __repr__(self) -> str:
        return self.meaning


ZERO = _Marker("ZERO: the derivative is zero wherever it exists")
INDEX = _Marker("INDEX: an index or condition; it makes no sense to perturb it")


@attrs.frozen
class Unwritten:
    """A rule that does not exist yet, and why or where its absence is tracked."""

    reason: str


class Symbolic:
    """What stands for an array while a program is built; ``_tracer`` has the only complete subclass."""

    __slots__ = ()

    def _bind(self, primitive: Primitive, operands: tuple[Any, ...], static: Any) -> Any:
        raise NotImplementedError


@attrs.frozen(eq=False, repr=False, kw_only=True)
class Primitive:
    """One operation: its value and every rule, together.

    Calling it computes on arrays, and builds a node where an operand is traced.

    Attributes:
        name: how listings and error messages call it.
        value: ``(*arrays, **static) -> array``, plain NumPy.
        template: the value as NumPy source, ``{0}`` the first operand and ``{axis}`` a static; or
            a function ``(operands, text_of, **static) -> source`` of the operands' names;
            ``None`` where ``value`` is called by reference.
        aval: ``(*avals, **static) -> Aval``, or a ``TupleAval`` if there are several results; then
            ``ct``, ``y`` and ``out`` below are tuples.
        vjp: ``(ct, y, *operands, **static) -> (cotangent, …)``, one per operand, or ``ZERO``.
            Cotangents may have the operand's broadcast shape: the engine sums. Literal operands
            are Python numbers.
        batch: ``(batched, size, *operands, **static) -> out``. Operands marked in ``batched``
            have a leading axis of length ``size``; ``out`` must have one, unless it is one of
            several results and marked as ``Same``.
        elementwise: output entry ``i`` depends on the operands' entries ``i`` only.
        view: the value may share memory with its first operand, and with no other.
        fresh: the value never shares memory with an operand, so that it may be overwritten once
            it is read. Neither ``view`` nor ``fresh``: it may share memory with any operand.
        analytic: the value is an analytic function, so that the complex step may test it.
        selective: the vjp rule spares work that nobody wants: it takes the keyword ``wanted``, one
            flag for each operand, and gets ``None`` for those of several results that have no
            cotangent.
        inlined: the name of the static that holds the graph which the value runs, where compiled
            programs take that graph's operations in the place of the call.
    """

    name: str
    value: Rule
    template: str | Rule | None
    aval: Rule
    vjp: Rule | _Marker | Unwritten
    batch: Rule | Unwritten
    elementwise: bool
    view: bool
    fresh: bool
    analytic: bool
    selective: bool = False
    inlined: str | None = None

    def __repr__(self) -> str:
        return f"<Primitive {self.name}>"

    def __reduce__(self) -> Any:
        return primitive_named, (self.name,)

    def __call__(self, *operands: Any, **static: Any) -> Any:
        for operand in operands:
            if isinstance(operand, Symbolic):
                return operand._bind(self, operands, static)
        return self.value(*operands, **static)

    def infer(self, args: tuple[Expr, ...], static: Static) -> Aval:
        """The output's aval, after the checks that need the value of a literal."""
        avals = [arg.aval for arg in args]
        if not self.elementwise:
            result = self.aval(*avals, **dict(static))
        else:
            for arg in args:
                if type(arg) is Literal:
                    _check_integer_literals(self, args)
                    break
            result = self.aval(*avals)
        if not isinstance(result, Aval):
            raise IncompletePrimitiveError(
                f"the aval rule of {self.name} gave a {type(result).__name__}; write: the aval of an "
                "operand, fg.extend.make_aval(shape, dtype), or tuple_aval(aval, aval) for several"
            )
        return result

    def node(self, args: tuple[Expr, ...], static: Static, weak: bool = False) -> Expr:
        """The one node of this primitive with these arguments."""
        key = node_key(self, args, static, weak)
        return find_node(key) or self.build(key, args, static, weak)

    def build(self, key: Any, args: tuple[Expr, ...], static: Static, weak: bool) -> Expr:
        """The interned node for ``key``, which the caller looked up in vain."""
        aval = self.infer(args, static)
        return add_node(
            key, self, args, static, aval if aval.weak is weak else aval.with_weak(weak)
        )


# --- constructors ----------------------------------------------------------------------------


def primitive(
    name: str,
    *,
    value: Rule | str | None = None,
    aval: Rule | None = None,
    vjp: Rule | _Marker | Unwritten | None = None,
    batch: Rule | Unwritten | None = None,
    template: Rule | None = None,
    view: bool = False,
    fresh: bool = False,
    analytic: bool = True,
    selective: bool = False,
    inlined: str | None = None,
) -> Primitive:
    """Declare a primitive that is not elementwise, by all four rules.

    Args:
        name: an identifier, used once.
        value: a function, or a NumPy template.
        aval: see ``Primitive``, as for all others.
        vjp: the rule, ``ZERO`` or ``Unwritten(reason)``.
        batch: the rule, or ``Unwritten(reason)``.
        template: the source of a ``value`` that is a function.
        view: see ``Primitive``.
        fresh: see ``Primitive``.
        analytic: see ``Primitive``.
        selective: see ``Primitive``.
        inlined: see ``Primitive``.

    Raises:
        IncompletePrimitiveError: a rule is missing, or the name is taken.
    """
    rules: dict[str, Any] = {"aval": aval, "vjp": vjp, "batch": batch}
    return _register(
        Primitive(
            name=name,
            value=_from_template(value) if isinstance(value, str) else value,  # type: ignore[arg-type]
            template=value if isinstance(value, str) else template,
            elementwise=False,
            view=view,
            fresh=fresh,
            analytic=analytic,
            selective=selective,
            inlined=inlined,
            **rules,
        )
    )


def elementwise(
    value: Rule,
    partials: Rule | _Marker | Unwritten | None = None,
    *,
    name: str | None = None,
    vjp: Rule | None = None,
    template: str | None = None,
    spellings: Iterable[Any] | None = None,
    fresh: bool = False,
    analytic: bool = True,
) -> Primitive:
    """Declare an elementwise primitive by its partial derivatives; all other rules follow.

    Args:
        value: a ufunc, or a function that broadcasts like one.
        partials: ``(y, *operands) -> (partial, …)``, one per operand: an array expression, the
            number 1 or -1, or ``ZERO``/``INDEX``.
        name: defaults to the name of ``value``.
        vjp: instead of ``partials`` (then ``INDEX``) where a product with the cotangent would turn
            0·inf into NaN.
        template: as in ``Primitive``, where ``value`` is no ufunc.
        spellings: the NumPy callables that it answers; by default, ``value``.
        fresh: see ``Primitive``; a ufunc is.
        analytic: see ``Primitive``.
    """
    if not callable(value):
        raise IncompletePrimitiveError(f"{name}: the value is missing; write a ufunc or a function")
    name = name or str(value.__name__)
    if not (callable(partials) or isinstance(partials, (_Marker, Unwritten))):
        raise IncompletePrimitiveError(
            f"{name}: partials are missing; write a function, ZERO or Unwritten(reason)"
        )
    rule: Any = vjp
    if rule is None:
        rule = _vjp_from_partials(partials) if callable(partials) else partials

    def batch(batched: tuple[bool, ...], size: int, *operands: Any) -> Any:
        rank = max(np.ndim(x) - b for x, b in zip(operands, batched, strict=True))
        pairs = zip(operands, batched, strict=True)
        return record(*[_align(x, rank) if b else x for x, b in pairs])

    record = _register(
        Primitive(
            name=name,
            value=value,
            template=_ufunc_template(value) if isinstance(value, np.ufunc) else template,
            aval=_elementwise_aval(name, value),
            vjp=rule,
            batch=batch,
            elementwise=True,
            view=False,
            fresh=fresh or isinstance(value, np.ufunc),
            analytic=analytic and (callable(partials) or vjp is not None),
        )
    )
    for spelling in (value,) if spellings is None else spellings:
        answer(spelling, record)
    return record


def _ufunc_template(ufunc: np.ufunc) -> str:
    return f"np.{ufunc.__name__}({', '.join(f'{{{i}}}' for i in range(ufunc.nin))})"


def _from_template(template: str) -> Rule:
    """The function that a template stands for, so that value and generated source are one."""
    fields = {field for _, field, _, _ in Formatter().parse(template) if field}
    operands = sorted(field for field in fields if field.isdigit())
    static = sorted(fields - set(operands))
    call = template.format(*[f"x{i}" for i in operands], **{field: field for field in static})
    head = ", ".join([*[f"x{i}" for i in operands], *(["*"] if static else []), *static])
    function: Rule = eval(compile(f"lambda {head}: {call}", GENERATED, "eval"), {"np": np})
    return function


def _vjp_from_partials(partials: Rule) -> Rule:
    def vjp(ct: Any, y: Any, *operands: Any) -> tuple[Any, ...]:
        return tuple([_scale(ct, partial) for partial in partials(y, *operands)])

    return vjp


def _scale(ct: Any, partial: Any) -> Any:
    if isinstance(partial, (_Marker, Unwritten)):
        return partial
    if type(partial) is int and partial in (1, -1):
        return ct if partial == 1 else -ct
    return ct * partial


def _elementwise_aval(name: str, value: Rule) -> Rule:
    @lru_cache(maxsize=64)
    def aval(*operands: Aval) -> Aval:
        shape = broadcast_shapes(name, [operand.shape for operand in operands])
        return make_aval(shape, result_dtype(value, tuple([kind_of(a) for a in operands])))

    return aval


def broadcast_shapes(name: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape of operands that broadcast, or ``ShapeMismatchError`` with all shapes."""
    first, *others = shapes
    for shape in others:
        if shape != first:
            break
    else:
        return first
    rank = max(map(len, shapes))
    common = [1] * rank
    for shape in shapes:
        for axis, n in enumerate(shape, rank - len(shape)):
            if n != 1 != common[axis] != n:
                raise ShapeMismatchError(
                    f"{name}: operands of shapes {' and '.join(map(str, shapes))} do not broadcast; "
                    "write: shapes that agree from the last axis backwards, or have 1 there"
                )
            if n != 1:
                common[axis] = n
    return tuple(common)


_PYTHON_NUMBER = {"i": int, "f": float, "c": complex}


def kind_of(aval: Aval) -> Any:
    """What decides an operand's part in promotion: its dtype, or the Python type if weak."""
    return _PYTHON_NUMBER.get(aval.dtype.kind, aval.dtype) if aval.weak else aval.dtype


@lru_cache(maxsize=4096)
def result_dtype(value: Rule, kinds: tuple[Any, ...]) -> np.dtype[Any]:
    """The dtype that NumPy itself gives, found by calling ``value`` once on ones."""
    probes = [kind(1) if isinstance(kind, type) else np.ones(1, kind) for kind in kinds]
    with np.errstate(all="ignore"):
        dtype: np.dtype[Any] = np.asarray(value(*probes)).dtype
    return dtype


@lru_cache(maxsize=4096)
def promoted_dtypes(value: Rule, kinds: tuple[Any, ...]) -> tuple[np.dtype[Any], ...]:
    """The dtypes to which NumPy converts the operands before it computes."""
    if isinstance(value, np.ufunc):
        return value.resolve_dtypes((*kinds, *[None] * value.nout))[: value.nin]
    target = result_dtype(value, kinds)
    if target.kind in "biu":  # a predicate or a count says nothing about its operands
        target = np.result_type(*[kind(1) if isinstance(kind, type) else kind for kind in kinds])
    return tuple([target if isinstance(kind, type) else kind for kind in kinds])


def _check_integer_literals(primitive: Primitive, args: tuple[Expr, ...]) -> None:
    """Let NumPy refuse a Python integer that its dtype can't hold (NEP 50), at trace time."""
    if all(arg.aval.weak for arg in args):
        return  # numbers of Python's have no dtype
    for arg in args:
        if type(arg) is Literal and type(arg.value) is int and not 0 <= arg.value < 128:
            break
    else:
        return
    with np.errstate(all="ignore"):
        primitive.value(
            *[arg.value if isinstance(arg, Literal) else np.ones(1, arg.aval.dtype) for arg in args]
        )


def _align(x: Any, rank: int) -> Any:
    """Insert axes behind the batch axis, so that the others broadcast as they did without it."""
    missing = rank + 1 - x.ndim
    return x.reshape(x.shape[:1] + (1,) * missing + x.shape[1:]) if missing else x


# --- several results -------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Part:
    """The cotangent of one of several results."""

    index: int
    ct: Any


@attrs.frozen(eq=False)
class Masked:
    """A cotangent that is 0 wherever a mask says so, whatever stands in ``value`` there.

    Elementwise rules pass on the value alone, so that a branch which ``np.where`` did not take
    never turns 0 into NaN by an infinite partial (0 · ∞). Each mask is a condition, and the truth
    value of it where the cotangent is not 0; the outermost choice comes first. ``clean`` says that
    the value is 0 outside of them already.
    """

    value: Any
    masks: tuple[tuple[Any, bool], ...]
    clean: bool = False


@attrs.frozen(eq=False)
class Same:
    """One of several results of a batch rule that is the same for all examples."""

    value: Any


# --- the registry ----------------------------------------------------------------------------

_primitives: PMap[str, Primitive] = pmap()
answers: dict[Any, Rule] = {}
"""NumPy callable, or ``(ufunc, method)`` → the primitive or the traced function behind it."""
special_answers: dict[str, Rule] = {}
"""The same for ``scipy.special``, by name: SciPy is never imported here."""


def _register(record: Primitive) -> Primitive:
    global _primitives
    if not record.name.isidentifier():
        raise IncompletePrimitiveError(
            f"{record.name!r} is no name for a primitive; write: name= with an identifier"
        )
    if record.name in _primitives:
        raise IncompletePrimitiveError(f"{record.name}: declared twice")
    instead = {"vjp": ", ZERO or Unwritten(reason)", "batch": " or Unwritten(reason)"}
    for field in ("value", "aval", "vjp", "batch"):
        rule = getattr(record, field)
        if not callable(rule) and not (field in instead and isinstance(rule, (_Marker, Unwritten))):
            raise IncompletePrimitiveError(
                f"{record.name}: the {field} rule is missing; write it{instead.get(field, '')}"
            )
    _primitives = _primitives.set(record.name, record)
    return record


def registry() -> PMap[str, Primitive]:
    """All primitives by name, as a persistent map: a snapshot that never changes."""
    return _primitives


def primitive_named(name: str) -> Primitive:
    """The primitive of that name."""
    return _primitives[name]


def answer(spelling: Any, implementation: Rule) -> None:
    """Let ``implementation`` answer calls of a NumPy callable (or ``(ufunc, method)``)."""
    if spelling in answers:
        raise IncompletePrimitiveError(f"{spelling}: answered twice")
    answers[spelling] = implementation


def implements(*spellings: Any) -> Callable[[Rule], Rule]:
    """Decorate a traced function that answers ``spellings`` with NumPy's own signature."""

    def decorate(function: Rule) -> Rule:
        for spelling in dict.fromkeys(spellings):  # some NumPy names are one object
            answer(spelling, function)
        return function

    return decorate


def unsupported(what: str, remedy: str = "") -> UnsupportedFunctionError:
    """The error for a function, method or keyword without a rule."""
    instead = "write it with supported functions, or take it out of the traced program"
    hint = remedy or REFUSALS.get(what, instead)
    return UnsupportedFunctionError(f"{what} has no rule in fungrad; {hint}")


item = primitive(
    "item",
    value="{0}[{index}]",
    aval=lambda several, index: several.avals[index],
    vjp=lambda ct, y, several, index: (Part(index, ct),),
    batch=lambda batched, size, several, index: several[index],
)
"""One of several results."""


def items(node: Expr) -> list[Expr]:
    """The results of a node with several, one by one."""
    assert isinstance(node.aval, TupleAval)
    avals = enumerate(node.aval.avals)
    return [item.node((node,), (("index", index),), aval.weak) for index, aval in avals]
