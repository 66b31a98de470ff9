"""Loops and branches as values: traced once, differentiated in every mode, and compiled.

Row 9. Each one traces the functions that it is given, and is then one node of whatever program it
stands in.
"""

from fungrad._simplify import graph_rewrites
from fungrad.control._rewrites import rewrite
from fungrad.control.associative import associative_scan
from fungrad.control.branches import cond, switch
from fungrad.control.loops import fori_loop, scan, while_loop

__all__ = ["associative_scan", "cond", "fori_loop", "scan", "switch", "while_loop"]

graph_rewrites.append(rewrite)
