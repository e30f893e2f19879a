"""The HTTP application over real connections, with a source that the test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.web.documents import Source
from worker_agents.telemetry.metrics import Metrics
from worker_agents.web.api import api_routes
from worker_agents.web.app import create_app
from worker_agents.web.page import LiveFeed, page_routes
from worker_agents.web.server import HttpServer
from worker_agents.web.status import Liveness, Readiness


class Well:
    """A service that is well."""

    def liveness(self) -> Liveness:
        return Liveness(ok=True)

    def readiness(self) -> Readiness:
        return Readiness(ok=True)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def feed() -> LiveFeed:
    return LiveFeed(interval=0.02)


@pytest.fixture
async def site(source: Source, feed: LiveFeed) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with all pages and the API that is read."""
    app = create_app(Well(), Metrics(), [*api_routes(source), *page_routes(source, feed)])
    server = HttpServer(app, "127.0.0.1", 0, on_stop=feed.close)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as opened:
        yield opened
    await server.stop()
