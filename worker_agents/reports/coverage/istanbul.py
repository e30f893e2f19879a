"""Istanbul's ``json-summary`` (jest, vitest, nyc): ``total.lines.pct``, 0-100, or the text "Unknown" where there is no line."""

from __future__ import annotations

from worker_agents.reports.json_documents import Object, child
from worker_agents.reports.numbers import percentage


def is_istanbul_summary(document: Object) -> bool:
    return "pct" in child(child(document, "total"), "lines")


def istanbul_summary(document: Object) -> float:
    return percentage(child(child(document, "total"), "lines")["pct"], "total.lines.pct")
