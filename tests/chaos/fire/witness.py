"""Reads every topic from its beginning and as it grows, so that compaction takes nothing away from the evidence."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from tests.support.fleet import FINAL, Fleet

KINDS = ("tickets", "results", "dlq", "state")
# aiokafka's consumer can stall silently when it loses a broker: a new one goes on where the old one was.
_CONSUMER_SECONDS = 20.0
_RETRY_DELAY = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A committed record. ``timestamp`` is when it was produced, ``seen_at`` when it could be read; epoch seconds."""

    partition: int
    offset: int
    key: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: float
    seen_at: float

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.value or b"{}"))

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, b"").decode()


@dataclass
class Witness:
    """What was seen, by topic, in the order of each partition."""

    fleet: Fleet
    records: dict[str, list[Seen]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    answered: set[str] = field(default_factory=set)
    committed: list[tuple[float, int, int]] = field(default_factory=list)
    """Samples of the group's offsets: epoch seconds, partition, offset."""

    def __post_init__(self) -> None:
        self._positions = {
            TopicPartition(self.fleet.topics[kind], number): 0
            for kind in KINDS
            for number in range(self.fleet.counts[kind])
        }
        self._kinds = {topic: kind for kind, topic in self.fleet.topics.items()}

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            await _given_a_chance(self._read_for(_CONSUMER_SECONDS), 2 * _CONSUMER_SECONDS)
            await _given_a_chance(self.sample_offsets(), _CONSUMER_SECONDS)

    async def sample_offsets(self) -> bool:
        floors = await self.fleet.committed_floor()
        now = time.time()
        self.committed.extend((now, partition, offset) for partition, offset in floors.items() if offset is not None)
        return True

    async def catch_up(self, patience: float = 90.0) -> None:
        """Read to the ends that the topics have now. Raises ``TimeoutError``."""
        async with asyncio.timeout(patience):
            while not await _given_a_chance(self._read(self._is_at), _CONSUMER_SECONDS):
                pass

    def _is_at(self, ends: dict[TopicPartition, int]) -> bool:
        return all(self._positions[tp] >= end for tp, end in ends.items())

    async def _read_for(self, seconds: float) -> bool:
        end = time.monotonic() + seconds
        return await self._read(lambda _: time.monotonic() > end)

    async def _read(self, enough: Callable[[dict[TopicPartition, int]], bool]) -> bool:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.fleet.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
        )
        try:
            await consumer.start()
            consumer.assign(list(self._positions))
            for tp, position in self._positions.items():
                consumer.seek(tp, position)
            ends = await consumer.end_offsets(list(self._positions))
            while not enough(ends):
                for tp, batch in (await consumer.getmany(timeout_ms=200)).items():
                    self._take(tp, batch)
                for tp in self._positions:
                    self._positions[tp] = max(self._positions[tp], await consumer.position(tp))
            return True
        finally:
            await consumer.stop()

    def _take(self, tp: TopicPartition, batch: list[ConsumerRecord]) -> None:
        kind, now = self._kinds[tp.topic], time.time()
        # A reading that was given up may go on for a moment beside the next one.
        for record in (record for record in batch if record.offset >= self._positions[tp]):
            key = (record.key or b"").decode(errors="replace")
            seen = Seen(
                tp.partition, record.offset, key, record.value, tuple(record.headers), record.timestamp / 1000, now
            )
            self.records[kind].append(seen)
            if kind == "results" and seen.document["status"] in FINAL:
                self.answered.add(key)
        self._positions[tp] = max(self._positions[tp], batch[-1].offset + 1)


async def _given_a_chance(reading: Coroutine[None, None, bool], seconds: float) -> bool:
    """The answer, or ``False`` when there is none in time, or the broker is away.

    In a task of its own: aiokafka's ``stop()`` may hang, or end with a ``CancelledError`` that is not ours.
    """
    task = asyncio.create_task(reading)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        task.cancel()
    try:
        if task.done() and not task.cancelled():
            return task.result()
    except (KafkaError, OSError, TimeoutError):
        await asyncio.sleep(_RETRY_DELAY)
    return False
