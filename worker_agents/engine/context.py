"""One attempt as its executor sees it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

import orjson

from worker_agents.executors.base import ExecutionContext
from worker_agents.model.clock import Clock
from worker_agents.model.errors import JournalError, LeaseLost
from worker_agents.model.structs import struct
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.tracing import TraceContext

MAX_LOG_LINES = 2_000
MAX_LOG_LINE = 4_000


@struct
class AttemptPlan:
    """What the attempt stands on. Times are epoch milliseconds; ``waiting_since`` is monotonic seconds.

    ``trace`` is the ticket's own span. ``save`` makes a checkpoint durable; ``owns_ticket`` tells whether the partition's lease is fresh.
    """

    ticket: Ticket
    attempt: int
    checkpoint: dict[str, Any] | None
    checkpoint_at: int
    save: Callable[[dict[str, Any]], Awaitable[None]]
    owns_ticket: Callable[[], bool]
    trace: Callable[[], TraceContext]
    replay: str = ""
    waiting_since: float | None = None


class AttemptContext(ExecutionContext):
    """Implements :class:`ExecutionContext` over a journal.

    ``began_at``, ``ends_at`` (when its time limit is up) and ``progress_at`` are epoch milliseconds; ``progress`` is the
    beginning of the latest line of its log.
    """

    def __init__(self, plan: AttemptPlan, time_limit: float, clock: Clock) -> None:
        deadline = plan.ticket.sla.deadline
        self.ticket_id = plan.ticket.ticket_id
        self.attempt = plan.attempt
        self.deadline = None if deadline is None else deadline / 1000
        self.resumed_from = plan.checkpoint
        self.cancel_reason = None
        self.began_at = clock.now_ms()
        self.ends_at = self.began_at + int(time_limit * 1000)
        self.progress = ""
        self.progress_at: int | None = None
        self._plan = plan
        self._clock = clock
        self._ends_at = clock.monotonic() + time_limit
        self._checkpoint_at = plan.checkpoint_at
        self._logs: deque[str] = deque(maxlen=MAX_LOG_LINES)
        self._span: TraceContext | None = None

    @property
    def span(self) -> TraceContext:
        """The attempt's own span; where none is recorded, the ticket's stands for it."""
        if self._span is None:
            trace = self._plan.trace()
            self._span = trace.child() if trace.recorded else trace
        return self._span

    @property
    def logs(self) -> tuple[str, ...]:
        return tuple(self._logs)

    def log_tail(self, lines: int) -> tuple[str, ...]:
        """The latest so many lines, oldest first."""
        return tuple(islice(self._logs, max(len(self._logs) - lines, 0), None))

    async def checkpoint(self, data: dict[str, Any]) -> None:
        try:
            orjson.dumps(data)
        except TypeError as error:
            raise JournalError(f"the checkpoint is not JSON: {error}") from error
        await self._plan.save(data)
        self._checkpoint_at = self._checkpoint_at or self._clock.now_ms()

    def start_remote(self, operation: str) -> dict[str, str]:
        if not self._plan.owns_ticket():
            raise LeaseLost("the lease on the ticket's partition is stale; another worker may own the ticket by now")
        # A replay is to do the work anew, and each of its attempts the same.
        run = f":{self._plan.replay}" if self._plan.replay else ""
        return {"Idempotency-Key": f"{self.ticket_id}:{operation}{run}", **self.trace_headers()}

    def trace_headers(self) -> dict[str, str]:
        return self.span.headers()

    def log(self, line: str) -> None:
        self._logs.append(line if len(line) <= MAX_LOG_LINE else f"{line[:MAX_LOG_LINE]}…")
        self.progress, self.progress_at = line[:200], self._clock.now_ms()

    def remaining(self) -> float:
        return max(self._ends_at - self._clock.monotonic(), 0.0)

    def seconds_since_checkpoint(self) -> float:
        return max((self._clock.now_ms() - self._checkpoint_at) / 1000, 0.0) if self._checkpoint_at else 0.0

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
