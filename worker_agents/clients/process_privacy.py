"""Keeps this process's memory and environment from programs that it runs as the same user."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def forbid_inspection() -> None:
    """Close ``/proc/<pid>/environ``, ``mem`` and ``fd`` of this process to others of its user, and ``ptrace`` to all but root.

    The environment holds the service's secrets as long as the process lives, and code under test could read it there,
    however empty its own environment is. The price: no core dumps, and outside of root no ``/proc/self/fd`` for ourselves.
    Programs that are started are not affected. Without Linux nothing happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
