"""The processes of the demo: a broker, a Code Forge in this process, and one worker. They end with it, however it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.code_forge import CodeForgeServer
from worker_agents.devkit.demo.cast import BEHAVIOUR
from worker_agents.devkit.embedded_kafka import EmbeddedKafka
from worker_agents.devkit.ports import free_ports
from worker_agents.kafka.connection import KafkaConnection
from worker_agents.settings import Settings
from worker_agents.settings.model import FIELDS, is_secret, variable_of

WORKER_ID = "demo-worker"
_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_LOG_TAIL_LINES = 15

Tell = Callable[[str], None]


class DemoFailed(Exception):
    """The demo cannot go on; the message says why, with the end of the worker's log where that helps."""


@dataclass(slots=True)
class Stage:
    """``environment`` is what the worker runs with, and what the command line needs to be pointed at the same cluster."""

    kafka: EmbeddedKafka
    forge: CodeForgeServer
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
async def stage(tell: Tell) -> AsyncIterator[Stage]:
    """Everything started; ``tell`` hears of each step. Call it in the main thread (see :class:`ChildProcess`)."""
    with tempfile.TemporaryDirectory(prefix="worker-agents-demo-") as folder:
        async with EmbeddedKafka(on_progress=tell) as kafka, CodeForgeServer(BEHAVIOUR) as forge:
            tell(f"the reference Code Forge listens on {forge.url}")
            built = _with_worker(kafka, forge, Path(folder))
            tell("starting a worker")
            built.worker.start()
            try:
                await built.wait_until_ready()
                tell(f"the worker is ready: {built.url}")
                yield built
            finally:
                built.worker.kill()


def _with_worker(kafka: EmbeddedKafka, forge: CodeForgeServer, folder: Path) -> Stage:
    (port,) = free_ports(1)
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "CODE_FORGE_URL": forge.url,
        "WORKER_ID": WORKER_ID,
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "LOG_FORMAT": "json",
    }
    log = folder / "worker.log"
    command = [sys.executable, "-m", "worker_agents.cli", "run"]
    worker = ChildProcess(command, log=log, env={**_unset_settings(), **environment})
    return Stage(kafka, forge, worker, log, port, environment)


def _unset_settings() -> dict[str, str]:
    """Empty values count as unset: what this shell has set for a real worker must not reach the demo's."""
    plain = {variable_of(name): "" for name in FIELDS}
    return plain | {f"{variable_of(name)}_FILE": "" for name, setting in FIELDS.items() if is_secret(setting)}
