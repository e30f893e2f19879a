"""Puts the document together, from memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from worker_agents import __version__
from worker_agents.application import Application
from worker_agents.clients.breaker import CircuitBreaker
from worker_agents.dispatch.job import JobPhase
from worker_agents.kafka.partition import Partition
from worker_agents.model.clock import Clock
from worker_agents.model.structs import struct
from worker_agents.overview.parts import (
    failure_views,
    history_view,
    integration_views,
    partition_view,
    recent_views,
    result_view,
    slot_views,
)
from worker_agents.overview.summary import Condition, summarize
from worker_agents.overview.tickets import RUNNING, Placed, TicketViews, jobs_of, most_pressing
from worker_agents.telemetry.events import Event
from worker_agents.telemetry.history import History
from worker_agents.telemetry.masking import SecretMasker
from worker_agents.web.status import ServiceStatus
from worker_agents.web.views import (
    Parts,
    SettingView,
    StatusDocument,
    TicketDetail,
    TicketList,
    TicketView,
    TimelineEntry,
    WorkerView,
)

# A page for people: whoever wants all asks /api/v1/tickets.
_SHOWN = 50
# Many may ask at once, and each would look at every ticket.
_FRESH_SECONDS = 0.5


@struct
class Surroundings:
    """What the worker was built with. ``integrations`` tells which are switched on; ``trace_url`` has ``{trace_id}``."""

    worker_id: str
    task_types: tuple[str, ...]
    integrations: Mapping[str, bool]
    breakers: Mapping[str, CircuitBreaker]
    settings: Sequence[SettingView]
    masker: SecretMasker
    trace_url: str = ""


class Overview:
    """Implements :class:`StatusSource`. Call :meth:`observe` before anybody asks."""

    def __init__(self, surroundings: Surroundings, health: ServiceStatus, history: History, clock: Clock) -> None:
        self._surroundings = surroundings
        self._health = health
        self._history = history
        self._clock = clock
        self._began_at = clock.now_ms()
        self._views = TicketViews(history, surroundings.masker)
        self._application: Application | None = None
        self._latest: tuple[float, StatusDocument] | None = None

    def observe(self, application: Application) -> None:
        self._application = application
        self._history.is_here = lambda ticket_id: self._find(ticket_id) is not None

    # --- what is asked -------------------------------------------------------------------------------------------

    def status(self) -> StatusDocument:
        now = self._clock.monotonic()
        if self._latest is None or now - self._latest[0] >= _FRESH_SECONDS:
            self._latest = (now, self._document())
        return self._latest[1]

    def tickets(self, *, task_type: str | None, phases: Sequence[str], limit: int) -> TicketList:
        placed = [
            item
            for item in self._jobs()
            if (task_type is None or item.job.task_type == task_type) and (not phases or item.job.phase in phases)
        ]
        return TicketList(total=len(placed), tickets=self._shown(placed, limit))

    def ticket(self, ticket_id: str) -> TicketDetail | None:
        timeline = self._history.timeline(ticket_id)
        placed = self._find(ticket_id)
        if placed is None and not timeline:
            return None
        view = self._views.view(placed, self._clock.now_ms()) if placed else None
        result = next(
            (found for found in reversed(self._history.results) if found.settled.ticket_id == ticket_id), None
        )
        checkpoint = placed.job.state.checkpoint if placed and placed.job.state else None
        trace_id = next((trace.trace_id for _, event in timeline if (trace := getattr(event, "trace", None))), "")
        return TicketDetail(
            ticket_id=ticket_id,
            task_type=view.task_type if view else next((_type_of(event) for _, event in timeline), ""),
            ticket=view,
            result=result_view(result) if result else None,
            checkpoint=None if checkpoint is None else self._masked(checkpoint),
            trace_id=view.trace_id if view else trace_id,
            trace_url=self._trace_url(view.trace_id if view else trace_id),
            timeline=tuple(
                TimelineEntry(at=at, event=event.event, details=self._masked(_details(event))) for at, event in timeline
            ),
        )

    def configuration(self) -> Sequence[SettingView]:
        return self._surroundings.settings

    # --- the document --------------------------------------------------------------------------------------------

    def _document(self) -> StatusDocument:
        now_ms = self._clock.now_ms()
        placed = self._jobs()
        running = [item for item in placed if item.job.phase in RUNNING]
        waiting = [item for item in placed if item.job.phase is JobPhase.PARKED]
        readiness = self._health.readiness()
        parts = self._parts(now_ms)
        oldest_age = max((partition.oldest_age for partition in parts.partitions), default=0.0)
        summary = summarize(
            Condition(
                at=now_ms,
                stage=self._stage,
                stuck=self._health.liveness().reasons,
                not_ready=readiness.reasons,
                parts=parts,
                waiting_for=Counter((item.job.task_type, item.job.why_waiting) for item in waiting),
                tickets=len(placed),
                running=len(running),
                oldest_age=oldest_age,
            )
        )
        return StatusDocument(
            at=now_ms,
            level=summary.level,
            summary=summary.sentence,
            headline=summary.headline,
            reasons=summary.reasons,
            ready=readiness.ok,
            worker=self._worker(),
            in_flight=_in_flight(placed),
            oldest_age=oldest_age,
            running=self._shown(running, _SHOWN),
            running_total=len(running),
            waiting=self._shown(waiting, _SHOWN),
            waiting_total=len(waiting),
            recent=recent_views(self._history.results),
            failures=failure_views(self._history.failures()),
            simulated_total=self._history.simulated,
            simulated_lately=summary.simulated_lately,
            dead_letters_total=self._history.dead_letters,
            **dict(parts),
        )

    def _parts(self, now_ms: int) -> Parts:
        around, application = self._surroundings, self._application
        consumer = application.consumer if application else None
        partitions = [partition_view(item, consumer, now_ms) for item in self._partitions()] if consumer else []
        return Parts(
            partitions=tuple(sorted(partitions, key=lambda partition: partition.partition)),
            integrations=integration_views(around.integrations, around.breakers, self._history, around.masker),
            slots=slot_views(application.parts.dispatcher, around.task_types) if application else (),
            history=history_view(self._history.buckets()),
        )

    def _worker(self) -> WorkerView:
        return WorkerView(
            worker_id=self._surroundings.worker_id,
            version=__version__,
            started_at=self._began_at,
            stage=self._stage,
            task_types=self._surroundings.task_types,
        )

    @property
    def _stage(self) -> str:
        return self._application.stage.value if self._application else "starting"

    def _shown(self, placed: Sequence[Placed], limit: int) -> tuple[TicketView, ...]:
        now_ms = self._clock.now_ms()
        return tuple(self._views.view(item, now_ms) for item in most_pressing(placed, limit))

    def _jobs(self) -> list[Placed]:
        return jobs_of(self._partitions())

    def _find(self, ticket_id: str) -> Placed | None:
        for partition in self._partitions():
            if (job := partition.lane.jobs.get(ticket_id)) is not None:
                return Placed(job, partition.number)
        return None

    def _partitions(self) -> list[Partition]:
        consumer = self._application.consumer if self._application else None
        return list(consumer.partitions.values()) if consumer else []

    def _trace_url(self, trace_id: str) -> str:
        return self._surroundings.trace_url.replace("{trace_id}", trace_id) if trace_id else ""

    def _masked(self, document: Mapping[str, Any]) -> dict[str, Any]:
        masked = self._surroundings.masker.value(document)
        assert isinstance(masked, dict)
        return masked


def _in_flight(placed: Sequence[Placed]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for item in placed:
        counts[item.job.task_type][item.job.phase.value] += 1
    return {task_type: dict(phases) for task_type, phases in sorted(counts.items())}


# Of the events of a ticket: its page says it once.
_TOLD_ELSEWHERE = frozenset({"ticket_id", "task_type", "trace", "passage"})


def _details(event: Event) -> dict[str, Any]:
    told = (field.name for field in fields(event) if field.name not in _TOLD_ELSEWHERE)
    return {name: getattr(event, name) for name in told}


def _type_of(event: Event) -> str:
    return str(getattr(event, "task_type", ""))
