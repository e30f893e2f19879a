"""EXECUTOR_INTEGRATION.md: its Python runs, its tests pass, its TOML and JSON are what this service reads."""

import importlib.metadata
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.executors.execute import ExecuteParameters
from worker_agents.executors.registry import ENTRY_POINT_GROUP, TaskExecutorRegistry
from worker_agents.model.errors import IntegrationDisabled

GUIDE = Path(__file__).parents[3] / "EXECUTOR_INTEGRATION.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = [(TEXT[: found.start(2)].count("\n"), found[2]) for found in BLOCK.finditer(TEXT) if found[1] == "python"]
TESTS = re.findall(r"^async def (test_\w+)", TEXT, re.MULTILINE)


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


def test_the_guide_has_tests() -> None:
    assert len(TESTS) >= 4


def test_the_entry_point_can_be_loaded(guide: ModuleType) -> None:
    (source,) = [found[2] for found in BLOCK.finditer(TEXT) if found[1] == "toml"]
    ((group, points),) = tomllib.loads(source)["project"]["entry-points"].items()
    registry = TaskExecutorRegistry()

    registry.load_entry_points(
        entry_points=[importlib.metadata.EntryPoint(name, value, group) for name, value in points.items()]
    )

    assert group == ENTRY_POINT_GROUP
    assert type(registry.get("RELEASE_NOTES")) is guide.ReleaseNotesExecutor


def test_registration_is_where_the_guide_says(guide: ModuleType) -> None:
    from worker_agents.main import task_executors

    assert "registry.register(" in inspect.getsource(task_executors)
    assert guide.registry.types() == ("LICENCE_SCAN", "RELEASE_NOTES")


def test_the_sample_ticket_is_one_that_can_be_executed() -> None:
    (source,) = [found[2] for found in BLOCK.finditer(TEXT) if found[1] == "json"]

    assert ExecuteParameters.model_validate(json.loads(source)["parameters"]).chosen_template == "microservice"


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
    from worker_agents.clients.code_forge import CodeForgeClient
    from worker_agents.clients.http import HttpClient
    from worker_agents.devkit.code_forge import CodeForgeServer

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
