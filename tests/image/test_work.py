"""What workers in containers do with tickets, and what becomes of these when a container is stopped."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import Containers, output
from tests.support.fleet import Fleet, WorkerProcess, duplicates, fleet
from tests.support.git_server import Repository, serving
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress
from worker_agents.devkit.demo.props import LEAKY, write_workspace

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TICKETS = 20
GRACE_SECONDS = 40


def hired(ships: Fleet, podman: Containers, image: str) -> WorkerProcess:
    """A worker in a container of its name."""
    name = f"{ships.group}-{len(ships.workers) + 1}"
    options = [f"--name={name}", "--no-healthcheck"]
    return ships.hire(WorkerProcess(name, podman.running(image, options=options, env=ships.settings(name)), os.environ))


async def test_git_and_trivy_of_the_image_check_a_repository_out_and_scan_it(
    kafka: Any, podman: Containers, image: str, tmp_path: Path
) -> None:
    write_workspace(tmp_path / "sources")
    repository = Repository(tmp_path / "served" / "shop")
    repository.commit({"settings.py": (tmp_path / "sources" / LEAKY / "settings.py").read_text()})
    with serving(tmp_path / "served") as git:
        settings = {"ALLOWED_GIT_URLS": git.url, "TRIVY_SCANNERS": "secret", "FALLBACK_MODE": "fail"}
        parameters = {"validation_type": "sast", "repo_url": f"{git.url}/shop/.git"}
        async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2, **settings) as ships:
            worker = hired(ships, podman, image)
            await ships.submit([{"ticket_id": "scan", "task_type": "VALIDATE", "parameters": parameters}])
            (result,) = await ships.results(1)
            assert await worker.stop() == 0

    assert result["error_reason"] == "verdict_failed", ships.tails()
    assert result["result"]["output"]["violations_by_severity"] == {"CRITICAL": 1}


async def test_a_stopped_container_hands_its_pipelines_over(
    kafka: Any, podman: Containers, image: str, tmp_path: Path
) -> None:
    held = Behaviour(progress=Progress(queued=1, processing=None))
    settings = {"DRAIN_TIMEOUT_SECONDS": "2", "FALLBACK_MODE": "fail"}
    async with (
        CodeForgeServer(held) as forge,
        fleet(kafka.bootstrap_servers, tmp_path, partitions=2, CODE_FORGE_URL=forge.url, **settings) as ships,
    ):
        first = hired(ships, podman, image)
        await ships.submit(
            {"ticket_id": f"build-{number}", "task_type": "BUILD", "parameters": {"artifact_id": f"artifact-{number}"}}
            for number in range(TICKETS)
        )
        await ships.checkpointed(TICKETS)

        # SIGTERM to process 1, as the kubelet does, and SIGKILL when the grace period is over.
        await asyncio.to_thread(output, *podman.podman, "stop", f"--time={GRACE_SECONDS}", first.name)

        assert await first.ended() == 0, ships.tails()
        (drained,) = first.events("drain_ended")
        assert (drained["finished"], drained["released"]) == (0, TICKETS)
        owners = {
            each.partition: json.loads(each.value) for each in await ships.existing("state") if each.key == b"@owner"
        }
        assert [owners[partition]["handed_over"] for partition in range(2)] == [True, True]
        begun = len(forge.log)

        second = hired(ships, podman, image)
        forge.change(progress=Progress(queued=0, processing=0))
        results = await ships.results(TICKETS)

        assert {(result["agent_id"], result["status"]) for result in results} == {(second.name, "COMPLETED")}, (
            ships.tails()
        )
        assert len(results) == TICKETS
        assert duplicates(results) == {}
        assert not any(line["unclean"] for line in second.events("partition_opened"))
        assert forge.log.find(method="POST", since=begun) == []
        assert {len(each.request_ids) for each in forge.log.starts_by_ticket().values()} == {1}
        assert await second.stop() == 0
