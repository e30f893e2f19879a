"""A proxy that reads Kafka's requests, so that a test can hold up or lose exactly one of them, or its answer.

Framing and header: https://kafka.apache.org/protocol#protocol_messages (size, API key, API version, correlation id).
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports
from worker_agents.kafka.tasks import until_first_ends

HOST = "127.0.0.1"
_HEADER = struct.Struct(">hhi")


class Api(IntEnum):
    """Kafka's API keys."""

    PRODUCE = 0
    FETCH = 1
    INIT_PRODUCER_ID = 22
    END_TXN = 26


class Lost(StrEnum):
    """What does not get through while a rule holds."""

    REQUEST = "request"
    ANSWER = "answer"
    CONNECTION = "connection"
    """The request gets through; instead of its answer the connection ends."""


@dataclass(eq=False)
class Rule:
    """Requests of one kind with these bytes in them. They, or their answers, are kept back; what was kept is sent on
    with :meth:`release`, or never.
    """

    api: Api
    containing: bytes
    what: Lost
    times: int | None
    met: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    count: int = 0

    def takes(self, api: int, frame: bytes) -> bool:
        if api != self.api or self.containing not in frame or self.released.is_set():
            return False
        if self.times is not None and self.count >= self.times:
            return False
        self.count += 1
        return True

    def release(self) -> None:
        """Let what was kept back go, and keep back nothing more."""
        self.released.set()


@dataclass
class KafkaProxy:
    """Stands before one broker. Without rules it passes everything on."""

    port: int
    broker_port: int
    rules: list[Rule] = field(default_factory=list)
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    @contextmanager
    def keeping_back(
        self, api: Api, what: Lost, *, containing: bytes = b"", times: int | None = None
    ) -> Iterator[Rule]:
        """While the block lasts, keep back such requests, or their answers: at most so many ``times``."""
        rule = Rule(api, containing, what, times)
        self.rules.append(rule)
        try:
            yield rule
        finally:
            self.rules.remove(rule)
            rule.release()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection (a callback of :func:`asyncio.start_server`)."""
        talk = asyncio.create_task(self._pass_on(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def close(self) -> None:
        """End all connections."""
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_broker: asyncio.StreamWriter | None = None
        try:
            from_broker, to_broker = await asyncio.open_connection(HOST, self.broker_port)
            kept: dict[int, Rule] = {}
            await until_first_ends(self._requests(reader, to_broker, kept), self._answers(from_broker, writer, kept))
        except OSError:
            pass  # the broker is away: so is its proxy
        finally:
            for end in (writer, to_broker):
                if end is not None:
                    end.close()

    async def _requests(
        self, reader: asyncio.StreamReader, broker: asyncio.StreamWriter, kept: dict[int, Rule]
    ) -> None:
        async for frame in _frames(reader):
            api, _, correlation = _HEADER.unpack_from(frame, 4)
            rule = next((rule for rule in self.rules if rule.takes(api, frame)), None)
            if rule is not None and rule.what is Lost.REQUEST:
                rule.met.set()
                await rule.released.wait()
            elif rule is not None:
                kept[correlation] = rule
            broker.write(frame)
            await broker.drain()

    @staticmethod
    async def _answers(broker: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: dict[int, Rule]) -> None:
        async for frame in _frames(broker):
            (correlation,) = struct.unpack_from(">i", frame, 4)
            rule = kept.pop(correlation, None)
            if rule is not None:
                rule.met.set()
                if rule.what is Lost.CONNECTION:
                    return
                await rule.released.wait()
            writer.write(frame)
            await writer.drain()


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Whole messages, with their size, until the connection ends."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            size = await reader.readexactly(4)
            yield size + await reader.readexactly(int.from_bytes(size))


class ProxiedKafka(EmbeddedKafka):
    """A broker with a second listener, which it advertises at the address of a proxy."""

    def __init__(self, **properties: str) -> None:
        port, controller, self._behind, self.proxied_port = free_ports(4)
        listeners = f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{self._behind}"
        super().__init__(
            port=port,
            properties={
                "controller.quorum.voters": f"1@{HOST}:{controller}",
                "listeners": f"{listeners},CONTROLLER://{HOST}:{controller}",
                "advertised.listeners": f"PLAINTEXT://{HOST}:{port},PROXIED://{HOST}:{self.proxied_port}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "PLAINTEXT",
                **properties,
            },
        )

    @asynccontextmanager
    async def proxy(self) -> AsyncIterator[KafkaProxy]:
        """A proxy in the present event loop; clients that start with its address stay behind it."""
        proxy = KafkaProxy(self.proxied_port, self._behind)
        server = await asyncio.start_server(proxy.serve, HOST, self.proxied_port, limit=2**20)
        try:
            yield proxy
        finally:
            server.close()
            await proxy.close()
