"""Test reports in files, as real tools wrote them."""

import json

import pytest

from tests.unit.reports.sampling import SAMPLES, sample, sample_text
from worker_agents.model.errors import Reason, TaskError
from worker_agents.reports.detect import parse_test_report
from worker_agents.reports.model import MAX_FAILURES, ReportUnreadable, TestCounts, TestReport


def parsed(content: bytes | str) -> TestReport:
    return parse_test_report(content.encode() if isinstance(content, str) else content, name="report")


@pytest.mark.parametrize(
    ("name", "form", "counts", "complete"),
    [  # passed, failed, skipped, errors
        ("pytest-report.json", "pytest-json-report", (2, 2, 2, 2), True),
        ("pytest-none-report.json", "pytest-json-report", (0, 0, 0, 0), True),
        ("pytest-unloadable-report.json", "pytest-json-report", (0, 0, 0, 1), False),
        ("pytest-interrupted-report.json", "pytest-json-report", (2, 0, 0, 0), False),
        ("pytest-junit.xml", "junit", (2, 2, 2, 2), True),
        ("pytest-unloadable-junit.xml", "junit", (0, 0, 0, 1), True),
        ("surefire-flaky.xml", "junit", (2, 0, 1, 0), True),
        ("surefire-rerun.xml", "junit", (1, 1, 0, 1), True),
        ("jest-junit.xml", "junit", (2, 1, 1, 0), True),
        ("jest-unloadable-junit.xml", "junit", (0, 1, 0, 1), True),
        ("vitest-junit.xml", "junit", (1, 2, 2, 0), True),
        ("mocha-xunit.xml", "junit", (1, 1, 1, 0), True),
        ("nextest-junit.xml", "junit", (2, 1, 0, 0), True),
        ("jest-report.json", "jest", (1, 1, 2, 1), True),
        ("jest-unloadable-report.json", "jest", (0, 0, 0, 1), True),
        ("vitest-report.json", "vitest", (1, 1, 2, 1), True),
        ("mocha-report.json", "mocha", (1, 1, 1, 0), True),
        ("go-events.json", "go-json", (4, 3, 1, 1), False),
        ("go-cover-events.json", "go-json", (3, 2, 1, 0), True),
        ("go-panic-events.json", "go-json", (1, 1, 0, 0), False),
        ("go-unbuildable-events.json", "go-json", (0, 0, 0, 1), True),
        ("libtest-events.json", "libtest-json", (2, 1, 1, 0), True),
        # nextest tells of an ignored test with every suite of its binary.
        ("nextest-events.json", "libtest-json", (2, 1, 2, 0), True),
    ],
)
def test_what_real_tools_write_is_recognised_and_counted(
    name: str, form: str, counts: tuple[int, int, int, int], complete: bool
) -> None:
    report = parse_test_report(sample(name), name=name)

    assert report.format == form
    assert report.counts == TestCounts(*counts)
    assert report.complete is complete


def test_the_format_is_told_by_the_content_whatever_the_name() -> None:
    assert parse_test_report(sample("pytest-junit.xml"), name="report.json").format == "junit"
    assert parse_test_report(sample("go-events.json"), name="junit.xml").format == "go-json"


def test_a_byte_order_mark_hides_nothing() -> None:
    assert parsed(b"\xef\xbb\xbf" + sample("jest-report.json")).format == "jest"
    assert parsed(b"\xef\xbb\xbf" + sample("pytest-junit.xml")).format == "junit"
    assert parsed(sample_text("mocha-xunit.xml").encode("utf-16")).format == "junit"


def test_counts_add_up_and_tell_whether_anything_ran() -> None:
    assert TestCounts(1, 2, 3, 4) + TestCounts(10, 20, 30, 40) == TestCounts(11, 22, 33, 44)
    assert TestCounts(1, 2, 3, 4).total == 10
    assert TestCounts(passed=1).ran
    assert TestCounts(errors=1).ran
    assert not TestCounts(skipped=1).ran


def test_an_unreadable_report_is_a_final_error_that_names_the_file_and_the_problem() -> None:
    with pytest.raises(ReportUnreadable, match=r"^report out/r\.json: JSON, but no test report") as caught:
        parse_test_report(b'{"name": "x"}', name="out/r.json")

    assert isinstance(caught.value, TaskError)
    assert caught.value.reason is Reason.REPORT_UNREADABLE
    assert not caught.value.retryable


# pytest-json-report


def test_pytest_counts_are_nested_under_summary_and_absent_when_zero() -> None:
    report = parsed('{"exitcode": 0, "summary": {"passed": 3, "total": 3, "collected": 3}}')

    assert report.counts == TestCounts(passed=3)


def test_pytest_failures_carry_their_message_and_no_terminal_codes() -> None:
    failures = {one.name: one.message for one in parsed(sample("pytest-report.json")).failures}

    assert failures["test_shop.py::test_wrong"] == "assert 3 == 4 + where 3 = total([1, 2])"
    assert failures["test_shop.py::test_with_broken_fixture"] == "RuntimeError: no database"
    assert failures["test_shop.py::test_broken_teardown"] == "RuntimeError: teardown"


def test_a_file_that_pytest_could_not_import_is_an_error_with_its_name() -> None:
    (failure,) = parsed(sample("pytest-unloadable-report.json")).failures

    assert failure.name == "test_broken.py"
    assert "No module named 'missing_module'" in failure.message


@pytest.mark.parametrize("exit_code", [1, 2, 3, 4])
def test_pytest_that_failed_without_a_failing_test_is_incomplete(exit_code: int) -> None:
    assert not parsed(f'{{"exitcode": {exit_code}, "summary": {{"passed": 3, "total": 3}}}}').complete


# JUnit XML


def test_junit_without_attributes_is_counted_by_its_cases() -> None:
    report = parsed(
        "<testsuites><testsuite><testcase/><testcase><failure/></testcase></testsuite>"
        "<testsuite><testcase><skipped/></testcase><testsuite><testcase><error/></testcase></testsuite></testsuite>"
        "</testsuites>"
    )

    assert report.counts == TestCounts(1, 1, 1, 1)


def test_a_suite_without_cases_is_taken_by_its_attributes() -> None:
    report = parsed(
        '<testsuites><testsuite tests="1,234" failures="2" errors="1" skipped="31"/><testsuite tests="6"/></testsuites>'
    )

    assert report.counts == TestCounts(passed=1206, failed=2, skipped=31, errors=1)


def test_a_root_that_alone_has_attributes_is_taken_by_them() -> None:
    assert parsed('<testsuites tests="5" failures="2"/>').counts == TestCounts(passed=3, failed=2)


def test_failures_that_only_the_attributes_tell_of_are_not_lost() -> None:
    report = parsed(
        '<testsuite name="shop" tests="3" failures="2"><testcase/><testcase><failure/></testcase></testsuite>'
    )

    assert report.counts == TestCounts(passed=1, failed=1, errors=1)
    assert report.failures[-1].name == "shop"


def test_a_case_with_several_failures_counts_once_and_hides_no_others() -> None:
    """pytest's subtests: three failure elements, two failed tests, and ``failures="3"``."""
    report = parsed(
        '<testsuite tests="2" failures="3"><testcase><failure/><failure/></testcase><testcase><failure/></testcase></testsuite>'
    )

    assert report.counts == TestCounts(failed=2)


def test_surefire_attributes_of_the_last_rerun_do_not_replace_the_cases() -> None:
    """``tests="1"`` in the sample: only the flaky test ran again; three cases are listed, the flaky one as passed."""
    assert b'tests="1"' in sample("surefire-flaky.xml")
    assert parsed(sample("surefire-flaky.xml")).counts.total == 3


def test_surefire_thousands_separators_in_times_do_no_harm() -> None:
    report = parsed('<testsuite time="1,234.567" tests="1"><testcase name="slow" time="1,234.567"/></testsuite>')

    assert report.counts == TestCounts(passed=1)


def test_surefire_flaky_and_rerun_elements_decide_nothing() -> None:
    report = parsed(
        "<testsuite><testcase><flakyFailure/><flakyError/></testcase>"
        "<testcase><failure/><rerunFailure/><rerunFailure/></testcase>"
        "<testcase><error/><rerunError/></testcase></testsuite>"
    )

    assert report.counts == TestCounts(passed=1, failed=1, errors=1)


def test_the_most_severe_of_a_cases_verdicts_decides() -> None:
    report = parsed(
        "<testsuite><testcase><failure/><error/><skipped/></testcase><testcase><error/><skipped/></testcase></testsuite>"
    )

    assert report.counts == TestCounts(failed=1, errors=1)


def test_a_junit_failure_without_a_message_attribute_takes_its_text() -> None:
    (failure,) = parsed(sample("jest-junit.xml")).failures

    assert failure.name == "total wrong"
    assert failure.message.startswith("Error: expect(received).toBe(expected)")


def test_a_failure_hidden_in_a_cases_output_is_none() -> None:
    report = parsed("<testsuite><testcase><system-out><failure/></system-out></testcase></testsuite>")

    assert report.counts == TestCounts(passed=1)


# jest, vitest, mocha


def test_a_jest_file_that_cannot_be_loaded_is_an_error_though_no_test_failed() -> None:
    report = parsed(sample("jest-unloadable-report.json"))

    assert json.loads(sample("jest-unloadable-report.json"))["numFailedTests"] == 0
    assert report.counts == TestCounts(errors=1)
    assert "Cannot find module" in report.failures[0].message


def test_jest_that_failed_without_a_failing_test_is_incomplete() -> None:
    """For example a coverage threshold."""
    assert not parsed('{"numTotalTests": 1, "numPassedTests": 1, "numFailedTests": 0, "success": false}').complete
    assert parsed('{"numTotalTests": 1, "numPassedTests": 1, "numFailedTests": 0, "success": true}').complete


def test_interrupted_jest_is_incomplete() -> None:
    document = {"numTotalTests": 1, "numPassedTests": 1, "numFailedTests": 0, "success": True, "wasInterrupted": True}

    assert not parsed(json.dumps(document)).complete


def test_a_jest_file_that_failed_outside_of_its_tests_is_an_error() -> None:
    """A failing ``afterAll``: the file is failed, all of its tests passed."""
    file = {"name": "a.test.js", "status": "failed", "message": "hook", "assertionResults": [{"status": "passed"}]}
    document = {"numTotalTests": 1, "numPassedTests": 1, "numFailedTests": 0, "success": False, "testResults": [file]}

    assert parsed(json.dumps(document)).counts == TestCounts(passed=1, errors=1)


# go test -json


def test_a_go_package_that_cannot_be_built_is_an_error_with_the_compilers_words() -> None:
    report = parsed(sample("go-unbuildable-events.json"))

    assert report.counts == TestCounts(errors=1)
    assert "undefined: undefinedThing" in report.failures[0].message


def test_go_subtests_are_counted_as_leaves_and_a_parent_only_for_its_own_failure() -> None:
    """TestTotal failed by its subtest; TestParentItself failed though its only subtest passed."""
    failures = [one.name.rpartition(".")[2] for one in parsed(sample("go-cover-events.json")).failures]

    assert failures == ["TestTotal/two", "TestParentItself"]


def test_go_subtests_with_slashes_in_their_own_names_still_have_their_parent() -> None:
    events = [("run", "T"), ("run", "T/a/b"), ("pass", "T/a/b"), ("pass", "T")]
    lines = [json.dumps({"Action": action, "Package": "p", "Test": test}) for action, test in events]

    assert parsed("\n".join([*lines, '{"Action":"pass","Package":"p"}'])).counts == TestCounts(passed=1)


def test_a_go_panic_makes_the_report_incomplete() -> None:
    report = parsed(sample("go-panic-events.json"))

    assert "TestNever" not in str(report)
    assert report.counts == TestCounts(passed=1, failed=1)
    assert not report.complete


def test_a_printed_panic_of_a_passing_go_package_is_only_print() -> None:
    report = parsed(
        '{"Action":"pass","Package":"p","Test":"T"}\n{"Action":"output","Package":"p","Output":"panic: not really\\n"}\n'
        '{"Action":"pass","Package":"p"}'
    )

    assert report.complete


def test_go_tests_that_never_ended_are_errors() -> None:
    report = parsed('{"Action":"start","Package":"p"}\n{"Action":"run","Package":"p","Test":"TestHangs"}\n')

    assert report.counts == TestCounts(errors=1)
    assert not report.complete


def test_a_go_package_that_failed_without_a_failing_test_is_an_error() -> None:
    """``os.Exit(1)`` in ``TestMain``."""
    report = parsed('{"Action":"pass","Package":"p","Test":"T"}\n{"Action":"fail","Package":"p"}\n')

    assert report.counts == TestCounts(passed=1, errors=1)


def test_a_go_package_without_test_files_counts_nothing() -> None:
    report = parsed('{"Action":"start","Package":"p"}\n{"Action":"skip","Package":"p"}\n')

    assert report.counts == TestCounts()
    assert report.complete


def test_other_lines_among_events_are_passed_over() -> None:
    lines = sample_text("go-cover-events.json").splitlines()
    mixed = "\n".join([lines[0], "go: downloading example.com/x v1.0.0", *lines[1:], '{"level":"info"}', "{broken"])

    assert parsed(mixed).counts == parsed(sample("go-cover-events.json")).counts


# libtest


def test_a_rust_binary_that_ends_without_a_result_is_an_error() -> None:
    events = sample_text("libtest-events.json").splitlines()

    report = parsed("\n".join(events[:-1]))

    assert report.counts == TestCounts(passed=1, skipped=1, errors=1)
    assert not report.complete


# the pipeline's own small form


def test_plain_counts_at_the_top_level_are_read() -> None:
    assert parsed('{"tests_passed": 3, "tests_failed": 1, "coverage": 81.5}').counts == TestCounts(passed=3, failed=1)
    assert parsed('{"passed": 3, "skipped": 2}').counts == TestCounts(passed=3, skipped=2)
    assert parsed('{"tests_passed": 3, "coverage": 81.5}').coverage == 81.5


# what is kept of failures


def test_the_first_failures_are_kept_and_all_are_counted() -> None:
    cases = "".join(f'<testcase name="t{n}"><failure message="m"/></testcase>' for n in range(MAX_FAILURES + 10))

    report = parsed(f"<testsuite>{cases}</testsuite>")

    assert report.counts.failed == MAX_FAILURES + 10
    assert [one.name for one in report.failures] == [f"t{n}" for n in range(MAX_FAILURES)]


def test_texts_of_failures_are_short_single_lines_without_control_characters() -> None:
    name = "a\u202eb\x00c\ud800d\nnext"
    message = "\x1b[31mred\x1b[0m\r\n\x07" + "x" * 10_000
    document = {
        "exitcode": 1,
        "summary": {"failed": 1},
        "tests": [{"nodeid": name, "outcome": "failed", "call": {"outcome": "failed", "longrepr": message}}],
    }

    (failure,) = parsed(json.dumps(document).replace("\\ud800", "\x7f")).failures

    assert failure.name == "abcd next"
    assert failure.message.startswith("red xxx")
    assert len(failure.message) == 500
    assert failure.message.isprintable()


def test_samples_hold_nothing_of_the_machine_they_were_made_on() -> None:
    for path in SAMPLES.iterdir():
        text = path.read_text()
        assert not [mark for mark in ("/root", "/home", "/tmp", "/usr/") if mark in text], path.name
