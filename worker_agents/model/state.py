"""What the ledger remembers of each ticket (design §3, state records)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from worker_agents.model.result import Status
from worker_agents.model.structs import struct


class Phase(StrEnum):
    """PARKED waits for a dependency or a retry; STARTED may have run; CHECKPOINT has remote work to resume."""

    PARKED = "parked"
    STARTED = "started"
    CHECKPOINT = "checkpoint"


@struct
class TicketState:
    """An unsettled ticket. Times are epoch milliseconds, ``delay`` seconds.

    ``offset`` is the record's place in its partition, ``owner`` the process that wrote this state, empty where that died with the
    ticket and nobody has taken it up again. ``delivery`` counts the times that a worker died with it, plus one. ``began_at`` is when its first attempt
    began and ``checkpoint_at`` when its remote work did: resuming does not restart the clock. ``replays`` are the
    replays of the ticket so far, the present one last.
    """

    phase: Phase
    offset: int
    owner: str
    attempt: int = 1
    delivery: int = 1
    began_at: int = 0
    checkpoint: dict[str, Any] | None = None
    checkpoint_at: int = 0
    isolated: bool = False
    reason: str = ""
    due_at: int = 0
    delay: float = 0.0
    replays: tuple[str, ...] = ()

    @property
    def has_begun(self) -> bool:
        return self.phase is not Phase.PARKED

    def remaining(self, now_ms: int) -> float:
        """Seconds still to wait: a clock that was set back or forward cannot stretch the wait past ``delay``."""
        return min(max((self.due_at - now_ms) / 1000, 0.0), self.delay)


@struct
class Done:
    """A settled ticket; kept for de-duplication and for those that depend on it. ``at`` is epoch ms.

    ``replays`` are those that it has had: each runs once.
    """

    status: Status
    offset: int
    at: int
    replays: tuple[str, ...] = ()


KnownState = TicketState | Done
