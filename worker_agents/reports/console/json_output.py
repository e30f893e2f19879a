"""Reports in JSON that share the output with whatever else is printed: npm's preamble, the tests' own lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import islice

from worker_agents.reports.console.lines import Finding
from worker_agents.reports.formats.go_json import is_go_event, parse_go_json
from worker_agents.reports.formats.jest import is_jest, parse_jest
from worker_agents.reports.formats.libtest import is_libtest, parse_libtest
from worker_agents.reports.formats.mocha import is_mocha, parse_mocha
from worker_agents.reports.json_documents import Object, json_lines
from worker_agents.reports.model import Malformed, TestReport

_DOCUMENT = re.compile(r'\{\s{0,20}"(?:stats|num[A-Z][A-Za-z]{1,40})"\s{0,20}:')
# Each may be read to the end of the output.
_MAX_CANDIDATES = 10

_EVENT_FORMATS: tuple[tuple[Callable[[Object], bool], Callable[[Iterable[Object]], TestReport]], ...] = (
    (is_go_event, parse_go_json),
    (is_libtest, parse_libtest),
)


def parse_events(events: list[Object]) -> TestReport | None:
    """Newline-delimited events of whichever tool they come from; None where they come from none."""
    for belongs, parse in _EVENT_FORMATS:
        own = [event for event in events if belongs(event)]
        if own:
            return parse(own)
    return None


def find_events(text: str) -> Finding | None:
    report = parse_events(list(json_lines(text.encode(errors="replace"))))
    return Finding(_line_of(text, text.rfind("\n{") + 1), report) if report else None


def find_document(text: str) -> Finding | None:
    """The last report of jest, vitest or mocha."""
    starts = [match.start() for match in _DOCUMENT.finditer(text)]
    decoder = json.JSONDecoder(parse_constant=_refuse)
    for start in islice(reversed(starts), _MAX_CANDIDATES):
        try:
            document, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError, Malformed):
            continue
        if is_jest(document):
            return Finding(_line_of(text, end), parse_jest(document))
        if is_mocha(document):
            return Finding(_line_of(text, end), parse_mocha(document))
    return None


def _line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset)


def _refuse(constant: str) -> float:
    raise Malformed(f"{constant} is no JSON number")
