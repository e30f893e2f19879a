"""Topics of a benchmark, filled with tickets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from worker_agents.kafka.topics import STATE_CONFIG

PARTITIONS = {"tickets": 12, "results": 6, "dlq": 3, "state": 12}


@dataclass(frozen=True, slots=True)
class BenchTopics:
    """Names of one measurement's topics."""

    bootstrap_servers: str
    run: str

    def name(self, kind: str) -> str:
        return f"bench-{self.run}.{kind}"

    def environment(self) -> dict[str, str]:
        """What a worker on these topics is started with."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_CONSUMER_GROUP_ID": f"bench-{self.run}",
            **{f"KAFKA_{kind.upper()}_TOPIC": self.name(kind) for kind in PARTITIONS},
        }


async def filled_topics(bootstrap_servers: str, tickets: int) -> BenchTopics:
    """Create the topics and produce ``tickets`` BENCH tickets."""
    topics = await empty_topics(bootstrap_servers)
    await fill(topics, tickets)
    return topics


async def empty_topics(bootstrap_servers: str, partitions: int = PARTITIONS["tickets"]) -> BenchTopics:
    """Create the topics; those of tickets and of state have ``partitions``."""
    topics = BenchTopics(bootstrap_servers, uuid4().hex[:6])
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics(
            [
                NewTopic(topics.name(kind), count, 1, topic_configs=dict(STATE_CONFIG) if kind == "state" else {})
                for kind, count in {**PARTITIONS, "tickets": partitions, "state": partitions}.items()
            ]
        )
    finally:
        await admin.close()
    return topics


async def fill(
    topics: BenchTopics, tickets: int, *, partitions: Sequence[int] = range(PARTITIONS["tickets"]), **fields: object
) -> None:
    """Produce ``tickets`` tickets, evenly over ``partitions``; ``fields`` are other than those of a BENCH ticket."""
    producer = AIOKafkaProducer(bootstrap_servers=topics.bootstrap_servers, max_batch_size=500_000)
    await producer.start()
    try:
        for first, partition in enumerate(partitions):
            numbers = range(first, tickets, len(partitions))
            await _fill(producer, TopicPartition(topics.name("tickets"), partition), numbers, fields)
    finally:
        await producer.stop()


async def _fill(
    producer: AIOKafkaProducer, tp: TopicPartition, numbers: Iterable[int], fields: Mapping[str, object]
) -> None:
    batch = producer.create_batch()
    waits: list[asyncio.Future[object]] = []
    for number in numbers:
        key, value = b"plan-%d" % number, json.dumps({**ticket(number), **fields}).encode()
        if batch.append(key=key, value=value, timestamp=None) is None:
            waits.append(await producer.send_batch(batch, tp.topic, partition=tp.partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    waits.append(await producer.send_batch(batch, tp.topic, partition=tp.partition))
    await asyncio.gather(*waits)


def ticket(number: int) -> dict[str, object]:
    """A ticket with what the peer's orchestrator sends."""
    return {
        "ticket_id": f"5f0d4a6e-7c1b-4b7e-9d55-{number:012d}",
        "plan_id": f"plan-{number}",
        "intent_id": "intent-1",
        "task_id": f"task-{number}",
        "task_type": "BENCH",
        "description": "nothing",
        "dependencies": [],
        "status": "PENDING",
        "priority": "NORMAL",
        "sla": {"timeout_ms": 60_000, "max_retries": 3},
        "qos": {"delivery_mode": "EXACTLY_ONCE", "consistency": "STRONG", "durability": "PERSISTENT"},
        "parameters": {"a": 1, "b": "two"},
        "metadata": {"workflow_id": "w"},
        "created_at": 1_700_000_000_000,
        "schema_version": 1,
    }
