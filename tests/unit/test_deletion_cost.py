"""When the pod is told how busy it is, and how seldom; on the API server's side, with a clock that tests drive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import respx
import trustme

from tests.unit.dispatch.fakes import FakeClock, let_it_work
from worker_agents.clients.kubernetes import POD_DELETION_COST, KubernetesClient
from worker_agents.deletion_cost import LOWEST_COST, PodDeletionCost, cost_of
from worker_agents.dispatch.stakes import Stakes
from worker_agents.telemetry.events import Event, PodDeletionCostFailed

URL = "https://10.96.0.1:6443"
OK = httpx.Response(200, json={"kind": "Pod"})
FORBIDDEN = httpx.Response(403, json={"kind": "Status", "message": "no"})
AWAY = httpx.Response(503)


class World:
    """A worker's work, and the API server that hears of it; ``is_quiet`` and ``at_stake`` are the dispatcher's."""

    def __init__(self, folder: Path, router: respx.Router) -> None:
        self.is_quiet = False
        self.stakes = Stakes()
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.answer = OK
        self.patched: list[tuple[float, str]] = []
        """When, and to which cost."""
        router.patch(url__startswith=f"{URL}/api/v1/namespaces/flow/pods/worker-0").mock(side_effect=self._patch)
        (folder / "token").write_text("token")
        trustme.CA().cert_pem.write_to_path(str(folder / "ca.crt"))
        self.client = KubernetesClient.in_cluster(
            URL,
            namespace="flow",
            pod="worker-0",
            token_file=folder / "token",
            authority=folder / "ca.crt",
            emit=lambda _: None,
        )
        self.task = asyncio.create_task(PodDeletionCost(self.client, self, self.clock, self.events.append).run())

    def at_stake(self) -> Stakes:
        return self.stakes

    def _patch(self, request: httpx.Request) -> httpx.Response:
        cost = json.loads(request.content)["metadata"]["annotations"][POD_DELETION_COST]
        self.patched.append((self.clock.monotonic(), cost))
        return self.answer

    async def look(self, times: int = 1) -> list[tuple[float, str]]:
        """Let it look so often, and say what it has patched meanwhile."""
        before = len(self.patched)
        for _ in range(times):
            self.clock.advance(self.clock.next_moment() or 0.0)
            await let_it_work()
        return self.patched[before:]

    @property
    def trouble(self) -> list[str]:
        return [event.kind for event in self.events if isinstance(event, PodDeletionCostFailed)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with respx.mock() as router:
        world = World(tmp_path, router)
        await let_it_work()
        yield world
        world.task.cancel()
        await asyncio.wait([world.task])
        await world.client.aclose()


async def test_a_worker_that_starts_writes_its_cost_whatever_is_there(world: World) -> None:
    """The container before it, in the same pod, may have left another."""
    assert world.patched == [(0, "0")]


async def test_nothing_is_written_while_nothing_changes(world: World) -> None:
    assert await world.look(100) == []


async def test_a_change_is_written_at_the_next_look_and_once(world: World) -> None:
    world.stakes = Stakes(repeated=1)

    assert await world.look(10) == [(30, "8")]


async def test_it_is_written_every_half_minute_at_most(world: World) -> None:
    for number in range(1, 5):
        world.stakes = Stakes(resumed=4**number)
        for _ in range(29):
            world.clock.advance(1)
            await let_it_work()
        assert len(world.patched) == number
        await world.look()

    moments = [moment for moment, _ in world.patched]
    assert min(later - earlier for earlier, later in pairwise(moments)) == 30


async def test_work_that_comes_and_goes_at_every_look_is_one_level(world: World) -> None:
    told = []
    for number in range(20):
        world.stakes = Stakes(repeated=number % 2)
        told += await world.look()

    assert [cost for _, cost in told] == ["8"]


async def test_two_looks_without_work_are_an_idle_worker(world: World) -> None:
    world.stakes = Stakes(resumed=3)
    await world.look()
    world.stakes = Stakes()

    assert await world.look(5) == [(90, "0")]


async def test_a_worker_that_drains_goes_first_whatever_it_runs(world: World) -> None:
    world.stakes = Stakes(repeated=50)
    await world.look()
    world.is_quiet = True

    assert await world.look(5) == [(60, str(LOWEST_COST))]


async def test_trouble_is_told_once_of_each_kind_and_again_after_it_was_over(world: World) -> None:
    world.stakes, world.answer = Stakes(resumed=1), FORBIDDEN
    await world.look(3)
    world.answer = AWAY
    await world.look(2)
    assert world.trouble == ["forbidden", "unavailable"]

    world.answer = OK
    assert [cost for _, cost in await world.look()] == ["1"]
    world.stakes, world.answer = Stakes(), FORBIDDEN
    await world.look(3)
    assert world.trouble == ["forbidden", "unavailable", "forbidden"]


async def test_the_log_says_what_to_do(world: World) -> None:
    world.stakes, world.answer = Stakes(resumed=1), FORBIDDEN
    await world.look()

    (event,) = world.events
    assert isinstance(event, PodDeletionCostFailed)
    assert event.event == "pod_deletion_cost_error"
    assert event.error == "kubernetes patch_pod: HTTP 403: no"
    assert "Role" in event.advice


async def test_after_failures_it_asks_ever_more_seldom_but_goes_on(world: World) -> None:
    world.stakes, world.answer = Stakes(resumed=1), AWAY
    moments = [moment for moment, _ in await world.look(2_000)]

    waits = [later - earlier for earlier, later in pairwise(moments)]
    assert waits[:6] == [60, 120, 240, 480, 600, 600]
    assert set(waits[6:]) == {600}


async def test_an_answer_that_was_lost_may_stand_for_a_patch_that_was_made(world: World) -> None:
    """What is there then is not known: also the cost from before is written again."""
    world.stakes, world.answer = Stakes(resumed=1), AWAY
    assert [cost for _, cost in await world.look()] == ["1"]
    world.stakes = Stakes()
    assert [cost for _, cost in await world.look()] == ["1"]
    world.answer = OK

    assert [cost for _, cost in await world.look(5)] == ["0"]


@pytest.mark.parametrize(
    ("stakes", "cost"),
    [
        (Stakes(), 0),
        (Stakes(resumed=1), 1),
        (Stakes(resumed=3), 2),
        (Stakes(resumed=4), 4),
        (Stakes(repeated=1), 8),
        (Stakes(repeated=1, resumed=7), 8),
        (Stakes(repeated=2), 16),
        (Stakes(lost=1), 64),
        (Stakes(lost=10_000, repeated=10_000, resumed=10_000), 524_288),
    ],
)
def test_the_cost_is_the_magnitude_of_what_is_at_stake(stakes: Stakes, cost: int) -> None:
    assert cost_of(stakes) == cost
