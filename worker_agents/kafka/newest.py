"""The newest records of a topic that fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from worker_agents.kafka.reader import Record, TopicReader


async def newest(reader: TopicReader, fits: Callable[[Record], bool], limit: int, *, everything: bool) -> list[Record]:
    """The newest ``limit`` records that fit, oldest first; the reader then stands at the end.

    ``everything`` reads the topic from its beginning: needed where few records fit.
    """
    if not everything:
        return [record for record in await reader.latest(limit) if fits(record)][-limit:]
    await reader.to_beginning()
    kept: deque[Record] = deque()
    async for record in reader.existing():
        if fits(record):
            kept.append(record)
            if len(kept) > 10 * limit:
                kept = _newest_of(kept, limit)
    return list(_newest_of(kept, limit))


def _newest_of(records: deque[Record], limit: int) -> deque[Record]:
    return deque(sorted(records, key=lambda record: record.timestamp)[-limit:])
