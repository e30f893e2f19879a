"""A broker that dies under load and comes back: nothing is lost, doubled or started twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.test_sigkill import execute_ticket
from tests.support.fleet import fleet
from tests.support.scenario import Scenario
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Peculiarities, Progress
from worker_agents.devkit.embedded_kafka import QUICK_RETURN, EmbeddedKafka

TICKETS = 600


@pytest.mark.timeout(240)
async def test_broker_restarted_under_load(tmp_path: Path, scenario: Scenario) -> None:
    slow = Behaviour(progress=Progress(queued=2, processing=2, unit="seconds"), peculiarities=Peculiarities.none())
    async with (
        EmbeddedKafka(properties=QUICK_RETURN) as broker,
        CodeForgeServer(slow) as forge,
        fleet(broker.bootstrap_servers, tmp_path, CODE_FORGE_URL=forge.url) as ships,
    ):
        for _ in range(2):
            ships.worker()
        tickets = [execute_ticket(number) for number in range(TICKETS)]
        await ships.submit(tickets)
        await forge.log.wait_until(lambda log: log.works_created >= TICKETS // 3)
        await broker.kill()
        scenario.faults += 1
        await broker.start_again()

        results = await ships.results(TICKETS, timeout=150)
        scenario.take([ticket["ticket_id"] for ticket in tickets], results, forge.log)
        assert {result["status"] for result in results} == {"COMPLETED"}
        assert not any(result["result"]["metadata"]["simulated"] for result in results)
