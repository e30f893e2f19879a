"""What Kafka lets this client do, asked before the first ticket: a dead letter must not find out that it is forbidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from worker_agents.model.errors import KafkaRefused
from worker_agents.model.structs import struct

_GROUP, _TRANSACTION = 0, 1
# What a broker answers that does not know, or was not asked.
_UNKNOWN = -(2**31)


class Operation(IntEnum):
    """Operations of Kafka's access control, by their codes (``org.apache.kafka.common.acl.AclOperation``)."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10

    def __str__(self) -> str:
        return self.name.title().replace("_", "")

    def is_in(self, granted: int) -> bool:
        """Whether a broker's bit field of granted operations has this one."""
        return granted == _UNKNOWN or bool(granted & 1 << self)


@struct
class Permissions:
    """What a worker needs: operations on topics, reading as the group, and writing with the transactional ids.

    Read and Write each imply Describe.
    """

    topics: Mapping[str, tuple[Operation, ...]]
    group: str
    transactional_ids: str

    async def check(self, admin: AIOKafkaAdminClient) -> None:
        """Raise :class:`KafkaRefused` with all that is missing. Topics that do not exist are passed over."""
        missing = await self.missing(admin)
        if missing:
            raise KafkaRefused(
                f"Kafka does not allow this client what a worker needs: {', '.join(missing)}; grant that to its principal"
            )

    async def missing(self, admin: AIOKafkaAdminClient) -> list[str]:
        """All that is missing, each such as "Read on topic 'tickets'"."""
        return [*await self._on_topics(admin), *await self._on_coordinators(admin)]

    async def _on_topics(self, admin: AIOKafkaAdminClient) -> list[str]:
        try:
            response = await admin._client.send(  # noqa: SLF001 # aiokafka's own request cannot ask for permissions
                admin._client.get_random_node(),  # noqa: SLF001 # as above
                _MetadataRequest(list(self.topics)),
            )
        except (NotImplementedError, IncompatibleBrokerVersion):
            return []
        return [
            f"{operation} on topic {name!r}"
            for error, name, _internal, _partitions, granted in response.topics
            for operation in self._missing_on(name, error, granted)
        ]

    def _missing_on(self, topic: str, error: int, granted: int) -> Iterator[Operation]:
        forbidden = error == TopicAuthorizationFailedError.errno
        for operation in self.topics[topic]:
            if forbidden or (not error and not operation.is_in(granted)):
                yield operation

    async def _on_coordinators(self, admin: AIOKafkaAdminClient) -> list[str]:
        """Only a client that may use a group or a transactional id is told who coordinates it."""
        missing = []
        if await _is_refused(admin, self.group, _GROUP):
            missing.append(f"Read on group {self.group!r}")
        if await _is_refused(admin, f"{self.transactional_ids}0", _TRANSACTION):
            missing.append(f"Write on transactional ids that begin with {self.transactional_ids!r}")
        return missing


async def _is_refused(admin: AIOKafkaAdminClient, key: str, kind: int) -> bool:
    try:
        await admin.find_coordinator(key, kind)
    except (GroupAuthorizationFailedError, TransactionalIdAuthorizationFailed):
        return True
    except KafkaError:
        return False  # a coordinator that is not there yet is waited for later
    return False


class _MetadataResponse(Response):  # type: ignore[misc] # aiokafka has no types
    """Version 8 (KIP-430, https://kafka.apache.org/protocol#The_Messages_Metadata); aiokafka stops at 5."""

    API_KEY = MetadataResponse_v5.API_KEY
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = _MetadataResponse.API_KEY
    API_VERSION = _MetadataResponse.API_VERSION
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc] # aiokafka has no types
    """Topics with what this client may do to them; creates none."""

    API_KEY = _MetadataResponse.API_KEY

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class(self._topics, False, False, True)
