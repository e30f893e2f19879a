"""EXECUTOR_INTEGRATION.md: its Python runs, its tests pass, its tickets are run and give the results that it shows."""

import asyncio
import importlib.metadata
import inspect
import json
import os
import re
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.opa_server import running_opa
from tests.support.tools import TOOLS, tool
from worker_agents.cli.check_command import check_command
from worker_agents.clients.code_forge import CodeForgeClient
from worker_agents.clients.http import HttpClient
from worker_agents.devkit.argocd import ArgoCdServer, Behaviour
from worker_agents.devkit.code_forge import CodeForgeServer
from worker_agents.devkit.executor_kit import FakeContext, VirtualClock, run_executor, ticket_for
from worker_agents.executors.deploy_parameters import deployment_of
from worker_agents.executors.registry import ENTRY_POINT_GROUP, TaskExecutorRegistry
from worker_agents.integrations import Integrations
from worker_agents.main import task_executors
from worker_agents.model.clock import SystemClock
from worker_agents.model.errors import IntegrationDisabled, IntegrationRejected
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket, read_ticket
from worker_agents.settings import load_settings

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "EXECUTOR_INTEGRATION.md"
TEXT = GUIDE.read_text(encoding="utf-8")
GUARD = ROOT / "examples" / "policies" / "authz" / "authz.rego"
SETUP = (ROOT / "EXTERNAL_TOOLS_SETUP.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = [(TEXT[: found.start(2)].count("\n"), found[2]) for found in BLOCK.finditer(TEXT) if found[1] == "python"]
TESTS = re.findall(r"^async def (test_\w+)", TEXT, re.MULTILINE)


def blocks(language: str, text: str = TEXT) -> list[str]:
    return [found[2] for found in BLOCK.finditer(text) if found[1] == language]


DOCUMENTS = [json.loads(source) for source in blocks("json")]
TICKETS = {each["ticket_id"]: each for each in DOCUMENTS if "task_type" in each}
RESULTS = {each["ticket_id"]: each for each in DOCUMENTS if "status" in each}
SHOWN_COMMANDS = re.findall(
    r'^\$ worker-agents check-command "(.*)"\n((?:(?!\$).*\n)+)', "".join(blocks("console")), re.MULTILINE
)

# Put together here, so that no scanner finds it in this file.
PLANTED = 'TOKEN = "ghp_' + 'a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"\n'
SUITE = """
import pytest

def test_one(): pass

def test_two(): pass

@pytest.mark.skip
def test_three(): pass
"""


# --- its Python --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guide() -> Iterator[ModuleType]:
    """All Python of the guide, run from top to bottom as one module."""
    module = ModuleType("acme_executors")
    sys.modules[module.__name__] = module
    for line, source in PYTHON:
        # Blank lines in front, so that a traceback points into the document.
        exec(compile("\n" * line + source, str(GUIDE), "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize("name", TESTS)
async def test_the_guides_own_tests_pass(guide: ModuleType, name: str) -> None:
    await getattr(guide, name)()


def test_the_guide_has_tests_of_different_names() -> None:
    assert len(set(TESTS)) == len(TESTS) >= 8


def test_the_entry_point_can_be_loaded(guide: ModuleType) -> None:
    (source,) = blocks("toml")
    ((group, points),) = tomllib.loads(source)["project"]["entry-points"].items()
    registry = TaskExecutorRegistry()

    registry.load_entry_points(
        entry_points=[importlib.metadata.EntryPoint(name, value, group) for name, value in points.items()]
    )

    assert group == ENTRY_POINT_GROUP
    assert type(registry.get("RELEASE_NOTES")) is guide.ReleaseNotesExecutor


def test_registration_is_where_the_guide_says(guide: ModuleType) -> None:
    assert "registry.register(" in inspect.getsource(task_executors)
    assert guide.registry.types() == ("LICENCE_SCAN", "RELEASE_NOTES")


async def test_the_secret_stays_secret(guide: ModuleType) -> None:
    class Vault:
        async def get_secret(self, path: str, key: str) -> str:
            return f"s3cret of {path}#{key}"

    executor = guide.RegistryCheckExecutor(vault_client=Vault())

    result = await run_executor(executor, ticket_for("REGISTRY_CHECK"))

    assert result.output == {"password_is_set": True}
    assert "s3cret" not in repr(result)
    with pytest.raises(IntegrationDisabled):
        await run_executor(guide.RegistryCheckExecutor(), ticket_for("REGISTRY_CHECK"))


async def test_the_generated_sdk_and_the_licence_client_talk_to_real_servers(guide: ModuleType) -> None:
    async with CodeForgeServer() as forge:
        http = HttpClient(forge.url, integration="code_forge", emit=lambda _: None)
        executor = guide.SdkExecutor(code_forge_client=CodeForgeClient(http))
        context = FakeContext()
        result = await run_executor(executor, ticket_for("SDK", {"api": "billing"}), context)
        assert result.success
        assert result.output["artifacts"]
        assert context.starts == ["generate"]
        assert await guide.LicenceClient(http).result("absent", {}) is None
        await http.aclose()


# --- its tickets, and the results that it shows ------------------------------------------------------------------------


class Worker:
    """The executors and clients that ``main.py`` makes of ``environment``, with directories of the test's own."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.volume = directory / "volume"
        self.volume.mkdir()
        own = {
            "FALLBACK_MODE": "fail",
            "TEST_WORKSPACE_ROOT": str(self.volume),
            "SCRATCH_DIRECTORY": str(directory / "scratch"),
            "TRIVY_CACHE_DIR": str(directory / "cache"),
            "TEST_COMMAND_PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        settings = load_settings(own | environment)
        self.clients = Integrations(settings, SystemClock(), lambda _: None)
        self.registry = task_executors(settings, self.clients, lambda _: None)

    async def run(self, ticket_id: str, clock: VirtualClock | None = None) -> TaskResult:
        ticket = sample(ticket_id)
        return await run_executor(self.registry.get(ticket.task_type), ticket, FakeContext(ticket_id, clock=clock))

    def write(self, name: str, text: str) -> None:
        path = self.volume / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Hire:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.workers: list[Worker] = []

    def __call__(self, **environment: str) -> Worker:
        self.workers.append(Worker(self._directory, **environment))
        return self.workers[-1]


@pytest.fixture
async def hire(tmp_path: Path) -> AsyncIterator[Hire]:
    hired = Hire(tmp_path)
    yield hired
    for worker in hired.workers:
        await worker.clients.close()


def sample(ticket_id: str) -> Ticket:
    return read_ticket(json.dumps(TICKETS[ticket_id]).encode())


def assert_as_shown(ticket_id: str, result: TaskResult) -> None:
    """The same verdict, and exactly the fields that the guide shows, also in objects within."""
    shown = RESULTS[ticket_id]
    assert (shown["status"] == "COMPLETED") is result.success, result.error_message
    assert shown["result"]["success"] is result.success
    assert shown.get("error_reason") == (None if result.success else str(result.reason))
    assert fields(result.output) == fields(shown["result"]["output"])
    assert fields(result.metadata) == fields(shown["result"]["metadata"])
    assert result.metadata["simulated"] is shown["result"]["metadata"]["simulated"] is False
    assert result.metadata["executor"] == shown["result"]["metadata"]["executor"]


def fields(document: dict[str, Any], prefix: str = "") -> set[str]:
    within = [fields(value, f"{prefix}{name}.") for name, value in document.items() if isinstance(value, dict)]
    return {f"{prefix}{name}" for name in document}.union(*within)


@pytest.mark.parametrize("ticket_id", TICKETS)
def test_every_sample_ticket_is_one_that_can_be_executed(tmp_path: Path, ticket_id: str) -> None:
    worker, ticket = Worker(tmp_path), sample(ticket_id)
    executor = worker.registry.get(ticket.task_type)

    parameters = executor.parameters(ticket)

    assert set(ticket.parameters) <= set(executor.parameters_model.model_fields) or ticket.task_type == "EXECUTE"
    if ticket.task_type == "TEST":
        worker.clients.commands.check(parameters.command, env_vars=parameters.env_vars)
    if ticket.task_type == "DEPLOY":
        assert deployment_of(ticket, parameters).key.name == "billing"
    asyncio.run(worker.clients.close())


def test_every_task_type_has_a_sample_ticket_and_a_result() -> None:
    types = {"EXECUTE", "BUILD", "VALIDATE", "TEST", "DEPLOY"}

    assert {each["task_type"] for each in TICKETS.values()} == types
    assert {TICKETS[ticket_id]["task_type"] for ticket_id in RESULTS} == types


@pytest.mark.parametrize("ticket_id", ["execute-1", "build-1"])
async def test_generations_and_builds(hire: Hire, ticket_id: str) -> None:
    async with CodeForgeServer() as forge:
        assert_as_shown(ticket_id, await hire(CODE_FORGE_URL=forge.url).run(ticket_id))


async def test_a_deployment_with_the_rights_of_the_sample_policy(hire: Hire) -> None:
    actions = re.findall(r"^ *p, role:worker-agents, applications, (\w+), +team-a/", SETUP, re.MULTILINE)
    behaviour = Behaviour(token="the-workers", projects=frozenset({"team-a"}), actions=frozenset(actions))
    clock = VirtualClock()
    async with ArgoCdServer(behaviour, clock=clock) as argocd:
        worker = hire(ARGOCD_ENABLED="true", ARGOCD_URL=argocd.url, ARGOCD_TOKEN="the-workers")

        result = await worker.run("deploy-1", clock)

    assert_as_shown("deploy-1", result)
    shown = RESULTS["deploy-1"]["result"]["output"]
    assert result.output["operation"]["name"] == shown["operation"]["name"]
    assert result.output["images"] == shown["images"]


async def test_a_test_run(hire: Hire) -> None:
    worker = hire()
    worker.write("billing/test_suite.py", SUITE)

    result = await worker.run("test-1")

    assert_as_shown("test-1", result)
    assert result.output == RESULTS["test-1"]["result"]["output"]


async def test_a_scan(hire: Hire, monkeypatch: pytest.MonkeyPatch) -> None:
    tool("trivy")
    monkeypatch.setenv("PATH", f"{TOOLS}:{os.environ['PATH']}")
    worker = hire(TRIVY_SCANNERS="secret,misconfig")
    worker.write("billing/src/config.py", PLANTED)

    result = await worker.run("scan-1")

    assert_as_shown("scan-1", result)
    assert result.output == RESULTS["scan-1"]["result"]["output"]


@pytest.fixture
def opa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The real OPA with the guide's policy, guarded by the sample one."""
    (policy,), guard = blocks("rego"), GUARD.read_text(encoding="utf-8")
    monkeypatch.setenv("OPA_TOKEN", "the-workers")
    options = ["--authentication=token", "--authorization=basic"]
    with running_opa(tmp_path / "opa", {"policy.rego": policy, "guard.rego": guard}, options) as url:
        yield url


async def test_the_sample_policy_decides_as_shown(opa: str, hire: Hire) -> None:
    result = await hire(OPA_URL=opa, OPA_TOKEN="the-workers").run("policy-1")

    assert_as_shown("policy-1", result)
    assert result.output == RESULTS["policy-1"]["result"]["output"]


async def test_the_sample_guard_lets_only_the_worker_ask(opa: str, hire: Hire) -> None:
    with pytest.raises(IntegrationRejected, match="401"):
        await hire(OPA_URL=opa, OPA_TOKEN="somebody-elses").run("policy-1")


@pytest.mark.parametrize(("command", "shown"), SHOWN_COMMANDS)
def test_commands_are_judged_as_shown(command: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_command(command, as_json=False)

    assert capsys.readouterr().out.startswith(shown)


def test_commands_are_shown() -> None:
    assert len(SHOWN_COMMANDS) == 2
