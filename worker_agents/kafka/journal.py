"""The ledger as dispatch sees it: settlements and states become records of the right shape and size."""

from __future__ import annotations

import asyncio

from worker_agents.dispatch.journal import Answer, Settlement
from worker_agents.kafka.codec import OFFSET_KEY_PREFIX
from worker_agents.kafka.dead_letters import DeadLetterFormat
from worker_agents.kafka.ledger import Entry, PartitionLedger
from worker_agents.kafka.results import ResultFormat
from worker_agents.model.clock import Clock
from worker_agents.model.errors import JournalError, Reason
from worker_agents.model.result import Finished, Status
from worker_agents.model.state import Done, KnownState, TicketState
from worker_agents.model.structs import struct


@struct
class RecordFormat:
    """How answers and dead letters are written; ``state_max_bytes`` bounds one state record."""

    results: ResultFormat
    dead_letters: DeadLetterFormat
    state_max_bytes: int

    def expired(self, ticket_id: str, state: TicketState, partition: int, now_ms: int) -> Entry:
        """The end of a ticket whose record cannot be read any more."""
        finished = Finished.failed(
            Reason.EXPIRED,
            "its record is gone: the topic's retention removed it, or the group's offset was reset past it",
        )
        answer = Answer(
            ticket_id, "", finished, state.attempt, max(now_ms - state.began_at, 0) if state.began_at else 0
        )
        return Entry(
            key=ticket_id,
            state=Done(Status.FAILED, state.offset, now_ms, state.replays),
            records=(self.results.record(answer, partition, now_ms),),
        )


class LedgerJournal:
    """Implements :class:`worker_agents.dispatch.journal.Journal` for one partition."""

    def __init__(
        self, ledger: PartitionLedger, records: RecordFormat, owner: str, partition: int, clock: Clock
    ) -> None:
        self.owner = owner
        self.place = str(partition)
        self._ledger = ledger
        self._records = records
        self._partition = partition
        self._clock = clock

    def lookup(self, ticket_id: str) -> KnownState | None:
        return self._ledger.states.lookup(ticket_id)

    def lease_is_fresh(self) -> bool:
        return self._ledger.lease.is_fresh()

    def record(self, ticket_id: str, state: TicketState, running: Answer | None = None) -> asyncio.Future[None]:
        entry = Entry(key=ticket_id, state=state)
        if running is not None:
            entry.records = (self._records.results.record(running, self._partition, self._clock.now_ms()),)
        size = entry.size()
        if size > self._records.state_max_bytes:
            entry.durable.set_exception(
                JournalError(f"a checkpoint of {size} bytes; the state topic takes {self._records.state_max_bytes}")
            )
            return entry.durable
        return self._ledger.append(entry)

    def settle(self, settlement: Settlement) -> asyncio.Future[None]:
        answer, dead_letter = settlement.answer, settlement.dead_letter
        now_ms = self._clock.now_ms()
        if answer is None and dead_letter is None:
            return self._ledger.append(Entry(receipts=settlement.receipts))
        receipt, records = settlement.receipts[0], []
        key, status = f"{OFFSET_KEY_PREFIX}{receipt}", Status.FAILED
        replays: tuple[str, ...] = ()
        if answer is not None:
            key, replays = answer.ticket_id, answer.replays
            status, result = self._records.results.publish(answer, self._partition, now_ms)
            records.append(result)
        if dead_letter is not None:
            records.append(self._records.dead_letters.record(dead_letter, self._partition, now_ms))
        done = Done(status, receipt, now_ms, replays)
        return self._ledger.append(Entry(key, done, tuple(records), settlement.receipts))
