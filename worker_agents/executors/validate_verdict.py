"""What a validation came to, whichever tool decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker_agents.executors.violations import report_of
from worker_agents.model.errors import Reason
from worker_agents.model.violation import Severity, Violation

EVERY_SEVERITY: Final = frozenset(Severity)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``blocking`` are the severities of violations that speak against passing; the others are warnings.

    ``problem`` says what failed, ``None`` where it passed. ``rules_checked`` is what was counted, and 0 where nobody does.
    """

    validation_type: str
    violations: tuple[Violation, ...] = ()
    blocking: frozenset[Severity] = EVERY_SEVERITY
    problem: str | None = None
    reason: Reason = Reason.VERDICT_FAILED
    rules_checked: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.problem is None

    def output(self) -> dict[str, Any]:
        """The result's ``output`` (``contracts.md`` 1.8)."""
        return {
            "validation_passed": self.passed,
            **report_of(self.violations, self.blocking),
            "validation_type": self.validation_type,
            "rules_checked": self.rules_checked,
        }
