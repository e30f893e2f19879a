"""Workers that speak to a reference Code Forge over real connections, on a clock of their own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from worker_agents.clients.code_forge import CodeForgeClient
from worker_agents.clients.http import HttpClient, HttpLimits
from worker_agents.devkit.code_forge import STARTS, CodeForgeServer, Fault
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.telemetry.events import Event

SOON = HttpLimits(read=1.0)

LOST_ANSWERS = {
    "lost": Fault.loses_answer(on=STARTS, times=2),
    "gateway": Fault.times_out_behind_gateway(on=STARTS, times=2),
    "nonsense": Fault.nonsense(on=STARTS),
    "hang": Fault.hangs(on=STARTS, after_work=True),
}
"""Faults that begin the work, and keep the worker from knowing."""


class CodeForgeWorker:
    """One worker; ``emitted`` is what it told its telemetry. A subclass adds the executor."""

    def __init__(self, forge: CodeForgeServer) -> None:
        self.emitted: list[Event] = []
        self.clock = VirtualClock()
        self._url = forge.url

    def connect(self, **http: Any) -> CodeForgeClient:
        """The worker's client; ``http`` is further arguments of its :class:`HttpClient`."""
        self.http = HttpClient(
            self._url,
            integration="code_forge",
            emit=self.emitted.append,
            clock=self.clock,
            rng=random.Random(1),
            **http,
        )
        return CodeForgeClient(self.http)

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.emitted)


W = TypeVar("W", bound=CodeForgeWorker)


@asynccontextmanager
async def hiring(make: Callable[..., W]) -> AsyncIterator[Callable[..., W]]:
    """``make``, whose workers are gone at the end."""
    workers: list[W] = []

    def hired(*arguments: Any, **more: Any) -> W:
        workers.append(make(*arguments, **more))
        return workers[-1]

    yield hired
    for worker in workers:
        await worker.http.aclose()


def started(forge: CodeForgeServer) -> tuple[int, int]:
    """Start calls for ticket-1, and distinct works that they began."""
    starts = forge.log.starts_by_ticket()["ticket-1"]
    return starts.posts, len(starts.request_ids)
