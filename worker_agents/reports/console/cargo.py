"""``cargo test``: ``test result: ok. 1 passed; 0 failed; …``, one for each test binary and one for doc tests.

A binary that says ``running N tests`` and no result was aborted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker_agents.reports.console.lines import Finding, count_of
from worker_agents.reports.model import MAX_TEXT_LENGTH, Failure, TestCounts, TestReport, failure, first_failures

_RUNNING = re.compile(r"running \d+ tests?", re.ASCII)
_RESULT = re.compile(r"test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored; .*", re.ASCII)
_FAILED = re.compile(r"test (.+) \.\.\. FAILED")
_OUTPUT_OF = re.compile(r"---- (.+) stdout ----")


def find_cargo(lines: list[str]) -> Finding | None:
    counts = TestCounts()
    last, aborted, is_running = -1, 0, False
    for at, line in enumerate(lines):
        if _RUNNING.fullmatch(line):
            aborted += is_running
            is_running, last = True, at
        elif result := _RESULT.fullmatch(line):
            counts += TestCounts(count_of(result, 1), count_of(result, 2), count_of(result, 3))
            is_running, last = False, at
    aborted += is_running
    if last < 0:
        return None
    counts += TestCounts(errors=aborted)
    return Finding(last, TestReport("cargo", counts, first_failures(_failures(lines)), complete=not aborted))


def _failures(lines: list[str]) -> Iterator[Failure]:
    outputs: dict[str, str] = {}
    name = ""
    for line in lines:
        if heading := _OUTPUT_OF.fullmatch(line):
            name = heading[1]
        elif not line.strip() and outputs.get(name):
            name = ""
        elif name and len(outputs.get(name, "")) < MAX_TEXT_LENGTH:
            outputs[name] = f"{outputs.get(name, '')}{line}\n"
    for line in lines:
        if failed := _FAILED.fullmatch(line):
            yield failure(failed[1], outputs.get(failed[1], ""))
