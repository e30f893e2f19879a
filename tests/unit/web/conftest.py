"""A worker that serves, and its parts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.web.documents import Source
from tests.unit.web.fakes import Worker, serving
from worker_agents.web.page import LiveFeed


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with serving() as started:
        yield started


@pytest.fixture
def site(worker: Worker) -> httpx.AsyncClient:
    return worker.http


@pytest.fixture
def source(worker: Worker) -> Source:
    return worker.source


@pytest.fixture
def feed(worker: Worker) -> LiveFeed:
    return worker.feed
