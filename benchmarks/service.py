"""The service itself, in a process of its own, with an executor that does nothing, or waits."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.stopwatch import Stopwatch
from worker_agents.application import StopRequest
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.main import build
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.runtime import tune_garbage_collector
from worker_agents.settings import load_settings
from worker_agents.telemetry.events import AttemptStarted, Event, TicketSettled
from worker_agents.telemetry.logs import configure_logging


class BenchExecutor(BaseTaskExecutor[Parameters]):
    """Waits ``seconds``, then succeeds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def get_task_type(self) -> str:
        return "BENCH"

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        if self._seconds:
            await asyncio.sleep(self._seconds)
        return TaskResult(success=True, output={"task_id": ticket.task_id, "attempt": context.attempt})


async def main(count: int, seconds: float, *, observed: bool) -> None:
    """Answer ``count`` tickets, print the figures, and drain. Without ``observed`` there are no logs and no metrics of them."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format, settings.worker_id)
    watch, stop, settled = Stopwatch(), StopRequest(), 0

    def follow(event: Event) -> None:
        nonlocal settled
        if type(event) is AttemptStarted:
            watch.begin()
        elif type(event) is TicketSettled:
            settled += 1
            if settled == count:
                watch.end(count)
                stop()

    application = build(settings, executors=[BenchExecutor(seconds)], subscribers=[follow], observed=observed)
    tune_garbage_collector()
    await application.run(stop)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2]), observed="unobserved" not in sys.argv))
