"""Whether and when to try again. Pure: no I/O, no clock of its own."""

from __future__ import annotations

import random
from dataclasses import field

from worker_agents.model.errors import BreakerOpen, Postponed, Reason, TaskError
from worker_agents.model.result import Finished, RetryLater
from worker_agents.model.structs import struct
from worker_agents.model.ticket import MAX_RETRIES_CAP, Ticket

_SPREAD = 0.25


@struct
class RetryPolicy:
    """Full jitter over an exponential back-off. Times are seconds.

    ``default_retries`` counts further attempts where the ticket names no ``max_retries``.
    """

    default_retries: int = 3
    base: float = 2.0
    longest: float = 60.0
    random: random.Random = field(default_factory=random.Random)

    def max_attempts(self, ticket: Ticket) -> int:
        """First attempt and retries. AT_MOST_ONCE tickets have no retries."""
        if ticket.is_at_most_once:
            return 1
        retries = self.default_retries if ticket.sla.max_retries is None else ticket.sla.max_retries
        return 1 + min(retries, MAX_RETRIES_CAP)

    def decide(
        self, ticket: Ticket, attempt: int, error: TaskError, seconds_left: float | None
    ) -> RetryLater | Finished:
        """What becomes of a ticket whose attempt number ``attempt`` (from 1) failed with ``error``.

        ``seconds_left`` is the time to the ticket's last moment, ``None`` without one: a delay that would pass it is
        not begun. A ticket that meets an open circuit breaker waits without using up an attempt, until the breaker
        closes or the ticket's last moment comes; unless it may start but once. So does one that could not begin at all.
        """
        message = str(error)
        waits = isinstance(error, Postponed) or (isinstance(error, BreakerOpen) and not ticket.is_at_most_once)
        if waits:
            return RetryLater(self._spread(error), error.reason, message, costs_attempt=False)
        if not error.retryable:
            return Finished.failed(error.reason, message, dead_letter=True)
        allowed = self.max_attempts(ticket)
        if attempt >= allowed:
            return self._exhausted(error, f"{message} (attempt {attempt} of {allowed})")
        delay = self._delay(attempt) if error.retry_after is None else max(error.retry_after, 0.0)
        if seconds_left is not None and delay >= seconds_left:
            return self._exhausted(error, f"{message} (the next attempt would come after the ticket's deadline)")
        return RetryLater(delay, error.reason, message)

    def _delay(self, attempt: int) -> float:
        ceiling = min(self.longest, self.base * 2.0 ** min(attempt - 1, 30))
        return self.random.uniform(0.0, ceiling)

    def _spread(self, error: TaskError) -> float:
        """Not earlier than it makes sense, and not all that wait for the same at once."""
        wait = max(error.retry_after or 0.0, self.base)
        return wait * self.random.uniform(1.0, 1.0 + _SPREAD)

    @staticmethod
    def _exhausted(error: TaskError, message: str) -> Finished:
        return Finished.failed(Reason.RETRIES_EXHAUSTED, message, dead_letter=True, last_reason=error.reason)
