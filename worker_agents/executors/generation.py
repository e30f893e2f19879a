"""Following a generation at Code Forge from its start to its end."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worker_agents.clients.code_forge import GenerationStatus
from worker_agents.executors.base import CodeForge, ExecutionContext
from worker_agents.executors.following import Followed, Follower
from worker_agents.executors.polling import Patience


class GenerationService(CodeForge, Protocol):
    """What it takes to submit a generation and to follow it; see ``clients.code_forge``."""

    async def get_generation_status(
        self, request_id: str, headers: Mapping[str, str], *, within: float | None = None
    ) -> GenerationStatus: ...


@dataclass(slots=True)
class GenerationFollower:
    """Polls one generation until it is over. One for each attempt.

    ``limit`` is the seconds that the generation may take since it was begun, in whatever attempt.
    """

    service: GenerationService
    request_id: str
    context: ExecutionContext
    limit: float
    patience: Patience = field(default_factory=Patience)
    rng: random.Random | None = None

    async def follow(self) -> Followed[GenerationStatus]:
        """Wait for the end; raises as :meth:`Follower.follow` does."""
        follower = Follower(
            f"generation {self.request_id}",
            "Code Forge",
            self._ask,
            self.context,
            self.limit,
            patience=self.patience,
            rng=self.rng,
        )
        return await follower.follow()

    async def _ask(self, within: float) -> GenerationStatus:
        headers = self.context.trace_headers()
        return await self.service.get_generation_status(self.request_id, headers, within=within)
