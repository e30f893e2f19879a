"""A ticket on its way through this worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from worker_agents.model.clock import Cancellable
from worker_agents.model.state import TicketState
from worker_agents.model.ticket import Envelope, Ticket, ticket_of
from worker_agents.telemetry.tracing import TraceContext

if TYPE_CHECKING:
    from worker_agents.dispatch.lane import Lane
    from worker_agents.engine.context import AttemptContext

ISOLATED = "@isolated"
"""The queue of suspects: at first one at a time in the whole worker, so that a death convicts the right one."""


class JobPhase(StrEnum):
    """PARKED waits outside the buffer; READY for its turn; ARMING for its *started* to be durable; ARMED for a slot."""

    PARKED = "parked"
    READY = "ready"
    ARMING = "arming"
    ARMED = "armed"
    RUNNING = "running"
    SETTLING = "settling"


@dataclass(slots=True, eq=False)
class Job:
    """One unsettled ticket.

    ``receipts`` are its record and those of its duplicates; ``state`` is what is durable, or on its way. It is
    ``finishing`` once its final result is on its way too. A parked job keeps its record as raw bytes only; ``ticket`` is ``None`` then.
    ``replays`` are the ticket's so far, the present one last. ``before_start`` is the state that its latest *started* replaced.
    ``arrived`` and ``since``, the end of its latest attempt or its arrival, are monotonic seconds. ``answer_span`` is the one that
    sends its result.
    """

    lane: Lane
    ticket_id: str
    task_type: str
    envelope: Envelope
    receipts: list[int]
    ticket: Ticket | None
    state: TicketState | None
    before_start: TicketState | None = None
    isolated: bool = False
    finishing: bool = False
    attempt: int = 1
    arrived: float = 0.0
    since: float = 0.0
    replays: tuple[str, ...] = ()
    phase: JobPhase = JobPhase.READY
    why_waiting: str = ""
    waits_for: set[str] = field(default_factory=set)
    task: asyncio.Task[None] | None = None
    slot: asyncio.Future[None] | None = None
    timer: Cancellable | None = None
    context: AttemptContext | None = None
    answer_span: TraceContext | None = None
    _trace: TraceContext | None = None

    @property
    def span(self) -> TraceContext:
        """Its own span, in the trace that the producer began or one of our own; the same for all attempts here.

        Where none is recorded, the producer's span stands for it.
        """
        if self._trace is None:
            self._trace = self.lane.begin_trace(self.envelope.headers)
        return self._trace

    @property
    def has_recorded_span(self) -> bool:
        """Whether spans of it may have been recorded already."""
        return self._trace is not None and self._trace.recorded

    @property
    def queue(self) -> str:
        """The queue whose limit it counts towards."""
        return ISOLATED if self.isolated else self.task_type

    @property
    def urgency(self) -> tuple[int, int, int]:
        """Smaller runs first: priority, then deadline, then order of arrival.

        Of suspects, the one that most workers died with: it is alone then, and innocents that were beside it are not tried first
        again and again.
        """
        if self.isolated and self.state is not None:
            return -self.state.delivery, 0, self.receipts[0]
        assert self.ticket is not None
        return -self.ticket.priority, self.ticket.sla.deadline or 2**63, self.receipts[0]

    def read(self) -> Ticket:
        """The ticket, read again from its record where the job was parked."""
        if self.ticket is None:
            self.ticket = ticket_of(self.envelope)
        return self.ticket

    def wake_up(self) -> None:
        """Forget whatever it was waiting for."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.waits_for.clear()
        self.why_waiting = ""
