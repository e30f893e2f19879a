"""What would become of the running tickets if their worker went now. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.model.structs import struct


@struct
class Stakes:
    """Running tickets by what a hand-over does to them.

    ``lost`` may start but once and fail; of ``repeated`` the work begins anew; ``resumed`` have a checkpoint, and go on elsewhere.
    """

    lost: int = 0
    repeated: int = 0
    resumed: int = 0


def stakes_of(jobs: Iterable[Job]) -> Stakes:
    fates = Counter(_fate(job) for job in jobs if job.phase is JobPhase.RUNNING)
    return Stakes(fates["lost"], fates["repeated"], fates["resumed"])


def _fate(job: Job) -> Literal["lost", "repeated", "resumed"]:
    if job.read().is_at_most_once:
        return "lost"
    return "repeated" if job.state is None or job.state.checkpoint is None else "resumed"
