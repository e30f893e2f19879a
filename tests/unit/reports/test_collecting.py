"""Which reports of a finished run are read."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.reports.sampling import SAMPLES, sample_text
from worker_agents.reports import places
from worker_agents.reports.collect import Collected, collect
from worker_agents.reports.model import ReportUnreadable, TestCounts

BEGAN = 1_000_000_000.0


def run(root: Path, **said: Any) -> Collected:
    arguments: dict[str, Any] = {
        "report_path": None,
        "junit_xml_path": None,
        "coverage_report_path": None,
        "stdout": "",
        "newer_than": BEGAN,
    }
    return collect(root, **{**arguments, **said})


def put(root: Path, sample: str, path: str, *, stale: bool = False) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(SAMPLES / sample, target)
    if stale:
        os.utime(target, (BEGAN - 60, BEGAN - 60))


def counts(collected: Collected) -> TestCounts | None:
    return collected.tests.counts if collected.tests else None


@pytest.mark.parametrize("parameter", ["report_path", "junit_xml_path"])
def test_a_named_report_is_read_whatever_its_format(parameter: str, tmp_path: Path) -> None:
    put(tmp_path, "pytest-report.json", "out/r")

    collected = run(tmp_path, **{parameter: "out/r"})

    assert collected.source == parameter
    assert counts(collected) == TestCounts(2, 2, 2, 2)
    assert collected.problems == ()


@pytest.mark.parametrize("parameter", ["report_path", "junit_xml_path", "coverage_report_path"])
def test_a_named_report_that_is_not_there_is_an_error_whatever_else_is(parameter: str, tmp_path: Path) -> None:
    put(tmp_path, "pytest-report.json", "report.json")

    with pytest.raises(ReportUnreadable, match=r"^report out/r: there is no such file$"):
        run(tmp_path, **{parameter: "out/r"}, stdout="3 passed in 0.01s\n")


@pytest.mark.parametrize("parameter", ["report_path", "junit_xml_path", "coverage_report_path"])
def test_a_named_report_from_before_the_run_is_an_error(parameter: str, tmp_path: Path) -> None:
    put(tmp_path, "pytest-junit.xml", "out/r", stale=True)

    with pytest.raises(ReportUnreadable, match=r"^report out/r: is older than this run$"):
        run(tmp_path, **{parameter: "out/r"})


@pytest.mark.parametrize("parameter", ["report_path", "junit_xml_path", "coverage_report_path"])
def test_a_named_file_that_is_no_report_is_an_error(parameter: str, tmp_path: Path) -> None:
    (tmp_path / "r").write_text("nonsense")

    with pytest.raises(ReportUnreadable, match=r"^report r: no (test|coverage) report of a known format$"):
        run(tmp_path, **{parameter: "r"})


def test_of_two_named_reports_the_one_that_tells_of_failures_speaks(tmp_path: Path) -> None:
    put(tmp_path, "surefire-flaky.xml", "good")
    put(tmp_path, "surefire-rerun.xml", "bad")

    assert run(tmp_path, report_path="good", junit_xml_path="bad").source == "junit_xml_path"
    assert run(tmp_path, report_path="bad", junit_xml_path="good").source == "report_path"
    assert run(tmp_path, report_path="good", junit_xml_path="good").source == "report_path"


def test_a_pattern_is_the_sum_of_its_fresh_files(tmp_path: Path) -> None:
    put(tmp_path, "surefire-flaky.xml", "target/surefire-reports/TEST-a.xml")
    put(tmp_path, "surefire-rerun.xml", "target/surefire-reports/TEST-b.xml")
    put(tmp_path, "surefire-rerun.xml", "target/surefire-reports/TEST-of-an-earlier-run.xml", stale=True)
    put(tmp_path, "surefire-rerun.xml", "target/surefire-reports/other.xml")

    collected = run(tmp_path, junit_xml_path="target/surefire-reports/TEST-*.xml")

    assert counts(collected) == TestCounts(passed=3, failed=1, skipped=1, errors=1)
    assert collected.problems == ("report target/surefire-reports/TEST-*.xml: is older than this run",)


def test_an_absolute_pattern_below_the_working_directory_is_one_too(tmp_path: Path) -> None:
    put(tmp_path, "surefire-flaky.xml", "a/TEST-a.xml")

    assert counts(run(tmp_path, junit_xml_path=f"{tmp_path}/*/TEST-?.xml")) == TestCounts(passed=2, skipped=1)


def test_a_pattern_without_a_fresh_file_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "surefire-flaky.xml", "TEST-a.xml", stale=True)

    with pytest.raises(ReportUnreadable, match="this run wrote no file of that name"):
        run(tmp_path, junit_xml_path="TEST-*.xml")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("../*.xml", "lies outside"),
        ("a/../../*.xml", "lies outside"),
        ("/etc/*.xml", "lies outside"),
        ("escape/*.xml", "wrote no file"),
        ("escape/**/*.xml", "wrote no file"),
        ("**/*.xml", "wrote no file"),
    ],
)
def test_patterns_find_nothing_outside_of_the_working_directory(pattern: str, problem: str, tmp_path: Path) -> None:
    put(tmp_path, "surefire-flaky.xml", "TEST-outside.xml")
    root = tmp_path / "work"
    root.mkdir()
    (root / "escape").symlink_to(tmp_path)

    with pytest.raises(ReportUnreadable, match=problem):
        run(root, junit_xml_path=pattern)


def test_one_hostile_file_spoils_the_sum(tmp_path: Path) -> None:
    put(tmp_path, "surefire-flaky.xml", "TEST-a.xml")
    (tmp_path / "TEST-b.xml").symlink_to("TEST-a.xml")

    with pytest.raises(ReportUnreadable, match="symbolic link"):
        run(tmp_path, junit_xml_path="TEST-*.xml")


def test_the_files_of_a_pattern_are_limited_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "surefire-flaky.xml", "TEST-a.xml")
    put(tmp_path, "surefire-flaky.xml", "TEST-b.xml")
    monkeypatch.setattr("worker_agents.reports.collect.MAX_TOTAL_BYTES", 1_500)

    with pytest.raises(ReportUnreadable, match="together"):
        run(tmp_path, junit_xml_path="TEST-*.xml")


def test_a_pattern_is_not_searched_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"directory-{number}").mkdir()
    monkeypatch.setattr(places, "MAX_ENTRIES", 10)

    with pytest.raises(ReportUnreadable, match="more than 10 names to search"):
        run(tmp_path, junit_xml_path="**/TEST-*.xml")


@pytest.mark.parametrize(
    ("sample", "path"),
    [
        ("jest-report.json", "report.json"),
        ("pytest-report.json", ".report.json"),
        ("pytest-junit.xml", "junit.xml"),
        ("nextest-junit.xml", "target/nextest/ci/junit.xml"),
    ],
)
def test_an_unnamed_report_is_found_in_its_usual_place(sample: str, path: str, tmp_path: Path) -> None:
    put(tmp_path, sample, path)

    collected = run(tmp_path, stdout="99 passed in 0.01s\n")

    assert collected.source is not None
    assert collected.source.split("*")[0] in path
    assert counts(collected) not in (None, TestCounts(passed=99))


def test_the_reports_of_all_maven_modules_are_summed(tmp_path: Path) -> None:
    (tmp_path / "pom.xml").touch()
    put(tmp_path, "surefire-flaky.xml", "target/surefire-reports/TEST-a.xml")
    put(tmp_path, "surefire-flaky.xml", "cart/target/surefire-reports/TEST-a.xml")
    put(tmp_path, "surefire-rerun.xml", "deep/er/till/target/failsafe-reports/TEST-a.xml")
    put(tmp_path, "surefire-rerun.xml", "node_modules/x/target/surefire-reports/TEST-a.xml")

    assert counts(run(tmp_path)) == TestCounts(passed=5, failed=1, skipped=2, errors=1)


def test_stale_and_unreadable_reports_that_nobody_named_are_passed_over_and_told(tmp_path: Path) -> None:
    put(tmp_path, "jest-report.json", "report.json", stale=True)
    (tmp_path / "junit.xml").symlink_to("report.json")
    (tmp_path / "coverage.json").write_text("[]")

    collected = run(tmp_path, stdout="3 passed in 0.01s\n")

    assert counts(collected) == TestCounts(passed=3)
    assert collected.source == "console"
    assert collected.coverage is None
    assert collected.problems == (
        "report report.json: is older than this run",
        "report junit.xml: is a symbolic link",
        "report coverage.json: no coverage report of a known format",
    )


def test_without_any_report_there_is_none(tmp_path: Path) -> None:
    assert run(tmp_path) == Collected(tests=None, coverage=None, source=None, problems=())


def test_output_that_was_cut_is_told_only_where_it_was_counted_in(tmp_path: Path) -> None:
    assert run(tmp_path, stdout="3 passed in 0.01s\n", stdout_cut=True).problems
    put(tmp_path, "jest-report.json", "report.json")
    assert not run(tmp_path, stdout="3 passed in 0.01s\n", stdout_cut=True).problems


@pytest.mark.parametrize(
    ("sample", "path", "percent"),
    [
        ("cobertura-coverage-py.xml", "coverage.xml", 85.71),
        ("coverage-py.json", "coverage.json", 85.714),
        ("istanbul-summary.json", "coverage/coverage-summary.json", 100),
        ("istanbul.lcov", "coverage/lcov.info", 100),
        ("jacoco.xml", "target/site/jacoco/jacoco.xml", 25),
        ("go-cover.out", "cover.out", 80),
    ],
)
def test_unnamed_coverage_is_found_in_its_usual_place(sample: str, path: str, percent: float, tmp_path: Path) -> None:
    put(tmp_path, sample, path)

    assert run(tmp_path, stdout="TOTAL  10  9  10%\n").coverage == pytest.approx(percent, abs=0.001)


def test_named_coverage_goes_before_found_printed_and_told_coverage(tmp_path: Path) -> None:
    printed = sample_text("pytest-cov-output.txt")
    (tmp_path / "counts.json").write_text('{"tests_passed": 1, "coverage": 50}')

    assert run(tmp_path, stdout=printed).coverage == 86
    assert run(tmp_path, report_path="counts.json", stdout=printed).coverage == 50
    put(tmp_path, "go-cover.out", "cover.out")
    assert run(tmp_path, report_path="counts.json", stdout=printed).coverage == 80
    put(tmp_path, "jacoco.csv", "mine.csv")
    assert run(tmp_path, coverage_report_path="mine.csv", stdout=printed).coverage == 25
