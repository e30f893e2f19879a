"""How checks are run, shown and counted."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from worker_agents.cli.app import app
from worker_agents.cli.doctor import Diagnosis, examine
from worker_agents.cli.doctor.checks import Check, run_check, run_checks
from worker_agents.cli.doctor.findings import Finding, Level, Subject
from worker_agents.cli.doctor.report import in_order, print_findings, summary
from worker_agents.settings import load_settings
from worker_agents.settings.model import FIELDS, variable_of
from worker_agents.telemetry.masking import SecretMasker

GOOD = Subject("kafka.group").ok("all is well")
ODD = Subject("settings.topics").warning("it is odd", why="it may matter", advice="look again")
BAD = Subject("kafka.topics").error("it is broken", why="no work is done", advice="mend it")
LEFT_OUT = Subject("vault.login").skipped("it is off")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        monkeypatch.delenv(variable_of(name), raising=False)


def doctor(*arguments: str, **env: str) -> Result:
    nobody = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "CODE_FORGE_ENABLED": "false", "OPA_ENABLED": "false"}
    return CliRunner().invoke(app, ["doctor", *arguments], env={**nobody, "TRIVY_ENABLED": "false", **env})


# --- checks ----------------------------------------------------------------------------------------------------------


async def test_a_check_that_breaks_is_a_finding_and_stops_no_other() -> None:
    def broken() -> Iterable[Finding]:
        raise ZeroDivisionError("seven\nby nothing")

    found = await run_checks([Check.of("kafka.topics", broken), Check.of("kafka.group", lambda: [GOOD])], 10)

    assert [(finding.check, finding.level) for finding in found] == [("kafka.topics", "error"), ("kafka.group", "ok")]
    assert found[0].what == "it is not known: the check broke with ZeroDivisionError: seven by nothing"


async def test_a_check_that_does_not_end_is_cut_off_and_named() -> None:
    ended = asyncio.Event()

    async def look() -> Iterable[Finding]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return []

    (finding,) = await run_check(Check("integrations.opa", look), 0.01)

    assert ended.is_set()
    assert (finding.check, finding.level) == ("integrations.opa", "error")
    assert "no answer within 0.01 s" in finding.what


async def test_a_time_out_inside_of_a_check_is_not_taken_for_its_own() -> None:
    def late() -> Iterable[Finding]:
        raise TimeoutError("theirs")

    (finding,) = await run_check(Check.of("integrations.opa", late), 10)

    assert "the check broke with TimeoutError: theirs" in finding.what


async def test_a_task_that_was_cancelled_inside_of_a_check_cancels_nothing_else() -> None:
    async def look() -> Iterable[Finding]:
        inner = asyncio.create_task(asyncio.Event().wait())
        inner.cancel()
        await inner
        return []

    (finding,) = await run_check(Check("kafka.records", look), 10)

    assert "the check broke with CancelledError" in finding.what


async def test_a_check_that_is_cancelled_itself_ends() -> None:
    begun = asyncio.Event()

    async def look() -> Iterable[Finding]:
        begun.set()
        await asyncio.Event().wait()
        return []

    checking = asyncio.create_task(run_check(Check("kafka.records", look), 10))
    await begun.wait()
    checking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await checking


def test_secrets_are_masked_wherever_they_are_said() -> None:
    told = (
        Subject("vault.login")
        .error("s3cr3t is wrong", why="s3cr3t", advice="not s3cr3t")
        .masked(SecretMasker(["s3cr3t"]))
    )

    assert "s3cr3t" not in f"{told}"
    assert told.what == "******** is wrong"


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "strict", "code"),
    [
        ((GOOD, LEFT_OUT), True, 0),
        ((GOOD, ODD), False, 0),
        ((GOOD, ODD), True, 1),
        ((GOOD, ODD, BAD), False, 1),
    ],
)
def test_errors_fail_and_warnings_where_that_is_wanted(findings: tuple[Finding, ...], strict: bool, code: int) -> None:
    assert Diagnosis(findings, kafka_is_unreachable=False).exit_code(strict=strict) == code


def test_kafka_that_does_not_answer_counts_most() -> None:
    assert Diagnosis((BAD, ODD), kafka_is_unreachable=True).exit_code(strict=False) == 3


def test_the_last_line_counts() -> None:
    assert summary([GOOD, GOOD]) == "0 errors, 0 warnings, 2 fine"
    assert summary([GOOD, ODD, BAD, LEFT_OUT, BAD]) == "2 errors, 1 warning, 1 fine, 1 skipped"


def test_what_is_printed_to_a_pipe_is_in_whole_lines_area_by_area(capsys: pytest.CaptureFixture[str]) -> None:
    long = Subject("kafka.group").ok("word " * 100 + "end")
    print_findings(in_order([BAD, long, ODD]))
    lines = capsys.readouterr().out.splitlines()

    assert lines[:4] == [
        "Settings",
        "  warning  topics  it is odd",
        "                   why: it may matter",
        "                   do:  look again",
    ]
    assert lines[4:7] == ["", "Kafka", "  error    topics  it is broken"]
    assert any(line.endswith("word end") and line.count("word") == 100 for line in lines)
    assert lines[-1] == "1 error, 1 warning, 1 fine"
    assert not any(line != line.rstrip() for line in lines)


def test_on_a_terminal_nothing_is_cut_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_findings(
        [Subject("kafka.topics").error("one two three four five six seven", why="eight", advice="nine \x1b[2J")]
    )
    shown = capsys.readouterr().out

    assert all(word in shown for word in ("error", "topics", "one", "seven", "eight", "nine", "1 error"))
    assert "\x1b[2J" not in shown


# --- the command -----------------------------------------------------------------------------------------------------


def test_invalid_settings_are_told_and_nothing_is_looked_at() -> None:
    ended = doctor(HTTP_PORT="many")

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "HTTP_PORT: must be a whole number" in ended.stderr
    assert json.loads(doctor("--json", HTTP_PORT="many").stdout) == {
        "problems": ["HTTP_PORT: must be a whole number, not 'many'"]
    }


@pytest.mark.parametrize("arguments", [["--timeout", "0"], ["--nonsense"], ["kafka"]])
def test_bad_usage(arguments: list[str]) -> None:
    assert doctor(*arguments).exit_code == 2


def test_without_a_broker_everything_else_is_looked_at_all_the_same() -> None:
    ended = doctor()

    assert ended.exit_code == 3
    assert ended.stderr == ""
    assert "error    connection" in ended.stdout
    assert "no Kafka broker answered at 127.0.0.1:1" in ended.stdout
    assert "Every DEPLOY ticket is COMPLETED with a simulated result" in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("1 error, ")


async def test_a_broker_that_hangs_is_unreachable_too() -> None:
    # The kernel takes connections that nobody ever serves.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        diagnosis = await examine(load_settings({"KAFKA_BOOTSTRAP_SERVERS": server, "TRIVY_ENABLED": "false"}), 1.0)

    (connection,) = [finding for finding in diagnosis.findings if finding.check == "kafka.connection"]
    assert connection.what.startswith(f"no Kafka broker answered at {server} within 1 s")
    assert diagnosis.exit_code(strict=False) == 3


def test_the_document_for_programs() -> None:
    ended = doctor("--json", FALLBACK_MODE="fail", ADMIN_TOKEN="a-very-secret-token")
    document = json.loads(ended.stdout)

    assert ended.exit_code == document["exit_code"] == 3
    assert document["counts"]["error"] == 1
    (connection,) = [each for each in document["findings"] if each["check"] == "kafka.connection"]
    assert connection.keys() == {"check", "level", "what", "why", "do"}
    assert connection["level"] == "error"
    by_level = [sum(each["level"] == level for each in document["findings"]) for level in Level]
    assert by_level == list(document["counts"].values())
    assert "a-very-secret-token" not in ended.stdout


@pytest.mark.parametrize(
    ("served", "level", "words"),
    [
        (
            "EXECUTE,BREW",
            "error",
            "SUPPORTED_TASK_TYPES: no executor for BREW (there are: BUILD, DEPLOY, EXECUTE, TEST",
        ),
        ("test,BUILD", "ok", "every task type that is served has an executor: BUILD, TEST"),
        ("", "ok", "every task type that is served has an executor: BUILD, DEPLOY, EXECUTE, TEST, VALIDATE"),
    ],
)
def test_a_type_that_nobody_can_work_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: str, level: str, words: str
) -> None:
    """And looking makes nothing: the root of checkouts is made by a worker."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    document = json.loads(doctor("--json", SUPPORTED_TASK_TYPES=served).stdout)
    found = {each["check"]: each for each in document["findings"]}["settings.task_types"]

    assert (found["level"], words in found["what"]) == (level, True)
    assert list(tmp_path.iterdir()) == []


def test_what_is_switched_off_says_what_its_tickets_get() -> None:
    document = json.loads(doctor("--json", CODE_FORGE_FALLBACK="fail", SUPPORTED_TASK_TYPES="BUILD,VALIDATE").stdout)
    found = {each["check"]: each for each in document["findings"]}

    assert found["integrations.code_forge"]["level"] == "skipped"
    assert "fail (integration_disabled), as CODE_FORGE_FALLBACK is fail" in found["integrations.code_forge"]["why"]
    assert found["integrations.opa"]["level"] == "warning"
    assert "Every VALIDATE policy ticket" in found["integrations.opa"]["why"]
    assert found["integrations.argocd"]["level"] == "skipped"
    assert "SUPPORTED_TASK_TYPES has none of its types" in found["integrations.argocd"]["what"]
