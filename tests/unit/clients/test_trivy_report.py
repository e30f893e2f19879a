"""Trivy's reports, in the contracts' shape and in every bad one."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agents.clients.trivy_report import ScanReport, read_report
from worker_agents.model.errors import Reason, TaskError
from worker_agents.model.violation import Severity, Violation

VULNERABILITY = {
    "VulnerabilityID": "CVE-2024-1",
    "PkgName": "openssl",
    "InstalledVersion": "3.0.1",
    "FixedVersion": "3.0.2",
    "Title": "overflow",
    "Severity": "CRITICAL",
}
MISCONFIGURATION = {
    "ID": "DS-0002",
    "AVDID": "AVD-DS-0002",
    "Title": "root",
    "Message": "do not be root",
    "Severity": "HIGH",
    "Status": "FAIL",
    "CauseMetadata": {"Resource": "USER", "StartLine": 2, "EndLine": 2},
}
SECRET = {"RuleID": "github-pat", "Title": "a token", "Severity": "CRITICAL", "StartLine": 7, "Match": "T = '****'"}
LICENSE = {"Severity": "LOW", "Category": "notice", "PkgName": "thing", "FilePath": "", "Name": "MIT"}


def read(tmp_path: Path, *results: Any, **fields: Any) -> ScanReport:
    path = tmp_path / "report.json"
    document = {"SchemaVersion": 2, "Trivy": {"Version": "0.76.0"}, "ArtifactType": "filesystem", "Results": results}
    path.write_bytes(orjson.dumps(document | fields))
    return read_report(path)


def test_every_kind_of_finding(tmp_path: Path) -> None:
    report = read(
        tmp_path,
        {"Target": "go.sum", "Class": "lang-pkgs", "Vulnerabilities": [VULNERABILITY]},
        {
            "Target": "Dockerfile",
            "Class": "config",
            "MisconfSummary": {"Successes": 21, "Failures": 6},
            "Misconfigurations": [MISCONFIGURATION],
        },
        {"Target": "app.py", "Class": "secret", "Secrets": [SECRET]},
        {"Target": "Python", "Class": "license", "Licenses": [LICENSE]},
    )

    assert report == ScanReport(
        findings=(
            Violation(
                "CVE-2024-1",
                "openssl 3.0.1: overflow (fixed in 3.0.2)",
                Severity.CRITICAL,
                resource="openssl 3.0.1",
                location="go.sum",
            ),
            Violation("DS-0002", "do not be root", Severity.HIGH, resource="USER", location="Dockerfile:2"),
            Violation("github-pat", "secret found: a token", Severity.CRITICAL, location="app.py:7"),
            Violation("MIT", "license MIT (notice) of thing", Severity.LOW, resource="thing", location="Python"),
        ),
        checks=27,
        trivy_version="0.76.0",
        artifact_type="filesystem",
    )


def test_a_report_without_results_has_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text('{"SchemaVersion": 2}')

    assert read_report(path) == ScanReport(findings=(), checks=0, trivy_version=None, artifact_type=None)


@pytest.mark.parametrize("status", ["PASS", "EXCEPTION"])
def test_only_failed_checks_count(tmp_path: Path, status: str) -> None:
    assert read(tmp_path, {"Misconfigurations": [MISCONFIGURATION | {"Status": status}]}).findings == ()


def test_without_a_fix_and_without_a_known_severity(tmp_path: Path) -> None:
    found = {name: VULNERABILITY[name] for name in ("VulnerabilityID", "PkgName")} | {"Severity": "?"}

    (finding,) = read(tmp_path, {"Vulnerabilities": [found]}).findings

    assert finding.message == "openssl: CVE-2024-1 (no fix yet)"
    assert finding.severity is Severity.UNKNOWN


@pytest.mark.parametrize("number", [True, -1, 0, "7", None, 1.5])
def test_what_is_no_number_of_a_line_or_of_checks_is_left_out(tmp_path: Path, number: object) -> None:
    result = {"Target": "app.py", "Secrets": [SECRET | {"StartLine": number}], "MisconfSummary": {"Failures": number}}

    report = read(tmp_path, result)

    assert report.findings[0].location == "app.py"
    assert report.checks == 0


def problem_of(path: Path, max_bytes: int = 1000) -> str:
    with pytest.raises(TaskError) as raised:
        read_report(path, max_bytes)
    assert raised.value.reason is Reason.REPORT_UNREADABLE
    assert not raised.value.retryable
    return str(raised.value)


def test_a_report_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert "cannot be read (No such file" in problem_of(path)
    for content, problem in (
        (b"", "is not valid JSON"),
        (b'{"SchemaVersion": 2', "is not valid JSON"),
        (b"[]", "is not of schema version 2"),
        (b'{"SchemaVersion": 1}', "is not of schema version 2"),
        (b" " * 1001, "is larger than"),
    ):
        path.write_bytes(content)
        assert problem in problem_of(path)


def test_only_a_regular_file_is_a_report(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "fifo")

    assert "cannot be read" in problem_of(tmp_path / "link")
    assert "is no regular file" in problem_of(tmp_path / "fifo")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*VULNERABILITY, *MISCONFIGURATION, *SECRET, "Vulnerabilities", "Misconfigurations", "Secrets"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(results=json_values)
def test_no_shape_of_results_is_a_crash(tmp_path_factory: pytest.TempPathFactory, results: Any) -> None:
    report = read(tmp_path_factory.mktemp("report"), Results=results)

    assert all(isinstance(finding, Violation) for finding in report.findings)
