"""Documents as a worker could tell them, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker_agents.web.views import (
    BucketView,
    HistoryView,
    IntegrationView,
    Level,
    PartitionView,
    ResultView,
    SettingView,
    SlotsView,
    StatusDocument,
    TicketDetail,
    TicketList,
    TicketView,
    TimelineEntry,
    WorkerView,
)

NOW_MS = 1_767_225_600_000


def partition(number: int, **changes: Any) -> PartitionView:
    values = {
        "partition": number,
        "phase": "open",
        "why_not_open": "",
        "lag": 3,
        "watermark": 17,
        "unsettled": 2,
        "running": 1,
        "oldest_ticket_id": "t-1",
        "oldest_age": 61.0,
        "lease_age": 0.4,
        "lease_limit": 40.0,
        "backlog": 0,
    }
    return PartitionView(**{**values, **changes})


def integration(name: str, **changes: Any) -> IntegrationView:
    values = {
        "integration": name,
        "label": {"code_forge": "Code Forge", "opa": "OPA"}.get(name, name),
        "enabled": True,
        "breaker": "closed",
        "breaker_since": NOW_MS - 60_000,
        "probe_in": 0.0,
        "last_failure": "",
        "last_failure_at": None,
        "calls": 10,
        "failures": 1,
        "latency_median": 0.02,
        "latency_95": 0.4,
        "simulated": 0,
    }
    return IntegrationView(**{**values, **changes})


def slots(queue: str, **changes: Any) -> SlotsView:
    return SlotsView(**{"queue": queue, "used": 1, "limit": 4, "waiting": 0, **changes})


def bucket(**changes: Any) -> BucketView:
    values = {"at": NOW_MS, "completed": 0, "failed": 0, "simulated": 0, "duration_median": None}
    return BucketView(**{**values, **changes})


def ticket(ticket_id: str, **changes: Any) -> TicketView:
    values = {
        "ticket_id": ticket_id,
        "task_type": "BUILD",
        "phase": "running",
        "partition": 0,
        "offset": 7,
        "attempt": 1,
        "delivery": 1,
        "sent_at": NOW_MS - 60_000,
        "age": 60.0,
        "isolated": False,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "began_at": NOW_MS - 30_000,
        "ends_at": NOW_MS + 30_000,
        "progress": "compiling",
        "progress_at": NOW_MS,
        "log_tail": ("checked out", "compiling"),
    }
    return TicketView(**{**values, **changes})


def result(ticket_id: str, **changes: Any) -> ResultView:
    values = {
        "at": NOW_MS,
        "ticket_id": ticket_id,
        "task_type": "BUILD",
        "status": "COMPLETED",
        "reason": "",
        "simulated": False,
        "attempts": 1,
        "duration": 12.5,
    }
    return ResultView(**{**values, **changes})


def status(**changes: Any) -> StatusDocument:
    values = {
        "at": NOW_MS,
        "level": Level.WORKING,
        "summary": "Working: 1 running; 2 tickets, oldest 1 min",
        "headline": "Working: 1 running; 2 tickets, oldest 1 min",
        "reasons": (),
        "ready": True,
        "worker": WorkerView(
            worker_id="worker-1", version="1.2.3", started_at=NOW_MS - 3_600_000, stage="serving", task_types=("BUILD",)
        ),
        "in_flight": {"BUILD": {"running": 1, "parked": 1}},
        "oldest_age": 61.0,
        "running": (ticket("t-1"),),
        "running_total": 1,
        "waiting": (waiting_ticket("t-2"),),
        "waiting_total": 1,
        "partitions": (partition(0),),
        "integrations": (integration("code_forge"),),
        "slots": (slots("all"), slots("BUILD")),
        "recent": (result("t-0"),),
        "failures": (),
        "simulated_total": 0,
        "simulated_lately": 0,
        "dead_letters_total": 0,
        "history": HistoryView(bucket_seconds=60, buckets=tuple(bucket() for _ in range(60))),
    }
    return StatusDocument(**{**values, **changes})


def waiting_ticket(ticket_id: str, **changes: Any) -> TicketView:
    values = {
        "phase": "parked",
        "began_at": None,
        "ends_at": None,
        "progress": "",
        "progress_at": None,
        "log_tail": (),
        "reason": "dependency_unavailable",
        "message": "HTTP 503",
        "due_at": NOW_MS + 42_000,
    }
    return ticket(ticket_id, **{**values, **changes})


def detail(ticket_id: str, **changes: Any) -> TicketDetail:
    values = {
        "ticket_id": ticket_id,
        "task_type": "BUILD",
        "ticket": ticket(ticket_id),
        "result": None,
        "checkpoint": {"pipeline_id": "p-7"},
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "trace_url": "",
        "timeline": (TimelineEntry(at=NOW_MS, event="attempt_started", details={"attempt": 1, "resumed": False}),),
    }
    return TicketDetail(**{**values, **changes})


class Source:
    """A :class:`StatusSource` whose answers the test sets; ``asked`` is how it was asked for tickets."""

    def __init__(self) -> None:
        self.document = status()
        self.details = {"t-1": detail("t-1")}
        self.settings: tuple[SettingView, ...] = (
            SettingView(variable="ADMIN_TOKEN", value="********", source="file", description="Bearer token."),
        )
        self.asked: list[tuple[str | None, tuple[str, ...], int]] = []

    def status(self) -> StatusDocument:
        return self.document

    def tickets(self, *, task_type: str | None, phases: Sequence[str], limit: int) -> TicketList:
        self.asked.append((task_type, tuple(phases), limit))
        return TicketList(total=1, tickets=(ticket("t-1"),))

    def ticket(self, ticket_id: str) -> TicketDetail | None:
        return self.details.get(ticket_id)

    def configuration(self) -> Sequence[SettingView]:
        return self.settings
