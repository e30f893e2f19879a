"""What a group finds, and keeps, that was there before its state topic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, fleet, probe

pytestmark = pytest.mark.integration


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=1) as started:
        yield started


async def test_a_group_that_has_offsets_goes_on_from_them(ships: Fleet) -> None:
    await ships.submit([probe(f"t-{number}") for number in range(10)])
    await ships.reset_offsets(7)
    worker = ships.worker()
    results = await ships.results(3)
    assert await worker.stop() == 0
    assert {result["ticket_id"] for result in results} == {"t-7", "t-8", "t-9"}
    assert [line["floor"] for line in worker.events("partition_opened")] == [7]
