"""Lane, Dispatcher and ExecutionEngine together, under everything that can happen to a partition.

Hypothesis delivers tickets, copies and garbage, lets runs end in every way, commits or withholds, suspends and
re-opens the partition, lets time pass and kills the worker. The promises are checked after every step, and at the end
everything is drained: each readable ticket has exactly one answer and nothing is left in memory.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.dispatch.fakes import (
    DENIED,
    DONE,
    NOW_MS,
    Checkpoint,
    FakeClock,
    FakeJournal,
    Run,
    World,
    let_it_work,
)
from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.dispatch.cancellation import CancelRequest
from worker_agents.dispatch.config import DispatchConfig, Ordering
from worker_agents.dispatch.pausing import PauseRequest, ResumeRequest
from worker_agents.dispatch.retrying import RetryRequest
from worker_agents.kafka.offsets import OffsetTracker
from worker_agents.model.errors import BreakerOpen, IntegrationRejected, IntegrationUnavailable, TaskError
from worker_agents.model.result import Status, TaskResult
from worker_agents.model.state import Done, TicketState
from worker_agents.model.ticket import Envelope

IDS = [f"t{number}" for number in range(9)]
KEYS = [b"k1", b"k2"]
OUTCOMES: dict[str, object] = {
    "success": DONE,
    "verdict": DENIED,
    "retry now": IntegrationUnavailable("down", retry_after=0.0),
    "retry later": IntegrationUnavailable("down", retry_after=20.0),
    "retry sometime": TaskError("odd", retryable=True),
    "breaker open": BreakerOpen("down", integration="opa", retry_after=5.0),
    "rejected": IntegrationRejected("422"),
    "crash": RuntimeError("bug"),
    "nonsense": {"success": True},
}
MAX_CONCURRENT, MAX_TEST = 3, 1
CONFIG = DispatchConfig(
    max_concurrent=MAX_CONCURRENT,
    limits={"TEST": MAX_TEST},
    dependency_timeout=300.0,
    isolation_time=60.0,
)

TICKETS = st.fixed_dictionaries(
    {"ticket_id": st.sampled_from(IDS), "task_type": st.sampled_from(["EXECUTE"] * 4 + ["TEST"] * 4 + ["DANCE"])},
    optional={
        "dependencies": st.lists(st.sampled_from(IDS[:6]), max_size=2),
        "priority": st.integers(1, 10),
        "qos": st.sampled_from([None, {"delivery_mode": "AT_MOST_ONCE"}]),
        "sla": st.fixed_dictionaries(
            {},
            optional={
                "max_retries": st.integers(0, 3),
                "deadline": st.integers(NOW_MS + 200_000, NOW_MS + 2_000_000),
            },
        ),
    },
)
GARBAGE = st.sampled_from([None, b"\xff", b"[]", b"{}"])


class PartitionMachine(RuleBasedStateMachine):
    """``log`` is the partition of the tickets topic; everything below the reader's position was delivered."""

    ordering = Ordering.DEPENDENCIES

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.log: list[Envelope] = []
        self.first_ticket: dict[str, dict[str, Any]] = {}
        self.starts: Counter[str] = Counter()
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self.in_slots: set[str] = set()
        self.suspended = False
        self.steps = self.trouble_at = 0
        self.workers = 0
        self.clock = FakeClock()

    def do(self, step: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(step)

    # --- the worker's life ---

    @initialize()
    def first_worker(self) -> None:
        self.do(self._new_worker(FakeJournal(self.clock)))

    async def _new_worker(self, journal: FakeJournal) -> None:
        self.workers += 1
        self.journal = replace(journal, owner=f"worker-{self.workers}", pending=[], settled=Counter())
        self.world = World(
            replace(CONFIG, ordering=self.ordering),
            AdmissionPolicy({"EXECUTE", "TEST"}, max_deliveries=3),
            task_types=("EXECUTE", "TEST"),
            journal=self.journal,
            clock=self.clock,
            on_start=self._started,
        )
        await self._open()

    async def _open(self) -> None:
        """As ``Partition._open`` does it: reconcile, commit what is kept, and read again from the floor."""
        self.suspended = False
        self.trouble_at = self.steps
        kept = await self.world.lane.reconcile()
        assert set(kept) == set(self.world.lane.jobs)
        floor = self._floor()
        done = (state.offset for state in self.journal.known.values() if isinstance(state, Done))
        self.tracker = OffsetTracker(floor, done)
        self.journal.settled.clear()
        self.journal.reconcile(kept)
        await self.world.work()
        for offset in self.journal.settled:
            self.tracker.settle(offset)
        self.world.lane.wake()
        self._deliver(floor)
        await let_it_work()

    def _floor(self) -> int:
        """What a reader of the journal alone may rely on: the first record whose ticket is not settled by it."""
        for offset, envelope in enumerate(self.log):
            state = self.journal.known.get(_id_of(envelope) or f"@offset-{offset}")
            if not isinstance(state, Done) and not _asks_for_nothing(envelope):
                return offset
        return len(self.log)

    def _deliver(self, start: int) -> None:
        for offset in range(start, len(self.log)):
            if self.tracker.begin(offset):
                self.world.lane.accept(self.log[offset])

    def _append(self, envelope: Envelope) -> None:
        self.do(self._arrive(envelope))

    async def _arrive(self, envelope: Envelope) -> None:
        self.log.append(envelope)
        if not self.suspended:
            self._deliver(self.tracker.next_offset)
        await let_it_work()

    # --- what may happen ---

    @rule(tickets=st.lists(st.tuples(TICKETS, st.none() | st.sampled_from(KEYS)), min_size=1, max_size=4))
    def tickets_arrive(self, tickets: list[tuple[dict[str, Any], bytes | None]]) -> None:
        for fields, key in tickets:
            self._a_ticket_arrives(fields, key)

    def _a_ticket_arrives(self, fields: dict[str, Any], key: bytes | None) -> None:
        """A copy has the fields and the key of the first."""
        ticket_id = fields["ticket_id"]
        fields = self.first_ticket.setdefault(ticket_id, fields | {"key": key and key.decode()})
        key = fields["key"].encode() if fields["key"] else None
        self._append(Envelope(len(self.log), orjson.dumps(fields), key, timestamp=NOW_MS))

    @rule(ticket_id=st.sampled_from(IDS))
    def a_damaged_copy_arrives(self, ticket_id: str) -> None:
        if ticket_id in self.first_ticket:
            value = orjson.dumps({"ticket_id": ticket_id, "task_type": "EXECUTE", "priority": "soon"})
            self._append(Envelope(len(self.log), value, timestamp=NOW_MS))

    @rule(value=GARBAGE)
    def garbage_arrives(self, value: bytes | None) -> None:
        self._append(Envelope(len(self.log), value, timestamp=NOW_MS))

    @precondition(lambda self: not self.suspended and self.journal.pending)
    @rule(count=st.none() | st.integers(1, 3))
    def changes_become_durable(self, count: int | None) -> None:
        self.do(self._commit(count))

    async def _commit(self, count: int | None = None) -> None:
        self.journal.commit(count)
        await let_it_work()

    @precondition(lambda self: self.world.live())
    @rule(data=st.data(), outcome=st.sampled_from(sorted(OUTCOMES)))
    def a_run_ends(self, data: st.DataObject, outcome: str) -> None:
        ticket_id = data.draw(st.sampled_from(sorted(self.world.live())))
        self.do(self._order(ticket_id, OUTCOMES[outcome]))

    @precondition(lambda self: self.world.live())
    @rule(data=st.data(), job=st.integers(1, 9))
    def a_run_checkpoints(self, data: st.DataObject, job: int) -> None:
        ticket_id = data.draw(st.sampled_from(sorted(self.world.live())))
        self.do(self._order(ticket_id, Checkpoint({"job": job})))

    async def _order(self, ticket_id: str, order: object) -> None:
        self.world.run(ticket_id).do(order)
        await let_it_work()

    @rule(ticket_id=st.sampled_from(IDS))
    def an_operator_cancels(self, ticket_id: str) -> None:
        self.do(self._cancel(ticket_id))

    async def _cancel(self, ticket_id: str) -> None:
        self.world.dispatcher.cancel(CancelRequest(ticket_id))
        await let_it_work()

    @rule(task_type=st.sampled_from(["EXECUTE", "TEST"]), seconds=st.sampled_from([5.0, 100.0, 5_000.0]))
    def an_operator_pauses_a_type(self, task_type: str, seconds: float) -> None:
        self._note_slots()
        self.do(self._ask(self.world.dispatcher.pause, PauseRequest(task_type, seconds=seconds)))

    def _note_slots(self) -> None:
        """Those that have their slot may be writing their start still: they go on."""
        places = self.world.dispatcher._scheduler._places
        self.in_slots = {name for name, job in self.world.lane.jobs.items() if places.get(id(job)) == "running"}

    @precondition(lambda self: list(self.world.dispatcher.pauses))
    @rule(data=st.data())
    def an_operator_resumes_a_type(self, data: st.DataObject) -> None:
        paused = sorted(pause.task_type for pause in self.world.dispatcher.pauses)
        self.do(self._ask(self.world.dispatcher.resume, ResumeRequest(data.draw(st.sampled_from(paused)))))

    @rule(task_type=st.sampled_from(["EXECUTE", "TEST"]))
    def an_operator_pauses_and_thinks_better_of_it(self, task_type: str) -> None:
        self.do(self._pause_and_resume(task_type))

    async def _pause_and_resume(self, task_type: str) -> None:
        self._note_slots()
        self.world.dispatcher.pause(PauseRequest(task_type))
        await self._ask(self.world.dispatcher.resume, ResumeRequest(task_type))

    @rule(ticket_id=st.sampled_from(IDS))
    def an_operator_brings_a_retry_forward(self, ticket_id: str) -> None:
        self.do(self._ask(self.world.dispatcher.retry_now, RetryRequest(ticket_id)))

    async def _ask(self, what: Callable[[Any], object], request: object) -> None:
        what(request)
        await let_it_work()

    @rule(seconds=st.sampled_from([1.0, 20.0, 61.0, 150.0, 301.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(self._advance(seconds))

    async def _advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await let_it_work()

    @precondition(lambda self: self.calm_for(4) and not self.suspended)
    @rule(committed=st.integers(0, 3))
    def the_ledger_fails(self, committed: int) -> None:
        """Some of what was pending may have been committed; nobody knows."""
        self.journal.commit(committed, silently=True)
        self.do(self.world.lane.suspend())
        self.suspended = True

    @precondition(lambda self: self.suspended)
    @rule()
    def the_partition_is_opened_again(self) -> None:
        self.do(self._open())

    @precondition(lambda self: self.calm_for(8) and self.log)
    @rule(committed=st.integers(0, 3))
    def the_worker_is_killed(self, committed: int) -> None:
        if not self.suspended:
            self.journal.commit(committed, silently=True)
        self._kill()
        for ticket_id, state in self.journal.known.items():
            if isinstance(state, TicketState) and state.has_begun:
                self.journal.known[ticket_id] = replace(state, delivery=state.delivery + 1)
        self.do(self._new_worker(self.journal))

    @precondition(lambda self: self.calm_for(8) and self.log and not self.suspended)
    @rule()
    def the_partition_is_handed_over(self) -> None:
        self.do(self.world.lane.stop("partition_revoked"))
        self.do(self._commit())
        for pause in self.world.dispatcher.pauses:
            # The next one knows nothing of them.
            self.do(self._ask(self.world.dispatcher.resume, ResumeRequest(pause.task_type)))
        self.world.assert_nothing_left_of_lane()
        self.do(self._new_worker(self.journal))

    def calm_for(self, steps: int) -> bool:
        """Whether there was no trouble for so many steps: else there would be nothing but trouble."""
        return self.steps - self.trouble_at >= steps

    def _kill(self) -> None:
        """Nothing of the old process says or writes anything any more."""
        self.world.dispatcher.quiet()
        self.world.lane.quiet()
        self.world.lane.jobs.clear()
        self.clock.timers.clear()
        tasks = asyncio.all_tasks(self.loop)
        for task in sorted(tasks, key=lambda task: task.get_name()):
            task.cancel()
        self.do(_ended(tasks))

    # --- the promises ---

    def _started(self, run: Run) -> None:
        ticket, known = run.ticket, self.journal.known
        if ticket.task_type in self.world.dispatcher.pauses and ticket.ticket_id not in self.in_slots:
            self.wrong.append(f"{ticket.ticket_id} started while its type was paused")
        self.in_slots.discard(ticket.ticket_id)
        self.starts[ticket.ticket_id] += 1
        self.attempts[ticket.ticket_id, run.context.attempt] += 1
        for name in ticket.dependencies:
            done = known.get(name)
            if not (isinstance(done, Done) and done.status is Status.COMPLETED):
                self.wrong.append(f"{ticket.ticket_id} started before {name} was done: {done}")
        state = known.get(ticket.ticket_id)
        if not (isinstance(state, TicketState) and state.has_begun and state.owner == self.journal.owner):
            self.wrong.append(f"{ticket.ticket_id} started without a durable start: {state}")
        elif run.context.resumed_from != state.checkpoint:
            self.wrong.append(f"{ticket.ticket_id} resumed from {run.context.resumed_from}, not {state.checkpoint}")

    @invariant()
    def count_the_steps(self) -> None:
        self.steps += 1

    @invariant()
    def every_start_was_right(self) -> None:
        assert not self.wrong

    @invariant()
    def no_ticket_is_run_twice_at_once(self) -> None:
        for executor in self.world.executors.values():
            assert not executor.overlaps

    @invariant()
    def limits_hold(self) -> None:
        cleared = [job for job in self.world.lane.jobs.values() if job.task_type == "TEST" and not job.isolated]
        assert len(self.world.live()) <= self.world.dispatcher.running <= MAX_CONCURRENT
        running = [job for job in cleared if job.ticket_id in self.world.executors["TEST"].live]
        assert len([job for job in running if job.state and job.state.delivery == 1]) <= MAX_TEST + 1
        isolated = [job for job in self.world.lane.jobs.values() if job.isolated and job.ticket_id in self.world.live()]
        if any(job.state and job.state.isolated for job in isolated):
            assert len(isolated) == 1, "a death would convict one that was not alone"

    @invariant()
    def nothing_is_settled_or_answered_twice(self) -> None:
        assert all(count == 1 for count in self.journal.settled.values())
        assert all(count == 1 for count in Counter(answer.ticket_id for answer in self.journal.answers).values())

    @invariant()
    def a_ticket_that_may_start_once_does(self) -> None:
        for ticket_id, fields in self.first_ticket.items():
            if fields.get("qos"):
                assert self.starts[ticket_id] <= 1

    @invariant()
    def attempts_stay_within_their_number(self) -> None:
        for ticket_id, attempt in self.attempts:
            allowed = 1 + self.first_ticket[ticket_id].get("sla", {}).get("max_retries", 3)
            assert 1 <= attempt <= allowed

    @invariant()
    def parked_tickets_are_counted(self) -> None:
        parked = [job for job in self.world.lane.jobs.values() if job.phase == "parked"]
        assert self.world.dispatcher.parked == len(parked)
        assert all(job.ticket is None for job in parked), "parked as raw bytes"

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.do(self._drain())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.do(let_it_work())
            self.loop.close()

    async def _drain(self) -> None:
        """Let everything come to its end."""
        if self.suspended:
            await self._open()
        for _ in range(200):
            await self.world.work()
            if not self.world.live() and not self.clock.timers:
                break
            for run in self.world.live().values():
                run.do(TaskResult(success=True))
            await self.world.work()
            if not self.world.live() and (moment := self.clock.next_moment()) is not None:
                self.clock.advance(moment)
        self.world.assert_nothing_left()
        for ticket_id in self.first_ticket:
            assert self.journal.status_of(ticket_id), f"{ticket_id} was never answered"
            assert isinstance(self.journal.known[ticket_id], Done)
        for offset in self.journal.settled:
            self.tracker.settle(offset)
        assert self.tracker.watermark() == len(self.log), "every record is settled"
        self._check_order()

    def _check_order(self) -> None:
        """Nothing to check where order does not matter."""


class KeyOrderMachine(PartitionMachine):
    """The same in key order: one ticket of a key at a time, in the order of their arrival."""

    ordering = Ordering.KEY

    @invariant()
    def one_ticket_of_a_key_at_a_time(self) -> None:
        keys = Counter(self._key(ticket_id) for ticket_id in self.world.live())
        assert all(count == 1 for key, count in keys.items() if key)

    def _key(self, ticket_id: str) -> str | None:
        key: str | None = self.first_ticket[ticket_id]["key"]
        return key

    def _check_order(self) -> None:
        """Of one key, those that ran were answered in the order of their arrival."""
        arrived = list(self.first_ticket)
        for key in KEYS:
            answered = [
                answer.ticket_id
                for answer in self.journal.answers
                if self._key(answer.ticket_id) == key.decode() and self.starts[answer.ticket_id]
            ]
            assert answered == sorted(answered, key=arrived.index)


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def _id_of(envelope: Envelope) -> str | None:
    try:
        ticket_id: str | None = orjson.loads(envelope.value or b"").get("ticket_id")
    except (orjson.JSONDecodeError, AttributeError):
        return None
    return ticket_id


def _asks_for_nothing(envelope: Envelope) -> bool:
    return envelope.value is None


PROFILE = settings(max_examples=100, stateful_step_count=50)
TestDependencyOrder = PartitionMachine.TestCase
TestDependencyOrder.settings = PROFILE
TestKeyOrder = KeyOrderMachine.TestCase
TestKeyOrder.settings = PROFILE
