"""LCOV: records ``SF:`` … ``end_of_record``. Lines hit of lines found, from ``LH``/``LF`` or, where absent, the ``DA`` lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from worker_agents.reports.model import Malformed
from worker_agents.reports.numbers import share, whole_number

_LCOV = re.compile(rb"^\s*(?:TN:[^\n]*\n\s*)?SF:")

MAX_LINES = 1_500_000

_NO_HITS = frozenset({"", "0"})


def is_lcov(content: bytes) -> bool:
    return _LCOV.match(content[:4096]) is not None


def lcov(lines: Iterable[str]) -> float:
    found = hit = 0
    record: _Record | None = None
    for at, raw in enumerate(lines):
        if at >= MAX_LINES:
            raise Malformed(f"more than {MAX_LINES:,} lines")
        line = raw.strip()
        if line.startswith("SF:"):
            record = _Record()
        elif line == "end_of_record" and record is not None:
            record_found, record_hit = record.found_and_hit()
            found, hit = found + record_found, hit + record_hit
            record = None
        elif record is not None:
            record.take(line)
    if record is not None:
        raise Malformed("it ends within a record")
    return share(hit, found, "lines")


@dataclass(slots=True)
class _Record:
    hits: dict[str, bool] = field(default_factory=dict)
    lines_found: int | None = None
    lines_hit: int | None = None

    def take(self, line: str) -> None:
        if line.startswith("DA:"):
            number, _, rest = line[3:].partition(",")
            is_hit = rest.partition(",")[0] not in _NO_HITS
            self.hits[number] = is_hit or self.hits.get(number, False)
        elif line.startswith("LF:"):
            self.lines_found = whole_number(line[3:], "LF")
        elif line.startswith("LH:"):
            self.lines_hit = whole_number(line[3:], "LH")

    def found_and_hit(self) -> tuple[int, int]:
        if self.lines_found is None or self.lines_hit is None:
            return len(self.hits), sum(self.hits.values())
        if self.lines_hit > self.lines_found:
            raise Malformed("a record has more lines hit (LH) than found (LF)")
        return self.lines_found, self.lines_hit
