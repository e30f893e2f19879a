"""What the worker tells of itself: the documents of the JSON API, which the status page shows too.

Times named ``at`` or ``_at`` are epoch milliseconds, ages and durations seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field


class View(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(frozen=True)


class Level(StrEnum):
    """How the worker does, in one word."""

    IDLE = "idle"
    WORKING = "working"
    DEGRADED = "degraded"
    STARTING = "starting"
    DRAINING = "draining"
    STOPPED = "stopped"
    STUCK = "stuck"


class WorkerView(View):
    worker_id: str
    version: str
    started_at: int
    stage: str = Field(description="starting, serving, draining or stopped")
    task_types: tuple[str, ...]


class TicketView(View):
    """An unsettled ticket of this worker."""

    ticket_id: str
    task_type: str
    phase: str = Field(description="parked, ready, arming, armed, running or settling")
    partition: int
    offset: int
    attempt: int
    delivery: int = Field(description="1 plus how often a worker died with it")
    sent_at: int = Field(description="timestamp of its record")
    age: float
    isolated: bool = Field(description="suspected of having killed a worker, and run apart")
    trace_id: str
    reason: str = Field("", description="what it waits for; empty while it runs")
    message: str = Field("", description="the latest error, where it waits because of one")
    due_at: int | None = Field(None, description="when it waits no longer")
    waits_for: tuple[str, ...] = Field((), description="tickets that must be done first (at most 10)")
    began_at: int | None = Field(None, description="when the present attempt began")
    ends_at: int | None = Field(None, description="when the present attempt is out of time")
    progress: str = Field("", description="the latest line that its executor wrote")
    progress_at: int | None = None
    log_tail: tuple[str, ...] = ()


class PartitionView(View):
    partition: int
    phase: str = Field(description="opening, open, suspended or closed")
    why_not_open: str
    lag: int | None = Field(description="records from the watermark to the end; null while the end is not known")
    watermark: int = Field(description="everything below this offset is settled")
    unsettled: int
    running: int
    oldest_ticket_id: str | None
    oldest_age: float
    lease_age: float | None = Field(description="since this worker last proved that the partition is its own")
    lease_limit: float
    backlog: int = Field(description="changes not written to Kafka yet")


class IntegrationView(View):
    integration: str
    label: str
    enabled: bool
    breaker: str | None = Field(description="closed, half_open or open; null where there is none")
    breaker_since: int | None
    probe_in: float = Field(description="seconds until an open breaker lets a call through")
    last_failure: str
    last_failure_at: int | None
    calls: int = Field(description="in the last hour")
    failures: int = Field(description="in the last hour")
    latency_median: float | None = Field(description="of the latest calls")
    latency_95: float | None
    simulated: int = Field(description="results that were simulated in its place, since the start")


class PauseView(View):
    by: str
    why: str
    until: int


class SlotsView(View):
    """``queue`` is a task type, ``all`` or ``@isolated``."""

    queue: str
    used: int
    limit: int
    waiting: int
    pause: PauseView | None = None


class ResultView(View):
    at: int
    ticket_id: str
    task_type: str
    status: str
    reason: str
    simulated: bool
    attempts: int
    duration: float


class FailureView(View):
    """Failed results of one type and reason in the last hour."""

    task_type: str
    reason: str
    count: int
    last_at: int
    last_ticket_id: str


class BucketView(View):
    """What came to its end within ``bucket_seconds`` from ``at``."""

    at: int
    completed: int
    failed: int
    simulated: int
    duration_median: float | None


class HistoryView(View):
    bucket_seconds: int
    buckets: tuple[BucketView, ...]


class Parts(View):
    """What a worker is made of."""

    partitions: tuple[PartitionView, ...]
    integrations: tuple[IntegrationView, ...]
    slots: tuple[SlotsView, ...]
    history: HistoryView


class StatusDocument(Parts):
    """``GET /api/v1/status``."""

    at: int
    level: Level
    summary: str = Field(description="one sentence")
    headline: str = Field(description="the sentence without simulated results, beside which a page tells of them apart")
    reasons: tuple[str, ...] = Field(description="what is wrong, most important first")
    ready: bool
    worker: WorkerView
    in_flight: dict[str, dict[str, int]] = Field(description="unsettled tickets by task type and phase")
    oldest_age: float
    running: tuple[TicketView, ...] = Field(description="those nearest to the end of their time first")
    running_total: int
    waiting: tuple[TicketView, ...] = Field(description="those due soonest first")
    waiting_total: int
    recent: tuple[ResultView, ...] = Field(description="newest first")
    failures: tuple[FailureView, ...]
    simulated_total: int = Field(description="simulated results since the start")
    simulated_lately: int = Field(description="of these, in the last 15 minutes: they make a worker degraded")
    dead_letters_total: int = Field(description="dead letters written since the start")


class TicketList(View):
    """``GET /api/v1/tickets``."""

    total: int
    tickets: tuple[TicketView, ...]


class TimelineEntry(View):
    """``event`` is the stable name of the log."""

    at: int
    event: str
    details: dict[str, Any]


class TicketDetail(View):
    """``GET /api/v1/tickets/{id}``: a ticket that this worker has, or had lately."""

    ticket_id: str
    task_type: str
    ticket: TicketView | None = Field(description="null once it is settled or given up")
    result: ResultView | None
    checkpoint: dict[str, Any] | None
    trace_id: str = ""
    trace_url: str = ""
    timeline: tuple[TimelineEntry, ...]


class SettingView(View):
    variable: str
    value: str = Field(description="secrets are masked")
    source: str
    description: str


class StatusSource(Protocol):
    """The service's own view of itself. All answers come from memory, at once."""

    def status(self) -> StatusDocument: ...

    def tickets(self, *, task_type: str | None, phases: Sequence[str], limit: int) -> TicketList: ...

    def ticket(self, ticket_id: str) -> TicketDetail | None:
        """``None`` where this worker knows nothing of it."""
        ...

    def configuration(self) -> Sequence[SettingView]: ...
