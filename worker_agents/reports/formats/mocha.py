"""mocha ``--reporter json``: counts under ``stats``; a failed hook counts as a failure."""

from __future__ import annotations

from worker_agents.reports.json_documents import Object, child, children, string
from worker_agents.reports.model import TestCounts, TestReport, failure, first_failures
from worker_agents.reports.numbers import whole_number


def is_mocha(document: Object) -> bool:
    return {"passes", "failures"} <= child(document, "stats").keys()


def parse_mocha(document: Object) -> TestReport:
    stats = child(document, "stats")
    return TestReport(
        format="mocha",
        counts=TestCounts(
            passed=whole_number(stats.get("passes"), "stats.passes"),
            failed=whole_number(stats.get("failures"), "stats.failures"),
            skipped=whole_number(stats.get("pending", 0), "stats.pending"),
        ),
        failures=first_failures(
            failure(string(test, "fullTitle"), string(child(test, "err"), "message"))
            for test in children(document, "failures")
        ),
    )
