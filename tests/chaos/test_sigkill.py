"""A worker that is killed loses nothing, doubles nothing and starts nothing twice."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.support.fleet import Fleet
from tests.support.scenario import Scenario
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress

TICKETS = 1_000
IN_FLIGHT = 200


def execute_ticket(number: int) -> dict[str, Any]:
    return {
        "ticket_id": f"ticket-{number}",
        "plan_id": f"plan-{number % 50}",
        "task_type": "EXECUTE",
        "parameters": {"template_id": "service"},
    }


async def checkpointed_before(ships: Fleet, moment_ms: float) -> set[str]:
    """Tickets whose checkpoint was committed, and written before that moment."""
    records = await ships.read("state", lambda _: False, timeout=3.0)
    return {
        record.key.decode()
        for record in records
        if record.value is not None
        and record.timestamp < moment_ms
        and json.loads(record.value).get("phase") == "checkpoint"
    }


async def test_sigkill_with_200_tickets_in_flight(ships: Fleet, scenario: Scenario) -> None:
    held = Behaviour(progress=Progress(queued=1, processing=None))
    async with CodeForgeServer(held) as forge:
        workers = [ships.worker(CODE_FORGE_URL=forge.url) for _ in range(2)]
        tickets = [execute_ticket(number) for number in range(TICKETS)]
        await ships.submit(tickets)
        # A generation is polled only once its checkpoint is durable.
        await forge.log.wait_until(lambda log: len(log) - log.works_created > 1.75 * IN_FLIGHT)

        workers[0].kill()
        killed_at, calls_before = time.time() * 1000, len(forge.log)
        scenario.faults += 1
        ships.worker(CODE_FORGE_URL=forge.url)
        forge.change(progress=Progress(queued=0, processing=0))

        results = await ships.results(TICKETS, timeout=100)
        checkpointed = await checkpointed_before(ships, killed_at)
        started_later = {call.ticket_id for call in forge.log.find(method="POST", since=calls_before)}

        scenario.notes.append(f"{len(checkpointed)} checkpoints before the kill")
        scenario.take([ticket["ticket_id"] for ticket in tickets], results, forge.log)
        assert len(checkpointed) >= IN_FLIGHT, ships.tails()
        assert checkpointed & started_later == set()
        assert all(
            result["status"] == "COMPLETED" and not result["result"]["metadata"]["simulated"] for result in results
        )
