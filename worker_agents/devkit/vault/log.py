"""The log of every call that reached the reference Vault, for tests to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from worker_agents.devkit import call_log


@dataclass(slots=True, kw_only=True)
class Call:
    """One call. ``path`` is what follows ``/v1/``; ``status`` stays ``None`` where no answer was given."""

    method: str
    path: str
    query: dict[str, str]
    token: str | None = field(repr=False)
    namespace: str | None
    request_header: bool
    """Whether ``X-Vault-Request: true`` was sent, as Vault's agents can demand."""
    body: Any = field(repr=False)
    status: int | None = None
    fault: str | None = None
    """Kind of the fault that was played."""


class CallLog(call_log.CallLog[Call]):
    """The calls in order of arrival."""

    @property
    def asked(self) -> list[str]:
        """``METHOD path`` of each call."""
        return [f"{call.method} {call.path}" for call in self._calls]

    def to(self, path: str) -> list[Call]:
        """The calls whose path begins so."""
        return [call for call in self._calls if call.path.startswith(path)]
