"""When a call may be tried again, and how long to wait first. Pure: no clock, no I/O."""

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
