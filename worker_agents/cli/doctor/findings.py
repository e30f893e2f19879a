"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from worker_agents.telemetry.masking import SecretMasker


class Level(StrEnum):
    """``SKIPPED`` is what could not be looked at, or needs no look."""

    ERROR = "error"
    WARNING = "warning"
    SKIPPED = "skipped"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """``what`` is a sentence, ``why`` what it means for tickets, ``advice`` what to do; the last two only where needed.

    ``check`` is a stable name: its part before the dot is what it belongs to.
    """

    check: str
    level: Level
    what: str
    why: str = ""
    advice: str = ""

    @property
    def area(self) -> str:
        return self.check.partition(".")[0]

    def masked(self, mask: SecretMasker) -> Finding:
        return replace(self, what=mask.text(self.what), why=mask.text(self.why), advice=mask.text(self.advice))


@dataclass(frozen=True, slots=True)
class Subject:
    """Makes the findings of one check."""

    check: str

    def ok(self, what: str) -> Finding:
        return Finding(self.check, Level.OK, what)

    def skipped(self, what: str, why: str = "", advice: str = "") -> Finding:
        return Finding(self.check, Level.SKIPPED, what, why, advice)

    def warning(self, what: str, *, why: str, advice: str) -> Finding:
        return Finding(self.check, Level.WARNING, what, why, advice)

    def error(self, what: str, *, why: str, advice: str) -> Finding:
        return Finding(self.check, Level.ERROR, what, why, advice)


def ok_unless(found: Iterable[Finding], fine: Finding) -> list[Finding]:
    """``found``, or ``fine`` where nothing was."""
    return list(found) or [fine]


def count(findings: Iterable[Finding], level: Level) -> int:
    return sum(1 for finding in findings if finding.level is level)
