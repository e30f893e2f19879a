"""Showing records of a topic: the newest that fit, and then, when following, those that come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_agents.cli.output import print_json, print_json_line, print_table

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """What is not ``None`` must be equal; status and type without regard to case."""

    ticket_id: str | None = None
    status: str | None = None
    task_type: str | None = None
    plan_id: str | None = None

    @property
    def is_empty(self) -> bool:
        return self == RecordFilter()

    def fits(self, document: Mapping[str, Any], status_field: str) -> bool:
        """Whether a result or ticket is wanted; ``status_field`` is where it says how far it is."""
        return (
            self.ticket_id in (None, document.get("ticket_id"))
            and self.plan_id in (None, document.get("plan_id"))
            and (self.status is None or self.status.upper() == document.get(status_field))
            and (self.task_type is None or self.task_type.upper() == document.get("task_type"))
        )


def print_all(
    documents: Sequence[JsonObject],
    columns: Sequence[str],
    row: Callable[[JsonObject], Sequence[str]],
    *,
    as_json: bool,
    nothing: str,
) -> None:
    """A JSON list, or a table; ``nothing`` is said in place of an empty one."""
    if as_json:
        print_json(documents)
    elif documents:
        print_table(columns, [row(document) for document in documents])
    else:
        print(nothing)


def print_one(document: JsonObject, line: Callable[[JsonObject], str], *, as_json: bool) -> None:
    """One record of those that are followed."""
    if as_json:
        print_json_line(document)
    else:
        print(line(document), flush=True)
