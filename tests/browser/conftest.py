"""A worker that is ready, and a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.support.browser import browser_page
from tests.support.fleet import Fleet, fleet
from worker_agents.devkit.ports import free_ports

TOKEN = "an-admin-token-for-browser-tests"
# Waiting for the page to show something, in milliseconds: the worker polls, commits and pushes meanwhile.
PATIENCE = 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser takes its time on a busy machine."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2) as started:
        yield started


@pytest.fixture
async def url(ships: Fleet) -> str:
    """The address of a worker that is ready."""
    (port,) = free_ports(1)
    worker = ships.worker(HTTP_PORT=str(port), ADMIN_TOKEN=TOKEN)
    await worker.says("partition_opened", ships.partitions)
    return f"http://127.0.0.1:{port}"


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser_page() as opened:
        yield opened
