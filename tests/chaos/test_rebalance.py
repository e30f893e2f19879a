"""A rebalance that gives a partition back interrupts nothing."""

from __future__ import annotations

from collections import Counter

from tests.support.fleet import Fleet, probe
from tests.support.scenario import Scenario

TICKETS = 40


async def test_retained_partition_is_not_interrupted(ships: Fleet, scenario: Scenario) -> None:
    first = ships.worker()
    await first.says("partition_opened", ships.partitions)
    tickets = [f"r-{number}" for number in range(TICKETS)]
    await ships.submit([probe(ticket_id, sleep_ms=6_000) for ticket_id in tickets])
    await ships.probe_says("start", TICKETS)
    second = ships.worker()
    scenario.faults += 1
    await second.says("partition_opened", ships.partitions // 2)

    results = await ships.results(TICKETS, timeout=60)
    scenario.take(tickets, results)
    retained = {line["partition"] for line in first.events("partition_retained")}
    assert len(retained) == ships.partitions // 2, ships.tails()
    assert all(line["running"] > 0 for line in first.events("partition_retained"))
    opened = Counter(line["partition"] for line in first.events("partition_opened"))
    assert all(opened[partition] == 1 for partition in retained), "a retained partition was opened again"
    starts = ships.probe_starts()
    kept = [ticket_id for number, ticket_id in enumerate(tickets) if number % ships.partitions in retained]
    assert {starts[ticket_id] for ticket_id in kept} == {1}
