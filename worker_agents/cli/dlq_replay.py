"""``worker-agents dlq replay``: sends dead letters again, each to the partition that it came from.

Every letter is a replay of its own (header ``worker-agents.replay``), which runs once however often it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from worker_agents.cli.access import Cluster, complete, reach, settings_of_command
from worker_agents.cli.dlq import LetterFilter, find_letter, parse_place, summary
from worker_agents.cli.exits import BadUsage, CommandFailed, NotFound
from worker_agents.cli.output import print_json_line, printable
from worker_agents.kafka.dead_letters import ERROR_PREFIX, OWN_PREFIX
from worker_agents.kafka.reader import Record
from worker_agents.kafka.submitter import TicketSubmitter
from worker_agents.model.ticket import REPLAY_HEADER
from worker_agents.settings import Settings

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """Which letters, and how. ``places`` are ``partition-offset``; ``rate`` is letters a second."""

    places: Sequence[str] = ()
    wanted: LetterFilter = field(default_factory=LetterFilter)
    everything: bool = False
    rate: float = 10.0
    dry_run: bool = False

    def check(self) -> None:
        """Raises :class:`BadUsage` for an order that says nothing, or two things."""
        chosen = [bool(self.places), not self.wanted.is_empty, self.everything]
        if sum(chosen) != 1:
            raise BadUsage("say which dead letters: places such as 0-17, or --ticket and --reason, or --all")


def replay_letters(order: ReplayOrder, *, as_json: bool) -> None:
    """Send the letters again and print what became of each. Ends with an error when one could not be sent."""
    order.check()
    places = [parse_place(place) for place in order.places]
    reports = complete(_replay(settings_of_command(), order, places, as_json=as_json))
    refused = sum(report["problem"] is not None for report in reports)
    if not as_json:
        words = "would be replayed" if order.dry_run else "replayed"
        print(f"{len(reports) - refused} of {len(reports)} dead letters {words}")
    if refused:
        raise CommandFailed(f"{refused} dead letters cannot be replayed")


async def _replay(
    settings: Settings, order: ReplayOrder, places: list[tuple[int, int]], *, as_json: bool
) -> list[JsonObject]:
    cluster = await reach(settings)
    reports = []
    async with TicketSubmitter(cluster.connection, cluster.names.tickets) as submitter:
        partitions = await submitter.partitions()
        async with aclosing(_letters(cluster, order, places)) as letters:
            async for letter in letters:
                report = _report(letter, partitions)
                if report["problem"] is None and not order.dry_run:
                    await _send(submitter, letter, report)
                    await asyncio.sleep(1 / order.rate)
                reports.append(report)
                _print(report, as_json=as_json)
    if not reports:
        raise NotFound(f"no such dead letters in {cluster.names.dlq}")
    return reports


async def _letters(cluster: Cluster, order: ReplayOrder, places: list[tuple[int, int]]) -> AsyncGenerator[Record, None]:
    """Those that are there now: a replay that fails again is a new letter, and not this order's."""
    for partition, offset in places:
        yield await find_letter(cluster, partition, offset)
    if places:
        return
    async with cluster.reader(cluster.names.dlq) as reader:
        await reader.to_beginning()
        async for record in reader.existing():
            if order.wanted.fits(summary(record)):
                yield record


def _report(letter: Record, partitions: int) -> JsonObject:
    told = summary(letter)
    partition = told["original"]["partition"]
    problem = None
    if told["truncated"]:
        problem = "it was too big to be kept whole: only its beginning is there"
    elif partition is None or partition >= partitions:
        problem = "the partition that it came from is not known, or is not there any more"
    return {
        "letter": told["letter"],
        "ticket_id": told["ticket_id"],
        "reason": told["reason"],
        "partition": partition,
        "sent_to": None,
        "problem": problem,
    }


async def _send(submitter: TicketSubmitter, letter: Record, report: JsonObject) -> None:
    """With the headers that the record had, without what the dead letter added, and with which replay this is."""
    original = [(name, value) for name, value in letter.headers if not name.startswith((ERROR_PREFIX, OWN_PREFIX))]
    headers = (*original, (REPLAY_HEADER, report["letter"].encode()))
    sent = await submitter.submit(letter.value, letter.key, headers, partition=report["partition"])
    report["sent_to"] = f"{sent.topic} {sent.partition}-{sent.offset}"


def _print(report: JsonObject, *, as_json: bool) -> None:
    if as_json:
        print_json_line(report)
        return
    became = report["problem"] or report["sent_to"] or "would be replayed"
    print(printable(f"{report['letter']}  {report['ticket_id'] or '?'}  {report['reason']}  {became}"))
