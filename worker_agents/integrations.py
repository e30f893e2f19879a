"""The clients of external systems, as the settings describe them."""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from worker_agents.clients.argocd import ArgoCdClient
from worker_agents.clients.breaker import CircuitBreaker
from worker_agents.clients.code_forge import CodeForgeClient
from worker_agents.clients.command import CommandPolicy, CommandRunner
from worker_agents.clients.git import Git, GitLimits
from worker_agents.clients.http import HttpClient, HttpLimits
from worker_agents.clients.http_tokens import FileToken, TokenSource, VaultToken
from worker_agents.clients.kubernetes import KubernetesClient
from worker_agents.clients.opa import OpaClient
from worker_agents.clients.process import ProcessLimits
from worker_agents.clients.trivy import Trivy
from worker_agents.clients.vault import KubernetesLogin, TokenLogin, VaultClient
from worker_agents.clients.workspace import Workspaces
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.model.clock import Clock
from worker_agents.model.errors import SettingsInvalid
from worker_agents.model.git_urls import AllowedGitUrls
from worker_agents.settings import Reference, Settings
from worker_agents.telemetry.events import Emit
from worker_agents.telemetry.masking import SecretMasker

_MIB = 1024 * 1024


class Integrations:
    """What executors work through. A client is ``None`` where its integration is switched off.

    ``breakers`` guard the services that are spoken to over HTTP, by the integration's name.
    """

    def __init__(self, settings: Settings, clock: Clock, emit: Emit, vault: VaultClient | None = None) -> None:
        """``vault`` is a client that is logged in already."""
        self.breakers: dict[str, CircuitBreaker] = {}
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._http: list[HttpClient] = []
        self.mask = SecretMasker(settings.secret_values()).text
        self.vault = vault or (vault_client(settings, emit) if settings.vault_enabled else None)
        if self.vault is not None:
            self.vault.report_to(emit)
        self.code_forge = self._code_forge() if settings.code_forge_enabled else None
        self.opa = self._opa() if settings.opa_enabled else None
        self.argocd = self._argocd() if settings.argocd_enabled else None
        self.trivy = self._trivy() if settings.trivy_enabled else None
        self.kubernetes = kubernetes_client(settings, emit) if settings.pod_deletion_cost_enabled else None

    async def close(self) -> None:
        """End all conversations and remove what lies about."""
        for client in self._http:
            await client.aclose()
        if self.vault is not None:
            await self.vault.aclose()
        if self.kubernetes is not None:
            await self.kubernetes.aclose()
        await asyncio.to_thread(self.scratch.close)

    def probe_now(self) -> None:
        """Every open breaker lets its next call through: an operator knows that a service is back."""
        for breaker in self.breakers.values():
            breaker.probe_now()

    # --- programs ------------------------------------------------------------------------------------------------

    @cached_property
    def scratch(self) -> ScratchDirectories:
        """Where checkouts, and what test programs write, may lie."""
        return ScratchDirectories(self._settings.scratch_directory)

    @cached_property
    def workspaces(self) -> Workspaces:
        """Where the source under test comes from."""
        settings = self._settings
        if "TEST_WORKSPACE_ROOT" not in settings.sources:
            # Nobody else makes our own; one that was named and is not there is a missing volume, which shows so.
            settings.test_workspace_root.mkdir(parents=True, exist_ok=True)
        limits = GitLimits(
            seconds=settings.git_timeout_seconds,
            silence=settings.lease_seconds,
            max_bytes=settings.git_checkout_limit_mb * _MIB,
        )
        return Workspaces(
            settings.test_workspace_root,
            scratch=self.scratch,
            allowed=AllowedGitUrls(settings.allowed_git_urls),
            git=Git(limits=limits, token=settings.git_token.get_secret_value()),
        )

    @cached_property
    def commands(self) -> CommandRunner:
        """Runs the test commands that are allowed."""
        settings = self._settings
        limits = ProcessLimits(
            # Each run brings its own limit, which the ticket may have set longer.
            seconds=float("inf"),
            kill_grace=settings.kill_grace_seconds,
            silence=settings.lease_seconds,
            memory_bytes=settings.test_memory_limit_mb * _MIB if settings.test_memory_limit_mb else None,
            processes=settings.test_process_limit,
        )
        return CommandRunner(
            CommandPolicy(settings.allowed_test_commands, path=settings.test_command_path),
            limits=limits,
            scratch=self.scratch.fresh,
            environment_allowed=settings.test_environment_allowed,
            mask=self.mask,
        )

    def _trivy(self) -> Trivy:
        settings = self._settings
        return Trivy(
            emit=self._emit,
            scanners=settings.trivy_scanners,
            cache_dir=settings.trivy_cache_dir,
            scratch=self.scratch,
            skip_db_update=settings.trivy_skip_db_update,
            server_url=settings.trivy_server_url,
            server_token=settings.trivy_server_token,
            silence=settings.lease_seconds,
        )

    # --- services ------------------------------------------------------------------------------------------------

    def _code_forge(self) -> CodeForgeClient:
        return CodeForgeClient(self._service("code_forge", self._settings.code_forge_url, "code_forge_token"))

    def _opa(self) -> OpaClient:
        longest = self._settings.opa_timeout_seconds
        limits = HttpLimits(read=longest, whole=longest)
        return OpaClient(self._service("opa", self._settings.opa_url, "opa_token", limits))

    def _argocd(self) -> ArgoCdClient:
        return ArgoCdClient(self._service("argocd", self._settings.argocd_url, "argocd_token"))

    def _service(self, integration: str, url: str, token_setting: str, limits: HttpLimits | None = None) -> HttpClient:
        breaker = self.breakers[integration] = CircuitBreaker(integration, clock=self._clock, emit=self._emit)
        client = HttpClient(
            url,
            integration=integration,
            emit=self._emit,
            token=self._token(token_setting),
            limits=limits,
            breaker=breaker,
        )
        self._http.append(client)
        return client

    def _token(self, setting: str) -> SecretStr | TokenSource | None:
        """A token that may change while the worker runs is read again from where it came."""
        match self._settings.secret_origins.get(setting):
            case Path() as path:
                return FileToken(path)
            case Reference(path, key) if self.vault is not None:
                return VaultToken(self.vault, path, key)
        token: SecretStr = getattr(self._settings, setting)
        return token or None


def kubernetes_client(settings: Settings, emit: Emit) -> KubernetesClient:
    """The API server of the cluster that this worker is a pod of; also used by the command line.

    Raises :class:`SettingsInvalid` where the pod was not given what it takes.
    """
    directory = settings.service_account_directory
    try:
        return KubernetesClient.in_cluster(
            settings.kubernetes_api_url,
            namespace=settings.pod_namespace,
            pod=settings.pod_name,
            token_file=directory / "token",
            authority=directory / "ca.crt",
            emit=emit,
        )
    except OSError as error:
        problem = (
            f"POD_DELETION_COST_ENABLED: {directory / 'ca.crt'} cannot be read ({error.strerror or error}); the pod needs its service "
            "account's token and certificates (automountServiceAccountToken)"
        )
        raise SettingsInvalid([problem]) from error


def vault_client(settings: Settings, emit: Emit) -> VaultClient:
    """Vault as the settings describe it, not asked for anything yet; also used by the command line."""
    return VaultClient(
        settings.vault_address,
        login=TokenLogin(settings.vault_token) if settings.vault_token else _kubernetes_login(settings),
        emit=emit,
        mount=settings.vault_mount_kv,
        namespace=settings.vault_namespace,
        cache_seconds=settings.vault_cache_seconds,
    )


def _kubernetes_login(settings: Settings) -> KubernetesLogin:
    return KubernetesLogin(
        settings.vault_kubernetes_role, settings.vault_kubernetes_token_path, settings.vault_kubernetes_mount
    )
