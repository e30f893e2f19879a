"""Settings of the systems that executors work through, and of what happens when one is away."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from worker_agents.settings.values import Directory, LowerCase, LowerList, Seconds, TextList, Token, UpperList, Url

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

    trivy_enabled: bool = Field(True, description="Use Trivy (VALIDATE sast); otherwise its fallback decides.")
    trivy_timeout_seconds: Seconds = Field(300.0, description="Longest Trivy scan.")
    trivy_scanners: Annotated[LowerList, _only(SCANNERS)] = Field(
        ("vuln", "secret", "misconfig"), description=f"What Trivy looks for, of: {', '.join(SCANNERS)}."
    )
    trivy_fail_severities: Annotated[UpperList, _only(SEVERITIES)] = Field(
        ("HIGH", "CRITICAL"), description="Severities of findings that fail the ticket; [] for none."
    )

    test_execution_timeout_seconds: Seconds = Field(600.0, description="Longest test run.")
    allowed_test_commands: TextList = Field(
        ("pytest", "npm test", "go test", "mvn test"),
        description="Commands that TEST tickets may run, by their first words; [] allows none.",
    )
    allowed_git_urls: TextList = Field(
        (), description="Prefixes of the repositories that TEST and VALIDATE may check out. Unset: none."
    )
    test_workspace_root: Directory = Field(
        default_factory=_own_directory,
        description="Directory that working directories of tests lie in. Unset: one of its own below the system's "
        "temporary directory.",
    )

    vault_enabled: bool = Field(False, description="Read secrets from Vault.")
    vault_address: Url = Field("", description="Address of Vault; needed when VAULT_ENABLED.")
    vault_token: Token = Field(SecretStr(""), description="Token for Vault. Unset: login with the Kubernetes role.")
    vault_kubernetes_role: str = Field("worker-agents", description="Role for the Kubernetes login at Vault.")
    vault_mount_kv: str = Field("secret", description="Mount of the KV version 2 engine in Vault.")

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
