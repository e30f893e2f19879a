"""Asking running workers to act: finding the one that is meant, and what it answers."""

from __future__ import annotations

from typing import Any

import httpx

from worker_agents.cli.access import Cluster, reach, settings_of_command
from worker_agents.cli.exits import BadUsage, CommandFailed, NotFound
from worker_agents.cli.tickets import board_of
from worker_agents.kafka.reader import Record
from worker_agents.kafka.ticket_board import read_or_none
from worker_agents.model.hosts import in_url
from worker_agents.settings import Settings

JsonObject = dict[str, Any]

_SECONDS = 10.0
_ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 # compared with, not listened on


def settings_with_token() -> Settings:
    """Raises :class:`BadUsage` where there is no admin token: nobody would obey."""
    settings = settings_of_command("admin_token")
    if not settings.admin_token:
        raise BadUsage("ADMIN_TOKEN is not set: workers obey only whoever has theirs")
    return settings


def address_of_local_worker(settings: Settings) -> str:
    """Where a worker with these settings, on this machine, listens."""
    host = "127.0.0.1" if settings.http_host in _ANYWHERE else settings.http_host
    return f"http://{in_url(host)}:{settings.http_port}"


async def address_of_holder(settings: Settings, ticket_id: str) -> str:
    """The address that the holder of the ticket's partition wrote into its lease."""
    cluster = await reach(settings)
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


async def addresses_of_all(settings: Settings) -> list[str]:
    """Every worker that holds a partition, as it wrote itself into its leases; none is an answer too."""
    cluster = await reach(settings)
    board = await board_of(cluster)
    owners = [board.owner_of(number) for number in range(cluster.partitions(cluster.names.state))]
    return sorted({owner.url for owner in owners if owner is not None and owner.url and not owner.handed_over})


async def order(settings: Settings, address: str, path: str, body: JsonObject) -> JsonObject:
    """Have the worker at ``address`` act. Returns its answer, with its address as ``worker``.

    Raises :class:`NotFound` and :class:`CommandFailed` with the worker's own words.
    """
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
        raise NotFound(f"{answer.get('detail')} ({address})")
    if not response.is_success:
        raise CommandFailed(f"{answer.get('detail')} ({address})")
    return {**answer, "worker": address}


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
