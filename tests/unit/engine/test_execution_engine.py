"""One attempt: its time limit, its end in every way, and what its executor is given."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from tests.unit.dispatch.fakes import DENIED, DONE, FakeClock
from worker_agents.engine.context import MAX_LOG_LINE, MAX_LOG_LINES, AttemptContext, AttemptPlan
from worker_agents.engine.execution_engine import ExecutionEngine, TimeLimit
from worker_agents.engine.retry import RetryPolicy
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.executors.registry import TaskExecutorRegistry
from worker_agents.model.errors import (
    IntegrationRejected,
    IntegrationUnavailable,
    InvalidParameters,
    JournalError,
    LeaseLost,
    Reason,
    TaskError,
)
from worker_agents.model.result import Finished, Outcome, RetryLater, Status, TaskResult
from worker_agents.model.ticket import Ticket, read_ticket
from worker_agents.telemetry.events import AttemptEnded, AttemptStarted, Event, ExecutorCrashed
from worker_agents.telemetry.tracing import TraceContext

TRACE = TraceContext.new()
Body = Callable[[Ticket, ExecutionContext], Awaitable[Any]]


class Numbered(Parameters):
    count: int = 1


class Task(BaseTaskExecutor[Numbered]):
    default_timeout_seconds = 600.0

    def __init__(self, body: Body) -> None:
        super().__init__()
        self._body = body

    def get_task_type(self) -> str:
        return "EXECUTE"

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        return await self._body(ticket, context)


async def never(ticket: Ticket, context: ExecutionContext) -> Any:  # noqa: ARG001 # an executor's signature
    await asyncio.get_running_loop().create_future()


def returning(value: object) -> Body:
    async def body(ticket: Ticket, context: ExecutionContext) -> Any:  # noqa: ARG001 # an executor's signature
        return value

    return body


def raising(error: BaseException) -> Body:
    async def body(ticket: Ticket, context: ExecutionContext) -> Any:  # noqa: ARG001 # an executor's signature
        context.log("before")
        raise error

    return body


class Bench:
    """An engine with one executor, and what it is given and tells."""

    def __init__(self, body: Body = never, *, checkpoint: dict[str, Any] | None = None, age: float = 0.0) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.saved: list[dict[str, Any]] = []
        self.owns = True
        self.checkpoint = checkpoint
        self.checkpoint_at = self.clock.now_ms() - int(age * 1000) if checkpoint is not None else 0
        self.executor = Task(body)
        registry = TaskExecutorRegistry()
        registry.register(self.executor)
        self.engine = ExecutionEngine(registry, RetryPolicy(), self.clock, self.events.append, timeout_multiplier=1.5)
        self.context: AttemptContext | None = None

    async def save(self, data: dict[str, Any]) -> None:
        self.saved.append(data)

    def plan(self, *, attempt: int = 1, **fields: Any) -> AttemptPlan:
        ticket = read_ticket(orjson.dumps({"ticket_id": "t", "task_type": "EXECUTE", **fields}))
        return AttemptPlan(
            ticket=ticket,
            attempt=attempt,
            checkpoint=self.checkpoint,
            checkpoint_at=self.checkpoint_at,
            save=self.save,
            owns_ticket=lambda: self.owns,
            trace=lambda: TRACE,
        )

    async def attempt(self, *, last_moment_ms: int | None = None, attempt: int = 1, **fields: Any) -> Outcome:
        return await self.engine.attempt(
            self.plan(attempt=attempt, **fields),
            delivery=1,
            last_moment_ms=last_moment_ms,
            entering=lambda context: setattr(self, "context", context),
        )

    def limit(self, **fields: Any) -> TimeLimit:
        return self.engine._time_limit(self.executor, self.plan(**fields))


def finished(outcome: Outcome) -> Finished:
    assert isinstance(outcome, Finished)
    return outcome


# --- time limits -------------------------------------------------------------------------------------------------


def test_the_parameters_limit_comes_first_then_the_slas_then_the_executors() -> None:
    bench = Bench()
    assert bench.limit().seconds == 600.0
    assert bench.limit(sla={"timeout_ms": 60_000}).seconds == 90.0
    assert bench.limit(sla={"timeout_ms": 60_000}, parameters={"timeout_seconds": "45"}).seconds == 45.0
    assert bench.limit(parameters={"timeout_seconds": 0.5}).seconds == 0.5


def test_no_limit_is_longer_than_the_time_to_the_deadline() -> None:
    bench = Bench()
    deadline = bench.clock.now_ms() + 30_000
    assert bench.limit(sla={"deadline": deadline}) == TimeLimit(30.0, by_deadline=True)
    assert bench.limit(sla={"deadline": deadline, "timeout_ms": 10_000}) == TimeLimit(15.0, by_deadline=False)


def test_resuming_does_not_restart_the_clock() -> None:
    assert Bench(checkpoint={"job": 1}, age=250.0).limit().seconds == 350.0


def test_resumed_work_gets_a_last_look() -> None:
    """It may have ended while nobody looked."""
    assert Bench(checkpoint={"job": 1}, age=10_000.0).limit().seconds == 30.0


def test_a_last_look_does_not_pass_the_deadline() -> None:
    bench = Bench(checkpoint={"job": 1}, age=10_000.0)
    deadline = bench.clock.now_ms() + 5_000
    assert bench.limit(sla={"deadline": deadline}) == TimeLimit(5.0, by_deadline=True)


async def test_an_attempt_over_its_limit_is_retried() -> None:
    outcome = await Bench().attempt(parameters={"timeout_seconds": 0.01})
    assert isinstance(outcome, RetryLater)
    assert outcome.reason is Reason.TIMEOUT
    assert "time limit" in outcome.message


async def test_the_last_attempt_over_its_limit_says_timeout() -> None:
    outcome = finished(await Bench().attempt(parameters={"timeout_seconds": 0.01}, sla={"max_retries": 0}))
    assert outcome.error_reason is Reason.RETRIES_EXHAUSTED
    assert outcome.result.metadata["last_reason"] == Reason.TIMEOUT


async def test_an_attempt_that_reaches_the_deadline_is_over() -> None:
    bench = Bench()
    outcome = finished(await bench.attempt(sla={"deadline": bench.clock.now_ms() + 10}))
    assert outcome.error_reason is Reason.DEADLINE_EXCEEDED
    assert not outcome.dead_letter


async def test_an_attempt_past_its_deadline_is_not_begun() -> None:
    calls: list[str] = []

    async def body(ticket: Ticket, context: ExecutionContext) -> Any:  # noqa: ARG001 # an executor's signature
        calls.append("called")

    bench = Bench(body)
    outcome = finished(await bench.attempt(sla={"deadline": bench.clock.now_ms()}))
    assert outcome.error_reason is Reason.DEADLINE_EXCEEDED
    assert not calls


async def test_a_timeout_of_the_executors_own_is_not_the_attempts() -> None:
    outcome = await Bench(raising(TimeoutError("my socket"))).attempt()
    assert isinstance(outcome, RetryLater)
    assert outcome.reason is Reason.INTERNAL
    assert "my socket" in outcome.message


# --- outcomes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "status", "reason"), [(DONE, "COMPLETED", None), (DENIED, "FAILED", "verdict_failed")]
)
async def test_a_result_is_the_end(result: TaskResult, status: str, reason: str | None) -> None:
    outcome = finished(await Bench(returning(result)).attempt())
    assert (outcome.status, outcome.error_reason, outcome.dead_letter) == (status, reason, False)


@pytest.mark.parametrize("value", [None, {"success": True}, "done", True, TaskResult])
async def test_a_wrong_return_type_is_a_crash(value: object) -> None:
    bench = Bench(returning(value))
    outcome = await bench.attempt()
    assert isinstance(outcome, RetryLater)
    assert outcome.reason is Reason.INTERNAL
    assert "not a TaskResult" in outcome.message
    assert [type(event) for event in bench.events] == [AttemptStarted, ExecutorCrashed, AttemptEnded]


async def test_a_crash_is_retried_and_its_traceback_told_to_developers_only() -> None:
    bench = Bench(raising(ZeroDivisionError("by zero")))
    outcome = finished(await bench.attempt(sla={"max_retries": 0}))
    assert outcome.error_reason is Reason.RETRIES_EXHAUSTED
    assert outcome.result.metadata["last_reason"] == Reason.INTERNAL
    assert outcome.result.error_message is not None
    assert outcome.result.error_message.startswith("ZeroDivisionError: by zero")
    assert "Traceback" not in outcome.result.error_message
    (crash,) = [event for event in bench.events if isinstance(event, ExecutorCrashed)]
    assert "Traceback" in crash.traceback


async def test_a_crash_is_not_retried_past_the_tickets_last_moment() -> None:
    """A delay that would pass the deadline is not begun, whatever the cause."""
    bench = Bench(raising(ZeroDivisionError("by zero")))
    outcome = await bench.attempt(last_moment_ms=bench.clock.now_ms())
    assert finished(outcome).error_reason is Reason.RETRIES_EXHAUSTED


@pytest.mark.parametrize("left", [0, 1])
async def test_an_error_is_not_retried_past_the_tickets_last_moment(left: int) -> None:
    bench = Bench(raising(IntegrationUnavailable("down", retry_after=1.0)))
    outcome = await bench.attempt(last_moment_ms=bench.clock.now_ms() + left * 1000)
    assert finished(outcome).error_reason is Reason.RETRIES_EXHAUSTED


@pytest.mark.parametrize(
    "parameters", [{"count": "many"}, {"timeout_seconds": 0}, {"timeout_seconds": "nan"}, {"timeout_seconds": 10**9}]
)
async def test_parameters_that_do_not_fit_are_refused_before_execute(parameters: dict[str, Any]) -> None:
    bench = Bench(raising(AssertionError("must not be called")))
    outcome = finished(await bench.attempt(parameters=parameters))
    assert outcome.error_reason is Reason.INVALID_PARAMETERS
    assert outcome.dead_letter
    assert next(iter(parameters)) in (outcome.result.error_message or "")
    assert "many" not in (outcome.result.error_message or "")
    assert not bench.events


async def test_parameters_that_turn_out_wrong_later_are_refused_too() -> None:
    outcome = finished(await Bench(raising(InvalidParameters("no such template"))).attempt())
    assert outcome.error_reason is Reason.INVALID_PARAMETERS
    assert outcome.dead_letter


async def test_a_journal_that_refuses_ends_the_attempt() -> None:
    outcome = finished(await Bench(raising(JournalError("too large"))).attempt())
    assert outcome.error_reason is Reason.INTERNAL
    assert outcome.dead_letter


async def test_an_error_that_is_not_retryable_keeps_the_logs() -> None:
    outcome = finished(await Bench(raising(IntegrationRejected("422"))).attempt())
    assert outcome.result.logs == ("before",)


async def test_logs_of_the_context_come_before_the_results_own() -> None:
    async def body(ticket: Ticket, context: ExecutionContext) -> Any:  # noqa: ARG001 # an executor's signature
        context.log("one")
        context.log("two")
        return TaskResult(success=True, logs=("three",))

    assert finished(await Bench(body).attempt()).result.logs == ("one", "two", "three")


# --- cancellation ------------------------------------------------------------------------------------------------


async def cancelled(bench: Bench, reason: str | None) -> asyncio.Task[Outcome]:
    task = asyncio.create_task(bench.attempt())
    await asyncio.sleep(0)
    assert bench.context is not None
    bench.context.cancel_reason = reason
    task.cancel()
    await asyncio.wait([task])
    return task


async def test_an_operators_cancellation_is_an_answer() -> None:
    bench = Bench()
    outcome = finished((await cancelled(bench, "cancelled by jane")).result())
    assert outcome.status is Status.FAILED
    assert outcome.error_reason is Reason.CANCELLED
    assert outcome.result.error_message == "cancelled by jane"
    assert not outcome.dead_letter
    assert [event.outcome for event in bench.events if isinstance(event, AttemptEnded)] == ["failed"]


async def test_a_task_goes_on_after_an_operators_cancellation() -> None:
    """The result is still to be written by the task that was cancelled."""
    bench = Bench()

    async def attempt_and_go_on() -> str:
        await bench.attempt()
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        return "went on"

    task = asyncio.create_task(attempt_and_go_on())
    await asyncio.sleep(0)
    assert bench.context is not None
    bench.context.cancel_reason = "cancelled by jane"
    task.cancel()
    assert await task == "went on"
    assert task.cancelling() == 0


@pytest.mark.parametrize("reason", ["partition_revoked", "lease_expired", "shutdown"])
async def test_any_other_cancellation_leaves_the_ticket_to_others(reason: str) -> None:
    bench = Bench()
    task = await cancelled(bench, reason)
    assert task.cancelled()
    assert [event.outcome for event in bench.events if isinstance(event, AttemptEnded)] == ["released"]


async def test_a_cancellation_that_nobody_asked_for_is_a_crash() -> None:
    """An executor awaited something that was cancelled; nobody gave the attempt up."""
    bench = Bench(raising(asyncio.CancelledError()))
    task = asyncio.create_task(bench.attempt())
    await asyncio.wait([task])
    assert not task.cancelled()
    assert isinstance(task.result(), RetryLater)


# --- what the executor is given ----------------------------------------------------------------------------------


async def test_the_context_tells_where_the_ticket_stands() -> None:
    seen: list[ExecutionContext] = []

    async def body(ticket: Ticket, context: ExecutionContext) -> Any:  # noqa: ARG001 # an executor's signature
        seen.append(context)
        return DONE

    bench = Bench(body, checkpoint={"job": 1}, age=10.0)
    deadline = bench.clock.now_ms() + 100_000
    await bench.attempt(attempt=3, sla={"deadline": deadline})
    (context,) = seen
    assert (context.ticket_id, context.attempt, context.resumed_from) == ("t", 3, {"job": 1})
    assert context.deadline == deadline / 1000
    assert context.seconds_since_checkpoint() == 10.0
    assert context.remaining() == 100.0
    bench.clock.advance(40.0)
    assert context.remaining() == 60.0
    assert context.seconds_since_checkpoint() == 50.0
    bench.clock.advance(100.0)
    assert context.remaining() == 0.0


def context(bench: Bench) -> AttemptContext:
    return AttemptContext(bench.plan(), 60.0, bench.clock)


async def test_a_checkpoint_is_durable_when_it_returns_and_keeps_its_first_moment() -> None:
    bench = Bench()
    attempt = context(bench)
    assert attempt.seconds_since_checkpoint() == 0.0
    await attempt.checkpoint({"job": 1})
    bench.clock.advance(5.0)
    await attempt.checkpoint({"job": 1, "page": 2})
    assert bench.saved == [{"job": 1}, {"job": 1, "page": 2}]
    assert attempt.seconds_since_checkpoint() == 5.0


@pytest.mark.parametrize("data", [{"a": {1}}, {"a": object()}, {"a": 2**70}, {1: "a"}, {"a": "\ud800"}])
async def test_a_checkpoint_that_is_not_json_is_refused(data: dict[str, Any]) -> None:
    bench = Bench()
    with pytest.raises(JournalError):
        await context(bench).checkpoint(data)
    assert not bench.saved


async def test_remote_work_is_started_on_a_fresh_lease_only() -> None:
    bench = Bench()
    attempt = context(bench)
    first, second = attempt.start_remote("generate"), attempt.start_remote("generate")
    assert first["Idempotency-Key"] == second["Idempotency-Key"] == "t:generate"
    assert first["traceparent"] == second["traceparent"] == TRACE.traceparent
    bench.owns = False
    with pytest.raises(LeaseLost):
        attempt.start_remote("generate")
    assert "Idempotency-Key" not in attempt.trace_headers()


async def test_logs_are_bounded() -> None:
    attempt = context(Bench())
    for number in range(MAX_LOG_LINES + 10):
        attempt.log(f"line {number}")
    attempt.log("x" * 100_000)
    assert len(attempt.logs) == MAX_LOG_LINES
    assert attempt.logs[0] == "line 11"
    assert len(attempt.logs[-1]) == MAX_LOG_LINE + 1
    assert len(attempt.progress) == 200


async def test_events_frame_the_attempt() -> None:
    bench = Bench(raising(TaskError("odd", retryable=True)), checkpoint={"job": 1})
    await bench.attempt(attempt=2)
    assert bench.events == [
        AttemptStarted("t", "EXECUTE", attempt=2, delivery=1, resumed=True),
        AttemptEnded("t", "EXECUTE", attempt=2, outcome="retry", duration=0.0),
    ]
