"""Trying a ticket at once because an operator says so."""

from __future__ import annotations

from enum import StrEnum

from worker_agents.model.structs import struct


class Retried(StrEnum):
    """What came of asking. ``NOW`` is ready for a slot; the others are why there is nothing to be brought forward."""

    NOW = "now"
    READY = "ready"
    RUNNING = "running"
    DEPENDENCY = "waits_for_dependency"
    KEY_ORDER = "waits_for_key"
    PAUSED = "task_type_paused"
    DRAINING = "draining"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@struct
class RetryRequest:
    """``by`` names who asks, ``why`` is their reason; both end up in the log."""

    ticket_id: str
    by: str = "operator"
    why: str = ""
