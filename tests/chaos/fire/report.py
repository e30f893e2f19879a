"""What a run says of itself: one closing line, and what it found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fire import checker
from tests.chaos.fire.checker import Verdict, overlaps
from tests.chaos.fire.evidence import Evidence
from tests.chaos.fire.load import POISON

_SHOWN = 5


@dataclass
class Report:
    seed: int
    brokers: int
    seconds: float
    evidence: Evidence
    verdict: Verdict
    failures: list[str]
    notes: list[str]

    @property
    def is_clean(self) -> bool:
        return self.verdict.is_clean and not self.failures

    @property
    def kinds(self) -> Counter[str]:
        return Counter(fault.kind for fault in self.evidence.faults)

    def closing_line(self) -> str:
        evidence, count = self.evidence, self.verdict.count
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(self.kinds.items()))
        starts = count(checker.remote_work_twice, checker.started_after_checkpoint, checker.at_most_once_started_twice)
        others = sum(map(len, self.verdict.accusations.values())) - starts - count(checker.lost, checker.doubled)
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.brokers} broker(s), {len(evidence.sent)} tickets in "
            f"{len(evidence.tickets)} records, {len(evidence.result_records)} results, {count(checker.lost)} lost, "
            f"{count(checker.doubled)} duplicates, {starts} double starts, {others} other violations; "
            f"{len(evidence.faults)} faults of {len(self.kinds)} kinds ({kinds})"
        )

    def lines(self) -> Iterator[str]:
        """What there is to say beside the closing line, which comes last."""
        yield from (f"note: {note}" for note in [*self.notes, *self._figures()])
        yield from (f"fault failed: {failure}" for failure in self.failures)
        for check, accusations in self.verdict.accusations.items():
            yield from (f"VIOLATION {check}: {accusation}" for accusation in accusations[:_SHOWN])
            if len(accusations) > _SHOWN:
                yield f"VIOLATION {check}: and {len(accusations) - _SHOWN} more"
        yield self.closing_line()

    def _figures(self) -> Iterator[str]:
        evidence = self.evidence
        statuses = Counter(
            result["status"] if result["status"] == "COMPLETED" else str(result["error_reason"])
            for results in evidence.results.values()
            for result in results[:1]
        )
        yield "results: " + ", ".join(f"{name} {number}" for name, number in statuses.most_common())
        longest = max((seconds for _, _, seconds in overlaps(evidence)), default=0.0)
        yield f"two owners worked on one ticket for {longest:.1f} s at most"
        repeated = sum(len({work.worker for work in works}) > 1 for works in evidence.local_works.values())
        yield f"{repeated} of {len(evidence.local_works)} tickets with local work were begun by more than one process"
        convicted = sum(
            result["error_reason"] == "worker_lost" and not evidence.sent[ticket_id].at_most_once
            for ticket_id, results in evidence.results.items()
            for result in results[:1]
            if ticket_id in evidence.sent and not ticket_id.startswith(POISON)
        )
        yield f"{convicted} tickets that kill nobody were convicted of it: workers were killed while they were on trial"
        deaths = sum(life.exit_code == -9 for life in evidence.lives)
        yield f"{len(evidence.lives)} worker processes ended, {deaths} of them killed; {len(evidence.letters)} dead letters"

    def write(self, folder: Path) -> None:
        """The faults as they happened and all accusations, for whoever looks into it."""
        faults = [vars(fault) for fault in sorted(self.evidence.faults, key=lambda fault: fault.began_at)]
        (folder / "faults.json").write_text(json.dumps(faults, indent=1))
        (folder / "violations.json").write_text(json.dumps(self.verdict.accusations, indent=1))
        (folder / "report.txt").write_text("\n".join(self.lines()) + "\n")
