"""A transactional producer that commits, fails or waits as each test says."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from worker_agents.kafka.codec import OutRecord
from worker_agents.kafka.producer import CommitFailed


@dataclass(frozen=True, slots=True)
class Transaction:
    records: tuple[OutRecord, ...]
    offsets: dict[TopicPartition, int]

    def of(self, topic: str) -> dict[str, bytes | None]:
        """What was written to a topic, by key."""
        return {(record.key or b"").decode(): record.value for record in self.records if record.topic == topic}


@dataclass
class FakeProducer:
    """Stands in for ``TransactionalProducer``. ``log`` holds what was committed, as the broker would show it.

    ``failures`` are raised by the next commits, one each; ``max_record`` makes the broker refuse larger values; while
    ``gate`` is an event that is not set, commits wait.
    """

    log: list[Transaction] = field(default_factory=list)
    failures: deque[BaseException | None] = field(default_factory=deque)
    max_record: int | None = None
    gate: asyncio.Event | None = None
    asked: int = 0

    async def commit(
        self, records: Iterable[OutRecord], offsets: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        self.asked += 1
        transaction = Transaction(tuple(records), dict(offsets))
        if self.gate is not None:
            await self.gate.wait()
        failure = self.failures.popleft() if self.failures else None
        if failure is not None:
            raise CommitFailed(failure)
        if any(len(record.value or b"") > (self.max_record or 2**40) for record in transaction.records):
            raise CommitFailed(MessageSizeTooLargeError())
        self.log.append(transaction)
        return self._ends(transaction)

    def _ends(self, transaction: Transaction) -> dict[TopicPartition, int]:
        """Every transaction takes one offset more in each partition, for its marker."""
        written = {TopicPartition(record.topic, record.partition) for record in transaction.records}
        return {tp: self._end(tp) for tp in written}

    def _end(self, tp: TopicPartition) -> int:
        return sum(
            1 + len(mine)
            for transaction in self.log
            if (mine := [each for each in transaction.records if (each.topic, each.partition) == tp])
        )


def fenced() -> KafkaError:
    return ProducerFenced()
