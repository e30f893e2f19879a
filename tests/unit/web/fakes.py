"""A worker for the HTTP side: real dispatch and a real server, with documents, dead letters and holders that a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
from pydantic import SecretStr

from tests.unit.dispatch.fakes import World
from tests.unit.web.documents import Source
from worker_agents.model.errors import WorkerAgentsError
from worker_agents.model.letters import Holder, Letter, Origin, Replayed
from worker_agents.telemetry.events import OperatorAction
from worker_agents.telemetry.metrics import Metrics
from worker_agents.web.actions import action_routes
from worker_agents.web.api import api_routes
from worker_agents.web.app import create_app
from worker_agents.web.audit import Audit
from worker_agents.web.operator_actions import OperatorActions, Service
from worker_agents.web.page import LiveFeed, Sessions, page_routes
from worker_agents.web.protocol import ServerLimits
from worker_agents.web.server import HttpServer
from worker_agents.web.status import Liveness, Readiness

TOKEN = "an-admin-token-for-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Well:
    def liveness(self) -> Liveness:
        return Liveness(ok=True)

    def readiness(self) -> Readiness:
        return Readiness(ok=True)


def letter(place: str, ticket_id: str | None, reason: str = "internal") -> Letter:
    return Letter(place, 1_000, reason, "why", ticket_id, Origin("tickets", 0, 7), 2, "w-1", False, '{"ticket_id"')


class Letters:
    """Dead letters in memory; ``trouble`` is raised by both calls."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.sent: list[str] = []
        self.trouble: Exception | None = None

    async def newest(self, limit: int, reason: str | None = None) -> list[Letter]:
        self._raise()
        return [each for each in reversed(self.letters) if reason in (None, each.reason)][:limit]

    async def replay(self, places: Sequence[str], ticket_ids: Sequence[str], *, dry_run: bool) -> list[Replayed]:
        self._raise()
        there = {each.letter: each for each in self.letters if each.letter in places or each.ticket_id in ticket_ids}
        reports = [Replayed(place, None, "", None, None, "no such letter") for place in places if place not in there]
        for each in there.values():
            if not dry_run:
                self.sent.append(each.letter)
            sent_to = None if dry_run else "tickets 0-9"
            reports.append(Replayed(each.letter, each.ticket_id, each.reason, 0, sent_to, None))
        return reports

    def _raise(self) -> None:
        if self.trouble is not None:
            raise self.trouble


class Holders:
    def __init__(self) -> None:
        self.known: dict[str, Holder] = {}
        self.trouble: WorkerAgentsError | None = None

    async def find(self, ticket_id: str) -> Holder | None:
        if self.trouble is not None:
            raise self.trouble
        return self.known.get(ticket_id)


class Worker:
    """``http`` asks it over real connections."""

    def __init__(self, token: str = TOKEN, limits: ServerLimits | None = None) -> None:
        self.world = World(task_types=("BUILD", "TEST"))
        self.letters = Letters()
        self.holders = Holders()
        self.drains = 0
        self.probes = 0
        service = Service(self.world.dispatcher, self.letters, self.holders, self._drain, self._probe)
        self.actions = OperatorActions(service, Audit(self.world.clock, self.world.events.append))
        self.source = Source()
        self.feed = LiveFeed(interval=0.02)
        routes = [
            *action_routes(self.actions, SecretStr(token)),
            *api_routes(self.source),
            *page_routes(self.source, self.feed, self.actions, Sessions(SecretStr(token), self.world.clock)),
        ]
        app = create_app(Well(), Metrics(), routes)
        self.server = HttpServer(app, "127.0.0.1", 0, limits, on_stop=self.feed.close)
        self.http: httpx.AsyncClient

    @property
    def audited(self) -> list[OperatorAction]:
        return [event for event in self.world.events if isinstance(event, OperatorAction)]

    async def post(self, path: str, **body: object) -> httpx.Response:
        return await self.http.post(f"/api/v1{path}", json=body, headers=BEARER)

    def _drain(self) -> bool:
        self.drains += 1
        return self.drains == 1

    def _probe(self) -> None:
        self.probes += 1


def client_of(server: HttpServer) -> httpx.AsyncClient:
    # Authorities that sign certificates would be read for each client, which takes longer than most tests.
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, verify=False)


@asynccontextmanager
async def serving(token: str = TOKEN, limits: ServerLimits | None = None) -> AsyncIterator[Worker]:
    worker = Worker(token, limits)
    await worker.server.start()
    async with client_of(worker.server) as http:
        worker.http = http
        try:
            yield worker
        finally:
            await worker.world.lane.stop("the test is over")
            await worker.server.stop()
