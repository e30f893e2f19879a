"""Tickets logs that lack records: compacted, with markers, cut off by retention, or made anew."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import RecordsToDelete

from tests.support.fleet import Fleet, duplicates, probe


def states_of(records: list[ConsumerRecord], ticket_id: str) -> list[dict[str, Any] | None]:
    """All states that were written of a ticket; ``None`` for a tombstone."""
    mine = [record.value for record in records if record.key == ticket_id.encode()]
    return [None if value is None else json.loads(value) for value in mine]


async def test_marker_gaps(ships: Fleet) -> None:
    """Every transaction of a producer leaves an offset that holds no record, and an aborted one hides its records."""
    producer = AIOKafkaProducer(
        bootstrap_servers=ships.bootstrap_servers, transactional_id=f"orchestrator-{ships.name}"
    )
    await producer.start()
    try:
        for number in range(10):
            await producer.begin_transaction()
            value = json.dumps(probe(f"m-{number}")).encode()
            await producer.send_and_wait(ships.topics["tickets"], value, partition=0)
            await (producer.abort_transaction() if number % 2 else producer.commit_transaction())
    finally:
        await producer.stop()
    worker = ships.worker()
    results = await ships.results(5)
    assert {result["ticket_id"] for result in results} == {f"m-{number}" for number in range(0, 10, 2)}
    assert await worker.stop() == 0
    # The last committed ticket lies at 16, the marker behind it at 17; 18 and 19 were aborted.
    assert (await ships.committed_floor())[0] == 17

    again = ships.worker()
    await ships.submit([probe("after")])
    assert len(await ships.results(6)) == 6
    assert await again.stop() == 0
    assert set(ships.probe_starts().values()) == {1}


async def test_compacted_gaps(ships: Fleet) -> None:
    await ships.configure("tickets", {"cleanup.policy": "compact", "segment.ms": "100", "max.compaction.lag.ms": "100"})
    one_key = [probe(f"c-{number}") for number in range(20)]
    await ships.submit(one_key, key=lambda _: b"plan")
    # A new segment is what makes the one before it ready for the cleaner.
    number = 0
    while await surviving(ships) & {f"c-{number}" for number in range(19)}:
        number += 1
        await ships.submit([probe(f"d-{number}")], key=lambda _, number=number: b"other-%d" % number)
    assert {"c-19", f"d-{number}"} <= await surviving(ships)

    worker = ships.worker()
    results = await ships.results(1 + number)
    assert {result["ticket_id"] for result in results} == {"c-19", *(f"d-{each + 1}" for each in range(number))}
    assert await worker.stop() == 0
    last = max(record.offset for record in await ships.existing("tickets"))
    assert (await ships.committed_floor())[0] == last + 1
    assert worker.events("ticket_dead_lettered") == []


async def surviving(ships: Fleet) -> set[str]:
    """Ids of the tickets that compaction has left."""
    return {json.loads(record.value)["ticket_id"] for record in await ships.existing("tickets")}


async def test_offset_out_of_range_while_the_head_is_unfinished(ships: Fleet) -> None:
    """Retention removes the record of a ticket that still runs, and records that nobody has read yet."""
    worker = ships.worker(MAX_CONCURRENT_TASKS="1", MAX_BUFFERED_TICKETS="5")
    await ships.submit([probe("head", sleep_ms=4_000)])
    await ships.probe_says("start", 1)
    # More than a consumer fetches ahead.
    await ships.submit([probe(f"r-{number}") | {"filler": "x" * 8_000} for number in range(1_000)])
    await delete_before(ships, 995)
    records = await ships.read("results", lambda found: any(record.key == b"r-999" for record in found), timeout=60)
    answered = Counter(record.key.decode() for record in records)
    assert {"head", *(f"r-{number}" for number in range(994, 1_000))} <= answered.keys()
    assert "r-900" not in answered
    assert set(answered.values()) == {1}
    assert await worker.stop() == 0
    assert (await ships.committed_floor())[0] == 1_001


async def test_a_ticket_whose_record_is_gone_when_its_worker_dies_expires(ships: Fleet) -> None:
    first = ships.worker()
    await ships.submit([probe("head", sleep_ms=600_000), *(probe(f"e-{number}") for number in range(10))])
    await ships.results(10)
    await delete_before(ships, 5)
    first.kill()

    second = ships.worker()
    await ships.submit([probe("after"), *(probe(f"e-{number}") for number in range(10))])
    results = await ships.results(12)
    by_id = {result["ticket_id"]: result for result in results}
    assert by_id["head"]["error_reason"] == "expired"
    assert by_id["after"]["status"] == "COMPLETED"
    assert await second.stop() == 0
    assert duplicates(await ships.results(13, timeout=2)) == {}
    assert set(ships.probe_starts().values()) == {1}


async def test_a_ticket_that_waited_past_the_retention_of_its_topic(ships: Fleet) -> None:
    await ships.configure("tickets", {"retention.ms": "6000", "segment.ms": "3600000"})
    worker = ships.worker()
    await ships.submit([probe("waits") | {"dependencies": ["never-sent"]}, probe("other")])
    results = {result["ticket_id"]: result for result in await ships.results(2)}
    assert results["waits"]["error_reason"] == "expired"
    assert results["other"]["status"] == "COMPLETED"
    assert set(ships.probe_starts()) == {"other"}
    assert await worker.stop() == 0


async def test_tickets_topic_deleted_and_re_created(ships: Fleet) -> None:
    """The floor lies above the new log's end: a stop with a sentence, until the state is made anew as well."""
    first = ships.worker()
    await ships.submit([probe(f"old-{number}") for number in range(20)])
    await ships.results(20)
    assert await first.stop() == 0
    await ships.re_create("tickets")

    second = ships.worker()
    (refused, *_) = await second.says("partition_not_opened")
    assert "the floor 20 of partition 0 lies above the end 0" in refused["why"]
    await ships.submit([probe("new")])
    assert len(await ships.results(21, timeout=3)) == 20
    assert second.process.poll() is None

    await second.stop()
    await ships.re_create("state")
    ships.worker()
    results = await ships.results(21)
    assert {result["ticket_id"] for result in results} >= {"new"}
    assert duplicates(results) == {}


async def test_group_offsets_reset_forward_by_an_operator(ships: Fleet) -> None:
    """A later offset is obeyed, loudly; what it skips unfinished is answered."""
    first = ships.worker()
    await ships.submit([probe("skipped", sleep_ms=600_000), *(probe(f"f-{number}") for number in range(9))])
    await ships.results(9)
    first.kill()
    await ships.reset_offsets(10)

    second = ships.worker()
    (told,) = await second.says("offsets_reset_forward")
    assert (told["floor"], told["committed"]) == (0, 10)
    await ships.submit([probe("after")])
    results = await ships.results(11)
    by_id = {result["ticket_id"]: result for result in results}
    assert by_id["skipped"]["error_reason"] == "expired"
    assert by_id["after"]["status"] == "COMPLETED"
    assert duplicates(results) == {}
    assert set(ships.probe_starts().values()) == {1}


async def test_done_older_than_the_retention_but_above_the_floor(ships: Fleet) -> None:
    """It is forgotten only when the floor has passed it: otherwise the next opening would run it again."""
    env = {"DEDUP_RETENTION_SECONDS": "0"}
    first = ships.worker(**env)
    await ships.submit([probe("head", sleep_ms=600_000), *(probe(f"d-{number}") for number in range(5))])
    await ships.results(5)
    # The ledger looks for what can be forgotten before every transaction: @owner is written four times meanwhile.
    owners = count_of(await ships.existing("state"), b"@owner")
    records = await ships.read("state", lambda found: count_of(found, b"@owner") >= owners + 4, timeout=30)
    assert all(None not in states_of(records, f"d-{number}") for number in range(5))
    first.kill()

    second = ships.worker(**env)
    await ships.submit([probe(f"d-{number}") for number in range(5)])
    await second.says("partition_opened")
    await ships.submit([probe("after")])
    assert duplicates(await ships.results(6)) == {}
    assert [ships.probe_starts()[f"d-{number}"] for number in range(5)] == [1] * 5


def count_of(records: list[ConsumerRecord], key: bytes) -> int:
    return sum(record.key == key for record in records)


async def delete_before(ships: Fleet, offset: int) -> None:
    """What retention does, at a moment of our own choosing."""
    async with ships.admin() as admin:
        await admin.delete_records({TopicPartition(ships.topics["tickets"], 0): RecordsToDelete(before_offset=offset)})
