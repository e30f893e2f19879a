"""The embedded broker: what is written survives a restart and a crash, and nothing survives a stop."""

import os
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from worker_agents.devkit.embedded_kafka import QUICK_RETURN, EmbeddedKafka, EmbeddedKafkaError

pytestmark = pytest.mark.integration

TOPIC = "greetings"


async def create_topic(servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def produce(servers: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        await producer.send_and_wait(TOPIC, value)


async def consume_one(servers: str) -> bytes | None:
    async with AIOKafkaConsumer(TOPIC, bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
    return record.value


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_record_survives_restart_and_crash_and_nothing_survives_the_stop() -> None:
    async with EmbeddedKafka(properties=QUICK_RETURN) as kafka:
        servers, folder = kafka.bootstrap_servers, kafka.data_dir
        await create_topic(servers)
        await produce(servers, b"hello")
        assert await consume_one(servers) == b"hello"

        await kafka.restart()
        assert await consume_one(servers) == b"hello"

        await kafka.kill()
        await kafka.start_again()
        assert await consume_one(servers) == b"hello"
        assert kafka.bootstrap_servers == servers
        pid = kafka.pid

    assert pid is not None
    assert not is_running(pid)
    assert not folder.exists()


async def test_a_given_data_folder_is_kept_and_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "kafka"
    async with EmbeddedKafka(data_dir=folder) as first:
        await create_topic(first.bootstrap_servers)
        await produce(first.bootstrap_servers, b"hello")

    async with EmbeddedKafka(data_dir=folder) as second:
        assert await consume_one(second.bootstrap_servers) == b"hello"


async def test_a_broker_that_cannot_start_tells_why_and_leaves_nothing() -> None:
    kafka = EmbeddedKafka(properties={"num.partitions": "zero"})
    with pytest.raises(EmbeddedKafkaError, match=r"exit code 1(.|\n)*num\.partitions"):
        await kafka.start()
    assert kafka.pid is None


async def test_an_unfinished_start_leaves_no_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(EmbeddedKafkaError):
        await EmbeddedKafka(heap="1k").start()
    assert not list(tmp_path.iterdir())
