"""The loop as one primitive: with a known number of steps, with one that is an operand, or a test.

Row 9. ``loop[spec]`` has the operands ``(number of steps,) carries…, sequences…, constants…`` and
the results ``carries…, stacked…, (steps taken)``. By its `Spec`:

* ``length`` is a number: ``scan``. Sequences and what is stacked are arrays with a leading axis.
* ``cond`` is a graph: ``while_loop``. What is stacked are ``Stack``s, and the last result says how
  many steps were taken.
* neither: the backward pass of the second kind. The first operand is the number of steps,
  sequences are ``Stack``s.
"""

from __future__ import annotations

import numpy as np

from fungrad._aval import Aval, StackAval, make_aval, stack_aval, tuple_aval
from fungrad._expr import make_input
from fungrad._graph import Graph, make_graph
from fungrad._primitive import Primitive, items, primitive
from fungrad.control._batch import loop_batch
from fungrad.control._layout import Spec
from fungrad.control._pullback import loop_vjp
from fungrad.control._run import loop_value


def _loop_aval(*operands: Aval, spec: Spec) -> Aval:
    results = [node.aval for node in spec.body.inputs[: spec.carries]]
    for node in spec.stacked:
        aval = node.aval.with_weak(False)
        # A stack in a step makes a stack of stacks: they need not be equally high.
        if spec.length is None or isinstance(aval, StackAval):
            results.append(stack_aval(aval))
        else:
            results.append(make_aval((spec.length, *aval.shape), aval.dtype))
    if spec.cond is not None:
        results.append(make_aval((), np.dtype(np.int64)))
    return tuple_aval(*results)


loop_p: Primitive = primitive(
    "loop",
    value=loop_value,
    aval=_loop_aval,
    vjp=lambda ct, y, *operands, **static: loop_vjp(loop_p, ct, *operands, **static),
    batch=lambda batched, size, *operands, spec: loop_batch(loop_p, batched, size, operands, spec),
    fresh=True,
    selective=True,
)


def loop_results(avals: list[Aval], spec: Spec) -> Graph:
    """The graph of one loop: its operands in, its results out."""
    inputs = tuple([make_input(i, aval) for i, aval in enumerate(avals)])
    return make_graph(avals, items(loop_p.node(inputs, (("spec", spec),))))
