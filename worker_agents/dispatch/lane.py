"""The tickets of one partition, from arrival to settlement."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from worker_agents.dispatch.admission import (
    Admit,
    AlreadyDone,
    DependenciesMet,
    DependenciesMissing,
    DependencyFailed,
    Ignore,
    InFlight,
    Refuse,
    admit,
    check_dependencies,
    replays_of,
)
from worker_agents.dispatch.cancellation import Cancelled, CancelRequest
from worker_agents.dispatch.config import Ordering
from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.dispatch.journal import DeadLetter, Journal, Settlement
from worker_agents.dispatch.queues import Dependents, Turns
from worker_agents.dispatch.settling import answer_of, event_of, passage_of, settlement_of
from worker_agents.engine.context import AttemptPlan
from worker_agents.model.errors import JournalError, Reason
from worker_agents.model.result import Finished, RetryLater, Status, TaskResult
from worker_agents.model.state import Done, Phase, TicketState
from worker_agents.model.ticket import Envelope, Ticket, ticket_of
from worker_agents.telemetry.events import (
    DeadLettered,
    DuplicateSeen,
    ExecutorCrashed,
    RecordIgnored,
    RetryScheduled,
    TicketCancelled,
    TicketElsewhere,
    TicketIsolated,
    TicketPutBack,
    TicketReleased,
    TicketReplayed,
    TicketWaiting,
)
from worker_agents.telemetry.tracing import BeginTrace, work_on

if TYPE_CHECKING:
    from worker_agents.dispatch.dispatcher import Dispatcher

WAIT_DEPENDENCY = "dependency"
WAIT_KEY = "key_order"

_WOKEN_AT_ONCE = 100

_RUNNING = Finished(Status.RUNNING, TaskResult(success=False))
_UNDER_WAY = frozenset({JobPhase.RUNNING, JobPhase.SETTLING})


class Lane:
    """Takes the records of one partition in and settles each through the partition's journal.

    A job lives in ``jobs`` from its admission until its end is durable, so that there is never a second one for
    the same ticket.
    """

    def __init__(self, dispatcher: Dispatcher, journal: Journal) -> None:
        self.jobs: dict[str, Job] = {}
        self._dispatcher = dispatcher
        self._journal = journal
        self._clock = dispatcher.clock
        self._emit = dispatcher.emit
        self._quiet = True
        self._held: list[Job] = []
        self._waiters = Dependents()
        self._turns = Turns()

    # --- what the partition tells --------------------------------------------------------------------------------

    def accept(self, envelope: Envelope) -> None:
        """Take a record in; its receipt is settled sooner or later, unless the lane is stopped before."""
        now_ms = self._clock.now_ms()
        match admit(envelope, self._journal.lookup, self.jobs, self._dispatcher.policy, now_ms):
            case Admit() as admitted:
                self._take_in(envelope, admitted)
            case AlreadyDone(ticket_id):
                self._emit(DuplicateSeen(ticket_id, "done"))
                self._journal.settle(Settlement((envelope.receipt,)))
            case InFlight(ticket_id):
                self._join(self.jobs[ticket_id], envelope)
            case Ignore(kind):
                self._emit(RecordIgnored(kind))
                self._journal.settle(Settlement((envelope.receipt,)))
            case Refuse() as refusal:
                self._refuse(envelope, refusal)

    def quiet(self) -> None:
        """Start nothing new; what runs goes on."""
        self._quiet = True

    def wake(self) -> None:
        """Start new work again."""
        self._quiet = False
        held, self._held = self._held, []
        for job in held:
            self._ticket_of(job)
            self._dispatcher.enqueue(job)

    @property
    def place(self) -> str:
        """The partition, as it is called in logs."""
        return self._journal.place

    @property
    def begin_trace(self) -> BeginTrace:
        return self._dispatcher.begin_trace

    def knows(self, ticket_id: str) -> bool:
        return ticket_id in self.jobs or self._journal.lookup(ticket_id) is not None

    def under_way(self) -> list[Job]:
        """Jobs whose executor runs, or whose outcome is being written."""
        return [job for job in self.jobs.values() if job.phase in _UNDER_WAY]

    def cancel(self, request: CancelRequest) -> Cancelled:
        """Give a ticket up for good: its result is FAILED ``cancelled``, unless it comes to its end first."""
        job = self.jobs.get(request.ticket_id)
        if job is None:
            known = self._journal.lookup(request.ticket_id)
            return Cancelled.SETTLED if isinstance(known, Done) else Cancelled.UNKNOWN
        if job.finishing:
            return Cancelled.TOO_LATE
        if job.context is not None and job.context.cancel_reason is not None:
            # Told already. A second cancellation would interrupt what its executor does about the first.
            return Cancelled.RUNNING
        self._emit(TicketCancelled(job.ticket_id, job.task_type, request.by, request.why, trace=job.span))
        if job.context is not None and job.phase is JobPhase.RUNNING and job.task is not None:
            job.context.cancel_reason = request.reason
            job.task.cancel(request.reason)
            return Cancelled.RUNNING
        self._withdraw(job)
        self._finish(job, _cancelled_while_waiting(job, request))
        return Cancelled.WAITING

    def _withdraw(self, job: Job) -> None:
        """Take back a job whose next attempt has not begun, wherever it waits."""
        self._ticket_of(job)
        if job.why_waiting == WAIT_KEY:
            # Its turn must not come while its end is being written.
            self._turns.leave(job)
        self._unpark(job)
        self._held = [other for other in self._held if other is not job]
        if job.task is not None:
            job.task.cancel("cancelled before it began")
        self._dispatcher.release(job)
        job.attempt -= 1

    async def suspend(self) -> None:
        """Start nothing new, and give back what has not begun: it is read again, and others need its place."""
        self._quiet = True
        under_way = self.under_way()
        await self._drop([job for job in self.jobs.values() if job not in under_way], "suspended")

    def running(self) -> int:
        return len(self.under_way())

    async def reconcile(self) -> Collection[str]:
        """After the partition's memory was restored: keep what is under way and still ours, drop everything else.

        What is dropped is read again. Returns the ids of those kept.
        """
        kept = {job.ticket_id for job in self.jobs.values() if self._is_still_ours(job)}
        await self._drop([job for job in self.jobs.values() if job.ticket_id not in kept], "taken_over")
        return kept

    async def stop(self, why: str) -> int:
        """Cancel and drop everything. Returns how many running tickets were given up."""
        self._quiet = True
        running = self.running()
        await self._drop(list(self.jobs.values()), why)
        return running

    def close(self) -> None:
        self._dispatcher.lanes.discard(self)

    # --- arrival -------------------------------------------------------------------------------------------------

    def _take_in(self, envelope: Envelope, admitted: Admit) -> None:
        ticket, state = admitted.ticket, admitted.state
        job = self._new_job(envelope, ticket.ticket_id, ticket.task_type, ticket)
        job.state, job.isolated, job.replays = state, admitted.isolate, admitted.replays
        job.attempt = state.attempt if state else 1
        if state is None and (elsewhere := self._dispatcher.elsewhere(ticket.ticket_id, self)) is not None:
            self._emit(TicketElsewhere(job.ticket_id, job.task_type, self.place, elsewhere, trace=job.span))
        if admitted.replays and state is None:
            count = len(admitted.replays)
            self._emit(TicketReplayed(job.ticket_id, job.task_type, admitted.replays[-1], count, trace=job.span))
        if job.isolated and state:
            self._emit(TicketIsolated(job.ticket_id, job.task_type, state.delivery, trace=job.span))
        if self._dispatcher.config.ordering == Ordering.KEY and not self._turns.take(job):
            # In memory only: reading the log again restores the order.
            self._park(job, WAIT_KEY)
        else:
            self._consider(job)

    def _new_job(self, envelope: Envelope, ticket_id: str, task_type: str, ticket: Ticket | None) -> Job:
        job = Job(self, ticket_id, task_type, envelope, [envelope.receipt], ticket, None)
        job.arrived = job.since = self._clock.monotonic()
        self.jobs[ticket_id] = job
        return job

    def _join(self, job: Job, envelope: Envelope) -> None:
        """A copy of a ticket that is in flight is settled with it."""
        if envelope.receipt not in job.receipts:
            self._emit(DuplicateSeen(job.ticket_id, "in_flight"))
            job.receipts.append(envelope.receipt)

    def _refuse(self, envelope: Envelope, refusal: Refuse) -> None:
        finished = Finished.failed(refusal.reason, refusal.message, dead_letter=refusal.dead_letter)
        if refusal.ticket_id is None:
            letter = DeadLetter(envelope, refusal.reason, refusal.message, attempts=0, delivery=1)
            self._emit(DeadLettered("", refusal.reason, refusal.message))
            kept = self._journal.settle(Settlement((envelope.receipt,), dead_letter=letter))
            kept.add_done_callback(lambda done: self._settle_refused(done, envelope.receipt))
            return
        job = self._new_job(envelope, refusal.ticket_id, refusal.task_type, refusal.ticket)
        known = self._journal.lookup(refusal.ticket_id)
        job.state = known if isinstance(known, TicketState) else None
        job.attempt = job.state.attempt if job.state else 0
        job.replays = replays_of(envelope, known)
        self._finish(job, finished)

    def _settle_refused(self, kept: asyncio.Future[None], receipt: int) -> None:
        """A dead letter that Kafka itself refused is told of and finished with: it must not stop the line."""
        if not kept.cancelled() and (error := kept.exception()) is not None:
            self._emit(DeadLettered("", Reason.INTERNAL, f"the dead letter itself could not be written: {error}"))
            self._journal.settle(Settlement((receipt,)))

    def _consider(self, job: Job) -> None:
        """Schedule the job, or let it wait for what it needs first."""
        state, ticket = job.state, self._ticket_of(job)
        if state is not None and state.has_begun:
            self._dispatcher.enqueue(job)
            return
        if state is not None and state.reason != WAIT_DEPENDENCY:
            self._wait(job, state.reason, state.remaining(self._clock.now_ms()))
            return
        match check_dependencies(ticket, self._journal.lookup):
            case DependenciesMet():
                self._dispatcher.enqueue(job)
            case DependencyFailed(dependency):
                self._finish(job, Finished.failed(Reason.DEPENDENCY_FAILED, f"dependency {dependency} failed"))
            case DependenciesMissing(missing):
                self._await_dependencies(job, missing)

    # --- waiting -------------------------------------------------------------------------------------------------

    def _await_dependencies(self, job: Job, missing: tuple[str, ...]) -> None:
        state, now_ms = job.state, self._clock.now_ms()
        if state is not None and state.reason == WAIT_DEPENDENCY:
            delay = state.remaining(now_ms)
        else:
            delay = self._dispatcher.config.dependency_timeout
            job.state = self._parked_state(job, WAIT_DEPENDENCY, delay)
            self._journal.record(job.ticket_id, job.state)
        job.waits_for = set(missing)
        self._waiters.add(job.ticket_id, missing)
        self._wait(job, WAIT_DEPENDENCY, delay)

    def _wait(self, job: Job, reason: str, delay: float) -> None:
        """Park the job for ``delay`` seconds, or until its last moment where that comes first."""
        now_ms = self._clock.now_ms()
        last = self._last_moment_ms(job)
        self._emit(TicketWaiting(job.ticket_id, job.task_type, reason, delay, trace=job.span))
        if last is not None and last < now_ms + int(delay * 1000):
            delay = max((last - now_ms) / 1000, 0.0)
        self._park(job, reason)
        job.timer = self._clock.call_later(delay, lambda: self._waited(job))

    def _park(self, job: Job, reason: str) -> None:
        if job.phase is not JobPhase.PARKED:
            self._dispatcher.parked += 1
        job.phase, job.why_waiting, job.ticket = JobPhase.PARKED, reason, None

    def _unpark(self, job: Job) -> None:
        if job.phase is JobPhase.PARKED:
            self._dispatcher.parked -= 1
            job.phase = JobPhase.READY
        self._waiters.remove(job.ticket_id, job.waits_for)
        job.wake_up()

    def _waited(self, job: Job) -> None:
        """The time of a parked job is over."""
        job.timer = None
        reason, now_ms = job.why_waiting, self._clock.now_ms()
        ticket, last = self._ticket_of(job), self._last_moment_ms(job)
        missing = ", ".join(sorted(job.waits_for)[:5])
        self._unpark(job)
        if last is not None and last <= now_ms:
            deadline = ticket.sla.deadline
            too_late = Reason.DEADLINE_EXCEEDED if deadline is not None and deadline <= now_ms else Reason.EXPIRED
            self._finish(job, Finished.failed(too_late, f"its last moment came while it waited ({reason})"))
        elif reason == WAIT_DEPENDENCY:
            message = f"not done within {self._dispatcher.config.dependency_timeout:.0f} s: {missing}"
            self._finish(job, Finished.failed(Reason.DEPENDENCY_TIMEOUT, message))
        else:
            self._dispatcher.enqueue(job)

    def _wake_others(self, job: Job, status: Status) -> None:
        """The job is done: those that depended on it, and the next of its key, may go on."""
        self._wake_dependents(job.ticket_id, status, self._waiters.of(job.ticket_id))
        if (following := self._turns.leave(job)) is not None:
            self._unpark(following)
            self._consider(following)

    def _wake_dependents(self, done: str, status: Status, waiting: list[str]) -> None:
        """A slice at a time: tens of thousands may wait for one ticket, and heartbeats must go on meanwhile."""
        for ticket_id in waiting[:_WOKEN_AT_ONCE]:
            job = self.jobs.get(ticket_id)
            if job is None or done not in job.waits_for:
                continue
            if status is Status.COMPLETED and len(job.waits_for) > 1:
                # Looking at all that it waits for each time would take hours for one that waits for thousands.
                self._waiters.remove(ticket_id, [done])
                job.waits_for.discard(done)
                continue
            self._unpark(job)
            self._consider(job)
            if job.phase is JobPhase.READY:
                job.ticket = None
        if later := waiting[_WOKEN_AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._wake_dependents, done, status, later)

    # --- running -------------------------------------------------------------------------------------------------

    def start(self, job: Job) -> None:
        """The job's turn to be armed has come (called by the dispatcher)."""
        if self._quiet or not self._has(job):
            self._dispatcher.release(job)
            job.phase = JobPhase.READY
            if self._has(job):
                self._held.append(job)
        else:
            job.phase = JobPhase.ARMING
            job.task = asyncio.create_task(self._process(job))

    async def _process(self, job: Job) -> None:
        """Start the job, run one attempt, and act on its outcome. A cancelled job just ends: it was dropped."""
        # The task was made in that of another ticket, which gave up its slot.
        work_on(job)
        try:
            outcome = await self._run(job, self._ticket_of(job))
            if isinstance(outcome, RetryLater):
                await self._retry_later(job, outcome)
        except JournalError as error:
            outcome = Finished.failed(Reason.INTERNAL, str(error), dead_letter=True)
        except Exception as error:  # noqa: BLE001 # a job's outermost frame: whatever is wrong, the ticket is answered
            trace = traceback.format_exc()
            self._emit(ExecutorCrashed(job.ticket_id, job.task_type, repr(error), trace, trace=job.span))
            outcome = Finished.failed(Reason.INTERNAL, repr(error), dead_letter=True)
        if isinstance(outcome, Finished) and self._has(job):
            self._finish(job, outcome)

    async def _run(self, job: Job, ticket: Ticket) -> Finished | RetryLater:
        # A suspect, and a ticket that may start but once, are marked only when they really start.
        starts_in_slot = job.isolated or ticket.is_at_most_once
        try:
            if not starts_in_slot:
                await self._record_started(job)
            await self._dispatcher.slot(job)
            if starts_in_slot:
                await self._record_started(job)
            return await self._attempt(job, ticket)
        finally:
            # A suspect keeps its place until its end is durable: the next one may kill the worker at once, and this
            # one would be found as if it had been alone with it.
            if not job.isolated:
                self._dispatcher.release(job)

    async def _record_started(self, job: Job) -> None:
        before = job.state
        await self._remember(
            job,
            TicketState(
                phase=Phase.CHECKPOINT if before and before.checkpoint is not None else Phase.STARTED,
                offset=job.envelope.receipt,
                owner=self._journal.owner,
                attempt=job.attempt,
                delivery=before.delivery if before else 1,
                began_at=before.began_at if before and before.began_at else self._clock.now_ms(),
                checkpoint=before.checkpoint if before else None,
                checkpoint_at=before.checkpoint_at if before else 0,
                isolated=job.isolated and self._dispatcher.isolates,
                replays=job.replays,
            ),
            announce=self._dispatcher.config.publish_running,
        )

    async def _remember(self, job: Job, state: TicketState, *, announce: bool = False) -> None:
        """Make a state durable. What is written next builds on it, also before it is durable."""
        if not self._has(job):
            raise asyncio.CancelledError("given up before")
        before, job.state = job.state, state
        running = answer_of(job, _RUNNING, self._clock.now_ms(), job.span) if announce else None
        durable = self._journal.record(job.ticket_id, state, running)
        try:
            # Shielded: remote work exists, and whoever resumes the ticket must know, also if this run is given up now.
            await (durable if state.checkpoint is None else asyncio.shield(durable))
        except JournalError:
            if job.state is state:
                job.state = before
            raise

    async def _attempt(self, job: Job, ticket: Ticket) -> Finished | RetryLater:
        assert job.state is not None
        plan = AttemptPlan(
            ticket=ticket,
            attempt=job.attempt,
            checkpoint=job.state.checkpoint,
            checkpoint_at=job.state.checkpoint_at,
            save=lambda data: self._save_checkpoint(job, data),
            owns_ticket=lambda: self._has(job) and self._journal.lease_is_fresh(),
            trace=lambda: job.span,
            waiting_since=job.since,
            replay=job.replays[-1] if job.replays else "",
        )
        release = self._release_from_isolation(job) if job.isolated else None
        try:
            return await self._dispatcher.engine.attempt(
                plan,
                delivery=job.state.delivery,
                last_moment_ms=self._last_moment_ms(job),
                entering=lambda context: setattr(job, "context", context),
            )
        finally:
            if release is not None:
                release.cancel()
            # Its next attempt must not be taken for this one.
            job.phase, job.context = JobPhase.SETTLING, None
            job.since = self._clock.monotonic()

    async def _save_checkpoint(self, job: Job, data: dict[str, object]) -> None:
        assert job.state is not None
        began = job.state.checkpoint_at or self._clock.now_ms()
        await self._remember(job, replace(job.state, phase=Phase.CHECKPOINT, checkpoint=data, checkpoint_at=began))

    def _release_from_isolation(self, job: Job) -> asyncio.Task[None]:
        """One that lives long enough while it is alone did not kill its workers."""

        async def clear() -> None:
            await self._clock.sleep(self._dispatcher.config.isolation_time)
            assert job.state is not None
            await self._remember(job, replace(job.state, isolated=False, delivery=1))
            self._dispatcher.leave_isolation(job)

        return asyncio.create_task(clear())

    async def _retry_later(self, job: Job, outcome: RetryLater) -> None:
        if outcome.costs_attempt:
            self._emit(
                RetryScheduled(
                    job.ticket_id,
                    job.task_type,
                    job.attempt,
                    outcome.delay,
                    outcome.reason,
                    outcome.message,
                    trace=job.span,
                )
            )
            job.attempt += 1
        await self._remember(job, self._parked_state(job, outcome.reason, outcome.delay))
        job.task = None
        self._dispatcher.release(job)
        self._wait(job, outcome.reason, outcome.delay)

    def _parked_state(self, job: Job, reason: str, delay: float) -> TicketState:
        before = job.state
        return TicketState(
            phase=Phase.PARKED,
            offset=job.envelope.receipt,
            owner=self._journal.owner,
            attempt=job.attempt,
            delivery=before.delivery if before else 1,
            began_at=before.began_at if before else 0,
            checkpoint=before.checkpoint if before else None,
            checkpoint_at=before.checkpoint_at if before else 0,
            reason=reason,
            due_at=self._clock.now_ms() + int(delay * 1000),
            delay=delay,
            replays=job.replays,
        )

    # --- the end -------------------------------------------------------------------------------------------------

    def _finish(self, job: Job, finished: Finished) -> None:
        """Publish the final result; the job ends when that is durable."""
        job.phase, job.finishing = JobPhase.SETTLING, True
        job.since, job.answer_span = self._clock.monotonic(), job.span.child()
        settled = tuple(job.receipts)
        durable = self._journal.settle(settlement_of(job, finished, settled, self._clock.now_ms()))
        durable.add_done_callback(lambda done: self._finished(job, finished, settled, done))

    def _finished(self, job: Job, finished: Finished, settled: tuple[int, ...], durable: asyncio.Future[None]) -> None:
        if durable.cancelled() or not self._has(job):
            return
        error = durable.exception()
        if isinstance(error, JournalError):
            self._finish(job, Finished.failed(Reason.INTERNAL, f"the result could not be published: {error}"))
            return
        del self.jobs[job.ticket_id]
        self._dispatcher.release(job)
        if len(job.receipts) > len(settled):
            self._journal.settle(Settlement(tuple(job.receipts[len(settled) :])))
        self._emit(event_of(job, finished, self._clock.now_ms(), self._clock.monotonic()))
        if finished.dead_letter:
            reason = finished.error_reason or Reason.INTERNAL
            self._emit(DeadLettered(job.ticket_id, reason, finished.result.error_message or ""))
        self._wake_others(job, finished.status)

    # --- giving up -----------------------------------------------------------------------------------------------

    def _is_still_ours(self, job: Job) -> bool:
        if job.phase not in _UNDER_WAY:
            return False
        known = self._journal.lookup(job.ticket_id)
        if isinstance(known, Done):
            # Its own settlement may be what is recorded, or that of an earlier run; the ledger resolves that.
            return job.finishing
        return known is not None and known.owner == self._journal.owner

    async def _drop(self, jobs: list[Job], why: str) -> None:
        """Forget jobs: cancel what runs, with the reason, and wait until it has ended."""
        tasks = []
        for job in jobs:
            self.jobs.pop(job.ticket_id, None)
            self._unpark(job)
            self._turns.leave(job)
            if job.context is not None:
                job.context.cancel_reason = why
            if job.task is not None and not job.task.done():
                job.task.cancel(why)
                tasks.append(job.task)
                passage = passage_of(job, self._clock.monotonic()) if job.has_recorded_span else None
                self._emit(TicketReleased(job.ticket_id, job.task_type, why, trace=job.span, passage=passage))
            elif job.has_recorded_span:
                passage = passage_of(job, self._clock.monotonic())
                self._emit(TicketPutBack(job.ticket_id, job.task_type, why, trace=job.span, passage=passage))
        self._held = [job for job in self._held if self._has(job)]
        if tasks:
            await asyncio.wait(tasks, timeout=self._dispatcher.config.cancel_grace)
        for job in jobs:
            # Also for those whose task never had a turn, and so no ``finally`` either.
            self._dispatcher.release(job)

    def _has(self, job: Job) -> bool:
        """Whether the job is still ours to act for."""
        return self.jobs.get(job.ticket_id) is job

    # --- small things --------------------------------------------------------------------------------------------

    def _ticket_of(self, job: Job) -> Ticket:
        """The ticket, read again from its record where the job was parked."""
        if job.ticket is None:
            job.ticket = ticket_of(job.envelope)
        return job.ticket

    def _last_moment_ms(self, job: Job) -> int | None:
        """The deadline, or the time after which the record may vanish: no wait outlasts the earlier of them."""
        deadline = self._ticket_of(job).sla.deadline
        expires_at = self._dispatcher.policy.expires_at(job.envelope)
        moments = [moment for moment in (deadline, expires_at) if moment is not None]
        return min(moments, default=None)


def _cancelled_while_waiting(job: Job, request: CancelRequest) -> Finished:
    """No executor is there that could end what an earlier attempt began elsewhere: the result says what goes on."""
    finished = Finished.failed(Reason.CANCELLED, request.reason)
    checkpoint = job.state.checkpoint if job.state else None
    if checkpoint is None:
        return finished
    line = f"cancelled while it waited; its remote work is left running: {checkpoint}"
    return replace(finished, result=replace(finished.result, logs=(line,)))
