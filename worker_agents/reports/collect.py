"""What a finished test run says of itself: named reports, else those in the usual places, else what was printed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker_agents.reports.detect import console_coverage, parse_console, parse_coverage, parse_test_report
from worker_agents.reports.files import read_report_file, relative_name
from worker_agents.reports.model import ReportStale, ReportUnreadable, TestReport, sum_reports
from worker_agents.reports.places import COVERAGE_PLACES, expand, is_pattern, places_of_tests

MAX_TOTAL_BYTES = 64 * 2**20

CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class Collected:
    """What was found. ``coverage`` is in percent, 0-100.

    ``source`` of the tests is ``report_path``, ``junit_xml_path``, ``console``, or the place where an unnamed report was
    found. ``problems`` are reports that were passed over, and why.
    """

    tests: TestReport | None
    coverage: float | None
    source: str | None
    problems: tuple[str, ...]


def collect(
    root: Path,
    *,
    report_path: str | None,
    junit_xml_path: str | None,
    coverage_report_path: str | None,
    stdout: str,
    newer_than: float,
    stdout_cut: bool = False,
) -> Collected:
    """Reads the reports below ``root`` that were written since ``newer_than`` (wall-clock seconds). Blocks: call it in a thread.

    ``report_path`` and ``junit_xml_path`` may be patterns (``target/surefire-reports/TEST-*.xml``), whose files are
    summed. Where both are given both are read, and the one that tells of failures speaks. ``stdout_cut`` says that
    ``stdout`` is not all that was printed.

    Raises:
        ReportUnreadable: a report that was named is absent, stale, hostile or no report.
    """
    reading = _Reading(root, newer_than)
    named = {"report_path": report_path, "junit_xml_path": junit_xml_path}
    tests, source = reading.named_tests(named) or reading.found_tests() or (parse_console(stdout), CONSOLE)
    if coverage_report_path:
        coverage: float | None = reading.named_coverage(coverage_report_path)
    else:
        coverage = reading.found_coverage()
    if coverage is None:
        coverage = tests.coverage if tests and tests.coverage is not None else console_coverage(stdout)
    if stdout_cut and tests and source == CONSOLE:
        reading.problems.append("the captured output was cut: what was counted in it may be too little")
    return Collected(tests, coverage, source if tests else None, tuple(reading.problems))


class _Reading:
    def __init__(self, root: Path, newer_than: float) -> None:
        self.problems: list[str] = []
        self._root = root
        self._newer_than = newer_than

    def named_tests(self, paths: dict[str, str | None]) -> tuple[TestReport, str] | None:
        reports = [(self._named_report(path), source) for source, path in paths.items() if path]
        bad = [(report, source) for report, source in reports if not (report.counts.clean and report.complete)]
        return next(iter(bad + reports), None)

    def found_tests(self) -> tuple[TestReport, str] | None:
        for place in places_of_tests(self._root):
            try:
                report = self._summed(place)
            except ReportUnreadable as unreadable:
                self.problems.append(str(unreadable))
            else:
                if report:
                    return report, place
        return None

    def named_coverage(self, path: str) -> float:
        return parse_coverage(self._named_file(path), name=relative_name(path, self._root))

    def found_coverage(self) -> float | None:
        for place in COVERAGE_PLACES:
            try:
                content = self._read(place)
                if content is not None:
                    return parse_coverage(content, name=place)
            except ReportUnreadable as unreadable:
                self.problems.append(str(unreadable))
        return None

    def _named_report(self, path: str) -> TestReport:
        name = relative_name(path, self._root)
        if not is_pattern(path):
            return parse_test_report(self._named_file(path), name=name)
        report = self._summed(path)
        if report is None:
            raise ReportUnreadable(name, "this run wrote no file of that name")
        return report

    def _named_file(self, path: str) -> bytes:
        content = self._read(path)
        if content is None:
            raise ReportUnreadable(relative_name(path, self._root), "there is no such file")
        return content

    def _summed(self, pattern: str) -> TestReport | None:
        """All files of this run that the pattern means. One that cannot be read spoils the sum, a stale one is passed over."""
        reports: list[TestReport] = []
        stale = read = 0
        for name in expand(pattern, self._root):
            try:
                content = self._read(name)
            except ReportStale:
                stale += 1
                continue
            if content is not None:
                read += len(content)
                if read > MAX_TOTAL_BYTES:
                    raise ReportUnreadable(
                        pattern, f"the files are larger than {MAX_TOTAL_BYTES / 2**20:g} MiB together"
                    )
                reports.append(parse_test_report(content, name=name))
        if stale:
            self.problems.append(f"report {relative_name(pattern, self._root)}: {_files(stale)} older than this run")
        return sum_reports(reports)

    def _read(self, path: str) -> bytes | None:
        return read_report_file(path, root=self._root, newer_than=self._newer_than)


def _files(count: int) -> str:
    return "is" if count == 1 else f"{count} files are"
