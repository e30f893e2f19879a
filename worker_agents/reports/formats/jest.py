"""jest ``--json`` and vitest ``--reporter=json``, which took over jest's keys.

A file that cannot be loaded adds no failed test: jest counts it in ``numRuntimeErrorTestSuites``, vitest lists it as
failed without assertions.
"""

from __future__ import annotations

from collections.abc import Iterator

from worker_agents.reports.json_documents import Object, children, string
from worker_agents.reports.model import Failure, TestCounts, TestReport, failure, first_failures
from worker_agents.reports.numbers import count_in


def is_jest(document: Object) -> bool:
    return "numTotalTests" in document and "numFailedTests" in document


def parse_jest(document: Object) -> TestReport:
    broken_files = [file for file in children(document, "testResults") if _is_broken(file)]
    counts = TestCounts(
        passed=count_in(document, "numPassedTests"),
        failed=count_in(document, "numFailedTests"),
        skipped=count_in(document, "numPendingTests") + count_in(document, "numTodoTests"),
        errors=max(count_in(document, "numRuntimeErrorTestSuites"), len(broken_files)),
    )
    unexplained = document.get("success") is False and counts.clean
    return TestReport(
        format="jest" if "numRuntimeErrorTestSuites" in document else "vitest",
        counts=counts,
        failures=first_failures(_failures(document, broken_files)),
        complete=not unexplained and document.get("wasInterrupted") is not True,
    )


def _is_broken(file: Object) -> bool:
    """The file failed as a whole: none of its tests did."""
    failed = any(test.get("status") == "failed" for test in children(file, "assertionResults"))
    return file.get("status") == "failed" and not failed


def _failures(document: Object, broken_files: list[Object]) -> Iterator[Failure]:
    for file in broken_files:
        yield failure(string(file, "name"), string(file, "message"))
    for file in children(document, "testResults"):
        for test in children(file, "assertionResults"):
            if test.get("status") == "failed":
                yield failure(string(test, "fullName") or string(test, "title"), _message(test))


def _message(test: Object) -> str:
    messages = test.get("failureMessages")
    return next((text for text in messages if isinstance(text, str)), "") if isinstance(messages, list) else ""
