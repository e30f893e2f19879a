"""What a policy or a scan objects to, in one shape for every tool."""

from __future__ import annotations

from enum import StrEnum

from worker_agents.model.structs import struct


class Severity(StrEnum):
    """Worst first. ``UNKNOWN`` is Trivy's own word for what nobody has rated."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    INFO = "INFO"
    UNKNOWN = "UNKNOWN"


@struct
class Violation:
    """``resource`` is what it is about (a package, a Kubernetes object), ``location`` where it was found (``file:line``)."""

    rule_id: str
    message: str
    severity: Severity = Severity.MEDIUM
    resource: str | None = None
    location: str | None = None
