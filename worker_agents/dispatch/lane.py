"""The tickets of one partition, from arrival to settlement."""

from __future__ import annotations

import asyncio
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
from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.dispatch.journal import DeadLetter, Journal, Settlement
from worker_agents.dispatch.retrying import Retried, RetryRequest
from worker_agents.dispatch.running import Runner
from worker_agents.dispatch.settling import event_of, passage_of, settlement_of
from worker_agents.dispatch.waiting import WAIT_DEPENDENCY, WAIT_KEY, WAIT_PAUSE, WaitingRoom
from worker_agents.model.errors import JournalError, Reason
from worker_agents.model.result import Finished
from worker_agents.model.state import Done, TicketState
from worker_agents.model.ticket import Envelope, Ticket
from worker_agents.telemetry.events import (
    DeadLettered,
    DuplicateSeen,
    RecordIgnored,
    TicketCancelled,
    TicketElsewhere,
    TicketIsolated,
    TicketPutBack,
    TicketReleased,
    TicketReplayed,
    TicketRetried,
)
from worker_agents.telemetry.tracing import BeginTrace

if TYPE_CHECKING:
    from worker_agents.dispatch.dispatcher import Dispatcher

_UNDER_WAY = frozenset({JobPhase.RUNNING, JobPhase.SETTLING})
_WAITS_FOR_OTHERS = {
    WAIT_DEPENDENCY: Retried.DEPENDENCY,
    WAIT_KEY: Retried.KEY_ORDER,
    WAIT_PAUSE: Retried.PAUSED,
}


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
        self._waiting = WaitingRoom(self, dispatcher, journal)
        self._runner = Runner(self, dispatcher, journal, self._waiting)

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
            job.read()
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
        self.finish(job, _cancelled_while_waiting(job, request))
        return Cancelled.WAITING

    def _withdraw(self, job: Job) -> None:
        """Take back a job whose next attempt has not begun, wherever it waits."""
        job.read()
        self._waiting.take_back(job)
        self._held = [other for other in self._held if other is not job]
        if job.task is not None:
            job.task.cancel("cancelled before it began")
        self._dispatcher.release(job)
        job.attempt -= 1

    def retry_now(self, request: RetryRequest) -> Retried:
        """Begin a ticket's next attempt at once, where it waits for nothing but its time."""
        job = self.jobs.get(request.ticket_id)
        if job is None:
            known = self._journal.lookup(request.ticket_id)
            return Retried.SETTLED if isinstance(known, Done) else Retried.UNKNOWN
        if job.phase is not JobPhase.PARKED:
            return Retried.RUNNING if job.phase in _UNDER_WAY else Retried.READY
        if (other := _WAITS_FOR_OTHERS.get(job.why_waiting)) is not None:
            return other
        if job.task_type in self._dispatcher.pauses:
            return Retried.PAUSED
        self._emit(
            TicketRetried(
                job.ticket_id, job.task_type, request.by, request.why, job.attempt, job.why_waiting, trace=job.span
            )
        )
        self._waiting.bring_forward(job)
        return Retried.NOW

    def hold(self, job: Job) -> None:
        """Its type is paused: it waits outside the queue for that to end, wherever it is on its way to a slot."""
        if job.task is not None:
            job.task.cancel("paused before it began")
            job.task = None
        self._dispatcher.release(job)
        if job.phase in (JobPhase.ARMING, JobPhase.ARMED):
            self._waiting.unstart(job)
        self._waiting.wait_for_resume(job)

    def paused_jobs(self, task_type: str) -> list[Job]:
        """Those that wait for that pause to end, in the order of their arrival."""
        return [job for job in self.jobs.values() if job.why_waiting == WAIT_PAUSE and job.task_type == task_type]

    def resume(self, job: Job) -> None:
        """The pause is over."""
        if self.has(job) and job.why_waiting == WAIT_PAUSE:
            self._waiting.end_wait(job)

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
        if not self._waiting.queues_up(job):
            self.consider(job)

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
        self.finish(job, finished)

    def _settle_refused(self, kept: asyncio.Future[None], receipt: int) -> None:
        """A dead letter that Kafka itself refused is told of and finished with: it must not stop the line."""
        if not kept.cancelled() and (error := kept.exception()) is not None:
            self._emit(DeadLettered("", Reason.INTERNAL, f"the dead letter itself could not be written: {error}"))
            self._journal.settle(Settlement((receipt,)))

    def consider(self, job: Job) -> None:
        """Schedule the job, or let it wait for what it needs first."""
        state, ticket = job.state, job.read()
        if state is not None and (state.has_begun or state.reason == WAIT_PAUSE):
            self._dispatcher.enqueue(job)
            return
        if state is not None and state.reason != WAIT_DEPENDENCY:
            self._waiting.wait(job, state.reason, state.remaining(self._clock.now_ms()))
            return
        match check_dependencies(ticket, self._journal.lookup):
            case DependenciesMet():
                self._dispatcher.enqueue(job)
            case DependencyFailed(dependency):
                self.finish(job, Finished.failed(Reason.DEPENDENCY_FAILED, f"dependency {dependency} failed"))
            case DependenciesMissing(missing):
                self._waiting.await_dependencies(job, missing)

    # --- running -------------------------------------------------------------------------------------------------

    def start(self, job: Job) -> None:
        """The job's turn to be armed has come (called by the dispatcher)."""
        if self._quiet or not self.has(job):
            self._dispatcher.release(job)
            job.phase = JobPhase.READY
            if self.has(job):
                self._held.append(job)
        else:
            job.phase, job.before_start = JobPhase.ARMING, job.state
            job.task = asyncio.create_task(self._runner.run(job))

    # --- the end -------------------------------------------------------------------------------------------------

    def finish(self, job: Job, finished: Finished) -> None:
        """Publish the final result; the job ends when that is durable."""
        job.phase, job.finishing = JobPhase.SETTLING, True
        job.since, job.answer_span = self._clock.monotonic(), job.span.child()
        settled = tuple(job.receipts)
        durable = self._journal.settle(settlement_of(job, finished, settled, self._clock.now_ms()))
        durable.add_done_callback(lambda done: self._finished(job, finished, settled, done))

    def _finished(self, job: Job, finished: Finished, settled: tuple[int, ...], durable: asyncio.Future[None]) -> None:
        if durable.cancelled() or not self.has(job):
            return
        error = durable.exception()
        if isinstance(error, JournalError):
            self.finish(job, Finished.failed(Reason.INTERNAL, f"the result could not be published: {error}"))
            return
        del self.jobs[job.ticket_id]
        self._dispatcher.release(job)
        if len(job.receipts) > len(settled):
            self._journal.settle(Settlement(tuple(job.receipts[len(settled) :])))
        self._emit(event_of(job, finished, self._clock.now_ms(), self._clock.monotonic()))
        if finished.dead_letter:
            reason = finished.error_reason or Reason.INTERNAL
            self._emit(DeadLettered(job.ticket_id, reason, finished.result.error_message or ""))
        self._waiting.wake_others(job, finished.status)

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
            self._waiting.forget(job)
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
        self._held = [job for job in self._held if self.has(job)]
        if tasks:
            await asyncio.wait(tasks, timeout=self._dispatcher.config.cancel_grace)
        for job in jobs:
            # Also for those whose task never had a turn, and so no ``finally`` either.
            self._dispatcher.release(job)

    def has(self, job: Job) -> bool:
        """Whether the job is still ours to act for."""
        return self.jobs.get(job.ticket_id) is job


def _cancelled_while_waiting(job: Job, request: CancelRequest) -> Finished:
    """No executor is there that could end what an earlier attempt began elsewhere: the result says what goes on."""
    finished = Finished.failed(Reason.CANCELLED, request.reason)
    checkpoint = job.state.checkpoint if job.state else None
    if checkpoint is None:
        return finished
    line = f"cancelled while it waited; its remote work is left running: {checkpoint}"
    return replace(finished, result=replace(finished.result, logs=(line,)))
