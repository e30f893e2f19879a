"""coverage.py's ``coverage json``: ``totals.percent_covered``, 0-100."""

from __future__ import annotations

from worker_agents.reports.json_documents import Object, child
from worker_agents.reports.numbers import percentage


def is_coverage_py(document: Object) -> bool:
    return "percent_covered" in child(document, "totals")


def coverage_py(document: Object) -> float:
    return percentage(child(document, "totals")["percent_covered"], "totals.percent_covered")
