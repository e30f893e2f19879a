"""What is to become of a record that arrived. Pure: no I/O, no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from enum import StrEnum

from worker_agents.model.errors import Reason, TicketRejected
from worker_agents.model.result import Status
from worker_agents.model.state import Done, KnownState, TicketState
from worker_agents.model.structs import struct
from worker_agents.model.ticket import KNOWN_TASK_TYPES, MAX_REPLAYS_REMEMBERED, Envelope, Ticket, ticket_of

PLATFORM_TASK_TYPES = KNOWN_TASK_TYPES | {"COMPENSATE", "QUERY", "TRANSFORM"}
"""Every type of the wider platform's schema (``contracts.md`` 1.5); which of them run here is the registry's say."""

_RETENTION_MARGIN_MS = 3_600_000

Lookup = Callable[[str], KnownState | None]


class Ignored(StrEnum):
    """Why a record is no request for work."""

    TOMBSTONE = "tombstone"
    NOT_PENDING = "not_pending"
    OTHER_GROUP = "other_group"


@struct
class Ignore:
    kind: Ignored


@struct
class AlreadyDone:
    ticket_id: str


@struct
class InFlight:
    """A copy of a ticket that this worker is at already."""

    ticket_id: str


@struct
class Refuse:
    """Settle FAILED at once. ``ticket_id`` is ``None`` where nobody can be answered: then only a dead letter remains."""

    reason: Reason
    message: str
    ticket_id: str | None
    task_type: str
    dead_letter: bool
    ticket: Ticket | None = None


@struct
class Admit:
    """Run it, or resume it from ``state``. ``isolate`` means: it is a suspect, which starts alone at first.

    ``replays`` are those of a ticket that is run anew, the present one last.
    """

    ticket: Ticket
    state: TicketState | None
    isolate: bool
    replays: tuple[str, ...]


Decision = Ignore | AlreadyDone | InFlight | Refuse | Admit


@struct
class AdmissionPolicy:
    """``task_types`` are those with an executor; ``supported`` is the operator's explicit choice, if any.

    ``retention_ms`` is the retention of the tickets topic, ``None`` for ever.
    """

    task_types: Collection[str]
    supported: Collection[str] | None = None
    max_deliveries: int = 5
    retention_ms: int | None = None

    def serves(self, task_type: str) -> bool:
        """Whether tickets of that type run here."""
        return task_type in (self.task_types if self.supported is None else self.supported)

    def expires_at(self, envelope: Envelope) -> int | None:
        """Epoch ms after which the record may vanish from its topic, less an hour: no wait outlasts it."""
        if self.retention_ms is None:
            return None
        return envelope.timestamp + max(self.retention_ms - _RETENTION_MARGIN_MS, self.retention_ms // 2)


def admit(
    envelope: Envelope, lookup: Lookup, in_flight: Container[str], policy: AdmissionPolicy, now_ms: int
) -> Decision:
    """Decide on a record, given what the partition's memory and this worker know of its ticket."""
    if envelope.value is None:
        return Ignore(Ignored.TOMBSTONE)
    try:
        ticket = ticket_of(envelope)
    except TicketRejected as error:
        return _refuse_unreadable(error, lookup, in_flight)
    if ticket.status != "PENDING":
        return Ignore(Ignored.NOT_PENDING)
    state = lookup(ticket.ticket_id)
    replays = replays_of(envelope, state)
    if isinstance(state, Done):
        if replays == state.replays:
            return AlreadyDone(ticket.ticket_id)
        state = None
    if ticket.ticket_id in in_flight:
        return InFlight(ticket.ticket_id)
    return (
        _wrong_type(ticket, policy)
        or _too_late(ticket, envelope, state, policy, now_ms)
        or Admit(
            ticket,
            state,
            isolate=state is not None and state.has_begun and state.delivery >= policy.max_deliveries - 1,
            replays=replays,
        )
    )


def replays_of(envelope: Envelope, state: KnownState | None) -> tuple[str, ...]:
    """The ticket's replays, this one among them if it is one that was not seen before and the ticket is not under way."""
    known = state.replays if state is not None else ()
    replay = envelope.replay
    if not replay or replay in known or isinstance(state, TicketState):
        return known
    return (*known, replay)[-MAX_REPLAYS_REMEMBERED:]


def _refuse_unreadable(error: TicketRejected, lookup: Lookup, in_flight: Container[str]) -> Refuse:
    """A damaged copy of a ticket that is known already must not give it a second answer."""
    ticket_id = error.ticket_id
    if ticket_id is not None and (ticket_id in in_flight or lookup(ticket_id) is not None):
        ticket_id = None
    return Refuse(error.reason, str(error), ticket_id, error.task_type, dead_letter=True)


def _wrong_type(ticket: Ticket, policy: AdmissionPolicy) -> Decision | None:
    task_type = ticket.task_type
    if policy.supported is not None:
        return None if task_type in policy.supported else Ignore(Ignored.OTHER_GROUP)
    if task_type in policy.task_types:
        return None
    if task_type in PLATFORM_TASK_TYPES:
        return _refused(ticket, Reason.UNSUPPORTED_TASK_TYPE, f"no executor for task_type {task_type}", True)
    return _refused(ticket, Reason.UNKNOWN_TASK_TYPE, f"unknown task_type {task_type!r}", True)


def _too_late(
    ticket: Ticket, envelope: Envelope, state: TicketState | None, policy: AdmissionPolicy, now_ms: int
) -> Refuse | None:
    """What its history or the clock rules out."""
    if state is not None and state.has_begun:
        if ticket.is_at_most_once:
            return _refused(ticket, Reason.WORKER_LOST, "started once before and delivery_mode is AT_MOST_ONCE", False)
        if state.isolated and state.delivery >= policy.max_deliveries:
            message = f"its worker died {state.delivery - 1} times, the last time while it ran in isolation"
            return _refused(ticket, Reason.WORKER_LOST, message, True)
    if ticket.sla.deadline is not None and ticket.sla.deadline <= now_ms:
        return _refused(ticket, Reason.DEADLINE_EXCEEDED, "sla.deadline had passed before it could start", False)
    expires_at = policy.expires_at(envelope)
    if expires_at is not None and expires_at <= now_ms and not (state is not None and state.has_begun):
        return _refused(ticket, Reason.EXPIRED, "waited as long as its topic keeps records", False)
    return None


def _refused(ticket: Ticket, reason: Reason, message: str, dead_letter: bool) -> Refuse:
    return Refuse(reason, message, ticket.ticket_id, ticket.task_type, dead_letter, ticket)


@struct
class DependenciesMet:
    pass


@struct
class DependencyFailed:
    ticket_id: str


@struct
class DependenciesMissing:
    ticket_ids: tuple[str, ...]


Dependencies = DependenciesMet | DependencyFailed | DependenciesMissing

_MET = DependenciesMet()


def check_dependencies(ticket: Ticket, lookup: Lookup) -> Dependencies:
    """Whether all that the ticket depends on is done, as far as its own partition knows."""
    if not ticket.dependencies:
        return _MET
    missing = []
    for ticket_id in dict.fromkeys(ticket.dependencies):
        state = lookup(ticket_id)
        if not isinstance(state, Done):
            missing.append(ticket_id)
        elif state.status is not Status.COMPLETED:
            return DependencyFailed(ticket_id)
    return DependenciesMissing(tuple(missing)) if missing else _MET
