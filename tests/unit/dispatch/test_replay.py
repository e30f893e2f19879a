"""A dead letter is sent again: the ticket runs once more for each replay, and each replay once."""

from typing import Any

import pytest

from tests.unit.dispatch.fakes import DENIED, Checkpoint, World, record
from tests.unit.dispatch.test_lane import restarted
from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.model.errors import IntegrationUnavailable, Reason
from worker_agents.model.state import Done
from worker_agents.model.ticket import REPLAY_HEADER, Envelope
from worker_agents.telemetry.events import DuplicateSeen, TicketReplayed

DOWN = IntegrationUnavailable("down", retry_after=1.0)


def replay(offset: int, letter: str, ticket_id: str = "t", task_type: str = "EXECUTE", **fields: Any) -> Envelope:
    original = record(offset, ticket_id, task_type, **fields)
    return Envelope(offset, original.value, original.key, ((REPLAY_HEADER, letter.encode()),), original.timestamp)


async def failed_world() -> World:
    """A world whose only ticket has used up its attempts."""
    world = World()
    await world.accept(record(0, "t", sla={"max_retries": 0}))
    await world.finish("t", DOWN)
    assert world.journal.reason_of("t") == Reason.RETRIES_EXHAUSTED
    return world


def statuses(world: World) -> list[str]:
    return [answer.finished.status.value for answer in world.journal.answers_for("t")]


async def test_a_replay_runs_a_settled_ticket_anew_with_a_fresh_budget_and_key() -> None:
    world = await failed_world()
    await world.accept(replay(1, "0-7", sla={"max_retries": 1}))
    run = world.run("t")
    assert run.context.attempt == 1
    assert run.context.start_remote("generate")["Idempotency-Key"] == "t:generate:0-7"
    await world.finish("t", DOWN)
    await world.advance(2.0)
    assert world.run("t").context.attempt == 2
    assert world.run("t").context.start_remote("generate")["Idempotency-Key"] == "t:generate:0-7"
    await world.finish("t")
    assert statuses(world) == ["FAILED", "COMPLETED"]
    assert world.journal.known["t"] == Done(
        world.journal.answers[-1].finished.status, 1, world.clock.now_ms(), ("0-7",)
    )
    assert [(event.replay, event.count) for event in world.events if isinstance(event, TicketReplayed)] == [("0-7", 1)]
    world.assert_nothing_left()


async def test_replaying_the_same_letter_twice_runs_once() -> None:
    world = await failed_world()
    await world.accept(replay(1, "0-7"))
    await world.finish("t")
    await world.accept(replay(2, "0-7"))
    assert not world.live()
    assert statuses(world) == ["FAILED", "COMPLETED"]
    assert world.journal.settled == {0: 1, 1: 1, 2: 1}
    assert [event.kind for event in world.events if isinstance(event, DuplicateSeen)] == ["done"]
    world.assert_nothing_left()


async def test_each_letter_is_a_replay_of_its_own() -> None:
    world = await failed_world()
    await world.accept(replay(1, "0-7"))
    await world.finish("t", DENIED)
    await world.accept(replay(2, "0-9"))
    await world.finish("t")
    await world.accept(replay(3, "0-7"))
    assert statuses(world) == ["FAILED", "FAILED", "COMPLETED"]
    assert world.executor.history == ["t", "t", "t"]
    world.assert_nothing_left()


async def test_a_replay_of_a_ticket_under_way_is_settled_with_it() -> None:
    world = World()
    await world.accept(record(0, "t"), replay(1, "0-7"))
    await world.finish("t")
    assert statuses(world) == ["COMPLETED"]
    assert world.journal.settled == {0: 1, 1: 1}
    world.assert_nothing_left()


async def test_a_replay_is_resumed_by_the_next_worker_under_the_same_key() -> None:
    world = await failed_world()
    await world.accept(replay(1, "0-7"))
    world.run("t").do(Checkpoint({"job": 3}))
    await world.work()
    world = await restarted(world)
    await world.accept(record(0, "t"), replay(1, "0-7"))
    context = world.run("t").context
    assert context.resumed_from == {"job": 3}
    assert context.start_remote("x")["Idempotency-Key"] == "t:x:0-7"
    await world.finish("t")
    assert statuses(world) == ["FAILED", "COMPLETED"]
    world.assert_nothing_left()


async def test_a_replay_is_not_bound_by_the_deadline_that_the_ticket_had() -> None:
    world = World()
    past = {"deadline": world.clock.now_ms() - 1}
    await world.accept(record(0, "t", sla=past))
    assert world.journal.reason_of("t") == Reason.DEADLINE_EXCEEDED
    await world.accept(replay(1, "0-7", sla=past))
    await world.finish("t", DOWN)
    await world.advance(60.0)
    await world.finish("t")
    assert statuses(world) == ["FAILED", "COMPLETED"]
    world.assert_nothing_left()


async def test_a_replay_whose_result_was_not_committed_is_not_taken_for_the_first_run() -> None:
    """The ledger fails while the refusal of a replay is being written."""
    world = World(policy=AdmissionPolicy({"EXECUTE"}))
    await world.accept(record(0, "t", "DANCE"))
    assert world.journal.reason_of("t") == Reason.UNKNOWN_TASK_TYPE
    world.lane.accept(replay(1, "0-7", task_type="DANCE"))
    await world.lane.suspend()
    kept = await world.lane.reconcile()
    world.journal.reconcile(kept)
    await world.work()
    assert statuses(world) == ["FAILED", "FAILED"]
    assert world.journal.settled == {0: 1, 1: 1}
    world.assert_nothing_left()


@pytest.mark.parametrize("letter", ["", "7", "0-7; drop", "0-\u0667", "x" * 400])
async def test_what_names_no_dead_letter_is_an_ordinary_copy(letter: str) -> None:
    world = await failed_world()
    await world.accept(replay(1, letter))
    assert not world.live()
    assert statuses(world) == ["FAILED"]
    world.assert_nothing_left()
