"""The figures of a crash scenario, and the promises that they must keep."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.fleet import duplicates
from worker_agents.devkit.code_forge import CallLog


@dataclass
class Scenario:
    """Filled in while a scenario runs. ``faults`` counts what was done to the workers."""

    name: str
    sent: int = 0
    results: int = 0
    doubled: int = 0
    double_starts: int = 0
    faults: int = 0
    notes: list[str] = field(default_factory=list)

    def closing_line(self, seconds: float) -> str:
        notes = "".join(f", {note}" for note in self.notes)
        return (
            f"{self.name}: {self.sent} tickets sent, {self.results} results, {self.doubled} duplicates, "
            f"{self.double_starts} double starts, {self.faults} faults{notes} ({seconds:.1f} s)"
        )

    def take(self, sent: Collection[str], results: Iterable[Mapping[str, Any]], log: CallLog | None = None) -> None:
        """Take the figures, then hold them against the promises: one result each, no work begun twice."""
        results = list(results)
        answered = {result["ticket_id"] for result in results}
        self.sent, self.results = len(sent), len(results)
        self.doubled = len(duplicates(results))
        if log is not None:
            starts = log.starts_by_ticket()
            self.double_starts = sum(len(begun.request_ids) > 1 for begun in starts.values())
        assert set(sent) - answered == set(), "tickets without a result"
        assert answered - set(sent) == set(), "results without a ticket"
        assert self.doubled == 0, duplicates(results)
        assert self.double_starts == 0
