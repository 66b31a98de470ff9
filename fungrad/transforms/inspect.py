"""Looking at programs: ``trace`` gives the graph of a function, ``source`` its NumPy source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fungrad._graph import Graph
from fungrad._provenance import explained
from fungrad._trace import trace_flat
from fungrad.compile import Explanation, export
from fungrad.compile import explain as explain_graph
from fungrad.compile import source as source_of
from fungrad.compile.run import program
from fungrad.transforms._arguments import aval_of_leaf, choose


@explained
def trace(f: Callable[..., Any], *args: Any) -> Graph:
    """The program that a function is, for arguments like these.

    Args:
        f: a pure function of pytrees.
        *args: example arguments: pytrees of arrays and numbers. Only their structure, shapes and
            dtypes matter, unless ``f`` branches on values: then the program is that of the branch.

    Returns:
        A ``Graph``, whose inputs are the leaves of ``args`` and then what ``f`` captured. It prints
        as a listing with shapes and dtypes. Tracing the same code again gives the same object.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> print(fg.trace(lambda x: np.sum(x * x), np.ones(3)))
        graph(a: float64[3]):
            b = multiply(a, a)                   # float64[3]
            c = sum[axis=(0,), dtype=None](b)    # float64[]
            return c

    References:
        The idea of a printed functional program is JAX's ``make_jaxpr``.
    """
    chosen, _ = choose(f, args, {}, range(len(args))).numeric()
    avals = [aval_of_leaf(leaf) for leaf in chosen.leaves]
    return trace_flat(lambda leaves: (chosen.call(leaves),), avals, chosen.leaves).graph


def source(f: Callable[..., Any], *args: Any) -> str:
    """The NumPy source that fungrad generates for a function.

    Args:
        f: a pure function of pytrees; ``fg.grad(g)`` and other transformed functions too.
        *args: example arguments, as for ``trace``.

    Returns:
        Python source of one function, ``program``, with shapes and dtypes as comments.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> print(fg.source(lambda x: np.tanh(x) * 2 + 1, np.ones(3)))
        # c0: 2.0 of dtype float64
        # c1: 1.0 of dtype float64
        def program(x0):
            # x0: float64[3]
            t0 = np.tanh(x0)                          # float64[3]
            t1 = np.multiply(t0, c0, out=t0); del t0  # float64[3]
            t2 = np.add(t1, c1, out=t1); del t1       # float64[3]
            return (t2,)
        <BLANKLINE>

    References:
        Liveness-based reuse of temporaries: Aho, Lam, Sethi, Ullman, Compilers, 2nd ed., section
        9.2.5.
    """
    return source_of(program(trace(f, *args)).graph)


def export_source(f: Callable[..., Any], *args: Any) -> str:
    """A Python file that computes what a function computes, and needs NumPy only.

    Args:
        f: a pure function of pytrees; ``fg.grad(g)`` and other transformed functions too.
        *args: example arguments, as for ``trace``. The file's program is for their structure,
            shapes and dtypes.

    Returns:
        The text of the file. Its function ``program`` takes the leaves of ``args``, in the order
        of ``fg.tree.leaves(args)``, and returns a tuple of the results' leaves. What ``f``
        captured is written into the file. It runs on one thread; results have the same bits.

    Raises:
        UnsupportedFunctionError: a primitive's value is neither a NumPy call nor a function of
            NumPy calls whose source can be copied; the message names it.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> text = fg.export_source(fg.grad(lambda x: np.sum(np.sin(x))), np.ones(3))
        >>> file = {}
        >>> exec(text, file)
        >>> file["program"](np.zeros(3))
        (array([1., 1., 1.]),)
    """
    chosen, _ = choose(f, args, {}, range(len(args))).numeric()
    avals = [aval_of_leaf(leaf) for leaf in chosen.leaves]
    traced = trace_flat(lambda leaves: (chosen.call(leaves),), avals, chosen.leaves)
    return export(program(traced.graph).graph, traced.captures)


def explain(f: Callable[..., Any], *args: Any) -> Explanation:
    """What becomes of a function when it is compiled.

    Args:
        f: a pure function of pytrees; ``fg.grad(g)`` and other transformed functions too.
        *args: example arguments, as for ``trace``.

    Returns:
        An ``Explanation``: how many operations each pass of simplification leaves, which ones run
        block by block, how much memory results take up (in bytes), how much stays between calls,
        and how much is moved. It prints as a table.

    Example:
        >>> import numpy as np
        >>> import fungrad as fg
        >>> print(fg.explain(fg.grad(lambda x: np.sum(np.sin(x) * x)), np.ones(1_000_000)))
        operations as traced        9
        operations after neutral    9
        operations after constants  4
        operations after views      4
        operations after signs      4
        operations after scatters   4
        operations after calls      4
        loop 0                      4 operations on 1000000 rows in 62 blocks
        memory of results, at most  8 MB
        memory kept between calls   262 kB
        memory moved, whole arrays  80 MB
        memory moved, in blocks     16 MB
    """
    return explain_graph(trace(f, *args))
