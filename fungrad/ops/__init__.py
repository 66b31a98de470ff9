"""The table of primitives: declarations only, by family.

Row 5. Importing this package fills the registry; ``fungrad._primitive.registry()`` lists it.
"""

from fungrad.ops import creation, elementwise, indexing, linear, reduction, shape

__all__ = ["creation", "elementwise", "indexing", "linear", "reduction", "shape"]
