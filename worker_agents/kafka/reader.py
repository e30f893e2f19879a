"""Reading topics as an onlooker: without a group, committed records only. For the command line and the demo."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    StaleMetadata,
    TopicAuthorizationFailedError,
)

from worker_agents.kafka.codec import Headers
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.model.errors import KafkaRefused, KafkaUnreachable, WorkerAgentsError
from worker_agents.model.structs import struct

_POLL_MS = 200
_SILENCE_SECONDS = 15.0
_FETCH_BYTES = 4 * 1024 * 1024
# A transaction leaves a marker of its own in every partition that it writes to, and some are aborted.
_OFFSETS_A_RECORD = 4


@struct
class Record:
    """A record as it lies in its topic. ``timestamp`` is epoch milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    def header(self, name: str) -> str | None:
        """The last header of that name as text: whoever dead-letters a record again appends."""
        for key, value in reversed(self.headers):
            if key == name and value is not None:
                return value.decode(errors="replace")
        return None


class TopicReader:
    """Reads all partitions of some topics; ``topics`` says how many each has.

    ``records_a_turn`` is how many are decoded at once, before others in the event loop have their turn; by default all that came.

    ::

        async with TopicReader(connection, {"execution.results": 6}) as reader:
            await reader.to_beginning()
            async for record in reader.existing(): ...   # up to the end as it was at the call
            async for record in reader.following(): ...  # what comes after, for ever

    Every method raises :class:`KafkaUnreachable` when no broker answers. Records of one partition come in order; those
    of different partitions do not.
    """

    def __init__(
        self, connection: KafkaConnection, topics: Mapping[str, int], records_a_turn: int | None = None
    ) -> None:
        self._connection = connection
        self._records_a_turn = records_a_turn
        self._partitions = [TopicPartition(topic, number) for topic, count in topics.items() for number in range(count)]

    async def __aenter__(self) -> Self:
        # Made here: aiokafka's clients belong to a running loop.
        self._consumer = AIOKafkaConsumer(
            **self._connection.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        try:
            with kafka_errors_told(self._connection):
                await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        self._consumer.assign(self._partitions)
        # aiokafka's stop() raises CancelledError when a task of its own was not even begun.
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def to_beginning(self) -> None:
        with kafka_errors_told(self._connection):
            self._seek(await self._consumer.beginning_offsets(self._partitions))

    async def to_end(self) -> None:
        with kafka_errors_told(self._connection):
            self._seek(await self._consumer.end_offsets(self._partitions))

    async def to_tail(self, count: int) -> bool:
        """Stand before about ``count`` records of each partition. Returns whether there are others before those."""
        starts, tail = await self._tail(count)
        self._seek(tail)
        return tail != starts

    async def latest(self, count: int) -> list[Record]:
        """At least the ``count`` newest records by time, oldest first; then it stands at the end."""
        starts, tail = await self._tail(count)
        self._seek(tail)
        records = [record async for record in self.existing()]
        if not _is_enough(records, count, {tp for tp in tail if tail[tp] > starts[tp]}):
            self._seek(starts)
            records = [record async for record in self.existing()]
        return sorted(records, key=lambda record: record.timestamp)

    async def existing(self) -> AsyncIterator[Record]:
        """What is there, from where the reader stands to the end as it is now."""
        with kafka_errors_told(self._connection):
            ends = await self._consumer.end_offsets(self._partitions)
        waiting = {tp for tp in self._partitions if await self._position(tp) < ends[tp]}
        heard_at = time.monotonic()
        while waiting:
            batches = await self._poll()
            for tp, records in batches.items():
                for record in records:
                    yield _record(record)
                if tp in waiting:
                    heard_at = time.monotonic()
            waiting = {tp for tp in waiting if await self._position(tp) < ends[tp]}
            if waiting and time.monotonic() - heard_at > _SILENCE_SECONDS:
                raise KafkaUnreachable(
                    f"{self._connection.bootstrap_servers} stopped answering: nothing came for {_SILENCE_SECONDS:.0f} s"
                )

    async def following(self) -> AsyncIterator[Record]:
        """Every record from where the reader stands, as it arrives. Outages are sat out."""
        while True:
            for records in (await self._poll()).values():
                for record in records:
                    yield _record(record)

    async def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at that place, ``None`` when there is none (any more)."""
        tp = TopicPartition(topic, partition)
        if tp not in self._partitions:
            return None
        with kafka_errors_told(self._connection):
            start = (await self._consumer.beginning_offsets([tp]))[tp]
            end = (await self._consumer.end_offsets([tp]))[tp]
        if not start <= offset < end:
            return None
        self._consumer.assign([tp])
        self._consumer.seek(tp, offset)
        self._partitions = [tp]
        async for record in self.existing():
            return record if record.offset == offset else None
        return None

    async def _tail(self, count: int) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Where each partition begins, and where about ``count`` records of it are left."""
        with kafka_errors_told(self._connection):
            starts = dict(await self._consumer.beginning_offsets(self._partitions))
            ends = await self._consumer.end_offsets(self._partitions)
        return starts, {tp: max(starts[tp], ends[tp] - count * _OFFSETS_A_RECORD) for tp in self._partitions}

    def _seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        for tp, offset in offsets.items():
            self._consumer.seek(tp, offset)

    async def _position(self, tp: TopicPartition) -> int:
        return int(await self._consumer.position(tp))

    async def _poll(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        if self._records_a_turn is not None:
            await asyncio.sleep(0)
        with kafka_errors_told(self._connection):
            return dict(await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=self._records_a_turn))


def _is_enough(records: list[Record], count: int, cut: set[TopicPartition]) -> bool:
    """Whether every partition that was not read from its beginning gave enough by itself."""
    found = dict.fromkeys(cut, 0)
    for record in records:
        tp = TopicPartition(record.topic, record.partition)
        if tp in found:
            found[tp] += 1
    return all(number >= count for number in found.values())


def _record(record: ConsumerRecord) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )


@contextmanager
def kafka_errors_told(connection: KafkaConnection) -> Iterator[None]:
    """Turn aiokafka's errors into ours: no broker is :class:`KafkaUnreachable`, a forbidden topic :class:`KafkaRefused`.

    The rest says what Kafka said.
    """
    try:
        yield
    except (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, StaleMetadata, OSError) as error:
        raise KafkaUnreachable(
            f"no Kafka broker answered at {connection.bootstrap_servers} ({error}); check KAFKA_BOOTSTRAP_SERVERS"
        ) from error
    except TopicAuthorizationFailedError as error:
        raise KafkaRefused(
            f"Kafka does not allow this client to do that: {error}; grant it to its principal"
        ) from error
    except KafkaError as error:
        raise WorkerAgentsError(f"Kafka refused: {error}") from error
