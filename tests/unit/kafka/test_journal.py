"""The journal's contract, kept by the ledger's journal and by the fake that dispatch is tested with."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.unit.dispatch.fakes import DONE, Checkpoint, FakeClock, FakeJournal, World, let_it_work, record
from tests.unit.kafka.fakes import FakeProducer
from tests.unit.kafka.test_ledger import STATE, TICKETS, started
from worker_agents.dispatch.journal import Answer, DeadLetter, Journal, Settlement
from worker_agents.kafka.dead_letters import DeadLetterFormat
from worker_agents.kafka.journal import LedgerJournal, RecordFormat
from worker_agents.kafka.ledger import Lease, LedgerPlace, PartitionLedger
from worker_agents.kafka.results import ResultFormat
from worker_agents.model.errors import JournalError, Reason
from worker_agents.model.result import Finished, Status, TaskResult
from worker_agents.model.state import Done, Phase, TicketState
from worker_agents.model.ticket import Envelope
from worker_agents.telemetry.events import Event

MAX_STATE = 100_000


class Real:
    """A :class:`LedgerJournal` over a ledger whose producer is a fake."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.producer = FakeProducer()
        emit = self.events.append
        self.ledger = PartitionLedger(
            LedgerPlace("group", TICKETS, STATE), Lease(30.0, self.clock), self.clock, emit, dedup_retention=60.0
        )
        self.records = RecordFormat(
            ResultFormat(topic="results", partitions=6, worker_id="w", max_bytes=50_000, emit=emit),
            DeadLetterFormat(
                topic="dlq", partitions=3, tickets_topic="tickets", group="group", worker_id="w", max_bytes=60_000
            ),
            MAX_STATE,
        )
        self.journal = LedgerJournal(self.ledger, self.records, "w#1", 3, self.clock)

    async def commit(self) -> None:
        await self.ledger.commit_pending(self.producer)  # type: ignore[arg-type] # a fake
        await let_it_work()

    def drop(self) -> None:
        self.ledger.abandon()

    def written(self, topic: str) -> list[tuple[str, bytes | None]]:
        return [
            ((each.key or b"").decode(), each.value)
            for transaction in self.producer.log
            for each in transaction.records
            if each.topic == topic
        ]

    @property
    def answered(self) -> list[tuple[str, str]]:
        return [(key, orjson.loads(value or b"")["status"]) for key, value in self.written("results")]


class Fake:
    def __init__(self) -> None:
        self.journal = FakeJournal(FakeClock())

    async def commit(self) -> None:
        self.journal.commit()
        await let_it_work()

    def drop(self) -> None:
        self.journal.reconcile(())

    @property
    def answered(self) -> list[tuple[str, str]]:
        return [(answer.ticket_id, answer.finished.status.value) for answer in self.journal.answers]


Subject = Real | Fake


@pytest.fixture(params=[Real, Fake], ids=["ledger", "fake"])
def subject(request: pytest.FixtureRequest) -> Callable[[], Subject]:
    made: Callable[[], Subject] = request.param
    return made


def settlement(ticket_id: str, *receipts: int, **fields: Any) -> Settlement:
    return Settlement(receipts, Answer(ticket_id, "EXECUTE", Finished.of(DONE), 1, 5), **fields)


async def test_a_state_is_known_once_it_is_durable(subject: Callable[[], Subject]) -> None:
    bench = subject()
    journal: Journal = bench.journal
    durable = journal.record("t", started(4))
    await let_it_work()
    assert not durable.done()
    assert journal.lookup("t") is None
    await bench.commit()
    assert durable.result() is None
    assert journal.lookup("t") == started(4)


async def test_a_settlement_is_done_under_its_first_receipt(subject: Callable[[], Subject]) -> None:
    bench = subject()
    journal: Journal = bench.journal
    journal.record("t", started(4))
    durable = journal.settle(settlement("t", 4, 7))
    await bench.commit()
    assert durable.result() is None
    known = journal.lookup("t")
    assert isinstance(known, Done)
    assert (known.status, known.offset) == (Status.COMPLETED, 4)
    assert bench.answered == [("t", "COMPLETED")]


async def test_a_dead_letter_without_an_answer_is_known_by_its_offset(subject: Callable[[], Subject]) -> None:
    bench = subject()
    journal: Journal = bench.journal
    journal.settle(Settlement((9,), dead_letter=DeadLetter(Envelope(9, b"\xff"), Reason.UNDECODABLE, "bad", 0, 1)))
    await bench.commit()
    known = journal.lookup("@offset-9")
    assert isinstance(known, Done)
    assert known.offset == 9
    assert bench.answered == []


async def test_a_bare_settlement_leaves_no_trace(subject: Callable[[], Subject]) -> None:
    bench = subject()
    durable = bench.journal.settle(Settlement((3,)))
    await bench.commit()
    assert durable.result() is None
    assert bench.answered == []


async def test_changes_become_durable_in_their_order(subject: Callable[[], Subject]) -> None:
    bench = subject()
    for attempt in (1, 2, 3):
        bench.journal.record("t", started(4, attempt=attempt))
    await bench.commit()
    assert bench.journal.lookup("t") == started(4, attempt=3)


async def test_a_lost_partition_cancels_whoever_waits(subject: Callable[[], Subject]) -> None:
    bench = subject()
    waiting = [bench.journal.record("t", started(4)), bench.journal.settle(settlement("u", 5))]
    bench.drop()
    await bench.commit()
    assert all(durable.cancelled() for durable in waiting)
    assert bench.journal.lookup("t") is None
    assert bench.answered == []


async def test_a_start_that_nobody_waits_for_is_not_written(subject: Callable[[], Subject]) -> None:
    bench = subject()
    bench.journal.record("t", started(4)).cancel()
    await bench.commit()
    assert bench.journal.lookup("t") is None


# --- what only the real one does ---------------------------------------------------------------------------------


async def test_a_checkpoint_that_the_state_topic_does_not_take_is_refused_at_once() -> None:
    bench = Real()
    durable = bench.journal.record("t", started(0, phase=Phase.CHECKPOINT, checkpoint={"x": "y" * MAX_STATE}))
    with pytest.raises(JournalError, match="checkpoint of"):
        await durable
    await bench.commit()
    assert bench.journal.lookup("t") is None
    fits = bench.journal.record("t", started(0, checkpoint={"x": "y" * (MAX_STATE - 1_000)}))
    await bench.commit()
    assert fits.result() is None


async def test_transactions_are_bounded_in_bytes_of_checkpoints() -> None:
    """A transaction of two thousand large checkpoints would outlast its time limit, again after every re-opening."""
    bench = Real()
    for number in range(200):
        bench.journal.record(f"t{number}", started(number, checkpoint={"data": "x" * (MAX_STATE - 1_000)}))
    await bench.commit()
    sizes = [sum(len(each.value or b"") for each in transaction.records) for transaction in bench.producer.log]
    assert max(sizes) <= 4 * 1024 * 1024 + MAX_STATE
    assert len(bench.ledger.states.active) == 200


async def test_a_settlement_writes_result_dead_letter_state_and_floor_as_one() -> None:
    bench = Real()
    bench.ledger.tracker.begin(4)
    finished = Finished.failed(Reason.DEPENDENCY_REJECTED, "422", dead_letter=True)
    letter = DeadLetter(Envelope(4, b"value", b"key"), Reason.DEPENDENCY_REJECTED, "422", 1, 1)
    bench.journal.settle(Settlement((4,), Answer("t", "EXECUTE", finished, 1, 5), letter))
    await bench.commit()
    (transaction,) = bench.producer.log
    assert [each.topic for each in transaction.records] == ["results", "dlq", "state", "state"]
    assert transaction.of("dlq") == {"key": b"value"}
    assert bench.ledger.states.floor == 5


async def test_an_unreadable_ticket_is_settled_as_expired() -> None:
    bench = Real()
    state = started(4, attempt=2, began_at=bench.clock.now_ms() - 1_000)
    bench.ledger.states.put("t", state)
    bench.ledger.append(bench.records.expired("t", state, 3, bench.clock.now_ms()))
    await bench.commit()
    ((key, value),) = bench.written("results")
    document = orjson.loads(value or b"")
    assert (key, document["status"], document["error_reason"], document["attempts"]) == ("t", "FAILED", "expired", 2)
    assert document["actual_duration_ms"] == 1_000
    assert isinstance(bench.journal.lookup("t"), Done)


async def test_the_lease_is_the_ledgers() -> None:
    bench = Real()
    assert not bench.journal.lease_is_fresh()
    bench.journal.record("t", started(0))
    await bench.commit()
    assert bench.journal.lease_is_fresh()
    bench.clock.advance(30.0)
    assert not bench.journal.lease_is_fresh()


async def test_what_is_remembered_is_what_was_answered_when_an_output_is_no_json() -> None:
    """Its result says FAILED, so those that depend on it must not start."""
    bench = Real()
    finished = Finished.of(TaskResult(success=True, output={"a": {1, 2}}))
    bench.journal.settle(Settlement((0,), Answer("t", "EXECUTE", finished, 1, 5)))
    await bench.commit()
    ((_, status),) = bench.answered
    known = bench.journal.lookup("t")
    assert isinstance(known, Done)
    assert known.status == status


# --- dispatch over the real ledger -------------------------------------------------------------------------------


async def worked(bench: Real) -> None:
    await let_it_work()
    while bench.ledger.backlog:
        await bench.commit()


def real_world() -> tuple[World, Real]:
    bench = Real()
    world = World(clock=bench.clock, journal=bench.journal)  # type: ignore[arg-type] # the real one
    return world, bench


@pytest.mark.parametrize(
    "result",
    [
        TaskResult(success=True, metadata=None),  # type: ignore[arg-type]
        TaskResult(success=True, output=["x" * 60_000]),  # type: ignore[arg-type]
        TaskResult(success=True, output={"a": {1, 2}}),
    ],
    ids=["no metadata", "large output list", "set"],
)
async def test_a_result_that_cannot_be_written_as_it_is_is_answered_all_the_same(result: TaskResult) -> None:
    world, bench = real_world()
    bench.ledger.tracker.begin(0)
    world.lane.accept(record(0, "t"))
    await worked(bench)
    world.run("t").do(result)
    await worked(bench)
    assert [key for key, _ in bench.answered] == ["t"]
    assert bench.ledger.tracker.watermark() == 1
    assert not world.lane.jobs
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_ticket_goes_through_the_real_ledger() -> None:
    world, bench = real_world()
    for offset in range(3):
        bench.ledger.tracker.begin(offset)
    for envelope in (record(0, "b", dependencies=["a"]), record(1, "a"), record(2, "a")):
        world.lane.accept(envelope)
    await worked(bench)
    for ticket_id in ("a", "b"):
        known = bench.journal.lookup(ticket_id)
        assert isinstance(known, TicketState)
        world.run(ticket_id).do(DONE)
        await worked(bench)
    assert bench.answered == [("a", "COMPLETED"), ("b", "COMPLETED")]
    assert bench.ledger.states.floor == 3
    assert not bench.ledger.states.active
    assert not world.lane.jobs


async def test_a_checkpoint_on_its_way_is_written_although_its_run_was_given_up() -> None:
    """Remote work exists: who resumes the ticket must know of it, and the last transaction can still say so."""
    world, bench = real_world()
    world.lane.accept(record(0, "t"))
    await worked(bench)
    world.run("t").do(Checkpoint({"job": 42}))
    await let_it_work()
    await world.lane.stop("shutdown")
    await worked(bench)
    known = bench.journal.lookup("t")
    assert isinstance(known, TicketState)
    assert known.checkpoint == {"job": 42}
