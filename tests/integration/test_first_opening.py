"""What a group finds, and keeps, that was there before its state topic."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.support.fleet import Fleet, fleet, probe

pytestmark = pytest.mark.integration


@pytest.fixture
async def ships(kafka: Any, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with fleet(kafka.bootstrap_servers, tmp_path, partitions=1) as started:
        yield started


async def commit(ships: Fleet, offset: int) -> None:
    """As another consumer of the group did before."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=ships.bootstrap_servers, group_id=ships.group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tp = TopicPartition(ships.topics["tickets"], 0)
        consumer.assign([tp])
        await consumer.commit({tp: offset})
    finally:
        await consumer.stop()


async def test_a_group_that_has_offsets_goes_on_from_them(ships: Fleet) -> None:
    await ships.submit([probe(f"t-{number}") for number in range(10)])
    await commit(ships, 7)
    worker = ships.worker()
    results = await ships.results(3)
    assert await worker.stop() == 0
    assert {result["ticket_id"] for result in results} == {"t-7", "t-8", "t-9"}
    assert [line["floor"] for line in worker.events("partition_opened")] == [7]


async def test_a_reset_to_a_later_offset_is_obeyed_loudly(ships: Fleet) -> None:
    first = ships.worker()
    await ships.submit([probe("before")])
    await ships.results(1)
    assert await first.stop() == 0
    await ships.submit([probe(f"skipped-{number}") for number in range(4)])
    await commit(ships, 5)
    second = ships.worker()
    await ships.submit([probe("after")])
    results = await ships.results(2)
    assert {result["ticket_id"] for result in results} == {"before", "after"}
    (told,) = second.events("offsets_reset_forward")
    assert (told["floor"], told["committed"], told["level"]) == (1, 5, "warning")


async def test_a_state_topic_of_another_group_is_refused_with_a_sentence(ships: Fleet) -> None:
    first = ships.worker()
    await ships.submit([probe("mine")])
    await ships.results(1)
    assert await first.stop() == 0
    stranger = ships.worker(KAFKA_CONSUMER_GROUP_ID=f"{ships.group}-other")
    (told, *_) = await stranger.says("partition_not_opened")
    assert f"belongs to group '{ships.group}'" in told["why"]
    assert "KAFKA_STATE_TOPIC" in told["why"]
