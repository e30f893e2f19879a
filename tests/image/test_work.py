"""What workers in containers do with tickets, and what becomes of these when a container is stopped."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import Manifest, environment_of, render, the, worker_of
from tests.support.containers import Containers, empty_dir, output
from tests.support.fleet import Fleet, WorkerProcess, duplicates, fleet
from tests.support.git_server import Repository, serving
from worker_agents.devkit.code_forge import Behaviour, CodeForgeServer, Progress
from worker_agents.devkit.demo.props import LEAKY, write_workspace

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TICKETS = 20


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return render({"config": {"drainTimeoutSeconds": 2, "fallbackMode": "fail"}})


def hired(ships: Fleet, podman: Containers, image: str, manifests: list[Manifest]) -> WorkerProcess:
    """A worker in a container of its name, with the settings, the user and the directories that the chart's pod has."""
    name = f"{ships.group}-{len(ships.workers) + 1}"
    user = pod_of(manifests)["securityContext"]
    directories = [each["mountPath"] for each in worker_of(manifests)["volumeMounts"] if each["mountPath"] != "/tmp"]
    options = [
        *(f"--name={name}", "--no-healthcheck", f"--user={user['runAsUser']}:{user['runAsGroup']}"),
        *(f"--volume={empty_dir(ships.folder / name)}:{directory}" for directory in directories),
    ]
    env = environment_of(manifests) | {"HTTP_ADVERTISED_HOST": "127.0.0.1"} | ships.settings(name)
    arguments = worker_of(manifests)["args"]
    return ships.hire(WorkerProcess(name, podman.running(image, *arguments, options=options, env=env), os.environ))


def pod_of(manifests: list[Manifest]) -> Manifest:
    pod: Manifest = the(manifests, "Deployment")["spec"]["template"]["spec"]
    return pod


def test_the_chart_runs_the_image_as_the_user_that_it_is_made_for(
    podman: Containers, image: str, manifests: list[Manifest]
) -> None:
    user = pod_of(manifests)["securityContext"]

    assert podman.inspect(image)["Config"]["User"] == f"{user['runAsUser']}:{user['runAsGroup']}"
    assert image.endswith(f"/{worker_of(manifests)['image']}")
    assert "command" not in worker_of(manifests)


async def test_git_and_trivy_of_the_image_check_a_repository_out_and_scan_it(
    kafka: Any, podman: Containers, image: str, manifests: list[Manifest], tmp_path: Path
) -> None:
    write_workspace(tmp_path / "sources")
    repository = Repository(tmp_path / "served" / "shop")
    repository.commit({"settings.py": (tmp_path / "sources" / LEAKY / "settings.py").read_text()})
    with serving(tmp_path / "served") as git:
        settings = {"ALLOWED_GIT_URLS": git.url, "TRIVY_SCANNERS": "secret"}
        parameters = {"validation_type": "sast", "repo_url": f"{git.url}/shop/.git"}
        async with fleet(kafka.bootstrap_servers, tmp_path, partitions=2, **settings) as ships:
            worker = hired(ships, podman, image, manifests)
            await ships.submit([{"ticket_id": "scan", "task_type": "VALIDATE", "parameters": parameters}])
            (result,) = await ships.results(1)
            assert await worker.stop() == 0

    assert result["error_reason"] == "verdict_failed", ships.tails()
    assert result["result"]["output"]["violations_by_severity"] == {"CRITICAL": 1}


async def test_a_stopped_container_hands_its_pipelines_over(
    kafka: Any, podman: Containers, image: str, manifests: list[Manifest], tmp_path: Path
) -> None:
    held = Behaviour(progress=Progress(queued=1, processing=None))
    grace = pod_of(manifests)["terminationGracePeriodSeconds"]
    async with (
        CodeForgeServer(held) as forge,
        fleet(kafka.bootstrap_servers, tmp_path, partitions=2, CODE_FORGE_URL=forge.url) as ships,
    ):
        first = hired(ships, podman, image, manifests)
        await ships.submit(
            {"ticket_id": f"build-{number}", "task_type": "BUILD", "parameters": {"artifact_id": f"artifact-{number}"}}
            for number in range(TICKETS)
        )
        await ships.checkpointed(TICKETS)

        # SIGTERM to process 1, as the kubelet does, and SIGKILL when the grace period is over.
        await asyncio.to_thread(output, *podman.podman, "stop", f"--time={grace}", first.name)

        assert await first.ended() == 0, ships.tails()
        (drained,) = first.events("drain_ended")
        assert (drained["finished"], drained["released"]) == (0, TICKETS)
        owners = {
            each.partition: json.loads(each.value) for each in await ships.existing("state") if each.key == b"@owner"
        }
        assert [owners[partition]["handed_over"] for partition in range(2)] == [True, True]
        begun = len(forge.log)

        second = hired(ships, podman, image, manifests)
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
