"""``worker-agents tickets``: what was asked for, and how far each is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import Any

from worker_agents.cli.access import Cluster, complete, reach, settings_of_command
from worker_agents.cli.exits import BadUsage, NotFound
from worker_agents.cli.listing import RecordFilter, print_all, print_one
from worker_agents.cli.output import time_text
from worker_agents.kafka.newest import newest
from worker_agents.kafka.reader import Record
from worker_agents.kafka.ticket_board import Progress, TicketBoard, read_or_none
from worker_agents.model.text import preview, printable
from worker_agents.settings import Settings

JsonObject = dict[str, Any]

_COLUMNS = ("at", "ticket", "type", "plan", "priority", "place", "progress", "attempt", "detail")


def show_tickets(wanted: RecordFilter, *, limit: int, follow: bool, as_json: bool) -> None:
    """Print the newest tickets that fit; with ``follow`` then each that arrives or gets further."""
    if wanted.status is not None and wanted.status.upper() not in Progress.__members__:
        raise BadUsage(f"--status {wanted.status} is none of {', '.join(Progress)}")
    complete(_show(settings_of_command(), wanted, limit, follow, as_json))


async def _show(settings: Settings, wanted: RecordFilter, limit: int, follow: bool, as_json: bool) -> None:
    cluster = await reach(settings)
    board = await board_of(cluster)
    async with cluster.reader(cluster.names.tickets) as reader:
        records = await newest(
            reader,
            lambda record: wanted.fits(document_of(record, board), "progress"),
            limit,
            everything=not wanted.is_empty,
        )
    documents = [document_of(record, board) for record in records]
    if not documents and wanted.ticket_id is not None and not follow:
        raise NotFound(f"no ticket {wanted.ticket_id!r} in {cluster.names.tickets}")
    if not follow:
        print_all(documents, _COLUMNS, _row, as_json=as_json, nothing=f"no tickets in {cluster.names.tickets}")
        return
    for document in documents:
        print_one(document, one_line, as_json=as_json)
    await _follow(cluster, wanted, documents, as_json)


async def board_of(cluster: Cluster) -> TicketBoard:
    """All that the state topic says now."""
    board = TicketBoard(cluster.names.tickets, cluster.names.state)
    async with cluster.reader(cluster.names.state) as reader:
        await reader.to_beginning()
        async for record in reader.existing():
            board.apply(record)
    return board


async def _follow(cluster: Cluster, wanted: RecordFilter, shown: Sequence[JsonObject], as_json: bool) -> None:
    """Both topics side by side; what changed since ``shown`` was printed comes first."""
    changes = Changes(TicketBoard(cluster.names.tickets, cluster.names.state))
    async with cluster.reader(cluster.names.tickets, cluster.names.state) as reader:
        await reader.to_beginning()
        async for record in reader.existing():
            changes.take(record)
        before = {(document["partition"], document["offset"]): document for document in shown}
        for document in changes.catch_up(before):
            _print_if_wanted(document, wanted, as_json=as_json)
        async for record in reader.following():
            for document in changes.take(record):
                _print_if_wanted(document, wanted, as_json=as_json)


def _print_if_wanted(document: JsonObject, wanted: RecordFilter, *, as_json: bool) -> None:
    if wanted.fits(document, "progress"):
        print_one(document, one_line, as_json=as_json)


class Changes:
    """Unsettled tickets and what is new about them, fed with the records of the tickets and state topics.

    Settled ones are dropped, so that it can go on for ever. Pure: no I/O.
    """

    def __init__(self, board: TicketBoard) -> None:
        self._board = board
        # Of each partition, by offset and so in order.
        self._open: defaultdict[int, dict[int, Record]] = defaultdict(dict)
        self._offsets: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self._last: dict[tuple[int, int], JsonObject] = {}

    def take(self, record: Record) -> list[JsonObject]:
        """The tickets that are not where they were before this record."""
        partition = record.partition
        if record.topic == self._board.tickets_topic:
            return self._changed(partition, self._opened(record))
        changed = self._board.apply(record)
        if changed is None:
            return []
        news = self._changed(partition, self._offsets.get((partition, changed), []))
        return news + self._closed(partition)

    def catch_up(self, shown: Mapping[tuple[int, int], JsonObject]) -> list[JsonObject]:
        """Every open ticket that differs from what was shown of it."""
        return [document for place, document in self._last.items() if shown.get(place) != document]

    def _opened(self, record: Record) -> list[int]:
        if self._board.has_passed(record.partition, record.offset):
            return []
        self._open[record.partition][record.offset] = record
        ticket = read_or_none(record.value)
        if ticket is not None:
            self._offsets[record.partition, ticket.ticket_id].append(record.offset)
        return [record.offset]

    def _changed(self, partition: int, offsets: Sequence[int]) -> list[JsonObject]:
        news = []
        for offset in offsets:
            document = document_of(self._open[partition][offset], self._board)
            if self._last.get((partition, offset)) != document:
                self._last[partition, offset] = document
                news.append(document)
        return news

    def _closed(self, partition: int) -> list[JsonObject]:
        """What the watermark has passed, told for the last time and forgotten."""
        passed = list(takewhile(lambda offset: self._board.has_passed(partition, offset), self._open[partition]))
        news = self._changed(partition, passed)
        for offset in passed:
            document = self._last.pop((partition, offset))
            del self._open[partition][offset]
            offsets = self._offsets.get((partition, document["ticket_id"]))
            if offsets is not None:
                offsets.remove(offset)
                if not offsets:
                    del self._offsets[partition, document["ticket_id"]]
        return news


def document_of(record: Record, board: TicketBoard) -> JsonObject:
    """A record of the tickets topic and its standing, as JSON has it."""
    ticket = read_or_none(record.value)
    standing = board.standing(record)
    return {
        "ticket_id": ticket.ticket_id if ticket else None,
        "task_type": ticket.task_type if ticket else None,
        "plan_id": ticket.plan_id if ticket else None,
        "priority": ticket.priority.name if ticket else None,
        "dependencies": ticket.dependencies if ticket else (),
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "preview": None if ticket else preview(record.value),
        **asdict(standing),
    }


def one_line(ticket: JsonObject) -> str:
    at, name, task_type, _, _, place, progress, attempt, detail = _row(ticket)
    words = (at, f"{name:<24}", f"{task_type:<10}", place, progress, attempt and f"attempt {attempt}", detail)
    return printable("  ".join(word for word in words if word))


def _row(ticket: JsonObject) -> Sequence[str]:
    return (
        time_text(ticket["timestamp"]),
        ticket["ticket_id"] or f"? {ticket['preview']}"[:40],
        ticket["task_type"] or "",
        ticket["plan_id"] or "",
        ticket["priority"] or "",
        f"{ticket['partition']}-{ticket['offset']}",
        ticket["progress"],
        str(ticket["attempt"] or ""),
        _detail(ticket)[:100],
    )


def _detail(ticket: JsonObject) -> str:
    detail, due_at = str(ticket["detail"]), ticket["due_at"]
    return detail if due_at is None else f"{detail}, until {time_text(due_at)}"
