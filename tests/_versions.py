"""The version of NumPy, for tests of what older ones do otherwise or do not have."""

from __future__ import annotations

import numpy as np

NUMPY = tuple(map(int, np.__version__.split(".")[:2]))
NEW_FUNCTIONS = ("cumulative_sum", "cumulative_prod", "unstack", "matvec", "vecmat")
"""What NumPy 2.0 does not have, and later versions do."""
