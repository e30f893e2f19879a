"""The four topics: created where missing, checked before anything is written to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.permissions import Permissions
from worker_agents.kafka.refusal import refusal
from worker_agents.model.clock import Clock
from worker_agents.model.errors import KafkaRefused, KafkaUnreachable, TopicLayoutInvalid
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import Emit, KafkaTrouble, TopicCreated

_MIB = 1024 * 1024
_RETRY_DELAYS = (0.5, 1.0, 2.0, 5.0)

STATE_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "compact",
    "segment.bytes": str(32 * _MIB),
    "segment.ms": str(10 * 60 * 1000),
    "max.compaction.lag.ms": str(60 * 60 * 1000),
}
DLQ_CONFIG: Mapping[str, str] = {"max.message.bytes": str(2 * _MIB), "retention.ms": str(30 * 24 * 3600 * 1000)}


@struct
class TopicNames:
    tickets: str
    results: str
    dlq: str
    state: str

    def all(self) -> tuple[str, str, str, str]:
        return self.tickets, self.results, self.dlq, self.state


@struct
class TopicFacts:
    """What a topic is like. ``retention_ms`` is ``None`` for ever; ``max_bytes`` bounds one batch of records."""

    partitions: int
    is_compacted: bool
    max_bytes: int
    retention_ms: int | None


Layout = Mapping[str, TopicFacts]

DEFAULT_PARTITIONS = {"tickets": 12, "results": 6, "dlq": 3}


class Topics:
    """Creates, describes and checks the topics of one worker group."""

    def __init__(self, connection: KafkaConnection, names: TopicNames, clock: Clock, emit: Emit) -> None:
        self._connection = connection
        self._names = names
        self._clock = clock
        self._emit = emit

    async def ready(self, *, create: bool, connect_timeout: float, permissions: Permissions | None = None) -> Layout:
        """Wait for Kafka, create what is missing when ``create``, and check the layout and ``permissions``.

        Raises :class:`KafkaUnreachable` after ``connect_timeout`` seconds without an answer, :class:`KafkaRefused` when
        Kafka turns this client away or forbids what it needs, and :class:`TopicLayoutInvalid` with a sentence on what
        is wrong and what to do.
        """

        async def prepare(admin: AIOKafkaAdminClient) -> Layout:
            if permissions is not None:
                await permissions.check(admin)
            layout = await _describe(admin, self._names.all())
            if create and not layout.keys() >= set(self._names.all()):
                layout = await self._create_missing(admin, layout)
                if permissions is not None:
                    await permissions.check(admin)
            return layout

        layout = await self._ask(prepare, connect_timeout)
        check_layout(layout, self._names)
        return layout

    async def describe(self, *, connect_timeout: float, visible_only: bool = False) -> Layout:
        """What exists of the topics, unchecked.

        Raises :class:`KafkaUnreachable`, and :class:`KafkaRefused` for what this client may not see; with
        ``visible_only`` forbidden topics are left out, and forbidden configurations are taken for the defaults.
        """
        return await self._ask(
            lambda admin: _describe(admin, self._names.all(), visible_only=visible_only), connect_timeout
        )

    async def _ask(self, work: Callable[[AIOKafkaAdminClient], Awaitable[Layout]], connect_timeout: float) -> Layout:
        """Do ``work`` with a connected client; again from the start while brokers are not there, or leave in the middle."""
        give_up_at = self._clock.monotonic() + connect_timeout
        attempt = 0
        while True:
            admin = AIOKafkaAdminClient(**self._connection.options())
            try:
                try:
                    await admin.start()
                    return await work(admin)
                finally:
                    await admin.close()
            except (KafkaError, OSError) as error:
                if reason := await refusal(self._connection):
                    raise KafkaRefused(reason) from error
                self._emit(KafkaTrouble(f"connecting to {self._connection.bootstrap_servers}", repr(error)))
                delay = _RETRY_DELAYS[min(attempt, len(_RETRY_DELAYS) - 1)]
                if self._clock.monotonic() + delay > give_up_at:
                    raise KafkaUnreachable(
                        f"no Kafka broker answered at {self._connection.bootstrap_servers} within "
                        f"{connect_timeout:.0f} s ({error}); check KAFKA_BOOTSTRAP_SERVERS"
                    ) from error
            attempt += 1
            await self._clock.sleep(delay)

    async def _create_missing(self, admin: AIOKafkaAdminClient, layout: Layout) -> Layout:
        """Create what is missing; the state topic last, with the partitions that the tickets topic really has."""
        names = self._names
        await self._create(admin, layout, names.tickets, DEFAULT_PARTITIONS["tickets"], {})
        await self._create(admin, layout, names.results, DEFAULT_PARTITIONS["results"], {})
        await self._create(admin, layout, names.dlq, DEFAULT_PARTITIONS["dlq"], DLQ_CONFIG)
        layout = await self._described_once_there(admin, names.tickets, names.results, names.dlq)
        if names.tickets in layout and names.state not in layout:
            await self._create(admin, layout, names.state, layout[names.tickets].partitions, STATE_CONFIG)
        return await self._described_once_there(admin, *names.all())

    async def _create(
        self, admin: AIOKafkaAdminClient, layout: Layout, name: str, partitions: int, config: Mapping[str, str]
    ) -> None:
        if name in layout:
            return
        # -1: the broker's default; aiokafka takes it only beside (empty) assignments of its own.
        new = NewTopic(name, partitions, -1, replica_assignments={}, topic_configs=dict(config))
        for topic, code, *rest in (await admin.create_topics([new])).topic_errors:
            if not code:
                self._emit(TopicCreated(topic, partitions))
            elif _is_forbidden(code):
                raise KafkaRefused(
                    f"Kafka does not allow this client to create the missing topic {topic!r}: grant Create on it, "
                    "or create it and set KAFKA_CREATE_TOPICS=false"
                )
            elif for_code(code) is not TopicAlreadyExistsError:
                message = rest[0] if rest else for_code(code).__name__
                raise TopicLayoutInvalid(f"topic {topic!r} could not be created: {message}")

    async def _described_once_there(self, admin: AIOKafkaAdminClient, *expected: str) -> Layout:
        """Creation is answered before every broker knows of it."""
        layout = await _describe(admin, self._names.all())
        for _ in range(50):
            if all(name in layout for name in expected):
                break
            await self._clock.sleep(0.1)
            layout = await _describe(admin, self._names.all())
        return layout


async def _describe(admin: AIOKafkaAdminClient, names: tuple[str, ...], *, visible_only: bool = False) -> Layout:
    described = await admin.describe_topics(list(names))
    if not visible_only:
        _refuse("Describe", [topic["topic"] for topic in described if _is_forbidden(topic["error_code"])])
    counts = {topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}
    if not counts:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in counts]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        if not visible_only:
            _refuse("DescribeConfigs", [name for code, _, _, name, _ in response.resources if _is_forbidden(code)])
        for _code, _message, _type, name, entries in response.resources:
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return {name: _facts(count, configs.get(name, {})) for name, count in counts.items()}


def _is_forbidden(code: int) -> bool:
    return for_code(code) is TopicAuthorizationFailedError


def _refuse(operation: str, topics: list[str]) -> None:
    if topics:
        raise KafkaRefused(f"Kafka does not allow this client {operation} on {', '.join(map(repr, sorted(topics)))}")


def _facts(partitions: int, config: Mapping[str, str]) -> TopicFacts:
    retention = int(config.get("retention.ms") or -1)
    policy = config.get("cleanup.policy", "delete")
    return TopicFacts(
        partitions=partitions,
        is_compacted=policy == "compact",
        max_bytes=int(config.get("max.message.bytes") or _MIB),
        retention_ms=retention if retention > 0 and "delete" in policy else None,
    )


def check_layout(layout: Layout, names: TopicNames) -> None:
    """Raise :class:`TopicLayoutInvalid` unless the topics are fit for the ledger."""
    missing = [name for name in names.all() if name not in layout]
    if missing:
        raise TopicLayoutInvalid(
            f"missing topics: {', '.join(missing)}; create them (worker-agents topics create) "
            "or set KAFKA_CREATE_TOPICS=true"
        )
    tickets, state = layout[names.tickets], layout[names.state]
    if state.partitions != tickets.partitions:
        raise TopicLayoutInvalid(
            f"state topic {names.state!r} has {state.partitions} partitions, tickets topic {names.tickets!r} has "
            f"{tickets.partitions}: they must be equal, as a ticket's state is kept under its own partition's number. "
            "Expand the smaller one, with the tickets topic drained"
        )
    if not state.is_compacted:
        raise TopicLayoutInvalid(
            f"state topic {names.state!r} is not compacted: set cleanup.policy=compact, or states would be lost"
        )
