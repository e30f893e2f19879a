"""``worker-agents dlq replay``: sends dead letters again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field

from worker_agents.cli.access import Cluster, complete, reach, settings_of_command
from worker_agents.cli.dlq import LetterFilter, find_letter, parse_place, summary
from worker_agents.cli.exits import BadUsage, CommandFailed, NotFound
from worker_agents.cli.output import print_json_line
from worker_agents.kafka.letters import replay_plan, send_again
from worker_agents.kafka.reader import Record
from worker_agents.kafka.submitter import TicketSubmitter
from worker_agents.model.letters import Replayed
from worker_agents.model.text import printable
from worker_agents.settings import Settings


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
    refused = sum(report.problem is not None for report in reports)
    if not as_json:
        words = "would be replayed" if order.dry_run else "replayed"
        print(f"{len(reports) - refused} of {len(reports)} dead letters {words}")
    if refused:
        raise CommandFailed(f"{refused} dead letters cannot be replayed")


async def _replay(
    settings: Settings, order: ReplayOrder, places: list[tuple[int, int]], *, as_json: bool
) -> list[Replayed]:
    cluster = await reach(settings)
    reports = []
    async with TicketSubmitter(cluster.connection, cluster.names.tickets) as submitter:
        partitions = await submitter.partitions()
        async with aclosing(_letters(cluster, order, places)) as letters:
            async for letter in letters:
                report = replay_plan(letter, partitions)
                if report.problem is None and not order.dry_run:
                    report = await send_again(submitter, letter, report)
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


def _print(report: Replayed, *, as_json: bool) -> None:
    if as_json:
        print_json_line(asdict(report))
        return
    became = report.problem or report.sent_to or "would be replayed"
    print(printable(f"{report.letter}  {report.ticket_id or '?'}  {report.reason}  {became}"))
