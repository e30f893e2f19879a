"""The tickets of the demo, and what is to become of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from worker_agents.devkit.code_forge import STANDARD_TEMPLATES, Behaviour, Peculiarities, Progress, Script
from worker_agents.kafka.submitter import default_key
from worker_agents.model.errors import Reason
from worker_agents.model.result import Status

_TOO_SHORT_MS = 2000
"""``sla.timeout_ms`` of the ticket whose first attempt is too short: 3 s with the worker's multiplier of 1.5."""

# Everything of the peer but the fault that hides a failed generation behind a plain 500.
BEHAVIOUR = Behaviour(
    peculiarities=Peculiarities(empty_artifacts_500=False),
    templates={
        **STANDARD_TEMPLATES,
        "unhurried": Script(progress=Progress(queued=1, processing=3, unit="seconds")),
    },
)


@dataclass(frozen=True, slots=True)
class Ending:
    """What becomes of a ticket. ``status`` ``None``: it gets no result of its own.

    ``attempts`` is checked where it is given; so is ``after``, the ticket that must have been done before it began.
    """

    status: Status | None
    reason: Reason | None = None
    is_simulated: bool = False
    dead_letter: bool = False
    attempts: int | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One record that the demo sends. ``name`` is unique, ``ticket_id`` is not: one ticket is sent twice."""

    name: str
    shows: str
    value: bytes
    key: str
    ticket_id: str | None
    ending: Ending

    @property
    def is_copy(self) -> bool:
        return self.ticket_id is not None and self.ticket_id != self.name


COMPLETED = Ending(Status.COMPLETED)


def cast() -> tuple[Part, ...]:
    """All parts, in the order in which they are sent."""
    return (
        generated := _execute("demo-generate", "code is generated, and polled to its end", "service", COMPLETED),
        replace(
            generated,
            name="demo-generate (copy)",
            shows="a duplicate: no second result, no second generation",
            ending=Ending(None),
        ),
        _execute(
            "demo-busy",
            "Code Forge answers 503 twice; the client calls again",
            "flaky",
            replace(COMPLETED, attempts=1),
        ),
        _execute(
            "demo-retried",
            "too slow for its first attempt; the second resumes it",
            "unhurried",
            replace(COMPLETED, attempts=2),
            sla={"timeout_ms": _TOO_SHORT_MS, "max_retries": 3},
        ),
        _execute(
            "demo-outage",
            "Code Forge is down for it: simulated, and says so",
            "down",
            replace(COMPLETED, is_simulated=True),
        ),
        *_plans(),
        *_misfits(),
    )


def _plans() -> Iterator[Part]:
    """Tickets that depend on others of their plan; each is sent before the one that it waits for."""
    yield _execute(
        "demo-second",
        "waits for demo-first, without a slot",
        "service",
        replace(COMPLETED, after="demo-first"),
        plan_id="demo-plan-good",
        dependencies=["demo-first"],
    )
    yield _execute("demo-first", "its plan's first step", "library", COMPLETED, plan_id="demo-plan-good")
    yield _execute(
        "demo-stopped",
        "depends on demo-verdict, which fails",
        "service",
        Ending(Status.FAILED, Reason.DEPENDENCY_FAILED),
        plan_id="demo-plan-bad",
        dependencies=["demo-verdict"],
    )
    yield _execute(
        "demo-verdict",
        "the generation ends failed: an answer, not an error",
        "fail",
        Ending(Status.FAILED, Reason.VERDICT_FAILED, attempts=1),
        plan_id="demo-plan-bad",
    )


def _misfits() -> Iterator[Part]:
    yield Part(
        name="demo-malformed",
        shows="broken JSON without a readable id",
        value=b'{"ticket_id": "demo-malformed", "task_type": "EXEC',
        key="demo-malformed",
        ticket_id=None,
        ending=Ending(None, Reason.UNDECODABLE, dead_letter=True),
    )
    yield _ticket(
        "demo-unknown",
        "a task type that nobody knows",
        Ending(Status.FAILED, Reason.UNKNOWN_TASK_TYPE, dead_letter=True),
        task_type="BREW_COFFEE",
        parameters={"cups": 2},
    )


def _execute(name: str, shows: str, template: str, ending: Ending, **fields: Any) -> Part:
    parameters = {"template_id": template, "language": "python"}
    return _ticket(name, shows, ending, task_type="EXECUTE", parameters=parameters, **fields)


def _ticket(name: str, shows: str, ending: Ending, **fields: Any) -> Part:
    document = {"ticket_id": name, "status": "PENDING", **fields}
    return Part(name, shows, orjson.dumps(document), default_key(document) or name, name, ending)
