"""How a worker stops, and what its successor finds."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet, probe

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
