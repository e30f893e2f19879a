"""Reads one secret of the key-value engine, version 2."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from worker_agents.clients.http_errors import AnswerUnreadable
from worker_agents.clients.vault.calls import VaultConnection


@dataclass(frozen=True, slots=True)
class Secret:
    """``lease`` is seconds, 0 for none, as the engine answers; ``deleted_at_ms`` is when this version goes by itself."""

    values: dict[str, Any] = field(repr=False)
    lease: float = 0.0
    deleted_at_ms: float | None = None

    def keep_seconds(self, by_default: float, now_ms: int) -> float:
        """How long it may be kept: its lease, or ``by_default``; never beyond its deletion."""
        seconds = self.lease or by_default
        if self.deleted_at_ms is not None:
            seconds = min(seconds, (self.deleted_at_ms - now_ms) / 1000)
        return max(seconds, 0.0)


def read_secret(connection: VaultConnection, token: str, mount: str, path: str) -> Secret:
    """The latest version of the secret at ``path``. Blocks; raises what hvac raises, and :class:`AnswerUnreadable`."""
    engine = connection.client(token).secrets.kv.v2
    answer = engine.read_secret_version(path, mount_point=mount, raise_on_deleted_version=True)
    data = _object(_object(answer).get("data"))
    lease, metadata = answer.get("lease_duration"), _object(data.get("metadata"))
    return Secret(
        values=_object(data.get("data")),
        lease=float(lease) if isinstance(lease, int) else 0.0,
        deleted_at_ms=_epoch_ms(metadata.get("deletion_time")),
    )


def _object(part: Any) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise AnswerUnreadable("no secret in the answer")
    return part


def _epoch_ms(time: Any) -> float | None:
    """RFC 3339 with up to nine digits after the second; empty where no deletion is planned."""
    if not isinstance(time, str) or not time:
        return None
    return dt.datetime.fromisoformat(time).timestamp() * 1000
