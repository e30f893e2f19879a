"""Runs one executor alone, without Kafka, on a clock of its own: for the tests of executors.

    context = FakeContext(resumed_from={"job": "42"})
    result = await run_executor(MyExecutor(), ticket_for("MY_TYPE", {"name": "x"}), context)
    assert context.checkpoints == []

Time passes only where the executor waits with ``context.sleep``; a 30-minute wait takes no time at all.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, enter
from worker_agents.model.errors import JournalError, LeaseLost, TaskTimedOut
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket, read_ticket

TIMED_OUT = "timeout"
MAX_CHECKPOINT_BYTES = 900 * 1024


@dataclass(eq=False, slots=True)
class VirtualTimer:
    """A callback that waits for its moment on a :class:`VirtualClock`."""

    at: float
    callback: Callable[[], None]
    waiting: list[VirtualTimer]

    def cancel(self) -> None:
        if self in self.waiting:
            self.waiting.remove(self)


class VirtualClock:
    """A :class:`~worker_agents.model.clock.Clock` on which waiting costs nothing: it jumps to the end of each sleep."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        """Start at ``now_ms`` epoch milliseconds, by default at the beginning of 2026 (UTC)."""
        self._began_ms = now_ms
        self._passed = 0.0
        self._timers: list[VirtualTimer] = []

    def now_ms(self) -> int:
        return self._began_ms + round(self._passed * 1000)

    def monotonic(self) -> float:
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass and call back whoever is due."""
        self._passed += seconds
        due = sorted((timer for timer in self._timers if timer.at <= self._passed), key=lambda timer: timer.at)
        for timer in due:
            self._timers.remove(timer)
            timer.callback()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(self._passed + seconds, callback, self._timers)
        self._timers.append(timer)
        return timer

    async def sleep(self, seconds: float) -> None:
        self.advance(max(seconds, 0.0))
        await asyncio.sleep(0)


class FakeContext(ExecutionContext):
    """An :class:`ExecutionContext` that remembers what the executor did.

    ``resumed_from`` is the checkpoint of an earlier attempt, made ``checkpoint_age`` seconds ago. ``time_limit`` is
    what the attempt may take; ``cancel_at`` gives it up after so many seconds, for ``cancel_with``. ``lease_lost``
    makes every start of remote work fail as on a worker that lost its partition.
    """

    def __init__(
        self,
        ticket_id: str = "ticket-1",
        *,
        attempt: int = 1,
        resumed_from: Mapping[str, Any] | None = None,
        checkpoint_age: float = 0.0,
        time_limit: float = 3600.0,
        deadline: float | None = None,
        cancel_at: float | None = None,
        cancel_with: str = "partition_revoked",
        lease_lost: bool = False,
        clock: VirtualClock | None = None,
    ) -> None:
        """Begin an attempt at the present moment of ``clock``."""
        self.ticket_id = ticket_id
        self.attempt = attempt
        self.deadline = deadline
        self.resumed_from = None if resumed_from is None else _through_json(resumed_from)
        self.cancel_reason = None
        self.lease_lost = lease_lost
        self.clock = clock or VirtualClock()
        self.checkpoints: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.starts: list[str] = []
        """Operations that ``start_remote`` was asked for."""
        self.sleeps: list[float] = []
        self._ends_at = self.clock.monotonic() + time_limit
        self._cancel_at = None if cancel_at is None else self.clock.monotonic() + cancel_at
        self._cancel_with = cancel_with
        self._worked_since = None if resumed_from is None else self.clock.monotonic() - checkpoint_age
        self._task: asyncio.Task[TaskResult] | None = None

    async def checkpoint(self, data: dict[str, Any]) -> None:
        try:
            stored = _through_json(data)
        except TypeError as error:
            raise JournalError(f"the checkpoint is not JSON: {error}") from error
        if len(orjson.dumps(stored)) > MAX_CHECKPOINT_BYTES:
            raise JournalError(f"the checkpoint is larger than {MAX_CHECKPOINT_BYTES} bytes")
        self.checkpoints.append(stored)
        if self._worked_since is None:
            self._worked_since = self.clock.monotonic()

    def start_remote(self, operation: str) -> dict[str, str]:
        if self.lease_lost:
            raise LeaseLost("the lease on the ticket's partition is stale")
        self.starts.append(operation)
        return {"Idempotency-Key": f"{self.ticket_id}:{operation}", **self.trace_headers()}

    def trace_headers(self) -> dict[str, str]:
        return {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

    def log(self, line: str) -> None:
        self.lines.append(line)

    def remaining(self) -> float:
        return max(self._ends_at - self.clock.monotonic(), 0.0)

    def seconds_since_checkpoint(self) -> float:
        return 0.0 if self._worked_since is None else self.clock.monotonic() - self._worked_since

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        wakes_at = self.clock.monotonic() + max(seconds, 0.0)
        if self._cancel_at is not None and self._cancel_at <= min(wakes_at, self._ends_at):
            self._give_up(self._cancel_at, self._cancel_with)
        elif self._ends_at <= wakes_at:
            self._give_up(self._ends_at, TIMED_OUT)
        else:
            self.clock.advance(wakes_at - self.clock.monotonic())
        await asyncio.sleep(0)

    def cancel(self, reason: str) -> None:
        """Give the attempt up, as the engine does: the reason first, then the coroutine is cancelled."""
        self.cancel_reason = reason
        if self._task is not None:
            self._task.cancel(reason)

    def next_attempt(self, **changes: Any) -> FakeContext:
        """The attempt after this one, on the same clock: resumed from the last checkpoint, if there is any."""
        resumed_from = self.checkpoints[-1] if self.checkpoints else self.resumed_from
        age = self.seconds_since_checkpoint()
        following = {"attempt": self.attempt + 1, "resumed_from": resumed_from, "checkpoint_age": age}
        return FakeContext(self.ticket_id, clock=self.clock, deadline=self.deadline, **(following | changes))

    async def run(self, executor: BaseTaskExecutor[Any], ticket: Ticket) -> TaskResult:
        """Let ``executor`` have this attempt; see :func:`run_executor`."""
        scope = contextvars.copy_context()
        scope.run(enter, self)
        self._task = asyncio.create_task(executor.execute(ticket, self), context=scope)
        try:
            return await self._task
        except asyncio.CancelledError:
            if self.cancel_reason == TIMED_OUT:
                raise TaskTimedOut("not finished within its time limit") from None
            raise

    def _give_up(self, moment: float, reason: str) -> None:
        self.clock.advance(max(moment - self.clock.monotonic(), 0.0))
        self.cancel(reason)


def ticket_for(
    task_type: str, parameters: Mapping[str, Any] | None = None, *, ticket_id: str = "ticket-1", **fields: Any
) -> Ticket:
    """A ticket, read from JSON as one from Kafka is; ``fields`` are further fields of it."""
    document = {"ticket_id": ticket_id, "task_type": task_type, "parameters": dict(parameters or {}), **fields}
    return read_ticket(orjson.dumps(document))


async def run_executor(
    executor: BaseTaskExecutor[Any], ticket: Ticket, context: FakeContext | None = None
) -> TaskResult:
    """Run one attempt of ``ticket`` and return its result, which is checked to be one that can be published.

    Errors of the executor come out as they are. An attempt that outlives ``time_limit`` raises ``TaskTimedOut``, one
    that is cancelled ``asyncio.CancelledError``; ``context.cancel_reason`` says why.
    """
    attempt = context or FakeContext(ticket.ticket_id)
    result: object = await attempt.run(executor, ticket)
    if not isinstance(result, TaskResult):
        raise TypeError(f"execute() returned {type(result).__name__}, not a TaskResult")
    orjson.dumps([result.output, result.metadata, result.logs])
    return result


def _through_json(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` as it comes back from the journal: a copy, with JSON's types."""
    stored: dict[str, Any] = orjson.loads(orjson.dumps(dict(data)))
    return stored
