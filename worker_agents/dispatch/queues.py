"""Who waits for whom within a partition. Pure bookkeeping."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from worker_agents.dispatch.job import Job


class Dependents:
    """Which tickets wait for which."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, ticket_id: str, dependencies: Iterable[str]) -> None:
        for dependency in dependencies:
            self._waiting.setdefault(dependency, set()).add(ticket_id)

    def remove(self, ticket_id: str, dependencies: Iterable[str]) -> None:
        for dependency in dependencies:
            waiting = self._waiting[dependency]
            waiting.discard(ticket_id)
            if not waiting:
                del self._waiting[dependency]

    def of(self, dependency: str) -> list[str]:
        """Those that wait for it, in a stable order."""
        return sorted(self._waiting.get(dependency, ()))


class Turns:
    """Lets the tickets of one record key go one after another, in the order of their arrival."""

    def __init__(self) -> None:
        self._lines: dict[bytes, deque[Job]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def take(self, job: Job) -> bool:
        """Line up; ``True`` when it is the job's turn at once. A ticket without a key never waits."""
        key = job.envelope.key
        if key is None:
            return True
        line = self._lines.setdefault(key, deque())
        line.append(job)
        return line[0] is job

    def leave(self, job: Job) -> Job | None:
        """Leave the line; the next in it, if it was the job's turn and somebody waits."""
        key = job.envelope.key
        if key is None:
            return None
        line = self._lines.get(key)
        if not line or job not in line:
            return None
        was_first = line[0] is job
        line.remove(job)
        if not line:
            del self._lines[key]
            return None
        return line[0] if was_first else None
