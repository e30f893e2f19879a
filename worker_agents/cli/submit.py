"""``worker-agents submit``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from worker_agents.cli.access import Cluster, complete, reach, settings_of_command
from worker_agents.cli.exits import say
from worker_agents.cli.output import print_json
from worker_agents.cli.waiting import Waiting, progress_display
from worker_agents.kafka.reader import TopicReader
from worker_agents.kafka.submitter import Sent, TicketSubmitter, default_key
from worker_agents.model.text import printable

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submission:
    """``key`` replaces every ticket's own record key; ``timeout`` is seconds."""

    tickets: Sequence[JsonObject]
    key: str | None = None
    wait: bool = False
    timeout: float = 300.0
    as_json: bool = False

    def key_of(self, ticket: JsonObject) -> str | None:
        return self.key or default_key(ticket)


@dataclass(frozen=True, slots=True)
class Placed:
    """A ticket that is in its topic."""

    ticket_id: str | None
    key: str | None
    sent: Sent

    def document(self) -> JsonObject:
        return {"ticket_id": self.ticket_id, "key": self.key, **asdict(self.sent)}

    def line(self) -> str:
        name = printable(self.ticket_id or "a ticket without an id")
        return f"sent {name} to {self.sent.topic}, partition {self.sent.partition}, offset {self.sent.offset}"


def submit_tickets(submission: Submission) -> bool:
    """Send the tickets. False when results were waited for and not every ticket is COMPLETED."""
    settings = settings_of_command()
    for warning in _warnings(submission):
        say(f"warning: {warning}")
    return complete(_submit(submission, settings))


def _warnings(submission: Submission) -> list[str]:
    keys = {ticket.get("ticket_id"): submission.key_of(ticket) for ticket in submission.tickets}
    return [
        f"{ticket.get('ticket_id')} depends on {dependency}, but their record keys differ: they may lie in different "
        "partitions and never meet (give both the same --plan or --key)"
        for ticket in submission.tickets
        for dependency in ticket.get("dependencies") or ()
        if keys.get(dependency, dependency) != submission.key_of(ticket) and not ticket.get("plan_id")
    ]


async def _submit(submission: Submission, settings: Any) -> bool:
    cluster = await reach(settings)
    cluster.partitions(cluster.names.tickets)
    async with _results_from_now(cluster, wanted=submission.wait) as reader:
        placed = await _send(submission, cluster)
        if reader is None:
            if submission.as_json:
                print_json({"sent": [each.document() for each in placed]})
            return True
        waiting = Waiting({each.ticket_id for each in placed if each.ticket_id}, show=not submission.as_json)
        await _wait(reader, waiting, submission.timeout)
    _report(submission, placed, waiting)
    return waiting.succeeded


@asynccontextmanager
async def _results_from_now(cluster: Cluster, *, wanted: bool) -> AsyncIterator[TopicReader | None]:
    """Opened before anything is sent: results can be quick."""
    if not wanted:
        yield None
        return
    async with cluster.reader(cluster.names.results) as reader:
        await reader.to_end()
        yield reader


async def _send(submission: Submission, cluster: Cluster) -> list[Placed]:
    placed = []
    async with TicketSubmitter(cluster.connection, cluster.names.tickets) as submitter:
        for ticket in submission.tickets:
            key, ticket_id = submission.key_of(ticket), ticket.get("ticket_id")
            sent = await submitter.submit(orjson.dumps(ticket), None if key is None else key.encode())
            placed.append(Placed(ticket_id if isinstance(ticket_id, str) else None, key, sent))
            if not submission.as_json:
                print(placed[-1].line(), flush=True)
    return placed


async def _wait(reader: TopicReader, waiting: Waiting, timeout: float) -> None:
    with progress_display(waiting):
        try:
            async with asyncio.timeout(timeout):
                async for record in reader.following():
                    waiting.take(record)
                    if waiting.is_over:
                        return
        except TimeoutError:
            for ticket_id in sorted(waiting.missing):
                say(
                    f"no result for {printable(ticket_id)} within {timeout:g} s; it may come later, and a copy of a "
                    f"settled ticket gets none: worker-agents tickets --ticket {printable(ticket_id)}"
                )


def _report(submission: Submission, placed: Sequence[Placed], waiting: Waiting) -> None:
    if submission.as_json:
        print_json(
            {
                "sent": [each.document() for each in placed],
                "results": list(waiting.results.values()),
                "missing": sorted(waiting.missing),
            }
        )
        return
    if len(waiting.results) == 1:
        (result,) = waiting.results.values()
        print_json(result)
    elif waiting.results:
        completed = sum(result.get("status") == "COMPLETED" for result in waiting.results.values())
        failed = len(waiting.results) - completed
        print(f"{completed} completed, {failed} failed, {len(waiting.missing)} without a result")
