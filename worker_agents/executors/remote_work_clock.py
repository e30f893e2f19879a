"""How long remote work has gone on, and how much longer it may."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker_agents.executors.base import ExecutionContext

# The attempt's own limit may be the same one: the executor must come first, or the engine's time-out would cost an attempt.
_RESERVE_SHARE = 0.05
_RESERVE_SECONDS = 1.0


@dataclass(slots=True)
class RemoteWorkClock:
    """Counts from when the remote work began, in whatever attempt, and at least from this attempt's begin; seconds.

    ``limit`` is what the work may take in all. One for each attempt.
    """

    context: ExecutionContext
    limit: float
    _at_begin: float = field(init=False)

    def __post_init__(self) -> None:
        self._at_begin = self.context.remaining()

    def passed(self) -> float:
        return max(self.context.seconds_since_checkpoint(), self._at_begin - self.context.remaining())

    def left(self) -> float:
        """Until shortly before the limit."""
        return max(self.limit - self.passed() - self._reserve, 0.0)

    def left_in_attempt(self) -> float:
        """Until shortly before the limit, or before the end of this attempt where that comes first."""
        return max(min(self.left(), self.context.remaining() - self._reserve), 0.0)

    @property
    def _reserve(self) -> float:
        return min(_RESERVE_SECONDS, self.limit * _RESERVE_SHARE)
