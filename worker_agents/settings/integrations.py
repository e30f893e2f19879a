"""Settings of the systems that executors work through, and of what happens when one is away."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from worker_agents.settings.cpu import available_cpus
from worker_agents.settings.values import (
    Directory,
    GitUrls,
    LowerCase,
    LowerList,
    SearchPath,
    Seconds,
    SecondsFromZero,
    Slots,
    TextList,
    Token,
    UpperList,
    Url,
)

Fallback = Literal["simulate", "fail"]
Integration = Literal["code_forge", "opa", "trivy", "argocd", "test"]

SCANNERS = ("vuln", "secret", "misconfig", "license")
SEVERITIES = ("UNKNOWN", "LOW", "MEDIUM", "HIGH", "CRITICAL")


def _only(allowed: tuple[str, ...]) -> AfterValidator:
    def check(values: tuple[str, ...]) -> tuple[str, ...]:
        if not set(values) <= set(allowed):
            raise ValueError(f"may name only {', '.join(allowed)}")
        return values

    return AfterValidator(check)


def _mode(data: dict[str, Any]) -> Any:
    return data["fallback_mode"]


def _own_directory() -> Path:
    return Path(tempfile.gettempdir()) / "worker-agents" / "workspace"


def _own_scratch() -> Path:
    return Path(tempfile.gettempdir()) / "worker-agents" / "scratch"


def _own_trivy_cache() -> Path:
    return Path(tempfile.gettempdir()) / "worker-agents" / "trivy"


def _check_commands(values: tuple[str, ...]) -> tuple[str, ...]:
    try:
        are_complete = all(shlex.split(value) for value in values)
    except ValueError:
        are_complete = False
    if not are_complete:
        raise ValueError("must be commands by their first words, each with its quotation marks closed")
    return values


FallbackChoice = Annotated[Fallback, LowerCase]


class IntegrationSettings(BaseModel):
    """The systems that executors work through."""

    fallback_mode: FallbackChoice = Field(
        "simulate",
        description="What happens when an integration is down or disabled: simulate (a result marked as simulated) "
        "or fail.",
    )
    code_forge_fallback: FallbackChoice = Field(
        default_factory=_mode, description="simulate or fail, for Code Forge. Unset: FALLBACK_MODE."
    )
    opa_fallback: FallbackChoice = Field(
        default_factory=_mode, description="simulate or fail, for OPA. Unset: FALLBACK_MODE."
    )
    trivy_fallback: FallbackChoice = Field(
        default_factory=_mode, description="simulate or fail, for Trivy. Unset: FALLBACK_MODE."
    )
    argocd_fallback: FallbackChoice = Field(
        default_factory=_mode, description="simulate or fail, for Argo CD. Unset: FALLBACK_MODE."
    )
    test_fallback: FallbackChoice = Field(
        "fail", description="simulate or fail, when a test program cannot be started. Not set by FALLBACK_MODE."
    )

    code_forge_url: Url = Field("http://code-forge:8000", description="Address of Code Forge (EXECUTE, BUILD).")
    code_forge_enabled: bool = Field(True, description="Use Code Forge; otherwise its fallback decides.")
    code_forge_timeout_seconds: Seconds = Field(14_400.0, description="Longest build pipeline at Code Forge.")
    code_forge_token: Token = Field(SecretStr(""), description="Bearer token for Code Forge.")

    argocd_url: Url = Field("", description="Address of Argo CD (DEPLOY); needed when ARGOCD_ENABLED.")
    argocd_token: Token = Field(SecretStr(""), description="Bearer token for Argo CD.")
    argocd_enabled: bool = Field(False, description="Use Argo CD; otherwise its fallback decides.")

    opa_url: Url = Field("http://opa:8181", description="Address of OPA (VALIDATE policy).")
    opa_enabled: bool = Field(True, description="Use OPA; otherwise its fallback decides.")
    opa_token: Token = Field(SecretStr(""), description="Bearer token for OPA.")
    opa_timeout_seconds: Seconds = Field(30.0, description="Longest try of a policy decision; it is tried three times.")

    trivy_enabled: bool = Field(True, description="Use Trivy (VALIDATE sast); otherwise its fallback decides.")
    trivy_timeout_seconds: Seconds = Field(300.0, description="Longest Trivy scan.")
    trivy_scanners: Annotated[LowerList, _only(SCANNERS)] = Field(
        ("vuln", "secret", "misconfig"), description=f"What Trivy looks for, of: {', '.join(SCANNERS)}."
    )
    trivy_fail_severities: Annotated[UpperList, _only(SEVERITIES)] = Field(
        ("HIGH", "CRITICAL"), description="Severities of findings that fail the ticket; [] for none."
    )
    trivy_cache_dir: Directory = Field(
        default_factory=_own_trivy_cache,
        description="Directory of Trivy's vulnerability database. Unset: one of its own below the system's temporary "
        "directory.",
    )
    trivy_skip_db_update: bool = Field(
        False, description="Never download the vulnerability database: TRIVY_CACHE_DIR must hold it."
    )
    trivy_concurrent_scans: Slots = Field(
        default_factory=available_cpus,
        description="Trivy scans at once, each a process of a few hundred megabytes. Unset: the container's CPUs.",
    )
    trivy_server_url: Url = Field("", description="Trivy server that has the vulnerability database. Unset: none.")
    trivy_server_token: Token = Field(SecretStr(""), description="Token for the Trivy server.")

    test_execution_timeout_seconds: Seconds = Field(600.0, description="Longest test run.")
    allowed_test_commands: Annotated[TextList, AfterValidator(_check_commands)] = Field(
        ("pytest", "npm test", "go test", "mvn test"),
        description="Commands that TEST tickets may run, by their first words; [] allows none.",
    )
    test_command_path: SearchPath = Field(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        description="PATH on which test programs are looked up, and which they get.",
    )
    test_environment_allowed: TextList = Field(
        (),
        description="Environment variables that test commands get from the worker's environment, and that tickets may "
        "set by env_vars. Unset: none.",
    )
    test_memory_limit_mb: Annotated[int, Field(ge=16)] | None = Field(
        None, description="Most memory of each process of a test run, in MiB. Unset: no limit but the container's."
    )
    test_process_limit: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1_024, description="Most processes and threads of a test run; the kernel does not apply it to root."
    )
    allowed_git_urls: GitUrls = Field(
        (),
        description="Addresses of the repositories, or of what they lie below, that TEST and VALIDATE may check out. "
        "Unset: none.",
    )
    git_token: Token = Field(
        SecretStr(""), description="Token for all of ALLOWED_GIT_URLS that are https:// or http://. Unset: none."
    )
    git_timeout_seconds: Seconds = Field(300.0, description="Longest checkout.")
    git_checkout_limit_mb: Annotated[int, Field(ge=1)] = Field(
        1_024, description="Most MiB of the files of a checkout, and of what is downloaded for it."
    )
    test_workspace_root: Directory = Field(
        default_factory=_own_directory,
        description="Directory that working directories of tests lie in. Unset: one of its own below the system's "
        "temporary directory.",
    )
    scratch_directory: Directory = Field(
        default_factory=_own_scratch,
        description="Directory for checkouts and for what test programs write, outside of TEST_WORKSPACE_ROOT. Unset: one "
        "of its own below the system's temporary directory.",
    )

    vault_enabled: bool = Field(False, description="Read secrets from Vault.")
    vault_address: Url = Field("", description="Address of Vault; needed when VAULT_ENABLED.")
    vault_token: Token = Field(SecretStr(""), description="Token for Vault. Unset: login with the Kubernetes role.")
    vault_kubernetes_role: str = Field("worker-agents", description="Role for the Kubernetes login at Vault.")
    vault_kubernetes_mount: str = Field("kubernetes", description="Mount of the Kubernetes login at Vault.")
    vault_kubernetes_token_path: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        description="File with the service account's token for that login; read again at every login.",
    )
    vault_mount_kv: str = Field("secret", description="Mount of the KV version 2 engine in Vault.")
    vault_namespace: str = Field("", description="Namespace of Vault Enterprise. Unset: none.")
    vault_cache_seconds: SecondsFromZero = Field(
        300.0, description="How long a secret that was read is used before it is read again; 0 always reads."
    )
    vault_connect_timeout_seconds: Seconds = Field(
        60.0, le=3600, description="How long the start tries to reach Vault before it gives up with exit code 5."
    )

    def fallback_for(self, integration: Integration) -> Fallback:
        """What to do when ``integration`` is down or disabled."""
        fallbacks: dict[Integration, Fallback] = {
            "code_forge": self.code_forge_fallback,
            "opa": self.opa_fallback,
            "trivy": self.trivy_fallback,
            "argocd": self.argocd_fallback,
            "test": self.test_fallback,
        }
        return fallbacks[integration]
