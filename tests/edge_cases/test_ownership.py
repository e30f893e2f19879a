"""Partitions that go and come back, and topics that belong to somebody else or do not fit."""

from __future__ import annotations

import json
from collections import Counter

from aiokafka import AIOKafkaProducer

from tests.support.fleet import Fleet, duplicates, probe
from tests.support.kafka_proxy import KafkaProxy
from worker_agents.kafka.state import TicketStates


async def test_partition_leaves_and_returns_to_the_same_worker(wide: Fleet) -> None:
    """With two members in between, so that each partition of the first was another's for a while."""
    tickets = [f"p-{number}" for number in range(40)]
    first = wide.worker()
    await first.says("partition_opened", wide.partitions)
    await wide.submit([probe(ticket_id, sleep_ms=4_000) for ticket_id in tickets])
    await wide.probe_says("start", len(tickets))

    second = wide.worker()
    await second.says("partition_opened", wide.partitions // 2)
    gone = {line["partition"] for line in second.events("partition_opened")}
    second.kill()
    for partition in gone:
        await first.says("partition_opened", 2, partition=partition)

    results = await wide.results(len(tickets))
    assert {result["ticket_id"] for result in results} == set(tickets), wide.tails()
    assert duplicates(results) == {}
    kept = [ticket_id for number, ticket_id in enumerate(tickets) if number % wide.partitions not in gone]
    assert {wide.probe_starts()[ticket_id] for ticket_id in kept} == {1}
    assert await first.stop() == 0


async def test_second_group_pointed_at_the_same_state_topic(ships: Fleet) -> None:
    first = ships.worker()
    await first.says("partition_opened")
    stranger = ships.worker(KAFKA_CONSUMER_GROUP_ID="another-group")
    (refused, *_) = await stranger.says("partition_not_opened")
    assert "belongs to group" in refused["why"]
    assert ships.group in refused["why"]
    assert "set KAFKA_STATE_TOPIC to a topic of its own" in refused["why"]

    await ships.submit([probe("t")])
    assert [result["agent_id"] for result in await ships.results(1)] == [first.name]
    assert ships.probe_starts() == {"t": 1}
    assert stranger.events("partition_opened") == []


async def test_partitions_added_to_tickets_but_not_to_state(ships: Fleet, proxy: KafkaProxy) -> None:
    """The new one is not opened, with a sentence; the old one goes on; once the state topic has it too, so does that."""
    worker = ships.worker(KAFKA_BOOTSTRAP_SERVERS=proxy.bootstrap_servers)
    await worker.says("partition_opened", partition=0)
    await ships.expand("tickets", 2)
    # Clients look for new partitions every five minutes, and when they connect.
    await proxy.close()
    (refused, *_) = await worker.says("partition_not_opened", partition=1)
    assert "has no partition 1" in refused["why"]
    assert "expand it" in refused["why"]

    ships.partitions = 2
    await ships.submit([probe("old"), probe("new")])
    assert [result["ticket_id"] for result in await ships.results(1)] == ["old"]
    late = ships.worker()
    assert await late.ended() != 0
    assert "they must be equal" in "\n".join(late.text)

    await ships.expand("state", 2)
    await worker.says("partition_opened", partition=1)
    results = await ships.results(2)
    assert {result["ticket_id"] for result in results} == {"old", "new"}
    assert ships.probe_starts() == {"old": 1, "new": 1}


FOREIGN = [
    (b"some-ticket", b"not json"),
    (b"other-ticket", b'{"phase":"dancing","offset":1}'),
    (b"third-ticket", b'{"phase":"started"}'),
    (b"@unheard-of", b'{"phase":"parked","offset":3}'),
    (b"@floor", b'{"offset":"many"}'),
    (b"\xff\xfe", b"{}"),
    (b"fourth-ticket", b"[1, 2]"),
]


async def test_state_topic_with_foreign_records(ships: Fleet) -> None:
    first = ships.worker()
    await ships.submit([probe("long", sleep_ms=600_000), probe("done")])
    await ships.results(1)
    first.kill()
    await write_state(ships, *FOREIGN)

    second = ships.worker()
    told = await second.says("state_record_unreadable", len(FOREIGN))
    assert {line["key"] for line in told} >= {"some-ticket", "@floor", "@unheard-of"}
    await second.says("partition_opened")
    await ships.submit([probe("done"), probe("after")])
    results = await ships.results(2)
    assert {result["ticket_id"] for result in results} == {"done", "after"}
    assert duplicates(results) == {}
    await ships.probe_says("start", 4)
    assert ships.probe_starts() == {"long": 2, "done": 1, "after": 1}


async def test_a_death_counts_although_the_next_worker_dies_before_it_comes_to_the_ticket(ships: Fleet) -> None:
    """Otherwise two poison pills that kill in turn are never found out."""
    tickets = [f"c-{number}" for number in range(30)]
    first = ships.worker()
    await ships.submit([probe(ticket_id, sleep_ms=600_000) for ticket_id in tickets])
    await ships.probe_says("start", len(tickets))
    first.kill()
    second = ships.worker(MAX_CONCURRENT_TASKS="1")
    await ships.probe_says("start", len(tickets) + 1)
    second.kill()
    third = ships.worker(MAX_CONCURRENT_TASKS="1")
    await third.says("partition_opened")
    third.kill()

    deaths = Counter(state.delivery - 1 for state in (await last_states(ships)).active.values())
    assert set(deaths) == {1, 2}
    assert deaths[2] < 10, "one ran at the second worker, and a few were armed"


async def test_state_topic_missing_a_record(ships: Fleet) -> None:
    """Without its state a running ticket begins anew, without the floor the group's offset serves; nothing is lost."""
    first = ships.worker()
    await ships.submit([probe("first"), probe("running", sleep_ms=2_000), probe("second")])
    await ships.results(2)
    first.kill()
    await write_state(ships, (b"running", None), (b"@floor", None), (b"@meta", None))

    second = ships.worker()
    results = await ships.results(3)
    assert {result["ticket_id"] for result in results} == {"first", "running", "second"}
    assert duplicates(results) == {}
    assert await second.stop() == 0
    assert (await ships.committed_floor())[0] == 3
    states = await last_states(ships)
    assert states.meta is not None
    assert states.floor == 3


async def last_states(ships: Fleet) -> TicketStates:
    states = TicketStates()
    for record in await ships.existing("state"):
        states.apply(record.key.decode(), record.value)
    return states


async def write_state(ships: Fleet, *records: tuple[bytes | None, bytes | None]) -> None:
    """Somebody else writes to our state topic; a record without a value removes what was there."""
    producer = AIOKafkaProducer(bootstrap_servers=ships.bootstrap_servers)
    await producer.start()
    try:
        for key, value in records:
            await producer.send_and_wait(ships.topics["state"], value, key, partition=0)
    finally:
        await producer.stop()


async def test_same_id_in_two_partitions_is_reported(wide: Fleet) -> None:
    worker = wide.worker()
    await worker.says("partition_opened", wide.partitions)
    await wide.submit([probe("twin", sleep_ms=1_000), probe("twin", sleep_ms=1_000)])
    (told, *_) = await worker.says("ticket_in_two_partitions")
    assert {told["partition"], told["other_partition"]} == {"0", "1"}
    records = await wide.read("results", lambda found: len(found) >= 2, timeout=30)
    assert [json.loads(record.value)["status"] for record in records] == ["COMPLETED"] * 2
