"""All that runs in a chaos run: brokers, links, the integrations, and workers that are started again when they end."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.fire.cluster import Cluster
from tests.chaos.fire.opa import Opa
from tests.chaos.fire.toxiproxy import HOST, Link, Toxiproxy
from tests.support.fleet import Fleet, WorkerProcess
from tests.support.waiting import until
from worker_agents.devkit.argocd import ArgoCdServer, Step
from worker_agents.devkit.argocd import Behaviour as ArgoCdBehaviour
from worker_agents.devkit.argocd import Script as Rollout
from worker_agents.devkit.code_forge import (
    STANDARD_TEMPLATES,
    Behaviour,
    CodeForgeServer,
    Peculiarities,
    Progress,
    Script,
)
from worker_agents.devkit.ports import free_ports

SESSION_SECONDS = 6.0
KILL_GRACE_SECONDS = 1.0
# Beyond session and grace by more than the overlap that the checker allows: programs that went on would be accused.
STALL_SECONDS = 16.0
# Drain (2 s), hand-over (2 s), leaving the group (10 s), and room for a busy machine.
TERMINATION_SECONDS = 45.0
PARTITIONS = 6
SERVICES = ("code_forge", "argocd", "opa")

SCRIPTS = {
    **STANDARD_TEMPLATES,
    "quick": Script(progress=Progress(queued=0.3, processing=0.7, unit="seconds")),
    "long": Script(progress=Progress(queued=1, processing=14, unit="seconds")),
}
ROLLOUTS = {
    "quick": Rollout(sync_seconds=1, health=(Step(status="Progressing", seconds=1), Step(status="Healthy"))),
    "sync-failed": Rollout(sync_seconds=1, outcome="Failed", message="one or more objects failed to apply"),
}
SUITE = """\
setsid sleep 600 & echo $! >> pids
echo $$ >> pids
tell() { echo "$1 $CHAOS_TICKET 1 $$ $EPOCHREALTIME" >> suite.log; }
tell start
head -c 65536 /dev/zero > "${TMPDIR:-/nowhere}/work" || { echo '=== 1 failed in 0.01s ==='; exit 1; }
for _ in $(seq "$CHAOS_TICKS"); do sleep 0.2; tell tick; done
tell end
echo '=== 1 passed in 0.01s ==='
"""


@dataclass
class Slot:
    """A place for a worker, with links of its own to every broker and service; ``wanted`` ones are kept occupied."""

    number: int
    brokers: list[Link]
    services: dict[str, Link]
    wanted: bool = True
    busy: bool = False
    worker: WorkerProcess | None = None

    @property
    def runs(self) -> bool:
        return self.worker is not None and self.worker.process.poll() is None

    @property
    def has_started(self) -> bool:
        """Whether its worker came so far as to take signals in its own way."""
        return self.worker is not None and bool(self.worker.events("worker_started"))


@dataclass(frozen=True)
class Life:
    """One worker process that has ended (epoch seconds). ``served`` says that its start was over."""

    name: str
    pid: int
    exit_code: int
    ended_at: float
    served: bool


@dataclass
class World:
    """What faults work on. Built by :func:`world`."""

    folder: Path
    cluster: Cluster
    proxies: Toxiproxy
    forge: CodeForgeServer
    argocd: ArgoCdServer
    opa: Opa
    fleet: Fleet
    slots: list[Slot]
    scratch: Path
    nonsense_address: str
    can_fill_disk: bool
    lives: list[Life] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)
    """Workers that did not end when they were told to."""

    @property
    def env(self) -> dict[str, str]:
        return {
            "KAFKA_CREATE_TOPICS": "false",
            "KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "KILL_GRACE_SECONDS": str(KILL_GRACE_SECONDS),
            "DRAIN_TIMEOUT_SECONDS": "2",
            "RETRY_BACKOFF_MAX_SECONDS": "5",
            "MAX_CONCURRENT_TASKS": "60",
            "MAX_CONCURRENT_TEST": "4",
            "CODE_FORGE_FALLBACK": "fail",
            "ARGOCD_FALLBACK": "fail",
            "ARGOCD_ENABLED": "true",
            "ARGOCD_TOKEN": "any",
            "OPA_TIMEOUT_SECONDS": "5",
            "ALLOWED_TEST_COMMANDS": '["bash suite.sh"]',
            "TEST_ENVIRONMENT_ALLOWED": "CHAOS_TICKET,CHAOS_TICKS",
            "TEST_WORKSPACE_ROOT": str(self.folder / "workspace"),
            "SCRATCH_DIRECTORY": str(self.scratch),
            "STALL_SECONDS": str(STALL_SECONDS),
        }

    def start_worker(self, slot: Slot) -> None:
        slot.worker = self.fleet.worker(
            KAFKA_BOOTSTRAP_SERVERS=self.cluster.bootstrap_servers_of(slot.number),
            **{f"{name.upper()}_URL": f"http://{link.address}" for name, link in slot.services.items()},
            **self.env,
        )

    async def keep_workers(self) -> None:
        """What Kubernetes does: an ended worker is noted and, while its slot is wanted, replaced."""
        while True:
            for slot in self.slots:
                self._note_end(slot)
                if slot.wanted and slot.worker is None:
                    self.start_worker(slot)
            await asyncio.sleep(0.1)

    def _note_end(self, slot: Slot) -> None:
        worker = slot.worker
        if worker is not None and (code := worker.process.poll()) is not None:
            self.lives.append(Life(worker.name, worker.pid, code, time.time(), slot.has_started))
            slot.worker = None

    async def stop_workers(self) -> None:
        for slot in self.slots:
            slot.wanted = False
        await asyncio.gather(*(self.terminate(slot.worker) for slot in self.slots if slot.worker is not None))
        for slot in self.slots:
            self._note_end(slot)

    async def terminate(self, worker: WorkerProcess) -> None:
        """SIGTERM and, as Kubernetes does, SIGKILL to what is still there after a while; that is noted."""
        worker.send(signal.SIGTERM)
        if await until(lambda: worker.process.poll() is not None, TERMINATION_SECONDS):
            return
        worker.send(signal.SIGUSR1)  # what it waits for goes to its log
        await until(lambda: worker.process.poll() is not None, 1.0)
        worker.kill()
        self.overdue.append(f"{worker.name} did not end within {TERMINATION_SECONDS:.0f} s of SIGTERM")

    @asynccontextmanager
    async def some_slot(
        self, rng: random.Random, *, started: bool = False, patience: float = 30.0
    ) -> AsyncIterator[tuple[Slot, WorkerProcess]]:
        """A running worker that no other fault is at; raises ``TimeoutError`` when there is none for so long."""
        if not await until(lambda: self._free_slots(started), patience):
            raise TimeoutError("no worker runs that is not being harmed already")
        slot = rng.choice(self._free_slots(started))
        assert slot.worker is not None
        slot.busy = True
        try:
            yield slot, slot.worker
        finally:
            slot.busy = False

    def _free_slots(self, started: bool) -> list[Slot]:
        return [slot for slot in self.slots if slot.runs and not slot.busy and (slot.has_started or not started)]

    def mend(self) -> None:
        """Whatever faults left behind."""
        for slot in self.slots:
            slot.wanted = True
        self.forge.change(down=False, latency=0.0, faults=())
        self.argocd.change(down=False, latency=0.0, faults=())

    def process_tree(self, pid: int) -> list[int]:
        """``pid`` and all that descends from it."""
        children: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(stat.parent.name))
        tree = [pid]
        for member in tree:
            tree.extend(children.get(member, ()))
        return tree


@asynccontextmanager
async def world(folder: Path, brokers: int, slots: int) -> AsyncIterator[World]:
    """Everything started but the workers; everything ended afterwards."""
    async with AsyncExitStack() as stack:
        proxies = Toxiproxy(folder)
        stack.push_async_callback(proxies.stop)
        await proxies.start()
        cluster = Cluster(brokers, slots, folder)
        stack.push_async_callback(cluster.stop)
        await cluster.start()
        forge = await stack.enter_async_context(
            CodeForgeServer(Behaviour(peculiarities=Peculiarities.none(), templates=SCRIPTS))
        )
        argocd = await stack.enter_async_context(
            ArgoCdServer(ArgoCdBehaviour(pickup_seconds=0.2, compare_seconds=0.2, scripts=ROLLOUTS))
        )
        opa = Opa(folder / "opa")
        stack.push_async_callback(opa.stop)
        await opa.start()
        nonsense = await asyncio.start_server(_talk_nonsense, HOST, 0)
        stack.callback(nonsense.close)
        urls = {"code_forge": forge.url, "argocd": argocd.url, "opa": opa.url}
        places = [_slot(number, cluster, urls) for number in range(slots)]
        for place in places:
            await proxies.add([*place.brokers, *place.services.values()])
        scratch, can_fill_disk = _small_disk(folder, stack)
        workspace = folder / "workspace"
        workspace.mkdir()
        (workspace / "suite.sh").write_text(SUITE)
        fleet = Fleet(cluster.bootstrap_servers, folder, PARTITIONS, replication=cluster.replicas)
        await fleet.create_topics()
        stack.push_async_callback(fleet.close)
        port = nonsense.sockets[0].getsockname()[1]
        yield World(
            folder, cluster, proxies, forge, argocd, opa, fleet, places, scratch, f"{HOST}:{port}", can_fill_disk
        )


def _slot(number: int, cluster: Cluster, urls: dict[str, str]) -> Slot:
    ports = free_ports(len(urls))
    services = {
        name: Link(f"slot-{number}-{name}", port, url.removeprefix("http://"))
        for (name, url), port in zip(urls.items(), ports, strict=True)
    }
    return Slot(number, cluster.links[number], services)


def _small_disk(folder: Path, stack: AsyncExitStack) -> tuple[Path, bool]:
    """A scratch disk of 4 MiB that can be filled, where this process may mount one; otherwise a plain directory."""
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700)
    if os.geteuid() != 0 or not shutil.which("mount"):
        return scratch, False
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "chaos", str(scratch)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        return scratch, False
    stack.callback(subprocess.run, ["umount", "-l", str(scratch)], check=False)
    return scratch, True


async def _talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers whatever comes with a web page."""
    body = b"<html>Welcome</html>"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    try:
        await reader.read(65_536)
        writer.write(head + body)
        await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
