"""What hadolint and shellcheck say of the files that are no Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.tools import tool

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.relative_to(ROOT)
    for folder in (".ci", "tools")
    for path in (ROOT / folder).iterdir()
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash\n")
)


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert found_by(tool("hadolint"), "--no-color", "--failure-threshold=style", "Dockerfile") == (0, "")


def test_rules_of_hadolint_are_ignored_with_a_reason() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    ignored = [(number, rule) for number, line in enumerate(lines) for rule in _ignored(line)]

    assert ignored
    assert [rule for number, rule in ignored if not lines[number - 1].startswith(f"# {rule}: ")] == []


def test_scripts_are_found() -> None:
    assert {path.name for path in SCRIPTS} >= {"run", "install-tools", "find-python", "build-image"}


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_shellcheck_finds_nothing_in_a_script(script: Path) -> None:
    assert found_by(tool("shellcheck"), "--color=never", "--external-sources", script) == (0, "")


def found_by(*command: str | Path) -> tuple[int, str]:
    linter = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return linter.returncode, linter.stdout


def _ignored(line: str) -> list[str]:
    return line.removeprefix("# hadolint ignore=").split(",") if line.startswith("# hadolint ignore=") else []
