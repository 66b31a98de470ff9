"""Locks for what threads share.

Row 1. A lock that another thread holds while a process forks would stay locked in the child, where
that thread does not exist; these are free there. The tables that they guard are changed by single
steps, so that the child finds them whole.
"""

from __future__ import annotations

import os
import threading
from typing import Any


def make_lock() -> Any:
    """A lock that lives as long as the process.

    Re-entrant: what is done under it may collect garbage, and so run any object's finaliser.
    """
    lock: Any = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lock._at_fork_reinit)
    return lock
