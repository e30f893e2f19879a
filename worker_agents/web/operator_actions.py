"""What operators may do: carried out, audited, and answered. Routes and pages decide who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from worker_agents.dispatch.cancellation import Cancelled, CancelRequest
from worker_agents.dispatch.pausing import Pause, Paused, PauseRequest, Resumed, ResumeRequest
from worker_agents.dispatch.retrying import Retried, RetryRequest
from worker_agents.model.errors import KafkaUnreachable, WorkerAgentsError
from worker_agents.model.letters import Holder, Letter, Replayed
from worker_agents.model.structs import struct
from worker_agents.web import bodies
from worker_agents.web.audit import Audit, Caller, Request

_SEARCH_SECONDS = 5.0
_READ_SECONDS = 10.0
_REPLAY_SECONDS = 30.0

_ELSEWHERE = "it is not in a partition of this worker, or was not read yet"
_CANCELLED = {
    Cancelled.RUNNING: (202, "its executor has been told and ends soon"),
    Cancelled.WAITING: (202, "it had not begun and is being settled"),
    Cancelled.TOO_LATE: (409, "its result is being written already"),
    Cancelled.SETTLED: (409, "it is settled already"),
    Cancelled.UNKNOWN: (404, _ELSEWHERE),
}
_RETRIED = {
    Retried.NOW: (202, "its next attempt begins as soon as there is a slot"),
    Retried.READY: (409, "it does not wait for a retry: it is ready, and begins as soon as there is a slot"),
    Retried.RUNNING: (409, "it does not wait for a retry: it is running"),
    Retried.DEPENDENCY: (409, "it does not wait for a retry, but for tickets that it depends on"),
    Retried.KEY_ORDER: (409, "it does not wait for a retry, but for an earlier ticket of its key"),
    Retried.PAUSED: (409, "its task type is paused: resume that first"),
    Retried.DRAINING: (409, "this worker is draining and starts nothing more; the next one goes on with it"),
    Retried.SETTLED: (409, "it is settled already"),
    Retried.UNKNOWN: (404, _ELSEWHERE),
}
_NO_SUCH_TYPE = (404, "tickets of that type do not run on this worker")
_PAUSED = {
    Paused.PAUSED: (200, "none of its tickets starts on this worker; those that run go on"),
    Paused.CHANGED: (200, "it was paused already; the new note and end hold from now on"),
    Paused.UNKNOWN: _NO_SUCH_TYPE,
}
_RESUMED = {
    Resumed.RESUMED: (200, "its tickets start again"),
    Resumed.NOT_PAUSED: (200, "it was not paused on this worker"),
    Resumed.UNKNOWN: _NO_SUCH_TYPE,
}


class Pausing(Protocol):
    def get(self, task_type: str) -> Pause | None: ...


class Tickets(Protocol):
    """See ``dispatch.dispatcher``."""

    @property
    def pauses(self) -> Pausing: ...

    def cancel(self, request: CancelRequest) -> Cancelled: ...

    def retry_now(self, request: RetryRequest) -> Retried: ...

    def pause(self, request: PauseRequest) -> Paused: ...

    def resume(self, request: ResumeRequest) -> Resumed: ...


class DeadLetters(Protocol):
    """See ``kafka.dead_letter_box``. Both raise a :class:`WorkerAgentsError` where Kafka does not do it."""

    async def newest(self, limit: int, reason: str | None = None) -> list[Letter]: ...

    async def replay(self, places: Sequence[str], ticket_ids: Sequence[str], *, dry_run: bool) -> list[Replayed]: ...


class Holders(Protocol):
    """See ``kafka.holders``."""

    async def find(self, ticket_id: str) -> Holder | None: ...


@struct
class Service:
    """What the actions act on. ``drain`` says whether it is the first to ask; ``probe`` has every open breaker let one call through."""

    tickets: Tickets
    letters: DeadLetters
    holders: Holders
    drain: Callable[[], bool]
    probe: Callable[[], None]


@struct
class ActionOutcome:
    """An HTTP status, one sentence, and the whole answer, whose ``detail`` is that sentence."""

    status: int
    detail: str
    data: bodies.Answer

    @property
    def ok(self) -> bool:
        return self.status < 400


class OperatorActions:
    """Each method carries one order out, whoever sent it may; it writes the audit line and never raises for what Kafka does."""

    def __init__(self, service: Service, audit: Audit) -> None:
        self.audit = audit
        self._service = service
        self._searching = asyncio.Lock()

    async def cancel(self, ticket_id: str, order: bodies.CancelOrder, caller: Caller) -> ActionOutcome:
        outcome = self._service.tickets.cancel(CancelRequest(ticket_id, by=order.by, why=order.reason))
        return await self._of_ticket("cancel", ticket_id, order, caller, (outcome, *_CANCELLED[outcome]))

    async def retry(self, ticket_id: str, order: bodies.RetryOrder, caller: Caller) -> ActionOutcome:
        outcome = self._service.tickets.retry_now(RetryRequest(ticket_id, by=order.by, why=order.reason))
        if outcome is Retried.NOW:
            # Behind an open breaker it would only begin to wait anew.
            self._service.probe()
        return await self._of_ticket("retry", ticket_id, order, caller, (outcome, *_RETRIED[outcome]))

    async def pause(self, task_type: str, order: bodies.PauseOrder, caller: Caller) -> ActionOutcome:
        request = PauseRequest(task_type, order.by, order.reason, order.for_seconds)
        outcome = self._service.tickets.pause(request)
        return self._of_type("pause", task_type, order, caller, (outcome, *_PAUSED[outcome]))

    async def resume(self, task_type: str, order: bodies.ResumeOrder, caller: Caller) -> ActionOutcome:
        outcome = self._service.tickets.resume(ResumeRequest(task_type, order.by, order.reason))
        return self._of_type("resume", task_type, order, caller, (outcome, *_RESUMED[outcome]))

    async def drain(self, order: bodies.DrainOrder, caller: Caller) -> ActionOutcome:
        """As SIGTERM does; again is harmless."""
        outcome, detail = "draining", "it takes nothing more, lets what runs end, and stops"
        if not self._service.drain():
            outcome, detail = "already_draining", "it was asked to stop already"
        answer = bodies.DrainAnswer(outcome=outcome, detail=detail)
        return self._done(_asked("drain", "", order), caller, outcome, ActionOutcome(202, detail, answer))

    async def preview_dead_letters(self, query: bodies.LetterQuery, caller: Caller, by: str = "") -> ActionOutcome:
        """The newest letters. Audited too: letters hold what was in tickets."""
        request = Request("preview_dead_letters", query.reason or "", by)
        try:
            async with asyncio.timeout(_READ_SECONDS):
                letters = await self._service.letters.newest(query.limit, query.reason)
        except (TimeoutError, WorkerAgentsError) as error:
            return self._in_vain(request, caller, error, "use worker-agents dlq list, which takes its time")
        detail = f"{len(letters)} dead letters"
        shown = tuple(bodies.LetterBody.model_validate(letter) for letter in letters)
        answer = bodies.LettersAnswer(detail=detail, letters=shown)
        return self._done(request, caller, "shown", ActionOutcome(200, detail, answer))

    async def replay(self, order: bodies.ReplayOrder, caller: Caller) -> ActionOutcome:
        """Send letters again. A letter that is sent twice runs once."""
        request = _asked("replay", ",".join((*order.letters, *order.tickets)), order)
        try:
            async with asyncio.timeout(_REPLAY_SECONDS):
                reports = await self._service.letters.replay(order.letters, order.tickets, dry_run=order.dry_run)
        except (TimeoutError, WorkerAgentsError) as error:
            return self._in_vain(request, caller, error, "some may have been sent; sending them again is harmless")
        able = sum(report.problem is None for report in reports)
        detail = f"{able} of {len(reports)} dead letters {'can be' if order.dry_run else 'were'} sent again"
        status, outcome = (200, "dry_run") if order.dry_run else (202, "replayed")
        if not able:
            status, outcome = 404, "none"
        shown = tuple(bodies.ReplayedBody.model_validate(report) for report in reports)
        answer = bodies.ReplayAnswer(detail=detail, outcome=outcome, dry_run=order.dry_run, letters=shown)
        return self._done(request, caller, outcome, ActionOutcome(status, detail, answer))

    # --- answers -------------------------------------------------------------------------------------------------

    async def _of_ticket(
        self, action: str, ticket_id: str, order: bodies.Order, caller: Caller, came: tuple[str, int, str]
    ) -> ActionOutcome:
        outcome, status, detail = came
        holder = await self._holder_of(ticket_id) if status == 404 else None
        owner = None
        if holder is not None:
            owner = bodies.HolderBody.model_validate(holder)
            detail = f"it lies in partition {holder.partition}, which {holder.worker} at {holder.url} holds"
        answer = bodies.TicketAnswer(ticket_id=ticket_id, outcome=outcome, detail=detail, owner=owner)
        return self._done(_asked(action, ticket_id, order), caller, outcome, ActionOutcome(status, detail, answer))

    async def _holder_of(self, ticket_id: str) -> Holder | None:
        """One search at a time: each reads a whole topic."""
        try:
            async with asyncio.timeout(_SEARCH_SECONDS), self._searching:
                return await self._service.holders.find(ticket_id)
        except (TimeoutError, WorkerAgentsError):
            return None

    def _of_type(
        self, action: str, task_type: str, order: bodies.Order, caller: Caller, came: tuple[str, int, str]
    ) -> ActionOutcome:
        outcome, status, detail = came
        pause = self._service.tickets.pauses.get(task_type)
        answer = bodies.TaskTypeAnswer(
            task_type=task_type, outcome=outcome, detail=detail, paused_until=pause.until if pause else None
        )
        return self._done(_asked(action, task_type, order), caller, outcome, ActionOutcome(status, detail, answer))

    def _in_vain(self, request: Request, caller: Caller, error: Exception, advice: str) -> ActionOutcome:
        match error:
            case TimeoutError():
                status, outcome, detail = 504, "timeout", f"Kafka took too long; {advice}"
            case KafkaUnreachable():
                status, outcome, detail = 503, "kafka_unreachable", str(error)
            case _:
                status, outcome, detail = 502, "kafka_refused", str(error)
        return self._done(request, caller, outcome, ActionOutcome(status, detail, bodies.Problem(detail=detail)))

    def _done(self, request: Request, caller: Caller, outcome: str, answer: ActionOutcome) -> ActionOutcome:
        self.audit.acted(request, caller, outcome, answer.status)
        return answer


def _asked(action: str, target: str, order: bodies.Order) -> Request:
    return Request(action, target, order.by, order.reason)
