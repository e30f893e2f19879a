"""Which format a report is in, by its content; its name serves messages only.

The one boundary where a parser's ``Malformed`` becomes a ``ReportUnreadable``, which names the file.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker_agents.reports.console.json_output import parse_events
from worker_agents.reports.console.output import console_coverage, parse_console
from worker_agents.reports.coverage.clover import Clover
from worker_agents.reports.coverage.cobertura import Cobertura
from worker_agents.reports.coverage.coverage_py import coverage_py, is_coverage_py
from worker_agents.reports.coverage.go_profile import go_profile, is_go_profile
from worker_agents.reports.coverage.istanbul import is_istanbul_summary, istanbul_summary
from worker_agents.reports.coverage.jacoco import Jacoco, is_jacoco_csv, jacoco_csv
from worker_agents.reports.coverage.lcov import is_lcov, lcov
from worker_agents.reports.formats.jest import is_jest, parse_jest
from worker_agents.reports.formats.junit import parse_junit
from worker_agents.reports.formats.mocha import is_mocha, parse_mocha
from worker_agents.reports.formats.plain_counts import is_plain_counts, parse_plain_counts
from worker_agents.reports.formats.pytest_json import is_pytest_json, parse_pytest_json
from worker_agents.reports.json_documents import Object, json_lines, load_json
from worker_agents.reports.model import Malformed, ReportUnreadable, TestReport
from worker_agents.reports.numbers import MAX_COUNT
from worker_agents.reports.xml_events import Attributes, Reader, is_xml

__all__ = ["console_coverage", "parse_console", "parse_coverage", "parse_test_report"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_JSON_TESTS: tuple[tuple[Callable[[Object], bool], Callable[[Object], TestReport]], ...] = (
    (is_pytest_json, parse_pytest_json),
    (is_jest, parse_jest),
    (is_mocha, parse_mocha),
    (is_plain_counts, parse_plain_counts),
)
_JSON_COVERAGE: tuple[tuple[Callable[[Object], bool], Callable[[Object], float]], ...] = (
    (is_coverage_py, coverage_py),
    (is_istanbul_summary, istanbul_summary),
)
_TEXT_COVERAGE: tuple[tuple[Callable[[bytes], bool], Callable[[io.StringIO], float]], ...] = (
    (is_go_profile, go_profile),
    (is_lcov, lcov),
    (is_jacoco_csv, jacoco_csv),
)


def parse_test_report(content: bytes, *, name: str) -> TestReport:
    """The test report in ``content``. Raises ``ReportUnreadable`` that calls it ``name``."""
    with _naming(name):
        report = _tests(content.removeprefix(_BYTE_ORDER_MARK))
        if report.counts.total > MAX_COUNT:
            raise Malformed("more tests than there can be")
        return report


def parse_coverage(content: bytes, *, name: str) -> float:
    """The line coverage in ``content`` in percent, 0-100. Raises ``ReportUnreadable`` that calls it ``name``."""
    with _naming(name):
        return _coverage(content.removeprefix(_BYTE_ORDER_MARK))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Malformed as malformed:
        raise ReportUnreadable(name, str(malformed)) from None


def _tests(content: bytes) -> TestReport:
    if not content.strip():
        raise Malformed("it is empty")
    if is_xml(content):
        return parse_junit(content)
    if content.lstrip().startswith((b"{", b"[")):
        return _json_tests(content)
    report = parse_console(content.decode(errors="replace"))
    if report is None:
        raise Malformed("no test report of a known format")
    return report


def _json_tests(content: bytes) -> TestReport:
    try:
        document = load_json(content)
    except Malformed:
        events = parse_events(list(json_lines(content)))
        if events is None:
            raise
        return events
    if isinstance(document, dict):
        for belongs, parse in _JSON_TESTS:
            if belongs(document):
                return parse(document)
        if events := parse_events([document]):
            return events
    raise Malformed("JSON, but no test report of a known format")


def _coverage(content: bytes) -> float:
    if not content.strip():
        raise Malformed("it is empty")
    if is_xml(content):
        return _xml_coverage(content)
    if content.lstrip().startswith(b"{"):
        return _json_coverage(content)
    text = content.decode(errors="replace")
    for belongs, parse in _TEXT_COVERAGE:
        if belongs(content):
            return parse(io.StringIO(text))
    percent = console_coverage(text)
    if percent is None:
        raise Malformed("no coverage report of a known format")
    return percent


def _json_coverage(content: bytes) -> float:
    document = load_json(content)
    if isinstance(document, dict):
        for belongs, parse in _JSON_COVERAGE:
            if belongs(document):
                return parse(document)
    raise Malformed("JSON, but no coverage report of a known format")


def _xml_coverage(content: bytes) -> float:
    visitors: list[Cobertura | Clover | Jacoco] = []

    def choose(tag: str, attributes: Attributes) -> Cobertura | Clover | Jacoco:
        visitors.append(_visitor(tag, attributes))
        return visitors[0]

    Reader(choose).read(content)
    percent = visitors[0].percent
    if percent is None:
        raise Malformed("a <coverage> document that is neither Cobertura's nor Clover's")
    return percent


def _visitor(tag: str, attributes: Attributes) -> Cobertura | Clover | Jacoco:
    if tag == "report":
        return Jacoco()
    if tag != "coverage":
        raise Malformed(f"an XML document <{tag}>, expected <coverage> of Cobertura or Clover, or <report> of JaCoCo")
    return Cobertura() if "line-rate" in attributes or "lines-valid" in attributes else Clover()
