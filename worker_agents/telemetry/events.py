"""One frozen type for each thing that happens.

Whoever acts emits; ``telemetry.logs``, ``telemetry.metrics`` and ``telemetry.spans`` subscribe. The class attribute ``event`` is the
stable log name, ``level`` the log level. Durations are seconds, ages seconds, sizes bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import ClassVar

from worker_agents.model.structs import struct
from worker_agents.telemetry.tracing import TraceContext


@struct
class Event:
    event: ClassVar[str]
    level: ClassVar[int] = logging.INFO


Emit = Callable[[Event], None]
"""Publishes an event to all subscribers. Never raises, never blocks."""


class EventBus:
    """Hands every event to every subscriber, in the order of subscription."""

    def __init__(self) -> None:
        self._subscribers: list[Emit] = []

    def subscribe(self, subscriber: Emit) -> None:
        self._subscribers.append(subscriber)

    def emit(self, event: Event) -> None:
        for subscriber in self._subscribers:
            subscriber(event)


# --- tickets -----------------------------------------------------------------------------------------------------


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
class AttemptStarted(TicketEvent):
    """``waited`` is how long the ticket waited for it: since its arrival here, or since the attempt before."""

    event: ClassVar[str] = "attempt_started"
    level: ClassVar[int] = logging.DEBUG
    attempt: int
    delivery: int
    resumed: bool
    waited: float = field(default=0.0, kw_only=True, compare=False)


@struct
class AttemptEnded(TicketEvent):
    """``outcome`` is ``completed``, ``failed``, ``retry``, ``postponed`` (waits for a breaker) or ``released``.

    ``reason`` is why it was not completed.
    """

    event: ClassVar[str] = "attempt_ended"
    level: ClassVar[int] = logging.DEBUG
    attempt: int
    outcome: str
    duration: float
    reason: str = field(default="", kw_only=True, compare=False)


@struct
class CheckpointSaved(TicketEvent):
    """Remote work is remembered durably; ``data`` is what the executor gave, a JSON object."""

    event: ClassVar[str] = "checkpoint_saved"
    level: ClassVar[int] = logging.DEBUG
    attempt: int
    data: Mapping[str, object]


@struct
class RetryScheduled(TicketEvent):
    event: ClassVar[str] = "ticket_retry_scheduled"
    attempt: int
    delay: float
    reason: str
    message: str


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
class TicketCancelled(TicketEvent):
    """An operator gave it up; ``by`` names them."""

    event: ClassVar[str] = "ticket_cancelled"
    level: ClassVar[int] = logging.WARNING
    by: str
    why: str


@struct
class TicketRetried(TicketEvent):
    """An operator brought its next attempt forward; ``attempt`` is which, ``reason`` what it waited for."""

    event: ClassVar[str] = "ticket_retried"
    by: str
    why: str
    attempt: int
    reason: str


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
class ExecutorCrashed(TicketEvent):
    """An exception that no executor should let out; ``traceback`` is for the developers of the executor."""

    event: ClassVar[str] = "executor_crashed"
    level: ClassVar[int] = logging.ERROR
    error: str
    traceback: str


@struct
class TicketIsolated(TicketEvent):
    event: ClassVar[str] = "ticket_isolated"
    level: ClassVar[int] = logging.WARNING
    delivery: int


# --- operators ---------------------------------------------------------------------------------------------------


@struct
class TaskTypePaused(Event):
    """No ticket of the type is started on this worker before ``until`` (epoch milliseconds), or until it is resumed."""

    event: ClassVar[str] = "task_type_paused"
    level: ClassVar[int] = logging.WARNING
    task_type: str
    by: str
    why: str
    until: int


@struct
class TaskTypeResumed(Event):
    """``expired``: the pause ended by itself; ``by`` and ``why`` are then those of whoever began it."""

    event: ClassVar[str] = "task_type_resumed"
    task_type: str
    by: str
    why: str
    expired: bool


@struct
class OperatorAction(Event):
    """Somebody asked for an action; ``status`` is the HTTP status of the answer, ``outcome`` its name.

    ``withheld`` counts refused ones since the last that was told: whoever guesses tokens cannot fill the log.
    """

    event: ClassVar[str] = "operator_action"
    action: str
    target: str
    by: str
    why: str
    outcome: str
    status: int
    client: str
    withheld: int = 0

    @property
    def level(self) -> int:  # type: ignore[override] # of each event, where others have one of their class
        return logging.WARNING if self.status >= 400 else logging.INFO


# --- integrations ------------------------------------------------------------------------------------------------


@struct
class FallbackUsed(TicketEvent):
    """A simulated result stands in for a real one. ``log_event`` is the guide's name, e.g. ``build_code_forge_error``."""

    event: ClassVar[str] = "fallback_used"
    level: ClassVar[int] = logging.WARNING
    integration: str
    reason: str
    message: str
    log_event: str


@struct
class SuiteTimedOut(TicketEvent):
    """A test command was ended because it did not end by itself. ``limit`` in seconds."""

    event: ClassVar[str] = "test_timeout"
    level: ClassVar[int] = logging.WARNING
    test_suite: str
    limit: float


@struct
class DeploymentTimedOut(TicketEvent):
    """A deployment was not healthy in time; ``operation`` goes on at Argo CD. ``limit`` in seconds."""

    event: ClassVar[str] = "deploy_argocd_timeout"
    level: ClassVar[int] = logging.WARNING
    application: str
    operation: str
    limit: float
    message: str


@struct
class ExternalCall(Event):
    """``outcome`` is ``ok``, ``rejected``, ``unavailable`` or ``timeout``.

    ``trace`` is the span of the call where one is recorded. A call that ``polls`` has none of its own: it is that of the
    attempt, as there may be thousands.
    """

    event: ClassVar[str] = "external_call"
    level: ClassVar[int] = logging.DEBUG
    integration: str
    operation: str
    outcome: str
    duration: float
    polls: bool = field(default=False, kw_only=True, compare=False)
    trace: TraceContext | None = field(default=None, kw_only=True, compare=False)


@struct
class BreakerChanged(Event):
    """``state`` is ``closed``, ``half_open`` or ``open``; an open one lets no call through for ``wait`` seconds.

    ``why`` is the latest failure, empty when it closes.
    """

    event: ClassVar[str] = "breaker_changed"
    integration: str
    state: str
    wait: float
    why: str

    @property
    def level(self) -> int:  # type: ignore[override] # of each event, where others have one of their class
        return logging.WARNING if self.state == "open" else logging.INFO


@struct
class VaultTrouble(Event):
    """Vault is awaited at the start, or the token cannot be kept alive; secrets that are needed meanwhile may be missing."""

    event: ClassVar[str] = "vault_trouble"
    level: ClassVar[int] = logging.WARNING
    what: str
    error: str


# --- partitions and the ledger -----------------------------------------------------------------------------------


@struct
class PartitionEvent(Event):
    partition: int


@struct
class Rebalanced(Event):
    """The group gave out its partitions anew; ``partitions`` of them are this worker's now, whatever changed for it."""

    event: ClassVar[str] = "rebalanced"
    partitions: int
    gained: int
    lost: int


@struct
class PartitionOpening(PartitionEvent):
    event: ClassVar[str] = "partition_opening"
    level: ClassVar[int] = logging.DEBUG


@struct
class PartitionOpened(PartitionEvent):
    event: ClassVar[str] = "partition_opened"
    floor: int
    unsettled: int
    kept: int
    unclean: bool
    duration: float


@struct
class StateReadWaits(PartitionEvent):
    """Opening waits: the state can be read to offset ``position`` of ``end`` only, as a transaction is open there."""

    event: ClassVar[str] = "state_read_waits"
    level: ClassVar[int] = logging.WARNING
    position: int
    end: int


@struct
class PartitionRetained(PartitionEvent):
    event: ClassVar[str] = "partition_retained"
    running: int


@struct
class PartitionNotOpened(PartitionEvent):
    """Opening failed and will be tried again; ``why`` is a sentence for the operator."""

    event: ClassVar[str] = "partition_not_opened"
    level: ClassVar[int] = logging.ERROR
    why: str


@struct
class PartitionClosed(PartitionEvent):
    event: ClassVar[str] = "partition_closed"
    why: str
    cancelled: int


@struct
class LedgerCommitted(PartitionEvent):
    event: ClassVar[str] = "ledger_committed"
    level: ClassVar[int] = logging.DEBUG
    entries: int
    duration: float


@struct
class LedgerFailed(PartitionEvent):
    """The partition is suspended until its membership is proven and it is opened again."""

    event: ClassVar[str] = "ledger_failed"
    level: ClassVar[int] = logging.WARNING
    error: str


@struct
class LeaseExpired(PartitionEvent):
    """This worker fenced itself: the partition's tasks were stopped."""

    event: ClassVar[str] = "lease_expired"
    level: ClassVar[int] = logging.ERROR
    age: float
    stopped: int


@struct
class OffsetsReset(PartitionEvent):
    """The group's offset was moved past the floor by somebody else; it is obeyed."""

    event: ClassVar[str] = "offsets_reset_forward"
    level: ClassVar[int] = logging.WARNING
    floor: int
    committed: int


@struct
class StateUnreadable(PartitionEvent):
    """A foreign or damaged record in the state topic; it is left alone."""

    event: ClassVar[str] = "state_record_unreadable"
    level: ClassVar[int] = logging.WARNING
    key: str
    problem: str


# --- the service -------------------------------------------------------------------------------------------------


@struct
class SpansAbandoned(Event):
    """The collector did not take the last spans within ``limit`` seconds; the worker stops without."""

    event: ClassVar[str] = "spans_abandoned"
    level: ClassVar[int] = logging.WARNING
    limit: float


@struct
class EventLoopStalled(Event):
    """Nothing has run in the event loop for ``seconds``, and still does not; ``stack`` is what it is at.

    Told by the watchdog's thread, to the log alone: other subscribers live in the loop.
    """

    event: ClassVar[str] = "event_loop_stalled"
    level: ClassVar[int] = logging.ERROR
    seconds: float
    stack: str


@struct
class EventLoopResumed(Event):
    """The event loop runs again, after ``duration``. ``seen``: the stall was told of while it lasted.

    If not, the whole process stood still: it was stopped, or its interpreter was held up.
    """

    event: ClassVar[str] = "event_loop_resumed"
    level: ClassVar[int] = logging.WARNING
    duration: float
    seen: bool


@struct
class KafkaTrouble(Event):
    event: ClassVar[str] = "kafka_trouble"
    level: ClassVar[int] = logging.WARNING
    what: str
    error: str


@struct
class TopicCreated(Event):
    event: ClassVar[str] = "topic_created"
    topic: str
    partitions: int


@struct
class WorkerStarted(Event):
    event: ClassVar[str] = "worker_started"
    worker_id: str
    version: str
    task_types: tuple[str, ...]


@struct
class DrainStarted(Event):
    event: ClassVar[str] = "drain_started"
    running: int
    timeout: float


@struct
class DrainEnded(Event):
    """``released`` tickets were left unsettled, with their checkpoints, for the next owner."""

    event: ClassVar[str] = "drain_ended"
    finished: int
    released: int
    duration: float


@struct
class WorkerStopped(Event):
    event: ClassVar[str] = "worker_stopped"
    worker_id: str
