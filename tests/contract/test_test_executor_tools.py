"""Real pytest, npm, go, Maven and cargo projects through the TEST executor: pass, fail, no tests, crash, hang, huge output."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_path

import pytest

from worker_agents.clients.command import CommandPolicy, CommandRunner
from worker_agents.clients.git import Git
from worker_agents.clients.process import ProcessLimits
from worker_agents.clients.workspace import Workspaces
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.executors.test import TestExecutor
from worker_agents.model.errors import Reason, TaskTimedOut
from worker_agents.model.git_urls import AllowedGitUrls
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import Event, SuiteTimedOut

PROJECTS = Path(__file__).parent / "projects"
NODE_WITHOUT_TESTS = '{"name": "sample", "version": "1.0.0", "scripts": {"test": "node --version"}}'


@dataclass(frozen=True)
class Tool:
    """``without_tests`` takes the tests out of a copy of the project."""

    project: str
    program: str
    command: str
    without_tests: Callable[[Path], object]


TOOLS = [
    Tool("pytest", "pytest", "pytest -s", lambda copy: (copy / "suite_sample.py").unlink()),
    Tool("npm", "npm", "npm test", lambda copy: (copy / "package.json").write_text(NODE_WITHOUT_TESTS)),
    Tool("go", "go", "go test -v ./...", lambda copy: (copy / "sample_test.go").unlink()),
    Tool("maven", "mvn", "mvn test -B", lambda copy: shutil.rmtree(copy / "src" / "test")),
    Tool("cargo", "cargo", "cargo test -- --nocapture", lambda copy: (copy / "src" / "lib.rs").write_text("")),
]


@pytest.fixture(params=TOOLS, ids=lambda tool: tool.project)
def tool(request: pytest.FixtureRequest) -> Tool:
    chosen: Tool = request.param
    if shutil.which(chosen.program, path=search_path()) is None:
        pytest.skip(f"{chosen.program} is not installed on this machine")
    return chosen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = tmp_path / "volume"
    directory.mkdir()
    return directory


class Bench:
    """The executor as a worker has it, and what it announced."""

    def __init__(self, tmp_path: Path, root: Path) -> None:
        self.events: list[Event] = []
        self.root = root
        self.context = FakeContext(time_limit=110.0)
        scratch = ScratchDirectories(tmp_path / "scratch")
        runner = CommandRunner(
            CommandPolicy(["pytest", "npm test", "go test", "mvn test", "cargo test"], path=search_path()),
            limits=ProcessLimits(seconds=3600.0, kill_grace=1.0, output_bytes=100_000),
            scratch=scratch.fresh,
            # Go would compile its standard library anew in each run.
            environment_allowed=["SCENARIO", "GOCACHE"],
        )
        workspaces = Workspaces(root, scratch=scratch, allowed=AllowedGitUrls([]), git=Git(environment={}))
        self.executor = TestExecutor(emit=self.events.append, runner=runner, workspaces=workspaces)

    async def run(self, tool: Tool, scenario: str, **parameters: object) -> TaskResult:
        asked = {"test_command": tool.command, "working_dir": tool.project, "env_vars": {"SCENARIO": scenario}}
        ticket = ticket_for("TEST", asked | parameters)
        return await run_executor(self.executor, ticket, self.context)


@pytest.fixture
def bench(tmp_path: Path, root: Path, tool: Tool, monkeypatch: pytest.MonkeyPatch) -> Bench:
    shutil.copytree(PROJECTS / tool.project, root / tool.project)
    if tool.program == "go":
        cache = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True)
        monkeypatch.setenv("GOCACHE", cache.stdout.strip())
    return Bench(tmp_path, root)


def search_path() -> str:
    """Where this machine has the tools; rustup's own ``cargo`` needs a HOME, the real one behind it does not."""
    directories = [get_path("scripts")]
    if shutil.which("rustc"):
        sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True)
        directories.append(f"{sysroot.stdout.strip()}/bin")
    return os.pathsep.join([*directories, os.environ["PATH"]])


def counted(result: TaskResult) -> tuple[int, int, int, int]:
    names = ("tests_passed", "tests_failed", "tests_errors", "tests_skipped")
    passed, failed, errors, skipped = (result.output[name] for name in names)
    return passed, failed, errors, skipped


def running_in(directory: Path) -> list[str]:
    """Command lines of processes that work below ``directory``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(directory):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended meanwhile
    return found


async def test_tests_that_pass(bench: Bench, tool: Tool) -> None:
    result = await bench.run(tool, "pass")
    assert result.success, result.error_message
    assert counted(result) == (2, 0, 0, 1)
    assert result.output["return_code"] == 0
    assert result.output["failures"] == []
    assert result.metadata["simulated"] is False


async def test_tests_that_fail(bench: Bench, tool: Tool) -> None:
    result = await bench.run(tool, "fail")
    assert not result.success
    assert result.reason is Reason.VERDICT_FAILED
    assert counted(result) == (1, 1, 0, 1)
    assert result.output["return_code"] != 0
    assert "of 3 tests 1 failed" in str(result.error_message)
    assert len(result.output["failures"]) == 1
    assert any("asked to fail" in line for line in bench.context.lines)


async def test_a_run_without_tests_is_not_passed(bench: Bench, tool: Tool) -> None:
    tool.without_tests(bench.root / tool.project)
    result = await bench.run(tool, "pass")
    assert not result.success
    assert result.reason is Reason.NO_TESTS_RAN
    assert counted(result) == (0, 0, 0, 0)


async def test_tests_that_crash(bench: Bench, tool: Tool) -> None:
    result = await bench.run(tool, "crash")
    assert not result.success
    assert result.reason is Reason.VERDICT_FAILED
    assert result.output["return_code"] != 0


async def test_tests_that_hang_are_ended_with_all_their_processes(bench: Bench, tool: Tool) -> None:
    bench.context = FakeContext(time_limit=6.0)
    with pytest.raises(TaskTimedOut, match=r"did not end within 5\.4 s") as error:
        await bench.run(tool, "hang")
    assert error.value.retryable
    assert [type(event) for event in bench.events] == [SuiteTimedOut]
    assert running_in(bench.root) == []


async def test_tests_that_print_without_measure(bench: Bench, tool: Tool) -> None:
    """Three megabytes through a capture of 100 kB: what counts stands at the end, or in a file."""
    result = await bench.run(tool, "huge")
    assert result.success, result.error_message
    assert counted(result) == (2, 0, 0, 1)
    cut = "the captured output was cut: what was counted in it may be too little"
    assert (cut in result.metadata["report_problems"]) is (result.output["report"] == "console")
    assert sum(map(len, bench.context.lines)) < 200_000
