"""Compares this machine's clock with those of others, as far as they show theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from worker_agents.cli.doctor.findings import Finding, Subject, ok_unless

MAX_SKEW_MS: Final = 5_000
"""So much may be the coarseness of a reading: HTTP tells whole seconds."""

_CLOCK = Subject("clock.skew")
_FAR_SECONDS = 60.0


@dataclass
class Readings:
    """How many seconds others are ahead of this clock, by who they are; behind is negative."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, source: str, ahead: float) -> None:
        self.seconds[source] = ahead

    def add_date(self, source: str, date: str | None, now: float) -> None:
        """From the header ``Date`` of an answer that came at ``now`` (epoch seconds); one that is none tells nothing."""
        try:
            told = parsedate_to_datetime(date or "")
        except ValueError:
            return
        # The header has whole seconds, cut off: on average half a second more has passed.
        self.add(source, told.replace(tzinfo=told.tzinfo or UTC).timestamp() + 0.5 - now)


def judge_clock(readings: Readings) -> list[Finding]:
    if not readings.seconds:
        return [
            _CLOCK.skipped(
                "no other clock to compare with",
                why="Kafka's brokers do not tell theirs, and no service that tells it over HTTP was reached.",
            )
        ]
    worst = max(abs(ahead) for ahead in readings.seconds.values())
    fine = _CLOCK.ok(f"within {worst:.1f} s of {', '.join(sorted(readings.seconds))}")
    return ok_unless(_skews(readings), fine)


def _skews(readings: Readings) -> Iterator[Finding]:
    for source, ahead in sorted(readings.seconds.items()):
        if abs(ahead) <= MAX_SKEW_MS / 1000:
            continue
        direction = "behind" if ahead > 0 else "ahead of"
        find = _CLOCK.error if abs(ahead) > _FAR_SECONDS else _CLOCK.warning
        yield find(
            f"this clock is {abs(ahead):.0f} s {direction} {source}",
            why="Deadlines of tickets, due times of retries and tokens are judged by the clock: tickets fail too early "
            "or too late.",
            advice="Synchronise both machines (NTP, chrony).",
        )
