"""One run: its plan from a seed, the faults at their times, and what came of it."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.fire.checker import judge
from tests.chaos.fire.evidence import Struck, gather
from tests.chaos.fire.faults import AREAS, KINDS, Scene, possible
from tests.chaos.fire.load import Expect, Load
from tests.chaos.fire.report import Report
from tests.chaos.fire.witness import Witness
from tests.chaos.fire.world import World, world
from tests.support.waiting import until

LONGEST_FAULT_SECONDS = 90.0
_LEFTOVER_SECONDS = 20.0


@dataclass(frozen=True)
class Plan:
    """What to do, all of it from ``seed``: the tickets, and which fault begins when. The machine decides the rest.

    ``seconds`` is how long faults strike; after that everything is mended, and ``patience`` seconds are left to finish.
    """

    seed: int
    seconds: float
    brokers: int = 3
    workers: int = 4
    faults_a_minute: float = 12.0
    tickets_a_second: float = 5.0
    patience: float = 240.0
    kinds: tuple[str, ...] = ()

    def faults(self, kinds: list[str]) -> Iterator[tuple[float, str, random.Random]]:
        """When (seconds from the start), which, and its own source of chance. All kinds come before any comes again."""
        rng = random.Random(f"faults {self.seed}")
        number = round(self.seconds * self.faults_a_minute / 60)
        bag: list[str] = []
        for at in sorted(rng.uniform(0, self.seconds) for _ in range(number)):
            if not bag:
                bag = rng.sample(kinds, len(kinds))
            yield at, bag.pop(), random.Random(rng.random())


@dataclass
class Battle:
    """The load and the faults of a run, as they happen."""

    scene: Scene
    witness: Witness
    struck: list[Struck] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    async def run(self, plan: Plan) -> None:
        """Until every ticket has its result, or patience is at its end."""
        load = self.scene.load
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            await until(lambda: len(self.witness.answered) >= 10, plan.patience)
            await self._harm(plan)
            load.stopping.set()
        self.scene.world.mend()
        await self._await_results(plan.patience)

    async def _harm(self, plan: Plan) -> None:
        kinds = [kind for kind in possible(self.scene.world) if not plan.kinds or kind in plan.kinds]
        turns = {area: asyncio.Semaphore(limit) for area, limit in AREAS.items()}
        began = time.monotonic()
        async with asyncio.TaskGroup() as faults:
            for at, kind, rng in plan.faults(kinds):
                await asyncio.sleep(max(began + at - time.monotonic(), 0))
                faults.create_task(self._strike(kind, rng, turns[KINDS[kind][0]]))

    async def _strike(self, kind: str, rng: random.Random, turn: asyncio.Semaphore) -> None:
        area, harm = KINDS[kind]
        async with turn:
            began = time.time()
            try:
                async with asyncio.timeout(LONGEST_FAULT_SECONDS):
                    what = await harm(self.scene, rng)
            except Exception as error:  # noqa: BLE001 # the run goes on, and the report tells
                self.failures.append(f"{kind}: {type(error).__name__}: {error}")
                return
        self.struck.append(Struck(kind, area, began, time.time(), what))

    async def _await_results(self, patience: float) -> None:
        mended = time.monotonic()
        sent, answered = self.scene.load.sent, self.witness.answered
        wanted = {ticket_id for ticket_id, ticket in sent.items() if ticket.expect is Expect.RESULT}
        if await until(lambda: wanted <= answered, patience):
            self.notes.append(f"all answered {time.monotonic() - mended:.0f} s after the last fault was mended")
            return
        self.notes.append(f"{len(wanted - answered)} not answered {patience:.0f} s after the last fault was mended")
        for slot in self.scene.world.slots:
            if slot.runs and slot.worker is not None:
                slot.worker.send(signal.SIGUSR1)  # what it waits for goes to its log


async def fight(plan: Plan, folder: Path) -> Report:
    """One run from its start to its report. Everything is ended afterwards; ``folder`` keeps the logs."""
    # Clients of this process are cut off all the time, and say so.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    began = time.monotonic()
    async with world(folder, plan.brokers, plan.workers) as scenery:
        load = Load(
            scenery.cluster.bootstrap_servers,
            scenery.fleet.topics["tickets"],
            random.Random(f"tickets {plan.seed}"),
            plan.tickets_a_second,
        )
        battle = Battle(Scene(scenery, load), Witness(scenery.fleet))
        try:
            async with _running(scenery.keep_workers()):
                async with _running(battle.witness.watch()):
                    await battle.run(plan)
                await scenery.stop_workers()
            await battle.witness.catch_up()
            await battle.witness.sample_offsets()
            leftovers = await _leftovers(scenery)
        finally:
            _keep_logs(scenery)
        evidence = gather(scenery, battle.witness, load.sent, battle.struck, leftovers)
    seconds = time.monotonic() - began
    return Report(plan.seed, plan.brokers, seconds, evidence, judge(evidence), battle.failures, battle.notes)


@asynccontextmanager
async def _running(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """``work`` goes on during the block; if it fails, so does the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield
        task.cancel()


async def _leftovers(scenery: World) -> list[str]:
    """Processes of test runs that are still there after their workers ended, given a moment to go."""
    log = scenery.folder / "workspace" / "pids"
    pids = {int(line) for line in log.read_text().split()} if log.exists() else set()
    await until(lambda: not any(_alive(pid, scenery.folder) for pid in pids), _LEFTOVER_SECONDS)
    return [f"process {pid} of a test run still runs" for pid in sorted(pids) if _alive(pid, scenery.folder)]


def _alive(pid: int, folder: Path) -> bool:
    """Whether that process still runs; its number may be another's by now, which works elsewhere."""
    try:
        place = (Path("/proc") / str(pid) / "cwd").readlink()
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return place.is_relative_to(folder) and state != "Z"


def _keep_logs(scenery: World) -> None:
    for worker in scenery.fleet.workers:
        (scenery.folder / f"{worker.name}.log").write_text("\n".join(worker.text))
