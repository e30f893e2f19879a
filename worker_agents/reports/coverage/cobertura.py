"""Cobertura XML (coverage.py, Istanbul, gcovr): the root's ``line-rate``, the only one that is 0-1."""

from __future__ import annotations

from worker_agents.reports.model import Malformed
from worker_agents.reports.numbers import MAX_LINES_OF_CODE, rate, share, whole_number
from worker_agents.reports.xml_events import Attributes


class Cobertura:
    """Visitor of the document. ``percent`` is valid at its end, which also shows that the file is whole."""

    def __init__(self) -> None:
        self.percent: float | None = None

    def start(self, _tag: str, attributes: Attributes, depth: int) -> None:
        if depth == 1:
            self.percent = _percent(attributes)

    def end(self, tag: str, depth: int) -> None:
        pass

    def text(self, text: str) -> None:
        pass


def _percent(root: Attributes) -> float:
    if "line-rate" in root:
        return rate(root["line-rate"], "line-rate")
    if "lines-valid" not in root:
        raise Malformed("<coverage> has neither line-rate nor lines-valid")
    covered = whole_number(root.get("lines-covered"), "lines-covered", highest=MAX_LINES_OF_CODE)
    return share(covered, whole_number(root["lines-valid"], "lines-valid", highest=MAX_LINES_OF_CODE), "lines")
