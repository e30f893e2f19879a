"""What memory a worker needs: to be there, for each partition that it has, and for each ticket that waits in it.

What a ticket needs that runs is told by ``pipelines``. Figures of docs/deployment.md.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import httpx

from benchmarks.processes import TalkingProcess, talking_process
from benchmarks.topics import BenchTopics, empty_topics, fill
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports

MIB = 1024 * 1024
FEW, MANY = 1, 49
PARKED_TICKETS = 40_000
LIMIT_SECONDS = 300.0
LOOK_SECONDS = 1.0
# Until what the opening left behind is collected, and the memory is what it stays at.
SETTLE_SECONDS = 10.0


async def sizing(broker: EmbeddedKafka) -> None:
    """Memory of a worker with few and with many partitions, and with a park full of tickets."""
    few, many = await _idle(broker, FEW), await _idle(broker, MANY)
    parked = await _parked(broker)
    print(
        f"sizing: {few / MIB:.0f} MiB with one partition, {(many - few) / (MANY - FEW) / MIB:.2f} MiB for each further one, "
        f"{parked / 1024:.1f} KiB for each of {PARKED_TICKETS:,} tickets that wait for a dependency"
    )


async def _idle(broker: EmbeddedKafka, partitions: int) -> float:
    topics = await empty_topics(broker.bootstrap_servers, partitions)
    async with _worker(topics, partitions) as (worker, _):
        return await _settled(worker)


async def _parked(broker: EmbeddedKafka) -> float:
    """Bytes for each ticket."""
    topics = await empty_topics(broker.bootstrap_servers)
    async with _worker(topics, partitions=12) as (worker, http):
        before = await _settled(worker)
        await fill(topics, PARKED_TICKETS, task_type="BUILD", dependencies=["never"])
        async with asyncio.timeout(LIMIT_SECONDS):
            while await _gauge(http, "worker_agents_parked_tickets") < PARKED_TICKETS:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(LOOK_SECONDS)
        return (await _settled(worker) - before) / PARKED_TICKETS


async def _settled(worker: TalkingProcess) -> float:
    await asyncio.sleep(SETTLE_SECONDS)
    seen = []
    for _ in range(5):
        seen.append(worker.resident_bytes)
        await asyncio.sleep(LOOK_SECONDS)
    return median(seen)


async def _gauge(http: httpx.AsyncClient, name: str) -> float:
    text = (await http.get("/metrics")).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


@asynccontextmanager
async def _worker(topics: BenchTopics, partitions: int) -> AsyncIterator[tuple[TalkingProcess, httpx.AsyncClient]]:
    """A worker that has opened all partitions."""
    [port] = free_ports(1)
    environment = {**topics.environment(), "HTTP_PORT": str(port), "LOG_FORMAT": "json", "LOG_LEVEL": "ERROR"}
    async with (
        await talking_process("benchmarks.worker", **environment) as worker,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as http,
    ):
        opened: set[int] = set()
        while len(opened) < partitions:
            opened.add(json.loads(await worker.line())["opened"])
        yield worker, http
