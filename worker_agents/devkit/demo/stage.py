"""The processes of the demo: a broker, services and one worker. They end with it, however it ends."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.demo.programs import Programs
from worker_agents.devkit.demo.props import write_workspace
from worker_agents.devkit.demo.services import Services, Tell, services
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.settings import Settings
from worker_agents.settings.model import FIELDS, is_secret, variable_of

WORKER_ID = "demo-worker"
LOG = "worker.log"
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_TAIL_LINES = 15


Hire = Callable[[Mapping[str, str], Path], ChildProcess]
"""Makes the worker, not started yet: of its settings, and of the folder that they name places in."""


class DemoFailed(Exception):
    """The demo cannot go on; the message says why, with the end of the worker's log where that helps."""


@dataclass(slots=True)
class Stage:
    """``environment`` is what the worker runs with, and what the command line needs to be pointed at the same cluster.

    ``planted_key`` lies in the sources that are scanned, and must not be seen again.
    """

    kafka: EmbeddedKafka
    services: Services
    planted_key: str
    worker: ChildProcess
    log: Path
    http_port: int
    environment: dict[str, str]
    settings: Settings = field(default_factory=Settings)

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection(self.kafka.bootstrap_servers, client_id="demo")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def wait_until_ready(self) -> None:
        """Return once the worker has opened its partitions."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            try:
                async with asyncio.timeout(_READY_SECONDS):
                    while not await self._is_ready(http):
                        self._check_running()
                        await asyncio.sleep(0.1)
            except TimeoutError as error:
                raise DemoFailed(f"the worker was not ready within {_READY_SECONDS:.0f} s{self.log_tail()}") from error

    async def _is_ready(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get("/ready")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _check_running(self) -> None:
        if not self.worker.running:
            raise DemoFailed(f"the worker ended with exit code {self.worker.exit_code}{self.log_tail()}")

    async def watch_worker(self) -> None:
        """Raises :class:`DemoFailed` when the worker ends; otherwise never returns."""
        while True:
            self._check_running()
            await asyncio.sleep(0.2)

    async def metrics(self) -> list[str]:
        """The lines of the worker's ``/metrics``."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as http:
            try:
                answer = await http.get("/metrics")
                answer.raise_for_status()
            except httpx.HTTPError as error:
                raise DemoFailed(f"{self.url}/metrics does not answer: {error}") from error
        return answer.text.splitlines()

    async def drain_worker(self) -> int | None:
        """Stop the worker as Kubernetes does; its exit code, ``None`` when it did not end by itself."""
        self.worker.signal(signal.SIGTERM)
        try:
            return await self.worker.finish(_STOP_SECONDS)
        except TimeoutError:
            return None

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:] if self.log.exists() else []
        return "\n".join(["; the end of its log:", *lines]) if lines else ""


@asynccontextmanager
async def stage(programs: Programs, tell: Tell, hire: Hire | None = None) -> AsyncIterator[Stage]:
    """Everything started; ``tell`` hears of each step. Call it in the main thread (see :class:`ChildProcess`).

    The worker is the one that ``hire`` makes, by default a process of this very program.
    """
    with tempfile.TemporaryDirectory(prefix="worker-agents-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with EmbeddedKafka(on_progress=tell) as kafka, services(programs, folder, tell) as running:
            built = _with_worker(kafka, running, programs, folder, hire or _process(programs))
            tell("starting a worker")
            built.worker.start()
            try:
                await built.wait_until_ready()
                tell(f"the worker is ready: {built.url}")
                yield built
            finally:
                built.worker.kill()


def _with_worker(kafka: EmbeddedKafka, running: Services, programs: Programs, folder: Path, hire: Hire) -> Stage:
    (port,) = free_ports(1)
    workspace = folder / "workspace"
    key = write_workspace(workspace)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "CODE_FORGE_URL": running.forge.url,
        "ARGOCD_ENABLED": "true",
        "ARGOCD_URL": running.argocd.url,
        "OPA_URL": running.opa_url,
        # The databases of vulnerabilities are large; keys are found without.
        "TRIVY_SCANNERS": "secret",
        "TRIVY_CACHE_DIR": str(folder / "trivy"),
        "TEST_WORKSPACE_ROOT": str(workspace),
        "SCRATCH_DIRECTORY": str(folder / "scratch"),
        "TEST_COMMAND_PATH": _search_path(programs.pytest, FIELDS["test_command_path"].default),
        "TEST_FALLBACK": "simulate",
        "WORKER_ID": WORKER_ID,
        "ADMIN_TOKEN": secrets.token_urlsafe(24),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "LOG_FORMAT": "json",
    }
    return Stage(kafka, running, key, hire(environment, folder), folder / LOG, port, environment)


def _process(programs: Programs) -> Hire:
    def hire(environment: Mapping[str, str], folder: Path) -> ChildProcess:
        command = [sys.executable, "-m", "worker_agents.cli", "run"]
        path = _search_path(programs.trivy, os.environ.get("PATH", os.defpath))
        return ChildProcess(command, log=folder / LOG, env={**_unset_settings(), **environment, "PATH": path})

    return hire


def _search_path(program: Path | None, others: str) -> str:
    """A PATH on which ``program`` comes first."""
    return others if program is None else f"{program.parent}{os.pathsep}{others}"


def _unset_settings() -> dict[str, str]:
    """Empty values count as unset: what this shell has set for a real worker must not reach the demo's."""
    plain = {variable_of(name): "" for name in FIELDS}
    return plain | {f"{variable_of(name)}_FILE": "" for name, setting in FIELDS.items() if is_secret(setting)}
