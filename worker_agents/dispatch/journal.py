"""What dispatch knows of the ledger: a small interface without offsets, partitions or transactions."""

from __future__ import annotations

from asyncio import Future
from typing import Protocol

from worker_agents.model.errors import Reason
from worker_agents.model.result import Finished
from worker_agents.model.state import KnownState, TicketState
from worker_agents.model.structs import struct
from worker_agents.model.ticket import Envelope, Ticket


@struct
class Answer:
    """Everything that a published result says. ``duration_ms`` runs from the first attempt.

    ``ticket`` is ``None`` where the record could not be read as one; the id and type are then all there is.
    """

    ticket_id: str
    task_type: str
    finished: Finished
    attempts: int
    duration_ms: int
    ticket: Ticket | None = None
    traceparent: str = ""
    replays: tuple[str, ...] = ()


@struct
class DeadLetter:
    """A record given up, to be kept byte for byte with the reason."""

    envelope: Envelope
    reason: Reason
    message: str
    attempts: int
    delivery: int


@struct
class Settlement:
    """All that becomes of some records at once: an answer, a dead letter, both, or nothing but being finished with.

    ``receipts`` are the records that are settled by it: the ticket's own and those of its duplicates.
    """

    receipts: tuple[int, ...]
    answer: Answer | None = None
    dead_letter: DeadLetter | None = None


class Journal(Protocol):
    """The memory of one partition. The futures it returns resolve when the change is durable.

    They stay pending while the partition is suspended, and are cancelled when it is lost. A change that cannot be
    made durable for a reason of its own fails with :class:`JournalError`.
    """

    owner: str
    place: str
    """What the partition is called in logs."""

    def lookup(self, ticket_id: str) -> KnownState | None:
        """What is known of a ticket of this partition."""
        ...

    def record(self, ticket_id: str, state: TicketState, running: Answer | None = None) -> Future[None]:
        """Remember the state of an unsettled ticket, and publish that it is running where an answer says so."""
        ...

    def settle(self, settlement: Settlement) -> Future[None]:
        """Publish the outcome and finish with the records, as one."""
        ...

    def lease_is_fresh(self) -> bool:
        """Whether this worker may still start remote work for the partition's tickets."""
        ...
