"""How often to ask after remote work, and how long to put up with silence. Pure: no clock, no I/O."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

FIRST_SECONDS = 0.5
FACTOR = 1.5
LONGEST_SECONDS = 30.0
LONGEST_HINT_SECONDS = 300.0
# Tickets that began together must not ask together for ever.
JITTER = 0.2


def poll_delays(
    first: float = FIRST_SECONDS,
    factor: float = FACTOR,
    longest: float = LONGEST_SECONDS,
    rng: random.Random | None = None,
    *,
    age: float = 0.0,
) -> Iterator[float]:
    """Seconds to wait before each poll, for ever: quick work is seen quickly, slow work is not pestered.

    The n-th is ``first`` * ``factor``ⁿ up to ``longest``, shortened by at most a fifth. Work that is ``age`` seconds
    old is looked at soon as well, and then as rarely as if it had been polled from its beginning: hand-overs of
    slow work are no reason to pester it.
    """
    source = rng or random.Random()
    nominal = min(first, longest)
    yield nominal * source.uniform(1.0 - JITTER, 1.0)
    # Delays that grow by a factor are a line over the time that they add up to.
    nominal = min(first * factor + (factor - 1.0) * age, longest)
    while True:
        yield nominal * source.uniform(1.0 - JITTER, 1.0)
        nominal = min(nominal * factor, longest)


def heeding(delay: float, hint: float | None) -> float:
    """``delay``, or the server's own wish where that is longer; a wish of more than five minutes counts as five."""
    return delay if hint is None else max(delay, min(hint, LONGEST_HINT_SECONDS))


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds for which remote work may be missing (404), and its service unreachable, before that is believed."""

    missing: float = 30.0
    unreachable: float = 60.0


class Streak:
    """For how long something has been the case without a break."""

    def __init__(self) -> None:
        self._since: float | None = None

    def observe(self, now: float) -> float:
        """It is the case at ``now``: seconds since it first was."""
        if self._since is None:
            self._since = now
        return now - self._since

    def end(self) -> None:
        """It is not the case any more."""
        self._since = None
