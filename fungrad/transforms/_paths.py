"""The paths that a function's Python code takes, as one program that branches by values.

Row 9. In: traced paths, each a straight-line program with the questions that the code asked on its
way. Out: a tree. At a ``Fork`` one question is answered, and each known outcome leads on; at an
``End`` is the function's result. What two paths have in common is computed once in a call: every
segment computes what its question needs and no segment before it has computed.

Trees are immutable: a new path gives a new tree that shares what it can with the old one. So a tree
that another thread is following stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from operator import is_
from typing import Any

import attrs

from fungrad._aval import Aval
from fungrad._evaluate import as_operand
from fungrad._expr import Expr, Input, Literal
from fungrad._graph import Graph, cut, topological
from fungrad._primitive import item
from fungrad._provenance import stage
from fungrad._questions import Question, outcome_of
from fungrad._trace import Result, Traced
from fungrad._tracer import Tracer
from fungrad.compile import run
from fungrad.compile.run import Program, program

GRAPH = 1 << 8
"""How much a program that no other path has adds to the growth of a tree; a fork adds 1.

The iterations of a loop share their programs, so that loops of many lengths are kept; code that
goes on differently after each value is not.
"""


UNKNOWN = object()
"""In the place of a result: the code would take a path that is not known yet."""


@attrs.frozen(eq=False)
class Segment:
    """A part of a path.

    Attributes:
        graph: its inputs are some arguments, then values of earlier segments, then captures.
        arguments: the positions of those arguments; ``None`` for all of them in order.
        takes: the nodes that those earlier segments computed.
        captures: what the function closed over, by reference.
        gives: at a fork, the nodes of which the outputs after the first are the values.
        inlined: whether it runs on tracers, so that it becomes a part of their program.
    """

    graph: Graph
    arguments: tuple[int, ...] | None
    takes: tuple[Expr, ...]
    captures: tuple[Any, ...]
    gives: tuple[Expr, ...]
    inlined: bool
    _made: list[Callable[[Sequence[Any]], Sequence[Any]]] = attrs.field(factory=list)

    def same(self, other: Segment) -> bool:
        """Whether it does the same with the same captured objects."""
        return self.graph is other.graph and all(map(is_, self.captures, other.captures))

    @stage
    def run(self, arguments: Sequence[Any], known: dict[Expr, Any]) -> Sequence[Any]:
        """The outputs, where ``known`` has what earlier segments gave."""
        operands = list(arguments)
        if self.arguments is not None:
            operands = [arguments[i] for i in self.arguments]
        if self.takes:
            operands += [known[node] for node in self.takes]
        if self.captures:
            operands += self.captures
        if not self._made:  # a path that is taken once needs no program of its parts
            self._made.append(partial(run, self.graph) if self.inlined else program(self.graph))
        return self._made[0](operands)

    def compiled(self, operands: Sequence[Any]) -> Callable[..., Sequence[Any]] | None:
        """The compiled program for operands like these, if it is in use."""
        made = self._made[0] if self._made else None
        return made.compiled(operands) if isinstance(made, Program) else None


@attrs.frozen(eq=False)
class End:
    """Where a path ends: the outputs of its segment are the leaves of the result."""

    segment: Segment
    result: Result

    @property
    def needs(self) -> tuple[Expr, ...]:
        """What it takes of what is computed before."""
        return self.segment.takes


@attrs.frozen(eq=False)
class Fork:
    """Where the code asks a question, and goes on according to the answer."""

    question: Question
    segment: Segment
    needs: tuple[Expr, ...]
    """What this segment and those below take of what is computed before."""
    branches: dict[Hashable, Fork | End]
    _dead: dict[Hashable, list[Expr]] = attrs.field(factory=dict)

    def follow(self, arguments: Sequence[Any]) -> tuple[End, Sequence[Any]] | None:
        """The end to which the arguments lead, and its outputs; ``None`` if no known path does."""
        fork = self
        known: dict[Expr, Any] = {}
        while True:
            answer, *given = fork.segment.run(arguments, known)
            outcome = _outcome(fork.question, answer)
            branch = fork.branches.get(outcome)
            if branch is None:
                return None
            known.update(zip(fork.segment.gives, given, strict=True))
            if isinstance(branch, End):
                return branch, branch.segment.run(arguments, known)
            dead = fork._dead.get(outcome)
            if dead is None:
                # Always the same, as what is known at a fork does not depend on the values.
                dead = fork._dead[outcome] = [*known.keys() - set(branch.needs)]
            for node in dead:
                del known[node]
            fork = branch


def _outcome(question: Question, value: Any) -> Hashable:
    try:
        if isinstance(value, Tracer):
            return outcome_of(value._concrete(question.asked, question.leaves, question.read))
        return outcome_of(question.read(as_operand(value)))
    except Exception:
        return _FAILED  # the code itself will fail too, at the user's line


_FAILED = object()


@attrs.frozen(eq=False)
class Paths:
    """A tree, and what it took to keep it.

    Attributes:
        root: the tree.
        graphs: the programs of all segments.
        growth: forks and programs that came with paths after the first one.
        size: forks and operations, as a measure of memory.
        last: where the last path left the known ones.
        tracers: the captured values that belong to other traces.
    """

    root: Fork | End
    graphs: frozenset[Graph]
    growth: int
    size: int
    last: Question | None
    tracers: tuple[Tracer, ...]

    def run(self, inputs: Sequence[Any]) -> Any:
        """The function's result, or ``UNKNOWN``."""
        root = self.root
        if isinstance(root, End):
            return root.result.rebuild(root.segment.run(inputs, {}))
        found = root.follow(inputs)
        if found is None:
            return UNKNOWN
        end, outputs = found
        return end.result.rebuild(outputs)


def first_path(traced: Traced, arguments: Sequence[Any]) -> Paths:
    """A tree of one path, traced with these values of the arguments."""
    return _with_path(None, _Path(traced, arguments))


def with_path(paths: Paths, traced: Traced, arguments: Sequence[Any]) -> Paths:
    """The tree with one more path.

    Paths of a deterministic function ask the same questions up to the first one whose answers
    differ. Where they do not, the new path takes the place of the tree.
    """
    grown = _with_path(paths, _Path(traced, arguments))
    return attrs.evolve(grown, growth=paths.growth + grown.growth)


def leads_to(paths: Paths, traced: Traced, arguments: Sequence[Any]) -> bool:
    """Whether the tree has this very path: the same programs of the same captured objects."""
    path, place = _Path(traced, arguments), paths.root
    for number, question in enumerate(traced.questions):
        if not isinstance(place, Fork) or not place.question.same(question):
            return False
        branch = place.branches.get(question.outcome)
        if branch is None or not path.segment(number, place.segment.gives).same(place.segment):
            return False
        place = branch
    if isinstance(place, Fork) or not path.segment(len(traced.questions)).same(place.segment):
        return False
    return place.result.same(traced.results[0])


def _with_path(paths: Paths | None, path: _Path) -> Paths:
    questions = path.traced.questions
    shared = [] if paths is None else _shared(paths.root, questions)
    branch: Fork | End = End(path.segment(len(questions)), path.traced.results[0])
    new = [branch.segment.graph]
    for i, question in reversed(list(enumerate(questions))):
        old = shared[i] if i < len(shared) else None
        gives = [node for node in branch.needs if path.stage.get(node) == i]
        if old is None:
            segment, branches = path.segment(i, tuple(gives)), {}
        else:
            segment, branches = old.segment, old.branches
            missing = [node for node in gives if node not in segment.gives]
            if missing:
                segment = path.segment(i, (*segment.gives, *missing))
        passed = [node for node in branch.needs if path.stage.get(node, i) < i]
        needs = dict.fromkeys([*(old.needs if old else ()), *segment.takes, *passed])
        branch = Fork(question, segment, tuple(needs), {**branches, question.outcome: branch})
        new.append(segment.graph)
    kept = paths.graphs if paths is not None and shared else frozenset[Graph]()
    fresh = set(new) - kept
    forks = len(questions) - len(shared) + 1
    size = forks + path.operations(len(shared)) + sum(len(graph.nodes) for graph in fresh)
    growth = forks + GRAPH * len(set(new) - (paths.graphs if paths else kept))
    return Paths(
        branch,
        kept | fresh,
        growth if paths else 0,
        size + (paths.size if paths and shared else 0),
        shared[-1].question if shared else next(iter(questions), None),
        (*(paths.tracers if paths else ()), *path.tracers),
    )


def _shared(root: Fork | End, questions: Sequence[Question]) -> list[Fork]:
    """The forks that a new path goes through; none if it does not fit the tree."""
    shared: list[Fork] = []
    place: Fork | End | None = root
    for question in questions:
        if place is None:
            return shared
        if isinstance(place, End) or not place.question.same(question):
            return []
        shared.append(place)
        place = place.branches.get(question.outcome)
    return [] if isinstance(place, Fork) else shared


class _Path:
    """A traced path, and at which of its questions each node is computed first."""

    def __init__(self, traced: Traced, arguments: Sequence[Any]) -> None:
        self.traced, self._count = traced, len(arguments)
        self.tracers = [x for x in traced.captures if isinstance(x, Tracer)]
        self._inlined = bool(self.tracers) or any(isinstance(x, Tracer) for x in arguments)
        asked: list[tuple[Expr, ...]] = [(question.node,) for question in traced.questions]
        self._targets = [*asked, traced.graph.outputs]
        self.stage: dict[Expr, int] = {}
        seen: set[Expr] = set()
        for number, nodes in enumerate(self._targets if asked else ()):
            for node in topological(nodes, seen):
                # One of several results is there as soon as all of them are.
                self.stage[node] = self.stage.get(_owner(node), number)

    def operations(self, start: int) -> int:
        """How many nodes are computed from a stage on."""
        return sum(number >= start for number in self.stage.values())

    def segment(self, number: int, gives: tuple[Expr, ...] = ()) -> Segment:
        """What answers the question of a stage, or computes the result; and nodes for later."""
        if not self.traced.questions:
            graph, captures = self.traced.graph, tuple(self.traced.captures)
            return Segment(graph, None, (), captures, (), self._inlined)
        outputs = (*self._targets[number], *gives)
        inputs: dict[int, Expr] = {}
        takes: list[Expr] = []
        seen: set[Expr] = set()
        pending = list(reversed(outputs))
        while pending:
            node = pending.pop()
            if node in seen or isinstance(node, Literal):
                continue
            seen.add(node)
            if isinstance(node, Input):
                inputs[node.index] = node
            elif self.stage.get(node, number) < number and _can_be_handed_over(node):
                takes.append(node)
            else:
                pending += reversed(node.args)
        arguments = tuple(sorted([i for i in inputs if i < self._count]))
        captured = sorted([i for i in inputs if i >= self._count])
        sources = [inputs[i] for i in arguments] + takes + [inputs[i] for i in captured]
        return Segment(
            cut(sources, outputs),
            arguments,
            tuple(takes),
            tuple([self.traced.captures[i - self._count] for i in captured]),
            gives,
            self._inlined,
        )


def _owner(node: Expr) -> Expr:
    return node.args[0] if node.primitive is item else node


def _can_be_handed_over(node: Expr) -> bool:
    """Whether a later segment takes the value; if not, it computes it again.

    What may be a view is such a thing: as an output it would be copied, to another layout.
    """
    primitive = _owner(node).primitive
    assert primitive is not None
    return type(node.aval) is Aval and (primitive.fresh or not node.aval.shape)
