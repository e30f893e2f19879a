"""A ticket's way: how it is taken in, waits, and ends."""

from __future__ import annotations

import logging
from dataclasses import field
from typing import ClassVar

from worker_agents.model.structs import struct
from worker_agents.telemetry.events.base import Event
from worker_agents.telemetry.tracing import TraceContext


@struct
class Passage:
    """A ticket's way through this worker, for its spans: made only where they are recorded. Durations are seconds.

    ``age`` runs from its arrival here, ``publishing`` from the moment when its outcome was known. ``answer`` is the span
    that sends its result, which the result's header names; ``None`` when it leaves this worker unsettled.
    """

    partition: str
    offset: int
    conversation_id: str
    age: float
    publishing: float = 0.0
    answer: TraceContext | None = None


@struct
class TicketEvent(Event):
    """``trace`` is the span in which it happens: the ticket's own, or that of an attempt."""

    ticket_id: str
    task_type: str
    trace: TraceContext | None = field(default=None, kw_only=True, compare=False)


@struct
class TicketWaiting(TicketEvent):
    """``message`` is the error because of which it waits, where there is one."""

    event: ClassVar[str] = "ticket_waiting"
    level: ClassVar[int] = logging.DEBUG
    reason: str
    delay: float
    message: str = field(default="", kw_only=True, compare=False)


@struct
class TicketReplayed(TicketEvent):
    """A dead letter was sent again and the ticket runs anew, for the ``count``-th time. ``replay`` is the letter's place."""

    event: ClassVar[str] = "ticket_replayed"
    replay: str
    count: int


@struct
class TicketElsewhere(TicketEvent):
    """The same id lies in two partitions, and runs in both: copies of a ticket must have one record key."""

    event: ClassVar[str] = "ticket_in_two_partitions"
    level: ClassVar[int] = logging.WARNING
    partition: str
    other_partition: str


@struct
class TicketIsolated(TicketEvent):
    event: ClassVar[str] = "ticket_isolated"
    level: ClassVar[int] = logging.WARNING
    delivery: int


@struct
class TicketSettled(TicketEvent):
    """The final result of a ticket is durable. ``duration`` runs from its first attempt.

    Logged as INFO unless it is an ordinary success: those are what metrics count, and would bury everything else.
    """

    event: ClassVar[str] = "ticket_settled"
    status: str
    reason: str
    simulated: bool
    attempts: int
    duration: float
    passage: Passage | None = field(default=None, kw_only=True, compare=False)

    @property
    def level(self) -> int:  # type: ignore[override] # of each event, where others have one of their class
        return logging.INFO if self.reason or self.simulated else logging.DEBUG


@struct
class TicketReleased(TicketEvent):
    """Given up unsettled, to be resumed from its checkpoint by the partition's next opening."""

    event: ClassVar[str] = "ticket_released"
    why: str
    passage: Passage | None = field(default=None, kw_only=True, compare=False)


@struct
class TicketPutBack(TicketEvent):
    """Left unsettled while it waited: the partition's next opening reads it again. Told of traced tickets only."""

    event: ClassVar[str] = "ticket_put_back"
    level: ClassVar[int] = logging.DEBUG
    why: str
    passage: Passage | None = field(default=None, kw_only=True, compare=False)


@struct
class DeadLettered(Event):
    event: ClassVar[str] = "ticket_dead_lettered"
    level: ClassVar[int] = logging.WARNING
    ticket_id: str
    reason: str
    message: str


@struct
class ResultTrimmed(Event):
    event: ClassVar[str] = "result_trimmed"
    level: ClassVar[int] = logging.WARNING
    ticket_id: str
    size: int
    limit: int


@struct
class RecordIgnored(Event):
    """No request for work: a tombstone, a status other than PENDING, or another group's task type."""

    event: ClassVar[str] = "record_ignored"
    level: ClassVar[int] = logging.DEBUG
    kind: str


@struct
class DuplicateSeen(Event):
    """``kind`` is ``done`` or ``in_flight``."""

    event: ClassVar[str] = "duplicate_ticket"
    level: ClassVar[int] = logging.DEBUG
    ticket_id: str
    kind: str
