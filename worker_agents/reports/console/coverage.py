"""Coverage in printed lines: pytest-cov's ``TOTAL``, ``go test -cover`` and ``go tool cover -func``, Istanbul's two tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from worker_agents.reports.coverage.go_profile import FUNC_TOTAL
from worker_agents.reports.formats.go_json import is_go_event
from worker_agents.reports.json_documents import json_lines, string
from worker_agents.reports.numbers import percentage

_PERCENT = r"(\d{1,3}(?:\.\d{1,4})?)"
_PYTEST_COV = re.compile(r"TOTAL(?:\s+\d+){2,6}\s+" + _PERCENT + "%", re.ASCII)
_ISTANBUL_TABLE = re.compile(r"All files\s+\|[\s\d.]+\|[\s\d.]+\|[\s\d.]+\|\s+" + _PERCENT + r"\s+\|.*", re.ASCII)
_ISTANBUL_SUMMARY = re.compile(r"Lines\s+: " + _PERCENT + r"% \( \d+/\d+ \)", re.ASCII)
_WHOLE_RUN = (_PYTEST_COV, _ISTANBUL_TABLE, _ISTANBUL_SUMMARY, FUNC_TOTAL)
_GO_PACKAGE = re.compile(r"(ok  |FAIL|\?   |)\t\S+.*")
_GO_COVERAGE = re.compile(r"coverage: " + _PERCENT + "% of statements", re.ASCII)


def find_coverage(lines: list[str]) -> float | None:
    """The last figure for the whole run."""
    for line in reversed(lines):
        for pattern in _WHOLE_RUN:
            if match := pattern.fullmatch(line.rstrip()):
                return percentage(match[1], "the printed coverage")
    return _go_coverage(lines)


def _go_coverage(lines: list[str]) -> float | None:
    """The figure of the only package that has one. Those of several cannot be averaged without their sizes."""
    figures: list[str] = []
    waiting: str | None = None
    for line in _go_lines(lines):
        found = _GO_COVERAGE.search(line)
        if line.startswith("coverage: "):
            waiting = found[1] if found else None
        elif _GO_PACKAGE.fullmatch(line):
            figure = found[1] if found else waiting
            figures += [figure] if figure else []
            waiting = None
    return percentage(figures[0], "the printed coverage") if len(figures) == 1 else None


def _go_lines(lines: list[str]) -> Iterable[str]:
    """The lines themselves, or what the events of ``go test -json`` print, one package after the other."""
    outputs: defaultdict[str, list[str]] = defaultdict(list)
    for event in json_lines("\n".join(lines).encode(errors="replace")):
        if is_go_event(event) and string(event, "Action") == "output":
            outputs[string(event, "Package")].append(string(event, "Output").rstrip("\n"))
    return [line for of_package in outputs.values() for line in of_package] or lines
