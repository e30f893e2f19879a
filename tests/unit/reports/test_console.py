"""What real tools printed."""

import pytest

from tests.unit.reports.sampling import sample_text
from worker_agents.reports.detect import console_coverage, parse_console
from worker_agents.reports.model import TestCounts, TestReport


def printed(text: str) -> TestReport:
    report = parse_console(text)
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("name", "form", "counts", "complete"),
    [  # passed, failed, skipped, errors
        # A test that failed in its teardown is printed as passed and as error; a failed subtest as one more failed.
        ("pytest-quiet-output.txt", "pytest", (3, 3, 2, 2), True),
        ("pytest-cov-output.txt", "pytest", (3, 3, 2, 2), True),
        ("pytest-coloured-output.txt", "pytest", (1, 0, 1, 0), True),
        ("pytest-in-pytest-output.txt", "pytest", (1, 1, 0, 0), True),
        ("pytest-unloadable-output.txt", "pytest", (0, 0, 0, 1), False),
        ("pytest-stopped-output.txt", "pytest", (1, 1, 0, 0), False),
        ("pytest-interrupted-output.txt", "pytest", (1, 0, 0, 0), False),
        ("surefire-output.txt", "surefire", (3, 1, 1, 1), True),
        ("go-output.txt", "go", (0, 3, 0, 1), False),
        ("go-verbose-output.txt", "go", (4, 3, 1, 1), False),
        ("go-passed-output.txt", "go-packages", (1, 0, 0, 0), True),
        ("go-verbose-passed-output.txt", "go", (4, 0, 1, 0), True),
        ("go-events.json", "go-json", (4, 3, 1, 1), False),
        ("cargo-output.txt", "cargo", (3, 1, 1, 0), True),
        ("cargo-aborted-output.txt", "cargo", (0, 0, 0, 1), False),
        ("libtest-events.json", "libtest-json", (2, 1, 1, 0), True),
        ("mocha-output.txt", "mocha", (1, 1, 1, 0), True),
        ("mocha-json-output.txt", "mocha", (1, 1, 1, 0), True),
        ("jest-output.txt", "jest", (1, 1, 2, 1), True),
        ("jest-report.json", "jest", (1, 1, 2, 1), True),
        ("vitest-output.txt", "vitest", (1, 1, 2, 0), True),
        ("vitest-unhandled-output.txt", "vitest", (1, 0, 0, 1), True),
    ],
)
def test_what_real_tools_print_is_counted(
    name: str, form: str, counts: tuple[int, int, int, int], complete: bool
) -> None:
    report = printed(sample_text(name))

    assert report.format == form
    assert report.counts == TestCounts(*counts)
    assert report.complete is complete


def test_nothing_is_made_of_other_output() -> None:
    assert parse_console("") is None
    assert parse_console("hello\nFAILED\n3 passed\nok\n") is None


# pytest


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("no tests ran in 0.00s", TestCounts()),
        ("5 deselected in 0.01s", TestCounts()),
        ("===== 2 passed, 1 warning in 63.00s (0:01:03) =====", TestCounts(passed=2)),
        ("1 failed, 3 passed, 1 skipped, 1 xfailed, 1 xpassed, 3 errors in 0.06s", TestCounts(4, 1, 2, 3)),
        ("2 passed, 3 subtests passed, 1 rerun in 0.06s", TestCounts(passed=2)),
        ("1 passed in 90061.00s (1 day, 1:01:01)", TestCounts(passed=1)),
    ],
)
def test_every_form_of_pytests_last_line_is_understood(line: str, counts: TestCounts) -> None:
    assert printed(f"..\n{line}\n").counts == counts


@pytest.mark.parametrize("line", ["-qq prints nothing", "3 apples in 1.00s", "3 passed", "1 passed in time"])
def test_lines_that_only_resemble_it_are_none(line: str) -> None:
    assert parse_console(f"..\n{line}\n") is None


def test_the_summary_of_a_pytest_within_a_pytest_is_not_the_runs() -> None:
    text = sample_text("pytest-in-pytest-output.txt")

    assert "= 2 failed in " in text
    assert [one.name for one in printed(text).failures] == ["nested/test_nested.py::test_runs_pytest"]


def test_an_internal_error_of_pytest_makes_the_report_incomplete() -> None:
    assert not printed("INTERNALERROR> Traceback\n\n3 passed in 0.01s\n").complete


# Surefire


def test_surefire_totals_of_all_modules_are_summed_and_class_lines_are_not() -> None:
    module = "[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 1, Time elapsed: 0.1 s -- in A\n[WARNING] Tests run: 2, Failures: 0, Errors: 0, Skipped: 1\n"

    assert printed(module * 2).counts == TestCounts(passed=2, skipped=2)


def test_a_surefire_fork_that_died_before_its_total_is_incomplete() -> None:
    report = printed("[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.1 s -- in A\n")

    assert report.counts == TestCounts(passed=2)
    assert not report.complete


def test_a_maven_build_that_failed_without_a_failing_test_is_incomplete() -> None:
    total = "[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0\n"

    assert not printed(total + "[INFO] BUILD FAILURE\n").complete
    assert printed(total + "[INFO] BUILD SUCCESS\n").complete


def test_surefires_failures_are_named() -> None:
    assert [one.name for one in printed(sample_text("surefire-output.txt")).failures] == [
        "shop.TillTest.wrong",
        "shop.TillTest.breaks",
    ]


# go


def test_go_names_what_failed_and_what_it_said() -> None:
    failures = {one.name: one.message for one in printed(sample_text("go-output.txt")).failures}

    assert failures["example.com/shop/cart.TestTotal/two"] == "cart_test.go:7: got 3"
    assert failures["example.com/shop/broken"] == "FAIL example.com/shop/broken [build failed]"


def test_go_without_any_test_ran_none() -> None:
    assert not printed("?   \tp\t[no test files]\nok  \tq\t0.003s [no tests to run]\n").counts.ran


def test_a_go_result_behind_a_tests_own_print_is_found() -> None:
    text = "=== RUN   TestA\nno newline--- PASS: TestA (0.00s)\n=== RUN   TestB\nnoise\nPASS\nok  \tp\t0.003s\n"

    assert printed(text).counts == TestCounts(passed=2)


# cargo


def test_cargo_results_of_all_binaries_are_summed() -> None:
    line = "running 1 test\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"

    assert printed(line * 3).counts == TestCounts(passed=6, skipped=3)


def test_cargos_failures_are_named_with_their_panic() -> None:
    (failure,) = printed(sample_text("cargo-output.txt")).failures

    assert failure.name == "fails"
    assert "one is not two" in failure.message


# JavaScript


def test_jest_with_only_unloadable_files_has_errors() -> None:
    report = printed("Test Suites: 2 failed, 1 passed, 3 total\nTests:       3 passed, 3 total\n")

    assert report.counts == TestCounts(passed=3, errors=2)


def test_json_behind_npms_preamble_and_the_tests_own_prints_is_found() -> None:
    preamble = "\n> shop@1.0.0 test\n> jest --json\n\n"
    text = preamble + 'debug: {"stats": 1}' + sample_text("jest-report.json") + "\nnpm error code 1\n"

    assert printed(text).counts == TestCounts(1, 1, 2, 1)


def test_the_last_of_several_json_reports_is_the_runs() -> None:
    inner = '{"numTotalTests": 9, "numFailedTests": 0, "numPassedTests": 9, "success": true}'

    assert printed(inner + "\n" + sample_text("jest-report.json")).counts == TestCounts(1, 1, 2, 1)


def test_the_tool_that_spoke_last_speaks_for_the_run() -> None:
    inner = "test result: FAILED. 0 passed; 9 failed; 0 ignored; 0 measured; 0 filtered out\n"

    assert printed(inner + "3 passed in 0.01s\n").format == "pytest"
    assert printed("3 passed in 0.01s\n" + inner).format == "cargo"


def test_absurd_numbers_are_no_report() -> None:
    assert parse_console("99999999999999999999 passed in 0.01s") is None
    assert parse_console("Tests run: 1, Failures: 2, Errors: 0, Skipped: 0") is None


# coverage


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pytest-cov-output.txt", 86),
        ("jest-coverage-output.txt", 100),
        ("go-cover-output.txt", 80),
        ("go-cover-func.txt", 80),
        ("go-cover-events.json", 80),
        ("cargo-output.txt", None),
    ],
)
def test_printed_coverage_is_found(name: str, expected: float | None) -> None:
    assert console_coverage(sample_text(name)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TOTAL                     1234     56    95%", 95),
        ("TOTAL     10      2      4      1    75.5%", 75.5),
        ("All files |   80.1 |      100 |   66.66 |   33.3 |                   ", 33.3),
        ("Statements   : 80% ( 4/5 )\nLines        : 12.5% ( 1/8 )", 12.5),
        ("ok  \tp\t0.1s\tcoverage: 66.7% of statements", 66.7),
        ("ok  \tp\t0.1s\tcoverage: 66.7% of statements in ./...", 66.7),
        ("PASS\ncoverage: 66.7% of statements\nok  \tp\t0.1s\tcoverage: 66.7% of statements", 66.7),
        ("coverage: 66.7% of statements\nFAIL\tp\t0.1s", 66.7),
        ("ok  \tp\t0.1s\tcoverage: [no statements]", None),
        ("All files |  Unknown |  Unknown |  Unknown |  Unknown |", None),
        ("TOTAL 1 0 250%", None),
    ],
)
def test_every_form_of_printed_coverage_is_understood(text: str, expected: float | None) -> None:
    assert console_coverage(text + "\n") == expected


def test_the_coverage_of_several_go_packages_cannot_be_averaged() -> None:
    line = "ok  \tp{}\t0.1s\tcoverage: 50.0% of statements\n"

    assert console_coverage(line.format(1) + line.format(2)) is None
    assert console_coverage(line.format(1) + "\tp2\t\tcoverage: 0.0% of statements\n") is None
    assert console_coverage(line.format(1) + line.format(2) + "total:\t\t(statements)\t62.5%\n") == 62.5
