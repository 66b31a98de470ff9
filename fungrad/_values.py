"""Values that are written in NumPy code, as programs of the operations that they consist of.

Row 7. In: an elementwise operation, or a graph. Out: graphs.
"""

from __future__ import annotations

from functools import lru_cache

from fungrad._expr import Expr, alone, with_args
from fungrad._graph import Graph, make_graph, substitute
from fungrad._tracer import Rewrite, Tracer, run_in
from fungrad.ops.elementwise import closed_forms


def value_program(node: Expr) -> Graph | None:
    """The program of an operation's value; ``None`` if that is code for arrays only."""
    return _program(alone(node))


@lru_cache(maxsize=512)
def _program(single: Expr) -> Graph | None:
    assert single.primitive is not None
    avals = [arg.aval for arg in single.args]
    trace = Rewrite(avals)
    operands = [trace.tracer(arg) for arg in single.args]
    try:
        made = run_in(trace, single.primitive.value, *operands)
    except (MemoryError, RecursionError):
        raise  # of this moment: it must not be remembered
    except Exception:  # it is only code for arrays
        return None
    if not isinstance(made, Tracer) or made.aval is not single.aval:
        return None
    program = make_graph(avals, [made._expr])
    # A function that answers for NumPy's may come back to the operation itself.
    return None if any(one.primitive is single.primitive for one in program.nodes) else program


def written_out(graph: Graph) -> Graph:
    """``graph`` with derivatives in closed form as the arithmetic that they stand for.

    So it shows which values they read: those of the function, not its operand.
    """
    if not any(node.primitive in closed_forms for node in graph.nodes):
        return graph

    def derive() -> Graph:
        new: dict[Expr, Expr] = {}
        for node in graph.nodes:
            plain = new[node] = with_args(node, tuple([new.get(arg, arg) for arg in node.args]))
            if node.primitive in closed_forms and (program := value_program(node)) is not None:
                (new[node],) = substitute(written_out(program), plain.args)
        return make_graph(
            [node.aval for node in graph.inputs], [new.get(out, out) for out in graph.outputs]
        )

    result: Graph = graph.memo("written_out", derive)
    return result
