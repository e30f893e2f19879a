"""What all partitions of a worker share: the slots, the engine, and the limits on what is taken in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from worker_agents.dispatch.admission import AdmissionPolicy
from worker_agents.dispatch.cancellation import Cancelled, CancelRequest
from worker_agents.dispatch.config import DispatchConfig
from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.dispatch.journal import Journal
from worker_agents.dispatch.lane import Lane
from worker_agents.dispatch.pausing import Paused, PauseRequest, Pauses, Resumed, ResumeRequest
from worker_agents.dispatch.retrying import Retried, RetryRequest
from worker_agents.dispatch.scheduler import Scheduler, Slots
from worker_agents.dispatch.slices import in_slices
from worker_agents.dispatch.stakes import Stakes, stakes_of
from worker_agents.model.clock import Cancellable, Clock
from worker_agents.telemetry.events import Emit
from worker_agents.telemetry.tracing import BeginTrace, TraceContext

if TYPE_CHECKING:
    from worker_agents.engine.execution_engine import ExecutionEngine

A = TypeVar("A")


class Dispatcher:
    """Gives slots to the tickets of all lanes, most urgent first."""

    def __init__(
        self,
        config: DispatchConfig,
        policy: AdmissionPolicy,
        engine: ExecutionEngine,
        clock: Clock,
        emit: Emit,
        *,
        begin_trace: BeginTrace = TraceContext.from_headers,
    ) -> None:
        self.config = config
        self.policy = policy
        self.engine = engine
        self.clock = clock
        self.emit = emit
        self.begin_trace = begin_trace
        self.lanes: set[Lane] = set()
        self.parked = 0
        self.pauses = Pauses(clock, emit, self._resume)
        self._scheduler: Scheduler[Job] = Scheduler(config.max_concurrent, config.limits or {}, config.max_buffered)
        self._paused = False
        self._room = asyncio.Event()
        self._room.set()
        self._quiet = False
        self._pumping = False
        self._proving: Cancellable | None = None
        self._gathering: Cancellable | None = None

    def lane(self, journal: Journal) -> Lane:
        """A lane for a partition that was just assigned."""
        lane = Lane(self, journal)
        self.lanes.add(lane)
        return lane

    @property
    def running(self) -> int:
        return self._scheduler.running

    @property
    def buffered(self) -> int:
        """Tickets that are ready, without those that only wait for the slots of their own type: they are parked."""
        return self._scheduler.waiting - self._scheduler.surplus

    @property
    def outside_buffer(self) -> int:
        """Tickets that are parked, or beyond their type's share of the buffer."""
        return self.parked + self._scheduler.surplus

    @property
    def slots(self) -> Slots:
        """Of all types together."""
        return self._scheduler.slots

    def slots_by_queue(self) -> dict[str, Slots]:
        """Of the suspects, and of each type that has a limit of its own, or had tickets so far."""
        return self._scheduler.slots_by_queue()

    def has_room(self) -> bool:
        """Whether more records may be taken in. Once intake was paused, not before half of the buffer is free.

        One type whose slots are all taken for hours must not fill the buffer: others lie behind it in the same partition.
        """
        limit = self.config.max_buffered
        if self._paused:
            limit = max(limit // 2, 1)
        return self.buffered < limit and self.outside_buffer < self.config.max_parked

    def quiet(self) -> None:
        """Start no more tickets, for good; what runs goes on."""
        self._quiet = True

    @property
    def is_quiet(self) -> bool:
        return self._quiet

    def at_stake(self) -> Stakes:
        """What would become of the running tickets if this worker went now."""
        return stakes_of(self._jobs())

    def cancel(self, request: CancelRequest) -> Cancelled:
        """Give a ticket up for good, in whichever partition of this worker it is."""
        return _first_known((lane.cancel(request) for lane in self.lanes), Cancelled.UNKNOWN)

    def retry_now(self, request: RetryRequest) -> Retried:
        """Begin a ticket's next attempt at once, in whichever partition of this worker it is."""
        if self._quiet:
            return Retried.DRAINING
        return _first_known((lane.retry_now(request) for lane in self.lanes), Retried.UNKNOWN)

    def pause(self, request: PauseRequest) -> Paused:
        """Start no ticket of a type for some time. They wait as those for a retry do: others are not held up by them."""
        if not self.policy.serves(request.task_type):
            return Paused.UNKNOWN
        outcome = self.pauses.begin(request)
        self._scheduler.hold(request.task_type)
        jobs = [job for job in self._jobs() if job.task_type == request.task_type and self._scheduler.awaits_slot(job)]
        # What is on its way into a slot comes first.
        in_slices(sorted(jobs, key=lambda job: job.phase is JobPhase.READY), self._hold)
        return outcome

    def resume(self, request: ResumeRequest) -> Resumed:
        if not self.policy.serves(request.task_type):
            return Resumed.UNKNOWN
        return self.pauses.end(request)

    async def drained(self, limit: float) -> int:
        """Wait up to ``limit`` seconds for what runs. Returns how many tickets still do."""
        tasks = [job.task for lane in self.lanes for job in lane.under_way() if job.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=limit)
        return sum(not task.done() for task in tasks)

    async def room(self, limit: float) -> bool:
        """Wait up to ``limit`` seconds until more records may be taken in; in vain means that intake is paused."""
        if not self.has_room():
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._room.wait()
        self._paused = not self.has_room()
        return not self._paused

    # --- used by lanes -------------------------------------------------------------------------------------------

    def elsewhere(self, ticket_id: str, here: Lane) -> str | None:
        """Where else a ticket is known, of the partitions that this worker holds."""
        return next((lane.place for lane in self.lanes if lane is not here and lane.knows(ticket_id)), None)

    def last_moment_ms(self, job: Job) -> int | None:
        """The deadline, or the time after which the record may vanish: no wait outlasts the earlier of them."""
        moments = (job.read().sla.deadline, self.policy.expires_at(job.envelope))
        return min((moment for moment in moments if moment is not None), default=None)

    def enqueue(self, job: Job) -> None:
        """The job waits for nothing but a slot, or the end of a pause."""
        if job.task_type in self.pauses:
            job.lane.hold(job)
            return
        job.phase = JobPhase.READY
        surplus = self._scheduler.surplus
        if job.isolated:
            self._gather()
        self._scheduler.add(job)
        if self._scheduler.surplus > surplus:
            job.ticket = None
        self.pump()

    async def slot(self, job: Job) -> None:
        """Return when the job, whose *started* is durable or not needed yet, may run."""
        job.phase = JobPhase.ARMED
        job.slot = asyncio.get_running_loop().create_future()
        self._scheduler.armed(job)
        self.pump()
        await job.slot
        job.phase = JobPhase.RUNNING

    def release(self, job: Job) -> None:
        """The job left its slot, or its queue."""
        self._scheduler.remove(job)
        self.pump()
        if not self._room.is_set() and self.has_room():
            self._room.set()

    @property
    def isolates(self) -> bool:
        """Whether the suspect that was just given a slot has nothing unproven beside it: only then its worker's death convicts it."""
        return self._scheduler.isolates

    def leave_isolation(self, job: Job) -> None:
        """A running suspect is cleared: it counts towards its type from now on, and other suspects may run."""
        self._scheduler.move(job, lambda: setattr(job, "isolated", False))
        self.pump()

    def pump(self) -> None:
        """Hand out every slot that is free, and arm those that come next."""
        if self._pumping or self._quiet:
            return
        self._pumping = True
        try:
            while (job := self._scheduler.next_to_run()) is not None:
                assert job.slot is not None
                if not job.slot.done():
                    job.slot.set_result(None)
            while (job := self._scheduler.next_to_arm()) is not None:
                # A suspect is in a queue of its own, which is not held.
                (job.lane.hold if job.task_type in self.pauses else job.lane.start)(job)
        finally:
            self._pumping = False
        self._make_way()

    def _make_way(self) -> None:
        """A suspect waits for what runs beside it no longer than that takes to be beyond suspicion."""
        if self._scheduler.makes_way and self._proving is None:
            self._proving = self.clock.call_later(self.config.isolation_time, self._proven)
        elif self._proving is not None and not self._scheduler.makes_way:
            self._proving.cancel()
            self._proving = None

    def _gather(self) -> None:
        """They arrive one after another, and the first to arrive is not the most suspected."""
        if self.config.gathering_time and self._gathering is None:
            self._scheduler.gathers = True
            self._gathering = self.clock.call_later(self.config.gathering_time, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._scheduler.gathers = False
        self.pump()

    def _proven(self) -> None:
        self._proving = None
        self._scheduler.prove_running()
        self.pump()

    # --- pauses --------------------------------------------------------------------------------------------------

    def _jobs(self) -> Iterator[Job]:
        return (job for lane in self.lanes for job in lane.jobs.values())

    def _hold(self, job: Job) -> None:
        if job.task_type in self.pauses and self._scheduler.awaits_slot(job):
            job.lane.hold(job)

    def _resume(self, task_type: str) -> None:
        self._scheduler.let_go(task_type)
        self.pump()
        in_slices([job for lane in self.lanes for job in lane.paused_jobs(task_type)], lambda job: job.lane.resume(job))


def _first_known(answers: Iterable[A], unknown: A) -> A:
    """The answer of the first lane that knows the ticket; no other is asked after it."""
    return next((answer for answer in answers if answer is not unknown), unknown)
