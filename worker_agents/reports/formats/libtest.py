"""Rust's libtest JSON, one object a line (``cargo test -- -Z unstable-options --format json``; nextest's ``libtest-json``).

Every test binary is a suite with its own counts; one that ends without saying so crashed.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker_agents.reports.json_documents import Object, string
from worker_agents.reports.model import Failure, TestCounts, TestReport, failure, first_failures
from worker_agents.reports.numbers import count_in


def is_libtest(event: Object) -> bool:
    return event.get("type") in ("suite", "test") and "event" in event


def parse_libtest(events: Iterable[Object]) -> TestReport:
    counts = TestCounts()
    failures: list[Failure] = []
    open_suites = 0
    for event in events:
        match event.get("type"), event.get("event"):
            case "suite", "started":
                open_suites += 1
            case "suite", "ok" | "failed":
                open_suites -= 1
                counts += TestCounts(
                    passed=count_in(event, "passed"),
                    failed=count_in(event, "failed"),
                    skipped=count_in(event, "ignored"),
                )
            case "test", "failed":
                failures.append(failure(string(event, "name"), string(event, "message") or string(event, "stdout")))
    crashed = max(open_suites, 0)
    return TestReport(
        format="libtest-json",
        counts=counts + TestCounts(errors=crashed),
        failures=first_failures(failures),
        complete=crashed == 0,
    )
