"""The kit that runs one executor alone behaves as the engine does."""

import asyncio
from typing import Any

import pytest

from worker_agents.devkit.executor_kit import (
    MAX_CHECKPOINT_BYTES,
    FakeContext,
    VirtualClock,
    run_executor,
    ticket_for,
)
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.model.errors import InvalidTicket, JournalError, LeaseLost, TaskTimedOut
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket


class Waiter(BaseTaskExecutor[Parameters]):
    """Waits for ``seconds``, then returns ``answer``."""

    def __init__(self, seconds: float = 0.0, answer: Any = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.answer = answer or TaskResult(success=True)

    def get_task_type(self) -> str:
        return "WAIT"

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:  # noqa: ARG002 # the interface
        await context.sleep(self.seconds)
        return self.answer


WAIT = ticket_for("WAIT")


async def test_time_passes_only_where_the_executor_waits() -> None:
    context = FakeContext(time_limit=3600)

    assert (await run_executor(Waiter(1800), WAIT, context)).success

    assert context.sleeps == [1800]
    assert context.remaining() == 1800


async def test_an_attempt_that_outlives_its_limit_times_out_at_it() -> None:
    context = FakeContext(time_limit=10)

    with pytest.raises(TaskTimedOut):
        await run_executor(Waiter(3600), WAIT, context)

    assert context.clock.monotonic() == 10


async def test_an_attempt_can_be_cancelled_by_time_and_from_outside() -> None:
    context = FakeContext(cancel_at=5, cancel_with="partition_revoked")
    with pytest.raises(asyncio.CancelledError):
        await run_executor(Waiter(60), WAIT, context)
    assert (context.cancel_reason, context.cancelled, context.clock.monotonic()) == ("partition_revoked", True, 5)

    outside = FakeContext()
    outside.clock.call_later(1, lambda: outside.cancel("drain"))
    with pytest.raises(asyncio.CancelledError):
        await run_executor(Waiter(60), WAIT, outside)
    assert outside.cancel_reason == "drain"


@pytest.mark.parametrize("answer", [{"success": True}, TaskResult(success=True, output={"a": object()})])
async def test_a_result_that_cannot_be_published_is_refused(answer: object) -> None:
    with pytest.raises(TypeError):
        await run_executor(Waiter(answer=answer), WAIT)


async def test_checkpoints_go_through_json_and_have_a_size() -> None:
    context = FakeContext()
    await context.checkpoint({"steps": (1, 2)})
    context.clock.advance(3)

    assert context.checkpoints == [{"steps": [1, 2]}]
    assert context.seconds_since_checkpoint() == 3
    with pytest.raises(JournalError, match="not JSON"):
        await context.checkpoint({"a": object()})
    with pytest.raises(JournalError, match="larger than"):
        await context.checkpoint({"a": "x" * MAX_CHECKPOINT_BYTES})


async def test_the_next_attempt_finds_what_the_last_one_left() -> None:
    context = FakeContext("t1", deadline=5.0)
    assert context.next_attempt().resumed_from is None
    await context.checkpoint({"job": 1})
    context.clock.advance(7)

    following = context.next_attempt(lease_lost=True)

    assert (following.ticket_id, following.attempt, following.deadline) == ("t1", 2, 5.0)
    assert following.resumed_from == {"job": 1}
    assert following.seconds_since_checkpoint() == 7
    with pytest.raises(LeaseLost):
        following.start_remote("generate")
    assert following.next_attempt().resumed_from == {"job": 1}


def test_tickets_are_read_as_those_from_kafka() -> None:
    assert ticket_for("wait", sla={"timeout_ms": "5"}).sla.timeout_ms == 5
    with pytest.raises(InvalidTicket):
        ticket_for("WAIT", ticket_id="@reserved")


def test_timers_are_called_in_their_order_and_not_when_cancelled() -> None:
    clock, called = VirtualClock(now_ms=1000), list[str]()
    clock.call_later(2, lambda: called.append("second"))
    clock.call_later(1, lambda: called.append("first"))
    cancelled = clock.call_later(1, lambda: called.append("never"))
    cancelled.cancel()
    cancelled.cancel()

    clock.advance(1.5)
    assert called == ["first"]
    clock.advance(1)
    assert called == ["first", "second"]
    assert clock.now_ms() == 3500
