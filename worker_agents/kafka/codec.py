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
                return int(document["offset"])
            case "@owner":
                return Owner(document["worker"], document["url"], bool(document["handed_over"]))
            case "@meta":
                return Meta(document["group"], document["tickets_topic"], int(document["schema"]))
        if document["phase"] == "done":
            status, replays = Status(document["status"]), _decode_replays(document)
            return Done(status, int(document["offset"]), int(document["at"]), replays)
        return _decode_active(document)
    except (ValueError, KeyError, TypeError) as error:
        raise StateRecordInvalid(f"{type(error).__name__}: {error}") from error


def _decode_active(document: dict[str, Any]) -> TicketState:
    return TicketState(
        phase=Phase(document["phase"]),
        offset=int(document["offset"]),
        owner=str(document.get("owner", "")),
        attempt=int(document.get("attempt", 1)),
        delivery=int(document.get("delivery", 1)),
        began_at=int(document.get("began_at", 0)),
        checkpoint=document.get("checkpoint"),
        checkpoint_at=int(document.get("checkpoint_at", 0)),
        isolated=bool(document.get("isolated", False)),
        reason=str(document.get("reason", "")),
        due_at=int(document.get("due_at", 0)),
        delay=float(document.get("delay", 0.0)),
        replays=_decode_replays(document),
    )


def _decode_replays(document: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(replay) for replay in document.get("replays", ()))
