"""Looking at programs: ``trace`` gives the graph of a function, ``source`` its NumPy source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fungrad._graph import Graph
from fungrad._provenance import explained
from fungrad._trace import trace_flat
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
