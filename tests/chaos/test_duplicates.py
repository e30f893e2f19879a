"""A ticket is answered once, however often it is sent or read."""

from __future__ import annotations

from tests.support.fleet import Fleet, probe
from tests.support.scenario import Scenario

TICKETS = 60


def key_of(number: int) -> bytes:
    return b"plan-%d" % (number % TICKETS % 7)


async def test_duplicates_give_one_result(ships: Fleet, scenario: Scenario) -> None:
    tickets = [f"d-{number}" for number in range(TICKETS)]
    requests = [probe(ticket_id, sleep_ms=300) for ticket_id in tickets]
    worker = ships.worker()
    await ships.submit(requests + requests, key=key_of)
    await ships.results(TICKETS)
    await ships.submit([*requests, probe("last")], key=key_of)

    results = await ships.results(TICKETS + 1)
    assert await worker.stop() == 0
    results = await ships.results(TICKETS + 2, timeout=2)
    scenario.take([*tickets, "last"], results)
    assert set(ships.probe_starts().values()) == {1}


async def test_offsets_reset_to_the_beginning_run_nothing_twice(ships: Fleet, scenario: Scenario) -> None:
    tickets = [f"o-{number}" for number in range(TICKETS)]
    first = ships.worker()
    await ships.submit([probe(ticket_id) for ticket_id in tickets])
    await ships.results(TICKETS)
    assert await first.stop() == 0
    await ships.reset_offsets(0)
    scenario.faults += 1

    second = ships.worker()
    await ships.submit([probe("after")])
    await ships.results(TICKETS + 1)
    # The answer to the new ticket says nothing of the other partitions: they may still be read.
    assert await ships.settled(TICKETS + 1) == TICKETS + 1
    assert await second.stop() == 0
    results = await ships.results(TICKETS + 2, timeout=2)
    scenario.take([*tickets, "after"], results)
    assert set(ships.probe_starts().values()) == {1}
    assert await ships.settled(TICKETS + 1) == TICKETS + 1
