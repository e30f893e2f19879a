"""``worker-agents dlq list|show``; replay is in ``cli.dlq_replay``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from worker_agents.cli.access import Cluster, complete, reach, settings_of_command
from worker_agents.cli.exits import BadUsage, NotFound
from worker_agents.cli.listing import print_all, print_one
from worker_agents.cli.output import bytes_document, print_json, time_text
from worker_agents.kafka import letters
from worker_agents.kafka.letters import letter_of
from worker_agents.kafka.newest import newest
from worker_agents.kafka.reader import Record
from worker_agents.model.errors import Reason
from worker_agents.model.text import preview, printable
from worker_agents.settings import Settings

JsonObject = dict[str, Any]

_COLUMNS = ("letter", "at", "reason", "ticket", "original place", "attempts", "message", "begins with")


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """What is not ``None`` must be equal."""

    ticket_id: str | None = None
    reason: str | None = None

    @property
    def is_empty(self) -> bool:
        return self == LetterFilter()

    def fits(self, letter: JsonObject) -> bool:
        return self.ticket_id in (None, letter["ticket_id"]) and (
            self.reason is None or self.reason.lower() == letter["reason"]
        )


def list_letters(wanted: LetterFilter, *, limit: int, follow: bool, as_json: bool) -> None:
    """Print the newest dead letters that fit, then, with ``follow``, those that come."""
    reasons = [reason.value for reason in Reason]
    if wanted.reason is not None and wanted.reason.lower() not in reasons:
        raise BadUsage(f"--reason {wanted.reason} is none of {', '.join(reasons)}")
    complete(_list(settings_of_command(), wanted, limit, follow, as_json))


async def _list(settings: Settings, wanted: LetterFilter, limit: int, follow: bool, as_json: bool) -> None:
    cluster = await reach(settings)
    async with cluster.reader(cluster.names.dlq) as reader:
        records = await newest(
            reader, lambda record: wanted.fits(summary(record)), limit, everything=not wanted.is_empty
        )
        letters = [summary(record) for record in records]
        if not letters and wanted.ticket_id is not None and not follow:
            raise NotFound(f"no dead letter of ticket {wanted.ticket_id!r} in {cluster.names.dlq}")
        if not follow:
            print_all(letters, _COLUMNS, _row, as_json=as_json, nothing=f"no dead letters in {cluster.names.dlq}")
            return
        for letter in letters:
            print_one(letter, _line, as_json=as_json)
        async for record in reader.following():
            letter = summary(record)
            if wanted.fits(letter):
                print_one(letter, _line, as_json=as_json)


def show_letter(place: str, *, raw: bool, as_json: bool) -> None:
    """Print one dead letter. ``place`` is ``partition-offset`` in the dead-letter topic."""
    record = complete(_find(settings_of_command(), *parse_place(place)))
    if raw:
        sys.stdout.buffer.write(record.value or b"")
        sys.stdout.flush()
    elif as_json:
        print_json(_whole(record))
    else:
        _print_whole(record)


def parse_place(text: str) -> tuple[int, int]:
    """Partition and offset. Raises :class:`BadUsage`."""
    place = letters.parse_place(text)
    if place is None:
        raise BadUsage(f"{text!r} is no place in the dead-letter topic: PARTITION-OFFSET, such as 0-17")
    return place


async def _find(settings: Settings, partition: int, offset: int) -> Record:
    return await find_letter(await reach(settings), partition, offset)


async def find_letter(cluster: Cluster, partition: int, offset: int) -> Record:
    """The dead letter at that place. Raises :class:`NotFound`."""
    topic = cluster.names.dlq
    async with cluster.reader(topic) as reader:
        record = await reader.at(topic, partition, offset)
    if record is None:
        raise NotFound(f"no dead letter at {partition}-{offset} of {topic}")
    return record


def summary(record: Record) -> JsonObject:
    """What the list shows, as JSON has it."""
    return asdict(letter_of(record))


def _whole(record: Record) -> JsonObject:
    return {
        **summary(record),
        "key": bytes_document(record.key),
        "headers": [{"name": name, **bytes_document(value)} for name, value in record.headers],
        "value": bytes_document(record.value),
    }


def _print_whole(record: Record) -> None:
    letter = summary(record)
    print(printable(f"dead letter {letter['letter']} of {time_text(record.timestamp)}: {letter['reason']}"))
    print(f"key: {preview(record.key, 200)}")
    print("headers:")
    for name, value in record.headers:
        print(f"  {printable(name)}: {preview(value, 1000)}")
    size = len(record.value or b"")
    print(
        f"value ({size} bytes{', a preview: it was too big' if letter['truncated'] else ''}; --raw prints it as it is):"
    )
    print(printable((record.value or b"").decode(errors="replace")))


def _line(letter: JsonObject) -> str:
    return printable("  ".join(cell for cell in _row(letter) if cell))


def _row(letter: JsonObject) -> Sequence[str]:
    original = letter["original"]
    return (
        letter["letter"],
        time_text(letter["timestamp"]),
        letter["reason"],
        letter["ticket_id"] or "?",
        f"{original['topic']} {original['partition']}-{original['offset']}",
        "" if letter["attempts"] is None else str(letter["attempts"]),
        letter["message"].split("\n")[0][:80],
        letter["preview"][:40],
    )
