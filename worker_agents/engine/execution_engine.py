"""Runs one attempt and says what came of it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from worker_agents.engine.context import AttemptContext, AttemptPlan
from worker_agents.engine.retry import RetryPolicy
from worker_agents.engine.time_limit import Alarm
from worker_agents.executors.base import BaseTaskExecutor, enter
from worker_agents.executors.registry import TaskExecutorRegistry
from worker_agents.model.clock import Clock
from worker_agents.model.errors import InvalidParameters, JournalError, Reason, TaskError, TaskTimedOut
from worker_agents.model.result import Finished, Outcome, TaskResult
from worker_agents.model.structs import struct
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.events import AttemptEnded, AttemptStarted, Emit, ExecutorCrashed
from worker_agents.telemetry.tracing import work_on

CANCELLED_BY_OPERATOR = "cancelled"

# Resuming does not restart the clock, but remote work may have ended while nobody looked.
_LAST_LOOK = 30.0


@struct
class TimeLimit:
    """Seconds an attempt may take, and whether it is the ticket's deadline that sets them."""

    seconds: float
    by_deadline: bool


class ExecutionEngine:
    """Resolves a ticket's executor and runs one attempt of it.

    The only place that decides on retries, and the only one that turns exceptions into outcomes.
    """

    def __init__(
        self,
        registry: TaskExecutorRegistry,
        retry: RetryPolicy,
        clock: Clock,
        emit: Emit,
        *,
        timeout_multiplier: float = 1.5,
    ) -> None:
        self._registry = registry
        self._retry = retry
        self._clock = clock
        self._emit = emit
        self._multiplier = timeout_multiplier

    async def attempt(
        self,
        plan: AttemptPlan,
        *,
        delivery: int,
        last_moment_ms: int | None,
        entering: Callable[[AttemptContext], None],
    ) -> Outcome:
        """Run one attempt.

        ``last_moment_ms`` (epoch) is when the ticket must be over at the latest. ``entering`` is told the context
        before the executor runs. Raises ``CancelledError`` only when the attempt is to be resumed elsewhere.
        """
        ticket = plan.ticket
        executor = self._registry.get(ticket.task_type)
        try:
            limit = self._time_limit(executor, plan)
        except InvalidParameters as error:
            return Finished.failed(error.reason, str(error), dead_letter=True)
        context = AttemptContext(plan, limit.seconds, self._clock)
        entering(context)
        began = self._clock.monotonic()
        self._emit(
            AttemptStarted(
                ticket.ticket_id,
                ticket.task_type,
                plan.attempt,
                delivery,
                plan.checkpoint is not None,
                waited=0.0 if plan.waiting_since is None else began - plan.waiting_since,
                trace=context.span,
            )
        )
        outcome: Outcome | None = None
        try:
            outcome = await self._run(executor, ticket, context, limit, last_moment_ms)
            return outcome
        finally:
            self._emit(
                AttemptEnded(
                    ticket.ticket_id,
                    ticket.task_type,
                    plan.attempt,
                    _name(outcome),
                    self._clock.monotonic() - began,
                    reason=_reason(outcome),
                    trace=context.span,
                )
            )

    async def _run(
        self,
        executor: BaseTaskExecutor[Any],
        ticket: Ticket,
        context: AttemptContext,
        limit: TimeLimit,
        last_moment_ms: int | None,
    ) -> Outcome:
        if limit.seconds <= 0:
            return _deadline_exceeded()
        alarm = Alarm(limit.seconds)
        try:
            enter(context)
            work_on(context)
            result = await executor.execute(ticket, context)
            return Finished.of(_with_logs(_checked(executor, result), context))
        except asyncio.CancelledError as error:
            if not alarm.was_alone() and _was_asked_for():
                return self._cancelled(context)
            failure: Exception = RuntimeError(f"cancelled from within: {error!r}")
        except Exception as error:  # noqa: BLE001 # the outermost frame of foreign code: the ticket must be answered
            failure = error
        finally:
            alarm.put_off()
        if alarm.rang and limit.by_deadline:
            return _deadline_exceeded()
        if alarm.rang:
            failure = TaskTimedOut(f"not finished within its time limit of {limit.seconds:.0f} s")
        return self._failed(ticket, context, failure, last_moment_ms)

    def _failed(self, ticket: Ticket, context: AttemptContext, error: Exception, last_moment_ms: int | None) -> Outcome:
        """Turn an error into an outcome. A foreign one may be transient, so it is retried like any other."""
        if isinstance(error, InvalidParameters | JournalError):
            reason = error.reason if isinstance(error, InvalidParameters) else Reason.INTERNAL
            return Finished.failed(reason, str(error), dead_letter=True)
        if not isinstance(error, TaskError):
            trace = "".join(traceback.format_exception(error))
            self._emit(ExecutorCrashed(ticket.ticket_id, ticket.task_type, repr(error), trace, trace=context.span))
            error = TaskError(f"{type(error).__name__}: {error}", reason=Reason.INTERNAL, retryable=True)
        left = None if last_moment_ms is None else (last_moment_ms - self._clock.now_ms()) / 1000
        outcome = self._retry.decide(ticket, context.attempt, error, left)
        if isinstance(outcome, Finished):
            return replace(outcome, result=_with_logs(outcome.result, context))
        return outcome

    def _time_limit(self, executor: BaseTaskExecutor[Any], plan: AttemptPlan) -> TimeLimit:
        ticket, now_ms = plan.ticket, self._clock.now_ms()
        parameters = executor.parameters(ticket)
        if parameters.timeout_seconds is not None:
            seconds = parameters.timeout_seconds
        elif ticket.sla.timeout_ms is not None:
            seconds = ticket.sla.timeout_ms / 1000 * self._multiplier
        else:
            seconds = executor.time_limit(ticket)
        if plan.checkpoint_at:
            seconds = max(seconds - (now_ms - plan.checkpoint_at) / 1000, min(seconds, _LAST_LOOK))
        if ticket.sla.deadline is None:
            return TimeLimit(seconds, by_deadline=False)
        left = (ticket.sla.deadline - now_ms) / 1000
        return TimeLimit(min(seconds, left), by_deadline=left < seconds)

    @staticmethod
    def _cancelled(context: AttemptContext) -> Outcome:
        """An operator's cancellation settles the ticket; any other leaves it to the partition's next opening."""
        reason = context.cancel_reason or ""
        if not reason.startswith(CANCELLED_BY_OPERATOR):
            raise asyncio.CancelledError(reason)
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        finished = Finished.failed(Reason.CANCELLED, reason)
        return replace(finished, result=_with_logs(finished.result, context))


def _checked(executor: BaseTaskExecutor[Any], result: object) -> TaskResult:
    if not isinstance(result, TaskResult):
        raise TypeError(f"{type(executor).__name__}.execute returned {type(result).__name__}, not a TaskResult")
    return result


def _was_asked_for() -> bool:
    """Whether somebody cancelled this task, rather than something inside it letting a cancellation out."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _with_logs(result: TaskResult, context: AttemptContext) -> TaskResult:
    logs = context.logs
    return replace(result, logs=(*logs, *result.logs)) if logs else result


def _deadline_exceeded() -> Finished:
    return Finished.failed(Reason.DEADLINE_EXCEEDED, "sla.deadline passed before it was done")


def _reason(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    return (outcome.error_reason or "") if isinstance(outcome, Finished) else outcome.reason


def _name(outcome: Outcome | None) -> str:
    if isinstance(outcome, Finished):
        return outcome.status.lower()
    if outcome is None:
        return "released"
    return "retry" if outcome.costs_attempt else "postponed"
