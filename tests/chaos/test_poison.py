"""A ticket that kills its worker every time is found out; its neighbours are not made to pay for it."""

from __future__ import annotations

from tests.support.fleet import Fleet, probe
from tests.support.scenario import Scenario

NEIGHBOURS = 50


async def test_a_fresh_poison_pill_convicts_no_innocent_suspect(ships: Fleet, scenario: Scenario) -> None:
    """It is no suspect itself yet: it must not kill the worker while one is on trial."""
    neighbours = [f"innocent-{number}" for number in range(10)]
    pills = ["pill-1", "pill-2", "pill-3"]
    await ships.submit([*(probe(ticket_id, sleep_ms=1_000) for ticket_id in neighbours), probe(pills[0], die=True)])
    while True:
        worker = ships.worker(MAX_DELIVERIES="3")
        if scenario.faults in (2, 4):
            # By now the neighbours have died with a worker twice.
            await ships.submit([probe(pills[scenario.faults // 2], die=True)])
        found = await ships.results_until_ended(worker, len(neighbours) + len(pills))
        if worker.process.poll() is None:
            break
        scenario.faults += 1
        assert scenario.faults <= 20, "the pills are not found out"

    scenario.take([*pills, *neighbours], found)
    by_id = {result["ticket_id"]: result for result in found}
    assert {by_id[ticket_id]["error_reason"] for ticket_id in pills} == {"worker_lost"}
    assert {by_id[ticket_id]["status"] for ticket_id in neighbours} == {"COMPLETED"}


async def test_a_pill_behind_suspects_that_are_never_done_is_found_out(ships: Fleet, scenario: Scenario) -> None:
    """They come through each time, and wait for their next attempt: the pill must not be tried in a group with them for ever."""
    stubborn = [f"stubborn-{number}" for number in range(4)]
    await ships.submit(
        [
            *(probe(ticket_id, errors=9, sleep_ms=600_000, retry_after=0.2) for ticket_id in stubborn),
            probe("pill", die=True),
        ],
        key=lambda _: b"one-partition",
    )
    while True:
        worker = ships.worker(MAX_DELIVERIES="3", MAX_RETRIES_PER_TICKET="9")
        found = await ships.results_until_ended(worker, 1)
        if worker.process.poll() is None:
            break
        scenario.faults += 1
        assert scenario.faults <= 8, "the pill is not found out"
    scenario.take(["pill"], found)
    assert [(result["ticket_id"], result["error_reason"]) for result in found] == [("pill", "worker_lost")]


async def test_poison_pill_ends_as_worker_lost(ships: Fleet, scenario: Scenario) -> None:
    neighbours = [f"innocent-{number}" for number in range(NEIGHBOURS)]
    poison = probe("poison", die=True)
    await ships.submit([poison, *(probe(ticket_id, sleep_ms=200) for ticket_id in neighbours)])
    while True:
        worker = ships.worker(MAX_DELIVERIES="4")
        found = await ships.results_until_ended(worker, NEIGHBOURS + 1)
        if len(found) > NEIGHBOURS or worker.process.poll() is None:
            break
        scenario.faults += 1

    scenario.take(["poison", *neighbours], found)
    by_id = {result["ticket_id"]: result for result in found}
    assert by_id["poison"]["error_reason"] == "worker_lost"
    assert {by_id[ticket_id]["status"] for ticket_id in neighbours} == {"COMPLETED"}
    letters = await ships.read("dlq", lambda records: len(records) >= 1, timeout=10)
    headers = [dict(letter.headers) for letter in letters]
    assert [header["worker-agents.reason"] for header in headers] == [b"worker_lost"]
    # As many deaths as MAX_DELIVERIES allows, less one; a few more where other suspects came through first, and it ran in a group.
    assert 3 <= scenario.faults <= 6
    assert int(headers[0]["__dlq.errors.delivery.count"]) == scenario.faults + 1
