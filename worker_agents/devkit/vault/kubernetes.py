"""The Kubernetes login: service accounts by their JWT, and the roles that they may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker_agents.devkit.vault.answers import Refused, permission_denied
from worker_agents.devkit.vault.tokens import Token, Tokens


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    name: str
    namespace: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Times are seconds; ``*`` binds every name or namespace."""

    names: Sequence[str] = ("*",)
    namespaces: Sequence[str] = ("*",)
    policies: Sequence[str] = ()
    ttl: float = 3600
    max_ttl: float = 0
    renewable: bool = True

    def check(self, account: ServiceAccount) -> None:
        if "*" not in self.namespaces and account.namespace not in self.namespaces:
            raise Refused(403, "namespace not authorized")
        if "*" not in self.names and account.name not in self.names:
            raise Refused(403, "service account name not authorized")


class KubernetesAuth:
    """One mount. ``accounts`` are the JWTs that a TokenReview would confirm now: take one out and it has expired."""

    def __init__(self, mount: str, tokens: Tokens) -> None:
        self._mount = mount
        self._tokens = tokens
        self.roles: dict[str, Role] = {}
        self.accounts: dict[str, ServiceAccount] = {}

    def log_in(self, body: Any) -> Token:
        """A new token for ``{role, jwt}``.

        Raises:
            Refused: as Vault would.
        """
        asked: Mapping[str, Any] = body if isinstance(body, dict) else {}
        for name in ("jwt", "role"):
            if not asked.get(name):
                raise Refused(400, f"missing {name}")
        role = self.roles.get(asked["role"])
        if role is None:
            raise Refused(400, f'invalid role name "{asked["role"]}"')
        account = self.accounts.get(asked["jwt"])
        if account is None:
            raise permission_denied()
        role.check(account)
        metadata = {
            "role": asked["role"],
            "service_account_name": account.name,
            "service_account_namespace": account.namespace,
        }
        return self._tokens.create(
            role.policies,
            ttl=role.ttl,
            max_ttl=role.max_ttl,
            renewable=role.renewable,
            path=f"auth/{self._mount}/login",
            metadata=metadata,
        )
