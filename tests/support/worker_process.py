"""A worker process with executors for tests beside the real ones: ``python -m tests.support.worker_process``.

Its settings come from the environment, as those of ``worker-agents run`` do.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

import structlog

from worker_agents import deletion_cost
from worker_agents.application import StopRequest
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.main import build
from worker_agents.model.errors import TaskError
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket
from worker_agents.settings import load_settings
from worker_agents.telemetry.logs import configure_logging


class ProbeParameters(Parameters):
    """What a PROBE ticket does: ``sleep_ms``, then ``fail`` (verdict), ``error`` (n times), ``die`` or a big output.

    With ``tick_ms`` it notes ``tick`` so often while it sleeps: who worked on a ticket, and when. ``retry_after`` is the
    wait in seconds that its errors ask for. ``log`` is a line of its log, ``mark`` goes into a checkpoint, ``say`` is logged by
    the standard library and by structlog.
    """

    sleep_ms: float = 0.0
    tick_ms: float = 0.0
    fail: bool = False
    errors: int = 0
    retry_after: float | None = None
    die: bool = False
    output_bytes: int = 0
    log: str = ""
    mark: str = ""
    say: str = ""


class ProbeExecutor(BaseTaskExecutor[ProbeParameters]):
    """Does what its parameters say, and notes each start and end in the file named by PROBE_LOG."""

    def get_task_type(self) -> str:
        return "PROBE"

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        wanted = self.parameters(ticket)
        note("start", ticket, context)
        if wanted.say:
            structlog.get_logger().info("probe_says", said=wanted.say)
            logging.getLogger("probe").info(wanted.say)
        if wanted.die:
            os.kill(os.getpid(), signal.SIGKILL)
        if context.attempt <= wanted.errors:
            message = f"error {context.attempt} of {wanted.errors}"
            raise TaskError(message, retryable=True, retry_after=wanted.retry_after)
        if wanted.log:
            context.log(wanted.log)
        if wanted.mark:
            await context.checkpoint({"mark": wanted.mark})
        await self._sleep(wanted, ticket, context)
        note("end", ticket, context)
        output = {"text": "x" * wanted.output_bytes} if wanted.output_bytes else {}
        return TaskResult(success=not wanted.fail, output=output)

    async def _sleep(self, wanted: ProbeParameters, ticket: Ticket, context: ExecutionContext) -> None:
        left = wanted.sleep_ms
        while left > 0:
            step = min(left, wanted.tick_ms or left)
            await context.sleep(step / 1000)
            left -= step
            if wanted.tick_ms:
                note("tick", ticket, context)


def note(what: str, ticket: Ticket, context: ExecutionContext) -> None:
    """``what``, ticket, attempt, process, epoch seconds: one write of one line, whole also when several processes append."""
    path = os.environ.get("PROBE_LOG")
    if path:
        with Path(path).open("a") as log:
            log.write(f"{what} {ticket.ticket_id} {context.attempt} {os.getpid()} {time.time():.3f}\n")


def stall() -> None:
    """Block the event loop, as an executor with a fault would (SIGUSR2; seconds in STALL_SECONDS)."""
    time.sleep(float(os.environ.get("STALL_SECONDS", "10")))


def show_tasks() -> None:
    """What every task waits for, in the worker's log: for whoever looks into a test that hangs (SIGUSR1)."""
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stdout)
    sys.stdout.flush()


async def run() -> None:
    settings = load_settings()
    deletion_cost.LOOK_SECONDS = float(os.environ.get("LOOK_SECONDS", deletion_cost.LOOK_SECONDS))
    configure_logging(settings.log_level, settings.log_format, settings.worker_id)
    application = build(settings, executors=[ProbeExecutor()])
    stop = StopRequest()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show_tasks)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, stall)
    with stop.on_signals():
        await application.run(stop)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    asyncio.run(run())
