"""The dead letters of a running worker's topic, for its operators. The command line reads them with its own settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from heapq import heappush, heappushpop

from worker_agents.kafka.connection import KafkaConnection
from worker_agents.kafka.letters import letter_of, parse_place, replay_plan, send_again
from worker_agents.kafka.reader import Record, TopicReader
from worker_agents.kafka.submitter import TicketSubmitter
from worker_agents.kafka.topics import Layout, TopicNames
from worker_agents.model.errors import KafkaUnreachable
from worker_agents.model.letters import Letter, Replayed

# A worker has heartbeats to send and tickets to run meanwhile.
_RECORDS_A_TURN = 200


class DeadLetterBox:
    """Opens a connection for each call. ``layout`` is empty until the worker has seen its topics.

    All methods raise :class:`KafkaUnreachable`, :class:`KafkaRefused` or another :class:`WorkerAgentsError`.
    """

    def __init__(self, connection: KafkaConnection, names: TopicNames, layout: Callable[[], Layout]) -> None:
        self._connection = connection
        self._names = names
        self._layout = layout

    async def newest(self, limit: int, reason: str | None = None) -> list[Letter]:
        """Up to ``limit`` letters, with that reason where one is given; the newest first."""
        async with self._reader() as reader:
            if reason is None:
                is_cut = await reader.to_tail(limit)
                letters = await _newest(reader, limit, reason)
                if len(letters) == limit or not is_cut:
                    return letters
            await reader.to_beginning()
            return await _newest(reader, limit, reason)

    async def replay(self, places: Sequence[str], ticket_ids: Sequence[str], *, dry_run: bool) -> list[Replayed]:
        """Send letters again: those at ``places`` (``partition-offset``), and the newest of each ticket."""
        reports = []
        async with TicketSubmitter(self._connection, self._names.tickets) as submitter:
            partitions = await submitter.partitions()
            async with aclosing(self._wanted(places, ticket_ids)) as wanted:
                async for letter in wanted:
                    if isinstance(letter, Record):
                        report = replay_plan(letter, partitions)
                        if report.problem is None and not dry_run:
                            report = await send_again(submitter, letter, report)
                        reports.append(report)
                    else:
                        reports.append(letter)
        return reports

    async def _wanted(
        self, places: Sequence[str], ticket_ids: Sequence[str]
    ) -> AsyncGenerator[Record | Replayed, None]:
        """The letters, and a report in place of each that is not there."""
        for place in dict.fromkeys(places):
            yield await self._at(place) or Replayed(place, None, "", None, None, "there is no such dead letter")
        newest_of = await self._newest_of(frozenset(ticket_ids))
        for ticket_id in dict.fromkeys(ticket_ids):
            yield newest_of.get(ticket_id) or Replayed(
                "", ticket_id, "", None, None, "there is no dead letter of this ticket"
            )

    async def _at(self, place: str) -> Record | None:
        parsed = parse_place(place)
        if parsed is None:
            return None
        async with self._reader() as reader:
            return await reader.at(self._names.dlq, *parsed)

    async def _newest_of(self, ticket_ids: frozenset[str]) -> dict[str, Record]:
        found: dict[str, Record] = {}
        if not ticket_ids:
            return found
        async with self._reader() as reader:
            await reader.to_beginning()
            async for record in reader.existing():
                ticket_id = letter_of(record).ticket_id
                if ticket_id in ticket_ids and (
                    ticket_id not in found or found[ticket_id].timestamp <= record.timestamp
                ):
                    found[ticket_id] = record
        return found

    def _reader(self) -> TopicReader:
        return reader_of(self._connection, self._layout(), self._names.dlq)


async def _newest(reader: TopicReader, limit: int, reason: str | None) -> list[Letter]:
    """Of what is before the reader. Records are let go of at once: each may be as large as its topic allows."""
    kept: list[tuple[int, int, Letter]] = []
    number = 0
    async for record in reader.existing():
        letter = letter_of(record)
        if reason in (None, letter.reason):
            number += 1
            (heappush if len(kept) < limit else heappushpop)(kept, (letter.timestamp, number, letter))
    return [letter for _, _, letter in sorted(kept, key=lambda each: each[:2], reverse=True)]


def reader_of(connection: KafkaConnection, layout: Layout, topic: str) -> TopicReader:
    """Raises :class:`KafkaUnreachable` while the topics are not known."""
    facts = layout.get(topic)
    if facts is None:
        raise KafkaUnreachable("this worker has not reached Kafka yet")
    return TopicReader(connection, {topic: facts.partitions}, _RECORDS_A_TURN)
