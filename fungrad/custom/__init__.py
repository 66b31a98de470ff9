"""Functions with derivatives of their own.

Row 9. In: a function, and what its derivative is. Out: a function that computes the same, whose
calls are single nodes while a derivative can still be taken of them.
"""

from fungrad.custom.callback import ShapeDtypeStruct, pure_callback
from fungrad.custom.checkpoint import checkpoint
from fungrad.custom.implicit import fixed_point, root
from fungrad.custom.jvp import CustomJVP, custom_jvp
from fungrad.custom.vjp import CustomVJP, custom_vjp

__all__ = [
    "CustomJVP",
    "CustomVJP",
    "ShapeDtypeStruct",
    "checkpoint",
    "custom_jvp",
    "custom_vjp",
    "fixed_point",
    "pure_callback",
    "root",
]
