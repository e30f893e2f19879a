"""Sending tickets, as producers do. For the command line and the demo; the worker itself writes through its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from worker_agents.kafka.codec import Headers
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.reader import kafka_errors_told
from worker_agents.model.errors import WorkerAgentsError
from worker_agents.model.structs import struct

# The broker's own limit is the one that counts; it answers for itself.
_MAX_REQUEST_BYTES = 64 * 1024 * 1024


@struct
class Sent:
    """Where a record came to lie."""

    topic: str
    partition: int
    offset: int


class TicketSubmitter:
    """Writes to one topic, each record acknowledged by all replicas and never doubled by a repeated send."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            **self._connection.options(), enable_idempotence=True, max_request_size=_MAX_REQUEST_BYTES
        )
        try:
            with kafka_errors_told(self._connection):
                await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._producer.stop()

    async def partitions(self) -> int:
        """How many partitions the topic has."""
        with kafka_errors_told(self._connection):
            return len(await self._producer.partitions_for(self._topic))

    async def submit(
        self, value: bytes | None, key: bytes | None, headers: Headers = (), partition: int | None = None
    ) -> Sent:
        """Send one record, to ``partition`` or where its key belongs, and wait until it is safe.

        Raises :class:`KafkaUnreachable` when no broker answers in time, and :class:`WorkerAgentsError` when the
        record is too large for the topic or refused.
        """
        with kafka_errors_told(self._connection):
            try:
                placed = await self._producer.send_and_wait(
                    self._topic, value, key, partition=partition, headers=list(headers)
                )
            except MessageSizeTooLargeError as error:
                raise WorkerAgentsError(
                    f"a ticket of {len(value or ())} bytes is too large for {self._topic}"
                ) from error
        return Sent(placed.topic, placed.partition, placed.offset)


def default_key(ticket: Mapping[str, Any]) -> str | None:
    """The record key that the platform's producers choose: plan_id, else intent_id, else ticket_id.

    So all tickets of a plan, and all copies of a ticket, share a partition.
    """
    for name in ("plan_id", "intent_id", "ticket_id"):
        value = ticket.get(name)
        if isinstance(value, str) and value:
            return value
    return None
