"""Group commit, and what becomes of waiting changes when a commit fails."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from tests.unit.dispatch.fakes import FakeClock, let_it_work
from tests.unit.kafka.fakes import FakeProducer, fenced
from worker_agents.kafka.codec import Meta, OutRecord, Owner, decode_state, encode_state
from worker_agents.kafka.ledger import Entry, Lease, LedgerPlace, PartitionLedger
from worker_agents.kafka.offsets import OffsetTracker
from worker_agents.kafka.producer import CommitFailed
from worker_agents.kafka.state import TicketStates
from worker_agents.model.errors import JournalError
from worker_agents.model.result import Status
from worker_agents.model.state import Done, Phase, TicketState
from worker_agents.telemetry.events import Event, LedgerCommitted

TICKETS, STATE = TopicPartition("tickets", 3), TopicPartition("state", 3)
HOUR = 3_600.0


def started(offset: int = 0, **changes: Any) -> TicketState:
    return TicketState(**{"phase": Phase.STARTED, "offset": offset, "owner": "w", "began_at": 1} | changes)


def done(offset: int = 0, at: int = 0) -> Done:
    return Done(Status.COMPLETED, offset, at)


def start(key: str, offset: int = 0) -> Entry:
    return Entry(key, started(offset))


def result(key: str, offset: int, size: int = 10) -> Entry:
    return Entry(key, done(offset), (OutRecord("results", b"x" * size, key.encode(), 0),), receipts=(offset,))


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.lease = Lease(30.0, self.clock)
        self.producer = FakeProducer()
        self.ledger = PartitionLedger(
            LedgerPlace("group", TICKETS, STATE), self.lease, self.clock, self.events.append, dedup_retention=HOUR
        )
        self.runs: list[asyncio.Task[None]] = []

    def run(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.ledger.run(self.producer))  # type: ignore[arg-type] # a fake
        self.runs.append(task)
        return task

    async def commit(self) -> None:
        await self.ledger.commit_pending(self.producer)  # type: ignore[arg-type] # a fake

    async def fails(self) -> CommitFailed:
        with pytest.raises(CommitFailed) as caught:
            await self.commit()
        return caught.value

    def restored(self) -> TicketStates:
        """What a reader of the state partition knows."""
        states = TicketStates()
        for transaction in self.producer.log:
            for record in transaction.records:
                if (record.topic, record.partition) == STATE:
                    states.apply((record.key or b"").decode(), record.value)
        return states

    def agrees_with_its_log(self) -> bool:
        restored, states = self.restored(), self.ledger.states
        return (restored.active, restored.done, restored.floor) == (states.active, states.done, states.floor)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_one_transactional_id_a_partition() -> None:
    place = LedgerPlace("group", TICKETS, STATE)
    assert place.transactional_id == "group-tickets-3"
    assert place.meta == Meta("group", "tickets")


async def test_what_belongs_together_is_one_transaction(bench: Bench) -> None:
    bench.ledger.tracker.begin(0)
    durable = bench.ledger.append(result("t", 0))
    await bench.commit()
    assert durable.done()
    (transaction,) = bench.producer.log
    assert transaction.of("results") == {"t": b"x" * 10}
    assert decode_state("t", transaction.of("state")["t"] or b"") == done(0)
    assert transaction.of("state")["@floor"] == b'{"offset":1}'
    assert transaction.offsets == {TICKETS: 1}
    assert all(record.partition == 3 for record in transaction.records if record.topic == "state")
    assert bench.agrees_with_its_log()


async def test_nothing_pending_is_no_transaction(bench: Bench) -> None:
    await bench.commit()
    first = bench.producer.asked
    await bench.commit()
    await bench.commit()
    assert bench.producer.asked == first


async def test_while_one_transaction_is_in_flight_the_next_gathers(bench: Bench) -> None:
    bench.producer.gate = asyncio.Event()
    running = bench.run()
    first = bench.ledger.append(start("a"))
    await let_it_work()
    others = [bench.ledger.append(start(f"b{number}", number)) for number in range(50)]
    await let_it_work()
    assert bench.producer.asked == 1
    assert bench.ledger.backlog == 51
    assert not first.done()
    bench.producer.gate.set()
    await let_it_work()
    assert first.done()
    assert all(durable.done() for durable in others)
    assert len(bench.producer.log) == 2
    assert bench.ledger.backlog == 0
    running.cancel()
    await asyncio.wait([running])


async def test_a_change_counts_only_once_it_is_committed(bench: Bench) -> None:
    bench.producer.gate = asyncio.Event()
    running = bench.run()
    bench.ledger.append(start("t"))
    await let_it_work()
    assert bench.ledger.states.lookup("t") is None
    bench.producer.gate.set()
    await let_it_work()
    assert bench.ledger.states.lookup("t") == started()
    running.cancel()
    await asyncio.wait([running])


async def test_the_floor_moves_only_past_what_is_settled(bench: Bench) -> None:
    for offset in range(3):
        bench.ledger.tracker.begin(offset)
    bench.ledger.append(result("b", 1))
    await bench.commit()
    assert bench.ledger.states.floor == 0
    bench.ledger.append(result("a", 0))
    await bench.commit()
    assert bench.ledger.states.floor == 2
    assert bench.agrees_with_its_log()
    floors = [transaction.of("state").get("@floor") for transaction in bench.producer.log]
    assert floors == [b'{"offset":0}', b'{"offset":2}']


async def test_bare_receipts_move_the_floor_and_are_not_remembered(bench: Bench) -> None:
    bench.ledger.tracker.begin(0)
    bench.ledger.append(Entry(receipts=(0,)))
    await bench.commit()
    assert bench.restored().floor == 1
    assert not bench.ledger.states.done


async def test_batches_are_bounded_in_number(bench: Bench) -> None:
    for number in range(4_500):
        bench.ledger.append(start(f"t{number}", number))
    await bench.commit()
    assert [len(transaction.records) for transaction in bench.producer.log] == [2_001, 2_000, 500]


async def test_batches_are_bounded_in_bytes_of_results(bench: Bench) -> None:
    for number in range(20):
        bench.ledger.append(result(f"t{number}", number, size=900_000))
    await bench.commit()
    for transaction in bench.producer.log:
        assert sum(len(record.value or b"") for record in transaction.records) <= 4 * 1024 * 1024 + 1_000_000


async def test_the_position_follows_the_state_partition(bench: Bench) -> None:
    bench.ledger.append(start("a"))
    await bench.commit()
    bench.ledger.append(start("b"))
    await bench.commit()
    assert bench.ledger.states.position == bench.producer._end(STATE)


async def test_facts_are_remembered_when_they_are_committed(bench: Bench) -> None:
    owner, meta = Owner("w", "http://w"), Meta("group", "tickets")
    durable = bench.ledger.append_facts(meta, owner)
    await bench.commit()
    assert durable.done()
    assert (bench.ledger.states.owner, bench.ledger.states.meta) == (owner, meta)
    assert (bench.restored().owner, bench.restored().meta) == (owner, meta)


async def test_a_commit_is_told(bench: Bench) -> None:
    bench.ledger.append(start("a"))
    bench.ledger.append(start("b"))
    await bench.commit()
    assert bench.events == [LedgerCommitted(3, entries=2, duration=0.0)]


# --- the lease ---------------------------------------------------------------------------------------------------


async def test_the_age_of_a_lease_counts_from_when_the_write_was_issued(bench: Bench) -> None:
    assert not bench.lease.is_fresh()
    bench.producer.gate = asyncio.Event()
    running = bench.run()
    bench.ledger.append(start("a"))
    await let_it_work()
    bench.clock.advance(10.0)
    bench.producer.gate.set()
    await let_it_work()
    assert bench.lease.age() == 10.0
    assert bench.lease.is_fresh()
    assert bench.lease.expires_in() == 20.0
    bench.clock.advance(20.0)
    assert not bench.lease.is_fresh()
    running.cancel()
    await asyncio.wait([running])


async def test_a_failed_commit_proves_nothing(bench: Bench) -> None:
    bench.producer.failures.append(fenced())
    bench.ledger.append(start("a"))
    assert (await bench.fails()).is_fenced
    assert not bench.lease.is_fresh()


def test_an_older_proof_does_not_make_a_lease_older() -> None:
    clock = FakeClock()
    lease = Lease(30.0, clock)
    lease.renew(5.0)
    lease.renew(2.0)
    assert lease.expires_in() == 35.0


# --- after a failure ---------------------------------------------------------------------------------------------


async def test_a_failed_commit_ends_the_run_and_resolves_nobody(bench: Bench) -> None:
    bench.producer.failures.append(TimeoutError())
    durable = bench.ledger.append(result("t", 0))
    running = bench.run()
    await asyncio.wait([running])
    assert isinstance(running.exception(), CommitFailed)
    assert not durable.done()
    assert bench.ledger.states.lookup("t") is None
    assert bench.ledger.states.floor is None
    assert bench.ledger.backlog == 1


async def reopened(bench: Bench, kept: set[str], *, committed: bool) -> None:
    """What ``Partition._open`` does with the ledger; ``committed``: the failed transaction went through after all."""
    if committed:
        for entry in bench.ledger._in_flight:
            if entry.state is not None:
                bench.ledger.states.put(entry.key, entry.state)
    floor = bench.ledger.states.floor or 0
    bench.ledger.tracker = OffsetTracker(floor, bench.ledger.states.settled_offsets(floor))
    bench.ledger.reconcile(kept)
    await let_it_work()


async def test_a_result_that_turns_out_to_be_committed_is_resolved(bench: Bench) -> None:
    bench.producer.failures.append(TimeoutError())
    durable = bench.ledger.append(result("t", 0))
    await bench.fails()
    await reopened(bench, {"t"}, committed=True)
    assert durable.done()
    assert not durable.cancelled()
    assert bench.ledger.backlog == 0


async def test_a_result_of_a_kept_ticket_is_submitted_again(bench: Bench) -> None:
    bench.producer.failures.append(TimeoutError())
    durable = bench.ledger.append(result("t", 0))
    await bench.fails()
    await reopened(bench, {"t"}, committed=False)
    assert not durable.done()
    bench.ledger.tracker.begin(0)
    await bench.commit()
    assert durable.done()
    assert bench.ledger.states.floor == 1
    assert bench.agrees_with_its_log()


async def test_changes_of_dropped_tickets_are_cancelled(bench: Bench) -> None:
    bench.producer.failures.append(TimeoutError())
    kept, dropped = bench.ledger.append(start("kept")), bench.ledger.append(start("dropped"))
    bare, facts = bench.ledger.append(Entry(receipts=(7,))), bench.ledger.append_facts(Owner("w"))
    await bench.fails()
    later = bench.ledger.append(result("dropped", 1))
    await reopened(bench, {"kept"}, committed=False)
    assert not kept.done()
    assert dropped.cancelled()
    assert later.cancelled()
    assert bare.cancelled()
    assert facts.cancelled()
    await bench.commit()
    assert kept.done()
    assert set(bench.restored().active) == {"kept"}


async def test_order_is_kept_through_a_reopening(bench: Bench) -> None:
    """A checkpoint must not be overtaken by the start before it."""
    bench.producer.failures.append(TimeoutError())
    bench.ledger.append(start("t"))
    await bench.fails()
    bench.ledger.append(Entry("t", started(checkpoint={"job": 1})))
    await reopened(bench, {"t"}, committed=False)
    await bench.commit()
    assert bench.ledger.states.active["t"].checkpoint == {"job": 1}
    assert bench.agrees_with_its_log()


async def test_a_start_of_a_ticket_that_somebody_finished_is_not_written(bench: Bench) -> None:
    bench.producer.failures.append(fenced())
    durable = bench.ledger.append(start("t"))
    await bench.fails()
    bench.ledger.states.put("t", done())
    await reopened(bench, {"t"}, committed=False)
    assert durable.cancelled()
    assert bench.ledger.states.lookup("t") == done()


async def test_reconciling_wakes_the_run(bench: Bench) -> None:
    bench.producer.failures.append(TimeoutError())
    durable = bench.ledger.append(start("t"))
    await bench.fails()
    await reopened(bench, {"t"}, committed=False)
    running = bench.run()
    await let_it_work()
    assert durable.done()
    running.cancel()
    await asyncio.wait([running])


async def test_abandoning_cancels_whoever_waits(bench: Bench) -> None:
    bench.producer.failures.append(fenced())
    in_flight = bench.ledger.append(start("a"))
    await bench.fails()
    pending = bench.ledger.append(result("b", 0))
    bench.ledger.abandon()
    assert in_flight.cancelled()
    assert pending.cancelled()
    assert bench.ledger.backlog == 0


async def test_a_start_that_nobody_waits_for_any_more_is_not_written(bench: Bench) -> None:
    bench.ledger.append(start("dropped")).cancel()
    bench.ledger.append(start("t"))
    await bench.commit()
    assert set(bench.restored().active) == {"t"}


# --- blame -------------------------------------------------------------------------------------------------------


async def test_a_batch_refused_for_what_is_in_it_is_tried_entry_by_entry(bench: Bench) -> None:
    bench.producer.max_record = 500
    entries = {name: result(name, number, size=10) for number, name in enumerate("abc")}
    entries["large"] = result("large", 3, size=501)
    for offset, entry in enumerate(entries.values()):
        bench.ledger.tracker.begin(offset)
        bench.ledger.append(entry)
    for _ in range(5):
        with pytest.raises(CommitFailed):
            await bench.commit()
        await reopened(bench, set(entries), committed=False)
        if entries["large"].durable.done():
            break
    assert isinstance(entries["large"].durable.exception(), JournalError)
    await bench.commit()
    assert all(entries[name].durable.exception() is None for name in "abc")
    assert set(bench.restored().done) == {"a", "b", "c"}
    assert all(len(transaction.of("results")) <= 1 for transaction in bench.producer.log)


async def test_being_fenced_blames_no_entry(bench: Bench) -> None:
    bench.producer.failures.extend([fenced(), TimeoutError(), AssertionError()])
    entry = result("t", 0)
    bench.ledger.append(entry)
    for _ in range(3):
        failure = await bench.fails()
        assert not failure.blames_records
        await reopened(bench, {"t"}, committed=False)
    assert not entry.must_go_alone
    await bench.commit()
    assert entry.durable.done()


async def test_suspects_go_alone_and_the_others_together(bench: Bench) -> None:
    bench.producer.failures.append(MessageSizeTooLargeError())
    for number in range(3):
        bench.ledger.append(start(f"s{number}", number))
    await bench.fails()
    await reopened(bench, {"s0", "s1", "s2"}, committed=False)
    for number in range(3):
        bench.ledger.append(start(f"t{number}", 3 + number))
    await bench.commit()
    written = [{key for key in transaction.of("state") if key[0] != "@"} for transaction in bench.producer.log]
    assert written == [{"s0"}, {"s1"}, {"s2"}, {"t0", "t1", "t2"}]


# --- forgetting --------------------------------------------------------------------------------------------------


async def settled(bench: Bench, count: int) -> None:
    for offset in range(count):
        bench.ledger.tracker.begin(offset)
        bench.ledger.append(Entry(f"t{offset}", done(offset, at=bench.clock.now_ms()), receipts=(offset,)))
    await bench.commit()


async def test_a_done_ticket_is_forgotten_after_its_retention(bench: Bench) -> None:
    await settled(bench, 3)
    bench.clock.advance(HOUR - 1.0)
    await bench.commit()
    assert len(bench.ledger.states.done) == 3
    bench.clock.advance(10.0)
    await bench.commit()
    assert not bench.ledger.states.done
    assert not bench.restored().done
    assert bench.producer.log[-1].of("state") == {"t0": None, "t1": None, "t2": None}


async def test_a_done_ticket_above_the_floor_is_never_forgotten(bench: Bench) -> None:
    bench.ledger.tracker.begin(0)
    bench.ledger.tracker.begin(1)
    bench.ledger.append(Entry("t1", done(1, at=bench.clock.now_ms()), receipts=(1,)))
    await bench.commit()
    bench.clock.advance(10 * HOUR)
    await bench.commit()
    assert set(bench.ledger.states.done) == {"t1"}


async def test_many_are_forgotten_in_steps(bench: Bench) -> None:
    await settled(bench, 1_200)
    bench.clock.advance(HOUR + 10.0)
    sizes = []
    for _ in range(4):
        await bench.commit()
        sizes.append(len(bench.ledger.states.done))
    assert sizes == [700, 200, 0, 0]


async def test_a_failed_commit_forgets_nothing(bench: Bench) -> None:
    await settled(bench, 1)
    bench.clock.advance(HOUR + 10.0)
    bench.producer.failures.append(TimeoutError())
    await bench.fails()
    assert set(bench.ledger.states.done) == {"t0"}


# --- flushing ----------------------------------------------------------------------------------------------------


async def test_flushed_waits_for_all_that_is_pending_and_for_the_floor(bench: Bench) -> None:
    for offset in range(2):
        bench.ledger.tracker.begin(offset)
    bench.producer.gate = asyncio.Event()
    running = bench.run()
    bench.ledger.append(result("a", 0))
    await let_it_work()
    bench.ledger.append(result("b", 1))
    flushed = asyncio.create_task(bench.ledger.flushed())
    await let_it_work()
    assert not flushed.done()
    bench.producer.gate.set()
    await let_it_work()
    assert flushed.done()
    assert bench.ledger.states.floor == 2
    assert bench.ledger.committed_offset == 2
    assert bench.ledger.backlog == 0
    running.cancel()
    await asyncio.wait([running])


async def test_flushed_returns_when_the_partition_is_lost(bench: Bench) -> None:
    bench.ledger.append(result("a", 0))
    flushed = asyncio.create_task(bench.ledger.flushed())
    await let_it_work()
    bench.ledger.abandon()
    await let_it_work()
    bench.ledger.abandon()
    await let_it_work()
    assert flushed.done()


async def test_a_receipt_settled_on_the_side_is_committed_too(bench: Bench) -> None:
    bench.ledger.tracker.begin(0)
    running = bench.run()
    bench.ledger.settle_receipt(0)
    await let_it_work()
    assert bench.restored().floor == 1
    running.cancel()
    await asyncio.wait([running])


async def test_the_groups_offset_equals_the_floor_once_there_is_nothing_to_do(bench: Bench) -> None:
    for offset in range(3):
        bench.ledger.tracker.begin(offset)
        bench.ledger.append(result(f"t{offset}", offset))
        await bench.commit()
    bench.clock.advance(5.0)
    await bench.commit()
    assert bench.ledger.committed_offset == bench.ledger.states.floor == 3
    assert [transaction.offsets for transaction in bench.producer.log if transaction.offsets][-1] == {TICKETS: 3}
    assert all(
        offset <= (bench.restored().floor or 0)
        for transaction in bench.producer.log
        for offset in transaction.offsets.values()
    )


async def test_a_state_that_is_remembered_is_the_one_that_was_written(bench: Bench) -> None:
    state = started(5, checkpoint={"job": [1, None, {"a": "ü"}]}, attempt=3, isolated=True, delivery=4)
    bench.ledger.append(Entry("t", state))
    await bench.commit()
    assert bench.producer.log[0].of("state")["t"] == encode_state(state)
    assert bench.agrees_with_its_log()
