"""VALIDATE `sast` with the real Trivy, offline: what it finds, what nobody talks it out of, and each way it can end."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.image_registry import image_registry
from tests.support.tools import tool
from worker_agents.clients.git import Git
from worker_agents.clients.trivy import Trivy
from worker_agents.clients.workspace import Workspaces
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.devkit.ports import free_ports
from worker_agents.executors.validate import ValidateExecutor
from worker_agents.model.errors import IntegrationRejected, IntegrationUnavailable, InvalidParameters, Reason
from worker_agents.model.git_urls import AllowedGitUrls
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import Event, ExternalCall, FallbackUsed

# Put together here, so that no scanner finds them in this file.
KEY = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
PLANTED = {"src/config.py": f'TOKEN = "{KEY}"\n'}
BAD_DOCKERFILE = {"Dockerfile": "FROM debian:latest\nUSER root\n"}
CLEAN = {"src/main.py": "print(1)\n"}
OFFLINE = ("secret", "misconfig")


class Setup:
    """An executor with the real program, on a workspace of the test's own."""

    def __init__(self, directory: Path, *, scanners: tuple[str, ...] = OFFLINE, **options: Any) -> None:
        of_trivy = {name: options.pop(name) for name in ("server_url", "skip_db_update") if name in options}
        self.root = directory / "volume"
        self.root.mkdir(exist_ok=True)
        self.scratch = ScratchDirectories(directory / "scratch")
        self.events: list[Event] = []
        trivy = Trivy(
            emit=self.events.append,
            scanners=scanners,
            cache_dir=directory / "cache",
            scratch=self.scratch,
            program=str(tool("trivy")),
            **of_trivy,
        )
        workspaces = Workspaces(self.root, scratch=self.scratch, allowed=AllowedGitUrls([]), git=Git())
        self.executor = ValidateExecutor(emit=self.events.append, trivy=trivy, workspaces=workspaces, **options)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    async def scan(self, context: FakeContext | None = None, **parameters: Any) -> TaskResult:
        ticket = ticket_for("VALIDATE", {"validation_type": "sast", **parameters})
        return await run_executor(self.executor, ticket, context)

    @property
    def fallbacks(self) -> list[FallbackUsed]:
        return [event for event in self.events if isinstance(event, FallbackUsed)]

    def left_behind(self) -> list[str]:
        """Files of scans that are over."""
        return [path.name for path in self.scratch.base.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def rules(result: TaskResult) -> set[str]:
    return {violation["rule_id"] for violation in result.output["violations"]}


async def test_a_planted_key_fails_and_is_not_repeated(setup: Setup) -> None:
    setup.write(CLEAN | PLANTED)

    result = await setup.scan()

    assert (result.success, result.reason, result.simulated) == (False, Reason.VERDICT_FAILED, False)
    (violation,) = result.output["violations"]
    assert violation["rule_id"] == "github-pat"
    assert violation["severity"] == "CRITICAL"
    assert violation["location"] == "src/config.py:1"
    assert result.output["violations_by_severity"] == {"CRITICAL": 1}
    everything = json.dumps([result.output, result.metadata, result.error_message])
    assert not any(KEY[start : start + 12] in everything for start in range(len(KEY) - 12))
    assert setup.left_behind() == []


async def test_a_bad_dockerfile_fails_by_its_severe_findings(setup: Setup) -> None:
    setup.write(BAD_DOCKERFILE)

    result = await setup.scan()

    assert not result.success
    assert {"DS-0001", "DS-0002"} <= rules(result)
    blocking = {each["severity"] for each in result.output["violations"] if each["blocking"]}
    assert blocking == {"HIGH"}
    assert result.output["rules_checked"] > 10
    assert result.metadata["trivy_metadata"]["scanners"] == ["secret", "misconfig"]
    assert result.metadata["trivy_metadata"]["version"]


async def test_findings_below_the_failing_severities_are_warnings(tmp_path: Path) -> None:
    setup = Setup(tmp_path, fail_severities=["CRITICAL"])
    setup.write(BAD_DOCKERFILE)

    result = await setup.scan()

    assert result.success
    assert "DS-0002" in rules(result)
    assert result.output["warnings"] == len(result.output["violations"])


async def test_a_clean_tree_passes(setup: Setup) -> None:
    setup.write(CLEAN)

    result = await setup.scan()

    assert result.success
    assert not result.simulated
    assert result.output["violations"] == []
    assert [event.outcome for event in setup.events if isinstance(event, ExternalCall)] == ["ok"]


async def test_the_tree_cannot_talk_trivy_out_of_its_findings(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.write(PLANTED | BAD_DOCKERFILE)
    setup.write(
        {
            "trivy.yaml": 'scan:\n  skip-files: ["**/*"]\nseverity: [LOW]\n',
            ".trivyignore": "DS-0002\ngithub-pat\n",
            "trivy-secret.yaml": "disable-rules: [github-pat]\n",
        }
    )
    monkeypatch.chdir(setup.root)
    monkeypatch.setenv("TRIVY_SEVERITY", "LOW")
    monkeypatch.setenv("TRIVY_SKIP_FILES", "**/*")

    assert {"github-pat", "DS-0002"} <= rules(await setup.scan())


async def test_the_tree_cannot_make_trivy_call_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", f"http://{url}")
    monkeypatch.setenv("HTTP_PROXY", f"http://{url}")
    setup = Setup(tmp_path)
    sources = ["https://modules.example/a.zip", "team/module/aws", f"git::http://{url}/repo.git"]
    modules = "\n".join(f'module "m{n}" {{\n  source = "{source}"\n}}' for n, source in enumerate(sources))
    setup.write({"main.tf": modules} | BAD_DOCKERFILE)

    result = await setup.scan()

    assert "DS-0002" in rules(result)
    assert called == []
    server.close()


async def test_only_the_working_directory_is_scanned(setup: Setup) -> None:
    setup.write({"other/config.py": PLANTED["src/config.py"], "mine/main.py": "print(1)\n"})
    (setup.root / "mine" / "link.py").symlink_to(setup.root / "other" / "config.py")

    assert (await setup.scan(working_dir="mine")).success
    assert not (await setup.scan(working_dir="other")).success


@pytest.mark.parametrize("working_dir", ["..", "/etc", "link", "absent", "--help"])
async def test_a_directory_that_is_not_in_the_workspace_is_refused(setup: Setup, working_dir: str) -> None:
    setup.write(CLEAN)
    (setup.root / "link").symlink_to("/etc")

    with pytest.raises(InvalidParameters, match="working_dir"):
        await setup.scan(working_dir=working_dir)

    assert setup.fallbacks == []


async def test_a_directory_that_is_called_like_an_option_is_a_directory(setup: Setup) -> None:
    setup.write({"--help/config.py": PLANTED["src/config.py"]})

    assert rules(await setup.scan(working_dir="--help")) == {"github-pat"}


async def test_configuration_alone(setup: Setup) -> None:
    setup.write(PLANTED | BAD_DOCKERFILE)

    result = await setup.scan(scan_target="config")

    assert "DS-0002" in rules(result)
    assert "github-pat" not in rules(result)
    assert result.metadata["trivy_metadata"]["scanners"] == ["misconfig"]


async def test_a_bill_of_materials(tmp_path: Path) -> None:
    setup = Setup(tmp_path, scanners=("secret", "license"))
    licensed = {"type": "library", "bom-ref": "a", "name": "thing", "version": "1.0", "purl": "pkg:pypi/thing@1.0"}
    licensed["licenses"] = [{"license": {"id": "AGPL-3.0"}}]  # type: ignore[assignment]
    bill = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": [licensed]}
    setup.write({"bom/sbom.json": json.dumps(bill), "broken.json": "garbage"})

    result = await setup.scan(scan_target="sbom", working_dir="bom", sbom_path="sbom.json")

    assert rules(result) == {"AGPL-3.0"}
    assert result.output["violations"][0]["resource"] == "thing"
    with pytest.raises(IntegrationRejected, match="SBOM decode error"):
        await setup.scan(scan_target="sbom", sbom_path="broken.json")
    for path in ("../broken.json", "absent.json", ".", "/etc/passwd"):
        with pytest.raises(InvalidParameters, match="sbom_path"):
            await setup.scan(scan_target="sbom", working_dir="bom", sbom_path=path)


async def test_an_image(tmp_path: Path) -> None:
    setup = Setup(tmp_path, scanners=("secret",))

    with image_registry({"srv/config.py": PLANTED["src/config.py"]}) as reference:
        result = await setup.scan(scan_target="image", image=reference)
        with pytest.raises(IntegrationRejected, match="unable to find the specified image"):
            await setup.scan(scan_target="image", image=f"{reference}-absent")

    assert rules(result) == {"github-pat"}
    assert result.metadata["trivy_metadata"]["artifact_type"] == "container_image"


async def test_without_a_vulnerability_database_nothing_passes_for_scanned(tmp_path: Path) -> None:
    failing = Setup(tmp_path, scanners=("vuln", "secret"), skip_db_update=True, trivy_fallback="fail")
    failing.write(CLEAN)
    simulating = Setup(tmp_path, scanners=("vuln", "secret"), skip_db_update=True)

    with pytest.raises(IntegrationUnavailable, match="DB error"):
        await failing.scan()
    result = await simulating.scan()

    assert (result.simulated, result.output["fallback_reason"]) == (True, "dependency_unavailable")
    assert [event.log_event for event in simulating.fallbacks] == ["validation_sast_error"]


async def test_a_trivy_server_that_is_down_is_an_outage(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    setup = Setup(tmp_path, server_url=f"http://127.0.0.1:{port}", trivy_fallback="fail")
    setup.write(CLEAN)

    with pytest.raises(IntegrationUnavailable, match="connection refused"):
        await setup.scan()


@dataclass
class SilentServer:
    """A Trivy server that takes a connection and never answers: who scans with it is in the middle of it for ever."""

    url: str = ""
    reached: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
async def hanging(tmp_path: Path) -> AsyncIterator[tuple[Setup, SilentServer]]:
    silent = SilentServer()
    connections: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        silent.reached.set()
        await reader.read()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    silent.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    setup = Setup(tmp_path, server_url=silent.url, scan_timeout_seconds=60)
    setup.write(CLEAN)
    yield setup, silent
    for writer in connections:
        writer.close()
    server.close()


def trivy_processes(setup: Setup) -> Iterator[int]:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes()
            program = (directory / "exe").readlink().name
        except OSError:
            continue
        if program == "trivy" and os.fsencode(setup.root) in words:
            yield int(directory.name)


async def test_a_scan_that_takes_too_long_falls_back_at_once(hanging: tuple[Setup, SilentServer]) -> None:
    setup, _ = hanging

    result = await setup.scan(timeout_seconds=1)

    assert (result.simulated, result.output["fallback_reason"]) == (True, "timeout")
    assert [event.log_event for event in setup.fallbacks] == ["validation_sast_timeout"]
    assert "trivy fs: not finished within 1 s" in setup.fallbacks[0].message
    assert list(trivy_processes(setup)) == []
    assert setup.left_behind() == []


async def test_a_scan_that_somebody_kills_is_an_outage(hanging: tuple[Setup, SilentServer]) -> None:
    setup, server = hanging
    scan = asyncio.create_task(setup.scan())
    await server.reached.wait()

    (pid,) = trivy_processes(setup)
    os.kill(pid, signal.SIGKILL)
    result = await scan

    assert result.simulated
    assert setup.fallbacks[0].log_event == "validation_sast_error"
    assert "trivy fs: killed by SIGKILL from outside" in setup.fallbacks[0].message
    assert setup.left_behind() == []


async def test_a_cancelled_scan_leaves_nothing_behind(hanging: tuple[Setup, SilentServer]) -> None:
    setup, server = hanging
    context = FakeContext()
    scan = asyncio.create_task(setup.scan(context))
    await server.reached.wait()

    context.cancel("partition_revoked")

    with pytest.raises(asyncio.CancelledError):
        await scan
    assert list(trivy_processes(setup)) == []
    assert setup.left_behind() == []


async def test_killed_in_the_middle_it_scans_anew_on_the_next_attempt(
    hanging: tuple[Setup, SilentServer], tmp_path: Path
) -> None:
    setup, server = hanging
    context = FakeContext()
    scan = asyncio.create_task(setup.scan(context))
    await server.reached.wait()
    context.cancel("partition_revoked")
    with pytest.raises(asyncio.CancelledError):
        await scan

    assert context.checkpoints == []
    assert (await Setup(tmp_path).scan(context.next_attempt())).success
