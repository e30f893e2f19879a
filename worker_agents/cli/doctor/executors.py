"""Looks whether every task type that a worker is to serve has an executor."""

from __future__ import annotations

from functools import partial

from worker_agents.cli.doctor.checks import Check
from worker_agents.cli.doctor.findings import Finding, Subject
from worker_agents.integrations import Integrations
from worker_agents.main import task_executors
from worker_agents.model.clock import SystemClock
from worker_agents.model.errors import RegistryError, SettingsInvalid
from worker_agents.settings import Settings
from worker_agents.telemetry.events import Event

_SUBJECT = Subject("settings.task_types")


def executor_checks(settings: Settings) -> list[Check]:
    return [Check(_SUBJECT.check, partial(_look, settings))]


async def _look(settings: Settings) -> list[Finding]:
    """Registers all executors, as a worker does."""
    clients = Integrations(_for_a_look(settings), SystemClock(), _tell_nobody)
    try:
        types = task_executors(settings, clients, _tell_nobody).types()
    except (SettingsInvalid, RegistryError) as error:
        problem = "; ".join(error.problems) if isinstance(error, SettingsInvalid) else str(error)
        return [
            _SUBJECT.error(
                problem,
                why="No worker starts like this: tickets of a type that nobody can work on would wait for ever.",
                advice="Correct the name, or install what has the executor.",
            )
        ]
    finally:
        await clients.close()
    served = settings.supported_task_types or types
    return [_SUBJECT.ok(f"every task type that is served has an executor: {', '.join(sorted(served))}")]


def _for_a_look(settings: Settings) -> Settings:
    """A root of checkouts that was named is not made; and the pod's own credentials have a check of their own."""
    named = {**settings.sources, "TEST_WORKSPACE_ROOT": "environment"}
    return settings.model_copy(update={"sources": named, "pod_deletion_cost_enabled": False})


def _tell_nobody(event: Event) -> None:
    """Nothing is run here."""
