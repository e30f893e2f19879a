"""The TEST executor with real processes, whose program is whatever the test writes into the working directory."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.git_server import Repository
from worker_agents.clients.command import CommandPolicy, CommandRefused, CommandRunner
from worker_agents.clients.git import Git
from worker_agents.clients.process import ProcessLimits, ProgramMissing
from worker_agents.clients.workspace import Workspaces
from worker_agents.clients.workspace_scratch import ScratchDirectories
from worker_agents.devkit.executor_kit import FakeContext, run_executor, ticket_for
from worker_agents.executors.fallback import FallbackChoice
from worker_agents.executors.test import TestExecutor
from worker_agents.model.errors import IntegrationUnavailable, InvalidParameters, Reason, TaskError, TaskTimedOut
from worker_agents.model.git_urls import AllowedGitUrls
from worker_agents.model.result import TaskResult
from worker_agents.telemetry.events import Event, FallbackUsed, SuiteTimedOut

PASSING = "print('==== 2 passed, 1 skipped in 0.01s ====')"
SECRET = "hunter2-hunter2"
JUNIT = (
    '<testsuite tests="2" failures="1"><testcase classname="a" name="b"/>'
    f'<testcase classname="a" name="c"><failure message="saw {SECRET}"/></testcase></testsuite>'
)


class Bench:
    """A worker's executor with a volume; ``python3 run.py`` is what tickets may run."""

    def __init__(self, tmp_path: Path, **changes: Any) -> None:
        self.events: list[Event] = []
        self.context = FakeContext(time_limit=60.0)
        self.volume = tmp_path / "volume"
        self.scratch = tmp_path / "scratch"
        (self.volume / "project").mkdir(parents=True)
        self.repository = Repository(tmp_path / "served" / "app")
        scratch = ScratchDirectories(self.scratch)
        self.executor = TestExecutor(
            emit=self.events.append,
            runner=CommandRunner(
                CommandPolicy(["python3 run.py", "no-such-program test"], path=str(Path(sys.executable).parent)),
                limits=ProcessLimits(seconds=3600.0, kill_grace=0.2),
                scratch=scratch.fresh,
                environment_allowed=["COLOUR"],
                mask=hide,
            ),
            workspaces=Workspaces(
                self.volume,
                scratch=scratch,
                allowed=AllowedGitUrls([f"file://{tmp_path}/served"]),
                git=Git(environment={}),
            ),
            mask=hide,
            **changes,
        )

    def write(self, program: str) -> None:
        (self.volume / "project" / "run.py").write_text(program)

    async def run(self, **parameters: object) -> TaskResult:
        asked: dict[str, object] = {"test_command": "python3 run.py", "working_dir": "project"}
        return await run_executor(self.executor, ticket_for("TEST", asked | parameters), self.context)

    def left_over(self) -> list[Path]:
        return [each for worker in self.scratch.glob("worker-*") if worker.is_dir() for each in worker.iterdir()]


def hide(text: str) -> str:
    return text.replace(SECRET, "********")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def make_bench(tmp_path: Path) -> Callable[[FallbackChoice], Bench]:
    return lambda fallback: Bench(tmp_path, fallback=fallback)


# --- results -----------------------------------------------------------------------------------------------------


async def test_the_result_has_the_shape_of_the_contract(bench: Bench) -> None:
    bench.write(PASSING)
    result = await bench.run(test_suite="smoke")
    assert result.success
    assert result.output == {
        "tests_passed": 2,
        "tests_failed": 0,
        "tests_errors": 0,
        "tests_skipped": 1,
        "coverage": None,
        "test_suite": "smoke",
        "return_code": 0,
        "failures": [],
        "report": "console",
    }
    assert result.metadata["duration_seconds"] > 0
    assert {name: result.metadata[name] for name in ("executor", "provider", "simulated", "report_problems")} == {
        "executor": "TestExecutor",
        "provider": "local",
        "simulated": False,
        "report_problems": [],
    }


async def test_failures_are_named_and_secrets_in_reports_hidden(bench: Bench) -> None:
    bench.write(f"open('out.xml', 'w').write('''{JUNIT}'''); print('{SECRET}'); raise SystemExit(1)")
    result = await bench.run(junit_xml_path="out.xml")
    assert (result.success, result.reason) == (False, Reason.VERDICT_FAILED)
    assert result.output["failures"] == [{"name": "a.c", "message": "saw ********"}]
    assert result.output["report"] == "junit_xml_path"
    assert SECRET not in f"{result}{bench.context.lines}"


async def test_coverage_is_read_in_percent(bench: Bench) -> None:
    bench.write(f"open('c.xml', 'w').write('<coverage line-rate=\"0.875\"/>'); {PASSING}")
    result = await bench.run(coverage_report_path="c.xml")
    assert result.output["coverage"] == 87.5


async def test_results_on_stderr_count_where_stdout_has_none(bench: Bench) -> None:
    bench.write("import sys; print('Tests:       3 passed, 3 total', file=sys.stderr)")
    result = await bench.run()
    assert result.success, result.error_message
    assert result.output["tests_passed"] == 3


async def test_the_logs_hold_the_end_of_what_was_printed(bench: Bench) -> None:
    bench.write(f"for number in range(1000): print('line', number)\n{PASSING}")
    await bench.run()
    lines = bench.context.lines
    assert lines[0] == "running python3 run.py for at most 54 s"
    assert "stdout: the last 100 of 1001 lines" in lines
    assert "stdout: line 999" in lines
    assert "stdout: line 900" not in lines
    assert lines[-1].endswith("exit code 0")


async def test_a_signal_is_given_as_a_negative_return_code(bench: Bench) -> None:
    bench.write("import os; os.abort()")
    result = await bench.run()
    assert result.output["return_code"] == -6
    assert result.error_message == "crashed with SIGABRT; no results of tests were found"


@pytest.mark.parametrize("variables", [{"COLOUR": "blue"}, '{"COLOUR": "blue"}'], ids=["json", "avro"])
async def test_variables_that_the_operator_allows_reach_the_tests(bench: Bench, variables: object) -> None:
    bench.write(f"import os; assert os.environ['COLOUR'] == 'blue'; {PASSING}")
    assert (await bench.run(env_vars=variables)).success


# --- reports -----------------------------------------------------------------------------------------------------


async def test_a_report_that_was_asked_for_and_not_written_is_a_failed_verdict(bench: Bench) -> None:
    bench.write(PASSING)
    result = await bench.run(junit_xml_path="out.xml")
    assert (result.success, result.reason) == (False, Reason.REPORT_UNREADABLE)
    assert "out.xml" in str(result.error_message)


async def test_the_report_of_an_earlier_run_is_not_this_ones(bench: Bench) -> None:
    stale = bench.volume / "project" / "report.json"
    stale.write_text('{"summary": {"passed": 100, "total": 100}, "exitcode": 0, "tests": []}')
    os.utime(stale, (1, 1))
    bench.write(PASSING)
    result = await bench.run(report_path="report.json")
    assert result.reason is Reason.REPORT_UNREADABLE
    assert "older than this run" in str(result.error_message)


async def test_a_report_that_was_committed_is_not_this_runs(bench: Bench) -> None:
    """It is written by the checkout, a moment before the start."""
    bench.repository.commit(
        {"run.py": PASSING, "report.json": '{"summary": {"passed": 100, "total": 100}, "exitcode": 0, "tests": []}'}
    )
    asked = {"working_dir": None, "repo_url": bench.repository.url, "report_path": "report.json"}
    result = await bench.run(**asked)
    assert result.reason is Reason.REPORT_UNREADABLE
    assert "older than this run" in str(result.error_message)


async def test_a_missing_report_does_not_hide_why_the_tests_failed(bench: Bench) -> None:
    bench.write("raise SystemExit(7)")
    result = await bench.run(junit_xml_path="out.xml")
    assert result.reason is Reason.VERDICT_FAILED
    assert result.error_message == "exit code 7; no results of tests were found"
    assert "out.xml" in result.metadata["report_problems"][0]


# --- a revision of a repository ----------------------------------------------------------------------------------


async def test_a_revision_is_tested_in_a_checkout_of_its_own(bench: Bench) -> None:
    good = bench.repository.commit({"run.py": PASSING})
    bench.repository.commit({"run.py": "raise SystemExit(1)"})
    asked = {"working_dir": None, "repo_url": bench.repository.url}
    result = await bench.run(**asked, revision=good)
    assert result.success, result.error_message
    assert bench.context.lines[0] == f"checked out {good} ({good}) of {bench.repository.url}"
    assert not (await bench.run(**asked, ref="main")).success
    assert bench.left_over() == []


async def test_other_names_of_the_repository_and_its_revision_are_understood(bench: Bench) -> None:
    bench.repository.commit({"sub/run.py": PASSING})
    assert (await bench.run(working_dir="sub", repo=bench.repository.url, ref="main")).success


async def test_a_repository_that_is_down_is_no_reason_to_simulate(
    make_bench: Callable[[FallbackChoice], Bench], tmp_path: Path
) -> None:
    bench = make_bench("simulate")
    with pytest.raises(TaskError) as error:
        await bench.run(working_dir=None, repo_url=f"file://{tmp_path}/served/gone")
    assert not isinstance(error.value, InvalidParameters)
    assert bench.events == []


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({"test_command": None}, "test_command is missing: it must be a command that ALLOWED_TEST_COMMANDS lists"),
        ({"test_command": ""}, "test_command is missing"),
        ({"test_command": 7}, "test_command"),
        (
            {"provider": "github_actions"},
            "provider: .*'github_actions' is not available: this worker runs tests itself",
        ),
        ({"ci_provider": "jenkins"}, "ci_provider: .*'jenkins' is not available"),
        ({"provider": "gitlab_ci"}, "provider: .*'gitlab_ci' is not available"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"env_vars": {"COLOUR": 1}}, "env_vars.COLOUR"),
        ({"working_dir": "gone"}, "working_dir: there is no such directory"),
        ({"working_dir": ".."}, "working_dir: leads out of"),
        ({"working_dir": None, "repo_url": "https://evil.example/x"}, "repo_url: is not below any of ALLOWED_GIT_URLS"),
        ({"revision": "main"}, "revision: needs repo_url"),
    ],
)
async def test_parameters_that_cannot_work_are_refused_by_name(
    bench: Bench, parameters: dict[str, object], problem: str
) -> None:
    bench.write("open('sentinel', 'w')")
    with pytest.raises(InvalidParameters, match=problem):
        await bench.run(**parameters)
    assert not (bench.volume / "project" / "sentinel").exists()


@pytest.mark.parametrize("provider", ["local", "LOCAL", "", None])
async def test_the_local_provider_is_the_default(bench: Bench, provider: str | None) -> None:
    bench.write(PASSING)
    assert (await bench.run(provider=provider)).success


@pytest.mark.parametrize(
    "refused",
    [
        {"test_command": "python3 run.py; true"},
        {"test_command": "python3 other.py"},
        {"test_command": ["python3", "run.py", "--more"]},
        {"env_vars": {"LD_PRELOAD": "x.so"}},
    ],
)
async def test_a_refused_command_runs_nothing_and_checks_nothing_out(bench: Bench, refused: dict[str, object]) -> None:
    sentinel = bench.volume / "sentinel"
    bench.repository.commit({"run.py": f"open('{sentinel}', 'w')", "other.py": f"open('{sentinel}', 'w')"})
    with pytest.raises(CommandRefused) as error:
        await bench.run(working_dir=None, repo_url=bench.repository.url, **refused)
    assert error.value.reason is Reason.COMMAND_REFUSED
    assert not error.value.retryable
    assert bench.context.lines == []
    assert not sentinel.exists()


@pytest.mark.parametrize("choice", ["simulate", "fail"])
async def test_a_refused_command_never_falls_back(
    make_bench: Callable[[FallbackChoice], Bench], choice: FallbackChoice
) -> None:
    bench = make_bench(choice)
    with pytest.raises(CommandRefused):
        await bench.run(test_command="rm -rf .")
    assert bench.events == []


# --- errors ------------------------------------------------------------------------------------------------------


async def test_a_program_that_is_not_installed_is_an_error_by_default(bench: Bench) -> None:
    with pytest.raises(ProgramMissing, match="no-such-program") as error:
        await bench.run(test_command="no-such-program test")
    assert isinstance(error.value, IntegrationUnavailable)


async def test_or_is_simulated_where_the_operator_says_so(make_bench: Callable[[FallbackChoice], Bench]) -> None:
    bench = make_bench("simulate")
    result = await bench.run(test_command="no-such-program test", test_suite="smoke")
    assert result.simulated
    assert (result.output["tests_passed"], result.output["test_suite"]) == (0, "smoke")
    [event] = bench.events
    assert isinstance(event, FallbackUsed)
    assert (event.integration, event.log_event) == ("test", "test_execution_error")


async def test_a_hang_is_a_time_out_within_the_attempts_own_limit(bench: Bench) -> None:
    bench.context = FakeContext(time_limit=2.0)
    bench.write("import time; print('waiting', flush=True); time.sleep(3600)")
    with pytest.raises(TaskTimedOut, match=r"did not end within 1\.8 s") as error:
        await bench.run(test_suite="smoke")
    assert error.value.retryable
    assert bench.events == [SuiteTimedOut("ticket-1", "TEST", "smoke", limit=1.8)]
    assert "stdout: waiting" in bench.context.lines


async def test_a_kill_from_outside_is_an_error_that_may_pass(bench: Bench) -> None:
    bench.write("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(TaskError, match="killed by SIGKILL from outside") as error:
        await bench.run()
    assert error.value.retryable


async def test_giving_up_ends_the_processes_and_removes_the_checkout(bench: Bench, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    bench.repository.commit(
        {"run.py": f"import os, time; open('{pipe}', 'w').write(str(os.getpid())); time.sleep(3600)"}
    )
    ticket = ticket_for("TEST", {"test_command": "python3 run.py", "repo_url": bench.repository.url})
    task = asyncio.create_task(run_executor(bench.executor, ticket, bench.context))
    process = await asyncio.to_thread(pipe.read_text)
    assert len(bench.left_over()) == 2
    bench.context.cancel("partition_revoked")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not Path("/proc", process).exists()
    assert bench.left_over() == []
