"""Tickets in numbers: a long tail behind one head, thousands that wait for one, all of them failing."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tests.support.fleet import Fleet, duplicates, probe
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress

FINISHED = 100_000
WAITING = 50_000
INNOCENT = 200
HELD = Behaviour(progress=Progress(queued=1, processing=None))
QUIET = {"LOG_LEVEL": "WARNING", "PROBE_LOG": "", "MAX_CONCURRENT_TASKS": "500"}


def execute(ticket_id: str) -> dict[str, Any]:
    return {"ticket_id": ticket_id, "task_type": "EXECUTE", "parameters": {"template_id": "service"}}


@pytest.mark.timeout(400)
async def test_100_000_finished_behind_one_unfinished(ships: Fleet) -> None:
    """They are answered while the head runs, and none of them again when its worker dies."""
    async with CodeForgeServer(HELD) as forge:
        first = ships.worker(CODE_FORGE_URL=forge.url, **QUIET)
        await ships.submit([execute("head"), *(probe(f"f-{number}") for number in range(FINISHED))])
        assert len(await ships.results(FINISHED, timeout=240)) == FINISHED
        first.kill()

        second = ships.worker(CODE_FORGE_URL=forge.url, **QUIET | {"LOG_LEVEL": "INFO"})
        (opened,) = await second.says("partition_opened", timeout=60)
        assert (opened["floor"], opened["unsettled"]) == (0, 1)
        forge.change(progress=Progress(queued=0, processing=0))
        results = await ships.results(FINISHED + 1)
        assert duplicates(results) == {}
        assert Counter(result["agent_id"] for result in results) == {first.name: FINISHED, second.name: 1}
        assert forge.log.works_created == 1
        assert await second.stop(60) == 0
        assert (await ships.committed_floor())[0] == FINISHED + 1


@pytest.mark.timeout(400)
async def test_50_000_tickets_waiting_for_one_dependency(ships: Fleet) -> None:
    worker = ships.worker(**QUIET | {"LOG_LEVEL": "INFO", "MAX_PARKED_TICKETS": str(WAITING + 1)})
    await ships.submit([probe(f"w-{number}") | {"dependencies": ["key"]} for number in range(WAITING)])
    parked = await ships.read("state", lambda found: len(parked_ids(found)) >= WAITING, timeout=180)
    assert len(parked_ids(parked)) == WAITING
    await ships.submit([probe("other")])
    assert [result["ticket_id"] for result in await ships.results(1)] == ["other"]

    await ships.submit([probe("key")])
    results = await ships.results(WAITING + 2, timeout=180)
    assert len(results) == WAITING + 2
    assert duplicates(results) == {}
    assert {result["status"] for result in results} == {"COMPLETED"}
    for trouble in ("lease_expired", "ledger_failed", "partition_closed"):
        assert worker.events(trouble) == []
    assert await worker.stop(60) == 0


def parked_ids(records: list[ConsumerRecord]) -> set[bytes]:
    return {record.key for record in records if b'"phase":"parked"' in (record.value or b"")}


async def test_all_tickets_failing_at_once(ships: Fleet) -> None:
    """Their back-off takes up no room: what comes after them goes through."""
    ships.worker(MAX_BUFFERED_TICKETS="20", RETRY_BACKOFF_BASE_SECONDS="600", RETRY_BACKOFF_MAX_SECONDS="600")
    await ships.submit([probe(f"bad-{number}", errors=9) for number in range(1_000)])
    await ships.submit([probe(f"good-{number}") for number in range(20)])
    results = await ships.results(20)
    assert {result["ticket_id"] for result in results} == {f"good-{number}" for number in range(20)}
    waiting = {
        record.key: json.loads(record.value) for record in await ships.existing("state") if record.key[:4] == b"bad-"
    }
    assert len(waiting) == 1_000
    # The wait is random between nothing and ten minutes: a few are tried again at once.
    parked = [state for state in waiting.values() if (state["phase"], state["attempt"]) == ("parked", 2)]
    assert len(parked) > 900
    assert all(state["due_at"] > 0 for state in parked)


async def test_every_slot_of_one_type_blocked(ships: Fleet) -> None:
    """More of them than the buffer holds; the others, behind them in the same partition, go on."""
    async with CodeForgeServer(HELD) as forge:
        ships.worker(CODE_FORGE_URL=forge.url, MAX_CONCURRENT_EXECUTE="2", MAX_BUFFERED_TICKETS="20")
        await ships.submit([execute(f"e-{number}") for number in range(200)])
        await ships.submit([probe(f"p-{number}") for number in range(50)])
        results = await ships.results(50)
        assert {result["ticket_id"] for result in results} == {f"p-{number}" for number in range(50)}
        assert forge.log.works_created <= 2

        forge.change(progress=Progress(queued=0, processing=0))
        results = await ships.results(250)
        assert len(results) == 250
        assert {result["status"] for result in results} == {"COMPLETED"}


@pytest.mark.timeout(300)
async def test_poison_pill_among_200_innocent_long_tasks(ships: Fleet) -> None:
    """It is found, they all come through, and they need not run one after the other for it."""
    innocent = [f"innocent-{number}" for number in range(INNOCENT)]
    await ships.submit([probe(ticket_id, sleep_ms=2_000) for ticket_id in innocent[: INNOCENT // 2]])
    await ships.submit([probe("poison", die=True)])
    await ships.submit([probe(ticket_id, sleep_ms=2_000) for ticket_id in innocent[INNOCENT // 2 :]])
    deaths = 0
    while True:
        worker = ships.worker(MAX_DELIVERIES="3", MAX_CONCURRENT_TASKS=str(INNOCENT + 1))
        found = await ships.results_until_ended(worker, INNOCENT + 1)
        if len(found) > INNOCENT:
            break
        assert worker.process.returncode == -signal.SIGKILL, ships.tails()
        deaths += 1
    by_id = {result["ticket_id"]: result for result in found}
    assert by_id["poison"]["error_reason"] == "worker_lost"
    assert {by_id[ticket_id]["status"] for ticket_id in innocent} == {"COMPLETED"}
    assert duplicates(found) == {}
    letters = await ships.read("dlq", lambda records: len(records) >= 1, timeout=10)
    assert [letter.key for letter in letters] == [b"plan-0"]
    # Once with all beside it, a few times in a group that gets smaller, and once alone.
    assert 3 <= deaths <= 8
