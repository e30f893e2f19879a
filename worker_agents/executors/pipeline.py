"""Following a pipeline at Code Forge from its start to its end, and keeping the history of its stages."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from worker_agents.clients.code_forge import PipelineStatus
from worker_agents.executors.base import CodeForge, ExecutionContext
from worker_agents.executors.following import Follower
from worker_agents.executors.polling import FIRST_SECONDS, LONGEST_SECONDS, Patience
from worker_agents.model.errors import UnknownOutcome

MAX_STAGES_SEEN: Final = 50
MAX_STAGE_NAME: Final = 100

StageSource = Literal["reported", "observed"]


class PipelineService(CodeForge, Protocol):
    """What it takes to trigger a pipeline and to follow it; see ``clients.code_forge``."""

    async def trigger_pipeline(
        self,
        *,
        artifact_id: str,
        parameters: Mapping[str, Any],
        headers: Mapping[str, str],
        before_repeat: Callable[[], object] | None = None,
        within: float | None = None,
    ) -> str: ...

    async def get_pipeline_status(
        self, pipeline_id: str, headers: Mapping[str, str], *, within: float | None = None
    ) -> PipelineStatus: ...


@dataclass(frozen=True, slots=True)
class BegunPipeline:
    """A pipeline as checkpoints remember it.

    ``seen`` are its stages so far, each with the pipeline's status at the time and the seconds since the pipeline began.
    """

    pipeline_id: str
    seen: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def read(cls, checkpoint: Mapping[str, Any] | None) -> BegunPipeline | None:
        """The pipeline of an earlier attempt, ``None`` where none was begun.

        Raises :class:`UnknownOutcome` for a checkpoint without its id: the pipeline is never started anew.
        """
        if checkpoint is None:
            return None
        pipeline_id = checkpoint.get("pipeline_id")
        if not isinstance(pipeline_id, str) or not pipeline_id:
            raise UnknownOutcome("a pipeline was begun, but the checkpoint does not hold its pipeline_id")
        return cls(pipeline_id, _seen(checkpoint.get("stages")))

    def checkpoint(self) -> dict[str, Any]:
        return {"pipeline_id": self.pipeline_id, "stages": [list(each) for each in self.seen]}

    def having_seen(self, status: PipelineStatus, at: float) -> BegunPipeline:
        """Itself where ``status`` shows no stage, or none that is new."""
        stage = (status.stage or "")[:MAX_STAGE_NAME]
        if not stage or len(self.seen) >= MAX_STAGES_SEEN or (self.seen and self.seen[-1][0] == stage):
            return self
        return BegunPipeline(self.pipeline_id, (*self.seen, (stage, status.status, round(at, 3))))


def _seen(stages: object) -> tuple[tuple[str, str, float], ...]:
    """Empty where another version of this program wrote something else: only the id is indispensable."""
    try:
        seen = tuple((str(name), str(status), float(at)) for name, status, at in stages)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        return ()
    return seen if all(math.isfinite(at) for _, _, at in seen) else ()


@dataclass(frozen=True, slots=True)
class EndedPipeline:
    """A pipeline that is over, the polls that it took in this attempt, and the stages that it went through.

    Each stage is ``{name, status, duration_ms}``: the server's own history where it keeps one, else what the polls
    saw, to their interval.
    """

    status: PipelineStatus
    polls: int
    stages: tuple[dict[str, Any], ...]
    stages_are: StageSource


@dataclass(slots=True)
class PipelineFollower:
    """Polls one pipeline until it is over. One for each attempt.

    ``limit`` is the seconds that the pipeline may take since it was begun, in whatever attempt; ``interval`` the longest
    wait between two polls.
    """

    service: PipelineService
    pipeline: BegunPipeline
    context: ExecutionContext
    limit: float
    interval: float = LONGEST_SECONDS
    patience: Patience = field(default_factory=Patience)
    rng: random.Random | None = None

    async def wait_for_pipeline_completion(self) -> EndedPipeline:
        """Wait for the end; raises as :meth:`Follower.follow` does.

        Raises :class:`UnknownOutcome` also for a pipeline that is stored as failed only because its artifacts could not
        be stored: it may well have succeeded, and there is no way to tell.
        """
        follower = Follower(
            f"pipeline {self.pipeline.pipeline_id}",
            "Code Forge",
            self._ask,
            self.context,
            self.limit,
            patience=self.patience,
            longest=max(self.interval, FIRST_SECONDS),
            rng=self.rng,
            seen=self._remember,
        )
        followed = await follower.follow()
        status = followed.status
        if status.is_false_failure:
            raise UnknownOutcome(
                f"pipeline {status.pipeline_id} is stored as {status.status} because Code Forge could not store its "
                f"artifacts ({status.error}): whether it succeeded is not known"
            )
        if status.stages:
            return EndedPipeline(status, followed.polls, tuple(s.model_dump() for s in status.stages), "reported")
        return EndedPipeline(status, followed.polls, self._observed(), "observed")

    async def _ask(self, within: float) -> PipelineStatus:
        headers = self.context.trace_headers()
        return await self.service.get_pipeline_status(self.pipeline.pipeline_id, headers, within=within)

    async def _remember(self, status: PipelineStatus) -> None:
        """Durably, but for the last stage: the result tells that."""
        known = self.pipeline
        self.pipeline = known.having_seen(status, self.context.seconds_since_checkpoint())
        if self.pipeline is not known and not status.is_over:
            await self.context.checkpoint(self.pipeline.checkpoint())

    def _observed(self) -> tuple[dict[str, Any], ...]:
        seen = self.pipeline.seen
        ends = [*(began for _, _, began in seen[1:]), self.context.seconds_since_checkpoint()]
        return tuple(
            {"name": name, "status": status, "duration_ms": round((end - began) * 1000)}
            for (name, status, began), end in zip(seen, ends, strict=False)
        )
