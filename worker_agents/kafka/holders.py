"""Which worker holds a ticket that is not ours: the state topic says so, to whoever reads all of it."""

from __future__ import annotations

from collections.abc import Callable

from worker_agents.kafka.codec import OWNER_KEY, Owner, StateRecordInvalid, decode_state
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.dead_letter_box import reader_of
from worker_agents.kafka.reader import Record
from worker_agents.kafka.topics import Layout, TopicNames
from worker_agents.model.letters import Holder


class HolderSearch:
    """Reads the state topic anew for each ticket: a worker remembers its own partitions only."""

    def __init__(self, connection: KafkaConnection, names: TopicNames, layout: Callable[[], Layout]) -> None:
        self._connection = connection
        self._names = names
        self._layout = layout

    async def find(self, ticket_id: str) -> Holder | None:
        """Whoever holds a ticket that some worker has begun; ``None`` where nobody does just now.

        Raises :class:`KafkaUnreachable` or another :class:`WorkerAgentsError`.
        """
        trail = Trail(ticket_id)
        async with reader_of(self._connection, self._layout(), self._names.state) as reader:
            await reader.to_beginning()
            async for record in reader.existing():
                trail.follow(record)
        return trail.holder


class Trail:
    """What the state topic says of one ticket and of the owners of its partitions. Pure: feed it every record."""

    def __init__(self, ticket_id: str) -> None:
        self._key = ticket_id.encode()
        self._partition: int | None = None
        self._owners: dict[int, Owner] = {}

    def follow(self, record: Record) -> None:
        if record.key == self._key:
            self._partition = record.partition if record.value is not None else None
        elif record.key == OWNER_KEY.encode() and record.value is not None:
            try:
                owner = decode_state(OWNER_KEY, record.value)
            except StateRecordInvalid:
                return
            if isinstance(owner, Owner):
                self._owners[record.partition] = owner

    @property
    def holder(self) -> Holder | None:
        owner = self._owners.get(self._partition) if self._partition is not None else None
        if self._partition is None or owner is None or owner.handed_over or not owner.url:
            return None
        return Holder(self._partition, owner.worker, owner.url)
