"""The smallest report: ``tests_passed`` or ``passed``, the like for ``failed`` and ``skipped``, and ``coverage`` in percent.

What the pipeline's own worker reads (``contracts.md`` 1.8), for scripts that were written for it.
"""

from __future__ import annotations

from worker_agents.reports.json_documents import Object
from worker_agents.reports.model import TestCounts, TestReport
from worker_agents.reports.numbers import percentage, whole_number


def is_plain_counts(document: Object) -> bool:
    return any(key in document for key in ("tests_passed", "passed", "tests_failed", "failed"))


def parse_plain_counts(document: Object) -> TestReport:
    counts = TestCounts(
        passed=_count(document, "passed"), failed=_count(document, "failed"), skipped=_count(document, "skipped")
    )
    told = document.get("coverage")
    coverage = None if told is None else percentage(told, "coverage")
    return TestReport(format="plain-counts", counts=counts, coverage=coverage)


def _count(document: Object, key: str) -> int:
    name = f"tests_{key}" if f"tests_{key}" in document else key
    return whole_number(document.get(name, 0), name)
