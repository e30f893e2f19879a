"""An operator gives a ticket up, wherever it is on its way."""

import pytest

from tests.unit.dispatch.fakes import DENIED, DONE, Checkpoint, World, let_it_work, record
from worker_agents.dispatch.cancellation import Cancelled, CancelRequest
from worker_agents.dispatch.config import DispatchConfig, Ordering
from worker_agents.dispatch.job import JobPhase
from worker_agents.model.errors import IntegrationUnavailable, Reason
from worker_agents.model.result import Status
from worker_agents.model.state import Done, Phase, TicketState
from worker_agents.telemetry.events import TicketCancelled

REQUEST = CancelRequest("t", by="ana", why="wrong branch")
REASON = "cancelled by ana: wrong branch"


def assert_cancelled(world: World, ticket_id: str = "t", *, attempts: int) -> None:
    (answer,) = world.journal.answers_for(ticket_id)
    assert answer.finished.status is Status.FAILED
    assert answer.finished.error_reason is Reason.CANCELLED
    assert answer.finished.result.error_message == REASON
    assert answer.attempts == attempts
    assert not world.journal.dead_letters


async def test_a_running_ticket_is_told_why_and_answered() -> None:
    world = World()
    await world.accept(record(0, "t"))
    assert world.dispatcher.cancel(REQUEST) is Cancelled.RUNNING
    await world.work()
    assert world.executor.cancelled_because["t"] == REASON
    assert_cancelled(world, attempts=1)
    assert world.journal.settled == {0: 1}
    assert [(event.by, event.why) for event in world.events if isinstance(event, TicketCancelled)] == [
        ("ana", "wrong branch")
    ]
    world.assert_nothing_left()


async def test_a_second_cancellation_does_not_interrupt_what_is_done_about_the_first() -> None:
    world = World()
    await world.accept(record(0, "t"))
    task = world.lane.jobs["t"].task
    assert task is not None
    assert world.dispatcher.cancel(REQUEST) is Cancelled.RUNNING
    assert world.dispatcher.cancel(CancelRequest("t", by="ben")) is Cancelled.RUNNING
    assert task.cancelling() == 1
    await world.work()
    assert_cancelled(world, attempts=1)
    assert [event.by for event in world.events if isinstance(event, TicketCancelled)] == ["ana"]
    world.assert_nothing_left()


async def test_an_attempt_that_is_about_to_begin_is_not_taken_for_the_one_before() -> None:
    """A suspect holds its slot while its start is being written: there is no executor yet that could be told."""
    world = World()
    world.journal.known["t"] = TicketState(Phase.STARTED, 0, "other", delivery=4, began_at=1_000)
    await world.accept(record(0, "t"))
    await world.finish("t", IntegrationUnavailable("down", retry_after=5.0))
    world.clock.advance(5.0)
    await let_it_work()
    assert world.lane.jobs["t"].phase is JobPhase.RUNNING
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    await world.work()
    assert_cancelled(world, attempts=1)
    assert world.executor.history == ["t"]
    world.assert_nothing_left()


async def test_a_result_that_comes_at_the_same_moment_may_win_but_never_both() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.executor.stubborn["t"] = DONE
    assert world.dispatcher.cancel(REQUEST) is Cancelled.RUNNING
    await world.work()
    assert world.journal.status_of("t") == Status.COMPLETED
    world.assert_nothing_left()


async def test_what_is_being_settled_cannot_be_cancelled() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(DONE)
    await let_it_work()
    assert world.dispatcher.cancel(REQUEST) is Cancelled.TOO_LATE
    await world.work()
    assert world.journal.status_of("t") == Status.COMPLETED
    assert world.dispatcher.cancel(REQUEST) is Cancelled.SETTLED
    assert world.dispatcher.cancel(CancelRequest("other")) is Cancelled.UNKNOWN
    world.assert_nothing_left()


async def test_a_ticket_that_waits_for_its_retry_is_settled_at_once() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.finish("t", IntegrationUnavailable("down", retry_after=100.0))
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    await world.work()
    assert_cancelled(world, attempts=1)
    world.assert_nothing_left()


@pytest.mark.parametrize(
    ("checkpoint", "logs"),
    [(None, ()), ({"job": 1}, ("cancelled while it waited; its remote work is left running: {'job': 1}",))],
)
async def test_a_ticket_whose_wait_for_a_retry_is_just_being_written_is_settled_at_once(
    checkpoint: dict[str, int] | None, logs: tuple[str, ...]
) -> None:
    world = World()
    await world.accept(record(0, "t"))
    if checkpoint is not None:
        world.run("t").do(Checkpoint(checkpoint))
        await world.work()
    world.run("t").do(IntegrationUnavailable("down", retry_after=100.0))
    await let_it_work()
    assert [change.state.phase for change in world.journal.pending] == [Phase.PARKED]  # type: ignore[union-attr]
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    await world.work()
    assert_cancelled(world, attempts=1)
    assert isinstance(world.journal.known["t"], Done)
    assert world.journal.answers[0].finished.result.logs == logs
    world.assert_nothing_left()


async def test_a_ticket_that_waits_for_a_dependency_is_settled_at_once() -> None:
    world = World()
    await world.accept(record(0, "t", dependencies=["a"]), record(1, "u", dependencies=["t"]))
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    await world.work()
    assert_cancelled(world, attempts=0)
    assert world.journal.reason_of("u") == Reason.DEPENDENCY_FAILED
    world.assert_nothing_left()


@pytest.mark.parametrize("commits", [0, 1])
async def test_a_ticket_whose_start_is_being_written_never_runs(commits: int) -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "first"))
    world.lane.accept(record(1, "t"))
    await let_it_work()
    if commits:
        world.journal.commit()
        await let_it_work()
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    await world.work()
    await world.finish("first")
    assert_cancelled(world, attempts=0)
    assert world.executor.history == ["first"]
    world.assert_nothing_left()


async def test_a_ready_ticket_without_a_slot_never_runs() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(*(record(number, f"n{number}") for number in range(20)), record(20, "t"))
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    await world.work()
    assert_cancelled(world, attempts=0)
    for _ in range(20):
        (running,) = world.live()
        await world.finish(running)
    assert "t" not in world.executor.history
    world.assert_nothing_left()


async def test_what_is_held_in_a_quiet_lane_stays_cancelled_when_it_wakes() -> None:
    world = World()
    world.lane.quiet()
    await world.accept(record(0, "t"))
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    world.lane.wake()
    await world.work()
    assert_cancelled(world, attempts=0)
    assert world.executor.history == []
    world.assert_nothing_left()


async def test_the_next_of_the_same_key_goes_on() -> None:
    world = World(DispatchConfig(ordering=Ordering.KEY))
    await world.accept(record(0, "t", key=b"k"), record(1, "u", key=b"k"))
    assert world.dispatcher.cancel(REQUEST) is Cancelled.RUNNING
    await world.work()
    await world.finish("u")
    assert_cancelled(world, attempts=1)
    world.assert_nothing_left()


async def test_one_that_is_cancelled_behind_its_key_does_not_get_its_turn_as_well() -> None:
    """Found by the stateful test: the end of the ticket before it ended it a second time."""
    world = World(DispatchConfig(ordering=Ordering.KEY))
    await world.accept(
        record(0, "first", key=b"k"), record(1, "t", key=b"k", dependencies=["first"]), record(2, "last", key=b"k")
    )
    world.run("first").do(DENIED)
    await let_it_work()
    assert world.dispatcher.cancel(REQUEST) is Cancelled.WAITING
    world.journal.commit(1)
    await world.work()
    assert_cancelled(world, attempts=0)
    await world.finish("last")
    assert world.executor.history == ["first", "last"]
    assert world.journal.settled == {0: 1, 1: 1, 2: 1}
    world.assert_nothing_left()
