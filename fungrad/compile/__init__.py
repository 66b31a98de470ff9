"""Running graphs: the interpreter for first calls, generated NumPy source for hot graphs.

Row 8. In: a graph and the values of its inputs. Out: the values of its outputs.
"""

from fungrad.compile.run import run
from fungrad.compile.source import source

__all__ = ["run", "source"]
