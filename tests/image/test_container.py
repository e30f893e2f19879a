"""A worker in a container: who it runs as, what it may write, and how it says that it is well."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from tests.support.containers import ROOT, Containers, empty_dir, output
from tests.support.waiting import until
from worker_agents import __version__
from worker_agents.devkit.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

USER = "10001"
PLACES = {
    "TEST_WORKSPACE_ROOT": "/var/lib/worker-agents/workspace",
    "SCRATCH_DIRECTORY": "/var/lib/worker-agents/scratch",
    "TRIVY_CACHE_DIR": "/var/lib/worker-agents/trivy",
}

# The kernel's own file systems, and what every container is given there: devices, and memory to share.
KERNEL = ("/proc", "/sys", "/dev")

PROCESSES = """
import json, pathlib
wanted = ("Name", "PPid", "Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs")
def status(path):
    fields = dict(line.split(":", 1) for line in (path / "status").read_text().splitlines())
    return {name: fields[name].split() for name in wanted}
print(json.dumps({path.name: status(path) for path in pathlib.Path("/proc").glob("[0-9]*")}))
"""
WRITABLE = """
import json, os, sys
kernel = tuple(sys.argv[1:])
found = []
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in kernel]
    found += [path for path in (folder, *(os.path.join(folder, name) for name in files))
              if not os.path.islink(path) and os.access(path, os.W_OK)]
print(json.dumps(found))
"""
UNREADABLE = """
import json, sys
def is_refused(path):
    try:
        open(path, "rb").read()
    except PermissionError:
        return True
print(json.dumps([path for path in (f"/proc/{pid}/environ" for pid in sys.argv[1:]) if is_refused(path)]))
"""


@dataclass(frozen=True)
class Running:
    """A container with a worker that has opened its partitions."""

    name: str
    podman: Containers

    def ask(self, *command: str) -> str:
        return self.podman.ask(self.name, *command)

    def is_healthy(self) -> bool:
        return subprocess.run([*self.podman.podman, "healthcheck", "run", self.name], check=False).returncode == 0

    def signal_worker(self, name: str) -> None:
        self.ask("python3", "-c", f"import os, signal; os.kill({self.worker}, signal.{name})")

    @property
    def processes(self) -> dict[str, dict[str, list[str]]]:
        return dict(json.loads(self.ask("python3", "-c", PROCESSES)))

    @property
    def worker(self) -> str:
        (pid,) = [pid for pid, status in self.processes.items() if status["PPid"] == ["1"] and pid != "1"]
        return pid


@pytest.fixture(scope="module")
def running(kafka: Any, podman: Containers, image: str, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """It ends with the session's other containers."""
    name, (port,) = f"worker-{uuid4().hex[:8]}", free_ports(1)
    topics = {f"KAFKA_{kind.upper()}_TOPIC": f"{name}.{kind}" for kind in ("tickets", "results", "dlq", "state")}
    server = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port), "ALLOWED_GIT_URLS": "https://git.example/team"}
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_CONSUMER_GROUP_ID": name,
        **server,
        **topics,
        **PLACES,
    }
    volumes = [f"--volume={empty_dir(tmp_path_factory.mktemp('empty'))}:{place}" for place in PLACES.values()]
    output(*podman.running(image, options=["--detach", f"--name={name}", *volumes], env=env))
    started = Running(name, podman)
    assert answers(f"http://127.0.0.1:{port}/ready"), output(*podman.podman, "logs", name)
    return started


def answers(url: str) -> bool:
    """Whether there comes a good answer within a minute."""

    def is_there() -> bool:
        try:
            return httpx.get(url, trust_env=False).is_success
        except httpx.TransportError:
            return False

    return asyncio.run(until(is_there, patience=60))


def test_the_program_says_its_version(podman: Containers, image: str) -> None:
    assert output(*podman.running(image, "--version")) == f"worker-agents {__version__}"


def test_the_reference_code_forge_runs_in_it_as_compose_yaml_says(podman: Containers, image: str) -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["code-forge"]
    (port,) = free_ports(1)
    command = [str(port) if each == "8000" else each for each in service["command"]]
    options = ["--detach", "--no-healthcheck", f"--entrypoint={json.dumps(service['entrypoint'])}"]
    output(*podman.running(image, *command, options=options))

    assert answers(f"http://127.0.0.1:{port}/health")


def test_tini_is_process_1_and_the_worker_its_child(running: Running) -> None:
    processes = running.processes

    assert processes["1"]["Name"] == ["tini"]
    assert processes[running.worker]["Name"] == ["worker-agents"]


def test_every_process_is_of_the_user_and_can_do_nothing_that_others_cannot(running: Running) -> None:
    for status in running.processes.values():
        assert status["Uid"] == status["Gid"] == [USER] * 4, status
        assert {int(status[name][0], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}, status
        assert status["NoNewPrivs"] == ["1"], status


def test_code_of_the_same_user_reads_no_secrets_in_the_environment_of_others(running: Running) -> None:
    """Secrets are variables: tini has them all, as the worker has, and code under test runs as their user."""
    refused = json.loads(running.ask("python3", "-c", UNREADABLE, "1", running.worker))

    assert refused == ["/proc/1/environ", f"/proc/{running.worker}/environ"]


def test_nothing_can_be_written_to_but_what_is_mounted_for_it(running: Running) -> None:
    writable = json.loads(running.ask("python3", "-c", WRITABLE, *KERNEL))

    assert set(writable) == {"/tmp", *PLACES.values()}


def test_it_is_healthy_until_it_stands_still(running: Running) -> None:
    assert running.is_healthy()
    running.signal_worker("SIGSTOP")
    assert not running.is_healthy()
    running.signal_worker("SIGCONT")
    assert running.is_healthy()


def test_doctor_finds_what_the_image_promises(running: Running) -> None:
    # It fails for what is not there: Code Forge and OPA.
    doctor = [*running.podman.podman, "exec", running.name, "worker-agents", "doctor", "--json"]
    said = subprocess.run(doctor, stdout=subprocess.PIPE, check=False).stdout
    levels = {finding["check"]: (finding["level"], finding["what"]) for finding in json.loads(said)["findings"]}

    for check in ("kafka.topics", "machine.directories", "programs.git", "integrations.trivy"):
        assert levels[check][0] == "ok", levels[check]
    assert levels["programs.tests"][0] != "ok"
    assert "pytest" in levels["programs.tests"][1]


def test_tests_get_the_python_of_the_base_and_not_the_one_of_the_worker(running: Running) -> None:
    assert running.ask("python3", "-c", "import sys; print(sys.prefix)") == "/opt/worker-agents"

    check = ["env", "ALLOWED_TEST_COMMANDS=python3 -m unittest", "worker-agents", "check-command", "--json"]
    found = json.loads(running.ask(*check, "python3 -m unittest"))

    assert found["program"] == "/usr/bin/python3"
