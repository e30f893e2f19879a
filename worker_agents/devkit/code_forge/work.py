"""Generations and pipelines: begun once for each idempotency key, moving on by time or by polls."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from worker_agents.devkit.code_forge.behaviour import Phase, Progress


class WorkKind(StrEnum):
    """Which API the work belongs to."""

    GENERATION = "generation"
    PIPELINE = "pipeline"


@dataclass(slots=True, kw_only=True)
class Work:
    """One generation request or pipeline."""

    id: str
    kind: WorkKind
    ticket_id: str | None
    subject: str
    """Template id of a generation, artifact id of a pipeline."""
    script: str | None
    """Name of the script that it follows."""
    created_at: float
    updated_at: float
    unknown_polls: int = 0
    """Reads answered 404 although it exists."""
    polls: int = 0
    phase: Phase = Phase.QUEUED

    def move_on(self, progress: Progress, now: float) -> None:
        """Bring the phase up to date. It never goes back, whatever progress is asked for later."""
        phase = progress.phase(age=now - self.created_at, polls=self.polls)
        if phase > self.phase:
            self.phase, self.updated_at = phase, now


class Works:
    """All work that the server knows."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._by_key: dict[tuple[WorkKind, str], str] = {}

    def begin(
        self, kind: WorkKind, *, ticket_id: str | None, subject: str, script: str | None, key: str | None, now: float
    ) -> Work:
        """Begin new work and remember it under its idempotency key."""
        work = Work(
            id=str(uuid.uuid4()),
            kind=kind,
            ticket_id=ticket_id,
            subject=subject,
            script=script,
            created_at=now,
            updated_at=now,
        )
        self._works[work.id] = work
        if key is not None:
            self._by_key[kind, key] = work.id
        return work

    def find(self, kind: WorkKind, work_id: str) -> Work | None:
        """Return work of that kind by its id."""
        work = self._works.get(work_id)
        return work if work is not None and work.kind is kind else None

    def begun_with(self, kind: WorkKind, key: str | None) -> Work | None:
        """Return the work that was begun with this idempotency key."""
        work_id = self._by_key.get((kind, key)) if key is not None else None
        return self._works.get(work_id) if work_id is not None else None

    def forget(self, work: Work) -> None:
        """Forget work whose time is over; its key, if it has one, begins new work from now on."""
        self._works.pop(work.id, None)

    def of_kind(self, kind: WorkKind) -> Iterator[Work]:
        """Return the work of one kind, oldest first."""
        return (work for work in tuple(self._works.values()) if work.kind is kind)
