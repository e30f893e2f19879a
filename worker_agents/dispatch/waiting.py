"""The tickets of one partition that wait: for a dependency, for their key's turn, or for another attempt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from worker_agents.dispatch.config import Ordering
from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.dispatch.journal import Journal
from worker_agents.dispatch.queues import Dependents, Turns
from worker_agents.dispatch.states import parked_state
from worker_agents.model.errors import Reason
from worker_agents.model.result import Finished, Status
from worker_agents.model.state import TicketState
from worker_agents.telemetry.events import TicketWaiting

if TYPE_CHECKING:
    from worker_agents.dispatch.dispatcher import Dispatcher

WAIT_DEPENDENCY = "dependency"
WAIT_KEY = "key_order"
WAIT_PAUSE = "paused"

_WOKEN_AT_ONCE = 100


class Owner(Protocol):
    """The lane whose tickets these are."""

    jobs: dict[str, Job]

    def consider(self, job: Job) -> None:
        """Schedule the job, or let it wait for what it needs first."""
        ...

    def finish(self, job: Job, finished: Finished) -> None:
        """Publish the final result; the job ends when that is durable."""
        ...


class WaitingRoom:
    """Parks jobs and brings them back: when their time is over, or what they waited for has happened."""

    def __init__(self, owner: Owner, dispatcher: Dispatcher, journal: Journal) -> None:
        self._owner = owner
        self._dispatcher = dispatcher
        self._journal = journal
        self._clock = dispatcher.clock
        self._emit = dispatcher.emit
        self._waiters = Dependents()
        self._turns = Turns()

    @property
    def is_empty(self) -> bool:
        return not self._waiters and not self._turns

    # --- what the lane tells -------------------------------------------------------------------------------------

    def queues_up(self, job: Job) -> bool:
        """Whether the job has to wait for those of its key that came before it; if so, it does from now on."""
        if self._dispatcher.config.ordering != Ordering.KEY or self._turns.take(job):
            return False
        # In memory only: reading the log again restores the order.
        self._park(job, WAIT_KEY)
        return True

    def await_dependencies(self, job: Job, missing: tuple[str, ...]) -> None:
        state, now_ms = job.state, self._clock.now_ms()
        if state is not None and state.reason == WAIT_DEPENDENCY:
            delay = state.remaining(now_ms)
        else:
            delay = self._dispatcher.config.dependency_timeout
            job.state = self._parked_state(job, WAIT_DEPENDENCY, delay)
            self._journal.record(job.ticket_id, job.state)
        job.waits_for = set(missing)
        self._waiters.add(job.ticket_id, missing)
        self.wait(job, WAIT_DEPENDENCY, delay)

    def wait(self, job: Job, reason: str, delay: float, message: str = "") -> None:
        """Park the job for ``delay`` seconds, or until its last moment where that comes first. ``message`` says why."""
        now_ms = self._clock.now_ms()
        last = self._dispatcher.last_moment_ms(job)
        self._emit(TicketWaiting(job.ticket_id, job.task_type, reason, delay, message=message, trace=job.span))
        if last is not None and last < now_ms + int(delay * 1000):
            delay = max((last - now_ms) / 1000, 0.0)
        self._park(job, reason)
        job.timer = self._clock.call_later(delay, lambda: self._waited(job))

    def wait_for_resume(self, job: Job) -> None:
        """Park the job until the pause of its type is over, or until its last moment where that comes first.

        In memory only, as the pause is.
        """
        last = self._dispatcher.last_moment_ms(job)
        delay = self._dispatcher.pauses.remaining(job.task_type)
        self._emit(TicketWaiting(job.ticket_id, job.task_type, WAIT_PAUSE, delay, trace=job.span))
        self._park(job, WAIT_PAUSE)
        if last is not None:
            delay = max((last - self._clock.now_ms()) / 1000, 0.0)
            job.timer = self._clock.call_later(delay, lambda: self._waited(job))

    def unstart(self, job: Job) -> None:
        """Its *started* may be durable, but it does not begin for now: whoever takes over must not think that it did."""
        if job.state is not job.before_start:
            job.state = job.before_start
            job.state = self._parked_state(job, WAIT_PAUSE, 0.0)
            self._journal.record(job.ticket_id, job.state)

    def end_wait(self, job: Job) -> None:
        """What the parked job waited for is over: it is ready."""
        job.read()
        self._unpark(job)
        self._dispatcher.enqueue(job)

    def bring_forward(self, job: Job) -> None:
        """The job's next attempt is due now, here and for whoever takes the ticket over before it begins."""
        reason = job.why_waiting
        job.state = self._parked_state(job, reason, 0.0)
        self._journal.record(job.ticket_id, job.state)
        self.end_wait(job)

    def _parked_state(self, job: Job, reason: str, delay: float) -> TicketState:
        return parked_state(job, self._journal.owner, self._clock.now_ms(), reason, delay)

    def take_back(self, job: Job) -> None:
        """The job is to end without its turn, which must not come while its end is being written."""
        if job.why_waiting == WAIT_KEY:
            self._turns.leave(job)
        self._unpark(job)

    def forget(self, job: Job) -> None:
        """The job is dropped, wherever it is."""
        self._unpark(job)
        self._turns.leave(job)

    def wake_others(self, job: Job, status: Status) -> None:
        """The job is done: those that depended on it, and the next of its key, may go on."""
        self._wake_dependents(job.ticket_id, status, self._waiters.of(job.ticket_id))
        if (following := self._turns.leave(job)) is not None:
            self._unpark(following)
            self._owner.consider(following)

    # --- parking -------------------------------------------------------------------------------------------------

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
        ticket, last = job.read(), self._dispatcher.last_moment_ms(job)
        missing = ", ".join(sorted(job.waits_for)[:5])
        self._unpark(job)
        if last is not None and last <= now_ms:
            deadline = ticket.sla.deadline
            too_late = Reason.DEADLINE_EXCEEDED if deadline is not None and deadline <= now_ms else Reason.EXPIRED
            self._owner.finish(job, Finished.failed(too_late, f"its last moment came while it waited ({reason})"))
        elif reason == WAIT_DEPENDENCY:
            message = f"not done within {self._dispatcher.config.dependency_timeout:.0f} s: {missing}"
            self._owner.finish(job, Finished.failed(Reason.DEPENDENCY_TIMEOUT, message))
        else:
            self._dispatcher.enqueue(job)

    def _wake_dependents(self, done: str, status: Status, waiting: list[str]) -> None:
        """A slice at a time: tens of thousands may wait for one ticket, and heartbeats must go on meanwhile."""
        for ticket_id in waiting[:_WOKEN_AT_ONCE]:
            job = self._owner.jobs.get(ticket_id)
            if job is None or done not in job.waits_for:
                continue
            if status is Status.COMPLETED and len(job.waits_for) > 1:
                # Looking at all that it waits for each time would take hours for one that waits for thousands.
                self._waiters.remove(ticket_id, [done])
                job.waits_for.discard(done)
                continue
            self._unpark(job)
            self._owner.consider(job)
            if job.phase is JobPhase.READY:
                job.ticket = None
        if later := waiting[_WOKEN_AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._wake_dependents, done, status, later)
