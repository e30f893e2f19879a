"""What a worker that goes takes with it."""

from __future__ import annotations

from typing import cast

import pytest

from worker_agents.devkit.executor_kit import ticket_for
from worker_agents.dispatch.job import Job, JobPhase
from worker_agents.dispatch.lane import Lane
from worker_agents.dispatch.stakes import Stakes, stakes_of
from worker_agents.model.state import Phase, TicketState
from worker_agents.model.ticket import Envelope


def job(
    phase: JobPhase = JobPhase.RUNNING, *, mode: str = "AT_LEAST_ONCE", checkpoint: dict[str, int] | None = None
) -> Job:
    ticket = ticket_for("BUILD", qos={"delivery_mode": mode})
    state = TicketState(Phase.CHECKPOINT if checkpoint else Phase.STARTED, 0, "worker", checkpoint=checkpoint)
    return Job(cast(Lane, None), "t", "BUILD", Envelope(0, b""), [0], ticket, state, phase=phase)


def test_what_has_a_checkpoint_is_resumed_and_all_else_begun_anew() -> None:
    assert stakes_of([job(), job(), job(checkpoint={"pipeline": 7})]) == Stakes(repeated=2, resumed=1)


def test_what_may_start_but_once_is_lost_with_its_worker() -> None:
    assert stakes_of([job(mode="AT_MOST_ONCE"), job(mode="AT_MOST_ONCE", checkpoint={"a": 1})]) == Stakes(lost=2)


@pytest.mark.parametrize("phase", [phase for phase in JobPhase if phase is not JobPhase.RUNNING])
def test_what_does_not_run_is_not_at_stake(phase: JobPhase) -> None:
    assert stakes_of([job(phase)]) == Stakes()
