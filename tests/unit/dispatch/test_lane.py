"""Tickets from arrival to settlement, over a journal that commits when the test says so."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.dispatch.fakes import (
    DENIED,
    DONE,
    OWNER,
    Change,
    Checkpoint,
    FakeJournal,
    World,
    assert_dispatcher_empty,
    assert_lane_empty,
    let_it_work,
    record,
)
from worker_agents.dispatch import job as job_module
from worker_agents.dispatch import waiting as waiting_module
from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.dispatch.config import DispatchConfig, Ordering
from worker_agents.dispatch.job import JobPhase
from worker_agents.model.errors import (
    BreakerOpen,
    IntegrationRejected,
    IntegrationUnavailable,
    LeaseLost,
    Reason,
    TaskError,
)
from worker_agents.model.result import Finished, Status, TaskResult
from worker_agents.model.state import Done, Phase, TicketState
from worker_agents.model.ticket import Envelope, ticket_of
from worker_agents.telemetry.events import (
    DuplicateSeen,
    RetryScheduled,
    TicketElsewhere,
    TicketIsolated,
    TicketReleased,
    TicketSettled,
)

DOWN = IntegrationUnavailable("no answer")
SOON = 1.0
CLOSED_IN = 8.0
BREAKER = BreakerOpen("opa is down", integration="opa", retry_after=CLOSED_IN)


def down(retry_after: float) -> IntegrationUnavailable:
    return IntegrationUnavailable("no answer", retry_after=retry_after)


def state(**changes: Any) -> TicketState:
    return TicketState(**{"phase": Phase.STARTED, "offset": 0, "owner": "other", "began_at": 1_000} | changes)


async def restarted(world: World, owner: str = "worker-2#bbbb", **changes: Any) -> World:
    """Another worker over what the journal made durable; the first one is gone."""
    await world.lane.stop("gone")
    journal = replace(world.journal, owner=owner, pending=[])
    return World(world.dispatcher.config, world.dispatcher.policy, journal=journal, clock=world.clock, **changes)


# --- outcomes ----------------------------------------------------------------------------------------------------


async def test_a_ticket_is_started_durably_run_and_answered_once() -> None:
    world = World()
    world.lane.accept(record(0, "t", plan_id="p"))
    await let_it_work()
    assert not world.live(), "its start is not durable yet"
    await world.work()
    assert world.journal.known["t"] == TicketState(Phase.STARTED, 0, OWNER, began_at=world.clock.now_ms())
    world.clock.advance(2.5)
    world.run("t").do(DONE)
    await let_it_work()
    assert not world.live()
    assert world.dispatcher.running == 0, "a slot is not held while the result is being written"
    assert not world.journal.answers
    await world.work()
    (answer,) = world.journal.answers
    assert (answer.finished.status, answer.attempts, answer.duration_ms) == (Status.COMPLETED, 1, 2_500)
    assert answer.ticket is not None
    assert answer.ticket.plan_id == "p"
    assert world.journal.settled == {0: 1}
    world.assert_nothing_left()


async def test_a_verdict_is_an_answer_and_no_dead_letter() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.finish("t", DENIED)
    assert world.journal.reason_of("t") == Reason.VERDICT_FAILED
    assert not world.journal.dead_letters
    world.assert_nothing_left()


async def test_an_error_that_no_retry_mends_is_answered_and_dead_lettered() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.finish("t", IntegrationRejected("422"))
    assert world.journal.reason_of("t") == Reason.DEPENDENCY_REJECTED
    (letter,) = world.journal.dead_letters
    assert (letter.reason, letter.message, letter.attempts) == (Reason.DEPENDENCY_REJECTED, "422", 1)
    assert letter.envelope == record(0, "t")
    world.assert_nothing_left()


@pytest.mark.parametrize("value", [b"\xff", b"[]", b'{"task_type":"EXECUTE"}'])
async def test_garbage_is_dead_lettered_and_the_next_ticket_runs(value: bytes) -> None:
    world = World()
    await world.accept(Envelope(0, value), record(1, "t"))
    await world.finish("t")
    assert world.journal.status_of("t") == "COMPLETED"
    assert [letter.envelope.value for letter in world.journal.dead_letters] == [value]
    assert world.journal.known["@offset-0"] == Done(Status.FAILED, 0, world.clock.now_ms())
    assert world.journal.settled == {0: 1, 1: 1}
    world.assert_nothing_left()


async def test_a_damaged_ticket_with_an_id_is_answered_once_whatever_comes_after() -> None:
    world = World()
    damaged = record(0, "t", priority="soon")
    world.lane.accept(damaged)
    world.lane.accept(record(1, "t"))
    world.lane.accept(replace(damaged, receipt=2))
    await world.accept(replace(damaged, receipt=3), record(4, "t"))
    assert world.journal.reason_of("t") == Reason.INVALID_TICKET
    assert world.journal.status_of("t") == "FAILED"
    assert sorted(letter.envelope.receipt for letter in world.journal.dead_letters) == [0, 2, 3]
    assert world.journal.settled == dict.fromkeys(range(5), 1)
    assert not world.executor.history
    world.assert_nothing_left()


async def test_records_that_ask_for_nothing_are_settled_without_a_trace() -> None:
    world = World(policy=AdmissionPolicy({"EXECUTE"}, supported={"EXECUTE"}))
    await world.accept(Envelope(0, None), record(1, "t", status="RUNNING"), record(2, "u", "BUILD"))
    assert world.journal.settled == {0: 1, 1: 1, 2: 1}
    assert not world.journal.answers
    assert not world.journal.known
    world.assert_nothing_left()


# --- retries -----------------------------------------------------------------------------------------------------


async def test_a_retry_waits_without_a_slot_and_then_counts_up() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "t"), record(1, "u"))
    await world.finish("t", down(retry_after=10.0))
    parked = world.journal.known["t"]
    assert isinstance(parked, TicketState)
    assert (parked.phase, parked.attempt, parked.delay) == (Phase.PARKED, 2, 10.0)
    assert parked.due_at == world.clock.now_ms() + 10_000
    assert world.dispatcher.parked == 1
    await world.finish("u")
    await world.advance(9.9)
    assert not world.live()
    await world.advance(0.2)
    assert world.run("t").context.attempt == 2
    await world.finish("t")
    assert world.journal.answers_for("t")[0].attempts == 2
    assert [event.attempt for event in world.events if isinstance(event, RetryScheduled)] == [1]
    world.assert_nothing_left()


async def test_waiting_for_a_breaker_costs_neither_attempts_nor_a_slot() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "t", sla={"max_retries": 0}))
    for _ in range(20):
        await world.finish("t", BREAKER)
        assert world.dispatcher.running == 0
        assert world.dispatcher.parked == 1
        await world.advance(CLOSED_IN - 0.1)
        assert not world.live(), "the breaker is still open"
        await world.advance(CLOSED_IN)
        assert world.run("t").context.attempt == 1
    await world.finish("t")
    assert world.journal.status_of("t") == Status.COMPLETED
    assert world.journal.answers_for("t")[0].attempts == 1
    assert not [event for event in world.events if isinstance(event, RetryScheduled)]
    world.assert_nothing_left()


async def test_a_breaker_that_does_not_close_in_time_is_waited_for_until_the_deadline() -> None:
    world = World()
    await world.accept(record(0, "t", sla={"deadline": world.clock.now_ms() + 5_000}))
    await world.finish("t", BREAKER)
    await world.advance(4.9)
    assert world.journal.status_of("t") is None
    await world.advance(0.2)
    assert world.journal.reason_of("t") == Reason.DEADLINE_EXCEEDED
    world.assert_nothing_left()


async def test_what_waits_for_a_breaker_resumes_its_remote_work() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(Checkpoint({"pipeline": 7}))
    await world.work()
    await world.finish("t", BREAKER)
    world = await restarted(world)
    await world.accept(record(0, "t"))
    await world.advance(CLOSED_IN * 1.25)
    assert world.run("t").context.resumed_from == {"pipeline": 7}
    assert world.run("t").context.attempt == 1
    await world.finish("t")
    world.assert_nothing_left()


async def test_a_wait_for_a_retry_survives_a_restart() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(Checkpoint({"job": 42}))
    await world.work()
    await world.finish("t", down(retry_after=10.0))
    world.clock.advance(4.0)
    world = await restarted(world)
    await world.accept(record(0, "t"))
    await world.advance(5.9)
    assert not world.live()
    await world.advance(0.2)
    assert world.run("t").context.attempt == 2
    assert world.run("t").context.resumed_from == {"job": 42}
    await world.finish("t")
    world.assert_nothing_left()


async def test_a_clock_that_was_set_back_does_not_stretch_a_wait() -> None:
    world = World()
    parked = state(phase=Phase.PARKED, due_at=world.clock.now_ms() + 10**9, delay=10.0, reason="timeout", attempt=2)
    world.journal.known["t"] = parked
    await world.accept(record(0, "t"))
    await world.advance(10.0)
    assert world.run("t").context.attempt == 2


async def test_used_up_attempts_name_the_last_cause() -> None:
    world = World()
    await world.accept(record(0, "t", sla={"max_retries": 2}))
    for _ in range(2):
        await world.finish("t", down(retry_after=SOON))
        await world.advance(SOON)
    await world.finish("t", down(retry_after=SOON))
    (answer,) = world.journal.answers
    assert answer.finished.error_reason is Reason.RETRIES_EXHAUSTED
    assert answer.finished.result.metadata["last_reason"] == Reason.DEPENDENCY_UNAVAILABLE
    assert answer.attempts == 3
    assert world.journal.dead_letters[0].attempts == 3
    world.assert_nothing_left()


async def test_a_ticket_that_may_start_once_is_not_retried() -> None:
    world = World()
    await world.accept(record(0, "t", qos={"delivery_mode": "at-most-once"}))
    await world.finish("t", down(retry_after=SOON))
    assert world.journal.reason_of("t") == Reason.RETRIES_EXHAUSTED
    assert world.executor.history == ["t"]
    world.assert_nothing_left()


async def test_a_ticket_that_may_start_once_is_marked_only_when_it_holds_its_slot() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "first"))
    await world.accept(record(1, "once", qos={"delivery_mode": "AT_MOST_ONCE"}), record(2, "many"))
    assert "once" not in world.journal.known
    assert "many" in world.journal.known, "others are armed ahead"
    world.run("first").do(DONE)
    await let_it_work()
    assert "once" not in world.executor.history, "not before its start is durable"
    await world.work()
    assert world.executor.history == ["first", "once"]
    assert world.journal.known["once"].has_begun  # type: ignore[union-attr]
    world = await restarted(world)
    await world.accept(record(1, "once", qos={"delivery_mode": "AT_MOST_ONCE"}))
    assert world.journal.reason_of("once") == Reason.WORKER_LOST
    world.assert_nothing_left()


async def test_the_deadline_ends_a_wait() -> None:
    world = World()
    await world.accept(record(0, "t", sla={"deadline": world.clock.now_ms() + 60_000}, dependencies=["never"]))
    await world.advance(59.9)
    assert world.journal.status_of("t") is None
    await world.advance(0.1)
    assert world.journal.reason_of("t") == Reason.DEADLINE_EXCEEDED
    world.assert_nothing_left()


async def test_the_retention_of_the_topic_ends_a_wait() -> None:
    world = World(policy=AdmissionPolicy({"EXECUTE"}, retention_ms=40_000))
    await world.accept(record(0, "t", dependencies=["never"]))
    await world.advance(20.0)
    assert world.journal.reason_of("t") == Reason.EXPIRED
    world.assert_nothing_left()


# --- one type waits for its slots --------------------------------------------------------------------------------


async def test_a_type_whose_slots_are_taken_leaves_the_buffer_to_others() -> None:
    config = DispatchConfig(limits={"BUILD": 1}, max_buffered=9, max_parked=100)
    world = World(config, task_types=["BUILD", "EXECUTE"])
    builds = [record(offset, f"b{offset}", "BUILD", priority="HIGH" if offset == 40 else "LOW") for offset in range(50)]
    await world.accept(*builds)
    assert world.dispatcher.has_room()
    await world.accept(record(50, "e", "EXECUTE"))
    assert set(world.live()) == {"b0", "e"}
    await world.finish("e")
    # Those beyond the share are kept as raw bytes only, and run in their order all the same.
    assert sum(job.ticket is None for job in world.lane.jobs.values()) > 40
    for _ in range(50):
        await world.finish(next(iter(world.live())))
    order = world.executors["BUILD"].history
    assert order.index("b40") < order.index("b39")
    assert world.journal.settled == dict.fromkeys(range(51), 1)
    world.assert_nothing_left()


async def test_a_surplus_of_one_type_fills_the_park_in_the_end() -> None:
    world = World(DispatchConfig(limits={"EXECUTE": 1}, max_buffered=9, max_parked=20))
    await world.accept(*(record(offset, f"t{offset}") for offset in range(60)))
    assert not world.dispatcher.has_room()
    await world.lane.stop("over")
    assert world.dispatcher.has_room()


# --- duplicates --------------------------------------------------------------------------------------------------


async def test_an_id_in_two_partitions_is_reported_and_runs_in_both() -> None:
    world = World()
    other = world.dispatcher.lane(journal := FakeJournal(world.clock, place="7"))
    other.wake()
    await world.accept(record(0, "t"))
    await world.finish("t")
    other.accept(record(5, "t"))
    other.accept(record(6, "t"))
    await world.work()
    journal.commit()
    await world.work()
    (told,) = [event for event in world.events if isinstance(event, TicketElsewhere)]
    assert (told.ticket_id, told.partition, told.other_partition) == ("t", "7", "0")
    assert world.executor.history == ["t", "t"]
    await other.stop("over")


async def test_a_copy_in_flight_is_settled_with_the_first() -> None:
    world = World()
    await world.accept(record(0, "t"), record(1, "t"))
    assert world.journal.settled == {}
    await world.finish("t")
    assert world.journal.settled == {0: 1, 1: 1}
    assert world.journal.status_of("t") == "COMPLETED"
    assert world.executor.history == ["t"]
    assert [event.kind for event in world.events if isinstance(event, DuplicateSeen)] == ["in_flight"]
    world.assert_nothing_left()


async def test_a_copy_that_comes_while_the_result_is_being_written_is_settled_after_it() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(DONE)
    await let_it_work()
    await world.accept(record(1, "t"))
    assert world.journal.settled == {0: 1, 1: 1}
    assert world.journal.status_of("t") == "COMPLETED"
    world.assert_nothing_left()


async def test_a_late_copy_is_settled_and_nothing_else() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.finish("t")
    await world.accept(record(1, "t"), record(2, "t", priority="damaged"))
    assert world.journal.settled == {0: 1, 1: 1, 2: 1}
    assert len(world.journal.answers) == 1
    assert world.executor.history == ["t"]
    world.assert_nothing_left()


async def test_the_same_record_read_again_is_no_duplicate_of_itself() -> None:
    world = World()
    await world.accept(record(0, "t"), record(0, "t"))
    await world.finish("t")
    assert world.journal.settled == {0: 1}
    world.assert_nothing_left()


# --- dependencies ------------------------------------------------------------------------------------------------


async def test_a_ticket_waits_for_its_dependencies_without_a_slot() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "c", dependencies=["a", "b"]), record(1, "a"), record(2, "b"))
    await world.finish("a")
    assert "c" not in world.executor.history
    assert world.dispatcher.parked == 1
    await world.finish("b")
    assert world.executor.history == ["a", "b", "c"]
    await world.finish("c")
    world.assert_nothing_left()


async def test_a_ticket_is_not_read_again_for_each_of_its_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    monkeypatch.setattr(job_module, "ticket_of", lambda envelope: reads.append(envelope) or ticket_of(envelope))
    world = World(DispatchConfig(max_concurrent=60))
    names = [f"d{number}" for number in range(50)]
    await world.accept(record(0, "t", dependencies=names), *(record(n, name) for n, name in enumerate(names, 1)))
    for name in names:
        assert "t" not in world.live()
        await world.finish(name)
    await world.finish("t")
    assert world.journal.status_of("t") == Status.COMPLETED
    assert len(reads) == 1
    world.assert_nothing_left()


async def test_thousands_that_wait_for_one_ticket_do_not_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "_WOKEN_AT_ONCE", 10)
    world = World(DispatchConfig(max_concurrent=5))
    dependents = [record(n, f"t{n}", dependencies=["a"]) for n in range(1, 96)]
    await world.accept(*dependents, record(96, "a"))
    world.run("a").do(DONE)
    await let_it_work()
    turns = 0
    world.journal.commit()
    while world.dispatcher.parked:
        before = world.dispatcher.parked
        await asyncio.sleep(0)
        assert before - world.dispatcher.parked <= 10
        turns += 1
    assert turns >= 10
    await world.work()
    while world.live():
        for run in list(world.live().values()):
            run.do(DONE)
        await world.work()
    assert len(world.journal.answers) == 96
    assert {answer.ticket.ticket_id for answer in world.journal.answers if answer.ticket} == {
        "a",
        *(f"t{n}" for n in range(1, 96)),
    }
    world.assert_nothing_left()


async def test_what_was_woken_in_a_quiet_lane_starts_when_the_lane_wakes() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "b", dependencies=["a"]), record(1, "c", dependencies=["a"]), record(2, "a"))
    world.lane.quiet()
    await world.finish("a")
    assert not world.live()
    world.lane.wake()
    await world.work()
    await world.finish("b")
    await world.finish("c")
    world.assert_nothing_left()


async def test_the_first_failed_dependency_ends_the_wait_for_the_others() -> None:
    world = World()
    await world.accept(record(0, "t", dependencies=["a", "b", "c"]), record(1, "a"), record(2, "b"))
    await world.finish("a")
    await world.finish("b", DENIED)
    assert world.journal.reason_of("t") == Reason.DEPENDENCY_FAILED
    world.assert_nothing_left()


async def test_a_dependency_counts_once_its_result_is_durable() -> None:
    world = World()
    await world.accept(record(0, "a"), record(1, "b", dependencies=["a"]))
    world.run("a").do(DONE)
    await let_it_work()
    assert world.dispatcher.parked == 1
    await world.work()
    assert "b" in world.live()


async def test_a_failed_dependency_fails_the_whole_chain() -> None:
    world = World()
    await world.accept(record(0, "c", dependencies=["b"]), record(1, "b", dependencies=["a"]), record(2, "a"))
    await world.finish("a", DENIED)
    assert world.journal.reason_of("b") == Reason.DEPENDENCY_FAILED
    assert world.journal.reason_of("c") == Reason.DEPENDENCY_FAILED
    assert world.executor.history == ["a"]
    assert not world.journal.dead_letters
    world.assert_nothing_left()


async def test_a_refused_dependency_fails_its_dependents() -> None:
    world = World()
    await world.accept(record(0, "b", dependencies=["a"]), record(1, "a", "DANCE"))
    assert world.journal.reason_of("b") == Reason.DEPENDENCY_FAILED
    world.assert_nothing_left()


@pytest.mark.parametrize("cycle", [["a"], ["b", "a"], ["b", "c", "a"]])
async def test_a_cycle_ends_with_the_dependency_timeout(cycle: list[str]) -> None:
    world = World(DispatchConfig(dependency_timeout=100.0))
    names = [cycle[-1], *cycle]
    for offset, (name, other) in enumerate(itertools.pairwise(names)):
        await world.accept(record(offset, name, dependencies=[other]))
    await world.advance(99.0)
    assert not world.journal.answers
    await world.advance(1.0)
    reasons = {world.journal.reason_of(name) for name in cycle}
    assert reasons <= {Reason.DEPENDENCY_TIMEOUT, Reason.DEPENDENCY_FAILED}
    assert Reason.DEPENDENCY_TIMEOUT in reasons
    assert not world.executor.history
    world.assert_nothing_left()


async def test_the_wait_for_a_dependency_goes_on_after_a_restart() -> None:
    world = World(DispatchConfig(dependency_timeout=100.0))
    await world.accept(record(0, "b", dependencies=["a"]))
    world.clock.advance(60.0)
    world = await restarted(world)
    await world.accept(record(0, "b", dependencies=["a"]))
    await world.advance(39.0)
    assert not world.journal.answers
    await world.advance(1.0)
    assert world.journal.reason_of("b") == Reason.DEPENDENCY_TIMEOUT
    world.assert_nothing_left()


async def test_a_dependency_that_was_done_meanwhile_is_found_after_a_restart() -> None:
    world = World()
    await world.accept(record(0, "b", dependencies=["a"]))
    world.journal.known["a"] = Done(Status.COMPLETED, 5, 0)
    world = await restarted(world)
    await world.accept(record(0, "b", dependencies=["a"]))
    assert "b" in world.live()


# --- order and limits --------------------------------------------------------------------------------------------


async def test_equal_keys_run_one_after_another_in_key_mode() -> None:
    world = World(DispatchConfig(ordering=Ordering.KEY))
    await world.accept(
        record(0, "a1", key=b"a"), record(1, "a2", key=b"a"), record(2, "b1", key=b"b"), record(3, "free")
    )
    assert set(world.live()) == {"a1", "b1", "free"}
    await world.finish("a1", down(retry_after=5.0))
    assert "a2" not in world.live(), "a ticket that waits for its retry keeps its turn"
    await world.advance(5.0)
    await world.finish("a1")
    assert set(world.live()) == {"a2", "b1", "free"}
    for ticket_id in ("a2", "b1", "free"):
        await world.finish(ticket_id)
    world.assert_nothing_left()


async def test_keys_do_not_matter_in_dependency_mode() -> None:
    world = World()
    await world.accept(record(0, "a1", key=b"a"), record(1, "a2", key=b"a"))
    assert set(world.live()) == {"a1", "a2"}


async def test_no_type_and_no_worker_runs_more_than_its_limit() -> None:
    world = World(DispatchConfig(max_concurrent=3, limits={"TEST": 1}), task_types=("TEST", "BUILD"))
    tests = [record(number, f"test-{number}", "TEST", priority="CRITICAL") for number in range(4)]
    builds = [record(10 + number, f"build-{number}", "BUILD") for number in range(4)]
    await world.accept(*tests, *builds)
    assert set(world.live()) == {"test-0", "build-0", "build-1"}
    await world.finish("build-0")
    assert set(world.live()) == {"test-0", "build-2", "build-1"}
    await world.finish("test-0")
    assert set(world.live()) == {"test-1", "build-2", "build-1"}


async def test_the_most_urgent_ticket_gets_the_next_slot() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    late = world.clock.now_ms() + 3_600_000
    await world.accept(
        record(0, "running"),
        *(record(1 + number, f"armed-{number}") for number in range(4)),
        record(5, "low", priority=1),
        record(6, "due", sla={"deadline": late}),
        record(7, "critical", priority="CRITICAL"),
    )
    order = []
    while world.live():
        (ticket_id,) = world.live()
        order.append(ticket_id)
        await world.finish(ticket_id)
    assert order.index("critical") < order.index("due") < order.index("low")
    world.assert_nothing_left()


async def test_room_runs_out_at_the_limit_and_comes_back_at_half_of_it_once_intake_paused() -> None:
    world = World(DispatchConfig(max_concurrent=1, max_buffered=4))
    await world.accept(*(record(number, f"t{number}") for number in range(4)))
    assert world.dispatcher.buffered == 3
    assert await world.dispatcher.room(0.0)
    await world.accept(record(4, "t4"))
    assert not await world.dispatcher.room(0.0), "full, and so paused"
    await world.finish("t0")
    await world.finish("t1")
    assert world.dispatcher.buffered == 2
    assert not await world.dispatcher.room(0.0), "not before half of it is free"
    await world.finish("t2")
    assert await world.dispatcher.room(0.0)


async def test_a_short_lack_of_room_is_waited_out() -> None:
    world = World(DispatchConfig(max_concurrent=1, max_buffered=2))
    await world.accept(*(record(number, f"t{number}") for number in range(3)))
    waiting = asyncio.create_task(world.dispatcher.room(60.0))
    await let_it_work()
    assert not waiting.done()
    await world.finish("t0")
    assert await waiting


async def test_a_full_park_holds_intake_back() -> None:
    world = World(DispatchConfig(max_parked=2))
    await world.accept(record(0, "a", dependencies=["x"]))
    assert world.dispatcher.has_room()
    await world.accept(record(1, "b", dependencies=["x"]))
    assert not world.dispatcher.has_room()
    await world.accept(record(2, "x"))
    await world.finish("x")
    assert world.dispatcher.has_room()


async def test_the_smallest_buffer_finds_room_again() -> None:
    """MAX_BUFFERED_TICKETS=1 is allowed; half of it must not be a limit that nothing can get below."""
    world = World(DispatchConfig(max_concurrent=1, max_buffered=1))
    await world.accept(record(0, "t0"), record(1, "t1"))
    assert not world.dispatcher.has_room()
    await world.finish("t0")
    assert world.dispatcher.buffered == 0
    assert world.dispatcher.has_room()


# --- suspects ----------------------------------------------------------------------------------------------------


def suspects(world: World, count: int, **changes: Any) -> list[Envelope]:
    for number in range(count):
        world.journal.known[f"s{number}"] = state(offset=number, delivery=4, **changes)
    return [record(number, f"s{number}") for number in range(count)]


async def test_a_suspect_starts_only_when_the_end_of_the_last_one_is_durable() -> None:
    """Else the last one, done but not committed, would be found beside the one that killed the worker."""
    world = World()
    await world.accept(*suspects(world, 2))
    world.run("s0").do(DONE)
    await let_it_work()
    assert [change.key for change in world.journal.pending] == ["s0"]
    await world.work()
    assert set(world.live()) == {"s1"}


async def test_the_suspect_that_most_workers_died_with_is_tried_first() -> None:
    """Else an innocent one that waits for its next attempt is tried first each time, and the pill in the group after it."""
    world = World(DispatchConfig(gathering_time=1.0))
    envelopes = suspects(world, 4)
    known = world.journal.known["s3"]
    assert isinstance(known, TicketState)
    world.journal.known["s3"] = replace(known, delivery=known.delivery + 1)
    await world.accept(*envelopes)
    assert set(world.live()) == set()
    await world.advance(1.0)
    assert set(world.live()) == {"s3"}
    await world.finish("s3")
    assert set(world.live()) == {"s0", "s1"}
    for ticket_id in ("s0", "s1", "s2"):
        await world.finish(ticket_id)
    world.assert_nothing_left()


async def test_a_suspect_starts_alone_and_others_when_it_has_come_through() -> None:
    world = World()
    await world.accept(*suspects(world, 3), record(9, "innocent"))
    assert set(world.live()) == {"s0"}
    assert world.journal.known["s0"].isolated  # type: ignore[union-attr]
    assert not world.journal.known["s1"].isolated  # type: ignore[union-attr]
    assert "innocent" not in world.journal.known, "its worker's death would be charged to it"
    assert len([event for event in world.events if isinstance(event, TicketIsolated)]) == 3
    await world.finish("s0", down(retry_after=5.0))
    assert set(world.live()) == {"s1", "s2", "innocent"}
    await world.finish("s1")
    await world.finish("s2")
    await world.advance(5.0)
    assert set(world.live()) == {"innocent"}, "it is a suspect still, and alone again"
    await world.finish("innocent")
    await world.finish("s0")
    world.assert_nothing_left()


async def test_a_suspect_waits_a_minute_at_most_for_what_runs_already() -> None:
    world = World(DispatchConfig(isolation_time=60.0))
    await world.accept(record(9, "long"))
    await world.accept(*suspects(world, 1), record(10, "late"))
    assert set(world.live()) == {"long"}
    await world.advance(59.9)
    assert set(world.live()) == {"long"}
    await world.advance(0.2)
    assert set(world.live()) == {"long", "s0"}
    assert world.journal.known["s0"].isolated  # type: ignore[union-attr]
    await world.finish("s0")
    assert set(world.live()) == {"long", "late"}
    await world.finish("long")
    await world.finish("late")
    world.assert_nothing_left()


async def test_suspects_that_run_together_are_not_convicted_by_a_death() -> None:
    """They are charged like all others, and start alone at the next opening."""
    world = World()
    await world.accept(*suspects(world, 3))
    await world.finish("s0")
    known = [world.journal.known[ticket_id] for ticket_id in ("s1", "s2")]
    assert set(world.live()) == {"s1", "s2"}
    assert [(state.delivery, state.isolated) for state in known] == [(4, False)] * 2  # type: ignore[union-attr]
    await world.finish("s1")
    await world.finish("s2")
    world.assert_nothing_left()


async def test_a_suspect_that_lives_long_enough_is_cleared() -> None:
    world = World(DispatchConfig(isolation_time=60.0))
    await world.accept(*suspects(world, 2, phase=Phase.CHECKPOINT, checkpoint={"job": 1}, attempt=3))
    await world.advance(59.0)
    assert set(world.live()) == {"s0"}
    await world.advance(1.0)
    assert set(world.live()) == {"s0", "s1"}
    cleared = world.journal.known["s0"]
    assert isinstance(cleared, TicketState)
    assert (cleared.isolated, cleared.delivery, cleared.checkpoint, cleared.attempt) == (False, 1, {"job": 1}, 3)
    await world.finish("s0")
    await world.finish("s1")
    world.assert_nothing_left()


async def test_a_suspect_that_ends_early_leaves_no_timer() -> None:
    world = World()
    await world.accept(*suspects(world, 1))
    await world.advance(30.0)
    await world.finish("s0")
    world.assert_nothing_left()


async def test_clearing_a_suspect_does_not_undo_its_checkpoint() -> None:
    """Both states are on their way at once; whichever is durable last must know of the other."""
    world = World(DispatchConfig(isolation_time=60.0))
    await world.accept(*suspects(world, 1))
    world.run("s0").do(Checkpoint({"job": 42}))
    await let_it_work()
    world.clock.advance(60.0)
    await world.work()
    kept = world.journal.known["s0"]
    assert isinstance(kept, TicketState)
    assert kept.checkpoint == {"job": 42}
    assert not kept.isolated


# --- trouble with the journal ------------------------------------------------------------------------------------


async def test_a_refused_dead_letter_does_not_stop_the_line() -> None:
    world = World()
    world.journal.refuses = lambda change: change.settlement is not None and change.settlement.dead_letter is not None
    await world.accept(Envelope(0, b"no json"), record(1, "t"))
    await world.work()
    assert 0 in world.journal.settled
    await world.finish("t")
    world.assert_nothing_left()


async def test_a_run_that_was_given_up_may_start_nothing_remote() -> None:
    world = World()
    await world.accept(record(0, "t"))
    context = world.run("t").context
    await world.lane.stop("taken_over")
    with pytest.raises(LeaseLost):
        context.start_remote("generate")


async def test_a_start_that_cannot_be_written_is_answered() -> None:
    world = World()
    world.journal.refuses = lambda change: change.key == "t" and isinstance(change.state, TicketState)
    await world.accept(record(0, "t"), record(1, "u"))
    assert world.journal.reason_of("t") == Reason.INTERNAL
    assert len(world.journal.dead_letters) == 1
    await world.finish("u")
    world.assert_nothing_left()


async def test_a_checkpoint_that_cannot_be_written_is_answered() -> None:
    world = World()
    world.journal.refuses = lambda change: getattr(change.state, "phase", None) is Phase.CHECKPOINT
    await world.accept(record(0, "t"))
    await world.finish("t", Checkpoint({"large": "x"}))
    assert world.journal.reason_of("t") == Reason.INTERNAL
    world.assert_nothing_left()


async def test_a_refused_checkpoint_that_an_executor_copes_with_is_forgotten() -> None:
    """``checkpoint`` says that it may fail; what was never durable must not spoil the states that come after it."""
    world = World()
    world.journal.refuses = lambda change: "large" in (getattr(change.state, "checkpoint", None) or {})
    await world.accept(record(0, "t"))
    world.run("t").do(Checkpoint({"job": 1}))
    await world.work()
    world.run("t").do(Checkpoint({"large": "x"}, tolerant=True))
    await world.work()
    await world.finish("t", down(retry_after=SOON))
    assert world.journal.status_of("t") is None
    await world.advance(SOON)
    assert world.run("t").context.resumed_from == {"job": 1}
    await world.finish("t")
    world.assert_nothing_left()


async def test_a_result_that_cannot_be_written_is_replaced_by_one_that_says_so() -> None:
    world = World()

    def refuses(change: Change) -> bool:
        answer = change.settlement.answer if change.settlement else None
        return answer is not None and answer.finished.status is Status.COMPLETED

    world.journal.refuses = refuses
    await world.accept(record(0, "t"), record(1, "t"))
    await world.finish("t")
    assert world.journal.reason_of("t") == Reason.INTERNAL
    assert "too large" in (world.journal.answers[0].finished.result.error_message or "")
    assert world.journal.settled == {0: 1, 1: 1}
    world.assert_nothing_left()


async def test_a_retry_that_cannot_be_written_is_answered() -> None:
    world = World()
    world.journal.refuses = lambda change: getattr(change.state, "phase", None) is Phase.PARKED
    await world.accept(record(0, "t"))
    await world.finish("t", DOWN)
    assert world.journal.reason_of("t") == Reason.INTERNAL
    world.assert_nothing_left()


async def test_a_stale_lease_starts_no_remote_work() -> None:
    world = World()
    await world.accept(record(0, "t"))
    context = world.run("t").context
    assert context.start_remote("generate")["Idempotency-Key"] == "t:generate"
    world.journal.fresh = False
    with pytest.raises(LeaseLost):
        context.start_remote("generate")


# --- suspension, re-opening, giving up ---------------------------------------------------------------------------


async def test_a_quiet_lane_starts_nothing_and_what_runs_goes_on() -> None:
    world = World()
    await world.accept(record(0, "a"))
    world.lane.quiet()
    await world.accept(record(1, "b"))
    assert set(world.live()) == {"a"}
    await world.finish("a")
    assert not world.live()
    world.lane.wake()
    await world.work()
    assert set(world.live()) == {"b"}
    await world.finish("b")
    world.assert_nothing_left()


async def test_a_suspended_partition_takes_no_slot_from_others() -> None:
    """One whose ledger is in trouble may stay so for minutes; the tickets of all others must run meanwhile."""
    world = World(DispatchConfig(max_concurrent=2))
    healthy = FakeJournal(world.clock)
    other = world.dispatcher.lane(healthy)
    other.wake()
    world.lane.quiet()
    await world.accept(*(record(number, f"t{number}", priority="CRITICAL") for number in range(50)))
    other.accept(record(0, "innocent"))
    await let_it_work()
    healthy.commit()
    await let_it_work()
    assert set(world.live()) == {"innocent"}


async def test_suspending_gives_back_what_has_not_begun() -> None:
    """All of it is read again; what runs goes on."""
    world = World(DispatchConfig(max_concurrent=1))
    await world.accept(record(0, "running"))
    await world.accept(record(1, "waiting", dependencies=["x"]), *(record(n, f"t{n}") for n in range(2, 12)))
    for number in range(12, 15):
        world.lane.accept(record(number, f"t{number}"))
    await world.lane.suspend()
    assert set(world.lane.jobs) == set(world.live()) == {"running"}
    assert (world.dispatcher.parked, world.dispatcher.buffered, world.dispatcher.running) == (0, 0, 1)
    world.journal.reconcile(await world.lane.reconcile())
    world.lane.wake()
    await world.finish("running")
    await world.accept(record(2, "t2"))
    await world.finish("t2")
    assert set(world.executor.history) == {"running", "t2"}
    world.assert_nothing_left()


async def test_reconciling_keeps_what_runs_and_is_ours() -> None:
    world = World(DispatchConfig(max_concurrent=2))
    await world.accept(*(record(number, f"t{number}") for number in range(3)), record(3, "w", dependencies=["x"]))
    first, second = world.run("t0"), world.run("t1")
    taken = world.journal.known["t1"]
    assert isinstance(taken, TicketState)
    world.journal.known["t1"] = replace(taken, owner="another", delivery=2)
    world.lane.quiet()
    kept = await world.lane.reconcile()
    assert set(kept) == set(world.lane.jobs) == {"t0"}
    assert first.context.cancel_reason is None
    assert second.context.cancel_reason == "taken_over"
    world.journal.reconcile(kept)
    world.lane.wake()
    await world.accept(record(0, "t0"), record(2, "t2"))
    assert world.run("t0") is first
    await world.finish("t0")
    await world.finish("t2")
    world.assert_nothing_left()


async def test_reconciling_resolves_a_result_whose_commit_was_ambiguous() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(DONE)
    await let_it_work()
    world.journal.commit(silently=True)
    world.lane.quiet()
    world.journal.reconcile(await world.lane.reconcile())
    world.lane.wake()
    await world.accept(record(0, "t"))
    assert world.journal.status_of("t") == "COMPLETED"
    world.assert_nothing_left()


async def test_reconciling_submits_an_uncommitted_result_again() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(DONE)
    await let_it_work()
    world.lane.quiet()
    kept = await world.lane.reconcile()
    assert set(kept) == {"t"}
    world.journal.reconcile(kept)
    await world.accept(record(0, "t"))
    assert world.journal.status_of("t") == "COMPLETED"
    assert world.journal.settled == {0: 1}
    world.assert_nothing_left()


async def test_reconciling_drops_a_retry_of_a_ticket_that_somebody_else_finished() -> None:
    """It was about to be parked when the partition was suspended; its end was written elsewhere meanwhile."""
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(DOWN)
    await let_it_work()
    world.journal.known["t"] = Done(Status.COMPLETED, 0, 0)
    world.lane.quiet()
    world.journal.reconcile(await world.lane.reconcile())
    world.lane.wake()
    await world.accept(record(0, "t"))
    assert world.journal.settled == {0: 1}
    world.assert_nothing_left()


async def test_stopping_cancels_with_the_reason_and_leaves_nothing() -> None:
    world = World(DispatchConfig(max_concurrent=2, ordering=Ordering.KEY))
    await world.accept(
        record(0, "a", key=b"k"),
        record(1, "b", key=b"k"),
        record(2, "c"),
        record(3, "d"),
        record(4, "w", dependencies=["x"]),
        record(5, "r"),
    )
    await world.finish("c", down(retry_after=100.0))
    assert world.dispatcher.parked == 3
    running = set(world.live())
    assert len(running) == 2
    assert await world.lane.stop("partition_revoked") == 2
    assert world.executor.cancelled_because == dict.fromkeys(running, "partition_revoked")
    assert {event.ticket_id for event in world.events if isinstance(event, TicketReleased)} >= running
    assert not world.journal.answers
    world.assert_nothing_left()


async def test_stopping_at_once_leaves_nothing() -> None:
    """Tasks that were never given a turn run no ``finally``: their slots come back all the same."""
    world = World()
    for number in range(3):
        world.lane.accept(record(number, f"t{number}"))
    await world.lane.stop("partition_revoked")
    await world.work()
    world.assert_nothing_left()


async def test_stopping_while_starts_are_being_written_leaves_nothing() -> None:
    world = World(DispatchConfig(max_concurrent=1))
    for number in range(8):
        world.lane.accept(record(number, f"t{number}"))
    await let_it_work()
    await world.lane.stop("partition_revoked")
    await world.work()
    assert not world.executor.history
    world.assert_nothing_left()


async def test_stopping_a_quiet_lane_leaves_nothing() -> None:
    world = World()
    world.lane.quiet()
    await world.accept(*(record(number, f"t{number}") for number in range(3)))
    await world.lane.stop("partition_revoked")
    await world.work()
    world.assert_nothing_left()


@pytest.mark.parametrize(
    "answer", [DONE, DENIED, DOWN, TaskError("clean-up failed"), RuntimeError("clean-up failed")], ids=repr
)
async def test_a_run_that_was_given_up_has_no_say_any_more(answer: object) -> None:
    """An executor may swallow its cancellation; its ticket is somebody else's by then."""
    world = World()
    world.executor.stubborn["t"] = answer
    await world.accept(record(0, "t"))
    await world.lane.stop("lease_expired")
    await world.advance(3_600.0)
    assert not world.journal.answers
    assert isinstance(world.journal.known["t"], TicketState)
    assert world.executor.history == ["t"]
    world.assert_nothing_left()


async def test_a_cancellation_that_nobody_asked_for_is_a_crash() -> None:
    """Something inside an executor was cancelled and it let that out: the ticket must not hang for ever."""
    world = World()
    await world.accept(record(0, "t", sla={"max_retries": 0}))
    await world.finish("t", asyncio.CancelledError())
    assert world.journal.reason_of("t") in {Reason.RETRIES_EXHAUSTED, Reason.INTERNAL}
    world.assert_nothing_left()


async def test_an_operators_cancellation_is_an_answer() -> None:
    world = World()
    await world.accept(record(0, "t"))
    job = world.lane.jobs["t"]
    assert job.task is not None
    assert job.context is not None
    job.context.cancel_reason = "cancelled by jane"
    job.task.cancel()
    await world.work()
    assert world.journal.reason_of("t") == Reason.CANCELLED
    assert not world.journal.dead_letters
    world.assert_nothing_left()


async def test_a_result_of_a_stopped_lane_is_still_published() -> None:
    """It was handed to the journal before the lane stopped: the last transaction carries it."""
    world = World()
    await world.accept(record(0, "t"))
    world.run("t").do(DONE)
    await let_it_work()
    assert world.lane.jobs["t"].phase is JobPhase.SETTLING
    assert await world.lane.stop("shutdown") == 1
    await world.work()
    assert world.journal.status_of("t") == "COMPLETED"
    world.assert_nothing_left()


async def test_draining_waits_for_what_runs_and_counts_what_is_left() -> None:
    world = World(DispatchConfig(max_concurrent=2))
    await world.accept(*(record(number, f"t{number}") for number in range(4)))
    world.dispatcher.quiet()
    draining = asyncio.create_task(world.dispatcher.drained(limit=60.0))
    await world.finish("t0")
    assert not draining.done()
    await world.finish("t1")
    assert await draining == 0
    assert not world.live(), "nothing new was started"
    assert await world.dispatcher.drained(limit=60.0) == 0


async def test_draining_gives_up_in_time() -> None:
    world = World()
    await world.accept(record(0, "t"))
    world.dispatcher.quiet()
    assert await world.dispatcher.drained(limit=0.0) == 1
    await world.lane.stop("shutdown")
    assert await world.dispatcher.drained(limit=60.0) == 0


async def test_events_tell_what_became_of_a_ticket() -> None:
    world = World()
    await world.accept(record(0, "t"))
    await world.advance(1.5)
    await world.finish("t", TaskResult(success=True, metadata={"simulated": True}))
    (event,) = [event for event in world.events if isinstance(event, TicketSettled)]
    assert event == TicketSettled("t", "EXECUTE", "COMPLETED", reason="", simulated=True, attempts=1, duration=1.5)


async def test_a_closed_lane_is_forgotten() -> None:
    world = World()
    await world.lane.stop("closed")
    world.lane.close()
    assert not world.dispatcher.lanes
    assert_lane_empty(world.lane)
    assert_dispatcher_empty(world.dispatcher)


def test_the_answer_to_a_refusal_says_failed() -> None:
    finished = Finished.failed(Reason.EXPIRED, "too late")
    assert finished.status is Status.FAILED
    assert not finished.result.success
    assert finished.error_reason is Reason.EXPIRED
