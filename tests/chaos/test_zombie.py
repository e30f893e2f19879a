"""A worker that was stopped and wakes up late harms nobody."""

from __future__ import annotations

import signal

from tests.support.fleet import Fleet, probe
from tests.support.scenario import Scenario

TICKETS = 40
TASK_MS = 14_000


async def test_zombie_that_wakes_with_a_stale_assignment(ships: Fleet, scenario: Scenario) -> None:
    zombie = ships.worker()
    await zombie.says("partition_opened", ships.partitions)
    tickets = [f"z-{number}" for number in range(TICKETS)]
    await ships.submit([probe(ticket_id, sleep_ms=TASK_MS) for ticket_id in tickets])
    await ships.probe_says("start", TICKETS)
    heir = ships.worker()
    await heir.says("partition_opened", ships.partitions // 2)

    zombie.send(signal.SIGSTOP)
    scenario.faults += 1
    # The rest comes to the heir when the group has given the silent member up.
    await heir.says("partition_opened", ships.partitions)
    woken_at = len(ships.probe_log())
    zombie.send(signal.SIGCONT)
    await zombie.says("lease_expired")

    results = await ships.results(TICKETS, timeout=60)
    scenario.take(tickets, results)
    # Back in the group, it may be given partitions again: what it starts anew then is its own.
    later = [(line[0], line[1]) for line in ships.probe_log()[woken_at:] if int(line[3]) == zombie.pid]
    started_anew = {ticket_id for what, ticket_id in later if what == "start"}
    ended = {ticket_id for what, ticket_id in later if what == "end"}
    published = {result["ticket_id"] for result in results if result["agent_id"] == zombie.name}
    assert ended - started_anew == set(), "the zombie went on with tasks that were no longer its own"
    assert published - started_anew == set(), "the zombie published for tickets that were no longer its own"
    assert heir.events("ledger_failed") == [], "the zombie fenced the rightful owner"
