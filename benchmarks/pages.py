"""How soon a worker answers over HTTP while thousands of pipelines are under way in it."""

from __future__ import annotations

import asyncio
import json
import time
from statistics import quantiles

import httpx

from benchmarks.processes import talking_process
from benchmarks.topics import empty_topics, fill
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports

PIPELINES = 2_000
POLL_SECONDS = 15.0
PATHS = ("/health", "/ready", "/metrics", "/api/v1/status", "/")
ROUNDS = 300
SETTLE_INTERVALS = 2
# Between two questions, so that they meet the worker at everything that it does.
PAUSE_SECONDS = 0.05
LONGEST_START_SECONDS = 120.0
# Pipelines that run until they are let go.
HELD = {"progress": {"queued": 0, "processing": None}}


async def pages(broker: EmbeddedKafka) -> None:
    """Percentiles of the answering times, with a page open that is kept live."""
    topics = await empty_topics(broker.bootstrap_servers)
    (port,) = free_ports(1)
    async with await talking_process("worker_agents.devkit.code_forge", "--behaviour", json.dumps(HELD)) as forge:
        environment = {
            **topics.environment(),
            "HTTP_PORT": str(port),
            "LOG_LEVEL": "ERROR",
            "CODE_FORGE_URL": await forge.line(),
            "MAX_CONCURRENT_TASKS": str(PIPELINES),
            "MAX_BUFFERED_TICKETS": str(PIPELINES),
            "DRAIN_TIMEOUT_SECONDS": "1",
        }
        async with await talking_process("benchmarks.worker", **environment) as worker:
            await worker.line()
            asked = {"timeout_seconds": 3600, "poll_interval_seconds": POLL_SECONDS}
            await fill(topics, PIPELINES, task_type="BUILD", parameters=asked)
            figures = await _ask(f"http://127.0.0.1:{port}")
    told = ", ".join(f"{path} {p50 * 1000:.0f}/{p99 * 1000:.0f} ms" for path, (p50, p99) in figures.items())
    print(f"pages: {PIPELINES:,} pipelines under way, median/p99 of {ROUNDS}: {told} (aim: p99 of 50 ms)")


async def _ask(url: str) -> dict[str, tuple[float, float]]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        await _all_under_way(http)
        # They began together, each with frequent polls at first.
        await asyncio.sleep(SETTLE_INTERVALS * POLL_SECONDS)
        async with http.stream("GET", "/live"):
            taken: dict[str, list[float]] = {path: [] for path in PATHS}
            for _ in range(ROUNDS):
                for path in PATHS:
                    await asyncio.sleep(PAUSE_SECONDS)
                    began = time.perf_counter()
                    await http.get(path)
                    taken[path].append(time.perf_counter() - began)
    return {path: (quantiles(times)[1], quantiles(times, n=100)[98]) for path, times in taken.items()}


async def _all_under_way(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(LONGEST_START_SECONDS):
        # The worker is another process.
        while (await http.get("/api/v1/status")).json()["running_total"] < PIPELINES:  # noqa: ASYNC110
            await asyncio.sleep(1)
