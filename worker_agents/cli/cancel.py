"""``worker-agents cancel``: asks the worker that holds a ticket to give it up."""

from __future__ import annotations

import getpass
from typing import Any
from urllib.parse import quote

import httpx

from worker_agents.cli.access import Cluster, complete, reach, settings_of_command
from worker_agents.cli.exits import BadUsage, CommandFailed, NotFound
from worker_agents.cli.output import print_json
from worker_agents.cli.tickets import board_of
from worker_agents.kafka.reader import Record
from worker_agents.kafka.ticket_board import read_or_none
from worker_agents.model.text import printable
from worker_agents.settings import Settings

JsonObject = dict[str, Any]

_SECONDS = 10.0


def cancel_ticket(ticket_id: str, *, reason: str, by: str | None, url: str | None, as_json: bool) -> None:
    """Cancel, and print what came of it. ``url`` is the worker's address where its own cannot be reached from here."""
    settings = settings_of_command("admin_token")
    if not settings.admin_token:
        raise BadUsage("ADMIN_TOKEN is not set: cancelling needs the token that the workers have")
    answer = complete(_cancel(settings, ticket_id, {"reason": reason, "by": by or _user()}, url))
    if as_json:
        print_json(answer)
    else:
        print(printable(f"{ticket_id}: {answer['detail']}"))


async def _cancel(settings: Settings, ticket_id: str, body: JsonObject, url: str | None) -> JsonObject:
    address = url or await _address_of_owner(await reach(settings), ticket_id)
    path = f"/api/v1/tickets/{quote(ticket_id, safe='')}/cancel"
    headers = {"Authorization": f"Bearer {settings.admin_token.get_secret_value()}"}
    try:
        async with httpx.AsyncClient(base_url=address, timeout=_SECONDS, trust_env=False) as http:
            response = await http.post(path, json=body, headers=headers)
            answer: JsonObject = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        words = str(error) or type(error).__name__
        raise CommandFailed(
            f"the worker at {address} did not answer as one ({words}); its address as seen from here goes into --url"
        ) from error
    if response.status_code == httpx.codes.NOT_FOUND:
        raise NotFound(f"ticket {ticket_id}: {answer.get('detail')} ({address})")
    if response.status_code != httpx.codes.ACCEPTED:
        raise CommandFailed(f"ticket {ticket_id} was not cancelled: {answer.get('detail')} ({address})")
    return {**answer, "worker": address}


async def _address_of_owner(cluster: Cluster, ticket_id: str) -> str:
    """The address that the holder of the ticket's partition wrote into its lease."""
    board = await board_of(cluster)
    partition = board.partition_of(ticket_id)
    if partition is None:
        partition = await _partition_in_topic(cluster, ticket_id)
    owner = board.owner_of(partition)
    if owner is None or not owner.url or owner.handed_over:
        raise CommandFailed(
            f"ticket {ticket_id} lies in partition {partition}, which no worker holds just now; try again"
        )
    return owner.url


async def _partition_in_topic(cluster: Cluster, ticket_id: str) -> int:
    """Of a ticket that no worker has written about yet."""

    def is_wanted(record: Record) -> bool:
        ticket = read_or_none(record.value)
        return ticket is not None and ticket.ticket_id == ticket_id

    async with cluster.reader(cluster.names.tickets) as reader:
        await reader.to_beginning()
        async for record in reader.existing():
            if is_wanted(record):
                return record.partition
    raise NotFound(f"no ticket {ticket_id!r} in {cluster.names.tickets}")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
