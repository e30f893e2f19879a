"""Fixtures that several contract tests share."""

from collections.abc import AsyncIterator

import pytest

from worker_agents.devkit.code_forge import CodeForgeServer, ManualClock


@pytest.fixture
async def forge() -> AsyncIterator[CodeForgeServer]:
    """A Code Forge whose time stands still: work moves on by polls."""
    async with CodeForgeServer(clock=ManualClock()) as server:
        yield server
