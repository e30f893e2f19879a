"""Tickets of every type, worked on in a container."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.containers import Containers
from tests.support.tools import tool
from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.demo import Programs
from worker_agents.devkit.demo.play import played
from worker_agents.devkit.demo.screen import Screen
from worker_agents.devkit.demo.stage import LOG, stage

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

USER = 10001


async def test_every_ticket_of_the_demo_becomes_what_it_should_be(podman: Containers, toolchain_image: str) -> None:
    # Those that the container has, at their places in it; OPA runs beside it.
    programs = Programs(tool("opa"), trivy=Path("/usr/local/bin/trivy"), pytest=Path("/opt/toolchain/bin/pytest"))

    def hire(environment: Mapping[str, str], folder: Path) -> ChildProcess:
        workspace = folder / "workspace"
        for path in (workspace, *workspace.rglob("*")):
            shutil.chown(path, USER, USER)
        places = [f"--volume={workspace}:{workspace}", f"--tmpfs={folder / 'trivy'}", f"--tmpfs={folder / 'scratch'}"]
        options = ["--no-healthcheck", *places]
        return ChildProcess(podman.running(toolchain_image, options=options, env=environment), log=folder / LOG)

    screen = Screen()
    async with stage(programs, screen.step, hire) as built:
        story, problems = await played(built, screen)

        assert problems == [], built.log_tail()
        assert not [told for told in story.told if told.is_simulated != told.part.ending.is_simulated]
        assert await built.drain_worker() == 0
