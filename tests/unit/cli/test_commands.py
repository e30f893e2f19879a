"""Usage, exit codes and what commands without Kafka print."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import worker_agents
from worker_agents.cli.app import app
from worker_agents.devkit.ports import free_ports
from worker_agents.settings.model import FIELDS, variable_of

NOBODY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_CONNECT_TIMEOUT_SECONDS": "0.2"}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        monkeypatch.delenv(variable_of(name), raising=False)


def call(*arguments: str, env: dict[str, str] | None = None, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env=env, input=stdin)


def test_help_names_every_command() -> None:
    shown = call("--help")

    assert shown.exit_code == 0
    for command in (
        "run",
        "demo",
        "submit",
        "samples",
        "results",
        "tickets",
        "cancel",
        "retry",
        "pause",
        "resume",
        "drain",
        "dlq",
        "topics",
        "executors",
        "config",
        "check-command",
        "doctor",
    ):
        assert f" {command} " in shown.stdout


def test_help_loads_nothing_that_only_commands_need() -> None:
    program = (
        "import sys, worker_agents.cli.app\n"
        "print([name for name in ('aiokafka', 'httpx', 'pydantic', 'worker_agents.main') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


def test_the_version() -> None:
    assert call("--version").stdout == f"worker-agents {worker_agents.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["submit"],
        ["submit", "--type", "EXECUTE", "--param", "x"],
        ["submit", "/nowhere.json"],
        ["results", "--status", "GREEN"],
        ["results", "--limit", "0"],
        ["tickets", "--status", "GREEN"],
        ["dlq", "list", "--reason", "bad_weather"],
        ["dlq", "show", "17"],
        ["dlq", "show", "a-b"],
        ["pause", "BUILD"],
        ["pause", "BUILD", "--for", "0"],
        ["pause", "BUILD", "--for", "86401"],
        ["resume", "BUILD"],
        ["drain"],
        ["retry", "t"],
        ["cancel", "t"],
    ],
)
def test_bad_usage(arguments: list[str]) -> None:
    ended = call(*arguments)

    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [["results"], ["tickets"], ["dlq", "list"], ["dlq", "show", "0-0"], ["topics", "describe"], ["topics", "create"]],
)
def test_no_broker(arguments: list[str]) -> None:
    ended = call(*arguments, env=NOBODY)

    assert ended.exit_code == 3
    assert ended.stderr.startswith("worker-agents: no Kafka broker answered at 127.0.0.1:1 within")
    assert ended.stderr.count("\n") == 1


def test_submit_without_a_broker() -> None:
    assert call("submit", "--type", "EXECUTE", env=NOBODY).exit_code == 3


@pytest.mark.parametrize("command", [["config"], ["run"], ["results"], ["executors", "list"], ["topics", "create"]])
def test_all_wrong_settings_are_told_at_once(command: list[str]) -> None:
    ended = call(*command, env={"HTTP_PORT": "many", "LOG_LEVEL": "loud"})

    assert ended.exit_code == 2
    assert "HTTP_PORT: must be a whole number" in ended.stderr
    assert "LOG_LEVEL: must be" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_config_shows_every_variable_with_its_source_and_no_secret() -> None:
    shown = call("config", "--json", env={"CODE_FORGE_TOKEN": "sesame", "HTTP_PORT": "8081"})

    document = json.loads(shown.stdout)
    rows = {row["variable"]: row for row in document["settings"]}
    assert rows.keys() == {variable_of(name) for name in FIELDS}
    assert (rows["HTTP_PORT"]["value_masked"], rows["HTTP_PORT"]["source"]) == ("8081", "environment")
    assert rows["KAFKA_TICKETS_TOPIC"]["source"] == "default"
    assert rows["CODE_FORGE_TOKEN"]["value_masked"] == "********"
    assert "sesame" not in shown.stdout


def test_config_as_text() -> None:
    shown = call("config", env={"CODE_FORGE_TOKEN": "sesame", "KAFKA_TICKET_TOPIC": "x"})

    assert shown.exit_code == 0
    assert "KAFKA_BOOTSTRAP_SERVERS" in shown.stdout
    assert "sesame" not in shown.stdout
    assert "did you mean KAFKA_TICKETS_TOPIC?" in shown.stderr


def test_config_with_problems_as_json() -> None:
    shown = call("config", "--json", env={"HTTP_PORT": "many"})

    assert shown.exit_code == 2
    assert json.loads(shown.stdout)["problems"] == ["HTTP_PORT: must be a whole number, not 'many'"]


def test_executors() -> None:
    listed = json.loads(call("executors", "list", "--json").stdout)

    (execute,) = [each for each in listed if each["task_type"] == "EXECUTE"]
    assert execute["executor"] == "worker_agents.executors.execute.ExecuteExecutor"
    assert "EXECUTE" in call("executors", "list").stdout


def test_the_schema_of_parameters() -> None:
    assert "template_id" in json.loads(call("executors", "schema", "execute").stdout)["properties"]

    unknown = call("executors", "schema", "BREW")
    assert unknown.exit_code == 4
    assert (
        unknown.stderr
        == "worker-agents: no executor for task type BREW (there are: BUILD, DEPLOY, EXECUTE, TEST, VALIDATE)\n"
    )


def test_run_says_in_one_line_why_it_cannot_start(tmp_path: Path) -> None:
    environment = {**NOBODY, "HTTP_PORT": "0", "HTTP_HOST": "127.0.0.1", "LOG_LEVEL": "CRITICAL"}
    ended = subprocess.run(
        [sys.executable, "-m", "worker_agents.cli", "run"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 3
    assert ended.stderr.startswith("worker-agents: no Kafka broker answered at 127.0.0.1:1")
    assert ended.stderr.count("\n") == 1


def test_a_fault_of_ours_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("seven")

    monkeypatch.setattr("worker_agents.settings.load_settings", broken)
    monkeypatch.setattr("worker_agents.cli.executors.load_settings", broken)
    ended = call("executors", "list")

    assert ended.exit_code == 1
    assert ended.stderr.startswith("worker-agents: internal error, please report it: ZeroDivisionError: seven (")
    assert ended.stderr.count("\n") == 1


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker_agents.cli.executors.load_settings", interrupted)

    assert call("executors", "list").exit_code == 130


@pytest.mark.parametrize("arguments", [["pause", "BUILD"], ["resume", "BUILD"], ["drain"]])
def test_a_worker_that_is_not_there_is_a_failure_in_one_sentence(arguments: list[str]) -> None:
    (port,) = free_ports(1)
    ended = call(*arguments, env=NOBODY | {"ADMIN_TOKEN": "a-token-for-this-test", "HTTP_PORT": str(port)})

    assert ended.exit_code == 1
    assert f"the worker at http://127.0.0.1:{port} did not answer" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_one_worker_and_all_of_them_exclude_each_other() -> None:
    ended = call("pause", "BUILD", "--all", "--url", "http://w", env={"ADMIN_TOKEN": "a-token-for-this-test"})

    assert ended.exit_code == 2


@pytest.mark.parametrize("arguments", [["retry", "t"], ["cancel", "t"], ["pause", "BUILD", "--all"]])
def test_without_kafka_nobody_knows_which_worker_is_meant(arguments: list[str]) -> None:
    assert call(*arguments, env=NOBODY | {"ADMIN_TOKEN": "a-token-for-this-test"}).exit_code == 3
