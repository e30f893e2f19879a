"""The Kafka side of a worker: topics checked, the group joined, partitions fed."""

from __future__ import annotations

from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.consumer import ConsumerConfig, Room, TicketConsumer
from worker_agents.kafka.dead_letter_box import DeadLetterBox
from worker_agents.kafka.dead_letters import DeadLetterFormat
from worker_agents.kafka.holders import HolderSearch
from worker_agents.kafka.journal import RecordFormat
from worker_agents.kafka.partition import LaneFactory, Partition, PartitionConfig
from worker_agents.kafka.permissions import Operation, Permissions
from worker_agents.kafka.results import ResultFormat
from worker_agents.kafka.topics import Layout, TopicNames, Topics
from worker_agents.kafka.unread import Density
from worker_agents.model.clock import Clock
from worker_agents.model.structs import struct
from worker_agents.telemetry.events import Emit

# Below a topic's own limit: keys, headers and the framing of a batch count towards it.
_BATCH_OVERHEAD = 16 * 1024


@struct
class KafkaWorkerConfig:
    """Times are seconds. ``owner`` names this process, not only this worker: it never comes back."""

    connection: KafkaConnection
    topics: TopicNames
    group_id: str
    worker_id: str
    owner: str
    create_topics: bool = True
    connect_timeout: float = 60.0
    session_timeout: float = 45.0
    lease_limit: float = 40.0
    dedup_retention: float = 86_400.0
    result_max_bytes: int = 921_600

    @property
    def permissions(self) -> Permissions:
        topics = self.topics
        return Permissions(
            topics={
                topics.tickets: (Operation.READ, Operation.DESCRIBE_CONFIGS),
                topics.state: (Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS),
                topics.results: (Operation.WRITE, Operation.DESCRIBE_CONFIGS),
                topics.dlq: (Operation.WRITE, Operation.DESCRIBE_CONFIGS),
            },
            group=self.group_id,
            transactional_ids=f"{self.group_id}-{topics.tickets}-",
        )


class KafkaWorker:
    """Owns the topics' layout and the consumer of one worker."""

    def __init__(
        self,
        config: KafkaWorkerConfig,
        lanes: LaneFactory,
        room: Room,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._config = config
        self._lanes = lanes
        self._room = room
        self._clock = clock
        self._emit = emit
        self._consumer: TicketConsumer | None = None
        self._layout: Layout = {}
        connection, topics = config.connection, config.topics
        self.dead_letters = DeadLetterBox(connection, topics, lambda: self._layout)
        self.holders = HolderSearch(connection, topics, lambda: self._layout)

    async def prepare(self) -> Layout:
        """Reach Kafka and bring the topics in order. Raises the start-up errors of :class:`Topics`."""
        config = self._config
        topics = Topics(config.connection, config.topics, self._clock, self._emit)
        self._layout = await topics.ready(
            create=config.create_topics, connect_timeout=config.connect_timeout, permissions=config.permissions
        )
        return self._layout

    def retention_ms(self, layout: Layout) -> int | None:
        """How long the tickets topic keeps a record; ``None`` for ever."""
        return layout[self._config.topics.tickets].retention_ms

    async def start(self, layout: Layout, url: str) -> TicketConsumer:
        """Join the group. ``url`` is where other workers reach this one's HTTP interface."""
        partition_config, density = self._partition_config(layout, url), Density()

        def new_partition(number: int, group: TicketConsumer) -> Partition:
            return Partition(
                number, partition_config, group, self._lanes, density=density, clock=self._clock, emit=self._emit
            )

        config = self._config
        self._consumer = TicketConsumer(
            ConsumerConfig(
                connection=config.connection,
                group_id=config.group_id,
                tickets_topic=config.topics.tickets,
                session_timeout=config.session_timeout,
                hand_over_limit=min(10.0, config.session_timeout / 3),
            ),
            new_partition,
            self._room,
            self._clock,
            self._emit,
        )
        await self._consumer.start()
        return self._consumer

    def _partition_config(self, layout: Layout, url: str) -> PartitionConfig:
        config, topics = self._config, self._config.topics
        return PartitionConfig(
            connection=config.connection,
            group_id=config.group_id,
            tickets_topic=topics.tickets,
            state_topic=topics.state,
            worker=config.owner,
            url=url,
            records=self._formats(layout),
            lease_limit=config.lease_limit,
            lease_interval=config.session_timeout / 3,
            dedup_retention=config.dedup_retention,
        )

    def _formats(self, layout: Layout) -> RecordFormat:
        config, topics = self._config, self._config.topics
        results_limit = min(config.result_max_bytes, layout[topics.results].max_bytes - _BATCH_OVERHEAD)
        return RecordFormat(
            results=ResultFormat(
                topics.results, layout[topics.results].partitions, config.worker_id, results_limit, self._emit
            ),
            dead_letters=DeadLetterFormat(
                topic=topics.dlq,
                partitions=layout[topics.dlq].partitions,
                tickets_topic=topics.tickets,
                group=config.group_id,
                worker_id=config.worker_id,
                max_bytes=layout[topics.dlq].max_bytes - _BATCH_OVERHEAD,
            ),
            state_max_bytes=layout[topics.state].max_bytes - _BATCH_OVERHEAD,
        )
