"""What a cluster says of itself: asked by ``worker-agents doctor``, which changes nothing with it."""

from __future__ import annotations

import asyncio
import struct as binary
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.conn import create_conn
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAuthorizationFailedError,
    for_code,
)

from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.permissions import Permissions
from worker_agents.kafka.refusal import refusal
from worker_agents.model.errors import KafkaRefused, KafkaUnreachable
from worker_agents.model.structs import struct

T = TypeVar("T")

ASSIGNOR: Final[str] = StickyPartitionAssignor.name
"""How workers share the partitions; a group has one way only."""

_COORDINATOR_DELAY = 0.2
_NO_COORDINATOR = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
_BROKER_SETTINGS = (
    "transaction.max.timeout.ms",
    "transaction.partition.verification.enable",
    "group.min.session.timeout.ms",
    "group.max.session.timeout.ms",
)


@struct
class BrokerFacts:
    """``versions`` is the highest that it speaks of each API, by the API's key; ``problem`` why it was not reached."""

    node_id: int
    address: str
    versions: Mapping[int, int]
    problem: str = ""


@struct
class TopicDetails:
    """``replicas`` is of the partition that has fewest. ``settings`` is ``None`` where they may not be seen."""

    name: str
    exists: bool
    is_forbidden: bool = False
    partitions: int = 0
    replicas: int = 0
    without_leader: int = 0
    behind: int = 0
    """Partitions with replicas that are not in sync."""
    settings: Mapping[str, str] | None = None

    def number(self, setting: str) -> int | None:
        """``None`` where it is not known, or not set."""
        text = (self.settings or {}).get(setting)
        return int(text) if text and text.lstrip("-").isdecimal() else None


@struct
class Member:
    client_id: str
    host: str
    topics: tuple[str, ...]


@struct
class GroupFacts:
    """``state`` and ``protocol`` in Kafka's own words."""

    state: str
    protocol_type: str
    protocol: str
    members: tuple[Member, ...]


class KafkaInspection:
    """Asks a cluster that has answered; see :func:`inspected`. Its methods raise aiokafka's errors."""

    def __init__(self, connection: KafkaConnection, admin: AIOKafkaAdminClient) -> None:
        self._connection = connection
        self._admin = admin

    async def brokers(self) -> list[BrokerFacts]:
        """Every broker of the cluster, reached at the address that it tells its clients."""
        # As they were told when this client began: none of them may be reachable.
        brokers = self._admin._client.cluster.brokers()  # noqa: SLF001 # the public way asks one of them
        return await asyncio.gather(*(self._broker(each.nodeId, each.host, each.port) for each in brokers))

    async def _broker(self, node_id: int, host: str, port: int) -> BrokerFacts:
        options = self._connection.options()
        del options["bootstrap_servers"]
        try:
            broker = await create_conn(host, port, **options)
        except (KafkaError, OSError, TimeoutError) as error:
            return BrokerFacts(node_id, f"{host}:{port}", {}, str(error) or type(error).__name__)
        try:
            versions = {key: highest for key, (_, highest) in broker._versions.items()}  # noqa: SLF001 # asked at every connect
            return BrokerFacts(node_id, f"{host}:{port}", versions)
        finally:
            broker.close()

    async def broker_settings(self, node_id: int) -> Mapping[str, str] | None:
        """Those that matter to workers; ``None`` where this client may not see them."""
        wanted = ConfigResource(ConfigResourceType.BROKER, str(node_id), dict.fromkeys(_BROKER_SETTINGS))
        for response in await self._admin.describe_configs([wanted]):
            for code, _message, _type, _name, entries in response.resources:
                return None if code else {entry[0]: entry[1] for entry in entries}
        return None

    async def topics(self, names: Sequence[str]) -> list[TopicDetails]:
        """What is to be known of each, in this order."""
        described = {topic["topic"]: topic for topic in await self._admin.describe_topics(list(names))}
        there = [name for name in names if name in described and not described[name]["error_code"]]
        settings = await self._topic_settings(there) if there else {}
        return [_details(name, described.get(name), settings.get(name)) for name in names]

    async def _topic_settings(self, names: Iterable[str]) -> dict[str, dict[str, str] | None]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        return {
            name: None if code else {entry[0]: entry[1] for entry in entries}
            for response in await self._admin.describe_configs(resources)
            for code, _message, _type, name, entries in response.resources
        }

    async def missing_permissions(self, permissions: Permissions) -> list[str]:
        return await permissions.missing(self._admin)

    async def group(self, name: str, *, patience: float) -> GroupFacts:
        """Waits up to ``patience`` seconds for a coordinator: the first question ever asked makes a cluster choose one."""
        return await _once_there(lambda: self._group(name), patience)

    async def _group(self, name: str) -> GroupFacts:
        (response,) = await self._admin.describe_consumer_groups([name])
        (group,) = response.to_object()["groups"]
        if group["error_code"]:
            raise for_code(group["error_code"])(f"group {name!r}")
        return GroupFacts(
            state=group["state"],
            protocol_type=group["protocol_type"],
            protocol=group["protocol"],
            members=tuple(_member(each) for each in group["members"]),
        )

    async def latest_beyond(self, topics: Mapping[str, int], epoch_ms: int) -> int | None:
        """The largest time stamp found by asking each partition for its first record at or after ``epoch_ms``.

        ``topics`` says how many partitions each has. ``None`` when no record is that young.
        """
        wanted = {TopicPartition(topic, number): epoch_ms for topic in topics for number in range(topics[topic])}
        if not wanted:
            return None
        consumer = AIOKafkaConsumer(**self._connection.options(), group_id=None, enable_auto_commit=False)
        try:
            await consumer.start()
            # aiokafka's stop() raises CancelledError when a task of its own was not even begun.
            await asyncio.sleep(0)
            found = await consumer.offsets_for_times(wanted)
        finally:
            await consumer.stop()
        return max((each.timestamp for each in found.values() if each is not None), default=None)


@asynccontextmanager
async def inspected(connection: KafkaConnection) -> AsyncIterator[KafkaInspection]:
    """A cluster, once one of its brokers has answered.

    Raises :class:`KafkaUnreachable`, and :class:`KafkaRefused` with the reason when a broker turns this client away;
    :class:`SettingsInvalid` for a certificate that cannot be used.
    """
    admin = AIOKafkaAdminClient(**connection.options())
    began = time.monotonic()
    try:
        try:
            await admin.start()
        except (KafkaError, OSError) as error:
            if reason := await refusal(connection):
                raise KafkaRefused(reason) from error
            raise KafkaUnreachable(
                f"no Kafka broker answered at {connection.bootstrap_servers} within {time.monotonic() - began:.0f} s ({error})"
            ) from error
        yield KafkaInspection(connection, admin)
    finally:
        await admin.close()


async def _once_there(ask: Callable[[], Awaitable[T]], patience: float) -> T:
    give_up_at = time.monotonic() + patience
    while True:
        try:
            return await ask()
        except _NO_COORDINATOR:
            if time.monotonic() > give_up_at:
                raise
        await asyncio.sleep(_COORDINATOR_DELAY)


def _details(name: str, described: dict[str, Any] | None, settings: dict[str, str] | None) -> TopicDetails:
    if described is None or described["error_code"]:
        forbidden = described is not None and for_code(described["error_code"]) is TopicAuthorizationFailedError
        return TopicDetails(name, exists=False, is_forbidden=forbidden)
    partitions = described["partitions"]
    return TopicDetails(
        name,
        exists=True,
        partitions=len(partitions),
        replicas=min(len(each["replicas"]) for each in partitions),
        without_leader=sum(1 for each in partitions if each["leader"] < 0),
        behind=sum(1 for each in partitions if len(each["isr"]) < len(each["replicas"])),
        settings=settings,
    )


def _member(member: dict[str, Any]) -> Member:
    try:
        topics = tuple(ConsumerProtocol.METADATA.decode(member["member_metadata"]).subscription)
    except (ValueError, binary.error):  # no consumer, or one of another make
        topics = ()
    return Member(member["client_id"], member["client_host"].lstrip("/"), topics)
