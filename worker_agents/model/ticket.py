"""Execution tickets as they come, read tolerantly.

Field names and shapes: ``contracts.md`` 1.5. What producers really send differs from the schema
(``parameters`` as any JSON or all strings, integer priorities, lower-case types, missing blocks), so
only ``ticket_id`` and ``task_type`` are required and everything else has a default.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from typing import Annotated, Any

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from worker_agents.model.documents import null_is_absent
from worker_agents.model.errors import InvalidTicket, Undecodable
from worker_agents.model.json_text import MAX_DEPTH, nests_too_deep
from worker_agents.model.structs import struct

MAX_TICKET_ID_LENGTH = 200
MAX_REPLAYS_REMEMBERED = 20
REPLAY_HEADER = "worker-agents.replay"
MAX_RETRIES_CAP = 20
MAX_DEPENDENCIES = 10_000
MAX_NAME_SHOWN = 80
# Year 9999 in milliseconds: anything later is a unit error, and would overflow datetime.
MAX_EPOCH_MS = 253_402_300_799_000

KNOWN_TASK_TYPES = frozenset({"EXECUTE", "BUILD", "VALIDATE", "TEST", "DEPLOY"})

_REPLAY = re.compile(r"\d{1,9}-\d{1,18}", re.ASCII)


@struct
class Envelope:
    """A record of the tickets topic, byte for byte.

    ``receipt`` is the journal's handle of the record: whoever settles it hands it back, nobody else reads it.
    ``timestamp`` is epoch milliseconds.
    """

    receipt: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0

    @property
    def replay(self) -> str:
        """Which dead letter this record is a replay of: ``{partition}-{offset}``; empty for none."""
        text = (self.header(REPLAY_HEADER) or "") if self.headers else ""
        return text if _REPLAY.fullmatch(text) else ""

    def header(self, name: str) -> str | None:
        """The first header of that name, compared without case; ``None`` when absent or not UTF-8."""
        for key, value in self.headers:
            if key.lower() == name and value is not None:
                try:
                    return value.decode()
                except UnicodeDecodeError:
                    return None
        return None


class Priority(IntEnum):
    """Higher runs first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


class DeliveryMode(StrEnum):
    AT_MOST_ONCE = "AT_MOST_ONCE"
    AT_LEAST_ONCE = "AT_LEAST_ONCE"
    EXACTLY_ONCE = "EXACTLY_ONCE"


def _priority(value: object) -> object:
    """Names in any case, or the peer's 1-10 scale (1-2 LOW, 3-5 NORMAL, 6-8 HIGH, 9-10 CRITICAL)."""
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return Priority[value.upper()]
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10:
        return Priority((value > 2) + (value > 5) + (value > 8))
    raise ValueError("must be LOW, NORMAL, HIGH, CRITICAL or an integer from 1 to 10")


def _delivery_mode(value: object) -> object:
    """The schema's names; also the free strings (``at-least-once``) that older producers send."""
    if value is None:
        return DeliveryMode.AT_LEAST_ONCE
    return value.upper().replace("-", "_") if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


EpochMs = Annotated[int, Field(ge=0, le=MAX_EPOCH_MS)]
TicketId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TICKET_ID_LENGTH)]


def _not_reserved(value: str) -> str:
    if value.startswith("@"):
        raise ValueError("must not start with '@'")
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


class Sla(BaseModel):
    """``deadline`` epoch ms, ``timeout_ms`` milliseconds; each may be absent."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    deadline: EpochMs | None = None
    timeout_ms: Annotated[int, Field(gt=0, le=MAX_EPOCH_MS)] | None = None
    max_retries: Annotated[int, Field(ge=0)] | None = None


class Qos(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    delivery_mode: Annotated[DeliveryMode, BeforeValidator(_delivery_mode)] = DeliveryMode.AT_LEAST_ONCE


_DEFAULT_SLA = Sla()
_DEFAULT_QOS = Qos()


class Ticket(BaseModel):
    """A request for one piece of work.

    ``parameters`` is what the producer sent; executors read it through their own typed model.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    ticket_id: Annotated[TicketId, AfterValidator(_not_reserved)]
    task_type: Annotated[str, StringConstraints(min_length=1, max_length=100, to_upper=True)]
    plan_id: str = ""
    intent_id: str = ""
    decision_id: str = ""
    correlation_id: str = ""
    task_id: str = ""
    description: str = ""
    dependencies: Annotated[tuple[TicketId, ...], Field(max_length=MAX_DEPENDENCIES)] = ()
    status: Annotated[str, StringConstraints(to_upper=True)] = "PENDING"
    priority: Annotated[Priority, BeforeValidator(_priority)] = Priority.NORMAL
    sla: Sla = _DEFAULT_SLA
    qos: Qos = _DEFAULT_QOS
    parameters: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: EpochMs | None = None

    _nulls = model_validator(mode="before")(null_is_absent)

    @property
    def is_at_most_once(self) -> bool:
        return self.qos.delivery_mode is DeliveryMode.AT_MOST_ONCE


def read_ticket(value: bytes) -> Ticket:
    """Decode one record's value.

    Raises :class:`Undecodable` when it is no JSON object, :class:`InvalidTicket` (with the ticket id and
    type where they can be read) when a field is wrong. The message names each field and its problem.
    """
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Undecodable(f"a JSON {_json_type(document)} where an object is expected")
    try:
        ticket = Ticket.model_validate(document)
    except ValidationError as error:
        raise _invalid(document, describe_problems(error)) from error
    if nests_too_deep(ticket.parameters, value):
        raise _invalid(
            document, f"parameters: nested deeper than {MAX_DEPTH} levels, so that nobody could be sent them"
        )
    return ticket


def ticket_of(envelope: Envelope) -> Ticket:
    """The ticket in a record that has a value. A replay is not bound by the deadline that the ticket once had.

    Raises as :func:`read_ticket` does.
    """
    assert envelope.value is not None
    ticket = read_ticket(envelope.value)
    if ticket.sla.deadline is None or not envelope.replay:
        return ticket
    return ticket.model_copy(update={"sla": ticket.sla.model_copy(update={"deadline": None})})


def describe_problems(error: ValidationError, limit: int = 10) -> str:
    """``field: problem`` for each problem of a validation, without echoing values (they may be secret)."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    shown = [f"{_place(problem['loc'])}: {problem['msg']}" for problem in problems[:limit]]
    if len(problems) > limit:
        shown.append(f"and {len(problems) - limit} more")
    return "; ".join(shown)


def _place(steps: tuple[int | str, ...]) -> str:
    """A path of names, some of which the producer chose: keys of a map may hold anything, and any amount of it."""
    names = (str(step)[:MAX_NAME_SHOWN] for step in steps)
    return ".".join(name if name.isprintable() else ascii(name) for name in names) or "value"


def _invalid(document: dict[str, Any], problem: str) -> InvalidTicket:
    return InvalidTicket(
        problem,
        ticket_id=_readable_id(document.get("ticket_id")),
        task_type=_readable_type(document.get("task_type")),
    )


def _readable_id(value: object) -> str | None:
    """The id, if it could serve as one: then the producer can be answered although the ticket is wrong."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TICKET_ID_LENGTH:
        return None
    return None if value.startswith("@") or not value.isprintable() else value


def _readable_type(value: object) -> str:
    return value.upper()[:100] if isinstance(value, str) else ""


def _json_type(value: object) -> str:
    names: dict[type, str] = {list: "array", str: "string", int: "number", float: "number", bool: "boolean"}
    return names.get(type(value), "null")
