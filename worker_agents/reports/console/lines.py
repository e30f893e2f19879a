"""Captured output as the console parsers see it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from worker_agents.reports.model import TERMINAL_SEQUENCE, Malformed, TestReport
from worker_agents.reports.numbers import whole_number

# No summary line is longer; the rest of a longer line is not looked at.
MAX_LINE_LENGTH = 2_000
# Summaries come last: of more output than this only the end is looked at.
MAX_LINES = 200_000
MAX_OUTPUT_LENGTH = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Finding:
    """A report and the index of the last line that it was read from."""

    line: int
    report: TestReport


def console_lines(text: str) -> list[str]:
    """The last ``MAX_LINES`` without colours and carriage returns, each cut to ``MAX_LINE_LENGTH``."""
    plain = TERMINAL_SEQUENCE.sub("", text)
    return [line[:MAX_LINE_LENGTH].rstrip("\r") for line in plain.rsplit("\n", MAX_LINES)[-MAX_LINES:]]


def count_of(match: re.Match[str], group: str | int) -> int:
    """A captured count, bounded; 0 where the group took no part."""
    return whole_number(match[group] or 0, "a count")


def passed_of(total: int, *others: int) -> int:
    """What is left of ``total``, where a tool prints no count of its own for passed tests."""
    if sum(others) > total:
        raise Malformed("more tests failed or were skipped than ran")
    return total - sum(others)
