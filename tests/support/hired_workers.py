"""Workers that speak to a reference server over real connections, on a clock that moves only where somebody waits."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from worker_agents.clients.http import HttpClient
from worker_agents.devkit.executor_kit import VirtualClock
from worker_agents.telemetry.events import Event


class HiredWorker:
    """One worker; ``emitted`` is what it told its telemetry. A subclass adds the client and the executor."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.emitted: list[Event] = []

    def connect(self, integration: str, url: str, **http: Any) -> HttpClient:
        """The worker's connection; ``http`` is further arguments of the :class:`HttpClient`."""
        self.http = HttpClient(
            url, integration=integration, emit=self.emitted.append, clock=self.clock, rng=random.Random(1), **http
        )
        return self.http

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.emitted)


W = TypeVar("W", bound=HiredWorker)


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
