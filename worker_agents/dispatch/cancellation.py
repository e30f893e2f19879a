"""Giving a ticket up because an operator says so."""

from __future__ import annotations

from enum import StrEnum

from worker_agents.model.structs import struct


class Cancelled(StrEnum):
    """What came of asking. ``RUNNING`` has been told and ends soon, ``WAITING`` had not begun and is settled at once."""

    RUNNING = "running"
    WAITING = "waiting"
    TOO_LATE = "too_late"
    SETTLED = "settled"
    UNKNOWN = "unknown"


@struct
class CancelRequest:
    """``by`` names who asks, ``why`` is their reason; both end up in the result and in the log."""

    ticket_id: str
    by: str = "operator"
    why: str = ""

    @property
    def reason(self) -> str:
        """As the executor and the result are told. The engine knows an operator's cancellation by its first word."""
        return f"cancelled by {self.by}" + (f": {self.why}" if self.why else "")
