"""State records and results as bytes. Shapes: design §3 (state records) and §8 (results)."""

from __future__ import annotations

from typing import Any

import orjson

from worker_agents.model.json_text import read_json
from worker_agents.model.result import Status
from worker_agents.model.state import Done, KnownState, Phase, TicketState
from worker_agents.model.structs import struct

FLOOR_KEY = "@floor"
OWNER_KEY = "@owner"
META_KEY = "@meta"
OFFSET_KEY_PREFIX = "@offset-"
STATE_SCHEMA = 1

Headers = tuple[tuple[str, bytes], ...]


@struct
class OutRecord:
    """A record to be produced."""

    topic: str
    value: bytes | None
    key: bytes | None
    partition: int
    headers: Headers = ()


@struct
class Owner:
    """``@owner``: who holds the partition, and whether it was handed over in good order."""

    worker: str
    url: str = ""
    handed_over: bool = False


@struct
class Meta:
    """``@meta``: the one group and tickets topic that a state topic belongs to."""

    group: str
    tickets_topic: str
    schema: int = STATE_SCHEMA


LedgerFact = Owner | Meta | int
"""The ledger's own records; an ``int`` is the floor."""


class StateRecordInvalid(ValueError):
    """A record of the state topic that this version cannot read."""


_MAX_MESSAGE = 300
_INT64_MAX = 2**63 - 1
_ABSENT = (None, "", 0, False, ())


def encode_state(state: KnownState) -> bytes:
    if isinstance(state, Done) and state.replays:
        return orjson.dumps(
            {
                "phase": "done",
                "status": state.status,
                "offset": state.offset,
                "at": state.at,
                "replays": state.replays,
            }
        )
    if isinstance(state, Done):
        # The hot path: one for every ticket.
        return b'{"phase":"done","status":"%s","offset":%d,"at":%d}' % (
            state.status.encode(),
            state.offset,
            state.at,
        )
    return orjson.dumps(
        {name: value for name, value in _active_fields(state) if value not in _ABSENT or name == "offset"}
    )


def _active_fields(state: TicketState) -> tuple[tuple[str, Any], ...]:
    return (
        ("phase", state.phase.value),
        ("offset", state.offset),
        ("owner", state.owner),
        ("attempt", state.attempt),
        ("delivery", state.delivery),
        ("began_at", state.began_at),
        ("checkpoint", state.checkpoint),
        ("checkpoint_at", state.checkpoint_at),
        ("isolated", state.isolated),
        ("reason", state.reason),
        ("due_at", state.due_at),
        ("delay", state.delay),
        ("replays", state.replays),
    )


def encode_fact(fact: LedgerFact) -> tuple[str, bytes]:
    """Key and value of one of the ledger's own records."""
    match fact:
        case Owner():
            return OWNER_KEY, orjson.dumps({"worker": fact.worker, "url": fact.url, "handed_over": fact.handed_over})
        case Meta():
            return META_KEY, orjson.dumps(
                {"group": fact.group, "tickets_topic": fact.tickets_topic, "schema": fact.schema}
            )
        case offset:
            return FLOOR_KEY, b'{"offset":%d}' % offset


def decode_state(key: str, value: bytes) -> KnownState | LedgerFact:
    """Read one state record. Raises :class:`StateRecordInvalid` for what this version cannot read."""
    try:
        document = read_json(value)
        match key:
            case "@floor":
                return _count(document, "offset")
            case "@owner":
                return Owner(_text(document, "worker"), _text(document, "url"), _flag(document, "handed_over"))
            case "@meta":
                return Meta(_text(document, "group"), _text(document, "tickets_topic"), _count(document, "schema"))
        if document["phase"] == "done":
            return Done(_final(document), _count(document, "offset"), _count(document, "at"), _decode_replays(document))
        return _decode_active(document)
    except (ValueError, KeyError, TypeError) as error:
        raise StateRecordInvalid(f"{type(error).__name__}: {error}"[:_MAX_MESSAGE]) from error


def _decode_active(document: dict[str, Any]) -> TicketState:
    return TicketState(
        phase=Phase(document["phase"]),
        offset=_count(document, "offset"),
        owner=_text(document, "owner", ""),
        attempt=_count(document, "attempt", 1, lowest=1),
        delivery=_count(document, "delivery", 1, lowest=1),
        began_at=_count(document, "began_at", 0),
        checkpoint=_checkpoint(document),
        checkpoint_at=_count(document, "checkpoint_at", 0),
        isolated=_flag(document, "isolated", False),
        reason=_text(document, "reason", ""),
        due_at=_count(document, "due_at", 0),
        delay=_seconds(document, "delay", 0.0),
        replays=_decode_replays(document),
    )


# What a field holds is taken as it is or not at all: a value that only resembles one would be written back as another.


def _value(document: dict[str, Any], name: str, default: object) -> object:
    """Raises ``KeyError`` where it is absent and ``default`` is ``None``."""
    return document[name] if default is None else document.get(name, default)


def _count(document: dict[str, Any], name: str, default: int | None = None, *, lowest: int = 0) -> int:
    value = _value(document, name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= _INT64_MAX:
        raise ValueError(f"{name} is no whole number from {lowest}")
    return value


def _seconds(document: dict[str, Any], name: str, default: float) -> float:
    value = _value(document, name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is no number from 0")
    return float(value)


def _text(document: dict[str, Any], name: str, default: str | None = None) -> str:
    value = _value(document, name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 # what was read is wrong, not what was passed
    return value


def _flag(document: dict[str, Any], name: str, default: bool | None = None) -> bool:
    value = _value(document, name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")  # noqa: TRY004 # as above
    return value


def _final(document: dict[str, Any]) -> Status:
    status = Status(document["status"])
    if status is Status.RUNNING:
        raise ValueError("a ticket that is done cannot be RUNNING")
    return status


def _checkpoint(document: dict[str, Any]) -> dict[str, Any] | None:
    value = document.get("checkpoint")
    if value is not None and not isinstance(value, dict):
        raise ValueError("checkpoint is no object")  # as above
    return value


def _decode_replays(document: dict[str, Any]) -> tuple[str, ...]:
    replays = document.get("replays", [])
    if not isinstance(replays, list) or not all(isinstance(replay, str) for replay in replays):
        raise ValueError("replays is no list of texts")
    return tuple(replays)
