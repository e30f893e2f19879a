"""Argo CD, as the API server shows it (``contracts.md`` 2)."""

from worker_agents.clients.argocd.application import (
    Application,
    OperationView,
    ResourceHealth,
    ResourceResult,
)
from worker_agents.clients.argocd.client import ApplicationKey, ArgoCdClient, Refusal, SyncUnanswered

__all__ = [
    "Application",
    "ApplicationKey",
    "ArgoCdClient",
    "OperationView",
    "Refusal",
    "ResourceHealth",
    "ResourceResult",
    "SyncUnanswered",
]
