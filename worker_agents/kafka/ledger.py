"""The fenced ledger of one partition: group commit of everything durable that happens to its tickets."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from worker_agents.kafka.codec import LedgerFact, Meta, OutRecord, Owner, encode_fact, encode_state
from worker_agents.kafka.offsets import OffsetTracker
from worker_agents.kafka.producer import CommitFailed, TransactionalProducer
from worker_agents.kafka.state import TicketStates
from worker_agents.model.clock import Clock
from worker_agents.model.errors import JournalError
from worker_agents.model.state import Done, KnownState
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import Emit, LedgerCommitted

_MAX_BATCH_ENTRIES = 2_000
_MAX_BATCH_BYTES = 4 * 1024 * 1024
_TOMBSTONES_A_BATCH = 500
_TOMBSTONE_INTERVAL = 5.0
# The floor moves in every transaction that settles something; the group's offset costs two requests more and is only
# for those who watch the lag.
_OFFSET_INTERVAL = 1.0


@struct
class LedgerPlace:
    """Where a ledger writes: its input partition, its state partition, and the group that both belong to."""

    group: str
    tickets: TopicPartition
    state: TopicPartition

    @property
    def transactional_id(self) -> str:
        return f"{self.group}-{self.tickets.topic}-{self.tickets.partition}"

    @property
    def meta(self) -> Meta:
        return Meta(self.group, self.tickets.topic)


@dataclass(slots=True, eq=False)
class Entry:
    """One change that becomes durable as a whole. ``key`` is a ticket id or ``@offset-N``; empty for bare receipts."""

    key: str = ""
    state: KnownState | None = None
    records: tuple[OutRecord, ...] = ()
    receipts: tuple[int, ...] = ()
    facts: tuple[LedgerFact, ...] = ()
    durable: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    must_go_alone: bool = False
    encoded: bytes | None = field(init=False)

    def __post_init__(self) -> None:
        self.encoded = None if self.state is None else encode_state(self.state)

    @property
    def settles(self) -> bool:
        return isinstance(self.state, Done)

    def size(self) -> int:
        return len(self.encoded or b"") + sum(len(record.value or b"") for record in self.records)


def _replays(state: KnownState | None) -> tuple[str, ...]:
    """Which run of a ticket a state belongs to: that of its latest replay."""
    return () if state is None else state.replays


class Lease:
    """How long ago this worker last proved that the partition is its own. Seconds, monotonic."""

    def __init__(self, limit: float, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._proved_at = float("-inf")

    def renew(self, issued_at: float) -> None:
        """A write that was issued at that time succeeded. The issue counts: the answer may have waited long."""
        self._proved_at = max(self._proved_at, issued_at)

    def age(self) -> float:
        return self._clock.monotonic() - self._proved_at

    def is_fresh(self) -> bool:
        return self.age() < self.limit

    def expires_in(self) -> float:
        return self.limit - self.age()


class PartitionLedger:
    """Gathers changes and writes whatever is pending as one transaction, while the next batch gathers.

    It is *running* between :meth:`run` and its failure; before and after that, changes queue up. The map in
    ``states`` changes only with what was committed. ``committed_offset`` is the group's, which follows the floor: it
    exists for lag tools, and may have been set back by an operator.
    """

    def __init__(self, place: LedgerPlace, lease: Lease, clock: Clock, emit: Emit, *, dedup_retention: float) -> None:
        self.place = place
        self.lease = lease
        self.states = TicketStates()
        self.tracker = OffsetTracker()
        self.committed_offset: int | None = None
        self._clock = clock
        self._emit = emit
        self._retention_ms = int(dedup_retention * 1000)
        self._pending: deque[Entry] = deque()
        self._in_flight: list[Entry] = []
        self._work = asyncio.Event()
        self._tombstones_due = 0.0
        self._offsets_due = 0.0

    def append(self, entry: Entry) -> asyncio.Future[None]:
        """Queue a change; the future resolves when it is durable."""
        self._pending.append(entry)
        self._work.set()
        return entry.durable

    def append_facts(self, *facts: LedgerFact) -> asyncio.Future[None]:
        return self.append(Entry(facts=facts))

    def settle_receipt(self, receipt: int) -> None:
        """Finish with a record of which nothing needs to be remembered but that it is below the watermark."""
        self.tracker.settle(receipt)
        self._work.set()

    @property
    def backlog(self) -> int:
        return len(self._pending) + len(self._in_flight)

    async def run(self, producer: TransactionalProducer) -> None:
        """Commit what is pending, for as long as it works. Raises :class:`CommitFailed`."""
        while True:
            await self._wait_for_work()
            self._work.clear()
            await self.commit_pending(producer)

    async def _wait_for_work(self) -> None:
        """Return when something is pending, or when the group's offset has been behind the floor for long enough."""
        behind = self.states.floor != self.committed_offset
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OFFSET_INTERVAL if behind else None):
                await self._work.wait()

    async def commit_pending(self, producer: TransactionalProducer) -> None:
        """Commit until nothing is pending, also if there was nothing but a floor that moved."""
        await self._commit(producer)
        while self._pending:
            await self._commit(producer)

    async def flushed(self) -> None:
        """Return when everything that is pending now is durable; waits for as long as that takes."""
        waits = [entry.durable for entry in (*self._in_flight, *self._pending)]
        if waits:
            await asyncio.wait(waits)
        # An entry of its own, so that the floor and the group's offset follow.
        self._offsets_due = 0.0
        await asyncio.wait([self.append(Entry())])

    def reconcile(self, kept: Collection[str]) -> None:
        """After a re-opening: resolve what turns out to be committed, keep what live tasks wait for, drop the rest.

        Records whose entries are dropped are read again.
        """
        waiting = [*self._in_flight, *self._pending]
        self._in_flight = []
        self._pending.clear()
        for entry in waiting:
            known = self.states.lookup(entry.key) if entry.key else None
            if entry.durable.done():
                continue
            is_over = isinstance(known, Done) and known.replays == _replays(entry.state)
            if entry.settles and is_over:
                entry.durable.set_result(None)
            elif entry.key in kept and not is_over:
                self._pending.append(entry)
            else:
                entry.durable.cancel()
        if self._pending:
            self._work.set()

    def abandon(self) -> None:
        """The partition is lost: whoever waits for a change is cancelled."""
        for entry in (*self._in_flight, *self._pending):
            entry.durable.cancel()
        self._in_flight = []
        self._pending.clear()

    async def _commit(self, producer: TransactionalProducer) -> None:
        batch = self._in_flight = self._gather()
        for entry in batch:
            for receipt in entry.receipts:
                self.tracker.settle(receipt)
        floor = self.tracker.watermark()
        moved = floor != self.states.floor
        tombstones = self._due_tombstones()
        offsets = self._due_offsets(floor, idle=not batch)
        if not batch and not moved and not offsets and not tombstones:
            return
        issued_at = self._clock.monotonic()
        try:
            ends = await producer.commit(self._records(batch, floor if moved else None, tombstones), offsets)
        except CommitFailed as failure:
            self._blame(batch, failure)
            raise
        if offsets:
            self.committed_offset = floor
        self._committed(batch, floor, tombstones, ends)
        self.lease.renew(issued_at)
        self._emit(LedgerCommitted(self.place.tickets.partition, len(batch), self._clock.monotonic() - issued_at))

    def _gather(self) -> list[Entry]:
        """The next batch: bounded in number and bytes; a suspect entry goes alone."""
        batch: list[Entry] = []
        size = 0
        while self._pending and len(batch) < _MAX_BATCH_ENTRIES and size < _MAX_BATCH_BYTES:
            if self._pending[0].must_go_alone and batch:
                break
            entry = self._pending.popleft()
            if entry.durable.cancelled() and not entry.settles:
                continue
            batch.append(entry)
            size += entry.size()
            if entry.must_go_alone:
                break
        return batch

    def _records(self, batch: Iterable[Entry], floor: int | None, tombstones: Iterable[str]) -> Iterable[OutRecord]:
        for key in tombstones:
            yield self._state_record(key, None)
        for entry in batch:
            yield from entry.records
            if entry.encoded is not None:
                yield self._state_record(entry.key, entry.encoded)
            for fact in entry.facts:
                yield self._state_record(*encode_fact(fact))
        if floor is not None:
            yield self._state_record(*encode_fact(floor))

    def _state_record(self, key: str, value: bytes | None) -> OutRecord:
        return OutRecord(self.place.state.topic, value, key.encode(), partition=self.place.state.partition)

    def _committed(
        self, batch: list[Entry], floor: int, tombstones: list[str], ends: dict[TopicPartition, int]
    ) -> None:
        states = self.states
        self._in_flight = []
        states.floor = floor
        states.position = ends.get(self.place.state, states.position)
        for key in tombstones:
            states.forget(key)
        for entry in batch:
            for fact in entry.facts:
                if isinstance(fact, Owner):
                    states.owner = fact
                elif isinstance(fact, Meta):
                    states.meta = fact
            if entry.state is not None:
                states.put(entry.key, entry.state)
            if not entry.durable.done():
                entry.durable.set_result(None)

    def _blame(self, batch: list[Entry], failure: CommitFailed) -> None:
        """A batch refused for what is in it is tried again entry by entry; one refused alone is at fault."""
        if not failure.blames_records:
            return
        if len(batch) == 1 and not batch[0].durable.done():
            batch[0].durable.set_exception(JournalError(f"refused by Kafka: {failure}"))
            return
        for entry in batch:
            entry.must_go_alone = True

    def _due_offsets(self, floor: int, *, idle: bool) -> dict[TopicPartition, int]:
        """The group's offset follows the floor, with a little delay while there is much to do."""
        if floor == self.committed_offset:
            return {}
        now = self._clock.monotonic()
        if now < self._offsets_due and not idle:
            return {}
        self._offsets_due = now + _OFFSET_INTERVAL
        return {self.place.tickets: floor}

    def _due_tombstones(self) -> list[str]:
        now = self._clock.monotonic()
        if now < self._tombstones_due:
            return []
        keys = self.states.forgettable(self._clock.now_ms() - self._retention_ms, _TOMBSTONES_A_BATCH)
        if len(keys) < _TOMBSTONES_A_BATCH:
            self._tombstones_due = now + _TOMBSTONE_INTERVAL
        return keys
