"""Worker processes on topics of their own, and what is to be read there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError

from worker_agents.kafka.topics import DLQ_CONFIG, STATE_CONFIG

ROOT = Path(__file__).parents[2]
FINAL = {"COMPLETED", "FAILED"}


class WorkerProcess:
    """One worker, whose log lines can be waited for. The log is kept for the message of a failing test.

    ``folder`` is the one that it is started in.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, folder: Path = ROOT
    ) -> None:
        self.name = name
        self.lines: list[dict[str, Any]] = []
        self.text: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, timeout: float = 30.0) -> int:
        """Wait until the process is over and return its exit code."""
        return await asyncio.to_thread(self.process.wait, timeout)

    async def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM, as Kubernetes does."""
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
        return await self.ended(timeout)

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """Log lines of one event, with these values in its fields."""
        wanted = {"event": name, **fields}
        return [line for line in list(self.lines) if all(line.get(key) == value for key, value in wanted.items())]

    async def says(self, name: str, count: int = 1, timeout: float = 30.0, **fields: object) -> list[dict[str, Any]]:
        """Wait until the worker has logged ``count`` such events."""
        async with asyncio.timeout(timeout):
            while len(found := self.events(name, **fields)) < count:
                self._heard.clear()
                await self._heard.wait()
        return found

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.text.append(line)
            if line.startswith("{"):
                self.lines.append(json.loads(line))
            with contextlib.suppress(RuntimeError):  # the test may be over
                self._loop.call_soon_threadsafe(self._heard.set)
        self.process.stdout.close()


@dataclass
class Fleet:
    """Topics with names of their own, the workers on them, and the records in them."""

    bootstrap_servers: str
    folder: Path
    partitions: int = 4
    env: Mapping[str, str] = field(default_factory=dict)
    replication: int = 1
    name: str = field(default_factory=lambda: uuid4().hex[:8])
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def topics(self) -> dict[str, str]:
        return {kind: f"t-{self.name}.{kind}" for kind in ("tickets", "results", "dlq", "state")}

    @property
    def counts(self) -> dict[str, int]:
        """Partitions of each topic."""
        return {"tickets": self.partitions, "results": 3, "dlq": 1, "state": self.partitions}

    @property
    def group(self) -> str:
        return f"g-{self.name}"

    async def create_topics(self) -> None:
        async with self.admin() as admin:
            await admin.create_topics([self._new_topic(kind) for kind in self.counts])

    def _new_topic(self, kind: str) -> NewTopic:
        config = {"state": STATE_CONFIG, "dlq": DLQ_CONFIG}.get(kind, {})
        return NewTopic(self.topics[kind], self.counts[kind], self.replication, topic_configs=dict(config))

    async def re_create(self, kind: str) -> None:
        """Delete a topic and create it anew, with the same configuration."""
        async with self.admin() as admin:
            await admin.delete_topics([self.topics[kind]])
            async with asyncio.timeout(30):
                while self.topics[kind] in await admin.list_topics():
                    pass
            await admin.create_topics([self._new_topic(kind)])

    async def expand(self, kind: str, count: int) -> None:
        """Give a topic so many partitions; when it returns, the broker tells its clients of them."""
        topic = self.topics[kind]
        async with self.admin() as admin:
            await admin.create_partitions({topic: NewPartitions(total_count=count)})
            async with asyncio.timeout(30):
                while len((await admin.describe_topics([topic]))[0]["partitions"]) < count:
                    pass

    async def configure(self, kind: str, config: Mapping[str, str]) -> None:
        """Give a topic this configuration, and no other."""
        async with self.admin() as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self.topics[kind], dict(config))])

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def consumer(self, **options: object) -> AsyncIterator[AIOKafkaConsumer]:
        """A consumer outside the group, unless ``options`` say otherwise, that sees what is committed."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **options,
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    def worker(self, **env: str) -> WorkerProcess:
        """Start a worker process; keyword arguments are environment variables."""
        return self.worker_of(ROOT, sys.executable, **env)

    def worker_of(self, tree: Path, python: str, **env: str) -> WorkerProcess:
        """Start one with the code in ``tree``."""
        name = f"worker-{len(self.workers) + 1}"
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        command = [python, "-m", "tests.support.worker_process"]
        return self.hire(WorkerProcess(name, command, {**inherited, **self.settings(name), **env}, folder=tree))

    def settings(self, name: str) -> dict[str, str]:
        """The environment of a worker of this fleet."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_CONSUMER_GROUP_ID": self.group,
            **{f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in self.topics.items()},
            "WORKER_ID": name,
            "HTTP_PORT": "0",
            "HTTP_HOST": "127.0.0.1",
            "LOG_FORMAT": "json",
            "KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "PROBE_LOG": str(self.folder / "probe.log"),
            "RETRY_BACKOFF_BASE_SECONDS": "0.2",
            **self.env,
        }

    def hire(self, worker: WorkerProcess) -> WorkerProcess:
        """Take a worker in; it is ended with the others."""
        self.workers.append(worker)
        return worker

    async def submit(
        self,
        tickets: Iterable[Mapping[str, Any] | bytes],
        *,
        key: Callable[[int], bytes] | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Produce tickets; by default each to the partition of its number."""
        async with self._producer() as producer:
            sent = []
            for number, ticket in enumerate(tickets):
                value = ticket if isinstance(ticket, bytes) else json.dumps(ticket).encode()
                partition = number % self.partitions if key is None else None
                record_key = b"plan-%d" % number if key is None else key(number)
                sent.append(
                    await producer.send(
                        self.topics["tickets"], value, record_key, partition=partition, headers=list(headers)
                    )
                )
            await asyncio.gather(*sent)

    async def send_tombstone(self) -> None:
        """A record without a value, as a compacted topic may hold."""
        async with self._producer() as producer:
            await producer.send_and_wait(self.topics["tickets"], None, b"gone", partition=0)

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers, max_request_size=4_000_000)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def read(
        self, kind: str, until: Callable[[list[ConsumerRecord]], bool], timeout: float
    ) -> list[ConsumerRecord]:
        """Committed records of a topic, until there are enough or the time is over; then whatever there is."""
        async with self.consumer() as consumer:
            consumer.assign(self.partitions_of(kind))
            records: list[ConsumerRecord] = []
            end = time.monotonic() + timeout
            while not until(records) and time.monotonic() < end:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records.extend(batch)
            return records

    async def existing(self, kind: str) -> list[ConsumerRecord]:
        """Committed records of a topic up to its present end."""
        async with self.consumer() as consumer:
            consumer.assign(self.partitions_of(kind))
            ends = await consumer.end_offsets(self.partitions_of(kind))
            records: list[ConsumerRecord] = []
            while any([await consumer.position(tp) < end for tp, end in ends.items()]):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    records.extend(batch)
            return records

    def partitions_of(self, kind: str) -> list[TopicPartition]:
        return [TopicPartition(self.topics[kind], number) for number in range(self.counts[kind])]

    async def results(self, count: int, timeout: float = 60.0) -> list[dict[str, Any]]:
        """Final results; waits until ``count`` different tickets have one."""
        records = await self.read("results", lambda found: len(_ids(found)) >= count, timeout)
        return [document for document in map(_document, records) if document["status"] in FINAL]

    async def results_until_ended(
        self, worker: WorkerProcess, count: int, timeout: float = 90.0
    ) -> list[dict[str, Any]]:
        """Final results, once there are so many or the worker is dead."""
        records = await self.read(
            "results", lambda found: len(_ids(found)) >= count or worker.process.poll() is not None, timeout
        )
        return [document for document in map(_document, records) if document["status"] in FINAL]

    async def checkpointed(self, count: int) -> set[str]:
        """Ids of tickets with a checkpoint that is committed; waits until there are so many."""

        def ids(records: list[ConsumerRecord]) -> set[str]:
            states = {record.key.decode(): json.loads(record.value) for record in records if record.value is not None}
            return {key for key, state in states.items() if state.get("phase") == "checkpoint"}

        found = ids(await self.read("state", lambda records: len(ids(records)) >= count, timeout=60))
        assert len(found) >= count, self.tails()
        return found

    async def committed_floor(self) -> dict[int, int | None]:
        """The group's committed offset in each partition."""
        async with self.admin() as admin:
            offsets = await admin.list_consumer_group_offsets(self.group)
            return {tp.partition: offset.offset for tp, offset in offsets.items()}

    async def settled(self, count: int, patience: float = 30.0) -> int:
        """Records settled in all partitions, as the group committed it: once they are ``count``, or when patience ends."""
        end = time.monotonic() + patience
        while (found := sum(floor or 0 for floor in (await self.committed_floor()).values())) < count:
            if time.monotonic() > end:
                break
            await asyncio.to_thread(time.sleep, 0.2)  # the group tells nobody of its commits
        return found

    async def reset_offsets(self, offset: int) -> None:
        """What ``kafka-consumer-groups.sh --reset-offsets`` does, once no member is left in the group."""
        partitions = self.partitions_of("tickets")
        async with self.consumer(group_id=self.group) as consumer, asyncio.timeout(30):
            consumer.assign(partitions)
            while True:
                try:
                    await consumer.commit(dict.fromkeys(partitions, offset))
                    return
                except CommitFailedError:
                    await asyncio.to_thread(time.sleep, 0.2)  # a killed member is given up when its session ends

    def probe_log(self) -> list[list[str]]:
        path = self.folder / "probe.log"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def probe_starts(self) -> Counter[str]:
        """How often PROBE executors were started, by ticket."""
        return Counter(line[1] for line in self.probe_log() if line[0] == "start")

    async def probe_says(self, what: str, count: int, timeout: float = 30.0) -> None:
        """Wait until that many ``start`` or ``end`` lines were written by PROBE tickets."""
        async with asyncio.timeout(timeout):
            while sum(line[0] == what for line in self.probe_log()) < count:
                await asyncio.to_thread(time.sleep, 0.02)

    def tails(self, lines: int = 30) -> str:
        """The ends of all workers' logs."""
        return "\n".join(f"--- {worker.name}\n" + "\n".join(worker.text[-lines:]) for worker in self.workers)

    async def close(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.send(signal.SIGCONT)
                worker.kill()


@asynccontextmanager
async def fleet(bootstrap_servers: str, folder: Path, *, partitions: int = 4, **env: str) -> AsyncIterator[Fleet]:
    """A fleet without workers yet; ends all that were started."""
    ships = Fleet(bootstrap_servers, folder, partitions, env)
    await ships.create_topics()
    try:
        yield ships
    finally:
        await ships.close()


def probe(ticket_id: str, **parameters: object) -> dict[str, Any]:
    """A PROBE ticket (``tests.support.worker_process``)."""
    return {"ticket_id": ticket_id, "task_type": "PROBE", "parameters": parameters}


async def assert_all_work_is_done(ships: Fleet) -> None:
    """Results, a dead letter, states and offsets: everything that a worker writes."""
    worker = ships.worker()
    await worker.says("partition_opened", ships.partitions)
    await ships.submit([probe("good"), probe("bad", fail=True), b"no ticket at all"], key=lambda number: b"%d" % number)
    results = await ships.results(2)
    assert {result["ticket_id"]: result["status"] for result in results} == {"good": "COMPLETED", "bad": "FAILED"}
    (letter,) = await ships.read("dlq", bool, 30)
    assert letter.value == b"no ticket at all"
    assert await worker.stop() == 0
    written = await ships.read("state", lambda found: {b"good", b"bad"} <= {record.key for record in found}, 10)
    assert {record.key for record in written} >= {b"good", b"bad", b"@owner"}
    assert sum(offset or 0 for offset in (await ships.committed_floor()).values()) >= 3
    assert not worker.events("kafka_trouble"), ships.tails()


def duplicates(results: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Tickets with more than one final result."""
    counts = Counter(result["ticket_id"] for result in results)
    return {ticket_id: count for ticket_id, count in counts.items() if count > 1}


def _document(record: ConsumerRecord) -> dict[str, Any]:
    return dict(json.loads(record.value))


def _ids(records: list[ConsumerRecord]) -> set[bytes]:
    return {record.key for record in records if b'"status":"RUNNING"' not in record.value}
