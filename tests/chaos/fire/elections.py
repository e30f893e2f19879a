"""Kafka's request ElectLeaders, version 2, which aiokafka lacks (https://kafka.apache.org/protocol, API key 43)."""

from __future__ import annotations

from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int8, Int16, Int32, Schema, TaggedFields

_PREFERRED = 0


class ElectLeadersResponse_v2(Response):  # type: ignore[misc]  # noqa: N801 # aiokafka's own manner
    API_KEY = 43
    API_VERSION = 2
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "replica_election_results",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partition_result",
                    CompactArray(
                        ("partition_id", Int32),
                        ("error_code", Int16),
                        ("error_message", CompactString("utf-8")),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class ElectLeadersRequest_v2(RequestStruct):  # type: ignore[misc]  # noqa: N801
    FLEXIBLE_VERSION = True
    API_KEY = 43
    API_VERSION = 2
    RESPONSE_TYPE = ElectLeadersResponse_v2
    SCHEMA = Schema(
        ("election_type", Int8),
        (
            "topic_partitions",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("timeout_ms", Int32),
        ("tags", TaggedFields),
    )


class ElectLeadersRequest(Request[ElectLeadersRequest_v2]):  # type: ignore[misc]
    """Make the first replica of a partition its leader."""

    API_KEY = 43

    def __init__(self, topic: str, partition: int, timeout_ms: int = 10_000) -> None:
        self._fields: tuple[Any, ...] = (_PREFERRED, [(topic, [partition], {})], timeout_ms, {})

    def build(self, request_struct_class: type[ElectLeadersRequest_v2]) -> ElectLeadersRequest_v2:
        return request_struct_class(*self._fields)
