"""``worker-agents executors list|schema``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from worker_agents.cli.exits import NotFound
from worker_agents.cli.output import print_json, print_table
from worker_agents.executors.registry import AnyExecutor, TaskExecutorRegistry
from worker_agents.integrations import Integrations
from worker_agents.main import task_executors
from worker_agents.model.clock import SystemClock
from worker_agents.model.ticket import Ticket
from worker_agents.settings import Settings, load_settings
from worker_agents.telemetry.events import Event


def list_executors(*, as_json: bool) -> None:
    """Print each task type, its executor's class and its limits."""
    settings = load_settings()
    with _registry(settings) as registry:
        documents = [_document(registry.get(task_type), settings) for task_type in registry.types()]
    if as_json:
        print_json(documents)
        return
    columns = ("task type", "executor", "time limit", "at once", "served")
    print_table(
        columns,
        [
            (
                str(each["task_type"]),
                str(each["executor"]),
                f"{each['time_limit_seconds']:g} s",
                str(each["max_concurrent"]),
                "yes" if each["served"] else "no: not in SUPPORTED_TASK_TYPES",
            )
            for each in documents
        ],
    )


def print_schema(task_type: str) -> None:
    """Print the JSON schema of a type's parameters. Raises :class:`NotFound` for a type without executor."""
    with _registry(load_settings()) as registry:
        wanted = task_type.upper()
        if wanted not in registry:
            raise NotFound(f"no executor for task type {wanted} (there are: {', '.join(registry.types())})")
        print_json(registry.get(wanted).parameters_model.model_json_schema())


@contextmanager
def _registry(settings: Settings) -> Iterator[TaskExecutorRegistry]:
    """The registry that a worker with these settings would have."""
    integrations = Integrations(settings, SystemClock(), _tell_nobody)
    try:
        yield task_executors(settings, integrations, _tell_nobody)
    finally:
        asyncio.run(integrations.close())


def _tell_nobody(event: Event) -> None:
    """Nothing is run here."""


def _document(executor: AnyExecutor, settings: Settings) -> dict[str, object]:
    task_type = executor.get_task_type()
    supported = settings.supported_task_types
    return {
        "task_type": task_type,
        "executor": f"{type(executor).__module__}.{type(executor).__qualname__}",
        "description": (type(executor).__doc__ or "").strip().split("\n")[0],
        "time_limit_seconds": executor.time_limit(Ticket(ticket_id="any", task_type=task_type)),
        "max_concurrent": settings.concurrency_limits().get(task_type, settings.max_concurrent_tasks),
        "served": supported is None or task_type in supported,
    }
