"""The life of a worker: start, serve, quiet, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from worker_agents import __version__
from worker_agents.deletion_cost import PodDeletionCost
from worker_agents.dispatch.dispatcher import Dispatcher
from worker_agents.kafka.consumer import TicketConsumer
from worker_agents.kafka.tasks import cancelled
from worker_agents.kafka.worker import KafkaWorker
from worker_agents.model.clock import Clock
from worker_agents.model.hosts import in_url
from worker_agents.telemetry.events import DrainEnded, DrainStarted, Emit, WorkerStarted, WorkerStopped
from worker_agents.telemetry.metrics import Metrics
from worker_agents.telemetry.stalls import LoopWatchdog
from worker_agents.web.server import HttpServer

T = TypeVar("T")

_POLLING_ENDS_WITHIN = 1.0


class Stage(StrEnum):
    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"


class StopRequest:
    """Asked once, the worker drains; asked again by a signal, it hands over at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self._signalled = False

    def __call__(self) -> None:
        """A signal came."""
        (self.hurry if self._signalled else self.asked).set()
        self._signalled = True

    def drain(self) -> bool:
        """An operator asks, as often as they like: the first signal after it is that of an orderly end, and no haste.

        Returns whether nobody had asked before.
        """
        is_first = not self.asked.is_set()
        self.asked.set()
        return is_first

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


@dataclass(frozen=True, slots=True)
class ApplicationConfig:
    """``advertised_host`` is where others reach the worker. ``drain_timeout`` is seconds."""

    worker_id: str
    task_types: tuple[str, ...]
    advertised_host: str
    drain_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is made of; ``close`` ends the clients of external systems.

    ``deletion_cost`` is there where Kubernetes is to be told of the work in flight.
    """

    kafka: KafkaWorker
    dispatcher: Dispatcher
    http: HttpServer
    metrics: Metrics
    watchdog: LoopWatchdog
    close: Callable[[], Awaitable[None]]
    deletion_cost: PodDeletionCost | None = None


class Application:
    """One worker process. Build it with :func:`worker_agents.main.build`.

    ``drain_began`` is when it began to drain, by the monotonic clock.
    """

    def __init__(self, config: ApplicationConfig, parts: Parts, clock: Clock, emit: Emit) -> None:
        self.stage = Stage.STARTING
        self.consumer: TicketConsumer | None = None
        self.drain_began: float | None = None
        self.parts = parts
        self._config = config
        self._clock = clock
        self._emit = emit
        self._stop: StopRequest | None = None

    def drain(self) -> bool:
        """End in good order, as at SIGTERM. ``False`` when that was asked for already."""
        return self._stop is not None and self._stop.drain()

    @property
    def drain_timeout(self) -> float:
        """Seconds that what runs may go on once the worker drains."""
        return self._config.drain_timeout

    async def run(self, stop: StopRequest) -> None:
        """Serve until ``stop`` asks, then drain. Raises :class:`StartupError` when it cannot start."""
        self._stop = stop
        self.parts.watchdog.start()
        cost = self.parts.deletion_cost
        telling = None if cost is None else asyncio.create_task(cost.run(), name="deletion-cost")
        try:
            consumer = await self._start(stop)
            if consumer is not None:
                await self._serve(consumer, stop)
        finally:
            self.stage = Stage.STOPPED
            await cancelled(telling)
            await self.parts.http.stop()
            await self.parts.close()
            self.parts.watchdog.stop()
            self._emit(WorkerStopped(self._config.worker_id))

    async def _start(self, stop: StopRequest) -> TicketConsumer | None:
        """Join the group; ``None`` when a stop was asked for while Kafka was awaited."""
        kafka, dispatcher = self.parts.kafka, self.parts.dispatcher
        await self.parts.http.start()
        self._emit(WorkerStarted(self._config.worker_id, __version__, self._config.task_types))
        preparing = asyncio.create_task(kafka.prepare(), name="prepare")
        if not await _done_before(preparing, stop.asked):
            return None
        layout = preparing.result()
        dispatcher.policy = replace(dispatcher.policy, retention_ms=kafka.retention_ms(layout))
        self.consumer = await kafka.start(
            layout, f"http://{in_url(self._config.advertised_host)}:{self.parts.http.port}"
        )
        self.stage = Stage.SERVING
        return self.consumer

    async def _serve(self, consumer: TicketConsumer, stop: StopRequest) -> None:
        polling = asyncio.create_task(consumer.run(), name="polling")
        try:
            await asyncio.wait(
                [polling, stopped := asyncio.create_task(stop.asked.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            stopped.cancel()
            await self._drain(consumer, stop)
        finally:
            await consumer.stop()
            await _polling_ended(polling)

    async def _drain(self, consumer: TicketConsumer, stop: StopRequest) -> None:
        """Intake ends; what runs may end too, up to the time-out; the rest is handed over with its checkpoints."""
        self.stage = Stage.DRAINING
        dispatcher, began = self.parts.dispatcher, self._clock.monotonic()
        self.drain_began = began
        running = dispatcher.running
        self._emit(DrainStarted(running, self._config.drain_timeout))
        consumer.quiet()
        dispatcher.quiet()
        draining = asyncio.create_task(dispatcher.drained(self._config.drain_timeout), name="drain")
        await _done_before(draining, stop.hurry)
        left = dispatcher.running
        await consumer.hand_over("shutdown")
        self._emit(DrainEnded(max(running - left, 0), left, self._clock.monotonic() - began))


async def _polling_ended(polling: asyncio.Task[None]) -> None:
    """Wait for the end of polling, and raise what it raised.

    aiokafka's consumer, stopped in the middle of a rebalance, goes on waiting for an assignment that never comes.
    """
    await asyncio.wait([polling], timeout=_POLLING_ENDS_WITHIN)
    polling.cancel()
    await asyncio.wait([polling])
    if not polling.cancelled():
        polling.result()


async def _done_before(work: asyncio.Task[T], event: asyncio.Event) -> bool:
    """Wait for ``work`` until ``event``; work that is late is cancelled and makes it ``False``.

    Raises what ``work`` raised.
    """
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait([waiter, work], return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    if work.done():
        work.result()
        return True
    work.cancel()
    await asyncio.wait([work])
    return False
