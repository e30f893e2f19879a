"""A world for dispatch without Kafka: a clock, a journal and an executor that do what each test says."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.dispatch.config import DispatchConfig
from worker_agents.dispatch.dispatcher import Dispatcher
from worker_agents.dispatch.journal import Answer, DeadLetter, Settlement
from worker_agents.dispatch.lane import Lane
from worker_agents.engine.execution_engine import ExecutionEngine
from worker_agents.engine.retry import RetryPolicy
from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.executors.registry import TaskExecutorRegistry
from worker_agents.model.errors import JournalError
from worker_agents.model.result import Status, TaskResult
from worker_agents.model.state import Done, KnownState, TicketState
from worker_agents.model.ticket import Envelope, Ticket
from worker_agents.telemetry.events import Event, EventBus
from worker_agents.telemetry.tracing import BeginTrace, TraceContext

NOW_MS = 1_767_225_600_000
OWNER = "worker-1#aaaa"


async def let_it_work() -> None:
    """Give everybody who can go on the time to do so, until nobody can."""
    ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined] # what the loop runs next; else we would guess
    await asyncio.sleep(0)
    while ready:  # noqa: ASYNC110 # there is no event for "nothing is left to run"
        await asyncio.sleep(0)


# --- time --------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Timer:
    at: float
    callback: Callable[[], None]
    timers: list[Timer]

    def cancel(self) -> None:
        with contextlib.suppress(ValueError):
            self.timers.remove(self)


class FakeClock:
    """A :class:`~worker_agents.model.clock.Clock` whose time passes only in :meth:`advance`."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.timers: list[Timer] = []
        self._began_ms = now_ms
        self._passed = 0.0

    def now_ms(self) -> int:
        return self._began_ms + round(self._passed * 1000)

    def monotonic(self) -> float:
        return self._passed

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self._passed + seconds, callback, self.timers)
        self.timers.append(timer)
        return timer

    async def sleep(self, seconds: float) -> None:
        over = asyncio.get_running_loop().create_future()
        timer = self.call_later(seconds, lambda: None if over.done() else over.set_result(None))
        try:
            await over
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Let time pass, and call back whoever is due on the way, in the order of their moments."""
        end = self._passed + seconds
        while due := [timer for timer in self.timers if timer.at <= end]:
            timer = min(due, key=lambda each: each.at)
            self._passed = max(self._passed, timer.at)
            self.timers.remove(timer)
            timer.callback()
        self._passed = end

    def next_moment(self) -> float | None:
        """Seconds until the next timer; ``None`` without any."""
        return min((max(timer.at - self._passed, 0.0) for timer in self.timers), default=None)


# --- the journal -------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Change:
    """One entry of the journal that is not durable yet."""

    durable: asyncio.Future[None]
    key: str = ""
    state: KnownState | None = None
    settlement: Settlement | None = None


@dataclass
class FakeJournal:
    """Implements :class:`~worker_agents.dispatch.journal.Journal` in memory.

    Changes become durable when :meth:`commit` is called, in the order in which they came. ``known`` is all that is
    durable: it outlives the worker, as the state topic does, and so do ``settled``, ``answers`` and ``dead_letters``.
    """

    clock: FakeClock
    owner: str = OWNER
    place: str = "0"
    known: dict[str, KnownState] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)
    settled: Counter[int] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    fresh: bool = True
    refuses: Callable[[Change], bool] = lambda change: False  # noqa: ARG005 # nothing is refused by default

    def lookup(self, ticket_id: str) -> KnownState | None:
        return self.known.get(ticket_id)

    def lease_is_fresh(self) -> bool:
        return self.fresh

    def record(self, ticket_id: str, state: TicketState, running: object = None) -> asyncio.Future[None]:  # noqa: ARG002 # as the real one
        return self._append(Change(_future(), ticket_id, state))

    def settle(self, settlement: Settlement) -> asyncio.Future[None]:
        key, state = "", None
        if settlement.answer is not None:
            key = settlement.answer.ticket_id
            answer = settlement.answer
            state = Done(answer.finished.status, settlement.receipts[0], self.clock.now_ms(), answer.replays)
        elif settlement.dead_letter is not None:
            key = f"@offset-{settlement.receipts[0]}"
            state = Done(Status.FAILED, settlement.receipts[0], self.clock.now_ms())
        return self._append(Change(_future(), key, state, settlement))

    def _append(self, change: Change) -> asyncio.Future[None]:
        self.pending.append(change)
        return change.durable

    # --- what tests do ---

    def commit(self, count: int | None = None, *, silently: bool = False) -> int:
        """Make the first ``count`` changes durable (default: all). ``silently``: the answer got lost on the way.

        Returns how many there were.
        """
        batch = self.pending[:count]
        if not silently:
            del self.pending[: len(batch)]
        for change in batch:
            self._commit(change, silently=silently)
        return len(batch)

    def _commit(self, change: Change, *, silently: bool) -> None:
        if change.durable.cancelled() and change.settlement is None:
            return
        refused = self.refuses(change)
        if not refused:
            self._remember(change)
        if silently or change.durable.done():
            return
        if refused:
            change.durable.set_exception(JournalError("refused: too large"))
        else:
            change.durable.set_result(None)

    def _remember(self, change: Change) -> None:
        if change.state is not None:
            self.known[change.key] = change.state
        if change.settlement is None:
            return
        self.settled.update(change.settlement.receipts)
        if change.settlement.answer is not None:
            self.answers.append(change.settlement.answer)
        if change.settlement.dead_letter is not None:
            self.dead_letters.append(change.settlement.dead_letter)

    def reconcile(self, kept: Collection[str]) -> None:
        """As ``PartitionLedger.reconcile``: what is committed is resolved, what is kept waits on, the rest is dropped."""
        waiting, self.pending = self.pending, []
        for change in waiting:
            known = self.known.get(change.key)
            if change.durable.done():
                continue
            is_over = isinstance(known, Done) and known.replays == (change.state.replays if change.state else ())
            if isinstance(change.state, Done) and is_over:
                change.durable.set_result(None)
            elif change.key in kept and not is_over:
                self.pending.append(change)
            else:
                change.durable.cancel()

    def status_of(self, ticket_id: str) -> str | None:
        """The status of the only answer for a ticket, ``None`` without one."""
        answers = self.answers_for(ticket_id)
        assert len(answers) <= 1, f"{ticket_id} was answered {len(answers)} times"
        return answers[0].finished.status.value if answers else None

    def answers_for(self, ticket_id: str) -> list[Answer]:
        return [answer for answer in self.answers if answer.ticket_id == ticket_id]

    def reason_of(self, ticket_id: str) -> str | None:
        (answer,) = self.answers_for(ticket_id)
        return answer.finished.error_reason and answer.finished.error_reason.value


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


# --- the executor ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An order to a live run: checkpoint this, and go on; when ``tolerant`` also if that is refused."""

    data: dict[str, Any]
    tolerant: bool = False


@dataclass(eq=False, slots=True)
class Run:
    """One call of ``execute``, which waits for orders."""

    ticket: Ticket
    context: ExecutionContext
    orders: asyncio.Queue[object]

    def do(self, order: object) -> None:
        """A :class:`Checkpoint`, an exception to raise, or whatever ``execute`` shall return."""
        self.orders.put_nowait(order)


class ScriptedExecutor(BaseTaskExecutor[Parameters]):
    """Every run waits until the test says what becomes of it; ``stubborn`` runs answer a cancellation with an order.

    ``live`` are the runs of this moment, ``history`` all ticket ids in the order in which their runs began, and
    ``overlaps`` those that began while another run of the same ticket was live.
    """

    def __init__(self, task_type: str, on_start: Callable[[Run], None] | None = None) -> None:
        super().__init__()
        self.live: dict[str, Run] = {}
        self.history: list[str] = []
        self.overlaps: list[str] = []
        self.stubborn: dict[str, object] = {}
        self.cancelled_because: dict[str, str | None] = {}
        self._task_type = task_type
        self._on_start = on_start

    def get_task_type(self) -> str:
        return self._task_type

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:
        run = Run(ticket, context, asyncio.Queue())
        if ticket.ticket_id in self.live:
            self.overlaps.append(ticket.ticket_id)
        self.live[ticket.ticket_id] = run
        self.history.append(ticket.ticket_id)
        if self._on_start is not None:
            self._on_start(run)
        try:
            return await self._obey(run)
        except asyncio.CancelledError:
            self.cancelled_because[ticket.ticket_id] = context.cancel_reason
            if ticket.ticket_id not in self.stubborn:
                raise
            return _outcome(self.stubborn[ticket.ticket_id])
        finally:
            if self.live.get(ticket.ticket_id) is run:
                del self.live[ticket.ticket_id]

    @staticmethod
    async def _obey(run: Run) -> TaskResult:
        while True:
            order = await run.orders.get()
            if not isinstance(order, Checkpoint):
                return _outcome(order)
            with contextlib.suppress(*([JournalError] if order.tolerant else [])):
                await run.context.checkpoint(order.data)


def _outcome(order: object) -> Any:
    if isinstance(order, BaseException):
        raise order
    return order


DONE = TaskResult(success=True, output={"done": True})
DENIED = TaskResult(success=False, error_message="denied")


# --- all of it ---------------------------------------------------------------------------------------------------


def record(
    offset: int, ticket_id: str, task_type: str = "EXECUTE", *, key: bytes | None = None, **fields: Any
) -> Envelope:
    """A record of the tickets topic."""
    document = {"ticket_id": ticket_id, "task_type": task_type, **fields}
    return Envelope(offset, orjson.dumps(document), key, timestamp=NOW_MS)


class World:
    """A dispatcher with one lane, woken, over a :class:`FakeJournal`. ``others`` are executors that need no orders."""

    def __init__(
        self,
        config: DispatchConfig | None = None,
        policy: AdmissionPolicy | None = None,
        *,
        task_types: Iterable[str] = ("EXECUTE",),
        journal: FakeJournal | None = None,
        clock: FakeClock | None = None,
        on_start: Callable[[Run], None] | None = None,
        others: Iterable[BaseTaskExecutor[Any]] = (),
        begin_trace: BeginTrace = TraceContext.from_headers,
    ) -> None:
        self.clock = clock or FakeClock()
        self.events: list[Event] = []
        self.bus = EventBus()
        self.bus.subscribe(self.events.append)
        self.journal = journal or FakeJournal(self.clock)
        self.executors = {name: ScriptedExecutor(name, on_start) for name in task_types}
        registry = TaskExecutorRegistry()
        for executor in (*self.executors.values(), *others):
            registry.register(executor)
        engine = ExecutionEngine(
            registry, RetryPolicy(base=2.0, longest=60.0, random=random.Random(0)), self.clock, self.bus.emit
        )
        self.dispatcher = Dispatcher(
            config or DispatchConfig(),
            policy or AdmissionPolicy(registry.types()),
            engine,
            self.clock,
            self.bus.emit,
            begin_trace=begin_trace,
        )
        self.lane = self.dispatcher.lane(self.journal)
        self.lane.wake()

    @property
    def executor(self) -> ScriptedExecutor:
        return next(iter(self.executors.values()))

    def run(self, ticket_id: str) -> Run:
        return self.live()[ticket_id]

    def live(self) -> dict[str, Run]:
        return {ticket_id: run for executor in self.executors.values() for ticket_id, run in executor.live.items()}

    async def accept(self, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            self.lane.accept(envelope)
        await self.work()

    async def work(self) -> None:
        """Commit whatever is there and let everybody go on, until nothing moves any more."""
        await let_it_work()
        while self.journal.commit():
            await let_it_work()

    async def finish(self, ticket_id: str, outcome: object = DONE) -> None:
        self.run(ticket_id).do(outcome)
        await self.work()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.work()

    def assert_nothing_left(self) -> None:
        """No trace of any ticket is left in memory, and no task. To be called inside the event loop."""
        self.assert_nothing_left_of_lane()
        assert not [change for change in self.journal.pending if not change.durable.cancelled()]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def assert_nothing_left_of_lane(self) -> None:
        assert_lane_empty(self.lane)
        assert_dispatcher_empty(self.dispatcher)
        assert not self.live()
        assert not self.clock.timers


def assert_lane_empty(lane: Lane) -> None:
    assert not lane.jobs
    assert not lane._held
    assert lane._waiting.is_empty
    assert not lane.under_way()


def assert_dispatcher_empty(dispatcher: Dispatcher) -> None:
    assert dispatcher.parked == 0
    assert dispatcher.buffered == 0
    assert dispatcher.running == 0
    scheduler = dispatcher._scheduler
    assert scheduler._begun == 0
    assert not scheduler._places
    assert not scheduler._arming_since
