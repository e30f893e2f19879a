"""Reports of tests and coverage in every format, and what tests print. Input: the file."""

from tests.fuzz.harness import Target, assert_readable
from tests.unit.reports.sampling import SAMPLES
from tests.unit.reports.test_hostile_reports import TOKENS
from worker_agents.reports.detect import console_coverage, parse_console, parse_coverage, parse_test_report
from worker_agents.reports.model import MAX_FAILURES, MAX_TEXT_LENGTH, ReportUnreadable, TestReport, sum_reports
from worker_agents.reports.numbers import MAX_COUNT

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def check(content: bytes) -> None:
    """Read within the promises of its types or refused, by the content alone; read again it says the same."""
    report = _tests(content, "a")
    assert report == _tests(content, "b")
    if not content.startswith(_BYTE_ORDER_MARK):
        assert report == _tests(_BYTE_ORDER_MARK + content, "a")
    if report is not None:
        _sound(report)
    assert _coverage(content) == _coverage(content)
    text = content.decode(errors="surrogateescape")
    printed = parse_console(text)
    if printed is not None:
        _sound(printed)
    _sound_percent(console_coverage(text))


def _tests(content: bytes, name: str) -> TestReport | None:
    try:
        report = parse_test_report(content, name=name)
    except ReportUnreadable as error:
        assert_readable(str(error))
        assert error.name == name
        return None
    assert report.counts.total <= MAX_COUNT
    return report


def _coverage(content: bytes) -> float | None:
    try:
        percent = parse_coverage(content, name="c")
    except ReportUnreadable as error:
        assert_readable(str(error))
        return None
    _sound_percent(percent)
    return percent


def _sound(report: TestReport) -> None:
    counts = report.counts
    assert min(counts.passed, counts.failed, counts.skipped, counts.errors) >= 0
    assert len(report.failures) <= MAX_FAILURES
    for one in report.failures:
        assert one.name
        for text in (one.name, one.message):
            assert len(text) <= MAX_TEXT_LENGTH
            assert len(text.splitlines()) <= 1
            text.encode()
    _sound_percent(report.coverage)
    together = sum_reports([report, report])
    assert together is not None
    assert together.counts.total == 2 * counts.total


def _sound_percent(percent: float | None) -> None:
    assert percent is None or 0 <= percent <= 100


TARGET = Target("reports", check, tokens=tuple(TOKENS), samples=tuple(sorted(SAMPLES.iterdir())))
