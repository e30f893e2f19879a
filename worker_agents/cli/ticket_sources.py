"""Tickets to be submitted: from JSON, JSON lines, samples or options. Nothing here talks to Kafka."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson

from worker_agents.cli.exits import BadUsage
from worker_agents.cli.samples import sample as sample_ticket
from worker_agents.model.errors import TicketRejected
from worker_agents.model.json_text import read_json
from worker_agents.model.ticket import read_ticket

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TicketOptions:
    """One ticket, as options describe it. ``parameters`` are ``name=text`` or ``name:=JSON``, times are seconds."""

    task_type: str | None = None
    ticket_id: str | None = None
    parameters: Sequence[str] = field(default_factory=list)
    dependencies: Sequence[str] = field(default_factory=list)
    priority: str | None = None
    plan_id: str | None = None
    max_retries: int | None = None
    time_limit: float | None = None

    @property
    def given(self) -> bool:
        return any(getattr(self, each.name) not in (None, []) for each in fields(self))


def tickets_of(
    source: Path | None, options: TicketOptions, *, check: bool, sample: str | None = None
) -> list[JsonObject]:
    """The tickets of a file (``-``: standard input), or the one that options make, of a ``sample`` or from nothing.

    Raises :class:`BadUsage` when there are none, both, or, with ``check``, one that no worker could read; and
    :class:`NotFound` for a sample that is none.
    """
    tickets = _unchecked(source, options, sample)
    if check:
        refuse_unreadable(tickets)
    return tickets


def _unchecked(source: Path | None, options: TicketOptions, sample: str | None) -> list[JsonObject]:
    if sample is not None:
        return [sample_from(source, sample, options)]
    if source is not None and options.given:
        raise BadUsage("give a file or the options of one ticket, not both")
    if source is None and options.task_type is None:
        raise BadUsage(
            "nothing to submit: name a file, - for standard input, or give --sample, or --type and other options"
        )
    return [ticket_from(options)] if source is None else parse(read(source), str(source))


def read(source: Path) -> bytes:
    if str(source) == "-":
        return sys.stdin.buffer.read()
    try:
        return source.read_bytes()
    except OSError as error:
        raise BadUsage(f"{source} cannot be read: {error.strerror}") from error


def parse(data: bytes, name: str) -> list[JsonObject]:
    """One JSON object, a list of them, or one on each line."""
    try:
        document = read_json(data)
    except orjson.JSONDecodeError:
        return list(_lines(data, name))
    tickets = document if isinstance(document, list) else [document]
    if not tickets:
        raise BadUsage(f"{name} holds no tickets")
    for number, ticket in enumerate(tickets, start=1):
        if not isinstance(ticket, dict):
            raise BadUsage(f"{name}: ticket {number} is not a JSON object")
    return tickets


def _lines(data: bytes, name: str) -> Iterator[JsonObject]:
    numbered = [(number, line) for number, line in enumerate(data.splitlines(), start=1) if line.strip()]
    if not numbered:
        raise BadUsage(f"{name} is empty")
    for number, line in numbered:
        try:
            ticket = read_json(line)
        except orjson.JSONDecodeError as error:
            raise BadUsage(f"{name}: neither JSON nor JSON lines: line {number}: {error}") from error
        if not isinstance(ticket, dict):
            raise BadUsage(f"{name}: line {number} is not a JSON object")
        yield ticket


def sample_from(source: Path | None, name: str, options: TicketOptions) -> JsonObject:
    """A sample, changed by ``options``; parameters that they do not name stay."""
    if source is not None:
        raise BadUsage("give a file or a sample, not both")
    if options.task_type is not None:
        raise BadUsage("a sample has a type of its own: leave --type out")
    ticket, changes = sample_ticket(name), ticket_from(options)
    return {**ticket, **changes, "parameters": {**ticket["parameters"], **changes.get("parameters", {})}}


def ticket_from(options: TicketOptions) -> JsonObject:
    """The ticket that options describe; without an id it gets a new one."""
    sla = {
        "timeout_ms": None if options.time_limit is None else round(options.time_limit * 1000),
        "max_retries": options.max_retries,
    }
    ticket = {
        "ticket_id": options.ticket_id or f"cli-{secrets.token_hex(6)}",
        "task_type": options.task_type,
        "status": "PENDING",
        "plan_id": options.plan_id,
        "priority": options.priority,
        "dependencies": list(options.dependencies),
        "parameters": dict(_parameter(text) for text in options.parameters),
        "sla": {name: value for name, value in sla.items() if value is not None},
    }
    return {name: value for name, value in ticket.items() if value not in (None, [], {})}


def _parameter(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or name in ("", ":"):
        raise BadUsage(f"--param {text!r} is neither name=text nor name:=JSON")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], read_json(value)
    except orjson.JSONDecodeError as error:
        raise BadUsage(f"--param {text!r}: what follows := is not JSON: {error}") from error


def refuse_unreadable(tickets: Iterable[JsonObject]) -> None:
    """Raise :class:`BadUsage` for the first ticket that would only become a dead letter."""
    for number, ticket in enumerate(tickets, start=1):
        try:
            read_ticket(orjson.dumps(ticket))
        except TicketRejected as error:
            raise BadUsage(f"ticket {number}: {error} (--no-check sends it all the same)") from error
