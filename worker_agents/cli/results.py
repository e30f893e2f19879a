"""``worker-agents results``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from worker_agents.cli.access import complete, reach, settings_of_command
from worker_agents.cli.exits import BadUsage, NotFound
from worker_agents.cli.listing import RecordFilter, print_all, print_one
from worker_agents.cli.output import time_text
from worker_agents.kafka.newest import newest
from worker_agents.kafka.reader import Record
from worker_agents.model.result import Status
from worker_agents.model.text import printable
from worker_agents.settings import Settings

JsonObject = dict[str, Any]

_COLUMNS = ("at", "ticket", "type", "status", "reason", "attempts", "took", "worker", "message")


def show_results(wanted: RecordFilter, *, limit: int, follow: bool, as_json: bool) -> None:
    """Print the newest results that fit, then, with ``follow``, those that come."""
    if wanted.status is not None and wanted.status.upper() not in Status.__members__:
        raise BadUsage(f"--status {wanted.status} is none of {', '.join(Status)}")
    complete(_show(settings_of_command(), wanted, limit, follow, as_json))


async def _show(settings: Settings, wanted: RecordFilter, limit: int, follow: bool, as_json: bool) -> None:
    cluster = await reach(settings)
    async with cluster.reader(cluster.names.results) as reader:
        records = await newest(
            reader, lambda record: wanted.fits(document_of(record), "status"), limit, everything=not wanted.is_empty
        )
        documents = [document_of(record) for record in records]
        if not documents and wanted.ticket_id is not None and not follow:
            raise NotFound(f"no result for ticket {wanted.ticket_id!r} in {cluster.names.results}")
        if not follow:
            print_all(documents, _COLUMNS, _row, as_json=as_json, nothing=f"no results in {cluster.names.results}")
            return
        for document in documents:
            print_one(document, one_line, as_json=as_json)
        async for record in reader.following():
            document = document_of(record)
            if wanted.fits(document, "status"):
                print_one(document, one_line, as_json=as_json)


def document_of(record: Record) -> JsonObject:
    """The result in a record; whatever else is in the topic gives an empty one."""
    try:
        document = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def one_line(result: JsonObject) -> str:
    at, ticket, task_type, status, reason, _, took, _, message = _row(result)
    words = (at, f"{ticket:<24}", f"{task_type:<10}", status, took, reason, message)
    return printable("  ".join(word for word in words if word))


def _row(result: JsonObject) -> Sequence[str]:
    inner = result.get("result") or {}
    simulated = isinstance(inner, dict) and (inner.get("metadata") or {}).get("simulated") is True
    took = result.get("actual_duration_ms")
    return (
        time_text(int(result.get("timestamp") or 0)),
        str(result.get("ticket_id", "")),
        str(result.get("task_type", "")),
        f"{result.get('status', '')}{', simulated' if simulated else ''}",
        str(result.get("error_reason") or ""),
        str(result.get("attempts", "")),
        "" if took is None else f"{took / 1000:.1f} s",
        str(result.get("agent_id", "")),
        str(result.get("error_message") or "").split("\n")[0][:120],
    )
