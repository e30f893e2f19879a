"""Vault's own word on its condition, which it gives without a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker_agents.clients.vault.calls import VaultConnection

# Status of GET /v1/sys/health (contracts 6).
_CONDITIONS: Final[Mapping[int, str]] = {
    429: "it is a standby",
    472: "it is a disaster recovery secondary, which serves nobody",
    473: "it is a performance standby",
    474: "it is a standby and no node is active",
    501: "it is not initialised",
    503: "it is sealed",
    530: "it was removed from its cluster",
}


def condition(connection: VaultConnection) -> str:
    """A sentence, empty where there is nothing to say. Blocks; raises what hvac raises."""
    answer: Any = connection.client().sys.read_health_status(method="GET")
    # hvac gives the JSON of a 200, and the response itself for every other status.
    return _CONDITIONS.get(getattr(answer, "status_code", 200), "")
