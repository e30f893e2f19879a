"""Captured output as a report. Each tool's parser is asked; the one that found something last in the output speaks for the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from worker_agents.reports.console.cargo import find_cargo
from worker_agents.reports.console.coverage import find_coverage
from worker_agents.reports.console.go import find_go
from worker_agents.reports.console.javascript import find_jest, find_mocha, find_vitest
from worker_agents.reports.console.json_output import find_document, find_events
from worker_agents.reports.console.lines import MAX_OUTPUT_LENGTH, Finding, console_lines
from worker_agents.reports.console.pytest import find_pytest
from worker_agents.reports.console.surefire import find_surefire
from worker_agents.reports.model import Malformed, TestReport
from worker_agents.reports.numbers import MAX_COUNT

_BY_LINES: tuple[Callable[[list[str]], Finding | None], ...] = (
    find_pytest,
    find_surefire,
    find_go,
    find_cargo,
    find_mocha,
    find_jest,
    find_vitest,
)


def parse_console(stdout: str) -> TestReport | None:
    """What the tests came to by what was printed; None where no tool's lines are found, or their numbers are absurd."""
    stdout = stdout[-MAX_OUTPUT_LENGTH:]
    lines = console_lines(stdout)
    searches = [partial(find, lines) for find in _BY_LINES]
    searches += [partial(find_events, stdout), partial(find_document, stdout)]
    findings = [finding for search in searches if (finding := _attempt(search))]
    return max(findings, key=lambda finding: finding.line).report if findings else None


def console_coverage(stdout: str) -> float | None:
    """Percent, 0-100, by what was printed; None where there is no single figure for the whole run."""
    try:
        return find_coverage(console_lines(stdout[-MAX_OUTPUT_LENGTH:]))
    except Malformed:
        return None


def _attempt(search: Callable[[], Finding | None]) -> Finding | None:
    try:
        finding = search()
    except Malformed:
        return None
    return finding if finding and finding.report.counts.total <= MAX_COUNT else None
