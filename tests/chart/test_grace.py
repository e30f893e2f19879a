"""A pod that is told to end with work in flight, in the environment and the time that the chart gives it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import environment_of, render, the
from tests.support.fleet import Fleet, fleet
from tests.support.scenario import Scenario
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress
from worker_agents.settings import load_settings

pytestmark = pytest.mark.integration

TICKETS = 12
HELD = Behaviour(progress=Progress(queued=0, processing=None))


def test_the_time_to_end_covers_what_the_worker_says_that_it_needs() -> None:
    for config in ({}, {"drainTimeoutSeconds": 600, "killGraceSeconds": 10}, {"kafka": {"sessionTimeoutSeconds": 6}}):
        settings = load_settings(environment_of(render({"config": config})))

        assert settings.termination_grace_period_seconds is not None
        assert settings.termination_grace_period_seconds > settings.drain_timeout_seconds + settings.stop_seconds


async def test_nothing_is_lost_and_the_work_is_handed_over(kafka: Any, tmp_path: Path) -> None:
    manifests = render({"config": {"drainTimeoutSeconds": 2}})
    grace = the(manifests, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    async with (
        CodeForgeServer(HELD) as forge,
        fleet(kafka.bootstrap_servers, tmp_path, partitions=4) as ships,
    ):
        first = ships.worker(**_environment(manifests, ships, forge))
        await ships.submit([_build(number) for number in range(TICKETS)])
        await ships.checkpointed(TICKETS)

        first.send(signal.SIGTERM)
        # The kubelet kills what is there after the grace period: then `ended` raises.
        assert await first.ended(timeout=grace) == 0
        second = ships.worker(**_environment(manifests, ships, forge))
        await second.says("partition_opened", 4)
        forge.change(progress=Progress(queued=0, processing=0))
        results = await ships.results(TICKETS)

        (drained,) = first.events("drain_ended")
        assert (drained["finished"], drained["released"]) == (0, TICKETS)
        scenario = Scenario("sigterm_under_the_charts_grace_period")
        scenario.take([f"build-{number}" for number in range(TICKETS)], results, forge.log)
        assert {(result["status"], result["result"]["metadata"]["simulated"]) for result in results} == {
            ("COMPLETED", False)
        }
        assert len(forge.log.find(method="POST")) == TICKETS


def _build(number: int) -> dict[str, Any]:
    return {
        "ticket_id": f"build-{number}",
        "plan_id": f"plan-{number}",
        "task_type": "BUILD",
        "parameters": {"artifact_id": "a"},
    }


def _environment(manifests: list[Any], ships: Fleet, forge: CodeForgeServer) -> dict[str, str]:
    """The chart's, but for what a test has of its own: broker, topics, group, port and directories."""
    own = {"KAFKA_BOOTSTRAP_SERVERS": ships.bootstrap_servers, "KAFKA_CONSUMER_GROUP_ID": ships.group, "HTTP_PORT": "0"}
    own |= {f"KAFKA_{kind.upper()}_TOPIC": topic for kind, topic in ships.topics.items()}
    own |= {
        name: str(ships.folder / name.lower())
        for name in ("TEST_WORKSPACE_ROOT", "SCRATCH_DIRECTORY", "TRIVY_CACHE_DIR")
    }
    return environment_of(manifests) | own | {"HTTP_ADVERTISED_HOST": "127.0.0.1", "CODE_FORGE_URL": forge.url}
