"""A pipeline of four hours, from its ticket to its result, over changes of worker; on a clock of its own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.dispatch.fakes import NOW_MS, FakeClock, World, record
from tests.unit.dispatch.test_lane import restarted
from worker_agents.clients.code_forge import PipelineStatus
from worker_agents.executors.build import PIPELINE_LIMIT_SECONDS, BuildExecutor
from worker_agents.model.errors import Reason
from worker_agents.model.result import Status
from worker_agents.model.state import Phase, TicketState

HOUR = 3_600.0
INTERVAL = 30.0
HAND_OVERS = (HOUR, 2.5 * HOUR)


class SlowForge:
    """Its only pipeline is over ``lasts`` seconds after it was triggered; ``None`` is never."""

    def __init__(self, clock: FakeClock, lasts: float | None) -> None:
        self.triggered: list[float] = []
        self.polls: list[float] = []
        self._clock = clock
        self._lasts = lasts

    async def submit_generation_request(self, **_: Any) -> str:
        raise AssertionError("a build generates nothing")

    async def trigger_pipeline(self, **_: Any) -> str:
        self.triggered.append(self._clock.monotonic())
        return "p-1"

    async def get_pipeline_status(
        self, pipeline_id: str, headers: Mapping[str, str], *, within: float | None = None
    ) -> PipelineStatus:
        assert headers["traceparent"]
        assert within is not None
        now = self._clock.monotonic()
        self.polls.append(now)
        is_over = self._lasts is not None and now - self.triggered[0] >= self._lasts
        return PipelineStatus(pipeline_id=pipeline_id, status="completed" if is_over else "running")


class Unshaken(random.Random):
    """No jitter, so that two runs can be compared."""

    def uniform(self, a: float, b: float) -> float:  # noqa: ARG002 # as the real one
        return b


async def lived_through(lasts: float | None, hand_overs: tuple[float, ...] = ()) -> tuple[World, SlowForge]:
    """The ticket's way to its end, with another worker at each of those moments (seconds)."""
    clock = FakeClock()
    forge = SlowForge(clock, lasts)
    world = World(task_types=(), clock=clock, others=[executor(forge)])
    await world.accept(record(0, "t", "BUILD", sla={"max_retries": 0}))
    for number, moment in enumerate(hand_overs, start=2):
        await live_until(world, moment)
        world = await restarted(world, f"worker-{number}#b", task_types=(), others=[executor(forge)])
        await world.accept(record(0, "t", "BUILD", sla={"max_retries": 0}))
        assert_goes_on(world, f"worker-{number}#b", forge)
    await live_until(world, 5 * HOUR)
    return world, forge


def executor(forge: SlowForge) -> BuildExecutor:
    return BuildExecutor(emit=lambda _: None, code_forge_client=forge, fallback="fail", rng=Unshaken())


async def live_until(world: World, moment: float) -> None:
    """Let the hours pass, and everybody work whenever something is due; at most until the ticket has its end."""
    while not world.journal.answers and (left := moment - world.clock.monotonic()) > 0:
        due = world.clock.next_moment()
        await world.advance(left if due is None else min(due, left))


def assert_goes_on(world: World, owner: str, forge: SlowForge) -> None:
    """The first attempt still, begun when it was."""
    known = world.journal.known["t"]
    assert isinstance(known, TicketState)
    assert (known.phase, known.owner, known.attempt, known.delivery) == (Phase.CHECKPOINT, owner, 1, 1)
    assert known.began_at == known.checkpoint_at == NOW_MS
    assert forge.triggered == [0.0]


async def test_four_hours_are_polled_as_often_with_hand_overs_as_without() -> None:
    lasts = 4 * HOUR - 60
    _, undisturbed = await lived_through(lasts)

    world, forge = await lived_through(lasts, HAND_OVERS)

    (answer,) = world.journal.answers
    assert (answer.finished.status, answer.attempts) == (Status.COMPLETED, 1)
    assert not answer.finished.result.simulated
    assert answer.duration_ms == pytest.approx(lasts * 1000, abs=INTERVAL * 1000)
    assert forge.triggered == [0.0]
    # A new owner looks at once; apart from that only the growth at the beginning makes a difference.
    assert 0 <= len(forge.polls) - len(undisturbed.polls) <= len(HAND_OVERS)
    assert len(undisturbed.polls) == pytest.approx(lasts / INTERVAL, abs=12)
    gaps = [after - before for before, after in itertools.pairwise(forge.polls)]
    assert max(gaps) <= INTERVAL + 0.5
    world.assert_nothing_left()


async def test_the_limit_of_four_hours_counts_from_the_checkpoint_over_hand_overs() -> None:
    world, forge = await lived_through(None, HAND_OVERS)

    (answer,) = world.journal.answers
    assert answer.finished.status is Status.FAILED
    assert answer.finished.error_reason is Reason.TIMEOUT
    assert PIPELINE_LIMIT_SECONDS - 2 <= world.clock.monotonic() <= PIPELINE_LIMIT_SECONDS
    assert answer.duration_ms == pytest.approx(PIPELINE_LIMIT_SECONDS * 1000, abs=2_000)
    assert forge.polls[-1] == world.clock.monotonic(), "it is looked at once more before it is given up"
    world.assert_nothing_left()
