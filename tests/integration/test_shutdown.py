"""How a worker stops, and what its successor finds."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.fleet import Fleet, fleet, probe
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports

pytestmark = pytest.mark.integration


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2) as started:
        yield started


async def test_what_ends_within_the_drain_time_is_answered(ships: Fleet) -> None:
    worker = ships.worker()
    await ships.submit([probe(f"t-{number}", sleep_ms=1_500) for number in range(10)])
    await ships.probe_says("start", 10)
    assert await worker.stop() == 0
    assert len(await ships.results(10, timeout=5)) == 10
    (drained,) = worker.events("drain_ended")
    assert (drained["finished"], drained["released"]) == (10, 0)


async def test_what_does_not_end_is_handed_over_and_costs_no_delivery(ships: Fleet) -> None:
    first = ships.worker(DRAIN_TIMEOUT_SECONDS="0.5")
    await ships.submit([probe(f"t-{number}", sleep_ms=4_000) for number in range(6)])
    await ships.probe_says("start", 6)
    assert await first.stop() == 0
    (drained,) = first.events("drain_ended")
    assert drained["released"] == 6

    second = ships.worker()
    results = await ships.results(6, timeout=30)
    assert {result["agent_id"] for result in results} == {"worker-2"}
    assert not any(line["unclean"] for line in second.events("partition_opened"))


async def test_a_second_signal_goes_faster(ships: Fleet) -> None:
    worker = ships.worker(DRAIN_TIMEOUT_SECONDS="600")
    await ships.submit([probe("long", sleep_ms=600_000)])
    await ships.probe_says("start", 1)
    worker.send(signal.SIGTERM)
    await worker.says("drain_started")
    worker.send(signal.SIGINT)
    assert await worker.ended(timeout=20) == 0
    assert [line["why"] for line in worker.events("ticket_released")] == ["shutdown"]


async def test_metrics_tell_when_a_worker_serves_and_how_long_it_drains(ships: Fleet) -> None:
    (port,) = free_ports(1)
    worker = ships.worker(HTTP_PORT=str(port), DRAIN_TIMEOUT_SECONDS="600", MAX_CONCURRENT_TASKS="8")
    await ships.submit([probe("long", sleep_ms=600_000)])
    await ships.probe_says("start", 1)
    serving = await gauges(port)
    worker.send(signal.SIGTERM)
    await worker.says("drain_started")
    draining = await gauges(port)
    worker.send(signal.SIGTERM)
    assert await worker.ended(timeout=20) == 0

    assert (serving["ready"], serving["draining_seconds"], serving["rebalances_total"]) == (1, 0, 1)
    assert (serving['task_slots{task_type="all"}'], serving['task_slots_used{task_type="all"}']) == (8, 1)
    assert (draining["ready"], draining["drain_timeout_seconds"]) == (0, 600)
    assert draining["draining_seconds"] > 0
    assert [(line["partitions"], line["gained"], line["lost"]) for line in worker.events("rebalanced")] == [(2, 2, 0)]


async def gauges(port: int) -> dict[str, float]:
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith("worker_agents_"))
    return {name.removeprefix("worker_agents_"): float(value) for name, _, value in lines}


@pytest.mark.timeout(180)
async def test_a_worker_whose_broker_is_gone_before_its_first_assignment_still_ends(tmp_path: Path) -> None:
    """aiokafka waits for an assignment that a stopped consumer never gets."""
    (port,) = free_ports(1)
    # The group waits a minute for further members, and gives nobody anything before.
    late_group = {"group.initial.rebalance.delay.ms": "60000"}
    async with EmbeddedKafka(properties=late_group) as broker, fleet(broker.bootstrap_servers, tmp_path) as ships:
        worker = ships.worker(HTTP_PORT=str(port))
        await worker.says("worker_started")
        await until_it_waits_for_its_group(port)
        await broker.kill()
        assert await worker.stop(timeout=60) == 0, ships.tails()


async def until_it_waits_for_its_group(port: int) -> None:
    async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as http:
        while "has not joined its group" not in (await http.get(f"http://127.0.0.1:{port}/ready")).text:
            await asyncio.to_thread(time.sleep, 0.05)
