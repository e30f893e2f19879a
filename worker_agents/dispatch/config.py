"""How much a worker does at once, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from worker_agents.model.structs import struct


class Ordering(StrEnum):
    """``dependencies``: a ticket starts when those it names are done. ``key``: equal keys run one after another too."""

    DEPENDENCIES = "dependencies"
    KEY = "key"


@struct
class DispatchConfig:
    """Counts of tickets; times are seconds. ``isolation_time`` clears a suspect that has lived so long.

    ``gathering_time`` is how long suspects are gathered before the first of them starts: the most suspected is to be alone.
    """

    max_concurrent: int = 200
    limits: Mapping[str, int] | None = None
    max_buffered: int = 1_000
    max_parked: int = 50_000
    ordering: Ordering = Ordering.DEPENDENCIES
    dependency_timeout: float = 3_600.0
    isolation_time: float = 60.0
    gathering_time: float = 0.0
    cancel_grace: float = 10.0
    publish_running: bool = False
