"""``worker-agents cancel``, ``retry``, ``pause``, ``resume`` and ``drain``: orders to running workers."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from urllib.parse import quote

from worker_agents.cli.access import complete
from worker_agents.cli.exits import BadUsage, CommandFailed
from worker_agents.cli.output import print_json
from worker_agents.cli.workers import (
    JsonObject,
    address_of_holder,
    address_of_local_worker,
    addresses_of_all,
    order,
    settings_with_token,
)
from worker_agents.model.text import printable
from worker_agents.settings import Settings

_FAILED = "failed"


def note(reason: str, by: str | None) -> JsonObject:
    """Who asks, by default the user of this shell, and why."""
    return {"reason": reason, "by": by or _user()}


def path_of_type(task_type: str, action: str) -> str:
    return f"/api/v1/task-types/{quote(task_type, safe='')}/{action}"


def order_for_ticket(action: str, ticket_id: str, body: JsonObject, *, url: str | None, as_json: bool) -> None:
    """Have the worker that holds the ticket act. ``url`` is its address where its own cannot be reached from here."""
    settings = settings_with_token()

    async def ask() -> JsonObject:
        address = url or await address_of_holder(settings, ticket_id)
        return await order(settings, address, f"/api/v1/tickets/{quote(ticket_id, safe='')}/{action}", body)

    answer = complete(ask())
    if as_json:
        print_json(answer)
    else:
        print(printable(f"{ticket_id}: {answer['detail']}"))


def order_for_workers(path: str, body: JsonObject, *, url: str | None, everywhere: bool, as_json: bool) -> None:
    """Have the worker at ``url`` act, the one on this machine, or all that hold a partition."""
    if url is not None and everywhere:
        raise BadUsage("--url and --all exclude each other")
    settings = settings_with_token()
    answers = complete(_ask_all(settings, path, body, url, everywhere))
    if as_json:
        print_json(answers if everywhere else answers[0])
    else:
        for answer in answers:
            print(printable(f"{answer['worker']}: {answer['detail']}"))
    failed = sum(answer.get("outcome") == _FAILED for answer in answers)
    if failed:
        raise CommandFailed(f"{failed} of {len(answers)} workers did not do it")


async def _ask_all(
    settings: Settings, path: str, body: JsonObject, url: str | None, everywhere: bool
) -> Sequence[JsonObject]:
    """One after the other. Of many, one that fails does not keep the others from it."""
    if not everywhere:
        return [await order(settings, url or address_of_local_worker(settings), path, body)]
    addresses = await addresses_of_all(settings)
    if not addresses:
        raise CommandFailed("no worker holds a partition just now; try again")
    answers: list[JsonObject] = []
    for address in addresses:
        try:
            answers.append(await order(settings, address, path, body))
        except CommandFailed as error:
            answers.append({"worker": address, "outcome": _FAILED, "detail": str(error)})
    return answers


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
