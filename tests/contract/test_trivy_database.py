"""Where the real Trivy has its database from - mirror, volume, server - by the commands and manifests that operators are given."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.artifact_registry import artifact_registry, crane
from tests.support.programs import serving
from tests.support.setup_guide import block, container, exports, shell
from tests.support.tools import TOOLS, tool
from tests.support.trivy_database import (
    VULNERABILITY,
    VULNERABLE,
    java_database,
    trivy_database,
    write_oci_layout,
)
from worker_agents.clients.git import Git
from worker_agents.clients.trivy import Trivy
from worker_agents.clients.workspace import Workspaces
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.devkit.executor_kit import run_executor, ticket_for
from worker_agents.devkit.ports import free_ports
from worker_agents.executors.validate import ValidateExecutor
from worker_agents.model.errors import IntegrationRejected
from worker_agents.model.git_urls import AllowedGitUrls
from worker_agents.model.result import TaskResult

TOKEN = "trivy-token-1"


class Worker:
    """Scans a directory that has a dependency with a known vulnerability."""

    def __init__(self, folder: Path, *, cache: Path, skip: bool = False, server: str = "", **environment: str) -> None:
        scratch = ScratchDirectories(folder / "scratch")
        trivy = Trivy(
            emit=lambda _: None,
            scanners=("vuln",),
            cache_dir=cache,
            scratch=scratch,
            program=str(tool("trivy")),
            skip_db_update=skip,
            server_url=server,
            server_token=SecretStr(environment.pop("TRIVY_SERVER_TOKEN", "")),
            environment={"PATH": os.environ["PATH"], **environment},
        )
        root = folder / "volume"
        (root / "app").mkdir(parents=True, exist_ok=True)
        (root / "app" / "requirements.txt").write_text(VULNERABLE)
        workspaces = Workspaces(root, scratch=scratch, allowed=AllowedGitUrls([]), git=Git())
        self._executor = ValidateExecutor(
            emit=lambda _: None, trivy=trivy, workspaces=workspaces, trivy_fallback="fail"
        )

    async def scan(self) -> TaskResult:
        ticket = ticket_for("VALIDATE", {"validation_type": "sast", "working_dir": "app"})
        return await run_executor(self._executor, ticket)


def found(result: TaskResult) -> set[tuple[str, str, bool]]:
    return {(each["rule_id"], each["severity"], each["blocking"]) for each in result.output["violations"]}


THE_VULNERABILITY = {(VULNERABILITY, "HIGH", True)}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Plays the public registry and the mirror at once; the guide's `crane cp` fills the mirror."""
    folder = tmp_path_factory.mktemp("registry")
    write_oci_layout(folder / "db", trivy_database())
    write_oci_layout(folder / "java-db", java_database(), "javadb")
    with artifact_registry(folder) as address:
        crane("push", str(folder / "db"), f"{address}/aquasecurity/trivy-db:2")
        crane("push", str(folder / "java-db"), f"{address}/aquasecurity/trivy-java-db:1")
        copies = block("bash", "Trivy", "crane cp")
        shell(here(copies, address), folder, {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": "/nonexistent"})
        yield address


def here(text: str, address: str) -> str:
    return text.replace("ghcr.io", address).replace("registry.example", address)


@pytest.fixture
def mirror(registry: str, tmp_path: Path) -> dict[str, str]:
    """The environment that the guide gives for a mirror."""
    return exports(here(block("bash", "Trivy", "TRIVY_DB_REPOSITORY="), registry), tmp_path, {})


@pytest.fixture
def programs(mirror: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of who fetches from the mirror."""
    tool("trivy")
    return {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(tmp_path), **mirror}


async def test_from_a_mirror(mirror: dict[str, str], tmp_path: Path) -> None:
    result = await Worker(tmp_path, cache=tmp_path / "cache", **mirror).scan()

    assert (result.success, found(result)) == (False, THE_VULNERABILITY)


async def test_from_a_volume_that_was_filled_elsewhere(programs: dict[str, str], tmp_path: Path) -> None:
    shell(block("bash", "Trivy", "--cache-dir ./trivy-cache"), tmp_path, programs)
    settings = exports(block("bash", "Trivy", "TRIVY_SKIP_DB_UPDATE="), tmp_path, {})
    assert settings == {"TRIVY_CACHE_DIR": "/var/cache/trivy", "TRIVY_SKIP_DB_UPDATE": "true"}

    result = await Worker(tmp_path, cache=tmp_path / "trivy-cache", skip=True).scan()

    assert found(result) == THE_VULNERABILITY


async def test_the_job_renews_a_volume_under_a_running_worker(programs: dict[str, str], tmp_path: Path) -> None:
    job, volume = container("trivy-database.yaml", "CronJob"), tmp_path / "cache"
    assert [each["name"] for each in job["env"]] == ["TRIVY_DB_REPOSITORY", "TRIVY_JAVA_DB_REPOSITORY"]
    (volume / "db").mkdir(parents=True)
    for name, content in trivy_database(package="another").items():
        (volume / "db" / name).write_bytes(content)
    worker = Worker(tmp_path, cache=volume, skip=True)
    assert (await worker.scan()).success

    for _ in range(2):  # the second one finds what the first left
        shell(job["args"][0].replace("/cache/", f"{volume}/"), tmp_path, programs, interpreter="sh")
        assert found(await worker.scan()) == THE_VULNERABILITY

    assert (volume / "java-db" / "trivy-java.db").exists()
    assert list((volume / "next" / "db").iterdir()) == []


@pytest.fixture(scope="module")
def server(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server of the manifest, with its database from the mirror."""
    folder, manifest = tmp_path_factory.mktemp("server"), container("trivy-server.yaml", "Deployment")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    arguments = [each.replace("0.0.0.0:4954", address).replace("/cache", str(folder)) for each in manifest["args"]]
    assert [each["name"] for each in manifest["env"]] == ["TRIVY_TOKEN"]
    environment = {"TRIVY_TOKEN": TOKEN, "TRIVY_DB_REPOSITORY": f"{registry}/mirror/trivy-db:2"}
    health = f"http://{address}{manifest['readinessProbe']['httpGet']['path']}"
    with serving([str(tool("trivy")), *arguments], health, folder, environment):
        yield f"http://{address}"


async def test_from_a_server(server: str, tmp_path: Path) -> None:
    worker = Worker(tmp_path, cache=tmp_path / "cache", server=server, TRIVY_SERVER_TOKEN=TOKEN)

    assert found(await worker.scan()) == THE_VULNERABILITY
    assert not (tmp_path / "cache" / "db").exists()


async def test_a_server_refuses_whoever_has_another_token(server: str, tmp_path: Path) -> None:
    worker = Worker(tmp_path, cache=tmp_path / "cache", server=server, TRIVY_SERVER_TOKEN="guess")

    with pytest.raises(IntegrationRejected, match="invalid token"):
        await worker.scan()


def test_the_guides_server_is_started_as_the_manifests() -> None:
    line = block("bash", "Trivy", "trivy server").split()
    arguments = container("trivy-server.yaml", "Deployment")["args"]

    assert line[:4] == ["trivy", "server", "--listen", "0.0.0.0:4954"]
    assert arguments[:2] == ["server", "--listen=0.0.0.0:4954"]
