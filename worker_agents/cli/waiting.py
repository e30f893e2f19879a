"""Results that are waited for, and how far that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker_agents.cli.output import new_console
from worker_agents.cli.results import document_of, one_line
from worker_agents.kafka.reader import Record
from worker_agents.kafka.ticket_board import is_final


class Waiting:
    """Tickets without a final result, and the results of the others. ``show`` prints each as it comes."""

    def __init__(self, ticket_ids: set[str], *, show: bool) -> None:
        self.missing = set(ticket_ids)
        self.results: dict[str, dict[str, Any]] = {}
        self._show = show and len(ticket_ids) > 1

    @property
    def is_over(self) -> bool:
        return not self.missing

    @property
    def succeeded(self) -> bool:
        return self.is_over and all(result.get("status") == "COMPLETED" for result in self.results.values())

    def take(self, record: Record) -> None:
        result = document_of(record)
        ticket_id = result.get("ticket_id")
        if ticket_id in self.missing and is_final(str(result.get("status"))):
            self.missing.discard(ticket_id)
            self.results[ticket_id] = result
            if self._show:
                print(one_line(result), flush=True)


@contextmanager
def progress_display(waiting: Waiting) -> Iterator[None]:
    """On a terminal, what is waited for and for how long; nothing elsewhere."""
    console = new_console(stderr=True)
    if not console.is_terminal:
        yield
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(f"waiting for {len(waiting.missing)} result(s)", total=None)
        yield
