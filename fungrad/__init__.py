"""fungrad: exact derivatives of plain NumPy code.

Write a pure function with ``import numpy as np``; ``grad(f)`` is its gradient, ``jit(f)`` a faster
version of it, and both compose to any depth.
"""

from typing import NoReturn as _NoReturn

import numpy as _np

from fungrad import errors, extend, nn, ode, optim, random, testing, tree
from fungrad._config import config
from fungrad._graph import Graph
from fungrad.control import associative_scan, cond, fori_loop, scan, switch, while_loop
from fungrad.custom import (
    ShapeDtypeStruct,
    checkpoint,
    custom_jvp,
    custom_vjp,
    fixed_point,
    pure_callback,
    root,
)
from fungrad.ops.scatter import at
from fungrad.transforms import (
    derivative,
    elementwise_grad,
    explain,
    export_source,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacobian,
    jacrev,
    jit,
    jvp,
    linearize,
    source,
    stop_gradient,
    trace,
    value_and_grad,
    vjp,
    vmap,
)

__version__ = "0.1.0"
__all__ = [
    "Graph",
    "ShapeDtypeStruct",
    "associative_scan",
    "at",
    "checkpoint",
    "cond",
    "config",
    "custom_jvp",
    "custom_vjp",
    "derivative",
    "elementwise_grad",
    "errors",
    "explain",
    "export_source",
    "extend",
    "fixed_point",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linearize",
    "nn",
    "ode",
    "optim",
    "pure_callback",
    "random",
    "root",
    "scan",
    "source",
    "stop_gradient",
    "switch",
    "testing",
    "trace",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]


def __getattr__(name: str) -> _NoReturn:
    """Say where to find what other libraries have here."""
    remedy = "import numpy as np" if name == "numpy" else f"np.{name}" if hasattr(_np, name) else ""
    hint = f"; write: {remedy}, NumPy's own works on traced values" if remedy else ""
    raise AttributeError(f"module 'fungrad' has no attribute {name!r}{hint}")
