"""The way from a command to Kafka: settings read, broker found, topics known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from worker_agents.cli.exits import NotFound
from worker_agents.cli.vault import with_secrets
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.reader import TopicReader
from worker_agents.kafka.topics import Layout, TopicNames, Topics
from worker_agents.main import kafka_connection, topic_names
from worker_agents.model.clock import SystemClock
from worker_agents.settings import Settings, load_settings
from worker_agents.telemetry.events import Event

T = TypeVar("T")

# Somebody waits at a terminal: a worker is more patient.
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that has answered. ``layout`` holds those of the four topics that exist."""

    connection: KafkaConnection
    names: TopicNames
    layout: Layout

    def partitions(self, topic: str) -> int:
        """Raises :class:`NotFound` for a topic that does not exist."""
        facts = self.layout.get(topic)
        if facts is None:
            raise NotFound(
                f"there is no topic {topic!r} at {self.connection.bootstrap_servers}{self._that_is_visible}; "
                "a worker creates it, or: worker-agents topics create"
            )
        return facts.partitions

    @property
    def _that_is_visible(self) -> str:
        """With access control, Kafka shows what does not exist and what is forbidden alike."""
        return " that this client may describe" if self.connection.authenticates else ""

    def reader(self, *topics: str) -> TopicReader:
        return TopicReader(self.connection, {topic: self.partitions(topic) for topic in topics})


async def reach(settings: Settings) -> Cluster:
    """Raises :class:`KafkaUnreachable` when no broker answers soon."""
    connection, names = kafka_connection(settings), topic_names(settings)
    layout = await administration(settings, []).describe(connect_timeout=patience(settings), visible_only=True)
    return Cluster(connection, names, layout)


def administration(settings: Settings, events: list[Event]) -> Topics:
    """What creates and describes topics; ``events`` collects what it does."""
    return Topics(kafka_connection(settings), topic_names(settings), SystemClock(), events.append)


def patience(settings: Settings) -> float:
    """Seconds that a command tries to reach Kafka."""
    return min(_CONNECT_SECONDS, settings.kafka_connect_timeout_seconds)


def settings_of_command(*secrets: str) -> Settings:
    """The settings, for a command that talks to Kafka: its libraries keep quiet, as errors are told once.

    ``secrets`` are fields besides Kafka's password that the command needs, and that may lie in Vault.
    """
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    settings = load_settings()
    return complete(with_secrets(settings, only=("kafka_sasl_password", *secrets), timeout=_CONNECT_SECONDS))


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end; Ctrl-C ends it in good order."""
    return asyncio.run(work)
