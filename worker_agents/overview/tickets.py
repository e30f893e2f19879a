"""Unsettled tickets as documents."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Any

from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.kafka.partition import Partition
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import AttemptEnded, FallbackUsed, RetryScheduled, TicketWaiting
from worker_agents.telemetry.history import History
from worker_agents.telemetry.masking import SecretMasker
from worker_agents.web.views import TicketView

_LOG_LINES = 20
_DEPENDENCIES = 10
_FAR = 2**63
RUNNING = frozenset({JobPhase.RUNNING, JobPhase.SETTLING})


@struct
class Placed:
    """A job and the partition that it lies in."""

    job: Job
    partition: int


def jobs_of(partitions: Iterable[Partition]) -> list[Placed]:
    return [Placed(job, partition.number) for partition in partitions for job in list(partition.lane.jobs.values())]


def most_pressing(placed: Iterable[Placed], limit: int) -> list[Placed]:
    """Those whose time is up first, running or waiting."""
    return nsmallest(limit, placed, key=lambda item: _pressing(item.job))


def _pressing(job: Job) -> tuple[int, int]:
    if job.context is not None:
        return job.context.ends_at, job.envelope.timestamp
    due_at = job.state.due_at if job.state is not None and job.phase is JobPhase.PARKED else 0
    return due_at or _FAR, job.envelope.timestamp


class TicketViews:
    """Makes documents of jobs. Text that executors and services wrote is masked."""

    def __init__(self, history: History, masker: SecretMasker) -> None:
        self._history = history
        self._mask = masker.text

    def view(self, placed: Placed, now_ms: int) -> TicketView:
        job = placed.job
        return TicketView(
            ticket_id=job.ticket_id,
            task_type=job.task_type,
            phase=job.phase.value,
            partition=placed.partition,
            offset=job.receipts[0],
            attempt=job.attempt,
            delivery=job.state.delivery if job.state else 1,
            sent_at=job.envelope.timestamp,
            age=max(now_ms - job.envelope.timestamp, 0) / 1000,
            isolated=job.isolated,
            trace_id=job.span.trace_id,
            **(self._waiting(job) if job.phase is JobPhase.PARKED else self._attempt(job)),
        )

    def _waiting(self, job: Job) -> dict[str, Any]:
        state = job.state
        return {
            "reason": job.why_waiting,
            "message": self._mask(self._latest_error(job.ticket_id)),
            "due_at": state.due_at or None if state is not None else None,
            "waits_for": tuple(sorted(job.waits_for)[:_DEPENDENCIES]),
        }

    def _attempt(self, job: Job) -> dict[str, Any]:
        context = job.context
        if context is None:
            return {"reason": "" if job.phase in RUNNING else "slot"}
        return {
            "began_at": context.began_at,
            "ends_at": context.ends_at,
            "progress": self._mask(context.progress),
            "progress_at": context.progress_at,
            "log_tail": tuple(self._mask(line) for line in context.log_tail(_LOG_LINES)),
        }

    def _latest_error(self, ticket_id: str) -> str:
        for _, event in reversed(self._history.timeline(ticket_id)):
            match event:
                case RetryScheduled() | FallbackUsed() | TicketWaiting() if event.message:
                    return event.message
                case AttemptEnded(outcome="released"):
                    return ""
        return ""
