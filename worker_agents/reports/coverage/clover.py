"""Clover XML (PHPUnit, Istanbul): coverage/project/metrics, ``coveredstatements`` of ``statements``."""

from __future__ import annotations

from worker_agents.reports.numbers import MAX_LINES_OF_CODE, share, whole_number
from worker_agents.reports.xml_events import Attributes

_PATH = ["coverage", "project", "metrics"]


class Clover:
    """Visitor of the document. ``percent`` is valid at its end."""

    def __init__(self) -> None:
        self.percent: float | None = None
        self._path: list[str] = []

    def start(self, tag: str, attributes: Attributes, _depth: int) -> None:
        self._path.append(tag)
        if self._path == _PATH:
            covered = whole_number(attributes.get("coveredstatements"), "coveredstatements", highest=MAX_LINES_OF_CODE)
            total = whole_number(attributes.get("statements"), "statements", highest=MAX_LINES_OF_CODE)
            self.percent = share(covered, total, "statements")

    def end(self, _tag: str, _depth: int) -> None:
        self._path.pop()

    def text(self, text: str) -> None:
        pass
