"""What the crash scenarios share: a fleet of worker processes, and one closing line for each scenario."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet
from tests.support.scenario import Scenario

_closing_lines: list[str] = []


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet on the session's broker, without workers yet."""
    async with fleet(kafka.bootstrap_servers, tmp_path) as started:
        yield started


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    """The scenario's figures; its closing line is printed with the summary."""
    began = time.monotonic()
    figures = Scenario(request.node.name.removeprefix("test_"))
    yield figures
    _closing_lines.append(figures.closing_line(time.monotonic() - began))


@pytest.fixture
def closing_lines() -> list[str]:
    """Lines to be printed with the summary."""
    return _closing_lines


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _closing_lines:
        terminalreporter.section("chaos scenarios")
        for line in _closing_lines:
            terminalreporter.line(line)
