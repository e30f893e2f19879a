"""JaCoCo: the LINE counter of the whole report, from its XML or its CSV; INSTRUCTION where no line numbers were compiled in."""

from __future__ import annotations

import csv
from collections.abc import Iterable

from worker_agents.reports.model import Malformed
from worker_agents.reports.numbers import MAX_LINES_OF_CODE, share, whole_number
from worker_agents.reports.xml_events import Attributes

MAX_CLASSES = 200_000

_USED = ("LINE", "INSTRUCTION")


class Jacoco:
    """Visitor of the XML. The root's own counters, which follow its packages, are the totals."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[int, int]] = {}

    def start(self, tag: str, attributes: Attributes, depth: int) -> None:
        if depth == 2 and tag == "counter" and attributes.get("type") in _USED:
            missed = _lines(attributes.get("missed"), "missed")
            self._totals[attributes["type"]] = (missed, _lines(attributes.get("covered"), "covered"))

    def end(self, tag: str, depth: int) -> None:
        pass

    def text(self, text: str) -> None:
        pass

    @property
    def percent(self) -> float | None:
        return _percent(self._totals)


def is_jacoco_csv(content: bytes) -> bool:
    return content.lstrip().startswith(b"GROUP,PACKAGE,CLASS,")


def jacoco_csv(lines: Iterable[str]) -> float:
    """The sum over the classes."""
    totals = dict.fromkeys(_USED, (0, 0))
    try:
        for at, row in enumerate(csv.DictReader(lines)):
            if at >= MAX_CLASSES:
                raise Malformed(f"more than {MAX_CLASSES:,} classes")
            for kind in _USED:
                missed, covered = totals[kind]
                totals[kind] = (missed + _cell(row, f"{kind}_MISSED"), covered + _cell(row, f"{kind}_COVERED"))
    except csv.Error as error:
        raise Malformed(f"no valid CSV: {error}") from None
    return _percent(totals)


def _percent(totals: dict[str, tuple[int, int]]) -> float:
    for kind in _USED:
        missed, covered = totals.get(kind, (0, 0))
        if missed + covered:
            return share(covered, missed + covered, "lines")
    raise Malformed("the report has no LINE or INSTRUCTION counter of its own, or nothing to cover")


def _cell(row: dict[str | None, str | list[str] | None], column: str) -> int:
    return _lines(row.get(column), column)


def _lines(value: object, field: str) -> int:
    return whole_number(value, field, highest=MAX_LINES_OF_CODE)
