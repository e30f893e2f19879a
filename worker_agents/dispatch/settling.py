"""What is said of a ticket when it ends. Pure: no I/O, no clock of its own."""

from __future__ import annotations

from worker_agents.dispatch.job import Job
from worker_agents.dispatch.journal import Answer, DeadLetter, Settlement
from worker_agents.model.errors import Reason
from worker_agents.model.result import Finished
from worker_agents.telemetry.events import Passage, TicketSettled
from worker_agents.telemetry.tracing import TraceContext


def settlement_of(job: Job, finished: Finished, receipts: tuple[int, ...], now_ms: int) -> Settlement:
    """The answer, and the dead letter where one is due."""
    letter = None
    if finished.dead_letter:
        letter = DeadLetter(
            envelope=job.envelope,
            reason=finished.error_reason or Reason.INTERNAL,
            message=finished.result.error_message or "",
            attempts=_attempts(job),
            delivery=job.state.delivery if job.state else 1,
        )
    return Settlement(receipts, answer_of(job, finished, now_ms, job.answer_span or job.span), letter)


def answer_of(job: Job, finished: Finished, now_ms: int, span: TraceContext) -> Answer:
    """Everything that the result's record says; ``span`` sends it."""
    return Answer(
        job.ticket_id,
        job.task_type,
        finished,
        attempts=_attempts(job),
        duration_ms=_duration_ms(job, now_ms),
        ticket=job.ticket,
        traceparent=span.traceparent,
        replays=job.replays,
    )


def event_of(job: Job, finished: Finished, now_ms: int, now: float) -> TicketSettled:
    """What logs, metrics and spans are told once the answer is durable. ``now`` is monotonic."""
    return TicketSettled(
        job.ticket_id,
        job.task_type,
        status=finished.status.value,
        reason=finished.error_reason.value if finished.error_reason else "",
        simulated=finished.result.simulated,
        attempts=_attempts(job),
        duration=_duration_ms(job, now_ms) / 1000,
        trace=job.span,
        passage=passage_of(job, now) if job.has_recorded_span else None,
    )


def passage_of(job: Job, now: float) -> Passage:
    """The ticket's way through this worker so far. ``now`` is monotonic."""
    return Passage(
        partition=job.lane.place,
        offset=job.envelope.receipt,
        conversation_id=job.ticket.correlation_id if job.ticket else "",
        age=now - job.arrived,
        publishing=now - job.since,
        answer=job.answer_span,
    )


def _attempts(job: Job) -> int:
    """Attempts that were really made: none for a ticket that never began."""
    return job.attempt if job.state and job.state.began_at else 0


def _duration_ms(job: Job, now_ms: int) -> int:
    began_at = job.state.began_at if job.state else 0
    return max(now_ms - began_at, 0) if began_at else 0
