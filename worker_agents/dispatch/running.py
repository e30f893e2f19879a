"""The run of a ticket: its *started*, a slot, one attempt, and what becomes of that."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.dispatch.journal import Journal
from worker_agents.dispatch.settling import answer_of
from worker_agents.dispatch.states import parked_state, started_state
from worker_agents.dispatch.waiting import WaitingRoom
from worker_agents.engine.context import AttemptPlan
from worker_agents.model.errors import JournalError, Reason
from worker_agents.model.result import Finished, RetryLater, Status, TaskResult
from worker_agents.model.state import Phase, TicketState
from worker_agents.model.ticket import Ticket
from worker_agents.telemetry.events import CheckpointSaved, ExecutorCrashed, RetryScheduled
from worker_agents.telemetry.tracing import work_on

if TYPE_CHECKING:
    from worker_agents.dispatch.dispatcher import Dispatcher

_RUNNING = Finished(Status.RUNNING, TaskResult(success=False))


class Owner(Protocol):
    """The lane whose tickets these are."""

    def has(self, job: Job) -> bool:
        """Whether the job is still ours to act for."""
        ...

    def finish(self, job: Job, finished: Finished) -> None:
        """Publish the final result; the job ends when that is durable."""
        ...


class Runner:
    """Runs the jobs of one partition, each in a task of its own that may be cancelled at any time."""

    def __init__(self, owner: Owner, dispatcher: Dispatcher, journal: Journal, waiting: WaitingRoom) -> None:
        self._owner = owner
        self._dispatcher = dispatcher
        self._journal = journal
        self._waiting = waiting
        self._clock = dispatcher.clock
        self._emit = dispatcher.emit

    async def run(self, job: Job) -> None:
        """Start the job, run one attempt, and act on its outcome. A cancelled job just ends: it was dropped."""
        # The task was made in that of another ticket, which gave up its slot.
        work_on(job)
        try:
            outcome = await self._outcome(job, job.read())
            if isinstance(outcome, RetryLater):
                await self._retry_later(job, outcome)
        except JournalError as error:
            outcome = Finished.failed(Reason.INTERNAL, str(error), dead_letter=True)
        except Exception as error:  # noqa: BLE001 # a job's outermost frame: whatever is wrong, the ticket is answered
            trace = traceback.format_exc()
            self._emit(ExecutorCrashed(job.ticket_id, job.task_type, repr(error), trace, trace=job.span))
            outcome = Finished.failed(Reason.INTERNAL, repr(error), dead_letter=True)
        if isinstance(outcome, Finished) and self._owner.has(job):
            self._owner.finish(job, outcome)

    async def _outcome(self, job: Job, ticket: Ticket) -> Finished | RetryLater:
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
            # One whose type was paused has left its place already, and may have another by now.
            if not job.isolated and job.task is asyncio.current_task():
                self._dispatcher.release(job)

    async def _record_started(self, job: Job) -> None:
        isolated = job.isolated and self._dispatcher.isolates
        state = started_state(job, self._journal.owner, self._clock.now_ms(), isolated=isolated)
        await self._remember(job, state, announce=self._dispatcher.config.publish_running)

    async def _remember(self, job: Job, state: TicketState, *, announce: bool = False) -> None:
        """Make a state durable. What is written next builds on it, also before it is durable."""
        if not self._owner.has(job):
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
            owns_ticket=lambda: self._owner.has(job) and self._journal.lease_is_fresh(),
            trace=lambda: job.span,
            waiting_since=job.since,
            replay=job.replays[-1] if job.replays else "",
        )
        release = self._release_from_isolation(job) if job.isolated else None
        try:
            return await self._dispatcher.engine.attempt(
                plan,
                delivery=job.state.delivery,
                last_moment_ms=self._dispatcher.last_moment_ms(job),
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
        self._emit(CheckpointSaved(job.ticket_id, job.task_type, job.attempt, data, trace=job.span))

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
        now_ms = self._clock.now_ms()
        await self._remember(job, parked_state(job, self._journal.owner, now_ms, outcome.reason, outcome.delay))
        job.task = None
        self._dispatcher.release(job)
        self._waiting.wait(job, outcome.reason, outcome.delay, outcome.message)
