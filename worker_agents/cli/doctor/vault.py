"""Looks at Vault before everything else: the secrets that lie there are what the other checks log in with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker_agents.cli.doctor.checks import Check, run_check
from worker_agents.cli.doctor.findings import Finding, Subject
from worker_agents.cli.vault import connected_vault
from worker_agents.clients.vault import VaultClient
from worker_agents.model.errors import SettingsInvalid, StartupError, VaultUnreachable
from worker_agents.settings import Reference, Settings, resolve_references
from worker_agents.settings.model import variable_of

_LOGIN = Subject("vault.login")
_SECRETS = Subject("vault.secrets")
# The rest of a check's time is for reading.
_LOGIN_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Opened:
    """``settings`` hold every secret that could be read, and still the references in the fields ``unread``."""

    settings: Settings
    unread: frozenset[str]
    findings: tuple[Finding, ...]


async def open_vault(settings: Settings, seconds: float) -> Opened:
    """Log in and read what settings refer to, for at most ``seconds``. Never raises."""
    if not settings.vault_enabled:
        return Opened(settings, frozenset(), (_LOGIN.skipped("Vault is switched off (VAULT_ENABLED=false)"),))
    reading = _Reading(settings)
    findings = await run_check(Check(_LOGIN.check, lambda: reading.look(seconds * _LOGIN_SHARE)), seconds)
    return Opened(reading.settings, frozenset(reading.settings.vault_references()), tuple(findings))


class _Reading:
    """``settings`` are those with what has been read so far."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def look(self, seconds: float) -> Iterable[Finding]:
        try:
            async with connected_vault(self.settings, lambda _: None, seconds) as vault:
                references = self.settings.vault_references()
                secrets = [await self._read(vault, name, place) for name, place in references.items()]
        except VaultUnreachable as error:
            return [_unreachable(str(error))]
        except SettingsInvalid as error:
            return [_refused("; ".join(error.problems))]
        return [_LOGIN.ok(f"Vault lets us in at {self.settings.vault_address}"), *secrets]

    async def _read(self, vault: VaultClient, name: str, place: Reference) -> Finding:
        try:
            self.settings = await resolve_references(self.settings, vault, only=(name,))
        except StartupError as error:
            return _unreadable(name, str(error))
        return _SECRETS.ok(f"{variable_of(name)} can be read at {place}")


def _unreachable(problem: str) -> Finding:
    return _LOGIN.error(
        problem,
        why="A worker waits for Vault and then ends with exit code 5.",
        advice="Check VAULT_ADDRESS, VAULT_CACERT for a private authority, and that Vault runs and is unsealed.",
    )


def _refused(problem: str) -> Finding:
    return _LOGIN.error(
        f"Vault does not let us in: {problem}",
        why="A worker ends at once with exit code 2.",
        advice="Correct the setting that is named, or the role and its policy: EXTERNAL_TOOLS_SETUP.md, Vault.",
    )


def _unreadable(name: str, problem: str) -> Finding:
    return _SECRETS.error(
        f"{variable_of(name)} cannot be read: {' '.join(problem.split())}",
        why="No worker starts without the secrets that its settings name.",
        advice="Write the secret, correct the reference, or let the policy of this login read that path.",
    )
