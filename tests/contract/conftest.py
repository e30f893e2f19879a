"""The reference servers that several contract tests speak to."""

from collections.abc import AsyncIterator

import pytest

from worker_agents.devkit.argocd import ArgoCdServer
from worker_agents.devkit.code_forge import CodeForgeServer, ManualClock
from worker_agents.devkit.executor_kit import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """The clock that server, client and executor of a test share."""
    return VirtualClock()


@pytest.fixture
async def argocd(clock: VirtualClock) -> AsyncIterator[ArgoCdServer]:
    async with ArgoCdServer(clock=clock) as server:
        yield server


@pytest.fixture
async def forge() -> AsyncIterator[CodeForgeServer]:
    """A Code Forge whose time stands still: work moves on by polls."""
    async with CodeForgeServer(clock=ManualClock()) as server:
        yield server
