"""Workers of the release before are replaced one by one by this one's, and one goes back, while tickets run.

TEST_PREVIOUS_RELEASE is a folder with that release and its `.venv` (`docs/releasing.md`). Without it this tree stands in.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.fleet import ROOT, Fleet, WorkerProcess, probe
from tests.support.scenario import Scenario

TICKETS = 24
SHORT_DRAIN = {"DRAIN_TIMEOUT_SECONDS": "1"}
"""What runs is handed over, not waited for."""


def previous(ships: Fleet) -> WorkerProcess:
    folder = os.environ.get("TEST_PREVIOUS_RELEASE")
    tree = Path(folder).resolve() if folder else ROOT
    python = str(tree / ".venv" / "bin" / "python") if folder else sys.executable
    return ships.worker_of(tree, python, **SHORT_DRAIN)


async def test_every_ticket_of_a_rolling_update_has_one_result(ships: Fleet, scenario: Scenario) -> None:
    first, second = previous(ships), previous(ships)
    await first.says("partition_opened")
    await second.says("partition_opened")
    tickets = await begin(ships, "before")

    third = await replace(ships, first, ships.worker(**SHORT_DRAIN))
    tickets += await begin(ships, "beside")
    fourth = await replace(ships, second, ships.worker(**SHORT_DRAIN))
    tickets += await begin(ships, "after")
    fifth = await replace(ships, third, previous(ships))
    tickets += await begin(ships, "back")

    scenario.faults = 3
    scenario.take(tickets, await ships.results(len(tickets), timeout=90))
    assert await ships.existing("dlq") == []
    assert [await fourth.stop(), await fifth.stop()] == [0, 0]
    assert sum(line["released"] for worker in (first, second, third) for line in worker.events("drain_ended")) > 0


async def begin(ships: Fleet, name: str) -> list[str]:
    """Tickets that are at work when this returns, and go on while the next worker is replaced."""
    ids = [f"{name}-{number}" for number in range(TICKETS)]
    before = sum(line[0] == "start" for line in ships.probe_log())
    await ships.submit([probe(ticket_id, sleep_ms=4_000, mark=name) for ticket_id in ids])
    await ships.probe_says("start", before + TICKETS)
    return ids


async def replace(ships: Fleet, old: WorkerProcess, new: WorkerProcess) -> WorkerProcess:
    """As a rolling update does it: the new one is ready, then the old one is told to stop."""
    await new.says("partition_opened", timeout=60)
    assert await old.stop() == 0, ships.tails()
    return new
