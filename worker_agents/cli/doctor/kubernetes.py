"""Looks whether the worker could tell Kubernetes how busy its pod is; nothing is changed."""

from __future__ import annotations

from functools import partial

from worker_agents.cli.doctor.checks import Check
from worker_agents.cli.doctor.findings import Finding, Subject
from worker_agents.clients.kubernetes import POD_DELETION_COST, PodNotPatched
from worker_agents.integrations import kubernetes_client
from worker_agents.model.errors import SettingsInvalid
from worker_agents.settings import Settings

_SUBJECT = Subject("integrations.kubernetes")


def kubernetes_checks(settings: Settings) -> list[Check]:
    return [Check(_SUBJECT.check, partial(_look, settings))] if settings.pod_deletion_cost_enabled else []


async def _look(settings: Settings) -> list[Finding]:
    try:
        client = kubernetes_client(settings, lambda _: None)
    except SettingsInvalid as error:
        return [
            _SUBJECT.error(
                "; ".join(error.problems),
                why="No worker starts like this.",
                advice="Mount the service account's token, or set POD_DELETION_COST_ENABLED=false.",
            )
        ]
    pod = f"{settings.pod_namespace}/{settings.pod_name}"
    try:
        await client.annotate({POD_DELETION_COST: "0"}, dry_run=True)
    except PodNotPatched as trouble:
        return [
            _SUBJECT.warning(
                f"pod {pod} cannot be told how busy it is: {trouble}",
                why="Scaling down may take a busy pod: tests and scans are begun again, the rest is resumed elsewhere.",
                advice=trouble.advice,
            )
        ]
    finally:
        await client.aclose()
    return [_SUBJECT.ok(f"pod {pod} may be told how busy it is")]
