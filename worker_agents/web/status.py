"""What the HTTP side asks of the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Liveness:
    """Does this process make progress? ``reasons`` are sentences that say why not.

    ``details`` are the measurements behind it, JSON values by name, for example ``seconds_since_last_poll``.
    Never judged by a dependency: a restart would not repair it.
    """

    ok: bool
    reasons: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Does this worker take tickets? ``reasons`` are sentences that say why not, ``details`` as in :class:`Liveness`."""

    ok: bool
    reasons: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


class ServiceStatus(Protocol):
    """The service's own view of itself. Both answers come from memory, at once."""

    def liveness(self) -> Liveness: ...

    def readiness(self) -> Readiness: ...


class MetricsSource(Protocol):
    """See ``telemetry.metrics.Metrics``."""

    def expose(self, accept: str) -> tuple[bytes, str]: ...
