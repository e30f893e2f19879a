"""Reading a state partition back into its map."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from worker_agents.kafka.codec import StateRecordInvalid
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.producer import TRANSACTION_TIMEOUT
from worker_agents.kafka.state import TicketStates
from worker_agents.model.clock import Clock

# The broker looks for timed-out transactions every ten seconds by default.
_BROKER_ABORT_INTERVAL = 10.0
_PATIENCE = 2 * (TRANSACTION_TIMEOUT + _BROKER_ABORT_INTERVAL)
# Transactions of other ledgers last milliseconds: what takes longer is worth a line in the log.
_NOTICED_AFTER = 1.0
_FETCH_BYTES = 8 * 1024 * 1024


class Watcher(Protocol):
    """Is told what is odd about the state that is read."""

    def unreadable(self, key: str, problem: str) -> None: ...

    def waits(self, position: int, end: int) -> None:
        """Reading cannot go on from ``position`` for now, as a transaction is open there."""
        ...


class RestoreStuck(Exception):
    """The state partition cannot be read to its end; the message is a sentence for the operator."""


class StateReader:
    """Reads state partitions. One lives for one opening."""

    def __init__(self, connection: KafkaConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def restore(self, tp: TopicPartition, states: TicketStates, watcher: Watcher) -> None:
        """Bring ``states`` from its position up to the end of ``tp``, as of now.

        The end is the ``read_uncommitted`` one: the stable end can be short of what was committed already, when
        another transaction is still open below it. Raises :class:`RestoreStuck` when the stable end does not get
        there within the time in which the broker aborts forgotten transactions.
        """
        end = await self._end(tp)
        async with _opened(self._consumer("read_committed")) as consumer:
            consumer.assign([tp])
            start = await self._start(consumer, tp, states, end)
            consumer.seek(tp, start)
            await self._read(consumer, tp, states, end, watcher)
        states.position = end

    async def _end(self, tp: TopicPartition) -> int:
        async with _opened(self._consumer("read_uncommitted")) as consumer:
            return int((await consumer.end_offsets([tp]))[tp])

    @staticmethod
    async def _start(consumer: AIOKafkaConsumer, tp: TopicPartition, states: TicketStates, end: int) -> int:
        """Where to go on; from the beginning when the position does not belong to this log (any more)."""
        beginning = int((await consumer.beginning_offsets([tp]))[tp])
        if beginning <= states.position <= end:
            return states.position
        states.clear()
        return beginning

    async def _read(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, states: TicketStates, end: int, watcher: Watcher
    ) -> None:
        progressed_at, told = self._clock.monotonic(), False
        position = await consumer.position(tp)
        while position < end:
            records = (await consumer.getmany(tp, timeout_ms=200)).get(tp, [])
            for number, record in enumerate(records, 1):
                _apply(record, states, watcher)
                if not number % 1_000:
                    await asyncio.sleep(0)
            reached = await consumer.position(tp)
            if reached > position:
                position, progressed_at, told = reached, self._clock.monotonic(), False
                continue
            waited = self._clock.monotonic() - progressed_at
            if waited > _PATIENCE:
                raise RestoreStuck(
                    f"{tp.topic}-{tp.partition} can be read to offset {position} of {end} only: a transaction is open "
                    f"there and was not ended for {_PATIENCE:.0f} s (see kafka-transactions.sh find-hanging)"
                )
            if waited > _NOTICED_AFTER and not told:
                told = True
                watcher.waits(position, end)

    def _consumer(self, isolation_level: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._connection.options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=isolation_level,
            fetch_max_wait_ms=100,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )


def _apply(record: ConsumerRecord, states: TicketStates, watcher: Watcher) -> None:
    try:
        key = (record.key or b"").decode()
    except UnicodeDecodeError:
        watcher.unreadable(repr(record.key), "the key is not UTF-8")
        return
    try:
        states.apply(key, record.value)
    except StateRecordInvalid as error:
        watcher.unreadable(key, str(error))


@asynccontextmanager
async def _opened(consumer: AIOKafkaConsumer) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer; aiokafka's own context manager leaks it when its start fails or is cancelled."""
    try:
        await consumer.start()
        # Stopped before its background tasks have taken their first step, aiokafka's stop() raises CancelledError.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await consumer.stop()
