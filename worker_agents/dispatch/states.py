"""What is remembered of an unsettled ticket. Pure: no I/O, no clock of its own."""

from __future__ import annotations

from worker_agents.dispatch.job import Job
from worker_agents.model.state import Phase, TicketState

_NOTHING = TicketState(Phase.PARKED, offset=0, owner="")


def started_state(job: Job, owner: str, now_ms: int, *, isolated: bool) -> TicketState:
    """Its attempt may run from now on, or go on with the remote work of an earlier one."""
    before = job.state or _NOTHING
    return TicketState(
        phase=Phase.STARTED if before.checkpoint is None else Phase.CHECKPOINT,
        offset=job.envelope.receipt,
        owner=owner,
        attempt=job.attempt,
        delivery=before.delivery,
        began_at=before.began_at or now_ms,
        checkpoint=before.checkpoint,
        checkpoint_at=before.checkpoint_at,
        isolated=isolated,
        replays=job.replays,
    )


def parked_state(job: Job, owner: str, now_ms: int, reason: str, delay: float) -> TicketState:
    """It waits for ``delay`` seconds."""
    before = job.state or _NOTHING
    return TicketState(
        phase=Phase.PARKED,
        offset=job.envelope.receipt,
        owner=owner,
        attempt=job.attempt,
        delivery=before.delivery,
        began_at=before.began_at,
        checkpoint=before.checkpoint,
        checkpoint_at=before.checkpoint_at,
        reason=reason,
        due_at=now_ms + int(delay * 1000),
        delay=delay,
        replays=job.replays,
    )
