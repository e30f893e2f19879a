"""Registration of executors, in main.py and by entry point."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from worker_agents.executors.base import BaseTaskExecutor, ExecutionContext, Parameters
from worker_agents.executors.registry import ENTRY_POINT_GROUP, TaskExecutorRegistry
from worker_agents.model.errors import RegistryError
from worker_agents.model.result import TaskResult
from worker_agents.model.ticket import Ticket

PLUGIN = """
from worker_agents.executors.base import BaseTaskExecutor, Parameters
from worker_agents.model.result import TaskResult

class Greeter(BaseTaskExecutor[Parameters]):
    def get_task_type(self):
        return "GREET"

    async def execute(self, ticket, context):
        return TaskResult(success=True)

class Unfinished(BaseTaskExecutor[Parameters]):
    def get_task_type(self):
        return "LATER"

class NeedsMore(Greeter):
    def __init__(self, *, url):
        super().__init__()

class Stranger:
    pass
"""


class Typed(BaseTaskExecutor[Parameters]):
    def __init__(self, task_type: Any) -> None:
        super().__init__()
        self._task_type = task_type

    def get_task_type(self) -> str:
        return self._task_type  # type: ignore[no-any-return]

    async def execute(self, ticket: Ticket, context: ExecutionContext) -> TaskResult:  # noqa: ARG002 # the interface
        return TaskResult(success=True)


class Other(Typed):
    pass


def test_an_executor_is_found_by_the_type_it_names() -> None:
    registry, executor = TaskExecutorRegistry(), Typed("B")
    registry.register(executor)
    registry.register(Typed("A"))

    assert registry.get("B") is executor
    assert registry.types() == ("A", "B")
    assert "A" in registry
    assert "C" not in registry


def test_an_unknown_type_is_answered_with_those_that_are_known() -> None:
    registry = TaskExecutorRegistry()
    with pytest.raises(RegistryError, match=r"no executor for task type C \(registered: none\)"):
        registry.get("C")

    registry.register(Typed("A"))
    registry.register(Typed("B"))
    with pytest.raises(RegistryError, match=r"no executor for task type C \(registered: A, B\)"):
        registry.get("C")


def test_two_executors_for_one_type_are_both_named() -> None:
    registry = TaskExecutorRegistry()
    registry.register(Typed("A"))

    with pytest.raises(RegistryError, match=r"two executors for task type A: .*\.Typed is .*\.Other wants to be"):
        registry.register(Other("A"))


@pytest.mark.parametrize("task_type", ["", None, 5, "build", " A", "A ", "X" * 101])
def test_a_type_that_no_ticket_can_have_is_refused(task_type: object) -> None:
    with pytest.raises(RegistryError, match=r"Typed\.get_task_type\(\)"):
        TaskExecutorRegistry().register(Typed(task_type))


def test_what_is_no_executor_is_refused() -> None:
    registry = TaskExecutorRegistry()

    with pytest.raises(RegistryError, match="object is no executor"):
        registry.register(object())  # type: ignore[arg-type]
    with pytest.raises(RegistryError, match=r"register an instance, not the class: Typed\(\.\.\.\)"):
        registry.register(Typed)  # type: ignore[arg-type]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the import path with a module to make distributions of."""
    (tmp_path / "acme_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "acme_plugin", raising=False)
    return tmp_path


def install(plugins: Path, value: str) -> None:
    info = plugins / "acme_executors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-executors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\ngreet = {value}\n")
    importlib.invalidate_caches()


def test_an_installed_plug_in_is_registered_with_the_clients(plugins: Path) -> None:
    install(plugins, "acme_plugin:Greeter")
    registry, vault = TaskExecutorRegistry(), Vault()

    registry.load_entry_points(vault_client=vault)

    assert registry.types() == ("GREET",)
    assert registry.get("GREET").vault_client is vault


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("acme_absent:Greeter", "ModuleNotFoundError: No module named 'acme_absent'"),
        ("acme_plugin:Absent", "AttributeError"),
        ("acme_plugin:Stranger", "acme_plugin:Stranger is no executor"),
        ("acme_plugin:Unfinished", "TypeError: Can't instantiate abstract class Unfinished"),
        ("acme_plugin:NeedsMore", "TypeError"),
    ],
)
def test_a_broken_plug_in_is_told_with_its_distribution(plugins: Path, value: str, sentence: str) -> None:
    install(plugins, value)

    with pytest.raises(RegistryError) as raised:
        TaskExecutorRegistry().load_entry_points()

    assert "the executor 'greet' of acme-executors cannot be used" in str(raised.value)
    assert sentence in str(raised.value)


def test_a_plug_in_cannot_replace_a_built_in_executor(plugins: Path) -> None:
    install(plugins, "acme_plugin:Greeter")
    registry = TaskExecutorRegistry()
    registry.register(Typed("GREET"))

    with pytest.raises(RegistryError, match=r"of acme-executors .* two executors for task type GREET"):
        registry.load_entry_points()


class Vault:
    async def get_secret(self, path: str, key: str) -> str:
        return f"{path}#{key}"
