"""Reading dead letters, and sending them again, each to the partition that it came from.

Every letter is a replay of its own (header ``worker-agents.replay``), which runs once however often it is sent.
"""

from __future__ import annotations

import re
from dataclasses import replace

from worker_agents.kafka.dead_letters import (
    ATTEMPTS_HEADER,
    ERROR_PREFIX,
    OWN_PREFIX,
    REASON_HEADER,
    TRUNCATED_HEADER,
    WORKER_HEADER,
)
from worker_agents.kafka.reader import Record
from worker_agents.kafka.submitter import TicketSubmitter
from worker_agents.kafka.ticket_board import read_or_none
from worker_agents.model.errors import TicketRejected
from worker_agents.model.letters import Letter, Origin, Replayed
from worker_agents.model.text import preview
from worker_agents.model.ticket import REPLAY_HEADER, read_ticket

# As long as numbers of partitions and offsets can be: whoever writes to the topic may write others.
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_PLACE = re.compile(r"(\d{1,9})[-:](\d{1,18})", re.ASCII)


def parse_place(text: str) -> tuple[int, int] | None:
    """Partition and offset of ``0-17`` or ``0:17``; ``None`` for anything else."""
    match = _PLACE.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def letter_of(record: Record) -> Letter:
    """What a record of the dead-letter topic says, whoever wrote it."""
    return Letter(
        letter=f"{record.partition}-{record.offset}",
        timestamp=record.timestamp,
        reason=record.header(REASON_HEADER) or "",
        message=record.header(ERROR_PREFIX + "message") or "",
        ticket_id=_ticket_id(record.value),
        original=Origin(
            topic=record.header(ERROR_PREFIX + "topic"),
            partition=_number(record.header(ERROR_PREFIX + "partition")),
            offset=_number(record.header(ERROR_PREFIX + "offset")),
        ),
        attempts=_number(record.header(ATTEMPTS_HEADER)),
        worker_id=record.header(WORKER_HEADER),
        truncated=record.header(TRUNCATED_HEADER) is not None,
        preview=preview(record.value),
    )


def replay_plan(record: Record, partitions: int) -> Replayed:
    """Whether a letter can be sent again to a tickets topic of so many partitions."""
    letter = letter_of(record)
    partition, problem = letter.original.partition, None
    if letter.truncated:
        problem = "it was too big to be kept whole: only its beginning is there"
    elif partition is None or partition >= partitions:
        problem = "the partition that it came from is not known, or is not there any more"
    return Replayed(letter.letter, letter.ticket_id, letter.reason, partition, sent_to=None, problem=problem)


async def send_again(submitter: TicketSubmitter, record: Record, plan: Replayed) -> Replayed:
    """With the headers that the record had, without what the dead letter added, and with which replay this is."""
    original = [(name, value) for name, value in record.headers if not name.startswith((ERROR_PREFIX, OWN_PREFIX))]
    headers = (*original, (REPLAY_HEADER, plan.letter.encode()))
    sent = await submitter.submit(record.value, record.key, headers, partition=plan.partition)
    return replace(plan, sent_to=f"{sent.topic} {sent.partition}-{sent.offset}")


def _ticket_id(value: bytes | None) -> str | None:
    """The id, also of a ticket that is wrong in another way."""
    ticket = read_or_none(value)
    if ticket is not None:
        return ticket.ticket_id
    try:
        read_ticket(value or b"")
    except TicketRejected as error:
        return error.ticket_id
    return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None
