"""Topics are created as they must be, and a wrong layout is one clear error."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NodeNotReadyError

from worker_agents.kafka import topics as topics_module
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.topics import STATE_CONFIG, TopicNames, Topics
from worker_agents.model.clock import SystemClock
from worker_agents.model.errors import KafkaUnreachable, TopicLayoutInvalid
from worker_agents.telemetry.events import Event, KafkaTrouble, TopicCreated

pytestmark = pytest.mark.integration


@pytest.fixture
def names() -> TopicNames:
    run = uuid4().hex[:8]
    return TopicNames(*(f"l-{run}.{kind}" for kind in ("tickets", "results", "dlq", "state")))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def topics(kafka: Any, names: TopicNames, events: list[Event]) -> Topics:
    return Topics(KafkaConnection(kafka.bootstrap_servers), names, SystemClock(), events.append)


async def created(kafka: Any, *new: NewTopic) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics(list(new))
    finally:
        await admin.close()


async def test_a_broker_that_is_lost_right_after_connecting_is_asked_again(
    topics: Topics, names: TopicNames, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, asked = topics_module._describe, 0

    async def describe_the_second_time(*arguments: Any, **options: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise NodeNotReadyError("lost")
        return await describe(*arguments, **options)

    monkeypatch.setattr(topics_module, "_describe", describe_the_second_time)

    layout = await topics.ready(create=True, connect_timeout=10)

    assert set(layout) == set(names.all())
    assert [type(event) for event in events].count(KafkaTrouble) == 1


async def test_missing_topics_are_created_with_their_layout(
    topics: Topics, names: TopicNames, events: list[Event]
) -> None:
    layout = await topics.ready(create=True, connect_timeout=10)
    assert {name: layout[name].partitions for name in names.all()} == {
        names.tickets: 12,
        names.results: 6,
        names.dlq: 3,
        names.state: 12,
    }
    assert layout[names.state].is_compacted
    assert not layout[names.tickets].is_compacted
    assert layout[names.dlq].max_bytes == 2 * 1024 * 1024
    assert {event.topic for event in events if isinstance(event, TopicCreated)} == set(names.all())
    assert await topics.ready(create=True, connect_timeout=10) == layout


async def test_the_state_topic_follows_a_tickets_topic_that_exists(
    kafka: Any, topics: Topics, names: TopicNames
) -> None:
    await created(kafka, NewTopic(names.tickets, 5, 1))
    layout = await topics.ready(create=True, connect_timeout=10)
    assert layout[names.state].partitions == 5


async def test_missing_topics_are_named_where_they_may_not_be_created(topics: Topics, names: TopicNames) -> None:
    with pytest.raises(TopicLayoutInvalid, match=rf"missing topics: {names.tickets}, .*KAFKA_CREATE_TOPICS"):
        await topics.ready(create=False, connect_timeout=10)


async def test_a_state_topic_with_other_partitions_is_refused(kafka: Any, topics: Topics, names: TopicNames) -> None:
    await created(kafka, NewTopic(names.tickets, 4, 1), NewTopic(names.state, 3, 1, topic_configs=dict(STATE_CONFIG)))
    with pytest.raises(TopicLayoutInvalid, match=r"has 3 partitions, tickets topic .* has 4: they must be equal"):
        await topics.ready(create=True, connect_timeout=10)


async def test_a_state_topic_that_is_not_compacted_is_refused(kafka: Any, topics: Topics, names: TopicNames) -> None:
    await created(kafka, NewTopic(names.tickets, 2, 1), NewTopic(names.state, 2, 1))
    with pytest.raises(TopicLayoutInvalid, match="is not compacted"):
        await topics.ready(create=True, connect_timeout=10)


async def test_a_kafka_that_does_not_answer_is_told_and_given_up(names: TopicNames, events: list[Event]) -> None:
    nobody = Topics(KafkaConnection("127.0.0.1:1"), names, SystemClock(), events.append)
    with pytest.raises(KafkaUnreachable, match=r"127.0.0.1:1 within 1 s .*KAFKA_BOOTSTRAP_SERVERS") as caught:
        await nobody.ready(create=True, connect_timeout=1)
    assert caught.value.exit_code == 3
    assert any(isinstance(event, KafkaTrouble) for event in events)
