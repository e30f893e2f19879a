"""What the edge cases share: a broker with a proxy before it, and a fleet on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.brokers import running
from tests.support.fleet import Fleet, fleet
from tests.support.kafka_proxy import KafkaProxy, ProxiedKafka

QUICK_BROKER = {
    # Otherwise every ten seconds, and up to fifteen seconds.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    "log.cleaner.backoff.ms": "200",
}


@pytest.fixture(scope="session")
def proxied_kafka() -> Iterator[ProxiedKafka]:
    """One broker for all edge cases; what is kept back is decided by each test's own proxy."""
    with running(ProxiedKafka(**QUICK_BROKER)) as broker:
        yield broker


@pytest.fixture
async def proxy(proxied_kafka: ProxiedKafka) -> AsyncIterator[KafkaProxy]:
    async with proxied_kafka.proxy() as started:
        yield started


@pytest.fixture
async def ships(proxied_kafka: ProxiedKafka, tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet on topics with one partition, without workers yet. Workers go straight to the broker unless told otherwise."""
    async with fleet(proxied_kafka.bootstrap_servers, tmp_path, partitions=1) as started:
        yield started


@pytest.fixture
async def wide(proxied_kafka: ProxiedKafka, tmp_path: Path) -> AsyncIterator[Fleet]:
    """The same with four partitions."""
    async with fleet(proxied_kafka.bootstrap_servers, tmp_path, partitions=4) as started:
        yield started
