"""One assigned partition: opened, kept through rebalances, suspended on trouble, closed when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from aiokafka import ConsumerRecord, TopicPartition

from worker_agents.dispatch.job import Job
from worker_agents.dispatch.journal import Journal
from worker_agents.kafka.codec import Owner
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.journal import LedgerJournal, RecordFormat
from worker_agents.kafka.ledger import Entry, Lease, LedgerPlace, PartitionLedger
from worker_agents.kafka.offsets import OffsetTracker
from worker_agents.kafka.producer import COMMIT_LIMIT, CommitFailed, TransactionalProducer
from worker_agents.kafka.restore import StateReader
from worker_agents.kafka.tasks import cancelled, until_first_ends
from worker_agents.kafka.unread import Density, Unread, unfinished
from worker_agents.model.clock import Clock
from worker_agents.model.state import TicketState
from worker_agents.model.structs import struct
from worker_agents.model.ticket import Envelope
from worker_agents.telemetry.events import (
    Emit,
    LeaseExpired,
    LedgerFailed,
    OffsetsReset,
    PartitionClosed,
    PartitionNotOpened,
    PartitionOpened,
    PartitionOpening,
    PartitionRetained,
    StateReadWaits,
    StateUnreadable,
)

# Entries: two full batches of the ledger.
_MAX_BACKLOG = 4_000
_REOPEN_DELAYS = (0.2, 1.0, 3.0, 10.0)


class PartitionPhase(StrEnum):
    OPENING = "opening"
    OPEN = "open"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class NotOpenable(Exception):
    """The partition must not be opened as things are; the message is a sentence for the operator."""


class Lane(Protocol):
    """The dispatch side of a partition: its tickets, from arrival to settlement."""

    @property
    def jobs(self) -> Mapping[str, Job]:
        """Its unsettled tickets, by id."""
        ...

    def accept(self, envelope: Envelope) -> None:
        """Take a record in. Its receipt is settled through the journal sooner or later."""
        ...

    def quiet(self) -> None:
        """Start nothing new; what runs goes on."""
        ...

    async def suspend(self) -> None:
        """Start nothing new and forget what has not begun: the ledger is in trouble, and it will be read again."""
        ...

    def wake(self) -> None:
        """Start new work again."""
        ...

    async def reconcile(self) -> Collection[str]:
        """After a restore: keep running tickets whose state is still this worker's, drop all others.

        Returns the ids of those kept.
        """
        ...

    async def stop(self, why: str) -> int:
        """Cancel and drop everything; returns how many running tickets were given up."""
        ...

    def running(self) -> int: ...

    def close(self) -> None:
        """The partition is gone for good."""
        ...


class LaneFactory(Protocol):
    def __call__(self, journal: Journal) -> Lane: ...


class Group(Protocol):
    """What a partition asks of the consumer group."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Read on from there. Raises an aiokafka error when the partition is not assigned (any more)."""
        ...

    async def bounds(self, tp: TopicPartition) -> tuple[int, int, int | None]:
        """First offset, end offset and the group's committed offset of a partition."""
        ...

    async def prove_membership(self, tp: TopicPartition, floor: int | None) -> None:
        """Return when the group has confirmed, after this call, that the partition belongs to this member."""
        ...


@struct
class PartitionConfig:
    """What all partitions of a worker share. Times are seconds."""

    connection: KafkaConnection
    group_id: str
    tickets_topic: str
    state_topic: str
    worker: str
    records: RecordFormat
    lease_limit: float
    lease_interval: float
    dedup_retention: float
    url: str = ""


class Partition:
    """Drives one partition from its assignment to its loss (design §3, "Opening a partition").

    ``epoch`` changes whenever reading starts over: records polled under an earlier epoch are discarded.
    """

    def __init__(
        self,
        number: int,
        config: PartitionConfig,
        group: Group,
        lanes: LaneFactory,
        *,
        density: Density,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self.number = number
        self.tickets = TopicPartition(config.tickets_topic, number)
        self.phase = PartitionPhase.OPENING
        self.epoch = 0
        self.why_not_open = ""
        self._config = config
        self._group = group
        self._clock = clock
        self._emit = emit
        self._state = TopicPartition(config.state_topic, number)
        self.lease = Lease(config.lease_limit, clock)
        self.ledger = PartitionLedger(
            LedgerPlace(config.group_id, self.tickets, self._state),
            self.lease,
            clock,
            emit,
            dedup_retention=config.dedup_retention,
        )
        self.unread = Unread(density)
        self.lane = lanes(LedgerJournal(self.ledger, config.records, config.worker, self.number, clock))
        self._revoked = False
        self._handed_over = False
        self._producer: TransactionalProducer | None = None
        self._driver: asyncio.Task[None] | None = None
        self._retaining: asyncio.Task[None] | None = None
        self._lease_lost = asyncio.Event()
        self._lease_watch = asyncio.create_task(self._watch_lease(), name=f"lease-{number}")

    @property
    def takes_records(self) -> bool:
        return self.phase is PartitionPhase.OPEN and not self._revoked

    @property
    def is_behind(self) -> bool:
        """Whether the ledger has so much to write that nothing more should be taken in for now.

        Tickets that only wait take up no room in dispatch: nothing else would slow their intake down, until the lease expires.
        """
        return self.ledger.backlog > _MAX_BACKLOG

    def unfinished(self) -> int | None:
        """How many tickets run, wait for a slot, or were not read yet.

        ``None`` while this worker cannot prove that the partition is its own: another one may count them.
        """
        if not self.lease.is_fresh():
            return None
        return unfinished(self.ledger.tracker, self.unread, self.lane.jobs, self.ledger.states.active)

    # --- what the consumer tells ---------------------------------------------------------------------------------

    def assigned(self) -> None:
        """The group gave the partition to this worker, for the first time or again."""
        self._revoked = False
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive(), name=f"partition-{self.number}")
        elif self.phase is PartitionPhase.OPEN:
            self._revoked = True  # until the ledger has shown that nobody else owned it in between
            self._retaining = asyncio.create_task(self._retain(), name=f"retain-{self.number}")

    async def revoking(self, limit: float) -> None:
        """The group is about to re-distribute its partitions: intake stops, running tickets go on.

        Marks the hand-over within ``limit`` seconds, before the group can give the partition to anyone else.
        """
        self._revoked = True
        self.epoch += 1
        self.lane.quiet()
        await cancelled(self._retaining)
        if self.phase is PartitionPhase.OPEN:
            await self._hand_over(limit)
        else:
            await cancelled(self._driver)

    def deliver(self, records: Sequence[ConsumerRecord], epoch: int) -> None:
        """Pass polled records on, unless reading has started over since they were polled."""
        if epoch != self.epoch or not self.takes_records:
            return
        begin, accept = self.ledger.tracker.begin, self.lane.accept
        for record in records:
            if begin(record.offset):
                accept(Envelope(record.offset, record.value, record.key, record.headers, record.timestamp))

    async def close(self, why: str, *, hand_over_limit: float | None = None) -> None:
        """Give the partition up: running tickets are cancelled with ``why``, unsettled ones stay so.

        With ``hand_over_limit`` (seconds) it is still ours: the last results are written, and that it was handed over.
        """
        self._revoked = True
        self.epoch += 1
        given_up = await self.lane.stop(why)
        if hand_over_limit is not None and self.phase is PartitionPhase.OPEN:
            await self._write_the_rest(hand_over_limit)
        for task in (self._retaining, self._driver, self._lease_watch):
            await cancelled(task)
        was_open, self.phase = self.phase is PartitionPhase.OPEN, PartitionPhase.CLOSED
        finished = was_open and not self.ledger.backlog
        self.ledger.abandon()
        self.lane.close()
        if self._producer is not None:
            await (self._producer.stop() if finished else self._producer.discard())
            self._producer = None
        self._emit(PartitionClosed(self.number, why, given_up))

    async def _write_the_rest(self, limit: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self.ledger.flushed()
        await self._hand_over(limit)

    async def _hand_over(self, limit: float) -> None:
        self._handed_over = True
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(limit):
                await self.ledger.append_facts(self._owner(handed_over=True))

    def _owner(self, *, handed_over: bool = False) -> Owner:
        return Owner(self._config.worker, self._config.url, handed_over)

    # --- the partition's own life --------------------------------------------------------------------------------

    async def _drive(self) -> None:
        failures = 0
        while True:
            try:
                await self._open()
                failures = 0
                await self._serve()
            except Exception as error:  # noqa: BLE001 # a partition's outermost frame: told, and opened again
                await self._suspend(error)
            await self._clock.sleep(_REOPEN_DELAYS[min(failures, len(_REOPEN_DELAYS) - 1)])
            failures += 1
            await self._group.prove_membership(self.tickets, self.ledger.states.floor)

    async def _serve(self) -> None:
        """Commit what comes and renew the lease, until either fails."""
        assert self._producer is not None
        self._lease_lost.clear()
        await until_first_ends(self.ledger.run(self._producer), self._renew_lease(), self._fail_without_lease())

    async def _renew_lease(self) -> None:
        while True:
            await self._clock.sleep(self._config.lease_interval)
            # Also while the group re-distributes: nobody else can have the partition as long as this succeeds.
            self.ledger.append_facts(self._owner(handed_over=self._handed_over))

    async def _fail_without_lease(self) -> None:
        await self._lease_lost.wait()
        raise CommitFailed(TimeoutError("the lease expired"))

    async def _watch_lease(self) -> None:
        """Stop the partition's tasks once this worker can no longer be sure that they are its own.

        Runs as long as the partition is assigned, whatever its phase: a broker that is gone, a consumer that fell
        out of its group unnoticed and a process that was stopped and continued all look alike from here. While the event
        loop is blocked this watch is too: the supervisors of programs then end them by themselves, after the same time.
        """
        while True:
            fresh = self.lease.is_fresh()
            await self._clock.sleep(max(self.lease.expires_in(), 0.01) if fresh else self._config.lease_interval / 4)
            if self.lease.is_fresh() or not (self.phase is PartitionPhase.OPEN or self.lane.running()):
                continue
            age = self.lease.age()
            self.lane.quiet()
            self._lease_lost.set()
            self._emit(LeaseExpired(self.number, age, await self.lane.stop("lease_expired")))

    async def _suspend(self, error: Exception) -> None:
        """Nothing starts and nothing is published until the partition is open again; what runs goes on."""
        opened = self.phase is PartitionPhase.OPEN
        if not opened:
            # Half an opening may have charged deliveries already: the next one starts from what is written.
            self.ledger.states.clear()
        self.phase = PartitionPhase.SUSPENDED
        self.epoch += 1
        await self.lane.suspend()
        self.why_not_open = str(error)
        self._emit(LedgerFailed(self.number, str(error)) if opened else PartitionNotOpened(self.number, str(error)))
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await producer.discard()

    async def _retain(self) -> None:
        """The group gave the partition back: if the old producer can still write, nobody else owned it meanwhile."""
        self._handed_over = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_LIMIT * 2):
                await self.ledger.append_facts(self._owner())
            self._revoked = False
            self._read_from(self.ledger.tracker.next_offset)
            self._emit(PartitionRetained(self.number, self.lane.running()))

    # --- opening -------------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self.phase, self._handed_over = PartitionPhase.OPENING, False
        self._emit(PartitionOpening(self.number))
        began = self._clock.monotonic()
        self._producer = TransactionalProducer(
            self._config.connection, self.ledger.place.transactional_id, self._config.group_id
        )
        await self._producer.start()
        self._check_state_partition(await self._producer.partitions_of(self._state.topic))
        states = self.ledger.states
        await StateReader(self._config.connection, self._clock).restore(self._state, states, self)
        self._check_meta()
        floor, end = await self._bounds()
        unclean = self._is_unclean()
        charged = self._count_deliveries() if unclean else {}
        kept = await self.lane.reconcile()
        self.ledger.tracker = OffsetTracker(floor, states.settled_offsets(floor))
        self.unread.start(floor, end, self._clock.monotonic())
        self.ledger.reconcile(kept)
        for ticket_id, state in charged.items():
            self.ledger.append(Entry(ticket_id, state))
        self._expire_below(floor, kept)
        # The last to be written: until then the next owner counts what is not counted yet.
        self.ledger.append_facts(self.ledger.place.meta, self._owner())
        await self.ledger.commit_pending(self._producer)
        self.phase, self.why_not_open, self._revoked = PartitionPhase.OPEN, "", False
        self._read_from(floor)
        self._emit(
            PartitionOpened(self.number, floor, len(states.active), len(kept), unclean, self._clock.monotonic() - began)
        )

    def _read_from(self, offset: int) -> None:
        self.epoch += 1
        self._group.seek(self.tickets, offset)
        self.lane.wake()

    def _check_state_partition(self, there_are: Collection[int]) -> None:
        if self.number not in there_are:
            raise NotOpenable(
                f"the state topic {self._state.topic!r} has no partition {self.number}, but {len(there_are)} in all, fewer "
                f"than {self.tickets.topic!r}: expand it to as many"
            )

    def _check_meta(self) -> None:
        meta, ours = self.ledger.states.meta, self.ledger.place.meta
        if meta is not None and meta != ours:
            raise NotOpenable(
                f"the state topic {self._state.topic!r} belongs to group {meta.group!r} and topic "
                f"{meta.tickets_topic!r} (schema {meta.schema}), not to group {ours.group!r} and topic "
                f"{ours.tickets_topic!r} (schema {ours.schema}): set KAFKA_STATE_TOPIC to a topic of its own"
            )

    async def _bounds(self) -> tuple[int, int]:
        """Where to read from, the floor or the group's committed offset where that is later; and the end of the log."""
        beginning, end, committed = await self._group.bounds(self.tickets)
        self.ledger.committed_offset = committed
        floor = self.ledger.states.floor
        if floor is None:
            floor = committed if committed is not None else beginning
        elif committed is not None and committed > floor:
            self._emit(OffsetsReset(self.number, floor, committed))
            floor = committed
        if floor > end:
            raise NotOpenable(
                f"the floor {floor} of partition {self.number} lies above the end {end} of {self.tickets.topic!r}: "
                "the topic was re-created or truncated; delete the state topic's records for it to start anew"
            )
        return max(floor, beginning), end

    def _is_unclean(self) -> bool:
        """Whether the latest owner was lost: it did not hand the partition over in good order."""
        owner = self.ledger.states.owner
        return owner is not None and not owner.handed_over and owner.worker != self._config.worker

    def _count_deliveries(self) -> dict[str, TicketState]:
        """Charge tickets that were under way at the worker that was lost, each death once.

        What an earlier owner had begun, and the lost one had not come to yet, did not kill it. So from now on nobody has begun
        a ticket that is charged; and this must be durable, as this worker may be lost before it comes to them all: two poison
        pills that kill in turn would never be found out.
        """
        owner, states = self.ledger.states.owner, self.ledger.states
        assert owner is not None
        charged = {
            ticket_id: replace(state, delivery=state.delivery + 1, owner="")
            for ticket_id, state in states.active.items()
            if state.has_begun and state.owner == owner.worker
        }
        for ticket_id, state in charged.items():
            states.put(ticket_id, state)
        return charged

    def _expire_below(self, floor: int, kept: Collection[str]) -> None:
        """Settle what can never be read again: retention removed its record, or an operator skipped it."""
        for ticket_id, state in self._unreadable_below(floor, kept):
            self.ledger.append(self._config.records.expired(ticket_id, state, self.number, self._clock.now_ms()))

    def _unreadable_below(self, floor: int, kept: Collection[str]) -> list[tuple[str, TicketState]]:
        active = self.ledger.states.active.items()
        return [(key, state) for key, state in active if state.offset < floor and key not in kept]

    # --- what the reader of the state tells (kafka.restore.Watcher) ----------------------------------------------

    def unreadable(self, key: str, problem: str) -> None:
        self._emit(StateUnreadable(self.number, key, problem))

    def waits(self, position: int, end: int) -> None:
        self._emit(StateReadWaits(self.number, position, end))
