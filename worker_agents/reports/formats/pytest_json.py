"""pytest-json-report: counts nested under ``summary``, each absent when it is 0; collection errors under ``collectors``."""

from __future__ import annotations

from collections.abc import Iterator

from worker_agents.reports.json_documents import Object, child, children, string
from worker_agents.reports.model import Failure, TestCounts, TestReport, failure, first_failures
from worker_agents.reports.numbers import count_in, whole_number

_OK, _SOME_FAILED, _NONE_COLLECTED = 0, 1, 5


def is_pytest_json(document: Object) -> bool:
    summary = child(document, "summary")
    return bool(summary) and ("exitcode" in document or "collected" in summary or "total" in summary)


def parse_pytest_json(document: Object) -> TestReport:
    summary = child(document, "summary")
    unloadable = [collector for collector in children(document, "collectors") if collector.get("outcome") == "failed"]
    counts = TestCounts(
        passed=_count(summary, "passed") + _count(summary, "xpassed"),
        failed=_count(summary, "failed"),
        skipped=_count(summary, "skipped") + _count(summary, "xfailed"),
        errors=_count(summary, "error") + len(unloadable),
    )
    return TestReport(
        format="pytest-json-report",
        counts=counts,
        failures=first_failures(_failures(document, unloadable)),
        complete=_is_complete(document, counts),
    )


def _count(summary: Object, key: str) -> int:
    return count_in(summary, key, prefix="summary.")


def _is_complete(document: Object, counts: TestCounts) -> bool:
    exit_code = whole_number(document["exitcode"], "exitcode") if "exitcode" in document else _OK
    return exit_code in (_OK, _NONE_COLLECTED) or (exit_code == _SOME_FAILED and not counts.clean)


def _failures(document: Object, unloadable: list[Object]) -> Iterator[Failure]:
    for collector in unloadable:
        yield failure(string(collector, "nodeid"), string(collector, "longrepr"))
    for test in children(document, "tests"):
        if test.get("outcome") in ("failed", "error"):
            yield failure(string(test, "nodeid"), _message(test))


def _message(test: Object) -> str:
    for phase in ("setup", "call", "teardown"):
        result = child(test, phase)
        if result.get("outcome") == "failed":
            return string(child(result, "crash"), "message") or string(result, "longrepr")
    return ""
