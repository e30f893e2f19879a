"""``worker-agents status``: what each worker says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from worker_agents.cli.access import complete, settings_of_command
from worker_agents.cli.exits import CommandFailed, NotFound
from worker_agents.cli.output import print_json, print_table
from worker_agents.cli.workers import JsonObject, addresses_of_all
from worker_agents.model.text import printable
from worker_agents.model.words import span
from worker_agents.settings import Settings

_SECONDS = 10.0
_SHOWN = 10


def show_status(*, url: str | None, as_json: bool) -> None:
    """Print a line for each worker, and more of the only one, or of that at ``url``.

    Raises :class:`CommandFailed` when a worker does not answer, after the others were printed.
    """
    answers = complete(_ask_all([url] if url else complete(_addresses(settings_of_command()))))
    told = {address: answer for address, answer in answers.items() if isinstance(answer, dict)}
    silent = {address: answer for address, answer in answers.items() if isinstance(answer, str)}
    if as_json:
        print_json([{"url": address, **document} for address, document in told.items()])
    elif len(told) == 1 and not silent:
        _print_worker(next(iter(told.values())))
    elif told:
        _print_workers(told)
    if silent:
        words = "; ".join(f"{address}: {why}" for address, why in silent.items())
        raise CommandFailed(f"not every worker answers ({words}); an address as seen from here goes into --url")


async def _addresses(settings: Settings) -> list[str]:
    addresses = await addresses_of_all(settings)
    if not addresses:
        raise NotFound(f"no worker holds a partition of {settings.kafka_tickets_topic}")
    return addresses


async def _ask_all(addresses: Sequence[str]) -> dict[str, JsonObject | str]:
    """The document of each, or why there is none."""
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
        answers = await asyncio.gather(*(_ask(http, address) for address in addresses))
    return dict(zip(addresses, answers, strict=True))


async def _ask(http: httpx.AsyncClient, address: str) -> JsonObject | str:
    try:
        response = await http.get(f"{address.rstrip('/')}/api/v1/status")
        response.raise_for_status()
        document = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return str(error) or type(error).__name__
    return document if isinstance(document, dict) and "summary" in document else "it answers, but not as a worker"


def _print_workers(told: dict[str, JsonObject]) -> None:
    print_table(
        ("worker", "address", "partitions", "running", "waiting", "state"),
        [
            (
                document["worker"]["worker_id"],
                address,
                str(len(document["partitions"])),
                f"{document['running_total']:,}",
                f"{document['waiting_total']:,}",
                document["summary"],
            )
            for address, document in told.items()
        ],
    )


def _print_worker(document: JsonObject) -> None:
    worker = document["worker"]
    print(printable(f"{worker['worker_id']} {worker['version']}: {document['summary']}"))
    if document["running"]:
        print_table(
            ("running", "type", "attempt", "time left", "progress"),
            [_running(t, document["at"]) for t in _first(document["running"])],
        )
        _print_rest(document, "running")
    if document["waiting"]:
        print_table(
            ("waiting", "type", "because of", "due in", "what happened"),
            [_waiting(t, document["at"]) for t in _first(document["waiting"])],
        )
        _print_rest(document, "waiting")
    trouble = [
        item for item in document["integrations"] if item["breaker"] not in (None, "closed") or item["simulated"]
    ]
    if trouble:
        print_table(
            ("integration", "breaker", "simulated", "last error"),
            [(item["label"], item["breaker"] or "", str(item["simulated"]), item["last_failure"]) for item in trouble],
        )


def _print_rest(document: JsonObject, what: str) -> None:
    shown = len(_first(document[what]))
    if (left := document[f"{what}_total"] - shown) > 0:
        print(f"{left:,} more {what}")


def _first(tickets: Sequence[JsonObject]) -> Sequence[JsonObject]:
    return tickets[:_SHOWN]


def _running(ticket: JsonObject, now_ms: int) -> Sequence[str]:
    left = span((ticket["ends_at"] - now_ms) / 1000) if ticket["ends_at"] else ""
    return ticket["ticket_id"], ticket["task_type"], str(ticket["attempt"]), left, ticket["progress"]


def _waiting(ticket: JsonObject, now_ms: int) -> Sequence[str]:
    due = span((ticket["due_at"] - now_ms) / 1000) if ticket["due_at"] else ""
    why = " ".join((ticket["reason"].replace("_", " "), *ticket["waits_for"]))
    return ticket["ticket_id"], ticket["task_type"], why, due, ticket["message"]
