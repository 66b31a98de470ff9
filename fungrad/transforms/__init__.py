"""The transforms that users call: function in, function out.

Row 9. Each one traces, asks the Graph → Graph functions for the program it needs, and runs it.
"""

from fungrad.transforms.derivative import (
    derivative,
    elementwise_grad,
    grad,
    stop_gradient,
    value_and_grad,
)
from fungrad.transforms.inspect import explain, export_source, source, trace
from fungrad.transforms.jacobian import hessian, jacfwd, jacobian, jacrev
from fungrad.transforms.jit import jit
from fungrad.transforms.products import hvp, jvp, linearize, vjp
from fungrad.transforms.vmap import vmap

__all__ = [
    "derivative",
    "elementwise_grad",
    "explain",
    "export_source",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linearize",
    "source",
    "stop_gradient",
    "trace",
    "value_and_grad",
    "vjp",
    "vmap",
]
