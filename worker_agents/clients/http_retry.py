"""When a call may be tried again, and how long to wait first. Pure: no clock of its own, no I/O."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class HttpRetryPolicy:
    """At most ``tries`` tries with full jitter over ``base`` * 2ⁿ seconds, never above ``longest``.

    ``budget`` is the seconds that one call may spend waiting between its tries.
    """

    tries: int = 5
    base: float = 0.25
    longest: float = 5.0
    budget: float = 10.0

    def delay(self, made: int, waited: float, retry_after: float | None, rng: random.Random) -> float | None:
        """Seconds to wait after ``made`` tries and ``waited`` seconds of waiting; ``None`` to give up.

        A server's ``retry_after`` is a lower bound: with jitter on top, so that those who were told the same do not
        come back together. One that does not fit the budget ends the call, and whoever asked is told of it.
        """
        if made >= self.tries:
            return None
        jittered = rng.uniform(0.0, min(self.longest, self.base * 2.0 ** (made - 1)))
        delay = jittered + (retry_after or 0.0)
        return delay if waited + delay <= self.budget else None


class RetryBudget:
    """How many repetitions all calls of one client may make together, so that an outage does not multiply the load.

    A bucket of tokens, Finagle's default: each call pays ``share`` in, so that in the long run at most a fifth more is
    sent than was asked for, and ``per_second`` drip in whatever happens, because a worker with a few calls a minute
    would otherwise never repeat one. It begins full and holds ``capacity``, ten seconds' worth: enough for what a
    restart of the service hits at once, while 2,000 tickets that meet an outage make 100 repetitions and not 8,000.
    """

    def __init__(self, *, share: float = 0.2, per_second: float = 10.0, capacity: float = 100.0) -> None:
        self._share = share
        self._per_second = per_second
        self._capacity = capacity
        self._tokens = capacity
        self._filled_at: float | None = None

    def called(self, now: float) -> None:
        """A call begins at ``now`` (monotonic seconds)."""
        self._fill(now, self._share)

    def take(self, now: float) -> bool:
        """Whether a call may be repeated; takes a token if so."""
        self._fill(now, 0.0)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _fill(self, now: float, more: float) -> None:
        passed = 0.0 if self._filled_at is None else now - self._filled_at
        self._filled_at = now
        self._tokens = min(self._tokens + passed * self._per_second + more, self._capacity)


def retry_after_seconds(header: str | None, now_ms: int) -> float | None:
    """``Retry-After`` as seconds from now, from either of its forms; ``None`` when absent or unreadable."""
    if not header:
        return None
    seconds = _number(header)
    if seconds is None:
        seconds = _seconds_until(header, now_ms)
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _seconds_until(date: str, now_ms: int) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now_ms / 1000
    except (ValueError, OverflowError):
        return None
