"""How much work a partition holds: tickets without a result, read or not. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping

from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.kafka.offsets import OffsetTracker
from worker_agents.model.state import Phase, TicketState

_OFFSETS_REMEMBERED = 10_000
_LEAST = 0.5


class Density:
    """How many records there lately were to an offset: the markers of transactions, and aborted records, take offsets too.

    Every transaction leaves one marker in a partition that it wrote to, so that no producer gets below a half. A gap that retention
    has torn must not look as if it could.
    """

    def __init__(self) -> None:
        self._offsets = 0.0
        self._records = 0.0

    @property
    def share(self) -> float:
        return max(self._records / self._offsets, _LEAST) if self._offsets else 1.0

    def read(self, offsets: int, records: int) -> None:
        """So many records lay in so many offsets that were read."""
        self._offsets += offsets
        self._records += records
        if self._offsets > _OFFSETS_REMEMBERED:
            self._offsets /= 2
            self._records /= 2


class Unread:
    """Where the reading of a partition stands, and the end of what may be read. What the workers hold of it is the tracker's to count.

    ``position`` lies behind everything that the consumer has passed, also where that was no record: behind the last transaction's
    marker it is the end. ``end`` lies before the first transaction that is still open, ``end_known_at`` is when that was told (seconds,
    monotonic). One ``density`` serves all partitions: they have the same producers.
    """

    def __init__(self, density: Density) -> None:
        self.position = 0
        self.end: int | None = None
        self.end_known_at = float("-inf")
        self._density = density

    def start(self, position: int, end: int, now: float) -> None:
        """Reading begins, or begins anew: the topic may even be another one."""
        self.position, self.end, self.end_known_at = position, end, now

    def passed(self, position: int, records: int) -> None:
        """The consumer stands at ``position``, and gave ``records`` on the way there."""
        if position > self.position:
            self._density.read(position - self.position, records)
            self.position = position

    def ends_at(self, end: int, now: float) -> None:
        """A log only grows; answers may overtake one another."""
        self.end, self.end_known_at = max(end, self.end or 0), now

    def records(self, next_offset: int) -> int:
        """About how many records lie between ``next_offset``, or the position where that is further, and the end.

        Exactly so many, where each offset is a record, or each producer's transactions are alike.
        """
        return round(max((self.end or 0) - max(next_offset, self.position), 0) * self._density.share)


def unfinished(
    tracker: OffsetTracker, unread: Unread, jobs: Mapping[str, Job], states: Mapping[str, TicketState]
) -> int:
    """Tickets of a partition that run, wait for a slot, or were not read yet.

    Not those that are parked: they wait for a ticket, a time or a system, and begin no sooner where there are more workers. ``jobs`` are
    the tickets that were read, ``states`` what is remembered of unsettled ones, each by id.
    """
    to_come = max(unread.records(tracker.next_offset) - tracker.settled_ahead, 0)
    # Jobs have the records of copies too; those that an opening has kept are still to come.
    without_job = tracker.unsettled + to_come - sum(len(job.receipts) for job in jobs.values())
    active = sum(job.phase is not JobPhase.PARKED for job in jobs.values())
    return active + max(without_job - _parked_without_job(jobs, states), 0) if without_job > 0 else active


def _parked_without_job(jobs: Mapping[str, Job], states: Mapping[str, TicketState]) -> int:
    """Until they are read again after an opening, they are parked as they were before."""
    return sum(state.phase is Phase.PARKED and ticket_id not in jobs for ticket_id, state in states.items())
