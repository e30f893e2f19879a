"""The group consumer: polls fairly, holds partitions back when there is too much, follows rebalances."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata

from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.partition import Partition
from worker_agents.kafka.tasks import cancelled, give_up_after
from worker_agents.model.clock import Clock
from worker_agents.model.errors import KafkaRefused
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import Emit, KafkaTrouble, Rebalanced

_POLL_TIMEOUT_MS = 200
_RECORDS_A_POLL = 500
# Taking a record in costs a tenth of a millisecond or two; a transaction takes dozens of turns of the loop meanwhile.
_RECORDS_A_TURN = 50
_LEDGER_PAUSE = 0.05
_RETRY_DELAY = 0.5
_LEAVE_LIMIT = 10.0
# Only an administrator mends it; the start has checked that nothing was missing (``permissions``).
_FORBIDDEN_DELAY = 5.0
# A member learns of a rebalance by its next heartbeat only: partitions that were handed over lie idle until then.
_LONGEST_HEARTBEAT = 1.0
# The ends of partitions that are held back are asked for so often; reading tells those of all others.
_END_SECONDS = 5.0


Room = Callable[[float], Awaitable[bool]]
"""Waits up to so many seconds until more records may be taken in, and says whether they may."""


@struct
class ConsumerConfig:
    """Times are seconds. ``hand_over_limit`` bounds the revoke callback."""

    connection: KafkaConnection
    group_id: str
    tickets_topic: str
    session_timeout: float
    hand_over_limit: float


def heartbeat_interval(session_timeout: float) -> float:
    """Seconds between heartbeats: ten in a short session, and never so rare that a hand-over waits for long."""
    return min(session_timeout / 10, _LONGEST_HEARTBEAT)


class TicketConsumer(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka has no types
    """Feeds the partitions that the group assigns to this worker.

    aiokafka's rebalance is eager: every partition is revoked and most are given again. So a revocation cancels
    nothing; what does not come back in the next assignment is closed.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        partition: Callable[[int, TicketConsumer], Partition],
        room: Room,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self.partitions: dict[int, Partition] = {}
        self.polled_at = clock.monotonic()
        self.joined = False
        self._config = config
        self._new_partition = partition
        self._room = room
        self._has_room = True
        self._clock = clock
        self._emit = emit
        self._consumer = AIOKafkaConsumer(
            **config.connection.options(),
            group_id=config.group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=(StickyPartitionAssignor,),
            session_timeout_ms=int(config.session_timeout * 1000),
            heartbeat_interval_ms=int(heartbeat_interval(config.session_timeout) * 1000),
            rebalance_timeout_ms=int(config.session_timeout * 1000),
            fetch_max_wait_ms=_POLL_TIMEOUT_MS,
        )
        self._stable = asyncio.Event()
        self._quiet = False
        self._stopping = False
        self._turn = 0
        # Commits and rebalance callbacks exclude each other: aiokafka reads the generation only when it sends.
        self._membership = asyncio.Lock()

    async def start(self) -> None:
        await self._consumer.start()
        self._consumer.subscribe([self._config.tickets_topic], listener=self)

    async def run(self) -> None:
        """Poll until :meth:`stop` is called. A topic that was forbidden meanwhile may be allowed again.

        Raises :class:`KafkaRefused` when the group is forbidden: aiokafka's heartbeat never comes back from that.
        """
        asking = asyncio.create_task(self._ask_for_ends(), name="ends")
        try:
            await self._poll_on()
        finally:
            await cancelled(asking)

    async def _poll_on(self) -> None:
        while not self._stopping:
            try:
                await self._poll()
            except GroupAuthorizationFailedError as error:
                raise KafkaRefused(
                    f"Kafka does not allow this client Read on group {self._config.group_id!r} any more"
                ) from error
            except KafkaError as error:
                self._emit(KafkaTrouble("polling", str(error)))
                forbidden = isinstance(error, TopicAuthorizationFailedError)
                await self._clock.sleep(_FORBIDDEN_DELAY if forbidden else _RETRY_DELAY)

    def quiet(self) -> None:
        """Take no more records, but keep polling: the membership depends on it."""
        self._quiet = True

    async def hand_over(self, why: str) -> None:
        """Close all partitions in good order; what still runs is cancelled with ``why``."""
        async with self._membership:
            closing = list(self.partitions.values())
            self.partitions.clear()
            limit = self._config.hand_over_limit
            await asyncio.gather(*(partition.close(why, hand_over_limit=limit) for partition in closing))

    async def stop(self) -> None:
        """Leave the group and end :meth:`run`."""
        self._stopping = True
        await give_up_after(_LEAVE_LIMIT, self._consumer.stop())

    def lag(self, partition: Partition) -> int | None:
        """Offsets from the floor to the last known end of a partition, those of open transactions included.

        Where everything that was read is settled, what the consumer has passed behind it is no lag: markers of transactions.
        """
        if not self._is_assigned(partition.tickets):
            return None
        tracker, unread = partition.ledger.tracker, partition.unread
        begin = tracker.watermark() if tracker.unsettled else max(tracker.watermark(), unread.position)
        ends = [end for end in (self._consumer.highwater(partition.tickets), unread.end) if end is not None]
        return max(max(ends) - begin, 0) if ends else None

    # --- polling -------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        # A short lack of room is waited out: aiokafka drops what it has fetched of a partition that is paused.
        self._has_room = await self._room(_POLL_TIMEOUT_MS / 1000)
        self._hold_back()
        open_ones = [partition for partition in self.partitions.values() if partition.takes_records]
        reading = [partition for partition in open_ones if not partition.is_behind]
        epochs = {partition.tickets: partition.epoch for partition in reading}
        if open_ones and not reading:
            await self._clock.sleep(_LEDGER_PAUSE)
            return
        if self._takes_more():
            batches = await self._next_batches(list(epochs))
        else:
            batches = await self._getmany([], timeout_ms=0 if not self._has_room else _POLL_TIMEOUT_MS)
        self.polled_at = self._clock.monotonic()
        await self._deliver(batches, epochs)
        if self._takes_more():
            await self._note_progress(batches, epochs)

    async def _deliver(
        self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]], epochs: Mapping[TopicPartition, int]
    ) -> None:
        """A few records at a time: the ledgers, heartbeats and tasks take their turns in between."""
        for tp, records in batches.items():
            for start in range(0, len(records), _RECORDS_A_TURN):
                partition = self.partitions.get(tp.partition)
                if partition is None or tp not in epochs:
                    break
                partition.deliver(records[start : start + _RECORDS_A_TURN], epochs[tp])
                await asyncio.sleep(0)

    async def _note_progress(
        self, batches: Mapping[TopicPartition, Sequence[ConsumerRecord]], epochs: Mapping[TopicPartition, int]
    ) -> None:
        """How far the partitions that were read have come, and how far they go, for whoever counts what is unread."""
        for tp, epoch in epochs.items():
            position = await self._position(tp)
            partition = self.partitions.get(tp.partition)
            if position is None or partition is None or partition.epoch != epoch:
                continue
            partition.unread.passed(position, len(batches.get(tp, ())))
            if (end := self._consumer.last_stable_offset(tp)) is not None:
                partition.unread.ends_at(end, self.polled_at)

    async def _position(self, tp: TopicPartition) -> int | None:
        """Where the consumer stands: behind the last record that it gave, and markers that follow; ``None`` where it looks for that itself.

        That may take long, and nobody is in need of it.
        """
        with contextlib.suppress(TimeoutError, IllegalStateError):
            async with asyncio.timeout(0):
                return int(await self._consumer.position(tp))
        return None

    async def _ask_for_ends(self) -> None:
        """Of what is not read just now, for lack of room: only reading would tell how much comes meanwhile."""
        while True:
            await self._clock.sleep(_END_SECONDS)
            known_at = self._clock.monotonic() - _END_SECONDS
            held_back = {p.tickets: p for p in self.partitions.values() if p.unread.end_known_at < known_at}
            try:
                ends = await self._consumer.end_offsets(list(held_back)) if held_back else {}
            except KafkaError:
                continue  # polling and the ledgers tell of it
            for tp, end in ends.items():
                held_back[tp].unread.ends_at(int(end), self._clock.monotonic())

    async def _next_batches(self, tps: list[TopicPartition]) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What is there already, partition by partition in turn; else wait a moment for anything.

        One ``getmany`` for all would drain the first partition before it looks at the second.
        """
        self._turn += 1
        start = self._turn % len(tps) if tps else 0
        share = max(_RECORDS_A_POLL // max(len(tps), 1), 20)
        batches: dict[TopicPartition, list[ConsumerRecord]] = {}
        for tp in tps[start:] + tps[:start]:
            batches |= await self._consumer.getmany(tp, timeout_ms=0, max_records=share)
        return batches or await self._getmany(tps, share)

    async def _getmany(
        self, tps: Iterable[TopicPartition], limit: int = _RECORDS_A_POLL, timeout_ms: int = _POLL_TIMEOUT_MS
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        # Never cancelled, always short: a cancelled getmany leaves aiokafka's idle counter up for ever.
        batches: dict[TopicPartition, list[ConsumerRecord]] = await self._consumer.getmany(
            *tps, timeout_ms=timeout_ms, max_records=limit
        )
        return batches

    def _takes_more(self) -> bool:
        return not self._quiet and self._has_room

    def _hold_back(self) -> None:
        """Pause what must not be read now; aiokafka forgets pauses at every rebalance."""
        takes_more = self._takes_more()
        paused = self._consumer.paused()
        for tp in self._consumer.assignment():
            partition = self.partitions.get(tp.partition)
            wanted = takes_more and partition is not None and partition.takes_records
            if wanted and tp in paused:
                self._consumer.resume(tp)
            elif not wanted and tp not in paused:
                self._consumer.pause(tp)

    # --- rebalances (called by aiokafka) -------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 # it is all
        self._stable.clear()
        async with self._membership:
            limit = self._config.hand_over_limit
            await asyncio.gather(*(partition.revoking(limit) for partition in self.partitions.values()))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        async with self._membership:
            numbers = {tp.partition for tp in assigned}
            for tp in assigned:
                self._consumer.pause(tp)
            lost = [self.partitions.pop(number) for number in list(self.partitions) if number not in numbers]
            self._emit(Rebalanced(len(numbers), len(numbers - self.partitions.keys()), len(lost)))
            for number in sorted(numbers if not self._quiet else ()):
                if number not in self.partitions:
                    self.partitions[number] = self._new_partition(number, self)
                self.partitions[number].assigned()
            self.joined = True
            self._stable.set()
            await asyncio.gather(*(partition.close("partition_revoked") for partition in lost))

    # --- what partitions ask (kafka.partition.Group) -------------------------------------------------------------

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._consumer.seek(tp, offset)

    async def bounds(self, tp: TopicPartition) -> tuple[int, int, int | None]:
        beginning = await self._consumer.beginning_offsets([tp])
        end = await self._consumer.end_offsets([tp])
        return int(beginning[tp]), int(end[tp]), await self._consumer.committed(tp)

    async def prove_membership(self, tp: TopicPartition, floor: int | None) -> None:
        """Commit the floor again: the group answers only its current members.

        The floor is the truth, so it is harmless; where it is not known, what is committed is committed again. A member that was left behind waits here for its next assignment,
        or is closed by it.
        """
        while True:
            await self._stable.wait()
            try:
                async with self._membership:
                    if self._stable.is_set() and self._is_assigned(tp):
                        offset = await self._start_of(tp) if floor is None else floor
                        await self._consumer.commit({tp: OffsetAndMetadata(offset, "")})
                        return
            except (CommitFailedError, IllegalStateError):
                pass  # a rebalance is coming, and with it the next assignment or the partition's end
            except KafkaError as error:
                self._emit(KafkaTrouble(f"proving the membership of partition {tp.partition}", repr(error)))
            await self._clock.sleep(_RETRY_DELAY)

    async def _start_of(self, tp: TopicPartition) -> int:
        beginning, _, committed = await self.bounds(tp)
        return beginning if committed is None else committed

    def _is_assigned(self, tp: TopicPartition) -> bool:
        return tp in self._consumer.assignment()
