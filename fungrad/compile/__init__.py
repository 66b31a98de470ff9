"""Running graphs: the interpreter for first calls, generated NumPy source for hot graphs.

Row 8. In: a graph and the values of its inputs. Out: the values of its outputs.
"""

from fungrad.compile.explain import Explanation, explain
from fungrad.compile.export import export
from fungrad.compile.run import run
from fungrad.compile.source import source

__all__ = ["Explanation", "explain", "export", "run", "source"]
