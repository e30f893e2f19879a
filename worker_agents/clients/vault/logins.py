"""The two ways to a token."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import SecretStr

from worker_agents.clients.http_errors import AnswerUnreadable
from worker_agents.clients.vault.calls import VaultConnection
from worker_agents.clients.vault.troubles import ProofUnreadable

SERVICE_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True)
class Grant:
    """A token, for ``ttl`` seconds from now; 0: for ever."""

    token: str = field(repr=False)
    ttl: float
    renewable: bool

    @classmethod
    def of(cls, auth: dict[str, Any]) -> Grant:
        """From the ``auth`` of a login or a renewal."""
        token = auth.get("client_token")
        if not isinstance(token, str) or not token:
            raise AnswerUnreadable("no token in the answer")
        return cls(token, _seconds(auth.get("lease_duration")), renewable=auth.get("renewable") is True)


class Login(Protocol):
    """How this worker proves who it is.

    ``name`` says what is done, ``hint`` what may be wrong when Vault forbids it. ``makes_tokens`` tells whether
    another login gives another token.
    """

    @property
    def name(self) -> str: ...

    @property
    def hint(self) -> str: ...

    @property
    def makes_tokens(self) -> bool: ...

    def __call__(self, connection: VaultConnection) -> Grant:
        """Log in. Runs in a thread, at any time, as often as needed."""
        ...


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """A token that somebody else made. Logging in is looking it up, which shows whether it is still good."""

    token: SecretStr
    name: str = "login with the token"
    hint: str = "it is wrong or has ended, or its policies lack auth/token/lookup-self (the policy default has it)"
    makes_tokens: bool = False

    def __call__(self, connection: VaultConnection) -> Grant:
        token = self.token.get_secret_value()
        data = _part(connection.client(token).auth.token.lookup_self(), "data")
        return Grant(token, _seconds(data.get("ttl")), renewable=data.get("renewable") is True)


@dataclass(frozen=True, slots=True)
class KubernetesLogin:
    """The pod's service account. Its JWT is read at every login, because the kubelet rotates the file."""

    role: str
    jwt_file: Path = SERVICE_ACCOUNT_TOKEN
    mount: str = "kubernetes"
    makes_tokens: bool = True

    @property
    def name(self) -> str:
        return f"login with the Kubernetes role {self.role} at auth/{self.mount}"

    @property
    def hint(self) -> str:
        return "the role must be bound to this pod's service account and namespace, and Vault able to review its token"

    def __call__(self, connection: VaultConnection) -> Grant:
        kubernetes = connection.client().auth.kubernetes
        answer = kubernetes.login(role=self.role, jwt=self._jwt(), mount_point=self.mount, use_token=False)
        return Grant.of(_part(answer, "auth"))

    def _jwt(self) -> str:
        try:
            jwt = self.jwt_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ProofUnreadable(f"the service account's token {self.jwt_file}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ProofUnreadable(f"the service account's token {self.jwt_file} is not UTF-8 text") from error
        if not jwt:
            raise ProofUnreadable(f"the service account's token {self.jwt_file} is empty")
        return jwt


def renew(connection: VaultConnection, token: str) -> Grant:
    """Prolong ``token``; Vault may grant less than before, or not a second more."""
    return Grant.of(_part(connection.client(token).auth.token.renew_self(), "auth"))


def _part(answer: Any, name: str) -> dict[str, Any]:
    """Of the JSON of a 200; for everything else hvac gives the response itself."""
    part = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(part, dict):
        raise AnswerUnreadable(f"no {name} in the answer")
    return part


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or value < 0:
        raise AnswerUnreadable("no life time in the answer")
    return float(value)
