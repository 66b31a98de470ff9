"""The transforms that users call: function in, function out.

Row 9. Each one traces, asks the Graph → Graph functions for the program it needs, and runs it.
"""

from fungrad.transforms.derivative import grad, jvp, stop_gradient, value_and_grad, vjp
from fungrad.transforms.inspect import source, trace
from fungrad.transforms.jacobian import hessian, jacobian
from fungrad.transforms.jit import jit
from fungrad.transforms.vmap import vmap

__all__ = [
    "grad",
    "hessian",
    "jacobian",
    "jit",
    "jvp",
    "source",
    "stop_gradient",
    "trace",
    "value_and_grad",
    "vjp",
    "vmap",
]
