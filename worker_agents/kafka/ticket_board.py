"""What an onlooker knows of tickets: their records joined with the state topic. Pure: no I/O."""

from __future__ import annotations

from enum import StrEnum

from worker_agents.kafka.codec import FLOOR_KEY, Owner, StateRecordInvalid
from worker_agents.kafka.reader import Record
from worker_agents.kafka.state import TicketStates
from worker_agents.model.errors import TicketRejected
from worker_agents.model.result import Status
from worker_agents.model.state import Done, Phase, TicketState
from worker_agents.model.structs import struct
from worker_agents.model.ticket import Ticket, read_ticket


class Progress(StrEnum):
    """How far a record of the tickets topic has come."""

    QUEUED = "QUEUED"
    """No worker has written anything about it yet."""
    WAITING = "WAITING"
    """For a dependency, a retry, or its turn: the detail says which."""
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SETTLED = "SETTLED"
    """Done with so long ago that only this is remembered."""
    DUPLICATE = "DUPLICATE"
    """A copy of a ticket that lies elsewhere in the partition."""
    IGNORED = "IGNORED"
    """No request for work: its status is not PENDING, or it has no value."""
    UNREADABLE = "UNREADABLE"
    """Not a ticket; dead-lettered once a worker has seen it."""


@struct
class Standing:
    """``at`` is epoch ms of when a ticket was settled, ``due_at`` of when it waits no longer; ``attempt`` 0 before the first.

    A retry begins at ``due_at``, as soon as there is a slot; what waits for a dependency begins earlier, or fails then.
    """

    progress: Progress
    detail: str = ""
    attempt: int = 0
    at: int | None = None
    due_at: int | None = None


class TicketBoard:
    """Feed it the state topic's records in the order of each partition; ask for the standing of any ticket record.

    What it says is as of the records that it was fed.
    """

    def __init__(self, tickets_topic: str, state_topic: str) -> None:
        self.tickets_topic = tickets_topic
        self.state_topic = state_topic
        self._states: dict[int, TicketStates] = {}

    def apply(self, record: Record) -> str | None:
        """Take in a record of the state topic. Returns the id of the ticket that it is about, if it is about one."""
        key = (record.key or b"").decode(errors="replace")
        try:
            self._partition(record.partition).apply(key, record.value)
        except StateRecordInvalid:
            return None
        return None if key.startswith("@") and key != FLOOR_KEY else key

    def standing(self, record: Record) -> Standing:
        """How far that record of the tickets topic has come."""
        states = self._partition(record.partition)
        ticket = read_or_none(record.value)
        if ticket is None:
            return self._without_ticket(record)
        if ticket.status != "PENDING":
            return Standing(Progress.IGNORED, f"status {ticket.status}")
        state = states.lookup(ticket.ticket_id)
        if state is not None and state.offset != record.offset and record.offset > state.offset:
            return Standing(Progress.DUPLICATE, f"of {record.partition}-{state.offset}")
        if isinstance(state, Done):
            return Standing(Progress(state.status), at=state.at)
        if state is not None:
            return _of_active(state)
        is_settled = states.floor is not None and record.offset < states.floor
        return Standing(Progress.SETTLED if is_settled else Progress.QUEUED)

    def owner_of(self, partition: int) -> Owner | None:
        """The worker that holds a partition, as it wrote itself; ``None`` while nobody did."""
        return self._partition(partition).owner

    def partition_of(self, ticket_id: str) -> int | None:
        """Where a ticket lies that some worker has begun or settled."""
        return next((number for number, states in self._states.items() if states.lookup(ticket_id)), None)

    def has_passed(self, partition: int, offset: int) -> bool:
        """Whether that record, and everything before it in its partition, is settled."""
        floor = self._partition(partition).floor
        return floor is not None and offset < floor

    def _without_ticket(self, record: Record) -> Standing:
        if record.value is None:
            return Standing(Progress.IGNORED, "no value")
        try:
            read_ticket(record.value)
        except TicketRejected as error:
            answered = error.ticket_id and self._partition(record.partition).lookup(error.ticket_id)
            progress = Progress.FAILED if isinstance(answered, Done) else Progress.UNREADABLE
            return Standing(progress, f"{error.reason}: {error}")
        raise AssertionError("a ticket that can be read")

    def _partition(self, number: int) -> TicketStates:
        return self._states.setdefault(number, TicketStates())


def read_or_none(value: bytes | None) -> Ticket | None:
    """The ticket in a record's value; ``None`` where there is none to be read."""
    if value is None:
        return None
    try:
        return read_ticket(value)
    except TicketRejected:
        return None


def _of_active(state: TicketState) -> Standing:
    match state.phase:
        case Phase.STARTED | Phase.CHECKPOINT if not state.owner:
            return Standing(Progress.WAITING, "to be taken up again: its worker died", state.attempt)
        case Phase.PARKED:
            # Before its first attempt a ticket is parked with attempt 1 to come.
            due_at = state.due_at or None
            return Standing(Progress.WAITING, state.reason or "for its turn", state.attempt, due_at=due_at)
        case Phase.STARTED:
            return Standing(Progress.RUNNING, f"on {state.owner.partition('#')[0]}", state.attempt)
        case Phase.CHECKPOINT:
            return Standing(Progress.RUNNING, f"remote work: {state.checkpoint}", state.attempt)


def is_final(status: str) -> bool:
    return status in (Status.COMPLETED, Status.FAILED)
