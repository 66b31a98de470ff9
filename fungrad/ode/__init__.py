"""Ordinary differential equations, as ``fg.ode``: solutions that are differentiated.

`odeint` follows an equation from its initial value with steps whose length adapts to the error. It
is made of `fungrad.scan` and `fungrad.while_loop`, so that its derivative, of any order and in any
mode, is that of the steps that were taken.
"""

from fungrad.ode._odeint import odeint

__all__ = ["odeint"]
