"""Shows what was found: for people, grouped and with the worst said in full; for programs, as one document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from worker_agents.cli.doctor.findings import Finding, Level, count
from worker_agents.cli.output import new_console, print_json
from worker_agents.model.text import printable

if TYPE_CHECKING:
    from rich.console import Console

_TITLES = {
    "settings": "Settings",
    "vault": "Vault",
    "kafka": "Kafka",
    "integrations": "Integrations",
    "programs": "Programs",
    "machine": "Machine",
    "lifecycle": "Stopping",
    "clock": "Clock",
    "telemetry": "Telemetry",
}
_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red", Level.SKIPPED: "dim"}
_LEVEL_WIDTH = max(len(level) for level in Level)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Area by area; within one, as they come."""
    areas = list(_TITLES)
    return tuple(sorted(findings, key=lambda finding: areas.index(finding.area)))


def print_findings(findings: Sequence[Finding]) -> None:
    """A line for each finding, and below it why it matters and what to do; the last line counts them."""
    console = new_console()
    name_width = max((len(_name(finding)) for finding in findings), default=0)
    for area, found in groupby(findings, key=lambda finding: finding.area):
        lines = [line for finding in found for line in _lines(finding)]
        if console.is_terminal:
            _print_area(console, _TITLES[area], lines, name_width)
        else:
            print(_TITLES[area], *(_plain(line, name_width) for line in lines), "", sep="\n")
    print(summary(findings))


@dataclass(frozen=True, slots=True)
class _Line:
    level: Level | None
    name: str
    text: str


def _lines(finding: Finding) -> Iterator[_Line]:
    yield _Line(finding.level, _name(finding), printable(finding.what))
    if finding.why:
        yield _Line(None, "", f"why: {printable(finding.why)}")
    if finding.advice:
        yield _Line(None, "", f"do:  {printable(finding.advice)}")


def _name(finding: Finding) -> str:
    return finding.check.partition(".")[2]


def _plain(line: _Line, name_width: int) -> str:
    """Unfolded: whoever reads a pipe searches in lines."""
    return f"  {line.level or '':<{_LEVEL_WIDTH}}  {line.name:<{name_width}}  {line.text}"


def _print_area(console: Console, title: str, lines: Iterable[_Line], name_width: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    table.add_column(width=_LEVEL_WIDTH + 2)
    table.add_column(width=name_width)
    table.add_column()
    for line in lines:
        style = _STYLES[line.level] if line.level else "dim"
        table.add_row(Text(f"  {line.level or ''}", style), line.name, Text(line.text, style if not line.level else ""))
    console.print(Text(title, "bold"))
    console.print(table)
    console.print()


def summary(findings: Iterable[Finding]) -> str:
    """Such as "3 errors, 2 warnings, 18 fine, 1 skipped"."""
    found = list(findings)
    errors, warnings = count(found, Level.ERROR), count(found, Level.WARNING)
    parts = [_plural(errors, "error"), _plural(warnings, "warning"), f"{count(found, Level.OK)} fine"]
    skipped = count(found, Level.SKIPPED)
    return ", ".join(parts + ([f"{skipped} skipped"] if skipped else []))


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def print_document(findings: Sequence[Finding], exit_code: int) -> None:
    print_json(
        {
            "exit_code": exit_code,
            "counts": {level.value: count(findings, level) for level in Level},
            "findings": [_document(finding) for finding in findings],
        }
    )


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "level": finding.level.value,
        "what": finding.what,
        "why": finding.why,
        "do": finding.advice,
    }
