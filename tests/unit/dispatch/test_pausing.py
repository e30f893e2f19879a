"""An operator pauses a task type: nothing of it starts, what runs goes on, and others are not held up."""

from __future__ import annotations

import pytest

from tests.unit.dispatch.fakes import DONE, NOW_MS, Checkpoint, World, let_it_work, record
from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.dispatch.cancellation import Cancelled, CancelRequest
from worker_agents.dispatch.config import DispatchConfig, Ordering
from worker_agents.dispatch.job import JobPhase
from worker_agents.dispatch.pausing import Paused, PauseRequest, Resumed, ResumeRequest
from worker_agents.model.errors import IntegrationUnavailable, Reason
from worker_agents.model.state import Phase, TicketState
from worker_agents.telemetry.events import TaskTypePaused, TaskTypeResumed, TicketWaiting

PAUSE = PauseRequest("BUILD", by="ana", why="forge upgrade")
RESUME = ResumeRequest("BUILD", by="ben", why="done")
TYPES = ("BUILD", "TEST")


def build(offset: int, ticket_id: str, **fields: object):  # type: ignore[no-untyped-def]
    return record(offset, ticket_id, "BUILD", **fields)  # type: ignore[arg-type]


def told(world: World, kind: type) -> list[object]:
    return [event for event in world.events if isinstance(event, kind)]


async def test_what_runs_goes_on_and_nothing_else_starts_until_it_is_resumed() -> None:
    world = World(task_types=TYPES)
    await world.accept(build(0, "running"))
    assert world.dispatcher.pause(PAUSE) is Paused.PAUSED
    await world.accept(build(1, "waits"), record(2, "other", "TEST"))
    assert set(world.live()) == {"running", "other"}
    job = world.lane.jobs["waits"]
    assert (job.phase, job.why_waiting, job.ticket) == (JobPhase.PARKED, "paused", None)
    await world.finish("running")
    await world.finish("other")
    assert world.journal.status_of("running") == "COMPLETED"

    assert world.dispatcher.resume(RESUME) is Resumed.RESUMED
    await world.work()
    await world.finish("waits")
    assert world.journal.answers_for("waits")[0].attempts == 1
    world.assert_nothing_left()


async def test_pause_and_resume_are_told_with_who_and_why() -> None:
    world = World(task_types=TYPES)
    world.dispatcher.pause(PAUSE)
    await world.accept(build(0, "t"))
    world.dispatcher.resume(RESUME)
    until = NOW_MS + 3_600_000
    assert told(world, TaskTypePaused) == [TaskTypePaused("BUILD", "ana", "forge upgrade", until)]
    assert told(world, TaskTypeResumed) == [TaskTypeResumed("BUILD", "ben", "done", expired=False)]
    assert told(world, TicketWaiting) == [TicketWaiting("t", "BUILD", "paused", 3_600.0)]


async def test_a_pause_ends_by_itself_after_an_hour() -> None:
    world = World(task_types=TYPES)
    world.dispatcher.pause(PAUSE)
    await world.accept(build(0, "t"))
    await world.advance(3_599.0)
    assert not world.live()
    await world.advance(1.0)
    await world.finish("t")
    assert told(world, TaskTypeResumed) == [TaskTypeResumed("BUILD", "ana", "forge upgrade", expired=True)]
    assert world.dispatcher.resume(RESUME) is Resumed.NOT_PAUSED
    world.assert_nothing_left()


async def test_no_pause_is_longer_than_a_day() -> None:
    world = World(task_types=TYPES)
    world.dispatcher.pause(PauseRequest("BUILD", seconds=1e9))
    assert world.dispatcher.pauses.remaining("BUILD") == 86_400.0
    await world.advance(86_400.0)
    assert "BUILD" not in world.dispatcher.pauses
    assert world.dispatcher.pauses.remaining("BUILD") == 0.0


async def test_a_second_pause_replaces_note_and_end_of_the_first() -> None:
    world = World(task_types=TYPES)
    world.dispatcher.pause(PAUSE)
    await world.advance(100.0)
    assert world.dispatcher.pause(PauseRequest("BUILD", by="ben", why="longer", seconds=7_200.0)) is Paused.CHANGED
    (pause,) = world.dispatcher.pauses
    assert (pause.by, pause.why, pause.since, pause.until) == ("ben", "longer", NOW_MS, NOW_MS + 7_300_000)
    assert world.dispatcher.pauses.get("BUILD") == pause
    await world.advance(3_600.0)
    assert "BUILD" in world.dispatcher.pauses


async def test_only_types_that_run_here_can_be_paused() -> None:
    world = World(task_types=TYPES)
    assert world.dispatcher.pause(PauseRequest("DANCE")) is Paused.UNKNOWN
    assert world.dispatcher.resume(ResumeRequest("DANCE")) is Resumed.UNKNOWN
    assert world.dispatcher.resume(RESUME) is Resumed.NOT_PAUSED
    chosen = World(policy=AdmissionPolicy(TYPES, supported={"TEST"}), task_types=TYPES)
    assert chosen.dispatcher.pause(PAUSE) is Paused.UNKNOWN


@pytest.mark.parametrize("limit", [1, 2])
async def test_tickets_of_a_paused_type_do_not_fill_the_intake(limit: int) -> None:
    """As with a type whose slots are all taken: others lie behind them in the same partition."""
    config = DispatchConfig(max_concurrent=2, limits={"BUILD": limit}, max_buffered=10, max_parked=1_000)
    world = World(config, task_types=TYPES)
    await world.accept(build(0, "first"), build(1, "second"), *(build(n, f"b{n}") for n in range(2, 8)))
    world.dispatcher.pause(PAUSE)
    await world.accept(*(build(n, f"b{n}") for n in range(8, 500)))
    assert world.dispatcher.buffered == 0
    assert world.dispatcher.has_room()
    assert world.dispatcher.parked == 500 - limit
    await world.finish("first")
    await world.accept(record(500, "other", "TEST"))
    await world.finish("other")
    for _ in range(limit - 1):
        await world.finish("second")

    world.dispatcher.resume(RESUME)
    await world.work()
    while world.live():
        await world.finish(next(iter(world.live())))
    assert len(world.journal.answers) == 501
    world.assert_nothing_left()


async def test_thousands_are_held_and_let_go_a_slice_at_a_time() -> None:
    world = World(DispatchConfig(max_concurrent=1, max_buffered=10_000), task_types=TYPES)
    await world.accept(record(0, "busy", "TEST"), *(build(n, f"b{n}") for n in range(1, 1_000)))
    world.dispatcher.pause(PAUSE)
    assert world.dispatcher.parked == 100
    await let_it_work()
    assert world.dispatcher.parked == 999
    world.dispatcher.resume(RESUME)
    assert world.dispatcher.parked == 899
    world.dispatcher.pause(PAUSE)
    await let_it_work()
    assert world.dispatcher.parked == 999


@pytest.mark.parametrize("commits", [0, 1])
async def test_one_that_is_about_to_start_is_held_and_remembered_as_not_begun(commits: int) -> None:
    """Its *started* may be durable: if the worker died now, it must not be charged with that."""
    world = World(DispatchConfig(max_concurrent=1), task_types=TYPES)
    await world.accept(record(0, "busy", "TEST"))
    world.lane.accept(build(1, "t"))
    await let_it_work()
    if commits:
        world.journal.commit()
        await let_it_work()
    assert world.lane.jobs["t"].phase is (JobPhase.ARMED if commits else JobPhase.ARMING)
    world.dispatcher.pause(PAUSE)
    await world.work()
    await world.finish("busy")
    assert not world.live()
    known = world.journal.known["t"]
    assert isinstance(known, TicketState)
    assert (known.phase, known.reason, known.delay, known.began_at) == (Phase.PARKED, "paused", 0.0, 0)

    world.dispatcher.resume(RESUME)
    await world.work()
    await world.finish("t")
    assert world.executors["BUILD"].history == ["t"]
    world.assert_nothing_left()


async def test_what_its_successor_finds_starts_there_at_once() -> None:
    world = World(task_types=TYPES)
    world.journal.known["t"] = TicketState(Phase.PARKED, 0, "other", reason="paused", due_at=NOW_MS)
    await world.accept(build(0, "t"))
    await world.finish("t")
    world.assert_nothing_left()


async def test_one_that_is_resumed_before_it_noticed_the_pause_runs_once() -> None:
    """The run that was cancelled must not take the new one's place in the queue with it."""
    world = World(DispatchConfig(max_concurrent=1), task_types=TYPES)
    await world.accept(record(0, "busy", "TEST"), build(1, "t"))
    assert world.lane.jobs["t"].phase is JobPhase.ARMED
    world.dispatcher.pause(PAUSE)
    world.dispatcher.resume(RESUME)
    await world.work()
    await world.finish("busy")
    await world.finish("t")
    assert world.executors["BUILD"].history == ["t"]
    world.assert_nothing_left()


async def test_a_retry_that_comes_due_waits_and_keeps_its_attempt_and_checkpoint() -> None:
    world = World(task_types=TYPES)
    await world.accept(build(0, "t"))
    world.run("t").do(Checkpoint({"job": 1}))
    await world.work()
    await world.finish("t", IntegrationUnavailable("down", retry_after=5.0))
    world.dispatcher.pause(PAUSE)
    await world.advance(10.0)
    assert world.lane.jobs["t"].why_waiting == "paused"
    world.dispatcher.resume(RESUME)
    await world.work()
    run = world.run("t")
    assert (run.context.attempt, run.context.resumed_from) == (2, {"job": 1})
    await world.finish("t")
    world.assert_nothing_left()


async def test_a_suspect_is_held_too_and_stays_one() -> None:
    world = World(DispatchConfig(max_concurrent=1), task_types=TYPES)
    world.journal.known["t"] = suspect = TicketState(Phase.STARTED, 1, "other", delivery=4, began_at=1_000)
    await world.accept(record(0, "busy", "TEST"))
    await world.accept(build(1, "t"))
    world.dispatcher.pause(PAUSE)
    await world.finish("busy")
    assert not world.live()
    assert world.journal.known["t"] == suspect
    world.dispatcher.resume(RESUME)
    await world.work()
    assert world.journal.known["t"].isolated  # type: ignore[union-attr]
    await world.finish("t")
    world.assert_nothing_left()


async def test_a_deadline_is_kept_during_a_pause() -> None:
    world = World(task_types=TYPES)
    world.dispatcher.pause(PAUSE)
    await world.accept(build(0, "t", sla={"deadline": NOW_MS + 60_000}))
    await world.advance(60.0)
    assert world.journal.reason_of("t") == Reason.DEADLINE_EXCEEDED
    assert world.journal.answers_for("t")[0].attempts == 0
    world.dispatcher.resume(RESUME)
    world.assert_nothing_left()


async def test_one_that_waits_for_a_resume_can_be_cancelled() -> None:
    world = World(task_types=TYPES)
    world.dispatcher.pause(PAUSE)
    await world.accept(build(0, "t"), record(1, "u", "TEST", dependencies=["t"]))
    assert world.dispatcher.cancel(CancelRequest("t")) is Cancelled.WAITING
    await world.work()
    assert world.journal.reason_of("t") == Reason.CANCELLED
    assert world.journal.reason_of("u") == Reason.DEPENDENCY_FAILED
    world.dispatcher.resume(RESUME)
    world.assert_nothing_left()


async def test_a_partition_that_is_lost_takes_its_waiting_tickets_with_it() -> None:
    world = World(task_types=TYPES)
    world.dispatcher.pause(PAUSE)
    await world.accept(build(0, "t"))
    await world.lane.stop("partition_revoked")
    world.lane.wake()
    world.dispatcher.resume(RESUME)
    await world.work()
    assert not world.live()
    world.assert_nothing_left()


async def test_in_key_order_a_paused_ticket_keeps_its_turn() -> None:
    world = World(DispatchConfig(ordering=Ordering.KEY), task_types=TYPES)
    world.dispatcher.pause(PAUSE)
    await world.accept(build(0, "t", key=b"k"), record(1, "u", "TEST", key=b"k"), record(2, "v", "TEST", key=b"l"))
    assert set(world.live()) == {"v"}
    world.dispatcher.resume(RESUME)
    await world.work()
    await world.finish("t")
    await world.finish("u", DONE)
    await world.finish("v")
    world.assert_nothing_left()


async def test_what_a_quiet_lane_holds_waits_for_both() -> None:
    world = World(task_types=TYPES)
    world.lane.quiet()
    await world.accept(build(0, "t"))
    world.dispatcher.pause(PAUSE)
    world.lane.wake()
    await world.work()
    assert world.lane.jobs["t"].why_waiting == "paused"
    world.dispatcher.resume(RESUME)
    await world.work()
    await world.finish("t")
    world.assert_nothing_left()


async def test_a_suspect_whose_turn_comes_before_thousands_were_held_does_not_start() -> None:
    """Suspects have a queue of their own, which no pause holds."""
    world = World(DispatchConfig(max_concurrent=3, max_buffered=10_000), task_types=TYPES)
    for ticket_id, offset in (("first", 0), ("suspect", 2_000)):
        world.journal.known[ticket_id] = TicketState(Phase.STARTED, offset, "other", delivery=4, began_at=1_000)
    await world.accept(record(0, "first", "TEST"), record(1, "busy-1", "TEST"), record(2, "busy-2", "TEST"))
    await world.accept(*(build(n, f"b{n}") for n in range(3, 1_500)), build(2_000, "suspect"))
    world.run("first").do(DONE)
    await let_it_work()
    world.dispatcher.pause(PAUSE)
    world.journal.commit()
    await world.work()
    assert set(world.live()) == {"busy-1", "busy-2"}
    assert world.lane.jobs["suspect"].why_waiting == "paused"
