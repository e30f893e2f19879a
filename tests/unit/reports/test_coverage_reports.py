"""Coverage in files, as real tools wrote it. One scale: 0-100."""

import pytest

from tests.unit.reports.sampling import sample
from worker_agents.reports.detect import parse_coverage
from worker_agents.reports.model import ReportUnreadable


def percent(content: str | bytes) -> float:
    return parse_coverage(content.encode() if isinstance(content, str) else content, name="coverage")


def problem(content: str | bytes) -> str:
    with pytest.raises(ReportUnreadable) as caught:
        percent(content)
    return caught.value.problem


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("coverage-py.json", 85.714),
        ("cobertura-coverage-py.xml", 85.71),
        ("coverage-py.lcov", 85.714),
        ("cobertura-istanbul.xml", 100),
        ("istanbul-summary.json", 100),
        ("istanbul.lcov", 100),
        ("clover.xml", 100),
        ("jacoco.xml", 25),
        ("jacoco.csv", 25),
        ("go-cover.out", 80),
        ("go-cover-func.txt", 80),
        ("pytest-cov-output.txt", 86),
    ],
)
def test_what_real_tools_write_is_recognised(name: str, expected: float) -> None:
    assert parse_coverage(sample(name), name=name) == pytest.approx(expected, abs=0.001)


def test_only_cobertura_counts_from_zero_to_one() -> None:
    assert percent('<coverage line-rate="1"/>') == 100
    assert percent('<coverage line-rate="0"/>') == 0
    assert percent('<coverage line-rate="1e-05"/>') == pytest.approx(0.001)
    assert percent('{"totals": {"percent_covered": 1}}') == 1
    assert percent('{"total": {"lines": {"pct": 0.5}}}') == 0.5
    assert "line-rate" in problem('<coverage line-rate="85.7"/>')


def test_cobertura_without_a_rate_is_taken_by_its_lines() -> None:
    assert percent('<coverage lines-valid="8" lines-covered="6"/>') == 75


def test_jacoco_with_a_doctype_is_read_and_only_the_reports_own_counters_count() -> None:
    assert b"<!DOCTYPE report PUBLIC" in sample("jacoco.xml")
    report = (
        '<report><counter type="INSTRUCTION" missed="1" covered="1"/><counter type="LINE" missed="1" covered="3"/>'
        '<package><counter type="LINE" missed="9" covered="1"/></package></report>'
    )
    assert percent(report) == 75


def test_jacoco_without_line_numbers_is_taken_by_its_instructions() -> None:
    assert percent('<report><counter type="INSTRUCTION" missed="1" covered="3"/></report>') == 75


def test_unknown_coverage_is_said_to_be_none() -> None:
    assert problem('{"total": {"lines": {"total": 0, "covered": 0, "pct": "Unknown"}}}').startswith(
        "total.lines.pct is 'Unknown'"
    )


def test_lcov_without_totals_is_taken_by_its_lines() -> None:
    assert (
        percent(
            "TN:\nSF:a.c\nDA:1,5\nDA:2,0\nDA:2,3,checksum\nDA:3,0\nend_of_record\nSF:b.c\nLF:1\nLH:1\nend_of_record\n"
        )
        == 75
    )


def test_a_cut_lcov_file_is_refused() -> None:
    assert "ends within a record" in problem("SF:a.c\nDA:1,5\n")


def test_blocks_that_several_go_packages_report_count_once_and_are_covered_by_any() -> None:
    profile = "mode: atomic\na b.go:1.1,2.2 3 0\na b.go:3.1,4.2 1 0\na b.go:1.1,2.2 3 7\n"

    assert percent(profile) == 75


@pytest.mark.parametrize(
    "content",
    [
        '<coverage line-rate="NaN"/>',
        '<coverage line-rate="-0.5"/>',
        "<coverage/>",
        '<coverage lines-valid="0" lines-covered="0"/>',
        '<coverage lines-valid="1" lines-covered="2"/>',
        "<coverage><project><metrics statements='1' coveredstatements='2'/></project></coverage>",
        "<coverage><project><metrics statements='0' coveredstatements='0'/></project></coverage>",
        "<report/>",
        "<testsuite/>",
        '{"totals": {"percent_covered": 100.1}}',
        '{"totals": {"percent_covered": 1e999}}',
        '{"totals": {"percent_covered": true}}',
        '{"totals": {"percent_covered": null}}',
        '{"totals": {"percent_covered": ' + "9" * 400 + "}}",
        '{"total": 3}',
        "[]",
        "",
        "mode: set\n",
        "mode: set\nnonsense\n",
        "mode: set\na.go:1.1,2.2 99999999999 1\n",
        "SF:a\nLF:1\nLH:2\nend_of_record\n",
        "SF:a\nLF:x\nend_of_record\n",
        "SF:a\nLF:99999999\nLH:1\nend_of_record\n",
        "SF:a\nend_of_record\n",
        "GROUP,PACKAGE,CLASS,LINE_MISSED\na,b,c,1\n",
        "nothing of the kind",
    ],
)
def test_what_is_no_coverage_is_refused(content: str) -> None:
    assert problem(content)


def test_a_percentage_that_rounding_pushed_over_the_top_is_the_top() -> None:
    assert percent('{"totals": {"percent_covered": 100.00000000000001}}') == 100
