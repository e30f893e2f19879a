"""Tokens and their lives."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker_agents.devkit.vault.answers import Refused, timestamp
from worker_agents.devkit.vault.policies import DEFAULT, ROOT

Now = Callable[[], float]
"""Seconds since the epoch."""


@dataclass(slots=True, kw_only=True)
class Token:
    """``ttl`` seconds from its creation or renewal; 0: for ever. ``max_ttl`` bounds its whole life; 0: nothing does."""

    id: str = field(repr=False)
    accessor: str
    policies: tuple[str, ...]
    created_at: float
    ttl: float
    max_ttl: float
    renewable: bool
    path: str
    metadata: Mapping[str, str]
    expires_at: float | None

    def left(self, now: float) -> int:
        return 0 if self.expires_at is None else max(int(self.expires_at - now), 0)

    def has_expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def auth(self, now: float) -> dict[str, Any]:
        """The ``auth`` of a login or a renewal."""
        return {
            "client_token": self.id,
            "accessor": self.accessor,
            "policies": list(self.policies),
            "token_policies": list(self.policies),
            "metadata": dict(self.metadata) or None,
            "lease_duration": self.left(now),
            "renewable": self.renewable,
            "entity_id": "",
            "token_type": "service",
            "orphan": True,
            "mfa_requirement": None,
            "num_uses": 0,
        }

    def data(self, now: float) -> dict[str, Any]:
        """The ``data`` of a look-up. A token without end has no ``renewable`` and a null ``expire_time``."""
        looked_up: dict[str, Any] = {
            "accessor": self.accessor,
            "creation_time": int(self.created_at),
            "creation_ttl": int(self.ttl),
            "display_name": "token",
            "entity_id": "",
            "expire_time": None if self.expires_at is None else timestamp(self.expires_at),
            "explicit_max_ttl": int(self.max_ttl),
            "id": self.id,
            "meta": dict(self.metadata) or None,
            "num_uses": 0,
            "orphan": True,
            "path": self.path,
            "policies": list(self.policies),
            "ttl": self.left(now),
            "type": "service",
        }
        if self.expires_at is not None:
            looked_up |= {"issue_time": timestamp(self.created_at), "renewable": self.renewable}
        return looked_up


class Tokens:
    """All tokens; those that have ended are gone."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._tokens: dict[str, Token] = {}

    def create(
        self,
        policies: Sequence[str] = (),
        *,
        token_id: str | None = None,
        ttl: float = 0,
        max_ttl: float = 0,
        renewable: bool = True,
        default_policy: bool = True,
        path: str = "auth/token/create",
        metadata: Mapping[str, str] | None = None,
    ) -> Token:
        """A new token; ``default_policy`` adds Vault's policy ``default``, as Vault does."""
        now = self._now()
        added = (DEFAULT,) if default_policy and ROOT not in policies else ()
        token = Token(
            id=token_id or f"hvs.{secrets.token_urlsafe(24)}",
            accessor=secrets.token_urlsafe(18),
            policies=tuple(sorted({*added, *policies})),
            created_at=now,
            ttl=ttl,
            max_ttl=max_ttl,
            renewable=renewable and ttl > 0,
            path=path,
            metadata=metadata or {},
            expires_at=now + ttl if ttl else None,
        )
        self._tokens[token.id] = token
        return token

    def find(self, token_id: str | None) -> Token | None:
        token = self._tokens.get(token_id or "")
        if token is not None and token.has_expired(self._now()):
            del self._tokens[token.id]
            return None
        return token

    def renew(self, token: Token, increment: float = 0) -> list[str] | None:
        """Prolong by ``increment``, or by its own TTL, within its longest life; warnings where that was cut.

        Raises:
            Refused: the token cannot be renewed.
        """
        if not token.renewable:
            raise Refused(400, "lease is not renewable")
        now, wanted = self._now(), increment or token.ttl
        last = token.created_at + token.max_ttl if token.max_ttl else now + wanted
        token.expires_at = min(now + wanted, last)
        if last < now + wanted:
            return [f'TTL of "{wanted:.0f}s" exceeded the effective max_ttl; TTL value is capped accordingly']
        return None

    def revoke(self, token_id: str) -> None:
        self._tokens.pop(token_id, None)

    def revoke_all(self) -> None:
        self._tokens.clear()
