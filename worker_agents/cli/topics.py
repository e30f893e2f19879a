"""``worker-agents topics create|describe``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worker_agents.cli.access import administration, complete, patience, settings_of_command
from worker_agents.cli.output import print_json, print_table
from worker_agents.kafka.topics import Layout, TopicNames, check_layout
from worker_agents.main import topic_names
from worker_agents.model.errors import TopicLayoutInvalid
from worker_agents.telemetry.events import Event, TopicCreated

JsonObject = dict[str, Any]

_COLUMNS = ("topic", "for", "partitions", "cleanup", "retention", "largest record")
_MS_A_DAY = 86_400_000


def create_topics(*, as_json: bool) -> None:
    """Create what is missing. Raises :class:`TopicLayoutInvalid` when what exists is not fit."""
    settings = settings_of_command()
    events: list[Event] = []
    layout = complete(administration(settings, events).ready(create=True, connect_timeout=patience(settings)))
    created = [event.topic for event in events if isinstance(event, TopicCreated)]
    rows = list(_documents(layout, topic_names(settings)))
    if as_json:
        print_json({"created": created, "topics": rows})
        return
    print(f"created {', '.join(created)}" if created else "nothing to create")
    _print_rows(rows)


def describe_topics(*, as_json: bool) -> None:
    """Show what exists. Raises :class:`TopicLayoutInvalid` afterwards when a worker could not use it."""
    settings = settings_of_command()
    names = topic_names(settings)
    layout = complete(administration(settings, []).describe(connect_timeout=patience(settings)))
    problem = _problem(layout, names)
    rows = list(_documents(layout, names))
    if as_json:
        print_json({"topics": rows, "problem": None if problem is None else str(problem)})
    else:
        _print_rows(rows)
    if problem is not None:
        raise problem


def _problem(layout: Layout, names: TopicNames) -> TopicLayoutInvalid | None:
    try:
        check_layout(layout, names)
    except TopicLayoutInvalid as error:
        return error
    return None


def _documents(layout: Layout, names: TopicNames) -> Iterator[JsonObject]:
    for use, topic in zip(("tickets", "results", "dlq", "state"), names.all(), strict=True):
        facts = layout.get(topic)
        yield {
            "topic": topic,
            "for": use,
            "exists": facts is not None,
            "partitions": facts.partitions if facts else None,
            "compacted": facts.is_compacted if facts else None,
            "retention_ms": facts.retention_ms if facts else None,
            "max_bytes": facts.max_bytes if facts else None,
        }


def _print_rows(rows: list[JsonObject]) -> None:
    print_table(_COLUMNS, [_row(row) for row in rows])


def _row(row: JsonObject) -> tuple[str, ...]:
    if not row["exists"]:
        return row["topic"], row["for"], "missing", "", "", ""
    retention = row["retention_ms"]
    return (
        row["topic"],
        row["for"],
        str(row["partitions"]),
        "compacted" if row["compacted"] else "deleted by age",
        "for ever" if retention is None else f"{retention / _MS_A_DAY:g} days",
        f"{row['max_bytes'] / 1024:.0f} KiB",
    )
