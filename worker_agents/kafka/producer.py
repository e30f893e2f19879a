"""One transactional producer, and all that has to be known about aiokafka's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidMessageError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from worker_agents.kafka.codec import OutRecord
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.tasks import give_up_after

TRANSACTION_TIMEOUT = 10.0
"""Seconds after which the broker aborts a transaction whose owner went silent."""

COMMIT_LIMIT = 8.0
"""Seconds that the ledger itself gives a transaction: aiokafka's transactional sends never expire by themselves."""

_MAX_BATCH_BYTES = 900_000
_MAX_REQUEST_BYTES = 8 * 1024 * 1024
_DISCARD_LIMIT = 3.0
_BACKOFF_MS = 20

# A transactional client answers state errors with assertions (``TransactionManager._transition_to``).
PRODUCER_ERRORS = (KafkaError, AssertionError, TimeoutError, OSError)


class CommitFailed(Exception):
    """A transaction did not commit, or may have: the producer is finished and the partition must be re-opened.

    ``blames_records`` is true when the broker refused a record for what it is, so that a smaller batch could pass.
    """

    def __init__(self, cause: BaseException) -> None:
        # aiokafka's sender wraps what it did not expect, an expired transactional id for example, in "Unexpected error".
        told = cause.__cause__ if type(cause) is KafkaError and cause.__cause__ is not None else cause
        super().__init__(f"{type(told).__name__}: {told}")
        self.is_fenced = isinstance(cause, ProducerFenced)
        self.blames_records = isinstance(
            cause, MessageSizeTooLargeError | RecordListTooLargeError | InvalidMessageError
        )


class TransactionalProducer:
    """A producer that writes batches of records, each as one transaction."""

    def __init__(self, connection: KafkaConnection, transactional_id: str, group: str) -> None:
        self._group = group
        self._producer = AIOKafkaProducer(
            **connection.options(),
            transactional_id=transactional_id,
            transaction_timeout_ms=int(TRANSACTION_TIMEOUT * 1000),
            max_batch_size=_MAX_BATCH_BYTES,
            max_request_size=_MAX_REQUEST_BYTES,
            retry_backoff_ms=_BACKOFF_MS,
        )

    async def start(self) -> None:
        """Fence whoever used this transactional id before, and wait until their transaction is decided."""
        await self._producer.start()

    async def partitions_of(self, topic: str) -> set[int]:
        """Numbers of a topic's partitions. Raises an aiokafka error for a topic that does not exist."""
        partitions: set[int] = await self._producer.partitions_for(topic)
        return partitions

    async def commit(
        self, records: Iterable[OutRecord], offsets: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Write ``records`` and commit ``offsets`` as one transaction.

        Returns, for each partition written to, the offset after the last record. Raises :class:`CommitFailed`;
        whether anything was committed is then unknown.
        """
        try:
            async with asyncio.timeout(COMMIT_LIMIT):
                return await self._commit(records, offsets)
        except PRODUCER_ERRORS as error:
            raise CommitFailed(error) from error

    async def _commit(
        self, records: Iterable[OutRecord], offsets: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        producer = self._producer
        await producer.begin_transaction()
        sends: list[asyncio.Future[object]] = []
        ends: dict[TopicPartition, int] = {}
        for tp, batches in self._batches(records).items():
            for batch in batches:
                sent = await producer.send_batch(batch, tp.topic, partition=tp.partition)
                sent.add_done_callback(_note_end(ends, tp, batch.record_count()))
                sends.append(sent)
        if offsets:
            await producer.send_offsets_to_transaction(dict(offsets), self._group)
        # Every send is awaited before the commit: a failed batch does not poison aiokafka's transaction.
        await asyncio.gather(*sends)
        await producer.commit_transaction()
        return ends

    def _batches(self, records: Iterable[OutRecord]) -> dict[TopicPartition, list[BatchBuilder]]:
        batches: dict[TopicPartition, list[BatchBuilder]] = {}
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            queue = batches.get(tp)
            if queue is None:
                queue = batches[tp] = [self._producer.create_batch()]
            if _append(queue[-1], record) is None:
                queue.append(self._producer.create_batch())
                _append(queue[-1], record)
        return batches

    async def discard(self) -> None:
        """Give the producer up without waiting for what it still holds.

        aiokafka's own ``stop`` waits for undelivered batches, and transactional ones never expire: they are failed
        and the sender is ended first. Nothing they hold can become visible, as nobody commits it.
        """
        producer = self._producer
        sender = producer._sender  # noqa: SLF001 # aiokafka has no public way to give a producer up
        if sender.sender_task is not None and not sender.sender_task.done():
            producer._message_accumulator.fail_all(ProducerFenced())  # noqa: SLF001 # as above
            sender.sender_task.cancel()
        # Closing the connections first lets the sender's requests in flight fail at once.
        await give_up_after(_DISCARD_LIMIT, producer.client.close())
        await give_up_after(_DISCARD_LIMIT, producer.stop())
        producer._closed = True  # noqa: SLF001 # or its __del__ complains

    async def stop(self) -> None:
        """End an idle producer in good order."""
        await give_up_after(_DISCARD_LIMIT, self._producer.stop())


def _append(batch: BatchBuilder, record: OutRecord) -> object:
    return batch.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers))


def _note_end(
    ends: dict[TopicPartition, int], tp: TopicPartition, count: int
) -> Callable[[asyncio.Future[object]], None]:
    def note(sent: asyncio.Future[object]) -> None:
        if not sent.cancelled() and sent.exception() is None:
            base: int = getattr(sent.result(), "offset", -1)
            ends[tp] = max(ends.get(tp, 0), base + count)

    return note
