"""From settings with references to settings with secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from worker_agents.clients.vault import VaultClient
from worker_agents.integrations import vault_client
from worker_agents.model.errors import IntegrationRejected, SettingsInvalid
from worker_agents.settings import Settings, resolve_references
from worker_agents.telemetry.events import Emit


@asynccontextmanager
async def connected_vault(settings: Settings, emit: Emit, timeout: float) -> AsyncIterator[VaultClient]:
    """Vault, logged in, and its token kept alive until the end.

    Raises :class:`VaultUnreachable` after ``timeout`` seconds, :class:`SettingsInvalid` at once when Vault refuses.
    """
    vault = vault_client(settings, emit)
    try:
        try:
            await vault.connect(timeout)
        except IntegrationRejected as error:
            variable = "VAULT_TOKEN" if settings.vault_token else "VAULT_KUBERNETES_ROLE"
            raise SettingsInvalid([f"{variable}: {error}"]) from None
        yield vault
    finally:
        await vault.aclose()


async def with_secrets(settings: Settings, *, only: Collection[str], timeout: float) -> Settings:
    """``settings`` with the references among the fields ``only`` resolved; Vault is not asked where there are none."""
    if not settings.vault_references().keys() & set(only):
        return settings
    async with connected_vault(settings, lambda _: None, timeout) as vault:
        return await resolve_references(settings, vault, only=only)
