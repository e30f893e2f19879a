"""The interpreter as a busy worker wants it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

_YOUNG_OBJECTS = 100_000


def tune_garbage_collector() -> None:
    """Collect less often, and never what is there now. Call it once everything is built.

    A worker keeps tens of thousands of small objects for long; looking at all of them again and again took a quarter
    of its CPU time (measured with ``benchmarks``).
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 50, 100)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed (it is not made for Windows)."""
    try:
        import uvloop  # noqa: PLC0415 # may be absent
    except ImportError:
        return None
    return uvloop.new_event_loop
