"""``go test -json``: one event a line.

A package that cannot be built reports no test at all, only that it failed. In a panic the running test fails and those
after it never appear.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker_agents.reports.formats.go_outcomes import GoPackage
from worker_agents.reports.json_documents import Object, string
from worker_agents.reports.model import MAX_TEXT_LENGTH, TestCounts, TestReport, sum_reports

_ENDS = {"pass": "pass", "bench": "pass", "fail": "fail", "skip": "skip"}
_FRAME_LINES = ("=== ", "--- ")
_DEATHS = ("panic: ", "fatal error: ")


def is_go_event(event: Object) -> bool:
    return isinstance(event.get("Action"), str) and ("Package" in event or "ImportPath" in event)


def parse_go_json(events: Iterable[Object]) -> TestReport:
    packages: dict[str, GoPackage] = {}
    builds: dict[str, str] = {}
    for event in events:
        name = string(event, "Package")
        if name:
            _take(event, packages.setdefault(name, GoPackage(name)), builds)
        elif event.get("Action") == "build-output":
            target = string(event, "ImportPath")
            builds[target] = _extended(builds.get(target, ""), string(event, "Output"))
    return sum_reports(package.report(form="go-json") for package in packages.values()) or TestReport(
        "go-json", TestCounts()
    )


def _take(event: Object, package: GoPackage, builds: dict[str, str]) -> None:
    action, test = string(event, "Action"), string(event, "Test")
    if action == "output":
        _take_output(string(event, "Output"), package, test)
    elif test and (action == "run" or action in _ENDS):
        package.outcomes[test] = _ENDS.get(action, "run")
        if package.outcomes[test] in ("pass", "skip"):
            package.messages.pop(test, None)
    elif not test and action in _ENDS:
        package.ended = _ENDS[action]
        package.message = builds.get(string(event, "FailedBuild"), "") or package.message


def _take_output(line: str, package: GoPackage, test: str) -> None:
    package.panicked = package.panicked or line.startswith(_DEATHS)
    if test and not line.lstrip().startswith(_FRAME_LINES):
        package.messages[test] = _extended(package.messages.get(test, ""), line)
    elif not test:
        package.message = _extended(package.message, line)


def _extended(message: str, line: str) -> str:
    return message if len(message) > MAX_TEXT_LENGTH else message + line[:MAX_TEXT_LENGTH]
