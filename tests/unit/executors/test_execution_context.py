"""What executors may rely on: the kit's context and the engine's keep the same contract."""

from collections.abc import Callable
from typing import Any

import pytest

from worker_agents.devkit.executor_kit import FakeContext, VirtualClock, ticket_for
from worker_agents.engine.context import AttemptContext, AttemptPlan
from worker_agents.executors.base import ExecutionContext
from worker_agents.model.errors import JournalError, LeaseLost
from worker_agents.telemetry.tracing import TraceContext

CHECKPOINT_AGE = 50.0

Begin = Callable[..., ExecutionContext]


def fake(clock: VirtualClock, *, checkpoint: dict[str, Any] | None = None, lease_lost: bool = False) -> FakeContext:
    return FakeContext(
        "t1",
        attempt=2,
        resumed_from=checkpoint,
        checkpoint_age=CHECKPOINT_AGE,
        time_limit=100,
        lease_lost=lease_lost,
        clock=clock,
    )


def real(clock: VirtualClock, *, checkpoint: dict[str, Any] | None = None, lease_lost: bool = False) -> AttemptContext:
    async def save(_: dict[str, Any]) -> None:
        pass

    plan = AttemptPlan(
        ticket=ticket_for("EXECUTE", ticket_id="t1"),
        attempt=2,
        checkpoint=checkpoint,
        checkpoint_at=clock.now_ms() - round(CHECKPOINT_AGE * 1000) if checkpoint else 0,
        save=save,
        owns_ticket=lambda: not lease_lost,
        trace=TraceContext.new,
    )
    return AttemptContext(plan, 100, clock)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=[fake, real], ids=["kit", "engine"])
def begin(request: pytest.FixtureRequest, clock: VirtualClock) -> Begin:
    def begun(**more: Any) -> ExecutionContext:
        context: ExecutionContext = request.param(clock, **more)
        return context

    return begun


async def test_a_first_checkpoint_starts_the_clock_of_the_remote_work(begin: Begin) -> None:
    context = begin()
    assert context.resumed_from is None
    await context.sleep(10)
    assert context.seconds_since_checkpoint() == 0

    await context.checkpoint({"job": 1})
    await context.sleep(5)
    await context.checkpoint({"job": 1, "step": 2})
    await context.sleep(5)

    assert context.seconds_since_checkpoint() == 10
    assert context.remaining() == 80


async def test_resuming_does_not_restart_it(begin: Begin) -> None:
    context = begin(checkpoint={"job": 1})

    await context.checkpoint({"job": 1, "step": 2})

    assert context.resumed_from == {"job": 1}
    assert context.seconds_since_checkpoint() == CHECKPOINT_AGE


async def test_a_checkpoint_is_json(begin: Begin) -> None:
    with pytest.raises(JournalError, match="not JSON"):
        await begin().checkpoint({"job": object()})


def test_a_start_carries_the_tickets_key_and_its_trace(begin: Begin) -> None:
    context = begin()

    assert context.start_remote("generate")["Idempotency-Key"] == "t1:generate"
    assert "traceparent" in context.start_remote("generate")
    assert "traceparent" in context.trace_headers()
    assert "Idempotency-Key" not in context.trace_headers()


def test_without_the_lease_nothing_starts(begin: Begin) -> None:
    with pytest.raises(LeaseLost):
        begin(lease_lost=True).start_remote("generate")


def test_it_says_which_attempt_it_is(begin: Begin) -> None:
    context = begin()

    assert (context.ticket_id, context.attempt, context.deadline) == ("t1", 2, None)
    assert not context.cancelled
