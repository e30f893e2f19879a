"""How long tickets are without a worker when theirs is killed, and when it hands them over.

Two workers share the tickets topic. All tickets lie in the partitions of one of them and are BUILDs whose pipelines
Code Forge holds, each asked after every few seconds. That worker gets the signal, and the other one takes over.

For each ticket two moments are noted, both at the worker that takes over: when the ticket was *taken up* (its attempt
began with the checkpoint), and when it was *attached* again (Code Forge received the first poll of its pipeline). The
poll comes half a second after the attempt at the soonest, as a follower waits before its first one; with a thousand
at once the rest is the time that a thousand HTTP calls take. Both are counted from the signal:

- SIGKILL: until the last ticket, less the session time-out. The session began with the killed worker's last heartbeat,
  up to a second before the kill.
- SIGTERM, with no time to drain: for each ticket. The old worker goes on with it for a moment, so this is more than the
  time that it was without one.

A round in which work was started twice, or not at all, is no measurement: it raises ``RuntimeError``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx

from benchmarks.processes import TalkingProcess, talking_process
from benchmarks.topics import PARTITIONS, BenchTopics, empty_topics, fill
from worker_agents.devkit.embedded_kafka import EmbeddedKafka

ROUNDS = 3
TICKETS = 1_000
POLL_SECONDS = 5.0
SESSION_SECONDS = 10.0
# How often Code Forge is asked for its log: it and the workers need the machine more.
LOOK_SECONDS = 0.5
LIMIT_SECONDS = 120.0
# Pipelines that run for ever.
HELD = {"progress": {"queued": 0, "processing": None}}


@dataclass(frozen=True, slots=True)
class Takeover:
    """One round: seconds from the signal, for each partition and each ticket."""

    opened: Collection[float]
    taken_up: Collection[float]
    attached: Collection[float]

    def __str__(self) -> str:
        return (
            f"partitions open after {max(self.opened):.1f} s, tickets taken up after {max(self.taken_up):.1f} s, "
            f"attached after {min(self.attached):.1f} to {max(self.attached):.1f} s"
        )


async def recovery(broker: EmbeddedKafka) -> None:
    """What a crash and a hand-over cost."""
    crashes = [await _round(broker, signal.SIGKILL, count) for count in range(1, ROUNDS + 1)]
    hand_overs = [await _round(broker, signal.SIGTERM, count) for count in range(1, ROUNDS + 1)]
    taken_up = median(max(each.taken_up) for each in crashes) - SESSION_SECONDS
    attached = median(max(each.attached) for each in crashes) - SESSION_SECONDS
    print(
        f"recovery: SIGKILL with {TICKETS:,} in flight: all taken up {taken_up:.1f} s and all attached again "
        f"{attached:.1f} s after the session time-out (median of {ROUNDS})"
    )
    without_work = median(max(each.taken_up) for each in hand_overs)
    longest = median(max(each.attached) for each in hand_overs)
    typical = median(median(each.attached) for each in hand_overs)
    print(
        f"recovery: hand-over of {TICKETS:,}: {without_work:.1f} s without work at most, attached again after "
        f"{longest:.1f} s at most, {typical:.1f} s in the middle (median of {ROUNDS})"
    )


async def _round(broker: EmbeddedKafka, number: signal.Signals, count: int) -> Takeover:
    topics = await empty_topics(broker.bootstrap_servers)
    async with CodeForge.running() as forge, _worker(topics, forge) as one:
        await _told(one, opened=PARTITIONS["tickets"])
        async with _worker(topics, forge) as other:
            elsewhere = await _told(other, opened=PARTITIONS["tickets"] // 2)
            await _fill(topics, sorted(set(range(PARTITIONS["tickets"])) - elsewhere["opened"].keys()))
            await forge.first_polls()
            takeover = await _takeover(forge, one, other, number)
            await forge.check_starts()
    print(f"{number.name}, round {count}: {takeover}", flush=True)
    return takeover


async def _takeover(forge: CodeForge, one: TalkingProcess, other: TalkingProcess, number: signal.Signals) -> Takeover:
    since, signalled_at = await forge.received(), time.time()
    one.signal(number)
    told = await _told(other, opened=PARTITIONS["tickets"] // 2, resumed=TICKETS)
    # The first worker has left the group, or was put out of it, before the other one can take anything up.
    attached = await forge.first_polls(since=since, after=min(told["resumed"].values()))
    moments = (told["opened"], told["resumed"], attached)
    return Takeover(*([at - signalled_at for at in each.values()] for each in moments))


@asynccontextmanager
async def _worker(topics: BenchTopics, forge: CodeForge) -> AsyncIterator[TalkingProcess]:
    environment = {
        **topics.environment(),
        "HTTP_PORT": "0",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "ERROR",
        "KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
        "DRAIN_TIMEOUT_SECONDS": "0",
        "CODE_FORGE_URL": forge.url,
        "CODE_FORGE_FALLBACK": "fail",
        "MAX_CONCURRENT_TASKS": str(TICKETS),
    }
    async with await talking_process("benchmarks.worker", **environment) as worker:
        yield worker


async def _told(worker: TalkingProcess, **counts: int) -> dict[str, dict[Any, float]]:
    """When it did what it tells of, until each kind has come for so many different things."""
    told: dict[str, dict[Any, float]] = {kind: {} for kind in counts}
    while any(len(told[kind]) < count for kind, count in counts.items()):
        line = json.loads(await worker.line())
        for kind in line.keys() & counts:
            told[kind].setdefault(line[kind], line["at"])
    return told


async def _fill(topics: BenchTopics, partitions: list[int]) -> None:
    asked = {"timeout_seconds": 3600, "poll_interval_seconds": POLL_SECONDS}
    await fill(topics, TICKETS, partitions=partitions, task_type="BUILD", parameters=asked)


class CodeForge:
    """The reference Code Forge in a process of its own, and what it has seen."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url
        self._http = http

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[CodeForge]:
        async with await talking_process("worker_agents.devkit.code_forge", "--behaviour", json.dumps(HELD)) as process:
            url = await process.line()
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
                yield cls(url, http)

    async def received(self) -> int:
        """Calls so far."""
        return int((await self._calls(operation="health"))["received"])

    async def first_polls(self, *, since: int = 0, after: float = 0.0) -> dict[str, float]:
        """When each ticket was first polled ``after`` that time; returns when all have been.

        Raises ``TimeoutError`` where that takes two minutes. ``since`` is a number of calls that need not be looked at.
        """
        first: dict[str, float] = {}
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(first) < TICKETS:
                await asyncio.sleep(LOOK_SECONDS)
                seen = await self._calls(operation="poll_pipeline", since=since)
                since = seen["received"]
                for call in seen["calls"]:
                    if call["at"] >= after:
                        first.setdefault(call["ticket_id"], call["at"])
        return first

    async def check_starts(self) -> None:
        """Raises ``RuntimeError`` unless each ticket's work was started once."""
        starts: Mapping[str, Any] = (await self._http.get("/_control/starts")).json()
        repeated = [ticket for ticket, each in starts.items() if each["posts"] != 1]
        if repeated or len(starts) != TICKETS:
            raise RuntimeError(f"{len(starts):,} of {TICKETS:,} tickets began work, {len(repeated):,} more than once")

    async def _calls(self, **query: str | int) -> dict[str, Any]:
        seen: dict[str, Any] = (await self._http.get("/_control/calls", params=query)).json()
        return seen
