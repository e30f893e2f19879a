"""The report that Trivy writes, and the verdict on it. Input: the file."""

from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from tests.fuzz.harness import Target, assert_readable
from worker_agents.clients.trivy import ScanTarget
from worker_agents.clients.trivy_report import read_report
from worker_agents.executors.validate_scan import judge_scan
from worker_agents.executors.violations import MAX_REPORTED, MAX_TEXT_LENGTH
from worker_agents.model.errors import Reason, TaskError
from worker_agents.model.violation import Severity

_FAILING = frozenset({Severity.CRITICAL, Severity.HIGH})
# Stands in the corpus for what a scan for secrets has matched: it is never repeated.
_MATCHED = "s3cret"


def check(content: bytes) -> None:
    """Read, with every finding counted and no secret repeated, or refused as ``report_unreadable``."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        path.write_bytes(content)
        try:
            report = read_report(path)
        except TaskError as error:
            assert error.reason is Reason.REPORT_UNREADABLE
            assert_readable(str(error))
            return
    assert report.checks >= 0
    verdict = judge_scan(ScanTarget("fs", "tree"), report, ("vuln",), _FAILING)
    output = orjson.loads(orjson.dumps({**verdict.output(), "metadata": verdict.metadata}))
    assert sum(output["violations_by_severity"].values()) == len(report.findings)
    assert len(output["violations"]) == min(len(report.findings), MAX_REPORTED)
    assert verdict.passed == (not any(each.severity in _FAILING for each in report.findings))
    for one in output["violations"]:
        assert one["rule_id"]
        assert all(len(text) <= MAX_TEXT_LENGTH for text in one.values() if isinstance(text, str))
        assert one["location"] is None or not one["location"].endswith((":True", ":False"))


TARGET = Target(
    "trivy_reports",
    check,
    tokens=(
        *(
            b'"SchemaVersion":2',
            b'"Results":',
            b'"Vulnerabilities":',
            b'"Misconfigurations":',
            b'"Secrets":',
            b'"Licenses":',
        ),
        *(
            b'"Severity":"HIGH"',
            b'"Severity":',
            b'"StartLine":',
            b'"CauseMetadata":',
            b'"MisconfSummary":',
            b'"Target":',
        ),
        *(b'"Successes":', b'"Failures":', b'"Title":', b'"Message":', b'"Status":"PASS"', b'"PkgName":', b'"Trivy":'),
    ),
)
