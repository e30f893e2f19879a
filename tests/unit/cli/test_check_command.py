"""``worker-agents check-command``: the verdict of the policy that workers use, with its reason."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from worker_agents.cli.app import app
from worker_agents.settings.model import FIELDS, variable_of


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        monkeypatch.delenv(variable_of(name), raising=False)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    program = tmp_path / "pytest"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def check(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["check-command", *arguments], env=env)


def test_allowed(programs: Path) -> None:
    shown = check("pytest -q 'a b'", TEST_COMMAND_PATH=str(programs))

    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "allowed: pytest -q 'a b'",
        "  rule:    pytest (in ALLOWED_TEST_COMMANDS)",
        f"  program: {programs}/pytest",
        "  argv:    ['pytest', '-q', 'a b']",
    ]


def test_allowed_but_missing() -> None:
    shown = check("pytest", TEST_COMMAND_PATH="/nowhere")

    assert shown.exit_code == 0
    assert "program: not found on TEST_COMMAND_PATH (/nowhere)" in shown.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("pytest -q > report.json", "standard output and standard error are read anyway"),
        ("jest", "allowed are commands that begin with pytest or npm test or go test or mvn test"),
        ("pytest -p evil", "'-p' is refused: it loads code"),
        ("pytest \x1b[31m", "control character"),
    ],
)
def test_refused(command: str, words: str) -> None:
    shown = check(command)

    assert shown.exit_code == 1
    first, because = shown.stdout.splitlines()
    assert first.startswith("refused: ")
    assert because.startswith("  because: ")
    assert words in because
    assert "\x1b" not in shown.stdout


def test_as_json(programs: Path) -> None:
    allowed = check("--json", "pytest -q", TEST_COMMAND_PATH=str(programs), ALLOWED_TEST_COMMANDS="pytest")
    refused = check("--json", "pytest", ALLOWED_TEST_COMMANDS="[]")

    assert (allowed.exit_code, refused.exit_code) == (0, 1)
    assert json.loads(allowed.stdout) == {
        "allowed": True,
        "rule": "pytest",
        "argv": ["pytest", "-q"],
        "program": f"{programs}/pytest",
        "allowed_test_commands": ["pytest"],
        "test_command_path": str(programs),
    }
    verdict = json.loads(refused.stdout)
    assert verdict["allowed"] is False
    assert verdict["reason"] == "ALLOWED_TEST_COMMANDS is empty, so that no command is allowed"


def test_wrong_settings_are_told_as_such() -> None:
    shown = check("pytest", TEST_COMMAND_PATH="relative")

    assert shown.exit_code == 2
    assert "TEST_COMMAND_PATH" in shown.stderr
